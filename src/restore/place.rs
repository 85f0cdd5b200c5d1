//! Places of clean instances: folders that the harness made itself. A source can never become one.

use crate::deployment::Service;
use crate::snapshot::file_set::{self, FileSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Why a folder is no place for a clean instance.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Something is already there, so somebody else made it.
    #[error("{path} is already there; a clean instance gets a new folder")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder could not be made or looked at.
    #[error("cannot make the folder {path} for a clean instance")]
    Make {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The folder was exchanged since it was made.
    #[error("{path} is no longer the folder that the harness made for the clean {service}")]
    Exchanged {
        /// Whose.
        service: Service,
        /// The folder.
        path: PathBuf,
    },
}

/// A folder for one clean instance's database and nothing else (logs and identity files lie elsewhere).
///
/// The only way to have one is to create its folder.
#[derive(Debug)]
pub struct CleanPlace {
    service: Service,
    folder: PathBuf,
    made: (u64, u64),
}

impl CleanPlace {
    /// Creates the folder (0700); its parent must exist.
    ///
    /// # Errors
    /// [`PlaceError::Exists`], [`PlaceError::Make`].
    pub fn create(service: Service, folder: &Path) -> Result<CleanPlace, PlaceError> {
        let failed = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => PlaceError::Exists {
                path: folder.to_owned(),
            },
            _ => PlaceError::Make {
                path: folder.to_owned(),
                source,
            },
        };
        DirBuilder::new().mode(0o700).create(folder).map_err(failed)?;
        let folder = folder.canonicalize().map_err(failed)?;
        let made = identity(&folder).map_err(failed)?;
        Ok(CleanPlace { service, folder, made })
    }

    /// Whose instance.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// The folder, canonical.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The database file that the clean instance is started on.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.files().main
    }

    /// Its file set.
    #[must_use]
    pub fn files(&self) -> FileSet {
        file_set::usual(self.service, &self.folder)
    }

    /// Makes sure that the folder is still the one that was made.
    ///
    /// # Errors
    /// [`PlaceError::Exchanged`].
    pub(crate) fn check(&self) -> Result<(), PlaceError> {
        if identity(&self.folder).is_ok_and(|now| now == self.made) {
            Ok(())
        } else {
            Err(PlaceError::Exchanged {
                service: self.service,
                path: self.folder.clone(),
            })
        }
    }
}

/// Device and inode of a folder itself, not of what a link points at.
fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// The places of both clean instances.
#[derive(Debug)]
pub struct Places {
    /// The directory's.
    pub directory: CleanPlace,
    /// The bus's.
    pub bus: CleanPlace,
}

impl Places {
    /// Creates both: `<parent>/directory` and `<parent>/bus`.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn create(parent: &Path) -> Result<Places, PlaceError> {
        Ok(Places {
            directory: CleanPlace::create(Service::Directory, &parent.join(Service::Directory.name()))?,
            bus: CleanPlace::create(Service::Bus, &parent.join(Service::Bus.name()))?,
        })
    }

    /// The place of a service.
    #[must_use]
    pub fn of(&self, service: Service) -> &CleanPlace {
        match service {
            Service::Directory => &self.directory,
            Service::Bus => &self.bus,
        }
    }
}
