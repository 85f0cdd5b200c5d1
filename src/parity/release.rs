//! Do the environments state the same release, at every place, and the expected one?
//!
//! Places of one process are one source: three answers of one object that was made at its start prove no more than one. Two
//! absent values are no agreement. Source: Beam 1.6.0, contract sections 1.3 and 2.1.

use crate::deployment::compared::Aspect;
use crate::deployment::release::Release;
use crate::evidence::{Finding, Judgement, short};
use crate::parity::capture::{Looks, timestamp};
use crate::parity::fetch::{FetchError, Fetcher};
use crate::parity::{command, config};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeSet;

/// A time of deployment this close to the start of the process is the start of the process.
const START_TOLERANCE_MS: i64 = 5_000;
/// How far another clock may be ahead.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// The release as one place states it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// `GET /health release`, `release.json`.
    #[serde(rename = "where")]
    pub place: String,
    /// What it comes from: places of one source are not independent.
    pub source: String,
    /// The triple.
    pub release: Release,
    /// `gitShaShort`, where there is one.
    pub short_sha: Option<String>,
    /// When the process that states it was started, where it says so; RFC 3339 UTC.
    pub process_started_at: Option<String>,
}

/// What was seen of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Every place that states a release.
    pub stated: Vec<Stated>,
    /// What should be deployed, as the environment's file, git or a release file says.
    pub expected: Release,
    /// When it was looked at, RFC 3339 UTC.
    pub observed_at: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("is no JSON")]
    Json(#[from] serde_json::Error),
    #[error("holds none of version, gitSha, deployedAt")]
    NoRelease,
    #[error(transparent)]
    Git(#[from] command::CommandError),
}

/// Asks a service that has a `url`, reads the files that `stated` names, and what the configuration sets.
pub(crate) async fn observe(looks: &mut Looks<'_>, config: &config::Facts, fetcher: &Fetcher) -> Facts {
    let mut facts = Facts {
        expected: expected(looks).await,
        observed_at: Some(timestamp((looks.clock)())),
        stated: Vec::new(),
    };
    if let Some(url) = looks.environment.directory.url.clone() {
        running(looks, url.trim_end_matches('/'), fetcher, &mut facts.stated).await;
    }
    for named in &looks.environment.release.stated {
        let shown = named.display().to_string();
        let seen = stated_in(&looks.folder.join(named), &shown);
        facts
            .stated
            .extend(looks.note(Aspect::Release, &shown, None, seen).unwrap_or_default());
    }
    facts.stated.extend(configured(config));
    if facts.stated.is_empty() {
        looks.missing(
            Aspect::Release,
            "[release]",
            "nothing states a release: give [directory] url of the running service, or [release] stated = a JSON file",
        );
    }
    facts
}

async fn running(looks: &mut Looks<'_>, url: &str, fetcher: &Fetcher, stated: &mut Vec<Stated>) {
    for path in ["/release", "/health", "/stats"] {
        let address = format!("{url}{path}");
        let answer: Result<Value, FetchError> = fetcher.json(&address).await;
        let now = timestamp((looks.clock)());
        if let Some(answer) = looks.note(Aspect::Release, &format!("GET {address}"), None, answer) {
            stated.extend(places(&answer, &format!("GET {address}"), url, &now));
        }
    }
}

/// The places in one document: its top level, its member `release`, and the answers `health`, `stats`, `release` in it.
fn places(document: &Value, place: &str, source: &str, now: &str) -> Vec<Stated> {
    let mut found = Vec::new();
    let mut objects = vec![(place.to_owned(), document)];
    for name in ["release", "health", "stats"] {
        let Some(inner) = document.get(name) else { continue };
        objects.push((format!("{place} {name}"), inner));
        if let Some(nested) = inner.get("release") {
            objects.push((format!("{place} {name}.release"), nested));
        }
    }
    for (place, object) in objects {
        let text = |names: [&str; 2]| {
            names
                .iter()
                .find_map(|name| object.get(name)?.as_str())
                .map(str::to_owned)
        };
        let states = ["version", "gitSha", "git_sha", "deployedAt", "deployed_at"];
        if states.iter().all(|name| object.get(name).is_none()) {
            continue;
        }
        found.push(Stated {
            place,
            source: source.to_owned(),
            release: Release {
                version: text(["version", "version"]),
                git_sha: text(["gitSha", "git_sha"]),
                deployed_at: text(["deployedAt", "deployed_at"]),
            },
            short_sha: text(["gitShaShort", "git_sha_short"]),
            process_started_at: started(object, now),
        });
    }
    // The start that one place tells is that of all places of the document.
    let start = found.iter().find_map(|one| one.process_started_at.clone());
    for one in &mut found {
        one.process_started_at.clone_from(&start);
    }
    found
}

fn started(object: &Value, now: &str) -> Option<String> {
    let uptime = ["uptimeSeconds", "uptime"]
        .iter()
        .find_map(|name| object.get(name)?.as_i64())?;
    let at: Timestamp = object
        .get("timestamp")
        .and_then(Value::as_str)
        .unwrap_or(now)
        .parse()
        .ok()?;
    Timestamp::from_millisecond(at.as_millisecond() - uptime * 1_000)
        .ok()
        .map(timestamp)
}

fn stated_in(path: &std::path::Path, shown: &str) -> Result<Vec<Stated>, LookError> {
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    let found = places(&document, shown, shown, "");
    if found.is_empty() {
        Err(LookError::NoRelease)
    } else {
        Ok(found)
    }
}

/// What the configuration makes the service state.
fn configured(config: &config::Facts) -> Option<Stated> {
    let value = |key: &'static str| {
        config
            .entries
            .iter()
            .find(|entry| entry.key == key)?
            .plain()
            .map(|text| (text, key))
    };
    let [version, sha, deployed] = ["BEAM_RELEASE_VERSION", "BEAM_RELEASE_SHA", "BEAM_DEPLOYED_AT"].map(value);
    let (_, key) = version.or(sha).or(deployed)?;
    let place = config.entries.iter().find(|entry| entry.key == key)?.place.clone();
    let text = |value: Option<(&str, &str)>| value.map(|(text, _)| text.to_owned());
    Some(Stated {
        source: place.clone(),
        place: format!("{place} (BEAM_RELEASE_*)"),
        release: Release {
            version: text(version),
            git_sha: text(sha),
            deployed_at: text(deployed),
        },
        short_sha: None,
        process_started_at: None,
    })
}

