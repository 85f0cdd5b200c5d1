//! A copy that a checkpoint runs through: the main file from before it, the `-wal` from after it.
//!
//! The writer is played on a scratch copy of the raw set: it checkpoints, begins its log anew and writes on; only its new
//! `-wal` goes beside the old main file. What lay in the old log alone is then in neither file.

use crate::faults::sql::{self, SqlError};
use crate::snapshot::database::beside;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why no torn copy was made.
#[derive(Debug, thiserror::Error)]
pub enum TornError {
    /// The set has no log: there is nothing that a checkpoint could move.
    #[error("{path} is not there: a set without a log cannot be torn by a checkpoint")]
    NoLog {
        /// The log.
        path: PathBuf,
    },
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

/// Replaces the `-wal` beside a raw main file by that of a writer who checkpointed and went on with these statements.
///
/// # Errors
/// [`TornError`].
pub fn run(main: &Path, statements: &[String], scratch: &Path) -> Result<(), TornError> {
    let wal = beside(main, "-wal");
    if !wal.exists() {
        return Err(TornError::NoLog { path: wal });
    }
    let folder = tempfile::Builder::new()
        .prefix("torn-")
        .tempdir_in(scratch)
        .map_err(|source| TornError::Copy {
            path: scratch.to_owned(),
            source,
        })?;
    let written = folder.path().join("writer.db");
    copy(main, &written)?;
    copy(&wal, &beside(&written, "-wal"))?;
    let mut writer = vec![
        "PRAGMA wal_autocheckpoint=0".to_owned(),
        "PRAGMA wal_checkpoint(TRUNCATE)".to_owned(),
    ];
    writer.extend(statements.iter().cloned());
    // The writer stays connected, or its close would fold the new log away.
    let open = sql::keep_open(&written, &writer)?;
    copy(&beside(&written, "-wal"), &wal)?;
    drop(open);
    Ok(())
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
        let (source, set) = (at_rest(), tempfile::tempdir().expect("a temporary folder"));
        let (live, main) = (file(&source, Service::Directory), file(&set, Service::Directory));
        let service = Connection::open(&live).expect("opened");
        let row = "INSERT INTO intent_log (nonce, from_beam_id, to_beam_id, intent_type, requested_at, status) \
                   SELECT 'late', from_beam_id, to_beam_id, intent_type, requested_at, 'received' FROM intent_log LIMIT 1";
        service.execute(row, []).expect("written");
        copy(&live, &main).expect("copied");
        copy(&beside(&live, "-wal"), &beside(&main, "-wal")).expect("copied");
        let was = fs::read(&main).expect("read");
        let statement = "UPDATE intent_log SET error_code='late' WHERE id=(SELECT max(id) FROM intent_log)";
        run(&main, &[statement.to_owned()], set.path()).expect("torn");
        assert_eq!(was, fs::read(&main).expect("read"), "the main file is the old one");
        let torn = Connection::open(&main).expect("opened");
        let said: String = torn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .expect("checked");
        assert_ne!(said, "ok");
    }

    #[test]
    fn a_set_without_a_log_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = run(&folder.path().join("x.db"), &["SELECT 1".to_owned()], folder.path()).expect_err("refused");
        assert!(matches!(error, TornError::NoLog { .. }));
    }
}
