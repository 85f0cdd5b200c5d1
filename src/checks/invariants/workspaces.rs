//! Rules of workspaces and their policies: what the audit log says of them.
//!
//! Source: Beam 1.6.0, contract 2.11; that an audit row follows its row within two seconds is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::requests::ONE_CALL_MS;
use serde_json::Value;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "W01",
        title: "creation audited",
        why: "each workspace, identity, channel and thread writes its created row, at the same time (contract 2.11)",
        needs: &[
            "workspaces",
            "workspace_identity_bindings",
            "workspace_partner_channels",
            "workspace_threads",
            "audit_log",
        ],
        run: creation,
    },
    Rule {
        name: "W02",
        title: "workspace is as the audit left it",
        why: "the created row repeats organisation, scope and handoffs, and nothing changes them (contract 2.11)",
        needs: &["workspaces", "audit_log"],
        run: workspace_fields,
    },
    Rule {
        name: "W08",
        title: "workspace policies",
        why: "one row a workspace, empty without an editor until admin.workspace_policy.updated (contract 2.11, 4.3)",
        needs: &["workspaces", "workspace_policies", "audit_log"],
        run: policies,
    },
];

/// The slug of the workspace that a row belongs to.
pub(super) fn slug_of<'f>(facts: &'f Facts, row: Record<'_>) -> Option<&'f str> {
    facts.by_id("workspaces", row.int("workspace_id")?)?.text("slug")
}

/// A kind of row, the audit action of its creation, and the part of the target behind the slug.
type Kind = (&'static str, &'static str, fn(Record<'_>) -> String);

const KINDS: &[Kind] = &[
    ("workspaces", "admin.workspace.created", |_| String::new()),
    (
        "workspace_identity_bindings",
        "admin.workspace_identity.created",
        |row| format!(":{}", row.str("beam_id")),
    ),
    (
        "workspace_partner_channels",
        "admin.workspace_partner_channel.created",
        |row| format!(":{}", row.str("partner_beam_id")),
    ),
    ("workspace_threads", "admin.workspace_thread.created", |row| {
        format!(":{}", row.rowid())
    }),
];

fn creation(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    for (table, action, suffix) in KINDS {
        for row in facts.rows(table) {
            let slug = if *table == "workspaces" {
                row.text("slug")
            } else {
                slug_of(facts, row)
            };
            let Some(slug) = slug else { continue };
            look.seen();
            let target = format!("{slug}{}", suffix(row));
            let audit = facts
                .of("audit_log", "target", &target)
                .into_iter()
                .find(|audit| audit.str("action") == *action);
            let Some(audit) = audit else {
                look.row(row, false, format_args!("its {action} in the audit log"), "none");
                continue;
            };
            let times = audit.ms("timestamp").zip(row.ms("created_at"));
            let near = times.is_some_and(|(told, created)| (-5..=ONE_CALL_MS).contains(&(told - created)));
            look.hold(
                row,
                "created_at",
                near,
                format_args!("{}, as audit row {}", audit.shown("timestamp"), audit.rowid()),
            );
            let order = row.ms("updated_at") >= row.ms("created_at");
            look.hold(row, "updated_at", order, "not before created_at");
        }
    }
    look.end()
}

fn workspace_fields(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("workspaces") {
        let audits = facts.of("audit_log", "target", row.str("slug"));
        let Some(audit) = audits
            .iter()
            .find(|audit| audit.str("action") == "admin.workspace.created")
        else {
            continue;
        };
        look.seen();
        let details = audit.json("details");
        look.hold(
            row,
            "org_name",
            details["orgName"].as_str() == row.text("org_name"),
            "what the audit log says",
        );
        let scope = details["defaultThreadScope"].as_str() == row.text("default_thread_scope");
        look.hold(row, "default_thread_scope", scope, "what the audit log says");
        let handoffs = details["externalHandoffsEnabled"].as_bool().map(i64::from);
        let same = handoffs == row.int("external_handoffs_enabled");
        look.hold(row, "external_handoffs_enabled", same, "what the audit log says");
        let digest = audits.iter().any(|audit| audit.str("action").contains("digest"));
        let touched = row.text("updated_at") != row.text("created_at");
        if touched && !digest {
            let prefix = format!("{}:", row.str("slug"));
            let near = facts.rows("audit_log").any(|audit| {
                let of_it = audit.str("target") == row.str("slug") || audit.str("target").starts_with(&prefix);
                let apart = audit
                    .ms("timestamp")
                    .zip(row.ms("updated_at"))
                    .map(|(told, updated)| told - updated);
                of_it && apart.is_some_and(|ms| (-5..=ONE_CALL_MS).contains(&ms))
            });
            look.hold(
                row,
                "updated_at",
                near || facts.pruned("audit").is_some(),
                "created_at, or the time of an audited change",
            );
        }
    }
    look.end()
}

fn policies(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for workspace in facts.rows("workspaces") {
        look.seen();
        let there = facts.by_id("workspace_policies", workspace.rowid()).is_some();
        look.row(workspace, there, "a row in workspace_policies", "none");
    }
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    for policy in facts.rows("workspace_policies") {
        look.seen();
        let Some(workspace) = facts.by_id("workspaces", policy.rowid()) else {
            look.hold(policy, "workspace_id", false, "a workspace");
            continue;
        };
        let actions = [
            "admin.workspace_policy.updated",
            "admin.workspace_identity.policy_updated",
        ];
        let prefix = format!("{}:", workspace.str("slug"));
        let last = facts.rows("audit_log").rfind(|audit| {
            let of_it = audit.str("target") == workspace.str("slug") || audit.str("target").starts_with(&prefix);
            of_it && actions.contains(&audit.str("action"))
        });
        let Some(audit) = last else {
            look.hold(
                policy,
                "policy_json",
                policy.str("policy_json") == "{}",
                "{}, as no audit row tells of a change",
            );
            look.hold(
                policy,
                "updated_by",
                policy.is_null("updated_by"),
                "NULL, as no audit row tells of a change",
            );
            let same = policy.text("updated_at") == workspace.text("created_at");
            look.hold(policy, "updated_at", same, "the workspace's created_at");
            continue;
        };
        look.hold(
            policy,
            "updated_by",
            policy.text("updated_by") == audit.text("actor"),
            "the actor of the audit row",
        );
        let times = audit.ms("timestamp").zip(policy.ms("updated_at"));
        let near = times.is_some_and(|(told, updated)| (-5..=ONE_CALL_MS).contains(&(told - updated)));
        look.hold(
            policy,
            "updated_at",
            near,
            format_args!("{}, as audit row {}", audit.shown("timestamp"), audit.rowid()),
        );
        policy_content(&mut look, policy, audit);
    }
    look.end()
}

fn policy_content(look: &mut Look, policy: Record<'_>, audit: Record<'_>) {
    let (held, told) = (policy.json("policy_json"), audit.json("details"));
    look.hold(policy, "policy_json", held["version"] == 1, "version 1");
    if audit.str("action") != "admin.workspace_policy.updated" {
        return;
    }
    let initiation = told["defaultExternalInitiation"] == held["defaults"]["externalInitiation"];
    look.hold(policy, "policy_json", initiation, "the default of the audit row");
    for member in ["bindingRules", "workflowRules"] {
        let count = held[member].as_array().map(|rules| Value::from(rules.len()));
        let same = told.get(member).is_none_or(|told| Some(told) == count.as_ref());
        look.hold(
            policy,
            "policy_json",
            same,
            format_args!("as many {member} as the audit row says"),
        );
    }
}
