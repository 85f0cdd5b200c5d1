//! Rules of beta requests: what the audit log says of them, their times, their e-mail, their proof.
//!
//! Source: Beam 1.6.0, contract 2.3; that an audit row follows its row within two seconds is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use serde_json::Value;
use std::collections::HashSet;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "R05",
        title: "request is as the audit left it",
        why: "each PATCH writes admin.beta_request.updated with status, owner, proof nonce and prerequisites of the row (contract 2.3)",
        needs: &["waitlist", "audit_log"],
        run: as_audited,
    },
    Rule {
        name: "R06",
        title: "request times",
        why: "created, stage entered, updated in this order, each at a call that wrote the row (contract 2.3)",
        needs: &["waitlist", "audit_log"],
        run: times,
    },
    Rule {
        name: "R07",
        title: "request creation audited",
        why: "a new e-mail writes beta_request.created: actor is the e-mail, target the company, details the form (contract 2.3)",
        needs: &["waitlist", "audit_log"],
        run: creation,
    },
    Rule {
        name: "R08",
        title: "one request an e-mail",
        why: "the e-mail is the logical key: a known one updates its row (contract 2.3)",
        needs: &["waitlist"],
        run: one_per_mail,
    },
    Rule {
        name: "R09",
        title: "proof nonce exists",
        why: "a proof nonce must stand in intent_log when it is set; only a prune or agent delete removes it (contract 2.3)",
        needs: &["waitlist", "intent_log"],
        run: proof_exists,
    },
];

/// What two rows written by one call may be apart, in milliseconds.
pub(super) const ONE_CALL_MS: i64 = 2_000;

/// Audit rows that changed a request, in their order.
pub(super) fn changes<'f>(facts: &'f Facts, request: Record<'_>) -> Vec<Record<'f>> {
    let rows = facts.of("audit_log", "target", &request.rowid().to_string());
    let update = |row: &Record<'_>| {
        row.str("action") == "admin.beta_request.updated" && row.ms("timestamp") >= request.ms("created_at")
    };
    rows.into_iter().filter(update).collect()
}

/// Whether a later POST of the same e-mail wrote the row: it leaves no audit row and no notification behind.
pub(super) fn posted_again(facts: &Facts, request: Record<'_>) -> bool {
    let last = changes(facts, request).last().and_then(|row| row.ms("timestamp"));
    match last {
        Some(ms) => request.ms("updated_at").is_some_and(|updated| updated > ms),
        None => request.text("updated_at") != request.text("created_at"),
    }
}

fn as_audited(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    for request in facts.rows("waitlist") {
        look.seen();
        let changes = changes(facts, request);
        let details = changes.last().map(|row| row.json("details")).unwrap_or(Value::Null);
        let status = details["status"].as_str().unwrap_or("new");
        let same = request.str("status") == status || (status == "closed" && request.str("status") == "new");
        look.hold(request, "status", same, format_args!("{status}, as the audit log says"));
        for (column, member) in [("owner", "owner"), ("proof_intent_nonce", "proofIntentNonce")] {
            let same = request.text(column) == details[member].as_str();
            look.hold(request, column, same, "what the audit log says");
        }
        let blocked = request.json("blocked_prerequisites");
        let told = details
            .get("blockedPrerequisites")
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty());
        look.hold(
            request,
            "blocked_prerequisites",
            blocked.as_array() == told,
            "what the audit log says",
        );
        let told = |member: &str| changes.iter().any(|row| row.json("details")[member] == true);
        for (column, member) in [
            ("operator_notes", "operatorNotesChanged"),
            ("next_action", "nextActionChanged"),
            ("next_meeting_at", "nextMeetingChanged"),
            ("reminder_at", "reminderChanged"),
        ] {
            look.hold(
                request,
                column,
                told(member) || request.is_null(column),
                "NULL, as no audit row tells of a change",
            );
        }
        contact(&mut look, request, &changes, told("lastContactChanged"));
    }
    look.end()
}

fn contact(look: &mut Look, request: Record<'_>, changes: &[Record<'_>], set: bool) {
    let in_contact = |status: &str| matches!(status, "contacted" | "scheduled" | "active");
    let reached = changes
        .iter()
        .any(|row| row.json("details")["status"].as_str().is_some_and(in_contact));
    let lawful = set || reached || request.is_null("last_contact_at");
    look.hold(request, "last_contact_at", lawful, "NULL, as nobody was in contact");
    let needed = in_contact(request.str("status")) && !set;
    look.hold(
        request,
        "last_contact_at",
        !(needed && request.is_null("last_contact_at")),
        "a time, as the stage needs a contact",
    );
    let given = request.ms("last_contact_at");
    if let Some(ms) = given.filter(|_| !set && reached) {
        let near = changes
            .iter()
            .filter_map(|row| row.ms("timestamp"))
            .any(|at| (at - ms).abs() <= ONE_CALL_MS);
        look.hold(request, "last_contact_at", near, "the time of a PATCH");
    }
}

