//! An environment file: everything the harness knows of a deployment.
//!
//! Parses and validates; looks up nothing. Without a file, [`Environment::reference`] stands for the reference services.

use crate::deployment::Service;
use crate::deployment::compared::{ConfigSettings, ExceptionSettings, NodeSettings, SchemaSettings, SurfaceSettings};
use crate::deployment::release::Release;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Why an environment file cannot be used. Always a usage error.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// The text is not an environment.
    #[error("{path} is not a valid environment file: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column and cause, as the parser says it.
        message: String,
    },
    /// A value contradicts another or cannot work.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What, and what to do.
        message: String,
    },
}

/// How the instances of a service are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// As a child process of the harness.
    #[default]
    Process,
    /// As a container.
    Container,
    /// It runs already; stopped and started by its own commands.
    Attached,
}

impl RuntimeKind {
    /// The word in files and evidence.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            RuntimeKind::Process => "process",
            RuntimeKind::Container => "container",
            RuntimeKind::Attached => "attached",
        }
    }
}

/// One environment, as its file describes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// `staging`, `demo`, `production`, or any name.
    pub name: String,
    /// Longest time a whole drill may take, in milliseconds.
    #[serde(default = "default_time_limit")]
    pub time_limit_ms: u64,
    /// Budget of the RTO, in milliseconds.
    pub rto_limit_ms: Option<u64>,
    /// Budget of the RPO, in lost acknowledged writes.
    #[serde(default)]
    pub rpo_limit_writes: u64,
    /// Longest outage of an attached source, in milliseconds.
    pub max_outage_ms: Option<u64>,
    /// Whether this is the production environment.
    #[serde(default)]
    pub production: bool,
    /// The directory.
    #[serde(default)]
    pub directory: ServiceSettings,
    /// The message bus.
    #[serde(default)]
    pub bus: ServiceSettings,
    /// Where credentials come from.
    #[serde(default)]
    pub access: AccessSettings,
    /// Built sites and the API origin they should use.
    #[serde(default)]
    pub surfaces: SurfaceSettings,
    /// The expected release.
    #[serde(default)]
    pub release: ReleaseSettings,
    /// Configuration files and their keys.
    #[serde(default)]
    pub config: ConfigSettings,
    /// The required Node runtime and how it is observed.
    #[serde(default)]
    pub node: NodeSettings,
    /// Where the schemas of its databases are seen.
    #[serde(default)]
    pub schema: SchemaSettings,
    /// Drift that is intended.
    #[serde(default)]
    pub exception: Vec<ExceptionSettings>,
    /// Where snapshots are stored and what they must hold.
    #[serde(default)]
    pub snapshots: SnapshotSettings,
}

fn default_time_limit() -> u64 {
    120_000
}

/// How one service is run.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSettings {
    /// Process, container or attached.
    #[serde(default)]
    pub runtime: RuntimeKind,
    /// Process: the argv with placeholders. Empty means the reference service.
    #[serde(default)]
    pub command: Vec<String>,
    /// Process: the working directory.
    pub cwd: Option<PathBuf>,
    /// Process: variables with placeholders, added to (and winning over) the ones that Beam documents.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Process: a fixed port instead of a free one.
    pub port: Option<u16>,
    /// Container: the image.
    pub image: Option<String>,
    /// Attached: base URL.
    pub url: Option<String>,
    /// Attached: the database file.
    pub data: Option<PathBuf>,
    /// Attached: argv that stops it.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Attached: argv that starts it.
    #[serde(default)]
    pub start: Vec<String>,
    /// Attached: argv that copies the file set to `{to}`.
    #[serde(default)]
    pub fetch: Vec<String>,
    /// How long it may take to become ready, in milliseconds (default 20 000).
    pub ready_limit_ms: Option<u64>,
    /// How long it may take to stop after SIGTERM, in milliseconds (default 15 000).
    pub stop_limit_ms: Option<u64>,
}

impl ServiceSettings {
    /// Whether the reference service stands in: no command for a process, no image for a container.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        match self.runtime {
            RuntimeKind::Container => self.command.is_empty() && self.image.is_none(),
            RuntimeKind::Process | RuntimeKind::Attached => self.command.is_empty(),
        }
    }
}

