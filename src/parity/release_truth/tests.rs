//! Release truth: what is wrong by itself, within an environment, between environments and over time.

use super::*;
use crate::parity::release_answers::places;
use serde_json::{Value, json};

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";

fn facts(document: &Value) -> Facts {
    Facts {
        stated: places(document, "f", "f", "2026-05-01T00:00:00Z"),
        expected: Release::default(),
        observed_at: Some("2026-05-01T00:00:00Z".to_owned()),
        ..Facts::default()
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
        ("deployedAt", "1970-01-01T00:00:00Z"),
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
fn a_service_that_nobody_could_ask_is_no_drift() {
    let mut unseen = Facts::default();
    unseen.expected.version = Some("1.6.0".to_owned());
    assert_eq!((judge(&unseen).items, subjects(&unseen)), (0, vec![]));
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

#[test]
fn a_version_is_the_same_with_and_without_its_letter() {
    assert!(same("version", "v1.6.0", "1.6.0") && !same("version", "v1.6.0", "1.6.1"));
    assert!(same("gitSha", "0123456", SHA) && !same("gitSha", "0123457", SHA));
    assert!(same("deployedAt", "2026-04-01T02:00:00+02:00", "2026-04-01T00:00:00Z"));
}

#[test]
fn a_place_without_what_others_state_is_found() {
    let mut none = good();
    none["gitSha"] = Value::Null;
    let seen = subjects(&facts(&json!({"release": good(), "health": none})));
    assert_eq!(seen, ["gitSha within the environment"]);
    let mut number = good();
    number["version"] = json!(1.6);
    assert_eq!(subjects(&facts(&number)), ["version by itself"]);
}

#[test]
fn a_time_that_moves_with_a_restart_is_found() {
    let mut before = facts(&good());
    let mut moved = good();
    moved["deployedAt"] = json!("2026-04-30T00:00:00Z");
    before.restarted = facts(&moved).stated;
    assert_eq!(subjects(&before), ["deployedAt after a restart"]);
    before.restarted = before.stated.clone();
    assert_eq!(subjects(&before), [""; 0]);
}

#[test]
fn an_answer_whose_clock_stands_still_is_found() {
    let mut answer = good();
    answer["reportedAt"] = json!("2026-05-01T00:00:00Z");
    let mut twice = facts(&answer);
    twice.again = twice.stated.clone();
    assert_eq!(subjects(&twice), ["clock of f"]);
    twice.again[0].clock = Some("2026-05-01T00:00:01Z".to_owned());
    assert_eq!(subjects(&twice), [""; 0]);
    twice.again[0].clock = Some("2026-05-01T06:00:00Z".to_owned());
    assert_eq!(subjects(&twice), ["clock of f"]);
}

#[test]
fn a_deployment_before_its_commit_is_found() {
    let mut early = facts(&good());
    early.expected.git_sha = Some(SHA.to_owned());
    early.committed_at = Some("2026-04-20T00:00:00+02:00".to_owned());
    assert_eq!(subjects(&early), ["deployedAt by itself"]);
}

#[test]
fn a_time_that_stays_though_the_release_changed_is_frozen() {
    let mut later = good();
    later["version"] = json!("1.7.0");
    let judged = compare_over_time(&facts(&good()), &facts(&later));
    assert_eq!(judged.findings[1].subject, "deployedAt over time");
}
