//! The engine: networks, volumes and containers of a run.

use crate::container::Container;
use crate::files::{self, FileError};
use crate::leftovers::{self, DEADLINE, FOLDER, HOST, RUN};
use crate::{chain, images};
use recovery_drills::runtime::engine::{ContainerLaunch, Engine, EngineError, Mount, Owner, Started};
use recovery_drills::runtime::process::ProcessError;
use recovery_drills::runtime::running::Later;
use std::collections::{BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::{
    HostConfig, Mount as EngineMount, MountType, NetworkConnectRequest, NetworkCreateRequest, PortBinding,
    VolumeCreateRequest,
};
use testcontainers::core::client::docker_client_instance;
use testcontainers::core::{ContainerPort, WaitFor};
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

/// Where the engine's ports are published.
const PUBLISH: &str = "DRILLS_PUBLISH_ADDRESS";
const LOOPBACK: &str = "127.0.0.1";
/// Option of a bridge: the engine's machine has no address in it.
const NO_ADDRESS: &str = "com.docker.network.bridge.inhibit_ipv4";

/// A container engine that answers.
pub struct ContainerEngine {
    docker: Docker,
    /// Version as the engine says it, for people.
    version: String,
    /// The address that published ports are reached on.
    host: String,
    publish: String,
    is_local: bool,
    /// Networks that exist, by run.
    networks: tokio::sync::Mutex<HashMap<String, String>>,
    /// Runs that had something made for them by this process.
    runs: Mutex<BTreeSet<String>>,
    /// Users of images: uid and gid.
    users: Mutex<HashMap<String, (u64, u64)>>,
}

impl std::fmt::Debug for ContainerEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerEngine")
            .field("version", &self.version)
            .finish()
    }
}

/// Connects to the engine of `DOCKER_HOST` (default: the local socket) and removes what killed runs left there.
///
/// # Errors
/// [`EngineError`]: no engine answers, and how to get one.
pub async fn connect() -> Result<Arc<ContainerEngine>, EngineError> {
    let engine = ContainerEngine::new().await?;
    // What a killed run left must not stand in the way of the next one; a removal that fails is told by `doctor`.
    let _ = leftovers::remove_leftovers(&engine).await;
    Ok(Arc::new(engine))
}

impl ContainerEngine {
    /// Connects to the engine of `DOCKER_HOST`, default: the local socket.
    ///
    /// # Errors
    /// [`EngineError`].
    pub async fn new() -> Result<ContainerEngine, EngineError> {
        let named = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let at = named.clone().unwrap_or_else(|| "the local Docker socket".to_owned());
        let none = |cause: String| {
            EngineError(format!(
                "no container engine answers at {at}: {cause}; start Docker (or Podman's socket), or set DOCKER_HOST"
            ))
        };
        let docker = docker_client_instance().await.map_err(|error| none(chain(&error)))?;
        let version = docker.version().await.map_err(|error| none(chain(&error)))?;
        let is_local = named.as_deref().is_none_or(|host| host.starts_with("unix:"));
        let remote = named.as_deref().filter(|_| !is_local).and_then(host_of);
        Ok(ContainerEngine {
            docker,
            version: format!(
                "{} (API {})",
                version.version.unwrap_or_default(),
                version.api_version.unwrap_or_default()
            ),
            host: remote.unwrap_or_else(|| LOOPBACK.to_owned()),
            publish: std::env::var(PUBLISH).unwrap_or_else(|_| LOOPBACK.to_owned()),
            is_local,
            networks: tokio::sync::Mutex::default(),
            runs: Mutex::default(),
            users: Mutex::default(),
        })
    }

