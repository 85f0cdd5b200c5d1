//! File sets as values: a database is its main file *and* its `-wal`.
//!
//! Never `-shm` (a rebuildable index with lock state). No I/O here.

use crate::deployment::Service;
use crate::snapshot::database::beside;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The files of a service's database where the service keeps them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSet {
    /// Whose they are.
    pub service: Service,
    /// The main file.
    pub main: PathBuf,
}

impl FileSet {
    /// The set of a main file.
    pub fn new(service: Service, main: impl Into<PathBuf>) -> FileSet {
        FileSet {
            service,
            main: main.into(),
        }
    }

    /// The write-ahead log.
    #[must_use]
    pub fn wal(&self) -> PathBuf {
        beside(&self.main, "-wal")
    }

    /// The index of the write-ahead log.
    #[must_use]
    pub fn shm(&self) -> PathBuf {
        beside(&self.main, "-shm")
    }

    /// The rollback journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        beside(&self.main, "-journal")
    }
}

/// A copied file: its name in its folder, its size and the hash taken in the same pass as the copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileRecord {
    /// A plain file name.
    pub path: String,
    /// Size in bytes.
    pub bytes: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

/// The files as copied from a source, under their usual names in a folder of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawSet {
    /// Whose they are.
    pub service: Service,
    /// Where the copies lie.
    pub folder: PathBuf,
    /// The main file.
    pub main: FileRecord,
    /// The write-ahead log, if the source had one.
    pub wal: Option<FileRecord>,
}

impl RawSet {
    /// The copied main file.
    #[must_use]
    pub fn main_path(&self) -> PathBuf {
        self.folder.join(&self.main.path)
    }

    /// Where the copied write-ahead log lies or would lie.
    #[must_use]
    pub fn wal_path(&self) -> PathBuf {
        beside(&self.main_path(), "-wal")
    }

    /// The records of its files, main first.
    #[must_use]
    pub fn records(&self) -> Vec<FileRecord> {
        std::iter::once(&self.main).chain(&self.wal).cloned().collect()
    }
}

/// The set of a service in a folder, under the usual name.
#[must_use]
pub fn usual(service: Service, folder: &Path) -> FileSet {
    FileSet::new(service, folder.join(service.database_file()))
}
