//! Runs the services of a drill as containers, over the engine's API: Docker 20.10 (API 1.41) or later, or Podman's socket.
//!
//! A package of its own: whoever drills processes only does not build it. Knows no table, no endpoint and no check.

mod container;
mod engine;
mod files;
mod images;
mod leftovers;

pub use engine::{ContainerEngine, connect};
pub use images::REFERENCE_REPOSITORY;
pub use leftovers::{Leftover, leftovers, remove_leftovers};

/// The variable that turns a skipped container drill into a failed one.
pub const REQUIRE: &str = "DRILLS_REQUIRE_CONTAINERS";

/// An error with its chain of causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    recovery_drills::drills::context::chain(error)
}
