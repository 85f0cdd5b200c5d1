//! What a comparison of environments looks at: surfaces, configuration, Node, schemas, and drift that is intended.
//!
//! Plain settings as the environment file states them. Paths stay as they are written: they are taken from the file's folder,
//! and reports show them as their author knows them.

use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;
use std::path::PathBuf;

/// One question that a comparison of environments asks, in the order in which reports list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// Do the environments run the required Node version?
    Runtime,
    /// Do they state the same release, and the expected one?
    Release,
    /// Do they set the same configuration keys, and all that are required?
    Config,
    /// Do their databases have the same schema?
    Schema,
    /// Do public site, docs and dashboard use this environment's API and no other?
    ApiUrl,
    /// Does the status page look at this environment's API?
    StatusPage,
}

impl Aspect {
    /// All aspects.
    pub const ALL: [Aspect; 6] = [
        Aspect::Runtime,
        Aspect::Release,
        Aspect::Config,
        Aspect::Schema,
        Aspect::ApiUrl,
        Aspect::StatusPage,
    ];

    /// The id in evidence and environment files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Aspect::Runtime => "runtime",
            Aspect::Release => "release",
            Aspect::Config => "config",
            Aspect::Schema => "schema",
            Aspect::ApiUrl => "api-url",
            Aspect::StatusPage => "status-page",
        }
    }
}

impl fmt::Display for Aspect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Built sites and the API origin they should use.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SurfaceSettings {
    /// URL or folder of the public site.
    pub public_site: Option<String>,
    /// URL, folder or file of the public status page.
    pub status_page: Option<String>,
    /// URL or folder of the documentation.
    pub docs: Option<String>,
    /// URL or folder of the built dashboard.
    pub dashboard: Option<String>,
    /// The one API origin that all of them should use.
    pub api_url: Option<String>,
    /// The message bus's origin, where surfaces may name it too.
    pub bus_url: Option<String>,
    /// Further origins that are no API of this environment (a partner's, an error tracker's).
    #[serde(default)]
    pub other_origins: Vec<String>,
}

/// Where configuration is set and which keys matter beyond those that Beam is known to read.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigSettings {
    /// `.env`, `compose.yaml`, `fly.toml` or JSON files that set keys of any component.
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// argv that prints a JSON object of keys and values.
    #[serde(default)]
    pub command: Vec<String>,
    /// The committed example: a secret that equals it is named.
    pub example: Option<PathBuf>,
    /// Keys that must be set, beside those that the components require.
    #[serde(default)]
    pub required: Vec<String>,
    /// Keys whose values are secrets, beside those that are known to be.
    #[serde(default)]
    pub secret: Vec<String>,
    /// Keys that something else than Beam reads.
    #[serde(default)]
    pub known: Vec<String>,
    /// Keys whose values lawfully differ between environments, beside addresses and the like.
    #[serde(default)]
    pub own: Vec<String>,
    /// Sources of the directory alone.
    pub directory: Option<ComponentSources>,
    /// Sources of the bus alone.
    pub bus: Option<ComponentSources>,
    /// Sources of the dashboard's build alone.
    pub dashboard: Option<ComponentSources>,
}

/// Where one component's configuration is set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentSources {
    /// As [`ConfigSettings::files`].
    #[serde(default)]
    pub files: Vec<PathBuf>,
    /// As [`ConfigSettings::command`].
    #[serde(default)]
    pub command: Vec<String>,
}

/// The required Node runtime and how it is observed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeSettings {
    /// The required major version.
    #[serde(default = "required_major")]
    pub required: u32,
    /// argv that prints the version that runs.
    #[serde(default)]
    pub command: Vec<String>,
    /// The image that runs, by name and tag.
    pub image: Option<String>,
    /// Files that declare a version, or folders to look for them in.
    #[serde(default)]
    pub files: Vec<PathBuf>,
}

impl Default for NodeSettings {
    fn default() -> NodeSettings {
        NodeSettings {
            required: required_major(),
            command: Vec::new(),
            image: None,
            files: Vec::new(),
        }
    }
}

/// What the operators' guide demands.
fn required_major() -> u32 {
    20
}

/// Where the schema of each service is seen: a database file, a snapshot's folder or a file of SQL. A service that is attached
/// is seen in its `data` where nothing is named here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemaSettings {
    /// The directory's.
    pub directory: Option<PathBuf>,
    /// The bus's.
    pub bus: Option<PathBuf>,
}

/// Drift that is intended.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExceptionSettings {
    /// The aspect it belongs to.
    pub aspect: Aspect,
    /// The drift's subject; a final `*` stands for any ending.
    pub subject: String,
    /// Why it is intended.
    pub reason: String,
    /// The last day on which it holds, `2026-12-31`, UTC.
    #[serde(deserialize_with = "day")]
    pub until: String,
}

impl ExceptionSettings {
    /// Whether it speaks of a drift.
    #[must_use]
    pub fn covers(&self, aspect: Aspect, subject: &str) -> bool {
        let matches = match self.subject.strip_suffix('*') {
            Some(start) => subject.starts_with(start),
            None => subject == self.subject,
        };
        matches && self.aspect == aspect
    }

    /// What cannot be right about it.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.reason.trim().is_empty() {
            return Err(format!(
                "[[exception]] of {} for {:?} has no reason; say why",
                self.aspect, self.subject
            ));
        }
        if self.subject.trim_end_matches('*').is_empty() {
            return Err(format!(
                "[[exception]] of {} would hide every drift of it; name a subject",
                self.aspect
            ));
        }
        self.until.parse::<jiff::civil::Date>().map(|_| ()).map_err(|_| {
            format!(
                "[[exception]] of {} for {:?}: until = {:?} is no day; write it as 2026-12-31",
                self.aspect, self.subject, self.until
            )
        })
    }
}

/// A day as TOML's own date or as text.
fn day<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match toml::Value::deserialize(from)? {
        toml::Value::String(text) => Ok(text),
        toml::Value::Datetime(day) => Ok(day.to_string()),
        other => Err(serde::de::Error::custom(format!("{other} is no day"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exception(subject: &str) -> ExceptionSettings {
        let text = format!("aspect = \"api-url\"\nsubject = {subject:?}\nreason = \"r\"\nuntil = 2026-12-31");
        toml::from_str(&text).expect("an exception")
    }

    #[test]
    fn an_exception_covers_its_subject_only() {
        let one = exception("docs http://localhost:3100");
        assert!(one.covers(Aspect::ApiUrl, "docs http://localhost:3100"));
        assert!(!one.covers(Aspect::Config, "docs http://localhost:3100"));
        assert!(!one.covers(Aspect::ApiUrl, "docs"));
        assert!(exception("docs *").covers(Aspect::ApiUrl, "docs http://x"));
    }

    #[test]
    fn an_exception_that_hides_everything_is_refused() {
        assert!(exception("*").check().is_err());
        assert!(exception("docs*").check().is_ok());
    }

    #[test]
    fn a_day_that_is_none_is_refused() {
        let mut one = exception("x");
        one.until = "soon".to_owned();
        assert!(one.check().is_err());
    }
}
