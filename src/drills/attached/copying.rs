//! Two read-only copies of a stopped source, one after the other, so that they also witness that nothing moved in between.
//!
//! What is made of the copies (a snapshot, plain files) is made when the source runs again.

use crate::checks::polarity::Witness;
use crate::deployment::Service;
use crate::deployment::attached::{AttachedService, AttachedSource};
use crate::drills::attached::moving::MovingError;
use crate::drills::context::{DrillContext, Stop, chain, private_folder};
use crate::drills::instances::Deployment;
use crate::drills::taking::{self, Taken, TakingError};
use crate::drills::{Ending, at_rest};
use crate::runtime::attached::{Given, GivenError};
use crate::snapshot::consolidate::consolidate;
use crate::snapshot::copying::CopyError;
use crate::snapshot::file_set::{FileSet, RawSet, usual};
use crate::snapshot::raw::{RawError, copy_set};
use crate::snapshot::{self, Request, Snapshot, TakeError};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a fetch may take; the outage's own limit is usually shorter.
const FETCH_LIMIT: Duration = Duration::from_secs(600);

/// Why the files could not be copied.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyingError {
    /// Reading or writing failed.
    #[error(transparent)]
    Raw(#[from] RawError),
    /// A fetch command failed.
    #[error(transparent)]
    Fetch(#[from] GivenError),
    /// Its files cannot be looked at.
    #[error(transparent)]
    Moving(#[from] MovingError),
    /// A folder cannot be used.
    #[error("cannot use {path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was fetched cannot be told apart.
    #[error("{folder} holds {count} files that could be the {service}'s; fetch its main file and its -wal only")]
    Fetched {
        /// Whose.
        service: Service,
        /// Where.
        folder: PathBuf,
        /// How many.
        count: usize,
    },
    /// A worker of the harness was lost.
    #[error("a worker thread of the harness stopped")]
    Worker(#[from] tokio::task::JoinError),
}

/// The copies.
pub(crate) struct Copies {
    first: [RawSet; 2],
    second: [RawSet; 2],
    sets: [FileSet; 2],
    has_shm: [[bool; 2]; 2],
    cut_at: jiff::Timestamp,
}

impl Copies {
    /// Copies both services' files twice.
    pub(crate) async fn make(
        source: &AttachedSource,
        work: &Path,
        cut_at: jiff::Timestamp,
        outputs: &[PathBuf; 2],
    ) -> Result<Copies, CopyingError> {
        let first = sets(source, work, outputs, "first").await?;
        let (from, raw) = (first.clone(), work.join("raw"));
        let (raw, shm) = tokio::task::spawn_blocking(move || copy(&from, &raw)).await??;
        let second = sets(source, work, outputs, "second").await?;
        let independent = work.join("independent-raw");
        let (other, other_shm) = tokio::task::spawn_blocking(move || copy(&second, &independent)).await??;
        Ok(Copies {
            first: raw,
            second: other,
            sets: first,
            has_shm: [shm, other_shm],
            cut_at,
        })
    }

    /// Makes a snapshot of the first copy, and plain files of the second.
    pub(crate) async fn sealed(self, context: &mut DrillContext, deployment: &mut Deployment) -> Result<Taken, Ending> {
        let request = Request {
            id: context.evidence.run.id.clone(),
            directory: self.sets[0].clone(),
            bus: self.sets[1].clone(),
            directory_identity: deployment.identity.clone(),
            origin: format!("environment {}, attached", deployment.environment.name),
            cut_at: Some(self.cut_at),
            taken_at: jiff::Timestamp::now(),
            raw_folder: context.folders.work.join("unused"),
            folder: context.folders.snapshot.clone(),
        };
        let independent = context.folders.work.join("independent");
        let mut refused = None;
        let taken = context
            .step("take the snapshot", async {
                let taken = tokio::task::spawn_blocking(move || self.seal(request, independent)).await?;
                refused = taken.as_ref().err().map(|error| chain(error));
                let taken = taken?;
                let given = deployment.identity.take();
                let (identity, origin) = taking::identity_of(given, &taken);
                deployment.identity = identity;
                let detail = format!("{}; {origin}", taking::taken_detail(&taken.manifest));
                Ok::<_, TakingError>((taken, detail))
            })
            .await;
        if let Some(cause) = refused {
            at_rest::nothing_taken(context, &cause, None);
        }
        let taken = taken.map_err(|stop: Stop| Ending::Stop(stop))?;
        let location = taking::shown(&context.folders.snapshot);
        taking::record(context, &taken, &location);
        Ok(taken)
    }

    fn seal(self, request: Request, independent: PathBuf) -> Result<Taken, TakingError> {
        let plan = snapshot::plan(request)?;
        let Snapshot { folder, manifest } = snapshot::seal(&plan, &self.first)?;
        private_folder(&independent).map_err(|source| {
            TakeError::from(CopyError::Write {
                path: independent.clone(),
                source,
            })
        })?;
        for raw in &self.second {
            consolidate(raw, &independent).map_err(TakeError::from)?;
        }
        let [at_stop, at_restart] = [(&self.first, self.has_shm[0]), (&self.second, self.has_shm[1])]
            .map(|(raw, shm)| [witness(&raw[0], shm[0]), witness(&raw[1], shm[1])]);
        Ok(Taken {
            expected: folder.clone(),
            snapshot: folder,
            sealed: Some(manifest.clone()),
            manifest,
            independent,
            raw: Some(self.first),
            baseline: None,
            earlier: None,
            source_sets: self.sets.to_vec(),
            witnesses: at_stop,
            at_restart: Some(at_restart),
        })
    }
}

impl fmt::Display for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.first.iter().flat_map(RawSet::records).map(|file| file.bytes).sum();
        write!(f, "{bytes} bytes, twice, read-only")
    }
}

/// The bytes of a set as the copy read them.
fn witness(raw: &RawSet, has_shm: bool) -> Witness {
    Witness {
        service: raw.service,
        files: raw.records(),
        has_shm,
    }
}

fn copy(sets: &[FileSet; 2], folder: &Path) -> Result<([RawSet; 2], [bool; 2]), RawError> {
    let raw = [copy_set(&sets[0], folder)?, copy_set(&sets[1], folder)?];
    Ok((raw, [sets[0].shm().exists(), sets[1].shm().exists()]))
}

/// Where the files are read: the source's own, or what its fetch command brings.
async fn sets(
    source: &AttachedSource,
    work: &Path,
    outputs: &[PathBuf; 2],
    which: &str,
) -> Result<[FileSet; 2], CopyingError> {
    let mut sets = Vec::new();
    for (one, output) in source.each().into_iter().zip(outputs) {
        let set = match &one.data {
            Some(data) if one.fetch.is_empty() => FileSet::new(one.service, data),
            _ => fetched(one, &work.join(format!("fetched-{which}-{}", one.service)), output).await?,
        };
        sets.push(set);
    }
    let [directory, bus] = [sets[0].clone(), sets[1].clone()];
    Ok([directory, bus])
}

async fn fetched(one: &AttachedService, into: &Path, output: &Path) -> Result<FileSet, CopyingError> {
    let failed = |source| CopyingError::Folder {
        path: into.to_owned(),
        source,
    };
    private_folder(into).map_err(failed)?;
    let to = into.display().to_string();
    let given = Given {
        name: format!("fetch command of the {}", one.service),
        argv: one.fetch.iter().map(|argument| argument.replace("{to}", &to)).collect(),
        cwd: one.cwd.clone(),
        output: output.to_owned(),
        limit: FETCH_LIMIT,
    };
    given.run_or_end().await?;
    let own = usual(one.service, into);
    if own.main.is_file() {
        return Ok(own);
    }
    let companions = ["-wal", "-shm", "-journal"];
    let mut mains = Vec::new();
    for entry in fs::read_dir(into).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !companions.iter().any(|ending| name.ends_with(ending)) {
            mains.push(path);
        }
    }
    match mains.as_slice() {
        [one_file] => Ok(FileSet::new(one.service, one_file)),
        _ => Err(CopyingError::Fetched {
            service: one.service,
            folder: into.to_owned(),
            count: mains.len(),
        }),
    }
}
