//! Runs a command of an environment file and takes what it prints.
//!
//! What the command says on standard error is never shown: it may hold a secret.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(30);

/// How much of what it prints is read: a page of the largest size and what curl says behind it.
const LARGEST_BYTES: u64 = 33 << 20;

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
    /// It printed without an end.
    #[error("{program} printed more than {LARGEST_BYTES} bytes")]
    TooMuch {
        /// The program.
        program: String,
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
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(started)?;
    let all = async {
        let mut output = Vec::new();
        if let Some(printed) = child.stdout.take() {
            printed.take(LARGEST_BYTES + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > LARGEST_BYTES {
            return Ok((output, None));
        }
        Ok((output, Some(child.wait().await?)))
    };
    let program = program.clone();
    match tokio::time::timeout(LIMIT, all).await {
        Err(_) => Err(CommandError::Endless { program }),
        Ok(ended) => match ended.map_err(started)? {
            (_, None) => Err(CommandError::TooMuch { program }),
            (output, Some(status)) if status.success() => Ok(output),
            (_, Some(status)) => Err(CommandError::Ended { program, status }),
        },
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
    async fn a_command_that_prints_without_an_end_is_stopped() {
        let failed = run(&argv(&["cat", "/dev/zero"]), Path::new(".")).await;
        assert!(matches!(failed, Err(CommandError::TooMuch { .. })), "{failed:?}");
    }

    #[tokio::test]
    async fn a_failing_command_shows_no_standard_error() {
        let failed = run(&argv(&["sh", "-c", "echo secret >&2; exit 3"]), Path::new(".")).await;
        let text = failed.unwrap_err().to_string();
        assert!(text.contains('3') && !text.contains("secret"), "{text}");
    }
}
