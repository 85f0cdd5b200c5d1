//! Tells GitHub's runner what a command came to: annotations on standard error, outputs and job summary in its files.

use recovery_drills::evidence::{Evidence, ParityEvidence};
use recovery_drills::report::github;
use std::io::Write as _;
use std::path::Path;

/// Whether this is a step of a workflow.
pub(crate) fn is_here() -> bool {
    std::env::var("GITHUB_ACTIONS").as_deref() == Ok("true")
}

/// Annotations, outputs by name, and the summary. Does nothing outside a workflow.
pub(crate) fn tell(annotations: &[String], outputs: &[(&str, &str)], summary: &str) -> Result<(), String> {
    if !is_here() {
        return Ok(());
    }
    for line in annotations {
        // The runner reads both streams; standard output may belong to `--json`.
        eprintln!("{line}");
    }
    let outputs: String = outputs
        .iter()
        .map(|(name, value)| github::output(name, value))
        .collect();
    append("GITHUB_OUTPUT", &outputs)?;
    append("GITHUB_STEP_SUMMARY", summary)
}

/// What a drill came to: annotations, summary, and the outputs `verdict`, `run`, `evidence`, `report`.
pub(crate) fn tell_drill(evidence: &Evidence, folder: &Path, report: &Path) -> Result<(), String> {
    let outputs = outputs(evidence.verdict.word(), &evidence.run.id, folder, report);
    tell(
        &github::annotations(evidence),
        &outputs.each_ref().map(|(name, value)| (*name, value.as_str())),
        &github::summary(evidence),
    )
}

/// The same of a comparison of environments.
pub(crate) fn tell_comparison(evidence: &ParityEvidence, folder: &Path, report: &Path) -> Result<(), String> {
    let outputs = outputs(evidence.verdict.word(), &evidence.run.id, folder, report);
    tell(
        &github::drift_annotations(evidence),
        &outputs.each_ref().map(|(name, value)| (*name, value.as_str())),
        &github::parity_summary(evidence),
    )
}

fn outputs(verdict: &str, run: &str, folder: &Path, report: &Path) -> [(&'static str, String); 4] {
    [
        ("verdict", verdict.to_owned()),
        ("run", run.to_owned()),
        ("evidence", folder.display().to_string()),
        ("report", report.display().to_string()),
    ]
}

fn append(variable: &str, text: &str) -> Result<(), String> {
    let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty() && !text.is_empty()) else {
        return Ok(());
    };
    let mut open = std::fs::OpenOptions::new();
    let file = open.create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|error| format!("cannot append to {variable} {}: {error}", Path::new(&path).display()))
}
