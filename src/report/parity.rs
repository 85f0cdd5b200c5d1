//! The parity report: the matrix of aspects and environments first, then drifts, intended drifts, what is not proven, each look.

use crate::deployment::compared::Aspect;
use crate::evidence::{AspectRecord, Drift, ParityEvidence, Verdict, one_line};
use crate::report::markdown::{cell, code, text};
use std::fmt::Write as _;

/// How many drifts are printed on a terminal.
const PRINTED_DRIFTS: usize = 40;

/// The report of a comparison. `digest` is the SHA-256 of the evidence file.
#[must_use]
pub fn render(evidence: &ParityEvidence, digest: &str) -> String {
    let mut out = String::new();
    let run = &evidence.run;
    let title = if run.drill == ParityEvidence::SMOKE {
        "Smoke test"
    } else {
        "Environment parity"
    };
    let _ = writeln!(out, "# {title}: {}\n", evidence.verdict.word().to_uppercase());
    let _ = writeln!(
        out,
        "Run `{}` · {} · harness {}{} · evidence SHA-256 `{digest}`\n",
        code(&run.id),
        run.started_at,
        run.harness.version,
        run.harness
            .git_sha
            .as_ref()
            .map_or_else(String::new, |sha| format!(" (`{}`)", code(sha)))
    );
    matrix(&mut out, evidence);
    drifts(&mut out, evidence);
    intended(&mut out, evidence);
    not_proven(&mut out, evidence);
    cells(&mut out, evidence);
    observations(&mut out, evidence);
    commands(&mut out, evidence);
    out
}

fn matrix(out: &mut String, evidence: &ParityEvidence) {
    out.push_str("| aspect |");
    for environment in &evidence.environments {
        let is_one_of_many = evidence.environments.len() > 1;
        let reference = if environment.reference && is_one_of_many {
            " (reference)"
        } else {
            ""
        };
        let _ = write!(out, " {}{reference} |", cell(&environment.name));
    }
    let _ = writeln!(out, "\n|---|{}", "---|".repeat(evidence.environments.len()));
    let asked = |aspect: &Aspect| evidence.checks.iter().any(|record| record.id == *aspect);
    for aspect in Aspect::ALL.into_iter().filter(asked) {
        let _ = write!(out, "| {aspect} |");
        for environment in &evidence.environments {
            let shown = evidence
                .cell(aspect, &environment.name)
                .map_or_else(|| "–".to_owned(), shown);
            let _ = write!(out, " {shown} |");
        }
        out.push('\n');
    }
    out.push('\n');
    if let Some(against) = &evidence.against {
        let _ = writeln!(out, "Compared with the earlier capture `{}` too.\n", code(against));
    }
}

fn shown(record: &AspectRecord) -> String {
    match (record.verdict, record.findings.len()) {
        (Verdict::Pass, _) => "pass".to_owned(),
        (Verdict::Inconclusive, _) => "inconclusive".to_owned(),
        (Verdict::Fail, 1) => "**1 drift**".to_owned(),
        (Verdict::Fail, count) => format!("**{count} drifts**"),
    }
}

fn drifts(out: &mut String, evidence: &ParityEvidence) {
    let _ = writeln!(out, "## Drifts\n");
    if evidence.drifts.is_empty() {
        out.push_str("None.\n\n");
        return;
    }
    out.push_str("| aspect | environments | subject | expected | observed | where |\n|---|---|---|---|---|---|\n");
    for drift in &evidence.drifts {
        row(out, drift);
    }
    out.push('\n');
}

fn row(out: &mut String, drift: &Drift) {
    let _ = writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} |",
        drift.aspect,
        cell(&drift.environments.join(" → ")),
        cell(&drift.subject),
        cell(&drift.expected),
        cell(&drift.observed),
        cell(&drift.place)
    );
}

