//! Are beta requests back with stage, owner, notes and proof nonce?
//!
//! Looks at every list, the detail of each request with its activity, and its proof pack; never compares what moves with the clock (ages, attention flags). One difference
//! is predicted: the start sets a missing contact date of a contacted, scheduled or active request to its `updated_at`.
//! Source: Beam 1.6.0, contract sections 2.3 and 5.1.

use crate::checks::agent_rows;
use crate::checks::expectation::{Derived, Expected, Fields, Objects};
use crate::checks::observing::{ObserveError, array, integer, member, parsed, side_by_side};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// This check.
pub const ID: CheckId = CheckId::Requests;

const PLACE: &str = "GET /admin/beta-requests";
const PRIVATE: &[&str] = &["email", "company", "operatorNotes", "workflowSummary", "activity"];

const DETAIL: &str = "GET /admin/beta-requests/{id}";
const LIST: &str = "list of requests";

/// How many requests the directory gives at most.
const LIMIT: usize = 5_000;
/// Of how many requests the detail is read.
const DETAILS: usize = 500;

/// What depends on the time of the look: ages, what follows from them, and texts that hold such figures.
pub(crate) const MOVING: &[&str] = &[
    "stageAgeHours",
    "generatedAt",
    "markdown",
    "proof.summary",
    "pack.body.proof.summary",
];
const DERIVED: Derived<'_> = Derived {
    // Hours after a change, or at a date, these turn by themselves.
    windowed: &[
        "trustScore",
        "stageAgeLabel",
        "stale",
        "staleReason",
        "followUpDue",
        "followUpReason",
        "attentionFlags",
        "needsAttention",
        "activity",
    ],
    from_intents: &["proof", "pack"],
};
const STAGES: [&str; 6] = ["new", "reviewing", "contacted", "scheduled", "active", "closed"];

/// Member of the answer and column of the row.
const FIELDS: [(&str, &str); 19] = [
    ("email", "email"),
    ("company", "company"),
    ("stage", "status"),
    ("requestStatus", "status"),
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

/// Reads all requests (5,000 at most, as many as the directory gives), the detail of each (of the first 500), the public
/// lists, and the proof packs. A proof pack leaves an entry in the audit log.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let directory = &access.directory;
    let answer = directory.get("/admin/beta-requests?limit=5000").await?.body;
    let mut objects = Objects::default();
    let requests = array(&answer, "requests", PLACE)?;
    for request in requests {
        let subject = subject(request, PLACE)?;
        for (name, _) in FIELDS {
            member(request, name, PLACE)?;
        }
        objects.whole(&subject, "", request, MOVING);
    }
    objects.set(LIST, "total", member(&answer, "total", PLACE)?.clone());
    objects.whole(LIST, "summary", member(&answer, "summary", PLACE)?, &[]);
    let (waitlist, admin) = tokio::join!(directory.get("/waitlist"), directory.get("/admin/waitlist"));
    let (waitlist, admin) = (waitlist?.body, admin?.body);
    for copy in ["waitlist", "signups", "requests"] {
        let requests = array(&waitlist, copy, "GET /waitlist")?;
        objects.also(LIST, "on the waitlist", requests.len());
        for request in requests {
            objects.whole(&subject(request, "GET /waitlist")?, "", request, MOVING);
        }
    }
    objects.also(LIST, "total", member(&waitlist, "total", "GET /waitlist")?.clone());
    objects.whole(LIST, "summary", member(&waitlist, "summary", "GET /waitlist")?, &[]);
    objects.whole(LIST, "admin", &admin, &[]);
    let looks = requests.iter().take(DETAILS).map(|request| detail(access, request));
    for (subject, detail, pack) in side_by_side(looks).await? {
        let request = member(&detail, "request", DETAIL)?;
        objects.whole(&subject, "", request, MOVING);
        objects.whole(&subject, "activity", member(&detail, "activity", DETAIL)?, MOVING);
        objects.whole(&subject, "proof", member(&detail, "proofSummary", DETAIL)?, MOVING);
        objects.whole(&subject, "pack", &pack, MOVING);
    }
    Ok(objects)
}

fn subject(request: &Value, place: &str) -> Result<String, ObserveError> {
    Ok(format!("request {}", integer(request, "id", place)?))
}

async fn detail(access: &Access, request: &Value) -> Result<(String, Value, Value), ObserveError> {
    let id = integer(request, "id", PLACE)?;
    let detail = access.directory.beta_request(id).await?.value;
    // Without a proof nonce there is no pack to ask for.
    let pack = if request.get("proofIntentNonce").is_some_and(|nonce| !nonce.is_null()) {
        let path = format!("/admin/beta-requests/{id}/proof-pack?format=json");
        let reply = access.directory.call(Method::GET, &path, None).await?;
        json!({"status": reply.status, "body": reply.body})
    } else {
        Value::Null
    };
    Ok((subject(request, PLACE)?, detail, pack))
}

/// The same from the rows. Without a next action of its own a request shows a sentence of its stage, which no row tells.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let rows = databases.directory.rows("SELECT * FROM waitlist", &[])?;
    let mut counts: BTreeMap<&str, u64> = STAGES.iter().map(|stage| (*stage, 0)).collect();
    for row in &rows {
        let id = row.integer("id").unwrap_or_default();
        let subject = format!("request {id}");
        objects.set(&subject, "id", id);
        for (name, column) in FIELDS {
            let value = match name {
                "blockedPrerequisites" => row.text(column).map_or_else(|| json!([]), |text| parsed(Some(text))),
                _ => row.cell(column).json(),
            };
            if name != "nextAction" || !value.is_null() {
                objects.set(&subject, name, value);
            }
        }
        if let Some(count) = row.text("status").and_then(|status| counts.get_mut(status)) {
            *count += 1;
        }
    }
    objects.set(LIST, "total", rows.len());
    objects.set(LIST, "summary.total", rows.len());
    for (stage, count) in counts {
        objects.set(LIST, format!("summary.byStatus.{stage}"), count);
    }
    objects.set_under_way(agent_rows::under_way(&databases.directory)?);
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
    let (baseline, rows) = expected.lasting(&DERIVED);
    let (ledger, baseline, rows) = (
        expected.ledger.map(started),
        baseline.as_ref().map(started),
        rows.as_ref().map(started),
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
