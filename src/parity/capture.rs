//! An environment capture: what was seen of one environment, as facts that can be compared again later.

use crate::deployment::compared::Aspect;
use crate::deployment::environment::Environment;
use crate::deployment::given_file;
use crate::evidence::{Observation, StoreError, write_atomically};
use crate::parity::command::shown_command;
use crate::parity::{api_url, config, release, runtime, schema};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Why a capture cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// It could not be read.
    #[error("cannot read the environment capture {path}; give a file that parity wrote")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is something else.
    #[error("{path} is no environment capture of format {}", Capture::FORMAT)]
    Format {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: serde_json::Error,
    },
}

/// What was seen of one environment; holds no value of a secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Capture {
    /// Always [`Capture::FORMAT`].
    pub format: String,
    /// The environment's name.
    pub environment: String,
    /// RFC 3339 UTC.
    pub observed_at: String,
    /// The Node runtime.
    pub runtime: runtime::Facts,
    /// Release truth.
    pub release: release::Facts,
    /// Configuration keys.
    pub config: config::Facts,
    /// Schemas.
    pub schema: schema::Facts,
    /// Origins in site, docs and dashboard.
    pub api_url: api_url::Facts,
    /// Origins in the status page.
    pub status_page: api_url::Facts,
    /// Each look at a source.
    pub observations: Vec<Observation>,
}

impl Capture {
    /// The format word of this version.
    pub const FORMAT: &str = "environment-capture/1";

    /// Stores it.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        write_atomically(path, &self.to_json())
    }

    /// The document as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Plain data with text keys: serialising cannot fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads one back.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn read(path: &Path) -> Result<Capture, CaptureError> {
        let text = given_file::document(path).map_err(|source| CaptureError::Read {
            path: path.to_owned(),
            source,
        })?;
        let failed = |source| CaptureError::Format {
            path: path.to_owned(),
            source,
        };
        let capture: Capture = serde_json::from_str(&text).map_err(failed)?;
        if capture.format == Capture::FORMAT {
            Ok(capture)
        } else {
            Err(failed(<serde_json::Error as serde::de::Error>::custom(
                "another format",
            )))
        }
    }

    /// What of an aspect could not be looked at.
    #[must_use]
    pub fn problems(&self, aspect: Aspect) -> Vec<String> {
        self.observations
            .iter()
            .filter(|look| look.aspect == aspect && look.outcome != Looks::READ)
            .map(|look| format!("{}: {}", look.source, look.outcome))
            .collect()
    }
}

/// An environment that is being observed: its file's folder, and each look that was made.
pub(crate) struct Looks<'a> {
    pub(crate) environment: &'a Environment,
    /// Where relative paths are taken from.
    pub(crate) folder: &'a Path,
    pub(crate) clock: fn() -> Timestamp,
    pub(crate) made: Vec<Observation>,
}

impl Looks<'_> {
    /// The outcome of a look that saw something.
    pub(crate) const READ: &'static str = "read";

    /// Notes a look and hands on what was seen; `None` where nothing was.
    pub(crate) fn note<T, E: std::error::Error>(
        &mut self,
        aspect: Aspect,
        source: &str,
        command: Option<&[String]>,
        seen: Result<T, E>,
    ) -> Option<T> {
        let outcome = match &seen {
            Ok(_) => Looks::READ.to_owned(),
            Err(error) => chain(error),
        };
        self.made.push(Observation {
            aspect,
            environment: self.environment.name.clone(),
            source: source.to_owned(),
            command: command.map(shown_command),
            at: timestamp((self.clock)()),
            outcome,
        });
        seen.ok()
    }

    /// Notes that something was not there to be looked at.
    pub(crate) fn missing(&mut self, aspect: Aspect, source: &str, what_to_do: &str) {
        self.made.push(Observation {
            aspect,
            environment: self.environment.name.clone(),
            source: source.to_owned(),
            command: None,
            at: timestamp((self.clock)()),
            outcome: what_to_do.to_owned(),
        });
    }
}

/// An error with its causes in one line; a cause that the text already names is not repeated.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = source.source();
    }
    text
}

/// RFC 3339 UTC with milliseconds.
pub(crate) fn timestamp(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}
