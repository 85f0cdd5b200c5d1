//! What GitHub reads of a workflow's step: annotations, outputs, and the same evidence as a job summary. Pure text.

use crate::evidence::{CheckRecord, Evidence, Finding, Level, ParityEvidence, SHOWN_ANNOTATIONS, Verdict, annotation};
use crate::report::markdown::{cell, code, text};
use std::fmt::Write as _;

/// How many rows of one table a summary has.
const SHOWN_ROWS: usize = 50;

/// A line for `GITHUB_OUTPUT`; a value of several lines would need another form, so line ends become spaces.
#[must_use]
pub fn output(name: &str, value: &str) -> String {
    format!("{name}={}\n", value.replace(['\r', '\n'], " "))
}

/// Keeps what GitHub shows of each level, and says how many there are besides.
#[must_use]
pub fn shown(all: Vec<String>) -> Vec<String> {
    let mut kept = Vec::new();
    for level in [Level::Error, Level::Warning, Level::Notice] {
        let start = format!("::{} ", level.word());
        let mut own: Vec<String> = all.iter().filter(|line| line.starts_with(&start)).cloned().collect();
        if own.len() > SHOWN_ANNOTATIONS {
            let more = own.len() - (SHOWN_ANNOTATIONS - 1);
            own.truncate(SHOWN_ANNOTATIONS - 1);
            let message = format!("{more} more; see the job summary and the report");
            own.push(annotation(level, None, "and more", &message));
        }
        kept.append(&mut own);
    }
    kept
}

/// The annotations of a drill: one for each check that does not pass, and one for each reason besides.
#[must_use]
pub fn annotations(evidence: &Evidence) -> Vec<String> {
    let mut all: Vec<String> = evidence
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Pass)
        .map(of_check)
        .collect();
    if all.is_empty() && evidence.verdict != Verdict::Pass {
        let title = format!("{} drill: {}", evidence.run.drill, evidence.verdict);
        let reasons = evidence.reasons.iter();
        all.extend(reasons.map(|reason| annotation(level(evidence.verdict), None, &title, reason)));
    }
    shown(all)
}

fn level(verdict: Verdict) -> Level {
    if verdict == Verdict::Fail {
        Level::Error
    } else {
        Level::Warning
    }
}

fn of_check(check: &CheckRecord) -> String {
    let title = format!("{} {}", check.id, check.verdict);
    let message = match check.findings.first() {
        Some(first) => {
            let more = check.findings_total.saturating_sub(1);
            let more = if more == 0 {
                String::new()
            } else {
                format!(" (and {more} more)")
            };
            format!(
                "{}: expected {}, observed {} [{}]{more}",
                first.subject, first.expected, first.observed, first.place
            )
        }
        None => format!("expected {}, observed {}", check.expected, check.observed),
    };
    annotation(level(check.verdict), None, &title, &message)
}

/// The annotations of a comparison: one for each drift, at its file and line where it is seen in one. `in_repository` gives
/// the path that GitHub knows of an environment's file.
#[must_use]
pub fn drift_annotations(evidence: &ParityEvidence, in_repository: impl Fn(&str, &str) -> String) -> Vec<String> {
    let mut all = Vec::new();
    for drift in &evidence.drifts {
        let title = format!("drift of {} in {}", drift.aspect, drift.environments.join(", "));
        let message = format!(
            "{}: expected {}, observed {} [{}]",
            drift.subject, drift.expected, drift.observed, drift.place
        );
        let environment = drift.environments.last().map_or("", String::as_str);
        let at = file_and_line(&drift.place).map(|(file, line)| (in_repository(environment, file), line));
        let at = at.as_ref().map(|(file, line)| (file.as_str(), *line));
        all.push(annotation(Level::Error, at, &title, &message));
    }
    if all.is_empty() && evidence.verdict != Verdict::Pass {
        let title = format!("{}: {}", evidence.run.drill, evidence.verdict);
        let reasons = evidence.reasons.iter();
        all.extend(reasons.map(|reason| annotation(level(evidence.verdict), None, &title, reason)));
    }
    shown(all)
}

/// `sites/a.html:12`, but no address of a server.
fn file_and_line(place: &str) -> Option<(&str, u64)> {
    if place.contains("://") || place.contains(' ') {
        return None;
    }
    let (file, line) = place.split_once(':')?;
    let digits = line.split(':').next()?;
    Some((file, digits.parse().ok()?))
}

