//! What `--from` names: a folder, an archive, or a snapshot of a store, which is fetched first; and how old it is.

use crate::exit::ExitCode;
use crate::features::{Feature, run_again};
use crate::isolated::is_entered;
use crate::snapshot::is_store;
use jiff::{SignedDuration, Timestamp};
use recovery_drills::drills::context::chain;
use recovery_drills::drills::reference;
use recovery_drills::snapshot::archive::{self, Limits};
use recovery_drills::snapshot::dated::dated;
use recovery_drills::snapshot::manifest::FILE_NAME;
use std::path::{Path, PathBuf};

/// What is drilled instead of a source.
pub(crate) struct Given {
    /// A folder or an archive of this machine.
    pub(crate) path: PathBuf,
    /// Removed with this value: what was unpacked and has a copy in the run's folder.
    scratch: Option<Scratch>,
}

/// A folder that is removed with this value.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed lies in the folder of runs, private to its owner.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a program that replaced itself left for the one that goes on: the backup, and the folder to remove.
const GIVEN: &str = "DRILLS_GIVEN";
const SCRATCH: &str = "DRILLS_GIVEN_SCRATCH";

impl Given {
    fn at(path: PathBuf) -> Given {
        Given { path, scratch: None }
    }

    /// What a program that goes on in place of this one has to know: nothing is fetched or unpacked twice.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let scratch = self.scratch.iter().map(|scratch| (SCRATCH, scratch.0.clone()));
        std::iter::once((GIVEN, self.path.clone())).chain(scratch).collect()
    }

    /// What the program before this one left.
    fn handed_over() -> Option<Given> {
        let path = std::env::var_os(GIVEN).filter(|_| is_entered())?;
        Some(Given {
            path: path.into(),
            scratch: std::env::var_os(SCRATCH).map(|scratch| Scratch(scratch.into())),
        })
    }
}

type Failure = (ExitCode, String);

/// A path of this machine for what is given; fetched into a private folder of its own where it lies in a store.
///
/// # Errors
/// Exit code and message; a fetched snapshot that is too old is a failure.
pub(crate) fn local(given: &Path, identity: Option<&Path>, max_age: Option<SignedDuration>) -> Result<Given, Failure> {
    if let Some(given) = Given::handed_over() {
        return Ok(given);
    }
    let text = given.to_str().unwrap_or_default();
    if !is_store(text) {
        let found = if given.is_file() {
            unpacked(given)?
        } else {
            Given::at(given.to_owned())
        };
        if let Some(limit) = max_age.filter(|_| found.path.exists()) {
            let (taken, how) = dated(&found.path).map_err(|error| (ExitCode::Fail, chain(&error)))?;
            young_enough(&given.display().to_string(), taken, how, limit)?;
        }
        return Ok(found);
    }
    if !Feature::Store.is_built_in() {
        return Err((run_again(Feature::Store), "the snapshot store is not built".to_owned()));
    }
    fetched(text, identity, max_age)
}

/// An archive's files in a folder of their own.
fn unpacked(archive: &Path) -> Result<Given, Failure> {
    let kept = reference::runs_folder().join("given");
    let failed = |error: std::io::Error| {
        let message = format!("cannot write into {}: {error}", kept.display());
        (ExitCode::Fail, message)
    };
    std::fs::create_dir_all(&kept).map_err(failed)?;
    let scratch = tempfile::Builder::new()
        .prefix("unpacked-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(&kept)
        .map_err(failed)?;
    let path = scratch.path().join("set");
    archive::unpack(archive, &path, &Limits::default()).map_err(|error| {
        let code = if error.is_usage() {
            ExitCode::Usage
        } else {
            ExitCode::Fail
        };
        (code, chain(&error))
    })?;
    // A snapshot of ours is what the evidence speaks of; a plain backup is copied into the run's folder.
    if path.join(FILE_NAME).exists() {
        let _: PathBuf = scratch.keep();
        return Ok(Given::at(path));
    }
    Ok(Given {
        path,
        scratch: Some(Scratch(scratch.keep())),
    })
}

#[cfg(feature = "store")]
fn fetched(text: &str, identity: Option<&Path>, max_age: Option<SignedDuration>) -> Result<Given, Failure> {
    let (_, path) = crate::stores::fetch(text, identity, |index| {
        if let Some(limit) = max_age {
            let taken = index.taken_at.parse().map_err(|_| {
                let message = format!("{text}: {:?} is no time, so its age is not known", index.taken_at);
                (ExitCode::Fail, message)
            })?;
            young_enough(&format!("{text} ({})", index.id), taken, "its index", limit)?;
        }
        // Kept like the snapshots of other runs, so that the evidence can be verified.
        let name = format!("{}-{}", index.id, uuid::Uuid::new_v4());
        Ok(reference::runs_folder().join("given").join(name))
    })?;
    Ok(Given::at(path))
}

#[cfg(not(feature = "store"))]
fn fetched(_: &str, _: Option<&Path>, _: Option<SignedDuration>) -> Result<Given, Failure> {
    Err((ExitCode::Usage, "the snapshot store is not built".to_owned()))
}

fn young_enough(what: &str, taken: Timestamp, how: &str, limit: SignedDuration) -> Result<(), Failure> {
    let age = Timestamp::now().duration_since(taken);
    if age <= limit {
        return Ok(());
    }
    let message = format!(
        "{what} is too old: taken {taken} by {how}, {} ago, while --max-age allows {}; take a newer backup, or find out why \
         none was made",
        words(age),
        words(limit)
    );
    Err((ExitCode::Fail, message))
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

/// `36h`, `7d`, `90m`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn age(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is no age; give a number and m, h, d or w, as 36h or 7d");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: i64 = text[..text.len() - unit.len_utf8()].parse().map_err(|_| wrong())?;
    let minutes = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 24 * 60,
        'w' => 7 * 24 * 60,
        _ => return Err(wrong()),
    };
    match number.checked_mul(minutes * 60) {
        Some(seconds) if seconds > 0 => Ok(SignedDuration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_a_number_and_a_unit() {
        assert_eq!(age("36h"), Ok(SignedDuration::from_hours(36)));
        assert_eq!(age("7d"), Ok(SignedDuration::from_hours(7 * 24)));
        for text in ["", "h", "7", "-1d", "0h", "1y", "9999999999999999999d", "5 d", "7ä"] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_old_backup_is_refused_with_its_age() {
        let now = Timestamp::now();
        let day = SignedDuration::from_hours(24);
        let old = young_enough("set", now - SignedDuration::from_hours(72), "x", day).expect_err("too old");
        assert!(old.0 == ExitCode::Fail && old.1.contains("3 days ago"), "{}", old.1);
        assert!(young_enough("set", now - SignedDuration::from_hours(23), "x", day).is_ok());
    }
}
