//! Makes one plain SQLite file from a copy of a raw set.
//!
//! Page copy, not a dump: `user_version`, `sqlite_sequence`, rowids and the journal mode in the header stay as they are.
//! The raw set itself is never opened: its files are copied once more, and the copies are checkpointed.

use crate::deployment::Service;
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::database::beside;
use crate::snapshot::file_set::{FileRecord, RawSet};
use crate::snapshot::wal::{WalFacts, wal_facts};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};

/// Why no plain file could be made.
#[derive(Debug, thiserror::Error)]
pub enum ConsolidateError {
    /// SQLite takes an empty file for a valid empty database, and throws its `-wal` away.
    #[error("{service} main file {path} has zero bytes; the set is damaged, take another backup")]
    ZeroByteMain {
        /// Whose.
        service: Service,
        /// The raw main file.
        path: PathBuf,
    },
    /// The set holds no table: usually a main file without its `-wal`.
    #[error("{service} set {path} holds no table; was its -wal ({wal}) left behind?")]
    NoTable {
        /// Whose.
        service: Service,
        /// The raw main file.
        path: PathBuf,
        /// What was seen of the log.
        wal: &'static str,
    },
    /// A file could not be copied.
    #[error("cannot consolidate the {service} set")]
    Copy {
        /// Whose.
        service: Service,
        /// The cause.
        source: CopyError,
    },
    /// SQLite refused a step.
    #[error("cannot {step} a copy of the {service} set {path}; the set is damaged or no SQLite database")]
    Sqlite {
        /// Whose.
        service: Service,
        /// The raw main file.
        path: PathBuf,
        /// `open`, `checkpoint`, …
        step: &'static str,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// Frames were left in the log.
    #[error("the checkpoint of a copy of the {service} set {path} did not finish")]
    Unfinished {
        /// Whose.
        service: Service,
        /// The raw main file.
        path: PathBuf,
    },
}

/// The plain file and what it was made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consolidated {
    /// Whose.
    pub service: Service,
    /// The plain file.
    pub path: PathBuf,
    /// Its name, size and hash.
    pub file: FileRecord,
    /// The raw files that went into it, hashed as they were read. May differ from the raw set's record when the set was
    /// altered after it was taken.
    pub used: Vec<FileRecord>,
    /// Facts of the `-wal` that went into it.
    pub wal: Option<WalFacts>,
}

/// Consolidates a raw set into `folder` under the service's usual file name.
///
/// # Errors
/// [`ConsolidateError`]; nothing is left in the folder then.
pub fn consolidate(raw: &RawSet, folder: &Path) -> Result<Consolidated, ConsolidateError> {
    let service = raw.service;
    let failed = |source| ConsolidateError::Copy { service, source };
    let scratch = tempfile::Builder::new()
        .prefix(".consolidating-")
        .tempdir_in(folder)
        .map_err(|source| {
            failed(CopyError::Write {
                path: folder.to_owned(),
                source,
            })
        })?;
    let main = scratch.path().join(service.database_file());
    let mut used = vec![copying::copy_scratch(&raw.main_path(), &main).map_err(failed)?];
    if used[0].bytes == 0 {
        return Err(ConsolidateError::ZeroByteMain {
            service,
            path: raw.main_path(),
        });
    }
    let log = beside(&main, "-wal");
    match copying::copy_scratch(&raw.wal_path(), &log) {
        Err(error) if error.is_missing() => {}
        copied => used.push(copied.map_err(failed)?),
    }
    let wal = wal_facts(&log).map_err(failed)?;
    checkpoint(raw, &main, wal.as_ref())?;
    let file = put_in_place(&main, &folder.join(service.database_file())).map_err(failed)?;
    Ok(Consolidated {
        service,
        path: folder.join(&file.path),
        file,
        used,
        wal,
    })
}

