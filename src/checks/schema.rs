//! `schema`: is the snapshot's schema the source's, object for object, and the one that clean instances create?
//!
//! Against the source (an independent copy) text, shape and checks must be equal; against the clean instance the shape,
//! where a CHECK difference is a note: migrated files lawfully lack some. Statistics: `sqlite_stat1` must be the source's,
//! or what ANALYZE of a scratch copy gives; `sqlite_stat4` is only noted.

use crate::deployment::Service;
use crate::deployment::schema::{
    Fingerprints, SchemaDifference, SchemaFacts, check_differences, differences, shape_differences,
};
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::database::{Database, DatabaseError, harden};
use crate::snapshot::digest::pragmas;
use crate::snapshot::schema_rows::schema_facts;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The check.
pub const ID: CheckId = CheckId::Schema;

/// Why it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A database could not be read.
    #[error("cannot read a schema")]
    Database {
        /// The cause.
        #[from]
        source: DatabaseError,
    },
    /// No scratch copy could be made.
    #[error("cannot make a scratch copy to analyse")]
    Copy {
        /// The cause.
        #[from]
        source: CopyError,
    },
    /// ANALYZE of the scratch copy failed.
    #[error("cannot analyse a scratch copy of {path}")]
    Analyse {
        /// The file it was copied from.
        path: PathBuf,
        /// The cause.
        source: rusqlite::Error,
    },
}

/// What was seen of `sqlite_stat1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistics {
    /// The snapshot has none.
    Absent,
    /// The source has the same.
    AsSource,
    /// The source has others or none, but ANALYZE of a scratch copy gives the same.
    AsAnalysed,
    /// Neither.
    Bogus,
}

/// What was seen of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whose schema.
    pub service: Service,
    /// Objects in the snapshot's schema: elements of its shape and its checks.
    pub objects: u64,
    /// The snapshot's fingerprints.
    pub snapshot: Fingerprints,
    /// The source's; `null` under `--from`.
    pub source: Option<Fingerprints>,
    /// The clean instance's; `null` where there was none.
    pub clean: Option<Fingerprints>,
    /// Differences from the source in text, shape and checks.
    pub from_source: Vec<SchemaDifference>,
    /// Differences from the clean instance's shape.
    pub from_clean: Vec<SchemaDifference>,
    /// Differences from the clean instance's checks.
    pub checks_from_clean: Vec<SchemaDifference>,
    /// Pragmas that differ from the source's, or without one from the clean instance's: name, expected, observed.
    pub pragmas: Vec<(String, String, String)>,
    /// The statistics rule.
    pub statistics: Statistics,
    /// Whether `sqlite_stat4` is there.
    pub has_stat4: bool,
}

/// Reads the schemas. All paths are plain files or copies of them; `scratch` takes a temporary copy.
///
/// # Errors
/// [`ObserveError`].
pub fn observe(
    service: Service,
    snapshot: &Path,
    source: Option<&Path>,
    clean: Option<&Path>,
    scratch: &Path,
) -> Result<Facts, ObserveError> {
    let database = Database::open(snapshot)?;
    let facts = schema_facts(&database)?;
    let source = source.map(Database::open).transpose()?;
    let clean = clean.map(Database::open).transpose()?;
    let source_facts = source.as_ref().map(schema_facts).transpose()?;
    let clean_facts = clean.as_ref().map(schema_facts).transpose()?;
    let against = |other: &Option<SchemaFacts>, compare: fn(&SchemaFacts, &SchemaFacts) -> Vec<SchemaDifference>| {
        other.as_ref().map(|other| compare(other, &facts)).unwrap_or_default()
    };
    let pragma_differences = match source.as_ref().or(clean.as_ref()) {
        Some(other) => pragmas(other)?.differences(&pragmas(&database)?),
        None => Vec::new(),
    };
    Ok(Facts {
        service,
        objects: (facts.shape.len() + facts.checks.len()) as u64,
        snapshot: facts.fingerprints(),
        source: source_facts.as_ref().map(SchemaFacts::fingerprints),
        clean: clean_facts.as_ref().map(SchemaFacts::fingerprints),
        from_source: against(&source_facts, differences),
        from_clean: against(&clean_facts, shape_differences),
        checks_from_clean: against(&clean_facts, check_differences),
        pragmas: pragma_differences
            .into_iter()
            .map(|(name, expected, observed)| (name.to_owned(), expected, observed))
            .collect(),
        statistics: statistics(&database, source.as_ref(), scratch)?,
        has_stat4: !stat_rows(&database, "sqlite_stat4")?.is_empty(),
    })
}

