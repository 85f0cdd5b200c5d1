//! Rules of operator notifications: each request has one, and it says what the request says.
//!
//! Source: Beam 1.6.0, contract 2.3, 2.4.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::checks::invariants::requests::{ONE_CALL_MS, changes, posted_again};
use serde_json::Value;
use std::collections::HashMap;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "R01",
        title: "request and notification",
        why: "POST /waitlist makes exactly one notification beta-request:<id> (contract 2.4)",
        needs: &["waitlist", "operator_notifications"],
        run: pairs,
    },
    Rule {
        name: "R02",
        title: "notification form",
        why: "source key, request or alert id, link and severity agree (contract 2.4)",
        needs: &["operator_notifications"],
        run: form_of_rows,
    },
    Rule {
        name: "R03",
        title: "notification state and times",
        why: "new has no times and no actor, acknowledged has acknowledged_at, acted has acted_at; leaving acted clears it (contract 2.4)",
        needs: &["operator_notifications"],
        run: state_times,
    },
    Rule {
        name: "R04",
        title: "notification repeats the request",
        why: "POST and PATCH refresh details, title, message, owner and next action of the notification (contract 2.3, 2.4)",
        needs: &["waitlist", "operator_notifications", "audit_log"],
        run: repeats,
    },
    Rule {
        name: "R10",
        title: "notification status is implied",
        why: "after a PATCH of the request its notification's status follows from stage, contact and next action (contract 2.4)",
        needs: &["waitlist", "operator_notifications", "audit_log"],
        run: implied,
    },
];

fn pairs(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let cleared = facts.cleared();
    for request in facts.rows("waitlist") {
        look.seen();
        let key = format!("beta-request:{}", request.rowid());
        let found = facts.of("operator_notifications", "source_key", &key).len();
        look.row(request, found == 1, format_args!("one notification {key}"), found);
        let notice = facts.find("operator_notifications", "source_key", &key);
        let times = notice
            .and_then(|notice| notice.ms("created_at"))
            .zip(request.ms("created_at"));
        if let Some((notice, (told, created))) = notice.zip(times) {
            let near = (-5..=ONE_CALL_MS).contains(&(told - created));
            look.hold(
                notice,
                "created_at",
                near,
                format_args!("{}, as the request", request.shown("created_at")),
            );
        }
    }
    for notice in facts.of("operator_notifications", "source_type", "beta_request") {
        look.seen();
        let there = notice
            .int("beta_request_id")
            .is_some_and(|id| facts.by_id("waitlist", id).is_some());
        match &cleared {
            Some(reason) if !there => look.relax(reason),
            _ => look.hold(notice, "beta_request_id", there, "the id of a request"),
        }
    }
    look.end()
}

fn form_of_rows(facts: &Facts) -> RuleOutcome {
    const ALERTS: [&str; 5] = [
        "network-error-rate",
        "network-latency-p95",
        "network-in-flight-backlog",
        "federation-stale-peers",
        "shield-review-load",
    ];
    let mut look = Look::default();
    for notice in facts.rows("operator_notifications") {
        look.seen();
        let details = notice.json("details_json");
        if notice.str("source_type") == "beta_request" {
            let id = notice.int("beta_request_id").unwrap_or(-1);
            look.hold(
                notice,
                "source_key",
                notice.str("source_key") == format!("beta-request:{id}"),
                "beta-request and its id",
            );
            look.hold(notice, "alert_id", notice.is_null("alert_id"), "NULL");
            look.hold(notice, "severity", notice.str("severity") == "warning", "warning");
            look.hold(
                notice,
                "href",
                notice.str("href") == format!("/beta-requests?id={id}"),
                "the request's own link",
            );
            look.hold(
                notice,
                "title",
                notice.str("title").starts_with("Hosted beta request from "),
                "the title of a request",
            );
            let names: Vec<&str> = details
                .as_object()
                .map(|members| members.keys().map(String::as_str).collect())
                .unwrap_or_default();
            let wanted = [
                "email",
                "company",
                "workflowType",
                "stage",
                "nextAction",
                "nextMeetingAt",
                "reminderAt",
                "stageEnteredAt",
            ];
            look.hold(
                notice,
                "details_json",
                names == wanted,
                "the eight members of a request",
            );
        } else {
            let alert = notice.str("alert_id");
            look.hold(
                notice,
                "source_key",
                notice.str("source_key") == format!("critical-alert:{alert}"),
                "critical-alert and its id",
            );
            let known = ALERTS.contains(&alert) || alert.starts_with("error-hotspot-");
            look.hold(notice, "alert_id", known, "an alert that the directory raises");
            look.hold(notice, "beta_request_id", notice.is_null("beta_request_id"), "NULL");
            look.hold(notice, "severity", notice.str("severity") == "critical", "critical");
            look.hold(
                notice,
                "href",
                notice.str("href").starts_with('/'),
                "a link within the dashboard",
            );
            let told =
                details["metric"].is_string() && details["scope"].is_string() && details["startedAt"].is_string();
            look.hold(notice, "details_json", told, "scope, metric and startedAt of an alert");
            if alert == "shield-review-load" {
                let digits = notice
                    .str("message")
                    .split_whitespace()
                    .next()
                    .is_some_and(|word| word.parse::<u32>().is_ok());
                look.hold(notice, "message", digits, "a number of rejects");
                look.hold(
                    notice,
                    "href",
                    notice.str("href").contains(alert),
                    "the alert's own link",
                );
            }
        }
    }
    look.end()
}

