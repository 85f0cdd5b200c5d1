//! Rules of an intent's lifecycle: it has a trace, the trace has an intent, stages are legal and in step with the row.
//!
//! Source: Beam 1.6.0, contract 2.7, 2.8, 8.12, 8.36.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::stages::unlawful_step;
use std::collections::HashSet;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "I01",
        title: "intent has a trace",
        why: "row and first trace row are consecutive commits; an in-flight intent without a trace keeps the directory from starting (contract 8.36)",
        needs: &["intent_log", "intent_trace_events"],
        run: has_trace,
    },
    Rule {
        name: "I02",
        title: "trace has an intent",
        why: "intent_log is written first; only a prune or the delete of an agent removes it (contract 2.5, 2.10)",
        needs: &["intent_log", "intent_trace_events"],
        run: has_intent,
    },
    Rule {
        name: "I03",
        title: "trace repeats the parties",
        why: "every trace row repeats sender, recipient and type of its intent (contract 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: parties,
    },
    Rule {
        name: "I04",
        title: "stage order is legal",
        why: "one table of steps guards the stages of a nonce (contract 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: legal_order,
    },
    Rule {
        name: "I05",
        title: "status is the last stage",
        why: "the same table guards row and trace; only a reset retry leaves them apart (contract 2.7, 2.8, 8.12)",
        needs: &["intent_log", "intent_trace_events"],
        run: status_is_last_stage,
    },
    Rule {
        name: "I06",
        title: "first stage is the request's time",
        why: "the first trace row carries the client's timestamp verbatim, which is requested_at (contract 2.7, 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: first_stage,
    },
    Rule {
        name: "I13",
        title: "number of stages",
        why: "an echo leaves 5 rows, a WebSocket delivery 6, an offline recipient 4 (contract 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: stage_count,
    },
    Rule {
        name: "I14",
        title: "trace times rise",
        why: "all rows but a nonce's first carry server time, written at once by one process (contract 2.8)",
        needs: &["intent_trace_events"],
        run: times_rise,
    },
    Rule {
        name: "I16",
        title: "log order is trace order",
        why: "row and first trace row are consecutive statements of one process, so their ids rise together (contract 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: same_order,
    },
];

/// The trace rows of an intent in the order of their ids.
pub(super) fn trace_of<'f>(facts: &'f Facts, intent: Record<'_>) -> Vec<Record<'f>> {
    facts.of("intent_trace_events", "nonce", intent.str("nonce"))
}

/// Whether an intent has ended.
pub(super) fn ended(intent: Record<'_>) -> bool {
    matches!(intent.str("status"), "acked" | "failed" | "dead_letter")
}

/// Whether the nonce was claimed a second time, or ended by something else than its own delivery.
pub(super) fn unusual(intent: Record<'_>, trace: &[Record<'_>]) -> bool {
    let failures = trace.iter().filter(|row| row.str("stage") == "failed").count();
    let told = |word: &str| trace.iter().any(|row| row.str("details").contains(word));
    failures > 1 || (failures == 1 && !ended(intent)) || told("\"transport\":\"recovery\"") || told("\"lateResult\"")
}

fn has_trace(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let pruned = facts.pruned("traces");
    for intent in facts.rows("intent_log") {
        let there = facts
            .find("intent_trace_events", "nonce", intent.str("nonce"))
            .is_some();
        if let Some(reason) = pruned.as_ref().filter(|_| ended(intent)) {
            look.relax(reason);
            continue;
        }
        look.seen();
        let observed = format!("none, and its status is {}", intent.shown("status"));
        look.row(intent, there, "at least one trace row", observed);
    }
    look.end()
}

fn has_intent(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let pruned = facts.pruned("intents");
    let mut told = HashSet::new();
    for row in facts.rows("intent_trace_events") {
        let nonce = row.str("nonce");
        look.seen();
        if facts.find("intent_log", "nonce", nonce).is_some() || !told.insert(nonce) {
            continue;
        }
        let gone = |id: &str| id != "echo@beam.directory" && !facts.registered(id);
        if let Some(reason) = &pruned {
            look.relax(reason);
        } else if gone(row.str("from_beam_id")) || gone(row.str("to_beam_id")) {
            look.relax(format!("{} looks like one of an agent that was deleted", row.subject()));
        } else {
            look.row(row, false, "an intent of this nonce", "none");
        }
    }
    look.end()
}

fn parties(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("intent_trace_events") {
        let Some(intent) = facts.find("intent_log", "nonce", row.str("nonce")) else {
            continue;
        };
        look.seen();
        for column in ["from_beam_id", "to_beam_id", "intent_type"] {
            let same = row.text(column) == intent.text(column);
            look.hold(
                row,
                column,
                same,
                format_args!("{}, as in intent_log", intent.shown(column)),
            );
        }
        look.hold(row, "status", row.text("status") == row.text("stage"), "the stage");
    }
    look.end()
}

