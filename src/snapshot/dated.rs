//! When a given backup was taken, as far as it says so itself.

use crate::snapshot::copying;
use crate::snapshot::database::beside;
use crate::snapshot::manifest::{FILE_NAME, Manifest};
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// How far clocks may be apart.
const APART: SignedDuration = SignedDuration::from_mins(5);

/// Why the age of a backup is not known, or too high.
#[derive(Debug, thiserror::Error)]
pub enum DateError {
    /// Its manifest cannot be used.
    #[error("{path} has a manifest that states no time, so its age is not known")]
    Manifest {
        /// The folder.
        path: PathBuf,
    },
    /// It holds no database.
    #[error("{path} holds no database file, so its age is not known")]
    NoDatabase {
        /// The folder.
        path: PathBuf,
    },
    /// It is older than it may be.
    #[error(
        "{what} is too old: taken {taken} by {how}, {} ago, while --max-age allows {}; take a newer backup, or find out why none \
         was made",
        words(*.age),
        words(*.limit)
    )]
    TooOld {
        /// Which backup.
        what: String,
        /// When it was taken.
        taken: Timestamp,
        /// What says so.
        how: &'static str,
        /// How long ago.
        age: SignedDuration,
        /// How long ago at most.
        limit: SignedDuration,
    },
    /// It claims a time that has not come.
    #[error("{what} was taken {taken} by {how}, which has not come yet, so its age is not known; set the clocks right")]
    Future {
        /// Which backup.
        what: String,
        /// When it was taken, as it says.
        taken: Timestamp,
        /// What says so.
        how: &'static str,
    },
    /// It cannot be read.
    #[error("cannot read {path}, so its age is not known")]
    Read {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The moment that a folder's backup represents, and what says so: its manifest, else the time of its files: of each
/// database the younger of main file and log, of these the oldest.
///
/// # Errors
/// [`DateError`].
pub fn dated(folder: &Path) -> Result<(Timestamp, &'static str), DateError> {
    if folder.join(FILE_NAME).symlink_metadata().is_ok() {
        let manifest = Manifest::read(folder).ok();
        let stated = manifest.and_then(|manifest| manifest.cut_at.unwrap_or(manifest.taken_at).parse().ok());
        return stated
            .map(|at| (at, "its manifest"))
            .ok_or_else(|| DateError::Manifest {
                path: folder.to_owned(),
            });
    }
    let failed = |source| DateError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut oldest: Option<Timestamp> = None;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !begins_like_a_database(&path) {
            continue;
        }
        let time = |path: &Path| {
            let modified = fs::symlink_metadata(path)
                .and_then(|metadata| metadata.modified())
                .ok()?;
            Timestamp::try_from(modified).ok()
        };
        let younger = time(&path).max(time(&beside(&path, "-wal")));
        oldest = match (oldest, younger) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    oldest
        .map(|at| (at, "the time of its files, as it has no manifest"))
        .ok_or_else(|| DateError::NoDatabase {
            path: folder.to_owned(),
        })
}

/// Whether a backup taken at that time is not older than it may be.
///
/// # Errors
/// [`DateError::TooOld`], [`DateError::Future`].
pub fn young_enough(
    what: &str,
    taken: Timestamp,
    how: &'static str,
    limit: SignedDuration,
    now: Timestamp,
) -> Result<(), DateError> {
    let (what, age) = (what.to_owned(), now.duration_since(taken));
    if age > limit {
        return Err(DateError::TooOld {
            what,
            taken,
            how,
            age,
            limit,
        });
    }
    if age < -APART {
        return Err(DateError::Future { what, taken, how });
    }
    Ok(())
}

fn words(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn begins_like_a_database(path: &Path) -> bool {
    let mut head = [0_u8; 16];
    copying::open_regular(path)
        .is_ok_and(|mut file| file.read_exact(&mut head).is_ok() && &head == b"SQLite format 3\0")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded;
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_manifest_speaks_before_the_times_of_files() {
        let run = recorded::taken();
        let folder = run.path().join("snapshot");
        let manifest = Manifest::read(&folder).expect("read");
        let (at, how) = dated(&folder).expect("dated");
        let stated = manifest.cut_at.unwrap_or(manifest.taken_at);
        assert_eq!((at, how), (stated.parse().expect("a time"), "its manifest"));
        fs::write(folder.join(FILE_NAME), "{").expect("written");
        assert!(matches!(dated(&folder), Err(DateError::Manifest { .. })));
    }

    #[test]
    fn an_old_backup_is_refused_with_its_age_and_one_from_the_future_too() {
        let now = Timestamp::now();
        let hours = SignedDuration::from_hours;
        let judged = |ago| young_enough("set", now - ago, "x", hours(24), now);
        let old = judged(hours(72)).expect_err("too old").to_string();
        assert!(old.contains("3 days ago"), "{old}");
        assert!(judged(hours(23)).is_ok() && judged(SignedDuration::from_mins(-4)).is_ok());
        assert!(matches!(judged(hours(-1)), Err(DateError::Future { .. })));
    }

    #[test]
    fn a_plain_backup_is_as_old_as_the_older_of_its_databases() {
        let set = recorded::at_rest();
        let second = |at: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(at);
        for (name, at) in [
            ("beam-directory.db", 3_000),
            ("beam-bus.sqlite", 1_000),
            ("beam-bus.sqlite-wal", 2_000),
        ] {
            let file = File::options().write(true).open(set.path().join(name)).expect("opened");
            file.set_modified(second(at)).expect("set");
        }
        assert_eq!(dated(set.path()).expect("dated").0.as_second(), 2_000);
        let empty = tempfile::tempdir().expect("a temporary folder");
        assert!(matches!(dated(empty.path()), Err(DateError::NoDatabase { .. })));
    }
}
