//! The evidence of `parity` and `smoke` is of the published format, whatever comes of it.

#[path = "../../tests/drills/json_schema.rs"]
mod json_schema;

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_evidence_of_parity_and_smoke_is_of_the_published_format() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    let fixtures = fixtures.canonicalize().expect("the fixtures");
    let schema = std::fs::read_to_string(fixtures.join("schemas/parity.schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&schema).expect("JSON");
    let environments = fixtures.join("environments").display().to_string();
    let drifted = |name: &str| format!("{environments}/drifted/{name}.toml");
    let staging = format!("{environments}/staging.toml");
    let (expired, differs) = (drifted("exception-expired"), drifted("config-value-differs"));
    for (arguments, code) in [
        (vec!["parity", "--environments", &environments], 0),
        (vec!["parity", "--environment", &staging], 3),
        (
            vec![
                "parity",
                "--environments",
                &environments,
                "--environment",
                "production",
                "--environment",
                &expired,
            ],
            1,
        ),
        (
            vec![
                "parity",
                "--environments",
                &environments,
                "--environment",
                "production",
                "--environment",
                &differs,
            ],
            1,
        ),
        (vec!["smoke", "--environment", &staging, "--version", "1.6.0"], 0),
        (vec!["smoke", "--environment", &staging, "--version", "1.7.0"], 1),
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(&arguments)
            .args(["--json", "--quiet"])
            .current_dir(folder.path())
            .env("CARGO_TARGET_DIR", folder.path().join("target"))
            .stdin(Stdio::null())
            .output()
            .expect("the command runs");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let problems = json_schema::problems(&schema, &document, "");
        assert!(problems.is_empty(), "{arguments:?}: {problems:#?}");
        let report = if arguments[0] == "smoke" {
            "1.0.0-smoke.md"
        } else {
            "1.0.0-parity-check.md"
        };
        let report = std::fs::read_to_string(folder.path().join("reports").join(report)).expect("a report");
        let id = document["run"]["id"].as_str().expect("an id");
        assert!(report.contains(id), "{report}");
    }
}
