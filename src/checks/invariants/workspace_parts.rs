//! Rules of what hangs on a workspace: identities, partner channels, threads and their participants.
//!
//! Source: Beam 1.6.0, contract 2.11, 4.3; what last_activity_at starts with is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::requests::ONE_CALL_MS;
use crate::checks::invariants::workspaces::slug_of;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "W03",
        title: "identity is as the audit left it",
        why: "created, updated and policy_updated rows repeat type, owner, runtime, profile, scope, initiation and status (contract 2.11)",
        needs: &["workspaces", "workspace_identity_bindings", "audit_log"],
        run: identities,
    },
    Rule {
        name: "W04",
        title: "channel is as the audit left it",
        why: "created and updated rows repeat owner, status and last nonce, which must exist (contract 2.11)",
        needs: &["workspaces", "workspace_partner_channels", "audit_log", "intent_log"],
        run: channels,
    },
    Rule {
        name: "W05",
        title: "thread is as the audit left it",
        why: "the created row repeats kind, workflow, draft type, linked nonce and number of participants (contract 2.11)",
        needs: &[
            "workspaces",
            "workspace_threads",
            "workspace_thread_participants",
            "audit_log",
        ],
        run: threads,
    },
    Rule {
        name: "W06",
        title: "thread rules",
        why: "internal threads link and draft nothing; a handoff links an intent or is blocked or closed; a draft has type and payload (contract 2.11)",
        needs: &["workspace_threads", "intent_log"],
        run: thread_rules,
    },
    Rule {
        name: "W07",
        title: "participants",
        why: "a binding is one of the same workspace and Beam id, and who is no human is named by its Beam id (contract 2.11)",
        needs: &[
            "workspace_threads",
            "workspace_thread_participants",
            "workspace_identity_bindings",
        ],
        run: participants,
    },
];

/// Audit rows of a target whose action starts with `prefix`, in their order.
fn history<'f>(facts: &'f Facts, target: &str, prefix: &str) -> Vec<Record<'f>> {
    let rows = facts.of("audit_log", "target", target);
    rows.into_iter()
        .filter(|row| row.str("action").starts_with(prefix))
        .collect()
}

/// Members of all details, a later row's over an earlier one's.
fn latest(history: &[Record<'_>]) -> Map<String, Value> {
    let mut members = Map::new();
    for row in history {
        if let Value::Object(details) = row.json("details") {
            members.extend(details);
        }
    }
    members
}

/// Holds columns against the members that audit rows gave them.
fn as_told(look: &mut Look, row: Record<'_>, told: &Map<String, Value>, pairs: &[(&str, &str)]) {
    for (column, member) in pairs {
        let Some(value) = told.get(*member) else { continue };
        let same = match value {
            Value::Bool(flag) => row.int(column) == Some(i64::from(*flag)),
            Value::Null => row.is_null(column),
            other => other.as_str() == row.text(column),
        };
        look.hold(row, column, same, "what the audit log says");
    }
}

/// `updated_at` is `created_at` until an audited change, then the time of the last one.
fn updated(look: &mut Look, row: Record<'_>, history: &[Record<'_>]) {
    match history {
        [_] => {
            let near = row
                .ms("updated_at")
                .zip(row.ms("created_at"))
                .is_some_and(|(updated, created)| updated - created <= 50);
            look.hold(row, "updated_at", near, "created_at, as no audit row tells of a change");
        }
        [.., last] => {
            let times = last.ms("timestamp").zip(row.ms("updated_at"));
            let near = times.is_some_and(|(told, updated)| (-5..=ONE_CALL_MS).contains(&(told - updated)));
            look.hold(
                row,
                "updated_at",
                near,
                format_args!("{}, as audit row {}", last.shown("timestamp"), last.rowid()),
            );
        }
        [] => {}
    }
}

