//! The gate on schema changes where services run: what they create, and what they make of older snapshots.

use crate::running::{assert_verdict, evidence, request};
use recovery_drills::deployment::Service;
use recovery_drills::deployment::environment::Environment;
use recovery_drills::drills::context::{DrillRequest, Quiet};
use recovery_drills::drills::schema_gate::{created, locks_folder};
use recovery_drills::drills::schema_upgrade;
use recovery_drills::evidence::{CheckId, Verdict};
use recovery_drills::gate::compare::{Comparison, compare};
use recovery_drills::gate::upgrade::WAY_BACK;
use recovery_drills::gate::{lock, shown};
use std::path::Path;

/// The same request with a directory that was told to misbehave.
fn misbehaving(mut request: DrillRequest, switch: &str) -> DrillRequest {
    let program = request
        .reference_services
        .as_ref()
        .expect("built")
        .display()
        .to_string();
    let text = format!(
        "name = \"changed\"\n[directory]\nruntime = \"process\"\ncommand = [{program:?}, \"directory\", \"--misbehave\", {switch:?}]\n\
         [bus]\nruntime = \"process\"\ncommand = [{program:?}, \"bus\"]\n"
    );
    request.environment = Environment::parse(&text, Path::new("changed.toml")).expect("an environment");
    request
}

async fn compared(request: DrillRequest) -> Vec<Comparison> {
    let all = created(request, Box::new(Quiet)).await.expect("created");
    let held = all.iter().map(|(service, schema)| {
        let lock = lock::read(&locks_folder(), *service).expect("a lock");
        let text = lock::text(*service, schema, &lock.schema);
        let written = std::fs::read_to_string(&lock.path).expect("read");
        let compared = compare(&lock, "the lock", schema, "created");
        assert_eq!(compared.changes.is_empty(), text == written, "{text}");
        compared
    });
    held.collect()
}

async fn the_reference_services_create_the_locked_schemas() {
    let (request, _folder) = request(71);
    let all = compared(request).await;
    assert_eq!(all.len(), Service::ALL.len());
    assert!(!all.iter().any(Comparison::is_changed), "{}", shown::text(&all));
}

async fn a_column_that_a_newer_service_adds_is_a_compatible_change() {
    let (request, _folder) = request(72);
    let all = compared(misbehaving(request, "newer-schema")).await;
    let told = shown::text(&all);
    assert!(told.contains("compatible: column agents.region added: TEXT"), "{told}");
    assert!(told.contains("\n+  region TEXT\n"), "{told}");
}

async fn older_snapshots_come_back_in_the_present_services() {
    let (mut request, _folder) = request(73);
    schema_upgrade::NAME.clone_into(&mut request.drill);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    assert_eq!(evidence.checks_of(CheckId::StartupDiff).count(), 3);
    assert_eq!(evidence.checks_of(CheckId::Schema).count(), 6);
}

async fn older_snapshots_come_back_in_services_that_add_a_column() {
    let (request, _folder) = request(74);
    let mut request = misbehaving(request, "newer-schema");
    schema_upgrade::NAME.clone_into(&mut request.drill);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    let back = evidence.steps.iter().find(|step| step.name == WAY_BACK);
    assert!(back.expect("told").detail.contains("column agents.region added"));
}

async fn a_back_fill_without_any_change_of_the_schema_is_seen() {
    let (request, _folder) = request(75);
    let mut request = misbehaving(request, "sql-at-start=UPDATE agents SET plan = 'pro'");
    schema_upgrade::NAME.clone_into(&mut request.drill);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    let failed = |id| evidence.checks_of(id).any(|check| check.verdict == Verdict::Fail);
    assert!(failed(CheckId::StartupDiff) && !failed(CheckId::Schema));
}

crate::drills! {
    both: [],
    process: [
        the_reference_services_create_the_locked_schemas,
        a_column_that_a_newer_service_adds_is_a_compatible_change,
        older_snapshots_come_back_in_the_present_services,
        older_snapshots_come_back_in_services_that_add_a_column,
        a_back_fill_without_any_change_of_the_schema_is_seen,
    ],
}
