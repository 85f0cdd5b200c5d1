//! `content`: does every row of the source stand in the snapshot and in the restored files?
//!
//! File against file, before any service opens the restored copy: every table (`sqlite_sequence` too), every row, storage
//! classes, and the content pragmas. Digests first; only tables that differ are read row by row. An empty table counts as
//! compared when its side has rows elsewhere and the schema says it is the same table.

use crate::checks::row_differences::{DescribedRow, described_differences};
use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::summary::{Summary, summarise_open};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// The check.
pub const ID: CheckId = CheckId::Content;
/// Tables that no backup may have empty, whatever else an environment requires.
pub const REQUIRED_TABLES: [&str; 3] = ["agents", "intent_log", "beam_messages"];

/// One of the places where the same content must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The independent copy of the stopped source.
    Source,
    /// The snapshot.
    Snapshot,
    /// The restored files.
    Restored,
}

impl Place {
    /// The word in findings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Place::Source => "source",
            Place::Snapshot => "snapshot",
            Place::Restored => "restored",
        }
    }
}

/// What one place holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Which place.
    pub place: Place,
    /// Its counts and digests.
    pub summary: Summary,
}

/// One row or cell that differs from the reference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The place that is wrong.
    pub place: Place,
    /// Row, expected and observed, fit to be shown.
    pub row: DescribedRow,
}

/// What was seen of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whose data.
    pub service: Service,
    /// All places, the reference first.
    pub sides: Vec<Side>,
    /// Rows that differ from the reference.
    pub differences: Vec<Difference>,
    /// Places other than the reference that could not be read to the end: a damaged page, no database.
    pub unreadable: Vec<Unreadable>,
}

/// A place that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The place.
    pub place: Place,
    /// `table audit_log`, or the file.
    pub what: String,
    /// What SQLite said.
    pub cause: String,
}

/// Reads all places; the first is the reference the others are held against.
///
/// # Errors
/// [`DatabaseError`] when the reference cannot be read; of another place that is a fact.
pub fn observe(service: Service, places: &[(Place, &Path)]) -> Result<Facts, DatabaseError> {
    let mut facts = Facts {
        service,
        sides: Vec::new(),
        differences: Vec::new(),
        unreadable: Vec::new(),
    };
    let mut reference: Option<Database> = None;
    for (place, path) in places {
        let read = Database::open(path).and_then(|database| Ok((summarise_open(&database)?, database)));
        let (summary, database) = match read {
            Err(error) if reference.is_some() => {
                facts.unreadable.push(unreadable(*place, &error));
                continue;
            }
            other => other?,
        };
        let side = Side { place: *place, summary };
        if let (Some(reference), Some(first)) = (&reference, facts.sides.first()) {
            for table in differing_tables(&first.summary, &side.summary) {
                let rows = described_differences(reference, &database, &table)?;
                let wrong = |row| Difference { place: *place, row };
                facts.differences.extend(rows.into_iter().map(wrong));
            }
        }
        facts.sides.push(side);
        reference.get_or_insert(database);
    }
    Ok(facts)
}

fn unreadable(place: Place, error: &DatabaseError) -> Unreadable {
    let what = match error {
        DatabaseError::Open { .. } => "the file".to_owned(),
        DatabaseError::Read { what, .. } | DatabaseError::Endless { what, .. } => short(what),
    };
    Unreadable {
        place,
        what,
        cause: std::error::Error::source(error).map_or_else(String::new, ToString::to_string),
    }
}

/// Tables that are on both sides and differ.
fn differing_tables(one: &Summary, other: &Summary) -> Vec<String> {
    let differs = |name: &&str| {
        other
            .table(name)
            .is_some_and(|theirs| one.table(name).is_some_and(|ours| ours.digest != theirs.digest))
    };
    one.tables
        .iter()
        .map(|table| table.name.as_str())
        .filter(differs)
        .map(str::to_owned)
        .collect()
}

/// Judges: equal everywhere, and required tables are not empty.
#[must_use]
pub fn judge(facts: &Facts, required: &BTreeSet<String>) -> Judgement {
    let mut judged = Judgement::default();
    let Some((reference, others)) = facts.sides.split_first() else {
        return judged;
    };
    let rows = |side: &Side| side.summary.tables.iter().map(|table| table.rows).sum::<u64>();
    let mut phrases = facts.sides.iter().map(|side| {
        let (tables, place) = (side.summary.tables.len(), side.place.name());
        format!("{} rows in {tables} tables ({place})", rows(side))
    });
    judged.expected = phrases.next().unwrap_or_default();
    judged.observed = phrases.collect::<Vec<_>>().join(", ");
    if rows(reference) > 0 || others.iter().any(|side| rows(side) > 0) {
        judged.items = others.iter().map(|side| side.summary.tables.len() as u64).sum();
    }
    for side in others {
        compare(facts, reference, side, &mut judged);
    }
    for one in &facts.unreadable {
        let place = place(facts.service, one.place);
        let observed = format!("unreadable: {}", one.cause);
        judged.findings.push(Finding::new(
            one.what.as_str(),
            "readable to its last row",
            observed,
            place,
        ));
    }
    for side in &facts.sides {
        for table in side.summary.tables.iter().filter(|table| table.rows == 0) {
            if required.contains(&table.name) || REQUIRED_TABLES.contains(&table.name.as_str()) {
                judged.findings.push(Finding::new(
                    table.name.as_str(),
                    "at least one row",
                    "no row",
                    place(facts.service, side.place),
                ));
            }
        }
    }
    judged
}