/// Audit rows of manual changes of a notification.
fn manual<'f>(facts: &'f Facts, notice: Record<'_>) -> Vec<Record<'f>> {
    let rows = facts.of("audit_log", "target", &notice.rowid().to_string());
    rows.into_iter()
        .filter(|row| row.str("action") == "admin.operator_notification.updated")
        .collect()
}

fn state_times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for notice in facts.rows("operator_notifications") {
        look.seen();
        let state = notice.str("status");
        let word = |wanted: bool| if wanted { "a value" } else { "NULL" };
        for (column, wanted) in [
            ("acknowledged_at", state != "new"),
            ("acted_at", state == "acted"),
            ("actor", state != "new"),
        ] {
            look.hold(
                notice,
                column,
                notice.is_null(column) != wanted,
                format_args!("{}, as it is {state}", word(wanted)),
            );
        }
        let times = ["created_at", "acknowledged_at", "acted_at", "updated_at"].map(|column| notice.ms(column));
        let known: Vec<i64> = times.into_iter().flatten().collect();
        look.hold(
            notice,
            "updated_at",
            known.is_sorted(),
            "created, acknowledged, acted, updated in this order",
        );
        if let Some(reason) = facts.pruned("audit") {
            look.relax(reason);
            continue;
        }
        let mut causes = manual(facts, notice);
        if let Some(request) = notice.int("beta_request_id").and_then(|id| facts.by_id("waitlist", id)) {
            causes.extend(changes(facts, request));
        }
        for column in ["acknowledged_at", "acted_at"] {
            let Some(at) = notice.ms(column) else { continue };
            let near = causes
                .iter()
                .filter_map(|row| row.ms("timestamp"))
                .any(|told| (-5..=ONE_CALL_MS).contains(&(told - at)));
            look.hold(notice, column, near, "the time of an audited change");
        }
        if let Some(actor) = notice.text("actor") {
            look.hold(
                notice,
                "actor",
                causes.iter().any(|row| row.str("actor") == actor),
                "who made an audited change",
            );
        }
    }
    look.end()
}

fn label(kind: Option<&str>) -> String {
    match kind.filter(|kind| !kind.is_empty()) {
        None => "workflow review".to_owned(),
        Some(kind) => kind.strip_prefix("hosted-beta-").unwrap_or(kind).replace('-', " "),
    }
}

