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
    /// How long a recovery may take; `None` without a limit.
    pub limit_ms: Option<u64>,
}

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
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn measured(first_true_ms: Option<u64>, limit_ms: Option<u64>) -> Judgement {
        judge(&Measured {
            last_failed_ms: Some(400),
            first_true_ms,
            limit_ms,
        })
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
