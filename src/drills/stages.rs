//! The moments of a drill at which somebody else may act on its files: fault injection, and tests.

use crate::snapshot::file_set::RawSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A moment, with what exists then.
#[derive(Debug, Clone)]
pub enum Reached {
    /// The source is seeded and still runs: its database files (directory, bus).
    Source {
        /// Directory, bus.
        databases: [PathBuf; 2],
    },
    /// The raw files are copied, nothing is consolidated yet.
    Set {
        /// The folder of the raw sets.
        folder: PathBuf,
        /// The sets: directory, bus.
        raw: Box<[RawSet; 2]>,
    },
    /// The snapshot stands in its folder: plain files and manifest.
    Snapshot {
        /// The folder.
        folder: PathBuf,
    },
    /// The snapshot is restored, nothing was started on it yet.
    RestoredFiles {
        /// Directory, bus.
        databases: [PathBuf; 2],
    },
    /// The restored pair is ready, nothing was observed yet.
    Running {
        /// Directory, bus.
        databases: [PathBuf; 2],
        /// Base URLs: directory, bus.
        urls: [String; 2],
        /// Process ids: directory, bus.
        pids: [u32; 2],
    },
}

/// What whoever acted asks of the drill.
#[derive(Debug, Clone, Default)]
pub struct Acted {
    /// Addresses to ask instead of the services' own (directory, bus): a proxy stands in front.
    pub urls: [Option<String>; 2],
    /// The raw sets to go on with, at [`Reached::Set`].
    pub raw: Option<[RawSet; 2]>,
}

type Act = dyn Fn(&Reached) -> Result<Acted, String> + Send + Sync;

/// Called at each moment; an error ends the drill there.
#[derive(Clone, Default)]
pub struct Stages(Option<Arc<Act>>);

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Stages(acting)"
        } else {
            "Stages(nobody acts)"
        })
    }
}

/// Somebody who acts on a stage failed.
#[derive(Debug, thiserror::Error)]
#[error("an injection could not be done: {0}")]
pub struct StageError(String);

impl Stages {
    /// Somebody acts on the files.
    pub fn acting(act: impl Fn(&Reached) -> Result<(), String> + Send + Sync + 'static) -> Stages {
        Stages::altering(move |moment| act(moment).map(|()| Acted::default()))
    }

    /// Somebody acts, and has a say in how the drill goes on.
    pub fn altering(act: impl Fn(&Reached) -> Result<Acted, String> + Send + Sync + 'static) -> Stages {
        Stages(Some(Arc::new(act)))
    }

    /// Tells that a moment is reached; without anybody acting, nothing happens.
    ///
    /// # Errors
    /// [`StageError`] as whoever acts tells it.
    pub fn reached(&self, moment: &Reached) -> Result<Acted, StageError> {
        self.0
            .as_ref()
            .map_or_else(|| Ok(Acted::default()), |act| act(moment).map_err(StageError))
    }
}