fn legal_order(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        let trace = trace_of(facts, intent);
        if trace.is_empty() || unusual(intent, &trace) {
            continue;
        }
        look.seen();
        let stages: Vec<&str> = trace.iter().map(|row| row.str("stage")).collect();
        if let Some((from, to)) = unlawful_step(&stages) {
            look.row(
                intent,
                false,
                "legal stages in the order of ids",
                format_args!("{from} → {to}"),
            );
            continue;
        }
        // By (timestamp, id), as the directory looks; a client's clock ahead puts `received` last.
        let mut sorted: Vec<Record<'_>> = trace.iter().skip(1).copied().collect();
        sorted.sort_by_key(|row| (row.str("timestamp"), row.rowid()));
        let stages: Vec<&str> = std::iter::once("received")
            .chain(sorted.iter().map(|row| row.str("stage")))
            .collect();
        if let Some((from, to)) = unlawful_step(&stages) {
            look.row(
                intent,
                false,
                "legal stages in the order of time",
                format_args!("{from} → {to}"),
            );
        }
    }
    look.end()
}

fn status_is_last_stage(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        let trace = trace_of(facts, intent);
        let Some(last) = trace.last().map(|row| row.str("stage")) else {
            continue;
        };
        look.seen();
        let status = intent.str("status");
        let told = |word: &str| trace.iter().any(|row| row.str("details").contains(word));
        let stuck = status == "received" && last == "failed";
        let mid_step = matches!(
            (status, last),
            ("received", "validated")
                | ("validated", "received" | "dispatched")
                | ("dispatched", "validated" | "delivered")
                | ("delivered", "dispatched")
        );
        let lawful = status == last || stuck || mid_step || told("\"lateResult\"");
        look.hold(
            intent,
            "status",
            lawful,
            format_args!("{last}, the last stage of its trace"),
        );
    }
    look.end()
}

fn first_stage(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        let trace = trace_of(facts, intent);
        let reset = trace.iter().filter(|row| row.str("stage") == "failed").count();
        let Some(first) = trace.first() else { continue };
        if reset > 1 || (reset == 1 && !ended(intent)) {
            continue;
        }
        look.seen();
        let same = first.text("timestamp") == intent.text("requested_at");
        look.hold(
            *first,
            "timestamp",
            same,
            format_args!("{}, the intent's requested_at", intent.shown("requested_at")),
        );
        look.hold(*first, "stage", first.str("stage") == "received", "received");
        let next = trace.get(1).and_then(|row| row.ms("timestamp"));
        let requested = form::client_ms(intent.str("requested_at"));
        let near = next
            .zip(requested)
            .is_none_or(|(next, requested)| (next - requested).abs() <= 302_000);
        look.hold(
            intent,
            "requested_at",
            near,
            "within five minutes of the directory's own time",
        );
    }
    look.end()
}

fn stage_count(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log").filter(|intent| ended(*intent)) {
        let trace = trace_of(facts, intent);
        let Some(last) = trace.last() else { continue };
        if unusual(intent, &trace) {
            continue;
        }
        let details = last.json("details");
        let code = intent.str("error_code");
        let expected: &[&str] = if details["builtInResponder"] == true {
            &["received", "validated", "dispatched", "delivered", "acked"]
        } else if code == "OFFLINE" && details["transport"] == "ws" {
            &["received", "validated", "dispatched", "failed"]
        } else if details["transport"] == "ws" && !matches!(code, "TIMEOUT" | "DELIVERY_FAILED") {
            let end = if intent.str("status") == "acked" {
                "acked"
            } else {
                "failed"
            };
            match end {
                "acked" => &[
                    "received",
                    "validated",
                    "dispatched",
                    "dispatched",
                    "delivered",
                    "acked",
                ],
                _ => &[
                    "received",
                    "validated",
                    "dispatched",
                    "dispatched",
                    "delivered",
                    "failed",
                ],
            }
        } else {
            continue;
        };
        look.seen();
        let stages: Vec<&str> = trace.iter().map(|row| row.str("stage")).collect();
        look.row(intent, stages == expected, expected.join(", "), stages.join(", "));
    }
    look.end()
}

fn times_rise(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut first = HashSet::new();
    let mut latest = i64::MIN;
    for row in facts.rows("intent_trace_events") {
        if first.insert(row.str("nonce")) && row.str("stage") == "received" {
            continue;
        }
        let Some(ms) = row.ms("timestamp") else { continue };
        look.seen();
        look.hold(row, "timestamp", ms + 5 >= latest, "not before the rows with lower ids");
        latest = latest.max(ms);
    }
    look.end()
}

fn same_order(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("traces") {
        look.relax(reason);
        return look.end();
    }
    let mut latest = 0;
    for intent in facts.rows("intent_log") {
        let Some(first) = facts.find("intent_trace_events", "nonce", intent.str("nonce")) else {
            continue;
        };
        look.seen();
        let observed = format!(
            "trace row {} comes before row {latest} of an older intent",
            first.rowid()
        );
        look.row(
            intent,
            first.rowid() > latest,
            "a first trace row after those of older intents",
            observed,
        );
        latest = latest.max(first.rowid());
    }
    look.end()
}
