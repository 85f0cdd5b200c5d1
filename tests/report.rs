//! Goldens of the report: small, whole, one per kind of ending. `INSTA_UPDATE=always cargo test --test report` proposes new
//! ones; a changed golden is read as a diff and explained in its commit.

use recovery_drills::deployment::Service;
use recovery_drills::evidence::{
    Chain, CheckId, CheckRecord, Component, Detection, Evidence, Finding, Harness, Judgement, NotAsked, Objectives,
    Polarity, Run, SchemaPrints, SnapshotRecord, Started, Step, StepOutcome, StoredFile, TableRecord, TestAttempt,
    TestDrill, TestEnding, TestRecord, TestRun, TestStarted, Unexplained, UnexplainedEnding, Verdict,
};
use recovery_drills::report::{aborted, markdown, summary, test_run};

fn step(name: &str, outcome: StepOutcome, detail: &str) -> Step {
    Step {
        name: name.to_owned(),
        started_at: Some("2026-11-24T04:24:14.257Z".to_owned()),
        duration_ms: 90,
        outcome,
        detail: detail.to_owned(),
    }
}

fn check(id: CheckId, service: Option<Service>, items: u64, findings: Vec<Finding>) -> CheckRecord {
    let judgement = Judgement {
        items,
        expected: format!("{items} things"),
        observed: format!("{} things", items - findings.len() as u64),
        findings,
        notes: Vec::new(),
    };
    CheckRecord::of(id, service, judgement, 3)
}

fn passed() -> Evidence {
    let digest = "ab".repeat(32);
    Evidence {
        format: Evidence::FORMAT.to_owned(),
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        run: Run {
            id: "01a20bcc-16af-7183-bc16-28c387de4469".to_owned(),
            drill: "backup-restore".to_owned(),
            environment: "staging".to_owned(),
            runtime: "process".to_owned(),
            isolation: "none".to_owned(),
            seed: 7,
            started_at: "2026-11-24T04:24:14.255Z".to_owned(),
            finished_at: Some("2026-11-24T04:24:16.851Z".to_owned()),
            duration_ms: 2_596,
            interrupted: false,
            outage_began: true,
            stopped_in: None,
            harness: Harness {
                version: "0.1.0".to_owned(),
                git_sha: None,
            },
            command: "cargo xtask drill --environment staging".to_owned(),
            from: None,
            release: Default::default(),
        },
        environments_reset: vec!["staging (clean and restored instances)".to_owned()],
        commands: vec!["cargo xtask drill --environment staging".to_owned()],
        components: vec![Component {
            name: "directory".to_owned(),
            command: Some("node index.js".to_owned()),
            version: Some("1.6.0".to_owned()),
            sqlite_version: Some("3.49.2".to_owned()),
        }],
        steps: vec![step(
            "start the source",
            StepOutcome::Done,
            "directory on port 28870 ready after 63 ms",
        )],
        snapshots: vec![SnapshotRecord {
            service: Service::Directory,
            location: "target/drills/01a20bcc/snapshot".to_owned(),
            taken_at: "2026-11-24T04:24:14.911Z".to_owned(),
            manifest_sha256: digest.clone(),
            files: vec![StoredFile {
                path: "beam-directory.db".to_owned(),
                bytes: 958_464,
                sha256: digest.clone(),
            }],
            schema: SchemaPrints {
                text: digest.clone(),
                shape: digest.clone(),
                checks: digest.clone(),
            },
            tables: vec![TableRecord {
                name: "agents".to_owned(),
                rows: 10,
                digest: digest.clone(),
            }],
        }],
        checks: CheckId::ALL.iter().map(|id| check(*id, None, 10, Vec::new())).collect(),
        not_asked: Vec::new(),
        objectives: Objectives {
            rto_ms: Some(1_120),
            rto_bracket_ms: Some([1_116, 1_120]),
            rto_limit_ms: Some(30_000),
            acknowledged_writes: Some(152),
            lost_writes: Some(0),
            oldest_lost_age_ms: None,
            rpo_limit_writes: Some(0),
            outage_ms: None,
            max_outage_ms: None,
        },
        polarity: Polarity {
            proven: Some(true),
            source_digest: Some(digest.clone()),
            snapshot_digest: Some(digest.clone()),
            clean_digest: Some("cd".repeat(32)),
            restored_digest: Some(digest),
        },
        detection: Detection {
            injected: Some(100),
            detected: Some(99),
            missed: Some(vec!["acl-lost".to_owned()]),
            alone_injected: Some(90),
            alone_detected: Some(80),
            false_alarms: Some(0),
            clean_runs: Some(14),
            not_measured: Some("3 of 117 faults were left out: the limit of 20 s passed".to_owned()),
        },
        chain: Chain::default(),
    }
}

fn failed() -> Evidence {
    let mut evidence = passed();
    evidence.verdict = Verdict::Fail;
    evidence.reasons = vec!["check agents failed: 1 findings".to_owned()];
    evidence.checks = vec![
        check(
            CheckId::Content,
            Some(Service::Directory),
            700,
            (0..25)
                .map(|n| Finding::new(format!("agents[beam_id=a{n}]"), "present", "absent", "snapshot agents"))
                .collect(),
        ),
        check(
            CheckId::Agents,
            None,
            10,
            vec![Finding::new(
                "agent <script>alert(1)</script>|x",
                "`present`",
                "absent\nnew line",
                "GET /directory/agents",
            )],
        ),
    ];
    evidence.polarity.proven = Some(false);
    evidence.objectives.rto_ms = None;
    evidence.objectives.rto_bracket_ms = None;
    evidence.objectives.lost_writes = Some(3);
    evidence.objectives.oldest_lost_age_ms = Some(1_500);
    evidence
}

