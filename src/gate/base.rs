//! What a change accepts of the schemas: its locks and its `CHANGES.md` against those of the commit that it started from, so
//! that a change of service and lock together is still shown. Reads git and the work tree; writes nothing.

use crate::deployment::Service;
use crate::deployment::schema_change::{Class, SchemaChange};
use crate::deployment::schema_sql;
use crate::gate::compare::compare;
use crate::gate::git::{Change, GitError};
use crate::gate::lock::{self, CHANGES, Lock, LockError, bullet, entries};
use serde::Serialize;
use std::path::Path;

/// Why the base could not be compared with.
#[derive(Debug, thiserror::Error)]
pub enum BaseError {
    /// git could not tell.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A lock could not be read.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No folder for the locks of the base.
    #[error("cannot keep the locks of the base in a temporary folder")]
    Scratch(#[source] std::io::Error),
}

/// What differs from the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Since {
    /// What was asked for.
    pub reference: String,
    /// The commit that it has in common with HEAD, full hash.
    pub commit: String,
    /// The locks that differ from those of that commit.
    pub accepted: Vec<Accepted>,
    /// What is wrong with how they were accepted.
    pub problems: Vec<Problem>,
}

/// A lock that differs from the base's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Accepted {
    /// Whose.
    pub service: Service,
    /// The lock's file.
    pub lock: String,
    /// Whether the base had no lock of this service.
    pub is_first: bool,
    /// The reasons that `CHANGES.md` got for it, the latest at the end; empty where it got none.
    pub reasons: Vec<String>,
    /// The changes from the base's lock to this one, breaking ones first.
    pub changes: Vec<SchemaChange>,
    /// The line of the new lock that each change is about, from 1.
    pub lines: Vec<u64>,
    /// The unified diff of both locks.
    pub diff: String,
}

impl Accepted {
    /// How many changes are of a class.
    #[must_use]
    pub fn count(&self, class: Class) -> usize {
        self.changes.iter().filter(|change| change.class == class).count()
    }
}

/// Something wrong with how a lock was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file that it is about.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// What is wrong, and what to do.
    pub what: String,
}

/// Compares the locks of a folder with those of the commit that HEAD has in common with a reference. `shown` is a path as
/// messages have it.
///
/// # Errors
/// [`BaseError`].
pub fn since(folder: &Path, reference: &str, shown: impl Fn(&Path) -> String) -> Result<Since, BaseError> {
    let change = Change::since(folder, reference)?;
    let before = tempfile::tempdir().map_err(BaseError::Scratch)?;
    let list_before = change.before(CHANGES)?.unwrap_or_default();
    let list = lock::list(folder)?;
    let mut all = Since {
        reference: reference.to_owned(),
        commit: change.base.clone(),
        accepted: Vec::new(),
        problems: Vec::new(),
    };
    let list_shown = shown(&folder.join(CHANGES));
    for gone in entries(&list_before).filter(|entry| !entries(&list).any(|other| other == *entry)) {
        let head = gone.lines().next().unwrap_or_default().trim_start_matches("## ");
        all.problems.push(Problem {
            file: list_shown.clone(),
            line: 1,
            what: format!(
                "the entry \"{head}\" of commit {} is gone or altered; entries are only ever added: take it from there",
                short(&change.base)
            ),
        });
    }
    let mut added: Vec<&str> = entries(&list).collect();
    for entry in entries(&list_before) {
        if let Some(at) = added.iter().position(|other| *other == entry) {
            added.remove(at);
        }
    }
    for service in Service::ALL {
        let now = lock::read(folder, service)?;
        let path = lock::file(before.path(), service);
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let added: Vec<&str> = added.iter().copied().filter(|entry| is_of(entry, service)).collect();
        let reasons = added
            .iter()
            .filter_map(|entry| reason(entry))
            .map(str::to_owned)
            .collect();
        let Some(text) = change.before(&file)? else {
            all.accepted.push(Accepted {
                service,
                lock: shown(&now.path),
                is_first: true,
                reasons,
                changes: Vec::new(),
                lines: Vec::new(),
                diff: String::new(),
            });
            continue;
        };
        std::fs::write(&path, text).map_err(BaseError::Scratch)?;
        let was = lock::read(before.path(), service)?;
        let origin = "this change";
        let compared = compare(
            &was,
            &format!("{file} of commit {}", short(&change.base)),
            &now.schema,
            origin,
        );
        if compared.changes.is_empty() {
            continue;
        }
        let accepted = Accepted {
            service,
            lock: shown(&now.path),
            is_first: false,
            reasons,
            lines: compared.changes.iter().map(|one| new_line(&now, one)).collect(),
            changes: compared.changes,
            diff: compared.diff,
        };
        all.problems
            .extend(unaccepted(&accepted, &added, &list_shown, &change.base));
        all.accepted.push(accepted);
    }
    Ok(all)
}

/// Puts the locks as they were at the base into a folder; one that was not there then, as it is now.
///
/// # Errors
/// [`BaseError`].
pub fn put_older_locks(folder: &Path, since: &Since, into: &Path) -> Result<(), BaseError> {
    let change = Change::since(folder, &since.commit)?;
    for service in Service::ALL {
        let now = lock::read(folder, service)?;
        let to = lock::file(into, service);
        let file = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = change.before(&file)?.unwrap_or(now.text);
        std::fs::write(&to, text).map_err(BaseError::Scratch)?;
    }
    Ok(())
}

/// What is wrong with the entries that a changed lock got.
fn unaccepted(accepted: &Accepted, added: &[&str], list: &str, commit: &str) -> Option<Problem> {
    let (file, service) = (&accepted.lock, accepted.service);
    let line = accepted.lines.first().copied().unwrap_or(1);
    let again = format!(
        "take {file} and {list} from commit {} and run `cargo xtask schema --write --reason \"…\"`",
        short(commit)
    );
    let what = match added {
        [] => format!("the lock of the {service} was changed, and {list} got no entry that says why: {again}"),
        _ if accepted.reasons.len() < added.len() => {
            format!("an entry of the {service} in {list} gives no reason: {again}")
        }
        // Several entries tell the change in steps that are not those from the base.
        [entry] => {
            let missing = accepted
                .changes
                .iter()
                .find(|one| !entry.contains(bullet(one).trim_end()))?;
            format!(
                "the entry of the {service} in {list} does not tell \"{}: {} {}\": {again}",
                missing.class.word(),
                missing.subject,
                missing.what
            )
        }
        _ => return None,
    };
    Some(Problem {
        file: file.clone(),
        line,
        what,
    })
}

/// The line of the changed lock that a change is about: the new column or index, else its table, else the first.
fn new_line(now: &Lock, change: &SchemaChange) -> u64 {
    let table = change
        .subject
        .strip_prefix("table ")
        .and_then(|_| change.what.strip_prefix("renamed to "))
        .unwrap_or(&change.table);
    schema_sql::line_of(&now.text, table, change.observed_name.as_deref()) as u64
}

fn is_of(entry: &str, service: Service) -> bool {
    let head = entry.lines().next().unwrap_or_default();
    head.ends_with(&format!(", {service}"))
}

/// The reason that an entry gives.
fn reason(entry: &str) -> Option<&str> {
    let reason = entry.lines().find_map(|line| line.strip_prefix("Reason: "))?.trim();
    (!reason.is_empty()).then_some(reason)
}

fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
