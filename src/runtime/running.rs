//! A started service, whatever runs it: a child process or a container.

use crate::runtime::ports;
use crate::runtime::process::{Exit, ProcessError, ServiceProcess, Stopped};
use rustix::process::Signal;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// What comes of an asynchronous call through a trait object.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A started service. Dropped without a stop, it is killed.
pub trait Running: fmt::Debug + Send + Sync {
    /// The id of its first process, as the machine that runs it counts.
    fn pid(&self) -> u32;

    /// Whether that machine is this one, so that the id may be signalled.
    fn is_here(&self) -> bool;

    /// How it ended, or `None` while it runs. Never waits.
    ///
    /// # Errors
    /// [`ProcessError`].
    fn ended(&mut self) -> Result<Option<Exit>, ProcessError>;

    /// SIGTERM, SIGKILL after `limit`; completes when it is gone and its files stand where its start was told.
    fn stop(&mut self, limit: Duration) -> Later<'_, Result<Stopped, ProcessError>>;

    /// SIGKILL, as a crash or a power cut would; completes when it is gone and its files stand where its start was told.
    fn kill(&mut self) -> Later<'_, Result<Exit, ProcessError>>;

    /// SIGTERM, without waiting for what comes of it.
    fn ask_to_stop(&self) -> Later<'_, Result<(), ProcessError>>;

    /// SIGKILL, without waiting for what comes of it.
    fn strike(&self) -> Later<'_, Result<(), ProcessError>>;

    /// Makes it stand still.
    fn pause(&self) -> Later<'_, Result<(), ProcessError>>;

    /// Cuts it off from every network. An error for a process, which has no network of its own.
    fn disconnect(&self) -> Later<'_, Result<(), ProcessError>>;

    /// Brings the files that its start was told up to date with those that it has open: nothing to do where they are the same.
    fn look_at_files(&self) -> Later<'_, Result<(), ProcessError>>;

    /// Whether the socket that listens on this loopback port is its own; `None` where the system does not tell.
    fn owns_port(&self, port: u16) -> Option<bool>;

    /// The last lines of its log. May hold secrets that the service printed: redact before showing.
    fn last_lines(&self, count: usize) -> String;
}

impl Running for ServiceProcess {
    fn pid(&self) -> u32 {
        ServiceProcess::pid(self)
    }

    fn is_here(&self) -> bool {
        true
    }

    fn ended(&mut self) -> Result<Option<Exit>, ProcessError> {
        ServiceProcess::ended(self)
    }

    fn stop(&mut self, limit: Duration) -> Later<'_, Result<Stopped, ProcessError>> {
        Box::pin(ServiceProcess::stop(self, limit))
    }

    fn kill(&mut self) -> Later<'_, Result<Exit, ProcessError>> {
        Box::pin(ServiceProcess::kill(self))
    }

    fn ask_to_stop(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(std::future::ready(self.send(Signal::TERM)))
    }

    fn strike(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(std::future::ready(self.send(Signal::KILL)))
    }

    fn pause(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(std::future::ready(self.send(Signal::STOP)))
    }

    fn disconnect(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(std::future::ready(self.cannot_disconnect()))
    }

    fn look_at_files(&self) -> Later<'_, Result<(), ProcessError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn owns_port(&self, port: u16) -> Option<bool> {
        ports::listener_is_of_group(port, ServiceProcess::pid(self))
    }

    fn last_lines(&self, count: usize) -> String {
        ServiceProcess::last_lines(self, count)
    }
}
