//! `startup-diff`: did the first start change exactly what was predicted?
//!
//! The prediction comes from the snapshot's rows ([`crate::checks::start_rules`]); the running services' files are read
//! with one read transaction each. Anything else is a finding, and so is a predicted change that did not happen.

use crate::checks::prediction::{Compared, Outcome, Window, compare};
use crate::checks::start_rules::predict;
use crate::deployment::Service;
use crate::deployment::schema::{SchemaDifference, check_differences, shape_differences};
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::database::{Database, DatabaseError, Databases};
use crate::snapshot::difference::table_difference;
use crate::snapshot::digest;
use crate::snapshot::schema_rows::schema_facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The check.
pub const ID: CheckId = CheckId::StartupDiff;
const ROW_CAP: usize = 100_000;

/// What was seen of both services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// From the start request to the look.
    pub window: Window,
    /// Tables that were compared.
    pub tables: u64,
    /// Every prediction and every change.
    pub compared: Vec<Compared>,
    /// What the start did to the schemas.
    pub schema: Vec<(Service, SchemaDifference)>,
}

/// Compares the snapshot's files with the running services' files.
///
/// # Errors
/// [`DatabaseError`].
pub fn observe(snapshot: &Databases, running: &Databases, window: Window) -> Result<Facts, DatabaseError> {
    let predicted = predict(snapshot, &window)?;
    let mut facts = Facts {
        window,
        tables: 0,
        compared: Vec::new(),
        schema: Vec::new(),
    };
    for service in Service::ALL {
        let (before, after) = (snapshot.of(service), running.of(service));
        let (was, is) = (schema_facts(before)?, schema_facts(after)?);
        let changed = shape_differences(&was, &is)
            .into_iter()
            .chain(check_differences(&was, &is));
        facts.schema.extend(changed.map(|one| (service, one)));
        for table in tables(before, after)? {
            facts.tables += 1;
            let changes = if digest::table(before, &table)? == digest::table(after, &table)? {
                Vec::new()
            } else {
                table_difference(before, after, &table, ROW_CAP)?.changes
            };
            facts
                .compared
                .extend(compare(service, &table, &predicted, &changes, &window));
        }
    }
    Ok(facts)
}

/// Tables on both sides: one that appears or goes is a difference of the schema. Without any AUTOINCREMENT row yet
/// `sqlite_sequence` is there all the same.
fn tables(before: &Database, after: &Database) -> Result<Vec<String>, DatabaseError> {
    let theirs: BTreeSet<String> = after.content_tables()?.into_iter().collect();
    Ok(before
        .content_tables()?
        .into_iter()
        .filter(|name| theirs.contains(name))
        .collect())
}

