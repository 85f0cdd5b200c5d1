//! A deliberate call and how it ended: the facts of checks that try things out.

use crate::client::http::{ClientError, Reply};
use crate::evidence::{Finding, Judgement, short};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call: what it had to show and what it showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was tried: `session issued before the backup`.
    pub subject: String,
    /// Method and path.
    pub place: String,
    /// What had to come of it, in a few words.
    pub expected: String,
    /// What came of it, in the same words where it went well.
    pub observed: String,
}

impl Attempt {
    pub(crate) fn new(subject: impl Into<String>, place: &str, expected: &str, observed: impl Into<String>) -> Attempt {
        Attempt {
            subject: subject.into(),
            place: place.to_owned(),
            expected: expected.to_owned(),
            observed: observed.into(),
        }
    }

    /// Whether it went as it had to.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.expected == self.observed
    }
}

/// Status and error code of an answer, or why there was none.
pub(crate) fn ending(answer: &Result<Reply, ClientError>) -> String {
    match answer {
        Ok(reply) => match reply.error_code() {
            Some(code) => format!("{} {}", reply.status, short(code)),
            None => reply.status.to_string(),
        },
        Err(error) => format!("no answer: {}", short(&error.to_string())),
    }
}

/// The ending of an answer with this status; named otherwise where a member (a JSON pointer) is not what it has to be.
pub(crate) fn echoing(answer: &Result<Reply, ClientError>, status: u16, members: &[(&str, Value)]) -> String {
    let ended = ending(answer);
    match answer {
        Ok(reply) if reply.status == status => members
            .iter()
            .find(|(pointer, value)| reply.body.pointer(pointer) != Some(value))
            .map_or(ended, |(pointer, _)| {
                format!("{status}, another {}", pointer.trim_start_matches('/'))
            }),
        _ => ended,
    }
}

/// Each attempt that does not hold is a finding.
pub(crate) fn judged(attempts: &[Attempt], noun: &str) -> Judgement {
    let held = attempts.iter().filter(|attempt| attempt.holds()).count();
    let finding = |attempt: &Attempt| {
        Finding::new(
            &attempt.subject,
            &attempt.expected,
            short(&attempt.observed),
            &attempt.place,
        )
    };
    Judgement {
        items: attempts.len() as u64,
        expected: format!("{} {noun}", attempts.len()),
        observed: format!("{held} {noun}"),
        findings: attempts
            .iter()
            .filter(|attempt| !attempt.holds())
            .map(finding)
            .collect(),
        notes: Vec::new(),
    }
}
