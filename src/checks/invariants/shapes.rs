//! Rules of closed sets and of the shapes of ids, hashes and tokens.
//!
//! Source: Beam 1.6.0, contract conventions and sections 2.2 to 2.11, 3.2, 4.3.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::snapshot::database::Cell;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "T06",
        title: "closed sets",
        why: "roles, tiers, states, stages, decisions and kinds are closed sets, with a CHECK or without (contract 2.2 to 2.11, 4.3)",
        needs: &[],
        run: closed_sets,
    },
    Rule {
        name: "T07",
        title: "shapes of ids",
        why: "Beam ids, nonces, hashes and tokens have one shape each (contract conventions, 2.5, 3.2)",
        needs: &[],
        run: shapes,
    },
];

/// The intent types of the catalogue (contract 2.6).
pub(super) const INTENT_TYPES: &[&str] = &[
    "escalation.request",
    "payment.status_check",
    "sales.pipeline_summary",
    "system.broadcast",
    "agent.ping",
    "agent.introduce",
    "conversation.message",
    "quote.request",
    "inventory.check",
    "purchase.preflight",
    "task.delegate",
];
const STAGES: &[&str] = &[
    "received",
    "validated",
    "queued",
    "dispatched",
    "delivered",
    "acked",
    "failed",
    "dead_letter",
];
const SCOPES: &[&str] = &["internal", "handoff"];
const ROLES: &[&str] = &["admin", "operator", "viewer"];
const FLAGS: &[&str] = &["0", "1"];

/// Table, column, the values it may hold.
const SETS: &[(&str, &str, &[&str])] = &[
    (
        "agents",
        "verification_tier",
        &["basic", "verified", "business", "enterprise"],
    ),
    ("agents", "visibility", &["public", "unlisted"]),
    (
        "agents",
        "plan",
        &["free", "starter", "pro", "verified", "business", "enterprise"],
    ),
    ("agents", "personal", FLAGS),
    ("agents", "verified", FLAGS),
    ("agents", "email_verified", FLAGS),
    ("agents", "flagged", FLAGS),
    ("intent_log", "status", STAGES),
    ("intent_log", "intent_type", INTENT_TYPES),
    ("intent_trace_events", "stage", STAGES),
    ("intent_trace_events", "status", STAGES),
    ("intent_trace_events", "intent_type", INTENT_TYPES),
    ("shield_audit_log", "decision", &["pass", "hold", "reject"]),
    (
        "waitlist",
        "status",
        &["new", "reviewing", "contacted", "scheduled", "active", "closed"],
    ),
    ("operator_notifications", "status", &["new", "acknowledged", "acted"]),
    ("operator_notifications", "severity", &["info", "warning", "critical"]),
    (
        "operator_notifications",
        "source_type",
        &["beta_request", "critical_alert"],
    ),
    ("workspaces", "status", &["active", "paused", "archived"]),
    ("workspaces", "default_thread_scope", SCOPES),
    ("workspaces", "external_handoffs_enabled", FLAGS),
    (
        "workspace_identity_bindings",
        "binding_type",
        &["agent", "service", "partner"],
    ),
    ("workspace_identity_bindings", "default_thread_scope", SCOPES),
    ("workspace_identity_bindings", "can_initiate_external", FLAGS),
    ("workspace_identity_bindings", "status", &["active", "paused"]),
    ("workspace_partner_channels", "status", &["active", "trial", "blocked"]),
    ("workspace_threads", "kind", SCOPES),
    ("workspace_threads", "status", &["open", "blocked", "closed"]),
    ("workspace_threads", "draft_intent_type", INTENT_TYPES),
    (
        "workspace_thread_participants",
        "principal_type",
        &["human", "agent", "service", "partner"],
    ),
    (
        "workspace_thread_participants",
        "role",
        &["owner", "participant", "observer", "approver"],
    ),
    ("directory_roles", "role", ROLES),
    ("admin_sessions", "role", ROLES),
    ("admin_magic_links", "role", ROLES),
    ("admin_magic_links", "used", FLAGS),
    ("orgs", "verified", FLAGS),
    ("delegations", "revoked", FLAGS),
    (
        "funnel_events",
        "event_category",
        &["page_view", "cta_click", "request", "demo_milestone"],
    ),
    ("beam_messages", "status", STAGES),
];

fn closed_sets(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (table, column, values) in SETS {
        for record in facts.rows(table) {
            let lawful = match record.cell(column) {
                Cell::Null => continue,
                Cell::Integer(number) => values.contains(&number.to_string().as_str()),
                Cell::Text(_) => values.contains(&record.str(column)),
                _ => false,
            };
            look.seen();
            look.hold(record, column, lawful, format_args!("one of {}", values.join(", ")));
        }
    }
    for record in facts.rows("beam_messages") {
        look.hold(
            record,
            "status",
            record.str("status") != "validated",
            "a state that the bus writes",
        );
    }
    look.end()
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_whitespace)
}

fn is_beam_id(text: &str) -> bool {
    form::split_beam_id(text).is_some()
}

