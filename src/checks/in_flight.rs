//! `in-flight`: did unfinished intents and messages end as the contract predicts?
//!
//! The rows of the snapshot say which are unfinished; the running services' files say how they ended. An unfinished
//! intent without trace is a finding even at rest: the directory cannot start on it, ever.

use crate::checks::prediction::Window;
use crate::checks::unfinished::{End, InFlight, predict_in_flight};
use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::database::{DatabaseError, Databases};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The check.
pub const ID: CheckId = CheckId::InFlight;

/// One unfinished row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Where it stands.
    pub service: Service,
    /// Its nonce.
    pub nonce: String,
    /// Its status in the snapshot.
    pub before: String,
    /// How it must end.
    pub end: End,
    /// Why the directory cannot start on it, if so.
    pub why: Option<String>,
    /// Status and error code afterwards; `None` at rest, or when the row is gone.
    pub after: Option<(String, Option<String>)>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whether the services were running on the files already.
    pub started: bool,
    /// Every unfinished row.
    pub rows: Vec<Seen>,
}

/// Looks at the snapshot alone: which rows are unfinished, and which keep the directory from starting.
///
/// # Errors
/// [`DatabaseError`].
pub fn observe_at_rest(snapshot: &Databases, window: &Window) -> Result<Facts, DatabaseError> {
    let rows = predict_in_flight(snapshot, window)?;
    Ok(Facts {
        started: false,
        rows: rows.into_iter().map(|one| seen(one, None)).collect(),
    })
}

/// Looks at the snapshot and at the running services' files.
///
/// # Errors
/// [`DatabaseError`].
pub fn observe(snapshot: &Databases, running: &Databases, window: &Window) -> Result<Facts, DatabaseError> {
    let mut after: BTreeMap<(Service, String), (String, Option<String>)> = BTreeMap::new();
    for (service, sql) in [
        (Service::Directory, "SELECT nonce, status, error_code FROM intent_log"),
        (
            Service::Bus,
            "SELECT coalesce(nonce, id) AS nonce, status, error AS error_code FROM beam_messages",
        ),
    ] {
        for row in running.of(service).rows(sql, &[])? {
            let key = (service, row.text("nonce").unwrap_or_default().to_owned());
            let status = row.text("status").unwrap_or_default().to_owned();
            let code = row.text("error_code").filter(|_| service == Service::Directory);
            after.insert(key, (status, code.map(str::to_owned)));
        }
    }
    let rows = predict_in_flight(snapshot, window)?;
    Ok(Facts {
        started: true,
        rows: rows
            .into_iter()
            .map(|one| {
                let ended = after.remove(&(one.service, one.nonce.clone()));
                seen(one, ended)
            })
            .collect(),
    })
}

fn seen(one: InFlight, after: Option<(String, Option<String>)>) -> Seen {
    Seen {
        service: one.service,
        nonce: one.nonce,
        before: one.status,
        end: one.end,
        why: one.why.map(str::to_owned),
        after,
    }
}

/// Judges every unfinished row.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let mut judged = Judgement {
        items: facts.rows.len() as u64,
        expected: format!("{} unfinished rows end as predicted", facts.rows.len()),
        ..Judgement::default()
    };
    let mut ends: BTreeMap<String, u64> = BTreeMap::new();
    for row in &facts.rows {
        let kind = match row.service {
            Service::Directory => "intent",
            Service::Bus => "message",
        };
        let subject = format!("{kind} {}", short(&row.nonce));
        if let Some(why) = &row.why {
            judged.findings.push(Finding::new(
                subject,
                "a trace that recovery can go on from",
                format!("{} and {why}", row.before),
                "snapshot beam-directory.db",
            ));
            continue;
        }
        if !facts.started {
            *ends.entry(row.before.clone()).or_default() += 1;
            continue;
        }
        let observed = match &row.after {
            Some((status, Some(code))) => format!("{status} {code}"),
            Some((status, None)) => status.clone(),
            None => "absent".to_owned(),
        };
        if !ended_well(row) {
            let place = format!("running {}", row.service.database_file());
            judged
                .findings
                .push(Finding::new(subject, words(row.end), observed.clone(), place));
        }
        *ends.entry(observed).or_default() += 1;
    }
    let phrases: Vec<String> = ends
        .iter()
        .map(|(end, count)| format!("{count} {}", short(end)))
        .collect();
    judged.observed = phrases.join(", ");
    judged
}

