//! What the first start changes, predicted from the snapshot's rows.
//!
//! Source: Beam 1.6.0, contract 3.5, 5.1. Reads rows; never the running services.

use crate::checks::prediction::{CellRule, Force, Kind, Predicted, Window, millis_of};
use crate::checks::unfinished::{End, InFlight, predict_in_flight};
use crate::deployment::Service;
use crate::snapshot::database::{Cell, Database, DatabaseError, Databases};

const RATE_LIMIT_PURGE_MS: i64 = 290_000;
const NONCE_PURGE_MS: i64 = 590_000;

const REQUEUE: &str = "bus rows received/dispatched are requeued at start (contract 3.5)";
const WORKER: &str = "the retry worker has run: 30 s since the start (contract 3.3)";
const RECOVERY: &str = "in-flight intents fail as DELIVERY_FAILED at start (contract 5.1)";
const SEQUENCES: &str = "sequences of traces and trust move with recovered intents (contract 5.1)";
const TIMEOUT: &str = "delivered intents older than their timeout fail as TIMEOUT (contract 5.1)";

/// Every change that the first start of both services makes.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn predict(snapshot: &Databases, window: &Window) -> Result<Vec<Predicted>, DatabaseError> {
    let in_flight = predict_in_flight(snapshot, window)?;
    let directory = &snapshot.directory;
    let mut all = Vec::new();
    agent_keys(directory, &mut all)?;
    digest_schedule(directory, &mut all)?;
    recovered_intents(directory, &in_flight, &mut all)?;
    waitlist(directory, &mut all)?;
    hosts(directory, &mut all)?;
    catalogue(directory, &mut all)?;
    legacy_and_purges(directory, window, &mut all)?;
    bus(&snapshot.bus, &in_flight, &mut all)?;
    if in_flight.iter().any(|one| one.end == End::MayHaveBeenRetried) {
        retried_deliveries(&mut all);
    }
    Ok(all)
}

fn text(value: &str) -> Cell {
    Cell::Text(value.as_bytes().to_vec())
}

fn sequence(directory: &Database, table: &str) -> Result<Option<i64>, DatabaseError> {
    let rows = directory.rows("SELECT seq FROM sqlite_sequence WHERE name=?1", &[table])?;
    Ok(rows.first().and_then(|row| row.integer("seq")))
}

/// The sequence of `table` moves to a value between `low` and `high` above its present one.
fn sequence_moves(
    directory: &Database,
    rule: &'static str,
    table: &'static str,
    low: i64,
    high: i64,
) -> Result<Option<Predicted>, DatabaseError> {
    if high <= 0 {
        return Ok(None);
    }
    let known = sequence(directory, table)?;
    let top = directory.rows(&format!("SELECT max(id) AS top FROM {table}"), &[])?;
    let top = top.first().and_then(|row| row.integer("top")).unwrap_or(0);
    let base = known.unwrap_or(0).max(top);
    Ok(Some(Predicted {
        rule,
        service: Service::Directory,
        table: "sqlite_sequence",
        kind: if known.is_some() { Kind::Update } else { Kind::Insert },
        force: if low > 0 { Force::Must } else { Force::May },
        row: vec![("name", text(table))],
        cells: vec![("seq", CellRule::Between(base + low, base + high))],
    }))
}

fn agent_keys(directory: &Database, all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    const RULE: &str = "sqlite_sequence of agent_keys grows by the number of agents at every start (contract 5.1)";
    const MISSING: &str = "a current key that is not recorded gets its agent_keys row (contract 5.1)";
    let agents = directory.rows("SELECT count(*) AS n FROM agents", &[])?;
    let agents = agents[0].integer("n").unwrap_or(0);
    all.extend(sequence_moves(directory, RULE, "agent_keys", agents, agents)?);
    let missing = directory.rows(
        "SELECT beam_id, public_key FROM agents a WHERE NOT EXISTS \
         (SELECT 1 FROM agent_keys k WHERE k.beam_id=a.beam_id AND k.public_key=a.public_key)",
        &[],
    )?;
    all.extend(missing.into_iter().map(|row| Predicted {
        rule: MISSING,
        service: Service::Directory,
        table: "agent_keys",
        kind: Kind::Insert,
        force: Force::Must,
        row: vec![
            ("beam_id", row.cell("beam_id").clone()),
            ("public_key", row.cell("public_key").clone()),
        ],
        cells: vec![("id", CellRule::Anything), ("created_at", CellRule::MillisNow)],
    }));
    Ok(())
}

