//! Starts, watches, stops and kills services.
//!
//! Knows no table and no endpoint: what "ready" means is handed in as a probe. Never sends a signal to a process that
//! it did not start itself.

/// Commands of a source that is not the harness's own.
pub mod attached;

/// Services as processes in a network namespace of their own.
pub mod enclosure;

/// Services as containers: what the harness asks of a container engine.
pub mod engine;

/// Services as child processes.
pub mod process;

/// Free ports, and whose a listening port is.
pub mod ports;

/// Waiting for a named condition.
pub mod ready;

/// A started service, whatever runs it.
pub mod running;
