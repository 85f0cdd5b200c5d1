//! Rules of the bus's messages by themselves: state and times, retries, ids.
//!
//! Source: Beam 1.6.0, contract 3.2 to 3.6.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::shapes::INTENT_TYPES;
use std::collections::HashSet;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "B01",
        title: "state and its times",
        why: "delivered_at belongs to delivered and acked, acked_at to acked, failed_at and error to dead_letter and failed, next_retry_at and error to queued (contract 3.4)",
        needs: &["beam_messages"],
        run: state_times,
    },
    Rule {
        name: "B02",
        title: "bus times",
        why: "seconds to the millisecond, in the order created, delivered, acked or failed (contract 3.2, 3.6)",
        needs: &["beam_messages"],
        run: times,
    },
    Rule {
        name: "B03",
        title: "retries",
        why: "max_retries is 5; what waits for a retry failed at least once, and the first delay is at least 25 s (contract 3.3)",
        needs: &["beam_messages"],
        run: retries,
    },
    Rule {
        name: "B04",
        title: "retry delay",
        why: "the delay of attempt n follows from the hash of nonce and n (contract 3.3)",
        needs: &["beam_messages"],
        run: delay,
    },
    Rule {
        name: "B05",
        title: "unique nonce and id",
        why: "the nonce is UNIQUE and never NULL, the id is the primary key: both deduplicate (contract 3.2, 3.6)",
        needs: &["beam_messages"],
        run: unique,
    },
    Rule {
        name: "B11",
        title: "message form",
        why: "parties of a delivered message are Beam ids, its type is in the catalogue, its payload an object; metadata is never written (contract 2.6, 3.2, 3.6)",
        needs: &["beam_messages"],
        run: message_form,
    },
    Rule {
        name: "B13",
        title: "bus ids and times rise together",
        why: "a message is inserted when it is created (contract 3.2); VACUUM keeps the order",
        needs: &["beam_messages"],
        run: rising,
    },
];

/// Which of a message's cells must hold a value (`+`), must be NULL (`-`), or may do either (`?`):
/// delivered_at, acked_at, failed_at, error, next_retry_at, response.
fn table(status: &str) -> Option<&'static str> {
    Some(match status {
        "received" => "--?---",
        "dispatched" => "-????-",
        "queued" => "--??+-",
        "delivered" => "+-?-?-",
        "acked" => "++?-??",
        "failed" => "??++??",
        "dead_letter" => "--++?-",
        _ => return None,
    })
}

fn state_times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let columns = [
        "delivered_at",
        "acked_at",
        "failed_at",
        "error",
        "next_retry_at",
        "response",
    ];
    for row in facts.rows("beam_messages") {
        let Some(marks) = table(row.str("status")) else {
            continue;
        };
        look.seen();
        for (column, mark) in columns.iter().zip(marks.chars()) {
            let null = row.is_null(column);
            let status = row.str("status");
            look.hold(
                row,
                column,
                mark != '+' || !null,
                format_args!("a value, as it is {status}"),
            );
            look.hold(
                row,
                column,
                mark != '-' || null,
                format_args!("NULL, as it is {status}"),
            );
        }
        let waits = row.str("status") == "queued" && row.int("retry_count").is_some_and(|count| count > 0);
        look.hold(
            row,
            "error",
            !(waits && row.is_null("error")),
            "the error of the attempt that failed",
        );
        let fresh = row.int("retry_count") == Some(0) && matches!(row.str("status"), "delivered" | "acked");
        look.hold(
            row,
            "next_retry_at",
            !fresh || row.is_null("next_retry_at"),
            "NULL, as nothing failed",
        );
    }
    look.end()
}

fn times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("beam_messages") {
        look.seen();
        for column in ["created_at", "delivered_at", "acked_at", "failed_at", "next_retry_at"] {
            let Some(seconds) = row.number(column) else { continue };
            let plausible = (1_577_836_800.0..4_102_444_800.0).contains(&seconds);
            look.hold(row, column, plausible, "seconds since 1970");
            let grain = (seconds * 1_000.0 - (seconds * 1_000.0).round()).abs() < 1e-3;
            look.hold(row, column, grain, "whole milliseconds");
        }
        let created = row.seconds_ms("created_at");
        for column in ["delivered_at", "acked_at", "failed_at"] {
            let at = row.seconds_ms(column);
            look.hold(row, column, at.is_none() || at >= created, "not before created_at");
        }
        let delivered = row.seconds_ms("delivered_at");
        for column in ["acked_at", "failed_at"] {
            let at = row.seconds_ms(column);
            look.hold(
                row,
                column,
                at.is_none() || delivered.is_none() || at >= delivered,
                "not before delivered_at",
            );
        }
    }
    look.end()
}

fn requeued(row: Record<'_>) -> bool {
    let error = row.str("error").to_lowercase();
    ["restart", "recover", "interrupted", "requeue"]
        .iter()
        .any(|word| error.contains(word))
}

