//! Are beta requests back with stage, owner, notes and proof nonce?
//!
//! Looks at `GET /admin/beta-requests`; never compares what moves with the clock (ages, attention flags). One difference
//! is predicted: the start sets a missing contact date of a contacted, scheduled or active request to its `updated_at`.
//! Source: Beam 1.6.0, contract sections 2.3 and 5.1.

use crate::checks::expectation::{Expected, Fields, Objects};
use crate::checks::observing::{ObserveError, integer, member, parsed};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::{Value, json};

/// This check.
pub const ID: CheckId = CheckId::Requests;

const PLACE: &str = "GET /admin/beta-requests";
const PRIVATE: &[&str] = &["email", "company", "operatorNotes", "workflowSummary"];

/// How many requests the directory gives at most.
const LIMIT: usize = 5_000;

/// Member of the answer and column of the row.
const FIELDS: [(&str, &str); 18] = [
    ("email", "email"),
    ("company", "company"),
    ("stage", "status"),
    ("owner", "owner"),
    ("operatorNotes", "operator_notes"),
    ("nextAction", "next_action"),
    ("lastContactAt", "last_contact_at"),
    ("nextMeetingAt", "next_meeting_at"),
    ("reminderAt", "reminder_at"),
    ("proofIntentNonce", "proof_intent_nonce"),
    ("workflowType", "workflow_type"),
    ("workflowSummary", "workflow_summary"),
    ("source", "source"),
    ("agentCount", "agent_count"),
    ("blockedPrerequisites", "blocked_prerequisites"),
    ("createdAt", "created_at"),
    ("updatedAt", "updated_at"),
    ("stageEnteredAt", "stage_entered_at"),
];

/// Stages in which a request without a contact date gets one at the next start.
const STAGES_WITH_CONTACT: [&str; 3] = ["contacted", "scheduled", "active"];

/// Reads all requests (5,000 at most, as many as the directory gives).
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let mut objects = Objects::default();
    for request in &access.directory.requests().await?.value {
        let subject = format!("request {}", integer(request, "id", PLACE)?);
        for (name, _) in FIELDS {
            objects.set(&subject, name, member(request, name, PLACE)?.clone());
        }
    }
    Ok(objects)
}

/// The same from the rows. Without a next action of its own a request shows a sentence of its stage, which no row tells.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    for row in databases.directory.rows("SELECT * FROM waitlist", &[])? {
        let subject = format!("request {}", row.integer("id").unwrap_or_default());
        for (name, column) in FIELDS {
            let value = match name {
                "blockedPrerequisites" => row.text(column).map_or_else(|| json!([]), |text| parsed(Some(text))),
                _ => row.cell(column).json(),
            };
            if name != "nextAction" || !value.is_null() {
                objects.set(&subject, name, value);
            }
        }
    }
    Ok(objects)
}

/// Holds every request against ledger, baseline and rows, each as the start leaves it.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let updated = |subject: &String| {
        [expected.baseline, expected.rows]
            .into_iter()
            .flatten()
            .find_map(|origin| origin.0.get(subject)?.get("updatedAt").cloned())
    };
    let started = |origin: &Objects| {
        let fields = |(subject, fields): (&String, &Fields)| (subject.clone(), as_started(fields, updated(subject)));
        Objects(origin.within(observed, LIMIT).0.iter().map(fields).collect())
    };
    let (ledger, baseline, rows) = (
        expected.ledger.map(started),
        expected.baseline.map(started),
        expected.rows.map(started),
    );
    let mut judged = Expected {
        ledger: ledger.as_ref(),
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(observed, "beta requests", PLACE, PRIVATE);
    if observed.len() >= LIMIT {
        judged
            .notes
            .push(format!("looked at {LIMIT} requests, more are not given"));
    }
    judged
}

/// What a request shows after a start.
fn as_started(fields: &Fields, updated_at: Option<Value>) -> Fields {
    let mut fields = fields.clone();
    let stage = fields.get("stage").and_then(Value::as_str).unwrap_or_default();
    let undated = fields.get("lastContactAt").is_some_and(Value::is_null);
    if undated && STAGES_WITH_CONTACT.contains(&stage) {
        let predicted = fields.get("updatedAt").cloned().or(updated_at);
        match predicted {
            Some(predicted) => fields.insert("lastContactAt".to_owned(), predicted),
            None => fields.remove("lastContactAt"),
        };
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn request(fields: &[(&str, Value)]) -> Objects {
        let mut objects = Objects::default();
        for (name, value) in fields {
            objects.set("request 1", *name, value.clone());
        }
        objects
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            baseline: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn the_same_requests_pass() {
        let requests = request(&[("stage", json!("new"))]);
        assert_eq!(judged(&requests, &requests).verdict(), Verdict::Pass);
    }

    #[test]
    fn another_proof_nonce_is_a_finding() {
        let judged = judged(
            &request(&[("proofIntentNonce", json!("n-1"))]),
            &request(&[("proofIntentNonce", json!("n-2"))]),
        );
        assert_eq!(judged.findings[0].subject, "request 1 proofIntentNonce");
    }

    #[test]
    fn lost_notes_are_a_finding_that_does_not_show_them() {
        let judged = judged(
            &request(&[("operatorNotes", json!("call Ann"))]),
            &request(&[("operatorNotes", Value::Null)]),
        );
        assert_eq!(judged.verdict(), Verdict::Fail);
        assert!(!judged.findings[0].expected.contains("Ann"));
    }

    #[test]
    fn a_second_request_of_an_e_mail_is_a_finding() {
        let one = request(&[("email", json!("a@x"))]);
        let mut two = one.clone();
        two.set("request 2", "email", "a@x");
        assert_eq!(judged(&one, &two).findings[0].subject, "request 2");
    }

    #[test]
    fn a_contact_date_appears_where_the_start_sets_one() {
        let was = request(&[
            ("stage", json!("active")),
            ("lastContactAt", Value::Null),
            ("updatedAt", json!("t")),
        ]);
        let is = request(&[
            ("stage", json!("active")),
            ("lastContactAt", json!("t")),
            ("updatedAt", json!("t")),
        ]);
        assert_eq!(judged(&was, &is).verdict(), Verdict::Pass);
        assert_eq!(
            judged(&was, &was).verdict(),
            Verdict::Fail,
            "a prediction that does not come true"
        );
    }

    #[test]
    fn a_new_request_keeps_its_missing_contact_date() {
        let was = request(&[("stage", json!("new")), ("lastContactAt", Value::Null)]);
        let is = request(&[("stage", json!("new")), ("lastContactAt", json!("t"))]);
        assert_eq!(judged(&was, &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn no_request_at_all_is_inconclusive() {
        let none = Objects::default();
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }
}