fn digest_schedule(directory: &Database, all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    let rows = directory.rows("SELECT count(*) AS n FROM openclaw_fleet_digest_schedules", &[])?;
    if rows[0].integer("n") == Some(0) {
        all.push(Predicted {
            rule: "an empty digest schedule gets its row 1 (contract 5.1)",
            service: Service::Directory,
            table: "openclaw_fleet_digest_schedules",
            kind: Kind::Insert,
            force: Force::Must,
            row: vec![("id", Cell::Integer(1))],
            cells: vec![
                ("enabled", CellRule::Between(0, 1)),
                ("run_hour_utc", CellRule::Between(0, 23)),
                ("run_minute_utc", CellRule::Between(0, 59)),
                ("escalate_on_critical", CellRule::Between(0, 1)),
                ("created_at", CellRule::IsoNow),
                ("updated_at", CellRule::IsoNow),
            ],
        });
    }
    Ok(())
}

fn recovered_intents(
    directory: &Database,
    in_flight: &[InFlight],
    all: &mut Vec<Predicted>,
) -> Result<(), DatabaseError> {
    let (mut low, mut high, mut trust_low, mut trust_high) = (0, 0, 0, 0);
    for one in in_flight.iter().filter(|one| one.service == Service::Directory) {
        let (rule, code, force) = match one.end {
            End::DeliveryFailed => (RECOVERY, "DELIVERY_FAILED", Force::Must),
            End::TimedOut => (TIMEOUT, "TIMEOUT", Force::Must),
            End::DeliveredOrTimedOut => (TIMEOUT, "TIMEOUT", Force::May),
            _ => continue,
        };
        let sure = i64::from(force == Force::Must);
        low += sure;
        high += 1;
        all.push(failed_intent(one, rule, code, force));
        all.push(recovery_trace(one, rule, force));
        let parties = [one.row.text("from_beam_id"), one.row.text("to_beam_id")].map(Option::unwrap_or_default);
        let known = directory.rows("SELECT beam_id FROM agents WHERE beam_id IN (?1, ?2)", &parties)?;
        if known.len() == 2 {
            trust_low += sure;
            trust_high += 1;
            lowered_trust(directory, parties, rule, force, all)?;
        }
    }
    all.extend(sequence_moves(directory, SEQUENCES, "intent_trace_events", low, high)?);
    all.extend(sequence_moves(
        directory,
        SEQUENCES,
        "trust_scores",
        trust_low.min(1),
        trust_high,
    )?);
    Ok(())
}

fn failed_intent(one: &InFlight, rule: &'static str, code: &'static str, force: Force) -> Predicted {
    let age = match one.row.text("requested_at").and_then(millis_of) {
        Some(from) if one.end == End::DeliveryFailed => CellRule::AgeSince(from),
        _ => CellRule::Anything,
    };
    Predicted {
        rule,
        service: Service::Directory,
        table: "intent_log",
        kind: Kind::Update,
        force,
        row: vec![("nonce", text(&one.nonce))],
        cells: vec![
            ("status", CellRule::Is(text("failed"))),
            ("error_code", CellRule::Is(text(code))),
            ("completed_at", CellRule::IsoNow),
            ("round_trip_latency_ms", age),
            ("result_json", CellRule::Filled),
        ],
    }
}

fn recovery_trace(one: &InFlight, rule: &'static str, force: Force) -> Predicted {
    let same = |column: &'static str| (column, CellRule::Is(one.row.cell(column).clone()));
    Predicted {
        rule,
        service: Service::Directory,
        table: "intent_trace_events",
        kind: Kind::Insert,
        force,
        row: vec![("nonce", text(&one.nonce))],
        cells: vec![
            ("id", CellRule::Anything),
            same("from_beam_id"),
            same("to_beam_id"),
            same("intent_type"),
            ("stage", CellRule::Is(text("failed"))),
            ("status", CellRule::Is(text("failed"))),
            ("timestamp", CellRule::IsoNow),
            ("details", CellRule::RecoveryOf(one.status.clone())),
        ],
    }
}

fn lowered_trust(
    directory: &Database,
    parties: [&str; 2],
    rule: &'static str,
    force: Force,
    all: &mut Vec<Predicted>,
) -> Result<(), DatabaseError> {
    let row = vec![
        ("source_beam_id", text(parties[0])),
        ("target_beam_id", text(parties[1])),
    ];
    if let Some(known) = all.iter_mut().find(|one| one.table == "trust_scores" && one.row == row) {
        // A second intent of the same pair lowers the same row.
        if force == Force::Must {
            known.force = force;
        }
        return Ok(());
    }
    let before = directory.rows(
        "SELECT score FROM trust_scores WHERE source_beam_id=?1 AND target_beam_id=?2",
        &parties,
    )?;
    let top = match before.first().map(|row| row.cell("score")) {
        Some(Cell::Real(score)) => *score,
        _ => 1.0,
    };
    let mut cells = vec![
        ("score", CellRule::RealBetween(0.0, top)),
        ("last_updated", CellRule::IsoNow),
    ];
    if before.is_empty() {
        cells.push(("id", CellRule::Anything));
    }
    all.push(Predicted {
        rule,
        service: Service::Directory,
        table: "trust_scores",
        kind: if before.is_empty() { Kind::Insert } else { Kind::Update },
        force,
        row,
        cells,
    });
    Ok(())
}

