//! Faults between environments: each goes into a copy of the project's own environments, before parity looks.
//!
//! The copy is observed as it is, never through a running service; an untouched copy must pass.

use crate::deployment::compared::Aspect;
use crate::deployment::environment::Environment;
use crate::deployment::given_file;
use crate::drills::context::{Progress, UsageError, chain};
use crate::drills::outside::{Outcome, settle};
use crate::drills::reference::workspace_root;
use crate::drills::score::{Canary, Score};
use crate::evidence::{CheckId, Verdict};
use crate::faults::command;
use crate::faults::fault::{Fault, Injection, Stage};
use crate::faults::target::Target;
use crate::parity::perform::{Compared, Subject, compare, observe};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

/// The environments that are compared, the reference first.
const COMPARED: [&str; 3] = ["production", "demo", "staging"];

/// What of `fixtures` an environment refers to.
const PARTS: [&str; 2] = ["environments", "snapshots/at-rest"];

/// Whether a fault is injected here.
pub(crate) fn takes(fault: &Fault) -> bool {
    fault.stage == Stage::Environment && matches!(fault.injection, Injection::Command(_))
}

/// Injects and judges all of them.
///
/// # Errors
/// [`UsageError`] when no copy can be made.
pub(crate) async fn try_all(faults: &[Fault], progress: &dyn Progress, score: &mut Score) -> Result<(), UsageError> {
    if faults.is_empty() {
        return Ok(());
    }
    let untouched = try_out(None).await.map_err(no_copy)?;
    let passes = untouched.passes();
    score.canaries.push(Canary {
        id: "untouched-environments".to_owned(),
        ok: passes,
    });
    if !passes {
        score.alarms.extend(untouched.findings);
        return Ok(());
    }
    for fault in faults {
        let began = Instant::now();
        let outcome = try_out(Some(fault)).await.map_err(no_copy)?;
        settle(fault, outcome, began, progress, score);
    }
    Ok(())
}

fn no_copy(error: io::Error) -> UsageError {
    UsageError(format!("cannot make a copy of the fixtures' environments: {error}"))
}

/// What parity says of one copy: drifts, and aspects that could not be judged.
fn outcome(compared: &Compared) -> Outcome {
    let with = |verdict: Verdict| {
        let mut ids: Vec<CheckId> = compared
            .checks
            .iter()
            .filter(|record| record.verdict == verdict)
            .filter_map(|record| CheckId::parse(record.id.name()))
            .collect();
        ids.dedup();
        ids
    };
    Outcome {
        failed: with(Verdict::Fail),
        unseen: with(Verdict::Inconclusive),
        findings: compared
            .checks
            .iter()
            .flat_map(|record| record.findings.clone())
            .collect(),
        error: None,
    }
}

async fn try_out(fault: Option<&Fault>) -> io::Result<Outcome> {
    let copy = tempfile::tempdir()?;
    for part in PARTS {
        copy_folder(&workspace_root().join("fixtures").join(part), &copy.path().join(part))?;
    }
    let folder = copy.path().join("environments");
    if let Some(Fault {
        injection: Injection::Command(argv),
        ..
    }) = fault
    {
        let before = digest(copy.path())?;
        let logs = tempfile::tempdir()?;
        let target = Target {
            environments: Some(folder.clone()),
            ..Target::empty(Stage::Environment, logs.path())
        };
        if let Err(error) = command::run(argv, &target, command::TIME_LIMIT) {
            return Ok(Outcome::of_error(chain(&error)));
        }
        if digest(copy.path())? == before {
            return Ok(Outcome::of_error("the injection changed nothing".to_owned()));
        }
    }
    let mut subjects = Vec::new();
    for name in COMPARED {
        let path = folder.join(format!("{name}.toml"));
        match Environment::parse(&given_file::settings(&path)?, &path) {
            Ok(environment) => subjects.push(Subject {
                environment,
                folder: folder.clone(),
                fresh: None,
            }),
            Err(error) => return Ok(Outcome::of_error(chain(&error))),
        }
    }
    let mut captures = Vec::new();
    for subject in &subjects {
        captures.push(observe(subject, &subjects, &Aspect::ALL, Timestamp::now).await);
    }
    let environments: Vec<&Environment> = subjects.iter().map(|subject| &subject.environment).collect();
    let compared = compare(&captures, &environments, None, &Aspect::ALL, Timestamp::now());
    Ok(outcome(&compared))
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Hash of names and contents of all files below a folder.
fn digest(folder: &Path) -> io::Result<Vec<u8>> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut hash = Sha256::new();
    for entry in entries {
        hash.update(entry.file_name().as_encoded_bytes());
        if entry.file_type()?.is_dir() {
            hash.update(digest(&entry.path())?);
        } else {
            hash.update(Sha256::digest(fs::read(entry.path())?));
        }
    }
    Ok(hash.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drills::context::Quiet;
    use crate::drills::score::{BenignResult, FaultResult};
    use crate::faults::catalogue::Catalogue;

    #[tokio::test]
    async fn every_fault_between_environments_is_caught_and_no_benign_one_alarms() {
        let catalogue = Catalogue::load(&[workspace_root().join("fixtures/faults")]).expect("the catalogue");
        let all = catalogue.faults.into_iter().chain(catalogue.benign);
        let taken: Vec<Fault> = all.filter(takes).collect();
        let mut score = Score::default();
        try_all(&taken, &Quiet, &mut score).await.expect("copies");
        assert!(score.canaries.iter().all(|canary| canary.ok), "{:?}", score.alarms);
        let missed: Vec<&FaultResult> = score.faults.iter().filter(|fault| !fault.detected).collect();
        assert!(missed.is_empty() && score.faults.len() >= 20, "{missed:#?}");
        let alarmed: Vec<&BenignResult> = score
            .benign
            .iter()
            .filter(|one| one.alarmed || one.error.is_some())
            .collect();
        assert!(alarmed.is_empty() && !score.benign.is_empty(), "{alarmed:#?}");
    }
}
