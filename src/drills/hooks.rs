//! What only a drill itself can do wrong: copies taken at the wrong moment, addresses that lead elsewhere, a second
//! instance on a live file, a restore onto the source. For faults; no drill that is meant seriously comes here.
//!
//! Each hook prepares something between two steps of a whole drill and hands it over at a moment. What it changed is
//! written down: a hook that changed nothing is an error of its fault.

use crate::checks::polarity::witness;
use crate::deployment::Service;
use crate::drills::backup_restore::{Standing, Stopped, Taking};
use crate::drills::context::{DrillContext, chain, private_folder};
use crate::drills::instances::{Deployment, Pair, StartError};
use crate::drills::launching::Addresses;
use crate::drills::scratch::copy_folder;
use crate::drills::stages::{Acted, Reached, Stages};
use crate::drills::taking::Taken;
use crate::faults::answers::ProxyError;
use crate::faults::fault::Hook;
use crate::faults::relay::{self, Relay};
use crate::restore::{PlaceError, Places};
use crate::runtime::process::{ProcessError, ServiceProcess};
use crate::runtime::ready::{self, Look, WaitError};
use crate::seed::ledger::Outcome;
use crate::seed::{SeedError, later, under_way};
use crate::snapshot::copying::CopyError;
use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::file_set::{FileSet, RawSet, usual};
use crate::snapshot::raw::{RawError, copy_set};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a directory may take to stand where a hook needs it.
const LIMIT: Duration = Duration::from_secs(15);

