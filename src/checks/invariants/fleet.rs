//! Rules of rows that the drills' own traffic does not write: organisations' agents, federation, fleet, verification.
//!
//! Little is documented of these tables but their columns, so that the rules hold to what the names say and cannot be
//! otherwise: times in their order, a state with its time, an id made of its parts, shares between 0 and 1.
//! Source: Beam 1.6.0, contract conventions and sections 2.5, 2.12, 4.3.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::snapshot::database::Cell;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "O01",
        title: "times in their order",
        why: "nothing is changed, approved, revoked or over before it was made: one clock writes both times (contract 4.3)",
        needs: &[],
        run: order,
    },
    Rule {
        name: "O02",
        title: "a state has its time",
        why: "the time of a verification, a revocation or an end is written with the state that it is the time of (contract 4.3)",
        needs: &[],
        run: states,
    },
    Rule {
        name: "O03",
        title: "shares and counts",
        why: "trust is 0 to 1 (contract 2.5), what is counted is not negative, a hop is at least one (contract 4.3)",
        needs: &[],
        run: numbers,
    },
    Rule {
        name: "O04",
        title: "agents of organisations",
        why: "an id is name@org.beam.directory, and a public key is Ed25519 as SPKI (contract conventions, 2.5, 2.7)",
        needs: &["org_agents"],
        run: identities,
    },
    Rule {
        name: "O05",
        title: "hosts and their enrolment",
        why: "a request names the host that claimed it and the host its request: both are one enrolment (contract 4.3)",
        needs: &["openclaw_hosts", "openclaw_host_enrollment_requests"],
        run: enrolment,
    },
    Rule {
        name: "O06",
        title: "a delivery repeats its target",
        why: "an alert's delivery holds label, kind, destination and threshold of its target as they were (contract 4.3): equal \
              where the target's last change is this delivery; nothing of a run is delivered before it was made",
        needs: &[
            "openclaw_fleet_alert_deliveries",
            "openclaw_fleet_alert_targets",
            "openclaw_fleet_digest_runs",
        ],
        run: deliveries,
    },
];

/// Table, the earlier time, the later one. Either may be absent.
const ORDER: &[(&str, &str, &str)] = &[
    ("business_verifications", "created_at", "verified_at"),
    ("delegations", "created_at", "expires_at"),
    ("dns_cache", "cached_at", "expires_at"),
    ("domain_verifications", "created_at", "verified_at"),
    ("federation_peers", "created_at", "last_seen"),
    ("federation_peers", "created_at", "synced_at"),
    ("openclaw_fleet_alert_targets", "created_at", "last_delivery_at"),
    ("openclaw_fleet_alert_targets", "created_at", "last_error_at"),
    ("openclaw_fleet_alert_targets", "created_at", "updated_at"),
    ("openclaw_fleet_digest_runs", "generated_at", "created_at"),
    ("openclaw_fleet_digest_schedules", "created_at", "updated_at"),
    ("openclaw_host_enrollment_requests", "created_at", "claimed_at"),
    ("openclaw_host_enrollment_requests", "created_at", "updated_at"),
    ("openclaw_host_enrollment_requests", "created_at", "expires_at"),
    ("openclaw_host_enrollment_requests", "claimed_at", "expires_at"),
    ("openclaw_host_enrollment_requests", "claimed_at", "updated_at"),
    ("openclaw_host_enrollment_requests", "approved_at", "updated_at"),
    ("openclaw_host_enrollment_requests", "created_at", "revoked_at"),
    ("openclaw_host_enrollment_requests", "revoked_at", "updated_at"),
    ("openclaw_host_routes", "created_at", "ended_at"),
    ("openclaw_host_routes", "created_at", "last_seen_at"),
    ("openclaw_host_routes", "created_at", "owner_resolution_at"),
    ("openclaw_host_routes", "created_at", "updated_at"),
    ("openclaw_host_routes", "ended_at", "updated_at"),
    ("openclaw_host_routes", "owner_resolution_at", "updated_at"),
    ("openclaw_hosts", "approved_at", "updated_at"),
    ("openclaw_hosts", "created_at", "approved_at"),
    ("openclaw_hosts", "created_at", "last_heartbeat_at"),
    ("openclaw_hosts", "created_at", "last_inventory_at"),
    ("openclaw_hosts", "created_at", "last_route_event_at"),
    ("openclaw_hosts", "created_at", "revoked_at"),
    ("openclaw_hosts", "created_at", "updated_at"),
    ("openclaw_hosts", "revoked_at", "updated_at"),
    ("openclaw_policy_packs", "created_at", "updated_at"),
    ("openclaw_workspace_templates", "created_at", "updated_at"),
    ("org_agents", "created_at", "updated_at"),
    ("verification_tokens", "created_at", "expires_at"),
    ("workspace_members", "created_at", "updated_at"),
];

/// Milliseconds of a time in any form that Beam stores: ISO, an integer, a number's text.
fn time(row: Record<'_>, column: &str) -> Option<i64> {
    match row.cell(column) {
        Cell::Integer(ms) => Some(*ms),
        Cell::Text(_) => {
            let text = row.str(column);
            form::iso_ms(text).or_else(|| text.strip_suffix(".0")?.parse().ok())
        }
        _ => None,
    }
}

fn order(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (table, earlier, later) in ORDER {
        for row in facts.rows(table) {
            let (Some(first), Some(then)) = (time(row, earlier), time(row, later)) else {
                continue;
            };
            look.seen();
            look.hold(row, later, then >= first, format_args!("not before {earlier}"));
        }
    }
    look.end()
}

/// Table, the state of its `status`, the column that has a time exactly then.
const STATES: &[(&str, &str, &str)] = &[
    ("business_verifications", "verified", "verified_at"),
    ("openclaw_host_enrollment_requests", "revoked", "revoked_at"),
    ("openclaw_hosts", "revoked", "revoked_at"),
];

