//! Detection power: the fault catalogue run against the drill's own checks.
//!
//! One template is seeded and taken; each fault goes into a copy of its own. Beside the faults: benign controls, two
//! canaries (one fault that must be caught, one injection that changes nothing) and whole clean drills with other seeds. A
//! fault that changed nothing is an error of the fault, never "detected".

use crate::drills::context::{Base, DrillRequest, Progress, Quiet, UsageError};
use crate::drills::trial::{Template, Trial};
use crate::drills::{self, Ending};
use crate::evidence::{CheckId, Finding, Step, StepOutcome, Verdict};
use crate::faults::catalogue::Catalogue;
use crate::faults::fault::Fault;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::Instant;

/// What is run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The drill that faults are injected into.
    pub request: DrillRequest,
    /// Faults and benign controls.
    pub catalogue: Catalogue,
    /// Whole drills with other seeds that must not alarm.
    pub clean_runs: u64,
    /// How many trials go on side by side.
    pub jobs: usize,
}

/// One fault and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct FaultResult {
    /// Its id.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Where it was injected.
    pub stage: String,
    /// Whether every check that it names failed, or the expected ending happened.
    pub detected: bool,
    /// The checks that failed.
    pub caught_by: Vec<CheckId>,
    /// The checks that it names.
    pub expected: Vec<CheckId>,
    /// Why it could not be injected, if so.
    pub error: Option<String>,
    /// How long the trial took, in milliseconds.
    pub duration_ms: u64,
    /// Whether a pair was started for it.
    pub booted: bool,
}

/// One benign control.
#[derive(Debug, Clone, Serialize)]
pub struct BenignResult {
    /// Its id.
    pub id: String,
    /// Whether anything alarmed.
    pub alarmed: bool,
    /// What alarmed.
    pub findings: Vec<Finding>,
    /// Why it could not be injected, if so.
    pub error: Option<String>,
}

/// One canary.
#[derive(Debug, Clone, Serialize)]
pub struct Canary {
    /// `must-be-caught`, `changes-nothing`.
    pub id: String,
    /// Whether it was as it should be.
    pub ok: bool,
}

/// A fault that was not staged.
#[derive(Debug, Clone, Serialize)]
pub struct NotStaged {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// The whole score.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Score {
    /// Injected faults only.
    pub faults: Vec<FaultResult>,
    /// Benign controls.
    pub benign: Vec<BenignResult>,
    /// Canaries.
    pub canaries: Vec<Canary>,
    /// What was not staged, with the reason.
    pub not_staged: Vec<NotStaged>,
    /// Clean runs made: whole drills.
    pub clean_runs: u64,
    /// Clean runs that alarmed.
    pub false_alarms: u64,
    /// What the false alarms found.
    pub alarms: Vec<Finding>,
}

impl Score {
    /// How many injected faults were detected.
    #[must_use]
    pub fn detected(&self) -> usize {
        self.faults.iter().filter(|fault| fault.detected).count()
    }

    /// Inconclusive when a canary is not as it should be or nothing was injected; fail on a miss or an alarm; else pass.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let missed = self.detected() < self.faults.len();
        let alarmed = self.false_alarms > 0
            || self
                .benign
                .iter()
                .any(|benign| benign.alarmed || benign.error.is_some());
        if self.canaries.iter().any(|canary| !canary.ok) {
            Verdict::Inconclusive
        } else if missed || alarmed {
            Verdict::Fail
        } else if self.faults.is_empty() && self.benign.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// Lower 95 % bound of the detection rate in percent, where every injected fault was detected (otherwise the exact
    /// bound of the count is not of this simple form and `None`): of 25 of 25 at least 88.7 %.
    #[must_use]
    pub fn detection_bound_percent(&self) -> Option<f64> {
        let injected = u32::try_from(self.faults.len()).ok().filter(|injected| *injected > 0)?;
        (self.detected() == self.faults.len()).then(|| 100.0 * 0.05_f64.powf(1.0 / f64::from(injected)))
    }

