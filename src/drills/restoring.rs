//! Clean instances, the restore into their place, and the start of the restored pair.

use crate::checks::expectation::Objects;
use crate::checks::observing::ObserveError;
use crate::checks::{clean, rto, startable};
use crate::client::Access;
use crate::deployment::Service;
use crate::drills::clock::Moment;
use crate::drills::context::{DrillContext, Stop, milliseconds, private_folder};
use crate::drills::instances::{Clean, Deployment, Pair, Restored, StartError};
use crate::drills::source::{access_at, started};
use crate::drills::stages::{Reached, StageError};
use crate::drills::taking::Taken;
use crate::evidence::CheckId;
use crate::restore::{self, PlaceError, Places, RestoreError};
use crate::runtime::process::ProcessError;
use crate::runtime::ready::{self, Look};
use crate::snapshot::copying::CopyError;
use crate::snapshot::database::DatabaseError;
use crate::snapshot::{TakeError, summary};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a start that lost its port is tried again on files made afresh.
const START_TRIES: u32 = 3;
/// How long the restored pair may take to its first true answer where the environment sets no limit.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long a pair that answers, but without the data, is given: the data will not come any more.
const WITHOUT_DATA_LIMIT: Duration = Duration::from_millis(1_500);

/// Why a step about clean or restored instances could not be done.
#[derive(Debug, thiserror::Error)]
pub enum RestoringError {
    /// An instance could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// An instance could not be stopped.
    #[error("cannot stop the clean instances")]
    Process(#[from] ProcessError),
    /// The clean instances could not be looked at.
    #[error("cannot look at the clean instances")]
    Look(#[from] ObserveError),
    /// No place for the clean instances.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The restore was refused or failed.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The clean instances' files could not be read.
    #[error("cannot read the clean instances' files")]
    Files(#[from] TakeError),
    /// A restored file could not be read.
    #[error("cannot read the restored files")]
    Database(#[from] DatabaseError),
    /// A file could not be copied or hashed.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Whoever acts on a stage failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A folder could not be made.
    #[error("cannot make {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A worker of the harness was lost.
    #[error("a worker thread of the harness stopped")]
    Worker(#[from] tokio::task::JoinError),
}

/// The clean instances' place, and what they held.
pub struct Prepared {
    /// Where they ran and where the snapshot goes.
    pub places: Places,
    /// Content digests of their files after their stop: directory, bus.
    pub digests: [String; 2],
    /// Plain copies of their files, whose schema is that of the running version.
    pub plain: PathBuf,
    /// Subjects that they showed although they should be empty.
    pub shown: Vec<String>,
}

/// Starts clean instances on new empty files, looks for any of the data, stops them.
///
/// # Errors
/// [`Stop`].
pub async fn prove_clean(
    context: &mut DrillContext,
    deployment: &mut Deployment,
    agents: &[String],
    promised: Option<&Objects>,
) -> Result<Prepared, Stop> {
    let (work, logs) = (context.folders.work.clone(), context.folders.work.join("logs"));
    let began = Instant::now();
    let stages = context.request.stages.clone();
    let (mut prepared, observed) = context
        .step("prove the clean instances empty", async {
            private_folder(&logs).map_err(|source| RestoringError::Folder {
                path: logs.clone(),
                source,
            })?;
            let (Clean(mut pair), places) = start_clean(deployment, &work, &logs).await?;
            let detail = started(&pair);
            let urls = [pair.directory.url(), pair.bus.url()];
            let acted = stages.reached(&Reached::Clean { urls: urls.clone() })?;
            let access = access_at(&acted.instead_of(urls), deployment);
            let observed = clean::observe_clean(&access, agents).await;
            access.close();
            pair.stop(&deployment.environment).await?;
            let observed = observed?;
            let plain = work.join("clean-plain");
            let (places, plain, digests) = tokio::task::spawn_blocking(move || {
                let digest = |service: Service| {
                    crate::snapshot::independent_copy(&places.of(service).files(), &plain)
                        .map(|(_, summary)| summary.digest)
                };
                let digests = [digest(Service::Directory)?, digest(Service::Bus)?];
                Ok::<_, TakeError>((places, plain, digests))
            })
            .await??;
            let prepared = Prepared {
                places,
                digests,
                plain,
                shown: Vec::new(),
            };
            Ok::<_, RestoringError>(((prepared, observed), detail))
        })
        .await?;
    let judged = clean::judge(promised, &observed);
    prepared.shown = judged.findings.iter().map(|finding| finding.subject.clone()).collect();
    context.record(CheckId::Clean, None, judged, began.elapsed());
    Ok(prepared)
}

async fn start_clean(
    deployment: &mut Deployment,
    work: &std::path::Path,
    logs: &std::path::Path,
) -> Result<(Clean, Places), RestoringError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let parent = work.join(format!("clean-{tries}"));
        private_folder(&parent).map_err(|source| RestoringError::Folder {
            path: parent.clone(),
            source,
        })?;
        let places = Places::create(&parent)?;
        let databases = [places.directory.database(), places.bus.database()];
        match deployment.start(&databases, logs, "clean").await {
            Ok(pair) => return Ok((Clean(pair), places)),
            Err(StartError::PortLost { .. }) if tries < START_TRIES => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts the snapshot in the clean instances' place.
///
/// # Errors
/// [`Stop`].
pub async fn put_back(context: &mut DrillContext, taken: &Taken, prepared: Prepared) -> Result<Prepared, Stop> {
    let (snapshot, sources) = (taken.snapshot.clone(), taken.source_sets.clone());
    let stages = context.request.stages.clone();
    context.recovery_began.get_or_insert(context.clock.moment());
    context
        .step("restore into the clean instances' place", async {
            let (prepared, restored) = tokio::task::spawn_blocking(move || {
                let plan = restore::plan(&snapshot, &prepared.places, &sources)?;
                let restored = restore::perform(&plan, &prepared.places)?;
                Ok::<_, RestoreError>((prepared, restored))
            })
            .await??;
            let databases = Service::ALL.map(|service| prepared.places.of(service).database());
            stages.reached(&Reached::RestoredFiles { databases })?;
            let bytes: u64 = restored.files.iter().map(|file| file.file.bytes).sum();
            let detail = format!(
                "{} files, {bytes} bytes, read back; {} files of the clean instances removed first",
                restored.files.len(),
                restored.removed.len()
            );
            Ok::<_, RestoringError>((prepared, detail))
        })
        .await
}

/// The content digests of the restored files before anything opens them for writing: directory, bus.
///
/// # Errors
/// A restored file that cannot be read.
pub fn digests(places: &Places) -> Result<[String; 2], DatabaseError> {
    let digest = |service: Service| summary::summarise(&places.of(service).database()).map(|summary| summary.digest);
    Ok([digest(Service::Directory)?, digest(Service::Bus)?])
}

/// Starts both services on the restored files and records whether they start.
///
/// A start that lost its port may already have changed the files, so the set is restored afresh before the next try.
///
/// # Errors
/// [`Stop`] when a service does not start.
pub async fn start_restored(
    context: &mut DrillContext,
    deployment: &mut Deployment,
    taken: &Taken,
    prepared: &Prepared,
) -> Result<Restored, Stop> {
    let logs = context.folders.work.join("logs");
    let databases = [prepared.places.directory.database(), prepared.places.bus.database()];
    let mut attempts = 0;
    let began = Instant::now();
    let mut failed: Option<startable::Start> = None;
    let secrets = context.secrets.clone();
    let result = context
        .step("start the restored pair", async {
            loop {
                attempts += 1;
                match deployment.start(&databases, &logs, "restored").await {
                    Ok(pair) => {
                        let detail = started(&pair);
                        return Ok::<_, RestoringError>((Restored(pair), detail));
                    }
                    Err(StartError::PortLost { .. }) if attempts < START_TRIES => {
                        let plan = restore::plan(&taken.snapshot, &prepared.places, &taken.source_sets)?;
                        restore::perform(&plan, &prepared.places)?;
                    }
                    Err(error) => {
                        failed = failed_start(&error, attempts, &secrets);
                        return Err(error.into());
                    }
                }
            }
        })
        .await;
    let starts = match (&result, failed) {
        (Ok(Restored(pair)), _) => starts(pair, attempts),
        (Err(_), Some(start)) => vec![start],
        (Err(_), None) => Vec::new(),
    };
    context.record(CheckId::Startable, None, startable::judge(&starts), began.elapsed());
    result
}

fn starts(pair: &Pair, attempts: u32) -> Vec<startable::Start> {
    [&pair.directory, &pair.bus]
        .into_iter()
        .map(|instance| startable::Start {
            service: instance.service,
            ready_ms: Some(milliseconds(instance.ready.after)),
            exit_code: None,
            cause: None,
            last_lines: String::new(),
            attempts,
        })
        .collect()
}

fn failed_start(error: &StartError, attempts: u32, secrets: &crate::evidence::Secrets) -> Option<startable::Start> {
    let (service, exit_code, log) = match error {
        StartError::Exited { service, exit, log } => (*service, exit.code, log.as_str()),
        StartError::NotReady { service, log, .. } => (*service, None, log.as_str()),
        StartError::PortLost { service, .. } | StartError::Prepare { service, .. } => (*service, None, ""),
        StartError::Process(_) | StartError::Enclosure(_) => return None,
    };
    Some(startable::Start {
        service,
        ready_ms: None,
        exit_code,
        cause: Some(secrets.redact(&error.to_string())),
        last_lines: secrets.redact(log),
        attempts,
    })
}

/// What both clocks say of the time since the recovery began.
fn clocks_since(zero: &Moment, now: Moment) -> rto::Clocks {
    rto::Clocks {
        wall_ms: now.wall.as_millisecond() - zero.wall.as_millisecond(),
        monotonic_ms: milliseconds(now.monotonic.duration_since(zero.monotonic)),
    }
}

/// Looks for the first true answer about the landmark, with reads that write nothing, and records RTO.
///
/// # Errors
/// [`Stop`] never: no answer is a finding.
pub async fn measure_recovery(
    context: &mut DrillContext,
    access: &Access,
    landmark: &rto::Landmark,
) -> Result<(), Stop> {
    let limit_ms = context.request.environment.rto_limit_ms;
    let limit = limit_ms
        .map_or(ANSWER_LIMIT, Duration::from_millis)
        .max(WITHOUT_DATA_LIMIT);
    let zero = context.recovery_began.unwrap_or_else(|| context.clock.moment());
    let began = Instant::now();
    let first_without_data: Mutex<Option<Instant>> = Mutex::new(None);
    let waited = ready::until("the restored pair tells of the data", limit, || async {
        match rto::look(access, landmark).await {
            Ok(true) => Look::Holds,
            Ok(false) => {
                let since = first_without_data
                    .lock()
                    .map_or_else(|_| Instant::now(), |mut at| *at.get_or_insert_with(Instant::now));
                let waited = since.elapsed();
                let what = "it answers, but without the data".to_owned();
                if waited > WITHOUT_DATA_LIMIT {
                    Look::Never(what)
                } else {
                    Look::NotYet(what)
                }
            }
            // A refusing answer may turn into a true one; a service that no longer answers is not asked again.
            Err(ObserveError::Call(error)) if error.status().is_some() => Look::NotYet(error.to_string()),
            Err(error) => Look::Never(crate::drills::context::chain(&error)),
        }
    })
    .await;
    let offset = milliseconds(began.duration_since(zero.monotonic));
    let (measured, cause) = match &waited {
        Ok(ready) => {
            let first = offset + milliseconds(ready.after);
            // Without a failed look of its own, the last time that the pair was seen not to answer is its readiness.
            let last_failed = ready.last_failed.map_or(offset, |at| offset + milliseconds(at));
            context.evidence.objectives.rto_ms = Some(first);
            context.evidence.objectives.rto_bracket_ms = Some([last_failed.min(first), first]);
            (
                rto::Measured {
                    last_failed_ms: Some(last_failed),
                    first_true_ms: Some(first),
                    clocks: Some(clocks_since(&zero, context.clock.moment())),
                    limit_ms,
                },
                None,
            )
        }
        Err(error) => {
            let last_failed_ms = Some(milliseconds(zero.monotonic.elapsed()));
            (
                rto::Measured {
                    last_failed_ms,
                    first_true_ms: None,
                    clocks: Some(clocks_since(&zero, context.clock.moment())),
                    limit_ms,
                },
                Some(error.to_string()),
            )
        }
    };
    let mut judged = rto::judge(&measured);
    judged.notes.extend(cause);
    context.record(CheckId::Rto, None, judged, began.elapsed());
    Ok(())
}
