//! Do both services start on the restored files?
//!
//! Judges what the runtime saw; starts nothing itself. A directory exits at every start when an intent under way has no
//! trace, though integrity and foreign keys are clean (contract, surprise 36).

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement, short};
use serde::{Deserialize, Serialize};

/// This check.
pub const ID: CheckId = CheckId::Startable;

/// How one service's start on the restored files ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    /// Which service.
    pub service: Service,
    /// Milliseconds from its start to its first answer; `None` when it never answered.
    pub ready_ms: Option<u64>,
    /// Its exit code when it ended instead; `None` when it lives or a signal ended it.
    pub exit_code: Option<i32>,
    /// Why it did not come up, as the runtime says it.
    pub cause: Option<String>,
    /// The end of its log, redacted.
    pub last_lines: String,
    /// How often it was started, each time on freshly restored files.
    pub attempts: u32,
}

/// Every service has to have come up.
#[must_use]
pub fn judge(starts: &[Start]) -> Judgement {
    let mut judged = Judgement {
        items: starts.len() as u64,
        expected: "both services answer".to_owned(),
        ..Judgement::default()
    };
    let mut seen = Vec::new();
    for start in starts {
        if let Some(ready_ms) = start.ready_ms {
            seen.push(format!("{} after {ready_ms} ms", start.service));
            if start.attempts > 1 {
                judged
                    .notes
                    .push(format!("the {} needed {} starts", start.service, start.attempts));
            }
            continue;
        }
        let ended = match (start.exit_code, &start.cause) {
            (Some(code), _) => format!("exit code {code}"),
            (None, Some(cause)) => short(cause),
            (None, None) => "no answer".to_owned(),
        };
        seen.push(format!("{}: {ended}", start.service));
        let last = start.last_lines.lines().rfind(|line| !line.trim().is_empty());
        let last = last.map_or_else(|| "its log is empty".to_owned(), short);
        judged.findings.push(Finding::new(
            format!("start of the {}", start.service),
            "an answer",
            format!("{ended}; {last}"),
            format!("process of the {}, {} starts", start.service, start.attempts),
        ));
    }
    judged.observed = seen.join(", ");
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn start(ready_ms: Option<u64>, exit_code: Option<i32>) -> Start {
        Start {
            service: Service::Directory,
            ready_ms,
            exit_code,
            cause: None,
            last_lines: "starting\nError: illegal transition\n\n".to_owned(),
            attempts: 1,
        }
    }

    #[test]
    fn a_service_that_answers_passes() {
        assert_eq!(judge(&[start(Some(12), None)]).verdict(), Verdict::Pass);
    }

    #[test]
    fn an_exit_is_a_finding_with_the_last_line_of_the_log() {
        let judged = judge(&[start(None, Some(1))]);
        assert_eq!(judged.findings[0].observed, "exit code 1; Error: illegal transition");
    }

    #[test]
    fn no_start_at_all_is_inconclusive() {
        assert_eq!(judge(&[]).verdict(), Verdict::Inconclusive);
    }
}
