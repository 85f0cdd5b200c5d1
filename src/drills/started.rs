//! Runs that began: what is written before a drill's first action, and which of them were aborted.

use crate::drills::context::{DrillContext, UsageError, chain, is_under_way};
use crate::evidence::{Started, StoreError, TestAttempt};
use std::fs;
use std::path::Path;

/// How far a run has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progressed {
    /// It has evidence.
    Ended,
    /// Its harness lives.
    UnderWay(Started),
    /// Its harness is gone and left no evidence.
    Aborted(Started),
}

/// Records that the run begins.
pub(crate) fn record(context: &DrillContext) -> Result<(), UsageError> {
    let run = &context.evidence.run;
    let started = Started {
        format: Started::FORMAT.to_owned(),
        id: run.id.clone(),
        drill: run.drill.clone(),
        environment: run.environment.clone(),
        runtime: run.runtime.clone(),
        seed: run.seed,
        started_at: run.started_at.clone(),
        command: run.command.clone(),
        test: TestAttempt::under_nextest(|name| std::env::var(name).ok()),
    };
    started
        .write(&context.folders.run)
        .map_err(|error| UsageError(chain(&error)))
}

/// How far the run in this folder has come.
///
/// # Errors
/// [`StoreError`] where there is no evidence and no readable `started.json`.
pub fn progressed(run: &Path) -> Result<Progressed, StoreError> {
    // Looked at before the evidence: a run that ends in between has some.
    let under_way = is_under_way(run);
    if run.join("evidence.json").is_file() {
        return Ok(Progressed::Ended);
    }
    let started = Started::read(run)?;
    Ok(if under_way {
        Progressed::UnderWay(started)
    } else {
        Progressed::Aborted(started)
    })
}

/// The aborted runs below a folder, oldest first.
#[must_use]
pub fn aborted(runs: &Path) -> Vec<Started> {
    let entries = fs::read_dir(runs).into_iter().flatten().flatten();
    let mut found: Vec<Started> = entries
        .filter_map(|entry| match progressed(&entry.path()) {
            Ok(Progressed::Aborted(started)) => Some(started),
            _ => None,
        })
        .collect();
    found.sort_by(|one, other| one.started_at.cmp(&other.started_at));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(run: &Path) -> Started {
        let started = Started {
            format: Started::FORMAT.to_owned(),
            id: "r1".to_owned(),
            drill: "backup-restore".to_owned(),
            environment: "reference".to_owned(),
            runtime: "process".to_owned(),
            seed: 7,
            started_at: "2026-11-24T04:24:14.255Z".to_owned(),
            command: "cargo xtask drill".to_owned(),
            test: None,
        };
        started.write(run).expect("written");
        started
    }

    #[test]
    fn a_run_without_evidence_and_harness_is_aborted() {
        let runs = tempfile::tempdir().expect("a folder");
        let run = runs.path().join("r1");
        let started = started(&run);
        assert_eq!(progressed(&run).expect("read"), Progressed::Aborted(started.clone()));
        assert_eq!(aborted(runs.path()), [started]);
    }

    #[test]
    fn a_run_whose_harness_holds_its_lock_is_under_way() {
        let run = tempfile::tempdir().expect("a folder");
        let started = started(run.path());
        let owner = fs::File::create(run.path().join("owner.lock")).expect("a lock");
        owner.try_lock().expect("locked");
        assert_eq!(progressed(run.path()).expect("read"), Progressed::UnderWay(started));
    }

    #[test]
    fn a_run_with_evidence_has_ended() {
        let run = tempfile::tempdir().expect("a folder");
        started(run.path());
        fs::write(run.path().join("evidence.json"), "{}").expect("written");
        assert_eq!(progressed(run.path()).expect("read"), Progressed::Ended);
    }

    #[test]
    fn a_folder_that_is_no_run_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = progressed(folder.path()).expect_err("no run").to_string();
        assert!(error.contains("started.json"), "{error}");
    }
}