fn checkpoint(raw: &RawSet, main: &Path, wal: Option<&WalFacts>) -> Result<(), ConsolidateError> {
    let failed = |step| {
        move |source| ConsolidateError::Sqlite {
            service: raw.service,
            path: raw.main_path(),
            step,
            source,
        }
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(main, flags).map_err(failed("open"))?;
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)
        .and_then(|_| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false))
        // A scratch copy; the finished file is synced once.
        .and_then(|_| connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF;"))
        .map_err(failed("open"))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema WHERE type='table'", [], |row| {
            row.get(0)
        })
        .map_err(failed("read the schema of"))?;
    if tables == 0 {
        return Err(ConsolidateError::NoTable {
            service: raw.service,
            path: raw.main_path(),
            wal: match wal {
                None => "there is none",
                Some(facts) if facts.frames_committed == 0 => "none of its frames is valid",
                Some(_) => "its frames hold no table either",
            },
        });
    }
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(failed("checkpoint"))?;
    connection.close().map_err(|(_, error)| failed("close")(error))?;
    let left = fs::metadata(beside(main, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
    if busy != 0 || left {
        return Err(ConsolidateError::Unfinished {
            service: raw.service,
            path: raw.main_path(),
        });
    }
    Ok(())
}

fn put_in_place(main: &Path, target: &Path) -> Result<FileRecord, CopyError> {
    let failed = |source| CopyError::Write {
        path: target.to_owned(),
        source,
    };
    if target.symlink_metadata().is_ok() {
        return Err(CopyError::Exists {
            path: target.to_owned(),
        });
    }
    let file = copying::hash_file(main)?;
    fs::File::open(main).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(main, target).map_err(failed)?;
    copying::sync_folder(target.parent().unwrap_or(Path::new(".")))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::database::Database;
    use crate::snapshot::raw::observe_set;
    use crate::snapshot::recorded;

    #[test]
    fn the_bus_rows_that_stand_only_in_the_log_are_in_the_plain_file() {
        let set = recorded::at_rest();
        let into = tempfile::tempdir().expect("a temporary folder");
        let raw = observe_set(Service::Bus, set.path()).expect("observed");
        let made = consolidate(&raw, into.path()).expect("consolidated");
        let rows = Database::open(&made.path)
            .and_then(|bus| bus.rows("SELECT id FROM beam_messages", &[]))
            .expect("read");
        assert_eq!(rows.len(), 8);
        let names = fs::read_dir(into.path()).expect("listed").count();
        assert_eq!(names, 1, "nothing beside the plain file");
    }

    #[test]
    fn the_raw_set_is_not_changed_by_it() {
        let set = recorded::at_rest();
        let into = tempfile::tempdir().expect("a temporary folder");
        let raw = observe_set(Service::Bus, set.path()).expect("observed");
        consolidate(&raw, into.path()).expect("consolidated");
        assert_eq!(observe_set(Service::Bus, set.path()).expect("observed"), raw);
    }

    #[test]
    fn a_main_file_without_its_log_is_refused() {
        let set = recorded::at_rest();
        fs::remove_file(set.path().join("beam-bus.sqlite-wal")).expect("removed");
        let raw = observe_set(Service::Bus, set.path()).expect("observed");
        let into = tempfile::tempdir().expect("a temporary folder");
        let error = consolidate(&raw, into.path()).expect_err("refused");
        assert!(matches!(error, ConsolidateError::NoTable { .. }), "{error}");
        assert_eq!(fs::read_dir(into.path()).expect("listed").count(), 0);
    }

    #[test]
    fn a_main_file_of_zero_bytes_is_refused() {
        let set = recorded::at_rest();
        fs::write(set.path().join("beam-directory.db"), b"").expect("cut");
        let raw = observe_set(Service::Directory, set.path()).expect("observed");
        let into = tempfile::tempdir().expect("a temporary folder");
        let error = consolidate(&raw, into.path()).expect_err("refused");
        assert!(matches!(error, ConsolidateError::ZeroByteMain { .. }), "{error}");
    }

    #[test]
    fn rollback_bytes_in_the_header_do_not_lose_the_log() {
        let set = recorded::at_rest();
        let main = set.path().join("beam-bus.sqlite");
        let mut bytes = fs::read(&main).expect("read");
        bytes[18..20].copy_from_slice(&[1, 1]);
        fs::write(&main, bytes).expect("written");
        let raw = observe_set(Service::Bus, set.path()).expect("observed");
        let into = tempfile::tempdir().expect("a temporary folder");
        let made = consolidate(&raw, into.path()).expect("consolidated");
        let rows = Database::open(&made.path)
            .and_then(|bus| bus.rows("SELECT id FROM beam_messages", &[]))
            .expect("read");
        assert_eq!(rows.len(), 8);
    }
}
