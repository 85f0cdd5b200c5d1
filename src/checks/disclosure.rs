//! How rows and cells are named and shown in findings: what is not known to be public is shown by length and hash.
//!
//! Source: Beam 1.6.0, contract 4.2 "Secrets by table" and personal data. A backup is a secret; a report is not.

use crate::evidence::{private, short};
use crate::snapshot::database::{Cell, Row};
use crate::snapshot::difference::RowChange;

/// Text columns that hold neither secrets nor personal nor business data, in any table but those of [`is_private`].
const PUBLIC: &[&str] = &[
    "action",
    "agent_name",
    "alert_id",
    "allowed_from",
    "beam_id",
    "binding_type",
    "capabilities",
    "cta_key",
    "credential_state",
    "decision",
    "default_thread_scope",
    "delivery_kind",
    "delivery_state",
    "directory_url",
    "display_name",
    "did",
    "dh_public_key",
    "error_code",
    "event_category",
    "expires_at",
    "from_beam_id",
    "grantee_beam_id",
    "grantor_beam_id",
    "health_status",
    "href",
    "id",
    "intent",
    "intent_type",
    "kind",
    "last_intent_nonce",
    "last_seen",
    "last_updated",
    "linked_intent_nonce",
    "milestone_key",
    "name",
    "nonce",
    "org",
    "org_name",
    "page_key",
    "partner_beam_id",
    "period",
    "pinned_beam_id",
    "plan",
    "policy_key",
    "policy_profile",
    "principal_type",
    "proof_intent_nonce",
    "public_key",
    "recipient",
    "reporter_beam_id",
    "role",
    "runtime_session_state",
    "runtime_type",
    "scope",
    "sender",
    "sender_beam_id",
    "severity",
    "shield_config",
    "slug",
    "source_beam_id",
    "source_key",
    "source_type",
    "stage",
    "status",
    "target_beam_id",
    "tier",
    "timestamp",
    "to_beam_id",
    "trace_id",
    "verification_tier",
    "visibility",
    "workflow_type",
    "workspace_slug",
];

/// Columns that help to name a row beside its key.
const NAMING: &[&str] = &["nonce", "stage", "slug"];

/// Whether a text or blob of this column must not be shown.
#[must_use]
pub fn is_private(table: &str, column: &str) -> bool {
    match (table, column) {
        ("admin_sessions", "id") | ("admin_magic_links" | "verification_tokens", "token") => true,
        ("sqlite_sequence", _) => false,
        ("business_verifications", column) => column != "status" && column != "beam_id",
        (_, column) => !PUBLIC.contains(&column) && !column.ends_with("_at"),
    }
}

/// A cell with its storage class visible: `1`, `1.0`, `'1'`, `NULL`, `x'…'`.
#[must_use]
pub fn shown(table: &str, column: &str, cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => format!("{number:?}"),
        Cell::Text(bytes) if is_private(table, column) => format!("text {}", private(bytes)),
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => format!("'{}'", short(text)),
            Err(_) => format!("text that is not UTF-8 {}", private(bytes)),
        },
        Cell::Blob(bytes) => format!("blob {}", private(bytes)),
    }
}

/// Two cells that differ; where the short forms are equal, their hashes tell them apart.
#[must_use]
pub fn shown_pair(table: &str, column: &str, one: &Cell, other: &Cell) -> (String, String) {
    let (first, second) = (shown(table, column, one), shown(table, column, other));
    if first != second {
        return (first, second);
    }
    let with_hash = |text: String, cell: &Cell| match cell {
        Cell::Text(bytes) | Cell::Blob(bytes) => format!("{text} {}", private(bytes)),
        _ => text,
    };
    (with_hash(first, one), with_hash(second, other))
}

/// `intent_log[id=17, nonce='n-17']`; of a table without primary key all public columns name the row.
#[must_use]
pub fn row_name(table: &str, key: &[String], row: &Row) -> String {
    let is_naming = |name: &&str| !key.iter().any(|column| column == name) && *row.cell(name) != Cell::Null;
    let mut names: Vec<&str> = key.iter().map(String::as_str).collect();
    if key.is_empty() {
        names = row.0.iter().map(|(name, _)| name.as_str()).collect();
    } else {
        names.extend(NAMING.iter().copied().filter(is_naming));
    }
    let parts: Vec<String> = names
        .into_iter()
        .map(|name| format!("{name}={}", plain(table, name, row.cell(name))))
        .collect();
    format!("{table}[{}]", parts.join(", "))
}

/// The name of a row that differs.
#[must_use]
pub fn change_name(table: &str, change: &RowChange) -> String {
    change
        .row()
        .map_or_else(|| table.to_owned(), |row| row_name(table, &change.key, row))
}

/// As [`shown`], without the quotes that a key does not need.
fn plain(table: &str, column: &str, cell: &Cell) -> String {
    match cell.text() {
        Some(text) if !is_private(table, column) => short(text),
        _ => shown(table, column, cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Cell {
        Cell::Text(value.as_bytes().to_vec())
    }

    #[test]
    fn storage_classes_look_different() {
        let cells = [Cell::Null, Cell::Integer(1), Cell::Real(1.0), text("1")];
        let seen: Vec<String> = cells.iter().map(|cell| shown("agents", "status", cell)).collect();
        assert_eq!(seen, ["NULL", "1", "1.0", "'1'"]);
    }

    #[test]
    fn tokens_and_personal_data_are_never_shown() {
        for (table, column) in [
            ("admin_magic_links", "token"),
            ("admin_sessions", "id"),
            ("agents", "api_key_hash"),
            ("agents", "email"),
            ("waitlist", "operator_notes"),
            ("audit_log", "details"),
            ("beam_messages", "payload"),
            ("openclaw_hosts", "host_key"),
            ("rate_limits", "rate_key"),
            ("a_table_of_tomorrow", "a_column_of_tomorrow"),
        ] {
            assert!(
                !shown(table, column, &text("secret")).contains("secret"),
                "{table}.{column}"
            );
        }
        let row = Row(vec![("token".to_owned(), text("secret"))]);
        assert!(!row_name("admin_magic_links", &["token".to_owned()], &row).contains("secret"));
    }

    #[test]
    fn a_row_is_named_by_key_and_nonce() {
        let row = Row(vec![
            ("id".to_owned(), Cell::Integer(3)),
            ("nonce".to_owned(), text("n-3")),
        ]);
        assert_eq!(
            row_name("intent_log", &["id".to_owned()], &row),
            "intent_log[id=3, nonce=n-3]"
        );
    }

    #[test]
    fn values_that_look_alike_are_told_apart() {
        let (one, two) = (text(&"x".repeat(100)), text(&"x".repeat(101)));
        let (first, second) = shown_pair("agents", "display_name", &one, &two);
        assert_ne!(first, second);
    }
}
