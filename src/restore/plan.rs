//! What a restore will do, and everything that it refuses. Looks; changes nothing.

use crate::deployment::Service;
use crate::restore::place::{CleanPlace, PlaceError, Places};
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::file_set::{FileRecord, FileSet};
use crate::snapshot::quiescent::{QuiescenceError, quiescent};
use crate::snapshot::verify::{VerifyError, verify};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Room beside the files themselves: folder entries and what a service writes in its first second.
const SPARE_BYTES: u64 = 1 << 20;

/// Why nothing was restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The snapshot is not what its manifest says.
    #[error("refusing to restore this snapshot")]
    Snapshot {
        /// The cause.
        #[from]
        source: VerifyError,
    },
    /// The target is no clean place any more.
    #[error("refusing to restore there")]
    Place {
        /// The cause.
        #[from]
        source: PlaceError,
    },
    /// Target and snapshot or source lie in each other.
    #[error("{target} is, holds or lies in {other}; restore into a folder of its own")]
    Overlap {
        /// The target folder.
        target: PathBuf,
        /// The snapshot's or the source's folder.
        other: PathBuf,
    },
    /// The target folder has a file that a clean instance would not have left.
    #[error("{path} is not the clean {service}'s own; nothing is removed that the harness did not make")]
    ForeignFile {
        /// Whose place.
        service: Service,
        /// The file.
        path: PathBuf,
    },
    /// Somebody uses the target.
    #[error("{path} is in use ({by}); stop the clean {service} first")]
    InUse {
        /// Whose place.
        service: Service,
        /// The main file.
        path: PathBuf,
        /// Locks and processes.
        by: String,
    },
    /// Whether it is in use cannot be told.
    #[error("cannot tell whether the target is in use")]
    Quiescence {
        /// The cause.
        #[from]
        source: QuiescenceError,
    },
    /// The file system is too full.
    #[error("{folder} has {free} bytes free, the snapshot needs {needed}; make room")]
    NoSpace {
        /// The target folder.
        folder: PathBuf,
        /// What is free.
        free: u64,
        /// What is needed.
        needed: u64,
    },
    /// A folder cannot be looked at.
    #[error("cannot look at {path}")]
    Look {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file could not be copied or put in place.
    #[error("cannot restore the {service} file")]
    Copy {
        /// Whose.
        service: Service,
        /// The cause.
        source: CopyError,
    },
    /// What was written is not what was read.
    #[error("{path} reads back as {observed}, written was {expected}; the disk or its cache is not to be trusted")]
    ReadsBackOtherwise {
        /// The file.
        path: PathBuf,
        /// Hash by the manifest.
        expected: String,
        /// Hash read.
        observed: String,
    },
}

/// What will be done to one place.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Target {
    pub(crate) service: Service,
    pub(crate) from: PathBuf,
    pub(crate) to: PathBuf,
    pub(crate) expected: FileRecord,
    pub(crate) stale: Vec<PathBuf>,
}

/// A checked restore; printing it tells what will be done.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    snapshot: PathBuf,
    pub(crate) targets: Vec<Target>,
}

impl fmt::Display for RestorePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "restore {}", self.snapshot.display())?;
        for target in &self.targets {
            for path in &target.stale {
                writeln!(f, "remove {}", path.display())?;
            }
            let (bytes, to) = (target.expected.bytes, target.to.display());
            writeln!(f, "write {to} ({bytes} bytes, sha256 {})", target.expected.sha256)?;
        }
        Ok(())
    }
}

/// Looks at snapshot and places and refuses what must not be done. `sources` are the file sets of the drilled
/// deployment, none with an adopted backup. Changes nothing.
///
/// # Errors
/// [`RestoreError`].
pub fn plan(snapshot: &Path, places: &Places, sources: &[FileSet]) -> Result<RestorePlan, RestoreError> {
    let verified = verify(snapshot)?;
    let snapshot = canonical(snapshot)?;
    let mut targets = Vec::new();
    for service in Service::ALL {
        let place = places.of(service);
        place.check()?;
        refuse_overlap(place, &snapshot)?;
        for source in sources {
            if let Some(folder) = source.main.parent().and_then(|folder| folder.canonicalize().ok()) {
                refuse_overlap(place, &folder)?;
            }
        }
        let stale = stale_files(place)?;
        refuse_use(place)?;
        let expected = verified
            .manifest
            .part(service)
            .and_then(|part| part.files.first())
            .cloned()
            .ok_or_else(|| VerifyError::NoFolder { path: snapshot.clone() })?;
        targets.push(Target {
            service,
            from: snapshot.join(&expected.path),
            to: place.database(),
            expected,
            stale,
        });
    }
    refuse_full_disk(&targets)?;
    Ok(RestorePlan { snapshot, targets })
}

fn canonical(path: &Path) -> Result<PathBuf, RestoreError> {
    path.canonicalize().map_err(|source| RestoreError::Look {
        path: path.to_owned(),
        source,
    })
}

fn refuse_overlap(place: &CleanPlace, other: &Path) -> Result<(), RestoreError> {
    let target = canonical(place.folder())?;
    if target.starts_with(other) || other.starts_with(&target) {
        return Err(RestoreError::Overlap {
            target,
            other: other.to_owned(),
        });
    }
    Ok(())
}

/// The clean instance's own files, to be removed. Anything else in its folder is refused.
fn stale_files(place: &CleanPlace) -> Result<Vec<PathBuf>, RestoreError> {
    let look = |source| RestoreError::Look {
        path: place.folder().to_owned(),
        source,
    };
    let files = place.files();
    // The temporary name is what a restore that was killed half-way leaves.
    let unfinished = copying::temporary_beside(&files.main);
    let own = [files.wal(), files.shm(), files.journal(), unfinished, files.main];
    for entry in fs::read_dir(place.folder()).map_err(look)? {
        let entry = entry.map_err(look)?;
        let is_file = entry.file_type().map_err(look)?.is_file();
        if !is_file || !own.contains(&entry.path()) {
            return Err(RestoreError::ForeignFile {
                service: place.service(),
                path: entry.path(),
            });
        }
    }
    Ok(own.into_iter().filter(|path| path.exists()).collect())
}

pub(crate) fn refuse_use(place: &CleanPlace) -> Result<(), RestoreError> {
    let seen = quiescent(&place.files())?;
    if seen.is_quiet() {
        return Ok(());
    }
    let locks = seen
        .locks
        .iter()
        .map(|lock| format!("{} lock of process {}", lock.kind, lock.pid));
    let open = seen.open_in.iter().map(|pid| format!("open in process {pid}"));
    let by: Vec<String> = locks.chain(open).collect();
    Err(RestoreError::InUse {
        service: place.service(),
        path: place.database(),
        by: by.join(", "),
    })
}

fn refuse_full_disk(targets: &[Target]) -> Result<(), RestoreError> {
    let needed = targets.iter().map(|target| target.expected.bytes).sum::<u64>() + SPARE_BYTES;
    for target in targets {
        let folder = target.to.parent().unwrap_or(Path::new(".")).to_owned();
        let space = rustix::fs::statvfs(&folder).map_err(|error| RestoreError::Look {
            path: folder.clone(),
            source: error.into(),
        })?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < needed {
            return Err(RestoreError::NoSpace { folder, free, needed });
        }
    }
    Ok(())
}
