//! Faults in scratch copies of one snapshot, judged at rest by the drill's own checks: no service is started.
//!
//! Each fault is judged twice. *With source*: against everything the drill knows. *Alone*: as somebody sees it who has
//! nothing but the backup, its manifest sealed again. The snapshot itself is only read; copies are plain, never links.

use crate::checks::content;
use crate::deployment::Service;
use crate::drills::at_rest::Judged;
use crate::drills::context::{DrillContext, private_folder};
use crate::drills::restoring::Prepared;
use crate::drills::scratch::copy::Copy;
use crate::drills::source::Written;
use crate::drills::taking::Taken;
use crate::evidence::{CheckId, Finding, Verdict};
use crate::faults::fault::{Expect, Fault, Injection, Stage};
use crate::faults::target::Target;
use crate::seed::ledger::Ledger;
use crate::snapshot::database::{Database, quoted};
use crate::snapshot::file_set::{FileSet, RawSet, usual};
use crate::snapshot::manifest::Manifest;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// One scratch copy.
mod copy;

/// Checks that judge files without starting a service on them.
pub const CHECKS: &[CheckId] = &[
    CheckId::SnapshotSet,
    CheckId::Integrity,
    CheckId::Schema,
    CheckId::Content,
    CheckId::Invariants,
    CheckId::RestoredFiles,
    CheckId::Polarity,
    CheckId::Skew,
    CheckId::Rpo,
];

/// The checks of these that judge a fault at rest.
fn asked(fault: &Fault) -> Vec<CheckId> {
    let at_rest = fault.caught_by.iter().filter(|id| CHECKS.contains(id));
    at_rest.copied().collect()
}

/// Whether a fault can be judged without a start: it is in files, and a check that looks at files is to catch it (or any).
/// Another ending than a failed check is seen in a drill only.
#[must_use]
pub fn can_judge(fault: &Fault) -> bool {
    fault.is_at_rest() && fault.expect == Expect::Fail && (fault.caught_by.is_empty() || !asked(fault).is_empty())
}

/// Whether a fault could stand in a backup by itself: in its rows, schema or pages, with a manifest that agrees.
#[must_use]
pub fn stands_alone(fault: &Fault) -> bool {
    let in_manifest = match &fault.injection {
        Injection::Ops(ops) => ops
            .iter()
            .any(|op| op.file.as_deref() == Some("manifest") || op.to.as_deref() == Some("manifest")),
        _ => false,
    };
    fault.is_at_rest() && fault.reseal && !in_manifest && matches!(fault.stage, Stage::Set | Stage::Snapshot)
}

/// A snapshot, and everything that copies of it are held against.
pub struct Specimen {
    snapshot: PathBuf,
    independent: PathBuf,
    plain: PathBuf,
    raw: Option<[RawSet; 2]>,
    sources: [FileSet; 2],
    clean_digests: [String; 2],
    clean: [FileSet; 2],
    earlier: Option<[FileSet; 2]>,
    manifest: Manifest,
    sealed: Option<Manifest>,
    ledger: Option<(Ledger, jiff::Timestamp)>,
    not_before: Option<jiff::Timestamp>,
    rpo_limit: u64,
    required: BTreeSet<String>,
    work: PathBuf,
    forced_pass: Option<CheckId>,
    number: AtomicUsize,
}

/// What came of one fault, or of an untouched copy.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Checks that failed, with source.
    pub failed: BTreeSet<CheckId>,
    /// Their findings.
    pub findings: Vec<Finding>,
    /// Checks that failed without source and ledger; `None` where the fault does not stand in a backup by itself.
    pub alone: Option<BTreeSet<CheckId>>,
    /// The step that could not be done.
    pub refused: Option<String>,
    /// The fault could not be injected.
    pub error: Option<String>,
    /// Whether it could not because nothing would have changed.
    pub changed_nothing: bool,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// Whether the fault was detected at rest: all checks named failed (any, where it names none).
    #[must_use]
    pub fn detects(&self, fault: &Fault, named: &[CheckId]) -> bool {
        if self.error.is_some() {
            return false;
        }
        if fault.caught_by.is_empty() {
            return self.is_alarmed();
        }
        !named.is_empty() && named.iter().all(|id| self.failed.contains(id))
    }

    /// Whether anything alarmed, with source.
    #[must_use]
    pub fn is_alarmed(&self) -> bool {
        !self.failed.is_empty() || self.refused.is_some()
    }

    fn take(&mut self, judged: Vec<Judged>) {
        for one in judged {
            if one.verdict() == Verdict::Fail {
                self.failed.insert(one.id());
                self.findings.extend(one.into_findings());
            }
        }
    }
}

