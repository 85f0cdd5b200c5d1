//! Whether each report is, byte for byte, what the evidence gives.

use crate::deployment::given_file;
use crate::evidence::short;
use crate::report::named_run;
use crate::verify::canonical::first_difference;
use crate::verify::document::Document;
use crate::verify::look::Look;
use std::path::{Path, PathBuf};

/// The report's name in a run's folder.
pub const FILE_NAME: &str = "report.md";

/// A report that was read: how it is called, and its text.
pub(crate) type View = (String, String);

/// Holds the reports against the one that the evidence gives; `own` is where the run's own one should be.
pub(crate) fn judge(document: &Document, expected: &str, own: &Path, given: &[View]) -> Look {
    let mut look = Look::default();
    match given_file::bytes(own, given_file::DOCUMENT_BYTES) {
        Ok(bytes) => one(
            document,
            expected,
            FILE_NAME,
            &String::from_utf8_lossy(&bytes),
            &mut look,
        ),
        Err(error) if given.is_empty() => look.problems.push(format!(
            "no {FILE_NAME} beside the evidence ({error}) and none given: moved or removed; `cargo xtask report` makes it again"
        )),
        Err(_) => look.notes.push(format!("no {FILE_NAME} beside the evidence")),
    }
    for (name, text) in given {
        one(document, expected, name, text, &mut look);
    }
    look
}

fn one(document: &Document, expected: &str, name: &str, observed: &str, look: &mut Look) {
    let run = &document.run().id;
    if let Some(other) = named_run(observed).filter(|other| other != run) {
        look.must(false, "run", run, &short(other), name);
        return;
    }
    look.items += 1;
    if let Some((line, ours, theirs)) = first_difference(expected, observed) {
        look.must(false, &format!("line {line}"), &short(ours), &short(theirs), name);
    }
}

/// Reads the reports that were given.
///
/// # Errors
/// The path and what the system says.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<View>, (PathBuf, std::io::Error)> {
    let each = paths.iter().map(|path| {
        let bytes = given_file::bytes(path, given_file::DOCUMENT_BYTES).map_err(|source| (path.clone(), source))?;
        Ok((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))
    });
    each.collect()
}

/// The reports in a folder that say they are of the run in `run`; none where nothing can be read.
#[must_use]
pub fn naming(run: &Path, reports: &Path) -> Vec<PathBuf> {
    let evidence = if run.is_dir() {
        run.join("evidence.json")
    } else {
        run.to_owned()
    };
    let document = given_file::document(&evidence).ok();
    let Some(document) = document.and_then(|text| Document::lenient(&text)) else {
        return Vec::new();
    };
    let is_of_it = |path: &PathBuf| {
        let text = given_file::document(path).unwrap_or_default();
        path.extension().is_some_and(|ending| ending == "md") && named_run(&text) == Some(document.run().id.as_str())
    };
    let entries = std::fs::read_dir(reports).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_of_it).collect();
    found.sort();
    found
}
