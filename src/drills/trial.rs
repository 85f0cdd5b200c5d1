//! One trial: a fault is injected into a copy of a template's snapshot, and the drill's own checks judge it.
//!
//! What can be judged at rest is judged at rest; only what needs a running pair starts one. A template is never changed.

use crate::checks::expectation::Objects;
use crate::deployment::Service;
use crate::drills::backup_restore::{self, Taking};
use crate::drills::context::{DrillContext, DrillRequest, Quiet, Stop, UsageError, chain, private_folder};
use crate::drills::injecting::{NotInjected, Others, Shared, acting};
use crate::drills::instances::Override;
use crate::drills::restoring::Prepared;
use crate::drills::scratch::{self, Specimen, copy_folder, copy_sets};
use crate::drills::self_test::SelfTest;
use crate::drills::stages::{Reached, Stages};
use crate::drills::taking::Taken;
use crate::drills::{Ending, at_rest, proving, reads, source, whole};
use crate::evidence::{CheckId, Finding, Verdict};
use crate::faults::fault::{ControlAction, Expect, Fault, Hook, Injection, Stage, Start};
use crate::restore::Places;
use crate::runtime::engine::{Engine, Mount};
use crate::snapshot::database::Databases;
use crate::snapshot::file_set::{FileSet, RawSet};
use crate::snapshot::manifest::Manifest;
use crate::snapshot::{self, Request};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A taken source that faults are injected into copies of: seeded by the harness, or a given set that plays it.
pub struct Template {
    /// What was asked for.
    pub request: DrillRequest,
    /// The drill up to the restore.
    pub taking: Taking,
    context: DrillContext,
}

/// How a trial ended.
#[derive(Debug, Clone)]
pub struct Trial {
    /// The verdict of the drill.
    pub verdict: Verdict,
    /// Checks that were asked.
    pub asked: BTreeSet<CheckId>,
    /// Checks that failed.
    pub failed: BTreeSet<CheckId>,
    /// All findings, for false alarms.
    pub findings: Vec<Finding>,
    /// The step that could not be done, if one.
    pub refused: Option<String>,
    /// The fault itself could not be injected, or changed nothing.
    pub error: Option<String>,
    /// Whether it could not because nothing would have changed.
    pub changed_nothing: bool,
    /// How long it took.
    pub took: Duration,
}

impl Trial {
    /// Whether the fault was detected: every check named failed (any, where none is), or the ending that it expects
    /// happened. A fault that could not be injected is not detected.
    #[must_use]
    pub fn detects(&self, fault: &Fault, named: &[CheckId]) -> bool {
        if self.error.is_some() {
            return false;
        }
        let caught = match named {
            [] => !self.failed.is_empty() || self.refused.is_some(),
            named => named.iter().all(|id| self.failed.contains(id)),
        };
        match fault.expect {
            Expect::Fail => caught && self.verdict == Verdict::Fail,
            Expect::Inconclusive => self.verdict == Verdict::Inconclusive,
            Expect::Refused => self.refused.is_some(),
        }
    }
}

impl Template {
    /// Seeds, stops and takes a source (or takes the given set), and proves clean instances empty.
    ///
    /// # Errors
    /// [`Ending`] as a drill's.
    pub async fn make(mut request: DrillRequest) -> Result<Template, Ending> {
        request.keep = true;
        request.stages = Stages::default();
        request.self_test = SelfTest::Skipped;
        request.watched_for = Duration::ZERO;
        let mut context = DrillContext::new(request.clone(), Box::new(Quiet))?;
        let mut taking = match request.from.clone() {
            None => Box::pin(backup_restore::take(&mut context)).await?,
            Some(from) => Box::pin(backup_restore::take_given(&mut context, &from)).await?,
        };
        if request.from.is_some() {
            // The given set plays the source: its own rows must be seen again, whatever becomes of the snapshot.
            taking.taken.expected.clone_from(&taking.taken.independent);
            taking.taken.baseline = Some(Box::pin(answers_of_given(&mut context, &mut taking)).await?);
        }
        // Nothing runs any more; every trial has containers of its own.
        context.remove_containers().await;
        Ok(Template {
            request,
            taking,
            context,
        })
    }

    /// The snapshot, to be judged at rest in scratch copies.
    ///
    /// # Errors
    /// [`UsageError`] when the scratch folder cannot be made.
    pub fn specimen(&self) -> Result<Specimen, UsageError> {
        let taking = &self.taking;
        scratch::specimen(&self.context, &taking.taken, &taking.prepared, taking.written.as_ref())
            .map_err(|error| UsageError(format!("cannot make a folder for scratch copies: {error}")))
    }

