//! Runs a command of an environment file and takes what it prints.
//!
//! What the command says on standard error is never shown: it may hold a secret.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Why a command gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// Nothing to run.
    #[error("an empty command; give a program and its arguments")]
    Empty,
    /// It could not be run.
    #[error("{program} cannot be run; install it or name it by its path")]
    Start {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// It ended with an error.
    #[error("{program} ended with {status}; run it by hand to see why")]
    Ended {
        /// The program.
        program: String,
        /// Its exit status.
        status: std::process::ExitStatus,
    },
    /// It did not end.
    #[error("{program} did not end within {} s", LIMIT.as_secs())]
    Endless {
        /// The program.
        program: String,
    },
}

/// A command as reports show it, in one line.
pub(crate) fn shown_command(argv: &[String]) -> String {
    let line = argv.join(" ");
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Runs argv in a folder; what it printed.
///
/// # Errors
/// [`CommandError`].
pub(crate) async fn run(argv: &[String], folder: &Path) -> Result<Vec<u8>, CommandError> {
    let (program, arguments) = argv.split_first().ok_or(CommandError::Empty)?;
    let started = |source| CommandError::Start {
        program: program.clone(),
        source,
    };
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(started)?;
    let Ok(ended) = tokio::time::timeout(LIMIT, child.wait_with_output()).await else {
        return Err(CommandError::Endless {
            program: program.clone(),
        });
    };
    let output = ended.map_err(started)?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(CommandError::Ended {
            program: program.clone(),
            status: output.status,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[tokio::test]
    async fn what_a_command_prints_is_taken() {
        let printed = run(&argv(&["echo", "v20.1.0"]), Path::new("")).await.unwrap();
        assert_eq!(printed, b"v20.1.0\n");
    }

    #[tokio::test]
    async fn a_failing_command_shows_no_standard_error() {
        let failed = run(&argv(&["sh", "-c", "echo secret >&2; exit 3"]), Path::new(".")).await;
        let text = failed.unwrap_err().to_string();
        assert!(text.contains('3') && !text.contains("secret"), "{text}");
    }
}
