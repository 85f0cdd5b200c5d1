//! What `--from` names: a folder or an archive as it is, or a snapshot of a store, which is fetched first.

use crate::exit::ExitCode;
use crate::features::{Feature, run_again};
use crate::isolated::is_entered;
use crate::snapshot::is_store;
use jiff::SignedDuration;
use recovery_drills::drills::intake::{self, Intake};
use std::path::{Path, PathBuf};

/// What is drilled instead of a source.
pub(crate) struct Given {
    /// A folder or an archive of this machine.
    pub(crate) path: PathBuf,
    /// What it was fetched into; removed with this value.
    fetched: Option<Intake>,
}

/// What a program that replaced itself left for the one that goes on: the backup, and the folder that it was fetched into.
const GIVEN: &str = "DRILLS_GIVEN";
const FETCHED: &str = "DRILLS_GIVEN_FETCHED";

impl Given {
    /// What a program that goes on in place of this one has to know: nothing is fetched twice.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        let fetched = self.fetched.iter().map(|intake| (FETCHED, intake.folder().to_owned()));
        std::iter::once((GIVEN, self.path.clone())).chain(fetched).collect()
    }

    /// What the program before this one left.
    fn handed_over() -> Option<Given> {
        let path = std::env::var_os(GIVEN).filter(|_| is_entered())?;
        Some(Given {
            path: path.into(),
            fetched: std::env::var_os(FETCHED).map(|folder| Intake::of(folder.into())),
        })
    }

    /// What holds of it in one drill of it.
    pub(crate) fn rules(&self, max_age: Option<SignedDuration>) -> intake::Given {
        intake::Given {
            is_ours: self.fetched.is_some(),
            max_age,
        }
    }
}

type Failure = (ExitCode, String);

/// A path of this machine for what is given; fetched into a private folder of this program's own where it lies in a store.
///
/// # Errors
/// Exit code and message; a snapshot of a store that is too old is a failure before it is fetched.
pub(crate) fn local(given: &Path, identity: Option<&Path>, max_age: Option<SignedDuration>) -> Result<Given, Failure> {
    if let Some(given) = Given::handed_over() {
        return Ok(given);
    }
    let text = given.to_str().unwrap_or_default();
    if !is_store(text) {
        return Ok(Given {
            path: given.to_owned(),
            fetched: None,
        });
    }
    if !Feature::Store.is_built_in() {
        return Err((run_again(Feature::Store), "the snapshot store is not built".to_owned()));
    }
    fetched(text, identity, max_age)
}

#[cfg(feature = "store")]
fn fetched(text: &str, identity: Option<&Path>, max_age: Option<SignedDuration>) -> Result<Given, Failure> {
    let intake = crate::stores::intake("fetched")?;
    let (_, path) = crate::stores::fetch(text, identity, |index| {
        if let Some(limit) = max_age {
            crate::stores::young_enough(text, index, limit)?;
        }
        Ok(intake.folder().join("snapshot"))
    })?;
    Ok(Given {
        path,
        fetched: Some(intake),
    })
}

#[cfg(not(feature = "store"))]
fn fetched(_: &str, _: Option<&Path>, _: Option<SignedDuration>) -> Result<Given, Failure> {
    Err((ExitCode::Usage, "the snapshot store is not built".to_owned()))
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
}
