//! Detection power: the fault catalogue run against the drill's own checks.
//!
//! One template is seeded and taken (or a given set plays the source); each fault goes into a copy of its own. What files
//! show is judged at rest; only what a running pair shows starts one. Beside the faults: benign controls, two canaries (one
//! fault that must be caught, one injection that changes nothing) and whole clean drills with other seeds. A fault that
//! changed nothing is an error of the fault, never "detected".

use crate::drills::context::{Base, DrillRequest, Progress, UsageError, milliseconds};
use crate::drills::environments;
use crate::drills::score::{BenignResult, Canary, FaultResult, Reasoned, Score};
use crate::drills::scratch::{self, Outcome, Specimen};
use crate::drills::side_by_side::{self, Job};
use crate::drills::trial::{Template, Trial, needs_a_start};
use crate::drills::{Ending, clean_runs, guesses, record_faults, schema_faults};
use crate::evidence::{CheckId, Finding, Step, StepOutcome, Verdict};
use crate::faults::catalogue::Catalogue;
use crate::faults::fault::{self, Fault, Injection};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What is run.
#[derive(Debug, Clone)]
pub struct Campaign {
    /// The drill that faults are injected into.
    pub request: DrillRequest,
    /// Faults and benign controls.
    pub catalogue: Catalogue,
    /// Whole drills with other seeds that must not alarm.
    pub clean_runs: u64,
    /// How many trials with a running pair go on side by side.
    pub jobs: usize,
    /// Judge files only; no pair is started for a fault.
    pub at_rest: bool,
    /// So many random faults of the template's snapshot, beside the catalogue.
    pub random: usize,
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

/// Reason of a fault that a given set has no row for.
const NO_SUCH_ROW: &str = "no such row";

/// Runs the catalogue. Progress is told trial by trial.
///
/// # Errors
/// [`UsageError`] for what is known before anything started, and when the template itself cannot be made.
pub async fn run(campaign: &Campaign, progress: &dyn Progress) -> Result<Score, UsageError> {
    let canaries = Catalogue::parse(CANARIES, Path::new("canaries"))
        .map_err(|error| UsageError(format!("the canaries cannot be read: {error}")))?;
    let catalogue = &campaign.catalogue;
    let mut score = Score::default();
    let mut todo = Vec::new();
    for fault in catalogue.faults.iter().chain(&catalogue.benign).chain(&canaries.faults) {
        match cannot_stage(campaign, fault) {
            Some(reason) => score.not_staged.push(reasoned(fault, reason)),
            None => todo.push(fault.clone()),
        }
    }
    let (gate, todo): (Vec<Fault>, Vec<Fault>) = todo.into_iter().partition(Fault::is_for_the_gate);
    at_the_gate(campaign, &gate, progress, &mut score)?;
    let (between, todo): (Vec<Fault>, Vec<Fault>) = todo.into_iter().partition(environments::takes);
    environments::try_all(&between, progress, &mut score).await?;
    let (left, todo): (Vec<Fault>, Vec<Fault>) = todo.into_iter().partition(record_faults::takes);
    Box::pin(record_faults::try_all(&left, &campaign.request, progress, &mut score)).await?;
    for base in [Base::Seed, Base::InFlight] {
        let of_base: Vec<Fault> = todo
            .iter()
            .filter(|fault| base_of(campaign, fault) == base)
            .cloned()
            .collect();
        if !of_base.is_empty() || (campaign.random > 0 && base == Base::Seed) {
            on_base(campaign, base, of_base, progress, &mut score).await?;
        }
    }
    clean_runs::run(campaign, progress, &mut score).await?;
    score.weigh_checks();
    Ok(score)
}

/// Faults of what a service creates: the gate on schema changes looks, and no service is started.
fn at_the_gate(
    campaign: &Campaign,
    faults: &[Fault],
    progress: &dyn Progress,
    score: &mut Score,
) -> Result<(), UsageError> {
    let outcomes = match schema_faults::try_all(faults, campaign.request.forced_pass)? {
        Ok(outcomes) => outcomes,
        Err(alarms) => {
            score.untouched_alarms(alarms);
            return Ok(());
        }
    };
    for (fault, outcome) in faults.iter().zip(outcomes) {
        progress.ended(&told_at_rest(fault, &outcome, &fault.caught_by));
        add(campaign, fault, &fault.caught_by, None, Some(outcome), score);
    }
    Ok(())
}

fn reasoned(fault: &Fault, reason: impl Into<String>) -> Reasoned {
    Reasoned {
        id: fault.id.0.clone(),
        reason: reason.into(),
    }
}

fn cannot_stage(campaign: &Campaign, fault: &Fault) -> Option<String> {
    if record_faults::takes(fault) && !campaign.at_rest {
        return fault.unseen_given.clone().filter(|_| campaign.request.from.is_some());
    }
    if environments::takes(fault) {
        return None;
    }
    let files = || scratch::can_judge(fault) || fault.is_for_the_gate();
    let needs = || (campaign.at_rest && !files()).then(|| "needs a start".to_owned());
    Template::cannot_stage(&campaign.request, fault).or_else(needs)
}

/// A given set is what it is: only the harness's own source has calls under way.
fn base_of(campaign: &Campaign, fault: &Fault) -> Base {
    match fault.base {
        fault::Base::InFlight if campaign.request.from.is_none() => Base::InFlight,
        fault::Base::Seed | fault::Base::InFlight => Base::Seed,
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
    let template = Arc::new(template);
    let done = on_template(campaign, faults, &template, progress, score).await;
    if let Some(template) = Arc::into_inner(template) {
        template.discard();
    }
    done
}

async fn on_template(
    campaign: &Campaign,
    faults: Vec<Fault>,
    template: &Arc<Template>,
    progress: &dyn Progress,
    score: &mut Score,
) -> Result<(), UsageError> {
    let specimen = template.specimen()?;
    let untouched = specimen.try_out(None).map_err(no_copy)?;
    let mut alarms = untouched.findings;
    let mut asked = BTreeSet::new();
    if alarms.is_empty() && untouched.refused.is_none() && !campaign.at_rest && !faults.is_empty() {
        let clean = Box::pin(template.try_out(None)).await?;
        if clean.verdict != Verdict::Pass {
            alarms = clean.findings;
            alarms.extend(
                clean
                    .refused
                    .map(|step| Finding::new("drill", "passes", step, "template")),
            );
        }
        asked = clean.asked;
        if campaign.request.from.is_some() {
            // Of credentials only what --keys gives is at hand: too little to be counted on.
            asked.remove(&CheckId::Credentials);
        }
    }
    if !alarms.is_empty() || untouched.refused.is_some() {
        // The untouched template alarms: nothing else can be claimed.
        score.untouched_alarms(alarms);
        return Ok(());
    }
    if template.request.base == Base::Seed && campaign.random > 0 {
        score.random = guesses::guess(&specimen, campaign.request.seed, campaign.random)?;
    }
    let at_rest = at_rest(campaign, &faults, &specimen, progress)?;
    let judged = faults.iter().zip(&at_rest);
    let mut starts: Vec<&Fault> = judged
        .filter(|(fault, outcome)| !campaign.at_rest && wants_a_start(fault, outcome.as_ref()))
        .map(|(fault, _)| fault)
        .collect();
    // Those that may make a drill wait (a hanging service, a slow start, a whole drill) begin first, beside the others.
    starts.sort_by_key(|fault| matches!(fault.injection, Injection::Sql { .. } | Injection::Answers(_)));
    let mut started = try_all(&starts, campaign, template, &asked, progress).await?;
    for (fault, outcome) in faults.iter().zip(at_rest) {
        let trial = started.iter().position(|(id, _)| *id == fault.id.0);
        let trial = trial.map(|at| started.swap_remove(at).1);
        let named = named(campaign, fault, trial.as_ref().map(|_| &asked), &specimen);
        add(campaign, fault, &named, trial, outcome, score);
    }
    Ok(())
}

/// Whether a running pair has to be asked: a check of it is named, or none is named and files alone did not alarm. So a benign
/// control stays silent in the whole drill, not only at rest.
fn wants_a_start(fault: &Fault, outcome: Option<&Outcome>) -> bool {
    let is_silent = outcome.is_some_and(|outcome| outcome.error.is_none() && !outcome.is_alarmed());
    needs_a_start(fault) || (fault.caught_by.is_empty() && is_silent)
}

fn no_copy(error: std::io::Error) -> UsageError {
    UsageError(format!("cannot make a scratch copy of the snapshot: {error}"))
}

/// The checks that have to catch the fault here: all that it names; at rest those that look at files; of a given set those
/// that are asked of it.
fn named(campaign: &Campaign, fault: &Fault, asked: Option<&BTreeSet<CheckId>>, specimen: &Specimen) -> Vec<CheckId> {
    let Some(asked) = asked else {
        return specimen.asked(fault);
    };
    of_asked(campaign, fault, asked)
}

/// The checks named, of a given set those that are asked of it.
fn of_asked(campaign: &Campaign, fault: &Fault, asked: &BTreeSet<CheckId>) -> Vec<CheckId> {
    let is_asked = |id: &CheckId| campaign.request.from.is_none() || asked.contains(id);
    fault.caught_by.iter().copied().filter(is_asked).collect()
}

/// Judges all faults that files show; `None` for the others.
fn at_rest(
    campaign: &Campaign,
    faults: &[Fault],
    specimen: &Specimen,
    progress: &dyn Progress,
) -> Result<Vec<Option<Outcome>>, UsageError> {
    let judged: Vec<&Fault> = faults
        .iter()
        .filter(|fault| scratch::can_judge(fault) || scratch::stands_alone(fault))
        .collect();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes = specimen.try_all(&judged, jobs, None, |fault, outcome| {
        if campaign.at_rest || !wants_a_start(fault, Some(outcome)) {
            let named = named(campaign, fault, None, specimen);
            progress.ended(&told_at_rest(fault, outcome, &named));
        }
    });
    let mut outcomes = outcomes.map_err(no_copy)?.into_iter();
    let each = faults.iter().map(|fault| {
        let is_judged = scratch::can_judge(fault) || scratch::stands_alone(fault);
        if is_judged { outcomes.next().flatten() } else { None }
    });
    Ok(each.collect())
}

/// Puts one fault's outcome into the score.
fn add(
    campaign: &Campaign,
    fault: &Fault,
    named: &[CheckId],
    trial: Option<Trial>,
    outcome: Option<Outcome>,
    score: &mut Score,
) {
    let given = campaign.request.from.is_some();
    let changed_nothing = trial.as_ref().map_or_else(
        || outcome.as_ref().is_some_and(|outcome| outcome.changed_nothing),
        |trial| trial.changed_nothing,
    );
    let is_canary = fault.group == "canary";
    if given && changed_nothing && !is_canary {
        score.not_staged.push(reasoned(fault, NO_SUCH_ROW));
        return;
    }
    if named.is_empty() && !fault.caught_by.is_empty() {
        score
            .not_staged
            .push(reasoned(fault, "none of its checks is asked of a given set"));
        return;
    }
    let alone = outcome.as_ref().filter(|outcome| outcome.error.is_none());
    let alone = alone.and_then(|outcome| outcome.alone.as_ref().map(|alone| !alone.is_empty()));
    let told = Told::of(fault, named, trial, outcome);
    if is_canary {
        let nothing = fault.id.0 == "changes-nothing";
        score.canaries.push(Canary {
            id: fault.id.0.clone(),
            ok: if nothing { told.error.is_some() } else { told.detected },
        });
    } else if fault.benign {
        score.benign.push(BenignResult {
            id: fault.id.0.clone(),
            alarmed: told.error.is_none() && told.alarmed,
            findings: told.findings,
            error: told.error,
        });
    } else {
        if let Some(seen) = alone {
            score.alone.injected += 1;
            score.alone.detected += u64::from(seen);
            if !seen {
                let reason = fault.unseen_alone.clone();
                let reason = reason.unwrap_or_else(|| "no reason is given (unseen_alone)".to_owned());
                score.alone.missed.push(reasoned(fault, reason));
            }
        }
        score.faults.push(FaultResult {
            id: fault.id.0.clone(),
            group: fault.group.clone(),
            stage: fault.stage.to_string(),
            detected: told.detected,
            caught_by: told.failed.into_iter().collect(),
            expected: named.to_vec(),
            error: told.error,
            alone,
            duration_ms: milliseconds(told.took),
            booted: told.booted,
        });
    }
}

/// What is told of a fault, however it was judged.
struct Told {
    detected: bool,
    alarmed: bool,
    failed: BTreeSet<CheckId>,
    findings: Vec<Finding>,
    error: Option<String>,
    took: Duration,
    booted: bool,
}

impl Told {
    fn of(fault: &Fault, named: &[CheckId], trial: Option<Trial>, outcome: Option<Outcome>) -> Told {
        match (trial, outcome) {
            (Some(trial), _) => Told {
                detected: trial.detects(fault, named),
                alarmed: trial.verdict != Verdict::Pass,
                failed: trial.failed,
                findings: trial.findings,
                error: trial.error,
                took: trial.took,
                booted: true,
            },
            (None, Some(outcome)) => Told {
                detected: outcome.detects(fault, named),
                alarmed: outcome.is_alarmed(),
                failed: outcome.failed,
                findings: outcome.findings,
                error: outcome.error,
                took: outcome.took,
                booted: false,
            },
            (None, None) => Told {
                detected: false,
                alarmed: false,
                failed: BTreeSet::new(),
                findings: Vec::new(),
                error: Some("it was not tried".to_owned()),
                took: Duration::ZERO,
                booted: false,
            },
        }
    }
}

async fn try_all(
    faults: &[&Fault],
    campaign: &Campaign,
    template: &Arc<Template>,
    asked: &BTreeSet<CheckId>,
    progress: &dyn Progress,
) -> Result<Vec<(String, Trial)>, UsageError> {
    let jobs = faults.iter().map(|fault| {
        let (template, fault) = (Arc::clone(template), (*fault).clone());
        let job: Job<_> = Box::new(move || {
            Box::pin(async move {
                let trial = Box::pin(template.try_out(Some(&fault))).await;
                (fault, trial)
            })
        });
        job
    });
    let mut trials = Vec::new();
    side_by_side::run(jobs.collect(), campaign.jobs, |(fault, trial)| {
        if let Ok(trial) = &trial {
            progress.ended(&told(&fault, trial, &of_asked(campaign, &fault, asked)));
        }
        trials.push((fault.id.0, trial));
    })
    .await;
    side_by_side::all_came(trials.len(), faults.len())?;
    trials.into_iter().map(|(id, trial)| Ok((id, trial?))).collect()
}

fn told(fault: &Fault, trial: &Trial, named: &[CheckId]) -> Step {
    let is_as_it_should = if fault.benign {
        trial.error.is_none() && trial.verdict == Verdict::Pass
    } else {
        trial.detects(fault, named)
    };
    let otherwise = trial.refused.clone().unwrap_or_else(|| trial.verdict.to_string());
    step(
        fault,
        is_as_it_should,
        trial.error.as_ref(),
        &trial.failed,
        otherwise,
        trial.took,
    )
}

fn told_at_rest(fault: &Fault, outcome: &Outcome, named: &[CheckId]) -> Step {
    let is_as_it_should = if fault.benign {
        outcome.error.is_none() && !outcome.is_alarmed()
    } else if fault.id.0 == "changes-nothing" {
        outcome.error.is_some()
    } else {
        outcome.detects(fault, named)
    };
    let otherwise = outcome.refused.clone().unwrap_or_else(|| "nothing alarmed".to_owned());
    step(
        fault,
        is_as_it_should,
        outcome.error.as_ref(),
        &outcome.failed,
        otherwise,
        outcome.took,
    )
}

fn step(
    fault: &Fault,
    is_as_it_should: bool,
    error: Option<&String>,
    failed: &BTreeSet<CheckId>,
    otherwise: String,
    took: Duration,
) -> Step {
    let names: Vec<&str> = failed.iter().map(|id| id.name()).collect();
    let detail = match (error, names.is_empty()) {
        (Some(error), _) => error.clone(),
        (None, false) => names.join(", "),
        (None, true) => otherwise,
    };
    Step {
        name: fault.id.0.clone(),
        started_at: None,
        duration_ms: milliseconds(took),
        outcome: if is_as_it_should {
            StepOutcome::Done
        } else {
            StepOutcome::Failed
        },
        detail,
    }
}
