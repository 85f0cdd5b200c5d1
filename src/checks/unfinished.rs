//! Unfinished intents and messages, and how each must end after a start.
//!
//! Source: Beam 1.6.0, contract 2.8, 3.3, 3.5, 5.1 and surprise 36. Reads rows; never the running services.

use crate::checks::prediction::{Window, millis_of, rounded};
use crate::deployment::Service;
use crate::snapshot::database::{Cell, DatabaseError, Databases, Row};
use serde::{Deserialize, Serialize};

/// `RELAY_TIMEOUT_MS` of a service that was not told otherwise.
const RELAY_TIMEOUT_MS: i64 = 30_000;
/// The sweep of recovered intents runs every 5 s; one more for its own time.
const SWEEP_MS: i64 = 6_000;
/// The bus's retry worker first runs 30 s after its start.
const WORKER_MS: i64 = 29_500;

/// How an unfinished row must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Intent: `failed` with `DELIVERY_FAILED`.
    DeliveryFailed,
    /// Intent: `failed` with `TIMEOUT`.
    TimedOut,
    /// Intent: stays `delivered`.
    StaysDelivered,
    /// Intent near its limit: `delivered`, or `failed` with `TIMEOUT`.
    DeliveredOrTimedOut,
    /// Intent that keeps the directory from starting: no trace, or a last trace row that allows no failure.
    Bricks,
    /// Bus: `queued`.
    Queued,
    /// Bus: the worker may have tried it again.
    MayHaveBeenRetried,
}

/// One unfinished row and its predicted end.
#[derive(Debug, Clone, PartialEq)]
pub struct InFlight {
    /// Where it stands.
    pub service: Service,
    /// Its nonce (the bus's id where it has none).
    pub nonce: String,
    /// Its status in the snapshot.
    pub status: String,
    /// How it must end.
    pub end: End,
    /// Why it bricks, in words.
    pub why: Option<&'static str>,
    /// The row itself.
    pub row: Row,
}

/// Every unfinished intent and bus row of a snapshot, with the end that the contract predicts.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn predict_in_flight(snapshot: &Databases, window: &Window) -> Result<Vec<InFlight>, DatabaseError> {
    let intents = snapshot.directory.rows(
        "SELECT * FROM intent_log WHERE status IN ('received','validated','queued','dispatched','delivered') ORDER BY id",
        &[],
    )?;
    let mut all = Vec::new();
    for row in intents {
        let nonce = row.text("nonce").unwrap_or_default().to_owned();
        let trace = snapshot.directory.rows(
            "SELECT stage, timestamp, details FROM intent_trace_events WHERE nonce=?1 ORDER BY timestamp, id",
            &[&nonce],
        )?;
        let (end, why) = end_of_intent(&row, &trace, window);
        let status = row.text("status").unwrap_or_default().to_owned();
        all.push(InFlight {
            service: Service::Directory,
            nonce,
            status,
            end,
            why,
            row,
        });
    }
    let messages = snapshot.bus.rows(
        "SELECT * FROM beam_messages WHERE status IN ('received','dispatched','queued') ORDER BY id",
        &[],
    )?;
    for row in messages {
        let retried = window.length_ms() >= WORKER_MS && is_due(&row, window);
        all.push(InFlight {
            service: Service::Bus,
            nonce: row.text("nonce").or(row.text("id")).unwrap_or_default().to_owned(),
            status: row.text("status").unwrap_or_default().to_owned(),
            end: if retried { End::MayHaveBeenRetried } else { End::Queued },
            why: None,
            row,
        });
    }
    Ok(all)
}

/// Whether the worker may take a row within the window; a requeued one is due at once, one without a time never.
fn is_due(row: &Row, window: &Window) -> bool {
    match (row.text("status"), row.cell("next_retry_at")) {
        (Some("queued"), Cell::Real(seconds)) => rounded(seconds * 1_000.0) <= window.looked_at_ms,
        (Some("queued"), Cell::Integer(seconds)) => seconds * 1_000 <= window.looked_at_ms,
        (Some("queued"), _) => false,
        _ => true,
    }
}

fn end_of_intent(row: &Row, trace: &[Row], window: &Window) -> (End, Option<&'static str>) {
    let Some(last) = trace.last() else {
        return (
            End::Bricks,
            Some("no trace row: the directory cannot start on this file (contract 36)"),
        );
    };
    if matches!(last.text("stage"), Some("acked" | "dead_letter")) {
        let why = "its last trace row allows no failure: the directory cannot start on this file (contract 36)";
        return (End::Bricks, Some(why));
    }
    if row.text("status") != Some("delivered") {
        return (End::DeliveryFailed, None);
    }
    let timeout = trace.iter().rev().find_map(timeout_of).unwrap_or(RELAY_TIMEOUT_MS);
    let times = [row.text("requested_at"), last.text("timestamp")];
    let known: Vec<i64> = times.into_iter().flatten().filter_map(millis_of).collect();
    let (Some(first), Some(latest)) = (known.iter().min(), known.iter().max()) else {
        return (End::DeliveredOrTimedOut, None);
    };
    let (early, late) = (first + timeout, latest + timeout);
    let end = if late <= window.start_requested_ms || late + SWEEP_MS <= window.looked_at_ms {
        End::TimedOut
    } else if early > window.looked_at_ms {
        End::StaysDelivered
    } else {
        End::DeliveredOrTimedOut
    };
    (end, None)
}

fn timeout_of(row: &Row) -> Option<i64> {
    let details: serde_json::Value = serde_json::from_str(row.text("details")?).ok()?;
    details["timeoutMs"].as_i64()
}
