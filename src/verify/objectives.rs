//! Whether recovery objectives, polarity and detection power agree with the checks that measured them, and with themselves.

use crate::deployment::environment::RuntimeKind;
use crate::evidence::{CheckId, CheckRecord, Evidence, Verdict};
use crate::verify::look::Look;

const OBJECTIVES: &str = "evidence.json, objectives";
const POLARITY: &str = "evidence.json, polarity";
const DETECTION: &str = "evidence.json, detection";

/// Holds the figures against the checks.
pub(crate) fn judge(evidence: &Evidence) -> Look {
    let mut look = Look::default();
    rto(evidence, &mut look);
    rpo(evidence, &mut look);
    polarity(evidence, &mut look);
    detection(evidence, &mut look);
    outage(evidence, &mut look);
    look
}

/// A drill of an attached source that passed measured its outage, which was short enough; no other drill has one.
fn outage(evidence: &Evidence, look: &mut Look) {
    let objectives = &evidence.objectives;
    let (outage, limit) = (objectives.outage_ms, objectives.max_outage_ms);
    if evidence.run.runtime != RuntimeKind::Attached.word() {
        look.must(
            outage.is_none() && limit.is_none(),
            "outage_ms",
            "null: no source was attached",
            &shown(outage.or(limit)),
            OBJECTIVES,
        );
        return;
    }
    let in_time = matches!((outage, limit), (Some(outage), Some(limit)) if outage <= limit);
    look.must(
        in_time || evidence.verdict != Verdict::Pass,
        "outage_ms",
        &format!("measured and at most {}, since the drill passed", shown(limit)),
        &shown(outage),
        OBJECTIVES,
    );
}

fn only(evidence: &Evidence, id: CheckId) -> Option<&CheckRecord> {
    evidence.checks_of(id).next()
}

fn shown<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "null".to_owned(), |value| value.to_string())
}

fn rto(evidence: &Evidence, look: &mut Look) {
    let objectives = &evidence.objectives;
    let (rto, limit) = (objectives.rto_ms, objectives.rto_limit_ms);
    let bracket = objectives.rto_bracket_ms;
    look.must(
        bracket.map(|[_, high]| high) == rto && bracket.is_none_or(|[low, high]| low <= high),
        "rto_bracket_ms",
        &format!("ends with rto_ms, {}", shown(rto)),
        &shown(bracket.map(|[low, high]| format!("{low} to {high}"))),
        OBJECTIVES,
    );
    let Some(check) = only(evidence, CheckId::Rto) else {
        return;
    };
    let in_time = rto.is_some_and(|rto| limit.is_none_or(|limit| rto <= limit));
    look.must(
        in_time || check.verdict != Verdict::Pass,
        "rto_ms",
        &format!("measured and at most {}, since rto passed", shown(limit)),
        &shown(rto),
        OBJECTIVES,
    );
    if let Some(rto) = rto.filter(|_| check.items > 0) {
        look.must(
            check.observed.ends_with(&format!(" {rto} ms")),
            "rto_ms",
            &check.observed,
            &rto.to_string(),
            OBJECTIVES,
        );
    }
}

fn rpo(evidence: &Evidence, look: &mut Look) {
    let objectives = &evidence.objectives;
    let Some(check) = only(evidence, CheckId::Rpo).filter(|check| check.verdict == Verdict::Pass) else {
        look.items += 1;
        return;
    };
    let (lost, all) = (objectives.lost_writes, objectives.acknowledged_writes);
    let limit = objectives.rpo_limit_writes.unwrap_or(0);
    look.must(
        lost.is_some_and(|lost| lost <= limit),
        "lost_writes",
        &format!("at most {limit}, since rpo passed"),
        &shown(lost),
        OBJECTIVES,
    );
    look.must(
        check.observed.starts_with(&format!("{} lost", shown(lost))),
        "lost_writes",
        &check.observed,
        &shown(lost),
        OBJECTIVES,
    );
    look.must(
        all == Some(check.items),
        "acknowledged_writes",
        &check.items.to_string(),
        &shown(all),
        OBJECTIVES,
    );
    look.must(
        objectives.oldest_lost_age_ms.is_some() == (lost != Some(0)),
        "oldest_lost_age_ms",
        "measured exactly where a write is lost",
        &shown(objectives.oldest_lost_age_ms),
        OBJECTIVES,
    );
}

fn polarity(evidence: &Evidence, look: &mut Look) {
    let polarity = &evidence.polarity;
    let check = only(evidence, CheckId::Polarity);
    let clean = evidence
        .checks_of(CheckId::Clean)
        .all(|check| check.verdict == Verdict::Pass);
    let is_proven = check.map(|check| check.verdict == Verdict::Pass && clean);
    // A drill that ended between the measurement and its judgement leaves `false` without a check.
    let agrees = is_proven == polarity.proven || (is_proven.is_none() && polarity.proven == Some(false));
    look.must(
        agrees,
        "proven",
        &format!("{}, as the checks polarity and clean say", shown(is_proven)),
        &shown(polarity.proven),
        POLARITY,
    );
    if polarity.proven != Some(true) {
        return;
    }
    let digest = polarity.snapshot_digest.as_deref();
    for (name, other) in [
        ("source_digest", &polarity.source_digest),
        ("restored_digest", &polarity.restored_digest),
    ] {
        look.must(
            digest.is_some() && other.as_deref() == digest,
            name,
            &format!("the snapshot's, {}", shown(digest)),
            &shown(other.as_deref()),
            POLARITY,
        );
    }
    look.must(
        polarity.clean_digest.is_some() && polarity.clean_digest.as_deref() != digest,
        "clean_digest",
        "another one than the snapshot's",
        &shown(polarity.clean_digest.as_deref()),
        POLARITY,
    );
}

fn detection(evidence: &Evidence, look: &mut Look) {
    let detection = &evidence.detection;
    let missed = detection.missed.as_ref().map(|missed| missed.len() as u64);
    let detected = match (detection.injected, missed) {
        (Some(injected), Some(missed)) => injected.checked_sub(missed),
        _ => None,
    };
    look.must(
        detection.detected == detected,
        "detected",
        &format!(
            "{}: of {} injected less {} missed",
            shown(detected),
            shown(detection.injected),
            shown(missed)
        ),
        &shown(detection.detected),
        DETECTION,
    );
    look.must(
        detection.alone_detected <= detection.alone_injected,
        "alone_detected",
        &format!("at most {}", shown(detection.alone_injected)),
        &shown(detection.alone_detected),
        DETECTION,
    );
    look.must(
        detection.false_alarms <= detection.clean_runs,
        "false_alarms",
        &format!("at most {}", shown(detection.clean_runs)),
        &shown(detection.false_alarms),
        DETECTION,
    );
}
