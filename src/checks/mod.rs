//! One question a file: `ID`, `observe` (looks, may fail), `judge` (pure).
//!
//! A check never knows a fault and never calls another check. What is expected comes from up to three independent
//! places: the ledger, the baseline (what the source answered) and the snapshot's rows; all that exist are used.

/// Access lists.
pub mod acl;
/// Agents, keys, shield.
pub mod agents;
/// Bus messages.
pub mod bus;
/// Comparing named objects field by field, with the three origins of an expectation.
pub mod expectation;
/// Operator notifications.
pub mod notifications;
/// The error of a look, reading members, looks side by side.
pub mod observing;
/// Beta requests.
pub mod requests;
/// Operators' roles.
pub mod roles;
/// The lifecycle of an intent.
mod stages;
/// Intent traces.
pub mod traces;
/// Workspaces as the rows have them.
pub mod workspace_rows;
/// Workspaces and what hangs on them.
pub mod workspaces;