    /// Version and API version.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The engine's own client.
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// Whether processes in containers are processes of this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.is_local
    }

    async fn remove(&self, run: &str) -> Result<(), EngineError> {
        let is_ours = {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.remove(run)
        };
        self.networks.lock().await.remove(run);
        if is_ours {
            leftovers::remove_run(self, run).await?;
        }
        Ok(())
    }

    /// The network of a run, made with its first service.
    async fn network(&self, owner: &Owner, is_apart: bool) -> Result<String, EngineError> {
        let mut networks = self.networks.lock().await;
        if let Some(name) = networks.get(&owner.run) {
            return Ok(name.clone());
        }
        {
            let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
            runs.insert(owner.run.clone());
        }
        let name = format!("recovery-drill-{}", owner.run);
        let request = NetworkCreateRequest {
            name: name.clone(),
            driver: Some("bridge".to_owned()),
            labels: Some(labels(owner)),
            internal: Some(is_apart),
            ..NetworkCreateRequest::default()
        };
        let made = if is_apart {
            // Without an address of the engine's machine in it; an engine that does not know this makes one that has it.
            let without = NetworkCreateRequest {
                options: Some(HashMap::from([(NO_ADDRESS.to_owned(), "true".to_owned())])),
                ..request.clone()
            };
            match self.docker.create_network(without).await {
                Ok(made) => Ok(made),
                Err(_) => self.docker.create_network(request).await,
            }
        } else {
            self.docker.create_network(request).await
        };
        made.map_err(|error| EngineError(format!("cannot make the network {name}: {}", chain(&error))))?;
        networks.insert(owner.run.clone(), name.clone());
        Ok(name)
    }

    /// Who runs in containers of an image: uid and gid.
    pub(crate) async fn user_of(&self, image: &str) -> Result<(u64, u64), EngineError> {
        {
            let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(user) = users.get(image) {
                return Ok(*user);
            }
        }
        let user = images::user(self, image).await?;
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        users.insert(image.to_owned(), user);
        Ok(user)
    }

    async fn start_container(&self, launch: &ContainerLaunch) -> Result<Started, StartError> {
        let image = match &launch.image {
            Some(image) => image.clone(),
            None => images::reference(self).await?,
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&launch.log);
        let log = log.map_err(|error| StartError(format!("cannot open {}: {error}", launch.log.display())))?;
        let network = self.network(&launch.owner, launch.is_apart).await?;
        let user = self.user_of(&image).await?;
        let (mounts, own_user) = match launch.mount {
            Mount::Volume => (vec![self.filled_volume(launch, &image, user).await?], None),
            Mount::Bind => self.bound(launch, user)?,
        };
        let published = Published::of(self, launch);
        let in_network = network.clone();
        let own = (!launch.is_apart).then(|| published.clone());
        let (name, tag) = images::name_and_tag(&image);
        let mut request = GenericImage::new(name, tag)
            .with_wait_for(WaitFor::Nothing)
            .with_exposed_port(ContainerPort::Tcp(launch.port))
            .with_container_name(&launch.host_name)
            .with_labels(labels(&launch.owner))
            .with_host_config_modifier(move |config: &mut HostConfig| {
                config.network_mode = Some(in_network.clone());
                config.publish_all_ports = Some(false);
                config.port_bindings = own.clone().map(Published::bindings);
                config.mounts = Some(mounts.clone());
            });
        for (key, value) in &launch.variables {
            request = request.with_env_var(key, value);
        }
        if !launch.arguments.is_empty() {
            request = request.with_cmd(&launch.arguments);
        }
        if let Some(user) = own_user {
            request = request.with_user(user);
        }
        let relaying = async {
            match launch.is_apart {
                true => self.relay(launch, &network, published).await.map(Some),
                false => Ok(None),
            }
        };
        let (container, relay) = tokio::join!(self.started(request, &launch.host_name), relaying);
        let (container, relay) = (container?, relay?);
        let open = relay.as_ref().unwrap_or(&container);
        let port = open.get_host_port_ipv4(ContainerPort::Tcp(launch.port)).await;
        let container = Container::new(self, (container, relay), launch, network, log).await;
        // Without one it ended already: whoever waits for it sees that.
        let port = port.unwrap_or_default();
        Ok(Started {
            running: Box::new(container),
            host: self.host.clone(),
            port,
        })
    }

    /// The one way in to a service that is apart: a container in its network and in one that can be published.
    async fn relay(
        &self,
        launch: &ContainerLaunch,
        network: &str,
        published: Published,
    ) -> Result<ContainerAsync<GenericImage>, StartError> {
        let image = images::reference(self).await?;
        let (image, tag) = images::name_and_tag(&image);
        let name = format!("relay-{}", launch.host_name);
        let to = format!("{}:{}", launch.host_name, launch.port);
        let request = GenericImage::new(image, tag)
            .with_wait_for(WaitFor::Nothing)
            .with_exposed_port(ContainerPort::Tcp(launch.port))
            .with_container_name(&name)
            .with_labels(labels(&launch.owner))
            .with_cmd(["relay".to_owned(), launch.port.to_string(), to])
            .with_host_config_modifier(move |config: &mut HostConfig| {
                config.publish_all_ports = Some(false);
                config.port_bindings = Some(published.clone().bindings());
            });
        let relay = self.started(request, &name).await?;
        let joined = NetworkConnectRequest {
            container: relay.id().to_owned(),
            ..NetworkConnectRequest::default()
        };
        let joined = self.docker.connect_network(network, joined).await;
        joined.map_err(StartError::of)?;
        Ok(relay)
    }

    async fn started(
        &self,
        request: ContainerRequest<GenericImage>,
        name: &str,
    ) -> Result<ContainerAsync<GenericImage>, StartError> {
        // In a task of its own, so that a start that is given up does not run a blocking destructor in the midst of a poll.
        let starting = tokio::spawn(async move { request.start().await });
        match starting.await.map_err(StartError::of)? {
            Ok(container) => Ok(container),
            Err(error) => {
                // A container that could not be started stays behind as created.
                let _ = leftovers::remove_container(&self.docker, name).await;
                Err(StartError(chain(&error)))
            }
        }
    }

    /// A new volume with the service's files in it, with the owner that the service runs as.
    async fn filled_volume(
        &self,
        launch: &ContainerLaunch,
        image: &str,
        user: (u64, u64),
    ) -> Result<EngineMount, StartError> {
        let request = VolumeCreateRequest {
            name: Some(launch.host_name.clone()),
            labels: Some(labels(&launch.owner)),
            ..VolumeCreateRequest::default()
        };
        self.docker.create_volume(request).await.map_err(StartError::of)?;
        let root = files::root_of(&launch.folder);
        let mount = EngineMount {
            typ: Some(MountType::VOLUME),
            source: Some(launch.host_name.clone()),
            target: Some(root.to_owned()),
            ..EngineMount::default()
        };
        // Files are put in through a container that is never started: uploads keep owner and mode, `docker cp` does not.
        let helper = images::never_started(&self.docker, image, labels(&launch.owner), Some(&mount)).await?;
        let packed = files::pack(launch, user).await;
        let put = match packed {
            Ok(packed) => files::upload(&self.docker, &helper, root, packed).await,
            Err(error) => Err(error),
        };
        let removed = leftovers::remove_container(&self.docker, &helper).await;
        put?;
        removed?;
        Ok(mount)
    }

    /// The folder of the files itself, owned by whoever the service runs as; else the service runs as its owner.
    fn bound(
        &self,
        launch: &ContainerLaunch,
        user: (u64, u64),
    ) -> Result<(Vec<EngineMount>, Option<String>), StartError> {
        if !self.is_local {
            return Err(StartError(
                "a folder of this machine cannot be mounted on a remote engine; use --mount volume".to_owned(),
            ));
        }
        let folder = launch.database.parent().unwrap_or(Path::new("."));
        let folder = std::path::absolute(folder).map_err(StartError::of)?;
        let identities = std::path::absolute(&launch.identity_file).map_err(StartError::of)?;
        let own_user = if is_root() {
            files::give_to(&folder, user)?;
            files::give_to(&identities, user)?;
            None
        } else {
            let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            Some(format!("{uid}:{gid}"))
        };
        let mount = |source: &Path, target: String, read_only| EngineMount {
            typ: Some(MountType::BIND),
            source: Some(source.display().to_string()),
            target: Some(target),
            read_only: Some(read_only),
            ..EngineMount::default()
        };
        let mounts = vec![
            mount(&folder, launch.folder.clone(), false),
            mount(&identities, launch.identities.clone(), true),
        ];
        Ok((mounts, own_user))
    }
}

