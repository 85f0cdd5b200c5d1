//! Rules of an intent's row: completion, times, latency, parties.
//!
//! Source: Beam 1.6.0, contract 2.5 to 2.8; that row and last trace row end within a second is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::traces::{ended, trace_of, unusual};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "I07",
        title: "completion present",
        why: "completed_at and result stand exactly in rows that ended, the error code exactly in failed ones (contract 2.7)",
        needs: &["intent_log"],
        run: completion,
    },
    Rule {
        name: "I08",
        title: "completed with the last stage",
        why: "the end of the row and the last trace row are written together (observed, within a second)",
        needs: &["intent_log", "intent_trace_events"],
        run: completed_with_last_stage,
    },
    Rule {
        name: "I09",
        title: "latency",
        why: "latency is server time minus requested_at, repeated in the trace (contract 2.7, 2.8)",
        needs: &["intent_log", "intent_trace_events"],
        run: latency,
    },
    Rule {
        name: "I15",
        title: "parties exist",
        why: "a sender is registered or federated, and who acked is registered or the echo (contract 2.5, 2.7)",
        needs: &["intent_log", "agents"],
        run: parties_exist,
    },
    Rule {
        name: "I17",
        title: "nonce once",
        why: "the nonce is UNIQUE: a second row would deliver twice (contract 2.7)",
        needs: &["intent_log"],
        run: nonce_once,
    },
];

fn completion(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        look.seen();
        let (end, failed) = (ended(intent), matches!(intent.str("status"), "failed" | "dead_letter"));
        let word = |wanted: bool| if wanted { "a value" } else { "NULL" };
        for column in ["completed_at", "result_json"] {
            look.hold(intent, column, intent.is_null(column) != end, word(end));
        }
        look.hold(
            intent,
            "error_code",
            intent.is_null("error_code") != failed,
            word(failed),
        );
        if !end {
            look.hold(
                intent,
                "round_trip_latency_ms",
                intent.is_null("round_trip_latency_ms"),
                "NULL",
            );
        }
        if intent.str("status") == "acked" {
            look.hold(
                intent,
                "round_trip_latency_ms",
                !intent.is_null("round_trip_latency_ms"),
                "a latency",
            );
        }
    }
    look.end()
}

fn completed_with_last_stage(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log").filter(|intent| ended(*intent)) {
        let trace = trace_of(facts, intent);
        let last = trace.last().filter(|row| row.text("stage") == intent.text("status"));
        let Some((stage, completed)) = last.and_then(|row| row.ms("timestamp")).zip(intent.ms("completed_at")) else {
            continue;
        };
        look.seen();
        let near = (stage - completed).abs() <= 1_000;
        look.hold(
            intent,
            "completed_at",
            near,
            "the time of its last trace row, within a second",
        );
    }
    look.end()
}

fn latency(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log").filter(|intent| ended(*intent)) {
        look.seen();
        let held = intent.int("round_trip_latency_ms");
        let trace = trace_of(facts, intent);
        let last = trace.last().filter(|row| row.text("stage") == intent.text("status"));
        let told = last
            .map(|row| row.json("details"))
            .filter(|details| details.get("latencyMs").is_some());
        if let Some(details) = told {
            let same = details["latencyMs"].as_i64() == held;
            look.hold(
                intent,
                "round_trip_latency_ms",
                same,
                "the latencyMs of its last trace row",
            );
        }
        look.hold(
            intent,
            "round_trip_latency_ms",
            held.is_none_or(|ms| ms >= -300_000),
            "a latency",
        );
        let frame = intent.json("result_json");
        let own = frame["latency"].as_i64();
        let builtin = frame["payload"]["handledBy"].is_string() || intent.str("status") == "failed";
        if own.is_some() && builtin {
            look.hold(
                intent,
                "round_trip_latency_ms",
                own == held,
                "the latency of its result frame",
            );
        }
        let span = intent
            .ms("completed_at")
            .zip(form::client_ms(intent.str("requested_at")));
        if let Some((ms, (completed, requested))) = held.zip(span)
            && (own.is_none() || builtin)
            && !unusual(intent, &trace)
        {
            let near = (completed - requested - ms).abs() <= 1_000;
            look.hold(
                intent,
                "round_trip_latency_ms",
                near,
                "completed_at minus requested_at, within a second",
            );
        }
    }
    look.end()
}

fn parties_exist(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        look.seen();
        let federated = |id: &str| facts.find("federated_agents", "beam_id", id).is_some();
        let trace = trace_of(facts, intent);
        let foreign = trace.iter().any(|row| {
            let details = row.str("details");
            details.contains("federat") && !details.contains("\"local-or-federated\"")
        });
        let from = intent.str("from_beam_id");
        let known = facts.registered(from) || federated(from) || foreign;
        look.hold(intent, "from_beam_id", known, "an agent that is registered");
        let to = intent.str("to_beam_id");
        let answered = intent.str("status") == "acked" || intent.str("status") == "delivered";
        let known = !answered || to == "echo@beam.directory" || facts.registered(to) || federated(to) || foreign;
        look.hold(
            intent,
            "to_beam_id",
            known,
            "an agent that is registered, for it answered",
        );
    }
    look.end()
}

fn nonce_once(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for intent in facts.rows("intent_log") {
        look.seen();
        let first = facts.find("intent_log", "nonce", intent.str("nonce"));
        look.hold(
            intent,
            "nonce",
            first.is_some_and(|first| first.at == intent.at),
            "a nonce of its own",
        );
    }
    look.end()
}