fn compare(facts: &Facts, reference: &Side, side: &Side, judged: &mut Judgement) {
    let place = place(facts.service, side.place);
    let names: BTreeSet<&str> = [reference, side]
        .into_iter()
        .flat_map(|side| side.summary.tables.iter().map(|table| table.name.as_str()))
        .collect();
    for name in names {
        let finding = match (reference.summary.table(name), side.summary.table(name)) {
            (Some(expected), None) => Some((format!("{} rows", expected.rows), "no such table".to_owned())),
            (None, Some(observed)) => Some(("no such table".to_owned(), format!("{} rows", observed.rows))),
            (Some(expected), Some(observed)) if expected.digest != observed.digest => {
                let listed = facts
                    .differences
                    .iter()
                    .any(|one| one.place == side.place && one.row.table == name);
                // The rows say it better than two digests.
                (!listed).then(|| (digest(&expected.digest), digest(&observed.digest)))
            }
            _ => None,
        };
        if let Some((expected, observed)) = finding {
            judged
                .findings
                .push(Finding::new(name, expected, observed, place.clone()));
        }
    }
    for one in facts.differences.iter().filter(|one| one.place == side.place) {
        judged.findings.push(Finding::new(
            one.row.subject.clone(),
            one.row.expected.clone(),
            one.row.observed.clone(),
            place.clone(),
        ));
    }
    for (name, expected, observed) in reference.summary.pragmas.differences(&side.summary.pragmas) {
        let subject = format!("pragma {name}");
        judged
            .findings
            .push(Finding::new(subject, expected, observed, place.clone()));
    }
}

fn digest(text: &str) -> String {
    format!("content digest {}", text.get(..16).unwrap_or(text))
}

