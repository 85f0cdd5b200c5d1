//! Takes a snapshot of a stopped deployment: `plan`, then `perform` (`copy` the raw sets, `seal` them).

use crate::snapshot::consolidate::{ConsolidateError, consolidate};
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::database::DatabaseError;
use crate::snapshot::file_set::{FileSet, RawSet};
use crate::snapshot::manifest::{FORMAT, Manifest, ServicePart, Tool};
use crate::snapshot::raw::{RawError, copy_set};
use crate::snapshot::summary::{Summary, sqlite_version, summarise};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Why no snapshot could be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// A folder of the plan is already there.
    #[error("{path} is already there; name a new folder for the snapshot")]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The raw set could not be copied.
    #[error("cannot copy the source's files")]
    Raw {
        /// The cause.
        #[from]
        source: RawError,
    },
    /// A raw set could not be consolidated: it is damaged or incomplete.
    #[error("cannot make a plain file of a raw set")]
    Consolidate {
        /// The cause.
        #[from]
        source: ConsolidateError,
    },
    /// The plain file could not be read.
    #[error("cannot summarise a plain file")]
    Database {
        /// The cause.
        #[from]
        source: DatabaseError,
    },
    /// A file could not be written.
    #[error("cannot write the snapshot")]
    File {
        /// The cause.
        #[from]
        source: CopyError,
    },
}

/// What a snapshot is to be taken of. Times come from the caller's one clock.
#[derive(Debug, Clone)]
pub struct Request {
    /// Name of the snapshot.
    pub id: String,
    /// The directory's files.
    pub directory: FileSet,
    /// The bus's files.
    pub bus: FileSet,
    /// What the directory calls itself.
    pub directory_identity: Option<String>,
    /// Where the data come from, in words.
    pub origin: String,
    /// The cut.
    pub cut_at: Option<jiff::Timestamp>,
    /// Now.
    pub taken_at: jiff::Timestamp,
    /// Where the raw sets go; must not exist.
    pub raw_folder: PathBuf,
    /// Where the snapshot goes; must not exist.
    pub folder: PathBuf,
}

/// A checked request; printing it tells what will be done.
#[derive(Debug, Clone, Serialize)]
pub struct SnapshotPlan {
    #[serde(skip)]
    request: Request,
    /// The steps in words, in order.
    pub steps: Vec<String>,
}

impl fmt::Display for SnapshotPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.steps.join("\n"))
    }
}

/// A snapshot that was taken.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

/// Checks a request; touches nothing.
///
/// # Errors
/// [`TakeError::Exists`].
pub fn plan(request: Request) -> Result<SnapshotPlan, TakeError> {
    for path in [&request.raw_folder, &request.folder] {
        if path.symlink_metadata().is_ok() {
            return Err(TakeError::Exists { path: path.clone() });
        }
    }
    let mut steps = Vec::new();
    for set in [&request.directory, &request.bus] {
        let (main, raw) = (set.main.display(), request.raw_folder.display());
        steps.push(format!("copy {main} and its -wal to {raw}, hashing while copying"));
    }
    let folder = request.folder.display();
    steps.push(format!("consolidate a copy of each raw set into {folder}"));
    steps.push(format!("write {folder}/manifest.json"));
    Ok(SnapshotPlan { request, steps })
}

/// Copies both raw sets and seals them.
///
/// # Errors
/// [`TakeError`]; no folder of the snapshot's name exists then.
pub fn perform(plan: &SnapshotPlan) -> Result<Snapshot, TakeError> {
    let raw = copy(plan)?;
    seal(plan, &raw)
}

/// Copies both raw sets, directory first.
///
/// # Errors
/// [`TakeError::Raw`], [`TakeError::File`].
pub fn copy(plan: &SnapshotPlan) -> Result<[RawSet; 2], TakeError> {
    let request = &plan.request;
    copying::create_private_folder(&request.raw_folder)?;
    Ok([
        copy_set(&request.directory, &request.raw_folder)?,
        copy_set(&request.bus, &request.raw_folder)?,
    ])
}

/// Consolidates copies of the raw sets, describes them and puts the finished folder in place.
///
/// # Errors
/// [`TakeError`]; nothing is left behind then.
pub fn seal(plan: &SnapshotPlan, raw: &[RawSet; 2]) -> Result<Snapshot, TakeError> {
    let request = &plan.request;
    let unfinished = copying::temporary_beside(&request.folder);
    let sealed = seal_in(request, raw, &unfinished).and_then(|manifest| {
        fs::rename(&unfinished, &request.folder).map_err(|source| CopyError::Write {
            path: request.folder.clone(),
            source,
        })?;
        copying::sync_folder(request.folder.parent().unwrap_or(Path::new(".")))?;
        Ok(Snapshot {
            folder: request.folder.clone(),
            manifest,
        })
    });
    if sealed.is_err() {
        // The first error is the one to report; an unfinished folder has a name that nobody takes for a snapshot.
        let _ = fs::remove_dir_all(&unfinished);
    }
    sealed
}