    /// Removes the template's files.
    pub fn discard(mut self) {
        self.context.discard();
    }

    /// Why this fault cannot be staged on this request, if so.
    #[must_use]
    pub fn cannot_stage(request: &DrillRequest, fault: &Fault) -> Option<String> {
        if let Some(reason) = fault.not_staged() {
            return Some(reason.to_owned());
        }
        if request.from.is_some() {
            if whole::needs(fault) {
                return Some("a given set has no running source".to_owned());
            }
            if let Some(reason) = &fault.unseen_given {
                return Some(reason.clone());
            }
        }
        if let Injection::Start(starts) = &fault.injection {
            let switched = starts.iter().find(|start| !start.args.is_empty());
            let foreign = |start: &Start| {
                let services = Service::ALL.into_iter();
                services
                    .filter(|service| start.service.is_none_or(|named| named == *service))
                    .any(|service| !request.environment.service(service).is_reference())
            };
            if switched.is_some_and(foreign) {
                return Some("a switch of the reference services; this environment has its own".to_owned());
            }
        }
        let shares_files = |engine: &Arc<dyn Engine>| engine.shares_files();
        if fault.needs_live_files() && !request.engine.as_ref().is_none_or(shares_files) {
            return Some("the container engine shares no file system with the harness".to_owned());
        }
        if fault.injection == Injection::Hook(Hook::SecondInstance)
            && request.environment.is_in_containers()
            && !request.environment.directory.is_reference()
        {
            return Some("a second instance is started as a process, and this environment has images only".to_owned());
        }
        if let Injection::Control(control) = &fault.injection
            && control.iter().any(|one| one.action == ControlAction::Disconnect.name())
            && !request.environment.is_in_containers()
        {
            return Some("a process has no network of its own; run with --runtime container".to_owned());
        }
        match fault.stage {
            Stage::Schema if request.from.is_some() => Some("the gate does not look at a given set".to_owned()),
            Stage::Schema if fault.is_for_the_gate() => None,
            Stage::Schema => Some("at stage schema only statements are injected".to_owned()),
            Stage::Environment | Stage::Report => Some(format!("stage {} is not part of a trial", fault.stage)),
            Stage::Source | Stage::Set | Stage::Snapshot | Stage::RestoredFiles | Stage::Running => None,
        }
    }

    /// Injects a fault (or none, for a clean trial) and judges.
    ///
    /// # Errors
    /// [`UsageError`] when no folder can be made for the trial.
    pub async fn try_out(&self, fault: Option<&Fault>) -> Result<Trial, UsageError> {
        let began = Instant::now();
        let mut request = self.request.clone();
        request.keep = false;
        request.runs = self.context.folders.work.join("trials");
        if let Some(fault) = fault.filter(|fault| whole::needs(fault)) {
            return Box::pin(whole::try_out(request, fault)).await;
        }
        let shared = Shared::default();
        if let Some(fault) = fault {
            if fault.needs_live_files() {
                request.mount = Mount::Bind;
            }
            let any_check = fault.caught_by.is_empty() && !fault.benign;
            if any_check || fault.caught_by.contains(&CheckId::Stability) {
                request.watched_for = proving::WATCHED_FOR;
            }
            request.stages = acting(fault.clone(), shared.clone(), self.others());
        }
        let mut context = DrillContext::new(request, Box::new(Quiet))?;
        // The set was taken in the template's run: its time is held against that run's beginning.
        context
            .evidence
            .run
            .started_at
            .clone_from(&self.context.evidence.run.started_at);
        context.outage_begins();
        let ended = Box::pin(self.drill(&mut context, fault, &shared)).await;
        context.remove_containers().await;
        let ended = match ended {
            Ok(()) => Ok(()),
            Err(Ending::Stop(stop)) => Err(stop),
            Err(Ending::Usage(error)) => Err(Stop {
                step: "prepare".to_owned(),
                cause: error.to_string(),
            }),
        };
        let error = shared.error();
        Ok(conclude(context, ended, error, began))
    }

    /// File sets of this template that a fault may copy from.
    fn others(&self) -> Others {
        let places = &self.taking.prepared.places;
        Others {
            clean: Some(Service::ALL.map(|service| places.of(service).files())),
            earlier: self.taking.taken.earlier.clone(),
        }
    }

