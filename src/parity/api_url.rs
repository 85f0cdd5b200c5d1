//! Do public site, docs and dashboard use this environment's API and no other? Every origin of an API is listed with its place.
//!
//! "The same `VITE_API_URL`" cannot be checked literally: only the dashboard knows it. What can be checked is that every API
//! origin in site, docs and the built bundle equals the expected one. Source: Beam 1.6.0, contract section 6.3.

use crate::deployment::compared::{Aspect, SurfaceSettings};
use crate::evidence::{Finding, Judgement};
use crate::parity::capture::Looks;
use crate::parity::config;
use crate::parity::fetch::Fetcher;
use crate::parity::origins::{DUMMY_BASE, Known, is_local, parsed, scan};
use crate::parity::surface::{self, SurfaceError, Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use crate::parity::origins::Literal;

/// What the scanner finds in one text of a surface, of which nothing is known beforehand but one host of an API.
#[must_use]
pub fn scanned(shown: &str, text: &str, is_script: bool) -> Vec<Literal> {
    let known = Known {
        apis: vec!["api.beam.test".to_owned()],
        others: Vec::new(),
    };
    scan("public-site", shown, text, is_script, &known)
}

/// How many places of one origin are named.
const SHOWN_PLACES: usize = 50;

/// What was seen of the surfaces of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The API origin that all should use, and who says so.
    pub expected: Option<String>,
    /// Where [`Facts::expected`] stands.
    pub expected_from: String,
    /// `VITE_API_URL` as the configuration sets it, with its place.
    pub configured: Vec<(String, String)>,
    /// The surfaces that were read, and how many files of each.
    pub surfaces: BTreeMap<String, u64>,
    /// Every origin of an API that they name.
    pub literals: Vec<Literal>,
    /// Origin of the API → name of the other environment that it belongs to.
    pub elsewhere: BTreeMap<String, String>,
}

/// Other environments' names and API addresses.
pub(crate) type Elsewhere = [(String, String)];

#[derive(Debug, thiserror::Error)]
#[error("shows no API URL in {0} files; without one nothing is compared")]
struct NoOrigin(u64);

/// Reads public site, docs and dashboard.
pub(crate) async fn observe(
    looks: &mut Looks<'_>,
    config: &config::Facts,
    elsewhere: &Elsewhere,
    fetcher: &Fetcher,
) -> Facts {
    let settings = looks.environment.surfaces.clone();
    let mut facts = expectation(looks, &settings, config, elsewhere);
    if facts.expected.is_none() {
        let what_to_do = "no api_url is given and no configuration sets VITE_API_URL; add [surfaces] api_url";
        looks.missing(Aspect::ApiUrl, "[surfaces] api_url", what_to_do);
    }
    let surfaces = [
        ("public-site", &settings.public_site),
        ("docs", &settings.docs),
        ("dashboard", &settings.dashboard),
    ];
    for (name, at) in surfaces {
        read(looks, Aspect::ApiUrl, name, at.as_deref(), &mut facts, fetcher).await;
    }
    facts
}

/// What is expected of surfaces, before any is read.
pub(crate) fn expectation(
    looks: &Looks<'_>,
    settings: &SurfaceSettings,
    config: &config::Facts,
    elsewhere: &Elsewhere,
) -> Facts {
    let configured: Vec<(String, String)> = config
        .entries
        .iter()
        .filter(|entry| entry.key == "VITE_API_URL")
        .filter_map(|entry| Some((entry.plain()?.to_owned(), entry.place.clone())))
        .collect();
    let stated = settings
        .api_url
        .clone()
        .map(|url| (url, "[surfaces] api_url".to_owned()));
    let expected = stated.or_else(|| configured.first().cloned());
    let own = expected
        .as_ref()
        .and_then(|(url, _)| parsed(url))
        .map(|(_, origin)| origin);
    let of_others = elsewhere.iter().filter(|(name, _)| *name != looks.environment.name);
    Facts {
        expected_from: expected.as_ref().map(|(_, from)| from.clone()).unwrap_or_default(),
        expected: expected.map(|(url, _)| url),
        configured,
        elsewhere: of_others
            .filter_map(|(name, url)| Some((parsed(url)?.1, name.clone())))
            .filter(|(origin, _)| Some(origin) != own.as_ref())
            .collect(),
        ..Facts::default()
    }
}

