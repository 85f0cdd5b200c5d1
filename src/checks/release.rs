//! Is the release truth the same before and after, at every endpoint?
//!
//! Looks at every place where the directory states version, commit and time of deployment. Two absent values are not an
//! agreement: a field that is null before and after is not counted. The bus states no release (surprise 33). Source: Beam
//! 1.6.0, contract sections 1.3 and 2.1.

use crate::checks::expectation::{Fields, Objects, shown};
use crate::checks::observing::{ObserveError, member};
use crate::client::Access;
use crate::deployment::release::Release;
use crate::evidence::{CheckId, Finding, Judgement};
use jiff::Timestamp;
use serde_json::Value;

/// This check.
pub const ID: CheckId = CheckId::Release;

const FIELDS: [&str; 3] = ["version", "gitSha", "deployedAt"];
const SHORT: &str = "gitShaShort";
const PROTOCOL: &str = "protocol";
/// What the contract gives for it.
const BEAM: &str = "beam/1";
/// A time of deployment this close to the start of the process is the start of the process.
const START_TOLERANCE_MS: i64 = 5_000;

/// Reads all five places; writes nothing.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let directory = &access.directory;
    let (release, health, stats) = tokio::join!(directory.release(), directory.health(), directory.stats());
    let (release, health, stats) = (release?.value, health?.value, stats?.value);
    let places = [
        ("release /release", member(&release, "release", "GET /release")?),
        ("release /health", &health),
        ("release /health.release", member(&health, "release", "GET /health")?),
        ("release /stats", &stats),
        ("release /stats.release", member(&stats, "release", "GET /stats")?),
    ];
    let mut objects = Objects::default();
    for (subject, stated) in places {
        for name in FIELDS {
            objects.set(subject, name, member(stated, name, subject)?.clone());
        }
        // The copies at the top of an answer have no short form.
        if subject.ends_with("release") {
            objects.set(subject, SHORT, member(stated, SHORT, subject)?.clone());
        }
    }
    let protocol = member(&release, "protocol", "GET /release")?;
    objects.set("release /release", PROTOCOL, protocol.clone());
    Ok(objects)
}

/// What the restored directory is held against.
#[derive(Debug, Clone, Copy, Default)]
pub struct Truth<'a> {
    /// What the source stated; `None` without a source.
    pub before: Option<&'a Objects>,
    /// What the environment says that is deployed; absent members are not compared.
    pub stated: Option<&'a Release>,
    /// When the restored directory was started.
    pub started_at: Option<Timestamp>,
}

/// Holds every place against the others, the source, the environment, and the start of the process.
#[must_use]
pub fn judge(truth: &Truth<'_>, after: &Objects) -> Judgement {
    let mut judged = Judgement::default();
    let reference = after.0.values().next();
    for (subject, fields) in &after.0 {
        for name in FIELDS {
            let seen = known(fields, name);
            if let Some(before) = truth.before.and_then(|before| before.0.get(subject)) {
                compare(
                    &mut judged,
                    subject,
                    name,
                    known(before, name),
                    seen,
                    "before the outage",
                );
            }
            let stated = truth.stated.and_then(|release| stated(release, name)).map(Value::from);
            if stated.is_some() {
                compare(&mut judged, subject, name, stated.as_ref(), seen, "stated");
            }
            let elsewhere = reference.and_then(|reference| known(reference, name));
            compare(&mut judged, subject, name, elsewhere, seen, "other endpoints");
        }
    }
    if judged.items > 0 && truth.before.is_none() && truth.stated.is_none() {
        // Endpoints that agree with each other say nothing about what should be deployed.
        judged.items = 0;
        judged.notes.push("nothing to hold the release against".to_owned());
    }
    for (subject, fields) in &after.0 {
        own_faults(&mut judged, subject, fields, truth.started_at);
    }
    judged.expected = truth
        .before
        .and_then(|before| before.0.values().next())
        .map_or_else(|| "the stated release".to_owned(), triple);
    judged.observed = reference.map_or_else(|| "no answer".to_owned(), triple);
    judged
}

/// A value that is there and not null.
fn known<'a>(fields: &'a Fields, name: &str) -> Option<&'a Value> {
    fields.get(name).filter(|value| !value.is_null())
}

fn stated<'a>(release: &'a Release, name: &str) -> Option<&'a str> {
    match name {
        "version" => release.version.as_deref(),
        "gitSha" => release.git_sha.as_deref(),
        _ => release.deployed_at.as_deref(),
    }
}

fn compare(
    judged: &mut Judgement,
    subject: &str,
    name: &str,
    expected: Option<&Value>,
    seen: Option<&Value>,
    origin: &str,
) {
    if expected.is_none() && seen.is_none() {
        return;
    }
    judged.items += 1;
    let same = match (expected, seen) {
        (Some(expected), Some(seen)) => expected == seen || (name == "deployedAt" && same_instant(expected, seen)),
        _ => false,
    };
    let show = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), |value| shown(value, false));
    let finding = Finding::new(
        format!("{subject} {name}"),
        format!("{} ({origin})", show(expected)),
        show(seen),
        place(subject),
    );
    if !same && !judged.findings.iter().any(|other| other.subject == finding.subject) {
        judged.findings.push(finding);
    }
}