fn waitlist(directory: &Database, all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    let rows = directory.rows(
        "SELECT id, status, last_contact_at, updated_at, created_at, stage_entered_at FROM waitlist WHERE \
         (status IN ('contacted','scheduled','active') AND coalesce(last_contact_at, '')='') \
         OR coalesce(status, '')='' OR coalesce(updated_at, '')='' OR coalesce(stage_entered_at, '')='' ORDER BY id",
        &[],
    )?;
    for row in rows {
        let is_empty = |column: &str| row.text(column).unwrap_or_default().is_empty();
        let mut cells = Vec::new();
        for column in ["status", "updated_at", "stage_entered_at"] {
            if is_empty(column) {
                cells.push((column, CellRule::Filled));
            }
        }
        let in_contact = matches!(row.text("status"), Some("contacted" | "scheduled" | "active"));
        if in_contact && is_empty("last_contact_at") {
            let contact = if is_empty("updated_at") {
                CellRule::Filled
            } else {
                CellRule::Is(row.cell("updated_at").clone())
            };
            cells.push(("last_contact_at", contact));
        }
        all.push(Predicted {
            rule: "empty dates and stages of requests are filled; last_contact_at := updated_at (contract 5.1)",
            service: Service::Directory,
            table: "waitlist",
            kind: Kind::Update,
            force: Force::Must,
            row: vec![("id", row.cell("id").clone())],
            cells,
        });
    }
    Ok(())
}

fn hosts(directory: &Database, all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    let rows = directory.rows(
        "SELECT id, status, revoked_at, credential_hash, credential_state FROM openclaw_hosts ORDER BY id",
        &[],
    )?;
    for row in rows {
        let was_revoked = *row.cell("revoked_at") != Cell::Null;
        let has_hash = row.text("credential_hash").is_some_and(|hash| !hash.is_empty());
        let (force, rule) = match (row.text("status") == Some("revoked"), has_hash, was_revoked) {
            (true, ..) => (Force::Must, CellRule::Is(text("revoked"))),
            (false, false, false) => (Force::Must, CellRule::Is(text("missing"))),
            // Revoked once and taken back: the contract does not say which of the two columns counts.
            (false, _, true) => (Force::May, CellRule::OneOf(vec!["revoked", "missing", "ready"])),
            (false, true, false) => continue,
        };
        if rule == CellRule::Is(row.cell("credential_state").clone()) {
            continue;
        }
        all.push(Predicted {
            rule: "credential_state of hosts is normalised (contract 5.1)",
            service: Service::Directory,
            table: "openclaw_hosts",
            kind: Kind::Update,
            force,
            row: vec![("id", row.cell("id").clone())],
            cells: vec![("credential_state", rule)],
        });
    }
    Ok(())
}

fn catalogue(directory: &Database, all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    const RULE: &str = "catalogue ACLs are inserted for agents of the demo organisation (contract 5.1)";
    let demo = directory.rows(
        "SELECT beam_id FROM agents WHERE substr(beam_id, 1, instr(beam_id, '@') - 1) IN \
         ('agent-a','agent-b','clara','fischer','james','jarvis') AND (org='demo' OR beam_id LIKE '%@demo.%')",
        &[],
    )?;
    for row in &demo {
        all.push(Predicted {
            rule: RULE,
            service: Service::Directory,
            table: "intent_acls",
            kind: Kind::Insert,
            force: Force::May,
            row: vec![("target_beam_id", row.cell("beam_id").clone())],
            cells: Vec::new(),
        });
    }
    if !demo.is_empty() {
        all.extend(sequence_moves(directory, RULE, "intent_acls", 0, 1_000)?);
    }
    Ok(())
}

