//! Copies the raw set of a stopped source: main file, then `-wal`, never `-shm`.
//!
//! The source is only ever opened `O_RDONLY` as bytes, never with SQLite: opening would checkpoint it. The `-wal` is
//! copied last, so that a set that is copied while its service still writes is at worst newer than its main file.

use crate::deployment::Service;
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::database::beside;
use crate::snapshot::file_set::{self, FileRecord, FileSet, RawSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Why a raw set could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum RawError {
    /// There is no main file.
    #[error("no {service} database at {path}")]
    NoMain {
        /// Whose.
        service: Service,
        /// Where it should be.
        path: PathBuf,
    },
    /// A rollback journal waits to be played back; without it the main file is half of a transaction.
    #[error(
        "{path} is a hot rollback journal; start and stop its service once so that it is played back, then copy again"
    )]
    HotJournal {
        /// The journal.
        path: PathBuf,
    },
    /// A file could not be copied.
    #[error("cannot copy the {service} file set")]
    Copy {
        /// Whose.
        service: Service,
        /// The cause.
        source: CopyError,
    },
}

/// Copies a set into a folder (created 0700 when missing) under its usual names.
///
/// # Errors
/// [`RawError`]; a symbolic link as main file or `-wal` is refused. What was copied before a failure is removed.
pub fn copy_set(set: &FileSet, folder: &Path) -> Result<RawSet, RawError> {
    let failed = |source| RawError::Copy {
        service: set.service,
        source,
    };
    refuse_hot_journal(set)?;
    if !folder.is_dir() {
        copying::create_private_folder(folder).map_err(failed)?;
    }
    let target = file_set::usual(set.service, folder);
    let (main_at, wal_at) = (target.main.clone(), target.wal());
    let result = copy_both(set, &main_at, &wal_at).and_then(|(main, wal)| {
        copying::sync_folder(folder).map_err(failed)?;
        Ok(RawSet {
            service: set.service,
            folder: folder.to_owned(),
            main,
            wal,
        })
    });
    if result.is_err() {
        for path in [&main_at, &wal_at] {
            // Nothing half-copied stays; the first error is the one to report.
            let _ = fs::remove_file(copying::temporary_beside(path));
        }
    }
    result
}

/// Reads an existing raw set again, for instance after something was done to it.
///
/// # Errors
/// [`RawError::NoMain`], [`RawError::Copy`].
pub fn observe_set(service: Service, folder: &Path) -> Result<RawSet, RawError> {
    let set = file_set::usual(service, folder);
    let failed = |source| RawError::Copy { service, source };
    let main = match copying::hash_file(&set.main) {
        Err(error) if error.is_missing() => {
            return Err(RawError::NoMain {
                service,
                path: set.main,
            });
        }
        other => other.map_err(failed)?,
    };
    let wal = optional(copying::hash_file(&set.wal())).map_err(failed)?;
    Ok(RawSet {
        service,
        folder: folder.to_owned(),
        main,
        wal,
    })
}

fn copy_both(set: &FileSet, main_at: &Path, wal_at: &Path) -> Result<(FileRecord, Option<FileRecord>), RawError> {
    let failed = |source| RawError::Copy {
        service: set.service,
        source,
    };
    let main = match copy_by_rename(&set.main, main_at) {
        Err(error) if error.is_missing() => {
            return Err(RawError::NoMain {
                service: set.service,
                path: set.main.clone(),
            });
        }
        other => other.map_err(failed)?,
    };
    let wal = optional(copy_by_rename(&set.wal(), wal_at)).map_err(failed)?;
    Ok((main, wal))
}

fn copy_by_rename(from: &Path, to: &Path) -> Result<FileRecord, CopyError> {
    let temporary = copying::temporary_beside(to);
    if to.symlink_metadata().is_ok() {
        // A stale `-wal` of an earlier copy would become part of this one.
        return Err(CopyError::Exists { path: to.to_owned() });
    }
    let mut record = copying::copy_new(from, &temporary)?;
    let write = |source| CopyError::Write {
        path: to.to_owned(),
        source,
    };
    fs::rename(&temporary, to).map_err(write)?;
    record.path = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(record)
}

fn optional(result: Result<FileRecord, CopyError>) -> Result<Option<FileRecord>, CopyError> {
    match result {
        Err(error) if error.is_missing() => Ok(None),
        other => other.map(Some),
    }
}

/// A journal is hot when it is not empty and its header was not zeroed (journal modes PERSIST and TRUNCATE leave one).
fn refuse_hot_journal(set: &FileSet) -> Result<(), RawError> {
    let path = beside(&set.main, "-journal");
    let mut head = [0_u8; 8];
    let hot = File::open(&path)
        .and_then(|mut file| file.read_exact(&mut head))
        .is_ok()
        && head != [0; 8];
    if hot {
        Err(RawError::HotJournal { path })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, bytes) in files {
            fs::write(folder.path().join(name), bytes).expect("written");
        }
        folder
    }

    #[test]
    fn main_and_wal_are_copied_and_the_index_is_not() {
        let from = source(&[("x.db", b"main"), ("x.db-wal", b"log"), ("x.db-shm", b"index")]);
        let into = tempfile::tempdir().expect("a temporary folder");
        let set = FileSet::new(Service::Bus, from.path().join("x.db"));
        let raw = copy_set(&set, &into.path().join("raw")).expect("copied");
        let mut names: Vec<_> = fs::read_dir(&raw.folder)
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["beam-bus.sqlite", "beam-bus.sqlite-wal"]);
        assert_eq!(observe_set(Service::Bus, &raw.folder).expect("observed"), raw);
    }

    #[test]
    fn a_wal_that_is_a_symbolic_link_is_refused() {
        let from = source(&[("x.db", b"main"), ("other", b"log")]);
        std::os::unix::fs::symlink(from.path().join("other"), from.path().join("x.db-wal")).expect("linked");
        let into = tempfile::tempdir().expect("a temporary folder");
        let set = FileSet::new(Service::Bus, from.path().join("x.db"));
        let error = copy_set(&set, &into.path().join("raw")).expect_err("refused");
        assert!(matches!(
            error,
            RawError::Copy {
                source: CopyError::Symlink { .. },
                ..
            }
        ));
    }

    #[test]
    fn a_hot_rollback_journal_is_refused() {
        let journal = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7, 0, 0];
        let from = source(&[("x.db", b"main"), ("x.db-journal", &journal)]);
        let into = tempfile::tempdir().expect("a temporary folder");
        let set = FileSet::new(Service::Bus, from.path().join("x.db"));
        assert!(matches!(copy_set(&set, into.path()), Err(RawError::HotJournal { .. })));
    }

    #[test]
    fn a_missing_main_file_is_named() {
        let from = source(&[("x.db-wal", b"log")]);
        let set = FileSet::new(Service::Bus, from.path().join("x.db"));
        let error = copy_set(&set, &from.path().join("raw")).expect_err("refused");
        assert!(error.to_string().contains("x.db"));
    }
}
