//! `report` on the records of whole test runs: what it says, how it ends, what it writes.

use recovery_drills::evidence::{TestDrill, TestEnding, TestRecord, TestStarted, Verdict};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const AT: &str = "2026-11-24T04:24:14.255Z";

fn report(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("report")
        .args(arguments)
        .current_dir(folder)
        // Where no other run and no report of nextest lies.
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, messages: &[&str]) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    for message in messages {
        assert!(errors.contains(message), "no {message:?} in:\n{errors}");
    }
}

fn of(test: &str) -> TestDrill {
    TestDrill {
        test: test.to_owned(),
        attempt: 1,
        drill: 1,
    }
}

fn skipped(test: &str, folder: &Path) {
    record(test).write(folder).expect("written");
}

fn record(test: &str) -> TestRecord {
    TestRecord::skipped(
        "run-1".to_owned(),
        of(test),
        AT.to_owned(),
        "no container engine".to_owned(),
    )
}

fn performed(test: &str, expected: Verdict, verdict: Verdict, folder: &Path) {
    let record = TestRecord {
        ending: TestEnding::Performed,
        runtime: Some("process".to_owned()),
        expected: Some(expected),
        verdict: Some(verdict),
        as_expected: Some(expected == verdict),
        reason: (expected != verdict).then(|| format!("expected {expected}, came {verdict}")),
        ..record(test)
    };
    record.write(folder).expect("written");
}

fn aborted(test: &str, folder: &Path) {
    let started = TestStarted {
        format: TestStarted::FORMAT.to_owned(),
        test_run: "run-1".to_owned(),
        of: of(test),
        runtime: "process".to_owned(),
        started_at: AT.to_owned(),
    };
    started.write(folder).expect("written");
}

/// A folder with a test run of one drill that went as its test expects.
fn run_1() -> (TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let records = folder.path().join("target/drills/tests/run-1");
    performed("faults::caught", Verdict::Fail, Verdict::Fail, &records);
    (folder, records)
}

#[test]
fn a_fault_that_is_caught_as_its_test_expects_is_no_failure() {
    let (folder, _records) = run_1();
    assert_ends(
        &report(folder.path(), &[]),
        0,
        &["faults::caught", "1 as expected, 0 not as expected"],
    );
}

#[test]
fn what_was_skipped_is_named_with_its_reason_and_fails_nothing() {
    let (folder, records) = run_1();
    skipped("containers::a", &records);
    let output = report(folder.path(), &["run-1"]);
    assert_ends(
        &output,
        0,
        &["SKIPPED: containers::a: no container engine", "1 skipped"],
    );
}

#[test]
fn what_was_aborted_is_named_with_its_time_and_is_inconclusive() {
    let (folder, records) = run_1();
    aborted("endings::hangs", &records);
    let output = report(folder.path(), &["run-1"]);
    assert_ends(
        &output,
        3,
        &[
            "ABORTED: endings::hangs: began at 2026-11-24T04:24:14.255Z",
            "1 aborted",
        ],
    );
}

#[test]
fn a_drill_that_went_otherwise_than_its_test_expects_fails_the_run_and_its_report() {
    let (folder, records) = run_1();
    performed("faults::missed", Verdict::Fail, Verdict::Pass, &records);
    skipped("containers::a", &records);
    aborted("endings::hangs", &records);
    let output = report(folder.path(), &[&records.display().to_string()]);
    assert_ends(
        &output,
        1,
        &["NOT AS EXPECTED: faults::missed: expected fail, came pass"],
    );
    let written = std::fs::read_to_string(folder.path().join("reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(written.starts_with("# Recovery drills under test: FAIL"), "{written}");
    for name in ["faults::caught", "containers::a", "endings::hangs"] {
        assert!(
            written.contains(&name.replace('_', "\\_")),
            "{name} is missing:\n{written}"
        );
    }
}

#[test]
fn a_run_in_which_everything_was_skipped_proves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    skipped("containers::a", &folder.path().join("target/drills/tests/run-1"));
    assert_ends(&report(folder.path(), &[]), 3, &["inconclusive"]);
}

#[test]
fn the_records_of_shards_are_merged() {
    let (folder, _records) = run_1();
    aborted("endings::hangs", &folder.path().join("other"));
    let arguments = ["--merge", "target/drills/tests/run-1", "other", "--json"];
    let output = report(folder.path(), &arguments);
    assert_ends(&output, 3, &[]);
    let merged: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(merged["records"][0]["of"]["test"], "faults::caught");
    assert_eq!(merged["aborted"][0]["of"]["test"], "endings::hangs");
}

#[test]
fn shards_that_contradict_each_other_or_hold_nothing_are_usage_errors() {
    let (folder, records) = run_1();
    let (other, empty) = (folder.path().join("other"), folder.path().join("empty"));
    performed("faults::caught", Verdict::Fail, Verdict::Pass, &other);
    std::fs::create_dir(&empty).expect("a folder");
    let [first, second, empty] = [&records, &other, &empty].map(|path| path.display().to_string());
    let output = report(folder.path(), &["--merge", &first, &second]);
    assert_ends(&output, 2, &["differ", &first, &second]);
    let output = report(folder.path(), &["--merge", &first, &empty]);
    assert_ends(&output, 2, &["holds no record", &empty]);
    assert_ends(&report(folder.path(), &["--merge", "nowhere"]), 2, &["nowhere"]);
    assert_ends(&report(folder.path(), &["--merge"]), 2, &["--merge"]);
}
