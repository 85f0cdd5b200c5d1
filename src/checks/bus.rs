//! Are bus messages back, by status and row?
//!
//! Looks at the whole history, the dead letters, what recipients would poll, and the counts; GETs of the bus write nothing. One difference is predicted: the
//! start turns received and dispatched messages into queued ones. Source: Beam 1.6.0, contract sections 3.2 and 3.5.

use crate::checks::expectation::{Derived, Expected, Fields, Objects};
use crate::checks::observing::{ObserveError, array, member, normal, parsed, seconds, side_by_side, text};
use crate::client::Access;
use crate::client::http::segment;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// This check.
pub const ID: CheckId = CheckId::Bus;

const PLACE: &str = "GET /v1/beam/history";
const STATS: &str = "GET /v1/beam/stats";
/// How many messages the bus gives at once.
const PAGE: usize = 500;
/// Statuses by which the bus counts.
const STATUSES: [&str; 7] = [
    "queued",
    "received",
    "dispatched",
    "delivered",
    "acked",
    "failed",
    "dead_letter",
];
/// Statuses that a start turns into `queued`.
const INTERRUPTED: [&str; 2] = ["received", "dispatched"];
const PRIVATE: &[&str] = &["payload", "response", "error", "metadata", "answer"];
const DEAD: &str = "GET /v1/beam/dead-letter";
/// How many recipients are asked for what they would poll.
const POLLED: usize = 100;
/// Counted over the last day.
const WINDOWED: &[&str] = &["last_24h"];
const DERIVED: Derived<'_> = Derived {
    windowed: WINDOWED,
    from_intents: &[],
};

/// Members of an answer and columns of a row: they have the same names.
const FIELDS: [&str; 18] = [
    "metadata",
    "next_retry_at",
    "id",
    "sender",
    "recipient",
    "intent",
    "status",
    "priority",
    "trace_id",
    "payload",
    "response",
    "retry_count",
    "max_retries",
    "created_at",
    "delivered_at",
    "acked_at",
    "failed_at",
    "error",
];

/// Reads all messages, page by page, and the counts.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let mut objects = Objects::default();
    let (messages, stats, dead) = tokio::join!(
        history(access),
        access.bus.stats(),
        access.bus.call(Method::GET, "/v1/beam/dead-letter?limit=500", None),
    );
    let ((messages, agree), dead) = (messages?, dead?.allow(&[200])?.body);
    objects.set("list of messages", "agrees with its entries", agree);
    for message in &messages {
        let nonce = text(message, "nonce", PLACE)?;
        let value = |name: &str| member(message, name, PLACE).map(normal);
        fill(&mut objects, nonce, value)?;
    }
    let letters = array(&dead, "messages", DEAD)?;
    for message in letters {
        let subject = format!("message {}", text(message, "nonce", DEAD)?);
        for name in FIELDS {
            let value = normal(member(message, name, DEAD)?);
            objects.also(&subject, name, if is_time(name) { seconds(&value) } else { value });
        }
    }
    // Of more than one page nothing is known about the rest.
    if letters.len() < PAGE {
        objects.set("list of dead letters", "count", member(&dead, "count", DEAD)?.clone());
        objects.also("list of dead letters", "count", letters.len());
    }
    polled(access, &messages, &mut objects).await?;
    let stats = stats?.value;
    for status in STATUSES.iter().chain(&["total"]) {
        objects.set("stats", *status, member(&stats, status, STATS)?.clone());
    }
    objects.set("stats", "by_agent", normal(member(&stats, "by_agent", STATS)?));
    objects.set("stats", WINDOWED[0], member(&stats, WINDOWED[0], STATS)?.clone());
    Ok(objects)
}

/// What each recipient is given to poll: its delivered messages, oldest first. Asked of at most [`POLLED`] recipients.
async fn polled(access: &Access, messages: &[Value], objects: &mut Objects) -> Result<(), ObserveError> {
    let recipients: BTreeSet<&str> = messages
        .iter()
        .map(|message| text(message, "recipient", PLACE))
        .collect::<Result<_, _>>()?;
    let looks = recipients.into_iter().take(POLLED).map(|recipient| async move {
        let path = format!("/v1/beam/poll?agent={}&limit=100", segment(recipient));
        let reply = access.bus.call(Method::GET, &path, None).await?.allow(&[200])?;
        Ok((recipient, reply.body))
    });
    for (recipient, answer) in side_by_side(looks).await? {
        objects.set(format!("list of messages for {recipient}"), "answer", normal(&answer));
    }
    Ok(())
}

fn is_time(name: &str) -> bool {
    name.ends_with("_at")
}

/// All messages, and whether each page counted its own. Pages overlap by the messages of one instant, so that none of it falls between two pages.
async fn history(access: &Access) -> Result<(Vec<Value>, bool), ObserveError> {
    let mut messages: Vec<Value> = Vec::new();
    let mut known = BTreeSet::new();
    let mut until: Option<String> = None;
    let mut agree = true;
    loop {
        let mut path = format!("/v1/beam/history?limit={PAGE}");
        if let Some(until) = &until {
            path.push_str("&until=");
            path.push_str(&segment(until));
        }
        let reply = access.bus.call(Method::GET, &path, None).await?.allow(&[200])?;
        let page = array(&reply.body, "messages", PLACE)?.to_vec();
        agree &= member(&reply.body, "count", PLACE)?.as_u64() == Some(page.len() as u64);
        let full = page.len() >= PAGE;
        until = page
            .last()
            .and_then(|oldest| oldest.get("created_at"))
            .map(Value::to_string);
        let before = known.len();
        for message in page {
            if known.insert(text(&message, "id", PLACE)?.to_owned()) {
                messages.push(message);
            }
        }
        if !full || known.len() == before {
            return Ok((messages, agree));
        }
    }
}

