//! What is drilled: a directory, a message bus and their surfaces, as an environment file describes them.
//!
//! Pure functions on text, rows and maps, and the one way to read a given file; never HTTP, a process or a clock.

/// A source that runs by itself, stopped and started by its own commands.
pub mod attached;
/// What a comparison of environments looks at.
pub mod compared;
/// An environment file, parsed and validated.
pub mod environment;
/// Given files, read with limits.
pub mod given_file;
/// What a service states of its own release.
pub mod release;

use serde::{Deserialize, Serialize};
use std::fmt;

mod nonce_guards;
/// Schema facts, fingerprints and differences.
pub mod schema;
mod schema_added;
/// What a change of a schema means.
pub mod schema_change;
mod schema_renames;
/// A schema written as SQL.
pub mod schema_sql;
/// One spelling for what means the same.
pub mod spelling;
mod sql_tokens;
/// What older services make of a newer file.
pub mod way_back;

/// One of the two services of a deployment that keep data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The directory: agents, requests, workspaces, intents.
    Directory,
    /// The message bus.
    Bus,
}

impl Service {
    /// Both services, in the order in which reports list them.
    pub const ALL: [Service; 2] = [Service::Directory, Service::Bus];

    /// Name of the database file as the operators' guide has it.
    #[must_use]
    pub fn database_file(self) -> &'static str {
        match self {
            Service::Directory => "beam-directory.db",
            Service::Bus => "beam-bus.sqlite",
        }
    }

    /// The word used in evidence, options and environment files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Service::Directory => "directory",
            Service::Bus => "bus",
        }
    }

    /// A table that only this service's database has; a plain backup is recognised by it.
    #[must_use]
    pub fn marker_table(self) -> &'static str {
        match self {
            Service::Directory => "intent_log",
            Service::Bus => "beam_messages",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