    async fn drill(&self, context: &mut DrillContext, fault: Option<&Fault>, shared: &Shared) -> Result<(), Ending> {
        let written = self.taking.written.as_ref();
        let sources = self.copy_source(context).map_err(|error| Stop {
            step: "prepare".to_owned(),
            cause: chain(&error),
        })?;
        if let Ok(mut known) = shared.sources.lock() {
            *known = Some(sources.clone());
        }
        let taken = self.copy_set(context, fault, sources)?;
        let prepared = self.place(context)?;
        at_rest::snapshot(context, &taken, &prepared, written).await?;
        let mut deployment = self.taking.deployment.clone();
        deployment.containers = context.containers();
        if let Some(Injection::Start(starts)) = fault.map(|fault| &fault.injection) {
            for start in starts {
                for (at, service) in Service::ALL.into_iter().enumerate() {
                    if start.service.is_none_or(|named| named == service) {
                        deployment.overrides[at] = Override {
                            set: start.set.clone(),
                            unset: start.unset.clone(),
                            arguments: start.args.clone(),
                        };
                    }
                }
            }
        }
        backup_restore::bring_back(context, &mut deployment, &taken, prepared, written).await
    }

    /// A copy of the stopped source's files, as the trial's own source.
    fn copy_source(&self, context: &DrillContext) -> std::io::Result<[FileSet; 2]> {
        let sets = &self.taking.taken.source_sets;
        let both = [sets[0].clone(), sets[1].clone()];
        copy_sets(&both, &context.folders.work.join("source"))
    }

    /// A copy of the template's set that this trial may damage.
    fn copy_set(
        &self,
        context: &mut DrillContext,
        fault: Option<&Fault>,
        sources: [FileSet; 2],
    ) -> Result<Taken, Ending> {
        let template = &self.taking.taken;
        let at_set = fault.is_some_and(|fault| fault.stage == Stage::Set);
        let folder = context.folders.snapshot.clone();
        let made = if at_set {
            self.seal_again(context).map(Some)
        } else {
            copy_folder(&template.snapshot, &folder)
                .map(|()| template.sealed.clone())
                .map_err(|error| error.to_string())
        };
        let sealed = match made {
            Ok(sealed) => sealed,
            Err(cause) => {
                let step = "take the snapshot".to_owned();
                at_rest::nothing_taken(context, &cause, self.taking.written.as_ref());
                return Err(Ending::Stop(Stop { step, cause }));
            }
        };
        let told = context
            .request
            .stages
            .reached(&Reached::Snapshot { folder: folder.clone() });
        let acted = told.map_err(|error| Stop {
            step: "stage snapshot".to_owned(),
            cause: error.to_string(),
        })?;
        if let Some(cause) = acted.refused {
            at_rest::nothing_taken(context, &cause, self.taking.written.as_ref());
            let step = "take the snapshot".to_owned();
            return Err(Ending::Stop(Stop { step, cause }));
        }
        Ok(Taken {
            manifest: Manifest::read(&folder).unwrap_or_else(|_| template.manifest.clone()),
            sealed,
            snapshot: folder,
            independent: template.independent.clone(),
            expected: if self.request.from.is_some() {
                template.expected.clone()
            } else {
                context.folders.snapshot.clone()
            },
            raw: None,
            baseline: template.baseline.clone(),
            earlier: template.earlier.clone(),
            source_sets: sources.to_vec(),
            witnesses: template.witnesses.clone(),
            at_restart: None,
        })
    }

    /// Copies the raw sets, lets the fault act on them, and seals what is left; the manifest as it was sealed.
    fn seal_again(&self, context: &DrillContext) -> Result<Manifest, String> {
        let template = &self.taking.taken;
        let raw_folder = context.folders.work.join("raw");
        let sets = template.raw.as_ref().ok_or("the template has no raw sets")?;
        copy_folder(&sets[0].folder, &raw_folder).map_err(|error| error.to_string())?;
        let moved = |set: &RawSet| RawSet {
            folder: raw_folder.clone(),
            ..set.clone()
        };
        let raw = [moved(&sets[0]), moved(&sets[1])];
        let moment = Reached::Set {
            folder: raw_folder.clone(),
            raw: Box::new(raw.clone()),
        };
        let acted = context
            .request
            .stages
            .reached(&moment)
            .map_err(|error| error.to_string())?;
        let request = Request {
            id: context.evidence.run.id.clone(),
            directory: template.source_sets[0].clone(),
            bus: template.source_sets[1].clone(),
            directory_identity: template.manifest.directory_identity.clone(),
            origin: template.manifest.origin.clone(),
            cut_at: self.taking.written.as_ref().map(|written| written.cut_at),
            taken_at: jiff::Timestamp::now(),
            raw_folder: context.folders.work.join("unused"),
            folder: context.folders.snapshot.clone(),
        };
        let plan = snapshot::plan(request).map_err(|error| chain(&error))?;
        snapshot::seal(&plan, &acted.raw.unwrap_or(raw))
            .map(|sealed| sealed.manifest)
            .map_err(|error| chain(&error))
    }