fn intended(out: &mut String, evidence: &ParityEvidence) {
    if evidence.intended.is_empty() {
        return;
    }
    out.push_str("## Intended drifts\n\n| aspect | environment | subject | expected | observed | reason | until |\n|---|---|---|---|---|---|---|\n");
    for one in &evidence.intended {
        let drift = &one.drift;
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            drift.aspect,
            cell(&drift.environments.join(" → ")),
            cell(&drift.subject),
            cell(&drift.expected),
            cell(&drift.observed),
            cell(&one.reason),
            cell(&one.until)
        );
    }
    out.push('\n');
}

fn not_proven(out: &mut String, evidence: &ParityEvidence) {
    out.push_str("## Not proven\n\n");
    let mut any = false;
    for record in &evidence.checks {
        for problem in &record.problems {
            any = true;
            let _ = writeln!(
                out,
                "- {} of {}: {}",
                record.id,
                text(&record.environment),
                text(problem)
            );
        }
        if record.problems.is_empty() && record.verdict == Verdict::Inconclusive {
            any = true;
            let _ = writeln!(
                out,
                "- {} of {}: nothing to compare",
                record.id,
                text(&record.environment)
            );
        }
    }
    for question in &evidence.not_asked {
        any = true;
        let _ = writeln!(out, "- {}: {}", text(&question.id), text(&question.reason));
    }
    if !any {
        out.push_str("Nothing was left out.\n");
    }
    out.push('\n');
}

fn cells(out: &mut String, evidence: &ParityEvidence) {
    out.push_str("## What was seen\n\n| aspect | environment | verdict | compared | expected | observed |\n|---|---|---|---|---|---|\n");
    for record in &evidence.checks {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            record.id,
            cell(&record.environment),
            record.verdict,
            record.items,
            cell(&record.expected),
            cell(&record.observed)
        );
    }
    out.push('\n');
    let mut any = false;
    for record in &evidence.checks {
        for note in &record.notes {
            any = true;
            let _ = writeln!(out, "- {} of {}: {}", record.id, text(&record.environment), text(note));
        }
    }
    if any {
        out.push('\n');
    }
}

fn observations(out: &mut String, evidence: &ParityEvidence) {
    out.push_str(
        "## Each look\n\n| at (UTC) | environment | aspect | source | command | outcome |\n|---|---|---|---|---|---|\n",
    );
    for look in &evidence.observations {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            look.at,
            cell(&look.environment),
            look.aspect,
            cell(&look.source),
            look.command.as_deref().map_or_else(|| "–".to_owned(), cell),
            cell(&look.outcome)
        );
    }
    out.push('\n');
}

fn commands(out: &mut String, evidence: &ParityEvidence) {
    out.push_str("## Validation commands\n\n```text\n");
    for command in &evidence.commands {
        let _ = writeln!(out, "{}", command.replace("```", "'''"));
    }
    out.push_str("```\n");
}

/// The closing lines on a terminal.
#[must_use]
pub fn lines(evidence: &ParityEvidence) -> String {
    let mut out = String::new();
    for drift in evidence.drifts.iter().take(PRINTED_DRIFTS) {
        let _ = writeln!(
            out,
            "drift {} ({}) {}: expected {}, observed {} [{}]",
            drift.aspect,
            drift.environments.join(" → "),
            one_line(&drift.subject),
            one_line(&drift.expected),
            one_line(&drift.observed),
            one_line(&drift.place)
        );
    }
    if let Some(more) = evidence
        .drifts
        .len()
        .checked_sub(PRINTED_DRIFTS)
        .filter(|more| *more > 0)
    {
        let _ = writeln!(out, "… {more} more drifts, see the report");
    }
    for record in &evidence.checks {
        for problem in &record.problems {
            let _ = writeln!(
                out,
                "inconclusive {} ({}): {}",
                record.id,
                record.environment,
                one_line(problem)
            );
        }
    }
    let names: Vec<&str> = evidence
        .environments
        .iter()
        .map(|environment| environment.name.as_str())
        .collect();
    let _ = writeln!(
        out,
        "verdict: {} — {} compared, {} drifts, {} intended, {} looks, {} ms",
        evidence.verdict,
        names.join(", "),
        evidence.drifts.len(),
        evidence.intended.len(),
        evidence.observations.len(),
        evidence.run.duration_ms
    );
    out
}
