//! Do the environments state the same release, at every place, and the expected one? Pure comparison.
//!
//! Places of one process are one source: three answers of one object that was made at its start prove no more than one. Two
//! absent values are no agreement. Source: Beam 1.6.0, contract sections 1.3 and 2.1.

use crate::deployment::release::{Release, is_commit, is_same_commit, is_same_version};
use crate::evidence::{Finding, Judgement, short};
use crate::parity::release::Facts;
use crate::parity::release_answers::Stated;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A time of deployment this close to the start of the process is the start of the process.
const START_TOLERANCE_MS: i64 = 5_000;
/// How far another clock may be ahead.
const CLOCK_TOLERANCE_MS: i64 = 60_000;
/// A clock of a service that is so far off is wrong: signed intents are refused after five minutes.
const WRONG_CLOCK_MS: i64 = 300_000;
/// 2020-01-01: nothing of Beam was deployed before it.
const BEFORE_ALL_RELEASES_MS: i64 = 1_577_836_800_000;

const FIELDS: [&str; 3] = ["version", "gitSha", "deployedAt"];

fn field<'a>(release: &'a Release, name: &str) -> Option<&'a str> {
    match name {
        "version" => release.version.as_deref(),
        "gitSha" => release.git_sha.as_deref(),
        _ => release.deployed_at.as_deref(),
    }
}

impl Facts {
    /// The release of the environment in one triple: what it states, each value where it was seen first.
    #[must_use]
    pub(crate) fn shown(&self) -> Release {
        let value = |name: &str| first(self, name).map(|(value, _)| value.to_owned());
        Release {
            version: value("version"),
            git_sha: value("gitSha"),
            deployed_at: value("deployedAt"),
        }
    }
}

/// The first value that any place states.
fn first<'a>(facts: &'a Facts, name: &str) -> Option<(&'a str, &'a str)> {
    facts
        .stated
        .iter()
        .find_map(|one| Some((field(&one.release, name)?, one.place.as_str())))
}

fn same(name: &str, one: &str, other: &str) -> bool {
    let time = |text: &str| text.trim().parse::<Timestamp>().ok();
    match name {
        "deployedAt" => one.trim() == other.trim() || (time(one).is_some() && time(one) == time(other)),
        "gitSha" => is_same_commit(one, other),
        _ => is_same_version(one, other),
    }
}

/// Holds every place against the others and against the expected release, and looks at each value by itself.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let sources: BTreeSet<&str> = facts.stated.iter().map(|one| one.source.as_str()).collect();
    let mut judged = Judgement {
        expected: triple(&facts.expected, "any"),
        observed: facts
            .stated
            .first()
            .map_or("nothing states a release".to_owned(), |one| {
                triple(&one.release, "absent")
            }),
        ..Judgement::default()
    };
    if facts.stated.is_empty() {
        // Nobody could be asked: that is no release other than the expected one.
        return judged;
    }
    for name in FIELDS {
        let agreed = first(facts, name);
        for one in &facts.stated {
            if let Some(odd) = one.odd.get(name) {
                no_text(&mut judged, name, odd, agreed, &one.place);
            }
            let Some(seen) = field(&one.release, name) else {
                continue;
            };
            judged.items += 1;
            if let Some((value, place)) = agreed.filter(|(value, _)| !same(name, value, seen)) {
                let subject = format!("{name} within the environment");
                judged.findings.push(Finding::new(
                    subject,
                    format!("{} ({place})", short(value)),
                    short(seen),
                    &one.place,
                ));
            }
            own_faults(&mut judged, name, seen, one, facts);
        }
        if let Some(wanted) = field(&facts.expected, name) {
            let found = agreed.map_or(("absent", "every place"), |found| found);
            if !same(name, wanted, found.0) {
                let subject = format!("{name} of the expected release");
                judged
                    .findings
                    .push(Finding::new(subject, short(wanted), short(found.0), found.1));
            }
        }
    }
    let names: Vec<&str> = sources.iter().copied().collect();
    let independent = if names.len() == 1 && facts.stated.len() > 1 {
        "; places of one source prove no more than one"
    } else {
        ""
    };
    judged.notes.push(format!(
        "{} places of {} independent sources: {}{independent}",
        facts.stated.len(),
        names.len(),
        names.join(", ")
    ));
    restarts(&mut judged, facts);
    joined(&mut judged.findings);
    judged
}

