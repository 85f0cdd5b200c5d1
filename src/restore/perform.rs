//! The restore itself: refuse, copy beside, remove what is stale, rename, read again.

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
struct Target {
    service: Service,
    from: PathBuf,
    to: PathBuf,
    expected: FileRecord,
    stale: Vec<PathBuf>,
}

/// A checked restore; printing it tells what will be done.
#[derive(Debug, Clone, Serialize)]
pub struct RestorePlan {
    snapshot: PathBuf,
    targets: Vec<Target>,
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

/// One file as it was put in place and read again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RestoredFile {
    /// Whose.
    pub service: Service,
    /// Where it lies.
    pub path: PathBuf,
    /// Size and hash, read back.
    pub file: FileRecord,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// The files, directory first.
    pub files: Vec<RestoredFile>,
    /// What was removed before.
    pub removed: Vec<PathBuf>,
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

/// Restores both files: copies beside the targets first, so that a failure up to there leaves the places as they were;
/// then removes the clean instances' files, renames, reads back. When the second file cannot be put in place the first
/// is taken away again.
///
/// # Errors
/// [`RestoreError`].
pub fn perform(plan: &RestorePlan, places: &Places) -> Result<Restored, RestoreError> {
    for service in Service::ALL {
        places.of(service).check()?;
        refuse_use(places.of(service))?;
    }
    let restored = copy_beside(plan).and_then(|()| put_in_place(plan));
    if restored.is_err() {
        for target in &plan.targets {
            // Both or nothing; the first error is the one to report.
            let _ = fs::remove_file(copying::temporary_beside(&target.to));
        }
    }
    restored
}

fn copy_beside(plan: &RestorePlan) -> Result<(), RestoreError> {
    for target in &plan.targets {
        let failed = |source| RestoreError::Copy {
            service: target.service,
            source,
        };
        let temporary = copying::temporary_beside(&target.to);
        if target.stale.contains(&temporary) {
            fs::remove_file(&temporary).map_err(|source| RestoreError::Look {
                path: temporary.clone(),
                source,
            })?;
        }
        let copied = copying::copy_new(&target.from, &temporary).map_err(failed)?;
        if copied.sha256 != target.expected.sha256 {
            return Err(RestoreError::ReadsBackOtherwise {
                path: target.from.clone(),
                expected: target.expected.sha256.clone(),
                observed: copied.sha256,
            });
        }
    }
    Ok(())
}

fn put_in_place(plan: &RestorePlan) -> Result<Restored, RestoreError> {
    let mut removed = Vec::new();
    let fresh: Vec<PathBuf> = plan
        .targets
        .iter()
        .map(|target| copying::temporary_beside(&target.to))
        .collect();
    let stale = plan.targets.iter().flat_map(|target| &target.stale);
    for path in stale.filter(|path| !fresh.contains(path)) {
        match fs::remove_file(path) {
            Ok(()) => removed.push(path.clone()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(RestoreError::Look {
                    path: path.clone(),
                    source,
                });
            }
        }
    }
    let mut files: Vec<RestoredFile> = Vec::new();
    for target in &plan.targets {
        match put_one(target) {
            Ok(file) => files.push(file),
            Err(error) => {
                for done in &files {
                    // Both or nothing.
                    let _ = fs::remove_file(&done.path);
                }
                let _ = fs::remove_file(&target.to);
                return Err(error);
            }
        }
    }
    Ok(Restored { files, removed })
}

fn put_one(target: &Target) -> Result<RestoredFile, RestoreError> {
    let failed = |source| RestoreError::Copy {
        service: target.service,
        source,
    };
    fs::rename(copying::temporary_beside(&target.to), &target.to).map_err(|source| {
        failed(CopyError::Write {
            path: target.to.clone(),
            source,
        })
    })?;
    copying::sync_folder(target.to.parent().unwrap_or(Path::new("."))).map_err(failed)?;
    let file = copying::hash_file(&target.to).map_err(failed)?;
    if file.sha256 != target.expected.sha256 {
        return Err(RestoreError::ReadsBackOtherwise {
            path: target.to.clone(),
            expected: target.expected.sha256.clone(),
            observed: file.sha256,
        });
    }
    Ok(RestoredFile {
        service: target.service,
        path: target.to.clone(),
        file,
    })
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

fn refuse_use(place: &CleanPlace) -> Result<(), RestoreError> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::manifest::Manifest;
    use crate::snapshot::recorded::taken;
    use rusqlite::Connection;

    fn arranged() -> (tempfile::TempDir, PathBuf, Places) {
        let run = taken();
        let snapshot = run.path().join("snapshot");
        let clean = run.path().join("clean");
        fs::create_dir(&clean).expect("made");
        let places = Places::create(&clean).expect("created");
        (run, snapshot, places)
    }

    #[test]
    fn restored_files_are_the_snapshots_and_stand_alone() {
        let (_run, snapshot, places) = arranged();
        for suffix in ["", "-wal", "-shm"] {
            let path = crate::snapshot::database::beside(&places.directory.database(), suffix);
            fs::write(path, b"of the clean instance").expect("written");
        }
        let plan = plan(&snapshot, &places, &[]).expect("planned");
        let restored = perform(&plan, &places).expect("performed");
        assert_eq!(restored.removed.len(), 3);
        let manifest = Manifest::read(&snapshot).expect("read");
        for (file, part) in restored.files.iter().zip(&manifest.services) {
            assert_eq!(file.file.sha256, part.files[0].sha256);
            assert_eq!(
                fs::read_dir(file.path.parent().expect("a folder"))
                    .expect("listed")
                    .count(),
                1
            );
        }
    }

    #[test]
    fn what_a_restore_that_was_killed_half_way_left_is_replaced() {
        let (_run, snapshot, places) = arranged();
        let left = copying::temporary_beside(&places.bus.database());
        fs::write(&left, b"half of a file").expect("written");
        let plan = plan(&snapshot, &places, &[]).expect("planned");
        perform(&plan, &places).expect("performed");
        assert!(!left.exists() && places.bus.database().exists());
    }

    #[test]
    fn a_foreign_file_in_the_target_is_refused_and_kept() {
        let (_run, snapshot, places) = arranged();
        let foreign = places.bus.folder().join("production.sqlite");
        fs::write(&foreign, b"x").expect("written");
        let refused = plan(&snapshot, &places, &[]).expect_err("refused");
        assert!(matches!(refused, RestoreError::ForeignFile { .. }));
        assert!(foreign.exists());
    }

    #[test]
    fn a_target_in_use_is_refused() {
        let (_run, snapshot, places) = arranged();
        let connection = Connection::open(places.bus.database()).expect("opened");
        connection
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a);")
            .expect("made");
        let refused = plan(&snapshot, &places, &[]).expect_err("refused");
        assert!(refused.to_string().contains("in use"), "{refused}");
    }

