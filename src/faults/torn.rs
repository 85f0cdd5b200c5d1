//! A copy that a checkpoint runs through: the main file from before it, the `-wal` from after it.
//!
//! The writer is played on a scratch copy of the raw set. It writes, and the main file is copied, which does not have that
//! yet; it checkpoints, begins its log anew and writes on; then the `-wal` is copied. What lay in the old log alone is in
//! neither file.

use crate::faults::fault::Torn;
use crate::faults::sql::{self, SqlError};
use crate::snapshot::database::beside;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why no torn copy was made.
#[derive(Debug, thiserror::Error)]
pub enum TornError {
    /// The writer could not write.
    #[error("the writer failed")]
    Writer(#[from] SqlError),
    /// A file could not be copied.
    #[error("cannot copy {path}")]
    Copy {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Replaces a raw main file and its `-wal` by what a copy across a checkpoint of this writer holds.
///
/// # Errors
/// [`TornError`].
pub fn run(main: &Path, writer: &Torn, scratch: &Path) -> Result<(), TornError> {
    let folder = tempfile::Builder::new()
        .prefix("torn-")
        .tempdir_in(scratch)
        .map_err(|source| TornError::Copy {
            path: scratch.to_owned(),
            source,
        })?;
    let (wal, written) = (beside(main, "-wal"), folder.path().join("writer.db"));
    copy(main, &written)?;
    if wal.exists() {
        copy(&wal, &beside(&written, "-wal"))?;
    }
    // One connection to the end: its close would fold the new log away.
    let connection = sql::open(&written)?;
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)".to_owned();
    let begin = ["PRAGMA wal_autocheckpoint=0".to_owned(), checkpoint.clone()];
    sql::run_on(&connection, &written, &begin)?;
    sql::run_on(&connection, &written, &writer.before)?;
    copy(&written, main)?;
    sql::run_on(&connection, &written, &[checkpoint])?;
    sql::run_on(&connection, &written, &writer.after)?;
    copy(&beside(&written, "-wal"), &wal)
}

fn copy(from: &Path, to: &Path) -> Result<(), TornError> {
    fs::copy(from, to).map(drop).map_err(|source| TornError::Copy {
        path: from.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{at_rest, file};
    use rusqlite::Connection;

    #[test]
    fn pages_of_two_generations_do_not_fit_together() {
        let set = at_rest();
        let main = file(&set, Service::Directory);
        let writer = Torn {
            before: vec!["UPDATE intent_log SET nonce='late' WHERE id=1".to_owned()],
            after: vec!["UPDATE intent_log SET error_code='x' WHERE id=1".to_owned()],
        };
        run(&main, &writer, set.path()).expect("torn");
        let torn = Connection::open(&main).expect("opened");
        let ask = |sql: &str| -> String { torn.query_row(sql, [], |row| row.get(0)).expect("asked") };
        assert_ne!(ask("PRAGMA integrity_check"), "ok");
        // Found by a walk through the table, not by its index.
        assert_eq!(
            ask("SELECT count(*) || '' FROM intent_log NOT INDEXED WHERE nonce='late'"),
            "1"
        );
        assert_eq!(ask("SELECT count(*) || '' FROM intent_log WHERE nonce='late'"), "0");
    }

    #[test]
    fn a_writer_that_fails_is_an_error_of_the_fault() {
        let set = at_rest();
        let writer = Torn {
            before: vec!["DELETE FROM no_such_table".to_owned()],
            after: Vec::new(),
        };
        let error = run(&file(&set, Service::Directory), &writer, set.path()).expect_err("failed");
        assert!(matches!(error, TornError::Writer(SqlError::Statement { .. })));
    }
}
