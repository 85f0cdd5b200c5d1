//! The places of a document that state a release: its top level, its members, and what stands there instead of a text.
//!
//! Source: Beam 1.6.0, contract section 2.1.

use crate::deployment::release::Release;
use crate::evidence::short;
use crate::parity::capture::timestamp;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The release as one place states it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Field → what stands there, where that is no text: `null`, `1.6 (a number)`.
    #[serde(default)]
    pub odd: BTreeMap<String, String>,
    /// The time that the answer itself has, as it stands there.
    #[serde(default)]
    pub clock: Option<String>,
}

/// Names of the three fields, and how files and answers write them.
const NAMES: [(&str, &str); 3] = [
    ("version", "version"),
    ("gitSha", "git_sha"),
    ("deployedAt", "deployed_at"),
];

/// The places in one document: its top level, its member `release`, and the answers `health`, `stats`, `release` in it.
pub(crate) fn places(document: &Value, place: &str, source: &str, now: &str) -> Vec<Stated> {
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
        let value = |name: &str, other: &str| object.get(name).or_else(|| object.get(other));
        if NAMES.iter().all(|(name, other)| value(name, other).is_none()) {
            continue;
        }
        let [version, git_sha, deployed_at] =
            NAMES.map(|(name, other)| value(name, other).and_then(Value::as_str).map(str::to_owned));
        let odd = NAMES
            .iter()
            .filter_map(|(name, other)| Some(((*name).to_owned(), no_text(value(name, other)?)?)));
        found.push(Stated {
            place,
            source: source.to_owned(),
            release: Release {
                version,
                git_sha,
                deployed_at,
            },
            short_sha: value("gitShaShort", "git_sha_short")
                .and_then(Value::as_str)
                .map(str::to_owned),
            process_started_at: started(object, now),
            odd: odd.collect(),
            clock: clock(object).or_else(|| clock(document)).map(str::to_owned),
        });
    }
    // The start that one place tells is that of all places of the document.
    let start = found.iter().find_map(|one| one.process_started_at.clone());
    for one in &mut found {
        one.process_started_at.clone_from(&start);
    }
    found
}

fn clock(object: &Value) -> Option<&str> {
    let names = ["reportedAt", "timestamp"];
    names.iter().find_map(|name| object.get(name)?.as_str())
}

/// What stands where a text should.
fn no_text(value: &Value) -> Option<String> {
    match value {
        Value::String(_) => None,
        Value::Null => Some("null".to_owned()),
        Value::Number(number) => Some(format!("{number} (a number)")),
        other => Some(short(&other.to_string())),
    }
}

fn started(object: &Value, now: &str) -> Option<String> {
    let uptime = ["uptimeSeconds", "uptime"]
        .iter()
        .find_map(|name| object.get(name)?.as_f64())?;
    let at: Timestamp = clock(object).unwrap_or(now).parse().ok()?;
    // An uptime beyond the age of all clocks is none.
    let ms = (0.0..1e11).contains(&uptime).then_some((uptime * 1_000.0) as i64)?;
    Timestamp::from_millisecond(at.as_millisecond().saturating_sub(ms))
        .ok()
        .map(timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_place_of_an_answer_is_told_apart() {
        let document = json!({"health": {"version": "1", "timestamp": "2026-05-02T00:00:00Z", "uptimeSeconds": 60,
            "release": {"version": "1", "gitSha": null}}});
        let found = places(&document, "f", "f", "");
        let seen: Vec<&str> = found.iter().map(|one| one.place.as_str()).collect();
        assert_eq!(seen, ["f health", "f health.release"]);
        assert_eq!(found[1].process_started_at.as_deref(), Some("2026-05-01T23:59:00.000Z"));
        assert_eq!(found[1].odd["gitSha"], "null");
    }

    #[test]
    fn a_number_is_no_version_and_an_absurd_uptime_no_start() {
        let found = places(
            &json!({"version": 1.6, "uptime": 1e300}),
            "f",
            "f",
            "2026-05-02T00:00:00Z",
        );
        assert_eq!(found[0].odd["version"], "1.6 (a number)");
        assert_eq!(found[0].process_started_at, None);
    }
}
