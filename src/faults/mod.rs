//! Faults as data: reads the catalogue and injects one fault at its stage of a drill.
//!
//! Never a check's code, only its id. Every injection proves that it changed something; "changed nothing" is an error that
//! names the fault. Writes only where a [`target::Target`] points: copies and instances that the harness itself made.

/// Answers of a running service, altered by a loopback proxy.
pub mod answers;
#[cfg(test)]
mod biting;
/// Bytes, modes and files.
pub mod bytes;
/// Files of faults, and which of them are wanted.
pub mod catalogue;
/// What an injection changed.
pub mod changed;
/// Any program.
pub mod command;
/// One table of a fault file.
mod entry;
/// One fault of the catalogue.
pub mod fault;
/// One HTTP message.
mod http_message;
/// Injecting a fault at its stage.
pub mod inject;
/// JSON Patch.
mod json_patch;
/// Whether damage to bytes has a meaning.
pub mod meaning;
/// A snapshot that goes through an archive.
pub mod packed;
/// Faults that nobody thought of.
pub mod random;
/// What a run left.
pub mod record;
/// A service that another answers for.
pub mod relay;
/// The same content in a new file.
pub mod remake;
/// The smallest change that is still missed.
pub mod shrink;
/// Statements on a database.
pub mod sql;
/// Where a fault goes.
pub mod target;
/// A copy that a checkpoint ran through.
pub mod torn;
/// A fault as TOML.
pub mod written;
