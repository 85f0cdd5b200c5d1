//! Compares environments: each one is observed, then judged by itself and against the reference.
//!
//! Never writes to an environment, never starts or stops one, never opens a database in place, and never lets the value of a
//! secret into a fact. One aspect a file: `observe` looks, `judge` and `compare` are pure.

/// Origins of an API in the files of a surface.
pub mod api_url;
/// What was seen of one environment.
pub mod capture;
mod command;
/// Configuration keys.
pub mod config;
mod config_sources;
/// Drift that is intended.
pub mod exceptions;
mod fetch;
mod known_keys;
/// Where a Node version is declared.
mod node_files;
mod origins;
/// The comparison itself.
pub mod perform;
/// Release truth.
pub mod release;
/// The Node runtime.
pub mod runtime;
/// Schemas of the databases.
pub mod schema;
mod status_page;
mod surface;