/// Judges: only predicted changes, and all of them.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let count = |outcome| facts.compared.iter().filter(|one| one.outcome == outcome).count();
    let (so, missing) = (count(Outcome::AsPredicted), count(Outcome::DidNotHappen));
    let mut judged = Judgement {
        items: facts.tables,
        expected: format!("{} predicted changes", so + missing),
        observed: format!(
            "{so} as predicted, {missing} did not happen, {} otherwise, {} unpredicted",
            count(Outcome::Otherwise),
            count(Outcome::Unpredicted)
        ),
        ..Judgement::default()
    };
    for (service, one) in &facts.schema {
        judged.findings.push(Finding::new(
            one.subject.clone(),
            short(&one.expected),
            short(&one.observed),
            format!("schema of the running {service}"),
        ));
    }
    let mut rules = BTreeSet::new();
    for one in &facts.compared {
        let place = format!("running {}", one.service.database_file());
        let because = |text: &str| {
            if one.rule.is_empty() {
                text.to_owned()
            } else {
                format!("{text}: {}", one.rule)
            }
        };
        match one.outcome {
            Outcome::AsPredicted => drop(rules.insert(one.rule.as_str())),
            _ => judged.findings.push(Finding::new(
                one.subject.as_str(),
                because(&one.expected),
                one.observed.as_str(),
                place,
            )),
        }
    }
    judged.notes = rules
        .into_iter()
        .map(|rule| format!("predicted and seen: {rule}"))
        .collect();
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{alter, file, hot_crash, plain_at_rest};
    use tempfile::TempDir;

    /// 30 November 2026, long after the recorded rows.
    const WINDOW: Window = Window {
        start_requested_ms: 1_796_000_000_000,
        looked_at_ms: 1_796_000_000_500,
    };
    const ISO: &str = "2026-11-30T00:53:20.100Z";
    const DIRECTORY_START: &str =
        "UPDATE sqlite_sequence SET seq=seq+(SELECT count(*) FROM agents) WHERE name='agent_keys';";
    const BUS_START: &str = "UPDATE beam_messages SET status='queued', next_retry_at=1796000000.1, error='recovered', \
        failed_at=NULL WHERE status IN ('received','dispatched');";

    /// What a directory does with an unfinished intent.
    fn recovered(statuses: &str, code: &str) -> String {
        format!(
            "INSERT INTO intent_trace_events(nonce, from_beam_id, to_beam_id, intent_type, stage, status, timestamp, details)
               SELECT nonce, from_beam_id, to_beam_id, intent_type, 'failed', 'failed', '{ISO}',
                 json_object('transport', 'recovery', 'previousStatus', status, 'recoveredOnBoot', json('true'))
               FROM intent_log WHERE status IN ({statuses});
             INSERT INTO trust_scores(source_beam_id, target_beam_id, score, last_updated)
               SELECT from_beam_id, to_beam_id, 0.45, '{ISO}' FROM intent_log WHERE status IN ({statuses})
                 AND from_beam_id IN (SELECT beam_id FROM agents) AND to_beam_id IN (SELECT beam_id FROM agents);
             UPDATE intent_log SET status='failed', error_code='{code}', completed_at='{ISO}', result_json='{{}}',
               round_trip_latency_ms=1796000000100-CAST(round((julianday(requested_at)-2440587.5)*86400000) AS INTEGER)
               WHERE status IN ({statuses});"
        )
    }

    fn judged(before: &TempDir, directory: &str, bus: &str) -> Judgement {
        let after = tempfile::tempdir().expect("a temporary folder");
        for service in Service::ALL {
            std::fs::copy(file(before, service), file(&after, service)).expect("copied");
        }
        alter(&file(&after, Service::Directory), directory);
        alter(&file(&after, Service::Bus), bus);
        let snapshot = Databases::open(before.path()).expect("opened");
        let running =
            Databases::open_live(&file(&after, Service::Directory), &file(&after, Service::Bus)).expect("opened");
        judge(&observe(&snapshot, &running, WINDOW).expect("read"))
    }

    #[test]
    fn a_start_that_only_moves_the_sequence_passes() {
        let judged = judged(&plain_at_rest(), DIRECTORY_START, BUS_START);
        assert_eq!((judged.verdict(), judged.findings), (Verdict::Pass, Vec::new()));
        assert_eq!(judged.items, 52);
    }

    #[test]
    fn a_predicted_change_that_does_not_happen_is_a_finding() {
        let judged = judged(&plain_at_rest(), "", "");
        assert_eq!(judged.findings.len(), 1, "{:?}", judged.findings);
        assert_eq!(judged.findings[0].subject, "sqlite_sequence[name=agent_keys]");
    }

    #[test]
    fn a_change_that_nobody_predicted_is_a_finding() {
        for (directory, bus, subject) in [
            (
                "UPDATE agents SET plan='paid' WHERE beam_id LIKE 'recv@%';",
                "",
                "agents[beam_id=recv@northwind.beam.directory] plan",
            ),
            ("DELETE FROM rate_limits;", "", "rate_limits["),
            (
                "INSERT INTO funnel_events SELECT 99, session_id, origin, page_key, event_category, cta_key, target_page, workflow_type, milestone_key, created_at FROM funnel_events;",
                "",
                "funnel_events[id=99]",
            ),
            (
                "UPDATE intent_log SET status='failed' WHERE id=1;",
                "",
                "intent_log[id=1, nonce=drill-echo-1] status",
            ),
            ("ALTER TABLE agents ADD COLUMN region TEXT;", "", "column agents.region"),
            ("DROP INDEX idx_agents_org;", "", "index idx_agents_org on agents"),
            (
                "",
                "UPDATE beam_messages SET status='queued' WHERE nonce='bus-echo-1'",
                "nonce=bus-echo-1] status",
            ),
            (
                "UPDATE sqlite_sequence SET seq=seq+1 WHERE name='agent_keys';",
                "",
                "sqlite_sequence[name=agent_keys] seq",
            ),
        ] {
            let judged = judged(&plain_at_rest(), &format!("{DIRECTORY_START}{directory}"), bus);
            let found = judged.findings.iter().any(|one| one.subject.contains(subject));
            assert!(found, "{directory}{bus}: {:?}", judged.findings);
        }
    }

    #[test]
    fn timed_out_intents_and_requeued_messages_are_predicted() {
        let start = format!("{DIRECTORY_START}{}", recovered("'delivered'", "TIMEOUT"));
        let judged = judged(&hot_crash(), &start, BUS_START);
        assert_eq!(judged.findings, []);
        assert_eq!(judged.notes.len(), 4, "{:?}", judged.notes);
    }

    #[test]
    fn rows_in_flight_fail_as_delivery_failed_and_nothing_else() {
        let before = hot_crash();
        alter(
            &file(&before, Service::Directory),
            "UPDATE intent_log SET status='dispatched' WHERE status='delivered'",
        );
        let right = format!("{DIRECTORY_START}{}", recovered("'dispatched'", "DELIVERY_FAILED"));
        assert_eq!(judged(&before, &right, BUS_START).findings, []);
        let wrong = format!("{DIRECTORY_START}{}", recovered("'dispatched'", "TIMEOUT"));
        assert_eq!(judged(&before, &wrong, BUS_START).findings.len(), 2);
        let untouched = judged(&before, DIRECTORY_START, BUS_START);
        assert!(
            untouched
                .findings
                .iter()
                .any(|one| one.subject == "intent_log[nonce=crash-hang-1]")
        );
    }

    #[test]
    fn a_requeue_that_is_not_done_is_a_finding() {
        let start = format!("{DIRECTORY_START}{}", recovered("'delivered'", "TIMEOUT"));
        assert_eq!(judged(&hot_crash(), &start, "").findings.len(), 2);
    }

    #[test]
    fn a_contact_date_that_was_cleared_is_filled_with_the_date_of_the_update() {
        let before = plain_at_rest();
        alter(
            &file(&before, Service::Directory),
            "UPDATE waitlist SET last_contact_at=NULL WHERE id=1",
        );
        let fill = format!("{DIRECTORY_START} UPDATE waitlist SET last_contact_at=updated_at WHERE id=1;");
        assert_eq!(judged(&before, &fill, "").findings, []);
        let other = format!("{DIRECTORY_START} UPDATE waitlist SET last_contact_at='2026' WHERE id=1;");
        assert_eq!(
            judged(&before, &other, "").findings[0].subject,
            "waitlist[id=1] last_contact_at"
        );
    }

    #[test]
    fn a_missing_key_row_and_an_empty_digest_schedule_are_filled() {
        let before = plain_at_rest();
        alter(
            &file(&before, Service::Directory),
            "DELETE FROM agent_keys WHERE id=1; DELETE FROM openclaw_fleet_digest_schedules;",
        );
        let start = format!(
            "INSERT INTO agent_keys(id, beam_id, public_key, created_at) SELECT 6, beam_id, public_key, 1796000000100
               FROM agents a WHERE NOT EXISTS (SELECT 1 FROM agent_keys k WHERE k.public_key=a.public_key);
             UPDATE sqlite_sequence SET seq=10 WHERE name='agent_keys';
             INSERT INTO openclaw_fleet_digest_schedules(id, created_at, updated_at) VALUES (1, '{ISO}', '{ISO}');"
        );
        assert_eq!(judged(&before, &start, "").findings, []);
        let late = start.replace("2026-11-30", "2026-11-29");
        assert_eq!(judged(&before, &late, "").findings.len(), 2);
    }

    #[test]
    fn no_table_at_all_is_inconclusive() {
        let none = Facts {
            window: WINDOW,
            tables: 0,
            compared: Vec::new(),
            schema: Vec::new(),
        };
        assert_eq!(judge(&none).verdict(), Verdict::Inconclusive);
    }
}
