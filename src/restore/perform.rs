//! The restore itself: copy beside, remove what is stale, rename, read again.

use crate::deployment::Service;
use crate::restore::place::Places;
use crate::restore::plan::{RestoreError, RestorePlan, Target, refuse_use};
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::file_set::FileRecord;
use serde::Serialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::restore::place::{CleanPlace, PlaceError};
    use crate::restore::plan::plan;
    use crate::snapshot::file_set::FileSet;
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
