//! Rules of access lists: their form, and that what was delivered was allowed.
//!
//! Source: Beam 1.6.0, contract 2.6, 2.7.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::shapes::INTENT_TYPES;
use crate::checks::invariants::traces::trace_of;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "A11",
        title: "access lists",
        why: "an entry is younger than its target, which must exist, and allows a sender, an organisation, a suffix or all (contract 2.6)",
        needs: &["intent_acls", "agents"],
        run: access_lists,
    },
    Rule {
        name: "A12",
        title: "delivered intents had an entry",
        why: "without an access-list entry nothing is delivered to a registered recipient (contract 2.6, 2.7 check 8)",
        needs: &["intent_acls", "intent_log", "agents"],
        run: delivered_allowed,
    },
];

fn allows(entry: Record<'_>, sender: &str) -> bool {
    let allowed = entry.str("allowed_from");
    allowed == "*" || allowed == sender || allowed.strip_prefix('*').is_some_and(|suffix| sender.ends_with(suffix))
}

fn access_lists(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for entry in facts.rows("intent_acls") {
        look.seen();
        let target = facts.find("agents", "beam_id", entry.str("target_beam_id"));
        let born = target.and_then(|agent| agent.ms("created_at"));
        let younger = entry
            .ms("created_at")
            .zip(born)
            .is_some_and(|(entry, born)| entry + 5 >= born);
        look.hold(entry, "created_at", younger, "not before its target");
        let allowed = entry.str("allowed_from");
        let suffix = allowed.strip_prefix("*@").or_else(|| allowed.strip_prefix("*."));
        let lawful = allowed == "*"
            || form::split_beam_id(allowed).is_some()
            || suffix.is_some_and(|suffix| {
                suffix.contains('.') && !suffix.contains(char::is_whitespace) && suffix == suffix.to_lowercase()
            });
        look.hold(
            entry,
            "allowed_from",
            lawful,
            "*, a Beam id, *@org.beam.directory or *.suffix",
        );
        let kind = entry.str("intent_type");
        let named = kind == "*" || INTENT_TYPES.contains(&kind);
        look.hold(entry, "intent_type", named, "a type of the catalogue");
    }
    look.end()
}

fn delivered_allowed(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let given = facts
        .find("sqlite_sequence", "name", "intent_acls")
        .and_then(|row| row.int("seq"))
        .unwrap_or(0);
    if given != i64::try_from(facts.count("intent_acls")).unwrap_or(i64::MAX) {
        look.relax("access-list entries were deleted or written again");
        return look.end();
    }
    for intent in facts
        .rows("intent_log")
        .filter(|intent| matches!(intent.str("status"), "acked" | "delivered"))
    {
        let recipient = intent.str("to_beam_id");
        let by_http = trace_of(facts, intent)
            .first()
            .is_some_and(|row| row.str("details").contains("\"transport\":\"http\""));
        let bound = facts
            .find("workspace_identity_bindings", "beam_id", recipient)
            .is_some()
            && facts
                .audited("admin.workspace_thread.dispatched")
                .iter()
                .any(|row| row.str("details").contains(intent.str("nonce")));
        if !facts.registered(recipient) || !by_http || bound {
            continue;
        }
        look.seen();
        let entries = facts.of("intent_acls", "target_beam_id", recipient);
        let allowed = entries.iter().any(|entry| {
            entry.text("intent_type") == intent.text("intent_type") && allows(*entry, intent.str("from_beam_id"))
        });
        look.row(
            intent,
            allowed,
            "an access-list entry of its recipient for its sender and type",
            "none",
        );
    }
    look.end()
}
