//! Runs the commands that stop, start and copy a source which is not the harness's own.
//!
//! A command gets a process group of its own, so that Ctrl-C reaches the harness alone, and is never killed because the
//! harness dies: half a stop is worse than a whole one. While a command runs it holds a lock that it inherits (its standard
//! output while it stops, its standard input while it starts), so that another harness can wait for what a killed one left.

use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// Variables of the harness that no command needs.
const KEPT_BACK: &[&str] = &["DRILLS_SEAL_KEY", "DRILLS_STORE_NAMING_SECRET"];

/// A command of an environment file.
#[derive(Debug, Clone)]
pub struct Given {
    /// For messages: `stop command of the bus`.
    pub name: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Where its output goes; beside it lies the lock.
    pub output: PathBuf,
    /// How long it may take.
    pub limit: Duration,
}

/// Why a command did not do what it should.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// It could not be run.
    #[error("cannot run the {name}: {program}; check the environment file and its cwd")]
    Spawn {
        /// Which.
        name: String,
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Its files could not be made.
    #[error("cannot open {path} for the {name}; check the state folder's permissions and free space")]
    Files {
        /// Which.
        name: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It failed.
    #[error("the {name} ended with {status}; its output is in {output}", output = .output.display())]
    Failed {
        /// Which.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Where its output is. It may hold secrets, so it is not shown.
        output: PathBuf,
    },
    /// It did not end.
    #[error("the {name} did not end within {} ms; its output is in {output}", .limit.as_millis(), output = .output.display())]
    TooLong {
        /// Which.
        name: String,
        /// The limit.
        limit: Duration,
        /// Where its output is.
        output: PathBuf,
    },
    /// It cannot be waited for.
    #[error("cannot wait for the {name}")]
    Wait {
        /// Which.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Which stream carries the lock: services that a start command leaves behind keep its output, but not its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// For commands that leave nobody behind.
    Output,
    /// For commands that leave a service behind.
    Input,
}

/// The lock of a command, beside its output.
#[must_use]
pub fn lock_beside(output: &Path) -> PathBuf {
    output.with_extension("running")
}

impl Given {
    /// Starts it.
    ///
    /// # Errors
    /// [`GivenError::Spawn`], [`GivenError::Files`].
    pub fn spawn(&self, carrier: Carrier) -> Result<Child, GivenError> {
        let open = |path: &Path| {
            let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(path);
            opened.map_err(|source| GivenError::Files {
                name: self.name.clone(),
                path: path.to_owned(),
                source,
            })
        };
        let lock_path = lock_beside(&self.output);
        let (input, output, errors) = match carrier {
            Carrier::Output => {
                // The same file twice: a lock belongs to one opening of a file.
                let both = open(&self.output)?;
                lock(&both);
                (Stdio::null(), Stdio::from(both), Stdio::from(open(&self.output)?))
            }
            Carrier::Input => {
                // On the way up nothing of this may stand in the way, a full disk neither.
                let _ = open(&lock_path);
                let input = File::open(&lock_path)
                    .inspect(lock)
                    .map_or_else(|_| Stdio::null(), Stdio::from);
                let log = || open(&self.output).map_or_else(|_| Stdio::null(), Stdio::from);
                (input, log(), log())
            }
        };
        let program = self.argv.first().cloned().unwrap_or_default();
        let mut command = Command::new(&program);
        command.args(self.argv.iter().skip(1)).current_dir(&self.cwd);
        KEPT_BACK.iter().for_each(|key| {
            command.env_remove(key);
        });
        command.stdin(input).stdout(output).stderr(errors);
        command.process_group(0).kill_on_drop(false);
        command.spawn().map_err(|source| GivenError::Spawn {
            name: self.name.clone(),
            program,
            source,
        })
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`GivenError`]; one that takes too long goes on by itself.
    pub async fn run(&self, carrier: Carrier) -> Result<(), GivenError> {
        let mut child = self.spawn(carrier)?;
        match tokio::time::timeout(self.limit, child.wait()).await {
            Ok(status) => self.judge(status),
            Err(_) => Err(GivenError::TooLong {
                name: self.name.clone(),
                limit: self.limit,
                output: self.output.clone(),
            }),
        }
    }

    /// Runs a command that starts nobody and needs not go on: ended with all of its group when it takes too long, or when nobody
    /// waits for it any more.
    ///
    /// # Errors
    /// [`GivenError`].
    pub async fn run_or_end(&self) -> Result<(), GivenError> {
        let mut child = self.spawn(Carrier::Output)?;
        let mut group = Group(child.id());
        match tokio::time::timeout(self.limit, child.wait()).await {
            Ok(status) => {
                group.0 = None;
                self.judge(status)
            }
            Err(_) => Err(GivenError::TooLong {
                name: self.name.clone(),
                limit: self.limit,
                output: self.output.clone(),
            }),
        }
    }

    /// What the end of its process says.
    ///
    /// # Errors
    /// [`GivenError::Failed`], [`GivenError::Wait`].
    pub fn judge(&self, status: io::Result<ExitStatus>) -> Result<(), GivenError> {
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(GivenError::Failed {
                name: self.name.clone(),
                status,
                output: self.output.clone(),
            }),
            Err(source) => Err(GivenError::Wait {
                name: self.name.clone(),
                source,
            }),
        }
    }
}

/// The process group of a command that is ended with its caller.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let group = self.0.and_then(|group| Pid::from_raw(i32::try_from(group).ok()?));
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Somebody else holds it for the moment in which he looks, or because an earlier command still runs: that one is waited for
/// through its own.
fn lock(file: &File) {
    for _ in 0..20 {
        if file.try_lock().is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until no process is left that a command of an earlier harness started, or `limit` passed; whether none is left.
pub async fn await_end(output: &Path, carrier: Carrier, limit: Duration) -> bool {
    let path = match carrier {
        Carrier::Output => output.to_owned(),
        Carrier::Input => lock_beside(output),
    };
    let began = Instant::now();
    loop {
        match File::open(&path) {
            Ok(file) if file.try_lock().is_err() => {}
            _ => return true,
        }
        if began.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Removes what a command left: its output and its lock.
pub fn forget(output: &Path) {
    let _ = fs::remove_file(lock_beside(output));
    let _ = fs::remove_file(output);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(folder: &Path, script: &str, limit: Duration) -> Given {
        Given {
            name: "stop command of the bus".to_owned(),
            argv: ["/bin/sh", "-c", script].map(str::to_owned).into(),
            cwd: folder.to_owned(),
            output: folder.join("bus.stop.log"),
            limit,
        }
    }

    #[tokio::test]
    async fn a_failing_command_names_its_output_and_does_not_show_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let failing = given(folder.path(), "echo password; exit 3", Duration::from_secs(10));
        let error = failing.run(Carrier::Output).await.expect_err("failed").to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("bus.stop.log"),
            "{error}"
        );
        assert!(!error.contains("password"), "{error}");
        assert_eq!(fs::read_to_string(&failing.output).expect("kept"), "password\n");
    }

    #[tokio::test]
    async fn what_an_abandoned_stop_left_is_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let slow = given(folder.path(), "sleep 0.4", Duration::from_millis(20));
        let error = slow.run(Carrier::Output).await.expect_err("too long");
        assert!(matches!(error, GivenError::TooLong { .. }), "{error}");
        assert!(!await_end(&slow.output, Carrier::Output, Duration::ZERO).await);
        assert!(await_end(&slow.output, Carrier::Output, Duration::from_secs(10)).await);
    }

    #[tokio::test]
    async fn a_copy_that_takes_too_long_ends_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let slow = given(folder.path(), "sleep 60 & echo $!; wait", Duration::from_millis(300));
        let error = slow.run_or_end().await.expect_err("too long");
        assert!(matches!(error, GivenError::TooLong { .. }), "{error}");
        let pid = fs::read_to_string(&slow.output).expect("its number");
        let began = Instant::now();
        let state = || fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        // Ended, though perhaps not yet collected by whoever collects orphans.
        while !(state().is_empty() || state().contains(") Z ")) {
            assert!(began.elapsed() < Duration::from_secs(10), "it goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_start_beside_one_that_never_ends_does_not_wait_for_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let hung = given(folder.path(), "exec sleep 60", Duration::from_secs(10));
        let mut first = hung.spawn(Carrier::Input).expect("begun");
        let began = Instant::now();
        let mut second = hung.spawn(Carrier::Input).expect("begun");
        assert!(began.elapsed() < Duration::from_secs(5));
        for child in [&mut first, &mut second] {
            child.kill().await.expect("ended");
        }
    }

    #[tokio::test]
    async fn a_service_that_a_start_leaves_behind_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "sleep 5 & echo $!";
        let start = given(folder.path(), script, Duration::from_secs(10));
        start.run(Carrier::Input).await.expect("started");
        assert!(await_end(&start.output, Carrier::Input, Duration::from_millis(200)).await);
        let pid: i32 = fs::read_to_string(&start.output)
            .expect("its number")
            .trim()
            .parse()
            .expect("a number");
        let pid = rustix::process::Pid::from_raw(pid).expect("a process");
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("ended");
    }
}
