//! What comes of a fault that no drill's checks judge: between environments, or in a record.

use crate::drills::context::{Progress, milliseconds};
use crate::drills::score::{BenignResult, FaultResult, Score};
use crate::evidence::{CheckId, Finding, Step, StepOutcome};
use crate::faults::fault::{Expect, Fault};
use std::time::Instant;

/// The answers of the questions that were asked.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Questions that failed.
    pub(crate) failed: Vec<CheckId>,
    /// Questions that could not be judged.
    pub(crate) unseen: Vec<CheckId>,
    /// What the failed ones found.
    pub(crate) findings: Vec<Finding>,
    /// Why the fault could not be injected, if so.
    pub(crate) error: Option<String>,
}

impl Outcome {
    /// Of a fault that could not be injected.
    pub(crate) fn of_error(error: impl Into<String>) -> Outcome {
        Outcome {
            error: Some(error.into()),
            ..Outcome::default()
        }
    }

    /// Whether everything was as it should be.
    pub(crate) fn passes(&self) -> bool {
        self.error.is_none() && self.failed.is_empty() && self.unseen.is_empty()
    }

    fn detects(&self, fault: &Fault) -> bool {
        let seen = match fault.expect {
            Expect::Inconclusive => &self.unseen,
            Expect::Fail | Expect::Refused => &self.failed,
        };
        let ends_so = fault.expect != Expect::Inconclusive || self.failed.is_empty();
        let all = fault.caught_by.iter().all(|id| seen.contains(id));
        self.error.is_none() && ends_so && all && !seen.is_empty()
    }
}

/// Tells of a fault and puts it into the score.
pub(crate) fn settle(fault: &Fault, outcome: Outcome, began: Instant, progress: &dyn Progress, score: &mut Score) {
    let detected = outcome.detects(fault);
    progress.ended(&told(fault, &outcome, detected, began));
    if fault.benign {
        score.benign.push(BenignResult {
            id: fault.id.0.clone(),
            alarmed: outcome.error.is_none() && !outcome.passes(),
            findings: outcome.findings,
            error: outcome.error,
        });
        return;
    }
    score.faults.push(FaultResult {
        id: fault.id.0.clone(),
        group: fault.group.clone(),
        stage: fault.stage.to_string(),
        detected,
        caught_by: outcome.failed,
        expected: fault.caught_by.clone(),
        error: outcome.error,
        alone: None,
        duration_ms: milliseconds(began.elapsed()),
        booted: false,
    });
}

fn told(fault: &Fault, outcome: &Outcome, detected: bool, began: Instant) -> Step {
    let is_right = if fault.benign { outcome.passes() } else { detected };
    let list = |ids: &[CheckId]| ids.iter().map(|id| id.name()).collect::<Vec<_>>().join(", ");
    let detail = match &outcome.error {
        Some(error) => error.clone(),
        None if !outcome.failed.is_empty() => list(&outcome.failed),
        None if !outcome.unseen.is_empty() => format!("nothing seen of {}", list(&outcome.unseen)),
        None => "nothing alarmed".to_owned(),
    };
    Step {
        name: fault.id.0.clone(),
        started_at: None,
        duration_ms: milliseconds(began.elapsed()),
        outcome: if is_right && outcome.error.is_none() {
            StepOutcome::Done
        } else {
            StepOutcome::Failed
        },
        detail,
    }
}
