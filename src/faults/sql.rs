//! Statements on a database, as a fault file gives them.
//!
//! One connection of its own, autocommit, nothing guarded: foreign keys off, defensive off, trusted schema on, five seconds
//! of patience; rows that a statement returns are ignored.

use crate::snapshot::database::beside;
use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Connection, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why statements could not be run.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The file cannot be opened for writing.
    #[error("cannot open {path} to inject statements")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A statement failed.
    #[error("statement {number} cannot be run on {path}: {statement}")]
    Statement {
        /// The file.
        path: PathBuf,
        /// Its place in the list, from 1.
        number: usize,
        /// Its text.
        statement: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A log with content stayed beside the file.
    #[error("{path} kept a -wal after the statements: it could not be checkpointed")]
    LogLeft {
        /// The file.
        path: PathBuf,
    },
}

/// Runs statements in order on an existing file. `plain`: the file must be alone afterwards, without `-wal` and `-shm`.
///
/// # Errors
/// [`SqlError`].
pub fn run(path: &Path, statements: &[String], plain: bool) -> Result<(), SqlError> {
    let connection = open(path)?;
    run_on(&connection, path, statements)?;
    if plain {
        // A damaged file may refuse: what counts is whether a log is left.
        let _ = each(&connection, "PRAGMA wal_checkpoint(TRUNCATE)");
    }
    drop(connection);
    if plain { alone(path) } else { Ok(()) }
}

/// An unguarded connection to an existing file.
pub(crate) fn open(path: &Path) -> Result<Connection, SqlError> {
    let opened = |source| SqlError::Open {
        path: path.to_owned(),
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(opened)?;
    unguard(&connection).map_err(opened)?;
    Ok(connection)
}

/// Runs statements in order on the connection to a file.
pub(crate) fn run_on(connection: &Connection, path: &Path, statements: &[String]) -> Result<(), SqlError> {
    for (at, statement) in statements.iter().enumerate() {
        each(connection, statement).map_err(|source| SqlError::Statement {
            path: path.to_owned(),
            number: at + 1,
            statement: statement.clone(),
            source,
        })?;
    }
    Ok(())
}

fn unguard(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, false)?;
    Ok(())
}

fn each(connection: &Connection, text: &str) -> rusqlite::Result<()> {
    let mut batch = Batch::new(connection, text);
    while let Some(mut statement) = batch.next()? {
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
    }
    Ok(())
}

/// A file that could not be closed in order keeps empty logs, or a log that somebody else would apply.
fn alone(path: &Path) -> Result<(), SqlError> {
    let wal = beside(path, "-wal");
    match fs::metadata(&wal) {
        Ok(metadata) if metadata.len() > 0 => return Err(SqlError::LogLeft { path: path.to_owned() }),
        Ok(_) => drop(fs::remove_file(&wal)),
        Err(_) => {}
    }
    drop(fs::remove_file(beside(path, "-shm")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::database::Database;
    use crate::snapshot::recorded::{file, hot_crash};

    fn statements(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn temporary_tables_live_to_the_end_and_returned_rows_are_ignored() {
        let set = hot_crash();
        let path = file(&set, Service::Directory);
        let list = statements(&[
            "CREATE TEMP TABLE two AS SELECT beam_id, public_key FROM agents ORDER BY beam_id LIMIT 2",
            "SELECT * FROM two; PRAGMA user_version",
            "UPDATE agents SET display_name='x' WHERE beam_id IN (SELECT beam_id FROM two) RETURNING beam_id",
        ]);
        run(&path, &list, true).expect("run");
        let found = Database::open(&path)
            .expect("opened")
            .rows("SELECT count(*) AS n FROM agents WHERE display_name='x'", &[])
            .expect("read");
        assert_eq!(found[0].integer("n"), Some(2));
    }

    #[test]
    fn foreign_keys_are_off_and_the_schema_can_be_written() {
        let set = hot_crash();
        let path = file(&set, Service::Directory);
        let list = statements(&[
            "INSERT INTO workspace_policies VALUES (99, '{}', 't', NULL)",
            "PRAGMA writable_schema=ON",
            "UPDATE sqlite_schema SET sql = replace(sql, 'DEFAULT ''free''', 'DEFAULT ''paid''') WHERE name='agents'",
        ]);
        run(&path, &list, true).expect("run");
        let found = Database::open(&path)
            .expect("opened")
            .rows(
                "SELECT sql LIKE '%paid%' AS n FROM sqlite_schema WHERE name='agents'",
                &[],
            )
            .expect("read");
        assert_eq!(found[0].integer("n"), Some(1));
    }

    #[test]
    fn a_plain_file_stays_alone() {
        let set = hot_crash();
        let path = file(&set, Service::Bus);
        run(
            &path,
            &statements(&["PRAGMA journal_mode=WAL", "DELETE FROM beam_messages"]),
            true,
        )
        .expect("run");
        assert!(!beside(&path, "-wal").exists() && !beside(&path, "-shm").exists());
    }

    #[test]
    fn a_broken_statement_is_named() {
        let set = hot_crash();
        let error = run(
            &file(&set, Service::Bus),
            &statements(&["SELECT 1", "UPDATE nothing SET x=1"]),
            true,
        );
        let text = error.expect_err("refused").to_string();
        assert!(
            text.contains("statement 2") && text.contains("UPDATE nothing"),
            "{text}"
        );
    }

    #[test]
    fn a_missing_file_is_not_created() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("none.db");
        assert!(run(&path, &statements(&["SELECT 1"]), true).is_err());
        assert!(!path.exists());
    }
}
