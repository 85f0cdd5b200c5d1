//! Rules of the audit log itself, of organisations, public limits, reports, and of when it all began.
//!
//! Source: Beam 1.6.0, contract 2.3, 2.6, 2.12, 4.3, 5.1, appendix B.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::requests::ONE_CALL_MS;
use std::collections::HashMap;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "A04",
        title: "public limits are as the audit left them",
        why: "each PATCH writes shield.public_policy.updated with the whole policy, and nothing deletes the row (contract 2.6)",
        needs: &["shield_policies", "audit_log"],
        run: public_policy,
    },
    Rule {
        name: "A05",
        title: "audit rows name known things",
        why: "an audited workspace, request, notification or thread exists, and who acted had logged in (contract 2.2 to 2.11)",
        needs: &[
            "audit_log",
            "workspaces",
            "waitlist",
            "operator_notifications",
            "workspace_threads",
        ],
        run: known_things,
    },
    Rule {
        name: "A06",
        title: "audit actions known",
        why: "the actions of a release are a closed list (contract appendix B)",
        needs: &["audit_log"],
        run: known_actions,
    },
    Rule {
        name: "A07",
        title: "organisations",
        why: "beam_domain follows the name, and verified_at stands exactly where verified is set (contract 2.12, 4.3)",
        needs: &["orgs"],
        run: organisations,
    },
    Rule {
        name: "A08",
        title: "digest schedule",
        why: "one row, made at the first start; without a run it has no dates (contract 5.1)",
        needs: &["openclaw_fleet_digest_schedules", "openclaw_fleet_digest_runs"],
        run: digest_schedule,
    },
    Rule {
        name: "A09",
        title: "reports and events",
        why: "both parties of a report were registered when it was written, and reports start as pending (contract 2.12, 4.3)",
        needs: &["reports", "funnel_events", "agents"],
        run: reports,
    },
    Rule {
        name: "A10",
        title: "nothing before the database",
        why: "the first start makes the digest schedule, and no server time is older (contract 5.1)",
        needs: &["openclaw_fleet_digest_schedules"],
        run: nothing_before,
    },
];

fn public_policy(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let audits = facts.audited("shield.public_policy.updated");
    let policy = facts.find("shield_policies", "policy_key", "public-endpoints");
    match (audits.last(), policy) {
        (None, Some(row)) => match facts.pruned("audit") {
            Some(reason) => look.relax(reason),
            None => look.row(row, false, "an audit row that tells of it", "none"),
        },
        (Some(audit), None) => look.row(*audit, false, "the policy that it tells of in shield_policies", "none"),
        (Some(audit), Some(row)) => {
            look.seen();
            let same = audit.json("details")["policy"] == row.json("config_json");
            look.hold(
                row,
                "config_json",
                same,
                format_args!("the policy of audit row {}", audit.rowid()),
            );
            let times = audit.ms("timestamp").zip(row.ms("updated_at"));
            let near = times.is_some_and(|(told, updated)| (-5..=ONE_CALL_MS).contains(&(told - updated)));
            look.hold(
                row,
                "updated_at",
                near,
                format_args!("{}, as audit row {}", audit.shown("timestamp"), audit.rowid()),
            );
        }
        (None, None) => {}
    }
    for row in facts.rows("shield_policies") {
        look.seen();
        look.hold(
            row,
            "policy_key",
            row.str("policy_key") == "public-endpoints",
            "public-endpoints",
        );
    }
    look.end()
}

fn known_things(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let cleared = facts.cleared();
    let has_logins = facts.pruned("audit").is_none();
    let known_actors = Known {
        challenged: first_of(facts, "admin.auth.challenge.issued"),
        logged_in: first_of(facts, "admin.auth.login"),
    };
    for audit in facts.rows("audit_log") {
        look.seen();
        let (action, target) = (audit.str("action"), audit.str("target"));
        let id = target.parse::<i64>().ok();
        let known = if action.starts_with("admin.workspace") {
            Some(workspace_target(facts, action, target))
        } else if action.starts_with("admin.beta_request.") {
            let there = id.is_some_and(|id| facts.by_id("waitlist", id).is_some());
            (cleared.is_none()).then_some(there)
        } else if action == "admin.operator_notification.updated" {
            let notice = id.and_then(|id| facts.by_id("operator_notifications", id));
            let key = audit.json("details")["sourceKey"].as_str().map(str::to_owned);
            Some(notice.is_some_and(|notice| key.is_none() || key.as_deref() == notice.text("source_key")))
        } else if action == "shield.public_policy.updated" {
            Some(target == "public-endpoints")
        } else {
            None
        };
        look.hold(audit, "target", known != Some(false), "something that is there");
        let nonce = audit.json("details")["proofIntentNonce"].as_str().map(str::to_owned);
        if let Some(nonce) = nonce.filter(|_| facts.intents_gone().is_none()) {
            let there = facts.find("intent_log", "nonce", &nonce).is_some();
            look.hold(audit, "details", there, "a proof nonce of intent_log");
        }
        if has_logins {
            actor(&mut look, audit, &known_actors);
        }
    }
    look.end()
}

