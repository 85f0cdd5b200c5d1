//! Whether the verdict is what checks, steps and reasons come to.

use crate::evidence::{Evidence, ParityEvidence, StepOutcome, Verdict};
use crate::verify::document::Document;
use crate::verify::look::Look;

const PLACE: &str = "evidence.json, verdict and reasons";

/// Computes the verdict again, as the run itself did, and holds it against the stated one.
pub(crate) fn judge(document: &Document) -> Look {
    let mut look = Look::default();
    let expected = match document {
        Document::Drill(evidence) => of_drill(evidence, &mut look),
        Document::Comparison(evidence) => of_comparison(evidence, &mut look),
    };
    look.hold("verdict", &expected, &document.verdict(), PLACE);
    let unexplained = document.verdict() != Verdict::Pass && document.reasons().is_empty();
    look.must(
        !unexplained,
        "reasons",
        "at least one for a verdict other than pass",
        "none",
        PLACE,
    );
    for step in document
        .steps()
        .iter()
        .filter(|step| step.outcome == StepOutcome::Failed)
    {
        look.must(
            document.verdict() != Verdict::Pass,
            "verdict",
            &format!("no pass, since the step {:?} failed", step.name),
            "pass",
            PLACE,
        );
    }
    look
}

fn of_drill(evidence: &Evidence, look: &mut Look) -> Verdict {
    let run = &evidence.run;
    for reason in evidence.checks.iter().filter_map(|check| check.reason()) {
        stated(evidence.reasons.contains(&reason), &reason, look);
    }
    if let Some(step) = &run.stopped_in {
        let reason = format!("step {step:?} could not be done: ");
        stated(
            evidence.reasons.iter().any(|one| one.starts_with(&reason)),
            &reason,
            look,
        );
    }
    let broken_off = run.stopped_in.is_some() || run.interrupted;
    let checks = evidence.checks.iter().map(|check| check.verdict);
    Verdict::of_run(checks, broken_off, run.outage_began)
}

fn of_comparison(evidence: &ParityEvidence, look: &mut Look) -> Verdict {
    for cell in evidence.checks.iter().filter(|cell| cell.verdict != Verdict::Pass) {
        let reason = format!("{} of {}: ", cell.id, cell.environment);
        stated(
            evidence.reasons.iter().any(|one| one.starts_with(&reason)),
            &reason,
            look,
        );
    }
    ParityEvidence::verdict_of(&evidence.run.drill, &evidence.checks, &evidence.not_asked)
}

fn stated(is_there: bool, reason: &str, look: &mut Look) {
    look.must(is_there, "reasons", reason, "not among them", PLACE);
}
