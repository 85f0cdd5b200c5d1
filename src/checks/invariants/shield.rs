//! Rules of the shield's log: what was accepted is logged, and hashes agree with the payloads that exist elsewhere.
//!
//! Source: Beam 1.6.0, contract 2.7, 3.3, 4.3; the flags of a decision are observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::traces::{trace_of, unusual};
use serde_json::json;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "H01",
        title: "intent has a shield row",
        why: "each accepted HTTP intent leaves one, written before its validated stage; a re-send writes a later one (contract 2.7, 4.3)",
        needs: &["intent_log", "intent_trace_events", "shield_audit_log"],
        run: intent_logged,
    },
    Rule {
        name: "H02",
        title: "accepted nonce is logged",
        why: "a decision that let a nonce through is followed by its intent; only prune or agent delete removes it (contract 2.5, 2.7)",
        needs: &["intent_log", "shield_audit_log"],
        run: accepted_logged,
    },
    Rule {
        name: "H03",
        title: "shield row form",
        why: "trust and risk lie in 0..1, flags are a list that fits the decision; without a nonce only throttles and blocks (contract 4.3; flags observed)",
        needs: &["shield_audit_log"],
        run: form_of_rows,
    },
    Rule {
        name: "H04",
        title: "payload hash is the bus payload's",
        why: "the bus sends its payload under its own nonce; the shield keeps length and hash of that text (contract 3.3, 4.3)",
        needs: &["shield_audit_log", "beam_messages"],
        run: bus_hash,
    },
    Rule {
        name: "H05",
        title: "payload hash is the echoed payload's",
        why: "the echo gives the message, or the whole payload, back (contract 2.7)",
        needs: &["intent_log", "shield_audit_log"],
        run: echo_hash,
    },
];

/// Whether the shield row stems from the intent's own request and not from a later one of the same nonce.
fn original(intent: Record<'_>, shield: Record<'_>) -> bool {
    shield.text("timestamp") == intent.text("requested_at")
}

fn intent_logged(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let pruned = facts.pruned("shield");
    for intent in facts.rows("intent_log") {
        let trace = trace_of(facts, intent);
        let by_http = trace
            .first()
            .is_some_and(|row| row.str("details").contains("\"transport\":\"http\""));
        if !by_http || unusual(intent, &trace) {
            continue;
        }
        let Some(shield) = facts.find("shield_audit_log", "nonce", intent.str("nonce")) else {
            match &pruned {
                Some(reason) => look.relax(reason),
                None => look.row(intent, false, "a row in shield_audit_log", "none"),
            }
            continue;
        };
        look.seen();
        let validated = trace
            .iter()
            .find(|row| row.str("stage") == "validated")
            .and_then(|row| row.ms("timestamp"));
        let created = shield.ms("created_at");
        if original(intent, shield) {
            let from = shield.text("sender_beam_id") == intent.text("from_beam_id");
            look.hold(
                shield,
                "sender_beam_id",
                from,
                format_args!("{}, the sender", intent.shown("from_beam_id")),
            );
            let kind = shield.text("intent_type") == intent.text("intent_type");
            look.hold(
                shield,
                "intent_type",
                kind,
                format_args!("{}", intent.shown("intent_type")),
            );
            look.hold(
                shield,
                "decision",
                matches!(shield.str("decision"), "pass" | "hold"),
                "pass or hold",
            );
            let near = validated
                .zip(created)
                .is_none_or(|(validated, created)| created <= validated + 5 && validated - created <= 5_000);
            look.hold(shield, "created_at", near, "shortly before the validated stage");
        } else {
            let end = intent.ms("completed_at").or(validated);
            let later = created.zip(end).is_none_or(|(created, end)| created + 5 >= end);
            look.hold(
                shield,
                "timestamp",
                later,
                format_args!("{}, the intent's own", intent.shown("requested_at")),
            );
        }
    }
    look.end()
}

fn accepted_logged(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let gone = facts.intents_gone();
    let let_through = |row: &Record<'_>| matches!(row.str("decision"), "pass" | "hold") && !row.is_null("nonce");
    for row in facts.rows("shield_audit_log").filter(let_through) {
        look.seen();
        if facts.find("intent_log", "nonce", row.str("nonce")).is_some() {
            continue;
        }
        match &gone {
            Some(reason) => look.relax(reason),
            None => look.row(row, false, "an intent of this nonce", "none"),
        }
    }
    look.end()
}

