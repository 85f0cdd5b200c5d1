//! Running a drill in a folder of its own, and saying what came of it.

use crate::recording::{Performed, Recording, Refused};
use crate::trials::ENGINE;
use recovery_drills::deployment::environment::Environment;
use recovery_drills::drills;
use recovery_drills::drills::context::{Base, DrillRequest, Quiet};
use recovery_drills::drills::reference;
use recovery_drills::drills::self_test::SelfTest;
use recovery_drills::drills::stages::{Reached, Stages};
use recovery_drills::evidence::{CheckId, Evidence, Verdict};
use recovery_drills::report::summary;
use recovery_drills::runtime::engine::Mount;
use recovery_drills::snapshot;
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A request on the reference services, on the runtime of this test, and the folder that it runs in.
pub(crate) fn request(seed: u64) -> (DrillRequest, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let engine = ENGINE.get();
    let mut environment = Environment::reference();
    if engine.is_some() {
        environment.in_containers(|_| None);
    }
    let request = DrillRequest {
        drill: "backup-restore".to_owned(),
        environment,
        from: None,
        given: Default::default(),
        attached: None,
        enclosing: None,
        consent: Default::default(),
        keys: None,
        directory_identity: None,
        seed,
        rounds: 1,
        keep: false,
        older_locks: None,
        runs: folder.path().join("drills"),
        reports: None,
        command: "cargo xtask drill".to_owned(),
        harness_git_sha: None,
        reference_services: Some(reference::ensure_built().expect("the reference services are built")),
        base: Base::default(),
        stages: Stages::default(),
        engine,
        mount: Mount::default(),
        self_test: SelfTest::Skipped,
        watched_for: Duration::ZERO,
        forced_pass: None,
    };
    (request, folder)
}

/// Runs it to its end; what came of it is recorded when the test lets go of the result.
pub(crate) async fn perform(request: DrillRequest) -> Result<Performed, Refused> {
    perform_until(request, std::future::pending()).await
}

/// Runs it to its end or until it is interrupted.
pub(crate) async fn perform_until(
    request: DrillRequest,
    interrupt: impl Future<Output = ()>,
) -> Result<Performed, Refused> {
    let recording = Recording::begin(request.environment.directory.runtime.word());
    match drills::perform(request, Box::new(Quiet), interrupt).await {
        Ok(evidence) => Ok(recording.performed(evidence)),
        Err(error) => Err(recording.refused(error)),
    }
}

/// Runs it to its end; it must have got as far as evidence.
pub(crate) async fn evidence(request: DrillRequest) -> Performed {
    perform(request).await.expect("a drill that could begin")
}

/// Fails with what the terminal would show.
#[track_caller]
pub(crate) fn assert_verdict(evidence: &Performed, verdict: Verdict) {
    evidence.expect(verdict);
    assert_eq!(evidence.verdict, verdict, "\n{}", summary::render(evidence));
}

/// The check failed and one of its findings names the subject.
#[track_caller]
pub(crate) fn assert_finding(evidence: &Evidence, id: CheckId, subject: &str) {
    let found = evidence
        .checks_of(id)
        .flat_map(|check| &check.findings)
        .any(|finding| finding.subject.contains(subject));
    assert!(
        found,
        "no finding of {id} names {subject:?}\n{}",
        summary::render(evidence)
    );
}

/// Acts on the snapshot's database with SQL, and reseals the manifest as a faulty backup tool would.
pub(crate) fn on_snapshot(file: &'static str, sql: &'static str) -> Stages {
    Stages::acting(move |reached| match reached {
        Reached::Snapshot { folder } => {
            change(&folder.join(file), sql)?;
            snapshot::reseal(folder).map(|_| ()).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    })
}

/// Executes SQL as a foreign tool would, and proves that it changed something.
pub(crate) fn change(path: &Path, sql: &str) -> Result<(), String> {
    let told = |error: rusqlite::Error| error.to_string();
    let connection = Connection::open(path).map_err(told)?;
    connection.execute_batch("PRAGMA foreign_keys=OFF").map_err(told)?;
    connection.execute_batch(sql).map_err(told)?;
    if connection.total_changes() == 0 {
        return Err(format!("{sql} changed nothing in {}", path.display()));
    }
    // Back to one plain file: the log of this connection must not stay beside it.
    connection
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .map_err(told)?;
    connection.close().map_err(|(_, error)| told(error))
}

/// A recorded set of the real services, copied so that nothing touches the fixture.
pub(crate) fn recorded(name: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/snapshots")
        .join(name);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for entry in std::fs::read_dir(&from).expect("the recorded set").flatten() {
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).expect("copied");
    }
    folder
}

/// Names and bytes of a folder's files.
pub(crate) fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("the folder").flatten();
    let mut files: Vec<(PathBuf, Vec<u8>)> = entries
        .map(|entry| (entry.path(), std::fs::read(entry.path()).expect("readable")))
        .collect();
    files.sort();
    files
}

/// Processes whose command line names this folder.
pub(crate) fn processes_in(folder: &Path) -> Vec<String> {
    let wanted = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let of = |entry: std::fs::DirEntry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_other = name.parse::<u32>().is_ok_and(|pid| pid != std::process::id());
        (is_other && String::from_utf8_lossy(&environment).contains(&wanted)).then_some(name)
    };
    entries.filter_map(of).collect()
}