fn statistics(database: &Database, source: Option<&Database>, scratch: &Path) -> Result<Statistics, ObserveError> {
    let ours = stat_rows(database, "sqlite_stat1")?;
    if ours.is_empty() {
        return Ok(Statistics::Absent);
    }
    if let Some(source) = source
        && stat_rows(source, "sqlite_stat1")? == ours
    {
        return Ok(Statistics::AsSource);
    }
    let analysed = analysed(database.path(), scratch)?;
    Ok(if analysed == ours {
        Statistics::AsAnalysed
    } else {
        Statistics::Bogus
    })
}

/// `sqlite_stat1` as ANALYZE makes it on a scratch copy.
fn analysed(path: &Path, scratch: &Path) -> Result<Vec<String>, ObserveError> {
    let failed = |source| ObserveError::Analyse {
        path: path.to_owned(),
        source,
    };
    let write = |source| CopyError::Write {
        path: scratch.to_owned(),
        source,
    };
    let folder = tempfile::tempdir_in(scratch).map_err(write)?;
    let copy = folder.path().join("analysed.db");
    copying::copy_scratch(path, &copy)?;
    let mut connection = rusqlite::Connection::open(&copy).map_err(failed)?;
    let bytes = copy.metadata().map_or(0, |facts| facts.len());
    harden(&mut connection, bytes)
        .and_then(|_| connection.execute_batch("PRAGMA query_only=OFF; PRAGMA synchronous=OFF; ANALYZE;"))
        .map_err(failed)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(stat_rows(&Database::open(&copy)?, "sqlite_stat1")?)
}

/// The rows of a statistics table as sorted text; none when there is no such table.
fn stat_rows(database: &Database, table: &str) -> Result<Vec<String>, DatabaseError> {
    let there = database.rows("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?1", &[table])?;
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let rows = database.rows(&format!("SELECT * FROM {table}"), &[])?;
    let mut lines: Vec<String> = rows.iter().map(|row| format!("{row:?}")).collect();
    lines.sort();
    Ok(lines)
}

/// Judges: equal to the source in all three, to the clean instance in shape.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let place = |other: &str| format!("snapshot {} against {other}", facts.service.database_file());
    let compared = u64::from(facts.source.is_some()) + u64::from(facts.clean.is_some());
    let mut judged = Judgement {
        items: facts.objects * compared,
        expected: expected(facts),
        observed: format!("shape {}, {} objects", head(&facts.snapshot.shape), facts.objects),
        ..Judgement::default()
    };
    for (all, other) in [
        (&facts.from_source, "the source"),
        (&facts.from_clean, "the clean instance"),
    ] {
        for one in all {
            let finding = Finding::new(
                one.subject.clone(),
                short(&one.expected),
                short(&one.observed),
                place(other),
            );
            // The same object against both says nothing new.
            if !judged.findings.iter().any(|known| known.subject == finding.subject) {
                judged.findings.push(finding);
            }
        }
    }
    for (name, expected, observed) in &facts.pragmas {
        let subject = format!("pragma {name}");
        judged.findings.push(Finding::new(
            subject,
            expected.as_str(),
            observed.as_str(),
            place(if facts.source.is_some() {
                "the source"
            } else {
                "the clean instance"
            }),
        ));
    }
    if facts.statistics == Statistics::Bogus {
        judged.findings.push(Finding::new(
            "sqlite_stat1",
            "the source's statistics, or those of ANALYZE on a copy",
            "others",
            place("ANALYZE of a scratch copy"),
        ));
    }
    judged.notes.extend(notes(facts));
    judged
}

