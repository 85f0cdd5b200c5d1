//! Evidence in, text out: the same evidence gives the same bytes.
//!
//! No clock, no environment, no I/O. Everything that came from outside is escaped: a name in a database cannot become
//! a table cell, a heading or a script.

/// What is said of a run that was killed.
pub mod aborted;

/// The cut checklist, kept beside the lines of people.
pub mod checklist;

/// What GitHub reads of a step: annotations, outputs, job summaries.
pub mod github;

/// The Markdown report for operators and auditors.
pub mod markdown;

/// A comparison of environments.
pub mod parity;

/// Plain lines for a terminal.
pub mod summary;

/// A whole test run: a table, what was not as it should be, the drills that stand for it.
pub mod test_run;

/// The run that a report says it is of; `None` where it names none.
#[must_use]
pub fn named_run(report: &str) -> Option<&str> {
    let line = report.lines().find(|line| line.starts_with("Run `"))?;
    line.strip_prefix("Run `")?.split('`').next()
}
