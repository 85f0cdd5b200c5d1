//! The locked schemas: `directory.sql` and `bus.sql` in one folder, with `CHANGES.md`, the list of what was accepted.
//!
//! A lock is SQL that SQLite runs. Which lock was accepted last stands in `CHANGES.md` as fingerprints, so that a lock that
//! was edited by hand is noticed.

use crate::deployment::Service;
use crate::deployment::given_file;
use crate::deployment::schema::{Fingerprints, Schema};
use crate::deployment::schema_change::{SchemaChange, with_observed_names};
use crate::deployment::schema_sql;
use crate::evidence::{StoreError, write_atomically};
use crate::gate::changes::changes;
use crate::snapshot::database::DatabaseError;
use crate::snapshot::schema_rows::{make_file, schema_of_sql};
use std::path::{Path, PathBuf};

/// The list of accepted changes, in the folder of the locks.
pub const CHANGES: &str = "CHANGES.md";

const INTRODUCTION: &str = "# Accepted schema changes\n\n\
    Written by `cargo xtask schema --write --reason \"…\"`, the latest at the end; never by hand. The gate holds the locked\n\
    schemas against the last fingerprints here, so that a lock that somebody edited is noticed.\n";

/// Why a lock could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// A file could not be read.
    #[error("cannot read {path}; `cargo xtask schema --write --reason \"…\"` makes it")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] StoreError),
    /// The lock is no SQL.
    #[error("{path} is no schema; take it from the last commit")]
    Sql {
        /// Which.
        path: PathBuf,
        /// What SQLite said.
        source: DatabaseError,
    },
    /// The schema holds something that the writer of locks does not know.
    #[error(
        "the schema of the {service} cannot be locked: written as SQL it would be another ({difference}); please report it"
    )]
    NotWritable {
        /// Whose.
        service: Service,
        /// The first difference.
        difference: String,
    },
    /// Nothing to accept.
    #[error("nothing to accept: no schema differs from its lock")]
    NoChange,
}

/// A locked schema.
#[derive(Debug, Clone)]
pub struct Lock {
    /// Whose.
    pub service: Service,
    /// Its file.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
    /// What it makes.
    pub schema: Schema,
    /// Whether its fingerprints are those that were accepted last.
    pub is_accepted: bool,
}

/// The file of a service's lock in a folder.
#[must_use]
pub fn file(folder: &Path, service: Service) -> PathBuf {
    folder.join(format!("{service}.sql"))
}

/// Reads a lock.
///
/// # Errors
/// [`LockError`].
pub fn read(folder: &Path, service: Service) -> Result<Lock, LockError> {
    let path = file(folder, service);
    let text = read_text(&path)?;
    let schema = schema_of_sql(&text, &path).map_err(|source| LockError::Sql {
        path: path.clone(),
        source,
    })?;
    let list = list(folder)?;
    Ok(Lock {
        service,
        path,
        is_accepted: accepted(&list, service) == Some(seal(&schema.facts.fingerprints())),
        schema,
        text,
    })
}

/// The list of accepted changes in a folder; empty where there is none yet.
///
/// # Errors
/// [`LockError::Read`].
pub fn list(folder: &Path) -> Result<String, LockError> {
    let path = folder.join(CHANGES);
    if path.exists() {
        read_text(&path)
    } else {
        Ok(String::new())
    }
}

/// The entries of the list, each from its heading on.
pub(crate) fn entries(list: &str) -> impl Iterator<Item = &str> {
    let mut starts: Vec<usize> = list.match_indices("\n## ").map(|(at, _)| at + 1).collect();
    starts.push(list.len());
    let parts: Vec<&str> = starts.windows(2).map(|pair| list[pair[0]..pair[1]].trim()).collect();
    parts.into_iter()
}

/// Makes a database file of a service's lock.
///
/// # Errors
/// [`LockError`].
pub fn make_database(folder: &Path, service: Service, database: &Path) -> Result<(), LockError> {
    let path = file(folder, service);
    let text = read_text(&path)?;
    make_file(&text, &path, database).map_err(|source| LockError::Sql { path, source })
}

fn read_text(path: &Path) -> Result<String, LockError> {
    given_file::settings(path).map_err(|source| LockError::Read {
        path: path.to_owned(),
        source,
    })
}

