//! Faults of what a service creates (stage `schema`), judged by the gate on schema changes.
//!
//! The statements go onto files made of the locked schemas, as if a service had created them; none is started.

use crate::deployment::Service;
use crate::drills::context::{UsageError, chain};
use crate::drills::schema_gate::locks_folder;
use crate::drills::scratch::Outcome;
use crate::evidence::{CheckId, Finding};
use crate::faults::fault::{Fault, Stage};
use crate::faults::inject::inject;
use crate::faults::target::Target;
use crate::gate::compare::{Comparison, compare};
use crate::gate::lock::{self, LockError};
use crate::snapshot::database::Database;
use crate::snapshot::schema_rows::schema;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Tries out all faults, in their order; what alarms without any fault instead, if something does.
///
/// # Errors
/// As [`try_out`].
pub(crate) fn try_all(
    faults: &[Fault],
    forced_pass: Option<CheckId>,
) -> Result<Result<Vec<Outcome>, Vec<Finding>>, UsageError> {
    if faults.is_empty() {
        return Ok(Ok(Vec::new()));
    }
    let untouched = try_out(None, forced_pass)?;
    if untouched.is_alarmed() {
        return Ok(Err(untouched.findings));
    }
    faults
        .iter()
        .map(|fault| try_out(Some(fault), forced_pass))
        .collect::<Result<_, _>>()
        .map(Ok)
}

/// Injects a fault (or none) and lets the gate judge.
///
/// # Errors
/// [`UsageError`] when a lock cannot be read or no file be made.
fn try_out(fault: Option<&Fault>, forced_pass: Option<CheckId>) -> Result<Outcome, UsageError> {
    let began = Instant::now();
    let locks = locks_folder();
    let folder = tempfile::tempdir()
        .map_err(|error| UsageError(format!("cannot make a temporary folder for files of the gate: {error}")))?;
    let files = Service::ALL.map(|service| folder.path().join(service.database_file()));
    for (service, file) in Service::ALL.into_iter().zip(&files) {
        lock::make_database(&locks, service, file).map_err(|error| unusable(&error))?;
    }
    let mut outcome = Outcome::default();
    if let Some(fault) = fault {
        let target = Target {
            directory_db: Some(files[0].clone()),
            bus_db: Some(files[1].clone()),
            ..Target::empty(Stage::Schema, folder.path())
        };
        if let Err(error) = inject(fault, &target) {
            outcome.changed_nothing = error.is_changed_nothing();
            outcome.error = Some(chain(&error));
            return Ok(outcome);
        }
    }
    for (service, file) in Service::ALL.into_iter().zip(&files) {
        match look(&locks, service, file, fault.is_some_and(|fault| fault.lock_too)) {
            Ok(one) => outcome.findings.extend(findings(&one)),
            Err(error) => outcome.findings.push(Finding::new(
                format!("schema of the {service}"),
                "readable",
                error.0,
                "gate",
            )),
        }
    }
    if !outcome.findings.is_empty() && forced_pass != Some(CheckId::Schema) {
        outcome.failed.insert(CheckId::Schema);
    }
    outcome.took = began.elapsed();
    Ok(outcome)
}

/// Compares a file with its lock; with `lock_too` with a lock that was edited by hand to be what the file has.
fn look(locks: &Path, service: Service, file: &Path, lock_too: bool) -> Result<Comparison, UsageError> {
    let observed = Database::open(file).and_then(|database| schema(&database));
    let observed = observed.map_err(|error| UsageError(chain(&error)))?;
    let read = |folder: &Path| lock::read(folder, service).map_err(|error| unusable(&error));
    let mut held = read(locks)?;
    if lock_too {
        let made = || {
            let edited = tempfile::tempdir()?;
            fs::copy(locks.join(lock::CHANGES), edited.path().join(lock::CHANGES))?;
            let text = lock::text(service, &observed, &held.schema);
            fs::write(lock::file(edited.path(), service), text)?;
            Ok::<_, std::io::Error>(edited)
        };
        let edited = made().map_err(|error| UsageError(format!("cannot edit a copy of the locks: {error}")))?;
        held = read(edited.path())?;
    }
    Ok(compare(&held, &format!("{service}.sql"), &observed, "with a fault"))
}

fn findings(one: &Comparison) -> Vec<Finding> {
    let mut found: Vec<Finding> = one
        .changes
        .iter()
        .map(|change| {
            Finding::new(
                change.subject.clone(),
                "as locked",
                change.what.clone(),
                one.lock.clone(),
            )
        })
        .collect();
    if !one.lock_is_accepted {
        found.push(Finding::new(
            one.lock.clone(),
            "as accepted last",
            "edited by hand",
            lock::CHANGES,
        ));
    }
    found
}

fn unusable(error: &LockError) -> UsageError {
    UsageError(chain(error))
}
