//! How a drill ends when it cannot go on: before anything was started, before the outage, after it, by the user.

use crate::running::{assert_verdict, evidence, perform, perform_until, processes_in, request};
use recovery_drills::drills::context::Base;
use recovery_drills::drills::stages::{Reached, Stages};
use recovery_drills::drills::{reference, started};
use recovery_drills::evidence::{CheckId, Evidence, StepOutcome, TestRun, Verdict};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

async fn a_command_that_is_not_there_is_a_usage_error() {
    let (mut request, _folder) = request(61);
    request.environment.bus.command = vec!["no-such-bus".to_owned()];
    let error = perform(request).await.expect_err("cannot begin");
    let text = error.to_string();
    assert!(text.contains("no-such-bus") && text.contains("[bus]"), "{text}");
}

async fn a_given_port_that_is_taken_is_a_usage_error() {
    let (mut request, _folder) = request(62);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    request.environment.directory.port = Some(port);
    let error = perform(request).await.expect_err("cannot begin");
    let text = error.to_string();
    assert!(text.contains(&port.to_string()) && text.contains("taken"), "{text}");
}

async fn a_service_that_ends_at_its_start_is_inconclusive_and_shows_its_log() {
    let (mut request, folder) = request(63);
    request.environment.directory.command = ["/bin/sh", "-c", "echo the reason; exit 7"].map(str::to_owned).to_vec();
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Inconclusive);
    let reasons = evidence.reasons.join("\n");
    assert!(
        reasons.contains("exit code 7") && reasons.contains("the reason"),
        "{reasons}"
    );
    assert_eq!(processes_in(folder.path()), Vec::<String>::new());
}

async fn a_drill_that_overruns_its_time_limit_after_the_stop_fails() {
    let (mut request, folder) = request(64);
    request.environment.time_limit_ms = 10_000;
    request.stages = Stages::acting(|reached| {
        if matches!(reached, Reached::Set { .. }) {
            std::thread::sleep(Duration::from_secs(12));
        }
        Ok(())
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert!(
        evidence.reasons.iter().any(|reason| reason.contains("time limit")),
        "{:?}",
        evidence.reasons
    );
    assert_eq!(processes_in(folder.path()), Vec::<String>::new());
}

async fn an_interrupted_drill_leaves_its_evidence_and_no_process() {
    let (request, folder) = request(65);
    let runs = request.runs.clone();
    let soon = tokio::time::sleep(Duration::from_millis(150));
    let evidence = perform_until(request, soon).await.expect("evidence");
    assert!(evidence.run.interrupted);
    assert_ne!(evidence.verdict, Verdict::Pass);
    let stored = Evidence::read(&runs.join(&evidence.run.id)).expect("stored");
    assert_eq!(stored, *evidence);
    assert_eq!(processes_in(folder.path()), Vec::<String>::new());
}

async fn a_step_that_fails_after_the_stop_fails_the_drill() {
    let (mut request, _folder) = request(66);
    request.stages = Stages::acting(|reached| match reached {
        Reached::RestoredFiles { .. } => Err("a hand of this test".to_owned()),
        _ => Ok(()),
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    let failed: Vec<&str> = evidence
        .steps
        .iter()
        .filter(|step| step.outcome == StepOutcome::Failed)
        .map(|step| step.name.as_str())
        .collect();
    assert_eq!(failed, ["restore into the clean instances' place"]);
}

async fn a_check_that_finds_nothing_to_look_at_makes_the_drill_inconclusive_and_is_the_only_one() {
    let (mut request, _folder) = request(68);
    request.base = Base::NoWorkspaces;
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Inconclusive);
    let others = evidence.checks.iter().filter(|check| check.verdict != Verdict::Pass);
    let ids: Vec<CheckId> = others.map(|check| check.id).collect();
    assert_eq!(ids, [CheckId::Workspaces]);
}

async fn a_killed_test_leaves_started_records_that_are_read_as_aborted() {
    const TEST: &str = "process::backup_restore::a_whole_drill_passes_with_every_check_on_something";
    reference::ensure_built().expect("the reference services are built");
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let id = uuid::Uuid::now_v7().to_string();
    let records = reference::test_runs_folder().join(&id);
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args(["--exact", TEST])
        .env("DRILLS_RUN_ID", &id)
        .env("TMPDIR", temporary.path())
        .env_remove("NEXTEST_TEST_NAME")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let began = Instant::now();
    let runs = || {
        let folders = std::fs::read_dir(temporary.path()).expect("readable").flatten();
        folders
            .map(|folder| folder.path().join("drills"))
            .find(|runs| runs.is_dir())
    };
    let has_started = || {
        let entries = runs().map(|runs| std::fs::read_dir(runs).expect("readable").flatten());
        entries
            .into_iter()
            .flatten()
            .any(|run| run.path().join("started.json").is_file())
    };
    while !has_started() {
        assert!(
            began.elapsed() < Duration::from_secs(60),
            "no started.json within a minute"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let alive = TestRun::read(std::slice::from_ref(&records)).expect("records");
    child.kill().expect("killed");
    child.wait().expect("ended");
    // A service that is just being forked may hold the locks for a moment longer.
    let read = || {
        let tests = TestRun::read(std::slice::from_ref(&records)).expect("records");
        (tests, started::aborted(&runs().expect("a folder of runs")))
    };
    let (mut killed, mut aborted_runs) = read();
    while (killed.aborted.len(), aborted_runs.len()) != (1, 1) && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
        (killed, aborted_runs) = read();
    }
    std::fs::remove_dir_all(&records).expect("removed");
    assert_eq!((alive.under_way.len(), alive.aborted.len()), (1, 0));
    let aborted: Vec<&str> = killed.aborted.iter().map(|one| one.of.test.as_str()).collect();
    assert_eq!((aborted, killed.verdict), (vec![TEST], Verdict::Inconclusive));
    assert_eq!(aborted_runs.len(), 1, "the killed run itself is aborted too");
}

crate::drills! {
    both: [
        a_given_port_that_is_taken_is_a_usage_error,
        a_drill_that_overruns_its_time_limit_after_the_stop_fails,
        an_interrupted_drill_leaves_its_evidence_and_no_process,
        a_step_that_fails_after_the_stop_fails_the_drill,
        a_check_that_finds_nothing_to_look_at_makes_the_drill_inconclusive_and_is_the_only_one,
    ],
    process: [
        a_command_that_is_not_there_is_a_usage_error,
        a_service_that_ends_at_its_start_is_inconclusive_and_shows_its_log,
        a_killed_test_leaves_started_records_that_are_read_as_aborted,
    ],
}
