//! The recovery-drill report: one screen of summary first, then steps, checks, findings, backups, commands, versions.

use crate::evidence::{CheckId, CheckRecord, Evidence, NotAsked, StepOutcome, Verdict, lower_bound_percent};
use std::fmt::Write as _;

/// How many findings of one check are printed; the evidence holds more.
const PRINTED_FINDINGS: usize = 20;

/// The report of a run. `digest` is the SHA-256 of the evidence file, so that a later edit of either is noticed.
#[must_use]
pub fn render(evidence: &Evidence, digest: &str) -> String {
    let mut out = String::new();
    header(&mut out, evidence, digest);
    summary(&mut out, evidence);
    not_proven(&mut out, evidence);
    next_steps(&mut out, evidence);
    findings(&mut out, evidence);
    checks(&mut out, evidence);
    steps(&mut out, evidence);
    backups(&mut out, evidence);
    commands(&mut out, evidence);
    versions(&mut out, evidence);
    out
}

fn header(out: &mut String, evidence: &Evidence, digest: &str) {
    let run = &evidence.run;
    let _ = writeln!(out, "# Recovery drill: {}\n", verdict_words(evidence));
    let _ = writeln!(
        out,
        "Run `{}` · drill `{}` · environment `{}` · evidence SHA-256 `{digest}`\n",
        run.id,
        code(&run.drill),
        code(&run.environment)
    );
    for reason in &evidence.reasons {
        let _ = writeln!(out, "- {}", text(reason));
    }
    if !evidence.reasons.is_empty() {
        out.push('\n');
    }
}

fn verdict_words(evidence: &Evidence) -> String {
    let word = evidence.verdict.word().to_uppercase();
    if evidence.run.interrupted {
        format!("{word} (interrupted)")
    } else {
        word
    }
}

fn summary(out: &mut String, evidence: &Evidence) {
    let run = &evidence.run;
    let row = |out: &mut String, name: &str, value: &str| {
        let _ = writeln!(out, "| {name} | {} |", cell(value));
    };
    out.push_str("| | |\n|---|---|\n");
    row(out, "Verdict", &verdict_words(evidence));
    row(out, "Backup polarity", &polarity(evidence));
    row(out, "RTO", &rto(evidence));
    if let Some(limit) = evidence.objectives.max_outage_ms {
        let measured = evidence.objectives.outage_ms;
        let measured = measured.map_or_else(|| "not measured".to_owned(), milliseconds);
        let limit = milliseconds(limit);
        row(out, "Outage of the source", &format!("{measured}; allowed {limit}"));
    }
    row(out, "RPO", &rpo(evidence));
    row(out, "Checks", &check_counts(evidence));
    let [with_source, alone] = detection(evidence);
    row(out, "Detection rate of these checks, with source", &with_source);
    row(out, "Detection rate by the backup alone", &alone);
    row(out, "Environments reset", &list(&evidence.environments_reset));
    row(out, "Backups taken", &stored(evidence));
    row(
        out,
        "Started, took",
        &format!("{}, {}", run.started_at, milliseconds(run.duration_ms)),
    );
    row(
        out,
        "Runtime, isolation",
        &format!("{}; {}", run.runtime, run.isolation),
    );
    out.push('\n');
}

fn polarity(evidence: &Evidence) -> String {
    match evidence.polarity.proven {
        Some(true) => "proven: source digest = snapshot digest = restored digest, the clean instances showed none of \
                       the data, the source's files did not change"
            .to_owned(),
        Some(false) => "NOT proven".to_owned(),
        None => "not asked".to_owned(),
    }
}

fn rto(evidence: &Evidence) -> String {
    let objectives = &evidence.objectives;
    let limit = objectives.rto_limit_ms.map_or("no limit set".to_owned(), |limit| {
        format!("limit {}", milliseconds(limit))
    });
    match (objectives.rto_ms, objectives.rto_bracket_ms) {
        (Some(rto), Some([low, high])) => {
            format!(
                "{} (between {low} and {high} ms: last failed look, first true answer); {limit}",
                milliseconds(rto)
            )
        }
        (Some(rto), None) => format!("{}; {limit}", milliseconds(rto)),
        (None, _) => format!("not measured: no true answer was seen; {limit}"),
    }
}

fn rpo(evidence: &Evidence) -> String {
    let objectives = &evidence.objectives;
    match (objectives.lost_writes, objectives.acknowledged_writes) {
        (Some(lost), Some(acknowledged)) => {
            let age = objectives
                .oldest_lost_age_ms
                .map(|age| format!(", the oldest {} old at the outage", milliseconds(age)));
            let limit = objectives.rpo_limit_writes.map(|limit| format!("; limit {limit}"));
            format!(
                "{lost} of {acknowledged} acknowledged writes lost{}{}",
                age.unwrap_or_default(),
                limit.unwrap_or_default()
            )
        }
        _ => "not measured".to_owned(),
    }
}

fn check_counts(evidence: &Evidence) -> String {
    let count = |verdict| evidence.checks.iter().filter(|check| check.verdict == verdict).count();
    format!(
        "{} pass, {} fail, {} inconclusive, {} not asked",
        count(Verdict::Pass),
        count(Verdict::Fail),
        count(Verdict::Inconclusive),
        evidence.not_asked.len()
    )
}

