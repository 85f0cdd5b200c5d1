//! Ballast: rows in every table of the directory that the HTTP seed leaves empty, so that a fault finds something to bite.
//!
//! The rows stand in `ballast.sql` beside this file; they are inert and at their fixpoint: a start changes none of them, no
//! timer deletes them within a drill, no read touches them (one stale peer is a warning, two would be a critical alert,
//! which a read turns into a notification). Same seed number, same rows but for their times. Only for files that the
//! harness seeded itself and whose services are stopped. Source: Beam 1.6.0, contract sections 4.2, 4.3, 5.1, 5.2.

use crate::client::signing::KeyPair;
use crate::seed::cast::{Cast, Part};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::time::Duration;

const STATEMENTS: &str = include_str!("ballast.sql");
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Rows that were added.
    pub rows: usize,
    /// Tables that got rows.
    pub tables: usize,
    /// Statements that this version's schema does not take: table, and why.
    pub left_out: Vec<(String, String)>,
    /// Tables that are still without a row.
    pub empty: Vec<String>,
}

/// Why the ballast was not loaded; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum BallastError {
    /// The file was not opened, written or committed.
    #[error("cannot {action} {path}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// The directory's file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A statement of the ballast failed for another reason than the schema.
    #[error("cannot add ballast to {table}")]
    Statement {
        /// The table.
        table: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A parameter of `ballast.sql` that has no meaning: a mistake of this file.
    #[error("the ballast names the unknown parameter {name}")]
    Parameter {
        /// The parameter.
        name: String,
    },
}

/// Adds the ballast to the database of a stopped directory that was seeded with the same number. One transaction, foreign
/// keys on. A table or column that this version of the directory does not have is left out and said.
///
/// # Errors
/// [`BallastError`].
pub fn load(directory: &Path, seed: u64, now: Timestamp) -> Result<Loaded, BallastError> {
    let failed = |action: &'static str| {
        move |source| BallastError::Database {
            action,
            path: directory.to_owned(),
            source,
        }
    };
    let mut connection =
        Connection::open_with_flags(directory, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed("open"))?;
    connection.busy_timeout(BUSY_LIMIT).map_err(failed("open"))?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(failed("open"))?;
    let values = Values {
        cast: Cast::new(seed),
        seed,
        now,
    };
    let transaction = connection.transaction().map_err(failed("write to"))?;
    let mut loaded = Loaded::default();
    for statement in STATEMENTS.split_inclusive(";\n").filter(|text| !text.trim().is_empty()) {
        add(&transaction, statement, &values, &mut loaded)?;
    }
    loaded.empty = empty_tables(&transaction).map_err(failed("read"))?;
    transaction.commit().map_err(failed("commit to"))?;
    // Closing folds the log into the main file, as the directory's own stop did.
    connection.close().map_err(|(_, error)| failed("close")(error))?;
    Ok(loaded)
}

fn add(transaction: &Transaction<'_>, sql: &str, values: &Values, loaded: &mut Loaded) -> Result<(), BallastError> {
    let (inserts, table) = target(sql);
    let mut left_out = |error: &rusqlite::Error| loaded.left_out.push((table.clone(), error.to_string()));
    let mut statement = match transaction.prepare(sql) {
        Ok(statement) => statement,
        Err(error) => {
            left_out(&error);
            return Ok(());
        }
    };
    for index in 1..=statement.parameter_count() {
        let name = statement.parameter_name(index).unwrap_or_default().to_owned();
        let value = values.of(&name).ok_or(BallastError::Parameter { name })?;
        statement
            .raw_bind_parameter(index, value)
            .map_err(|source| BallastError::Statement {
                table: table.clone(),
                source,
            })?;
    }
    match statement.raw_execute() {
        Ok(rows) if inserts => {
            loaded.rows += rows;
            loaded.tables += 1;
            Ok(())
        }
        Ok(_) => Ok(()),
        // A constraint that a later version added: the statement alone is undone.
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            left_out(&error);
            Ok(())
        }
        Err(source) => Err(BallastError::Statement { table, source }),
    }
}

/// Whether a statement inserts, and its table.
fn target(sql: &str) -> (bool, String) {
    let code = sql.lines().filter(|line| !line.starts_with("--"));
    let mut words = code.flat_map(str::split_whitespace);
    let inserts = words.next() == Some("INSERT");
    let table = if inserts { words.nth(1) } else { words.next() };
    (inserts, table.unwrap_or_default().to_owned())
}

fn empty_tables(transaction: &Transaction<'_>) -> rusqlite::Result<Vec<String>> {
    let mut tables = transaction.prepare(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
    )?;
    let names: Vec<String> = tables
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut empty = Vec::new();
    for name in names {
        let quoted = name.replace('"', "\"\"");
        if !transaction.query_row(&format!("SELECT EXISTS (SELECT 1 FROM \"{quoted}\")"), [], |row| {
            row.get::<_, bool>(0)
        })? {
            empty.push(name);
        }
    }
    Ok(empty)
}

