//! What every drill needs: clock, seed, folders, secrets, evidence, progress, the time limit. No step of any procedure.

use crate::deployment::Service;
use crate::deployment::attached::AttachedSource;
use crate::deployment::environment::Environment;
use crate::deployment::environment::RuntimeKind;
use crate::drills::attached::hold::Hold;
use crate::drills::clock::{Clock, Moment};
use crate::drills::empty_evidence::empty;
use crate::drills::instances::Containers;
use crate::drills::intake::Given;
pub(crate) use crate::drills::run_folder::private_folder;
use crate::drills::run_folder::{OWNER, own};
pub use crate::drills::run_folder::{broken_runs, clean_broken_run, is_abandoned, is_under_way};
use crate::drills::self_test::SelfTest;
use crate::drills::stages::Stages;
use crate::evidence::{
    CheckId, CheckRecord, Component, Evidence, Judgement, NotAsked, Secrets, Step, StepOutcome, Verdict,
};
use crate::runtime::enclosure::Enclosing;
use crate::runtime::engine::{Engine, Mount, Owner};
use std::fs;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct DrillRequest {
    /// `backup-restore`.
    pub drill: String,
    /// What is drilled.
    pub environment: Environment,
    /// A snapshot or plain backup to drill instead of a source of the harness's own.
    pub from: Option<PathBuf>,
    /// What holds of it.
    pub given: Given,
    /// A source that runs already, to drill instead of one of the harness's own.
    pub attached: Option<AttachedSource>,
    /// How clean and restored processes are kept in a network of their own while the harness stays in the machine's; `None`
    /// where it is in theirs, or the system refuses.
    pub enclosing: Option<Enclosing>,
    /// What the operator agreed to.
    pub consent: Consent,
    /// Private keys of agents, for nonces under `--from`: a bus identity file.
    pub keys: Option<PathBuf>,
    /// What the directory called itself when the backup was taken, for backups without a manifest.
    pub directory_identity: Option<String>,
    /// Every random choice derives from it.
    pub seed: u64,
    /// How often the harness's own source is seeded, each time by another cast: at least 1.
    pub rounds: u32,
    /// What the source is made of and how it ends; a given backup has none.
    pub base: Base,
    /// Keep the working files of the run.
    pub keep: bool,
    /// The locked schemas that older snapshots are made of and the way back goes to; the project's own where left out.
    pub older_locks: Option<PathBuf>,
    /// Folder under which the run makes its own.
    pub runs: PathBuf,
    /// Folder that the caller writes reports into, where it does.
    pub reports: Option<PathBuf>,
    /// The command line, unexpanded.
    pub command: String,
    /// The commit of the harness, where known.
    pub harness_git_sha: Option<String>,
    /// The binary of the reference services; needed where the environment gives no command.
    pub reference_services: Option<PathBuf>,
    /// Who acts on the files at the drill's stages; nobody in a drill that is meant seriously.
    pub stages: Stages,
    /// The engine that runs containers; needed where the environment's runtime is `container`.
    pub engine: Option<Arc<dyn Engine>>,
    /// How files get into containers and out of them.
    pub mount: Mount,
    /// Whether the drill measures its own detection power, and with which faults.
    pub self_test: SelfTest,
    /// How long the restored pair is watched at least, from its readiness on; as long as the looks take where it is zero.
    pub watched_for: Duration,
    /// A check whose verdict is deliberately taken for a pass, to see what only it catches; none in a drill that is meant
    /// seriously.
    pub forced_pass: Option<CheckId>,
}

/// What the operator agreed to on the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consent {
    /// A production environment may be stopped.
    pub yes: bool,
    /// A restored copy of production data may listen on ports that are not isolated.
    pub accept_open_ports: bool,
}

impl DrillRequest {
    /// Whether the data are somebody else's: then there is no ledger, and the rows of the backup say what is expected.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.from.is_some() || self.attached.is_some()
    }
}

