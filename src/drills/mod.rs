//! The procedures an operator rehearses, each a plain async function over a [`context::DrillContext`].

/// Checks that look at files only.
pub mod at_rest;
/// A source that runs already: stopped, copied, started again at once.
pub mod attached;
/// Stop, snapshot, start clean, restore, prove.
pub mod backup_restore;
/// What a seeded source gets before it is the source: ballast, calls under way.
pub mod base;
/// Clean runs of a campaign.
mod clean_runs;
/// The wall clock of a run.
pub mod clock;
/// Clock, seed, folders, secrets, evidence of one run.
pub mod context;
/// The fault catalogue, run: detection power.
pub mod detection;
/// Backup polarity.
pub mod direction;
mod empty_evidence;
/// Faults between environments.
mod environments;
/// Services started for a comparison of environments.
pub mod fresh;
/// Random faults that no check saw.
pub mod guesses;
/// What only a drill itself can do wrong.
mod hooks;
/// A fault at its moment.
pub mod injecting;
/// Pairs of instances and how they are launched.
pub mod instances;
/// How a given backup comes to its run.
pub mod intake;
/// What keeps instances apart from others.
pub mod isolation;
/// How instances are launched.
mod launching;
/// What comes of a fault that no drill judges.
mod outside;
/// What is asked of the running restored pair.
pub mod proving;
/// What is read back over HTTP.
pub mod reads;
/// Faults in what a run left.
mod record_faults;
/// Where the reference services come from.
pub mod reference;
/// Nonces, credentials, new writes.
pub mod replays;
/// Clean instances, the restore, the restored pair's start.
pub mod restoring;
/// The folder of a run.
mod run_folder;
/// Faults of what a service creates.
mod schema_faults;
/// The schemas that the services create on empty files.
pub mod schema_gate;
/// Older snapshots restored into the present services.
pub mod schema_upgrade;
/// What a campaign of faults comes to.
pub mod score;
/// Faults in scratch copies of a snapshot, judged at rest.
pub mod scratch;
/// A drill's own detection power.
pub mod self_test;
/// Several drills at once.
mod side_by_side;
/// The source.
pub mod source;
/// Moments at which somebody else may act.
pub mod stages;
/// Runs that began, whether or not they came to an end.
pub mod started;
/// The set that is restored.
pub mod taking;
/// One fault, injected and judged.
pub mod trial;
/// A whole drill with one fault in it.
mod whole;

use crate::drills::context::{DrillContext, DrillRequest, Progress, Stop, UsageError};
use crate::evidence::{Evidence, Verdict};
use futures_util::FutureExt as _;
use rustix::process::Signal;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use tokio::signal::unix::{SignalKind, signal};

/// Why a drill ended before its last step.
#[derive(Debug)]
pub enum Ending {
    /// Known before anything was started: no evidence, exit 2.
    Usage(UsageError),
    /// A step could not be done: evidence and report are written.
    Stop(Stop),
}

impl From<UsageError> for Ending {
    fn from(error: UsageError) -> Ending {
        Ending::Usage(error)
    }
}

impl From<Stop> for Ending {
    fn from(stop: Stop) -> Ending {
        Ending::Stop(stop)
    }
}

/// Runs the drill that was asked for, to its end or until `interrupt` completes, and stores its evidence in the run's
/// folder. Evidence is written for failed, inconclusive, interrupted and panicked drills too; what a killed one leaves is
/// `started.json`, written before the first action.
///
/// # Errors
/// [`UsageError`] for what is known to be impossible before anything was started; nothing is left of such a run.
pub async fn perform(
    request: DrillRequest,
    progress: Box<dyn Progress>,
    interrupt: impl Future<Output = ()>,
) -> Result<Evidence, UsageError> {
    // Beyond RLIMIT_FSIZE a write then fails, as on a full disk, instead of ending the harness without any evidence.
    let _beyond_limit = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
    self_test::check(&request.self_test)?;
    if let Some(source) = &request.attached {
        // Before the run's folder is made.
        let problems = attached::misplaced(&request, source);
        if !problems.is_empty() {
            return Err(UsageError(problems.join("\n")));
        }
    }
    let mut context = DrillContext::new(request, progress)?;
    if let Err(error) = started::record(&context) {
        context.discard();
        return Err(error);
    }
    let mut interrupted = false;
    let ended = {
        // Boxed here and at the larger steps: a drill's future is larger than a small thread's stack.
        let drill = AssertUnwindSafe(Box::pin(run(&mut context))).catch_unwind();
        tokio::select! {
            ended = drill => ended.unwrap_or_else(|panic| Err(panicked(panic.as_ref()).into())),
            () = interrupt => {
                interrupted = true;
                Ok(())
            }
        }
    };
    let ended = Box::pin(attached::on_every_way_out(&mut context, ended)).await;
    context.remove_containers().await;
    let ended = match ended {
        Ok(()) => Ok(()),
        Err(Ending::Stop(stop)) => Err(stop),
        Err(Ending::Usage(error)) => {
            context.discard();
            return Err(error);
        }
    };
    context.finish(ended, interrupted);
    let path = context.folders.run.join("evidence.json");
    let written = context.evidence.write(&path);
    context.release();
    if let Err(error) = written {
        let cause = context::chain(&error);
        if context.outage_began.is_none() {
            return Err(UsageError(cause));
        }
        // What was done and what may be down has to be told all the same.
        context.evidence.verdict = Verdict::Fail;
        context.evidence.reasons.push(cause);
    }
    Ok(context.evidence)
}

/// The names of all drills.
pub const NAMES: [&str; 2] = ["backup-restore", schema_upgrade::NAME];

/// The word that stands for all of [`NAMES`].
pub const ALL: &str = "all";

/// The drills that a word of the command line asks for.
///
/// # Errors
/// A sentence that lists the names, for a word that is none.
pub fn named(word: &str) -> Result<Vec<&'static str>, String> {
    if word == ALL {
        return Ok(NAMES.to_vec());
    }
    let found: Vec<&str> = NAMES.into_iter().filter(|name| *name == word).collect();
    if found.is_empty() {
        return Err(format!(
            "no drill {word:?}; there are {} and {ALL}, which runs each of them",
            NAMES.join(", ")
        ));
    }
    Ok(found)
}

async fn run(context: &mut DrillContext) -> Result<(), Ending> {
    if context.request.drill == schema_upgrade::NAME {
        Box::pin(schema_upgrade::run(context)).await
    } else {
        Box::pin(backup_restore::run(context)).await
    }
}

/// A panic is a defect of the harness; the operator still gets a record of the run.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Stop {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    Stop {
        step: "harness".to_owned(),
        cause: format!("a defect of the harness stopped the drill; please report it: {text}"),
    }
}