fn ended_well(row: &Seen) -> bool {
    let Some((status, code)) = &row.after else {
        return false;
    };
    let failed_as = |wanted: &str| status == "failed" && code.as_deref() == Some(wanted);
    match row.end {
        End::DeliveryFailed => failed_as("DELIVERY_FAILED"),
        End::TimedOut => failed_as("TIMEOUT"),
        End::StaysDelivered => status == "delivered",
        End::DeliveredOrTimedOut => status == "delivered" || failed_as("TIMEOUT"),
        End::Bricks => false,
        End::Queued => status == "queued",
        End::MayHaveBeenRetried => matches!(status.as_str(), "queued" | "dispatched" | "delivered" | "dead_letter"),
    }
}

fn words(end: End) -> &'static str {
    match end {
        End::DeliveryFailed => "failed DELIVERY_FAILED",
        End::TimedOut => "failed TIMEOUT",
        End::StaysDelivered => "delivered",
        End::DeliveredOrTimedOut => "delivered, or failed TIMEOUT",
        End::Bricks => "never written",
        End::Queued => "queued",
        End::MayHaveBeenRetried => "queued, or tried again: dispatched, delivered, dead_letter",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{alter, bricked, file, hot_crash, plain_at_rest};

    const NOW: Window = Window {
        start_requested_ms: 1_800_000_000_000,
        looked_at_ms: 1_800_000_000_500,
    };

    #[test]
    fn an_intent_without_trace_is_named_at_rest() {
        let databases = Databases::open(bricked().path()).expect("opened");
        let judged = judge(&observe_at_rest(&databases, &NOW).expect("read"));
        assert_eq!(judged.findings.len(), 1, "{:?}", judged.findings);
        assert_eq!(judged.findings[0].subject, "intent crash-bus-86");
    }

    #[test]
    fn unfinished_rows_that_can_be_recovered_are_no_finding_at_rest() {
        let databases = Databases::open(hot_crash().path()).expect("opened");
        let judged = judge(&observe_at_rest(&databases, &NOW).expect("read"));
        assert_eq!((judged.verdict(), judged.items), (Verdict::Pass, 172));
    }

    #[test]
    fn rows_that_end_otherwise_fail_and_the_right_ends_pass() {
        let (before, after) = (hot_crash(), hot_crash());
        let databases = Databases::open(before.path()).expect("opened");
        let look = || {
            let running = Databases::open(after.path()).expect("opened");
            judge(&observe(&databases, &running, &NOW).expect("read"))
        };
        assert_eq!(look().findings.len(), 4);
        alter(
            &file(&after, Service::Directory),
            "UPDATE intent_log SET status='failed', error_code='TIMEOUT' WHERE status='delivered'",
        );
        alter(
            &file(&after, Service::Bus),
            "UPDATE beam_messages SET status='queued' WHERE status='dispatched'",
        );
        assert_eq!(look().verdict(), Verdict::Pass);
    }

    #[test]
    fn no_unfinished_row_at_all_is_inconclusive() {
        let folder = plain_at_rest();
        alter(
            &file(&folder, Service::Bus),
            "DELETE FROM beam_messages WHERE status='queued'",
        );
        let databases = Databases::open(folder.path()).expect("opened");
        let judged = judge(&observe_at_rest(&databases, &NOW).expect("read"));
        assert_eq!(judged.verdict(), Verdict::Inconclusive);
    }
}
