//! A source that runs by itself: how it is stopped, copied and started again, as its environment file says.
//!
//! Commands are kept as they stand in the file: nothing is filled in but `{to}`, so no secret gets into a record of them.

use crate::deployment::Service;
use crate::deployment::environment::{Environment, RuntimeKind, ServiceSettings};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Longest outage where the environment sets no `max_outage_ms`.
const MAX_OUTAGE_MS: u64 = 60_000;
/// How long a service may take to answer after its start command.
const READY_LIMIT_MS: u64 = 20_000;
/// How long a stop command may take, and its service to let go of its files.
const STOP_LIMIT_MS: u64 = 15_000;

/// One service of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedService {
    /// Which.
    pub service: Service,
    /// Base URL, without a slash at its end.
    pub url: String,
    /// The database file on this machine, links resolved once the preflight looked at it.
    pub data: Option<PathBuf>,
    /// Argv that stops it.
    pub stop: Vec<String>,
    /// Argv that starts it.
    pub start: Vec<String>,
    /// Argv that copies its file set into the folder `{to}`.
    pub fetch: Vec<String>,
    /// Where its commands run.
    pub cwd: PathBuf,
    /// Milliseconds from the start command to the first answer.
    pub ready_limit_ms: u64,
    /// Milliseconds of the stop command, and again until the files are let go of.
    pub stop_limit_ms: u64,
}

/// A source that the harness did not make: it was running before and has to run afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachedSource {
    /// Name of the environment.
    pub environment: String,
    /// Whether it is production.
    pub production: bool,
    /// Longest outage, milliseconds.
    pub max_outage_ms: u64,
    /// The directory.
    pub directory: AttachedService,
    /// The bus.
    pub bus: AttachedService,
}

impl AttachedSource {
    /// The source of an environment whose services are both attached; `None` where neither is. The environment then says how
    /// the clean and restored instances run: as containers where both have an image, else as processes.
    ///
    /// # Errors
    /// A sentence, where only one of them is attached.
    pub fn take_from(environment: &mut Environment, here: &Path) -> Result<Option<AttachedSource>, String> {
        let attached = Service::ALL.map(|service| environment.service(service).runtime == RuntimeKind::Attached);
        match attached {
            [false, false] => return Ok(None),
            [true, true] => {}
            _ => {
                return Err(format!(
                    "environment {}: only one of [directory] and [bus] is attached; give both runtime = \"attached\"",
                    environment.name
                ));
            }
        }
        let source = AttachedSource {
            environment: environment.name.clone(),
            production: environment.production,
            max_outage_ms: environment.max_outage_ms.unwrap_or(MAX_OUTAGE_MS),
            directory: of(Service::Directory, &environment.directory, here),
            bus: of(Service::Bus, &environment.bus, here),
        };
        let has_images = environment.directory.image.is_some() && environment.bus.image.is_some();
        let kind = if has_images {
            RuntimeKind::Container
        } else {
            RuntimeKind::Process
        };
        for settings in [&mut environment.directory, &mut environment.bus] {
            settings.runtime = kind;
            // The source's own.
            settings.port = None;
            settings.cwd = settings.command_cwd.take();
        }
        Ok(Some(source))
    }

    /// One of its services.
    #[must_use]
    pub fn of(&self, service: Service) -> &AttachedService {
        match service {
            Service::Directory => &self.directory,
            Service::Bus => &self.bus,
        }
    }

    /// Both, directory first.
    #[must_use]
    pub fn each(&self) -> [&AttachedService; 2] {
        [&self.directory, &self.bus]
    }
}

fn of(service: Service, settings: &ServiceSettings, here: &Path) -> AttachedService {
    let absolute = |path: &PathBuf| here.join(path);
    AttachedService {
        service,
        url: settings
            .url
            .clone()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned(),
        data: settings.data.as_ref().map(absolute),
        stop: settings.stop.clone(),
        start: settings.start.clone(),
        fetch: settings.fetch.clone(),
        cwd: settings.cwd.as_ref().map_or_else(|| here.to_owned(), absolute),
        ready_limit_ms: settings.ready_limit_ms.unwrap_or(READY_LIMIT_MS),
        stop_limit_ms: settings.stop_limit_ms.unwrap_or(STOP_LIMIT_MS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "name = \"a\"\nmax_outage_ms = 5\n[directory]\nruntime = \"attached\"\nurl = \"http://x/\"\ndata = \"d.db\"\nstop = [\"s\"]\nstart = [\"t\"]\nport = 1\n";
    const BUS: &str = "[bus]\nruntime = \"attached\"\nurl = \"http://y\"\nfetch = [\"f\", \"{to}\"]\nstop = [\"s\"]\nstart = [\"t\"]\n";

    fn environment(text: &str) -> Environment {
        Environment::parse(text, Path::new("env/a.toml")).expect("an environment")
    }

    #[test]
    fn the_source_is_taken_and_the_instances_run_as_processes() {
        let mut parsed = environment(&format!("{BOTH}{BUS}"));
        let source = AttachedSource::take_from(&mut parsed, Path::new("/here"));
        let source = source.expect("both are attached").expect("a source");
        assert_eq!(source.max_outage_ms, 5);
        assert_eq!(source.directory.url, "http://x");
        assert_eq!(source.directory.data.as_deref(), Some(Path::new("/here/env/d.db")));
        assert_eq!(
            (parsed.directory.runtime, parsed.directory.port),
            (RuntimeKind::Process, None)
        );
    }

    #[test]
    fn one_attached_service_alone_is_refused() {
        let mut parsed = environment(BOTH);
        let error = AttachedSource::take_from(&mut parsed, Path::new("/here")).expect_err("refused");
        assert!(error.contains("only one"), "{error}");
    }

    #[test]
    fn an_environment_without_attached_services_has_no_such_source() {
        let mut parsed = Environment::reference();
        assert_eq!(
            AttachedSource::take_from(&mut parsed, Path::new("/here")).expect("fine"),
            None
        );
    }
}
