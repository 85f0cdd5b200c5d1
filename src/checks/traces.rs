//! Do intent traces replay, recorded stage by recorded stage?
//!
//! Looks at the intent list and at each trace. A directory that lost its trace rows invents stages with the ids 0 and −1:
//! only ids above 0 count as recorded. Intents under way when the snapshot was taken are left to `in-flight`; their start-up
//! ending is predicted there. Source: Beam 1.6.0, contract sections 2.7, 2.8 and 2.10.

use crate::checks::expectation::{Expected, Fields, Objects};
use crate::checks::observing::{ObserveError, array, integer, member, normal, side_by_side, text};
use crate::checks::recent_intents;
use crate::checks::stages;
use crate::checks::trace_audit;
use crate::client::Access;
use crate::client::http::segment;
use crate::evidence::{CheckId, Finding, Judgement};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// This check.
pub const ID: CheckId = CheckId::Traces;

/// How many traces are read at most; of more intents a sample that depends on the nonces alone.
pub const SAMPLE: usize = 2_000;
/// How many intents a list gives at once.
const LISTED: usize = 500;

/// Subject of the number of all intents; more may exist than the lists give.
pub(crate) const ALL: &str = "list of intents";
const LIST: &str = "GET /observability/intents";
const TRACE: &str = "GET /observability/intents/{nonce}";

/// Member of an intent and column of its row.
pub(crate) const FIELDS: [(&str, &str); 8] = [
    ("roundTripLatencyMs", "round_trip_latency_ms"),
    ("from", "from_beam_id"),
    ("to", "to_beam_id"),
    ("intentType", "intent_type"),
    ("status", "status"),
    ("errorCode", "error_code"),
    ("timestamp", "requested_at"),
    ("completedAt", "completed_at"),
];
/// Member of a stage and column of its row.
pub(crate) const WHOLE: [(&str, &str); 8] = [
    ("id", "id"),
    ("nonce", "nonce"),
    ("from", "from_beam_id"),
    ("to", "to_beam_id"),
    ("intentType", "intent_type"),
    ("stage", "stage"),
    ("status", "status"),
    ("timestamp", "timestamp"),
];
/// Fields that only a trace shows.
const TRACED: [&str; 9] = [
    "stages",
    "stage_ids_positive",
    "stage_times",
    "stage_order",
    "details",
    "stage_rows",
    "audit",
    "shield",
    "nonce",
];
/// What looking leaves in the audit log of an intent.
const OWN: [&str; 3] = [
    "admin.beta_request.proof_pack.exported",
    "shield.request.blocked",
    "public.rate_limit.throttled",
];

/// Reads the list of intents and the trace of each.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let mut objects = Objects::default();
    let (total, intents) = listed(access).await?;
    objects.set(ALL, "total", total);
    for intent in intents.values() {
        let subject = format!("intent {}", text(intent, "nonce", LIST)?);
        for (name, _) in FIELDS {
            objects.set(&subject, name, member(intent, name, LIST)?.clone());
        }
    }
    let nonces = sampled(objects.0.keys().filter_map(|subject| subject.strip_prefix("intent ")));
    let looks = nonces.iter().map(|nonce| async move {
        let trace = access.directory.trace(nonce).await?.value;
        Ok((format!("intent {nonce}"), trace))
    });
    for (subject, trace) in side_by_side(looks).await? {
        let stages = array(&trace, "stages", TRACE)?.iter().map(read_stage);
        describe(&mut objects, &subject, stages.collect::<Result<_, _>>()?);
        let intent = member(&trace, "intent", TRACE)?;
        for (name, _) in FIELDS {
            objects.also(&subject, name, member(intent, name, TRACE)?.clone());
        }
        objects.set(&subject, "nonce", member(intent, "nonce", TRACE)?.clone());
        let own = |entry: &&Value| entry["action"].as_str().is_some_and(|action| OWN.contains(&action));
        let audit = array(&trace, "audit", TRACE)?.iter();
        let audit: Vec<String> = audit.filter(|entry| !own(entry)).map(digest).collect();
        objects.set(&subject, "audit", json!(audit));
        let shield: Vec<String> = array(&trace, "shield", TRACE)?.iter().map(digest).collect();
        objects.set(&subject, "shield", json!(shield));
    }
    trace_audit::observe(access, &mut objects).await?;
    recent_intents::observe(access, &mut objects).await?;
    Ok(objects)
}

