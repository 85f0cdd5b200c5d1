//! A run that began and left no evidence: nothing is proven, and it is said so.

use crate::evidence::Started;
use crate::report::markdown::{code, text};
use std::fmt::Write as _;

/// One sentence for a terminal.
#[must_use]
pub fn line(started: &Started) -> String {
    format!(
        "run {} was aborted: it began at {} and its harness is gone without any evidence; nothing is proven",
        started.id, started.started_at
    )
}

/// The Markdown report of an aborted run.
#[must_use]
pub fn render(started: &Started) -> String {
    let mut out = String::from("# Recovery drill: ABORTED\n\n");
    let _ = writeln!(
        out,
        "Run `{}` · drill `{}` · environment `{}` · no evidence\n",
        code(&started.id),
        code(&started.drill),
        code(&started.environment)
    );
    let _ = writeln!(
        out,
        "It began at {} (runtime {}, seed {}) and its harness was killed or timed out before the end. **Nothing is proven.**\n",
        text(&started.started_at),
        text(&started.runtime),
        started.seed
    );
    if let Some(test) = &started.test {
        let _ = writeln!(
            out,
            "It belongs to the test `{}`, attempt {}.\n",
            code(&test.name),
            test.attempt
        );
    }
    out.push_str(
        "## What to do next\n\n`cargo xtask doctor` names what the run left, `cargo xtask doctor --clean` removes it. \
         Then run the drill again with the same seed.\n\n",
    );
    let given = started.command.contains("--seed");
    let seed = if given {
        String::new()
    } else {
        format!(" --seed {}", started.seed)
    };
    let _ = writeln!(out, "Again, with the same data: `{}{seed}`.", code(&started.command));
    out
}
