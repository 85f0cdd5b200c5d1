//! What a drill leaves for others to read: evidence of the published format, and the report.

use crate::json_schema::problems;
use crate::recording::Performed;
use crate::running::{evidence, on_snapshot, perform, recorded, request};
use serde_json::Value;
use std::path::Path;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas/evidence.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the schema")).expect("JSON")
}

#[track_caller]
fn assert_valid(evidence: &Performed) {
    let document: Value = serde_json::from_str(&evidence.to_json()).expect("JSON");
    let problems = problems(&schema(), &document, "");
    assert!(problems.is_empty(), "{problems:#?}");
}

async fn the_evidence_of_a_passed_drill_is_of_the_published_format() {
    let (request, _folder) = request(81);
    assert_valid(&evidence(request).await);
}

async fn the_evidence_of_a_failed_drill_is_of_the_published_format() {
    let (mut request, _folder) = request(82);
    request.stages = on_snapshot("beam-directory.db", "DELETE FROM waitlist");
    assert_valid(&evidence(request).await);
}

async fn the_evidence_of_a_drill_that_ended_early_is_of_the_published_format() {
    let (mut request, _folder) = request(83);
    request.environment.bus.command = ["/bin/sh", "-c", "exit 1"].map(str::to_owned).to_vec();
    assert_valid(&perform(request).await.expect("evidence"));
}

async fn the_evidence_of_a_given_backup_is_of_the_published_format() {
    let (mut request, _folder) = request(84);
    let given = recorded("bricked");
    request.from = Some(given.path().to_owned());
    assert_valid(&evidence(request).await);
}

async fn a_document_with_a_key_more_or_less_is_not_of_the_published_format() {
    let (less, more) = (
        serde_json::json!({"format": "recovery-drill-evidence/1"}),
        serde_json::json!({"colour": 1}),
    );
    assert!(
        problems(&schema(), &less, "")
            .iter()
            .any(|problem| problem.contains("/verdict: missing"))
    );
    assert!(
        problems(&schema(), &more, "")
            .iter()
            .any(|problem| problem.contains("/colour: not in the schema"))
    );
}

crate::drills! {
    both: [],
    process: [
        the_evidence_of_a_passed_drill_is_of_the_published_format,
        the_evidence_of_a_failed_drill_is_of_the_published_format,
        the_evidence_of_a_drill_that_ended_early_is_of_the_published_format,
        the_evidence_of_a_given_backup_is_of_the_published_format,
        a_document_with_a_key_more_or_less_is_not_of_the_published_format,
    ],
}