/// Where a service's port is published: on one address only, since all ports on all addresses is the default.
#[derive(Clone)]
struct Published {
    port: u16,
    address: String,
    on: String,
}

impl Published {
    fn of(engine: &ContainerEngine, launch: &ContainerLaunch) -> Published {
        Published {
            port: launch.port,
            address: engine.publish.clone(),
            on: launch.published.unwrap_or(0).to_string(),
        }
    }

    fn bindings(self) -> HashMap<String, Option<Vec<PortBinding>>> {
        let binding = PortBinding {
            host_ip: Some(self.address),
            host_port: Some(self.on),
        };
        HashMap::from([(format!("{}/tcp", self.port), Some(vec![binding]))])
    }
}

/// Why a container was not started, in words.
#[derive(Debug)]
pub(crate) struct StartError(pub(crate) String);

impl StartError {
    fn of(error: impl std::error::Error) -> StartError {
        StartError(chain(&error))
    }
}

impl From<EngineError> for StartError {
    fn from(error: EngineError) -> StartError {
        StartError(error.0)
    }
}

impl From<FileError> for StartError {
    fn from(error: FileError) -> StartError {
        StartError(chain(&error))
    }
}

impl Engine for ContainerEngine {
    fn ensure_image<'a>(&'a self, image: Option<&'a str>) -> Later<'a, Result<(), EngineError>> {
        Box::pin(async move {
            match image {
                Some(image) => images::is_there(self, image).await,
                None => images::reference(self).await.map(|_| ()),
            }
        })
    }

