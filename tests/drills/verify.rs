//! What a drill leaves verifies, however it ended; what was altered afterwards does not.

use crate::recording::Performed;
use crate::running::{assert_verdict, evidence, on_snapshot, perform, request};
use recovery_drills::drills::context::Quiet;
use recovery_drills::drills::detection::{self, Campaign};
use recovery_drills::drills::reference::workspace_root;
use recovery_drills::evidence::{CheckId, Verdict};
use recovery_drills::faults::catalogue::Catalogue;
use recovery_drills::faults::fault::Stage;
use recovery_drills::report::markdown;
use recovery_drills::verify::{Verification, shown, verify, views};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

/// The verification of a run that is there, with the report that the command would write.
#[track_caller]
fn verified(evidence: &Performed, runs: &Path) -> Verification {
    let run = runs.join(&evidence.run.id);
    let report = markdown::render(evidence, &evidence.digest());
    std::fs::write(run.join(views::FILE_NAME), report).expect("written");
    verify(&run, &[]).expect("a run")
}

#[track_caller]
fn assert_unaltered(evidence: &Performed, runs: &Path) {
    let verified = verified(evidence, runs);
    assert_eq!(verified.verdict, Verdict::Pass, "\n{}", shown::lines(&verified));
    assert_eq!(verified.evidence_verdict, Some(evidence.verdict));
}

async fn the_record_of_a_failed_drill_verifies() {
    let (mut request, _folder) = request(61);
    request.stages = on_snapshot("beam-directory.db", "DELETE FROM intent_acls");
    let runs = request.runs.clone();
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_unaltered(&evidence, &runs);
}

async fn the_record_of_an_interrupted_drill_verifies() {
    let (request, _folder) = request(62);
    let runs = request.runs.clone();
    let later = tokio::time::sleep(Duration::from_millis(300));
    let evidence = crate::running::perform_until(request, later)
        .await
        .expect("a drill that could begin");
    evidence.expect(evidence.verdict);
    assert!(evidence.run.interrupted && evidence.verdict != Verdict::Pass);
    assert_unaltered(&evidence, &runs);
}

async fn the_record_of_a_given_backup_and_of_schema_upgrade_verify() {
    let (mut given, _folder) = request(63);
    given.from = Some(workspace_root().join("fixtures/snapshots/at-rest"));
    let (mut upgrade, _other) = request(64);
    upgrade.drill = "schema-upgrade".to_owned();
    for request in [given, upgrade] {
        let runs = request.runs.clone();
        let evidence = perform(request).await.expect("a drill that could begin");
        assert_verdict(&evidence, Verdict::Pass);
        assert_unaltered(&evidence, &runs);
    }
}

async fn a_secret_that_a_service_prints_is_kept_nowhere() {
    let (mut request, _folder) = request(65);
    let services = request.reference_services.clone().expect("built").display().to_string();
    let command = [services.as_str(), "directory", "--misbehave", "prints-secrets"];
    request.environment.directory.command = command.map(str::to_owned).to_vec();
    let runs = request.runs.clone();
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    let logs = runs.join(&evidence.run.id).join("logs");
    let texts = std::fs::read_dir(logs).expect("logs").flatten();
    let texts: Vec<String> = texts
        .map(|entry| std::fs::read_to_string(entry.path()).expect("read"))
        .collect();
    let printed = texts.iter().any(|text| text.contains("JWT_SECRET=<redacted>"));
    assert!(printed, "the secret was not printed: nothing is proven");
    assert_unaltered(&evidence, &runs);
}

async fn every_fault_in_a_record_is_caught_and_every_question_has_one() {
    let (request, _folder) = request(66);
    let mut catalogue = Catalogue::load(&[workspace_root().join("fixtures/faults")]).expect("the catalogue");
    let taken = |stage: Stage, not_staged: bool| stage == Stage::Report && !not_staged;
    catalogue
        .faults
        .retain(|fault| taken(fault.stage, fault.not_staged().is_some()));
    catalogue
        .benign
        .retain(|fault| taken(fault.stage, fault.not_staged().is_some()));
    let campaign = Campaign {
        request,
        catalogue,
        clean_runs: 0,
        jobs: 1,
        at_rest: false,
        random: 0,
    };
    let score = detection::run(&campaign, &Quiet).await.expect("a score");
    assert!(
        score.canaries.iter().all(|canary| canary.ok),
        "{:?} {:#?}",
        score.canaries,
        score.alarms
    );
    let missed: Vec<_> = score.faults.iter().filter(|fault| !fault.detected).collect();
    assert!(missed.is_empty() && score.faults.len() > 30, "{missed:#?}");
    let alarmed: Vec<_> = score
        .benign
        .iter()
        .filter(|one| one.alarmed || one.error.is_some())
        .collect();
    assert!(alarmed.is_empty() && !score.benign.is_empty(), "{alarmed:#?}");
    let owned: BTreeSet<CheckId> = score.faults.iter().flat_map(|fault| fault.expected.clone()).collect();
    let all: BTreeSet<CheckId> = CheckId::OF_VERIFY.iter().copied().collect();
    assert_eq!(owned, all, "each question owns a fault");
}

crate::drills! {
    both: [
        the_record_of_a_failed_drill_verifies,
    ],
    process: [
        the_record_of_an_interrupted_drill_verifies,
        the_record_of_a_given_backup_and_of_schema_upgrade_verify,
        a_secret_that_a_service_prints_is_kept_nowhere,
        every_fault_in_a_record_is_caught_and_every_question_has_one,
    ],
}
