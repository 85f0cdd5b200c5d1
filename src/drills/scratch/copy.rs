//! One scratch copy: the fault goes in, the checks look, nothing is kept.

use crate::checks::content::Place;
use crate::checks::{polarity, restored_files, snapshot_set};
use crate::deployment::Service;
use crate::drills::at_rest;
use crate::drills::context::{chain, private_folder};
use crate::drills::scratch::{Outcome, Specimen, copy_folder, copy_sets, stands_alone};
use crate::evidence::CheckId;
use crate::faults::fault::{Fault, Stage};
use crate::faults::inject::{Injected, inject};
use crate::faults::target::Target;
use crate::restore::{self, Places};
use crate::snapshot::file_set::{FileSet, RawSet};
use crate::snapshot::manifest::Manifest;
use crate::snapshot::{self, Request, summary};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What goes on in one scratch folder.
pub(super) struct Copy<'a> {
    pub(super) specimen: &'a Specimen,
    pub(super) folder: PathBuf,
    pub(super) snapshot: PathBuf,
    /// Whether a file that is the untouched one need not be judged again: the untouched copy was.
    pub(super) may_skip: bool,
}

impl Copy<'_> {
    pub(super) fn judge(&self, fault: Option<&Fault>) -> io::Result<Outcome> {
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
            match self.inject(fault, target, self.own_source()?, &mut outcome) {
                Some(Injected { refused: None, .. }) => {}
                Some(Injected { refused, .. }) => {
                    self.nothing_to_judge(refused, &mut outcome);
                    return Ok(outcome);
                }
                None => return Ok(outcome),
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
    pub(super) fn inject(
        &self,
        fault: &Fault,
        target: Target,
        source: [FileSet; 2],
        outcome: &mut Outcome,
    ) -> Option<Injected> {
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
    pub(super) fn own_source(&self) -> io::Result<[FileSet; 2]> {
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
                self.nothing_to_judge(Some(chain(&error)), outcome);
                None
            }
        })
    }

    /// Where there is no snapshot, no row is in one, and every acknowledged write is lost.
    fn nothing_to_judge(&self, refused: Option<String>, outcome: &mut Outcome) {
        outcome.refused = refused;
        outcome.failed.extend([CheckId::SnapshotSet, CheckId::Content]);
        outcome
            .failed
            .extend(self.specimen.ledger.is_some().then_some(CheckId::Rpo));
        outcome.alone = Some(BTreeSet::from([CheckId::SnapshotSet]));
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
        let (independent, ledger) = (Some(specimen.independent.as_path()), specimen.ledger.clone());
        outcome.take(at_rest::across(&self.snapshot, independent, ledger, specimen.rpo_limit));
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
        alone.take(at_rest::across(&self.snapshot, None, None, 0));
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
