//! A service as a child process: own process group, captured log, SIGTERM then SIGKILL.
//!
//! Nothing outlives the harness: a dropped handle kills its group, and the kernel kills the child when the harness dies
//! (a parent-death signal is bound to the *thread* that forked, so one thread that never ends forks all children).

use rustix::process::{Pid, Signal};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// What the harness's own environment passes on; everything else (mail, billing and federation keys, a CI runner's
/// commit) stays out.
const PASSED_ON: &[&str] = &[
    "PATH",
    "HOME",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "NODE_PATH",
    "NODE_EXTRA_CA_CERTS",
    "SYSTEMROOT",
];

/// How a child is started. Holds secrets in `variables`, so it is never printed.
pub struct Launch {
    /// Name for messages: `directory`, `bus`.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: Option<PathBuf>,
    /// Variables beside the few that are passed on.
    pub variables: BTreeMap<String, String>,
    /// Where standard output and error go.
    pub log: PathBuf,
}

/// Why a child could not be started, watched or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The program is not there or may not be run.
    #[error("cannot start {name}: {program}; check the command and its working directory")]
    Spawn {
        /// Which service.
        name: String,
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The log file cannot be made.
    #[error("cannot open the log {path} of {name}")]
    Log {
        /// Which service.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The container engine cannot do it.
    #[error("cannot {action} the container of {name}: {message}")]
    Container {
        /// What was tried.
        action: &'static str,
        /// Which service.
        name: String,
        /// What the engine said.
        message: String,
    },
    /// The child cannot be waited for or signalled.
    #[error("cannot {action} {name} (process {pid})")]
    Control {
        /// What was tried.
        action: &'static str,
        /// Which service.
        name: String,
        /// Its process id.
        pid: u32,
        /// What the system said.
        source: io::Error,
    },
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, unless ended by a signal.
    pub code: Option<i32>,
    /// Signal number, if ended by one.
    pub signal: Option<i32>,
}

impl From<ExitStatus> for Exit {
    fn from(status: ExitStatus) -> Exit {
        Exit {
            code: status.code(),
            signal: status.signal(),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit code {code}"),
            (None, Some(signal)) => write!(f, "signal {signal}"),
            (None, None) => f.write_str("unknown end"),
        }
    }
}

/// How a stop went. Times are since the SIGTERM, monotonic.
#[derive(Debug, Clone, Copy)]
pub struct Stopped {
    /// How it ended.
    pub exit: Exit,
    /// When the process was gone.
    pub gone_after: Duration,
    /// When SIGKILL was sent, if SIGTERM was not enough.
    pub killed_after: Option<Duration>,
}

/// A running (or ended) child.
#[derive(Debug)]
pub struct ServiceProcess {
    name: String,
    log: PathBuf,
    child: Child,
    ended: Option<Exit>,
}

type Forked = io::Result<Child>;

/// The one thread that forks: it lives as long as the harness.
fn forker() -> &'static mpsc::Sender<(Command, mpsc::Sender<Forked>)> {
    static FORKER: OnceLock<mpsc::Sender<(Command, mpsc::Sender<Forked>)>> = OnceLock::new();
    FORKER.get_or_init(|| {
        let (send, receive) = mpsc::channel::<(Command, mpsc::Sender<Forked>)>();
        std::thread::spawn(move || {
            for (mut command, answer) in receive {
                // The receiver waits for exactly one answer; if it is gone, the child is killed on drop of the answer.
                if let Err(mpsc::SendError(Ok(mut orphan))) = answer.send(command.spawn()) {
                    let _ = orphan.kill();
                }
            }
        });
        send
    })
}

#[expect(
    unsafe_code,
    reason = "pre_exec is the only way to set a parent-death signal; the call is async-signal-safe"
)]
fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only `prctl` is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?));
    }
}

