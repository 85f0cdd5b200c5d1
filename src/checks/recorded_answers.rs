//! Tests of what is stated to move: recorded answers of the real services, before a stop and after a start on the same files,
//! differ in nothing else. Source: Beam 1.6.0, recorded.

use crate::checks::expectation::Objects;
use crate::checks::{agents, health, requests, workspaces};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Path → answer, of the reads of one phase. Of several reads of a path the first.
fn recorded(phase: &str) -> BTreeMap<String, Value> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/services/recorded/http.jsonl");
    let text = std::fs::read_to_string(file).expect("the recording");
    let exchanges = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let reads = exchanges.filter(|exchange| exchange["phase"] == phase && exchange["method"] == "GET");
    let mut answers = BTreeMap::new();
    for read in reads {
        let name = format!(
            "{} {}",
            read["service"].as_str().unwrap_or("?"),
            read["path"].as_str().unwrap_or("?")
        );
        answers.entry(name).or_insert(read["response_body"].clone());
    }
    answers
}

/// What moves in the answers below a path.
fn moving(path: &str) -> Option<Vec<&'static str>> {
    // Between the phases two nonces were sent again: the sender was seen since then.
    let agents = [agents::MOVING, agents::LIVELY, &["lastSeen"]].concat();
    let below: [(&str, Vec<&str>); 12] = [
        ("directory /agents/stats", Vec::new()),
        ("directory /agents/", agents.clone()),
        ("directory /directory/agents", agents.clone()),
        ("directory /admin/agents", agents),
        ("directory /acl/", Vec::new()),
        ("directory /shield/", Vec::new()),
        ("directory /keys/", Vec::new()),
        ("directory /admin/beta-requests", requests::MOVING.to_vec()),
        ("directory /admin/waitlist", Vec::new()),
        (
            "directory /admin/workspaces",
            [workspaces::MOVING, &["lastSeen"]].concat(),
        ),
        ("directory /health", health::MOVING.to_vec()),
        ("bus /", Vec::new()),
    ];
    let found = below.into_iter().find(|(start, _)| path.starts_with(start));
    found.map(|(_, moving)| moving)
}

#[test]
fn the_real_services_move_nothing_else_over_a_restart() {
    let (before, after) = (recorded("validate-before-stop"), recorded("validate-after-restart"));
    let mut compared = 0;
    for (path, answer) in &before {
        let (Some(moving), Some(other)) = (moving(path), after.get(path)) else {
            continue;
        };
        let whole = |answer: &Value| {
            let mut objects = Objects::default();
            objects.whole(path, "", answer, &moving);
            objects
        };
        assert_eq!(whole(answer), whole(other), "{path}");
        compared += 1;
    }
    assert!(compared > 50, "{compared} answers");
}

#[test]
fn what_moves_is_in_the_recording() {
    let answers: String = recorded("validate-before-stop")
        .values()
        .map(Value::to_string)
        .collect();
    for name in [requests::MOVING, workspaces::MOVING, health::MOVING].concat() {
        let member = name.rsplit('.').next().unwrap_or(name);
        assert!(answers.contains(&format!("\"{member}\":")), "{member}");
    }
}
