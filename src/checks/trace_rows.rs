//! Intents and traces as the rows have them: the independent side of [`crate::checks::traces`].
//!
//! Reads tables only; never an answer of a service. Source: Beam 1.6.0, contract sections 2.8, 2.10 and 4.3.

use crate::checks::expectation::Objects;
use crate::checks::observing::{object, parsed};
use crate::checks::traces::{ALL, FIELDS, Stage, WHOLE, describe, digest};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// All intents with their traces, those under way included.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    for row in databases.directory.rows("SELECT * FROM intent_log", &[])? {
        let subject = format!("intent {}", row.text("nonce").unwrap_or_default());
        for (name, column) in FIELDS {
            objects.set(&subject, name, row.cell(column).json());
        }
    }
    let total = objects.len();
    let mut traces: BTreeMap<String, Vec<Stage>> = BTreeMap::new();
    let events = databases
        .directory
        .rows("SELECT * FROM intent_trace_events ORDER BY timestamp, id", &[])?;
    for row in events {
        let nonce = row.text("nonce").unwrap_or_default().to_owned();
        traces.entry(nonce).or_default().push(Stage {
            whole: WHOLE.iter().map(|(_, column)| row.cell(column).json()).collect(),
            id: row.integer("id").unwrap_or_default(),
            name: row.text("stage").unwrap_or_default().to_owned(),
            time: row.text("timestamp").unwrap_or_default().to_owned(),
            details: parsed(row.text("details")),
        });
    }
    for (nonce, shield) in shields(databases)? {
        let subject = format!("intent {nonce}");
        if objects.0.contains_key(&subject) {
            objects.set(&subject, "shield", json!([digest(&shield)]));
        }
    }
    let nonces: Vec<String> = objects
        .0
        .keys()
        .map(|subject| subject["intent ".len()..].to_owned())
        .collect();
    for nonce in nonces {
        let stages = traces.remove(&nonce).unwrap_or_default();
        describe(&mut objects, &format!("intent {nonce}"), stages);
    }
    objects.set(ALL, "total", total);
    for nonce in nonces_of(&objects) {
        objects.set(format!("intent {nonce}"), "nonce", nonce);
    }
    Ok(objects)
}

fn nonces_of(objects: &Objects) -> Vec<String> {
    let nonces = objects.0.keys().filter_map(|subject| subject.strip_prefix("intent "));
    nonces.map(str::to_owned).collect()
}

/// The shield's decision about each nonce that has exactly one, as a trace shows it.
fn shields(databases: &Databases) -> Result<BTreeMap<String, Value>, DatabaseError> {
    let sql = "SELECT * FROM shield_audit_log GROUP BY nonce HAVING count(*) = 1";
    let mut all = BTreeMap::new();
    for row in databases.directory.rows(sql, &[])? {
        let nonce = row.text("nonce").unwrap_or_default().to_owned();
        let columns = [
            ("id", "id"),
            ("nonce", "nonce"),
            ("timestamp", "timestamp"),
            ("senderBeamId", "sender_beam_id"),
            ("senderTrust", "sender_trust"),
            ("intentType", "intent_type"),
            ("payloadHash", "payload_hash"),
            ("decision", "decision"),
            ("riskScore", "risk_score"),
            ("responseSize", "response_size"),
            ("createdAt", "created_at"),
        ];
        let mut shown = object(columns.map(|(name, column)| (name, row.cell(column).json())));
        shown["anomalyFlags"] = parsed(row.text("anomaly_flags"));
        all.insert(nonce, shown);
    }
    Ok(all)
}
