//! Is the audit log back without a gap?
//!
//! Looks at the newest 500 entries of `GET /observability/audit`, as many as the directory gives at once. Entries that came
//! after everything expected are lawful only as traces of the harness's own looks (logins, proof packs, throttling), by
//! rule and not by list of ids. Source: Beam 1.6.0, contract sections 2.10, 5.2 and appendix B.

use crate::checks::expectation::{Expected, Fields, Objects};
use crate::checks::observing::{ObserveError, array, integer, member, normal, parsed};
use crate::checks::stages;
use crate::client::Access;
use crate::evidence::{CheckId, Finding, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::Value;

/// This check.
pub const ID: CheckId = CheckId::Audit;

const PLACE: &str = "GET /observability/audit";
/// Two lists of the same entries.
const PLACES: [&str; 2] = [PLACE, "GET /admin/audit"];
const LIST: &str = "list of audit entries";
/// How many entries the directory gives at once.
const WINDOW: u32 = 500;
const FIELDS: [&str; 4] = ["action", "actor", "target", "timestamp"];
/// What looking leaves in the log.
const OWN: [&str; 6] = [
    "admin.auth.challenge.issued",
    "admin.auth.login",
    "admin.auth.logout",
    "admin.beta_request.proof_pack.exported",
    "shield.request.blocked",
    "public.rate_limit.throttled",
];

/// Reads the newest entries.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let mut objects = Objects::default();
    let (log, admin) = (
        format!("/observability/audit?limit={WINDOW}"),
        format!("/admin/audit?limit={WINDOW}"),
    );
    let (log, admin) = tokio::join!(access.directory.get(&log), access.directory.get(&admin));
    let (log, admin) = (log?.body, admin?.body);
    for (answer, place) in [(&log, PLACES[0]), (&admin, PLACES[1])] {
        for entry in array(answer, "entries", place)? {
            let subject = format!("audit {}", integer(entry, "id", place)?);
            for name in FIELDS {
                objects.also(&subject, name, member(entry, name, place)?.clone());
            }
            let details = entry.get("details").map_or(Value::Null, normal);
            objects.also(&subject, "details", stages::digest(&details));
            objects.set(&subject, place, true);
        }
        let shown = array(answer, "entries", place)?.len();
        if shown < WINDOW as usize {
            let agrees = integer(answer, "total", place)? == i64::try_from(shown).unwrap_or(i64::MAX);
            objects.set(LIST, format!("total of {place}"), agrees);
        }
    }
    Ok(objects)
}

/// The same from the rows: all entries.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    for row in databases.directory.rows("SELECT * FROM audit_log", &[])? {
        let subject = format!("audit {}", row.integer("id").unwrap_or_default());
        for name in FIELDS {
            objects.set(&subject, name, row.cell(name).json());
        }
        objects.set(&subject, "details", stages::digest(&parsed(row.text("details"))));
    }
    Ok(objects)
}

/// Holds every entry in the window against baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let entries = keep(observed, |(subject, _)| subject != LIST);
    let mut judged = judge_entries(expected, &entries);
    totals(&mut judged, observed);
    // What differs between the two lists is told of lawful new entries too.
    for finding in Expected::default()
        .judge(&entries, "audit entries", PLACE, &[])
        .findings
    {
        if !judged.findings.iter().any(|other| other.subject == finding.subject) {
            judged.findings.push(finding);
        }
    }
    for place in PLACES {
        absent_at(place, &mut judged, &entries);
    }
    judged
}

/// Entries that one list lacks though it shows older ones: a list may be cut at its old end only.
fn absent_at(place: &str, judged: &mut Judgement, entries: &Objects) {
    let is_shown = |fields: &Fields| fields.contains_key(place);
    let shown = entries.0.iter().filter(|(_, fields)| is_shown(fields));
    let oldest = shown.map(moment).min();
    let elsewhere = |fields: &Fields| PLACES.iter().any(|place| fields.contains_key(*place));
    for entry in entries
        .0
        .iter()
        .filter(|(_, fields)| !is_shown(fields) && elsewhere(fields))
    {
        if Some(moment(entry)) > oldest {
            let absent = Finding::new(entry.0, "present (the other list)", "absent", place);
            judged.findings.push(absent);
        }
    }
}

fn judge_entries(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let cut = observed.len() >= WINDOW as usize;
    let oldest = observed.0.iter().map(moment).min();
    let mut judged = Judgement::default();
    let mut hold = |origin: Option<&Objects>, as_origin: fn(&Objects) -> Expected<'_>| {
        let Some(origin) = origin else { return };
        let newest = origin.0.keys().map(id).max().unwrap_or_default();
        // How far back each list goes depends on what is newest.
        let origin = &origin.without(&PLACES);
        let within = keep(origin, |entry| {
            entry.0 != LIST && (!cut || Some(moment(entry)) >= oldest)
        });
        let seen = keep(observed, |(subject, fields)| id(subject) <= newest || !own(fields));
        let one = as_origin(&within).judge(&seen, "audit entries", PLACE, &[]);
        judged.items += one.items;
        judged.expected = one.expected;
        for finding in one.findings {
            if !judged.findings.iter().any(|other| same(other, &finding)) {
                judged.findings.push(finding);
            }
        }
        if cut && within.len() < origin.len() {
            judged
                .notes
                .push(format!("looked at the newest {WINDOW} of {} entries", origin.len()));
        }
    };
    hold(expected.ledger, |ledger| Expected {
        ledger: Some(ledger),
        ..Expected::default()
    });
    hold(expected.baseline, |baseline| Expected {
        baseline: Some(baseline),
        ..Expected::default()
    });
    hold(expected.rows, |rows| Expected {
        rows: Some(rows),
        ..Expected::default()
    });
    judged.observed = format!("{} audit entries", observed.len());
    if let Some(gap) = gap(observed).filter(|_| !cut) {
        judged
            .notes
            .push(format!("{gap}; with nothing else to compare this may be a prune"));
    }
    judged
}

