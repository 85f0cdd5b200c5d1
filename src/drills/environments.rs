//! Faults between environments: each goes into a copy of the project's own environments, before parity looks.
//!
//! The copy is observed as it is, never through a running service; an untouched copy must pass.

use crate::deployment::compared::Aspect;
use crate::deployment::environment::Environment;
use crate::drills::context::{Progress, UsageError, chain, milliseconds};
use crate::drills::reference::workspace_root;
use crate::drills::score::{BenignResult, Canary, FaultResult, Score};
use crate::evidence::{CheckId, Finding, Step, StepOutcome, Verdict};
use crate::faults::command;
use crate::faults::fault::{Expect, Fault, Injection, Stage};
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
    let passes = untouched.error.is_none() && untouched.failed.is_empty() && untouched.unseen.is_empty();
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
        let detected = outcome.detects(fault);
        progress.ended(&told(fault, &outcome, detected, began));
        if fault.benign {
            score.benign.push(BenignResult {
                id: fault.id.0.clone(),
                alarmed: outcome.error.is_none() && !(outcome.failed.is_empty() && outcome.unseen.is_empty()),
                findings: outcome.findings,
                error: outcome.error,
            });
        } else {
            score.faults.push(FaultResult {
                id: fault.id.0.clone(),
                group: fault.group.clone(),
                stage: fault.stage.to_string(),
                detected,
                caught_by: outcome.failed,
                expected: fault.caught_by.clone(),
                error: outcome.error,
                alone: None,
                duration_ms: milliseconds(began.elapsed()),
                booted: false,
            });
        }
    }
    Ok(())
}

fn no_copy(error: io::Error) -> UsageError {
    UsageError(format!("cannot make a copy of the fixtures' environments: {error}"))
}

fn told(fault: &Fault, outcome: &Outcome, detected: bool, began: Instant) -> Step {
    let right = if fault.benign {
        outcome.failed.is_empty()
    } else {
        detected
    };
    let list = |ids: &[CheckId]| ids.iter().map(|id| id.name()).collect::<Vec<_>>().join(", ");
    let detail = match &outcome.error {
        Some(error) => error.clone(),
        None if !outcome.failed.is_empty() => format!("drift of {}", list(&outcome.failed)),
        None if !outcome.unseen.is_empty() => format!("nothing seen of {}", list(&outcome.unseen)),
        None => "no drift".to_owned(),
    };
    Step {
        name: fault.id.0.clone(),
        started_at: None,
        duration_ms: milliseconds(began.elapsed()),
        outcome: if right && outcome.error.is_none() {
            StepOutcome::Done
        } else {
            StepOutcome::Failed
        },
        detail,
    }
}

/// What parity says of one copy.
#[derive(Default)]
struct Outcome {
    /// Aspects with a drift.
    failed: Vec<CheckId>,
    /// Aspects that could not be judged.
    unseen: Vec<CheckId>,
    findings: Vec<Finding>,
    error: Option<String>,
}

impl Outcome {
    fn of(compared: Compared) -> Outcome {
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

    fn detects(&self, fault: &Fault) -> bool {
        let seen = match fault.expect {
            Expect::Inconclusive => &self.unseen,
            Expect::Fail | Expect::Refused => &self.failed,
        };
        let all = fault.caught_by.iter().all(|id| seen.contains(id));
        self.error.is_none() && all && !seen.is_empty()
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
            return Ok(failed(chain(&error)));
        }
        if digest(copy.path())? == before {
            return Ok(failed("the injection changed nothing".to_owned()));
        }
    }
    let mut subjects = Vec::new();
    for name in COMPARED {
        let path = folder.join(format!("{name}.toml"));
        match Environment::parse(&fs::read_to_string(&path)?, &path) {
            Ok(environment) => subjects.push(Subject {
                environment,
                folder: folder.clone(),
                fresh: None,
            }),
            Err(error) => return Ok(failed(chain(&error))),
        }
    }
    let mut captures = Vec::new();
    for subject in &subjects {
        captures.push(observe(subject, &subjects, &Aspect::ALL, Timestamp::now).await);
    }
    let environments: Vec<&Environment> = subjects.iter().map(|subject| &subject.environment).collect();
    Ok(Outcome::of(compare(
        &captures,
        &environments,
        None,
        &Aspect::ALL,
        Timestamp::now(),
    )))
}

fn failed(error: String) -> Outcome {
    Outcome {
        error: Some(error),
        ..Outcome::default()
    }
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
