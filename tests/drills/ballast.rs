//! What a source gets before it is one: rows in every table that a start leaves alone, and calls that a crash leaves open.

use crate::recording::Performed;
use crate::running::{assert_verdict, evidence, recorded, request};
use recovery_drills::checks::prediction::Window;
use recovery_drills::checks::startup_diff;
use recovery_drills::client::Access;
use recovery_drills::deployment::Service;
use recovery_drills::deployment::release::Release;
use recovery_drills::drills::context::{Base, DrillRequest};
use recovery_drills::drills::instances::Deployment;
use recovery_drills::drills::stages::{Reached, Stages};
use recovery_drills::evidence::{CheckId, Judgement, StepOutcome, Verdict};
use recovery_drills::seed::{self, SeedPlan, Workspaces, ballast};
use recovery_drills::snapshot;
use recovery_drills::snapshot::database::Databases;
use recovery_drills::snapshot::file_set::FileSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const BUS_KEY: &str = "a key of this test";

fn deployment(request: &DrillRequest, folder: &Path) -> Deployment {
    let identity_file = folder.join("identities.json");
    std::fs::write(&identity_file, seed::cast::identities(request.seed, 1).to_string()).expect("written");
    Deployment {
        environment: request.environment.clone(),
        identity: None,
        release: Release::default(),
        admin_email: "ops@beam.local".to_owned(),
        jwt_secret: "a secret of this test".to_owned(),
        bus_key: BUS_KEY.to_owned(),
        issuer: recovery_drills::client::signing::KeyPair::from_bytes(&[7; 32]),
        identity_file,
        reference_services: request.reference_services.clone(),
        overrides: Default::default(),
        containers: None,
        enclosure: None,
        has_real_data: false,
    }
}

/// Seeds a pair of its own in `folder` and stops it.
async fn seeded(request: &DrillRequest, folder: &Path) -> (Deployment, [PathBuf; 2]) {
    let mut deployment = deployment(request, folder);
    let databases = Service::ALL.map(|service| folder.join(service.database_file()));
    let mut pair = deployment.start(&databases, folder, "seeded").await.expect("a pair");
    let mut access = Access::new(&pair.directory.url(), &pair.bus.url(), Some(BUS_KEY));
    let plan = SeedPlan {
        seed: request.seed,
        admin_email: deployment.admin_email.clone(),
        workspaces: Workspaces::Two,
        rounds: 1,
    };
    Box::pin(seed::run(&mut access, &plan, &jiff::Timestamp::now))
        .await
        .expect("seeded");
    access.close();
    pair.stop(&request.environment).await.expect("stopped");
    (deployment, databases)
}

/// Starts the pair on its files once more: what `startup-diff` says of it.
async fn restarted(
    request: &DrillRequest,
    deployment: &mut Deployment,
    databases: &[PathBuf; 2],
    copy: &Path,
) -> Judgement {
    for (service, database) in Service::ALL.into_iter().zip(databases) {
        snapshot::independent_copy(&FileSet::new(service, database.clone()), copy).expect("copied");
    }
    let start_requested_ms = jiff::Timestamp::now().as_millisecond();
    let logs = databases[0].parent().expect("a folder");
    let mut pair = deployment.start(databases, logs, "again").await.expect("a pair");
    let window = Window {
        start_requested_ms,
        looked_at_ms: jiff::Timestamp::now().as_millisecond(),
    };
    let before = Databases::open(copy).expect("the copy");
    let running = Databases::open_live(&databases[0], &databases[1]).expect("the running files");
    let judged = startup_diff::judge(&startup_diff::observe(&before, &running, window).expect("read"));
    drop(running);
    pair.stop(&request.environment).await.expect("stopped");
    judged
}

