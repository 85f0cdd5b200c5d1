//! Recorded databases for tests: each call gives a fresh copy in a temporary folder.

use crate::deployment::Service;
use crate::snapshot::consolidate::consolidate;
use crate::snapshot::file_set::{self, FileSet};
use crate::snapshot::raw;
use crate::snapshot::take::{Request, perform, plan};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tempfile::TempDir;

/// The raw set after a clean stop.
pub(crate) fn at_rest() -> TempDir {
    copy_of("at-rest")
}

/// The consolidated set of a kill under load.
pub(crate) fn hot_crash() -> TempDir {
    copy_of("hot-crash")
}

/// The consolidated set from which the directory cannot start.
pub(crate) fn bricked() -> TempDir {
    copy_of("bricked")
}

/// Both databases of the at-rest set as plain files; consolidated once a test run, written without a sync.
pub(crate) fn plain_at_rest() -> TempDir {
    static FILES: OnceLock<Vec<(&'static str, Vec<u8>)>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let (set, into) = (at_rest(), tempfile::tempdir().expect("a temporary folder"));
        let consolidated = |service: Service| {
            let raw = raw::observe_set(service, set.path()).expect("observed");
            let made = consolidate(&raw, into.path()).expect("consolidated");
            (service.database_file(), fs::read(made.path).expect("read"))
        };
        Service::ALL.map(consolidated).to_vec()
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).expect("written");
    }
    folder
}

/// Runs statements on a file as a fault would: no foreign keys, no defence.
pub(crate) fn alter(path: &Path, sql: &str) {
    use rusqlite::config::DbConfig;
    let connection = rusqlite::Connection::open(path).expect("opened");
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)
        .expect("defensive off");
    connection
        .execute_batch("PRAGMA foreign_keys=OFF; PRAGMA synchronous=OFF;")
        .expect("keys off");
    connection.execute_batch(sql).expect("altered");
}

/// The plain file of a service in a folder.
pub(crate) fn file(folder: &TempDir, service: Service) -> PathBuf {
    folder.path().join(service.database_file())
}

/// A snapshot of the recorded at-rest set in `snapshot/`, its raw set in `raw/`.
pub(crate) fn taken() -> TempDir {
    let source = at_rest();
    let run = tempfile::tempdir().expect("a temporary folder");
    let plan = plan(request(source.path(), run.path())).expect("planned");
    perform(&plan).expect("performed");
    run
}

/// A request for a snapshot of the two usual files in `source`.
pub(crate) fn request(source: &Path, run: &Path) -> Request {
    let [directory, bus] = sets_in(source);
    Request {
        id: "test".to_owned(),
        directory,
        bus,
        directory_identity: Some("http://127.0.0.1:43110".to_owned()),
        origin: "recorded".to_owned(),
        cut_at: None,
        taken_at: "2026-11-24T00:00:00.5Z".parse().expect("a time"),
        raw_folder: run.join("raw"),
        folder: run.join("snapshot"),
    }
}

/// The two usual file sets of a folder.
pub(crate) fn sets_in(folder: &Path) -> [FileSet; 2] {
    Service::ALL.map(|service| file_set::usual(service, folder))
}

fn copy_of(name: &str) -> TempDir {
    let from = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/snapshots")
        .join(name);
    let into = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), into.path().join(entry.file_name())).expect("copied");
    }
    into
}
