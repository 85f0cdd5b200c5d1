//! A source that runs by itself: looked at, stopped by its own commands, copied, and started again at once, before anything
//! else; then its copies are drilled as a given backup is.
//!
//! Whatever way the drill takes out, [`on_every_way_out`] starts what it stopped. What it cannot do, since it was killed,
//! [`resume`] does.

/// Copies of its files.
mod copying;
/// What must not be.
pub mod guards;
/// Who holds it.
pub mod hold;
/// Down and up.
mod moving;
/// What can be known before.
pub mod preflight;
/// What a killed drill left.
pub mod resume;
/// What it answers, before and after.
mod seen;
/// Where it is written down who holds it.
pub mod state;

use crate::deployment::Service;
use crate::deployment::attached::AttachedSource;
use crate::drills::attached::copying::Copies;
use crate::drills::attached::hold::Hold;
use crate::drills::attached::moving::MovingError;
use crate::drills::attached::seen::Seen;
use crate::drills::attached::state::state_folder;
use crate::drills::context::{DrillContext, DrillRequest, Stop, UsageError, chain, milliseconds, now};
use crate::drills::{Ending, at_rest, backup_restore, proving, restoring, source};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The step that starts a stopped source on the way out of a drill that was broken off.
pub const RESCUE: &str = "start the source again, since the drill was broken off";

/// How a reason begins by which an operator has to act at once.
pub const MAY_BE_DOWN: &str = "THE SOURCE MAY BE DOWN";

/// Drills an attached source.
///
/// # Errors
/// [`Ending::Usage`] before it was stopped; [`Ending::Stop`] when a step cannot be done.
pub async fn run(context: &mut DrillContext, source: AttachedSource) -> Result<(), Ending> {
    // First: whoever holds it may have it down, and then nothing else that is found means anything.
    let hold = hold_it(context, source.clone())?;
    let found = preflight::look(&context.request).await;
    if !found.problems.is_empty() {
        return Err(UsageError(found.problems.join("\n")).into());
    }
    let source = found.source.unwrap_or(source);
    let known = hold.lock().await.know(source.clone());
    known.map_err(|error| UsageError(chain(&error)))?;
    drop(hold);
    let before = look(context, &source).await?;
    // What the source states is what its restored copy has to state.
    before.tell(&mut context.request.environment.release);
    let mut deployment = source::deployment(context).await?;
    proving::name_components(context, &deployment);
    for one in source.each() {
        for (what, argv) in [("stop", &one.stop), ("start", &one.start), ("fetch", &one.fetch)] {
            if !argv.is_empty() {
                let shown = context.fit_to_show(&format!("{what} {}: {}", one.service, argv.join(" ")));
                context.evidence.commands.push(shown);
            }
        }
    }
    let copies = away(context, &source).await?;
    come_back(context, &before).await?;
    let taken = copies.sealed(context, &mut deployment).await?;
    context
        .step("hold the copies against the source's answers", async {
            let part = taken.manifest.part(Service::Directory);
            let tables = part.map(|part| part.tables.as_slice()).unwrap_or_default();
            let rows = |table: &str| tables.iter().find(|one| one.name == table).map_or(0, |one| one.rows);
            before.is_in(rows).map(|compared| ((), compared))
        })
        .await?;
    backup_restore::without_ledger(context, &taken);
    let prepared = restoring::prove_clean(context, &mut deployment, &[], None).await?;
    at_rest::snapshot(context, &taken, &prepared, None).await?;
    Box::pin(backup_restore::bring_back(
        context,
        &mut deployment,
        &taken,
        prepared,
        None,
    ))
    .await
}

/// What lies inside the folder of the source's files that must not.
#[must_use]
pub fn misplaced(request: &DrillRequest, source: &AttachedSource) -> Vec<String> {
    let state = state_folder(|name| std::env::var(name).ok());
    let mut folders = vec![
        (
            "runs",
            request.runs.as_path(),
            "set CARGO_TARGET_DIR to a folder elsewhere",
        ),
        ("locks", state.as_path(), "set DRILLS_STATE_DIR to a folder elsewhere"),
    ];
    if let Some(reports) = &request.reports {
        folders.push(("reports", reports, "give --reports a folder elsewhere"));
    }
    guards::places(source, &folders)
}

/// Takes the source for this run: refused while another run has it.
fn hold_it(context: &mut DrillContext, source: AttachedSource) -> Result<Arc<Mutex<Hold>>, UsageError> {
    let state = state_folder(|name| std::env::var(name).ok());
    let (run, folder) = (context.evidence.run.id.clone(), context.folders.run.clone());
    let hold = Hold::take(&state, &run, &folder, source, now());
    let hold = hold.map_err(|error| UsageError(chain(&error)))?;
    let hold = Arc::new(Mutex::new(hold));
    context.hold = Some(hold.clone());
    Ok(hold)
}

async fn look(context: &mut DrillContext, source: &AttachedSource) -> Result<Seen, Stop> {
    context
        .step("look at the source (baseline)", async {
            let seen = Seen::look(source).await?;
            let detail = seen.to_string();
            Ok::<_, seen::SeenError>((seen, detail))
        })
        .await
}

