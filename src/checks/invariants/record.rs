//! Rows of a loaded table, read by column name, and how they are named in findings.
//!
//! Texts that may be secret or personal are shown as length and hash only. Times are parsed strictly: UTC text with
//! three decimals and `Z`, as Beam writes it (contract, conventions).

use crate::checks::invariants::form;
use crate::evidence::{private, short};
use crate::snapshot::database::Cell;
use serde_json::Value;

/// A table as loaded: rows in rowid order.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: String,
    /// The file that it stands in.
    pub(super) file: &'static str,
    /// Column names in the file's order.
    pub(super) columns: Vec<String>,
    /// Rowid and cells.
    pub(super) rows: Vec<(i64, Vec<Cell>)>,
}

impl Table {
    /// All rows.
    pub(super) fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> {
        (0..self.rows.len()).map(|at| Record { table: self, at })
    }
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) table: &'a Table,
    pub(super) at: usize,
}

/// Text columns whose values may be shown to anyone.
const PLAIN: &[&str] = &[
    "nonce",
    "status",
    "stage",
    "decision",
    "severity",
    "kind",
    "intent_type",
    "intent",
    "role",
    "plan",
    "visibility",
    "verification_tier",
    "error_code",
    "beam_id",
    "from_beam_id",
    "to_beam_id",
    "sender",
    "recipient",
    "did",
    "sender_beam_id",
    "source_beam_id",
    "target_beam_id",
    "allowed_from",
    "source_type",
    "source_key",
    "alert_id",
    "slug",
    "action",
    "binding_type",
    "principal_type",
    "default_thread_scope",
    "proof_intent_nonce",
    "last_intent_nonce",
    "linked_intent_nonce",
    "draft_intent_type",
    "workflow_type",
    "policy_key",
    "period",
    "event_category",
    "org",
    "org_name",
    "beam_domain",
    "timestamp",
    "last_seen",
    "last_updated",
    "payload_hash",
    "partner_beam_id",
    "href",
];

impl<'a> Record<'a> {
    /// The cell of a column; NULL when the table has none of that name.
    pub(super) fn cell(self, column: &str) -> &'a Cell {
        let at = self.table.columns.iter().position(|name| name == column);
        at.and_then(|at| self.table.rows[self.at].1.get(at))
            .unwrap_or(&Cell::Null)
    }

    /// The text of a column.
    pub(super) fn text(self, column: &str) -> Option<&'a str> {
        self.cell(column).text()
    }

    /// The text of a column, empty when it holds none.
    pub(super) fn str(self, column: &str) -> &'a str {
        self.text(column).unwrap_or_default()
    }

    /// The integer of a column.
    pub(super) fn int(self, column: &str) -> Option<i64> {
        self.cell(column).integer()
    }

    /// The number of a column, integer or not.
    pub(super) fn number(self, column: &str) -> Option<f64> {
        match self.cell(column) {
            Cell::Real(number) => Some(*number),
            #[expect(clippy::cast_precision_loss, reason = "counts and times stay far below 2^53")]
            Cell::Integer(number) => Some(*number as f64),
            _ => None,
        }
    }

    /// Whether the cell is NULL.
    pub(super) fn is_null(self, column: &str) -> bool {
        matches!(self.cell(column), Cell::Null)
    }

    /// The time of a column in milliseconds since 1970, if it is one as Beam writes it.
    pub(super) fn ms(self, column: &str) -> Option<i64> {
        self.text(column).and_then(form::iso_ms)
    }

    /// The seconds of a column as whole milliseconds (bus times).
    pub(super) fn seconds_ms(self, column: &str) -> Option<i64> {
        #[expect(clippy::cast_possible_truncation, reason = "rounded; a time of any century fits")]
        self.number(column).map(|seconds| (seconds * 1_000.0).round() as i64)
    }

    /// The JSON of a column; null when there is none or it cannot be parsed.
    pub(super) fn json(self, column: &str) -> Value {
        self.text(column)
            .and_then(|text| serde_json::from_str(text).ok())
            .unwrap_or(Value::Null)
    }

    /// The rowid.
    pub(super) fn rowid(self) -> i64 {
        self.table.rows[self.at].0
    }

    /// How a finding names the row.
    pub(super) fn subject(self) -> String {
        let name = &self.table.name;
        let key = match name.as_str() {
            "intent_log" | "intent_trace_events" | "shield_audit_log" | "beam_messages" => "nonce",
            "agents" | "usage_metering" => "beam_id",
            "did_documents" => "did",
            "workspaces" => "slug",
            "orgs" => "name",
            _ => "",
        };
        match self.text(key) {
            Some(text) if name == "intent_trace_events" => {
                format!("{name}[id={}, nonce={}]", self.rowid(), short(text))
            }
            Some(text) => format!("{name}[{key}={}]", short(text)),
            None => format!("{name}[rowid={}]", self.rowid()),
        }
    }

    /// Where a finding says it looked.
    pub(super) fn place(self, column: &str) -> String {
        let dot = if column.is_empty() { "" } else { "." };
        format!("{} {}{dot}{column}", self.table.file, self.table.name)
    }

    /// A cell as a finding shows it.
    pub(super) fn shown(self, column: &str) -> String {
        match self.cell(column) {
            Cell::Null => "NULL".to_owned(),
            Cell::Integer(number) => number.to_string(),
            Cell::Real(number) => format!("{number:?}"),
            Cell::Blob(bytes) => format!("a blob {}", private(bytes)),
            Cell::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) if PLAIN.contains(&column) || (column.ends_with("_at") && text.len() < 32) => short(text),
                _ => private(bytes),
            },
        }
    }
}
