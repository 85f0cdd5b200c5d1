//! What the seed has to leave (issue: seed and ledger), property by property.
//!
//! Every check and every fault needs something to bite on: a property that shrinks to nothing would make one of them
//! vacuous.

use recovery_drills::seed::Seeded;
use recovery_drills::seed::ledger::{Area, Outcome};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Property, how many there have to be at least, how many there are.
type Property = (&'static str, usize, usize);

type Subjects = BTreeMap<String, BTreeMap<String, Value>>;

/// Fails with the properties that are not there.
pub(crate) fn assert_every_property(seeded: &Seeded) {
    let all = [
        agents(seeded),
        access(seeded),
        desk(seeded),
        rooms(seeded),
        traffic(seeded),
    ]
    .concat();
    let missing: Vec<&Property> = all.iter().filter(|(_, wanted, seen)| seen < wanted).collect();
    assert!(missing.is_empty(), "property, at least, seen: {missing:#?}");
}

fn agents(seeded: &Seeded) -> Vec<Property> {
    let agents = seeded.ledger.expected(Area::Agents);
    let orgs = distinct(&agents, "org")
        .into_iter()
        .filter(|org| org != "personal")
        .count();
    let with = |name: &str, wanted: fn(&Value) -> bool| count(&agents, "agent ", name, wanted);
    vec![
        ("agents", 8, agents.len()),
        ("organisations of agents", 3, orgs),
        ("agents with capabilities", 2, with("capabilities", not_empty)),
        (
            "agents without capabilities",
            1,
            with("capabilities", |value| !not_empty(value)),
        ),
        ("unlisted agents", 1, with("visibility", |value| value == "unlisted")),
        ("agents with a revoked key", 1, with("revoked_keys", not_empty)),
        (
            "agents with a shield configuration",
            1,
            with("shield", |value| value["mode"] == "whitelist"),
        ),
        ("names beyond ASCII", 2, with("display_name", beyond_ascii)),
        ("personal agents", 1, with("personal", |value| value == true)),
        ("organisations with a row", 1, seeded.facts.orgs.len()),
        ("revoked signing keys", 1, seeded.credentials.revoked_keys.len()),
        ("API keys", 8, seeded.credentials.api_keys.len()),
    ]
}

fn access(seeded: &Seeded) -> Vec<Property> {
    let acl = seeded.ledger.expected(Area::Acl);
    let from = |wanted: fn(&str) -> bool| {
        let senders = acl.keys().filter_map(|subject| subject.rsplit(' ').next());
        senders.filter(|from| wanted(from)).count()
    };
    vec![
        ("access lists for everyone", 1, from(|from| from == "*")),
        (
            "access lists for an organisation",
            1,
            from(|from| from.starts_with("*@")),
        ),
        ("access lists for one agent", 1, from(|from| !from.starts_with('*'))),
        ("roles in the database", 1, seeded.ledger.expected(Area::Roles).len()),
        ("used magic links", 2, acknowledged(seeded, "magic-link")),
        ("sessions", 2, acknowledged(seeded, "session")),
        ("revoked sessions", 1, acknowledged(seeded, "logout")),
    ]
}

fn desk(seeded: &Seeded) -> Vec<Property> {
    let requests = seeded.ledger.expected(Area::Requests);
    let inbox = seeded.ledger.expected(Area::Notifications);
    let with = |name: &str| count(&requests, "request ", name, |value| !value.is_null());
    let without = |name: &str| count(&requests, "request ", name, Value::is_null);
    vec![
        ("beta requests", 6, requests.len()),
        ("stages of requests", 6, distinct(&requests, "stage").len()),
        ("requests with notes", 1, with("operatorNotes")),
        ("requests with an owner", 1, with("owner")),
        ("requests without an owner", 1, without("owner")),
        ("requests with a contact date", 1, with("lastContactAt")),
        ("requests without a contact date", 1, without("lastContactAt")),
        ("requests with a meeting", 1, with("nextMeetingAt")),
        ("requests with a reminder", 1, with("reminderAt")),
        ("requests with a proof nonce", 1, with("proofIntentNonce")),
        (
            "requests with open prerequisites",
            1,
            count(&requests, "request ", "blockedPrerequisites", not_empty),
        ),
        ("notifications", 2, inbox.len()),
        ("states of notifications", 3, distinct(&inbox, "status").len()),
    ]
}

fn rooms(seeded: &Seeded) -> Vec<Property> {
    let rooms = seeded.ledger.expected(Area::Workspaces);
    let with = |kind: &str, name: &str, wanted: fn(&Value) -> bool| count(&rooms, kind, name, wanted);
    let channel = |status: &'static str| {
        let channels = rooms.iter().filter(|(subject, _)| subject.starts_with("channel "));
        channels.filter(|(_, fields)| fields["status"] == status).count()
    };
    vec![
        (
            "workspaces with a policy",
            2,
            with("workspace ", "policy", |value| value["defaults"].is_object()),
        ),
        ("workspaces", 2, seeded.facts.workspaces.len()),
        ("identities", 3, with("identity ", "bindingType", Value::is_string)),
        (
            "paused identities",
            1,
            with("identity ", "status", |value| value == "paused"),
        ),
        ("active channels", 1, channel("active")),
        ("trial channels", 1, channel("trial")),
        ("blocked channels", 1, channel("blocked")),
        (
            "channels with an exchange",
            1,
            with("channel ", "lastIntentNonce", Value::is_string),
        ),
        (
            "internal threads",
            1,
            with("thread ", "kind", |value| value == "internal"),
        ),
        (
            "handoff threads",
            1,
            with("thread ", "linkedIntentNonce", Value::is_string),
        ),
        (
            "threads with participants",
            2,
            with("thread ", "participants", not_empty),
        ),
    ]
}