/// The independent, second copy of a stopped source: its plain file and what it holds. Compared with the snapshot, and
/// never made from the raw set that becomes the snapshot.
///
/// # Errors
/// [`TakeError`].
pub fn independent_copy(set: &FileSet, folder: &Path) -> Result<(PathBuf, Summary), TakeError> {
    if !folder.is_dir() {
        copying::create_private_folder(folder)?;
    }
    let raw = copy_set(set, &folder.join(format!("raw-{}", set.service)))?;
    let made = consolidate(&raw, folder)?;
    let summary = summarise(&made.path)?;
    Ok((made.path, summary))
}

fn seal_in(request: &Request, raw: &[RawSet; 2], folder: &Path) -> Result<Manifest, TakeError> {
    copying::create_private_folder(folder)?;
    let mut services = Vec::new();
    for set in raw {
        services.push(part(set, folder)?);
    }
    let manifest = Manifest {
        format: FORMAT.to_owned(),
        id: request.id.clone(),
        directory_identity: request.directory_identity.clone(),
        origin: request.origin.clone(),
        cut_at: request.cut_at.map(written),
        taken_at: written(request.taken_at),
        tool: Tool {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            sqlite: sqlite_version().to_owned(),
        },
        services,
    };
    manifest.write(folder)?;
    Ok(manifest)
}

fn part(set: &RawSet, folder: &Path) -> Result<ServicePart, TakeError> {
    let made = consolidate(set, folder)?;
    let summary = summarise(&made.path)?;
    Ok(ServicePart {
        service: set.service,
        files: vec![made.file],
        raw: set.records(),
        consolidated_from: made.used,
        wal: made.wal,
        pages: summary.pages,
        pragmas: summary.pragmas,
        schema: summary.schema,
        tables: summary.tables,
        digest: summary.digest,
    })
}

/// RFC 3339 UTC with milliseconds.
fn written(at: jiff::Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{self, request, sets_in, taken};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_snapshot_holds_both_plain_files_and_its_manifest_and_nobody_else_may_read_it() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let mut names: Vec<String> = fs::read_dir(&folder)
            .expect("listed")
            .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(names, ["beam-bus.sqlite", "beam-directory.db", "manifest.json"]);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert!(names.iter().all(|name| mode(&folder.join(name)) == 0o600));
    }

    #[test]
    fn the_snapshot_digest_is_that_of_an_independent_copy() {
        let source = recorded::at_rest();
        let run = tempfile::tempdir().expect("a temporary folder");
        let snapshot = perform(&plan(request(source.path(), run.path())).expect("planned")).expect("performed");
        for set in sets_in(source.path()) {
            let (_, summary) = independent_copy(&set, &run.path().join("second")).expect("copied");
            assert_eq!(
                snapshot.manifest.part(set.service).expect("a part").digest,
                summary.digest
            );
        }
    }

    #[test]
    fn a_failure_leaves_no_folder_of_the_snapshots_name() {
        let source = recorded::at_rest();
        fs::remove_file(source.path().join("beam-bus.sqlite-wal")).expect("removed");
        let run = tempfile::tempdir().expect("a temporary folder");
        let planned = plan(request(source.path(), run.path())).expect("planned");
        assert!(matches!(perform(&planned), Err(TakeError::Consolidate { .. })));
        let left: Vec<_> = fs::read_dir(run.path())
            .expect("listed")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left, ["raw"]);
    }

    #[test]
    fn an_existing_folder_is_not_written_into() {
        let run = taken();
        let again = plan(request(run.path(), run.path()));
        assert!(matches!(again, Err(TakeError::Exists { .. })));
    }

    #[test]
    fn a_raw_set_altered_before_sealing_is_on_record() {
        let source = recorded::at_rest();
        let run = tempfile::tempdir().expect("a temporary folder");
        let planned = plan(request(source.path(), run.path())).expect("planned");
        let raw = copy(&planned).expect("copied");
        let log = raw[1].wal_path();
        let bytes = fs::read(&log).expect("read");
        fs::write(&log, &bytes[..bytes.len() * 6 / 10]).expect("cut");
        let manifest = seal(&planned, &raw).expect("sealed").manifest;
        let part = manifest.part(Service::Bus).expect("a part");
        assert_ne!(part.raw, part.consolidated_from);
    }
}