fn place(service: Service, place: Place) -> String {
    format!("{} {}", place.name(), service.database_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{alter, file, plain_at_rest};

    fn judged_after(service: Service, sql: &str) -> Judgement {
        let source = plain_at_rest();
        let snapshot = plain_at_rest();
        alter(&file(&snapshot, service), sql);
        let (one, two) = (file(&source, service), file(&snapshot, service));
        let facts = observe(service, &[(Place::Source, &one), (Place::Snapshot, &two)]).expect("read");
        judge(&facts, &BTreeSet::new())
    }

    fn subjects(judged: &Judgement) -> Vec<&str> {
        judged.findings.iter().map(|finding| finding.subject.as_str()).collect()
    }

    #[test]
    fn equal_content_passes_table_by_table() {
        let judged = judged_after(Service::Directory, "VACUUM");
        assert_eq!((judged.verdict(), judged.items), (Verdict::Pass, 51));
    }

    #[test]
    fn changes_that_are_no_content_do_not_alarm() {
        for sql in [
            "PRAGMA page_size=8192; PRAGMA journal_mode=DELETE; VACUUM",
            "REINDEX",
            "PRAGMA journal_mode=DELETE",
            "UPDATE agents SET display_name=display_name; UPDATE waitlist SET status=status",
            "CREATE TEMP TABLE o AS SELECT * FROM agents ORDER BY beam_id DESC; DELETE FROM agents; INSERT INTO agents SELECT * FROM o",
            "ANALYZE",
        ] {
            let judged = judged_after(Service::Directory, sql);
            assert_eq!(judged.findings, [], "{sql}");
        }
    }

    const DIRECTORY_FAULTS: &[(&str, &str)] = &[
        (
            "DELETE FROM agents WHERE beam_id LIKE 'sender@%'",
            "agents[beam_id=sender@acme.beam.directory]",
        ),
        (
            "DELETE FROM intent_log WHERE nonce='drill-echo-3'",
            "intent_log[id=3, nonce=drill-echo-3]",
        ),
        (
            "DELETE FROM intent_trace_events WHERE id=7",
            "intent_trace_events[id=7, nonce=",
        ),
        (
            "UPDATE waitlist SET operator_notes=NULL, next_action=NULL WHERE id=1",
            "waitlist[id=1] ",
        ),
        (
            "UPDATE intent_log SET error_code='' WHERE nonce='drill-echo-1'",
            "intent_log[id=1, nonce=drill-echo-1] error_code",
        ),
        (
            "DELETE FROM sqlite_sequence WHERE name='intent_log'",
            "sqlite_sequence[",
        ),
        (
            "UPDATE agents SET display_name=display_name||char(0)||'x' WHERE beam_id LIKE 'recv@%'",
            "agents[beam_id=recv@northwind.beam.directory] display_name",
        ),
        (
            "UPDATE workspace_policies SET policy_json='{\"x\":1}'",
            "workspace_policies[",
        ),
        (
            "UPDATE directory_roles SET directory_url=directory_url||'/'",
            "directory_roles[",
        ),
        ("DELETE FROM rate_limits", "rate_limits["),
        (
            "INSERT INTO waitlist SELECT NULL, email, source, company, agent_count, workflow_type, workflow_summary, proof_intent_nonce, status, owner, operator_notes, next_action, last_contact_at, blocked_prerequisites, created_at, updated_at, next_meeting_at, reminder_at, stage_entered_at FROM waitlist WHERE id=1",
            "waitlist[id=5]",
        ),
        ("DROP TABLE dns_cache", "dns_cache"),
        ("CREATE TABLE residue(x)", "residue"),
        ("PRAGMA user_version=7", "pragma user_version"),
        (
            "UPDATE intent_log SET nonce=nonce||char(0x200b) WHERE id=1",
            "intent_log[id=1, nonce=drill-echo-1] nonce",
        ),
        (
            "UPDATE admin_sessions SET revoked_at=NULL, expires_at='2030'",
            "admin_sessions[",
        ),
        ("UPDATE agents SET trust_score=trust_score/2", "agents["),
    ];

    #[test]
    fn every_fault_of_the_directory_content_is_found_and_named() {
        for (sql, subject) in DIRECTORY_FAULTS {
            let judged = judged_after(Service::Directory, sql);
            assert_eq!(judged.verdict(), Verdict::Fail, "{sql}");
            assert!(
                subjects(&judged).iter().any(|one| one.starts_with(subject)),
                "{sql}: {:?}",
                judged.findings
            );
        }
    }

    #[test]
    fn every_fault_of_the_bus_content_is_found_and_named() {
        for (sql, column) in [
            ("DELETE FROM beam_messages WHERE nonce='bus-echo-1'", ""),
            (
                "UPDATE beam_messages SET max_retries=1 WHERE nonce='bus-echo-1'",
                " max_retries",
            ),
            (
                "UPDATE beam_messages SET response=NULL WHERE nonce='bus-echo-1'",
                " response",
            ),
            (
                "UPDATE beam_messages SET created_at=created_at*1000 WHERE nonce='bus-echo-1'",
                " created_at",
            ),
            (
                "UPDATE beam_messages SET sender=recipient, recipient=sender WHERE nonce='bus-echo-1'",
                " sender",
            ),
            (
                "UPDATE beam_messages SET status='queued', next_retry_at=1 WHERE nonce='bus-echo-1'",
                " status",
            ),
        ] {
            let judged = judged_after(Service::Bus, sql);
            let wanted = format!("nonce=bus-echo-1]{column}");
            assert!(
                subjects(&judged).iter().any(|one| one.ends_with(&wanted)),
                "{sql}: {:?}",
                judged.findings
            );
        }
    }

    #[test]
    fn personal_data_and_secrets_are_not_in_findings() {
        let judged = judged_after(
            Service::Directory,
            "UPDATE waitlist SET email='new@secret.example'; DELETE FROM admin_magic_links",
        );
        let text = format!("{:?}", judged.findings);
        assert!(
            !text.contains("secret.example") && !text.contains("alpha.example"),
            "{text}"
        );
    }

    #[test]
    fn a_required_table_without_rows_fails_even_when_all_places_agree() {
        let source = plain_at_rest();
        alter(
            &file(&source, Service::Directory),
            "DELETE FROM agents; DELETE FROM workspaces",
        );
        let path = file(&source, Service::Directory);
        let facts = observe(
            Service::Directory,
            &[(Place::Snapshot, &path), (Place::Restored, &path)],
        )
        .expect("read");
        let judged = judge(&facts, &BTreeSet::from(["workspaces".to_owned()]));
        assert_eq!(subjects(&judged), ["agents", "workspaces", "agents", "workspaces"]);
    }

    #[test]
    fn nothing_compared_with_nothing_is_inconclusive() {
        let none = Facts {
            service: Service::Bus,
            sides: Vec::new(),
            differences: Vec::new(),
            unreadable: Vec::new(),
        };
        assert_eq!(judge(&none, &BTreeSet::new()).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn a_damaged_page_or_garbage_is_a_finding_and_not_an_error() {
        let (source, snapshot) = (plain_at_rest(), plain_at_rest());
        let (one, two) = (file(&source, Service::Bus), file(&snapshot, Service::Bus));
        let look = || {
            let facts = observe(Service::Bus, &[(Place::Source, &one), (Place::Snapshot, &two)]).expect("read");
            judge(&facts, &BTreeSet::new())
        };
        let mut bytes = std::fs::read(&two).expect("read");
        bytes[4_096] = 0x7f;
        std::fs::write(&two, &bytes).expect("written");
        assert_eq!(subjects(&look()), ["table beam_messages"]);
        std::fs::write(&two, b"garbage").expect("written");
        assert_eq!(subjects(&look()), ["the file"]);
    }
}
