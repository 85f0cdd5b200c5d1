//! Rules across both files: bus nonce, intent nonce and their states, times and errors.
//!
//! The same nonce string is the join key. Source: Beam 1.6.0, contract 2.7, 3.3, 3.4, 8.1, 8.7.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use serde_json::Value;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "B06",
        title: "delivered message is acked in the directory",
        why: "the bus calls a message delivered when the directory answered with success: same nonce, parties and type (contract 3.3)",
        needs: &["beam_messages", "intent_log"],
        run: delivered_acked,
    },
    Rule {
        name: "B07",
        title: "undelivered message is not acked",
        why: "a message that waits or died after an answer was failed or refused by the directory (contract 3.3)",
        needs: &["beam_messages", "intent_log"],
        run: undelivered,
    },
    Rule {
        name: "B08",
        title: "bus times frame the intent",
        why: "created, then sent, then completed, then delivered; a delivery has 30 s (contract 3.3)",
        needs: &["beam_messages", "intent_log"],
        run: frame_times,
    },
    Rule {
        name: "B09",
        title: "error repeats the directory's answer",
        why: "the bus stores the error that the directory answered (contract 3.3)",
        needs: &["beam_messages", "intent_log"],
        run: error_text,
    },
    Rule {
        name: "B10",
        title: "refused nonce beside its message",
        why: "a message that the directory refused for good is a dead letter (contract 3.3)",
        needs: &["beam_messages", "shield_audit_log"],
        run: refused,
    },
    Rule {
        name: "B12",
        title: "a bus beside a directory that has one",
        why: "a bus file without its table beside a populated directory is the copy without -wal (contract 8.1)",
        needs: &["agents"],
        run: bus_there,
    },
];

/// Why the directory may lawfully lack intents of messages that were delivered.
fn gone(facts: &Facts) -> Option<String> {
    facts.intents_gone()
}

fn delivered_acked(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let gone = gone(facts);
    for message in facts.rows("beam_messages").filter(|row| !row.is_null("delivered_at")) {
        look.seen();
        let Some(intent) = facts.find("intent_log", "nonce", message.str("nonce")) else {
            match &gone {
                Some(reason) => look.relax(reason),
                None => look.row(message, false, "an intent of this nonce, as it was delivered", "none"),
            }
            continue;
        };
        let acked = intent.str("status") == "acked";
        look.row(
            message,
            acked,
            "an acked intent, as it was delivered",
            intent.shown("status"),
        );
        same_parties(&mut look, message, intent);
    }
    look.end()
}

fn same_parties(look: &mut Look, message: Record<'_>, intent: Record<'_>) {
    for (mine, theirs) in [
        ("sender", "from_beam_id"),
        ("recipient", "to_beam_id"),
        ("intent", "intent_type"),
    ] {
        let same = message.text(mine) == intent.text(theirs);
        look.hold(
            message,
            mine,
            same,
            format_args!("{}, as in intent_log", intent.shown(theirs)),
        );
    }
}

fn undelivered(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let waiting = |row: &Record<'_>| {
        row.is_null("delivered_at") && matches!(row.str("status"), "queued" | "dead_letter" | "failed")
    };
    for message in facts.rows("beam_messages").filter(waiting) {
        let Some(intent) = facts.find("intent_log", "nonce", message.str("nonce")) else {
            continue;
        };
        look.seen();
        let foreign = intent.text("from_beam_id") != message.text("sender")
            || intent.text("to_beam_id") != message.text("recipient");
        let answered = !message.is_null("error") && !message.str("error").to_lowercase().contains("timeout");
        let restarted = message.int("retry_count") == Some(0) && message.str("status") == "queued";
        let late = message.str("error").to_lowercase().contains("fetch")
            || message.str("error").to_lowercase().contains("abort");
        let contradicts = intent.str("status") == "acked" && answered && !restarted && !late && !foreign;
        look.row(
            message,
            !contradicts,
            "an intent that did not end with success",
            intent.shown("status"),
        );
    }
    look.end()
}

fn frame_times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for message in facts.rows("beam_messages") {
        let Some(intent) = facts.find("intent_log", "nonce", message.str("nonce")) else {
            continue;
        };
        let (created, requested) = (message.seconds_ms("created_at"), intent.ms("requested_at"));
        let Some((created, requested)) = created.zip(requested) else {
            continue;
        };
        if intent.text("from_beam_id") != message.text("sender") {
            continue;
        }
        look.seen();
        let after = requested + 5 >= created;
        look.hold(
            message,
            "created_at",
            after,
            format_args!("not after the intent's requested_at {}", intent.shown("requested_at")),
        );
        let plain = message.int("retry_count") == Some(0)
            && !message.is_null("delivered_at")
            && message.is_null("next_retry_at");
        if plain {
            let near = requested - created <= 31_000;
            look.hold(
                message,
                "created_at",
                near,
                "within half a minute of the intent's requested_at",
            );
        }
        let Some((delivered, completed)) = message.seconds_ms("delivered_at").zip(intent.ms("completed_at")) else {
            continue;
        };
        let order = delivered + 1_000 >= completed && (delivered - completed <= 31_000 || !plain);
        look.hold(
            message,
            "delivered_at",
            order,
            format_args!("soon after the intent's completed_at {}", intent.shown("completed_at")),
        );
    }
    look.end()
}

