//! The harness held against itself: what its checks catch on this very snapshot, and what is lost without each of them.

use crate::running::{assert_verdict, evidence, recorded, request};
use recovery_drills::drills::context::{Base, DrillRequest};
use recovery_drills::drills::reference::workspace_root;
use recovery_drills::drills::scratch;
use recovery_drills::drills::self_test::SelfTest;
use recovery_drills::drills::trial::{Template, needs_a_start};
use recovery_drills::evidence::{CheckId, Verdict};
use recovery_drills::faults::catalogue::Catalogue;
use recovery_drills::faults::fault::{self, Fault, Injection};

fn catalogue() -> Catalogue {
    Catalogue::load(&[workspace_root().join("fixtures/faults")]).expect("the catalogue")
}

fn with_self_test(mut request: DrillRequest) -> DrillRequest {
    request.self_test = SelfTest::With(vec![workspace_root().join("fixtures/faults")]);
    request
}

async fn a_drill_states_how_many_injected_faults_its_own_checks_catch() {
    let (request, _folder) = request(61);
    let evidence = evidence(with_self_test(request)).await;
    assert_verdict(&evidence, Verdict::Pass);
    let power = &evidence.detection;
    assert_eq!(power.missed, Some(Vec::new()));
    assert!(
        power.injected >= Some(90) && power.injected == power.detected,
        "{power:?}"
    );
    // The catalogue's data faults: at least 84 % contradict the backup's own rows.
    let (seen, of) = (
        power.alone_detected.expect("measured"),
        power.alone_injected.expect("measured"),
    );
    assert!(of >= 80 && seen * 100 >= of * 84 && seen < of, "{power:?}");
    assert!(
        power.clean_runs >= Some(10) && power.false_alarms == Some(0),
        "{power:?}"
    );
}

async fn a_given_backup_plays_the_source_of_its_own_measurement() {
    let (mut request, _folder) = request(62);
    let given = recorded("at-rest");
    request.from = Some(given.path().to_owned());
    let evidence = evidence(with_self_test(request)).await;
    assert_verdict(&evidence, Verdict::Pass);
    let power = &evidence.detection;
    // Of the 95 or so at least 70 % find a row to bite.
    assert_eq!(power.missed, Some(Vec::new()));
    assert!(power.injected >= Some(70), "{power:?}");
    assert_eq!(power.false_alarms, Some(0));
}

async fn a_drill_without_a_self_test_says_so() {
    let (request, _folder) = request(63);
    let evidence = evidence(request).await;
    assert_eq!(evidence.detection.injected, None);
    assert_eq!(evidence.detection.not_measured.as_deref(), Some("skipped"));
}

async fn a_drill_whose_row_comparison_is_blind_measures_that_it_is() {
    let (request, _folder) = request(64);
    let mut request = with_self_test(request);
    request.forced_pass = Some(CheckId::Content);
    let evidence = evidence(request).await;
    let missed = evidence.detection.missed.as_ref().expect("measured");
    assert!(missed.contains(&"acl-lost".to_owned()), "{missed:?}");
}

/// The fault that needs this check most: its only catcher, seen in answers alone, soonest judged.
fn chosen<'a>(faults: &'a [Fault], id: CheckId, template: &Template) -> Option<&'a Fault> {
    let base = match template.request.base {
        Base::InFlight => fault::Base::InFlight,
        _ => fault::Base::Seed,
    };
    let naming = faults
        .iter()
        .filter(|fault| fault.caught_by.contains(&id) && fault.base == base && fault.expect == fault::Expect::Fail)
        .filter(|fault| Template::cannot_stage(&template.request, fault).is_none());
    naming.min_by_key(|fault| {
        let altered = matches!(fault.injection, Injection::Answers(_));
        (!altered, fault.caught_by.len(), needs_a_start(fault))
    })
}

async fn template(base: Base) -> (Template, tempfile::TempDir) {
    let (mut request, folder) = request(66);
    request.environment.rto_limit_ms = Some(10_000);
    request.base = base;
    let made = Template::make(request).await;
    (made.unwrap_or_else(|ending| panic!("{ending:?}")), folder)
}

/// Whether the fault is detected with this check's verdict as it is, or forced to pass.
async fn is_detected(template: &mut Template, fault: &Fault, forced: Option<CheckId>) -> bool {
    template.request.forced_pass = forced;
    if needs_a_start(fault) {
        let trial = template.try_out(Some(fault)).await.expect("tried");
        return trial.detects(fault, &fault.caught_by);
    }
    let mut outcome = template
        .specimen()
        .expect("a specimen")
        .try_out(Some(fault))
        .expect("tried");
    if let Some(forced) = forced {
        outcome.failed.remove(&forced);
    }
    let at_rest = |id: &&CheckId| scratch::CHECKS.contains(id);
    let named: Vec<CheckId> = fault.caught_by.iter().filter(at_rest).copied().collect();
    outcome.detects(fault, &named)
}

/// Every check of one third: with its verdict forced to pass, a fault that is detected otherwise is missed.
async fn each_check_is_needed(third: usize) {
    let faults = catalogue().faults;
    let (mut seeded, _one) = template(Base::Seed).await;
    let (mut under_way, _other) = template(Base::InFlight).await;
    for id in CheckId::ALL.iter().skip(third).step_by(3) {
        let in_seeded = chosen(&faults, *id, &seeded).map(|fault| (fault, &mut seeded));
        let (fault, template) = in_seeded
            .or_else(|| chosen(&faults, *id, &under_way).map(|fault| (fault, &mut under_way)))
            .unwrap_or_else(|| panic!("no staged fault names {id}: a check that cannot fail"));
        assert!(
            is_detected(template, fault, None).await,
            "{} is not detected by {id}",
            fault.id.0
        );
        assert!(
            !is_detected(template, fault, Some(*id)).await,
            "{} is detected although {id} was forced to pass",
            fault.id.0
        );
    }
    seeded.discard();
    under_way.discard();
}

async fn forcing_any_one_check_to_pass_loses_a_fault_first_third() {
    each_check_is_needed(0).await;
}

async fn forcing_any_one_check_to_pass_loses_a_fault_second_third() {
    each_check_is_needed(1).await;
}

async fn forcing_any_one_check_to_pass_loses_a_fault_last_third() {
    each_check_is_needed(2).await;
}

crate::drills! {
    both: [
        a_drill_states_how_many_injected_faults_its_own_checks_catch,
    ],
    process: [
        a_given_backup_plays_the_source_of_its_own_measurement,
        a_drill_without_a_self_test_says_so,
        a_drill_whose_row_comparison_is_blind_measures_that_it_is,
        forcing_any_one_check_to_pass_loses_a_fault_first_third,
        forcing_any_one_check_to_pass_loses_a_fault_second_third,
        forcing_any_one_check_to_pass_loses_a_fault_last_third,
    ],
}