    #[test]
    fn a_target_inside_the_snapshot_or_the_source_is_refused_also_through_a_link() {
        let (run, snapshot, places) = arranged();
        let link = run.path().join("link");
        std::os::unix::fs::symlink(places.bus.folder(), &link).expect("linked");
        let source = FileSet::new(Service::Bus, link.join("live.sqlite"));
        assert!(matches!(
            plan(&snapshot, &places, &[source]),
            Err(RestoreError::Overlap { .. })
        ));
        fs::set_permissions(&snapshot, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("set");
        let inside = Places::create(&snapshot).expect("created");
        assert!(plan(&snapshot, &inside, &[]).is_err());
    }

    #[test]
    fn an_altered_snapshot_and_an_unknown_format_are_refused() {
        let (_run, snapshot, places) = arranged();
        let path = snapshot.join("manifest.json");
        let text = fs::read_to_string(&path).expect("read");
        fs::write(&path, text.replace("snapshot/1", "snapshot/9")).expect("written");
        assert!(matches!(
            plan(&snapshot, &places, &[]),
            Err(RestoreError::Snapshot { .. })
        ));
        fs::write(&path, text).expect("written");
        fs::write(snapshot.join("beam-bus.sqlite"), b"other").expect("written");
        assert!(matches!(
            plan(&snapshot, &places, &[]),
            Err(RestoreError::Snapshot { .. })
        ));
    }

    #[test]
    fn a_snapshot_that_vanishes_between_plan_and_perform_leaves_the_places_as_they_were() {
        let (_run, snapshot, places) = arranged();
        fs::write(places.directory.database(), b"of the clean instance").expect("written");
        let plan = plan(&snapshot, &places, &[]).expect("planned");
        fs::remove_file(snapshot.join("beam-bus.sqlite")).expect("removed");
        assert!(perform(&plan, &places).is_err());
        let kept = fs::read(places.directory.database()).expect("kept");
        assert_eq!(kept, b"of the clean instance");
        assert_eq!(fs::read_dir(places.directory.folder()).expect("listed").count(), 1);
    }

    #[test]
    fn a_folder_that_is_already_there_is_no_clean_place() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(matches!(
            CleanPlace::create(Service::Bus, folder.path()),
            Err(PlaceError::Exists { .. })
        ));
    }
}