fn error_text(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for message in facts
        .rows("beam_messages")
        .filter(|row| !row.is_null("error") && row.is_null("delivered_at"))
    {
        let intent = facts.find("intent_log", "nonce", message.str("nonce"));
        let error = message.str("error");
        look.seen();
        let code = intent
            .filter(|intent| intent.str("status") == "failed")
            .map_or("", |intent| intent.str("error_code"));
        let first = message.int("retry_count").is_some_and(|count| count <= 1);
        if code == "OFFLINE" && first && message.str("status") == "queued" {
            let known = error == "agent_offline" || message.int("retry_count") == Some(0);
            look.hold(message, "error", known, "agent_offline, as the directory answered");
        }
        if error == "agent_offline" && first {
            let offline =
                intent.is_none_or(|intent| intent.str("error_code") == "OFFLINE" || intent.str("status") == "received");
            let recovered = intent.is_some_and(|intent| intent.str("error_code") == "DELIVERY_FAILED");
            look.hold(
                message,
                "error",
                offline || recovered,
                "an intent that failed as OFFLINE",
            );
            let gone = intent.is_none() && gone(facts).is_none();
            look.row(message, !gone, "an intent that failed as OFFLINE", "none");
        }
        if let Some(intent) =
            intent.filter(|_| !matches!(code, "" | "OFFLINE" | "TIMEOUT" | "DELIVERY_FAILED") && first)
        {
            let told = intent.json("result_json")["error"].as_str().map(str::to_owned);
            let same = told.as_deref().is_none_or(|told| told == error);
            look.hold(message, "error", same, "the error of the intent's result frame");
        }
        let signature = error.starts_with("Signature verification failed");
        let refused = facts.find("shield_audit_log", "nonce", message.str("nonce"));
        if signature && facts.pruned("shield").is_none() {
            let rejected = refused.is_some_and(|row| row.str("decision") == "reject");
            look.row(
                message,
                rejected,
                "a shield row that says reject",
                refused.map_or("none".to_owned(), |row| row.shown("decision")),
            );
            look.hold(
                message,
                "status",
                message.str("status") == "dead_letter",
                "dead_letter, as its signature was refused",
            );
        }
    }
    failed_acks(facts, &mut look);
    look.end()
}

/// A failed ack stores the response as the error.
fn failed_acks(facts: &Facts, look: &mut Look) {
    let failed = |row: &Record<'_>| row.str("status") == "failed" && !row.is_null("delivered_at");
    for message in facts.rows("beam_messages").filter(failed) {
        look.seen();
        let told: Option<Value> = message.text("error").and_then(|text| serde_json::from_str(text).ok());
        let lawful = told.is_none_or(|value| value.is_object()) && !message.str("error").is_empty();
        look.hold(message, "error", lawful, "the response of the failed ack");
        if message.str("error").starts_with('{') {
            let canonical = crate::checks::invariants::form::json_fault(message.str("error")).is_none();
            look.hold(message, "error", canonical, "JSON as JSON.stringify writes it");
        }
    }
}

fn refused(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for message in facts.rows("beam_messages") {
        let Some(shield) = facts.find("shield_audit_log", "nonce", message.str("nonce")) else {
            continue;
        };
        let direct = facts.find("intent_log", "nonce", message.str("nonce")).is_some();
        if shield.str("decision") != "reject" || direct {
            continue;
        }
        look.seen();
        let flags = shield.str("anomaly_flags");
        let limited = flags.contains("RATE_LIMIT");
        let lawful = message.str("status") == "dead_letter" || limited;
        let again = message.str("status") == "dispatched"
            || message.str("status") == "queued"
                && message.int("retry_count") == Some(0)
                && !message.is_null("error")
                && requeue(message);
        look.hold(
            message,
            "status",
            lawful || again,
            "dead_letter, as the directory refused it",
        );
        let parties = shield.text("sender_beam_id") == message.text("sender")
            && shield.text("intent_type") == message.text("intent");
        look.hold(message, "sender", parties, "sender and type of the shield's row");
    }
    look.end()
}

fn requeue(message: Record<'_>) -> bool {
    let error = message.str("error").to_lowercase();
    error.contains("restart") || error.contains("recover") || error.contains("requeue")
}

fn bus_there(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let table = facts.tables().any(|table| table.name == "beam_messages") || facts.unloaded("beam_messages").is_some();
    if facts.count("agents") > 0 {
        look.seen();
        if !table {
            look.wrong("beam_messages", "beam-bus.sqlite", "the table of messages", "none");
        }
    } else if facts.count("beam_messages") > 0 {
        look.seen();
        let delivered = facts
            .rows("beam_messages")
            .filter(|row| !row.is_null("delivered_at"))
            .count();
        if delivered > 0 {
            look.wrong(
                "agents",
                "beam-directory.db agents",
                "the agents of delivered messages",
                "no agent at all",
            );
        }
    }
    look.end()
}