fn expected(facts: &Facts) -> String {
    let side = |name: &str, prints: &Option<Fingerprints>| {
        prints
            .as_ref()
            .map(|prints| format!("shape {} ({name})", head(&prints.shape)))
    };
    let sides = [side("source", &facts.source), side("clean", &facts.clean)];
    sides.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn notes(facts: &Facts) -> Vec<String> {
    let mut notes: Vec<String> = facts
        .checks_from_clean
        .iter()
        .map(|one| {
            format!(
                "{}: {} in the clean instance, {} here",
                one.subject, one.expected, one.observed
            )
        })
        .collect();
    if facts.statistics == Statistics::AsAnalysed {
        notes.push("sqlite_stat1 is not the source's, but what ANALYZE of a copy gives".to_owned());
    }
    if facts.has_stat4 {
        notes.push("sqlite_stat4 is present".to_owned());
    }
    notes
}

fn head(fingerprint: &str) -> &str {
    fingerprint.get(..12).unwrap_or(fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{alter, file, plain_at_rest};

    fn facts_after(service: Service, sql: &str) -> Facts {
        let (source, snapshot) = (plain_at_rest(), plain_at_rest());
        alter(&file(&snapshot, service), sql);
        let (one, two) = (file(&source, service), file(&snapshot, service));
        observe(service, &two, Some(&one), Some(&one), snapshot.path()).expect("read")
    }

    #[test]
    fn an_equal_schema_passes() {
        let judged = judge(&facts_after(Service::Directory, "VACUUM"));
        assert_eq!(judged.verdict(), Verdict::Pass);
        assert!(judged.items > 500);
    }

    #[test]
    fn every_fault_of_the_schema_is_found_and_named() {
        for (service, sql, subject) in [
            (
                Service::Bus,
                "DROP INDEX idx_beam_nonce",
                "index idx_beam_nonce on beam_messages",
            ),
            (
                Service::Bus,
                "DROP INDEX idx_beam_nonce; CREATE INDEX idx_beam_nonce ON beam_messages(nonce)",
                "index idx_beam_nonce on beam_messages",
            ),
            (
                Service::Directory,
                "CREATE TRIGGER lower AFTER UPDATE ON agents BEGIN UPDATE agents SET trust_score=0; END",
                "trigger lower on agents",
            ),
            (
                Service::Directory,
                "ALTER TABLE reports RENAME TO old; CREATE VIEW reports AS SELECT * FROM old",
                "view reports",
            ),
            (
                Service::Directory,
                "CREATE TABLE w AS SELECT * FROM workspaces; DROP TABLE workspaces; ALTER TABLE w RENAME TO workspaces",
                "unique constraint on workspaces(slug)",
            ),
            (
                Service::Directory,
                "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql=replace(sql, \
                 'CHECK(status IN (''active'', ''paused'', ''archived''))', '') WHERE name='workspaces'",
                "CHECK ( status in ( 'active' , 'paused' , 'archived' ) ) of workspaces",
            ),
            (Service::Directory, "CREATE TABLE residue(x)", "table residue"),
            (Service::Directory, "PRAGMA user_version=7", "pragma user_version"),
            (
                Service::Directory,
                "ANALYZE; UPDATE sqlite_stat1 SET stat='1 1' WHERE tbl='agents'",
                "sqlite_stat1",
            ),
        ] {
            let judged = judge(&facts_after(service, sql));
            assert_eq!(judged.verdict(), Verdict::Fail, "{sql}");
            let found = judged.findings.iter().any(|one| one.subject == subject);
            assert!(found, "{sql}: {:?}", judged.findings);
        }
    }

    #[test]
    fn genuine_statistics_are_a_note() {
        let judged = judge(&facts_after(Service::Directory, "ANALYZE"));
        assert_eq!(judged.verdict(), Verdict::Pass, "{:?}", judged.findings);
        assert!(judged.notes.iter().any(|note| note.contains("sqlite_stat1")));
    }

    #[test]
    fn a_check_that_only_the_clean_instance_has_is_a_note() {
        let (clean, snapshot) = (plain_at_rest(), plain_at_rest());
        let path = file(&snapshot, Service::Directory);
        alter(
            &path,
            "PRAGMA writable_schema=ON; UPDATE sqlite_schema SET sql=replace(sql, \
             'CHECK(status IN (''active'', ''paused'', ''archived''))', '') WHERE name='workspaces'",
        );
        let clean = file(&clean, Service::Directory);
        let facts = observe(Service::Directory, &path, None, Some(&clean), snapshot.path()).expect("read");
        let judged = judge(&facts);
        assert_eq!((judged.verdict(), judged.notes.len()), (Verdict::Pass, 1));
    }

    #[test]
    fn compared_with_nobody_is_inconclusive() {
        let folder = plain_at_rest();
        let path = file(&folder, Service::Bus);
        let facts = observe(Service::Bus, &path, None, None, folder.path()).expect("read");
        assert_eq!(judge(&facts).verdict(), Verdict::Inconclusive);
    }
}