impl Specimen {
    /// The snapshot of a drill with what the drill knows of it. Scratch copies are made below `work`.
    ///
    /// # Errors
    /// The scratch folder could not be made.
    pub fn of(
        taken: &Taken,
        prepared: &Prepared,
        written: Option<&Written>,
        settings: &Settings,
        work: &Path,
    ) -> io::Result<Specimen> {
        private_folder(work)?;
        let required = content::REQUIRED_TABLES.iter().map(|table| (*table).to_owned());
        let both = |sets: &[FileSet]| Service::ALL.map(|service| set_of(sets, service, &taken.snapshot));
        Ok(Specimen {
            snapshot: taken.snapshot.clone(),
            independent: taken.independent.clone(),
            plain: prepared.plain.clone(),
            raw: taken.raw.clone(),
            sources: both(&taken.source_sets),
            clean_digests: prepared.digests.clone(),
            clean: Service::ALL.map(|service| prepared.places.of(service).files()),
            earlier: taken.earlier.clone(),
            manifest: taken.manifest.clone(),
            sealed: taken.sealed.clone(),
            ledger: written.map(|written| (written.seeded.ledger.clone(), written.cut_at)),
            not_before: settings.not_before.filter(|_| written.is_some()),
            rpo_limit: settings.rpo_limit,
            required: required.chain(settings.required_tables.iter().cloned()).collect(),
            work: work.to_owned(),
            forced_pass: settings.forced_pass,
            number: AtomicUsize::new(0),
        })
    }

    /// Injects a fault into a copy of its own (or none) and judges.
    ///
    /// # Errors
    /// The copy could not be made.
    pub fn try_out(&self, fault: Option<&Fault>) -> io::Result<Outcome> {
        let began = Instant::now();
        let copy = self.copy(fault.is_some())?;
        let outcome = copy.judge(fault);
        fs::remove_dir_all(&copy.folder)?;
        let mut outcome = outcome?;
        if let Some(forced) = self.forced_pass {
            outcome.failed.remove(&forced);
        }
        outcome.took = began.elapsed();
        Ok(outcome)
    }

    /// The checks that are to catch a fault at rest, as far as they are asked of this snapshot.
    #[must_use]
    pub fn asked(&self, fault: &Fault) -> Vec<CheckId> {
        asked(fault).into_iter().filter(|id| self.asks(*id)).collect()
    }

    /// Whether a check is asked of this snapshot: without a ledger nothing can be lost.
    #[must_use]
    pub fn asks(&self, id: CheckId) -> bool {
        id != CheckId::Rpo || self.ledger.is_some()
    }

