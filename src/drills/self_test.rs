//! A drill's own detection power: the catalogue's faults of files, injected into scratch copies of this very snapshot and
//! judged by the same checks, with source and alone. It never changes the verdict of the drill.

use crate::drills::context::{DrillContext, Stop, UsageError, chain};
use crate::drills::scratch::{self, Outcome, Specimen};
use crate::evidence::Detection;
use crate::faults::catalogue::{Catalogue, CatalogueError};
use crate::faults::fault::{Base, Fault};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long it may take: a large snapshot is measured with as many faults as fit, taken evenly from the whole catalogue.
const TIME_LIMIT: Duration = Duration::from_secs(20);

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The catalogue cannot be read.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// A scratch copy could not be made.
    #[error("cannot make a scratch copy of the snapshot")]
    Copy(#[from] std::io::Error),
    /// A worker of the harness was lost.
    #[error("a worker thread of the harness stopped")]
    Worker(#[from] tokio::task::JoinError),
}

/// Whether and with which faults a drill measures itself.
#[derive(Debug, Clone, Default)]
pub enum SelfTest {
    /// Not at all: trials and tests.
    #[default]
    Skipped,
    /// With the catalogue of these folders.
    With(Vec<PathBuf>),
}

impl SelfTest {
    /// Whether the drill measures itself.
    #[must_use]
    pub fn is_on(&self) -> bool {
        matches!(self, SelfTest::With(_))
    }
}

/// Reads the catalogue before anything is started.
///
/// # Errors
/// [`UsageError`] for a catalogue that cannot be read.
pub fn check(self_test: &SelfTest) -> Result<(), UsageError> {
    match self_test {
        SelfTest::Skipped => Ok(()),
        SelfTest::With(folders) => match Catalogue::load(folders) {
            Ok(_) => Ok(()),
            Err(error) => Err(UsageError(format!(
                "the faults of the self-test cannot be read: {}; give --no-self-test to leave it out",
                chain(&error)
            ))),
        },
    }
}

/// Measures, and puts the figures into the evidence.
///
/// # Errors
/// [`Stop`] when the time limit of the drill passes.
pub async fn measure(context: &mut DrillContext, specimen: std::io::Result<Specimen>) -> Result<(), Stop> {
    let SelfTest::With(folders) = context.request.self_test.clone() else {
        return Ok(());
    };
    let measured = context
        .step("measure the detection power on this snapshot", async {
            let work = move || run(&specimen?, &folders);
            // What cannot be measured says so; it does not turn the verdict.
            let detection = match tokio::task::spawn_blocking(work).await? {
                Ok(detection) => detection,
                Err(error) => Detection {
                    not_measured: Some(chain(&error)),
                    ..Detection::default()
                },
            };
            let detail = told(&detection);
            Ok::<_, SelfTestError>((detection, detail))
        })
        .await?;
    context.evidence.detection = measured;
    Ok(())
}

fn told(detection: &Detection) -> String {
    let part = |of: Option<u64>, out_of: Option<u64>| format!("{} of {}", of.unwrap_or(0), out_of.unwrap_or(0));
    let left_out = detection.not_measured.as_ref();
    if detection.injected.is_none() {
        return format!("not measured: {}", left_out.map_or("", String::as_str));
    }
    format!(
        "{} faults detected with source, {} alone; {} alarms in {} copies without a fault{}",
        part(detection.detected, detection.injected),
        part(detection.alone_detected, detection.alone_injected),
        detection.false_alarms.unwrap_or(0),
        detection.clean_runs.unwrap_or(0),
        left_out.map(|why| format!("; {why}")).unwrap_or_default()
    )
}

fn run(specimen: &Specimen, folders: &[PathBuf]) -> Result<Detection, SelfTestError> {
    let untouched = specimen.try_out(None)?;
    if untouched.is_alarmed() {
        return Ok(Detection {
            not_measured: Some("the snapshot itself does not pass".to_owned()),
            ..Detection::default()
        });
    }
    let catalogue = Catalogue::load(folders)?;
    let of_files = |fault: &&Fault| scratch::can_judge(fault) && fault.base == Base::Seed;
    let faults: Vec<&Fault> = catalogue
        .faults
        .iter()
        .chain(&catalogue.benign)
        .filter(of_files)
        .collect();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let (order, deadline) = (evenly(faults.len()), Instant::now() + TIME_LIMIT);
    let faults: Vec<&Fault> = order.into_iter().map(|at| faults[at]).collect();
    let outcomes = specimen.try_all(&faults, jobs, Some(deadline), |_, _| {})?;
    Ok(count(specimen, &faults, &outcomes, &untouched))
}

/// All places, far ones first after each other, so that any beginning of the list is spread over the whole.
fn evenly(count: usize) -> Vec<usize> {
    // A step without a common divisor with the count reaches every place.
    let common = |mut one: usize, mut other: usize| {
        while other > 0 {
            (one, other) = (other, one % other);
        }
        one
    };
    let step = (count * 5 / 8..count)
        .find(|step| common(*step, count) == 1)
        .unwrap_or(1);
    (0..count).map(|at| at * step % count).collect()
}

fn count(specimen: &Specimen, faults: &[&Fault], outcomes: &[Option<Outcome>], untouched: &Outcome) -> Detection {
    let mut missed = Vec::new();
    let (mut injected, mut alone_injected, mut alone_detected) = (0_u64, 0_u64, 0_u64);
    let (mut clean_runs, mut false_alarms) = (1, u64::from(untouched.is_alarmed()));
    for (fault, outcome) in faults.iter().zip(outcomes) {
        // What has nothing to bite here was not injected.
        let Some(outcome) = outcome.as_ref().filter(|outcome| outcome.error.is_none()) else {
            continue;
        };
        if fault.benign {
            clean_runs += 1;
            false_alarms += u64::from(outcome.is_alarmed());
            continue;
        }
        let asked = specimen.asked(fault);
        if asked.is_empty() && !fault.caught_by.is_empty() {
            continue;
        }
        injected += 1;
        if !outcome.detects(fault, &asked) {
            missed.push(fault.id.0.clone());
        }
        if let Some(alone) = &outcome.alone {
            alone_injected += 1;
            alone_detected += u64::from(!alone.is_empty());
        }
    }
    missed.sort();
    Detection {
        injected: Some(injected),
        detected: Some(injected - missed.len() as u64),
        missed: Some(missed),
        alone_injected: Some(alone_injected),
        alone_detected: Some(alone_detected),
        false_alarms: Some(false_alarms),
        clean_runs: Some(clean_runs),
        not_measured: not_tried(outcomes),
    }
}

/// What did not fit into the time.
fn not_tried(outcomes: &[Option<Outcome>]) -> Option<String> {
    let left = outcomes.iter().filter(|outcome| outcome.is_none()).count();
    (left > 0).then(|| {
        format!(
            "{left} of {} faults were left out: the limit of {} s passed",
            outcomes.len(),
            TIME_LIMIT.as_secs()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::evenly;

    #[test]
    fn every_place_is_taken_once_and_the_first_ones_are_far_apart() {
        for count in [0, 1, 2, 7, 96, 100] {
            let mut places = evenly(count);
            if count > 10 {
                assert!(places[..4].iter().any(|at| *at > count / 2));
            }
            places.sort_unstable();
            assert_eq!(places, (0..count).collect::<Vec<_>>());
        }
    }
}
