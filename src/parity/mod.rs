//! Compares environments: each one is observed, then judged by itself and against the reference.
//!
//! Never writes to an environment, never starts or stops one, never opens a database in place, and never lets the value of a
//! secret into a fact. One aspect a file: `observe` looks, `judge` and `compare` are pure.

/// Addresses in the configuration.
mod addresses;
/// Origins of an API in the files of a surface.
pub mod api_url;
/// What was seen of one environment.
pub mod capture;
mod command;
/// Comments of pages and scripts.
mod comments;
/// Compose files.
mod compose;
/// Configuration keys.
pub mod config;
mod config_sources;
mod config_values;
/// Drift that is intended.
pub mod exceptions;
pub(crate) mod fetch;
/// What services showed that were started for a comparison.
pub mod fresh;
mod known_keys;
/// Where a Node version is declared.
mod node_files;
/// Ranges of versions as npm has them.
mod node_range;
/// Node versions in workflows and compose files.
mod node_yaml;
mod origins;
/// The comparison itself.
pub mod perform;
/// Release truth.
pub mod release;
/// The places of an answer.
mod release_answers;
/// Release truth, judged.
pub mod release_truth;
/// The Node runtime.
pub mod runtime;
/// Schemas of the databases.
pub mod schema;
mod status_page;
mod surface;
/// YAML with lines.
mod yaml;
