//! One service in one container: watched, logged, stopped, its files copied out.

use crate::engine::{ContainerEngine, is_root};
use crate::{chain, files, leftovers};
use futures_util::StreamExt as _;
use recovery_drills::runtime::engine::{ContainerLaunch, Mount};
use recovery_drills::runtime::process::{Exit, ProcessError, Stopped, last_lines};
use recovery_drills::runtime::running::{Later, Running};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use testcontainers::bollard::Docker;
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::NetworkDisconnectRequest;
use testcontainers::bollard::query_parameters::{KillContainerOptionsBuilder, LogsOptionsBuilder};
use testcontainers::{ContainerAsync, GenericImage};
use tokio::task::JoinHandle;

/// What a process that was killed ends with.
const KILLED: i64 = 137;
/// How long the last lines of a log may take after the end of the service.
const LOG_LIMIT: Duration = Duration::from_secs(2);

/// A service in a container of its own.
#[derive(Debug)]
pub(crate) struct Container {
    docker: Docker,
    /// `None` once it is removed.
    container: Option<ContainerAsync<GenericImage>>,
    /// The way in to it, where it is apart.
    relay: Option<ContainerAsync<GenericImage>>,
    name: String,
    host_name: String,
    pid: u32,
    is_here: bool,
    ended: Arc<Mutex<Option<Exit>>>,
    watching: JoinHandle<()>,
    logging: JoinHandle<()>,
    log: PathBuf,
    database: PathBuf,
    folder: String,
    network: String,
    mount: Mount,
}

impl Container {
    /// Watches a container that was started, and follows its output.
    pub(crate) async fn new(
        engine: &ContainerEngine,
        (container, relay): (ContainerAsync<GenericImage>, Option<ContainerAsync<GenericImage>>),
        launch: &ContainerLaunch,
        network: String,
        log: File,
    ) -> Container {
        let docker = engine.docker().clone();
        let id = container.id().to_owned();
        let seen = docker.inspect_container(&id, None).await.ok();
        // Without an answer it is known by no process; whether it runs is watched anyway.
        let pid = seen.and_then(|seen| seen.state?.pid).unwrap_or_default();
        let pid = u32::try_from(pid).unwrap_or_default();
        let ended = Arc::new(Mutex::new(None));
        Container {
            watching: tokio::spawn(watch(docker.clone(), id.clone(), ended.clone())),
            logging: tokio::spawn(follow(docker.clone(), id, log)),
            is_here: engine.is_local() && pid > 0 && Path::new(&format!("/proc/{pid}")).exists(),
            docker,
            container: Some(container),
            relay,
            name: launch.name.clone(),
            host_name: launch.host_name.clone(),
            pid,
            ended,
            log: launch.log.clone(),
            database: launch.database.clone(),
            folder: launch.folder.clone(),
            network,
            mount: launch.mount,
        }
    }

    fn held(&self, action: &'static str) -> Result<&ContainerAsync<GenericImage>, ProcessError> {
        let removed = || self.cannot(action, "it is removed".to_owned());
        self.container.as_ref().ok_or_else(removed)
    }

