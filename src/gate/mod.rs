//! The gate on schema changes: what an observed schema changes of the locked one, and how a change is accepted.
//!
//! Reads and writes the locks only, and asks git; never starts a service. Classification is `deployment`'s.

/// What GitHub shows at lines of the locks.
pub mod annotations;
/// What a change accepts of the schemas.
pub mod base;
/// The changes of a schema, tried out.
pub mod changes;
/// What an observed schema changes.
pub mod compare;
/// What git knows of a change.
pub mod git;
/// The locked schemas and the list of accepted changes.
pub mod lock;
/// What the gate comes to.
pub mod outcome;
/// Which files of a change can touch a schema.
pub mod relevant;
/// A comparison as people and GitHub read it.
pub mod shown;
/// What the drill schema-upgrade came to.
pub mod upgrade;

#[cfg(test)]
mod tests;
