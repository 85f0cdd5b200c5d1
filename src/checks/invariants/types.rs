//! Rules of single values: storage classes, texts, times, JSON, and NULL for what is absent.
//!
//! Held against every table of both files. Source: Beam 1.6.0, contract conventions and sections 2, 3.2, 4.2, 4.3.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use crate::snapshot::database::Cell;
use std::collections::HashMap;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "T01",
        title: "storage class",
        why: "INTEGER columns hold integers, REAL columns reals, TEXT columns text, none a blob (contract 4.2)",
        needs: &[],
        run: storage_class,
    },
    Rule {
        name: "T02",
        title: "text hygiene",
        why: "texts come from JSON strings: UTF-8 without control characters; ids hold nothing invisible (contract conventions)",
        needs: &[],
        run: hygiene,
    },
    Rule {
        name: "T03",
        title: "times as Beam writes them",
        why: "server times are ISO with three decimals and Z, or integer milliseconds; numbers in TEXT columns end in .0 (contract conventions, 4.2)",
        needs: &[],
        run: times,
    },
    Rule {
        name: "T04",
        title: "nothing in the future",
        why: "no server wrote a time after the backup was taken; a client's time is at most five minutes ahead (contract 2.7)",
        needs: &[],
        run: not_future,
    },
    Rule {
        name: "T05",
        title: "JSON as JavaScript writes it",
        why: "all JSON text is written by JSON.stringify: it parses, no member twice, and serialises to the same text (contract 2.7)",
        needs: &[],
        run: json,
    },
    Rule {
        name: "T08",
        title: "what is absent is NULL",
        why: "an absent optional member is stored as NULL, never as empty text (contract 2.3, 2.7)",
        needs: &[],
        run: empty_is_null,
    },
];

/// Calls `visit` with every cell of every table: row, column, declared type, whether it may be NULL.
fn each_cell(facts: &Facts, mut visit: impl FnMut(Record<'_>, &str, &str, bool, &Cell)) {
    for file in &facts.files {
        let mut declared: HashMap<(&str, &str), (&str, bool)> = HashMap::new();
        for column in &file.schema.columns {
            let nullable = !column.not_null && column.primary_key == 0;
            declared.insert((&column.table, &column.name), (&column.declared_type, nullable));
        }
        for table in facts
            .tables()
            .filter(|table| table.file == file.name && !table.name.starts_with("sqlite_"))
        {
            let types: Vec<(&str, bool)> = table
                .columns
                .iter()
                .map(|column| {
                    declared
                        .get(&(table.name.as_str(), column.as_str()))
                        .copied()
                        .unwrap_or(("", true))
                })
                .collect();
            for record in table.records() {
                for (at, cell) in table.rows[record.at].1.iter().enumerate() {
                    visit(record, &table.columns[at], types[at].0, types[at].1, cell);
                }
            }
        }
    }
}

fn storage_class(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    each_cell(facts, |record, column, declared, _, cell| {
        look.seen();
        let expected = match declared {
            "INTEGER" if !matches!(cell, Cell::Integer(_) | Cell::Null) => "an integer",
            "REAL" if !matches!(cell, Cell::Real(_) | Cell::Null) => "a real number",
            "TEXT" if !matches!(cell, Cell::Text(_) | Cell::Null) => "text",
            _ => return,
        };
        look.hold(record, column, false, expected);
    });
    look.end()
}

/// Columns that name something: nothing invisible belongs in them.
fn is_identifier(column: &str) -> bool {
    column.ends_with("nonce")
        || column.ends_with("beam_id")
        || column.ends_with("email")
        || column.ends_with("_key")
        || column.ends_with("_id")
        || matches!(
            column,
            "id" | "slug"
                | "did"
                | "status"
                | "sender"
                | "recipient"
                | "actor"
                | "target"
                | "action"
                | "company"
                | "token"
        )
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fffd}')
}

fn hygiene(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    each_cell(facts, |record, column, _, _, cell| {
        let Cell::Text(bytes) = cell else { return };
        look.seen();
        let Ok(text) = std::str::from_utf8(bytes) else {
            look.hold(record, column, false, "UTF-8");
            return;
        };
        if text.bytes().any(|byte| byte < 0x20 && !b"\n\r\t".contains(&byte)) || text.contains('\u{7f}') {
            look.hold(record, column, false, "no control character");
        } else if !text.is_ascii() && is_identifier(column) && text.chars().any(is_invisible) {
            look.hold(record, column, false, "nothing invisible in a name");
        }
    });
    look.end()
}

/// Times that a client gave, stored as they came.
const CLIENT_TIMES: &[(&str, &str)] = &[
    ("intent_log", "requested_at"),
    ("intent_trace_events", "timestamp"),
    ("shield_audit_log", "timestamp"),
    ("workspace_partner_channels", "last_success_at"),
    ("workspace_partner_channels", "last_failure_at"),
    ("billing", "current_period_end"),
];

