//! `drills.toml`: the length of a sprint, and the release that is cut.

use crate::cadence::sprint::Cadence;
use crate::deployment::given_file;
use crate::deployment::release::{Release, is_commit};
use jiff::civil::Date;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The file's name at the root of a project.
pub const FILE: &str = "drills.toml";

/// A sprint longer than this is a mistake.
const LONGEST_SPRINT: u16 = 366;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// When sprints begin and how long they are.
    pub cadence: Cadence,
    /// The release that is cut, as far as it is stated: evidence of another one does not count.
    pub release: Release,
    /// Whose evidence counts; of any environment where left out.
    pub environment: Option<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            cadence: Cadence::DEFAULT,
            release: Release::default(),
            environment: None,
        }
    }
}

/// Why the file cannot be used. Always a usage error.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// It could not be read.
    #[error("cannot read {path}; give --settings another file")]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It says something that cannot be meant.
    #[error("{path}: {message}")]
    Invalid {
        /// Which.
        path: PathBuf,
        /// What, and what to do.
        message: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[serde(default)]
    cadence: RawCadence,
    #[serde(default)]
    release: RawRelease,
    #[serde(default)]
    checklist: RawChecklist,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCadence {
    first_sprint: Option<toml::Value>,
    sprint_days: Option<u16>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRelease {
    version: Option<String>,
    git_sha: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawChecklist {
    environment: Option<String>,
}

impl Settings {
    /// Reads a file.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(path: &Path) -> Result<Settings, SettingsError> {
        let text = given_file::settings(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        parse(&text).map_err(|message| SettingsError::Invalid {
            path: path.to_owned(),
            message,
        })
    }
}

fn parse(text: &str) -> Result<Settings, String> {
    let raw: Raw = toml::from_str(text).map_err(|error| error.to_string())?;
    let mut cadence = Cadence::DEFAULT;
    if let Some(value) = raw.cadence.first_sprint {
        let day = match value {
            toml::Value::String(text) => text,
            other => other.to_string(),
        };
        cadence.first_sprint = day
            .parse::<Date>()
            .map_err(|_| format!("first_sprint = {day} is no day; write the first day of a sprint as 2026-11-23"))?;
    }
    if let Some(days) = raw.cadence.sprint_days {
        if !(1..=LONGEST_SPRINT).contains(&days) {
            return Err(format!("sprint_days = {days}; a sprint has 1 to {LONGEST_SPRINT} days"));
        }
        cadence.sprint_days = days;
    }
    for (key, value) in [
        ("[release] version", &raw.release.version),
        ("[checklist] environment", &raw.checklist.environment),
    ] {
        if value.as_ref().is_some_and(|text| text.trim().is_empty()) {
            return Err(format!("{key} is empty; leave it out where nothing is stated"));
        }
    }
    if let Some(sha) = raw.release.git_sha.as_ref().filter(|sha| !is_commit(sha)) {
        return Err(format!(
            "[release] git_sha = {sha:?}; a commit has 7 to 40 hexadecimal digits"
        ));
    }
    Ok(Settings {
        cadence,
        release: Release {
            version: raw.release.version,
            git_sha: raw.release.git_sha,
            deployed_at: None,
        },
        environment: raw.checklist.environment,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_stands_for_the_defaults() {
        assert_eq!(parse("").expect("settings"), Settings::default());
    }

    #[test]
    fn every_key_is_read() {
        let text = "[cadence]\nfirst_sprint = 2026-01-05\nsprint_days = 21\n[release]\nversion = \"1.6.0\"\n\
                    git_sha = \"0123456\"\n[checklist]\nenvironment = \"production\"";
        let settings = parse(text).expect("settings");
        assert_eq!(settings.cadence.first_sprint, jiff::civil::date(2026, 1, 5));
        assert_eq!(settings.cadence.sprint_days, 21);
        assert_eq!(settings.release.version.as_deref(), Some("1.6.0"));
        assert_eq!(settings.environment.as_deref(), Some("production"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_what_to_do() {
        for (text, word) in [
            ("[cadence]\nsprint_days = 0", "1 to 366"),
            ("[cadence]\nfirst_sprint = \"soon\"", "2026-11-23"),
            ("[cadence]\nsprint_day = 3", "sprint_day"),
            ("[release]\nversion = \"\"", "version is empty"),
            ("[release]\ngit_sha = \"zz\"", "7 to 40"),
            ("[checklist]\nenvironment = \" \"", "environment is empty"),
        ] {
            let message = parse(text).expect_err("refused");
            assert!(message.contains(word), "{message}");
        }
    }
}
