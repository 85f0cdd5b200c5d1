//! The main job on the reference services.

use crate::running::{assert_finding, assert_verdict, contents, evidence, processes_in, recorded, request};
use crate::seed::assert_every_property;
use recovery_drills::client::Access;
use recovery_drills::drills::instances::Deployment;
use recovery_drills::evidence::{CheckId, StepOutcome, Verdict};
use recovery_drills::report::{markdown, summary};
use recovery_drills::seed;

async fn a_whole_drill_passes_with_every_check_on_something() {
    let (request, _folder) = request(11);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    for id in CheckId::ALL {
        assert!(
            evidence.checks_of(*id).all(|check| check.items > 0),
            "{id} looked at nothing"
        );
        assert!(
            evidence.checks_of(*id).next().is_some(),
            "{id} was not asked\n{}",
            summary::render(&evidence)
        );
    }
    assert_eq!(evidence.not_asked, []);
    assert_eq!(evidence.polarity.proven, Some(true));
    assert_eq!(evidence.objectives.lost_writes, Some(0));
    assert!(evidence.objectives.rto_ms.is_some());
    assert!(evidence.steps.iter().all(|step| step.outcome == StepOutcome::Done));
}

async fn a_drill_of_three_rounds_sees_every_rounds_data() {
    let (mut request, _folder) = request(21);
    request.rounds = 3;
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    assert_eq!(evidence.not_asked, []);
    let sets = evidence.snapshots.iter().flat_map(|set| &set.tables);
    let counted = sets.filter(|table| ["agents", "waitlist", "workspaces"].contains(&table.name.as_str()));
    let rows: Vec<u64> = counted.map(|table| table.rows).collect();
    assert_eq!(rows, [30, 21, 6]);
}

async fn nothing_is_left_but_records_logs_and_the_snapshot() {
    let (request, folder) = request(12);
    let runs = request.runs.clone();
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    let run = runs.join(&evidence.run.id);
    let mut names: Vec<String> = std::fs::read_dir(&run)
        .expect("the run's folder")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["evidence.json", "logs", "snapshot", "started.json"]);
    assert_eq!(processes_in(folder.path()), Vec::<String>::new());
}

async fn the_same_seed_makes_the_same_data() {
    let (first, _one) = request(13);
    let (second, _other) = request(13);
    let (first, second) = (evidence(first).await, evidence(second).await);
    let rows = |evidence: &recovery_drills::evidence::Evidence| -> Vec<(String, u64)> {
        let sets = evidence.snapshots.iter();
        sets.flat_map(|set| set.tables.iter().map(|table| (table.name.clone(), table.rows)))
            .collect()
    };
    assert_eq!(rows(&first), rows(&second));
}

async fn no_secret_reaches_evidence_report_or_logs() {
    let (mut request, _folder) = request(14);
    request.keep = true;
    let runs = request.runs.clone();
    let evidence = evidence(request).await;
    let run = runs.join(&evidence.run.id);
    let identities = std::fs::read_to_string(run.join("work/identities.json")).expect("kept working files");
    let parsed: serde_json::Value = serde_json::from_str(&identities).expect("JSON");
    let mut public = markdown::render(&evidence, &evidence.digest()) + &evidence.to_json();
    for (_, bytes) in contents(&run.join("logs")) {
        public.push_str(&String::from_utf8_lossy(&bytes));
    }
    let keys = parsed.as_object().expect("an object").values();
    for private in keys.filter_map(|entry| entry["privateKeyBase64"].as_str()) {
        assert!(!public.contains(private), "a private key is shown");
    }
    // Tokens and API keys have recognisable beginnings.
    for secret in ["eyJhbGciOi", "bk_", "beam_org_"] {
        assert!(
            !public.contains(secret),
            "something that begins like a secret is shown: {secret}…"
        );
    }
}

async fn the_seed_leaves_every_property_that_checks_need() {
    let (request, folder) = request(15);
    let identity_file = folder.path().join("identities.json");
    std::fs::write(&identity_file, seed::cast::identities(15, 1).to_string()).expect("written");
    let mut deployment = Deployment {
        environment: request.environment.clone(),
        identity: None,
        release: recovery_drills::deployment::release::Release::default(),
        admin_email: "ops@beam.local".to_owned(),
        jwt_secret: "a secret of this test".to_owned(),
        bus_key: "a key of this test".to_owned(),
        issuer: recovery_drills::client::signing::KeyPair::from_bytes(&[7; 32]),
        identity_file,
        reference_services: request.reference_services.clone(),
        overrides: Default::default(),
        containers: None,
        enclosure: None,
        has_real_data: false,
    };
    let databases = [folder.path().join("directory.db"), folder.path().join("bus.sqlite")];
    let mut pair = deployment
        .start(&databases, folder.path(), "seeded")
        .await
        .expect("a pair");
    let mut access = Access::new(&pair.directory.url(), &pair.bus.url(), Some("a key of this test"));
    let plan = seed::SeedPlan {
        seed: 15,
        admin_email: deployment.admin_email.clone(),
        workspaces: seed::Workspaces::Two,
        rounds: 1,
    };
    let seeded = seed::run(&mut access, &plan, &jiff::Timestamp::now)
        .await
        .expect("seeded");
    access.close();
    pair.stop(&request.environment).await.expect("stopped");
    assert_every_property(&seeded);
}

async fn clean_instances_that_already_have_data_fail_the_drill() {
    let (mut request, _folder) = request(16);
    let given = recorded("at-rest");
    let services = request.reference_services.clone().expect("built").display().to_string();
    // A start script that is not as clean as it should be: it brings data of its own along.
    let planted = given.path().join("beam-directory.db").display().to_string();
    let script = format!("[ -e \"$DB_PATH\" ] || cp {planted} \"$DB_PATH\"; exec {services} directory");
    request.environment.directory.command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::Clean, "stats directory");
    assert_eq!(evidence.polarity.proven, Some(false));
}

crate::drills! {
    both: [
        a_whole_drill_passes_with_every_check_on_something,
        a_drill_of_three_rounds_sees_every_rounds_data,
        nothing_is_left_but_records_logs_and_the_snapshot,
        the_same_seed_makes_the_same_data,
        no_secret_reaches_evidence_report_or_logs,
    ],
    process: [
        the_seed_leaves_every_property_that_checks_need,
        clean_instances_that_already_have_data_fail_the_drill,
    ],
}