    /// Upper 95 % bound of the rate of false alarms in percent, where no clean run alarmed.
    #[must_use]
    pub fn alarm_bound_percent(&self) -> Option<f64> {
        let runs = u32::try_from(self.clean_runs).ok().filter(|runs| *runs > 0)?;
        (self.false_alarms == 0).then(|| 100.0 * (1.0 - 0.05_f64.powf(1.0 / f64::from(runs))))
    }
}

const CANARIES: &str = r#"
[[fault]]
id = "must-be-caught"
group = "canary"
title = "all agents are gone"
service = "directory"
stage = "snapshot"
sql = ["DELETE FROM agents"]
caught_by = ["content"]

[[fault]]
id = "changes-nothing"
group = "canary"
title = "a statement that touches no row"
service = "directory"
stage = "snapshot"
sql = ["UPDATE agents SET flagged = flagged WHERE beam_id IS NULL"]
caught_by = ["content"]
"#;

/// Runs the catalogue. Progress is told trial by trial.
///
/// # Errors
/// [`UsageError`] for what is known before anything started, and when the template itself cannot be made.
pub async fn run(campaign: &Campaign, progress: &dyn Progress) -> Result<Score, UsageError> {
    let canaries = Catalogue::parse(CANARIES, std::path::Path::new("canaries"))
        .map_err(|error| UsageError(format!("the canaries cannot be read: {error}")))?;
    let catalogue = &campaign.catalogue;
    let mut score = Score::default();
    let mut todo = Vec::new();
    for fault in catalogue.faults.iter().chain(&catalogue.benign).chain(&canaries.faults) {
        match Template::cannot_stage(fault) {
            Some(reason) => score.not_staged.push(NotStaged {
                id: fault.id.0.clone(),
                reason,
            }),
            None => todo.push(fault.clone()),
        }
    }
    for base in [Base::Seed, Base::InFlight] {
        let of_base: Vec<Fault> = todo.iter().filter(|fault| base_of(fault) == base).cloned().collect();
        if !of_base.is_empty() {
            on_base(campaign, base, of_base, progress, &mut score).await?;
        }
    }
    clean_runs(campaign, progress, &mut score).await?;
    Ok(score)
}

fn base_of(fault: &Fault) -> Base {
    match fault.base {
        crate::faults::fault::Base::Seed => Base::Seed,
        crate::faults::fault::Base::InFlight => Base::InFlight,
    }
}

/// Makes the template of one base, proves that it does not alarm untouched, and runs its trials.
async fn on_base(
    campaign: &Campaign,
    base: Base,
    faults: Vec<Fault>,
    progress: &dyn Progress,
    score: &mut Score,
) -> Result<(), UsageError> {
    let mut request = campaign.request.clone();
    request.base = base;
    let template = Template::make(request).await.map_err(|ending| match ending {
        Ending::Usage(error) => error,
        Ending::Stop(stop) => UsageError(format!("the source of the faults could not be made: {stop}")),
    })?;
    let clean = Box::pin(template.try_out(None)).await?;
    if clean.verdict == Verdict::Pass {
        trials(campaign, faults, &template, progress, score).await?;
    } else {
        // The untouched template alarms: nothing else can be claimed.
        score.canaries.push(Canary {
            id: "untouched".to_owned(),
            ok: false,
        });
        score.alarms.extend(clean.findings);
    }
    template.discard();
    Ok(())
}

async fn trials(
    campaign: &Campaign,
    faults: Vec<Fault>,
    template: &Template,
    progress: &dyn Progress,
    score: &mut Score,
) -> Result<(), UsageError> {
    let todo: Vec<(usize, Fault)> = faults.into_iter().enumerate().collect();
    let mut done = side_by_side(todo, campaign.jobs, template, progress).await?;
    done.sort_by_key(|(order, _, _)| *order);
    for (_, fault, trial) in done {
        if fault.group == "canary" {
            score.canaries.push(canary(&fault, &trial));
        } else if fault.benign {
            score.benign.push(BenignResult {
                id: fault.id.0.clone(),
                alarmed: trial.error.is_none() && trial.verdict != Verdict::Pass,
                findings: trial.findings,
                error: trial.error,
            });
        } else {
            score.faults.push(result(&fault, &trial));
        }
    }
    Ok(())
}