fn times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let pruned = facts.pruned("audit");
    for request in facts.rows("waitlist") {
        let (created, entered, updated) = (
            request.ms("created_at"),
            request.ms("stage_entered_at"),
            request.ms("updated_at"),
        );
        let Some(((created, entered), updated)) = created.zip(entered).zip(updated) else {
            continue;
        };
        look.seen();
        look.hold(
            request,
            "stage_entered_at",
            (created..=updated).contains(&entered),
            "between created_at and updated_at",
        );
        if let Some(reason) = &pruned {
            look.relax(reason);
            continue;
        }
        let changes = changes(facts, request);
        let again = posted_again(facts, request);
        let patched: Vec<i64> = changes.iter().filter_map(|row| row.ms("timestamp")).collect();
        let by_patch = patched.iter().any(|at| (0..=ONE_CALL_MS).contains(&(at - entered)));
        let lawful = entered == created || by_patch || (again && entered == updated);
        look.hold(
            request,
            "stage_entered_at",
            lawful,
            "created_at, or the time of a PATCH that changed the stage",
        );
        if let Some(last) = patched.last() {
            let lawful = again || (0..=ONE_CALL_MS).contains(&(last - updated));
            look.hold(
                request,
                "updated_at",
                lawful && updated + ONE_CALL_MS >= *last,
                "the time of the last PATCH, or a later POST",
            );
            let stages: Vec<String> = changes
                .iter()
                .map(|row| row.json("details")["status"].to_string())
                .collect();
            let stepped = stages.last().map(String::as_str)
                != stages.len().checked_sub(2).map(|at| stages[at].as_str())
                && stages.last().map(String::as_str) != Some("\"new\"");
            let first = stages.len() == 1 && stepped;
            look.hold(
                request,
                "stage_entered_at",
                !first || again || entered == updated,
                "updated_at, as the last PATCH changed the stage",
            );
        }
    }
    look.end()
}

fn creation(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    for request in facts.rows("waitlist") {
        look.seen();
        let Some(created) = request.ms("created_at") else {
            continue;
        };
        let rows = facts.of("audit_log", "actor", request.str("email"));
        let written = |row: &&Record<'_>| {
            row.str("action") == "beta_request.created"
                && row
                    .ms("timestamp")
                    .is_some_and(|at| (-5..=ONE_CALL_MS).contains(&(at - created)))
        };
        let Some(audit) = rows.iter().find(written) else {
            look.row(
                request,
                false,
                "its beta_request.created in the audit log, at its created_at",
                "none",
            );
            continue;
        };
        if posted_again(facts, request) {
            continue;
        }
        let partner = request.text("company").or(request.text("email"));
        look.hold(
            request,
            "company",
            audit.text("target") == partner,
            "the target of its audit row",
        );
        let details = audit.json("details");
        for (column, member) in [("source", "source"), ("workflow_type", "workflowType")] {
            look.hold(
                request,
                column,
                details[member].as_str() == request.text(column),
                "what its audit row says",
            );
        }
        let count = details["agentCount"].as_i64() == request.int("agent_count");
        look.hold(request, "agent_count", count, "what its audit row says");
    }
    let cleared = facts.cleared();
    for audit in facts.audited("beta_request.created") {
        look.seen();
        if facts.find("waitlist", "email", audit.str("actor")).is_some() {
            continue;
        }
        match &cleared {
            Some(reason) => look.relax(reason),
            None => look.row(audit, false, "the request that it tells of", "none"),
        }
    }
    look.end()
}

fn one_per_mail(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut known = HashSet::new();
    for request in facts.rows("waitlist") {
        look.seen();
        look.hold(
            request,
            "email",
            known.insert(request.str("email")),
            "an e-mail of its own",
        );
    }
    look.end()
}

fn proof_exists(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let gone = facts.intents_gone();
    for request in facts
        .rows("waitlist")
        .filter(|request| !request.is_null("proof_intent_nonce"))
    {
        look.seen();
        let there = facts
            .find("intent_log", "nonce", request.str("proof_intent_nonce"))
            .is_some();
        match &gone {
            Some(reason) if !there => look.relax(reason),
            _ => look.hold(request, "proof_intent_nonce", there, "a nonce of intent_log"),
        }
    }
    look.end()
}