/// Why a hook could not do what it is there for: an error of the fault.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HookError {
    /// A set could not be copied.
    #[error("cannot copy the source's files")]
    Set(#[from] RawError),
    /// A write failed.
    #[error("cannot write to the source")]
    Write(#[from] SeedError),
    /// A condition did not come to hold.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The intent that was held back was not acknowledged.
    #[error("the intent that was held back was not acknowledged after the copy")]
    NotAcknowledged,
    /// A pair could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A process could not be started or watched.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The second instance did not lose its port.
    #[error("the second directory did not end by itself with an error: {observed}; its last lines: {log}")]
    StillThere {
        /// How it ended, if it did.
        observed: String,
        /// The last lines of its log.
        log: String,
    },
    /// A file is not what it has to be.
    #[error("{0} is as it was: nothing was changed")]
    AsItWas(PathBuf),
    /// The source was written to by a restore that was refused.
    #[error("the source's files changed although the restore was refused")]
    SourceChanged,
    /// A file could not be looked at.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A file could not be hashed.
    #[error(transparent)]
    Hash(#[from] CopyError),
    /// No place.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// No proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A file, folder or port could not be had.
    #[error("cannot prepare {path}")]
    Prepare {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a hook holds between two steps.
#[derive(Default)]
struct Held {
    /// Sets that were copied too early.
    early: Option<[RawSet; 2]>,
    /// Addresses of a pair that runs on a copy of the source's files, and an admin session that it knows.
    other: Option<([String; 2], String)>,
    /// The clean directory's file.
    clean: Option<PathBuf>,
    /// How a second directory is started, and where its log goes.
    second: Option<(Deployment, PathBuf)>,
    /// The proxy that lets the other pair answer.
    relay: Option<Relay>,
    /// What was changed, in words.
    changes: Vec<String>,
    /// Why it could not be.
    error: Option<String>,
}

/// One hook in one drill. Clones are the same.
#[derive(Clone)]
pub(crate) struct Hand {
    hook: Hook,
    held: Arc<Mutex<Held>>,
}

impl Hand {
    /// The hook, before the drill begins.
    pub(crate) fn new(hook: Hook) -> Hand {
        Hand {
            hook,
            held: Arc::default(),
        }
    }

    /// What is done at the drill's moments.
    pub(crate) fn stages(&self) -> Stages {
        let hand = self.clone();
        Stages::altering(move |moment| hand.at(moment).map_err(|error| hand.failed(&error)))
    }

    /// Notes why the hook failed, and tells it.
    pub(crate) fn failed(&self, error: &HookError) -> String {
        let told = chain(error);
        self.held().error.get_or_insert_with(|| told.clone());
        told
    }

    /// Why the fault counts as not injected, if so.
    pub(crate) fn error(&self) -> Option<String> {
        let held = self.held();
        let served = held.relay.as_ref().is_none_or(|relay| relay.served() > 0);
        match &held.error {
            Some(error) => Some(error.clone()),
            None if held.changes.is_empty() || !served => Some(format!(
                "hook {} changed nothing; the drill did not get so far",
                self.hook
            )),
            None => None,
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self, what: impl Into<String>) {
        self.held().changes.push(what.into());
    }

    /// The source stands and was looked at.
    pub(crate) async fn standing(&self, context: &DrillContext, standing: &mut Standing) -> Result<(), HookError> {
        match self.hook {
            Hook::WritesDuringDrill => {
                self.copy_early(context, standing)?;
                let (seed, now) = (context.request.seed, &jiff::Timestamp::now);
                later::write(&standing.access, seed, "during", &mut standing.seeded, now).await?;
                self.changed("the source took writes after the copy");
                Ok(())
            }
            Hook::SnapshotBeforeExit => self.copy_while_draining(context, standing).await,
            _ => Ok(()),
        }
    }

    fn copy_early(&self, context: &DrillContext, standing: &Standing) -> Result<(), HookError> {
        let folder = context.folders.work.join("early");
        let pair = &standing.running.0;
        let copy = |service, path: &Path| copy_set(&FileSet::new(service, path), &folder);
        let sets = [
            copy(Service::Directory, &pair.directory.database)?,
            copy(Service::Bus, &pair.bus.database)?,
        ];
        self.held().early = Some(sets);
        Ok(())
    }

    /// SIGTERM while a WebSocket is open and an intent waits for its answer; the copy; only then the answer.
    async fn copy_while_draining(&self, context: &DrillContext, standing: &mut Standing) -> Result<(), HookError> {
        let (seed, now) = (context.request.seed, &jiff::Timestamp::now);
        let ledger = &mut standing.seeded.ledger;
        let waiting = under_way::hold(&standing.access, seed, ledger, now).await?;
        ready::until("the recipient has the intent", LIMIT, || async {
            if waiting.is_delivered() {
                Look::Holds
            } else {
                Look::NotYet("not yet".to_owned())
            }
        })
        .await?;
        let directory = &standing.running.0.directory;
        directory.running.ask_to_stop().await?;
        let (host, port) = (directory.host.as_str(), directory.port);
        ready::until("the directory takes no more calls", LIMIT, || async move {
            match crate::client::probe::health(host, port).await {
                Ok(status) => Look::NotYet(format!("status {status}")),
                Err(_) => Look::Holds,
            }
        })
        .await?;
        self.copy_early(context, standing)?;
        match waiting.release(&mut standing.seeded.ledger, now).await {
            Outcome::Acknowledged => {
                self.changed("an intent was acknowledged after the copy");
                Ok(())
            }
            _ => Err(HookError::NotAcknowledged),
        }
    }

    /// The source is stopped and taken. The pair that is started here lives until the drill's end.
    pub(crate) async fn stopped(
        &self,
        context: &DrillContext,
        stopped: &mut Stopped,
    ) -> Result<Option<Pair>, HookError> {
        match self.hook {
            Hook::CleanIsSource | Hook::ServeOldData => {
                let pair = twin(context, stopped).await?;
                let session = stopped.written.seeded.credentials.session.expose().to_owned();
                self.held().other = Some(([pair.directory.url(), pair.bus.url()], session));
                Ok(Some(pair))
            }
            Hook::SecondInstance => {
                self.start_on_source(context, stopped)?;
                Ok(None)
            }
            Hook::NothingToObserve => {
                if stopped.taken.empty_tables().iter().any(|table| table == "workspaces") {
                    self.changed("there are no workspaces");
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn start_on_source(&self, context: &DrillContext, stopped: &Stopped) -> Result<(), HookError> {
        let set = &stopped.taken.source_sets[0];
        let before = witness(set)?;
        let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|taken| Ok((taken.local_addr()?, taken)));
        let (address, _listener) = taken.map_err(|source| HookError::Prepare {
            path: PathBuf::from("a port"),
            source,
        })?;
        let log = context.folders.work.join("logs/second-directory.log");
        refused_start(&stopped.deployment, [address.port(); 2], &set.main, &log)?;
        if witness(set)? == before {
            return Err(HookError::AsItWas(set.main.clone()));
        }
        self.held().second = Some((stopped.deployment.clone(), log));
        Ok(())
    }

    /// The clean instances were proven empty.
    pub(crate) fn prepared(&self, context: &DrillContext, taking: &mut Taking) -> Result<(), HookError> {
        match self.hook {
            Hook::RestoreOntoSource | Hook::RestoreOntoLinkedSource => {
                onto_source(context, taking, self.hook)?;
                self.changed("the restore's targets are the source's folders");
            }
            Hook::ServeOldData => {
                let file = Service::Directory.database_file();
                self.held().clean = Some(taking.prepared.plain.join(file));
            }
            _ => {}
        }
        Ok(())
    }

    /// At the drill's end: a source that should not have been touched was not.
    pub(crate) fn at_end(&self, taken: &Taken) -> Result<(), HookError> {
        if matches!(self.hook, Hook::RestoreOntoSource | Hook::RestoreOntoLinkedSource) {
            for (set, was) in taken.source_sets.iter().zip(&taken.witnesses) {
                if witness(set)?.files != was.files {
                    return Err(HookError::SourceChanged);
                }
            }
        }
        Ok(())
    }

    fn at(&self, moment: &Reached) -> Result<Acted, HookError> {
        let mut acted = Acted::default();
        match (self.hook, moment) {
            (Hook::WritesDuringDrill | Hook::SnapshotBeforeExit, Reached::Set { .. }) => {
                acted.raw.clone_from(&self.held().early);
            }
            (Hook::CleanIsSource, Reached::Clean { .. }) => {
                if let Some((urls, _)) = &self.held().other {
                    acted.urls = urls.clone().map(Some);
                }
                self.changed("the clean instances' addresses lead to the source's data");
            }
            (Hook::ServeOldData, Reached::RestoredFiles { databases }) => {
                if let Some(clean) = &self.held().clean {
                    std::fs::copy(clean, &databases[0]).map_err(|source| HookError::Prepare {
                        path: databases[0].clone(),
                        source,
                    })?;
                }
                self.changed("the restored directory's file is empty");
            }
            (Hook::ServeOldData, Reached::Running { urls, .. }) => {
                let mut held = self.held();
                if let Some((other, session)) = &held.other {
                    let relay = relay::start(&urls[0], &other[0], session)?;
                    acted.urls[0] = Some(relay.url().to_owned());
                    held.relay = Some(relay);
                }
            }
            (Hook::SecondInstance, Reached::Running { databases, urls, .. }) => {
                self.start_on_live(&databases[0], urls)?;
            }
            _ => {}
        }
        Ok(acted)
    }

    fn start_on_live(&self, database: &Path, urls: &[String; 2]) -> Result<(), HookError> {
        let Some((deployment, log)) = self.held().second.clone() else {
            return Ok(());
        };
        let before = key_sequence(database)?;
        refused_start(&deployment, urls.each_ref().map(|url| port(url)), database, &log)?;
        if key_sequence(database)? == before {
            return Err(HookError::AsItWas(database.to_owned()));
        }
        self.changed("a second directory was started on the live file");
        Ok(())
    }
}

/// A pair on a copy of the stopped source's files.
async fn twin(context: &DrillContext, stopped: &mut Stopped) -> Result<Pair, HookError> {
    let folder = context.folders.work.join("twin");
    let original = stopped.taken.source_sets[0].main.parent().unwrap_or(Path::new("."));
    copy_folder(original, &folder).map_err(|source| HookError::Prepare {
        path: folder.clone(),
        source,
    })?;
    let databases = Service::ALL.map(|service| usual(service, &folder).main);
    let logs = context.folders.work.join("logs");
    Ok(stopped.deployment.start(&databases, &logs, "twin").await?)
}

/// Starts a directory on a port that is taken, and waits until it has found out. By then it has opened the file, brought
/// it up to date and failed what it takes for unfinished. Source: contract 1.1.
fn refused_start(deployment: &Deployment, ports: [u16; 2], database: &Path, log: &Path) -> Result<(), HookError> {
    let identity = deployment.identity.clone().unwrap_or_default();
    let launch = deployment.launch(
        Service::Directory,
        &Addresses::loopback(ports),
        &identity,
        database,
        log,
    );
    let mut process = ServiceProcess::start(&launch)?;
    let began = Instant::now();
    let exit = loop {
        match process.ended()? {
            None if began.elapsed() < LIMIT => std::thread::sleep(Duration::from_millis(2)),
            exit => break exit,
        }
    };
    match exit {
        Some(exit) if exit.code != Some(0) => Ok(()),
        other => Err(HookError::StillThere {
            observed: other.map_or_else(|| "it runs".to_owned(), |exit| exit.to_string()),
            log: process.last_lines(5),
        }),
    }
}

/// The counter that grows with every start of a directory (contract 5.1).
fn key_sequence(database: &Path) -> Result<String, DatabaseError> {
    let rows = Database::open_live(database)?.rows("SELECT seq FROM sqlite_sequence WHERE name='agent_keys'", &[])?;
    Ok(format!("{rows:?}"))
}

fn port(url: &str) -> u16 {
    let digits = url.rsplit(':').next().unwrap_or_default();
    digits.trim_end_matches('/').parse().unwrap_or_default()
}

/// Brings the source's files into the places that the restore is planned into: now the targets are the source's own.
fn onto_source(context: &DrillContext, taking: &mut Taking, hook: Hook) -> Result<(), HookError> {
    let parent = context.folders.work.join("onto");
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| HookError::Prepare { path, source }
    };
    private_folder(&parent).map_err(failed(&parent))?;
    let places = Places::create(&parent)?;
    for set in &mut taking.taken.source_sets {
        let place = places.of(set.service);
        let there = place.files();
        for (from, to) in [(set.main.clone(), there.main.clone()), (set.wal(), there.wal())] {
            if from.exists() {
                std::fs::rename(&from, &to).map_err(failed(&from))?;
            }
        }
        let folder = if hook == Hook::RestoreOntoLinkedSource {
            let link = parent.join(format!("linked-{}", set.service));
            std::os::unix::fs::symlink(place.folder(), &link).map_err(failed(&link))?;
            link
        } else {
            place.folder().to_owned()
        };
        *set = usual(set.service, &folder);
    }
    taking.prepared.places = places;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_that_changed_nothing_is_an_error_of_its_fault() {
        let hand = Hand::new(Hook::NothingToObserve);
        assert!(hand.error().is_some_and(|error| error.contains("changed nothing")));
        hand.changed("there are no workspaces");
        assert_eq!(hand.error(), None);
    }

    #[test]
    fn the_first_failure_of_a_hook_is_the_one_that_is_told() {
        let hand = Hand::new(Hook::SecondInstance);
        hand.changed("something");
        hand.failed(&HookError::NotAcknowledged);
        hand.failed(&HookError::SourceChanged);
        assert_eq!(hand.error(), Some(HookError::NotAcknowledged.to_string()));
    }

    #[test]
    fn a_port_stands_at_the_end_of_an_address() {
        assert_eq!(port("http://127.0.0.1:8420"), 8420);
        assert_eq!(port("http://127.0.0.1:8420/"), 8420);
    }
}