async fn a_start_changes_only_what_is_predicted_and_no_table_is_empty() {
    let (request, folder) = request(71);
    let (mut deployment, databases) = seeded(&request, folder.path()).await;
    let loaded = ballast::load(&databases[0], request.seed, jiff::Timestamp::now()).expect("loaded");
    assert_eq!((loaded.left_out, loaded.empty), (Vec::new(), Vec::new()));
    for copy in ["first", "second"] {
        let judged = restarted(&request, &mut deployment, &databases, &folder.path().join(copy)).await;
        assert_eq!(
            (judged.verdict(), judged.findings),
            (Verdict::Pass, Vec::new()),
            "{copy} start"
        );
        assert_eq!(judged.notes.len(), 1, "{copy} start: {:?}", judged.notes);
    }
}

async fn every_table_of_a_drilled_source_has_rows() {
    let (request, _folder) = request(72);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    let tables: Vec<_> = evidence.snapshots.iter().flat_map(|set| &set.tables).collect();
    assert_eq!(tables.len(), 52);
    let empty: Vec<&str> = tables
        .iter()
        .filter(|table| table.rows == 0)
        .map(|table| table.name.as_str())
        .collect();
    assert_eq!(empty, Vec::<&str>::new());
}

async fn a_given_backup_gets_no_ballast() {
    let (mut request, _folder) = request(73);
    let given = recorded("at-rest");
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert!(
        evidence.steps.iter().all(|step| !step.name.contains("ballast")),
        "{:?}",
        evidence.steps
    );
    assert!(
        evidence
            .snapshots
            .iter()
            .flat_map(|set| &set.tables)
            .any(|table| table.rows == 0)
    );
}

/// A drill on the in-flight base, and the files that the set was made of.
async fn crashed(seed: u64) -> (Performed, Vec<String>) {
    let (mut request, _folder) = request(seed);
    request.base = Base::InFlight;
    let names: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&names);
    request.stages = Stages::acting(move |reached| {
        if let Reached::Set { folder, .. } = reached {
            let entries = std::fs::read_dir(folder).map_err(|error| error.to_string())?.flatten();
            let found = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
            seen.lock().map_err(|error| error.to_string())?.extend(found);
        }
        Ok(())
    });
    let evidence = evidence(request).await;
    let names = names.lock().expect("not poisoned").clone();
    (evidence, names)
}

async fn a_drill_of_a_killed_source_passes_and_its_open_calls_end_as_predicted() {
    let (evidence, files) = crashed(74).await;
    assert_verdict(&evidence, Verdict::Pass);
    assert!(evidence.steps.iter().all(|step| step.outcome == StepOutcome::Done));
    let detail = |name: &str| {
        evidence
            .steps
            .iter()
            .find(|step| step.name == name)
            .map(|step| step.detail.clone())
    };
    assert_eq!(
        detail("see how the calls under way ended").as_deref(),
        Some("2 of 2 with an unknown outcome")
    );
    // A container engine tells a signal as an exit code.
    let killed = |text: String| text.contains("signal 9") || text.contains("exit code 137");
    assert!(
        detail("kill the source").is_some_and(killed),
        "{:?}",
        detail("kill the source")
    );
    assert!(files.iter().any(|name| name == "beam-directory.db-wal"), "{files:?}");
    let ends = evidence.checks_of(CheckId::InFlight).next().expect("asked");
    // Two queued messages of the seed and the dispatched one; the intents are younger than their timeout.
    assert_eq!((ends.items, ends.observed.as_str()), (5, "2 delivered, 3 queued"));
    let start = evidence.checks_of(CheckId::StartupDiff).next().expect("asked");
    assert!(
        start.notes.iter().any(|note| note.contains("requeued")),
        "{:?}",
        start.notes
    );
    assert_eq!(evidence.objectives.lost_writes, Some(0));
}

crate::drills! {
    both: [
        a_given_backup_gets_no_ballast,
        a_drill_of_a_killed_source_passes_and_its_open_calls_end_as_predicted,
    ],
    process: [
        a_start_changes_only_what_is_predicted_and_no_table_is_empty,
        every_table_of_a_drilled_source_has_rows,
    ],
}
