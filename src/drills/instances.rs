//! Pairs of instances of one deployment: how they are launched, and the three roles that a pair can have.
//!
//! A source, a clean pair and a restored pair are different types, so that a restore onto a source does not compile.

use crate::client::probe;
use crate::client::signing::KeyPair;
use crate::deployment::Service;
use crate::deployment::environment::{Environment, RuntimeKind, ServiceSettings, fill_in};
use crate::deployment::release::Release;
use crate::drills::context::UsageError;
use crate::runtime::ports;
use crate::runtime::process::{Exit, Launch, ProcessError, ServiceProcess, Stopped};
use crate::runtime::ready::{self, Look, Ready, WaitError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The issuer's key pair. Source: contract 1.2.
pub(crate) const ISSUER_PRIVATE: &str = "BEAM_DIRECTORY_SIGNING_PRIVATE_KEY";
const ISSUER_PUBLIC: &str = "BEAM_DIRECTORY_SIGNING_PUBLIC_KEY";

const READY_LIMIT: Duration = Duration::from_secs(20);
/// Above the ten seconds that a real directory drains when sockets are open.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// What is the same for every instance of a run.
#[derive(Clone)]
pub struct Deployment {
    /// The environment.
    pub environment: Environment,
    /// What the directory calls itself; fixed once on the source.
    pub identity: Option<String>,
    /// The release that instances are told to state.
    pub release: Release,
    /// The operator's e-mail.
    pub admin_email: String,
    /// `JWT_SECRET`.
    pub jwt_secret: String,
    /// The bus's API key.
    pub bus_key: String,
    /// The pair that the directory signs credentials with, where the environment gives none; a random one otherwise, which
    /// another start does not know any more.
    pub issuer: KeyPair,
    /// The bus's identity file.
    pub identity_file: PathBuf,
    /// The reference services' binary.
    pub reference_services: Option<PathBuf>,
    /// What is other than documented at the starts of the directory and of the bus: deliberate, for faults.
    pub overrides: [Override; 2],
}

/// What is other than documented at a service's starts.
#[derive(Debug, Clone, Default)]
pub struct Override {
    /// Variables that are set; the placeholders of an environment file are filled in.
    pub set: BTreeMap<String, String>,
    /// Variables that are not set.
    pub unset: Vec<String>,
    /// Arguments added at the end.
    pub arguments: Vec<String>,
}

/// Why a pair could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The process could not be started or watched.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It exited before it was ready.
    #[error("{service} ended during its start with {exit}; its last lines: {log}")]
    Exited {
        /// Which service.
        service: Service,
        /// How.
        exit: Exit,
        /// The last lines of its log, redacted by the caller.
        log: String,
    },
    /// It lost its port to somebody else; the files may have been changed by the start.
    #[error("{service} lost port {port} to another process; end that process or free the port")]
    PortLost {
        /// Which service.
        service: Service,
        /// The port.
        port: u16,
    },
    /// It did not become ready.
    #[error("{service} did not become ready on port {port}; its last lines: {log}")]
    NotReady {
        /// Which service.
        service: Service,
        /// The port.
        port: u16,
        /// The last lines of its log.
        log: String,
        /// The wait.
        source: WaitError,
    },
    /// No port, no folder.
    #[error("cannot prepare the start of {service}")]
    Prepare {
        /// Which service.
        service: Service,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One running instance.
#[derive(Debug)]
pub struct Instance {
    /// Which service.
    pub service: Service,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Its database file.
    pub database: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// When its start was asked for.
    pub started: Instant,
    /// The wall clock at that moment.
    pub started_at: jiff::Timestamp,
    /// How it became ready.
    pub ready: Ready,
    /// The process.
    pub process: ServiceProcess,
}

impl Instance {
    /// When it became ready.
    #[must_use]
    pub fn ready_at(&self) -> Instant {
        self.started + self.ready.after
    }

    /// Base URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A directory and a bus that belong together.
#[derive(Debug)]
pub struct Pair {
    /// The directory.
    pub directory: Instance,
    /// The bus.
    pub bus: Instance,
}

impl Pair {
    /// Both instances.
    pub fn each(&mut self) -> [&mut Instance; 2] {
        [&mut self.directory, &mut self.bus]
    }

    /// Stops both side by side and proves that no process is left.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn stop(&mut self, environment: &Environment) -> Result<[Stopped; 2], ProcessError> {
        let limit = |settings: &ServiceSettings| settings.stop_limit_ms.map_or(STOP_LIMIT, Duration::from_millis);
        let (directory, bus) = tokio::join!(
            self.directory.process.stop(limit(&environment.directory)),
            self.bus.process.stop(limit(&environment.bus))
        );
        Ok([directory?, bus?])
    }

    /// Kills both at once, as a crash of their machine would, and proves that no process is left.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn kill(&mut self) -> Result<[Stopped; 2], ProcessError> {
        let began = Instant::now();
        // The bus first: it would still write down that the directory is gone.
        let (bus, directory) = tokio::join!(self.bus.process.kill(), self.directory.process.kill());
        let stopped = |exit| Stopped {
            exit,
            gone_after: began.elapsed(),
            killed_after: Some(Duration::ZERO),
        };
        Ok([stopped(directory?), stopped(bus?)])
    }
}

/// The instances that hold the data.
#[derive(Debug)]
pub struct Source(pub Pair);

/// Instances started on new empty files.
#[derive(Debug)]
pub struct Clean(pub Pair);

/// Instances started on restored files.
#[derive(Debug)]
pub struct Restored(pub Pair);

impl Deployment {
    /// The issuer's public key that every start of the directory is given: the environment's own, else the run's.
    #[must_use]
    pub fn issuer_key(&self) -> String {
        let given = self.environment.directory.env.get(ISSUER_PUBLIC);
        given.cloned().unwrap_or_else(|| self.issuer.public())
    }

    /// What can be known to be impossible before anything is started.
    ///
    /// # Errors
    /// [`UsageError`] for a runtime that does not exist here, a command that is not found, a given port that is taken.
    pub fn check(&self) -> Result<(), UsageError> {
        for service in Service::ALL {
            let settings = self.environment.service(service);
            if settings.runtime != RuntimeKind::Process {
                let word = settings.runtime.word();
                return Err(UsageError(format!(
                    "[{service}] runtime = {word:?} is not available; use runtime = \"process\""
                )));
            }
            let argv = self.argv(service);
            let program = argv.first().map_or("", String::as_str);
            if program.is_empty() {
                return Err(UsageError(format!(
                    "[{service}] has no command and the reference services are not built"
                )));
            }
            if find_program(program, settings.cwd.as_deref()).is_none() {
                let message = format!("[{service}] command not found: {program}; check the path or install it");
                return Err(UsageError(message));
            }
            if let Some(cwd) = settings.cwd.as_deref().filter(|cwd| !cwd.is_dir()) {
                return Err(UsageError(format!("[{service}] cwd {} is not a folder", cwd.display())));
            }
            if let Some(port) = given_port(settings).filter(|port| !ports::is_free(*port)) {
                let message = format!("[{service}] port {port} is taken; end what listens there or leave the port out");
                return Err(UsageError(message));
            }
        }
        let [directory, bus] = Service::ALL.map(|service| given_port(self.environment.service(service)));
        if directory.is_some() && directory == bus {
            return Err(UsageError(format!(
                "directory and bus are both given port {}",
                directory.unwrap_or_default()
            )));
        }
        Ok(())
    }

    /// The start command as the environment has it, for evidence: placeholders unexpanded.
    #[must_use]
    pub fn shown_command(&self, service: Service) -> String {
        let command = &self.environment.service(service).command;
        if command.is_empty() {
            format!("reference-services {service}")
        } else {
            command.join(" ")
        }
    }

    fn argv(&self, service: Service) -> Vec<String> {
        let settings = self.environment.service(service);
        if settings.command.is_empty() {
            let program = self
                .reference_services
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default();
            vec![program, service.name().to_owned()]
        } else {
            settings.command.clone()
        }
    }

    /// Starts both services side by side on their database files (directory, bus) and waits until both are ready.
    ///
    /// The directory's identity is fixed by the first start of a run, to its first address unless it was given.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::PortLost`] may be tried again on files restored afresh.
    pub async fn start(&mut self, databases: &[PathBuf; 2], logs: &Path, role: &str) -> Result<Pair, StartError> {
        let mut ports = [0; 2];
        for (port, service) in ports.iter_mut().zip(Service::ALL) {
            let given = given_port(self.environment.service(service));
            *port = given
                .map_or_else(ports::propose, Ok)
                .map_err(|source| StartError::Prepare { service, source })?;
        }
        let identity = self
            .identity
            .get_or_insert_with(|| format!("http://127.0.0.1:{}", ports[0]))
            .clone();
        let (directory, bus) = tokio::join!(
            self.start_one(Service::Directory, ports, &identity, &databases[0], logs, role),
            self.start_one(Service::Bus, ports, &identity, &databases[1], logs, role)
        );
        Ok(Pair {
            directory: directory?,
            bus: bus?,
        })
    }

    async fn start_one(
        &self,
        service: Service,
        ports: [u16; 2],
        identity: &str,
        database: &Path,
        logs: &Path,
        role: &str,
    ) -> Result<Instance, StartError> {
        let port = ports[usize::from(service == Service::Bus)];
        let log = logs.join(format!("{role}-{service}.log"));
        let launch = self.launch(service, ports, identity, database, &log);
        let settings = self.environment.service(service);
        let (started, started_at) = (Instant::now(), jiff::Timestamp::now());
        let mut process = ServiceProcess::start(&launch)?;
        let limit = settings.ready_limit_ms.map_or(READY_LIMIT, Duration::from_millis);
        let ready = wait_until_ready(service, port, limit, &mut process).await?;
        Ok(Instance {
            service,
            port,
            database: database.to_owned(),
            log,
            started,
            started_at,
            ready,
            process,
        })
    }

    /// How a service is started on a file, with the pair's ports (directory, bus).
    #[must_use]
    pub fn launch(&self, service: Service, ports: [u16; 2], identity: &str, database: &Path, log: &Path) -> Launch {
        let port = ports[usize::from(service == Service::Bus)];
        let values = self.values(ports, port, database, identity);
        let settings = self.environment.service(service);
        let mut variables = self.documented_variables(service, &values);
        variables.extend(
            settings
                .env
                .iter()
                .map(|(key, value)| (key.clone(), fill_in(value, &values))),
        );
        let other = &self.overrides[usize::from(service == Service::Bus)];
        variables.retain(|key, _| !other.unset.contains(key));
        let set = other.set.iter();
        variables.extend(set.map(|(key, value)| (key.clone(), fill_in(value, &values))));
        Launch {
            name: service.name().to_owned(),
            argv: self
                .argv(service)
                .iter()
                .map(|argument| fill_in(argument, &values))
                .chain(other.arguments.iter().cloned())
                .collect(),
            cwd: settings.cwd.clone().or_else(|| database.parent().map(Path::to_owned)),
            variables,
            log: log.to_owned(),
        }
    }

    fn values(&self, ports: [u16; 2], port: u16, database: &Path, identity: &str) -> BTreeMap<&'static str, String> {
        let release = |value: &Option<String>| value.clone().unwrap_or_default();
        BTreeMap::from([
            ("port", port.to_string()),
            ("db", database.display().to_string()),
            ("directory_url", format!("http://127.0.0.1:{}", ports[0])),
            ("bus_url", format!("http://127.0.0.1:{}", ports[1])),
            ("directory_identity", identity.to_owned()),
            ("identity_file", self.identity_file.display().to_string()),
            ("release_version", release(&self.release.version)),
            ("release_sha", release(&self.release.git_sha)),
            ("deployed_at", release(&self.release.deployed_at)),
            ("jwt_secret", self.jwt_secret.clone()),
            ("bus_api_key", self.bus_key.clone()),
        ])
    }

    /// The variables that Beam documents, so that a short environment file is enough. Source: contract 1.2 and 3.1.
    fn documented_variables(
        &self,
        service: Service,
        values: &BTreeMap<&'static str, String>,
    ) -> BTreeMap<String, String> {
        let names: &[(&str, &str)] = match service {
            Service::Directory => &[
                ("PORT", "{port}"),
                ("DB_PATH", "{db}"),
                ("JWT_SECRET", "{jwt_secret}"),
                ("BEAM_DIRECTORY_URL", "{directory_identity}"),
                ("PUBLIC_BASE_URL", "{directory_identity}"),
                ("BEAM_RELEASE_VERSION", "{release_version}"),
                ("BEAM_RELEASE_SHA", "{release_sha}"),
                ("BEAM_DEPLOYED_AT", "{deployed_at}"),
                ("BEAM_RATE_LIMIT_PER_MIN", "10000"),
            ],
            Service::Bus => &[
                ("PORT", "{port}"),
                ("DB_PATH", "{db}"),
                ("DIRECTORY_URL", "{directory_url}"),
                ("IDENTITY_PATH", "{identity_file}"),
                ("BEAM_BUS_API_KEY", "{bus_api_key}"),
                ("RATE_LIMIT", "10000"),
            ],
        };
        let mut variables: BTreeMap<String, String> = names
            .iter()
            .map(|(name, value)| ((*name).to_owned(), fill_in(value, values)))
            .collect();
        if service == Service::Directory {
            variables.insert("BEAM_ADMIN_EMAILS".to_owned(), self.admin_email.clone());
            variables.insert(ISSUER_PRIVATE.to_owned(), self.issuer.private());
            variables.insert(ISSUER_PUBLIC.to_owned(), self.issuer.public());
        }
        variables
    }
}