/// What the harness's own source is made of, and how it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Base {
    /// Seed and ballast; stopped as an operator stops it.
    #[default]
    Seed,
    /// Also an intent and a bus message under way to a recipient that never answers; both services are killed.
    InFlight,
    /// The seed without workspaces: there is nothing that their check could look at.
    NoWorkspaces,
}

/// Known before anything was started: exit 2. The text says what, where and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// A step could not be done: the drill ends here, evidence and report are still written.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {cause}")]
pub struct Stop {
    /// The step that failed.
    pub step: String,
    /// Why, with the chain of causes.
    pub cause: String,
}

/// The evidence of a run that holds an attached source, as of its last step.
pub(crate) const UNFINISHED: &str = "unfinished.json";

/// Told of every step as it begins and ends.
pub trait Progress: Send + Sync {
    /// A step begins.
    fn begins(&self, name: &str);
    /// A step ended.
    fn ended(&self, step: &Step);
}

/// No progress lines.
pub struct Quiet;

impl Progress for Quiet {
    fn begins(&self, _: &str) {}
    fn ended(&self, _: &Step) {}
}

/// The folders of one run, all below `<runs>/<run id>`.
#[derive(Debug, Clone)]
pub struct Folders {
    /// Evidence, report, logs and the stored snapshot; stays.
    pub run: PathBuf,
    /// The stored snapshot; stays.
    pub snapshot: PathBuf,
    /// Redacted service logs; stay.
    pub logs: PathBuf,
    /// Everything else; removed at the end unless `--keep`.
    pub work: PathBuf,
}

/// What is a secret before anything was started: the harness's own variables and those that its environment gives to services.
fn known_secrets(request: &DrillRequest) -> Secrets {
    let mut secrets = Secrets::of_process();
    for service in Service::ALL {
        for (name, value) in &request.environment.service(service).env {
            secrets.learn(name, value);
        }
    }
    let access = &request.environment.access;
    for name in [&access.admin_session_env, &access.bus_key_env, &access.jwt_secret_env] {
        if let Some(value) = name.as_ref().and_then(|name| std::env::var(name).ok()) {
            secrets.add(&value);
        }
    }
    secrets
}

/// Clock, seed, folders, secrets, evidence of one run.
pub struct DrillContext {
    /// The wall clock that steps, recovery time and new intents are stamped with.
    pub clock: Clock,
    /// What was asked for.
    pub request: DrillRequest,
    /// Where files go.
    pub folders: Folders,
    /// Values that may not leave the harness.
    pub secrets: Secrets,
    /// What has been recorded so far.
    pub evidence: Evidence,
    /// From the first stop request on: what cannot be done is a fail, no longer inconclusive.
    pub outage_began: Option<Instant>,
    /// Where the RTO counts from: the first stop request, under `--from` the start of the restore.
    pub recovery_began: Option<Moment>,
    /// An attached source, from before its first stop until it is proven to be back.
    pub hold: Option<Arc<Mutex<Hold>>>,
    progress: Box<dyn Progress>,
    began: Instant,
    deadline: tokio::time::Instant,
    owner: Option<fs::File>,
}

/// The wall clock, as every record of a run has it: RFC 3339 UTC with milliseconds.
#[must_use]
pub fn now() -> String {
    timestamp(jiff::Timestamp::now())
}

/// A time as every record has it.
#[must_use]
pub fn timestamp(time: jiff::Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// An error with its chain of causes in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(": ");
        text.push_str(&source.to_string());
        cause = source.source();
    }
    text
}