/// Where credentials come from, for every runtime. Names of environment variables, never values.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessSettings {
    /// The operator's e-mail for magic-link logins.
    pub admin_email: Option<String>,
    /// Variable that holds an admin session token.
    pub admin_session_env: Option<String>,
    /// Variable that holds the bus's API key.
    pub bus_key_env: Option<String>,
    /// Variable that holds the directory's `JWT_SECRET`.
    pub jwt_secret_env: Option<String>,
    /// The bus's identity file.
    pub identity_file: Option<PathBuf>,
}

/// The expected release.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseSettings {
    /// Expected version.
    pub version: Option<String>,
    /// Expected commit.
    pub git_sha: Option<String>,
    /// Expected deployment time.
    #[serde(default, deserialize_with = "time")]
    pub deployed_at: Option<String>,
    /// `git`, or a JSON file, that holds the three.
    pub from: Option<String>,
    /// JSON files that hold what was observed elsewhere: the three, or the answers of `release`, `health`, `stats`.
    #[serde(default)]
    pub stated: Vec<PathBuf>,
}

/// A time as TOML's own or as text.
fn time<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    match toml::Value::deserialize(from)? {
        toml::Value::String(text) => Ok(Some(text)),
        toml::Value::Datetime(time) => Ok(Some(time.to_string())),
        other => Err(serde::de::Error::custom(format!("{other} is no time"))),
    }
}

impl ReleaseSettings {
    /// The triple as far as the file states it.
    #[must_use]
    pub fn stated(&self) -> Release {
        Release {
            version: self.version.clone(),
            git_sha: self.git_sha.clone(),
            deployed_at: self.deployed_at.clone(),
        }
    }
}

/// Where snapshots are stored and what they must hold.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotSettings {
    /// A folder or object-store address.
    pub store: Option<String>,
    /// How long snapshots are kept.
    #[serde(default)]
    pub retention: toml::Table,
    /// Encryption recipient.
    pub recipient: Option<String>,
    /// Tables that may not be empty, beside `agents`, `intent_log` and `beam_messages`.
    #[serde(default)]
    pub required_tables: Vec<String>,
}

/// The variables that name images, and win over the environment file.
const DIRECTORY_IMAGE: &str = "BEAM_DIRECTORY_IMAGE";
const BUS_IMAGE: &str = "BEAM_BUS_IMAGE";

/// What may stand in argv and in variables.
const PLACEHOLDERS: &[&str] = &[
    "port",
    "db",
    "directory_url",
    "bus_url",
    "directory_identity",
    "identity_file",
    "release_version",
    "release_sha",
    "deployed_at",
];

/// What may stand in variables only: an argv can be read by every user of the machine.
const SECRET_PLACEHOLDERS: &[&str] = &["jwt_secret", "bus_api_key"];

impl Environment {
    /// The environment that is drilled without a file: both reference services as processes.
    #[must_use]
    pub fn reference() -> Environment {
        Environment {
            name: "reference".to_owned(),
            time_limit_ms: default_time_limit(),
            rto_limit_ms: None,
            rpo_limit_writes: 0,
            max_outage_ms: None,
            production: false,
            directory: ServiceSettings::default(),
            bus: ServiceSettings::default(),
            access: AccessSettings::default(),
            surfaces: SurfaceSettings::default(),
            release: ReleaseSettings::default(),
            config: ConfigSettings::default(),
            node: NodeSettings::default(),
            schema: SchemaSettings::default(),
            exception: Vec::new(),
            snapshots: SnapshotSettings::default(),
        }
    }

    /// Parses and validates the text of a file; relative paths in it are taken from the file's folder.
    ///
    /// # Errors
    /// [`EnvironmentError`] with file, line and what to do.
    pub fn parse(text: &str, path: &Path) -> Result<Environment, EnvironmentError> {
        let mut environment: Environment = toml::from_str(text).map_err(|error| EnvironmentError::Parse {
            path: path.to_owned(),
            message: without_text(&error, text),
        })?;
        let invalid = |message: String| EnvironmentError::Invalid {
            path: path.to_owned(),
            message,
        };
        if environment.name.is_empty()
            || !environment
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        {
            return Err(invalid(
                "name may hold letters, digits, '-', '_' and '.' only".to_owned(),
            ));
        }
        if environment.time_limit_ms == 0 {
            return Err(invalid("time_limit_ms must be above zero".to_owned()));
        }
        for service in Service::ALL {
            check_service(environment.service(service), service).map_err(invalid)?;
        }
        for exception in &environment.exception {
            exception.check().map_err(invalid)?;
        }
        let folder = path.parent().unwrap_or(Path::new("."));
        for settings in [&mut environment.directory, &mut environment.bus] {
            for relative in [&mut settings.cwd, &mut settings.data].into_iter().flatten() {
                *relative = folder.join(&*relative);
            }
        }
        if let Some(file) = &mut environment.access.identity_file {
            *file = folder.join(&*file);
        }
        Ok(environment)
    }

