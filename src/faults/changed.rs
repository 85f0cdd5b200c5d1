//! What an injection changed: the proof that a fault was really there.
//!
//! Statements must change content, schema or statistics; everything else must change bytes, modes, links or processes.
//! Only reads, and a live file only through a read-only connection.

use crate::deployment::Service;
use crate::faults::fault::{Fault, Injection};
use crate::faults::target::Target;
use crate::snapshot::copying::hash_file;
use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::summary::summarise_open;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What was seen before or after an injection: subject → what it was, in words that differ when it differs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State(BTreeMap<String, String>);

/// Looks at what a fault may change. A file that cannot be read is a state, not an error.
#[must_use]
pub fn look(fault: &Fault, target: &Target) -> State {
    let mut state = State::default();
    match &fault.injection {
        Injection::Sql { .. } => {
            for service in fault.service.services() {
                logical(*service, target, &mut state);
            }
            if fault.benign && !target.is_live() {
                files(target, &mut state);
            }
        }
        Injection::Ops(_) | Injection::Remake(_) | Injection::Command(_) | Injection::Torn(_) => {
            if target.is_live() {
                Service::ALL
                    .iter()
                    .for_each(|service| logical(*service, target, &mut state));
            }
            files(target, &mut state);
            processes(target, &mut state);
        }
        // What it changed is told by whoever packs: unpacked, the files may be the same again.
        Injection::Archive(_)
        | Injection::Answers(_)
        | Injection::Start(_)
        | Injection::Clock(_)
        | Injection::Control(_)
        | Injection::Hook(_)
        | Injection::Record(_)
        | Injection::NotStaged(_) => {}
    }
    state
}

/// What differs, in words; empty when nothing does.
#[must_use]
pub fn differences(before: &State, after: &State) -> Vec<String> {
    let mut found = Vec::new();
    for (subject, was) in &before.0 {
        match after.0.get(subject) {
            None => found.push(format!("{subject} is gone")),
            Some(is) if is != was => found.push(format!("{subject} changed")),
            Some(_) => {}
        }
    }
    let new = after.0.keys().filter(|subject| !before.0.contains_key(*subject));
    found.extend(new.map(|subject| format!("{subject} is new")));
    found
}

fn logical(service: Service, target: &Target, state: &mut State) {
    let Some(path) = target.database(service) else { return };
    let opened = if target.is_live() {
        Database::open_live(path)
    } else {
        Database::open(path)
    };
    if let Err(error) = opened.and_then(|database| describe(service, &database, state)) {
        state.0.insert(
            format!("{service} as a whole"),
            format!("unreadable: {error}: {:?}", std::error::Error::source(&error)),
        );
    }
}

fn describe(service: Service, database: &Database, state: &mut State) -> Result<(), DatabaseError> {
    let objects = database.rows("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema", &[])?;
    for row in &objects {
        let subject = format!(
            "{service} {} {}",
            row.text("type").unwrap_or_default(),
            row.text("name").unwrap_or_default()
        );
        state.0.insert(subject, format!("{row:?}"));
    }
    for name in ["sqlite_stat1", "sqlite_stat4"] {
        if objects.iter().any(|row| row.text("name") == Some(name)) {
            let rows = database.rows(&format!("SELECT * FROM {name}"), &[])?;
            state.0.insert(format!("{service} rows of {name}"), format!("{rows:?}"));
        }
    }
    let summary = summarise_open(database)?;
    state
        .0
        .insert(format!("{service} pragmas"), format!("{:?}", summary.pragmas));
    for table in summary.tables {
        state.0.insert(
            format!("{service} rows of {}", table.name),
            format!("{} {}", table.rows, table.digest),
        );
    }
    Ok(())
}

/// Every file of every folder that the stage has. A live file's bytes move by themselves: only its mode and kind count.
fn files(target: &Target, state: &mut State) {
    let parent = |path: &Path| path.parent().map(Path::to_owned);
    let mut folders: Vec<PathBuf> = target.snapshot_dir.iter().cloned().collect();
    folders.extend(
        Service::ALL
            .iter()
            .filter_map(|service| target.database(*service).and_then(parent)),
    );
    folders.extend(target.source.iter().flatten().filter_map(|set| parent(&set.main)));
    folders.sort();
    folders.dedup();
    for folder in folders {
        describe_path(&folder, target, state);
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            describe_path(&entry.path(), target, state);
        }
    }
}

fn describe_path(path: &Path, target: &Target, state: &mut State) {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode();
    let mut words = format!("{:?} {mode:o} of {}", metadata.file_type(), metadata.uid());
    if metadata.is_symlink() {
        words.push_str(&format!(" {:?}", fs::read_link(path)));
    } else if metadata.is_file() && !target.is_live() {
        match hash_file(path) {
            Ok(record) => words.push_str(&format!(" {} {}", record.bytes, record.sha256)),
            Err(error) => words.push_str(&format!(" {error}")),
        }
    }
    state.0.insert(path.display().to_string(), words);
}

/// Whether the services' processes run, are stopped or gone.
fn processes(target: &Target, state: &mut State) {
    for service in Service::ALL {
        let Some(pid) = target.live(service).and_then(|live| live.pid) else {
            continue;
        };
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let letter = stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next());
        let words = match letter {
            None | Some('Z' | 'X') => "gone",
            Some('T' | 't') => "stopped",
            Some(_) => "alive",
        };
        let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap_or_default();
        let limits = if words == "gone" { String::new() } else { limits };
        state
            .0
            .insert(format!("process {pid} of the {service}"), format!("{words} {limits}"));
    }
}