    fn place(&self, context: &DrillContext) -> Result<Prepared, Ending> {
        let parent = context.folders.work.join("clean");
        let failed = |cause: String| Stop {
            step: "prepare".to_owned(),
            cause,
        };
        for folder in [&parent, &context.folders.work.join("logs")] {
            private_folder(folder).map_err(|error| failed(error.to_string()))?;
        }
        let places = Places::create(&parent).map_err(|error| failed(chain(&error)))?;
        let template = &self.taking.prepared;
        Ok(Prepared {
            places,
            digests: template.digests.clone(),
            plain: template.plain.clone(),
            shown: template.shown.clone(),
        })
    }
}

/// What services answer that run on a copy of the given set: the baseline of faults in it.
async fn answers_of_given(context: &mut DrillContext, taking: &mut Taking) -> Result<BTreeMap<CheckId, Objects>, Stop> {
    let folder = context.folders.work.join("given");
    let logs = context.folders.work.join("logs");
    let failed = |cause: String| Stop {
        step: "look at a copy of the given set".to_owned(),
        cause,
    };
    let independent = &taking.taken.independent;
    private_folder(&folder).map_err(|error| failed(error.to_string()))?;
    let databases = Service::ALL.map(|service| folder.join(service.database_file()));
    for (service, database) in Service::ALL.into_iter().zip(&databases) {
        let copied = fs::copy(independent.join(service.database_file()), database);
        copied.map_err(|error| failed(error.to_string()))?;
    }
    let deployment = &mut taking.deployment;
    let mut pair = deployment
        .start(&databases, &logs, "given")
        .await
        .map_err(|error| failed(chain(&error)))?;
    let mut access = source::access(&pair, deployment);
    let email = deployment.admin_email.clone();
    let session = access.login(&email).await.map_err(|error| failed(chain(&error)))?;
    context.secrets.add(session.token.expose());
    let baseline = Box::pin(proving::baseline(context, &access)).await;
    access.close();
    let stopped = pair.stop(&deployment.environment).await;
    stopped.map_err(|error| failed(chain(&error)))?;
    let identity = taking.deployment.identity.clone().unwrap_or_default();
    let databases = Databases::open(independent).map_err(|error| failed(chain(&error)))?;
    let mut baseline = baseline?;
    for (id, seen) in &mut baseline {
        let rows = reads::rows(*id, &databases, &identity).map_err(|error| failed(chain(&error)))?;
        if let Some(rows) = rows {
            // What this look left behind itself (its login in the audit log) is not the set's.
            seen.keep_known(&rows);
        }
    }
    Ok(baseline)
}

/// Whether a check that looks at a running pair is to catch the fault.
#[must_use]
pub fn needs_a_start(fault: &Fault) -> bool {
    !scratch::can_judge(fault) || fault.caught_by.iter().any(|id| !scratch::CHECKS.contains(id))
}

/// Closes a run with a fault in it, removes its folder and says how it ended.
pub(crate) fn conclude(
    mut context: DrillContext,
    ended: Result<(), Stop>,
    error: Option<NotInjected>,
    began: Instant,
) -> Trial {
    let refused = ended
        .as_ref()
        .err()
        .map(|stop| format!("{}: {}", stop.step, stop.cause));
    context.finish(ended, false);
    let _ = fs::remove_dir_all(&context.folders.run);
    let checks = &context.evidence.checks;
    Trial {
        verdict: context.evidence.verdict,
        asked: checks.iter().map(|check| check.id).collect(),
        failed: checks
            .iter()
            .filter(|check| check.verdict == Verdict::Fail)
            .map(|check| check.id)
            .collect(),
        findings: checks.iter().flat_map(|check| check.findings.clone()).collect(),
        refused,
        changed_nothing: error.as_ref().is_some_and(|error| error.changed_nothing),
        error: error.map(|error| error.cause),
        took: began.elapsed(),
    }
}