async fn expected(looks: &mut Looks<'_>) -> Release {
    let settings = &looks.environment.release;
    let mut expected = settings.stated();
    let Some(from) = &settings.from else { return expected };
    let seen = if from == "git" {
        tagged(looks.folder).await
    } else {
        stated_in(&looks.folder.join(from), from)
            .map(|found| found.into_iter().next().map(|one| one.release).unwrap_or_default())
    };
    let source = format!("expected release from {from}");
    if let Some(found) = looks.note(Aspect::Release, &source, None, seen) {
        expected.version = expected.version.or(found.version);
        expected.git_sha = expected.git_sha.or(found.git_sha);
        expected.deployed_at = expected.deployed_at.or(found.deployed_at);
    }
    expected
}

async fn tagged(folder: &std::path::Path) -> Result<Release, LookError> {
    let line = async |arguments: &[&str]| -> Result<String, LookError> {
        let argv: Vec<String> = ["git"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let printed = command::run(&argv, folder).await?;
        Ok(String::from_utf8_lossy(&printed).trim().to_owned())
    };
    let git_sha = line(&["rev-parse", "HEAD"]).await?;
    // Between two tags there is no version to expect; the commit still is.
    let tag = line(&["describe", "--tags", "--exact-match"]).await.ok();
    Ok(Release {
        version: tag.map(|tag| tag.trim_start_matches('v').to_owned()),
        git_sha: Some(git_sha),
        deployed_at: None,
    })
}

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
    let time = |text: &str| text.parse::<Timestamp>().ok();
    match name {
        "deployedAt" => one == other || (time(one).is_some() && time(one) == time(other)),
        "gitSha" => {
            let (one, other) = (one.to_lowercase(), other.to_lowercase());
            one == other || (one.len().min(other.len()) >= 7 && (one.starts_with(&other) || other.starts_with(&one)))
        }
        _ => one == other,
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
    for name in FIELDS {
        let agreed = first(facts, name);
        for one in &facts.stated {
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
            own_faults(&mut judged, name, seen, one, facts.observed_at.as_deref());
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
    judged.notes.push(format!(
        "{} places of {} independent sources: {}",
        facts.stated.len(),
        sources.len(),
        names.join(", ")
    ));
    judged
}

fn own_faults(judged: &mut Judgement, name: &str, seen: &str, stated: &Stated, observed_at: Option<&str>) {
    let mut wrong = |expected: &str, observed: String| {
        let subject = format!("{name} by itself");
        judged
            .findings
            .push(Finding::new(subject, expected, observed, &stated.place));
    };
    match name {
        "version" if seen.trim().is_empty() => wrong("a version", "an empty text".to_owned()),
        "gitSha" => {
            if !(7..=40).contains(&seen.len()) || !seen.bytes().all(|byte| byte.is_ascii_hexdigit()) {
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
            let ms = |text: Option<&str>| Some(text?.parse::<Timestamp>().ok()?.as_millisecond());
            if ms(observed_at).is_some_and(|now| deployed.as_millisecond() > now + CLOCK_TOLERANCE_MS) {
                wrong("a time in the past", format!("{}, in the future", short(seen)));
            }
            let started = ms(stated.process_started_at.as_deref());
            if started.is_some_and(|start| (deployed.as_millisecond() - start).abs() <= START_TOLERANCE_MS) {
                let observed = format!("{}, the start of the process; set BEAM_DEPLOYED_AT", short(seen));
                wrong("the time of the deployment", observed);
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

fn triple(release: &Release, absent: &str) -> String {
    let all: Vec<String> = FIELDS
        .iter()
        .map(|name| field(release, name).map_or_else(|| absent.to_owned(), short))
        .collect();
    all.join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

    fn facts(document: &Value) -> Facts {
        Facts {
            stated: places(document, "f", "f", "2026-05-01T00:00:00Z"),
            expected: Release::default(),
            observed_at: Some("2026-05-01T00:00:00Z".to_owned()),
        }
    }

    fn subjects(facts: &Facts) -> Vec<String> {
        judge(facts)
            .findings
            .into_iter()
            .map(|finding| finding.subject)
            .collect()
    }

    fn good() -> Value {
        json!({"version": "1.6.0", "gitSha": SHA, "deployedAt": "2026-04-01T00:00:00Z"})
    }

    #[test]
    fn a_release_that_agrees_passes() {
        let facts = facts(&json!({"release": {"release": good()}, "health": {"version": "1.6.0", "release": good()}}));
        assert_eq!((facts.stated.len(), subjects(&facts)), (3, vec![]));
        assert!(judge(&facts).notes[0].contains("3 places of 1 independent"));
    }

    #[test]
    fn places_that_disagree_are_found() {
        let mut other = good();
        other["version"] = json!("1.5.0");
        assert_eq!(
            subjects(&facts(&json!({"release": other, "health": good()}))),
            ["version within the environment"]
        );
    }

    #[test]
    fn values_that_cannot_be_right_are_found() {
        for (name, value) in [
            ("version", ""),
            ("gitSha", "abc"),
            ("gitSha", "not-hexadecimal"),
            ("deployedAt", "2031-01-01T00:00:00Z"),
            ("deployedAt", "yesterday"),
        ] {
            let mut document = good();
            document[name] = json!(value);
            assert_eq!(subjects(&facts(&document)), [format!("{name} by itself")], "{value}");
        }
    }

    #[test]
    fn the_start_of_the_process_is_no_time_of_deployment() {
        let mut document = good();
        document["uptimeSeconds"] = json!(30 * 86_400);
        assert_eq!(subjects(&facts(&document)), ["deployedAt by itself"]);
    }

    #[test]
    fn nothing_and_nothing_are_no_agreement() {
        let none = facts(&json!({"version": null, "gitSha": null, "deployedAt": null}));
        let (judged, compared) = (judge(&none), compare(&none, &none));
        assert_eq!((judged.items + compared.items, judged.findings.len()), (0, 0));
    }

    #[test]
    fn another_release_is_found_between_environments() {
        let mut other = good();
        other["gitSha"] = json!("fedcba9876543210");
        assert_eq!(
            compare(&facts(&good()), &facts(&other)).findings[0].subject,
            "gitSha between environments"
        );
    }
}