fn same(one: &Finding, other: &Finding) -> bool {
    one.subject == other.subject && one.observed == other.observed
}

/// What the log says of itself: whether its total is the number of its entries.
fn totals(judged: &mut Judgement, observed: &Objects) {
    for (field, agrees) in observed.0.get(LIST).into_iter().flatten() {
        if *agrees != Value::Bool(true) {
            let place = field.trim_start_matches("total of ");
            judged.findings.push(Finding::new(
                field,
                "the number of its entries",
                "another number",
                place,
            ));
        }
    }
}

fn keep(objects: &Objects, wanted: impl Fn((&String, &Fields)) -> bool) -> Objects {
    let kept = objects.0.iter().filter(|entry| wanted(*entry));
    Objects(
        kept.map(|(subject, fields)| (subject.clone(), fields.clone()))
            .collect(),
    )
}

fn id(subject: impl AsRef<str>) -> i64 {
    let digits = subject.as_ref().strip_prefix("audit ");
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_default()
}

/// By what the directory orders the log: time, then id.
fn moment((subject, fields): (&String, &Fields)) -> (String, i64) {
    let time = fields.get("timestamp").and_then(Value::as_str).unwrap_or_default();
    (time.to_owned(), id(subject))
}

fn own(fields: &Fields) -> bool {
    let action = fields.get("action").and_then(Value::as_str);
    action.is_some_and(|action| OWN.contains(&action))
}

/// Ids are never used twice, so a hole between the oldest and the newest was once an entry.
fn gap(observed: &Objects) -> Option<String> {
    let mut ids: Vec<i64> = observed.0.keys().map(id).collect();
    ids.sort_unstable();
    let (before, after) = ids
        .iter()
        .zip(ids.iter().skip(1))
        .find(|(one, next)| **next > **one + 1)?;
    Some(format!("no audit entry between {before} and {after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use serde_json::json;

    fn log(entries: &[(i64, &str)]) -> Objects {
        let mut objects = Objects::default();
        for (id, action) in entries {
            objects.set(format!("audit {id}"), "action", *action);
            objects.set(format!("audit {id}"), "actor", "ops@beam.local");
        }
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
    fn the_same_log_passes() {
        let same = log(&[(1, "a"), (2, "b")]);
        let judged = judged(&same, &same);
        assert_eq!((judged.verdict(), judged.notes.len()), (Verdict::Pass, 0));
    }

    #[test]
    fn a_gap_in_the_middle_is_a_finding() {
        let judged = judged(&log(&[(1, "a"), (2, "b"), (3, "c")]), &log(&[(1, "a"), (3, "c")]));
        assert_eq!(judged.findings.len(), 1);
        assert_eq!(judged.findings[0].subject, "audit 2");
    }

    #[test]
    fn another_actor_is_a_finding() {
        let mut is = log(&[(1, "a")]);
        is.set("audit 1", "actor", "eve");
        assert_eq!(judged(&log(&[(1, "a")]), &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn a_login_of_the_harness_is_lawful_after_the_newest_only() {
        let was = log(&[(1, "a"), (3, "b")]);
        let mut is = was.clone();
        is.0.extend(log(&[(4, "admin.auth.login")]).0);
        assert_eq!(judged(&was, &is).verdict(), Verdict::Pass);
        is.0.extend(log(&[(2, "admin.auth.login")]).0);
        assert_eq!(judged(&was, &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn an_entry_that_one_list_lacks_is_a_finding_unless_the_list_ends_before_it() {
        let mut both = log(&[(1, "a"), (2, "b"), (3, "admin.auth.login")]);
        for id in 1..=3 {
            let subject = format!("audit {id}");
            both.set(&subject, "timestamp", format!("{id}"));
            both.set(&subject, PLACES[0], true);
            if id != 1 {
                both.set(&subject, PLACES[1], true);
            }
        }
        assert_eq!(judged(&both, &both).findings, []);
        let mut gap = both.clone();
        gap.0.get_mut("audit 3").expect("an entry").remove(PLACES[1]);
        gap.0
            .get_mut("audit 1")
            .expect("an entry")
            .insert(PLACES[1].to_owned(), json!(true));
        assert_eq!(judged(&both, &gap).findings[0].subject, "audit 3");
    }

    #[test]
    fn an_unexplained_new_entry_is_a_finding() {
        let was = log(&[(1, "a")]);
        let is = log(&[(1, "a"), (2, "admin.waitlist.cleared")]);
        assert_eq!(judged(&was, &is).findings[0].subject, "audit 2");
    }

    #[test]
    fn entries_older_than_the_window_are_not_missed() {
        let mut was = Objects::default();
        for id in 1..=600 {
            was.set(format!("audit {id}"), "timestamp", format!("{id:04}"));
        }
        let mut is = was.clone();
        is.0.retain(|subject, _| id(subject) > 100);
        let judged_one = judged(&was, &is);
        assert_eq!((judged_one.verdict(), judged_one.notes.len()), (Verdict::Pass, 2));
        is.0.remove("audit 300");
        is.set("audit 100", "timestamp", "0100");
        assert_eq!(judged(&was, &is).findings[0].subject, "audit 300");
    }

    #[test]
    fn no_entry_at_all_is_inconclusive() {
        let none = Objects::default();
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }
}
