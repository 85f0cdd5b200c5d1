//! Where a fault goes: what exists at the stage that a drill has reached.

use crate::deployment::Service;
use crate::faults::fault::Stage;
use crate::snapshot::file_set::{FileSet, RawSet};
use std::path::{Path, PathBuf};

/// A running service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// Its base URL.
    pub url: String,
    /// Its process id; `None` in a container.
    pub pid: Option<u32>,
}

/// What exists at a stage. Only files that the harness made; never an operator's source.
#[derive(Debug, Clone)]
pub struct Target {
    /// The stage.
    pub stage: Stage,
    /// The directory's main database file at this stage.
    pub directory_db: Option<PathBuf>,
    /// The bus's.
    pub bus_db: Option<PathBuf>,
    /// The snapshot folder.
    pub snapshot_dir: Option<PathBuf>,
    /// The raw sets as they were copied (stage `set`).
    pub raw: Option<[RawSet; 2]>,
    /// The source's file sets, for `source:…`.
    pub source: Option<[FileSet; 2]>,
    /// The clean instances' file sets after their stop, for `clean:…`.
    pub clean: Option<[FileSet; 2]>,
    /// The source's file sets from before its last writes, for `earlier:…`.
    pub earlier: Option<[FileSet; 2]>,
    /// The running directory.
    pub directory: Option<Live>,
    /// The running bus.
    pub bus: Option<Live>,
    /// The copied folder of environment files (stage `environment`).
    pub environments: Option<PathBuf>,
    /// A folder for logs of commands and the like.
    pub scratch: PathBuf,
}

impl Target {
    /// A target of which nothing is known but stage and scratch folder.
    #[must_use]
    pub fn empty(stage: Stage, scratch: &Path) -> Target {
        Target {
            stage,
            directory_db: None,
            bus_db: None,
            snapshot_dir: None,
            raw: None,
            source: None,
            clean: None,
            earlier: None,
            directory: None,
            bus: None,
            environments: None,
            scratch: scratch.to_owned(),
        }
    }

    /// The consolidated files and the manifest of a folder (stage `snapshot`).
    #[must_use]
    pub fn snapshot(folder: &Path, scratch: &Path) -> Target {
        Target {
            directory_db: Some(folder.join(Service::Directory.database_file())),
            bus_db: Some(folder.join(Service::Bus.database_file())),
            snapshot_dir: Some(folder.to_owned()),
            ..Target::empty(Stage::Snapshot, scratch)
        }
    }

    /// The raw sets, before they are consolidated (stage `set`).
    #[must_use]
    pub fn set(raw: &[RawSet; 2], scratch: &Path) -> Target {
        Target {
            directory_db: Some(raw[0].main_path()),
            bus_db: Some(raw[1].main_path()),
            raw: Some(raw.clone()),
            ..Target::empty(Stage::Set, scratch)
        }
    }

    /// The main database file of a service.
    #[must_use]
    pub fn database(&self, service: Service) -> Option<&Path> {
        match service {
            Service::Directory => self.directory_db.as_deref(),
            Service::Bus => self.bus_db.as_deref(),
        }
    }

    /// The running service.
    #[must_use]
    pub fn live(&self, service: Service) -> Option<&Live> {
        match service {
            Service::Directory => self.directory.as_ref(),
            Service::Bus => self.bus.as_ref(),
        }
    }

    /// Whether services have the files open.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.stage, Stage::Source | Stage::Running)
    }
}