/// Stops both, copies their files, starts both again: nothing else happens while the source is away.
async fn away(context: &mut DrillContext, source: &AttachedSource) -> Result<Copies, Stop> {
    let Some(hold) = context.hold.clone() else {
        return Err(Stop {
            step: "stop the source".to_owned(),
            cause: "a defect of the harness: the source is not held".to_owned(),
        });
    };
    context.outage_began = Some(Instant::now());
    let outage = Outage {
        began: Instant::now(),
        cut_at: jiff::Timestamp::now(),
        limit_ms: source.max_outage_ms,
    };
    let stopping = outage.limited(async {
        let mut hold = hold.lock().await;
        // The bus first: it would still write down that the directory is gone.
        let mut took = Vec::new();
        for service in [Service::Bus, Service::Directory] {
            let (after, proof) = moving::stop(&mut hold, service).await?;
            took.push(format!("{service} gone after {} ms ({proof})", milliseconds(after)));
        }
        Ok(((), took.join(", ")))
    });
    context.step("stop the source", stopping).await?;
    let (work, taken_at) = (context.folders.work.clone(), outage.cut_at);
    let outputs = {
        let hold = hold.lock().await;
        Service::ALL.map(|service| hold.output(service, "fetch"))
    };
    let copying = outage.limited(async {
        let copies = Copies::make(source, &work, taken_at, &outputs).await?;
        // Somebody who started one meanwhile may have written while it was read.
        source.each().into_iter().try_for_each(moving::still_stopped)?;
        let detail = copies.to_string();
        Ok((copies, detail))
    });
    let copies = context.step("copy the source's files", copying).await?;
    let starting = async {
        moving::start_both(&mut *hold.lock().await).await?;
        let outage_ms = milliseconds(outage.began.elapsed());
        Ok::<_, MovingError>((
            outage_ms,
            format!("both answer; the source was away for {outage_ms} ms"),
        ))
    };
    let outage_ms = context.step("start the source", starting).await?;
    context.evidence.objectives.outage_ms = Some(outage_ms);
    Ok(copies)
}

/// The outage under way.
struct Outage {
    began: Instant,
    cut_at: jiff::Timestamp,
    limit_ms: u64,
}

impl Outage {
    /// Work that is given up when the outage has lasted for too long.
    async fn limited<T>(&self, work: impl Future<Output = Result<T, AwayError>>) -> Result<T, AwayError> {
        let limit = Duration::from_millis(self.limit_ms).saturating_sub(self.began.elapsed());
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or(Err(AwayError::TooLong {
                limit_ms: self.limit_ms,
            }))
    }
}

/// Why the source was not stopped or copied.
#[derive(Debug, thiserror::Error)]
enum AwayError {
    /// It could not be stopped.
    #[error(transparent)]
    Moving(#[from] MovingError),
    /// Its files could not be copied.
    #[error(transparent)]
    Copying(#[from] copying::CopyingError),
    /// It was away for too long.
    #[error("the source was away for more than {limit_ms} ms; raise max_outage_ms or find what takes so long")]
    TooLong {
        /// `max_outage_ms`.
        limit_ms: u64,
    },
}

/// Proves that the source is back as it was. It stays held to the run's end, so that a killed run is found and closed.
async fn come_back(context: &mut DrillContext, before: &Seen) -> Result<(), Stop> {
    let Some(hold) = context.hold.clone() else {
        return Ok(());
    };
    let objectives = &context.evidence.objectives;
    let (outage_ms, limit_ms) = (objectives.outage_ms, objectives.max_outage_ms);
    context
        .step("prove that the source came back", async {
            let source = hold.lock().await.record.source.clone();
            let after = Seen::look(&source).await?;
            before.still_holds(&after)?;
            hold.lock().await.is_back();
            if outage_ms > limit_ms {
                let (outage_ms, limit_ms) = (outage_ms.unwrap_or_default(), limit_ms.unwrap_or_default());
                return Err(seen::SeenError::AwayTooLong { outage_ms, limit_ms });
            }
            Ok(((), format!("{after}; {}", after.proof())))
        })
        .await?;
    hold.lock().await.forget_outputs();
    Ok(())
}

/// Lets the source go, which runs; a record that cannot be removed is told.
async fn let_go(context: &mut DrillContext) {
    let Some(hold) = context.hold.take() else { return };
    let gone = hold.lock().await.let_go();
    if let Err(error) = gone {
        context.evidence.reasons.push(chain(&error));
    }
}

/// What has to happen whatever way a drill took out: error, panic, time limit, signal. Starts a source that was stopped; one
/// that does not start is told first of all, and its record stays for `cargo xtask drill --resume`.
pub async fn on_every_way_out(context: &mut DrillContext, ended: Result<(), Ending>) -> Result<(), Ending> {
    let Some(hold) = context.hold.clone() else { return ended };
    if !hold.lock().await.record.is_away() {
        let_go(context).await;
        return ended;
    }
    let rescue = async {
        let mut hold = hold.lock().await;
        let done = moving::bring_back(&mut hold).await;
        done.map(|detail| ((), detail)).map_err(|error| chain(&error))
    };
    let back = context.recorded(RESCUE, rescue).await;
    drop(hold);
    let outage = context.outage_began.map(|began| milliseconds(began.elapsed()));
    match back {
        Ok(()) => {
            let objectives = &mut context.evidence.objectives;
            objectives.outage_ms = objectives.outage_ms.or(outage);
            let_go(context).await;
        }
        Err(stop) => {
            let told = format!(
                "{MAY_BE_DOWN}: {}; start it by hand, or with `cargo xtask drill --resume`",
                stop.cause
            );
            context.evidence.reasons.push(told);
        }
    }
    // An ending of usage is known before the first stop; from there on there is evidence.
    match ended {
        Err(Ending::Usage(error)) => Err(Ending::Stop(Stop {
            step: RESCUE.to_owned(),
            cause: error.0,
        })),
        other => other,
    }
}
