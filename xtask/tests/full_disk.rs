//! A disk that takes no more: the drill ends soon, says so, and leaves the given files and no process behind.
//!
//! Told by a limit of file sizes (`RLIMIT_FSIZE`), which needs no mount: a write beyond it fails as on a full disk.

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Larger than evidence and report, smaller than a seeded directory.
const LIMIT_BYTES: u64 = 700 * 1024;
const SOON: Duration = Duration::from_secs(30);

fn xtask(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    let target = recovery_drills::drills::reference::target_folder();
    command
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .stdin(Stdio::null());
    command
}

fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(folder).expect("the folder").flatten();
    let mut files: Vec<_> = entries
        .map(|entry| (entry.path(), fs::read(entry.path()).expect("readable")))
        .collect();
    files.sort();
    files
}

/// Processes whose environment names this run.
fn services_of(run: &str) -> usize {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("environ")).ok())
        .filter(|environment| String::from_utf8_lossy(environment).contains(run))
        .count()
}

/// A failed drill that names the cause, has its report, and left neither working files nor processes.
#[track_caller]
fn assert_failed_and_clean(folder: &Path, code: Option<i32>, said: &str) {
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("File too large") && said.contains("check free space"),
        "{said}"
    );
    let report = fs::read_to_string(folder.join("reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.starts_with("# Recovery drill: FAIL"), "{report}");
    let id = report.split('`').nth(1).expect("the run's id");
    assert_eq!(services_of(id), 0);
    let run = recovery_drills::drills::reference::runs_folder().join(id);
    assert!(run.join("evidence.json").is_file() && !run.join("work").exists());
}

#[test]
fn a_backup_that_does_not_fit_fails_and_stays_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let backup = folder.path().join("backup");
    fs::create_dir(&backup).expect("a folder");
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/snapshots/at-rest");
    for entry in fs::read_dir(recorded).expect("the recorded set").flatten() {
        fs::copy(entry.path(), backup.join(entry.file_name())).expect("copied");
    }
    let before = contents(&backup);
    let began = Instant::now();
    // Blocks of 512 or 1024 bytes, as the shell has it: below the directory's 770,048 bytes in both cases.
    let mut command = xtask("/bin/sh", folder.path());
    command.args([
        "-c",
        "ulimit -f 500; exec \"$0\" drill --from backup",
        env!("CARGO_BIN_EXE_xtask"),
    ]);
    let output: Output = command.output().expect("the command runs");
    assert!(began.elapsed() < SOON);
    assert_failed_and_clean(
        folder.path(),
        output.status.code(),
        &String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(contents(&backup), before);
}

/// Waits until the log names that step as ended.
fn wait_for(child: &mut Child, step: &str, log: &Path) {
    let began = Instant::now();
    let ended = |text: &str| text.lines().any(|line| line.contains(step) && line.contains(" ms "));
    while !ended(&fs::read_to_string(log).unwrap_or_default()) {
        assert!(began.elapsed() < Duration::from_secs(60), "no {step:?} within a minute");
        assert!(child.try_wait().expect("watched").is_none(), "it ended before {step:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a drill of its own source whose harness can write no more from the end of `step` on. The step after it only looks,
/// which leaves time to set the limit before the next file is written.
fn full_after(step: &str, seed: &str) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let mut command = xtask(env!("CARGO_BIN_EXE_xtask"), folder.path());
    command.args(["drill", "--seed", seed]).stdout(Stdio::null());
    let mut child = command
        .stderr(File::create(&log).expect("a log"))
        .spawn()
        .expect("the command runs");
    wait_for(&mut child, step, &log);
    let limit = Rlimit {
        current: Some(LIMIT_BYTES),
        maximum: Some(LIMIT_BYTES),
    };
    let pid = Pid::from_child(&child);
    prlimit(Some(pid), Resource::Fsize, limit).expect("a limit of our own child");
    let began = Instant::now();
    let status = child.wait().expect("ended");
    assert!(began.elapsed() < SOON);
    assert_failed_and_clean(
        folder.path(),
        status.code(),
        &fs::read_to_string(&log).unwrap_or_default(),
    );
}

#[test]
fn a_disk_that_is_full_for_the_snapshot_fails_the_drill() {
    full_after("load the ballast and start the source again", "81");
}

#[test]
fn a_disk_that_is_full_for_the_restore_fails_the_drill() {
    full_after("prove the clean instances empty", "82");
}
