//! The moments of a drill at which somebody else may act on its files: fault injection, and tests.

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
        /// Process ids: directory, bus.
        pids: [u32; 2],
    },
}

type Act = dyn Fn(&Reached) -> Result<(), String> + Send + Sync;

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
    /// Somebody acts.
    pub fn acting(act: impl Fn(&Reached) -> Result<(), String> + Send + Sync + 'static) -> Stages {
        Stages(Some(Arc::new(act)))
    }

    /// Tells that a moment is reached; without anybody acting, nothing happens.
    ///
    /// # Errors
    /// [`StageError`] as whoever acts tells it.
    pub fn reached(&self, moment: &Reached) -> Result<(), StageError> {
        self.0.as_ref().map_or(Ok(()), |act| act(moment).map_err(StageError))
    }
}
