//! Faults in what a run left (stage `report`): each goes into a copy of a finished run, before `verify` looks at it.
//!
//! Three runs are made for it: a drill that passes, one that a failed step ends, a comparison of environments; each is sealed
//! by an operator's key. Unless the fault says otherwise, chain and report are computed again after its edits, as somebody
//! with this program would, so that what must see it is the contradiction itself. An untouched copy must pass.

use crate::deployment::compared::Aspect;
use crate::deployment::environment::Environment;
use crate::drills;
use crate::drills::context::{DrillRequest, Progress, Quiet, UsageError, chain};
use crate::drills::outside::{Outcome, settle};
use crate::drills::reference::workspace_root;
use crate::drills::score::{Canary, Score};
use crate::drills::self_test::SelfTest;
use crate::drills::stages::{Reached, Stages};
use crate::evidence::{CheckId, ParityEvidence, Verdict, sha256, write_atomically};
use crate::faults::fault::{Fault, Injection};
use crate::faults::record::{self, RecordOf, Sealer, Tampering};
use crate::parity::perform::{Request, Subject};
use crate::verify::document::Document;
use crate::verify::signature::SealKey;
use crate::verify::{Expected, verify_as, views};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The environments of the comparison, the reference first.
const COMPARED: [&str; 2] = ["production", "staging"];

/// Whether a fault is injected here.
pub(crate) fn takes(fault: &Fault) -> bool {
    matches!(fault.injection, Injection::Record(_))
}

/// Injects and judges all of them.
///
/// # Errors
/// [`UsageError`] when no run or copy of one can be made.
pub(crate) async fn try_all(
    faults: &[Fault],
    request: &DrillRequest,
    progress: &dyn Progress,
    score: &mut Score,
) -> Result<(), UsageError> {
    let mut kinds: Vec<RecordOf> = faults.iter().filter_map(tampering).map(|one| one.of).collect();
    kinds.sort();
    kinds.dedup();
    for kind in kinds {
        let left = Left::make(kind, request).await?;
        let untouched = left.try_out(None).map_err(|error| no_copy(&error))?;
        let passes = untouched.passes();
        score.canaries.push(Canary {
            id: format!("untouched-record-{}", left.word),
            ok: passes,
        });
        if !passes {
            score.alarms.extend(untouched.findings);
            continue;
        }
        let of_kind = faults
            .iter()
            .filter(|fault| tampering(fault).is_some_and(|one| one.of == kind));
        for fault in of_kind {
            let began = Instant::now();
            let outcome = left.try_out(Some(fault)).map_err(|error| no_copy(&error))?;
            settle(fault, outcome, began, progress, score);
        }
    }
    Ok(())
}

fn tampering(fault: &Fault) -> Option<&Tampering> {
    match &fault.injection {
        Injection::Record(tampering) => Some(tampering),
        _ => None,
    }
}

fn no_copy(error: &io::Error) -> UsageError {
    UsageError(format!("cannot make a copy of a run's record: {error}"))
}

/// A finished run, sealed.
struct Left {
    word: &'static str,
    runs: tempfile::TempDir,
    run: PathBuf,
    environment: String,
    operator: SealKey,
    another: SealKey,
    forced_pass: Option<CheckId>,
}

impl Left {
    async fn make(kind: RecordOf, request: &DrillRequest) -> Result<Left, UsageError> {
        let runs = tempfile::tempdir().map_err(|error| no_copy(&error))?;
        let mut request = request.clone();
        request.runs = runs.path().to_owned();
        request.self_test = SelfTest::Skipped;
        let (word, environment) = match kind {
            RecordOf::Drill => ("drill", performed(request.clone(), Verdict::Pass).await?),
            RecordOf::BrokenOff => {
                request.stages = Stages::acting(|moment| match moment {
                    Reached::RestoredFiles { .. } => Err("an obstacle, put there on purpose".to_owned()),
                    _ => Ok(()),
                });
                ("broken-off", performed(request.clone(), Verdict::Fail).await?)
            }
            RecordOf::Comparison => ("comparison", compared(&request).await?),
        };
        let mut entries = fs::read_dir(runs.path()).map_err(|error| no_copy(&error))?.flatten();
        let run = entries.next().map(|entry| entry.path());
        let run = run.ok_or_else(|| UsageError("the run of the record faults left no folder".to_owned()))?;
        let seed = |of: &str| {
            let mut seed = [0; 32];
            for (at, byte) in sha256(format!("{of} {}", request.seed).as_bytes())
                .bytes()
                .take(32)
                .enumerate()
            {
                seed[at] = byte;
            }
            SealKey::of(&seed)
        };
        let left = Left {
            word,
            run,
            environment,
            operator: seed("operator"),
            another: seed("another"),
            forced_pass: request.forced_pass,
            runs,
        };
        left.closed(&left.run).map_err(|error| no_copy(&error))?;
        left.seal(&left.operator, &left.run).map_err(UsageError)?;
        Ok(left)
    }