impl ServiceProcess {
    /// Starts a child in its own process group.
    ///
    /// # Errors
    /// [`ProcessError::Log`], [`ProcessError::Spawn`] (not found, not executable, no such working directory).
    pub fn start(launch: &Launch) -> Result<ServiceProcess, ProcessError> {
        let program = launch.argv.first().cloned().unwrap_or_default();
        let spawn_failed = |source| ProcessError::Spawn {
            name: launch.name.clone(),
            program: program.clone(),
            source,
        };
        let log_failed = |source| ProcessError::Log {
            name: launch.name.clone(),
            path: launch.log.clone(),
            source,
        };
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&launch.log)
            .map_err(log_failed)?;
        let mut command = Command::new(&program);
        command.args(launch.argv.iter().skip(1)).env_clear().process_group(0);
        command.envs(PASSED_ON.iter().filter_map(|key| Some((*key, std::env::var_os(key)?))));
        command.envs(&launch.variables).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(log_failed)?).stderr(log);
        if let Some(cwd) = &launch.cwd {
            command.current_dir(cwd);
        }
        die_with_parent(&mut command);
        let (send, receive) = mpsc::channel();
        let gone = || io::Error::other("the harness's fork thread is gone");
        forker().send((command, send)).map_err(|_| spawn_failed(gone()))?;
        let child = receive
            .recv()
            .map_err(|_| spawn_failed(gone()))?
            .map_err(spawn_failed)?;
        Ok(ServiceProcess {
            name: launch.name.clone(),
            log: launch.log.clone(),
            child,
            ended: None,
        })
    }

    /// The process id, which is also the id of its group.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, or `None` while it runs. Never waits.
    ///
    /// # Errors
    /// [`ProcessError::Control`].
    pub fn ended(&mut self) -> Result<Option<Exit>, ProcessError> {
        if self.ended.is_none() {
            let pid = self.child.id();
            self.ended = self
                .child
                .try_wait()
                .map_err(|source| self.control("watch", pid, source))?
                .map(Exit::from);
        }
        Ok(self.ended)
    }

    /// SIGTERM to the group, SIGKILL after `limit`; returns when no process of the group is left.
    ///
    /// # Errors
    /// [`ProcessError::Control`] when it can be neither signalled nor waited for.
    pub async fn stop(&mut self, limit: Duration) -> Result<Stopped, ProcessError> {
        let asked = Instant::now();
        let mut killed_after = None;
        self.signal_group(Signal::TERM)?;
        loop {
            if let Some(exit) = self.ended()?
                && (self.group_is_gone() || killed_after.is_some())
            {
                return Ok(Stopped {
                    exit,
                    gone_after: asked.elapsed(),
                    killed_after,
                });
            }
            if asked.elapsed() > limit && killed_after.is_none() {
                self.signal_group(Signal::KILL)?;
                killed_after = Some(asked.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// A signal to the group, without waiting for what comes of it.
    ///
    /// # Errors
    /// [`ProcessError::Control`].
    pub fn send(&self, signal: Signal) -> Result<(), ProcessError> {
        self.signal_group(signal)
    }

    pub(crate) fn cannot_disconnect(&self) -> Result<(), ProcessError> {
        let none = io::Error::new(io::ErrorKind::Unsupported, "a process has no network of its own");
        Err(self.control("disconnect", self.child.id(), none))
    }

    /// SIGKILL to the group, as a crash or a power cut would; returns when the process is gone.
    ///
    /// # Errors
    /// [`ProcessError::Control`].
    pub async fn kill(&mut self) -> Result<Exit, ProcessError> {
        self.signal_group(Signal::KILL)?;
        loop {
            if let Some(exit) = self.ended()? {
                return Ok(exit);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The last lines of its log. May hold secrets that the service printed: redact before showing.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        last_lines(&self.log, count)
    }

    fn signal_group(&self, signal: Signal) -> Result<(), ProcessError> {
        let pid = self.child.id();
        let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        match rustix::process::kill_process_group(group, signal) {
            // Nobody left in the group: it ended by itself.
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(self.control("signal", pid, error.into())),
        }
    }

    fn group_is_gone(&self) -> bool {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        group.is_none_or(|group| rustix::process::test_kill_process_group(group).is_err())
    }

    fn control(&self, action: &'static str, pid: u32, source: io::Error) -> ProcessError {
        ProcessError::Control {
            action,
            name: self.name.clone(),
            pid,
            source,
        }
    }
}

impl Drop for ServiceProcess {
    /// Kills what is left: a handle that was not stopped belongs to a run that failed, panicked or was interrupted.
    fn drop(&mut self) {
        let _ = self.signal_group(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The last lines of a log file, at most 64 KiB of it; empty when it cannot be read.
#[must_use]
pub fn last_lines(log: &Path, count: usize) -> String {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = fs::metadata(log)?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(65_536)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(folder: &Path, script: &str) -> Launch {
        Launch {
            name: "service".to_owned(),
            argv: vec!["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()],
            cwd: None,
            variables: BTreeMap::from([("GIVEN".to_owned(), "yes".to_owned())]),
            log: folder.join("service.log"),
        }
    }

    async fn ended(process: &mut ServiceProcess) -> Exit {
        loop {
            if let Some(exit) = process.ended().unwrap() {
                return exit;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    #[tokio::test]
    async fn the_log_and_the_exit_code_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = ServiceProcess::start(&launch(folder.path(), "echo $GIVEN $CARGO_PKG_NAME; exit 3")).unwrap();
        assert_eq!(
            ended(&mut process).await,
            Exit {
                code: Some(3),
                signal: None
            }
        );
        assert_eq!(process.last_lines(5), "yes");
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let mut nowhere = launch(folder.path(), "");
        nowhere.argv = vec!["no-such-program-here".to_owned()];
        assert!(
            ServiceProcess::start(&nowhere)
                .unwrap_err()
                .to_string()
                .contains("no-such-program-here")
        );
    }

    #[tokio::test]
    async fn sigterm_is_enough_for_a_willing_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = ServiceProcess::start(&launch(folder.path(), "sleep 60")).unwrap();
        let stopped = process.stop(Duration::from_secs(10)).await.unwrap();
        assert_eq!((stopped.exit.signal, stopped.killed_after), (Some(15), None));
    }

    #[tokio::test]
    async fn an_unwilling_group_is_killed_after_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let script = "trap '' TERM; echo up; while :; do sleep 1; done";
        let mut process = ServiceProcess::start(&launch(folder.path(), script)).unwrap();
        while process.last_lines(1) != "up" {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let stopped = process.stop(Duration::from_millis(20)).await.unwrap();
        assert_eq!(stopped.exit.signal, Some(9));
        assert!(stopped.killed_after.is_some());
    }

    #[tokio::test]
    async fn a_dropped_handle_leaves_no_process() {
        let folder = tempfile::tempdir().unwrap();
        let process = ServiceProcess::start(&launch(folder.path(), "sleep 60")).unwrap();
        let pid = process.pid();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