type Done = (usize, Fault, Trial);

async fn side_by_side(
    todo: Vec<(usize, Fault)>,
    jobs: usize,
    template: &Template,
    progress: &dyn Progress,
) -> Result<Vec<Done>, UsageError> {
    let trials = todo.into_iter().map(|(order, fault)| async move {
        let trial = Box::pin(template.try_out(Some(&fault))).await?;
        progress.ended(&told(&fault, &trial));
        Ok::<Done, UsageError>((order, fault, trial))
    });
    // On one task: a drill holds database handles, which do not move between threads; the heavy parts have threads of their own.
    stream::iter(trials).buffer_unordered(jobs.max(1)).try_collect().await
}

fn told(fault: &Fault, trial: &Trial) -> Step {
    let is_as_it_should = if fault.benign {
        trial.error.is_none() && trial.verdict == Verdict::Pass
    } else if fault.id.0 == "changes-nothing" {
        trial.error.is_some()
    } else {
        trial.detects(fault)
    };
    let names: Vec<&str> = trial.failed.iter().map(|id| id.name()).collect();
    let detail = match (&trial.error, names.is_empty()) {
        (Some(error), _) => error.clone(),
        (None, false) => names.join(", "),
        (None, true) => trial.refused.clone().unwrap_or_else(|| trial.verdict.to_string()),
    };
    Step {
        name: fault.id.0.clone(),
        started_at: None,
        duration_ms: crate::drills::context::milliseconds(trial.took),
        outcome: if is_as_it_should {
            StepOutcome::Done
        } else {
            StepOutcome::Failed
        },
        detail,
    }
}

fn canary(fault: &Fault, trial: &Trial) -> Canary {
    let nothing = fault.id.0 == "changes-nothing";
    let ok = if nothing {
        trial.error.is_some() && !trial.detects(fault)
    } else {
        trial.detects(fault)
    };
    Canary {
        id: fault.id.0.clone(),
        ok,
    }
}

fn result(fault: &Fault, trial: &Trial) -> FaultResult {
    FaultResult {
        id: fault.id.0.clone(),
        group: fault.group.clone(),
        stage: fault.stage.to_string(),
        detected: trial.detects(fault),
        caught_by: trial
            .failed
            .iter()
            .copied()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
        expected: fault.caught_by.clone(),
        error: trial.error.clone(),
        duration_ms: crate::drills::context::milliseconds(trial.took),
        booted: trial.booted,
    }
}

/// Whole drills with other seeds: any verdict but pass is a false alarm.
async fn clean_runs(campaign: &Campaign, progress: &dyn Progress, score: &mut Score) -> Result<(), UsageError> {
    let drills = (1..=campaign.clean_runs).map(|n| {
        let mut request = campaign.request.clone();
        request.seed = campaign.request.seed.wrapping_add(n);
        async move {
            let began = Instant::now();
            let runs = request.runs.clone();
            let evidence = Box::pin(drills::perform(request, Box::new(Quiet), std::future::pending())).await?;
            let _ = std::fs::remove_dir_all(runs.join(&evidence.run.id));
            Ok::<_, UsageError>((evidence, began.elapsed()))
        }
    });
    let mut ended = stream::iter(drills).buffer_unordered(campaign.jobs.max(1));
    while let Some(ended) = ended.next().await {
        let (evidence, took) = ended?;
        let passed = evidence.verdict == Verdict::Pass;
        score.clean_runs += 1;
        score.false_alarms += u64::from(!passed);
        score
            .alarms
            .extend(evidence.checks.iter().flat_map(|check| check.findings.clone()));
        progress.ended(&Step {
            name: format!("clean run, seed {}", evidence.run.seed),
            started_at: None,
            duration_ms: crate::drills::context::milliseconds(took),
            outcome: if passed { StepOutcome::Done } else { StepOutcome::Failed },
            detail: evidence.reasons.join("; "),
        });
    }
    Ok(())
}