fn legacy_and_purges(directory: &Database, window: &Window, all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    const CANONICAL: &str = "('received','validated','queued','dispatched','delivered','acked','failed','dead_letter')";
    const RULE: &str = "legacy statuses are rewritten, unmappable trace rows deleted (contract 5.1)";
    let may = |table, kind, row: Vec<(&'static str, Cell)>, cells, rule| Predicted {
        rule,
        service: Service::Directory,
        table,
        kind,
        force: Force::May,
        row,
        cells,
    };
    let statuses = directory.rows(
        &format!("SELECT id FROM intent_log WHERE status NOT IN {CANONICAL}"),
        &[],
    )?;
    for row in statuses {
        let row = vec![("id", row.cell("id").clone())];
        all.push(may(
            "intent_log",
            Kind::Update,
            row,
            vec![("status", CellRule::Filled)],
            RULE,
        ));
    }
    let stages = directory.rows(
        &format!("SELECT id FROM intent_trace_events WHERE stage NOT IN {CANONICAL} OR status NOT IN {CANONICAL}"),
        &[],
    )?;
    for row in stages {
        let row = vec![("id", row.cell("id").clone())];
        let cells = vec![("stage", CellRule::Filled), ("status", CellRule::Filled)];
        all.push(may("intent_trace_events", Kind::Update, row.clone(), cells, RULE));
        all.push(may("intent_trace_events", Kind::Delete, row, Vec::new(), RULE));
    }
    for (table, after_ms) in [("rate_limits", RATE_LIMIT_PURGE_MS), ("nonces", NONCE_PURGE_MS)] {
        if window.length_ms() >= after_ms {
            all.push(may(
                table,
                Kind::Delete,
                Vec::new(),
                Vec::new(),
                "old rows are purged by a timer (contract 5.2)",
            ));
        }
    }
    Ok(())
}

fn bus(bus: &Database, in_flight: &[InFlight], all: &mut Vec<Predicted>) -> Result<(), DatabaseError> {
    let rows = bus.rows(
        "SELECT id, nonce, status, error FROM beam_messages WHERE coalesce(nonce, '')='' \
         OR status IN ('pending','expired','received','dispatched') ORDER BY id",
        &[],
    )?;
    for row in rows {
        let mut cells = Vec::new();
        if row.text("nonce").unwrap_or_default().is_empty() {
            cells.push(("nonce", CellRule::Is(row.cell("id").clone())));
        }
        match row.text("status") {
            Some("pending") => cells.push(("status", CellRule::Is(text("queued")))),
            Some("expired") => cells.push(("status", CellRule::Is(text("dead_letter")))),
            Some("received" | "dispatched") => cells.extend([
                ("status", CellRule::Is(text("queued"))),
                ("next_retry_at", CellRule::SecondsNow),
                ("error", CellRule::Filled),
                ("failed_at", CellRule::Is(Cell::Null)),
            ]),
            _ => {}
        }
        let key = row.cell("id");
        let retried = in_flight
            .iter()
            .any(|one| one.end == End::MayHaveBeenRetried && one.row.cell("id") == key);
        if !retried {
            all.push(message(REQUEUE, Force::Must, key, cells));
        }
    }
    for one in in_flight.iter().filter(|one| one.end == End::MayHaveBeenRetried) {
        let columns = [
            "status",
            "retry_count",
            "next_retry_at",
            "error",
            "failed_at",
            "delivered_at",
            "nonce",
        ];
        let cells = columns.map(|column| (column, CellRule::Anything)).to_vec();
        all.push(message(WORKER, Force::May, one.row.cell("id"), cells));
    }
    Ok(())
}

fn message(rule: &'static str, force: Force, id: &Cell, cells: Vec<(&'static str, CellRule)>) -> Predicted {
    Predicted {
        rule,
        service: Service::Bus,
        table: "beam_messages",
        kind: Kind::Update,
        force,
        row: vec![("id", id.clone())],
        cells,
    }
}

/// What a delivery by the retry worker may write into the directory.
fn retried_deliveries(all: &mut Vec<Predicted>) {
    const INSERTS: [&str; 8] = [
        "intent_log",
        "intent_trace_events",
        "usage_metering",
        "rate_limits",
        "shield_audit_log",
        "audit_log",
        "trust_scores",
        "sqlite_sequence",
    ];
    const UPDATES: [(&str, &[&str]); 6] = [
        (
            "intent_log",
            &[
                "status",
                "error_code",
                "completed_at",
                "round_trip_latency_ms",
                "result_json",
                "requested_at",
            ],
        ),
        ("agents", &["last_seen", "trust_score"]),
        ("usage_metering", &["intent_count", "relayed_count"]),
        ("rate_limits", &["count", "window_start"]),
        ("trust_scores", &["score", "last_updated"]),
        ("sqlite_sequence", &["seq"]),
    ];
    let may = |table, kind, cells| Predicted {
        rule: WORKER,
        service: Service::Directory,
        table,
        kind,
        force: Force::May,
        row: Vec::new(),
        cells,
    };
    all.extend(INSERTS.into_iter().map(|table| may(table, Kind::Insert, Vec::new())));
    for (table, columns) in UPDATES {
        let cells = columns.iter().map(|column| (*column, CellRule::Anything)).collect();
        all.push(may(table, Kind::Update, cells));
    }
}
