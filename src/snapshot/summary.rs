//! What a manifest and an evidence record say of one plain database file.

use crate::deployment::schema::Fingerprints;
use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::digest::{self, Pragmas, TableSummary};
use crate::snapshot::schema_rows::schema_facts;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Page facts of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageFacts {
    /// Bytes of a page.
    pub page_size: i64,
    /// Pages in the file.
    pub page_count: i64,
    /// Unused pages among them.
    pub freelist_count: i64,
}

/// Everything that is counted and hashed of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Pragmas that belong to the content.
    pub pragmas: Pragmas,
    /// Page facts.
    pub pages: PageFacts,
    /// Schema fingerprints.
    pub schema: Fingerprints,
    /// Row count and digest per table, sorted by name.
    pub tables: Vec<TableSummary>,
    /// Digest over all of it but pages and schema.
    pub digest: String,
}

impl Summary {
    /// The summary of one table.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&TableSummary> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// Version of the SQLite that this harness reads with.
#[must_use]
pub fn sqlite_version() -> &'static str {
    rusqlite::version()
}

/// Summarises a plain file.
///
/// # Errors
/// [`DatabaseError`] when it is no database or a page is damaged.
pub fn summarise(path: &Path) -> Result<Summary, DatabaseError> {
    summarise_open(&Database::open(path)?)
}

/// Summarises an open database.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn summarise_open(database: &Database) -> Result<Summary, DatabaseError> {
    let number = |name: &str| {
        database
            .connection()
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
            .map_err(|source| database.unreadable(name, source))
    };
    let tables = digest::tables(database)?;
    let pragmas = digest::pragmas(database)?;
    Ok(Summary {
        pages: PageFacts {
            page_size: number("page_size")?,
            page_count: number("page_count")?,
            freelist_count: number("freelist_count")?,
        },
        schema: schema_facts(database)?.fingerprints(),
        digest: digest::database(&tables, &pragmas),
        pragmas,
        tables,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::consolidate::consolidate;
    use crate::snapshot::raw::observe_set;
    use crate::snapshot::recorded;

    #[test]
    fn a_recorded_set_has_its_recorded_counts() {
        let set = recorded::at_rest();
        let text = std::fs::read_to_string(set.path().join("expected-counts.json")).expect("read");
        let expected: serde_json::Value = serde_json::from_str(&text).expect("parsed");
        let into = tempfile::tempdir().expect("a temporary folder");
        for service in Service::ALL {
            let raw = observe_set(service, set.path()).expect("observed");
            let made = consolidate(&raw, into.path()).expect("consolidated");
            let summary = summarise(&made.path).expect("summarised");
            let counts = expected[service.database_file()]["tables"].as_object().expect("counts");
            for (table, rows) in counts {
                assert_eq!(summary.table(table).map(|table| table.rows), rows.as_u64(), "{table}");
            }
        }
    }

    #[test]
    fn a_summary_leaves_nothing_beside_the_file() {
        let set = recorded::at_rest();
        let into = tempfile::tempdir().expect("a temporary folder");
        let raw = observe_set(Service::Bus, set.path()).expect("observed");
        let made = consolidate(&raw, into.path()).expect("consolidated");
        summarise(&made.path).expect("summarised");
        assert_eq!(std::fs::read_dir(into.path()).expect("listed").count(), 1);
    }
}