/// The parameters' values, all from seed number and clock.
struct Values {
    cast: Cast,
    seed: u64,
    now: Timestamp,
}

impl Values {
    /// `:seed`, `:org0`, an agent's part (`:finance`), `:hexN_name`, `:token_name` (24 characters), `:uuid_name`,
    /// `:key_name` (public), and times: `:iso_now`, `:ms_2h_ago` (INTEGER), `:num_30d_ahead` (REAL, text in TEXT columns).
    fn of(&self, name: &str) -> Option<Value> {
        let name = name.strip_prefix(':')?;
        let part = |part| Some(Value::Text(self.cast.member(part).beam_id.clone()));
        match name {
            // Decimal digits: the number goes into texts.
            "seed" => return i64::try_from(self.seed % 1_000_000_000).ok().map(Value::Integer),
            "org0" => return Some(Value::Text(self.cast.orgs[0].name.clone())),
            "org1" => return Some(Value::Text(self.cast.orgs[1].name.clone())),
            "procurement" => return part(Part::Procurement),
            "operations" => return part(Part::Operations),
            "ghost" => return part(Part::Ghost),
            "finance" => return part(Part::Finance),
            "desk" => return part(Part::Desk),
            "buyer" => return part(Part::Buyer),
            "planner" => return part(Part::Planner),
            _ => {}
        }
        let (kind, rest) = name.split_once('_')?;
        match kind {
            "iso" => Some(Value::Text(format!("{:.3}", self.time(rest)?))),
            "ms" => Some(Value::Integer(self.time(rest)?.as_millisecond())),
            "num" => Some(Value::Real(self.time(rest)?.as_millisecond() as f64)),
            "token" => Some(Value::Text(URL_SAFE_NO_PAD.encode(&self.bytes(rest)[..18]))),
            "uuid" => Some(Value::Text(self.uuid(rest))),
            "key" => Some(Value::Text(KeyPair::from_bytes(&self.bytes(rest)).public())),
            hex => {
                let digits: usize = hex.strip_prefix("hex")?.parse().ok()?;
                let all: String = self.bytes(rest).iter().map(|byte| format!("{byte:02x}")).collect();
                Some(Value::Text(all.get(..digits)?.to_owned()))
            }
        }
    }

    /// `now`, `3d_ago`, `30m_ahead`; days of 24 hours.
    fn time(&self, text: &str) -> Option<Timestamp> {
        if text == "now" {
            return Some(self.now);
        }
        let (span, direction) = text.split_once('_')?;
        let (count, unit) = span.split_at_checked(span.len().checked_sub(1)?)?;
        let count: i64 = count.parse().ok()?;
        let seconds = match unit {
            "s" => count,
            "m" => count * 60,
            "h" => count * 3_600,
            "d" => count * 86_400,
            _ => return None,
        };
        let span = SignedDuration::from_secs(seconds);
        match direction {
            "ago" => self.now.checked_sub(span).ok(),
            "ahead" => self.now.checked_add(span).ok(),
            _ => None,
        }
    }

    fn bytes(&self, name: &str) -> [u8; 32] {
        Sha256::digest(format!("ballast {} {name}", self.seed)).into()
    }

    /// A random UUID's form (version 4) from the name.
    fn uuid(&self, name: &str) -> String {
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&self.bytes(name)[..16]);
        uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(seed: u64) -> Values {
        Values {
            cast: Cast::new(seed),
            seed,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn times_stand_relative_to_the_clock_in_the_services_own_form() {
        let values = values(1);
        assert_eq!(
            values.of(":iso_now"),
            Some(Value::Text("1970-01-01T00:00:00.000Z".to_owned()))
        );
        assert_eq!(values.of(":ms_2h_ago"), Some(Value::Integer(-7_200_000)));
        assert_eq!(values.of(":num_1s_ahead"), Some(Value::Real(1_000.0)));
        assert_eq!(values.of(":iso_soon"), None);
    }

    #[test]
    fn the_same_number_gives_the_same_secrets() {
        assert_eq!(values(3).of(":token_host"), values(3).of(":token_host"));
        assert_ne!(values(3).of(":token_host"), values(4).of(":token_host"));
    }

    #[test]
    fn a_table_that_a_version_lacks_is_left_out_and_said() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("directory.db");
        let connection = Connection::open(&path).expect("a new file");
        connection
            .execute_batch(
                "CREATE TABLE nonces (nonce TEXT PRIMARY KEY, expires_at INTEGER NOT NULL); CREATE TABLE other (id)",
            )
            .expect("tables");
        drop(connection);
        let loaded = load(&path, 1, Timestamp::UNIX_EPOCH).expect("loaded");
        assert_eq!(
            (loaded.rows, loaded.tables, loaded.empty.as_slice()),
            (2, 1, &["other".to_owned()][..])
        );
        assert!(
            loaded
                .left_out
                .iter()
                .any(|(table, why)| table == "billing" && why.contains("billing"))
        );
    }
}
