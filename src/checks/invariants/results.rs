//! Rules of what an intent brought back: the result frame, the echo's answer, the details of trace rows.
//!
//! Source: Beam 1.6.0, contract 2.7, 2.8.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::traces::{ended, trace_of};
use serde_json::Value;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "I10",
        title: "result frame",
        why: "v, success, nonce, timestamp, payload, error, errorCode, latency in this order; success, nonce and code repeat the row (contract 2.7)",
        needs: &["intent_log"],
        run: result_frame,
    },
    Rule {
        name: "I11",
        title: "echo's answer",
        why: "the built-in responder answers in two forms only (contract 2.7)",
        needs: &["intent_log"],
        run: echo_answer,
    },
    Rule {
        name: "I12",
        title: "trace details",
        why: "each stage has its own members, and error code and time limit repeat (contract 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: trace_details,
    },
];

const MEMBERS: &[&str] = &[
    "v",
    "success",
    "nonce",
    "timestamp",
    "payload",
    "error",
    "errorCode",
    "latency",
];

/// Whether the directory itself made the frame, and no recipient.
fn own_frame(intent: Record<'_>, frame: &Value) -> bool {
    intent.str("to_beam_id") == "echo@beam.directory" && frame["payload"]["handledBy"].is_string()
        || matches!(intent.str("error_code"), "OFFLINE" | "TIMEOUT" | "DELIVERY_FAILED")
}

fn result_frame(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts
        .rows("intent_log")
        .filter(|intent| ended(*intent) && !intent.is_null("result_json"))
    {
        look.seen();
        let frame = intent.json("result_json");
        let mut say = |holds: bool, expected: &str| look.hold(intent, "result_json", holds, expected);
        let acked = intent.str("status") == "acked";
        say(frame["v"] == "1", "v 1");
        say(frame["success"] == acked, "success as the status says");
        say(frame["nonce"].as_str() == intent.text("nonce"), "the intent's nonce");
        let code = frame["errorCode"].as_str();
        let same = match (intent.text("error_code"), code) {
            (Some("RESULT_ERROR"), None) | (None, None) => true,
            (held, told) => held == told,
        };
        say(same, "the row's error code");
        if acked {
            say(frame.get("error").is_none_or(Value::is_null), "no error in a success");
        }
        let sent = frame["timestamp"].as_str().and_then(form::client_ms);
        let names: Vec<&str> = frame
            .as_object()
            .map(|members| members.keys().map(String::as_str).collect())
            .unwrap_or_default();
        let places: Vec<Option<usize>> = names
            .iter()
            .map(|name| MEMBERS.iter().position(|known| known == name))
            .collect();
        if own_frame(intent, &frame) {
            let ordered = places.iter().all(Option::is_some) && places.is_sorted();
            say(ordered, "members in their order");
            let completed = intent.ms("completed_at");
            let near = sent
                .zip(completed)
                .is_some_and(|(sent, completed)| (-5..=1_000).contains(&(completed - sent)));
            say(near, "a timestamp within a second before completed_at");
        } else {
            let completed = intent.ms("completed_at");
            let near = sent
                .zip(completed)
                .is_some_and(|(sent, completed)| (completed - sent).abs() <= 300_000);
            say(near, "a timestamp within five minutes of completed_at");
        }
    }
    look.end()
}

fn echo_answer(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let acked = facts.of("intent_log", "to_beam_id", "echo@beam.directory");
    for intent in acked.into_iter().filter(|intent| intent.str("status") == "acked") {
        if facts.registered("echo@beam.directory") {
            continue;
        }
        let frame = intent.json("result_json");
        let payload = &frame["payload"];
        let names: Vec<&str> = payload
            .as_object()
            .map(|members| members.keys().map(String::as_str).collect())
            .unwrap_or_default();
        look.seen();
        let kind = intent.str("intent_type");
        let lawful = if kind == "conversation.message" {
            names == ["message", "from", "handledBy"]
                && payload["message"]
                    .as_str()
                    .is_some_and(|text| text.starts_with("Echo: "))
                && payload["from"] == "echo@beam.directory"
                && payload["handledBy"] == "builtin-echo"
        } else {
            names
                == [
                    "ok",
                    "beamId",
                    "handledBy",
                    "transport",
                    "intent",
                    "message",
                    "originalPayload",
                ]
                && payload["ok"] == true
                && payload["beamId"] == "echo@beam.directory"
                && payload["handledBy"] == "echo@beam.directory"
                && payload["transport"] == "builtin-echo"
                && payload["intent"] == kind
                && payload["message"] == format!("Mock success for {kind}")
                && payload["originalPayload"].is_object()
        };
        look.hold(intent, "result_json", lawful, "the answer of the built-in responder");
        look.hold(
            intent,
            "result_json",
            frame["latency"].is_i64(),
            "the latency of the built-in responder",
        );
    }
    look.end()
}

fn trace_details(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        let trace = trace_of(facts, intent);
        let mut source: Option<Value> = None;
        let mut limit: Option<Value> = None;
        for row in &trace {
            look.seen();
            let details = row.json("details");
            look.hold(
                *row,
                "details",
                members_fit(row.str("stage"), &details),
                "the members of its stage",
            );
            if let Some(told) = details.get("sourceDirectory") {
                let same = source.get_or_insert_with(|| told.clone()) == told;
                look.hold(*row, "details", same, "one sourceDirectory for a nonce");
            }
            if let Some(told) = details.get("timeoutMs") {
                let lawful = told
                    .as_i64()
                    .is_some_and(|ms| matches!(ms, 30_000 | 60_000) || details["transport"] == "recovery");
                let same = limit.get_or_insert_with(|| told.clone()) == told;
                look.hold(
                    *row,
                    "details",
                    same && lawful,
                    "one timeoutMs for a nonce, 30000 or 60000",
                );
            }
        }
        let last = trace.last().filter(|row| row.text("stage") == intent.text("status"));
        if let Some(row) = last {
            let details = row.json("details");
            let code = details.get("errorCode");
            let same = code.is_none_or(|code| code.as_str() == intent.text("error_code"));
            look.hold(*row, "details", same, "the intent's error code");
        }
    }
    look.end()
}

fn members_fit(stage: &str, details: &Value) -> bool {
    let Some(members) = details.as_object() else {
        return false;
    };
    let has = |name: &str| members.contains_key(name);
    let transport = members.get("transport").and_then(Value::as_str).unwrap_or_default();
    if transport.is_empty() {
        return false;
    }
    let url = || {
        members
            .get("sourceDirectory")
            .and_then(Value::as_str)
            .is_some_and(|url| url.starts_with("http"))
    };
    match stage {
        "received" => url() && members.get("hopCount").is_some_and(Value::is_i64),
        "validated" => {
            url()
                && matches!(
                    members.get("senderSource").and_then(Value::as_str),
                    Some("local" | "federated")
                )
        }
        "dispatched" => has("deliveryTarget") || has("timeoutMs") || transport != "ws",
        "delivered" if transport == "ws" => has("timeoutMs"),
        "delivered" => !has("builtInResponder") || echoed(details),
        "acked" if transport == "ws" => has("latencyMs") && has("errorCode"),
        "acked" => !has("builtInResponder") || echoed(details),
        "failed" => has("latencyMs") && has("errorCode"),
        _ => true,
    }
}

fn echoed(details: &Value) -> bool {
    matches!(
        details["fallbackReason"].as_str(),
        Some("missing_registration" | "offline")
    ) && details["demoResponder"] == "echo@beam.directory"
        && details["builtInResponder"] == true
        && details["latencyMs"].is_i64()
}