/// Reads one surface into the facts.
pub(crate) async fn read(
    looks: &mut Looks<'_>,
    aspect: Aspect,
    name: &str,
    at: Option<&str>,
    facts: &mut Facts,
    fetcher: &Fetcher,
) {
    let Some(at) = at else {
        let key = name.replace('-', "_");
        let what_to_do = "is not named, so nothing is known of it; give its URL or the folder of the built site";
        return looks.missing(aspect, &format!("[surfaces] {key}"), what_to_do);
    };
    let seen: Result<Vec<Text>, SurfaceError> = if surface::is_url(at) {
        surface::of_url(at, fetcher).await
    } else {
        surface::of_path(&looks.folder.join(at), at)
    };
    let source = format!("{name} {at}");
    let Some(texts) = looks.note(aspect, &source, None, seen) else {
        return;
    };
    let known = known(looks.environment.surfaces.clone(), facts);
    let before = facts.literals.len();
    for text in &texts {
        facts
            .literals
            .extend(scan(name, &text.shown, &text.text, text.is_script, &known));
    }
    facts.surfaces.insert(name.to_owned(), texts.len() as u64);
    if facts.literals.len() == before {
        looks.note::<(), _>(aspect, &source, None, Err(NoOrigin(texts.len() as u64)));
    }
}

fn known(settings: SurfaceSettings, facts: &Facts) -> Known {
    let expected = [facts.expected.clone(), settings.bus_url];
    let hosts = expected
        .iter()
        .flatten()
        .filter_map(|url| parsed(url))
        .map(|(host, _)| host);
    let own = [
        settings.public_site,
        settings.docs,
        settings.dashboard,
        settings.status_page,
    ];
    let own = own.into_iter().flatten().filter(|at| surface::is_url(at));
    let others = own.chain(settings.other_origins);
    Known {
        apis: hosts.chain(facts.elsewhere.keys().cloned()).collect(),
        others: others
            .map(|url| parsed(&url).map_or(url.clone(), |(_, origin)| origin))
            .collect(),
    }
}

/// Holds every origin against the expected one. One finding an origin and surface, with all its places.
#[must_use]
pub fn judge(facts: &Facts, settings: &SurfaceSettings) -> Judgement {
    let mut judged = Judgement {
        items: facts.literals.len() as u64,
        expected: facts.expected.clone().unwrap_or_else(|| "an API URL".to_owned()),
        observed: observed(facts),
        ..Judgement::default()
    };
    let Some(expected) = &facts.expected else {
        judged.items = 0;
        return judged;
    };
    let Some((_, origin)) = parsed(expected) else {
        let finding = Finding::new(
            "api_url",
            "an origin such as https://api.example",
            expected,
            &facts.expected_from,
        );
        judged.findings.push(finding);
        return judged;
    };
    if expected.ends_with('/') {
        let observed = format!("{expected} (trailing slash)");
        judged
            .findings
            .push(Finding::new("api_url", &origin, observed, &facts.expected_from));
    }
    for (value, place) in facts
        .configured
        .iter()
        .filter(|(value, _)| value != expected && value.trim_end_matches('/') != expected)
    {
        judged
            .findings
            .push(Finding::new("VITE_API_URL", expected, value, place));
    }
    let bus = settings.bus_url.as_deref().and_then(parsed).map(|(_, origin)| origin);
    let names_expected = |surface: &str| {
        let of = facts.literals.iter().filter(|literal| literal.surface == surface);
        of.map(|literal| &literal.origin).any(|seen| *seen == origin)
    };
    let mut wrong: BTreeMap<(String, String), (String, Vec<&str>)> = BTreeMap::new();
    for literal in &facts.literals {
        if literal.why == DUMMY_BASE && names_expected(&literal.surface) {
            continue;
        }
        let what = if literal.origin == origin && literal.trailing_slash {
            "trailing slash"
        } else if literal.origin == origin || Some(&literal.origin) == bus.as_ref() {
            continue;
        } else {
            what_is_wrong(literal, &origin, bus.as_deref())
        };
        let other = facts
            .elsewhere
            .get(&literal.origin)
            .map(|name| format!("the API of {name}"));
        let what = other.unwrap_or_else(|| what.to_owned());
        let shown = if literal.trailing_slash {
            format!("{}/", literal.origin)
        } else {
            literal.origin.clone()
        };
        let entry = wrong
            .entry((literal.surface.clone(), shown))
            .or_insert_with(|| (what, Vec::new()));
        entry.1.push(&literal.place);
    }
    for ((surface, seen), (what, places)) in wrong {
        judged.findings.push(Finding::new(
            format!("{surface} {seen}"),
            &origin,
            format!("{seen} ({what})"),
            listed(&places),
        ));
    }
    judged
}

fn what_is_wrong(literal: &Literal, expected: &str, bus: Option<&str>) -> &'static str {
    let parts = |origin: &str| {
        let (scheme, rest) = origin.split_once("://").unwrap_or_default();
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let host = rest
            .rsplit_once(':')
            .filter(|(_, port)| is_port(port))
            .map_or(rest, |(host, _)| host);
        (scheme.to_owned(), host.to_owned())
    };
    let (scheme, host) = parts(&literal.origin);
    let of_host = |other: &&str| parts(other).1 == host;
    let same_host = [Some(expected), bus].into_iter().flatten().find(of_host);
    match same_host.map(|other| parts(other).0 == scheme) {
        Some(false) if scheme == "http" => "http where https is expected",
        Some(false) => "https where http is expected",
        Some(true) => "another port",
        None if is_local(host.trim_matches(['[', ']'])) => "an address of the reader's own machine",
        None => "a second API origin",
    }
}

