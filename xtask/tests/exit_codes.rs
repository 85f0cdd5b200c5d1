//! The command as its user calls it: exit codes, what is on standard output, what is left behind.

use recovery_drills::drills::context::broken_runs;
use recovery_drills::drills::reference::runs_folder;
use recovery_drills::evidence::Started;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The command, run from a folder of its own; builds and runs lie in the usual target folder.
fn xtask(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let target = recovery_drills::drills::reference::target_folder();
    command
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null());
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    xtask(folder, arguments).output().expect("the command runs")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn recorded(folder: &Path) -> String {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/snapshots/at-rest");
    let to = folder.join("backup");
    std::fs::create_dir(&to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("the recorded set").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
    to.display().to_string()
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, message: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(message), "no {message:?} in:\n{errors}");
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).expect("written");
    path.display().to_string()
}

#[test]
fn a_passed_drill_prints_its_evidence_alone_and_writes_the_report() {
    let folder = folder();
    let output = run(folder.path(), &["drill", "--json", "--seed", "71", "--reports", "out"]);
    assert_ends(&output, 0, "verdict: pass");
    let evidence: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(
        (&evidence["verdict"], &evidence["run"]["seed"]),
        (&"pass".into(), &71.into())
    );
    let report = std::fs::read_to_string(folder.path().join("out/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.starts_with("# Recovery drill: PASS"), "{report}");
    assert!(
        !report.contains(&folder.path().display().to_string()),
        "a machine path in the report"
    );
    let id = evidence["run"]["id"].as_str().expect("an id").to_owned();
    let again = run(folder.path(), &["report", &id, "--reports", "again"]);
    assert_ends(&again, 0, "verdict: pass");
    let rebuilt = std::fs::read_to_string(folder.path().join("again/1.0.0-recovery-drill.md")).expect("a report");
    assert_eq!(rebuilt, report);
}

#[test]
fn the_alias_of_the_guide_is_known() {
    let folder = folder();
    let output = run(folder.path(), &["production:backup-restore", "--help"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn unknown_words_are_usage_errors() {
    let folder = folder();
    assert_ends(&run(folder.path(), &["drill", "no-such-drill"]), 2, "no-such-drill");
    assert_ends(
        &run(folder.path(), &["drill", "--environment", "nowhere"]),
        2,
        "nowhere",
    );
    assert_ends(
        &run(folder.path(), &["drill", "--from", "not/there"]),
        2,
        "does not exist",
    );
    assert_ends(&run(folder.path(), &["report", "no-such-run"]), 2, "no-such-run");
}

#[test]
fn a_broken_environment_file_is_a_usage_error_that_names_the_line() {
    let folder = folder();
    let path = write(folder.path(), "broken.toml", "name = \"x\"\n[directory]\ncolour = 1\n");
    assert_ends(&run(folder.path(), &["drill", "--environment", &path]), 2, "line 3");
}

#[test]
fn a_command_that_is_not_found_is_a_usage_error() {
    let folder = folder();
    let path = write(
        folder.path(),
        "e.toml",
        "name = \"x\"\n[bus]\ncommand = [\"no-such-bus\"]\n",
    );
    assert_ends(
        &run(folder.path(), &["drill", "--environment", &path]),
        2,
        "command not found: no-such-bus",
    );
}

#[test]
fn a_given_port_that_is_taken_is_a_usage_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let folder = folder();
    let path = write(
        folder.path(),
        "e.toml",
        &format!("name = \"x\"\n[directory]\nport = {port}\n"),
    );
    assert_ends(&run(folder.path(), &["drill", "--environment", &path]), 2, "is taken");
}

#[test]
fn a_backup_with_an_unreadable_database_fails_and_still_has_its_report() {
    let folder = folder();
    let backup = recorded(folder.path());
    std::fs::write(Path::new(&backup).join("beam-directory.db"), b"no database").expect("written");
    assert_ends(
        &run(folder.path(), &["drill", "--from", &backup]),
        1,
        "beam-directory.db",
    );
    let report = std::fs::read_to_string(folder.path().join("reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.starts_with("# Recovery drill: FAIL"), "{report}");
}

#[test]
fn a_garbage_manifest_fails() {
    let folder = folder();
    let backup = recorded(folder.path());
    std::fs::write(Path::new(&backup).join("manifest.json"), b"{ garbage").expect("written");
    assert_ends(&run(folder.path(), &["drill", "--from", &backup]), 1, "manifest");
    assert_ends(&run(folder.path(), &["snapshot", "verify", &backup]), 1, "manifest");
}

#[test]
fn a_folder_without_databases_is_a_usage_error() {
    let folder = folder();
    let empty = folder.path().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    assert_ends(
        &run(folder.path(), &["drill", "--from", "empty"]),
        2,
        "no directory database",
    );
}

#[test]
fn a_snapshot_by_itself_is_made_verified_and_its_alteration_noticed() {
    let folder = folder();
    let backup = recorded(folder.path());
    let made = run(
        folder.path(),
        &["snapshot", "create", "--from", &backup, "--to", "made"],
    );
    assert_ends(&made, 0, "ignored: expected-counts.json");
    assert_ends(&run(folder.path(), &["snapshot", "verify", "made"]), 0, "");
    assert_ends(&run(folder.path(), &["drill", "--from", "made"]), 0, "verdict: pass");
    assert_ends(
        &run(
            folder.path(),
            &["snapshot", "create", "--from", &backup, "--to", "made"],
        ),
        2,
        "already there",
    );
    let database = folder.path().join("made/beam-bus.sqlite");
    let mut bytes = std::fs::read(&database).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&database, bytes).expect("written");
    assert_ends(
        &run(folder.path(), &["snapshot", "verify", "made"]),
        1,
        "beam-bus.sqlite",
    );
    assert_ends(&run(folder.path(), &["drill", "--from", "made"]), 1, "snapshot-set");
}

#[test]
fn doctor_says_what_this_machine_can_run() {
    let folder = folder();
    let output = run(folder.path(), &["doctor"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("cargo answers") && said.contains("the reference services are built"),
        "{said}"
    );
}

/// Waits until the command has written this to standard error.
fn wait_for(child: &mut Child, text: &str, log: &Path) {
    let began = Instant::now();
    while !std::fs::read_to_string(log).unwrap_or_default().contains(text) {
        assert!(began.elapsed() < Duration::from_secs(60), "no {text:?} within a minute");
        assert!(child.try_wait().expect("watched").is_none(), "it ended before {text:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn start_logged(folder: &Path, log: &Path) -> Child {
    let errors = std::fs::File::create(log).expect("a log");
    let mut command = xtask(folder, &["drill", "--seed", "72"]);
    command
        .env("DRILL_TEST_MARK", folder)
        .stdout(Stdio::null())
        .stderr(errors);
    command.spawn().expect("the command runs")
}

/// Services whose working folder lies in the run of this id or that were started for it.
fn services_of(run: &str) -> usize {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_digit())
        })
        .filter(|entry| {
            let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
            !run.is_empty() && String::from_utf8_lossy(&environment).contains(run)
        })
        .count()
}

#[test]
fn ctrl_c_ends_with_130_a_report_and_no_process() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut child = start_logged(folder.path(), &log);
    wait_for(&mut child, "start the source", &log);
    let pid = child.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().expect("signalled");
    let status = child.wait().expect("ended");
    assert_eq!(
        status.code(),
        Some(130),
        "{}",
        std::fs::read_to_string(&log).unwrap_or_default()
    );
    let report = std::fs::read_to_string(folder.path().join("reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.contains("interrupted"), "{report}");
    let id = report.split('`').nth(1).expect("the run's id").to_owned();
    assert_eq!(services_of(&id), 0);
}

#[track_caller]
fn assert_aborted(folder: &Path, killed: &Path) {
    let output = run(folder, &["report", &killed.display().to_string()]);
    assert_ends(&output, 3, "was aborted");
    let report = std::fs::read_to_string(folder.join("reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.starts_with("# Recovery drill: ABORTED"), "{report}");
}

#[test]
fn a_killed_harness_leaves_no_service_and_an_aborted_run_whose_files_doctor_cleans() {
    let folder = folder();
    let log = folder.path().join("log");
    let mut child = start_logged(folder.path(), &log);
    wait_for(&mut child, "start the source", &log);
    child.kill().expect("killed");
    child.wait().expect("ended");
    let killed = Instant::now();
    let is_own = |run: &&PathBuf| Started::read(run).is_ok_and(|started| started.seed == 72);
    // A service that is just being forked may hold the lock for a moment longer.
    let (broken, own) = loop {
        let broken = broken_runs(&runs_folder());
        if let Some(own) = broken.iter().rfind(is_own).cloned() {
            break (broken, own);
        }
        assert!(killed.elapsed() < Duration::from_secs(10), "no broken run is found");
        std::thread::sleep(Duration::from_millis(5));
    };
    let ids: Vec<String> = broken
        .iter()
        .filter_map(|run| Some(run.file_name()?.to_string_lossy().into_owned()))
        .collect();
    let began = Instant::now();
    while ids.iter().any(|id| services_of(id) > 0) {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "a service outlived its harness"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_aborted(folder.path(), &own);
    let said = run(folder.path(), &["doctor", "--clean"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    // What it began is no working file.
    assert_aborted(folder.path(), &own);
    assert!(ids.iter().all(|id| said.contains(id.as_str())), "{said}");
    assert!(broken.iter().all(|run| !run.join("work").exists()));
}
