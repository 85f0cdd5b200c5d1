//! Takes a consistent file set from a stopped source, consolidates it and describes it with a manifest.
//!
//! Never opens a source with SQLite; never opens a set in place: only copies are opened. No HTTP.

/// Adopting a plain backup that has no manifest.
pub mod adopt;
/// A backup that is a tar.
pub mod archive;
/// One plain file from a copy of a raw set.
pub mod consolidate;
/// Streaming copies with their hash; atomic placement.
pub mod copying;
/// Reading a consolidated database file as untrusted input.
pub mod database;
/// When a given backup was taken.
pub mod dated;
/// Which rows differ between two databases.
pub mod difference;
/// Content digests of rows, tables and databases.
pub mod digest;
/// File sets as values.
pub mod file_set;
/// The first 100 bytes of a database file.
pub mod header;
/// SQLite's own rows in a schema.
pub mod internal_objects;
/// What a snapshot says of itself.
pub mod manifest;
/// Which part of a database file a byte belongs to.
pub mod page_area;
/// Whether anybody uses a file set.
pub mod quiescent;
/// The raw set of a stopped source.
pub mod raw;
#[cfg(test)]
pub(crate) mod recorded;
/// Whether the members of a manifest hold.
pub mod recount;
mod reseal;
/// What SQLite tells of a schema.
pub mod schema_rows;
/// Counts and hashes of one database.
pub mod summary;
mod take;
/// Whether a snapshot folder is what its manifest says.
pub mod verify;
/// Facts of a write-ahead log.
pub mod wal;
mod work_limit;

pub use adopt::adopt;
pub use quiescent::quiescent;
pub use reseal::{ResealError, reseal};
pub use take::{Request, Snapshot, SnapshotPlan, TakeError, copy, independent_copy, perform, plan, seal};
pub use verify::{Verified, verify};