    fn shares_files(&self) -> bool {
        self.is_local
    }

    fn start<'a>(&'a self, launch: &'a ContainerLaunch) -> Later<'a, Result<Started, ProcessError>> {
        Box::pin(async move {
            let started = self.start_container(launch).await;
            started.map_err(|StartError(message)| ProcessError::Container {
                action: "start",
                name: launch.name.clone(),
                message,
            })
        })
    }

    fn remove_own(&self) -> Later<'_, ()> {
        Box::pin(async move {
            let runs: Vec<String> = {
                let runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
                runs.iter().cloned().collect()
            };
            for run in runs {
                // What cannot be removed now is found by its label at the next start.
                let _ = self.remove(&run).await;
            }
        })
    }

    fn remove_run<'a>(&'a self, run: &'a str) -> Later<'a, Result<(), EngineError>> {
        Box::pin(self.remove(run))
    }
}

/// Whether files can be given to others.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What everything of a run is found by.
pub(crate) fn labels(owner: &Owner) -> HashMap<String, String> {
    let deadline = jiff::Timestamp::now().as_second() + i64::try_from(owner.limit.as_secs()).unwrap_or(i64::MAX / 2);
    HashMap::from([
        (RUN.to_owned(), owner.run.clone()),
        (FOLDER.to_owned(), owner.folder.display().to_string()),
        (HOST.to_owned(), leftovers::this_host()),
        (DEADLINE.to_owned(), deadline.to_string()),
    ])
}

/// The host of an address like `tcp://host:port`.
fn host_of(address: &str) -> Option<String> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    (!host.is_empty()).then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_stands_between_scheme_and_port() {
        assert_eq!(host_of("tcp://10.0.0.7:2375").as_deref(), Some("10.0.0.7"));
        assert_eq!(host_of("tcp://engine.local/x").as_deref(), Some("engine.local"));
        assert_eq!(host_of("engine"), None);
    }
}