fn is_mail(text: &str) -> bool {
    text.contains('@') && !text.chars().any(char::is_uppercase) && text.trim() == text
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

fn is_slug(text: &str) -> bool {
    text.len() <= 63
        && !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn is_month(text: &str) -> bool {
    form::iso_ms(&format!("{text}-01T00:00:00.000Z")).is_some()
}

/// A shape: whether a text has it.
type Shape = fn(&str) -> bool;

/// Table, column, what it must look like in words, the shape.
const SHAPES: &[(&str, &str, &str, Shape)] = &[
    ("agents", "beam_id", "a Beam id", is_beam_id),
    ("agents", "api_key_hash", "64 hexadecimal digits", |text| {
        form::is_hex(text, 64)
    }),
    ("agents", "email_token", "48 hexadecimal digits", |text| {
        form::is_hex(text, 48)
    }),
    ("agents", "email", "an address in lower case", is_mail),
    ("agents", "http_endpoint", "an https address", |text| {
        text.to_ascii_lowercase().starts_with("https://")
    }),
    ("agent_keys", "beam_id", "a Beam id", is_beam_id),
    ("did_documents", "did", "a DID", |text| text.starts_with("did:beam:")),
    ("verification_tokens", "token", "48 hexadecimal digits", |text| {
        form::is_hex(text, 48)
    }),
    ("verification_tokens", "email", "an address in lower case", is_mail),
    ("intent_acls", "target_beam_id", "a Beam id", is_beam_id),
    ("intent_log", "nonce", "a nonce", is_nonce),
    ("intent_log", "from_beam_id", "a Beam id", is_beam_id),
    ("intent_log", "to_beam_id", "a Beam id", is_beam_id),
    ("intent_trace_events", "nonce", "a nonce", is_nonce),
    ("intent_trace_events", "from_beam_id", "a Beam id", is_beam_id),
    ("intent_trace_events", "to_beam_id", "a Beam id", is_beam_id),
    ("shield_audit_log", "payload_hash", "16 hexadecimal digits", |text| {
        form::is_hex(text, 16)
    }),
    ("admin_magic_links", "token", "64 hexadecimal digits", |text| {
        form::is_hex(text, 64)
    }),
    ("admin_magic_links", "email", "an address in lower case", is_mail),
    ("admin_sessions", "id", "a random UUID", |text| {
        text.len() == 36 && form::is_uuid4(text)
    }),
    ("admin_sessions", "email", "an address in lower case", is_mail),
    ("directory_roles", "user_id", "an address in lower case", is_mail),
    ("directory_roles", "directory_url", "an address", is_url),
    ("orgs", "api_key_hash", "64 hexadecimal digits", |text| {
        form::is_hex(text, 64)
    }),
    ("orgs", "verification_token", "36 hexadecimal digits", |text| {
        form::is_hex(text, 36)
    }),
    ("waitlist", "email", "an address in lower case", is_mail),
    ("waitlist", "proof_intent_nonce", "a nonce", is_nonce),
    ("workspaces", "slug", "a slug", is_slug),
    ("workspace_identity_bindings", "beam_id", "a Beam id", is_beam_id),
    ("workspace_partner_channels", "partner_beam_id", "a Beam id", is_beam_id),
    ("workspace_thread_participants", "beam_id", "a Beam id", is_beam_id),
    ("billing", "beam_id", "a Beam id", is_beam_id),
    ("delegations", "grantor_beam_id", "a Beam id", is_beam_id),
    ("delegations", "grantee_beam_id", "a Beam id", is_beam_id),
    ("domain_verifications", "beam_id", "a Beam id", is_beam_id),
    ("federated_agents", "beam_id", "a Beam id", is_beam_id),
    ("federated_agents", "home_directory_url", "an address", is_url),
    ("federated_trust", "beam_id", "a Beam id", is_beam_id),
    ("federated_trust", "source_directory_url", "an address", is_url),
    ("federated_trust", "origin_directory_url", "an address", is_url),
    ("federation_peers", "directory_url", "an address", is_url),
    ("openclaw_host_routes", "beam_id", "a Beam id", is_beam_id),
    ("openclaw_hosts", "beam_directory_url", "an address", is_url),
    ("org_agents", "beam_id", "a Beam id", is_beam_id),
    ("pinned_keys", "beam_id", "a Beam id", is_beam_id),
    ("pinned_keys", "pinned_beam_id", "a Beam id", is_beam_id),
    ("usage_metering", "period", "a month as YYYY-MM", is_month),
    ("reports", "reporter_beam_id", "a Beam id", is_beam_id),
    ("reports", "target_beam_id", "a Beam id", is_beam_id),
    ("trust_scores", "source_beam_id", "a Beam id", is_beam_id),
    ("trust_scores", "target_beam_id", "a Beam id", is_beam_id),
    ("funnel_events", "origin", "an address", is_url),
    ("beam_messages", "id", "32 hexadecimal digits", |text| {
        form::is_hex(text, 32) && form::is_uuid4(text)
    }),
    ("beam_messages", "nonce", "a trimmed nonce", |text| {
        !text.is_empty() && text.trim() == text
    }),
];

fn shapes(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (table, column, words, shape) in SHAPES {
        for record in facts.rows(table).filter(|record| !record.is_null(column)) {
            look.seen();
            look.hold(record, column, record.text(column).is_some_and(shape), words);
        }
    }
    look.end()
}
