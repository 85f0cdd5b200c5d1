//! Pairs of instances of one deployment: how they are launched, and the three roles that a pair can have.
//!
//! A source, a clean pair and a restored pair are different types, so that a restore onto a source does not compile.

use crate::client::dial::lead;
use crate::client::probe;
use crate::client::signing::KeyPair;
use crate::deployment::Service;
use crate::deployment::environment::{Environment, ServiceSettings};
use crate::deployment::release::Release;
use crate::drills::launching::Addresses;
use crate::faults::fault::{Control, ControlAction};
use crate::runtime::enclosure::{Enclosure, EnclosureError};
use crate::runtime::engine::{Engine, Mount, Owner, Started};
use crate::runtime::ports;
use crate::runtime::process::{Exit, ProcessError, ServiceProcess, Stopped};
use crate::runtime::ready::{self, Look, Ready, WaitError};
use crate::runtime::running::Running;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

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
    /// Where containers run, if the environment asks for them.
    pub containers: Option<Containers>,
    /// The network that processes are started in, where it is not the harness's own.
    pub enclosure: Option<Arc<Enclosure>>,
    /// Whether the data are somebody else's: then no instance gets a key by which it would reach others.
    pub has_real_data: bool,
}

/// Where the containers of a run are, and whose they are.
#[derive(Debug, Clone)]
pub struct Containers {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Whose they are.
    pub owner: Owner,
    /// How files get in and out.
    pub mount: Mount,
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
    /// Its network does not let it be reached.
    #[error(transparent)]
    Enclosure(#[from] EnclosureError),
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
    /// The address that its port is open on: 127.0.0.1, that of a remote container engine, or the name of its enclosure.
    pub host: String,
    /// Its port there.
    pub port: u16,
    /// Its database file on this side; a container has its own (see [`Running::look_at_files`]).
    pub database: PathBuf,
    /// Its log.
    pub log: PathBuf,
    /// When its start was asked for.
    pub started: Instant,
    /// The wall clock at that moment.
    pub started_at: jiff::Timestamp,
    /// How it became ready.
    pub ready: Ready,
    /// What runs it.
    pub running: Box<dyn Running>,
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
        format!("http://{}:{}", self.host, self.port)
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

    /// Their process ids, where these may be signalled from here: directory, bus.
    #[must_use]
    pub fn pids(&self) -> [Option<u32>; 2] {
        [&self.directory, &self.bus].map(|instance| instance.running.is_here().then(|| instance.running.pid()))
    }

    /// Brings the files of this side up to date with those that the services have open.
    ///
    /// # Errors
    /// [`ProcessError::Container`].
    pub async fn look_at_files(&self) -> Result<(), ProcessError> {
        let (directory, bus) = tokio::join!(self.directory.running.look_at_files(), self.bus.running.look_at_files());
        directory.and(bus)
    }

    /// Kills, pauses or cuts off a service: for faults.
    ///
    /// # Errors
    /// [`ProcessError`]; an unknown action is none.
    pub async fn control(&mut self, control: &Control) -> Result<(), ProcessError> {
        let instance = match control.service {
            Service::Directory => &mut self.directory,
            Service::Bus => &mut self.bus,
        };
        match ControlAction::parse(&control.action) {
            Some(ControlAction::Kill) => instance.running.strike().await,
            Some(ControlAction::Pause) => instance.running.pause().await,
            Some(ControlAction::Disconnect) => instance.running.disconnect().await,
            None => Ok(()),
        }
    }

    /// Stops both side by side and proves that no process is left.
    ///
    /// # Errors
    /// [`ProcessError`].
    pub async fn stop(&mut self, environment: &Environment) -> Result<[Stopped; 2], ProcessError> {
        let limit = |settings: &ServiceSettings| settings.stop_limit_ms.map_or(STOP_LIMIT, Duration::from_millis);
        let (directory, bus) = tokio::join!(
            self.directory.running.stop(limit(&environment.directory)),
            self.bus.running.stop(limit(&environment.bus))
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
        let (bus, directory) = tokio::join!(self.bus.running.kill(), self.directory.running.kill());
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
    /// Starts both services side by side on their database files (directory, bus) and waits until both are ready.
    ///
    /// The directory's identity is fixed by the first start of a run, to its first address unless it was given.
    ///
    /// # Errors
    /// [`StartError`]; [`StartError::PortLost`] may be tried again on files restored afresh.
    pub async fn start(&mut self, databases: &[PathBuf; 2], logs: &Path, role: &str) -> Result<Pair, StartError> {
        let addresses = match &self.containers {
            Some(containers) => self.addresses_in_network(containers),
            None => self.loopback()?,
        };
        let own = || addresses.urls[0].clone();
        let identity = self.identity.get_or_insert_with(own).clone();
        let starts = Service::ALL.map(|service| {
            let database = &databases[usize::from(service == Service::Bus)];
            let log = logs.join(format!("{role}-{service}.log"));
            self.start_one(service, &addresses, &identity, database, log)
        });
        let [directory, bus] = starts;
        let (directory, bus) = tokio::join!(directory, bus);
        Ok(Pair {
            directory: directory?,
            bus: bus?,
        })
    }

    fn loopback(&self) -> Result<Addresses, StartError> {
        let mut ports = [0; 2];
        for (port, service) in ports.iter_mut().zip(Service::ALL) {
            let given = self.given_port(service);
            *port = given
                .map_or_else(ports::propose, Ok)
                .map_err(|source| StartError::Prepare { service, source })?;
        }
        Ok(Addresses::loopback(ports))
    }

    async fn start_one(
        &self,
        service: Service,
        addresses: &Addresses,
        identity: &str,
        database: &Path,
        log: PathBuf,
    ) -> Result<Instance, StartError> {
        let (started, started_at) = (Instant::now(), jiff::Timestamp::now());
        let Started {
            mut running,
            host,
            port,
        } = match &self.containers {
            Some(containers) => {
                let launch = self.container_launch(containers, service, addresses, identity, (database, &log));
                containers.engine.start(&launch).await?
            }
            None => {
                let mut launch = self.launch(service, addresses, identity, database, &log);
                let port = addresses.ports[usize::from(service == Service::Bus)];
                let mut host = "127.0.0.1".to_owned();
                if let Some(enclosure) = &self.enclosure {
                    host = enclosure.host().to_owned();
                    lead(&host, port, enclosure.reach(port).await?);
                    launch.argv = enclosure.within(launch.argv);
                }
                Started {
                    running: Box::new(ServiceProcess::start(&launch)?),
                    host,
                    port,
                }
            }
        };
        let settings = self.environment.service(service);
        let limit = settings.ready_limit_ms.map_or(READY_LIMIT, Duration::from_millis);
        let ready = wait_until_ready(service, (&host, port), limit, running.as_mut()).await?;
        // A container is made and filled before it starts: that is part of the recovery, and of the time to its readiness.
        let before = started.elapsed().saturating_sub(ready.after);
        let ready = Ready {
            after: ready.after + before,
            last_failed: ready.last_failed.map(|at| at + before),
            ..ready
        };
        Ok(Instance {
            service,
            host,
            port,
            database: database.to_owned(),
            log,
            started,
            started_at,
            ready,
            running,
        })
    }
}

async fn wait_until_ready(
    service: Service,
    (host, port): (&str, u16),
    limit: Duration,
    running: &mut dyn Running,
) -> Result<Ready, StartError> {
    let condition = format!("{service} answers GET /health on port {port}");
    let cell = std::sync::Mutex::new(running);
    let ended = || match cell.lock() {
        Ok(mut running) => running.ended(),
        Err(poisoned) => poisoned.into_inner().ended(),
    };
    let waited = ready::until(&condition, limit, || async {
        match ended() {
            Ok(None) => {}
            Ok(Some(exit)) => return Look::Never(format!("it ended with {exit}")),
            Err(error) => return Look::Never(error.to_string()),
        }
        match probe::health(host, port).await {
            Ok(200) => match ended() {
                Ok(None) => Look::Holds,
                _ => Look::Never("it ended although its port answers: somebody else has the port".to_owned()),
            },
            Ok(status) => Look::NotYet(format!("status {status}")),
            Err(error) => Look::NotYet(error.to_string()),
        }
    })
    .await;
    let running = cell.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let foreign = running.owns_port(port) == Some(false);
    match waited {
        Ok(_) if foreign => Err(StartError::PortLost { service, port }),
        Ok(ready) => Ok(ready),
        Err(source) => {
            let log = running.last_lines(12);
            match running.ended()? {
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
