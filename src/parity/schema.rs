//! Do the environments' databases have the same schema?
//!
//! A database is never opened in place: its files are copied first. Shapes must be equal; a CHECK that differs is a note, since
//! migrated files lawfully lack some.

use crate::deployment::Service;
use crate::deployment::compared::Aspect;
use crate::deployment::given_file;
use crate::deployment::schema::{SchemaFacts, check_differences, shape_differences};
use crate::evidence::{Finding, Judgement, short};
use crate::parity::capture::Looks;
use crate::parity::fresh::Fresh;
use crate::snapshot::copying;
use crate::snapshot::database::{Database, DatabaseError, beside, run_given};
use crate::snapshot::schema_rows::schema_facts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The schema of one service's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The file it was read from.
    #[serde(rename = "where")]
    pub place: String,
    /// Hash of its shape.
    pub shape: String,
    /// Hash of its CHECK expressions.
    pub checks: String,
    /// What both are made of.
    pub facts: SchemaFacts,
}

/// What was seen of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Service → its schema.
    pub databases: BTreeMap<Service, Seen>,
}

/// Why a schema could not be seen.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("cannot be read; give a database file, a snapshot's folder or a file of SQL")]
    Read(#[source] std::io::Error),
    #[error("has no {0}")]
    NoFile(&'static str),
    #[error("cannot be copied to be read")]
    Copy(#[from] copying::CopyError),
    #[error("is no readable database")]
    Database(#[from] DatabaseError),
    #[error("is no SQL that makes a schema")]
    Sql(#[source] rusqlite::Error),
    #[error("holds no table")]
    Empty,
}

/// Reads copies of what the file names for each service.
pub(crate) fn observe(looks: &mut Looks<'_>, fresh: Option<&Fresh>) -> Facts {
    let mut facts = Facts::default();
    for service in Service::ALL {
        let settings = &looks.environment.schema;
        let named = match service {
            Service::Directory => &settings.directory,
            Service::Bus => &settings.bus,
        };
        // `data` was joined with the file's folder when it was read.
        let data = &looks.environment.service(service).data;
        let Some((shown, path)) = named
            .as_ref()
            .map(|named| (named.display().to_string(), looks.folder.join(named)))
            .or_else(|| data.as_ref().map(|data| (format!("[{service}] data"), data.clone())))
        else {
            let created = fresh.and_then(|fresh| fresh.schemas.iter().find(|(of, _)| *of == service));
            if let Some((_, created)) = created {
                facts
                    .databases
                    .insert(service, seen("created on empty files", created.clone()));
                continue;
            }
            let what_to_do = "nothing says where its schema is seen; name a database file, snapshot or SQL file";
            looks.missing(Aspect::Schema, &format!("[schema] {service}"), what_to_do);
            continue;
        };
        let seen = read(service, &path).map(|facts| seen(&shown, facts));
        if let Some(seen) = looks.note(Aspect::Schema, &shown, None, seen) {
            facts.databases.insert(service, seen);
        }
    }
    facts
}

fn seen(place: &str, facts: SchemaFacts) -> Seen {
    let prints = facts.fingerprints();
    Seen {
        place: place.to_owned(),
        shape: prints.shape,
        checks: prints.checks,
        facts,
    }
}

fn read(service: Service, path: &Path) -> Result<SchemaFacts, LookError> {
    let scratch = tempfile::tempdir().map_err(LookError::Read)?;
    let copy = scratch.path().join(service.database_file());
    if path.extension().is_some_and(|ending| ending == "sql") {
        let text = given_file::settings(path).map_err(LookError::Read)?;
        let mut connection = rusqlite::Connection::open(&copy).map_err(LookError::Sql)?;
        run_given(&mut connection, &text).map_err(LookError::Sql)?;
    } else {
        let main = main_file(service, path)?;
        copying::copy_scratch(&main, &copy)?;
        let wal = beside(&main, "-wal");
        if wal.is_file() {
            copying::copy_scratch(&wal, &beside(&copy, "-wal"))?;
        }
    }
    let facts = schema_facts(&Database::open_scratch(&copy)?)?;
    if facts.shape.is_empty() {
        Err(LookError::Empty)
    } else {
        Ok(facts)
    }
}

fn main_file(service: Service, path: &Path) -> Result<PathBuf, LookError> {
    if !path.metadata().map_err(LookError::Read)?.is_dir() {
        return Ok(path.to_owned());
    }
    let main = path.join(service.database_file());
    if main.is_file() {
        Ok(main)
    } else {
        Err(LookError::NoFile(service.database_file()))
    }
}

/// Whether one service's database holds a table of the other: both had one `DB_PATH`.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let shown =
        |(service, seen): (&Service, &Seen)| format!("{service} {}", seen.shape.get(..12).unwrap_or(&seen.shape));
    let all: Vec<String> = facts.databases.iter().map(shown).collect();
    let mut judged = Judgement {
        expected: "each service's own tables, as in the reference".to_owned(),
        observed: if all.is_empty() {
            "no schema seen".to_owned()
        } else {
            all.join(", ")
        },
        ..Judgement::default()
    };
    for (service, seen) in &facts.databases {
        for other in Service::ALL.into_iter().filter(|other| other != service) {
            let marker = other.marker_table();
            if seen.facts.shape.values().any(|element| element.table == marker) {
                judged.findings.push(Finding::new(
                    format!("{service} {marker}"),
                    format!("no table of the {other}"),
                    format!("{marker}: both services had one DB_PATH"),
                    &seen.place,
                ));
            }
        }
        if !seen
            .facts
            .shape
            .values()
            .any(|element| element.table == service.marker_table())
        {
            let (subject, expected) = (
                format!("{service} {}", service.marker_table()),
                "the service's own table",
            );
            judged
                .findings
                .push(Finding::new(subject, expected, "absent", &seen.place));
        }
    }
    judged
}

/// Every table, column and index must be that of the reference.
#[must_use]
pub fn compare(reference: &Facts, facts: &Facts) -> Judgement {
    let mut judged = Judgement::default();
    for (service, seen) in &facts.databases {
        let Some(wanted) = reference.databases.get(service) else {
            continue;
        };
        judged.items += seen.facts.shape.len().max(1) as u64;
        for difference in shape_differences(&wanted.facts, &seen.facts) {
            judged.findings.push(Finding::new(
                format!("{service} {}", difference.subject),
                short(&difference.expected),
                short(&difference.observed),
                &seen.place,
            ));
        }
        for difference in check_differences(&wanted.facts, &seen.facts) {
            let place = &seen.place;
            judged
                .notes
                .push(format!("{place}: CHECK differs in {}", short(&difference.subject)));
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts_of(service: Service, sql: &str) -> Facts {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("schema.sql");
        std::fs::write(&file, sql).unwrap();
        let facts = read(service, &file).unwrap();
        Facts {
            databases: BTreeMap::from([(service, seen("schema.sql", facts))]),
        }
    }

    const BUS: &str =
        "CREATE TABLE beam_messages (id TEXT PRIMARY KEY, nonce TEXT); CREATE UNIQUE INDEX n ON beam_messages(nonce);";

    #[test]
    fn a_missing_index_is_found_by_name() {
        let without = BUS.split("CREATE UNIQUE").next().unwrap();
        let judged = compare(&facts_of(Service::Bus, BUS), &facts_of(Service::Bus, without));
        assert_eq!(judged.findings.len(), 1, "{judged:?}");
        assert_eq!(judged.findings[0].observed, "absent");
    }

    #[test]
    fn the_order_of_columns_does_not_matter() {
        let other = BUS.replace("id TEXT PRIMARY KEY, nonce TEXT", "nonce TEXT, id TEXT PRIMARY KEY");
        assert!(
            compare(&facts_of(Service::Bus, BUS), &facts_of(Service::Bus, &other))
                .findings
                .is_empty()
        );
    }

    #[test]
    fn two_schemas_in_one_file_are_found() {
        let both = format!("{BUS} CREATE TABLE intent_log (nonce TEXT);");
        assert_eq!(
            judge(&facts_of(Service::Bus, &both)).findings[0].subject,
            "bus intent_log"
        );
    }
}
