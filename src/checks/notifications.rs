//! Are operator notifications back with state and links?
//!
//! Looks at `GET /admin/operator-notifications`. That read itself inserts or refreshes a `critical-alert:*` row for each
//! critical alert, so of those only what an operator did is compared, and a fresh one is lawful while nobody has touched
//! it. Source: Beam 1.6.0, contract sections 2.4 and 5.2.

use crate::checks::expectation::{Expected, Fields, Objects};
use crate::checks::observing::{ObserveError, array, member, normal, parsed, text};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::Value;
use std::collections::BTreeMap;

/// This check.
pub const ID: CheckId = CheckId::Notifications;

const PLACE: &str = "GET /admin/operator-notifications";
const PRIVATE: &[&str] = &["title", "message", "nextAction", "details"];
const LIST: &str = "list of notifications";

/// How many notifications the directory gives at most.
const LIMIT: usize = 500;

/// Member of the answer and column of the row.
const FIELDS: [(&str, &str); 13] = [
    ("id", "id"),
    ("alertId", "alert_id"),
    ("message", "message"),
    ("href", "href"),
    ("actor", "actor"),
    ("createdAt", "created_at"),
    ("status", "status"),
    ("severity", "severity"),
    ("owner", "owner"),
    ("nextAction", "next_action"),
    ("betaRequestId", "beta_request_id"),
    ("sourceType", "source_type"),
    ("title", "title"),
];
/// Member that holds an object, and the column of its text.
const DETAILS: (&str, &str) = ("details", "details_json");
const UPDATED: (&str, &str) = ("updatedAt", "updated_at");
const TIMES: [(&str, &str, &str); 2] = [
    ("acknowledged", "acknowledgedAt", "acknowledged_at"),
    ("acted", "actedAt", "acted_at"),
];
/// What a read refreshes in the row of a critical alert.
const REFRESHED: [&str; 6] = ["severity", "title", "message", "href", "details", "updatedAt"];
/// What the summary counts, where nothing is of that kind.
const COUNTED: [&str; 5] = [
    "summary.byStatus.new",
    "summary.byStatus.acknowledged",
    "summary.byStatus.acted",
    "summary.bySource.beta_request",
    "summary.bySource.critical_alert",
];
const ALERT: &str = "notification critical-alert:";

/// Reads the inbox (500 at most); may write critical-alert rows.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let mut objects = Objects::default();
    let answer = access
        .directory
        .get("/admin/operator-notifications?limit=500")
        .await?
        .body;
    let mut counted: BTreeMap<String, u64> = COUNTED.iter().map(|name| ((*name).to_owned(), 0)).collect();
    let notifications = array(&answer, "notifications", PLACE)?;
    for notification in notifications {
        let key = text(notification, "sourceKey", PLACE)?;
        fill(&mut objects, key, |name, _| {
            member(notification, name, PLACE).map(normal)
        })?;
        for (by, member) in [("byStatus", "status"), ("bySource", "sourceType")] {
            let name = format!("summary.{by}.{}", text(notification, member, PLACE)?);
            *counted.entry(name).or_default() += 1;
        }
    }
    counted.insert("total".to_owned(), notifications.len() as u64);
    counted.insert("summary.total".to_owned(), notifications.len() as u64);
    // What the list says of itself is held against the list: alerts may have come by reading.
    let mut shown = Objects::default();
    shown.whole(LIST, "total", member(&answer, "total", PLACE)?, &[]);
    shown.whole(LIST, "summary", member(&answer, "summary", PLACE)?, &[]);
    if notifications.len() < LIMIT {
        let shown = shown.0.remove(LIST).unwrap_or_default();
        let counted = counted.into_iter().map(|(name, count)| (name, Value::from(count)));
        objects.set(LIST, "agrees with its entries", shown == counted.collect());
    }
    Ok(objects)
}

/// The same from the rows.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let rows = databases.directory.rows("SELECT * FROM operator_notifications", &[])?;
    if rows.len() < LIMIT {
        objects.set(LIST, "agrees with its entries", true);
    }
    for row in rows {
        let key = row.text("source_key").unwrap_or_default().to_owned();
        fill(&mut objects, &key, |name, column| {
            Ok(if name == DETAILS.0 {
                parsed(row.text(column))
            } else {
                row.cell(column).json()
            })
        })?;
    }
    Ok(objects)
}

fn fill<E>(objects: &mut Objects, key: &str, value: impl Fn(&str, &str) -> Result<Value, E>) -> Result<(), E> {
    let subject = format!("notification {key}");
    for (name, column) in FIELDS.iter().chain(&[DETAILS, UPDATED]) {
        objects.set(&subject, *name, value(name, column)?);
    }
    for (field, name, column) in TIMES {
        let time = value(name, column)?;
        objects.set(&subject, field, !time.is_null());
        objects.set(&subject, name, time);
    }
    Ok(())
}