/// The same from the rows. The start gives a message without nonce its id for one.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let mut counts = [0_u64; STATUSES.len()];
    let mut total = 0_u64;
    for row in databases.bus.rows("SELECT * FROM beam_messages", &[])? {
        let id = row.text("id").unwrap_or_default();
        let nonce = row.text("nonce").filter(|nonce| !nonce.is_empty()).unwrap_or(id);
        let value = |name: &str| -> Result<Value, DatabaseError> {
            Ok(match name {
                "payload" | "response" | "metadata" => parsed(row.text(name)),
                _ => normal(&row.cell(name).json()),
            })
        };
        fill(&mut objects, nonce, value)?;
        total += 1;
        if let Some(at) = STATUSES.iter().position(|status| row.text("status") == Some(status)) {
            counts[at] += 1;
        }
    }
    for (status, count) in STATUSES.iter().zip(counts) {
        objects.set("stats", *status, count);
    }
    objects.set("stats", "total", total);
    objects.set("list of messages", "agrees with its entries", true);
    let dead = objects.0["stats"]["dead_letter"].clone();
    if dead.as_u64().is_some_and(|dead| dead < PAGE as u64) {
        objects.set("list of dead letters", "count", dead);
    }
    Ok(objects)
}

fn fill<E>(objects: &mut Objects, nonce: &str, value: impl Fn(&str) -> Result<Value, E>) -> Result<(), E> {
    let subject = format!("message {nonce}");
    for name in FIELDS {
        let value = value(name)?;
        let value = if is_time(name) { seconds(&value) } else { value };
        objects.set(&subject, name, value);
    }
    Ok(())
}

/// Holds every message and the counts against ledger, baseline and rows, each as the start leaves it.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let (baseline, rows) = expected.lasting(&DERIVED);
    let (ledger, baseline, rows) = (
        expected.ledger.map(as_started),
        baseline.as_ref().map(as_started),
        rows.as_ref().map(as_started),
    );
    let mut judged = Expected {
        ledger: ledger.as_ref(),
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(observed, "messages and counts", PLACE, PRIVATE);
    if judged.items > 0 && observed.len() < 2 && judged.findings.is_empty() {
        // Counts of nothing alone prove nothing.
        judged.items = 0;
    }
    judged.observed = counts(observed);
    judged
}

fn counts(objects: &Objects) -> String {
    let stats = objects.0.get("stats");
    let shown = |status: &&str| {
        let count = stats?.get(*status)?.as_u64()?;
        (count > 0).then(|| format!("{status} {count}"))
    };
    let counts: Vec<String> = STATUSES.iter().filter_map(shown).collect();
    format!("{} messages: {}", objects.len().saturating_sub(1), counts.join(", "))
}

fn as_started(objects: &Objects) -> Objects {
    let mut objects = objects.clone();
    for (subject, fields) in &mut objects.0 {
        if subject.starts_with("list ") {
            continue;
        }
        if subject == "stats" {
            requeue_counts(fields);
        } else if interrupted(fields) {
            fields.insert("status".to_owned(), json!("queued"));
            fields.insert("failed_at".to_owned(), Value::Null);
            // A fixed text, which no document tells, and the time of the start.
            fields.remove("error");
            fields.remove("next_retry_at");
        }
    }
    objects
}

fn interrupted(fields: &Fields) -> bool {
    fields
        .get("status")
        .and_then(Value::as_str)
        .is_some_and(|status| INTERRUPTED.contains(&status))
}

fn requeue_counts(stats: &mut Fields) {
    let count = |stats: &Fields, status: &str| stats.get(status).and_then(Value::as_u64).unwrap_or_default();
    let queued = INTERRUPTED.iter().map(|status| count(stats, status)).sum::<u64>();
    if queued > 0 {
        let queued = queued + count(stats, "queued");
        stats.insert("queued".to_owned(), json!(queued));
        for status in INTERRUPTED {
            stats.insert(status.to_owned(), json!(0));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn bus(status: &str) -> Objects {
        let mut objects = Objects::default();
        objects.set("message n", "status", status);
        objects.set("message n", "created_at", 1.5);
        objects.set("stats", status, 1);
        objects.set("stats", "total", 1);
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
    fn the_same_messages_pass() {
        assert_eq!(judged(&bus("acked"), &bus("acked")).findings, []);
    }

    #[test]
    fn a_revived_dead_letter_is_a_finding() {
        let judged = judged(&bus("dead_letter"), &bus("queued"));
        assert_eq!(judged.findings[0].subject, "message n status");
    }

    #[test]
    fn a_lost_message_is_a_finding() {
        let mut is = bus("acked");
        is.0.remove("message n");
        assert_eq!(judged(&bus("acked"), &is).findings[0].subject, "message n");
    }

    #[test]
    fn an_interrupted_message_is_queued_again_by_the_start() {
        let mut is = bus("queued");
        is.set("stats", "dispatched", 0);
        is.set("stats", "received", 0);
        is.set("message n", "failed_at", Value::Null);
        assert_eq!(judged(&bus("dispatched"), &is).findings, []);
    }

    #[test]
    fn a_requeue_that_does_not_happen_is_a_finding() {
        assert_eq!(judged(&bus("dispatched"), &bus("dispatched")).verdict(), Verdict::Fail);
    }

    #[test]
    fn an_empty_bus_is_inconclusive() {
        let mut none = Objects::default();
        none.set("stats", "total", 0);
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }
}
