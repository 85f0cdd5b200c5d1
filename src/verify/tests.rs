//! Rules held against small records that were altered by hand. The fault catalogue (stage `report`) does the same to whole runs.

use crate::evidence::{CheckId, Started, Verdict};
use crate::verify::document::Document;
use crate::verify::signature::SealKey;
use crate::verify::{Expected, Verification, shown, verify, verify_as, views};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn check(id: &str, service: Value) -> Value {
    json!({
        "id": id, "service": service, "verdict": "pass", "items": 3, "expected": "as before", "observed": "as before",
        "findings": [], "findings_total": 0, "notes": [], "duration_ms": 1
    })
}

fn step(name: &str, second: usize) -> Value {
    json!({
        "name": name, "started_at": format!("2026-11-24T04:24:{second:02}.000Z"), "duration_ms": 90, "outcome": "done", "detail": ""
    })
}

/// A passed `schema-upgrade`: the smallest record that a drill leaves.
fn record() -> Value {
    let steps = [
        "prove the clean instances empty",
        "read what the services create",
        "take the older set at-rest",
        "start on the older set at-rest",
        "take the older set hot-crash",
        "start on the older set hot-crash",
        "make an older set of the locked schema",
        "start on the older set locked schema",
        "the way back: a new snapshot, services of the locked schema",
    ];
    let steps: Vec<Value> = steps.iter().enumerate().map(|(at, name)| step(name, at)).collect();
    json!({
        "format": "recovery-drill-evidence/1", "verdict": "pass", "reasons": [],
        "run": {
            "id": "r1", "drill": "schema-upgrade", "environment": "reference", "runtime": "process", "isolation": "none",
            "seed": 7, "started_at": "2026-11-24T04:24:00.000Z", "finished_at": "2026-11-24T04:24:10.000Z",
            "duration_ms": 10_000, "interrupted": false, "outage_began": true, "stopped_in": null,
            "harness": { "version": "0.1.0", "git_sha": null }, "command": "cargo xtask drill schema-upgrade", "from": null
        },
        "environments_reset": [], "commands": [], "components": [], "steps": steps, "snapshots": [],
        "checks": [check("schema", json!("directory")), check("clean", Value::Null), check("startup-diff", Value::Null)],
        "not_asked": [],
        "objectives": {
            "rto_ms": null, "rto_bracket_ms": null, "rto_limit_ms": null, "acknowledged_writes": null,
            "lost_writes": null, "oldest_lost_age_ms": null, "rpo_limit_writes": 0
        },
        "polarity": {
            "proven": null, "source_digest": null, "snapshot_digest": null, "clean_digest": null, "restored_digest": null
        },
        "detection": {
            "injected": null, "detected": null, "missed": null, "alone_injected": null, "alone_detected": null,
            "false_alarms": null, "clean_runs": null, "not_measured": "skipped"
        },
        "chain": { "steps": [], "checks": [], "whole": "" }
    })
}

/// The folder that a run with this record left, consistent in itself.
fn left(record: &Value) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mut document = Document::lenient(&record.to_string()).expect("a record");
    document.close();
    fs::write(folder.path().join("evidence.json"), document.to_json()).expect("written");
    let report = document.report();
    fs::write(folder.path().join(views::FILE_NAME), report).expect("written");
    folder
}

fn altered(alter: impl FnOnce(&mut Value)) -> Verification {
    let mut record = record();
    alter(&mut record);
    verify(left(&record).path(), &[]).expect("a run")
}

fn failed(verified: &Verification) -> Vec<CheckId> {
    let items = verified.items.iter().filter(|item| item.verdict == Verdict::Fail);
    items.map(|item| item.id).collect()
}

#[test]
fn a_record_as_it_was_left_verifies_and_says_that_nobody_sealed_it() {
    let verified = altered(|_| {});
    assert_eq!(verified.verdict, Verdict::Pass, "{}", shown::lines(&verified));
    let open: Vec<&str> = verified.not_asked.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(open, ["stored-snapshot", "signature", "of-environment"]);
}

#[test]
fn a_failed_step_that_ended_the_run_must_be_there_and_make_it_a_fail() {
    let ended = |record: &mut Value| {
        record["steps"].as_array_mut().expect("steps").truncate(4);
        record["steps"][3]["outcome"] = "failed".into();
        record["run"]["stopped_in"] = "start on the older set at-rest".into();
        record["verdict"] = "fail".into();
        record["reasons"] = json!(["step \"start on the older set at-rest\" could not be done: no port"]);
    };
    assert_eq!(failed(&altered(ended)), []);
    let removed = altered(|record| {
        ended(record);
        record["steps"].as_array_mut().expect("steps").pop();
    });
    assert_eq!(failed(&removed), [CheckId::RecordedSteps]);
    let called_passed = altered(|record| {
        ended(record);
        record["verdict"] = "pass".into();
    });
    assert_eq!(failed(&called_passed), [CheckId::RecordedVerdict]);
    let not_ended = altered(|record| {
        ended(record);
        record["run"]["stopped_in"] = Value::Null;
    });
    assert!(failed(&not_ended).contains(&CheckId::RecordedSteps));
}

