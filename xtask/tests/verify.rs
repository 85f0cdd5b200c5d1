//! `verify` as its user calls it: exit codes, what is named, and that a key's value is shown nowhere.

use recovery_drills::drills::reference::{runs_folder, target_folder};
use recovery_drills::evidence::Started;
use recovery_drills::verify::signature::SealKey;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// Base64 of 32 bytes: the seed of a key of this test.
const SEED: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";

fn xtask(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target_folder())
        // What a test makes is no evidence for a cut.
        .env("NEXTEST_TEST_NAME", "verify")
        .env_remove("DRILLS_SEAL_KEY")
        .env_remove("DRILLS_SEAL_PUBLIC_KEY")
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    xtask(folder, arguments).output().expect("the command runs")
}

fn sealed(folder: &Path, arguments: &[&str]) -> Output {
    let key = key(folder, 0o600);
    xtask(folder, arguments)
        .env("DRILLS_SEAL_KEY", key)
        .output()
        .expect("the command runs")
}

fn key(folder: &Path, mode: u32) -> PathBuf {
    let path = folder.join("seal.key");
    fs::write(&path, SEED).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
    path
}

fn public() -> String {
    SealKey::of(&[7; 32]).public().to_string()
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn environments() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/environments");
    folder.display().to_string()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, message: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(message), "no {message:?} in:\n{errors}");
}

/// The id of the run whose evidence a command printed.
fn id(output: &Output) -> String {
    let evidence: Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    evidence["run"]["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_sealed_drill_verifies_by_id_and_by_its_report_and_an_edited_report_is_named() {
    let folder = folder();
    let drill = ["drill", "--json", "--seed", "81", "--no-self-test", "--reports", "out"];
    let output = sealed(folder.path(), &drill);
    assert_ends(&output, 0, "verdict: pass");
    let id = id(&output);
    let seal = fs::read_to_string(runs_folder().join(&id).join("seal.json")).expect("a seal");
    for text in [seal, String::from_utf8_lossy(&output.stderr).into_owned()] {
        assert!(!text.contains(SEED.trim_end_matches('=')), "the private key is shown");
    }
    let public = public();
    let report = folder.path().join("out/1.0.0-recovery-drill.md");
    let shown = report.display().to_string();
    for named in [id.as_str(), shown.as_str()] {
        let pinned = [
            "verify",
            named,
            "--reports",
            "out",
            "--public-key",
            &public,
            "--environment",
            "reference",
        ];
        assert_ends(&run(folder.path(), &pinned), 0, "verified: pass");
    }
    let other = SealKey::of(&[8; 32]).public().to_string();
    assert_ends(
        &run(folder.path(), &["verify", &id, "--public-key", &other]),
        1,
        "fail signature",
    );
    assert_ends(
        &run(folder.path(), &["verify", &id, "--environment", "production"]),
        1,
        "expected production, observed reference",
    );
    let text = fs::read_to_string(&report).expect("a report");
    fs::write(
        &report,
        text.replace("| Verdict | PASS |", "| Verdict | PASS, certified |"),
    )
    .expect("written");
    let json = run(folder.path(), &["verify", &shown, "--json", "--quiet"]);
    assert_eq!(json.status.code(), Some(1));
    let verified: Value = serde_json::from_slice(&json.stdout).expect("one JSON document");
    assert_eq!(
        (&verified["verdict"], &verified["findings"][0]["expected"]),
        (&"fail".into(), &"| Verdict | PASS |".into())
    );
}

#[test]
fn a_comparison_and_a_smoke_test_verify() {
    let folder = folder();
    let environments = environments();
    for command in [
        &["parity", "--json", "--environments", &environments, "--reports", "out"][..],
        &[
            "smoke",
            "--json",
            "--environment",
            "staging",
            "--environments",
            &environments,
        ][..],
    ] {
        let output = sealed(folder.path(), command);
        assert_ends(&output, 0, "verdict: pass");
        let public = public();
        let verify = ["verify", &id(&output), "--reports", "out", "--public-key", &public];
        assert_ends(&run(folder.path(), &verify), 0, "verified: pass");
    }
}

#[test]
fn what_is_no_run_or_no_key_is_told_before_anything_is_looked_at() {
    let folder = folder();
    assert_ends(
        &run(folder.path(), &["verify", "no-such-run"]),
        2,
        "no run \"no-such-run\"",
    );
    let empty = folder.path().display().to_string();
    assert_ends(
        &run(folder.path(), &["verify", &empty]),
        2,
        "neither evidence.json nor started.json",
    );
    fs::write(folder.path().join("x.md"), "# A page\n").expect("written");
    assert_ends(&run(folder.path(), &["verify", "x.md"]), 2, "names no run");
    assert_ends(
        &run(folder.path(), &["verify", &empty, "--public-key", "x"]),
        2,
        "neither a file",
    );
    let key = key(folder.path(), 0o644);
    for command in [
        &["drill", "--no-self-test"][..],
        &["smoke", "--environment", "staging", "--environments", &environments()][..],
    ] {
        let output = xtask(folder.path(), command)
            .env("DRILLS_SEAL_KEY", &key)
            .output()
            .expect("the command runs");
        assert_ends(&output, 2, "may be read by others");
        assert!(!String::from_utf8_lossy(&output.stderr).contains(SEED));
    }
}

#[test]
fn an_aborted_run_is_inconclusive() {
    let folder = folder();
    let started = Started {
        format: Started::FORMAT.to_owned(),
        id: "aborted".to_owned(),
        drill: "backup-restore".to_owned(),
        environment: "reference".to_owned(),
        runtime: "process".to_owned(),
        seed: 7,
        started_at: "2026-11-24T04:24:14.255Z".to_owned(),
        command: "cargo xtask drill".to_owned(),
        test: None,
    };
    started.write(folder.path()).expect("written");
    let place = folder.path().display().to_string();
    assert_ends(&run(folder.path(), &["verify", &place]), 3, "left no evidence");
}
