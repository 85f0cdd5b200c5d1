//! Step lines on standard error: plain in CI and files, with the running step shown on a terminal.

use crate::said;
use recovery_drills::drills::context::Progress;
use recovery_drills::evidence::{Step, StepOutcome, one_line};
use std::io::IsTerminal;

/// Prints a line a step; on a terminal the running step is shown first and then replaced.
pub(crate) struct Lines {
    terminal: bool,
}

impl Lines {
    /// Lines for the standard error of this process.
    pub(crate) fn new() -> Lines {
        let is_ci = std::env::var_os("CI").is_some();
        Lines {
            terminal: std::io::stderr().is_terminal() && !is_ci,
        }
    }
}

impl Progress for Lines {
    fn begins(&self, name: &str) {
        if self.terminal {
            said::text(format_args!("  … {name}"));
        }
    }

    fn ended(&self, step: &Step) {
        let mark = match step.outcome {
            StepOutcome::Done => "ok  ",
            StepOutcome::Failed => "FAIL",
            StepOutcome::Skipped => "skip",
        };
        let clear = if self.terminal { "\r\u{1b}[2K" } else { "" };
        let time = step
            .started_at
            .as_deref()
            .and_then(|at| at.get(11..23))
            .unwrap_or("            ");
        said::line(format_args!(
            "{clear}{time}  {mark} {:>6} ms  {:<30} {}",
            step.duration_ms,
            one_line(&step.name),
            one_line(&step.detail)
        ));
    }
}
