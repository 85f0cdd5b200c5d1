//! Tells GitHub's runner what a command came to: annotations on standard error, outputs and job summary in its files.

use recovery_drills::evidence::{Evidence, ParityEvidence};
use recovery_drills::parity::perform::Subject;
use recovery_drills::report::github;
use std::io::Write as _;
use std::path::{Path, PathBuf};

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

/// What drills came to: annotations, summaries, and the outputs `verdict`, `run`, `evidence`, `report` of the one that decides.
pub(crate) fn tell_drills(all: &[Evidence], deciding: &Evidence, folder: &Path, report: &Path) -> Result<(), String> {
    let outputs = outputs(deciding.verdict.word(), &deciding.run.id, folder, report);
    let annotations: Vec<String> = all.iter().flat_map(github::annotations).collect();
    let summaries: Vec<String> = all.iter().map(github::summary).collect();
    tell(
        &github::shown(annotations),
        &outputs.each_ref().map(|(name, value)| (*name, value.as_str())),
        &summaries.join("\n"),
    )
}

/// The same of a comparison of environments, whose files lie in the folders of their environments.
pub(crate) fn tell_comparison(
    evidence: &ParityEvidence,
    subjects: &[Subject],
    folder: &Path,
    report: &Path,
) -> Result<(), String> {
    let outputs = outputs(evidence.verdict.word(), &evidence.run.id, folder, report);
    tell(
        &github::drift_annotations(evidence, |environment, file| in_repository(subjects, environment, file)),
        &outputs.each_ref().map(|(name, value)| (*name, value.as_str())),
        &github::parity_summary(evidence),
    )
}

/// A file that a drift names, as GitHub knows it: from the root of the repository on.
fn in_repository(subjects: &[Subject], environment: &str, file: &str) -> String {
    let subject = subjects.iter().find(|subject| subject.environment.name == environment);
    let path = subject.map_or_else(|| PathBuf::from(file), |subject| subject.folder.join(file));
    let root = std::env::var_os("GITHUB_WORKSPACE").map(PathBuf::from);
    let root = root.or_else(|| std::env::current_dir().ok()).unwrap_or_default();
    let (path, root) = (
        path.canonicalize().unwrap_or_else(|_| path.clone()),
        root.canonicalize().unwrap_or(root),
    );
    path.strip_prefix(&root).unwrap_or(&path).display().to_string()
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