    /// Edits a copy (or leaves it as it is) and asks `verify`.
    fn try_out(&self, fault: Option<&Fault>) -> io::Result<Outcome> {
        let place = tempfile::tempdir_in(self.runs.path())?;
        // In a folder of another name: a record may be moved with all that belongs to it.
        let copy = place.path().join("elsewhere");
        copy_folder(&self.run, &copy)?;
        if let Some((fault, tampering)) = fault.and_then(|fault| Some((fault, tampering(fault)?))) {
            let before = digest(&copy)?;
            let touched = match record::run(tampering, &copy) {
                Ok(touched) => touched,
                Err(error) => return Ok(Outcome::of_error(chain(&error))),
            };
            if !touched && digest(&copy)? == before {
                return Ok(Outcome::of_error("the injection changed nothing"));
            }
            if fault.reseal {
                self.closed(&copy)?;
            }
            let key = tampering.sealed_by.map(|by| match by {
                Sealer::Operator => &self.operator,
                Sealer::Another => &self.another,
            });
            if let Some(Err(error)) = key.map(|key| self.seal(key, &copy)) {
                return Ok(Outcome::of_error(error));
            }
        }
        let expected = Expected {
            environment: Some(self.environment.clone()),
            key: Some(self.operator.public()),
        };
        let verified = match verify_as(&copy, &[], &expected) {
            Ok(verified) => verified,
            Err(error) => return Ok(Outcome::of_error(chain(&error))),
        };
        let with = |verdict: Verdict| {
            let items = verified.items.iter().filter(move |item| item.verdict == verdict);
            let ids = items.map(|item| item.id);
            ids.filter(|id| self.forced_pass != Some(*id)).collect()
        };
        Ok(Outcome {
            failed: with(Verdict::Fail),
            unseen: with(Verdict::Inconclusive),
            findings: verified.findings.clone(),
            error: None,
        })
    }

    /// Computes chain and report of a record again, if it can still be read.
    fn closed(&self, run: &Path) -> io::Result<()> {
        let path = run.join("evidence.json");
        let read = fs::read_to_string(&path).ok();
        let Some(mut document) = read.and_then(|text| Document::parse(&text).ok()) else {
            return Ok(());
        };
        document.close();
        let write = |path: &Path, text: &str| write_atomically(path, text).map_err(io::Error::other);
        write(&path, &document.to_json())?;
        write(&run.join(views::FILE_NAME), &document.report())
    }

    fn seal(&self, key: &SealKey, run: &Path) -> Result<(), String> {
        key.seal(run).map(drop).map_err(|error| chain(&error))
    }
}

/// A whole drill; the name of its environment.
async fn performed(request: DrillRequest, expected: Verdict) -> Result<String, UsageError> {
    let evidence = Box::pin(drills::perform(request, Box::new(Quiet), std::future::pending())).await?;
    if evidence.verdict == expected {
        Ok(evidence.run.environment)
    } else {
        Err(UsageError(format!(
            "a drill whose record faults go into should end with {expected}, not {}: {}",
            evidence.verdict,
            evidence.reasons.join("; ")
        )))
    }
}

/// A comparison of the project's own environments; the name of one.
async fn compared(request: &DrillRequest) -> Result<String, UsageError> {
    let folder = workspace_root().join("fixtures/environments");
    let mut subjects = Vec::new();
    for name in COMPARED {
        let path = folder.join(format!("{name}.toml"));
        let text = fs::read_to_string(&path)
            .map_err(|error| UsageError(format!("cannot read {}: {error}", path.display())))?;
        let environment = Environment::parse(&text, &path).map_err(|error| UsageError(chain(&error)))?;
        subjects.push(Subject {
            environment,
            folder: folder.clone(),
            fresh: None,
        });
    }
    let request = Request {
        subjects,
        against: None,
        aspects: &Aspect::ALL,
        patience: Duration::ZERO,
        drill: ParityEvidence::DRILL,
        runs: request.runs.clone(),
        command: request.command.clone(),
        harness_git_sha: request.harness_git_sha.clone(),
    };
    let evidence = crate::parity::perform::perform(&request).await;
    let evidence = evidence.map_err(|error| UsageError(chain(&error)))?;
    Ok(evidence.environments[0].name.clone())
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    drills::context::private_folder(to)?;
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
fn digest(folder: &Path) -> io::Result<String> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut text = String::new();
    for entry in entries {
        let inside = if entry.file_type()?.is_dir() {
            digest(&entry.path())?
        } else {
            sha256(&fs::read(entry.path())?)
        };
        text.push_str(&format!("{:?} {inside}\n", entry.file_name()));
    }
    Ok(sha256(text.as_bytes()))
}
