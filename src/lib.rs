//! A drill seeds a source, snapshots it, stops it, restores it into clean instances and leaves evidence; checks judge; the report prints.
//!
//! The modules, in the order in which data flows:

/// What is drilled: environments, release truth, schemas. Pure functions; no HTTP, no processes, no clock.
pub mod deployment;

/// The vocabulary of a run: verdicts, ids, findings, the evidence record.
pub mod evidence;

/// Starts, watches, stops and kills services; waits for named conditions. Knows no table and no endpoint.
pub mod runtime;

/// Typed HTTP clients of the directory and the bus. No retries, no judgement.
pub mod client;

/// Writes known data through the clients and keeps the ledger of every attempted write.
pub mod seed;

/// Takes a consistent file set from a stopped source and describes it with a manifest.
pub mod snapshot;

/// Puts a snapshot in a clean instance's place.
pub mod restore;

/// The gate on schema changes: the locked schemas, and what an observed schema changes.
pub mod gate;

/// One question a file: `observe` looks, `judge` compares.
pub mod checks;

/// Faults as data: what is injected where, and the proof that it changed something. Never a check.
pub mod faults;

/// The procedures an operator rehearses.
pub mod drills;

/// Compares environments by observing each one; no drill, nothing is written to them.
pub mod parity;

/// When a drill is due, and what evidence of it still counts.
pub mod cadence;

/// Evidence in, text out.
pub mod report;

/// Proves that evidence, report and snapshot of a run belong together and were not altered.
pub mod verify;