fn form_of_rows(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("shield_audit_log") {
        look.seen();
        for column in ["sender_trust", "risk_score"] {
            let within = row.number(column).is_some_and(|number| (0.0..=1.0).contains(&number));
            look.hold(row, column, within, "a number in 0..1");
        }
        let trust = row.number("sender_trust").unwrap_or_default() * 100.0;
        look.hold(
            row,
            "sender_trust",
            (trust - trust.round()).abs() < 1e-9,
            "two decimals",
        );
        look.hold(
            row,
            "response_size",
            row.int("response_size").is_some_and(|size| size >= 0),
            "a length",
        );
        let flags = row.json("anomaly_flags");
        let count = flags
            .as_array()
            .filter(|flags| flags.iter().all(serde_json::Value::is_string))
            .map(Vec::len);
        look.hold(row, "anomaly_flags", count.is_some(), "a list of names");
        let risk = row.number("risk_score").unwrap_or_default();
        let (fits, expected) = match row.str("decision") {
            "pass" => (count != Some(0) || risk == 0.0, "no risk without a flag"),
            "hold" => (count > Some(0) && risk > 0.0, "a flag and a risk, as it was held"),
            _ => (count > Some(0), "a flag, as it was refused"),
        };
        look.hold(row, "anomaly_flags", fits, expected);
        if row.is_null("nonce") {
            look.hold(
                row,
                "decision",
                row.str("decision") == "reject",
                "reject, as there is no nonce",
            );
        } else {
            let client = row.text("timestamp").is_some();
            look.hold(row, "timestamp", client, "the client's timestamp");
            let first = facts.find("shield_audit_log", "nonce", row.str("nonce"));
            look.hold(
                row,
                "nonce",
                first.is_none_or(|first| first.at == row.at),
                "one row of this nonce",
            );
        }
        if facts.registered(row.str("sender_beam_id")) && row.str("decision") != "reject" {
            let lawful = row.number("sender_trust").is_some_and(|trust| trust >= 0.3 - 1e-9);
            look.hold(row, "sender_trust", lawful, "at least 0.3, as it was let through");
        }
    }
    look.end()
}

fn same_text(look: &mut Look, shield: Record<'_>, text: &str, of: &str) {
    let size = form::js_length(text);
    look.hold(
        shield,
        "response_size",
        shield.int("response_size") == Some(size),
        format_args!("{size}, the length of {of}"),
    );
    let hash = form::short_hash(text);
    look.hold(
        shield,
        "payload_hash",
        shield.str("payload_hash") == hash,
        format_args!("the hash of {of}"),
    );
}

fn bus_hash(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for message in facts.rows("beam_messages") {
        let nonce = message.str("nonce");
        let Some(shield) = facts.find("shield_audit_log", "nonce", nonce) else {
            continue;
        };
        let intent = facts.find("intent_log", "nonce", nonce);
        let resent = intent.is_some_and(|intent| !original(intent, shield));
        if resent || shield.text("sender_beam_id") != message.text("sender") {
            continue;
        }
        look.seen();
        same_text(&mut look, shield, message.str("payload"), "the bus message's payload");
    }
    look.end()
}

fn echo_hash(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.of("intent_log", "to_beam_id", "echo@beam.directory") {
        let Some(shield) = facts.find("shield_audit_log", "nonce", intent.str("nonce")) else {
            continue;
        };
        if intent.str("status") != "acked" || !original(intent, shield) {
            continue;
        }
        let frame = intent.json("result_json");
        let payload = &frame["payload"];
        look.seen();
        if let Some(sent) = payload.get("originalPayload") {
            same_text(
                &mut look,
                shield,
                &sent.to_string(),
                "the payload that the echo gave back",
            );
        } else if let Some(text) = payload["message"].as_str().and_then(|text| text.strip_prefix("Echo: ")) {
            let least = json!({"message": text}).to_string();
            let size = form::js_length(&least);
            let held = shield.int("response_size").unwrap_or_default();
            look.hold(
                shield,
                "response_size",
                held >= size,
                format_args!("at least {size}, for the message that came back"),
            );
            if held == size {
                same_text(&mut look, shield, &least, "the message that the echo gave back");
            }
        }
    }
    look.end()
}
