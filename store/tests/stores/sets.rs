//! Snapshots to be stored, made of the recorded set.

use recovery_drills::deployment::Service;
use recovery_drills::snapshot::file_set::FileSet;
use recovery_drills::snapshot::{self, Request};
use std::fs;
use std::path::{Path, PathBuf};

fn recorded() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/snapshots/at-rest")
}

/// A snapshot of the recorded set, as taken at that time.
pub(crate) fn taken(in_folder: &Path, at: &str) -> PathBuf {
    snapshot_of(&recorded(), in_folder, at)
}

/// A snapshot of the recorded set in which one file is longer than a part by rows that the other lacks.
pub(crate) fn taken_later(in_folder: &Path, at: &str) -> PathBuf {
    let altered = tempfile::tempdir().expect("a temporary folder");
    for entry in fs::read_dir(recorded()).expect("listed").flatten() {
        fs::copy(entry.path(), altered.path().join(entry.file_name())).expect("copied");
    }
    let path = altered.path().join("beam-bus.sqlite-wal");
    // The last frames are gone: fewer rows, the same file otherwise.
    let bytes = fs::read(&path).expect("read");
    fs::write(&path, &bytes[..bytes.len() - 4_120]).expect("cut");
    snapshot_of(altered.path(), in_folder, at)
}

fn snapshot_of(set: &Path, in_folder: &Path, at: &str) -> PathBuf {
    let taken_at: jiff::Timestamp = at.parse().expect("a time");
    let name = format!("taken-{}", taken_at.as_millisecond());
    let folder = in_folder.join(&name);
    let adopted = snapshot::adopt(set, &in_folder.join(format!("{name}-raw"))).expect("adopted");
    let file = |at: usize| FileSet::new(Service::ALL[at], set.join(&adopted.names[at]));
    let request = Request {
        id: name.clone(),
        directory: file(0),
        bus: file(1),
        directory_identity: None,
        origin: "recorded".to_owned(),
        cut_at: None,
        taken_at,
        raw_folder: in_folder.join(format!("{name}-unused")),
        folder: folder.clone(),
    };
    let plan = snapshot::plan(request).expect("planned");
    snapshot::seal(&plan, &adopted.raw).expect("sealed");
    folder
}

/// The files of a folder and their bytes.
pub(crate) fn files(folder: &Path) -> std::collections::BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).expect("listed").flatten();
    let file = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        (name, fs::read(entry.path()).expect("read"))
    };
    entries.filter(|entry| entry.path().is_file()).map(file).collect()
}