fn traffic(seeded: &Seeded) -> Vec<Property> {
    let traces = seeded.ledger.expected(Area::Traces);
    let intent = |code: &str| {
        seeded
            .facts
            .intents
            .iter()
            .filter(|sent| sent.error_code.as_deref() == Some(code))
            .count()
    };
    let messages = seeded.ledger.expected(Area::Bus);
    let status = |status: &str| {
        seeded
            .facts
            .messages
            .iter()
            .filter(|sent| sent.status == status)
            .count()
    };
    let refused = seeded.ledger.with_outcome(Outcome::Refused).count();
    let answered = |response: &Value| response["ok"] == true;
    vec![
        ("intents to the directory", 40, seeded.facts.intents.len()),
        (
            "acked intents",
            30,
            count(&traces, "intent ", "status", |value| value == "acked"),
        ),
        (
            "intents answered on the WebSocket",
            1,
            count(&traces, "intent ", "stages", |value| {
                value.as_array().is_some_and(|stages| stages.len() == 6)
            }),
        ),
        ("declined intents", 1, intent("PARTNER_DECLINED")),
        ("intents failed offline", 1, intent("OFFLINE")),
        ("bus messages", 30, messages.len()),
        (
            "messages acked with a response",
            2,
            count(&messages, "message ", "response", answered),
        ),
        ("delivered messages", 1, status("delivered")),
        ("failed messages", 1, status("failed")),
        ("queued messages", 1, status("queued")),
        ("dead letters", 1, status("dead_letter")),
        ("repeated messages", 1, acknowledged(seeded, "bus-duplicate")),
        ("refused writes", 2, refused),
        ("kinds of intents", 5, distinct(&traces, "intentType").len()),
    ]
}

fn count(subjects: &Subjects, kind: &str, name: &str, wanted: fn(&Value) -> bool) -> usize {
    let of_kind = subjects.iter().filter(|(subject, _)| subject.starts_with(kind));
    of_kind
        .filter(|(_, fields)| fields.get(name).is_some_and(wanted))
        .count()
}

fn distinct(subjects: &Subjects, name: &str) -> BTreeSet<String> {
    subjects
        .values()
        .filter_map(|fields| Some(fields.get(name)?.as_str()?.to_owned()))
        .collect()
}

fn acknowledged(seeded: &Seeded, kind: &str) -> usize {
    seeded
        .ledger
        .acknowledged_writes()
        .filter(|write| write.kind == kind)
        .count()
}

fn not_empty(value: &Value) -> bool {
    value.as_array().is_some_and(|items| !items.is_empty())
}

fn beyond_ascii(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_ascii())
}