/// Holds every notification against ledger, baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let comparable = |origin: &Objects| without_refreshed(&origin.within(observed, LIMIT));
    let (ledger, baseline, rows) = (
        expected.ledger.map(comparable),
        expected.baseline.map(comparable),
        expected.rows.map(comparable),
    );
    let known = |subject: &String| {
        [&baseline, &rows]
            .into_iter()
            .flatten()
            .any(|origin| origin.0.contains_key(subject))
    };
    let (fresh, old): (Vec<_>, Vec<_>) = observed
        .0
        .iter()
        .partition(|(subject, fields)| subject.starts_with(ALERT) && untouched(fields) && !known(subject));
    let old = Objects(
        old.into_iter()
            .map(|(subject, fields)| (subject.clone(), fields.clone()))
            .collect(),
    );
    // The source's own read may have raised an alert that came too late for the snapshot, and the other way round.
    let also_there = |origin: &Option<Objects>| origin.as_ref().map(|origin| with_fresh_alerts(origin, &old));
    let (baseline, rows) = (also_there(&baseline), also_there(&rows));
    let mut judged = Expected {
        ledger: ledger.as_ref(),
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(&old, "notifications", PLACE, PRIVATE);
    if observed.len() >= LIMIT {
        judged
            .notes
            .push(format!("looked at {LIMIT} notifications, more are not given"));
    }
    for (subject, _) in fresh {
        judged
            .notes
            .push(format!("{subject} was raised by reading (contract 5.2)"));
    }
    judged
}

/// Alerts that are shown, untouched, and missing in this origin alone count as expected there.
fn with_fresh_alerts(origin: &Objects, shown: &Objects) -> Objects {
    let mut origin = origin.clone();
    for (subject, fields) in &shown.0 {
        if subject.starts_with(ALERT) && untouched(fields) {
            origin.0.entry(subject.clone()).or_default();
        }
    }
    origin
}

fn untouched(fields: &Fields) -> bool {
    fields.get("status").is_some_and(|status| status == "new") && fields.get("owner").is_none_or(Value::is_null)
}

fn without_refreshed(objects: &Objects) -> Objects {
    let mut objects = objects.clone();
    for (subject, fields) in &mut objects.0 {
        if subject.starts_with(ALERT) {
            fields.retain(|name, _| !REFRESHED.contains(&name.as_str()));
        }
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use serde_json::json;

    fn inbox(key: &str, status: &str, title: &str) -> Objects {
        let mut objects = Objects::default();
        let subject = format!("notification {key}");
        objects.set(&subject, "status", status);
        objects.set(&subject, "title", title);
        objects.set(&subject, "owner", Value::Null);
        objects
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            baseline: Some(was),
            rows: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn the_same_inbox_passes() {
        let same = inbox("beta-request:1", "acted", "t");
        assert_eq!(judged(&same, &same).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_reopened_notification_is_a_finding() {
        let judged = judged(
            &inbox("beta-request:1", "acted", "t"),
            &inbox("beta-request:1", "new", "t"),
        );
        assert_eq!(judged.findings[0].subject, "notification beta-request:1 status");
    }

    #[test]
    fn a_lost_inbox_is_a_finding() {
        let was = inbox("critical-alert:a", "acknowledged", "t");
        assert_eq!(judged(&was, &Objects::default()).verdict(), Verdict::Fail);
    }

    #[test]
    fn an_alert_raised_by_reading_is_a_note() {
        let was = inbox("beta-request:1", "acted", "t");
        let mut is = was.clone();
        is.0.extend(inbox("critical-alert:a", "new", "t").0);
        let judged = judged(&was, &is);
        assert_eq!((judged.verdict(), judged.notes.len()), (Verdict::Pass, 1));
    }

    #[test]
    fn an_alert_that_somebody_touched_does_not_come_from_reading() {
        let was = inbox("beta-request:1", "acted", "t");
        let mut is = was.clone();
        is.0.extend(inbox("critical-alert:a", "acted", "t").0);
        assert_eq!(judged(&was, &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn a_request_notification_too_many_is_a_finding() {
        let was = inbox("beta-request:1", "new", "t");
        let mut is = was.clone();
        is.0.extend(inbox("beta-request:2", "new", "t").0);
        assert_eq!(judged(&was, &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn what_a_read_refreshes_in_an_alert_is_not_compared() {
        let (was, is) = (
            inbox("critical-alert:a", "new", "5 rejects"),
            inbox("critical-alert:a", "new", "7 rejects"),
        );
        assert_eq!(judged(&was, &is).verdict(), Verdict::Pass);
        let mut owned = is.clone();
        owned.set("notification critical-alert:a", "owner", json!("eve"));
        assert_eq!(judged(&was, &owned).verdict(), Verdict::Fail);
    }

    #[test]
    fn an_empty_inbox_is_inconclusive() {
        let none = Objects::default();
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }
}
