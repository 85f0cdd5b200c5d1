//! Do health, stats and workspaces answer, with the counts of the data?
//!
//! A healthy answer proves nothing about data (an empty file is healthy), so every count that the services give is held
//! against baseline and rows. Writes nothing. Source: Beam 1.6.0, contract sections 2.1, 2.2, 2.5
//! and 3.2, surprise 4.

use crate::checks::agent_rows;
use crate::checks::expectation::{Derived, Expected, Objects};
use crate::checks::observing::{ObserveError, array, member};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::Value;

/// This check.
pub const ID: CheckId = CheckId::Health;

const PLACE: &str = "GET /health, /stats, /agents/stats, /admin/auth/config, /admin/workspaces, /v1/beam/stats";

/// Subject, field and the count that it shows.
const COUNTS: [(&str, &str, &str); 7] = [
    ("stats directory", "agents", "SELECT count(*) AS n FROM agents"),
    (
        "stats directory",
        "intentsProcessed",
        "SELECT count(*) AS n FROM intent_log",
    ),
    ("stats directory", "waitlistSize", "SELECT count(*) AS n FROM waitlist"),
    ("workspaces directory", "total", "SELECT count(*) AS n FROM workspaces"),
    ("agents directory", "total_agents", "SELECT count(*) AS n FROM agents"),
    (
        "agents directory",
        "verified_agents",
        "SELECT count(*) AS n FROM agents WHERE verified = 1",
    ),
    (
        "agents directory",
        "intents_processed",
        "SELECT count(*) AS n FROM intent_log",
    ),
];
/// What moves with the clock and with connections; release truth has a check of its own.
pub(crate) const MOVING: &[&str] = &[
    "timestamp",
    "uptimeSeconds",
    "uptime",
    "connectedAgents",
    "version",
    "gitSha",
    "deployedAt",
    "release",
];
/// The start ends intents under way, with a latency of its own.
const DERIVED: Derived<'_> = Derived {
    windowed: &[],
    from_intents: &["avg_response_time_ms"],
};

/// Reads health and counts of both services.
///
/// # Errors
/// A call that fails (an unhealthy directory answers 503), an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let (directory, bus) = (&access.directory, &access.bus);
    let (agents, login, health, stats, workspaces, bus_health, bus_stats) = tokio::join!(
        directory.get("/agents/stats"),
        directory.auth_config(),
        directory.health(),
        directory.stats(),
        directory.get("/admin/workspaces"),
        bus.health(),
        bus.stats(),
    );
    let (health, stats, workspaces) = (health?.value, stats?.value, workspaces?.body);
    let (bus_health, bus_stats) = (bus_health?.value, bus_stats?.value);
    let mut objects = Objects::default();
    let database = member(&health, "db", "GET /health")?;
    let shown = [
        ("health directory", "status", &health, "status", "GET /health"),
        ("health directory", "protocol", &health, "protocol", "GET /health"),
        ("health directory", "database", database, "status", "GET /health"),
        ("stats directory", "agents", &stats, "agents", "GET /stats"),
        (
            "stats directory",
            "intentsProcessed",
            &stats,
            "intentsProcessed",
            "GET /stats",
        ),
        ("stats directory", "waitlistSize", &stats, "waitlistSize", "GET /stats"),
        (
            "workspaces directory",
            "total",
            &workspaces,
            "total",
            "GET /admin/workspaces",
        ),
        ("health bus", "status", &bus_health, "status", "GET /health of the bus"),
        (
            "health bus",
            "service",
            &bus_health,
            "service",
            "GET /health of the bus",
        ),
        ("stats bus", "total", &bus_stats, "total", "GET /v1/beam/stats"),
    ];
    for (subject, field, answer, name, place) in shown {
        objects.set(subject, field, member(answer, name, place)?.clone());
    }
    for (subject, answer) in [
        ("health directory", &health),
        ("stats directory", &stats),
        ("agents directory", &agents?.body),
        ("login directory", &login?.value),
        ("health bus", &bus_health),
    ] {
        objects.whole(subject, "", answer, MOVING);
    }
    let listed = array(&workspaces, "workspaces", "GET /admin/workspaces")?;
    objects.also("workspaces directory", "total", listed.len());
    Ok(objects)
}

/// The counts from the rows, beside a healthy answer.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    for (subject, field, sql) in COUNTS {
        let rows = databases.directory.rows(sql, &[])?;
        objects.set(
            subject,
            field,
            rows.first().map_or(Value::Null, |row| row.cell("n").json()),
        );
    }
    let rows = databases.bus.rows("SELECT count(*) AS n FROM beam_messages", &[])?;
    objects.set(
        "stats bus",
        "total",
        rows.first().map_or(Value::Null, |row| row.cell("n").json()),
    );
    // How operators log in is configuration: no row tells it.
    objects.0.entry("login directory".to_owned()).or_default();
    objects.set_under_way(agent_rows::under_way(&databases.directory)?);
    objects.set("health directory", "status", "ok");
    objects.set("health directory", "database", "ok");
    objects.set("health bus", "status", "ok");
    Ok(objects)
}

/// Holds answers and counts against baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let (baseline, rows) = expected.lasting(&DERIVED);
    Expected {
        ledger: expected.ledger,
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(observed, "answers", PLACE, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn stats(agents: u64) -> Objects {
        let mut objects = Objects::default();
        objects.set("health directory", "status", "ok");
        objects.set("stats directory", "agents", agents);
        objects
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            rows: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn the_counts_of_the_rows_pass() {
        assert_eq!(judged(&stats(5), &stats(5)).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_healthy_service_with_other_counts_fails() {
        assert_eq!(
            judged(&stats(5), &stats(0)).findings[0].subject,
            "stats directory agents"
        );
    }

    #[test]
    fn nothing_expected_is_inconclusive() {
        assert_eq!(judge(&Expected::default(), &stats(5)).verdict(), Verdict::Inconclusive);
    }
}
