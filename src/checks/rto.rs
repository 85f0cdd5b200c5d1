//! Was the first true answer given within the recovery time limit?
//!
//! From the first stop request to the first true answer of the restored pair about seeded data, by reads that write
//! nothing; not to an open port, not to `/health`. Times are monotonic, so that a stepped clock cannot shorten them.

use crate::checks::observing::ObserveError;
use crate::client::Access;
use crate::evidence::{CheckId, Finding, Judgement};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// This check.
pub const ID: CheckId = CheckId::Rto;

/// What was measured, in milliseconds on a monotonic clock from the first stop request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// The last look that did not yet give a true answer; `None` when the first look did.
    pub last_failed_ms: Option<u64>,
    /// The first true answer; `None` when none came.
    pub first_true_ms: Option<u64>,
    /// What both clocks say of the time from the first stop request to now; `None` where only one was read.
    pub clocks: Option<Clocks>,
    /// How long a recovery may take; `None` without a limit.
    pub limit_ms: Option<u64>,
}

/// The same time on two clocks, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// By the clock that people read; below zero when it was set back.
    pub wall_ms: i64,
    /// By the clock that only runs forward.
    pub monotonic_ms: u64,
}

/// By how much the two clocks may differ: a slewed clock gains or loses less than this in any drill.
const CLOCKS_MAY_DIFFER_MS: u64 = 2_000;

/// One agent and one message that the restored pair has to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landmark {
    /// An agent with at least one access list entry.
    pub beam_id: String,
    /// The nonce of a message that is among the newest 500.
    pub nonce: String,
}

/// One look for the landmark: true when the directory shows the access list and the bus the message.
///
/// # Errors
/// A call that fails: not recovered yet.
pub async fn look(access: &Access, landmark: &Landmark) -> Result<bool, ObserveError> {
    let directory = access.directory.anonymous();
    let (entries, messages) = tokio::join!(directory.acl(&landmark.beam_id), access.bus.history(500));
    let nonce = Value::from(landmark.nonce.as_str());
    let carried = |message: &Value| message.get("nonce") == Some(&nonce);
    Ok(!entries?.value.is_empty() && messages?.value.iter().any(carried))
}

/// Holds the first true answer against the limit.
#[must_use]
pub fn judge(measured: &Measured) -> Judgement {
    let limit = measured.limit_ms.map_or_else(
        || "a true answer".to_owned(),
        |limit| format!("a true answer within {limit} ms"),
    );
    let mut judged = Judgement {
        items: 1,
        expected: limit.clone(),
        ..Judgement::default()
    };
    let place = "GET /acl/{beamId} and GET /v1/beam/history";
    judged.observed = match (measured.first_true_ms, measured.last_failed_ms) {
        (Some(first), Some(failed)) => format!("between {failed} and {first} ms"),
        (Some(first), None) => format!("at the first look, {first} ms"),
        (None, _) => "no true answer".to_owned(),
    };
    let late = match (measured.first_true_ms, measured.limit_ms) {
        (None, _) => true,
        (Some(first), Some(limit)) => first > limit,
        (Some(_), None) => false,
    };
    if late {
        judged
            .findings
            .push(Finding::new("recovery time", limit, &judged.observed, place));
    }
    if let Some(clocks) = &measured.clocks {
        judge_clocks(clocks, &mut judged);
    }
    judged
}

/// The recovery time itself is monotonic, but every other time of the drill was read from the wall clock.
fn judge_clocks(clocks: &Clocks, judged: &mut Judgement) {
    let monotonic = i64::try_from(clocks.monotonic_ms).unwrap_or(i64::MAX);
    if clocks.wall_ms.abs_diff(monotonic) <= CLOCKS_MAY_DIFFER_MS {
        return;
    }
    judged.findings.push(Finding::new(
        "clocks during the recovery",
        format!("the wall clock goes on by {monotonic} ms, give or take {CLOCKS_MAY_DIFFER_MS}"),
        format!(
            "it went on by {} ms: it was set, and the times of this drill cannot be certified",
            clocks.wall_ms
        ),
        "the harness's clock",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn measured(first_true_ms: Option<u64>, limit_ms: Option<u64>) -> Judgement {
        judge(&Measured {
            last_failed_ms: Some(400),
            first_true_ms,
            clocks: None,
            limit_ms,
        })
    }

    fn with_wall(wall_ms: i64) -> Judgement {
        judge(&Measured {
            last_failed_ms: None,
            first_true_ms: Some(420),
            clocks: Some(Clocks {
                wall_ms,
                monotonic_ms: 420,
            }),
            limit_ms: Some(1_000),
        })
    }

    #[test]
    fn a_wall_clock_that_was_set_is_a_finding_although_the_recovery_was_quick() {
        for wall_ms in [420 - 3_600_000, 420 + 2_001] {
            let judged = with_wall(wall_ms);
            assert_eq!(judged.verdict(), Verdict::Fail);
            assert_eq!(judged.findings[0].subject, "clocks during the recovery");
        }
    }

    #[test]
    fn clocks_that_differ_a_little_agree() {
        for wall_ms in [420, 420 - 2_000, 420 + 2_000] {
            assert_eq!(with_wall(wall_ms).verdict(), Verdict::Pass);
        }
    }

    #[test]
    fn an_answer_within_the_limit_passes_and_is_shown_as_a_bracket() {
        let judged = measured(Some(420), Some(1_000));
        assert_eq!(
            (judged.verdict(), judged.observed.as_str()),
            (Verdict::Pass, "between 400 and 420 ms")
        );
    }

    #[test]
    fn an_answer_after_the_limit_is_a_finding() {
        assert_eq!(measured(Some(1_001), Some(1_000)).verdict(), Verdict::Fail);
    }

    #[test]
    fn no_answer_is_a_finding_with_or_without_a_limit() {
        assert_eq!(measured(None, None).verdict(), Verdict::Fail);
    }

    #[test]
    fn without_a_limit_any_true_answer_passes() {
        assert_eq!(measured(Some(9_999), None).verdict(), Verdict::Pass);
    }
}
