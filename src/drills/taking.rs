//! Taking the set that is restored: from the stopped source, or from a given backup; always with a second, independent copy.

use crate::checks::expectation::Objects;
use crate::checks::polarity::{self, Witness};
use crate::deployment::Service;
use crate::drills::context::{DrillContext, Stop, UsageError, chain};
use crate::drills::instances::Deployment;
use crate::drills::intake::{IntakeError, at_hand};
use crate::drills::source::{StoppedSource, Written};
use crate::drills::stages::{Reached, StageError, Stages};
use crate::drills::{Ending, at_rest};
use crate::evidence::{CheckId, SnapshotRecord, StoredFile, TableRecord, sha256};
use crate::snapshot::adopt::AdoptError;
use crate::snapshot::copying::CopyError;
use crate::snapshot::database::Database;
use crate::snapshot::file_set::{FileSet, RawSet, usual};
use crate::snapshot::manifest::{FILE_NAME, Manifest, ManifestError};
use crate::snapshot::{self, Request, Snapshot, TakeError};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Why the set could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakingError {
    /// Copying, consolidating or describing failed.
    #[error(transparent)]
    Take(#[from] TakeError),
    /// The given backup could not be had.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// The plain backup could not be adopted.
    #[error(transparent)]
    Adopt(#[from] AdoptError),
    /// The manifest of the given snapshot cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file could not be hashed.
    #[error("cannot hash the given files")]
    Hash(#[from] CopyError),
    /// What whoever acts made of the snapshot was refused.
    #[error("{0}")]
    Refused(String),
    /// Whoever acts on a stage failed.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// A worker of the harness was lost.
    #[error("a worker thread of the harness stopped")]
    Worker(#[from] tokio::task::JoinError),
}

/// What is restored, and what it is held against.
pub struct Taken {
    /// The folder of the snapshot.
    pub snapshot: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest as the harness sealed it, before anybody could alter the folder; `None` for a set sealed by others.
    pub sealed: Option<Manifest>,
    /// Folder of the plain files made from the second, independent copy.
    pub independent: PathBuf,
    /// Folder of the plain files whose rows say what must be seen again: the snapshot's own.
    pub expected: PathBuf,
    /// The raw sets, where the harness took them.
    pub raw: Option<[RawSet; 2]>,
    /// What services answer that run on a copy of a given set, where it plays the source of faults.
    pub baseline: Option<BTreeMap<CheckId, Objects>>,
    /// The source's file sets from before its last writes, where the harness kept them; only faults need them.
    pub earlier: Option<[FileSet; 2]>,
    /// The source's file sets; under `--from` the given ones.
    pub source_sets: Vec<FileSet>,
    /// Their bytes at the proven stop; under `--from` before anything was copied.
    pub witnesses: [Witness; 2],
    /// Of an attached source, which runs again: its bytes just before its restart. Otherwise it is looked at again at the end.
    pub at_restart: Option<[Witness; 2]>,
}

impl TakingError {
    /// What was named that is no backup at all, if so.
    fn usage(&self) -> Option<UsageError> {
        let is_usage = match self {
            TakingError::Adopt(error) => error.is_usage(),
            TakingError::Intake(IntakeError::Archive(error)) => error.is_usage(),
            _ => false,
        };
        is_usage.then(|| UsageError(format!("--from: {}", chain(self))))
    }

    /// Why there is no set to be judged; an old one is there.
    fn without_set(&self) -> Option<String> {
        let is_dated = matches!(self, TakingError::Intake(IntakeError::Date(_)));
        (!is_dated).then(|| chain(self))
    }
}

impl Taken {
    /// Tables of both databases without a row, sorted.
    #[must_use]
    pub fn empty_tables(&self) -> Vec<String> {
        let tables = self.manifest.services.iter().flat_map(|part| &part.tables);
        let mut empty: Vec<String> = tables
            .filter(|table| table.rows == 0)
            .map(|table| table.name.clone())
            .collect();
        empty.sort();
        empty
    }
}

/// Copies the stopped source twice and makes the snapshot of the first copy.
///
/// # Errors
/// [`Stop`].
pub async fn from_source(
    context: &mut DrillContext,
    source: &StoppedSource,
    deployment: &Deployment,
    written: &Written,
) -> Result<Taken, Stop> {
    let request = Request {
        id: context.evidence.run.id.clone(),
        directory: source.sets[0].clone(),
        bus: source.sets[1].clone(),
        directory_identity: deployment.identity.clone(),
        origin: format!(
            "environment {}, drill {}",
            deployment.environment.name, context.request.drill
        ),
        cut_at: Some(source.cut_at),
        taken_at: jiff::Timestamp::now(),
        raw_folder: context.folders.work.join("raw"),
        folder: context.folders.snapshot.clone(),
    };
    let independent = context.folders.work.join("independent");
    let sets = source.sets.clone();
    let stages = context.request.stages.clone();
    let mut refused = None;
    let taken = context
        .step("take the snapshot", async {
            let taken = tokio::task::spawn_blocking(move || take(request, &sets, independent, &stages)).await?;
            refused = taken.as_ref().err().map(|error| chain(error));
            let taken = taken?;
            let detail = taken_detail(&taken.manifest);
            Ok::<_, TakingError>((taken, detail))
        })
        .await;
    if let Some(cause) = refused {
        at_rest::nothing_taken(context, &cause, Some(written));
    }
    let taken = taken?;
    let location = shown(&context.folders.snapshot);
    record(context, &taken, &location);
    Ok(taken)
}

fn take(request: Request, sets: &[FileSet; 2], independent: PathBuf, stages: &Stages) -> Result<Taken, TakingError> {
    let witnesses = [polarity::witness(&sets[0])?, polarity::witness(&sets[1])?];
    let raw_folder = request.raw_folder.clone();
    let plan = snapshot::plan(request)?;
    let (made, second) = std::thread::scope(|scope| {
        let second = scope.spawn(|| independent_copies(sets, &independent));
        let made = || {
            let raw = snapshot::copy(&plan)?;
            let acted = stages.reached(&Reached::Set {
                folder: raw_folder,
                raw: Box::new(raw.clone()),
            })?;
            let raw = acted.raw.unwrap_or(raw);
            let sealed = snapshot::seal(&plan, &raw)?;
            Ok::<_, TakingError>((raw, sealed))
        };
        (made(), second.join())
    });
    let (
        raw,
        Snapshot {
            folder,
            manifest: sealed,
        },
    ) = made?;
    second.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let acted = stages.reached(&Reached::Snapshot { folder: folder.clone() })?;
    if let Some(cause) = acted.refused {
        return Err(TakingError::Refused(cause));
    }
    // Whoever acted may have resealed the manifest.
    let manifest = Manifest::read(&folder).unwrap_or_else(|_| sealed.clone());
    Ok(Taken {
        expected: folder.clone(),
        snapshot: folder,
        manifest,
        sealed: Some(sealed),
        independent,
        raw: Some(raw),
        baseline: None,
        earlier: None,
        source_sets: sets.to_vec(),
        witnesses,
        at_restart: None,
    })
}

fn independent_copies(sets: &[FileSet; 2], folder: &Path) -> Result<(), TakeError> {
    sets.iter()
        .try_for_each(|set| snapshot::independent_copy(set, folder).map(|_| ()))
}

/// Takes copies of a given snapshot or plain backup; the given folder is only read, as bytes.
///
/// # Errors
/// [`Ending::Usage`] when the folder holds no backup at all; [`Ending::Stop`] when it holds one that cannot be read.
pub async fn from_backup(
    context: &mut DrillContext,
    from: &Path,
    deployment: &mut Deployment,
) -> Result<Taken, Ending> {
    // Under --from the recovery begins here: whatever cannot be read now is a failed recovery.
    context.outage_began = Some(std::time::Instant::now());
    let work = context.folders.work.clone();
    let (from, id) = (from.to_owned(), context.evidence.run.id.clone());
    let named = from.clone();
    let rules = context.request.given;
    let stored = context.folders.snapshot.clone();
    let identity = deployment.identity.clone();
    let mut usage = None;
    let mut refused = None;
    let taken = context
        .step("copy the given backup", async {
            let taken = tokio::task::spawn_blocking(move || {
                let given = at_hand(&from, &rules, &work, &stored)?;
                if given.join(FILE_NAME).symlink_metadata().is_ok() {
                    given_snapshot(&given, &work)
                } else {
                    plain_backup(&given, &from, &work, stored, id, identity)
                }
            })
            .await?;
            usage = taken.as_ref().err().and_then(TakingError::usage);
            refused = taken.as_ref().err().and_then(TakingError::without_set);
            let taken = taken?;
            let given = deployment.identity.take();
            let (identity, origin) = identity_of(given, &taken);
            deployment.identity = identity;
            let detail = format!("{}; {origin}", taken_detail(&taken.manifest));
            Ok::<_, TakingError>((taken, detail))
        })
        .await;
    let taken = match (taken, usage) {
        (Ok(taken), _) => taken,
        (Err(_), Some(usage)) => return Err(Ending::Usage(usage)),
        (Err(stop), None) => {
            if let Some(cause) = refused {
                at_rest::nothing_taken(context, &cause, None);
            }
            return Err(Ending::Stop(stop));
        }
    };
    // A snapshot of ours that was unpacked or fetched lies with the run now.
    let is_here = taken.snapshot == context.folders.snapshot && taken.sealed.is_none();
    let location = if is_here { taken.snapshot.clone() } else { named };
    record(context, &taken, &shown(&location));
    Ok(taken)
}

/// What the directory called itself when the backup was taken, and how that is known. Roles are bound to this exact text.
pub(crate) fn identity_of(given: Option<String>, taken: &Taken) -> (Option<String>, String) {
    if let Some(identity) = given {
        return (
            Some(identity.clone()),
            format!("directory identity {identity} as given"),
        );
    }
    if let Some(identity) = &taken.manifest.directory_identity {
        return (
            Some(identity.clone()),
            format!("directory identity {identity} from the manifest"),
        );
    }
    let path = taken.independent.join(Service::Directory.database_file());
    let sql = "SELECT DISTINCT directory_url FROM directory_roles";
    let found = Database::open(&path)
        .and_then(|database| database.rows(sql, &[]))
        .unwrap_or_default();
    match found.as_slice() {
        [row] if row.text("directory_url").is_some() => {
            let identity = row.text("directory_url").unwrap_or_default().to_owned();
            let origin = format!("directory identity {identity} from the only value in directory_roles");
            (Some(identity), origin)
        }
        rows => (
            None,
            format!(
                "directory identity unknown ({} values in directory_roles): its address",
                rows.len()
            ),
        ),
    }
}

/// A snapshot of ours: its folder is copied, and the copy is what is restored.
fn given_snapshot(given: &Path, work: &Path) -> Result<Taken, TakingError> {
    let manifest = Manifest::read(given)?;
    let sets = Service::ALL.map(|service| usual(service, given));
    let witnesses = [polarity::witness(&sets[0])?, polarity::witness(&sets[1])?];
    let independent = work.join("independent");
    independent_copies(&sets, &independent)?;
    Ok(Taken {
        snapshot: given.to_owned(),
        expected: given.to_owned(),
        manifest,
        sealed: None,
        independent,
        raw: None,
        baseline: None,
        earlier: None,
        source_sets: sets.to_vec(),
        witnesses,
        at_restart: None,
    })
}

/// A plain backup: both databases are recognised by their tables, copied, and made a snapshot of this run.
fn plain_backup(
    given: &Path,
    known_as: &Path,
    work: &Path,
    stored: PathBuf,
    id: String,
    identity: Option<String>,
) -> Result<Taken, TakingError> {
    let adopted = snapshot::adopt(given, &work.join("raw"))?;
    let named = |at: usize| FileSet::new(Service::ALL[at], given.join(&adopted.names[at]));
    let sets = [named(0), named(1)];
    let witnesses = [polarity::witness(&sets[0])?, polarity::witness(&sets[1])?];
    let request = Request {
        id,
        directory: sets[0].clone(),
        bus: sets[1].clone(),
        directory_identity: identity,
        origin: format!("plain backup {}", known_as.display()),
        cut_at: None,
        taken_at: jiff::Timestamp::now(),
        raw_folder: work.join("unused"),
        folder: stored,
    };
    let plan = snapshot::plan(request)?;
    let Snapshot { folder, manifest } = snapshot::seal(&plan, &adopted.raw)?;
    let independent = work.join("independent");
    independent_copies(&sets, &independent)?;
    Ok(Taken {
        expected: folder.clone(),
        snapshot: folder,
        sealed: Some(manifest.clone()),
        manifest,
        independent,
        raw: Some(adopted.raw),
        baseline: None,
        earlier: None,
        source_sets: sets.to_vec(),
        witnesses,
        at_restart: None,
    })
}

pub(crate) fn taken_detail(manifest: &Manifest) -> String {
    let one = |service: Service| {
        let part = manifest.part(service);
        let bytes: u64 = part.map_or(0, |part| part.files.iter().map(|file| file.bytes).sum());
        let rows: u64 = part.map_or(0, |part| part.tables.iter().map(|table| table.rows).sum());
        format!("{service} {bytes} bytes, {rows} rows")
    };
    Service::ALL.map(one).join("; ")
}

/// A path relative to the working directory where it lies below it.
pub(crate) fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// The SQLite that last wrote a database file: its version number stands in bytes 96 to 99 of the header.
/// Source: SQLite file format, section 1.3.14.
fn last_writer(path: &Path) -> Option<String> {
    let mut header = [0_u8; 100];
    std::fs::File::open(path)
        .and_then(|mut file| file.read_exact(&mut header))
        .ok()?;
    let number = u32::from_be_bytes([header[96], header[97], header[98], header[99]]);
    (number > 0).then(|| format!("{}.{}.{}", number / 1_000_000, number / 1_000 % 1_000, number % 1_000))
}

pub(crate) fn record(context: &mut DrillContext, taken: &Taken, location: &str) {
    for service in Service::ALL {
        let version = last_writer(&taken.independent.join(service.database_file()));
        let mut components = context.evidence.components.iter_mut();
        if let Some(component) = components.find(|component| component.name == service.name()) {
            component.sqlite_version = version;
        }
    }
    context
        .evidence
        .commands
        .push(format!("cargo xtask snapshot verify {location}"));
    for part in &taken.manifest.services {
        context.evidence.snapshots.push(SnapshotRecord {
            service: part.service,
            location: location.to_owned(),
            taken_at: taken.manifest.taken_at.clone(),
            manifest_sha256: sha256(taken.manifest.text().as_bytes()),
            files: part
                .files
                .iter()
                .map(|file| StoredFile {
                    path: file.path.clone(),
                    bytes: file.bytes,
                    sha256: file.sha256.clone(),
                })
                .collect(),
            schema: part.schema.clone().into(),
            tables: part
                .tables
                .iter()
                .map(|table| TableRecord {
                    name: table.name.clone(),
                    rows: table.rows,
                    digest: table.digest.clone(),
                })
                .collect(),
        });
    }
}
