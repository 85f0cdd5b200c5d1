//! The moments of a drill at which somebody else may act on its files: fault injection, and tests.

use crate::drills::clock::Clock;
use crate::faults::fault::Control;
use crate::snapshot::file_set::RawSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

/// A moment, with what exists then.
#[derive(Debug, Clone)]
pub enum Reached {
    /// The source is whole and runs, nothing was observed yet: what happens now is part of its life.
    Living {
        /// Directory, bus.
        databases: [PathBuf; 2],
        /// Base URLs: directory, bus.
        urls: [String; 2],
        /// Process ids, where they may be signalled from here: directory, bus.
        pids: [Option<u32>; 2],
    },
    /// The source was looked at (the baseline) and still runs.
    Source {
        /// Directory, bus.
        databases: [PathBuf; 2],
        /// Base URLs: directory, bus.
        urls: [String; 2],
        /// Process ids, where they may be signalled from here: directory, bus.
        pids: [Option<u32>; 2],
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
    /// The clean instances are ready, nothing was observed yet.
    Clean {
        /// Base URLs: directory, bus.
        urls: [String; 2],
    },
    /// The restored pair is ready, nothing was observed yet.
    Running {
        /// Directory, bus.
        databases: [PathBuf; 2],
        /// Base URLs: directory, bus.
        urls: [String; 2],
        /// Process ids, where they may be signalled from here: directory, bus.
        pids: [Option<u32>; 2],
    },
}

/// What whoever acted asks of the drill.
#[derive(Debug, Clone, Default)]
pub struct Acted {
    /// Addresses to ask instead of the services' own (directory, bus): a proxy stands in front.
    pub urls: [Option<String>; 2],
    /// The raw sets to go on with, at [`Reached::Set`].
    pub raw: Option<[RawSet; 2]>,
    /// Why there is no snapshot any more, at [`Reached::Snapshot`].
    pub refused: Option<String>,
    /// What is done to the restored services, at [`Reached::Running`].
    pub control: Vec<Control>,
    /// By how much the harness's wall clock steps, milliseconds.
    pub step_ms: i64,
}

impl Acted {
    /// The addresses to ask, where the services' own are these (directory, bus).
    #[must_use]
    pub fn instead_of(self, urls: [String; 2]) -> [String; 2] {
        let [directory, bus] = urls;
        let [other_directory, other_bus] = self.urls;
        [other_directory.unwrap_or(directory), other_bus.unwrap_or(bus)]
    }
}

type Act = dyn Fn(&Reached) -> Result<Acted, String> + Send + Sync;

/// Called at each moment; an error ends the drill there.
#[derive(Clone, Default)]
pub struct Stages {
    act: Option<Arc<Act>>,
    clock: Clock,
}

impl fmt::Debug for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.act.is_some() {
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
        Stages {
            act: Some(Arc::new(act)),
            clock: Clock::default(),
        }
    }

    /// The run's wall clock, which whoever acts may step.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Tells that a moment is reached; without anybody acting, nothing happens.
    ///
    /// # Errors
    /// [`StageError`] as whoever acts tells it.
    pub fn reached(&self, moment: &Reached) -> Result<Acted, StageError> {
        let Some(act) = &self.act else {
            return Ok(Acted::default());
        };
        let acted = act(moment).map_err(StageError)?;
        self.clock.step(acted.step_ms);
        Ok(acted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls() -> [String; 2] {
        ["http://directory", "http://bus"].map(str::to_owned)
    }

    #[test]
    fn only_the_addresses_that_are_named_are_asked_instead() {
        let acted = Acted {
            urls: [None, Some("http://proxy".to_owned())],
            ..Acted::default()
        };
        assert_eq!(acted.instead_of(urls()), ["http://directory", "http://proxy"]);
    }

    #[test]
    fn whoever_acts_steps_the_clock_of_the_run() {
        let step = |_: &Reached| {
            Ok(Acted {
                step_ms: 3_600_000,
                ..Acted::default()
            })
        };
        let stages = Stages::altering(step);
        let clock = stages.clock();
        stages.reached(&Reached::Clean { urls: urls() }).expect("acted");
        assert!(clock.now() > jiff::Timestamp::now() + jiff::SignedDuration::from_mins(59));
    }
}