fn retries(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("beam_messages") {
        look.seen();
        look.hold(row, "max_retries", row.int("max_retries") == Some(5), "5");
        let count = row.int("retry_count").unwrap_or(-1);
        look.hold(row, "retry_count", (0..=5).contains(&count), "0 to 5");
        look.hold(row, "priority", !row.is_null("priority"), "a number");
        if row.str("status") == "queued" && !requeued(row) {
            look.hold(
                row,
                "retry_count",
                (1..5).contains(&count),
                "1 to 4, as an attempt failed",
            );
            let wait = row
                .seconds_ms("next_retry_at")
                .zip(row.seconds_ms("created_at"))
                .map(|(next, created)| next - created);
            look.hold(
                row,
                "next_retry_at",
                wait.is_none_or(|ms| ms >= 25_000),
                "at least 25 s after created_at",
            );
        }
        if matches!(row.str("status"), "delivered" | "acked") && row.is_null("error") {
            look.hold(row, "retry_count", count < 5, "less than 5, as it was delivered");
        }
    }
    look.end()
}

fn delay(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("beam_messages") {
        let first = row.str("status") == "queued" && row.int("retry_count") == Some(1) && !requeued(row);
        let times = row.seconds_ms("next_retry_at").zip(row.seconds_ms("created_at"));
        let Some((next, created)) = times.filter(|_| first) else {
            continue;
        };
        // A requeued dead letter or an attempt cut off by a restart fails for the first time much later.
        if !row.is_null("failed_at") || facts.reclaimed().is_some() && next - created > 120_000 {
            continue;
        }
        look.seen();
        #[expect(clippy::cast_possible_truncation, reason = "at most some minutes")]
        let delay = (form::retry_delay_s(row.str("nonce"), 1) * 1_000.0) as i64;
        let failed = next - delay - created;
        look.hold(
            row,
            "next_retry_at",
            (-5..=31_000).contains(&failed),
            format_args!("{delay} ms after the first attempt"),
        );
    }
    look.end()
}

fn unique(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let (mut ids, mut nonces) = (HashSet::new(), HashSet::new());
    for row in facts.rows("beam_messages") {
        look.seen();
        look.hold(
            row,
            "id",
            row.text("id").is_some_and(|id| ids.insert(id)),
            "an id of its own",
        );
        look.hold(
            row,
            "nonce",
            row.text("nonce").is_some_and(|nonce| nonces.insert(nonce)),
            "a nonce of its own",
        );
    }
    look.end()
}

fn message_form(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("beam_messages") {
        look.seen();
        look.hold(row, "metadata", row.is_null("metadata"), "NULL");
        look.hold(row, "payload", row.json("payload").is_object(), "an object");
        let response = row.is_null("response") || row.json("response").is_object();
        look.hold(row, "response", response, "an object or NULL");
        for column in ["sender", "recipient", "intent"] {
            let trimmed = row.str(column).trim() == row.str(column) && !row.str(column).is_empty();
            look.hold(row, column, trimmed, "a name without blanks around it");
        }
        if row.is_null("delivered_at") {
            continue;
        }
        let ids = ["sender", "recipient"]
            .iter()
            .all(|column| form::split_beam_id(row.str(column)).is_some());
        look.hold(row, "sender", ids, "Beam ids of both parties");
        look.hold(
            row,
            "intent",
            INTENT_TYPES.contains(&row.str("intent")),
            "a type of the catalogue, as it was delivered",
        );
        let sender =
            facts.registered(row.str("sender")) || facts.agent_deleted().is_some() || facts.count("agents") == 0;
        look.hold(
            row,
            "sender",
            sender,
            "an agent that is registered, as it was delivered",
        );
    }
    look.end()
}

fn rising(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let created: Vec<Option<i64>> = facts
        .rows("beam_messages")
        .map(|row| row.seconds_ms("created_at"))
        .collect();
    // A tool that wrote the rows anew may have sorted them by another key.
    let by_id = facts.rows("beam_messages").map(|row| row.str("id")).is_sorted();
    let by_nonce = facts.rows("beam_messages").map(|row| row.str("nonce")).is_sorted();
    let falls = created.windows(2).filter(|pair| pair[1] < pair[0]).count();
    if created.len() > 2 && (by_id || by_nonce) && falls > 1 {
        look.relax("the rows were written anew in another order");
        return look.end();
    }
    if falls > 2 {
        look.relax("the rows do not stand in the order in which they were written");
        return look.end();
    }
    let mut latest = i64::MIN;
    for row in facts.rows("beam_messages") {
        let Some(ms) = row.seconds_ms("created_at") else {
            continue;
        };
        look.seen();
        look.hold(row, "created_at", ms + 5 >= latest, "not before the rows before it");
        latest = latest.max(ms);
    }
    look.end()
}
