//! A fault at its moment: waits until a drill reaches the fault's stage, lets it act, and keeps what came of it.

use crate::deployment::Service;
use crate::drills::context::chain;
use crate::drills::stages::{Acted, Reached, Stages};
use crate::faults::fault::{Fault, Injection, Stage};
use crate::faults::inject::{FaultError, Injected, inject};
use crate::faults::target::{Live, Target};
use crate::snapshot::file_set::FileSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What comes of an injection, shared with whoever runs the drill.
#[derive(Clone, Default)]
pub(crate) struct Shared {
    injected: Arc<Mutex<Option<Injected>>>,
    failure: Arc<Mutex<Option<FaultError>>>,
    /// The source's files of one trial, known once they were copied.
    pub(crate) sources: Arc<Mutex<Option<[FileSet; 2]>>>,
}

/// Why a fault was not injected.
#[derive(Debug, Clone)]
pub(crate) struct NotInjected {
    /// In words.
    pub(crate) cause: String,
    /// Whether nothing would have changed.
    pub(crate) changed_nothing: bool,
}

impl From<String> for NotInjected {
    fn from(cause: String) -> NotInjected {
        NotInjected {
            cause,
            changed_nothing: false,
        }
    }
}

impl Shared {
    /// Why the fault was not injected, or altered nothing.
    pub(crate) fn error(&self) -> Option<NotInjected> {
        let injected = self.injected.lock().ok();
        let unsettled = injected.and_then(|held| held.as_ref().and_then(|injected| injected.settle().err()));
        let failure = self.failure.lock().ok().and_then(|mut held| held.take());
        failure.or(unsettled).map(|error| NotInjected {
            cause: chain(&error),
            changed_nothing: error.is_changed_nothing(),
        })
    }

    /// Why nothing was injected although nothing failed: the drill did not get so far.
    pub(crate) fn is_without_injection(&self) -> Option<NotInjected> {
        let injected = self.injected.lock().ok();
        let is_there = injected.is_some_and(|held| held.is_some());
        (!is_there).then(|| "the drill ended before the fault could be injected".to_owned().into())
    }
}

/// File sets of other runs, to copy from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Others {
    /// The clean instances' after their stop.
    pub(crate) clean: Option<[FileSet; 2]>,
    /// The source's from before its last writes.
    pub(crate) earlier: Option<[FileSet; 2]>,
}

/// Injects the fault when the drill reaches its stage.
pub(crate) fn acting(fault: Fault, shared: Shared, others: Others) -> Stages {
    Stages::altering(move |moment| {
        // What happens before the baseline is part of the source's life; what happens after it is not.
        let is_its_moment = match moment {
            Reached::Living { .. } => fault.benign,
            Reached::Source { .. } => !fault.benign,
            _ => true,
        };
        let reached = target(moment).filter(|target| is_its_moment && target.stage == fault.stage);
        let Some(mut target) = reached else {
            return Ok(Acted::default());
        };
        if matches!(fault.injection, Injection::Start(_)) {
            return Ok(Acted::default());
        }
        target.source = shared.sources.lock().ok().and_then(|known| known.clone());
        target.clean.clone_from(&others.clean);
        target.earlier.clone_from(&others.earlier);
        match inject(&fault, &target) {
            Ok(injected) => {
                let url = |service| {
                    injected
                        .proxies
                        .as_ref()
                        .and_then(|proxies| proxies.url(service))
                        .map(str::to_owned)
                };
                let acted = Acted {
                    urls: [url(Service::Directory), url(Service::Bus)],
                    raw: injected.raw.clone(),
                    refused: injected.refused.clone(),
                    control: injected.control.clone(),
                    step_ms: injected.step_ms,
                };
                if let Ok(mut held) = shared.injected.lock() {
                    *held = Some(injected);
                }
                Ok(acted)
            }
            Err(error) => {
                let told = chain(&error);
                if let Ok(mut failure) = shared.failure.lock() {
                    *failure = Some(error);
                }
                Err(told)
            }
        }
    })
}

/// Where a fault of this moment's stage goes.
fn target(moment: &Reached) -> Option<Target> {
    match moment {
        Reached::Living { databases, urls, pids } | Reached::Source { databases, urls, pids } => {
            let scratch = databases[0].parent()?.parent()?;
            Some(running(Stage::Source, scratch, databases, urls, *pids))
        }
        Reached::Clean { .. } => None,
        Reached::Set { folder, raw } => Some(Target::set(raw, folder.parent()?)),
        Reached::Snapshot { folder } => Some(Target::snapshot(folder, folder.parent()?)),
        Reached::RestoredFiles { databases } => {
            let scratch = databases[0].parent()?.parent()?.parent()?;
            let mut target = Target::empty(Stage::RestoredFiles, scratch);
            target.directory_db = Some(databases[0].clone());
            target.bus_db = Some(databases[1].clone());
            Some(target)
        }
        Reached::Running { databases, urls, pids } => {
            let scratch = databases[0].parent()?.parent()?.parent()?;
            Some(running(Stage::Running, scratch, databases, urls, *pids))
        }
    }
}

fn running(
    stage: Stage,
    scratch: &Path,
    databases: &[PathBuf; 2],
    urls: &[String; 2],
    pids: [Option<u32>; 2],
) -> Target {
    let live = |at: usize| Live {
        url: urls[at].clone(),
        pid: pids[at],
    };
    Target {
        directory_db: Some(databases[0].clone()),
        bus_db: Some(databases[1].clone()),
        directory: Some(live(0)),
        bus: Some(live(1)),
        ..Target::empty(stage, scratch)
    }
}