#[test]
fn a_step_of_no_procedure_is_named() {
    let verified = altered(|record| record["steps"][0]["name"] = "do something else".into());
    assert_eq!(failed(&verified), [CheckId::RecordedSteps]);
    let lines = shown::lines(&verified);
    assert!(lines.contains("do something else"), "{lines}");
}

#[test]
fn a_drill_that_is_not_known_here_is_inconclusive() {
    let verified = altered(|record| record["run"]["drill"] = "later-drill".into());
    assert_eq!(verified.verdict, Verdict::Inconclusive);
}

#[test]
fn a_run_longer_than_its_clocks_say_is_named() {
    let verified = altered(|record| record["run"]["duration_ms"] = 60_000.into());
    assert_eq!(failed(&verified), [CheckId::RecordedSteps]);
}

#[test]
fn a_run_that_left_no_evidence_is_inconclusive_and_nothing_at_all_is_no_run() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(verify(folder.path(), &[]).is_err());
    assert!(verify(Path::new("no/such/run"), &[]).is_err());
    let started = Started {
        format: Started::FORMAT.to_owned(),
        id: "r1".to_owned(),
        drill: "backup-restore".to_owned(),
        environment: "reference".to_owned(),
        runtime: "process".to_owned(),
        seed: 7,
        started_at: "2026-11-24T04:24:14.255Z".to_owned(),
        command: "cargo xtask drill".to_owned(),
        test: None,
    };
    started.write(folder.path()).expect("written");
    let verified = verify(folder.path(), &[]).expect("a run");
    assert_eq!(
        (verified.verdict, verified.evidence_verdict),
        (Verdict::Inconclusive, None)
    );
    fs::write(folder.path().join("evidence.json"), "{").expect("written");
    let verified = verify(folder.path(), &[]).expect("a run");
    assert_eq!((verified.verdict, verified.run_id.as_str()), (Verdict::Fail, "r1"));
}

#[test]
fn a_given_report_is_held_against_the_evidence_too() {
    let folder = left(&record());
    let copy = folder.path().join("copy.md");
    fs::copy(folder.path().join(views::FILE_NAME), &copy).expect("copied");
    let verified = verify(folder.path(), std::slice::from_ref(&copy)).expect("a run");
    assert_eq!(verified.verdict, Verdict::Pass);
    assert_eq!(views::naming(folder.path(), folder.path()).len(), 2);
    let text = fs::read_to_string(&copy).expect("read");
    fs::write(&copy, text.replace("| Verdict | PASS |", "| Verdict | FAIL |")).expect("written");
    let verified = verify(folder.path(), std::slice::from_ref(&copy)).expect("a run");
    assert_eq!(failed(&verified), [CheckId::Views]);
    assert_eq!(verified.findings[0].expected, "| Verdict | PASS |");
    fs::remove_file(&copy).expect("removed");
    assert!(verify(folder.path(), &[copy]).is_err());
}

#[test]
fn a_seal_by_another_key_is_valid_until_a_key_is_pinned() {
    let folder = left(&record());
    let (operator, another) = (SealKey::of(&[1; 32]), SealKey::of(&[2; 32]));
    let pinned = Expected {
        key: Some(operator.public()),
        ..Expected::default()
    };
    let none = verify_as(folder.path(), &[], &pinned).expect("a run");
    assert_eq!(failed(&none), [CheckId::Signature]);
    another.seal(folder.path()).expect("sealed");
    let alone = verify(folder.path(), &[]).expect("a run");
    assert_eq!(alone.verdict, Verdict::Pass);
    assert!(shown::lines(&alone).contains("no key is pinned"));
    let swapped = verify_as(folder.path(), &[], &pinned).expect("a run");
    assert_eq!(failed(&swapped), [CheckId::Signature]);
    operator.seal(folder.path()).expect("sealed");
    let sealed = verify_as(folder.path(), &[], &pinned).expect("a run");
    assert_eq!(sealed.verdict, Verdict::Pass, "{}", shown::lines(&sealed));
}

#[test]
fn evidence_of_another_environment_is_named() {
    let demanded = Expected {
        environment: Some("production".to_owned()),
        ..Expected::default()
    };
    let verified = verify_as(left(&record()).path(), &[], &demanded).expect("a run");
    assert_eq!(failed(&verified), [CheckId::OfEnvironment]);
}
