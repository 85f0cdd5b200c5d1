//! What a terminal shows of a verification.

use crate::evidence::{Verdict, short};
use crate::verify::Verification;
use std::fmt::Write as _;

/// How many findings are printed; `--json` has all.
const PRINTED_FINDINGS: usize = 20;

/// The closing lines, without colours.
#[must_use]
pub fn lines(verified: &Verification) -> String {
    let mut out = String::new();
    for finding in verified.findings.iter().take(PRINTED_FINDINGS) {
        let _ = writeln!(
            out,
            "altered: {}: expected {}, observed {} [{}]",
            finding.subject, finding.expected, finding.observed, finding.place
        );
    }
    if let Some(more) = verified.findings.len().checked_sub(PRINTED_FINDINGS + 1) {
        let _ = writeln!(out, "… {} more, see --json", more + 1);
    }
    for item in &verified.items {
        if item.verdict == Verdict::Fail {
            let _ = writeln!(out, "fail {}: {}", item.id, item.id.question());
        }
        for problem in &item.problems {
            let _ = writeln!(out, "inconclusive {}: {problem}", item.id);
        }
        for note in &item.notes {
            let _ = writeln!(out, "note {}: {note}", item.id);
        }
    }
    for question in &verified.not_asked {
        let _ = writeln!(out, "not asked {}: {}", question.id, question.reason);
    }
    let says = verified
        .evidence_verdict
        .map_or("the run left no evidence".to_owned(), |verdict| {
            format!("the evidence says {verdict}")
        });
    let compared: u64 = verified.items.iter().map(|item| item.compared).sum();
    let _ = writeln!(
        out,
        "verified: {} — run {}, {} of {}; {} questions, {compared} compared, {} findings; {says}",
        verified.verdict,
        short(&verified.run_id),
        short(&verified.drill),
        short(&verified.environment),
        verified.items.len(),
        verified.findings.len(),
    );
    out
}
