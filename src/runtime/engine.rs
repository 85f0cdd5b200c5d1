//! What the harness asks of a container engine. The engine itself is a package of its own (`containers`), so that whoever
//! drills processes only does not build it.

use crate::runtime::process::ProcessError;
use crate::runtime::running::{Later, Running};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why the engine cannot do what it was asked before or after all services: no engine, no image, nothing removed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct EngineError(pub String);

/// How a service's files get into its container and out of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mount {
    /// A named volume, filled and read through the engine's copy interface: harness and engine share no file system.
    #[default]
    Volume,
    /// The folder of the files itself: a change to the files is seen at once on both sides.
    Bind,
}

impl Mount {
    /// Parses the word in files and variables.
    #[must_use]
    pub fn parse(word: &str) -> Option<Mount> {
        match word {
            "volume" => Some(Mount::Volume),
            "bind" => Some(Mount::Bind),
            _ => None,
        }
    }
}

/// Whose containers, networks and volumes are: what they are labelled with, so that they are found after a crash.
#[derive(Debug, Clone)]
pub struct Owner {
    /// The run's id.
    pub run: String,
    /// The run's folder, whose lock tells whether the harness still lives.
    pub folder: PathBuf,
    /// How long the run may take: what is older is nobody's any more.
    pub limit: Duration,
}

/// How a service is started in a container. Holds secrets in `variables`, so it is never printed.
pub struct ContainerLaunch {
    /// Whose it is.
    pub owner: Owner,
    /// Name for messages: `directory`, `bus`.
    pub name: String,
    /// The image; `None` for the reference services' own.
    pub image: Option<String>,
    /// What follows the image's entry point; the image's own command where empty.
    pub arguments: Vec<String>,
    /// Variables.
    pub variables: BTreeMap<String, String>,
    /// Its name in the run's network.
    pub host_name: String,
    /// The port that it listens on in its container.
    pub port: u16,
    /// The port on this side; a free one where `None`.
    pub published: Option<u16>,
    /// Its database file on this side: put into the container before the start (with its `-wal`), if it exists.
    pub database: PathBuf,
    /// The folder of its database in the container; the folder above is the volume's.
    pub folder: String,
    /// The bus's identities on this side.
    pub identity_file: PathBuf,
    /// Where they stand in the container: in the folder above.
    pub identities: String,
    /// Where its output goes.
    pub log: PathBuf,
    /// How its files get in and out.
    pub mount: Mount,
    /// Whether it may reach, and be reached by, nobody but the run's other services and the harness.
    pub is_apart: bool,
}

/// A started container.
#[derive(Debug)]
pub struct Started {
    /// The service.
    pub running: Box<dyn Running>,
    /// The address on this side that its port is published on.
    pub host: String,
    /// The published port.
    pub port: u16,
}

/// A container engine.
pub trait Engine: fmt::Debug + Send + Sync {
    /// Makes sure that the image (`None`: the reference services' own) is there; never pulls.
    fn ensure_image<'a>(&'a self, image: Option<&'a str>) -> Later<'a, Result<(), EngineError>>;

    /// Whether a folder of this machine can be mounted: engine and harness share a file system.
    fn shares_files(&self) -> bool;

    /// Starts a service; its network is made with the first one of the run.
    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Later<'a, Result<Started, ProcessError>>;

    /// Removes everything of all runs of this process: for a campaign that was interrupted.
    fn remove_own(&self) -> Later<'_, ()>;

    /// Removes everything that is labelled with the run.
    fn remove_run<'a>(&'a self, run: &'a str) -> Later<'a, Result<(), EngineError>>;
}