fn identities(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("workspace_identity_bindings") {
        let Some(slug) = slug_of(facts, row) else { continue };
        let history = history(
            facts,
            &format!("{slug}:{}", row.str("beam_id")),
            "admin.workspace_identity.",
        );
        look.seen();
        let mut told = latest(&history);
        let has = |suffix: &str| history.iter().any(|audit| audit.str("action").ends_with(suffix));
        if has("policy_updated") {
            told.remove("canInitiateExternal");
        }
        as_told(
            &mut look,
            row,
            &told,
            &[
                ("binding_type", "bindingType"),
                ("owner", "owner"),
                ("runtime_type", "runtimeType"),
                ("policy_profile", "policyProfile"),
                ("default_thread_scope", "defaultThreadScope"),
                ("can_initiate_external", "canInitiateExternal"),
                ("status", "status"),
            ],
        );
        if !has("policy_updated") && !has("credential_reissued") {
            updated(&mut look, row, &history);
        }
        let known = row.str("binding_type") == "partner"
            || facts.registered(row.str("beam_id"))
            || facts.agent_deleted().is_some();
        look.hold(
            row,
            "beam_id",
            known,
            "an agent that is registered, as it is no partner",
        );
    }
    look.end()
}

/// Whether threads of the workspace were dispatched or synced, which moves channel and thread.
fn dispatched(facts: &Facts, slug: &str) -> bool {
    let prefix = format!("{slug}:");
    ["admin.workspace_thread.dispatched", "admin.workspace_thread.synced"]
        .iter()
        .any(|action| {
            facts
                .audited(action)
                .iter()
                .any(|row| row.str("target") == slug || row.str("target").starts_with(&prefix))
        })
}

fn channels(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("workspace_partner_channels") {
        look.seen();
        if let Some(nonce) = row.text("last_intent_nonce") {
            let there = facts.find("intent_log", "nonce", nonce).is_some() || facts.intents_gone().is_some();
            look.hold(row, "last_intent_nonce", there, "a nonce of intent_log");
        }
        let Some(slug) = slug_of(facts, row) else { continue };
        if dispatched(facts, slug) {
            look.relax(format!("threads of workspace {slug} were dispatched"));
            continue;
        }
        let history = history(
            facts,
            &format!("{slug}:{}", row.str("partner_beam_id")),
            "admin.workspace_partner_channel.",
        );
        let mut told = latest(&history);
        if !history.is_empty() {
            told.entry("lastIntentNonce").or_insert(Value::Null);
        }
        let pairs = [
            ("owner", "owner"),
            ("status", "status"),
            ("last_intent_nonce", "lastIntentNonce"),
        ];
        as_told(&mut look, row, &told, &pairs);
        updated(&mut look, row, &history);
        if history.len() == 1 {
            for column in ["last_success_at", "last_failure_at"] {
                look.hold(
                    row,
                    column,
                    row.is_null(column),
                    "NULL, as no audit row tells of a change",
                );
            }
        }
    }
    look.end()
}

fn threads(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut counts: HashMap<i64, u64> = HashMap::new();
    for part in facts.rows("workspace_thread_participants") {
        *counts.entry(part.int("thread_id").unwrap_or(-1)).or_insert(0) += 1;
    }
    for row in facts.rows("workspace_threads") {
        let Some(slug) = slug_of(facts, row) else { continue };
        let history = history(facts, &format!("{slug}:{}", row.rowid()), "admin.workspace_thread.");
        look.seen();
        let mut told = latest(&history);
        if history.iter().any(|audit| !audit.str("action").ends_with(".created")) {
            for member in ["linkedIntentNonce", "draftIntentType"] {
                told.remove(member);
            }
        } else {
            updated(&mut look, row, &history);
        }
        as_told(
            &mut look,
            row,
            &told,
            &[
                ("kind", "kind"),
                ("workflow_type", "workflowType"),
                ("draft_intent_type", "draftIntentType"),
                ("linked_intent_nonce", "linkedIntentNonce"),
            ],
        );
        let count = counts.get(&row.rowid()).copied().unwrap_or(0);
        let same = told
            .get("participants")
            .and_then(Value::as_u64)
            .is_none_or(|told| told == count);
        look.row(row, same, "as many participants as the audit log says", count);
    }
    look.end()
}