/// A schema as a lock has it; columns that the schema of `order` has too stand as there.
#[must_use]
pub fn text(service: Service, schema: &Schema, order: &Schema) -> String {
    format!(
        "-- The locked schema of the {service}: what it creates on an empty file, normalised.\n\
         -- `cargo xtask schema --check` compares it with what a {service} really creates. Not edited by hand: a change is\n\
         -- accepted by `cargo xtask schema --write --reason \"…\"`, which writes {CHANGES} too.\n\n{}",
        schema_sql::written(&schema.rows, &order.rows)
    )
}

/// Accepts observed schemas: writes the locks that change and says so, with the reason, in the list. `day` is the date as
/// it stands there. Gives the files written.
///
/// # Errors
/// [`LockError`]; nothing is written unless all locks can be.
pub fn accept(
    folder: &Path,
    observed: &[(Service, Schema)],
    reason: &str,
    day: &str,
) -> Result<Vec<PathBuf>, LockError> {
    let (mut files, mut added) = (Vec::new(), String::new());
    for (service, schema) in observed {
        let path = file(folder, *service);
        let known = path.exists().then(|| read(folder, *service)).transpose()?;
        let order = known.as_ref().map(|lock| with_observed_names(&lock.schema, schema));
        let order = order.as_ref().unwrap_or(schema);
        let changes = known.as_ref().map(|lock| changes(&lock.schema, schema));
        if changes.as_ref().is_some_and(Vec::is_empty) && known.as_ref().is_some_and(|lock| lock.is_accepted) {
            continue;
        }
        let text = text(*service, schema, order);
        check_round_trip(*service, schema, &text, &path)?;
        added.push_str(&entry(*service, schema, changes.as_deref(), reason, day));
        files.push((path, text));
    }
    if files.is_empty() {
        return Err(LockError::NoChange);
    }
    let mut all = list(folder)?;
    if all.is_empty() {
        INTRODUCTION.clone_into(&mut all);
    }
    all.push_str(&added);
    files.push((folder.join(CHANGES), all));
    for (path, text) in &files {
        write_atomically(path, text)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

/// The text must make the very schema that it was written from.
fn check_round_trip(service: Service, schema: &Schema, text: &str, path: &Path) -> Result<(), LockError> {
    let again = schema_of_sql(text, path).map_err(|source| LockError::Sql {
        path: path.to_owned(),
        source,
    })?;
    match changes(schema, &again).first() {
        None => Ok(()),
        Some(change) => Err(LockError::NotWritable {
            service,
            difference: format!("{} {}", change.subject, change.what),
        }),
    }
}

fn entry(service: Service, schema: &Schema, changes: Option<&[SchemaChange]>, reason: &str, day: &str) -> String {
    let mut text = format!(
        "\n## {day}, {service}\n\nReason: {}\n\n",
        reason.trim().replace('\n', " ")
    );
    match changes {
        None => text.push_str(&format!("- first lock: {} tables\n", schema.rows.tables.len())),
        Some([]) => text.push_str("- the lock had been edited by hand; it is what the service creates\n"),
        Some(changes) => {
            for change in changes {
                text.push_str(&bullet(change));
                if let Some(lost) = &change.nonce_guard_lost {
                    text.push_str(&format!("  Lost: {lost}.\n"));
                }
            }
        }
    }
    text.push_str(&format!(
        "\n{}{}\n",
        sealed_line(service),
        seal(&schema.facts.fingerprints())
    ));
    text
}

/// A change as an entry lists it.
pub(crate) fn bullet(change: &SchemaChange) -> String {
    format!(
        "- {}: {} {}. Restoring an older snapshot: {}.\n",
        change.class.word(),
        change.subject,
        change.what,
        change.restoring
    )
}

fn sealed_line(service: Service) -> String {
    format!("Locked {service}: ")
}

fn seal(prints: &Fingerprints) -> String {
    format!("shape {}, checks {}", prints.shape, prints.checks)
}

/// What the list says was accepted last.
fn accepted(list: &str, service: Service) -> Option<String> {
    let start = sealed_line(service);
    let mut lines = list.lines().filter_map(|line| line.strip_prefix(start.as_str()));
    lines.next_back().map(str::to_owned)
}