/// The job summary of a drill.
#[must_use]
pub fn summary(evidence: &Evidence) -> String {
    let mut out = String::new();
    let run = &evidence.run;
    let _ = writeln!(
        out,
        "## Drill {} on {}: {}\n",
        text(&run.drill),
        text(&run.environment),
        evidence.verdict.word().to_uppercase()
    );
    for reason in &evidence.reasons {
        let _ = writeln!(out, "- {}", text(reason));
    }
    let passed = evidence.checks.iter().filter(|check| check.verdict == Verdict::Pass);
    let _ = writeln!(
        out,
        "\n{} of {} checks pass, {} not asked. Run `{}`, seed {}, {} ms.",
        passed.count(),
        evidence.checks.len(),
        evidence.not_asked.len(),
        code(&run.id),
        run.seed,
        run.duration_ms
    );
    let objectives = &evidence.objectives;
    if let Some(rto) = objectives.rto_ms {
        let lost = objectives.lost_writes.map_or("–".to_owned(), |lost| lost.to_string());
        let _ = writeln!(out, "RTO {rto} ms, {lost} acknowledged writes lost.");
    }
    let detection = &evidence.detection;
    if let (Some(injected), Some(detected)) = (detection.injected, detection.detected) {
        let _ = writeln!(
            out,
            "Detection power on this snapshot: {detected} of {injected} faults detected, {} false alarms in {} clean copies.",
            detection.false_alarms.unwrap_or_default(),
            detection.clean_runs.unwrap_or_default()
        );
    }
    let findings: Vec<(String, &Finding)> = evidence
        .checks
        .iter()
        .flat_map(|check| {
            check
                .findings
                .iter()
                .map(move |finding| (check.id.to_string(), finding))
        })
        .collect();
    rows(&mut out, "check", &findings);
    out
}

/// The job summary of a comparison.
#[must_use]
pub fn parity_summary(evidence: &ParityEvidence) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "## {} of {}: {}\n",
        text(&evidence.run.drill),
        text(&evidence.run.environment),
        evidence.verdict.word().to_uppercase()
    );
    for reason in evidence.reasons.iter().take(SHOWN_ROWS) {
        let _ = writeln!(out, "- {}", text(reason));
    }
    let findings: Vec<Finding> = evidence
        .drifts
        .iter()
        .map(|drift| Finding::new(&drift.subject, &drift.expected, &drift.observed, &drift.place))
        .collect();
    let rows_of: Vec<(String, &Finding)> = evidence
        .drifts
        .iter()
        .zip(&findings)
        .map(|(drift, finding)| (format!("{} {}", drift.aspect, drift.environments.join(", ")), finding))
        .collect();
    rows(&mut out, "aspect", &rows_of);
    out
}

fn rows(out: &mut String, first: &str, findings: &[(String, &Finding)]) {
    if findings.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n| {first} | subject | expected | observed | where |\n|---|---|---|---|---|"
    );
    for (name, finding) in findings.iter().take(SHOWN_ROWS) {
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} |",
            cell(name),
            cell(&finding.subject),
            cell(&finding.expected),
            cell(&finding.observed),
            cell(&finding.place)
        );
    }
    if findings.len() > SHOWN_ROWS {
        let _ = writeln!(out, "\n… {} in all, see the report.", findings.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_one_line() {
        assert_eq!(output("why", "a\nb=c"), "why=a b=c\n");
    }

    #[test]
    fn more_than_github_shows_is_said() {
        let of = |level| (0..12).map(move |index| annotation(level, None, "t", &index.to_string()));
        let shown = shown(of(Level::Warning).chain(of(Level::Error)).collect());
        assert_eq!(shown.len(), 2 * SHOWN_ANNOTATIONS);
        assert!(
            shown[9].starts_with("::error") && shown[9].contains("3 more"),
            "{}",
            shown[9]
        );
        assert!(
            shown[19].starts_with("::warning") && shown[19].contains("3 more"),
            "{}",
            shown[19]
        );
    }

    #[test]
    fn a_place_is_a_file_and_a_line_or_none() {
        assert_eq!(file_and_line("sites/a.html:12"), Some(("sites/a.html", 12)));
        assert_eq!(file_and_line("sites/a.js:12:7"), Some(("sites/a.js", 12)));
        assert_eq!(file_and_line("GET http://127.0.0.1:80/release"), None);
        assert_eq!(file_and_line("http://127.0.0.1:80"), None);
    }
}