/// The lowest id of the audit rows of an action by actor and target.
fn first_of<'f>(facts: &'f Facts, action: &str) -> HashMap<(&'f str, &'f str), i64> {
    let mut first = HashMap::new();
    for row in facts.audited(action) {
        first
            .entry((row.str("actor"), row.str("target")))
            .or_insert_with(|| row.rowid());
    }
    first
}

/// Who had asked for a link or logged in, and with which role.
struct Known<'f> {
    challenged: HashMap<(&'f str, &'f str), i64>,
    logged_in: HashMap<(&'f str, &'f str), i64>,
}

fn actor(look: &mut Look, audit: Record<'_>, known: &Known<'_>) {
    let (action, actor) = (audit.str("action"), audit.str("actor"));
    let by_session = (action.starts_with("admin.") && !action.starts_with("admin.auth.challenge"))
        || matches!(action, "shield.public_policy.updated" | "observability.prune");
    if !by_session {
        return;
    }
    let before = |first: &HashMap<(&str, &str), i64>, role: &str| {
        first.get(&(actor, role)).is_some_and(|id| *id < audit.rowid())
    };
    if action == "admin.auth.login" {
        let lawful = before(&known.challenged, audit.str("target"));
        look.hold(
            audit,
            "actor",
            lawful,
            "an e-mail with a challenge before, and its role",
        );
        return;
    }
    let roles = ["admin", "operator", "viewer"];
    let lawful = roles.iter().any(|role| before(&known.logged_in, role));
    look.hold(audit, "actor", lawful, "an e-mail that had logged in");
    let details = audit.json("details");
    let role = details["role"].as_str().filter(|_| !action.starts_with("admin.role."));
    if let Some(role) = role {
        let same = known.logged_in.contains_key(&(actor, role));
        look.hold(audit, "details", same, "a role that the actor logged in with");
    }
}

fn workspace_target(facts: &Facts, action: &str, target: &str) -> bool {
    let (slug, part) = match target.split_once(':') {
        Some((slug, part)) => (slug, Some(part)),
        None => (target, None),
    };
    let Some(workspace) = facts.find("workspaces", "slug", slug) else {
        return false;
    };
    let of_it = |row: &Record<'_>| row.int("workspace_id") == Some(workspace.rowid());
    let child =
        |table: &'static str, column: &'static str, value: &str| facts.of(table, column, value).iter().any(&of_it);
    match part {
        Some(part) if action.starts_with("admin.workspace_identity.") => {
            child("workspace_identity_bindings", "beam_id", part)
        }
        Some(part) if action.starts_with("admin.workspace_partner_channel.") => {
            child("workspace_partner_channels", "partner_beam_id", part)
        }
        Some(part) if action.starts_with("admin.workspace_thread.") => {
            let thread = part.parse().ok().and_then(|id| facts.by_id("workspace_threads", id));
            thread.is_some_and(|thread| of_it(&thread))
        }
        _ => true,
    }
}

const ACTIONS: &[&str] = &[
    "admin.auth.challenge.issued",
    "admin.auth.login",
    "admin.auth.logout",
    "admin.role.assigned",
    "admin.role.revoked",
    "beta_request.created",
    "admin.beta_request.updated",
    "admin.beta_request.proof_pack.exported",
    "admin.beta_requests.exported",
    "admin.waitlist.cleared",
    "admin.operator_notification.updated",
    "admin.partner_digest.delivered",
    "admin.workspace.created",
    "admin.workspace_policy.updated",
    "admin.workspace_identity.created",
    "admin.workspace_identity.updated",
    "admin.workspace_identity.policy_updated",
    "admin.workspace_identity.credential_reissued",
    "admin.workspace_partner_channel.created",
    "admin.workspace_partner_channel.updated",
    "admin.workspace_thread.created",
    "admin.workspace_thread.dispatched",
    "admin.workspace_thread.synced",
    "admin.workspace_digest.delivered",
    "shield.config.updated",
    "shield.public_policy.updated",
    "shield.request.blocked",
    "public.rate_limit.throttled",
    "observability.prune",
    "federation.peer.register",
    "federation.peer.sync",
    "federation.relay",
    "federation.trust.receive",
    "federation.trust.propagate",
];

fn known_actions(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for audit in facts.rows("audit_log") {
        look.seen();
        let action = audit.str("action");
        let known = ACTIONS.contains(&action) || action.starts_with("admin.openclaw_");
        look.hold(audit, "action", known, "an action of Beam 1.6.0");
    }
    look.end()
}

fn organisations(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for org in facts.rows("orgs") {
        look.seen();
        let domain = format!("{}.beam.directory", org.str("name"));
        look.hold(org, "beam_domain", org.str("beam_domain") == domain, &domain);
        let verified = org.int("verified") == Some(1);
        look.hold(
            org,
            "verified_at",
            org.is_null("verified_at") != verified,
            if verified { "a time" } else { "NULL" },
        );
    }
    look.end()
}

