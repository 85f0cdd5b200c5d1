//! Faults in scratch copies of one snapshot, judged at rest by the drill's own checks: no service is started.
//!
//! Each fault is judged twice. *With source*: against everything the drill knows. *Alone*: as somebody sees it who has
//! nothing but the backup, its manifest sealed again. The snapshot itself is only read; copies are plain, never links.

use crate::checks::content::{self, Place};
use crate::checks::{polarity, restored_files, snapshot_set};
use crate::deployment::Service;
use crate::drills::at_rest::{self, Judged};
use crate::drills::context::{DrillContext, chain, private_folder};
use crate::drills::restoring::Prepared;
use crate::drills::source::Written;
use crate::drills::taking::Taken;
use crate::evidence::{CheckId, Finding, Verdict};
use crate::faults::fault::{Expect, Fault, Injection, Stage};
use crate::faults::inject::{Injected, inject};
use crate::faults::target::Target;
use crate::restore::{self, Places};
use crate::seed::ledger::Ledger;
use crate::snapshot::file_set::{FileSet, RawSet, usual};
use crate::snapshot::manifest::Manifest;
use crate::snapshot::{self, Request, summary};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
#[must_use]
pub fn can_judge(fault: &Fault) -> bool {
    fault.is_at_rest() && (fault.caught_by.is_empty() || !asked(fault).is_empty())
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
        match fault.expect {
            Expect::Refused => self.refused.is_some(),
            Expect::Inconclusive => false,
            Expect::Fail if fault.caught_by.is_empty() => self.is_alarmed(),
            Expect::Fail => !named.is_empty() && named.iter().all(|id| self.failed.contains(id)),
        }
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

/// What goes on in one scratch folder.
struct Copy<'a> {
    specimen: &'a Specimen,
    folder: PathBuf,
    snapshot: PathBuf,
    /// Whether a file that is the untouched one need not be judged again: the untouched copy was.
    may_skip: bool,
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

impl Copy<'_> {
    fn judge(&self, fault: Option<&Fault>) -> io::Result<Outcome> {
        let mut outcome = Outcome::default();
        let stage = fault.map_or(Stage::Snapshot, |fault| fault.stage);
        let mut sealed = self.specimen.sealed.clone();
        if stage == Stage::Set {
            sealed = self.seal_set(fault, &mut outcome)?;
            if sealed.is_none() {
                return Ok(outcome);
            }
        } else {
            copy_folder(&self.specimen.snapshot, &self.snapshot)?;
        }
        if let Some(fault) = fault.filter(|fault| fault.stage == Stage::Snapshot) {
            let target = Target::snapshot(&self.snapshot, &self.folder);
            if self.inject(fault, target, self.own_source()?, &mut outcome).is_none() {
                return Ok(outcome);
            }
        }
        if stage == Stage::RestoredFiles {
            self.restored(fault, &mut outcome)?;
            return Ok(outcome);
        }
        self.with_source(sealed.as_ref(), &mut outcome);
        if fault.is_none_or(stands_alone) {
            outcome.alone = Some(self.alone(&outcome.failed));
        }
        Ok(outcome)
    }

    /// Lets the fault act; where it could not, the outcome says why.
    fn inject(&self, fault: &Fault, target: Target, source: [FileSet; 2], outcome: &mut Outcome) -> Option<Injected> {
        let target = Target {
            source: Some(source),
            clean: Some(self.specimen.clean.clone()),
            earlier: self.specimen.earlier.clone(),
            ..target
        };
        match inject(fault, &target) {
            Ok(injected) => Some(injected),
            Err(error) => {
                outcome.changed_nothing = error.is_changed_nothing();
                outcome.error = Some(chain(&error));
                None
            }
        }
    }

    /// A copy of the source's files, for faults that name it.
    fn own_source(&self) -> io::Result<[FileSet; 2]> {
        copy_sets(&self.specimen.sources, &self.folder.join("source"))
    }

    /// Copies the raw sets, lets the fault act on them and seals what is left; the manifest, if there is a snapshot to judge.
    fn seal_set(&self, fault: Option<&Fault>, outcome: &mut Outcome) -> io::Result<Option<Manifest>> {
        let specimen = self.specimen;
        let Some(sets) = &specimen.raw else {
            outcome.error = Some("a stored snapshot has no raw set".to_owned());
            outcome.changed_nothing = true;
            return Ok(None);
        };
        let folder = self.folder.join("raw");
        copy_folder(&sets[0].folder, &folder)?;
        let moved = |set: &RawSet| RawSet {
            folder: folder.clone(),
            ..set.clone()
        };
        let mut raw = [moved(&sets[0]), moved(&sets[1])];
        if let Some(fault) = fault {
            match self.inject(fault, Target::set(&raw, &self.folder), self.own_source()?, outcome) {
                Some(injected) => raw = injected.raw.unwrap_or(raw),
                None => return Ok(None),
            }
        }
        let manifest = &specimen.manifest;
        let sealed = snapshot::plan(Request {
            id: manifest.id.clone(),
            directory: specimen.sources[0].clone(),
            bus: specimen.sources[1].clone(),
            directory_identity: manifest.directory_identity.clone(),
            origin: manifest.origin.clone(),
            cut_at: manifest.cut_at.as_deref().and_then(|cut| cut.parse().ok()),
            taken_at: manifest.taken_at.parse().unwrap_or_else(|_| jiff::Timestamp::now()),
            raw_folder: self.folder.join("unused"),
            folder: self.snapshot.clone(),
        })
        .and_then(|plan| snapshot::seal(&plan, &raw));
        Ok(match sealed {
            Ok(sealed) => Some(sealed.manifest),
            Err(error) => {
                outcome.refused = Some(chain(&error));
                // Where no snapshot can be made, no row is in one, and every acknowledged write is lost.
                outcome.failed.extend([CheckId::SnapshotSet, CheckId::Content]);
                outcome.failed.extend(specimen.ledger.is_some().then_some(CheckId::Rpo));
                outcome.alone = Some(BTreeSet::from([CheckId::SnapshotSet]));
                None
            }
        })
    }

    fn plausible(&self, not_before: Option<jiff::Timestamp>) -> snapshot_set::Plausible {
        snapshot_set::Plausible {
            not_before,
            not_after: jiff::Timestamp::now(),
        }
    }

    /// Everything that the drill asks of a snapshot at rest.
    fn with_source(&self, sealed: Option<&Manifest>, outcome: &mut Outcome) {
        let specimen = self.specimen;
        let plausible = self.plausible(specimen.not_before);
        outcome.take(vec![at_rest::set(&self.snapshot, &plausible, sealed)]);
        outcome.take(vec![at_rest::by_itself(&self.snapshot, self.taken_at())]);
        for service in Service::ALL {
            // What judges one file judges equal bytes alike, and the untouched copy was judged first.
            if self.is_untouched(service) {
                continue;
            }
            let (independent, plain) = (&specimen.independent, &specimen.plain);
            outcome.take(at_rest::of_service(
                service,
                &self.snapshot,
                Some(independent),
                plain,
                &self.folder,
            ));
            let file = service.database_file();
            let (source, own) = (independent.join(file), self.snapshot.join(file));
            let places = [(Place::Source, source.as_path()), (Place::Snapshot, own.as_path())];
            outcome.take(vec![at_rest::rows(service, &places, &specimen.required)]);
        }
        let ledger = specimen.ledger.clone();
        outcome.take(at_rest::across(&self.snapshot, ledger, specimen.rpo_limit));
    }

    /// What is left without source and ledger.
    fn alone(&self, failed: &BTreeSet<CheckId>) -> BTreeSet<CheckId> {
        let mut alone = Outcome::default();
        for id in [CheckId::Invariants, CheckId::Integrity] {
            alone.failed.extend(failed.contains(&id).then_some(id));
        }
        alone.take(vec![at_rest::set(&self.snapshot, &self.plausible(None), None)]);
        for service in Service::ALL {
            if !self.is_untouched(service) {
                let plain = &self.specimen.plain;
                alone.take(at_rest::of_service(service, &self.snapshot, None, plain, &self.folder));
            }
        }
        alone.take(at_rest::across(&self.snapshot, None, 0));
        alone.failed
    }

    fn taken_at(&self) -> Option<jiff::Timestamp> {
        let manifest = Manifest::read(&self.snapshot).ok()?;
        manifest.taken_at.parse().ok()
    }

    fn is_untouched(&self, service: Service) -> bool {
        let file = service.database_file();
        let same = |one: &Path, other: &Path| match (fs::read(one), fs::read(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        };
        self.may_skip && same(&self.snapshot.join(file), &self.specimen.snapshot.join(file))
    }

    /// Restores the copy, lets the fault act on the restored files, and judges them before any start.
    fn restored(&self, fault: Option<&Fault>, outcome: &mut Outcome) -> io::Result<()> {
        let specimen = self.specimen;
        let parent = self.folder.join("clean");
        private_folder(&parent)?;
        let source = self.own_source()?;
        let done = Places::create(&parent)
            .map_err(|error| chain(&error))
            .and_then(|places| {
                let plan = restore::plan(&self.snapshot, &places, &source).map_err(|error| chain(&error))?;
                restore::perform(&plan, &places).map_err(|error| chain(&error))?;
                Ok(places)
            });
        let places = match done {
            Ok(places) => places,
            Err(cause) => {
                outcome.refused = Some(cause);
                return Ok(());
            }
        };
        let witness = |sets: &[FileSet; 2]| sets.iter().map(polarity::witness).collect::<Result<Vec<_>, _>>();
        let at_stop = witness(&source);
        if let Some(fault) = fault {
            let mut target = Target::empty(Stage::RestoredFiles, &self.folder);
            target.directory_db = Some(places.directory.database());
            target.bus_db = Some(places.bus.database());
            if self.inject(fault, target, source.clone(), outcome).is_none() {
                return Ok(());
            }
        }
        self.judge_restored(&places, outcome);
        let digests = Service::ALL.into_iter().enumerate().map(|(at, service)| {
            let digest = |path: PathBuf| summary::summarise(&path).map(|summary| summary.digest).ok();
            polarity::Digests {
                service,
                source: digest(specimen.independent.join(service.database_file())),
                snapshot: digest(self.snapshot.join(service.database_file())),
                restored: digest(places.of(service).database()),
                clean: Some(specimen.clean_digests[at].clone()),
            }
        });
        let digests = digests.collect();
        let look = || {
            Ok::<_, crate::snapshot::copying::CopyError>(polarity::Facts {
                clean_showed: Vec::new(),
                digests,
                at_stop: at_stop?,
                at_end: witness(&source)?,
            })
        };
        outcome.take(vec![at_rest::judged(CheckId::Polarity, None, look, polarity::judge)]);
        Ok(())
    }

    fn judge_restored(&self, places: &Places, outcome: &mut Outcome) {
        let specimen = self.specimen;
        for service in Service::ALL {
            let at = places.of(service).database();
            outcome.take(vec![at_rest::judged(
                CheckId::RestoredFiles,
                Some(service),
                || restored_files::observe(service, &specimen.manifest, &at),
                restored_files::judge,
            )]);
            let file = service.database_file();
            let (source, own) = (specimen.independent.join(file), self.snapshot.join(file));
            let all = [
                (Place::Source, source.as_path()),
                (Place::Snapshot, own.as_path()),
                (Place::Restored, at.as_path()),
            ];
            outcome.take(vec![at_rest::rows(service, &all, &specimen.required)]);
        }
    }
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
