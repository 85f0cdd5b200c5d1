//! Rules of ids: sequences, gaps, and that ids and times rise together.
//!
//! Source: SQLite AUTOINCREMENT; Beam 1.6.0, contract 2.3, 2.4, 2.7, 2.11, 3.2, 4.3.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use std::collections::HashMap;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "Q01",
        title: "sequence not below the highest id",
        why: "AUTOINCREMENT never gives an id twice, so its counter is at least the highest id (SQLite; contract 4.3)",
        needs: &["sqlite_sequence"],
        run: not_below,
    },
    Rule {
        name: "Q02",
        title: "sequence is the highest id where nothing deletes",
        why: "no end point deletes these rows, and they are plain inserts: the last id given is the last id there (contract 2.3, 2.4, 2.11)",
        needs: &["sqlite_sequence"],
        run: is_highest,
    },
    Rule {
        name: "Q03",
        title: "ids without gaps where nothing deletes",
        why: "as Q02: every id from 1 on is there; a prune takes the oldest rows only and leaves an audit row (contract 2.10)",
        needs: &[],
        run: gapless,
    },
    Rule {
        name: "Q05",
        title: "ids and times rise together",
        why: "a row is written at once with the current time, so times do not fall while ids rise (contract 4.3; observed to 5 ms)",
        needs: &[],
        run: rising,
    },
    Rule {
        name: "Q06",
        title: "bus rows without gaps",
        why: "the bus has no delete end point (contract 3.2); only its purge of test data deletes, and VACUUM renumbers",
        needs: &["beam_messages"],
        run: bus_gapless,
    },
    Rule {
        name: "Q07",
        title: "upsert counters",
        why: "each metered attempt is one upsert, which takes one id: the counter is the sum of the attempts (contract 2.7 step 3)",
        needs: &["sqlite_sequence", "usage_metering"],
        run: upserts,
    },
];

/// Tables whose rows nothing deletes but what the second member names.
const KEPT: &[&str] = &[
    "audit_log",
    "intent_log",
    "intent_trace_events",
    "shield_audit_log",
    "waitlist",
    "operator_notifications",
    "workspaces",
    "workspace_identity_bindings",
    "workspace_partner_channels",
    "workspace_threads",
    "workspace_thread_participants",
    "reports",
    "funnel_events",
    "openclaw_fleet_digest_runs",
    "openclaw_fleet_digest_deliveries",
    "openclaw_host_heartbeats",
];

fn sequences(facts: &Facts) -> HashMap<&str, i64> {
    facts
        .rows("sqlite_sequence")
        .filter_map(|row| Some((row.text("name")?, row.int("seq")?)))
        .collect()
}

fn automatic(facts: &Facts) -> impl Iterator<Item = (&str, &'static str)> {
    facts.files.iter().flat_map(|file| {
        let of_it = file.schema.objects.iter().filter(|object| object.kind == "table");
        let automatic = of_it.filter(|object| {
            object
                .sql
                .as_deref()
                .is_some_and(|sql| sql.to_uppercase().contains("AUTOINCREMENT"))
        });
        automatic.map(|object| (object.name.as_str(), file.name))
    })
}

fn not_below(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let given = sequences(facts);
    for (table, file) in automatic(facts) {
        let Some(highest) = facts.rows(table).map(|row| row.rowid()).max() else {
            continue;
        };
        look.seen();
        let place = format!("{file} sqlite_sequence");
        match given.get(table) {
            None => look.wrong(table, &place, format!("a counter of at least {highest}"), "none"),
            Some(last) if *last < highest => look.wrong(table, &place, format!("at least {highest}"), last),
            Some(_) => {}
        }
    }
    let mut names: Vec<&str> = facts
        .rows("sqlite_sequence")
        .filter_map(|row| row.text("name"))
        .collect();
    names.sort_unstable();
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        look.wrong(pair[0], "sqlite_sequence", "one counter", "more than one");
    }
    look.end()
}

/// Why the newest rows of a table may lawfully be missing.
fn newest_gone(facts: &Facts, table: &str) -> Option<String> {
    match table {
        "audit_log" => None,
        "intent_log" => facts.intents_gone().or_else(|| facts.reclaimed()),
        "intent_trace_events" => facts.pruned("traces"),
        "shield_audit_log" => facts.pruned("shield"),
        "waitlist" => facts.cleared(),
        _ => None,
    }
}

fn is_highest(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let given = sequences(facts);
    for table in KEPT.iter().filter(|table| facts.unloaded(table).is_none()) {
        let Some(last) = given.get(table) else { continue };
        if let Some(reason) = newest_gone(facts, table) {
            look.relax(format!("{table}: {reason}"));
            continue;
        }
        look.seen();
        let highest = facts.rows(table).map(|row| row.rowid()).max().unwrap_or(0);
        if *last != highest {
            look.wrong(
                table,
                "beam-directory.db sqlite_sequence",
                format!("{highest}, the highest id"),
                last,
            );
        }
    }
    look.end()
}

