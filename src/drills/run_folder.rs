//! The folder of a run: whose it is, and what is left of it when its harness is gone.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that only its owner may enter, with its parents.
pub(crate) fn private_folder(path: &Path) -> std::io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

pub(crate) const OWNER: &str = "owner.lock";

/// Locks the run's folder for as long as the harness lives, so that a later run can tell a broken run from a live one.
/// The file gets its name only when it is locked: whoever sees it without a lock sees a broken run.
pub(crate) fn own(run: &Path) -> Option<fs::File> {
    let unnamed = run.join("owner.unnamed");
    let file = fs::File::create(&unnamed).ok()?;
    file.try_lock().ok()?;
    fs::rename(unnamed, run.join(OWNER)).ok()?;
    Some(file)
}

/// Whether the harness of a run still lives.
#[must_use]
pub fn is_under_way(run: &Path) -> bool {
    fs::File::open(run.join(OWNER)).is_ok_and(|lock| lock.try_lock_shared().is_err())
}

/// Folders of runs that left working files and whose harness is gone.
#[must_use]
pub fn broken_runs(runs: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs) else {
        return Vec::new();
    };
    let mut broken: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|run| run.join("work").is_dir())
        .filter(|run| fs::File::open(run.join(OWNER)).is_ok_and(|lock| lock.try_lock().is_ok()))
        .collect();
    broken.sort();
    broken
}

/// Whether the harness of a run is gone: no folder any more, or nobody holds its lock.
#[must_use]
pub fn is_abandoned(run: &Path) -> bool {
    match fs::File::open(run.join(OWNER)) {
        Ok(lock) => lock.try_lock_shared().is_ok(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Removes the working files of a broken run; what it left for others to read stays: `started.json`, evidence if any.
///
/// # Errors
/// What the system says.
pub fn clean_broken_run(run: &Path) -> std::io::Result<()> {
    fs::remove_dir_all(run.join("work"))?;
    fs::remove_file(run.join(OWNER))?;
    let logs = run.join("logs");
    if logs.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        fs::remove_dir(logs)?;
    }
    if run.read_dir()?.next().is_none() {
        fs::remove_dir(run)
    } else {
        Ok(())
    }
}