pub(crate) fn digest(value: &Value) -> String {
    stages::digest(&normal(value))
}

/// How many there are, and the intents by nonce: one list, and where that is cut, a list for each sender.
async fn listed(access: &Access) -> Result<(i64, BTreeMap<String, Value>), ObserveError> {
    let reply = access
        .directory
        .get(&format!("/observability/intents?limit={LISTED}"))
        .await?;
    let total = integer(&reply.body, "total", LIST)?;
    let mut intents = array(&reply.body, "intents", LIST)?.to_vec();
    if i64::try_from(intents.len()).is_ok_and(|count| count < total) {
        let agents = access.directory.directory_agents().await?.value;
        let looks = agents.iter().map(|agent| async move {
            let from = segment(text(agent, "beam_id", "GET /directory/agents")?);
            let path = format!("/observability/intents?limit={LISTED}&from={from}");
            Ok(access
                .directory
                .get(&path)
                .await?
                .member::<Vec<Value>>("intents")?
                .value)
        });
        intents.extend(side_by_side(looks).await?.into_iter().flatten());
    }
    let keyed = intents
        .into_iter()
        .map(|intent| Ok((text(&intent, "nonce", LIST)?.to_owned(), intent)));
    let keyed: Result<_, ObserveError> = keyed.collect();
    Ok((total, keyed?))
}

/// At most [`SAMPLE`] nonces, those with the smallest hashes: the same on source and restored pair.
fn sampled<'a>(nonces: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut nonces: Vec<&str> = nonces.collect();
    if nonces.len() > SAMPLE {
        nonces.sort_by_cached_key(|nonce| Sha256::digest(nonce.as_bytes()).to_vec());
        nonces.truncate(SAMPLE);
    }
    nonces
}

/// One row of a trace.
pub(crate) struct Stage {
    /// Its plain members, in the order of [`WHOLE`].
    pub(crate) whole: Value,
    /// Above 0 where it was recorded.
    pub(crate) id: i64,
    /// The stage.
    pub(crate) name: String,
    /// When, as the directory shows it.
    pub(crate) time: String,
    /// Details, parsed.
    pub(crate) details: Value,
}

fn read_stage(stage: &Value) -> Result<Stage, ObserveError> {
    let mut whole = Vec::with_capacity(WHOLE.len());
    for (name, _) in WHOLE {
        whole.push(member(stage, name, TRACE)?.clone());
    }
    Ok(Stage {
        whole: json!(whole),
        id: integer(stage, "id", TRACE)?,
        name: text(stage, "stage", TRACE)?.to_owned(),
        time: text(stage, "timestamp", TRACE)?.to_owned(),
        details: member(stage, "details", TRACE)?.clone(),
    })
}

/// Sets the fields of a trace; its stages stand in the order of (timestamp, id).
pub(crate) fn describe(objects: &mut Objects, subject: &str, stages: Vec<Stage>) {
    let invented = stages.iter().any(|stage| stage.id <= 0);
    objects.set(subject, "stage_ids_positive", !invented);
    let mut recorded: Vec<&Stage> = stages.iter().filter(|stage| stage.id > 0).collect();
    let names = |stages: &[&Stage]| json!(stages.iter().map(|stage| &stage.name).collect::<Vec<_>>());
    objects.set(subject, "stages", names(&recorded));
    let details: Vec<String> = recorded.iter().map(|stage| stages::digest(&stage.details)).collect();
    objects.set(subject, "details", json!(details));
    recorded.sort_by_key(|stage| stage.id);
    objects.set(subject, "stage_order", names(&recorded));
    let rows: Vec<String> = recorded.iter().map(|stage| stages::digest(&stage.whole)).collect();
    objects.set(subject, "stage_rows", json!(rows));
    let times: Vec<&str> = recorded.iter().map(|stage| stage.time.as_str()).collect();
    objects.set(subject, "stage_times", json!(times));
}

