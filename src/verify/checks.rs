//! Whether every question of this kind of run is there, each with the verdict that its items and findings give.

use crate::deployment::compared::Aspect;
use crate::evidence::{CheckId, CheckRecord, Evidence, ParityEvidence, Verdict};
use crate::verify::document::Document;
use crate::verify::look::Look;
use crate::verify::steps::has_own_source;

const PLACE: &str = "evidence.json, checks";

/// What a look at one environment after a deployment asks.
const OF_SMOKE: &[Aspect] = &[Aspect::Release, Aspect::ApiUrl, Aspect::StatusPage];

/// What the drill `schema-upgrade` asks.
const OF_SCHEMA_UPGRADE: &[CheckId] = &[CheckId::Schema, CheckId::Clean, CheckId::StartupDiff];

/// The checks of a drill; `None` for one that this version does not know.
fn of_drill(drill: &str) -> Option<&'static [CheckId]> {
    match drill {
        "backup-restore" => Some(CheckId::ALL),
        "schema-upgrade" => Some(OF_SCHEMA_UPGRADE),
        _ => None,
    }
}

/// Looks at every check and for every check.
pub(crate) fn judge(document: &Document) -> Look {
    match document {
        Document::Drill(evidence) => drill(evidence),
        Document::Comparison(evidence) => comparison(evidence),
    }
}

fn drill(evidence: &Evidence) -> Look {
    let mut look = Look::default();
    for check in &evidence.checks {
        one(check, &mut look);
    }
    let Some(asked) = of_drill(&evidence.run.drill) else {
        let problem = format!(
            "which checks the drill {:?} asks is not known here; use the version that wrote it",
            evidence.run.drill
        );
        look.problems.push(problem);
        return look;
    };
    let whole = evidence.run.stopped_in.is_none() && !evidence.run.interrupted;
    for id in asked {
        let is_there = evidence.checks_of(*id).next().is_some();
        let is_left_out = evidence.not_asked.iter().any(|one| one.id == id.name());
        look.must(
            is_there || is_left_out || !whole,
            id.name(),
            "asked, or not asked with a reason",
            "missing, although the run was not broken off",
            PLACE,
        );
        look.must(
            !(is_there && is_left_out),
            id.name(),
            "either asked or not",
            "both",
            PLACE,
        );
    }
    for foreign in evidence.checks.iter().filter(|check| !asked.contains(&check.id)) {
        look.must(
            false,
            foreign.id.name(),
            "a question of this drill",
            "asked by no such drill",
            PLACE,
        );
    }
    // With a source, data never turn a check into "not asked".
    if has_own_source(&evidence.run) && evidence.run.drill == "backup-restore" {
        for one in &evidence.not_asked {
            let id = &one.id;
            look.must(
                false,
                id,
                "asked: this drill has a source of its own",
                "not asked",
                PLACE,
            );
        }
    }
    look
}

/// A check's verdict, and how many findings there are.
fn one(check: &CheckRecord, look: &mut Look) {
    let subject = check.service.map_or_else(
        || check.id.to_string(),
        |service| format!("{} of the {service}", check.id),
    );
    let expected = Verdict::of_look(check.findings_total, check.items, 0);
    let because = format!(
        "{expected}, of {} items and {} findings",
        check.items, check.findings_total
    );
    look.must(
        check.verdict == expected,
        &subject,
        &because,
        check.verdict.word(),
        PLACE,
    );
    let stored = check.findings.len() as u64;
    let cap = CheckRecord::STORED_FINDINGS as u64;
    look.must(
        stored == check.findings_total.min(cap),
        &subject,
        &format!(
            "{} findings of {} stored",
            check.findings_total.min(cap),
            check.findings_total
        ),
        &stored.to_string(),
        PLACE,
    );
}

fn comparison(evidence: &ParityEvidence) -> Look {
    let mut look = Look::default();
    let asked: &[Aspect] = if evidence.run.drill == ParityEvidence::SMOKE {
        OF_SMOKE
    } else {
        &Aspect::ALL
    };
    for environment in &evidence.environments {
        for aspect in asked {
            let subject = format!("{aspect} of {}", environment.name);
            let Some(cell) = evidence.cell(*aspect, &environment.name) else {
                look.must(false, &subject, "a cell", "missing", PLACE);
                continue;
            };
            let findings = cell.findings.len() as u64;
            let expected = Verdict::of_look(findings, cell.items, cell.problems.len());
            let because = format!(
                "{expected}, of {} items, {findings} findings, {} sources not seen",
                cell.items,
                cell.problems.len()
            );
            look.must(cell.verdict == expected, &subject, &because, cell.verdict.word(), PLACE);
            let drifts = evidence
                .drifts
                .iter()
                .filter(|drift| drift.aspect == *aspect && drift.environments.last() == Some(&environment.name));
            look.hold(
                &format!("drifts: {subject}"),
                &findings,
                &(drifts.count() as u64),
                PLACE,
            );
        }
    }
    let cells = evidence.environments.len() * asked.len();
    look.hold("number of cells", &cells, &evidence.checks.len(), PLACE);
    look
}