fn repeats(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut defaults: HashMap<String, String> = HashMap::new();
    for request in facts.rows("waitlist") {
        let key = format!("beta-request:{}", request.rowid());
        let Some(notice) = facts.find("operator_notifications", "source_key", &key) else {
            continue;
        };
        // A later POST of the same e-mail leaves the notification behind.
        if posted_again(facts, request) && notice.ms("updated_at") < request.ms("updated_at") {
            continue;
        }
        look.seen();
        let details = notice.json("details_json");
        for (column, member) in [
            ("email", "email"),
            ("company", "company"),
            ("workflow_type", "workflowType"),
            ("status", "stage"),
            ("next_meeting_at", "nextMeetingAt"),
            ("reminder_at", "reminderAt"),
            ("stage_entered_at", "stageEnteredAt"),
        ] {
            let same = details[member].as_str() == request.text(column);
            look.hold(
                request,
                column,
                same,
                format_args!("what details_json of {} says", notice.subject()),
            );
        }
        let told = details["nextAction"].as_str().unwrap_or_default();
        match request.text("next_action") {
            Some(text) => look.hold(
                request,
                "next_action",
                told == text,
                "what the notification's details say",
            ),
            None => {
                let known = defaults
                    .entry(request.str("status").to_owned())
                    .or_insert_with(|| told.to_owned());
                let same = *known == told && !told.is_empty();
                look.hold(
                    notice,
                    "details_json",
                    same,
                    "the next step that all requests of this stage without one have",
                );
            }
        }
        let partner = request.text("company").unwrap_or_else(|| request.str("email"));
        look.hold(
            notice,
            "title",
            notice.str("title") == format!("Hosted beta request from {partner}"),
            "the request's partner",
        );
        let agents = request
            .int("agent_count")
            .map(|count| format!("{count} agent{}", if count == 1 { "" } else { "s" }));
        let summary = request.text("workflow_summary").map(str::to_owned);
        let parts: Vec<String> = [Some(label(request.text("workflow_type"))), agents, summary]
            .into_iter()
            .flatten()
            .collect();
        look.hold(
            notice,
            "message",
            notice.str("message") == parts.join(" · "),
            "workflow, agents and summary of the request",
        );
        owner_and_action(facts, &mut look, request, notice, told);
    }
    for notice in facts.of("operator_notifications", "source_type", "critical_alert") {
        let last = manual(facts, notice).last().map(|row| row.json("details"));
        let Some(details) = last else { continue };
        look.seen();
        look.hold(
            notice,
            "owner",
            details["owner"].as_str() == notice.text("owner"),
            "what the audit log says",
        );
        look.hold(
            notice,
            "next_action",
            details["nextAction"].as_str() == notice.text("next_action"),
            "what the audit log says",
        );
        look.hold(
            notice,
            "status",
            details["status"].as_str() == notice.text("status"),
            "what the audit log says",
        );
    }
    look.end()
}

/// Owner and next action: of the last manual change, if that came after the last refresh, else of the request.
fn owner_and_action(facts: &Facts, look: &mut Look, request: Record<'_>, notice: Record<'_>, told: &str) {
    let by_hand = manual(facts, notice);
    let refreshed = changes(facts, request).last().map(|row| row.rowid()).unwrap_or(0);
    let hand = by_hand
        .last()
        .filter(|row| row.rowid() > refreshed)
        .map(|row| row.json("details"));
    let Some(details) = hand else {
        let owner = request.is_null("owner") || notice.text("owner") == request.text("owner");
        look.hold(notice, "owner", owner, "the request's owner");
        let never = request.is_null("owner") && changes(facts, request).is_empty() && by_hand.is_empty();
        look.hold(
            notice,
            "owner",
            !never || notice.is_null("owner"),
            "NULL, as nobody ever set one",
        );
        look.hold(
            notice,
            "next_action",
            notice.str("next_action") == told,
            "the next action of its details",
        );
        return;
    };
    let same = |member: &str, column: &str| {
        details
            .get(member)
            .is_none_or(|told| told.as_str() == notice.text(column))
    };
    look.hold(notice, "owner", same("owner", "owner"), "what the audit log says");
    look.hold(
        notice,
        "next_action",
        same("nextAction", "next_action"),
        "what the audit log says",
    );
}

fn implied(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    for notice in facts.rows("operator_notifications") {
        let by_hand = manual(facts, notice);
        let request = notice.int("beta_request_id").and_then(|id| facts.by_id("waitlist", id));
        let refreshed = request
            .and_then(|request| changes(facts, request).last().map(|row| row.rowid()))
            .unwrap_or(0);
        look.seen();
        if let Some(row) = by_hand.last().filter(|row| row.rowid() > refreshed) {
            let told = row.json("details");
            let same = told
                .get("status")
                .is_none_or(|status| status.as_str() == notice.text("status"));
            look.hold(
                notice,
                "status",
                same,
                format_args!("what audit row {} says", row.rowid()),
            );
            let key = told["sourceKey"].as_str() == notice.text("source_key")
                || told.get("sourceKey").is_none_or(Value::is_null);
            look.hold(
                notice,
                "source_key",
                key,
                format_args!("what audit row {} says", row.rowid()),
            );
            continue;
        }
        let Some(request) = request.filter(|_| refreshed > 0) else {
            look.hold(
                notice,
                "status",
                notice.str("status") == "new",
                "new, as no audit row tells of a change",
            );
            continue;
        };
        if posted_again(facts, request) {
            continue;
        }
        let touched = !request.is_null("last_contact_at") || !request.is_null("next_action");
        let expected = match request.str("status") {
            "contacted" | "scheduled" | "active" | "closed" => "acted",
            "reviewing" if touched => "acted",
            "reviewing" => "acknowledged",
            "new" if !touched && request.is_null("owner") => "new",
            _ => continue,
        };
        look.hold(
            notice,
            "status",
            notice.str("status") == expected,
            format_args!("{expected}, as the request implies"),
        );
    }
    look.end()
}