    /// Runs both services in containers, of the images that the variables `BEAM_DIRECTORY_IMAGE` and `BEAM_BUS_IMAGE` name,
    /// else those of the file, else the reference services' own.
    pub fn in_containers(&mut self, variable: impl Fn(&str) -> Option<String>) {
        for (settings, name) in [(&mut self.directory, DIRECTORY_IMAGE), (&mut self.bus, BUS_IMAGE)] {
            settings.runtime = RuntimeKind::Container;
            if let Some(image) = variable(name).filter(|image| !image.is_empty()) {
                settings.image = Some(image);
            }
        }
    }

    /// Runs both services as processes.
    pub fn in_processes(&mut self) {
        self.directory.runtime = RuntimeKind::Process;
        self.bus.runtime = RuntimeKind::Process;
    }

    /// Whether a service runs in a container.
    #[must_use]
    pub fn is_in_containers(&self) -> bool {
        [self.directory.runtime, self.bus.runtime].contains(&RuntimeKind::Container)
    }

    /// The settings of a service.
    #[must_use]
    pub fn service(&self, service: Service) -> &ServiceSettings {
        match service {
            Service::Directory => &self.directory,
            Service::Bus => &self.bus,
        }
    }
}

/// Where and why a text is no environment, without any of the text: it may hold a secret.
fn without_text(error: &toml::de::Error, text: &str) -> String {
    let at = error.span().map_or(0, |span| span.start);
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    // serde repeats a value of the wrong type: `invalid type: string "…", expected …`.
    let said = match error
        .message()
        .strip_prefix("unknown variant `")
        .and_then(|rest| rest.split_once('`'))
    {
        Some((_, known)) => format!("unknown variant{known}"),
        None => error.message().to_owned(),
    };
    let mut message = String::new();
    for (at, part) in said.split('"').enumerate() {
        message.push_str(if at % 2 == 0 { part } else { "\"…\"" });
    }
    format!("line {line}, column {column}: {message}")
}

fn check_service(settings: &ServiceSettings, service: Service) -> Result<(), String> {
    if settings.runtime == RuntimeKind::Attached {
        for (key, missing) in [
            ("url", settings.url.is_none()),
            ("stop", settings.stop.is_empty()),
            ("start", settings.start.is_empty()),
            ("data or fetch", settings.data.is_none() && settings.fetch.is_empty()),
        ] {
            if missing {
                return Err(format!("[{service}] is attached but has no {key}; add it"));
            }
        }
    }
    for argument in &settings.command {
        check_placeholders(argument, false).map_err(|what| format!("[{service}] command: {what}"))?;
    }
    for (key, value) in &settings.env {
        check_placeholders(value, true).map_err(|what| format!("[{service}] env.{key}: {what}"))?;
    }
    Ok(())
}

fn check_placeholders(text: &str, secrets_allowed: bool) -> Result<(), String> {
    for name in placeholders(text) {
        if SECRET_PLACEHOLDERS.contains(&name) && !secrets_allowed {
            return Err(format!(
                "{{{name}}} is a secret and may stand in env only, as any user can read an argv"
            ));
        }
        if !PLACEHOLDERS.contains(&name) && !SECRET_PLACEHOLDERS.contains(&name) {
            return Err(format!(
                "unknown placeholder {{{name}}}; known are {}",
                PLACEHOLDERS.join(", ")
            ));
        }
    }
    Ok(())
}

/// Names in braces made of lower-case letters and `_`: `{port}`. Other braces are left as they are.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_name.then_some(name)
    })
}

/// Fills placeholders in; a name without a value stays as it stands.
#[must_use]
pub fn fill_in(text: &str, values: &BTreeMap<&str, String>) -> String {
    let mut filled = text.to_owned();
    for (name, value) in values {
        filled = filled.replace(&format!("{{{name}}}"), value);
    }
    filled
}

#[cfg(test)]
mod tests;