fn gapless(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for table in KEPT
        .iter()
        .filter(|table| **table != "shield_audit_log" && facts.unloaded(table).is_none())
    {
        let mut ids: Vec<i64> = facts.rows(table).map(|row| row.rowid()).collect();
        ids.sort_unstable();
        let Some(first) = ids.first().copied() else { continue };
        let pruned = match *table {
            "audit_log" => facts.pruned("audit"),
            _ => newest_gone(facts, table),
        };
        // A prune takes the oldest; an agent's delete and a burnt id can leave holes anywhere.
        if let Some(reason) = pruned {
            look.relax(format!("{table}: {reason}"));
            if *table != "audit_log" {
                continue;
            }
        } else if first != 1 {
            look.wrong(
                table,
                &format!("beam-directory.db {table}"),
                "ids from 1 on",
                format!("ids from {first} on"),
            );
        }
        look.seen();
        for pair in ids.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            let observed = format!("no row between {} and {}", pair[0], pair[1]);
            look.wrong(
                table,
                &format!("beam-directory.db {table}"),
                "ids without a gap",
                observed,
            );
        }
    }
    look.end()
}

/// Table and the column that is written with the row.
const WRITTEN: &[(&str, &str)] = &[
    ("audit_log", "timestamp"),
    ("shield_audit_log", "created_at"),
    ("waitlist", "created_at"),
    ("operator_notifications", "created_at"),
    ("workspaces", "created_at"),
    ("workspace_identity_bindings", "created_at"),
    ("workspace_partner_channels", "created_at"),
    ("workspace_threads", "created_at"),
    ("workspace_thread_participants", "created_at"),
    ("funnel_events", "created_at"),
    ("agent_keys", "created_at"),
    ("openclaw_host_heartbeats", "heartbeat_at"),
    ("openclaw_fleet_alert_deliveries", "delivered_at"),
    ("openclaw_fleet_alert_targets", "created_at"),
    ("openclaw_fleet_digest_deliveries", "delivered_at"),
    ("openclaw_fleet_digest_runs", "created_at"),
    ("openclaw_host_enrollment_requests", "created_at"),
    ("openclaw_host_routes", "created_at"),
    ("openclaw_hosts", "created_at"),
    ("openclaw_policy_packs", "created_at"),
    ("openclaw_workspace_templates", "created_at"),
    ("billing", "created_at"),
    ("business_verifications", "created_at"),
    ("federation_peers", "created_at"),
    ("org_agents", "created_at"),
];

fn rising(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (table, column) in WRITTEN {
        if facts.unloaded(table).is_some() {
            continue;
        }
        let mut latest = i64::MIN;
        for row in facts.rows(table) {
            let Some(ms) = row.ms(column).or_else(|| row.int(column)) else {
                continue;
            };
            look.seen();
            look.hold(row, column, ms + 5 >= latest, "not before the rows with lower ids");
            latest = latest.max(ms);
        }
    }
    look.end()
}

fn bus_gapless(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut expected = 1;
    let purged = facts.rows("agents").find(|row| {
        let beam_id = row.str("beam_id");
        beam_id.contains("@test.") || beam_id.contains("@demo.")
    });
    if let Some(agent) = purged {
        look.relax(format!("{} may have been purged as test data", agent.subject()));
        return look.end();
    }
    for row in facts.rows("beam_messages") {
        look.seen();
        if row.rowid() != expected {
            let observed = format!("no row before {}", row.rowid());
            look.row(row, false, format_args!("row {expected} before it"), observed);
        }
        expected = row.rowid() + 1;
    }
    look.end()
}

fn upserts(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let given = sequences(facts);
    let attempts: i64 = facts
        .rows("usage_metering")
        .filter_map(|row| row.int("intent_count"))
        .sum();
    if facts.count("usage_metering") > 0 || given.contains_key("usage_metering") {
        look.seen();
        let last = given.get("usage_metering").copied().unwrap_or(0);
        let lawful = if facts.agent_deleted().is_some() {
            last >= attempts
        } else {
            last == attempts
        };
        if !lawful {
            let expected = format!("{attempts}, the sum of all attempts");
            look.wrong("usage_metering", "beam-directory.db sqlite_sequence", expected, last);
        }
    }
    if let Some(last) = given.get("trust_scores") {
        look.seen();
        let pairs = |row: &&crate::checks::invariants::record::Record<'_>| {
            matches!(row.str("status"), "acked" | "failed")
                && facts.registered(row.str("from_beam_id"))
                && facts.registered(row.str("to_beam_id"))
        };
        let ended = i64::try_from(facts.rows("intent_log").filter(|row| pairs(&row)).count()).unwrap_or(i64::MAX);
        if *last < ended {
            let expected = format!("at least {ended}, the finished intents between registered agents");
            look.wrong("trust_scores", "beam-directory.db sqlite_sequence", expected, last);
        }
    }
    look.end()
}
