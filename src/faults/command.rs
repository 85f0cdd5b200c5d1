//! Any program as an injection: argv with the places of the stage in its environment.
//!
//! Runs in a process group of its own with a time limit; an exit code other than 0 is an error of the fault.

use crate::deployment::Service;
use crate::faults::target::Target;
use crate::runtime::process::{Launch, ProcessError, ServiceProcess};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long a program may take.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
const SHOWN_LINES: usize = 5;

/// Why a program was of no use.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started or watched.
    #[error("cannot run the program")]
    Process(#[from] ProcessError),
    /// No place for its output.
    #[error("cannot make a file for the output in {path}")]
    Output {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It ended otherwise than with exit code 0.
    #[error("the program ended with {exit}; its last lines: {lines}")]
    Failed {
        /// How it ended.
        exit: String,
        /// What it printed last.
        lines: String,
    },
    /// It took too long and was killed.
    #[error("the program ran longer than {} s and was killed; its last lines: {lines}", limit.as_secs_f32())]
    TooLong {
        /// The limit.
        limit: Duration,
        /// What it printed last.
        lines: String,
    },
}

/// What a program finds in its environment at this stage.
#[must_use]
pub fn variables(target: &Target) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut set = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    };
    let shown = |path: Option<&PathBuf>| path.map(|path| path.display().to_string());
    set("DIRECTORY_DB", shown(target.directory_db.as_ref()));
    set("BUS_DB", shown(target.bus_db.as_ref()));
    set("SNAPSHOT_DIR", shown(target.snapshot_dir.as_ref()));
    set("ENVIRONMENTS", shown(target.environments.as_ref()));
    for (service, name) in [(Service::Directory, "DIRECTORY"), (Service::Bus, "BUS")] {
        let live = target.live(service);
        set(&format!("{name}_URL"), live.map(|live| live.url.clone()));
        set(
            &format!("{name}_PID"),
            live.and_then(|live| live.pid).map(|pid| pid.to_string()),
        );
    }
    found
}

/// Runs a program to its end.
///
/// # Errors
/// [`CommandError`].
pub fn run(argv: &[String], target: &Target, limit: Duration) -> Result<(), CommandError> {
    let output = tempfile::Builder::new()
        .prefix("fault-command-")
        .suffix(".log")
        .tempfile_in(&target.scratch)
        .map_err(|source| CommandError::Output {
            path: target.scratch.clone(),
            source,
        })?;
    let launch = Launch {
        name: "the fault's program".to_owned(),
        argv: argv.to_vec(),
        cwd: target.environments.clone(),
        variables: variables(target),
        log: output.path().to_owned(),
    };
    let mut process = ServiceProcess::start(&launch)?;
    let began = Instant::now();
    loop {
        if let Some(exit) = process.ended()? {
            if exit.code == Some(0) {
                return Ok(());
            }
            let lines = process.last_lines(SHOWN_LINES);
            return Err(CommandError::Failed {
                exit: exit.to_string(),
                lines,
            });
        }
        if began.elapsed() > limit {
            // Dropping the handle kills the whole group.
            return Err(CommandError::TooLong {
                limit,
                lines: process.last_lines(SHOWN_LINES),
            });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fault::Stage;
    use crate::faults::target::Live;
    use tempfile::TempDir;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    fn target(folder: &TempDir) -> Target {
        Target {
            bus_db: Some(folder.path().join("bus.db")),
            directory: Some(Live {
                url: "http://127.0.0.1:1".to_owned(),
                pid: Some(7),
            }),
            ..Target::empty(Stage::Running, folder.path())
        }
    }

    #[test]
    fn a_program_finds_what_exists_at_its_stage() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "test \"$DIRECTORY_PID\" = 7 && test -z \"${DIRECTORY_DB+x}\" && printf '%s' \"$DIRECTORY_URL\" > \"$BUS_DB\"";
        run(&sh(script), &target(&folder), TIME_LIMIT).expect("run");
        let written = std::fs::read_to_string(folder.path().join("bus.db")).expect("read");
        assert_eq!(written, "http://127.0.0.1:1");
    }

    #[test]
    fn an_exit_code_other_than_zero_is_an_error_with_the_last_lines() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = run(&sh("echo no such row; exit 3"), &target(&folder), TIME_LIMIT).expect_err("failed");
        let text = error.to_string();
        assert!(text.contains("exit code 3") && text.contains("no such row"), "{text}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let script = "sleep 60 & echo $! > \"$BUS_DB\"; wait";
        let error = run(&sh(script), &target(&folder), Duration::from_millis(1_500)).expect_err("killed");
        assert!(matches!(error, CommandError::TooLong { .. }));
        let pid = std::fs::read_to_string(folder.path().join("bus.db")).expect("read");
        // SIGKILL takes effect a little later than it is sent.
        let lives = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let asked = Instant::now();
        while lives() && asked.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(!lives());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let error = run(&["no-such-program".to_owned()], &target(&folder), TIME_LIMIT).expect_err("refused");
        assert!(matches!(error, CommandError::Process(ProcessError::Spawn { .. })));
    }
}
