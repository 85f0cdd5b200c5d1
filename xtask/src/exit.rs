//! Every distinct ending has its own number.

use recovery_drills::evidence::Verdict;

/// Exit codes of all commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitCode {
    /// Something was compared and nothing was wrong.
    Pass = 0,
    /// At least one finding, or a step that could not be done after the first stop.
    Fail = 1,
    /// The command or a file given to it cannot be used; nothing was started.
    Usage = 2,
    /// Nothing is proven.
    Inconclusive = 3,
    /// Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl ExitCode {
    /// The ending of a command of this program that was run by itself; a signal proves nothing.
    pub(crate) fn of(code: Option<i32>) -> ExitCode {
        match code {
            Some(0) => ExitCode::Pass,
            Some(1) => ExitCode::Fail,
            Some(2) => ExitCode::Usage,
            Some(130) => ExitCode::Interrupted,
            _ => ExitCode::Inconclusive,
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> ExitCode {
        match verdict {
            Verdict::Pass => ExitCode::Pass,
            Verdict::Inconclusive => ExitCode::Inconclusive,
            Verdict::Fail => ExitCode::Fail,
        }
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> std::process::ExitCode {
        std::process::ExitCode::from(code as u8)
    }
}