async fn wait_until_ready(
    service: Service,
    port: u16,
    limit: Duration,
    process: &mut ServiceProcess,
) -> Result<Ready, StartError> {
    let condition = format!("{service} answers GET /health on port {port}");
    let cell = std::cell::RefCell::new(process);
    let waited = ready::until(&condition, limit, || async {
        match cell.borrow_mut().ended() {
            Ok(None) => {}
            Ok(Some(exit)) => return Look::Never(format!("it ended with {exit}")),
            Err(error) => return Look::Never(error.to_string()),
        }
        match probe::health(port).await {
            Ok(200) => match cell.borrow_mut().ended() {
                Ok(None) => Look::Holds,
                _ => Look::Never("it ended although its port answers: somebody else has the port".to_owned()),
            },
            Ok(status) => Look::NotYet(format!("status {status}")),
            Err(error) => Look::NotYet(error.to_string()),
        }
    })
    .await;
    let process = cell.into_inner();
    let foreign = ports::listener_is_of_group(port, process.pid()) == Some(false);
    match waited {
        Ok(_) if foreign => Err(StartError::PortLost { service, port }),
        Ok(ready) => Ok(ready),
        Err(source) => {
            let log = process.last_lines(12);
            match process.ended()? {
                Some(_) if foreign && !ports::is_free(port) => Err(StartError::PortLost { service, port }),
                Some(exit) => Err(StartError::Exited { service, exit, log }),
                None => Err(StartError::NotReady {
                    service,
                    port,
                    log,
                    source,
                }),
            }
        }
    }
}

/// The port that the environment fixes: by key, by a literal `PORT`, or by a literal `--port` argument.
fn given_port(settings: &ServiceSettings) -> Option<u16> {
    let after_flag = || {
        let at = settings.command.iter().position(|argument| argument == "--port")?;
        settings.command.get(at + 1)?.parse().ok()
    };
    settings
        .port
        .or_else(|| settings.env.get("PORT")?.parse().ok())
        .or_else(after_flag)
}

/// The program's file, searched for as `execvp` would.
fn find_program(program: &str, cwd: Option<&Path>) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let runnable = |path: &Path| {
        path.metadata()
            .is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = cwd.map_or_else(|| PathBuf::from(program), |cwd| cwd.join(program));
        return runnable(&path).then_some(path);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| runnable(file))
}
