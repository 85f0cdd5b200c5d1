//! What a killed harness left of a source: starts it again, closes its run as interrupted, removes its working files.

use crate::drills::attached::RESCUE;
use crate::drills::attached::hold::{Hold, HoldError, HoldRecord, Phase, is_broken, records};
use crate::drills::attached::moving::{self, MovingError};
use crate::drills::attached::state::state_folder;
use crate::drills::context::{UNFINISHED, milliseconds, now};
use crate::drills::run_folder::{clean_broken_run, is_abandoned};
use crate::evidence::{CheckRecord, Evidence, Step, StepOutcome, StoreError, Verdict};
use std::path::PathBuf;
use std::time::Instant;

/// Why a source could not be brought back, or its run not be closed.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// It does not start; its record stays.
    #[error("THE SOURCE MAY BE DOWN; start it by hand, then run this again")]
    Moving(#[from] MovingError),
    /// It is held, or cannot be held.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// The source runs, but the run's evidence cannot be written.
    #[error("the source runs; the report on the broken run is missing")]
    Evidence(#[from] StoreError),
    /// The source runs, but the run's working files are still there.
    #[error("the source runs; working files are left in {path}")]
    Files {
        /// The run's folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Sources whose harness is gone; a record that cannot be read is an error of its own.
#[must_use]
pub fn broken() -> Vec<Result<HoldRecord, HoldError>> {
    let state = state_folder(|name| std::env::var(name).ok());
    let mut found = records(&state);
    found.retain(|record| record.as_ref().map_or(true, |record| is_broken(&state, record)));
    found
}

/// What was made of a broken run.
pub struct Resumed {
    /// What was done for the source, in words.
    pub done: String,
    /// The run's evidence, closed as interrupted; `None` where it left none, since it was killed before its first step ended.
    pub evidence: Option<Evidence>,
    /// The run's folder.
    pub folder: PathBuf,
}

/// Brings one source back and closes its run. May be repeated, also when it is killed itself.
///
/// # Errors
/// [`ResumeError`]; after [`ResumeError::Moving`] the record is still there.
pub async fn resume(record: HoldRecord) -> Result<Resumed, ResumeError> {
    let state = state_folder(|name| std::env::var(name).ok());
    let mut hold = Hold::take_over(&state, record)?;
    let (at, began) = (now(), Instant::now());
    let done = moving::bring_back(&mut hold).await?;
    let folder = hold.record.folder.clone();
    let left = Left::of(&hold.record);
    let step = Step {
        name: RESCUE.to_owned(),
        started_at: Some(at),
        duration_ms: milliseconds(began.elapsed()),
        outcome: StepOutcome::Done,
        detail: done.clone(),
    };
    let evidence = close(&folder, step, left)?;
    hold.forget_outputs();
    hold.let_go()?;
    let is_left = || folder.join("work").is_dir() && is_abandoned(&folder);
    if is_left() {
        match clean_broken_run(&folder) {
            // Another `doctor --clean` may be at it.
            Err(source) if is_left() => {
                return Err(ResumeError::Files { path: folder, source });
            }
            _ => {}
        }
    }
    Ok(Resumed { done, evidence, folder })
}

/// How far a run was when it was killed.
struct Left {
    reason: &'static str,
    outage_began: bool,
    outage_ms: Option<u64>,
}

impl Left {
    fn of(record: &HoldRecord) -> Left {
        let all = |phase| record.phases.iter().all(|one| *one == phase);
        let since = record
            .away_since
            .as_deref()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok());
        let outage = since.map(|since| jiff::Timestamp::now().duration_since(since).as_millis());
        let reason = if all(Phase::Untouched) {
            "the harness was killed before it stopped the source"
        } else if all(Phase::Running) {
            "the harness was killed after the source ran again, before the run's end"
        } else {
            "the harness was killed while the source was away; it was started again later"
        };
        Left {
            reason,
            outage_began: !all(Phase::Untouched),
            outage_ms: outage
                .filter(|_| !all(Phase::Running))
                .and_then(|ms| u64::try_from(ms).ok()),
        }
    }
}

/// The evidence of a run that was killed, as an interrupted one. A run that ended by itself has its own already.
fn close(folder: &std::path::Path, step: Step, left: Left) -> Result<Option<Evidence>, StoreError> {
    let (unfinished, path) = (folder.join(UNFINISHED), folder.join("evidence.json"));
    if path.is_file() {
        return Evidence::read(&path).map(Some);
    }
    let Ok(mut evidence) = Evidence::read(&unfinished) else {
        return Ok(None);
    };
    evidence.steps.push(step);
    evidence.checks.sort_by_key(|check| (check.id, check.service));
    let reasons: Vec<String> = evidence.checks.iter().filter_map(CheckRecord::reason).collect();
    evidence.reasons.extend(reasons);
    evidence.reasons.push(left.reason.to_owned());
    let objectives = &mut evidence.objectives;
    objectives.outage_ms = objectives.outage_ms.or(left.outage_ms);
    let run = &mut evidence.run;
    run.interrupted = true;
    run.outage_began = left.outage_began;
    let finished = now();
    let moment = |text: &str| text.parse::<jiff::Timestamp>().ok();
    if let (Some(began), Some(ended)) = (moment(&run.started_at), moment(&finished)) {
        run.duration_ms = u64::try_from(ended.duration_since(began).as_millis()).unwrap_or_default();
    }
    run.finished_at = Some(finished);
    evidence.verdict = Verdict::of_run(evidence.checks.iter().map(|check| check.verdict), true, true);
    evidence.close();
    evidence.write(&path)?;
    let _ = std::fs::remove_file(unfinished);
    Ok(Some(evidence))
}
