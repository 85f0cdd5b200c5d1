//! Random faults that no check saw: without meaning by rule, or made as small as they get and printed as TOML.

use crate::deployment::Service;
use crate::drills::context::{UsageError, chain};
use crate::drills::score::{RandomScore, Reasoned};
use crate::drills::scratch::Specimen;
use crate::faults::fault::{Fault, Injection};
use crate::faults::meaning::meaning;
use crate::faults::random;
use crate::faults::shrink::shrink;
use crate::faults::written::toml_text;
use crate::snapshot::database::{Databases, quoted};
use std::io;
use std::path::Path;

/// How many smaller changes are tried for one missed fault.
const MOST_TRIES: usize = 200;

/// What a missed fault is.
enum Guess {
    /// Nobody can tell: the rule, and what was hit.
    WithoutMeaning(String),
    /// A miss: the smallest change that is still missed, as TOML.
    Smallest(String),
}

/// Random faults, judged at rest; what no check saw is explained by rule or made small.
///
/// # Errors
/// [`UsageError`] when the snapshot holds nothing to change, or a scratch copy cannot be made.
pub fn guess(specimen: &Specimen, seed: u64, count: usize) -> Result<Vec<RandomScore>, UsageError> {
    let mutants = random::mutants(specimen.folder(), seed, count);
    let mutants = mutants.map_err(|error| UsageError(format!("no random faults can be made: {}", chain(&error))))?;
    let all: Vec<&Fault> = mutants.iter().collect();
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let outcomes = specimen.try_all(&all, jobs, None, |_, _| {}).map_err(no_copy)?;
    let ballast = specimen.ballast_tables();
    let mut scores: Vec<RandomScore> = random::Kind::ALL
        .iter()
        .map(|kind| RandomScore {
            kind: kind.name().to_owned(),
            ..RandomScore::default()
        })
        .collect();
    for (fault, outcome) in mutants.iter().zip(outcomes) {
        let score = scores.iter_mut().find(|score| fault.group.ends_with(&score.kind));
        let (Some(score), Some(outcome)) = (score, outcome) else {
            continue;
        };
        score.injected += 1;
        if let Some(alone) = outcome.alone.as_ref().filter(|_| outcome.error.is_none()) {
            let seen = u64::from(!alone.is_empty());
            if touches(fault, &ballast) {
                score.ballast_injected += 1;
                score.ballast_detected += seen;
            } else {
                score.alone_injected += 1;
                score.alone_detected += seen;
            }
        }
        if outcome.error.is_none() && outcome.is_alarmed() {
            score.detected += 1;
            continue;
        }
        let guess = match &outcome.error {
            Some(error) => Guess::Smallest(format!("# {}: {error}\n", fault.title)),
            None => look_into(specimen, fault).map_err(no_copy)?,
        };
        match guess {
            Guess::WithoutMeaning(rule) => score.without_meaning.push(reasoned(fault, rule)),
            Guess::Smallest(toml) => score.missed.push(reasoned(fault, toml)),
        }
    }
    Ok(scores)
}

/// Whether a statement of the fault names one of these tables of the directory.
fn touches(fault: &Fault, tables: &[String]) -> bool {
    let Injection::Sql { directory, .. } = &fault.injection else {
        return false;
    };
    let named = |statement: &String| tables.iter().any(|table| statement.contains(&quoted(table)));
    directory.iter().any(named)
}

fn no_copy(error: io::Error) -> UsageError {
    UsageError(format!("cannot make a scratch copy of the snapshot: {error}"))
}

fn reasoned(fault: &Fault, reason: String) -> Reasoned {
    Reasoned {
        id: fault.id.0.clone(),
        reason,
    }
}

/// Explains a missed fault, or makes it smaller.
///
/// # Errors
/// A scratch copy could not be made.
fn look_into(specimen: &Specimen, fault: &Fault) -> io::Result<Guess> {
    if let Some(reason) = without_meaning(specimen, fault)? {
        return Ok(Guess::WithoutMeaning(reason));
    }
    let smallest = match Databases::open(specimen.folder()) {
        Ok(untouched) => {
            let missed = |candidate: &Fault| {
                let outcome = specimen.try_out(Some(candidate));
                let unseen = outcome.is_ok_and(|outcome| outcome.error.is_none() && !outcome.is_alarmed());
                unseen && without_meaning(specimen, candidate).is_ok_and(|reason| reason.is_none())
            };
            shrink(fault, &untouched, MOST_TRIES, missed).fault
        }
        Err(_) => fault.clone(),
    };
    Ok(Guess::Smallest(toml_text(&smallest).unwrap_or_else(|error| {
        format!("# {} cannot be written as TOML: {error}\n", smallest.id.0)
    })))
}

/// Why a change of bytes means nothing to any reader; `None` where it may, and for changes of other kinds.
fn without_meaning(specimen: &Specimen, fault: &Fault) -> io::Result<Option<String>> {
    if !matches!(fault.injection, Injection::Ops(_)) {
        return Ok(None);
    }
    specimen.with_fault(fault, |folder| reason(specimen.folder(), folder))
}

/// Every file that differs means nothing, and at least one does differ.
fn reason(untouched: &Path, altered: &Path) -> Option<String> {
    let mut reasons = Vec::new();
    for service in Service::ALL {
        let file = service.database_file();
        let (before, after) = (untouched.join(file), altered.join(file));
        if std::fs::read(&before).ok()? != std::fs::read(&after).ok()? {
            reasons.push(format!("{file}: {}", meaning(&before, &after)?));
        }
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