/// Holds every finished intent against ledger, baseline and rows, and every trace against the lifecycle.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let origins = [expected.ledger, expected.baseline, expected.rows];
    let moving: BTreeSet<&String> = origins
        .into_iter()
        .flatten()
        .flat_map(|origin| &origin.0)
        .filter(|(_, fields)| under_way(fields))
        .map(|(subject, _)| subject)
        // What had ended before the outage cannot be under way in the backup.
        .filter(|subject| !expected.baseline.is_some_and(|baseline| ended(baseline, subject)))
        .collect();
    let finished = |objects: &Objects| comparable(objects, observed, &moving);
    let (ledger, baseline, rows) = (
        expected.ledger.map(finished),
        expected.baseline.map(finished),
        expected.rows.map(finished),
    );
    let seen = finished(observed);
    let mut judged = Expected {
        ledger: ledger.as_ref(),
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(&seen, "intents", TRACE, &[]);
    for (subject, fields) in &seen.0 {
        lifecycle(&mut judged, subject, fields);
    }
    judged.expected = format!("{} finished, each with its recorded stages", judged.expected);
    let traced = seen.0.values().filter(|fields| fields.contains_key("stages")).count();
    judged.observed = format!("{}, {traced} traces", judged.observed);
    if traced < seen.len() {
        judged.notes.push(format!(
            "traces of {traced} of {} intents were read, chosen by the hash of the nonce",
            seen.len()
        ));
    }
    if cut_off(observed) {
        judged
            .notes
            .push(format!("{} intents were listed, more are not given", observed.len()));
    }
    if !moving.is_empty() {
        judged
            .notes
            .push(format!("{} intents were under way: see in-flight", moving.len()));
    }
    judged
}

fn ended(objects: &Objects, subject: &str) -> bool {
    objects
        .0
        .get(subject)
        .is_some_and(|fields| fields.contains_key("status") && !under_way(fields))
}

fn under_way(fields: &Fields) -> bool {
    fields
        .get("status")
        .and_then(Value::as_str)
        .is_some_and(|status| !["acked", "failed", "dead_letter"].contains(&status))
}

/// Whether there are more intents than the lists give: of the others an absence proves nothing.
fn cut_off(observed: &Objects) -> bool {
    let all = observed.0.get(ALL).and_then(|fields| fields.get("total")?.as_u64());
    all.is_some_and(|all| all > observed.len() as u64)
}

/// Without intents under way, without what the lists do not give and without traces that the sample left out.
fn comparable(objects: &Objects, observed: &Objects, moving: &BTreeSet<&String>) -> Objects {
    let mut kept = Objects::default();
    let cut_off = cut_off(observed);
    for (subject, fields) in objects.0.iter().filter(|(subject, _)| !moving.contains(subject)) {
        let mut fields = fields.clone();
        let seen = observed.0.get(subject);
        if cut_off && seen.is_none() {
            continue;
        }
        if observed.len() > SAMPLE && seen.is_some_and(|seen| !seen.contains_key("stages")) {
            fields.retain(|name, _| !TRACED.contains(&name.as_str()));
        }
        trace_audit::cut_at_old_end(&mut fields, seen, observed);
        kept.0.insert(subject.clone(), fields);
    }
    kept
}

/// What holds of every trace, whatever was expected: recorded stages, lawful steps, times that do not run back.
fn lifecycle(judged: &mut Judgement, subject: &str, fields: &Fields) {
    let Some(order) = texts(fields, "stage_order") else {
        return;
    };
    let mut wrong = |what: &str, expected: &str, observed: String| {
        judged
            .findings
            .push(Finding::new(format!("{subject} {what}"), expected, observed, TRACE));
    };
    if fields.get("stage_ids_positive") != Some(&Value::Bool(true)) || order.is_empty() {
        wrong("stages", "recorded stages, ids above 0", "invented or none".to_owned());
        return;
    }
    if let Some((from, to)) = stages::unlawful_step(&order) {
        wrong("stage order", "a lawful lifecycle", format!("{from} → {to}"));
    }
    let times = texts(fields, "stage_times").unwrap_or_default();
    // The first time is the sender's own, stored verbatim.
    if let Some(back) = times
        .iter()
        .skip(1)
        .zip(times.iter().skip(2))
        .find(|(one, next)| next < one)
    {
        wrong(
            "stage times",
            "times in the order of the ids",
            format!("{} before {}", back.1, back.0),
        );
    }
}

