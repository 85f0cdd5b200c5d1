//! Tests of the catalogue itself: every fault on files changes a recorded set, or that set has no row for it.

use crate::deployment::Service;
use crate::faults::catalogue::Catalogue;
use crate::faults::fault::{Fault, Injection, Stage};
use crate::faults::inject::{FaultError, Injected, inject};
use crate::faults::target::Target;
use crate::snapshot::consolidate::consolidate;
use crate::snapshot::raw::observe_set;
use crate::snapshot::recorded::{alter, at_rest, file, sets_in, taken};
use crate::snapshot::summary::{Summary, summarise};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// Faults for which the recorded at-rest set has no row.
const NO_SUCH_ROW: &[&str] = &[
    // Written without a kill: nothing is under way.
    "in-flight-without-trace",
    // Its names are plain ASCII.
    "unicode-denormalised",
    // Its policies are those of fresh rows.
    "policy-emptied",
    // No session was revoked.
    "revoked-session-live",
    // Recorded, not drilled: nobody knows its cut.
    "manifest-cut-earlier",
];

fn catalogue() -> Catalogue {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/faults");
    Catalogue::load(&[folder]).expect("a catalogue")
}

fn at(stage: Stage) -> Vec<Fault> {
    let Catalogue { faults, benign } = catalogue();
    let all = faults.into_iter().chain(benign);
    all.filter(|fault| fault.stage == stage && fault.is_at_rest()).collect()
}

/// A copy of one snapshot of the recorded set.
fn copy_of_taken() -> TempDir {
    static TAKEN: OnceLock<TempDir> = OnceLock::new();
    let from = TAKEN.get_or_init(taken).path().join("snapshot");
    let run = tempfile::tempdir().expect("a temporary folder");
    let to = run.path().join("snapshot");
    DirBuilder::new().mode(0o700).create(&to).expect("a folder");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
    run
}

/// The raw set as another run left it: another directory, a longer log of the bus.
fn of_another_run() -> TempDir {
    let set = at_rest();
    alter(&file(&set, Service::Directory), "UPDATE agents SET flagged=1-flagged");
    let wal = set.path().join("beam-bus.sqlite-wal");
    let longer = [fs::read(&wal).expect("read"), vec![0; 100]].concat();
    fs::write(wal, longer).expect("written");
    set
}

/// A folder in which the fault was injected, if it could be.
fn injected(fault: &Fault) -> (TempDir, Result<Injected, FaultError>) {
    match fault.stage {
        Stage::Set => {
            let set = at_rest();
            let raw = Service::ALL.map(|service| observe_set(service, set.path()).expect("observed"));
            let other = of_another_run();
            let target = Target {
                clean: Some(sets_in(other.path())),
                earlier: Some(sets_in(other.path())),
                ..Target::set(&raw, set.path())
            };
            let result = inject(fault, &target);
            (set, result)
        }
        stage => {
            let run = copy_of_taken();
            let folder = run.path().join("snapshot");
            let source = at_rest();
            let target = Target {
                stage,
                source: Some(sets_in(source.path())),
                ..Target::snapshot(&folder, run.path())
            };
            let result = inject(fault, &target);
            (run, result)
        }
    }
}

/// Ids with what went wrong, of all faults of a stage.
fn failures(stage: Stage) -> BTreeMap<String, String> {
    let faults = at(stage);
    assert!(!faults.is_empty());
    let failed = faults.iter().filter_map(|fault| {
        let (_folder, result) = injected(fault);
        let error = result.err()?;
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        Some((fault.id.0.clone(), format!("{error}: {cause:?}")))
    });
    failed.collect()
}

#[test]
fn every_fault_of_a_snapshot_bites_where_there_is_a_row() {
    let failed = failures(Stage::Snapshot);
    let without_row: Vec<&String> = failed
        .iter()
        .filter(|(_, why)| why.contains("changed nothing"))
        .map(|(id, _)| id)
        .collect();
    let broken: Vec<_> = failed
        .iter()
        .filter(|(_, why)| !why.contains("changed nothing"))
        .collect();
    assert!(broken.is_empty(), "{broken:#?}");
    let mut expected = NO_SUCH_ROW.to_vec();
    expected.sort_unstable();
    assert_eq!(without_row, expected);
}

#[test]
fn every_fault_of_a_raw_set_bites() {
    // The at-rest directory was stopped in order: it has no log that could get lost.
    let failed = failures(Stage::Set);
    assert_eq!(
        failed.keys().collect::<Vec<_>>(),
        ["directory-main-without-wal"],
        "{failed:#?}"
    );
}

#[test]
fn every_fault_of_restored_files_bites() {
    assert_eq!(failures(Stage::RestoredFiles), BTreeMap::new());
}

#[test]
fn benign_controls_leave_content_and_schema_as_they_are() {
    let summaries =
        |folder: PathBuf| Service::ALL.map(|service| summarise(&folder.join(service.database_file())).expect("read"));
    let meant = |summary: &Summary| (summary.digest.clone(), summary.schema.clone());
    let clean = copy_of_taken();
    let expected = summaries(clean.path().join("snapshot"));
    for fault in catalogue().benign.iter().filter(|fault| fault.is_at_rest()) {
        let (folder, result) = injected(fault);
        let injected = result.unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        let plain = match injected.raw {
            None => folder.path().join("snapshot"),
            Some(raw) => {
                let plain = folder.path().join("plain");
                fs::create_dir(&plain).expect("a folder");
                raw.iter()
                    .for_each(|set| drop(consolidate(set, &plain).expect("consolidated")));
                plain
            }
        };
        let is = summaries(plain);
        for (expected, is) in expected.iter().zip(&is) {
            assert_eq!(meant(expected), meant(is), "{}", fault.id.0);
        }
    }
}

#[test]
fn every_check_over_http_owns_a_fault_that_no_file_shows() {
    use crate::evidence::CheckId;
    let Catalogue { faults, .. } = catalogue();
    for id in [
        CheckId::Health,
        CheckId::Release,
        CheckId::Agents,
        CheckId::Acl,
        CheckId::Roles,
        CheckId::Requests,
        CheckId::Notifications,
        CheckId::Workspaces,
        CheckId::Traces,
        CheckId::Nonces,
        CheckId::Bus,
        CheckId::Audit,
        CheckId::Credentials,
        CheckId::WritePath,
        CheckId::Rto,
    ] {
        let owns = |fault: &Fault| matches!(fault.injection, Injection::Answers(_)) && fault.caught_by.contains(&id);
        assert!(faults.iter().any(owns), "{id}");
    }
}