    fn cannot(&self, action: &'static str, message: String) -> ProcessError {
        ProcessError::Container {
            action,
            name: self.name.clone(),
            message,
        }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(Error) -> ProcessError {
        move |error| self.cannot(action, chain(&error))
    }

    /// SIGTERM, SIGKILL after the limit: whole seconds are what an engine knows.
    async fn end(&mut self, limit: Duration) -> Result<Stopped, ProcessError> {
        let asked = Instant::now();
        let seconds = i32::try_from(limit.as_millis().div_ceil(1_000)).unwrap_or(i32::MAX);
        let stopped = self.held("stop")?.stop_with_timeout(Some(seconds)).await;
        stopped.map_err(|error| self.cannot("stop", chain(&error)))?;
        let (gone_after, exit) = (asked.elapsed(), self.exit_code().await?);
        let was_killed = exit.code == i32::try_from(KILLED).ok();
        self.leave().await?;
        Ok(Stopped {
            exit,
            gone_after,
            killed_after: was_killed.then(|| limit.min(gone_after)),
        })
    }

    async fn signal(&self, signal: &str, action: &'static str) -> Result<(), ProcessError> {
        let id = self.held(action)?.id();
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.docker.kill_container(id, Some(options)).await {
            // It ended by itself.
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 409, .. }) => Ok(()),
            Err(error) => Err(self.cannot(action, chain(&error))),
        }
    }

    async fn end_at_once(&mut self) -> Result<Exit, ProcessError> {
        self.signal("SIGKILL", "kill").await?;
        let _ = (&mut self.watching).await;
        let exit = self.exit_code().await?;
        self.leave().await?;
        Ok(exit)
    }

    async fn exit_code(&self) -> Result<Exit, ProcessError> {
        let code = self.held("ask")?.exit_code().await;
        let code = code.map_err(|error| self.cannot("ask", chain(&error)))?;
        Ok(exit(code.unwrap_or(-1)))
    }

    /// Copies the files out of the ended container and removes it with its volume.
    async fn leave(&mut self) -> Result<(), ProcessError> {
        let _ = tokio::time::timeout(LOG_LIMIT, &mut self.logging).await;
        if self.mount == Mount::Volume {
            self.copy_out().await?;
        }
        for container in self.container.take().into_iter().chain(self.relay.take()) {
            let removed = container.rm().await;
            removed.map_err(|error| self.cannot("remove", chain(&error)))?;
        }
        if let Some(folder) = self
            .database
            .parent()
            .filter(|_| self.mount == Mount::Bind && is_root())
        {
            // They were given to the service's user for as long as it ran.
            let given = files::give_to(folder, (0, 0));
            given.map_err(|error| self.cannot("take back the files of", chain(&error)))?;
        }
        if self.mount == Mount::Volume {
            let removed = leftovers::remove_volume(&self.docker, &self.host_name).await;
            removed.map_err(|error| self.cannot("remove", error.to_string()))?;
        }
        Ok(())
    }

    async fn copy_out(&self) -> Result<(), ProcessError> {
        let id = self.held("copy the files of")?.id();
        let copied = files::copy_out(&self.docker, id, &self.folder, &self.database).await;
        copied.map_err(|error| self.cannot("copy the files of", chain(&error)))
    }

    /// The files of one moment: nothing is written while the service is paused.
    async fn look(&self) -> Result<(), ProcessError> {
        if self.mount == Mount::Bind {
            return Ok(());
        }
        let id = self.held("pause")?.id().to_owned();
        let is_paused = match self.docker.pause_container(&id).await {
            Ok(()) => true,
            // It stands still already, or ended: nothing is written.
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => false,
            Err(_) if self.ended_as().is_some() => false,
            Err(error) => return Err(self.cannot("pause", chain(&error))),
        };
        let copied = self.copy_out().await;
        if is_paused {
            let resumed = self.docker.unpause_container(&id).await;
            resumed.map_err(self.failed("resume"))?;
        }
        copied
    }

    fn ended_as(&self) -> Option<Exit> {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running for Container {
    fn pid(&self) -> u32 {
        self.pid
    }

    fn is_here(&self) -> bool {
        self.is_here
    }

    fn ended(&mut self) -> Result<Option<Exit>, ProcessError> {
        Ok(self.ended_as())
    }

    fn stop(&mut self, limit: Duration) -> Later<'_, Result<Stopped, ProcessError>> {
        Box::pin(self.end(limit))
    }

    fn kill(&mut self) -> Later<'_, Result<Exit, ProcessError>> {
        Box::pin(self.end_at_once())
    }

    fn ask_to_stop(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(self.signal("SIGTERM", "stop"))
    }

    fn strike(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(self.signal("SIGKILL", "kill"))
    }

    fn pause(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(async move {
            let id = self.held("pause")?.id();
            let paused = self.docker.pause_container(id).await;
            paused.map_err(self.failed("pause"))
        })
    }

    fn disconnect(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(async move {
            let id = self.held("disconnect")?.id().to_owned();
            let request = NetworkDisconnectRequest {
                container: id,
                force: Some(true),
            };
            let cut = self.docker.disconnect_network(&self.network, request).await;
            cut.map_err(self.failed("disconnect"))
        })
    }

    fn look_at_files(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(self.look())
    }

    fn owns_port(&self, _: u16) -> Option<bool> {
        // The engine gave it to the container.
        None
    }

    fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }
}

impl Drop for Container {
    /// Removes what was not stopped: it belongs to a run that failed, panicked or was interrupted.
    fn drop(&mut self) {
        self.watching.abort();
        self.logging.abort();
        for container in self.container.take().into_iter().chain(self.relay.take()) {
            give_up(container);
        }
    }
}

/// Removes a container in a task of its own: its destructor blocks on the removal, and a thread that does so in the midst of a
/// poll loses the wake-ups of whatever it polls.
fn give_up(container: ContainerAsync<GenericImage>) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => {
            // What cannot be removed now is found by its label at the end of the run.
            runtime.spawn(container.rm());
        }
        Err(_) => std::mem::forget(container),
    }
}

fn exit(code: i64) -> Exit {
    Exit {
        code: i32::try_from(code).ok(),
        signal: None,
    }
}

/// Waits until it ended.
async fn watch(docker: Docker, id: String, ended: Arc<Mutex<Option<Exit>>>) {
    let mut waiting = std::pin::pin!(docker.wait_container(&id, None));
    let code = match waiting.next().await {
        Some(Ok(answer)) => answer.status_code,
        Some(Err(Error::DockerContainerWaitError { code, .. })) => code,
        // The engine is gone or the container is: it does not run any more as far as anybody can tell.
        Some(Err(_)) | None => -1,
    };
    *ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(exit(code));
}

/// Writes its output into a file, as it comes.
async fn follow(docker: Docker, id: String, mut log: File) {
    let options = LogsOptionsBuilder::new().follow(true).stdout(true).stderr(true).build();
    let mut lines = std::pin::pin!(docker.logs(&id, Some(options)));
    while let Some(Ok(line)) = lines.next().await {
        // A log that cannot be kept must not turn a verdict.
        let _ = log.write_all(&line.into_bytes());
    }
}