impl DrillContext {
    /// Makes the run's folders and the empty evidence.
    ///
    /// # Errors
    /// [`UsageError`] when the folders cannot be made.
    pub fn new(mut request: DrillRequest, progress: Box<dyn Progress>) -> Result<DrillContext, UsageError> {
        let id = uuid::Uuid::now_v7().to_string();
        let run = request.runs.join(&id);
        let folders = Folders {
            snapshot: run.join("snapshot"),
            logs: run.join("logs"),
            work: run.join("work"),
            run,
        };
        for folder in [&folders.logs, &folders.work] {
            private_folder(folder).map_err(|error| {
                UsageError(format!(
                    "cannot make {}: {error}; choose another target folder",
                    folder.display()
                ))
            })?;
        }
        let owner = own(&folders.run);
        let limit = Duration::from_millis(request.environment.time_limit_ms);
        let secrets = known_secrets(&request);
        request.command = secrets.redact(&request.command);
        let evidence = empty(&request, id);
        Ok(DrillContext {
            clock: request.stages.clock(),
            folders,
            secrets,
            evidence,
            outage_began: None,
            recovery_began: None,
            hold: None,
            progress,
            began: Instant::now(),
            deadline: tokio::time::Instant::now() + limit,
            owner,
            request,
        })
    }

