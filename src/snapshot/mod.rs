//! Takes a consistent file set from a stopped source, consolidates it and describes it with a manifest.
//!
//! Never opens a source with SQLite; never opens a set in place: only copies are opened. No HTTP.

/// Reading a consolidated database file as untrusted input.
pub mod database;
