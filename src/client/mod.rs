//! Clients.

/// One look at a health endpoint.
pub mod probe;
