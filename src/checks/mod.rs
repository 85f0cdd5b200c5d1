//! One question a file: `ID`, `observe` (looks, may fail), `judge` (pure).
//!
//! A check never knows a fault and never calls another check. What is expected comes from up to three independent
//! places: the ledger, the baseline (what the source answered) and the snapshot's rows; all that exist are used.

/// Comparing named objects field by field, with the three origins of an expectation.
pub mod expectation;

/// How rows and cells are named and shown.
pub mod disclosure;

/// Rows that differ, in words.
pub mod row_differences;

/// `content`.
pub mod content;
/// `integrity`.
pub mod integrity;
/// `polarity`.
pub mod polarity;
/// Predicted changes against those that happened.
pub mod prediction;
/// `restored-files`.
pub mod restored_files;
/// `schema`.
pub mod schema;
/// `snapshot-set`.
pub mod snapshot_set;
/// What the first start changes.
pub mod start_rules;
/// Unfinished intents and messages.
pub mod unfinished;

/// `in-flight`.
pub mod in_flight;
/// `skew`.
pub mod skew;
/// `startup-diff`.
pub mod startup_diff;