/// What the checks caught of the faults injected into copies of this snapshot, twice: with everything that the drill knows,
/// and with nothing but the backup.
fn detection(evidence: &Evidence) -> [String; 2] {
    let detection = &evidence.detection;
    let rate = |of: Option<u64>, out_of: Option<u64>, words: &str| match (of, out_of) {
        (Some(of), Some(out_of)) => {
            let bound = lower_bound_percent(of, out_of);
            let bound = bound.map(|bound| format!(" (with 95 % confidence at least {bound:.1} %)"));
            format!("{of} of {out_of} {words}{}", bound.unwrap_or_default())
        }
        _ => "not measured".to_owned(),
    };
    let mut with_source = rate(
        detection.detected,
        detection.injected,
        "faults injected into copies of this snapshot detected",
    );
    if let (Some(alarms), Some(runs)) = (detection.false_alarms, detection.clean_runs) {
        let _ = write!(with_source, "; {alarms} alarms in {runs} copies without a fault");
    }
    if let Some(missed) = detection.missed.as_ref().filter(|missed| !missed.is_empty()) {
        let _ = write!(with_source, "; missed: {}", missed.join(", "));
    }
    let alone = rate(
        detection.alone_detected,
        detection.alone_injected,
        "contradict the backup's own rows or structure; a careful, consistent edit never does",
    );
    [with_source, alone]
}

fn stored(evidence: &Evidence) -> String {
    let places: Vec<String> = evidence
        .snapshots
        .iter()
        .map(|set| format!("{} in {}", set.service, set.location))
        .collect();
    list(&places)
}

fn not_proven(out: &mut String, evidence: &Evidence) {
    out.push_str("## Not proven\n\n");
    let inconclusive = evidence
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Inconclusive);
    let mut any = false;
    for check in inconclusive {
        any = true;
        let _ = writeln!(
            out,
            "- `{}`: inconclusive, there was nothing to compare ({})",
            check.id,
            text(&check.observed)
        );
    }
    let (tables, questions): (Vec<&NotAsked>, Vec<&NotAsked>) = evidence
        .not_asked
        .iter()
        .partition(|question| question.id.starts_with("content: "));
    if let Some(first) = tables.first() {
        any = true;
        let names: Vec<&str> = tables
            .iter()
            .filter_map(|table| table.id.strip_prefix("content: "))
            .collect();
        let (count, reason) = (tables.len(), text(&first.reason));
        let _ = writeln!(
            out,
            "- `content` of {count} tables: not asked: {reason}: {}",
            text(&names.join(", "))
        );
    }
    for question in questions {
        any = true;
        let _ = writeln!(out, "- `{}`: not asked: {}", code(&question.id), text(&question.reason));
    }
    let reached = |id: CheckId| {
        evidence.checks_of(id).next().is_some() || evidence.not_asked.iter().any(|one| one.id == id.name())
    };
    let missed: Vec<String> = CheckId::ALL
        .iter()
        .filter(|id| !reached(**id))
        .map(|id| format!("`{id}`"))
        .collect();
    if !missed.is_empty() {
        any = true;
        let _ = writeln!(out, "- {}: not reached, the drill ended before", missed.join(", "));
    }
    if let Some(why) = &evidence.detection.not_measured {
        any = true;
        let words = match evidence.detection.injected {
            None => "not measured in this run",
            Some(_) => "measured in part",
        };
        let _ = writeln!(out, "- Detection rate: {words}: {}", text(why));
    }
    if !any {
        out.push_str("Nothing was left out.\n");
    }
    out.push('\n');
}

fn next_steps(out: &mut String, evidence: &Evidence) {
    out.push_str("## What to do next\n\n");
    let advice = match evidence.verdict {
        Verdict::Pass => {
            "Keep this report and its evidence with the release; repeat once a sprint and after every schema or infrastructure change."
        }
        Verdict::Fail => {
            "Do not rely on this backup. Read the findings below, mend the cause, and run the drill again with the same seed."
        }
        Verdict::Inconclusive => "Nothing is proven yet. Remove the obstacle named above and run the drill again.",
    };
    let _ = writeln!(out, "{advice}\n");
    let given = evidence.run.command.contains("--seed");
    let seed = if given {
        String::new()
    } else {
        format!(" --seed {}", evidence.run.seed)
    };
    let _ = writeln!(
        out,
        "Again, with the same data: `{}{seed}`.\n",
        code(&evidence.run.command)
    );
}

fn findings(out: &mut String, evidence: &Evidence) {
    let failed: Vec<&CheckRecord> = evidence
        .checks
        .iter()
        .filter(|check| check.findings_total > 0)
        .collect();
    if failed.is_empty() {
        return;
    }
    out.push_str("## Findings\n\n");
    for check in failed {
        let _ = writeln!(
            out,
            "### `{}` {}\n",
            check.id,
            check.service.map_or(String::new(), |service| service.to_string())
        );
        out.push_str("| subject | expected | observed | where |\n|---|---|---|---|\n");
        for finding in check.findings.iter().take(PRINTED_FINDINGS) {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} |",
                cell(&finding.subject),
                cell(&finding.expected),
                cell(&finding.observed),
                cell(&finding.place)
            );
        }
        if check.findings_total > PRINTED_FINDINGS as u64 {
            let more = check.findings_total - PRINTED_FINDINGS as u64;
            let _ = writeln!(out, "\n{more} more in the evidence ({} in all).", check.findings_total);
        }
        out.push('\n');
    }
}