fn thread_rules(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let gone = facts.intents_gone();
    for row in facts.rows("workspace_threads") {
        look.seen();
        let linked = row.text("linked_intent_nonce");
        if row.str("kind") == "internal" {
            for column in ["linked_intent_nonce", "draft_intent_type", "draft_payload_json"] {
                look.hold(row, column, row.is_null(column), "NULL, as the thread is internal");
            }
        } else if gone.is_none() {
            let lawful = linked.is_some() || matches!(row.str("status"), "blocked" | "closed");
            look.hold(row, "linked_intent_nonce", lawful, "a nonce, as the handoff is open");
        }
        let draft = row.is_null("draft_intent_type") == row.is_null("draft_payload_json");
        look.hold(
            row,
            "draft_payload_json",
            draft,
            "a payload exactly where there is a draft type",
        );
        let intent = linked.and_then(|nonce| facts.find("intent_log", "nonce", nonce));
        if let (Some(intent), Some(kind)) = (intent, row.text("draft_intent_type")) {
            look.hold(
                row,
                "draft_intent_type",
                intent.str("intent_type") == kind,
                "the linked intent's type",
            );
        }
        let audits = slug_of(facts, row)
            .map(|slug| history(facts, &format!("{slug}:{}", row.rowid()), "admin.workspace_thread."));
        if audits.is_some_and(|audits| audits.len() > 1) {
            continue;
        }
        let active = row.text("last_activity_at");
        let lawful = match intent {
            Some(intent) => {
                let times = [
                    intent.text("requested_at"),
                    intent.text("completed_at"),
                    row.text("created_at"),
                ];
                times.contains(&active)
            }
            None => gone.is_some() || active == row.text("created_at"),
        };
        look.hold(
            row,
            "last_activity_at",
            lawful,
            "the linked intent's time, or created_at",
        );
    }
    look.end()
}

fn participants(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("workspace_thread_participants") {
        let Some(thread) = row.int("thread_id").and_then(|id| facts.by_id("workspace_threads", id)) else {
            continue;
        };
        look.seen();
        if row.str("principal_type") == "human" {
            look.hold(
                row,
                "principal_id",
                !row.str("principal_id").ends_with(".beam.directory"),
                "a human's name",
            );
        } else {
            let named = row.text("beam_id") == row.text("principal_id");
            look.hold(row, "principal_id", named, "its Beam id, as it is no human");
            let bound = facts.rows("workspace_identity_bindings").find(|binding| {
                binding.int("workspace_id") == thread.int("workspace_id")
                    && binding.text("beam_id") == row.text("beam_id")
            });
            if let Some(binding) = bound {
                let same = binding.str("binding_type") == row.str("principal_type");
                look.hold(
                    row,
                    "principal_type",
                    same,
                    format_args!("{}, as its binding", binding.shown("binding_type")),
                );
            }
        }
        if let Some(id) = row.int("workspace_binding_id") {
            let binding = facts.by_id("workspace_identity_bindings", id);
            let lawful = binding.is_some_and(|binding| {
                binding.int("workspace_id") == thread.int("workspace_id")
                    && binding.text("beam_id") == row.text("beam_id")
            });
            look.hold(
                row,
                "workspace_binding_id",
                lawful,
                "a binding of its workspace and Beam id",
            );
        }
        let times = row.ms("created_at").zip(thread.ms("created_at"));
        let near = times.is_some_and(|(mine, theirs)| (-5..=ONE_CALL_MS).contains(&(mine - theirs)));
        look.hold(row, "created_at", near, "the thread's created_at");
        let same = row.text("updated_at") == row.text("created_at");
        look.hold(row, "updated_at", same, "created_at, as nothing changes participants");
    }
    look.end()
}