/// One finding for what is wrong in the same way at several places.
fn joined(findings: &mut Vec<Finding>) {
    let mut kept: Vec<Finding> = Vec::new();
    for finding in findings.drain(..) {
        let same = |other: &&mut Finding| {
            (&other.subject, &other.expected, &other.observed)
                == (&finding.subject, &finding.expected, &finding.observed)
        };
        match kept.iter_mut().find(same) {
            Some(other) => other.place = format!("{}, {}", other.place, finding.place),
            None => kept.push(finding),
        }
    }
    *findings = kept;
}

/// What stands where a text should: always wrong, but `null` where no place states the field.
fn no_text(judged: &mut Judgement, name: &str, odd: &str, agreed: Option<(&str, &str)>, place: &str) {
    let subject = format!("{name} within the environment");
    match agreed {
        Some((value, other)) => {
            let expected = format!("{} ({other})", short(value));
            judged.findings.push(Finding::new(subject, expected, odd, place));
        }
        None if odd == "null" => {}
        None => judged
            .findings
            .push(Finding::new(format!("{name} by itself"), "a text", odd, place)),
    }
}

/// The same service asked twice: by a restart, or a little later.
fn restarts(judged: &mut Judgement, facts: &Facts) {
    let looks = [
        (&facts.restarted, "after a restart"),
        (&facts.again, "between two looks"),
    ];
    for (later, when) in looks {
        for one in later {
            let before = facts
                .stated
                .iter()
                .find(|other| other.source == one.source && other.place == one.place);
            let Some(before) = before else { continue };
            for name in FIELDS {
                let (was, is) = (field(&before.release, name), field(&one.release, name));
                judged.items += u64::from(was.is_some() || is.is_some());
                let (Some(was), Some(is)) = (was, is) else { continue };
                if !same(name, was, is) {
                    let moves = name == "deployedAt" && is_start(is, one);
                    let why = if moves {
                        ", the start of the process; set BEAM_DEPLOYED_AT"
                    } else {
                        ""
                    };
                    let observed = format!("{}{why}", short(is));
                    let subject = format!("{name} {when}");
                    judged
                        .findings
                        .push(Finding::new(subject, short(was), observed, &one.place));
                }
            }
        }
    }
    clocks(judged, facts);
    if facts.restarted.is_empty() {
        let started = |all: &[Stated]| all.iter().find_map(|one| one.process_started_at.clone());
        let note = match (started(&facts.stated), started(&facts.again)) {
            (Some(before), Some(after)) if !close(&before, &after) => {
                format!(
                    "the process that runs since {} was started anew between two looks",
                    short(&after)
                )
            }
            (Some(since), _) => format!("no restart was seen: the process runs since {}", short(&since)),
            _ => "no restart was seen".to_owned(),
        };
        judged.notes.push(note);
    } else {
        let note = "sampled before and after a restart of services that the harness started itself";
        judged.notes.push(note.to_owned());
    }
}

/// A running service's own clock goes on, and is about right.
fn clocks(judged: &mut Judgement, facts: &Facts) {
    for one in &facts.again {
        let before = facts.stated.iter().find(|other| other.place == one.place);
        let Some((was, is)) = before.and_then(|before| before.clock.as_ref()).zip(one.clock.as_ref()) else {
            continue;
        };
        judged.items += 1;
        let subject = format!("clock of {}", one.place);
        if was == is {
            let observed = format!("{} twice: a stored answer", short(is));
            judged
                .findings
                .push(Finding::new(subject, "a later time", observed, &one.place));
        } else if let Some(now) = facts.observed_at.as_ref().filter(|now| !near(now, is, WRONG_CLOCK_MS)) {
            judged
                .findings
                .push(Finding::new(subject, short(now), short(is), &one.place));
        }
    }
}

fn near(one: &str, other: &str, tolerance_ms: i64) -> bool {
    match (one.parse::<Timestamp>(), other.parse::<Timestamp>()) {
        (Ok(one), Ok(other)) => (one.as_millisecond() - other.as_millisecond()).abs() <= tolerance_ms,
        _ => false,
    }
}

fn close(one: &str, other: &str) -> bool {
    near(one, other, START_TOLERANCE_MS)
}