    /// Does one step within the drill's time limit and records it with its time.
    ///
    /// # Errors
    /// [`Stop`] when the step fails or the time limit passes.
    pub async fn step<T, E>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), E>>,
    ) -> Result<T, Stop>
    where
        E: std::error::Error,
    {
        let limit_ms = self.request.environment.time_limit_ms;
        let deadline = self.deadline;
        let limited = async {
            match tokio::time::timeout_at(deadline, Box::pin(work)).await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(error)) => Err(chain(&error)),
                Err(_) => Err(format!(
                    "the drill's time limit of {limit_ms} ms passed; raise time_limit_ms or find what hangs"
                )),
            }
        };
        self.recorded(name, limited).await
    }

    /// Does one step however late it is, and records it with its time: what has to be done on every way out.
    ///
    /// # Errors
    /// [`Stop`] when the step fails.
    pub(crate) async fn recorded<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String), String>>,
    ) -> Result<T, Stop> {
        self.progress.begins(name);
        let (started_at, began) = (timestamp(self.clock.now()), Instant::now());
        let result = work.await;
        let (outcome, detail) = match &result {
            Ok((_, detail)) => (StepOutcome::Done, detail.clone()),
            Err(cause) => (StepOutcome::Failed, cause.clone()),
        };
        let detail = self.fit_to_show(&detail);
        let duration_ms = milliseconds(began.elapsed());
        let step = Step {
            name: name.to_owned(),
            started_at: Some(started_at),
            duration_ms,
            outcome,
            detail,
        };
        self.progress.ended(&step);
        self.evidence.steps.push(step);
        if self.hold.is_some() {
            // What a killed run leaves for `drill --resume`; the source's way back must not depend on it.
            let _ = self.evidence.write(&self.folders.run.join(UNFINISHED));
        }
        result.map(|(value, _)| value).map_err(|cause| Stop {
            step: name.to_owned(),
            cause: self.fit_to_show(&cause),
        })
    }

    /// Text as it may leave the harness: without secrets, and without the paths of this one machine.
    #[must_use]
    pub fn fit_to_show(&self, text: &str) -> String {
        let mut text = self.secrets.redact(text);
        for (path, word) in [(&self.folders.work, "<work>"), (&self.folders.run, "<run>")] {
            text = text.replace(&path.display().to_string(), word);
            if let Ok(canonical) = path.canonicalize() {
                text = text.replace(&canonical.display().to_string(), word);
            }
        }
        match std::env::current_dir() {
            Ok(here) => text.replace(&format!("{}/", here.display()), ""),
            Err(_) => text,
        }
    }

    /// Where the containers of this run are, if the environment asks for them and there is an engine.
    #[must_use]
    pub fn containers(&self) -> Option<Containers> {
        let environment = &self.request.environment;
        let kinds = [environment.directory.runtime, environment.bus.runtime];
        let engine = self
            .request
            .engine
            .clone()
            .filter(|_| kinds.contains(&RuntimeKind::Container))?;
        let folder = &self.folders.run;
        Some(Containers {
            engine,
            owner: Owner {
                run: self.evidence.run.id.clone(),
                folder: std::path::absolute(folder).unwrap_or_else(|_| folder.clone()),
                limit: Duration::from_millis(environment.time_limit_ms),
            },
            mount: self.request.mount,
        })
    }

    /// Removes what this run still has in the container engine; what cannot be removed is told.
    pub async fn remove_containers(&mut self) {
        let Some(containers) = self.containers() else {
            return;
        };
        if let Err(error) = containers.engine.remove_run(&self.evidence.run.id).await {
            let told = format!("{error}; `cargo xtask doctor --clean` removes it");
            self.evidence.reasons.push(told);
        }
    }

    /// Records a check. Texts are redacted on the way in.
    pub fn record(&mut self, id: CheckId, service: Option<Service>, mut judgement: Judgement, took: Duration) {
        if self.request.forced_pass == Some(id) {
            judgement.findings.clear();
            judgement.items = judgement.items.max(1);
        }
        let clean = |text: &mut String| *text = self.fit_to_show(text);
        clean(&mut judgement.expected);
        clean(&mut judgement.observed);
        judgement.notes.iter_mut().for_each(clean);
        for finding in &mut judgement.findings {
            for text in [
                &mut finding.subject,
                &mut finding.expected,
                &mut finding.observed,
                &mut finding.place,
            ] {
                clean(text);
            }
        }
        self.evidence
            .checks
            .push(CheckRecord::of(id, service, judgement, milliseconds(took)));
    }

    /// Records a question that does not arise.
    pub fn not_asked(&mut self, id: impl Into<String>, reason: impl Into<String>) {
        self.evidence.not_asked.push(NotAsked {
            id: id.into(),
            reason: reason.into(),
        });
    }

    /// Records a component's versions.
    pub fn component(&mut self, component: Component) {
        self.evidence.components.push(component);
    }

    /// Removes the run's folder: nothing was started.
    pub fn discard(&mut self) {
        self.owner = None;
        let _ = fs::remove_dir_all(&self.folders.run);
    }

    /// The moment from which whatever cannot be done is a failed recovery; the RTO counts from it too.
    pub fn outage_begins(&mut self) {
        let moment = self.clock.moment();
        self.outage_began = Some(moment.monotonic);
        self.recovery_began = Some(moment);
    }

    /// Closes the run: sorts checks into reporting order, derives the verdict, removes the working files.
    pub fn finish(&mut self, ended: Result<(), Stop>, interrupted: bool) {
        let evidence = &mut self.evidence;
        evidence.checks.sort_by_key(|check| (check.id, check.service));
        let reasons = evidence.checks.iter().filter_map(CheckRecord::reason);
        evidence.reasons.extend(reasons);
        if let Err(stop) = &ended {
            let reason = format!("step {:?} could not be done: {}", stop.step, stop.cause);
            evidence.reasons.push(reason);
        }
        if interrupted {
            evidence
                .reasons
                .push("the run was interrupted before its end".to_owned());
        }
        evidence.run.outage_began = self.outage_began.is_some();
        evidence.run.stopped_in = ended.err().map(|stop| stop.step);
        let broken_off = evidence.run.stopped_in.is_some() || interrupted;
        let checks = evidence.checks.iter().map(|check| check.verdict);
        let verdict = Verdict::of_run(checks, broken_off, evidence.run.outage_began);
        evidence.verdict = verdict;
        evidence.run.interrupted = interrupted;
        evidence.run.finished_at = Some(now());
        evidence.run.duration_ms = milliseconds(self.began.elapsed());
        evidence.close();
        let _ = fs::remove_file(self.folders.run.join(UNFINISHED));
        if !self.request.keep {
            // Left-overs are found by `doctor` and removed at the next start.
            let _ = fs::remove_dir_all(&self.folders.work);
        }
    }

    /// Gives the run's folder up: from here on nobody takes the run for a live one.
    pub fn release(&mut self) {
        if !self.request.keep {
            let _ = fs::remove_file(self.folders.run.join(OWNER));
        }
        self.owner = None;
    }
}

/// Whole milliseconds of a duration.
#[must_use]
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
