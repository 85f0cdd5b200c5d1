//! What a drill leaves for others to read: evidence of the published format, and the report.

use crate::recording::Performed;
use crate::running::{evidence, on_snapshot, perform, recorded, request};
use serde_json::Value;
use std::path::Path;

fn schema() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas/evidence.schema.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the schema")).expect("JSON")
}

/// What of a document is not as the schema has it: the words of JSON Schema that this schema uses, and no other. CI holds
/// real evidence against the same file with a full validator.
fn problems(schema: &Value, document: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "const" if rule != document => found.push(format!("{at}: not {rule}")),
            "enum" if !rule.as_array().expect("a list").contains(document) => {
                found.push(format!("{at}: none of {rule}"))
            }
            "type" if !is_of(rule, document) => found.push(format!("{at}: no {rule}")),
            "anyOf"
                if rule
                    .as_array()
                    .expect("a list")
                    .iter()
                    .all(|one| !problems(one, document, at).is_empty()) =>
            {
                found.push(format!("{at}: none of the alternatives"));
            }
            "items" => {
                for (n, item) in document.as_array().into_iter().flatten().enumerate() {
                    found.extend(problems(rule, item, &format!("{at}/{n}")));
                }
            }
            "properties" => {
                let known = rule.as_object().expect("properties");
                for (key, value) in document.as_object().into_iter().flatten() {
                    match known.get(key) {
                        Some(rule) => found.extend(problems(rule, value, &format!("{at}/{key}"))),
                        None => found.push(format!("{at}/{key}: not in the schema")),
                    }
                }
                let missing = known.keys().filter(|key| document.get(key.as_str()).is_none());
                found.extend(missing.map(|key| format!("{at}/{key}: missing")));
            }
            _ => {}
        }
    }
    found
}

fn is_of(kind: &Value, document: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "integer" => document.is_u64(),
        "boolean" => document.is_boolean(),
        "null" => document.is_null(),
        other => panic!("the schema uses a type that this test does not know: {other}"),
    }
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
