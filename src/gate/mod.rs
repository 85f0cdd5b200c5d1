//! The gate on schema changes: what an observed schema changes of the locked one, and how a change is accepted.
//!
//! Reads and writes the locks only; never starts a service. Classification is `deployment`'s.

/// The changes of a schema, tried out.
pub mod changes;
/// What an observed schema changes.
pub mod compare;
/// The locked schemas and the list of accepted changes.
pub mod lock;
/// A comparison as people and GitHub read it.
pub mod shown;

#[cfg(test)]
mod tests;
