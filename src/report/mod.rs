//! Evidence in, text out: the same evidence gives the same bytes.
//!
//! No clock, no environment, no I/O. Everything that came from outside is escaped: a name in a database cannot become
//! a table cell, a heading or a script.

/// The Markdown report for operators and auditors.
pub mod markdown;

/// Plain lines for a terminal.
pub mod summary;