fn listed(places: &[&str]) -> String {
    let mut unique: Vec<&str> = places.to_vec();
    unique.dedup();
    let shown = unique.iter().take(SHOWN_PLACES).copied().collect::<Vec<_>>().join(", ");
    match unique.len().saturating_sub(SHOWN_PLACES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn observed(facts: &Facts) -> String {
    let origins: std::collections::BTreeSet<&str> =
        facts.literals.iter().map(|literal| literal.origin.as_str()).collect();
    let origins: Vec<&str> = origins.into_iter().collect();
    let files: u64 = facts.surfaces.values().sum();
    let all = if origins.is_empty() {
        "no API URL".to_owned()
    } else {
        origins.join(", ")
    };
    format!("{all} ({} places in {files} files)", facts.literals.len())
}

/// Origins that came or went since an earlier capture of the same environment: a surface that names another set of them.
#[must_use]
pub fn compare_over_time(earlier: &Facts, facts: &Facts) -> Judgement {
    let mut judged = Judgement::default();
    let sets = |facts: &Facts, surface: &str| {
        let of = facts.literals.iter().filter(|literal| literal.surface == surface);
        let set: std::collections::BTreeSet<String> = of.map(|literal| literal.origin.clone()).collect();
        set.into_iter().collect::<Vec<_>>().join(", ")
    };
    for surface in facts
        .surfaces
        .keys()
        .filter(|surface| earlier.surfaces.contains_key(*surface))
    {
        judged.items += 1;
        let (was, is) = (sets(earlier, surface), sets(facts, surface));
        if was != is {
            let place = facts.literals.iter().find(|literal| literal.surface == *surface);
            let place = place.map_or(surface.clone(), |literal| literal.place.clone());
            judged
                .findings
                .push(Finding::new(format!("{surface} over time"), was, is, place));
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Facts {
        let mut facts = Facts {
            expected: Some("https://api.beam.test".to_owned()),
            elsewhere: BTreeMap::from([("https://api.other.test".to_owned(), "production".to_owned())]),
            surfaces: BTreeMap::from([("dashboard".to_owned(), 1)]),
            ..Facts::default()
        };
        let known = known(SurfaceSettings::default(), &facts);
        facts.literals = scan("dashboard", "i.js", text, true, &known);
        facts
    }

    fn observed(text: &str) -> Vec<String> {
        let judged = judge(&facts(text), &SurfaceSettings::default());
        judged.findings.into_iter().map(|finding| finding.observed).collect()
    }

    #[test]
    fn the_expected_origin_alone_passes() {
        assert_eq!(
            observed("a=\"https://api.beam.test\";b=\"wss://api.beam.test/ws\""),
            [""; 0]
        );
    }

    #[test]
    fn each_other_origin_is_named_for_what_it_is() {
        for (text, what) in [
            (
                "\"http://localhost:3100\"",
                "http://localhost:3100 (an address of the reader's own machine)",
            ),
            (
                "\"http://api.beam.test\"",
                "http://api.beam.test (http where https is expected)",
            ),
            ("\"https://api.beam.test/\"", "https://api.beam.test/ (trailing slash)"),
            (
                "\"https://api.beam.test:8443\"",
                "https://api.beam.test:8443 (another port)",
            ),
            ("\"https://old.invalid\"", "https://old.invalid (a second API origin)"),
            (
                "\"https://api.other.test\"",
                "https://api.other.test (the API of production)",
            ),
        ] {
            assert_eq!(observed(text), [what], "{text}");
        }
    }

    #[test]
    fn a_base_for_parsing_addresses_is_no_drift_beside_the_expected_origin() {
        assert_eq!(
            observed("a=\"https://api.beam.test\";new URL(p,\"http://localhost\")"),
            [""; 0]
        );
        assert_eq!(observed("a=\"http://localhost\"").len(), 1);
    }

    #[test]
    fn nothing_found_is_no_pass() {
        assert_eq!(judge(&facts("a=1"), &SurfaceSettings::default()).items, 0);
    }

    #[test]
    fn the_configured_address_must_be_the_expected_one() {
        let mut facts = facts("\"https://api.beam.test\"");
        facts.configured = vec![("https://else.test".to_owned(), ".env:2".to_owned())];
        assert_eq!(judge(&facts, &SurfaceSettings::default()).findings[0].place, ".env:2");
    }
}