fn digest_schedule(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let runs = facts.count("openclaw_fleet_digest_runs");
    let configured = facts
        .rows("audit_log")
        .any(|row| row.str("action").starts_with("admin.openclaw_"));
    let rows = facts.count("openclaw_fleet_digest_schedules");
    let has_table = facts
        .tables()
        .any(|table| table.name == "openclaw_fleet_digest_schedules");
    if has_table && rows != 1 {
        let place = "beam-directory.db openclaw_fleet_digest_schedules";
        look.wrong(
            "openclaw_fleet_digest_schedules",
            place,
            "its one row",
            format!("{rows} rows"),
        );
    }
    for row in facts.rows("openclaw_fleet_digest_schedules") {
        look.seen();
        look.hold(row, "id", row.rowid() == 1, "1");
        let bounds = [
            ("run_hour_utc", 0..24),
            ("run_minute_utc", 0..60),
            ("enabled", 0..2),
            ("escalate_on_critical", 0..2),
        ];
        for (column, bound) in bounds {
            look.hold(
                row,
                column,
                row.int(column).is_some_and(|number| bound.contains(&number)),
                format_args!("{bound:?}"),
            );
        }
        look.hold(
            row,
            "updated_at",
            row.ms("updated_at") >= row.ms("created_at"),
            "not before created_at",
        );
        if runs > 0 || configured {
            continue;
        }
        for column in [
            "last_scheduled_for_at",
            "last_run_id",
            "last_delivery_at",
            "last_escalation_delivery_at",
            "delivery_email",
            "escalation_email",
        ] {
            look.hold(
                row,
                column,
                row.is_null(column),
                "NULL, as it never ran and nobody set it",
            );
        }
        let apart = row
            .ms("updated_at")
            .zip(row.ms("created_at"))
            .map(|(updated, created)| updated - created);
        look.hold(
            row,
            "updated_at",
            apart.is_some_and(|ms| ms <= 1_000),
            "created_at, as nobody set it",
        );
        for (column, default) in [
            ("run_hour_utc", 8),
            ("run_minute_utc", 0),
            ("enabled", 1),
            ("escalate_on_critical", 1),
        ] {
            look.hold(
                row,
                column,
                row.int(column) == Some(default),
                format_args!("{default}, as nobody set it"),
            );
        }
    }
    look.end()
}

fn reports(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for report in facts.rows("reports") {
        look.seen();
        for column in ["reporter_beam_id", "target_beam_id"] {
            let known = facts.registered(report.str(column)) || facts.agent_deleted().is_some();
            look.hold(report, column, known, "an agent that is registered");
        }
        let status = matches!(report.str("status"), "pending" | "reviewed" | "resolved" | "dismissed");
        look.hold(report, "status", status, "a state that Beam writes");
        let born = report
            .str("created_at")
            .strip_suffix(".0")
            .and_then(|digits| digits.parse::<i64>().ok());
        let target = facts
            .find("agents", "beam_id", report.str("target_beam_id"))
            .and_then(|agent| agent.ms("created_at"));
        let later = born.zip(target).is_none_or(|(born, target)| born >= target);
        look.hold(report, "created_at", later, "not before its target");
    }
    for event in facts.rows("funnel_events") {
        look.seen();
        let keyed = event.str("event_category") != "cta_click" || !event.is_null("cta_key");
        look.hold(event, "cta_key", keyed, "a key, as something was clicked");
        let milestone = event.str("event_category") != "demo_milestone" || !event.is_null("milestone_key");
        look.hold(event, "milestone_key", milestone, "a key, as a milestone was reached");
    }
    look.end()
}

/// Server times of tables that are written through HTTP.
const SERVER_TIMES: &[(&str, &str)] = &[
    ("agents", "created_at"),
    ("agents", "last_seen"),
    ("agent_keys", "created_at"),
    ("orgs", "created_at"),
    ("intent_acls", "created_at"),
    ("waitlist", "created_at"),
    ("operator_notifications", "created_at"),
    ("audit_log", "timestamp"),
    ("shield_audit_log", "created_at"),
    ("intent_log", "completed_at"),
    ("workspaces", "created_at"),
    ("workspace_identity_bindings", "created_at"),
    ("admin_sessions", "created_at"),
    ("workspace_partner_channels", "created_at"),
    ("workspace_threads", "created_at"),
    ("did_documents", "created_at"),
    ("shield_policies", "updated_at"),
    ("trust_scores", "last_updated"),
    ("rate_limits", "window_start"),
];

fn nothing_before(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let first = facts
        .rows("openclaw_fleet_digest_schedules")
        .next()
        .and_then(|row| row.ms("created_at"));
    let Some(first) = first else { return look.end() };
    let mut early = Vec::new();
    for (table, column) in SERVER_TIMES {
        for row in facts.rows(table) {
            let Some(ms) = row.ms(column).or_else(|| row.int(column)) else {
                continue;
            };
            look.seen();
            if ms < first - 1_000 {
                early.push((row, *column));
            }
        }
    }
    // A file of an older release got the schedule at its upgrade: then most of it is older.
    if early.len() > 12 {
        look.relax(format!(
            "{} rows are older than the digest schedule: a file of an older release",
            early.len()
        ));
        return look.end();
    }
    for (row, column) in early {
        look.hold(row, column, false, "a time after the first start");
    }
    look.end()
}