fn is_start(deployed: &str, stated: &Stated) -> bool {
    stated
        .process_started_at
        .as_ref()
        .is_some_and(|start| close(deployed, start))
}

fn own_faults(judged: &mut Judgement, name: &str, seen: &str, stated: &Stated, facts: &Facts) {
    let mut wrong = |expected: &str, observed: String| {
        let subject = format!("{name} by itself");
        judged
            .findings
            .push(Finding::new(subject, expected, observed, &stated.place));
    };
    match name {
        "version" if seen.trim().is_empty() => wrong("a version", "an empty text".to_owned()),
        "gitSha" => {
            if !is_commit(seen) {
                wrong("7 to 40 hexadecimal digits", short(seen));
            } else if let Some(short_sha) = stated.short_sha.as_deref().filter(|short| !seen.starts_with(short)) {
                wrong(
                    "a short form of the commit",
                    format!("gitShaShort {}", short(short_sha)),
                );
            }
        }
        "deployedAt" => {
            let Ok(deployed) = seen.parse::<Timestamp>() else {
                return wrong("a time, RFC 3339", short(seen));
            };
            let ms = |text: Option<&String>| Some(text?.parse::<Timestamp>().ok()?.as_millisecond());
            let at = deployed.as_millisecond();
            let is_of_commit = field(&stated.release, "gitSha")
                .zip(field(&facts.expected, "gitSha"))
                .is_some_and(|(seen, wanted)| same("gitSha", seen, wanted));
            if ms(facts.observed_at.as_ref()).is_some_and(|now| at > now + CLOCK_TOLERANCE_MS) {
                wrong("a time in the past", format!("{}, in the future", short(seen)));
            } else if at < BEFORE_ALL_RELEASES_MS {
                wrong(
                    "the time of the deployment",
                    format!("{}, a time that nobody set", short(seen)),
                );
            } else if is_start(seen, stated) {
                let observed = format!("{}, the start of the process; set BEAM_DEPLOYED_AT", short(seen));
                wrong("the time of the deployment", observed);
            } else if let Some(committed) = facts.committed_at.as_ref().filter(|_| is_of_commit)
                && ms(Some(committed)).is_some_and(|committed| at + CLOCK_TOLERANCE_MS < committed)
            {
                let expected = format!("a time after the commit, {}", short(committed));
                wrong(&expected, format!("{}, before there was such a release", short(seen)));
            }
        }
        _ => {}
    }
}

/// The triple must be that of the reference; what neither states is not compared.
#[must_use]
pub fn compare(reference: &Facts, facts: &Facts) -> Judgement {
    let mut judged = Judgement::default();
    for name in FIELDS {
        let (expected, observed) = (first(reference, name), first(facts, name));
        if expected.is_none() && observed.is_none() || facts.stated.is_empty() || reference.stated.is_empty() {
            continue;
        }
        judged.items += 1;
        let (wanted, _) = expected.unwrap_or(("absent", ""));
        let (seen, place) = observed.unwrap_or(("absent", "every place"));
        if !same(name, wanted, seen) {
            let subject = format!("{name} between environments");
            judged
                .findings
                .push(Finding::new(subject, short(wanted), short(seen), place));
        }
    }
    judged
}

/// As [`compare`]; and another release cannot have been deployed at the same time as the one before it.
#[must_use]
pub fn compare_over_time(earlier: &Facts, facts: &Facts) -> Judgement {
    let mut judged = compare(earlier, facts);
    let differs = |name: &str| match (first(earlier, name), first(facts, name)) {
        (Some((was, _)), Some((is, _))) => !same(name, was, is),
        _ => false,
    };
    let deployed = first(earlier, "deployedAt").zip(first(facts, "deployedAt"));
    if let Some(((was, _), (_, place))) = deployed.filter(|_| !differs("deployedAt"))
        && (differs("version") || differs("gitSha"))
    {
        let expected = format!("a later time than {}", short(was));
        let observed = format!("{}, frozen: the release is another one", short(was));
        judged
            .findings
            .push(Finding::new("deployedAt over time", expected, observed, place));
    }
    judged
}

fn triple(release: &Release, absent: &str) -> String {
    let all: Vec<String> = FIELDS
        .iter()
        .map(|name| field(release, name).map_or_else(|| absent.to_owned(), short))
        .collect();
    all.join(" / ")
}

#[cfg(test)]
mod tests;