    /// The snapshot's folder; only read.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.snapshot
    }

    /// Tables of the directory that held nothing before the ballast; none of a set that the harness did not make.
    #[must_use]
    pub fn ballast_tables(&self) -> Vec<String> {
        let Some([directory, _]) = &self.earlier else {
            return Vec::new();
        };
        let empty = |database: &Database| {
            let tables = database.content_tables()?;
            let rows = |table: &String| database.rows(&format!("SELECT 1 FROM {} LIMIT 1", quoted(table)), &[]);
            let is_empty = |table: &String| rows(table).is_ok_and(|rows| rows.is_empty());
            Ok(tables.into_iter().filter(is_empty).collect())
        };
        Database::open(&directory.main)
            .and_then(|database| empty(&database))
            .unwrap_or_default()
    }

    /// Looks at a copy of the snapshot with the fault (of stage `snapshot`) in it.
    ///
    /// # Errors
    /// The copy could not be made, or the fault not be injected.
    pub fn with_fault<T>(&self, fault: &Fault, look: impl FnOnce(&Path) -> T) -> io::Result<T> {
        let copy = self.copy(true)?;
        copy_folder(&self.snapshot, &copy.snapshot)?;
        let target = Target::snapshot(&copy.snapshot, &copy.folder);
        let mut outcome = Outcome::default();
        let injected = copy.inject(fault, target, copy.own_source()?, &mut outcome);
        let seen = injected.map(|_| look(&copy.snapshot));
        fs::remove_dir_all(&copy.folder)?;
        seen.ok_or_else(|| io::Error::other(outcome.error.unwrap_or_default()))
    }

    fn copy(&self, may_skip: bool) -> io::Result<Copy<'_>> {
        let folder = self.work.join(self.number.fetch_add(1, Ordering::Relaxed).to_string());
        private_folder(&folder)?;
        Ok(Copy {
            specimen: self,
            snapshot: folder.join("snapshot"),
            folder,
            may_skip,
        })
    }

    /// Tries out all faults, `jobs` side by side; outcomes in the order of the faults, told as they come. A fault that is
    /// not begun by the deadline has no outcome.
    ///
    /// # Errors
    /// A copy could not be made.
    pub fn try_all(
        &self,
        faults: &[&Fault],
        jobs: usize,
        deadline: Option<Instant>,
        told: impl Fn(&Fault, &Outcome) + Sync,
    ) -> io::Result<Vec<Option<Outcome>>> {
        let next = AtomicUsize::new(0);
        let done: Mutex<Vec<Option<io::Result<Outcome>>>> = Mutex::new(faults.iter().map(|_| None).collect());
        std::thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, faults.len().max(1)) {
                scope.spawn(|| {
                    let in_time = || deadline.is_none_or(|deadline| Instant::now() < deadline);
                    while let Some((at, fault)) = pick(&next, faults).filter(|_| in_time()) {
                        let outcome = self.try_out(Some(fault));
                        if let Ok(outcome) = &outcome {
                            told(fault, outcome);
                        }
                        done.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(outcome);
                    }
                });
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.into_iter().map(Option::transpose).collect()
    }
}

/// The specimen of a run: its snapshot with everything that the run knows of it.
///
/// # Errors
/// The scratch folder could not be made.
pub fn specimen(
    context: &DrillContext,
    taken: &Taken,
    prepared: &Prepared,
    written: Option<&Written>,
) -> io::Result<Specimen> {
    let environment = &context.request.environment;
    let settings = Settings {
        not_before: context.evidence.run.started_at.parse().ok(),
        rpo_limit: environment.rpo_limit_writes,
        required_tables: environment.snapshots.required_tables.clone(),
        forced_pass: context.request.forced_pass,
    };
    Specimen::of(
        taken,
        prepared,
        written,
        &settings,
        &context.folders.work.join("scratch"),
    )
}

/// What the environment and the run say of a specimen.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A snapshot of this run was not taken before this.
    pub not_before: Option<jiff::Timestamp>,
    /// How many acknowledged writes may be lost.
    pub rpo_limit: u64,
    /// Tables that may not be empty.
    pub required_tables: Vec<String>,
    /// A check whose verdict is deliberately taken for a pass.
    pub forced_pass: Option<CheckId>,
}

fn pick<'a>(next: &AtomicUsize, faults: &[&'a Fault]) -> Option<(usize, &'a Fault)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    faults.get(at).map(|fault| (at, *fault))
}

fn set_of(sets: &[FileSet], service: Service, otherwise: &Path) -> FileSet {
    let found = sets.iter().find(|set| set.service == service);
    found.cloned().unwrap_or_else(|| usual(service, otherwise))
}

/// Plain copies of file sets in a folder of their own, under their own names.
///
/// # Errors
/// What the system says.
pub fn copy_sets(sets: &[FileSet; 2], folder: &Path) -> io::Result<[FileSet; 2]> {
    private_folder(folder)?;
    let name = |path: &Path| path.file_name().unwrap_or_default().to_owned();
    for set in sets {
        for path in [set.main.clone(), set.wal(), set.shm(), set.journal()] {
            if path.is_file() {
                fs::copy(&path, folder.join(name(&path)))?;
            }
        }
    }
    Ok([0, 1].map(|at: usize| FileSet::new(sets[at].service, folder.join(name(&sets[at].main)))))
}

/// Plain copies of a folder's files with their modes; never links.
///
/// # Errors
/// What the system says.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    private_folder(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