/// `release /health.release` was read at `GET /health`.
fn place(subject: &str) -> String {
    let path = subject.trim_start_matches("release ");
    format!("GET {}", path.trim_end_matches(".release"))
}

fn same_instant(one: &Value, other: &Value) -> bool {
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    time(one).is_some() && time(one) == time(other)
}

/// Values that are wrong by themselves: an empty version, a time of deployment that is the start of the process.
fn own_faults(judged: &mut Judgement, subject: &str, fields: &Fields, started_at: Option<Timestamp>) {
    let place = place(subject);
    if known(fields, "version")
        .and_then(Value::as_str)
        .is_some_and(str::is_empty)
    {
        judged.findings.push(Finding::new(
            format!("{subject} version"),
            "a version",
            "an empty text",
            &place,
        ));
    }
    if let Some(short) = fields.get(SHORT) {
        let sha = known(fields, "gitSha").and_then(Value::as_str);
        let right = sha.map_or(Value::Null, |sha| Value::from(sha.get(..7).unwrap_or(sha)));
        if *short != right {
            judged.findings.push(Finding::new(
                format!("{subject} {SHORT}"),
                format!("{} (the commit)", shown(&right, false)),
                shown(short, false),
                &place,
            ));
        }
    }
    if let Some(protocol) = fields.get(PROTOCOL).filter(|protocol| *protocol != BEAM) {
        judged.findings.push(Finding::new(
            format!("{subject} {PROTOCOL}"),
            BEAM,
            shown(protocol, false),
            &place,
        ));
    }
    let deployed = known(fields, "deployedAt").and_then(|value| value.as_str()?.parse::<Timestamp>().ok());
    if let (Some(deployed), Some(started)) = (deployed, started_at)
        && (deployed.as_millisecond() - started.as_millisecond()).abs() <= START_TOLERANCE_MS
    {
        judged.findings.push(Finding::new(
            format!("{subject} deployedAt"),
            "the time of the deployment",
            format!("{deployed}, the start of the process; set BEAM_DEPLOYED_AT"),
            &place,
        ));
    }
}

fn triple(fields: &Fields) -> String {
    let show = |name| known(fields, name).map_or_else(|| "absent".to_owned(), |value| shown(value, false));
    format!("{} / {} / {}", show("version"), show("gitSha"), show("deployedAt"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use serde_json::json;

    fn release(version: Value, deployed_at: Value) -> Objects {
        let mut objects = Objects::default();
        for subject in ["release /health", "release /release"] {
            objects.set(subject, "version", version.clone());
            objects.set(subject, "gitSha", Value::Null);
            objects.set(subject, "deployedAt", deployed_at.clone());
        }
        objects
    }

    fn pinned() -> Objects {
        release(json!("1.6.0"), json!("2026-04-01T00:00:00.000Z"))
    }

    fn judged(before: &Objects, after: &Objects) -> Judgement {
        let truth = Truth {
            before: Some(before),
            ..Truth::default()
        };
        judge(&truth, after)
    }

    #[test]
    fn a_short_form_of_another_commit_is_a_finding() {
        let mut after = pinned();
        after.set("release /release", "gitShaShort", "0123456");
        let judged = judged(&pinned(), &after);
        assert_eq!(judged.findings[0].subject, "release /release gitShaShort");
    }

    #[test]
    fn the_same_release_passes() {
        assert_eq!(judged(&pinned(), &pinned()).verdict(), Verdict::Pass);
    }

    #[test]
    fn another_version_is_a_finding() {
        let after = release(json!("1.5.0"), json!("2026-04-01T00:00:00.000Z"));
        assert_eq!(judged(&pinned(), &after).findings[0].subject, "release /health version");
    }

    #[test]
    fn endpoints_that_disagree_are_a_finding() {
        let mut after = pinned();
        after.set("release /release", "version", "1.5.0");
        assert_eq!(judged(&after, &after).findings.len(), 1);
    }

    #[test]
    fn absent_before_and_after_is_inconclusive() {
        let none = release(Value::Null, Value::Null);
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn the_start_of_the_process_is_no_time_of_deployment() {
        let truth = Truth {
            before: Some(&pinned()),
            started_at: "2026-04-01T00:00:01Z".parse().ok(),
            ..Truth::default()
        };
        assert_eq!(judge(&truth, &pinned()).findings.len(), 2);
    }

    #[test]
    fn an_empty_version_is_a_finding() {
        let empty = release(json!(""), json!("2026-04-01T00:00:00.000Z"));
        assert_eq!(judged(&empty, &empty).verdict(), Verdict::Fail);
    }

    #[test]
    fn the_stated_release_is_compared_where_there_is_no_source() {
        let stated = Release {
            version: Some("1.6.0".to_owned()),
            ..Release::default()
        };
        let truth = Truth {
            stated: Some(&stated),
            ..Truth::default()
        };
        assert_eq!(judge(&truth, &pinned()).verdict(), Verdict::Pass);
        assert_eq!(judge(&Truth::default(), &pinned()).verdict(), Verdict::Inconclusive);
    }
}
