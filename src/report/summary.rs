//! What a terminal shows after a run: verdict, first causes, where the report lies.

use crate::evidence::{Evidence, Verdict, one_line, plain};
use std::fmt::Write as _;

/// How many findings of one check are printed.
const PRINTED_FINDINGS: usize = 20;

/// The closing lines of a run, without colours.
#[must_use]
pub fn render(evidence: &Evidence) -> String {
    let mut out = String::new();
    for check in evidence.checks.iter().filter(|check| check.verdict != Verdict::Pass) {
        let service = check.service.map_or(String::new(), |service| format!(" ({service})"));
        let _ = writeln!(
            out,
            "{} {}{service}: expected {}; observed {}",
            check.verdict,
            check.id,
            one_line(&check.expected),
            one_line(&check.observed)
        );
        for finding in check.findings.iter().take(PRINTED_FINDINGS) {
            let _ = writeln!(
                out,
                "  {}: expected {}, observed {} [{}]",
                one_line(&finding.subject),
                one_line(&finding.expected),
                one_line(&finding.observed),
                one_line(&finding.place)
            );
        }
        if check.findings_total > PRINTED_FINDINGS as u64 {
            let _ = writeln!(out, "  … {} findings in all, see the evidence", check.findings_total);
        }
    }
    for reason in &evidence.reasons {
        let _ = writeln!(out, "{}", plain(reason));
    }
    let passed = evidence
        .checks
        .iter()
        .filter(|check| check.verdict == Verdict::Pass)
        .count();
    let _ = writeln!(
        out,
        "verdict: {} — {passed} of {} checks pass, {} not asked, {} ms, seed {}",
        evidence.verdict,
        evidence.checks.len(),
        evidence.not_asked.len(),
        evidence.run.duration_ms,
        evidence.run.seed
    );
    out
}