/// Tables of deliveries: what was delivered has no error.
const DELIVERIES: &[&str] = &["openclaw_fleet_alert_deliveries", "openclaw_fleet_digest_deliveries"];

fn states(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (table, state, at) in STATES {
        for row in facts.rows(table) {
            look.seen();
            let is_so = row.str("status") == *state;
            let expected = if is_so { "a time" } else { "NULL" };
            let told = format!("{expected}, as status is {}", row.shown("status"));
            look.hold(row, at, is_so != row.is_null(at), told);
        }
    }
    // A challenge that was met may be superseded later, and keeps its time.
    for row in facts
        .rows("domain_verifications")
        .filter(|row| row.str("status") == "verified")
    {
        look.seen();
        look.hold(
            row,
            "verified_at",
            !row.is_null("verified_at"),
            "a time, as status is verified",
        );
    }
    for row in facts.rows("openclaw_fleet_alert_targets") {
        look.seen();
        let together = row.is_null("last_delivery_status") == row.is_null("last_delivery_at");
        look.hold(
            row,
            "last_delivery_at",
            together,
            "a time exactly where there is a status",
        );
    }
    for table in DELIVERIES {
        for row in facts.rows(table).filter(|row| row.str("status") == "delivered") {
            look.seen();
            for column in ["error_code", "error_message"] {
                look.hold(row, column, row.is_null(column), "NULL, as it was delivered");
            }
        }
    }
    look.end()
}

/// Table, column, least, most.
const NUMBERS: &[(&str, &str, f64, f64)] = &[
    ("federated_trust", "asserted_trust", 0.0, 1.0),
    ("federated_trust", "effective_trust", 0.0, 1.0),
    ("federated_trust", "hop_count", 1.0, f64::MAX),
    ("federation_peers", "trust_level", 0.0, 1.0),
    ("federated_agents", "ttl", 0.0, f64::MAX),
    ("openclaw_fleet_alert_targets", "enabled", 0.0, 1.0),
    ("openclaw_fleet_alert_deliveries", "item_count", 0.0, f64::MAX),
    ("openclaw_host_heartbeats", "route_count", 0.0, f64::MAX),
    ("openclaw_hosts", "route_count", 0.0, f64::MAX),
];

fn numbers(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (table, column, least, most) in NUMBERS {
        for row in facts.rows(table) {
            look.seen();
            let holds = row
                .number(column)
                .is_some_and(|number| (*least..=*most).contains(&number));
            look.hold(
                row,
                column,
                holds,
                format_args!("a number from {least} on, within its bounds"),
            );
        }
    }
    look.end()
}

fn identities(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("org_agents") {
        look.seen();
        let id = format!("{}@{}.beam.directory", row.str("agent_name"), row.str("org_name"));
        look.hold(
            row,
            "beam_id",
            row.str("beam_id") == id,
            "agent_name@org_name.beam.directory",
        );
        let is_key = form::ed25519(row.str("public_key")).is_some();
        look.hold(row, "public_key", is_key, "an Ed25519 key as SPKI");
    }
    look.end()
}

fn enrolment(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let by_id = |table: &str, id: i64| facts.rows(table).find(|row| row.rowid() == id);
    for request in facts.rows("openclaw_host_enrollment_requests") {
        // A host that is gone leaves NULL behind, with the time of its claim.
        let Some(host) = request.int("claimed_host_id") else {
            continue;
        };
        look.seen();
        look.hold(
            request,
            "claimed_at",
            !request.is_null("claimed_at"),
            "a time, as a host claimed it",
        );
        let back = by_id("openclaw_hosts", host).and_then(|host| host.int("enrollment_request_id"));
        let is_own = back.is_none_or(|id| id == request.rowid());
        look.hold(request, "claimed_host_id", is_own, "the host that names this request");
    }
    for host in facts.rows("openclaw_hosts") {
        let Some(id) = host.int("enrollment_request_id") else {
            continue;
        };
        look.seen();
        let request = by_id("openclaw_host_enrollment_requests", id);
        let back = request.and_then(|request| request.int("claimed_host_id"));
        let is_own = back.is_none_or(|id| id == host.rowid());
        look.hold(
            host,
            "enrollment_request_id",
            is_own,
            "the request that names this host",
        );
    }
    look.end()
}

/// Column of a delivery, column of its target.
const REPEATED: &[(&str, &str)] = &[
    ("target_label", "label"),
    ("delivery_kind", "delivery_kind"),
    ("destination", "destination"),
    ("severity_threshold", "severity_threshold"),
    ("status", "last_delivery_status"),
];

fn deliveries(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let by_id = |table: &str, id: Option<i64>| facts.rows(table).find(|row| Some(row.rowid()) == id);
    for table in DELIVERIES {
        for row in facts.rows(table) {
            if let Some(run) = by_id("openclaw_fleet_digest_runs", row.int("run_id")) {
                look.seen();
                let holds = row.ms("delivered_at") >= run.ms("generated_at");
                look.hold(row, "delivered_at", holds, "not before its run");
            }
        }
    }
    for row in facts.rows("openclaw_fleet_alert_deliveries") {
        let Some(target) = by_id("openclaw_fleet_alert_targets", row.int("target_id")) else {
            continue;
        };
        // A later change of the target leaves its deliveries as they were.
        let at = row.text("delivered_at");
        if target.text("last_delivery_at") != at || target.text("updated_at") != at {
            continue;
        }
        look.seen();
        for (own, of_target) in REPEATED {
            let equal = row.text(own) == target.text(of_target);
            look.hold(row, own, equal, format_args!("the target's {of_target}"));
        }
    }
    look.end()
}