fn checks(out: &mut String, evidence: &Evidence) {
    out.push_str("## Checks\n\n| check | asks | service | verdict | items | expected | observed |\n|---|---|---|---|---|---|---|\n");
    for check in &evidence.checks {
        let _ = writeln!(
            out,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            check.id,
            check.id.question(),
            check.service.map_or("both".to_owned(), |service| service.to_string()),
            check.verdict,
            check.items,
            cell(&check.expected),
            cell(&check.observed)
        );
    }
    out.push('\n');
    let notes: Vec<String> = evidence
        .checks
        .iter()
        .flat_map(|check| {
            check
                .notes
                .iter()
                .map(|note| format!("- `{}`: {}", check.id, text(note)))
        })
        .collect();
    if !notes.is_empty() {
        let _ = writeln!(out, "Notes:\n\n{}\n", notes.join("\n"));
    }
}

fn steps(out: &mut String, evidence: &Evidence) {
    out.push_str("## Steps\n\n| started (UTC) | took | step | outcome | detail |\n|---|---|---|---|---|\n");
    for step in &evidence.steps {
        let outcome = match step.outcome {
            StepOutcome::Done => "done",
            StepOutcome::Failed => "FAILED",
            StepOutcome::Skipped => "skipped",
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {outcome} | {} |",
            step.started_at.as_deref().unwrap_or("–"),
            milliseconds(step.duration_ms),
            cell(&step.name),
            cell(&step.detail)
        );
    }
    out.push('\n');
}

fn backups(out: &mut String, evidence: &Evidence) {
    out.push_str("## Backups\n\n");
    if evidence.snapshots.is_empty() {
        out.push_str("No snapshot was taken.\n\n");
        return;
    }
    out.push_str("| service | taken (UTC) | stored in | file | bytes | SHA-256 | tables | rows |\n|---|---|---|---|---|---|---|---|\n");
    for set in &evidence.snapshots {
        let rows: u64 = set.tables.iter().map(|table| table.rows).sum();
        for file in &set.files {
            let _ = writeln!(
                out,
                "| {} | {} | {} | {} | {} | `{}` | {} | {rows} |",
                set.service,
                set.taken_at,
                cell(&set.location),
                cell(&file.path),
                file.bytes,
                file.sha256,
                set.tables.len()
            );
        }
    }
    out.push_str("\nSchema fingerprints:\n\n");
    for set in &evidence.snapshots {
        let _ = writeln!(
            out,
            "- {}: shape `{}`, checks `{}`, text `{}`",
            set.service, set.schema.shape, set.schema.checks, set.schema.text
        );
    }
    let digest = |value: &Option<String>| value.clone().unwrap_or_else(|| "not measured".to_owned());
    let _ = writeln!(
        out,
        "\nContent digests: source `{}`, snapshot `{}`, restored `{}`, clean `{}`.\n",
        digest(&evidence.polarity.source_digest),
        digest(&evidence.polarity.snapshot_digest),
        digest(&evidence.polarity.restored_digest),
        digest(&evidence.polarity.clean_digest)
    );
}

fn commands(out: &mut String, evidence: &Evidence) {
    out.push_str("## Validation commands\n\n```text\n");
    for command in &evidence.commands {
        let _ = writeln!(out, "{}", command.replace("```", "'''"));
    }
    out.push_str("```\n\n");
}

fn versions(out: &mut String, evidence: &Evidence) {
    out.push_str("## Versions\n\n| component | version | SQLite | command |\n|---|---|---|---|\n");
    for component in &evidence.components {
        let or_dash = |value: &Option<String>| value.as_deref().map_or("–".to_owned(), cell);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} |",
            cell(&component.name),
            or_dash(&component.version),
            or_dash(&component.sqlite_version),
            or_dash(&component.command)
        );
    }
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}

fn milliseconds(ms: u64) -> String {
    if ms < 10_000 {
        format!("{ms} ms")
    } else {
        format!("{}.{} s", ms / 1_000, ms % 1_000 / 100)
    }
}

/// Text from outside inside a table cell: one line, no markup, no HTML.
pub(crate) fn cell(value: &str) -> String {
    text(value).replace('|', "\\|")
}

/// Text from outside in running text: control characters and markup lose their meaning.
pub(crate) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '`' | '*' | '_' | '[' | ']' | '#' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if is_unseen(c) => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// What moves a cursor, or turns the order of what follows, and is not seen itself.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Text from outside between backticks.
pub(crate) fn code(value: &str) -> String {
    value
        .chars()
        .map(|c| if c == '`' || is_unseen(c) { ' ' } else { c })
        .collect()
}
