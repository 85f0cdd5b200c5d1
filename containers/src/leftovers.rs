//! What runs left: found by label, removed when their harness is gone.

use crate::chain;
use crate::engine::ContainerEngine;
use futures_util::StreamExt as _;
use recovery_drills::drills::context::is_abandoned;
use recovery_drills::runtime::engine::EngineError;
use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, ListVolumesOptionsBuilder, RemoveContainerOptionsBuilder,
    RemoveVolumeOptionsBuilder, WaitContainerOptionsBuilder,
};

/// Label: the run's id.
pub(crate) const RUN: &str = "recovery-drills.run";
/// Label: the run's folder on the machine of the harness.
pub(crate) const FOLDER: &str = "recovery-drills.folder";
/// Label: that machine's name.
pub(crate) const HOST: &str = "recovery-drills.host";
/// Label: when it is nobody's any more, seconds since the epoch.
pub(crate) const DEADLINE: &str = "recovery-drills.deadline";

/// How long after its deadline something of another machine is kept.
const GRACE_S: i64 = 600;

/// How often a run's things are looked for and removed, and how long is waited where something is still in use.
const REMOVALS: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);

/// A kind of thing, and how it is found and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Container,
    Network,
    Volume,
}

/// Something of a run in the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    kind: Kind,
    /// Its name or id.
    name: String,
    /// The run.
    pub run: String,
    labels: HashMap<String, String>,
}

impl std::fmt::Display for Leftover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            Kind::Container => "container",
            Kind::Network => "network",
            Kind::Volume => "volume",
        };
        write!(f, "{kind} {} of run {}", self.name, self.run)
    }
}

/// The name of this machine.
pub(crate) fn this_host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// What killed runs left: their harness is gone, or, on another machine, their time is long over.
///
/// # Errors
/// [`EngineError`] when the engine cannot be asked.
pub async fn leftovers(engine: &ContainerEngine) -> Result<Vec<Leftover>, EngineError> {
    let now = jiff::Timestamp::now().as_second();
    let mut all = labelled(engine, RUN).await?;
    all.retain(|one| is_left(&one.labels, &this_host(), now));
    Ok(all)
}

/// Removes what killed runs left; what was removed.
///
/// # Errors
/// [`EngineError`] with what could not be removed.
pub async fn remove_leftovers(engine: &ContainerEngine) -> Result<Vec<Leftover>, EngineError> {
    let left = leftovers(engine).await?;
    remove_all(engine.docker(), &left).await?;
    Ok(left)
}

/// Removes everything of a run.
pub(crate) async fn remove_run(engine: &ContainerEngine, run: &str) -> Result<(), EngineError> {
    let mut removed = Ok(());
    // What was being made when its drill was given up appears late.
    for _ in 0..REMOVALS {
        let of_run = labelled(engine, &format!("{RUN}={run}")).await?;
        if of_run.is_empty() {
            return Ok(());
        }
        removed = remove_all(engine.docker(), &of_run).await;
        if removed.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    removed
}

/// Removes a container with its anonymous volumes, whatever it does.
pub(crate) async fn remove_container(docker: &Docker, name: &str) -> Result<(), EngineError> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match gone(docker.remove_container(name, Some(options)).await) {
        // Somebody else is removing it: wait until it is gone, since its network and volume go next.
        Err(Error::DockerResponseServerError { status_code: 409, .. }) => {
            let options = WaitContainerOptionsBuilder::new().condition("removed").build();
            let _ = docker.wait_container(name, Some(options)).collect::<Vec<_>>().await;
            Ok(())
        }
        removed => removed.map_err(|error| cannot_remove(name, &error)),
    }
}

/// Removes a volume.
pub(crate) async fn remove_volume(docker: &Docker, name: &str) -> Result<(), EngineError> {
    let options = RemoveVolumeOptionsBuilder::new().force(true).build();
    gone(docker.remove_volume(name, Some(options)).await).map_err(|error| cannot_remove(name, &error))
}

fn cannot_remove(name: &str, error: &Error) -> EngineError {
    EngineError(format!(
        "cannot remove {name} from the container engine: {}",
        chain(error)
    ))
}

/// What is not there any more is gone.
fn gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
        other => other,
    }
}

/// Containers first: a network or volume in use cannot be removed.
async fn remove_all(docker: &Docker, these: &[Leftover]) -> Result<(), EngineError> {
    let of = |kind| these.iter().filter(move |one| one.kind == kind);
    let containers = of(Kind::Container).map(|one| remove_container(docker, &one.name));
    let removed = futures_util::future::join_all(containers).await;
    let volumes = of(Kind::Volume).map(|one| remove_volume(docker, &one.name));
    let networks = of(Kind::Network).map(|one| async {
        let removed = docker.remove_network(&one.name).await;
        gone(removed).map_err(|error| cannot_remove(&one.name, &error))
    });
    let (volumes, networks) = tokio::join!(
        futures_util::future::join_all(volumes),
        futures_util::future::join_all(networks)
    );
    removed.into_iter().chain(volumes).chain(networks).collect()
}

async fn labelled(engine: &ContainerEngine, label: &str) -> Result<Vec<Leftover>, EngineError> {
    let filters = HashMap::from([("label", vec![label])]);
    let docker = engine.docker();
    let containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let failed = |error: Error| EngineError(format!("cannot ask the container engine: {}", chain(&error)));
    let (containers, networks, volumes) = tokio::try_join!(
        docker.list_containers(Some(containers)),
        docker.list_networks(Some(networks)),
        docker.list_volumes(Some(volumes))
    )
    .map_err(failed)?;
    let containers = containers.into_iter().map(|one| (Kind::Container, one.id, one.labels));
    let networks = networks.into_iter().map(|one| (Kind::Network, one.name, one.labels));
    let volumes = volumes.volumes.unwrap_or_default().into_iter();
    let volumes = volumes.map(|one| (Kind::Volume, Some(one.name), Some(one.labels)));
    let found = containers
        .chain(networks)
        .chain(volumes)
        .filter_map(|(kind, name, labels)| {
            let labels = labels.unwrap_or_default();
            Some(Leftover {
                kind,
                name: name?,
                run: labels.get(RUN)?.clone(),
                labels,
            })
        });
    Ok(found.collect())
}

/// Whether whoever made something with these labels is gone.
fn is_left(labels: &HashMap<String, String>, this_host: &str, now_s: i64) -> bool {
    let of_here = labels.get(HOST).is_some_and(|host| host == this_host);
    let folder = labels.get(FOLDER);
    match folder {
        Some(folder) if of_here => is_abandoned(Path::new(folder)),
        _ => {
            let deadline = labels.get(DEADLINE).and_then(|deadline| deadline.parse().ok());
            deadline.is_some_and(|deadline: i64| deadline + GRACE_S < now_s)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(host: &str, folder: &Path, deadline: i64) -> HashMap<String, String> {
        HashMap::from([
            (HOST.to_owned(), host.to_owned()),
            (FOLDER.to_owned(), folder.display().to_string()),
            (DEADLINE.to_owned(), deadline.to_string()),
        ])
    }

    #[test]
    fn a_run_of_this_machine_whose_folder_is_gone_is_left() {
        let folder = tempfile::tempdir().unwrap();
        assert!(is_left(&labels("here", &folder.path().join("gone"), 1_000), "here", 0));
    }

    #[test]
    fn a_run_of_another_machine_is_left_only_long_after_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let there = labels("there", folder.path(), 1_000);
        assert!(!is_left(&there, "here", 1_500));
        assert!(is_left(&there, "here", 1_601));
    }
}