/// TEXT columns that hold a number's text.
const NUMBER_TEXTS: &[(&str, &str)] = &[
    ("delegations", "created_at"),
    ("delegations", "expires_at"),
    ("domain_verifications", "created_at"),
    ("domain_verifications", "verified_at"),
    ("reports", "created_at"),
];

/// Times that may lie in the future.
const AHEAD: &[&str] = &[
    "expires_at",
    "next_meeting_at",
    "reminder_at",
    "last_contact_at",
    "last_success_at",
    "last_failure_at",
    "current_period_end",
    "last_scheduled_for_at",
    "next_retry_at",
    "expires",
    "scheduled_for_at",
    "ends_at",
];

fn is_time(column: &str) -> bool {
    column.ends_with("_at") || matches!(column, "timestamp" | "last_seen" | "last_updated")
}

/// Milliseconds of a number's text such as `1795476588081.0`.
fn number_text_ms(text: &str) -> Option<i64> {
    text.strip_suffix(".0").and_then(|digits| digits.parse().ok())
}

/// Whether milliseconds lie between 2020 and 2100.
fn plausible(ms: i64) -> bool {
    (1_577_836_800_000..4_102_444_800_000).contains(&ms)
}

fn times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    each_cell(facts, |record, column, declared, _, cell| {
        let table = record.table.name.as_str();
        match cell {
            Cell::Text(_) if declared == "TEXT" && is_time(column) => {
                look.seen();
                let text = record.str(column);
                if NUMBER_TEXTS.contains(&(table, column)) {
                    let number = number_text_ms(text).is_some_and(plausible);
                    let iso = column != "created_at" && form::iso_ms(text).is_some();
                    look.hold(record, column, number || iso, "milliseconds as text that ends in .0");
                } else if CLIENT_TIMES.contains(&(table, column)) {
                    let lawful = text.bytes().any(|byte| byte.is_ascii_digit()) && text.is_ascii();
                    look.hold(record, column, lawful, "a time that JavaScript reads");
                } else {
                    let lawful = form::iso_ms(text).is_some_and(plausible);
                    look.hold(record, column, lawful, "UTC as YYYY-MM-DDTHH:MM:SS.sssZ");
                }
            }
            Cell::Integer(ms) if is_time(column) || column == "window_start" => {
                look.seen();
                look.hold(record, column, plausible(*ms), "milliseconds since 1970");
            }
            _ => {}
        }
    });
    look.end()
}

fn not_future(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let Some(taken) = facts.taken_ms else {
        look.relax("nobody says when the backup was taken");
        return look.end();
    };
    each_cell(facts, |record, column, _, _, cell| {
        let server = is_time(column) || column == "window_start";
        if !server || AHEAD.contains(&column) || column.starts_with("next_") {
            return;
        }
        let client = CLIENT_TIMES.contains(&(record.table.name.as_str(), column));
        let ms = match cell {
            Cell::Text(_) if client => form::client_ms(record.str(column)),
            Cell::Text(_) => form::iso_ms(record.str(column)).or_else(|| number_text_ms(record.str(column))),
            Cell::Integer(ms) => Some(*ms),
            Cell::Real(_) => record.seconds_ms(column),
            _ => None,
        };
        let Some(ms) = ms else { return };
        look.seen();
        let limit = taken + if client { 300_000 } else { 5_000 };
        look.hold(record, column, ms <= limit, "a time before the backup was taken");
    });
    look.end()
}

/// Columns of JSON text beside those that end in `_json`.
const JSON_COLUMNS: &[(&str, &str)] = &[
    ("agents", "capabilities"),
    ("agents", "shield_config"),
    ("org_agents", "capabilities"),
    ("did_documents", "document"),
    ("audit_log", "details"),
    ("intent_trace_events", "details"),
    ("shield_audit_log", "anomaly_flags"),
    ("waitlist", "blocked_prerequisites"),
    ("federated_agents", "cached_document"),
    ("business_verifications", "evidence"),
    ("beam_messages", "payload"),
    ("beam_messages", "response"),
    ("beam_messages", "metadata"),
];

fn json(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    each_cell(facts, |record, column, _, _, cell| {
        let is_json = column.ends_with("_json") || JSON_COLUMNS.contains(&(record.table.name.as_str(), column));
        let Cell::Text(bytes) = cell else { return };
        if !is_json {
            return;
        }
        look.seen();
        let fault = std::str::from_utf8(bytes).map_or(Some("text that is not UTF-8"), form::json_fault);
        if let Some(fault) = fault {
            let observed = format!("{fault}: {}", record.shown(column));
            look.wrong(
                record.subject(),
                &record.place(column),
                "JSON as JSON.stringify writes it",
                observed,
            );
        }
    });
    look.end()
}

fn empty_is_null(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    each_cell(facts, |record, column, declared, nullable, cell| {
        if let Cell::Text(bytes) = cell
            && declared == "TEXT"
            && nullable
        {
            look.seen();
            look.hold(record, column, !bytes.is_empty(), "NULL where there is nothing");
        }
    });
    look.end()
}