fn texts<'a>(fields: &'a Fields, name: &str) -> Option<Vec<&'a str>> {
    fields.get(name)?.as_array()?.iter().map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn trace(status: &str, stages: &[(i64, &str, &str)]) -> Objects {
        let mut objects = Objects::default();
        objects.set("intent n", "status", status);
        let mut stages: Vec<Stage> = stages
            .iter()
            .map(|(id, name, time)| Stage {
                whole: json!([id]),
                id: *id,
                name: (*name).to_owned(),
                time: (*time).to_owned(),
                details: json!({"transport": "http"}),
            })
            .collect();
        stages.sort_by(|one, other| (&one.time, one.id).cmp(&(&other.time, other.id)));
        describe(&mut objects, "intent n", stages);
        objects
    }

    fn acked() -> Objects {
        trace(
            "acked",
            &[
                (1, "received", "01"),
                (2, "validated", "02"),
                (3, "dispatched", "03"),
                (4, "delivered", "04"),
                (5, "acked", "05"),
            ],
        )
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            baseline: Some(was),
            rows: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn an_ended_intent_that_the_backup_has_under_way_is_a_finding() {
        let (was, rows) = (acked(), trace("dispatched", &[(1, "received", "01")]));
        let is = trace("failed", &[(1, "received", "01"), (2, "failed", "02")]);
        let expected = Expected {
            baseline: Some(&was),
            rows: Some(&rows),
            ..Expected::default()
        };
        assert_eq!(judge(&expected, &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn the_same_traces_pass() {
        assert_eq!(judged(&acked(), &acked()).findings, []);
    }

    #[test]
    fn invented_stages_are_a_finding_even_where_the_rows_are_gone_too() {
        let invented = trace("acked", &[(0, "received", "01"), (-1, "acked", "02")]);
        assert_eq!(judged(&invented, &invented).verdict(), Verdict::Fail);
    }

    #[test]
    fn a_lost_stage_is_a_finding() {
        let is = trace(
            "acked",
            &[(1, "received", "01"), (2, "validated", "02"), (5, "acked", "05")],
        );
        let judged = judged(&acked(), &is);
        assert!(
            judged
                .findings
                .iter()
                .any(|finding| finding.subject == "intent n stages")
        );
        assert!(
            judged
                .findings
                .iter()
                .any(|finding| finding.observed == "validated → acked")
        );
    }

    #[test]
    fn exchanged_times_are_a_finding_by_themselves() {
        let is = trace(
            "acked",
            &[
                (1, "received", "01"),
                (2, "validated", "02"),
                (3, "dispatched", "03"),
                (4, "delivered", "05"),
                (5, "acked", "04"),
            ],
        );
        assert_eq!(judged(&is, &is).findings[0].subject, "intent n stage times");
    }

    #[test]
    fn an_intent_beyond_the_lists_is_not_missed() {
        let mut is = trace("acked", &[(1, "received", "01")]);
        is.set(ALL, "total", 2);
        let mut was = is.clone();
        was.set("intent older", "status", "acked");
        assert_eq!(judged(&was, &is).findings, []);
        is.set(ALL, "total", 1);
        assert_eq!(judged(&was, &is).findings[0].subject, "intent older");
    }

    #[test]
    fn another_status_is_a_finding() {
        let was = trace("failed", &[(1, "received", "01"), (2, "failed", "02")]);
        let is = trace("acked", &[(1, "received", "01"), (2, "failed", "02")]);
        assert_eq!(judged(&was, &is).findings[0].subject, "intent n status");
    }

    #[test]
    fn an_intent_under_way_is_left_to_the_check_of_its_own() {
        let was = trace("delivered", &[(1, "received", "01")]);
        let is = trace("failed", &[(1, "received", "01"), (2, "failed", "02")]);
        let judged = judged(&was, &is);
        assert_eq!((judged.verdict(), judged.notes.len()), (Verdict::Inconclusive, 1));
    }

    #[test]
    fn the_senders_own_time_may_stand_after_the_first_stage() {
        let ahead = trace(
            "failed",
            &[(1, "received", "03"), (2, "validated", "02"), (3, "failed", "04")],
        );
        assert_eq!(judged(&ahead, &ahead).findings, []);
    }
}