fn interrupted() -> Evidence {
    let mut evidence = passed();
    evidence.verdict = Verdict::Inconclusive;
    evidence.run.interrupted = true;
    evidence.reasons = vec!["the run was interrupted before its end".to_owned()];
    evidence.checks.clear();
    evidence.snapshots.clear();
    evidence.polarity = Polarity::default();
    evidence.objectives = Objectives::default();
    evidence.detection = Detection {
        not_measured: Some("the drill ended before".to_owned()),
        ..Detection::default()
    };
    evidence.steps = vec![step("seed the source", StepOutcome::Failed, "interrupted")];
    evidence.not_asked = vec![
        NotAsked {
            id: "rpo".to_owned(),
            reason: "no ledger".to_owned(),
        },
        NotAsked {
            id: "content: billing".to_owned(),
            reason: "no rows in this backup".to_owned(),
        },
        NotAsked {
            id: "content: reports".to_owned(),
            reason: "no rows in this backup".to_owned(),
        },
    ];
    evidence
}

fn started() -> Started {
    Started {
        format: Started::FORMAT.to_owned(),
        id: "01a20bcc-16af-7183-bc16-28c387de4469".to_owned(),
        drill: "backup-restore".to_owned(),
        environment: "staging".to_owned(),
        runtime: "process".to_owned(),
        seed: 7,
        started_at: "2026-11-24T04:24:14.255Z".to_owned(),
        command: "cargo xtask drill --environment staging".to_owned(),
        test: Some(TestAttempt {
            name: "endings::hangs".to_owned(),
            attempt: 1,
        }),
    }
}

fn of(test: &str) -> TestDrill {
    TestDrill {
        test: test.to_owned(),
        attempt: 1,
        drill: 1,
    }
}

fn record(test: &str, expected: Verdict, verdict: Verdict) -> TestRecord {
    TestRecord {
        ending: TestEnding::Performed,
        runtime: Some("process".to_owned()),
        duration_ms: 1_120,
        expected: Some(expected),
        verdict: Some(verdict),
        as_expected: Some(expected == verdict),
        reason: (expected != verdict).then(|| format!("expected {expected}, came {verdict}")),
        ..skipped(test)
    }
}

fn skipped(test: &str) -> TestRecord {
    let at = "2026-11-24T04:24:14.255Z".to_owned();
    TestRecord::skipped(
        "run-1".to_owned(),
        of(test),
        at,
        "no container engine answers".to_owned(),
    )
}

fn tests() -> TestRun {
    TestRun {
        format: TestRun::FORMAT.to_owned(),
        id: "run-1".to_owned(),
        verdict: Verdict::Fail,
        records: vec![
            record("backup_restore::passes", Verdict::Pass, Verdict::Pass),
            skipped("containers::passes"),
            record("faults::a_lost_agent_is_named", Verdict::Fail, Verdict::Fail),
            record("faults::a_lost_nonce_is_named", Verdict::Fail, Verdict::Pass),
        ],
        aborted: vec![TestStarted {
            format: TestStarted::FORMAT.to_owned(),
            test_run: "run-1".to_owned(),
            of: of("endings::hangs"),
            runtime: "process".to_owned(),
            started_at: "2026-11-24T04:24:14.255Z".to_owned(),
        }],
        under_way: Vec::new(),
        unexplained: vec![Unexplained {
            test: "seed::leaves_nothing_out".to_owned(),
            ending: UnexplainedEnding::Passed,
        }],
    }
}

macro_rules! golden {
    ($name:literal, $text:expr) => {
        insta::with_settings!({snapshot_path => "goldens", prepend_module_to_snapshot => false}, {
            insta::assert_snapshot!($name, $text);
        });
    };
}

#[test]
fn a_passed_drill_reads_so() {
    golden!("passed", markdown::render(&passed(), &"ef".repeat(32)));
}

#[test]
fn a_failed_drill_reads_so_and_names_from_outside_stay_text() {
    golden!("failed", markdown::render(&failed(), &"ef".repeat(32)));
}

#[test]
fn an_interrupted_drill_reads_so() {
    golden!("interrupted", markdown::render(&interrupted(), &"ef".repeat(32)));
}

#[test]
fn a_terminal_shows_the_findings_and_the_verdict_last() {
    golden!("terminal", summary::render(&failed()));
}

#[test]
fn an_aborted_run_reads_so() {
    golden!("aborted", aborted::render(&started()));
}

#[test]
fn a_terminal_shows_a_test_run_with_what_went_wrong_last() {
    golden!("test-run-terminal", test_run::lines(&tests()));
}

#[test]
fn a_test_run_reads_so() {
    golden!("test-run", test_run::render(&tests()));
}

#[test]
fn the_report_of_a_test_run_holds_the_whole_report_of_its_last_drill_without_a_fault() {
    let mut run = tests();
    run.records[0].evidence = Some(passed());
    run.records[2].evidence = Some(failed());
    let text = test_run::render(&run);
    assert!(
        text.contains(&markdown::render(&passed(), &passed().digest())),
        "{text}"
    );
    assert_eq!(text.matches("\n# Recovery drill:").count(), 1, "{text}");
}

#[test]
fn the_same_evidence_gives_the_same_report() {
    assert_eq!(markdown::render(&failed(), "d"), markdown::render(&failed(), "d"));
}
