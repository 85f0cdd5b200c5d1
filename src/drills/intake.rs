//! How a given backup comes to its run: fetched into a folder that belongs to the program which fetches, unpacked into the
//! run's own folder, or used where it is.
//!
//! A folder of a program that was killed is told from that of a living one by a lock, and by the program's number for the
//! moment in which a program that replaces itself has no lock.

use crate::drills::run_folder::{OWNER, own, private_folder};
use crate::snapshot::archive::{self, ArchiveError, Limits};
use crate::snapshot::copying::CopyError;
use crate::snapshot::dated::{DateError, dated, young_enough};
use crate::snapshot::manifest::FILE_NAME;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, test_kill_process};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Below the folder of runs.
const FOLDER: &str = "given";
/// A folder without a lock is left alone for so long: whoever made it is about to lock it.
const UNLOCKED: Duration = Duration::from_secs(60);

/// What holds of a given backup, beside where it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Given {
    /// It was fetched for this run alone, and moves into the run's folder.
    pub is_ours: bool,
    /// It may not be older.
    pub max_age: Option<SignedDuration>,
}

/// A private folder of this program, in which it prepares a backup; removed with this value.
#[derive(Debug)]
pub struct Intake {
    folder: PathBuf,
    /// Locked for as long as this value lives.
    _owner: Option<fs::File>,
}

impl Intake {
    /// A new folder below that of runs.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(runs: &Path, what: &str) -> io::Result<Intake> {
        let folder = runs.join(FOLDER).join(format!("{what}-{}", uuid::Uuid::new_v4()));
        private_folder(&folder)?;
        Ok(Intake::of(folder))
    }

    /// The folder of the program that this one replaced: the same process, so that it was never given up.
    #[must_use]
    pub fn of(folder: PathBuf) -> Intake {
        let mut owner = own(&folder);
        if let Some(file) = &mut owner {
            // Without its number the folder would be taken for given up while a program replaces itself.
            let _ = io::Write::write_all(file, std::process::id().to_string().as_bytes());
        }
        Intake { folder, _owner: owner }
    }

    /// Where it is.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // What cannot be removed is found by `doctor`.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// What programs left that were killed while they had a backup in hand.
#[must_use]
pub fn broken_intakes(runs: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(runs.join(FOLDER)) else {
        return Vec::new();
    };
    let folders = entries.flatten().map(|entry| entry.path());
    let mut broken: Vec<PathBuf> = folders
        .filter(|path| path.is_dir())
        .filter(|path| is_given_up(path))
        .collect();
    broken.sort();
    broken
}

fn is_given_up(folder: &Path) -> bool {
    let lock = folder.join(OWNER);
    let Ok(file) = fs::File::open(&lock) else {
        // Not locked yet, or kept for good by an older version: only an empty one is nobody's.
        let is_empty = fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none());
        let age = fs::metadata(folder).and_then(|metadata| metadata.modified());
        return is_empty && age.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > UNLOCKED));
    };
    let number = fs::read_to_string(&lock)
        .ok()
        .and_then(|text| Pid::from_raw(text.trim().parse().ok()?));
    let lives = number.is_some_and(|number| test_kill_process(number) != Err(rustix::io::Errno::SRCH));
    file.try_lock().is_ok() && !lives
}

/// Why a given backup could not be had.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// An archive was refused.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// Its age.
    #[error(transparent)]
    Date(#[from] DateError),
    /// It could not be brought into the run's folder.
    #[error("cannot bring the given backup into the run's folder")]
    Move(#[from] CopyError),
}

/// A given backup as a folder: unpacked where it is an archive, moved where it was fetched for this run. A snapshot of ours ends
/// in `stored`, so that it stays with the evidence; a plain backup below `work`.
///
/// # Errors
/// [`IntakeError`].
pub(crate) fn at_hand(from: &Path, given: &Given, work: &Path, stored: &Path) -> Result<PathBuf, IntakeError> {
    let folder = if from.is_file() {
        let unpacked = work.join("unpacked");
        archive::unpack(from, &unpacked, &Limits::default())?;
        stays(&unpacked, stored)?
    } else if given.is_ours {
        stays(from, stored)?
    } else {
        from.to_owned()
    };
    if let Some(limit) = given.max_age {
        match dated(&folder) {
            Ok((taken, how)) => young_enough(&from.display().to_string(), taken, how, limit, Timestamp::now())?,
            // Then it is no backup at all, which whoever looks for databases says.
            Err(DateError::NoDatabase { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(folder)
}

/// Moves a snapshot of ours to where the run keeps its own; a plain backup is where it was.
fn stays(folder: &Path, stored: &Path) -> Result<PathBuf, CopyError> {
    if folder.join(FILE_NAME).symlink_metadata().is_err() {
        return Ok(folder.to_owned());
    }
    fs::rename(folder, stored).map_err(|source| CopyError::Write {
        path: stored.to_owned(),
        source,
    })?;
    Ok(stored.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_program_left_is_found_and_what_a_living_one_has_is_not() {
        let runs = tempfile::tempdir().expect("a temporary folder");
        let ours = Intake::new(runs.path(), "fetched").expect("made");
        assert!(broken_intakes(runs.path()).is_empty());
        // As a killed program leaves it: nobody has the lock, and nobody has its number.
        let left = runs.path().join("given/fetched-left");
        private_folder(&left).expect("made");
        fs::write(left.join(OWNER), "999999999").expect("written");
        assert_eq!(broken_intakes(runs.path()), [left]);
        let folder = ours.folder().to_owned();
        drop(ours);
        assert!(!folder.exists());
    }

    #[test]
    fn a_program_that_replaces_itself_keeps_its_folder_while_it_has_no_lock() {
        let runs = tempfile::tempdir().expect("a temporary folder");
        let folder = runs.path().join("given/fetched-ours");
        private_folder(&folder).expect("made");
        fs::write(folder.join(OWNER), std::process::id().to_string()).expect("written");
        assert!(broken_intakes(runs.path()).is_empty());
        let taken_over = Intake::of(folder.clone());
        assert!(broken_intakes(runs.path()).is_empty());
        drop(taken_over);
        assert!(!folder.exists());
    }

    #[test]
    fn a_folder_that_an_older_version_kept_with_its_evidence_is_left_alone() {
        let runs = tempfile::tempdir().expect("a temporary folder");
        let kept = runs.path().join("given/2026-11-22T02-00-00-000Z-kept");
        private_folder(&kept).expect("made");
        fs::write(kept.join(FILE_NAME), "{}").expect("written");
        assert!(broken_intakes(runs.path()).is_empty());
    }
}
