//! One question a file: `ID`, `observe` (looks, may fail), `judge` (pure).
//!
//! A check never knows a fault and never calls another check. What is expected comes from up to three independent
//! places: the ledger, the baseline (what the source answered) and the snapshot's rows; all that exist are used.

/// Access lists.
pub mod acl;
/// Agents as the rows have them.
pub mod agent_rows;
/// Agents, keys, shield.
pub mod agents;
/// A deliberate call and how it ended.
pub mod attempt;
/// The audit log.
pub mod audit;
/// Bus messages.
pub mod bus;
/// Taken nonces, and which of them are sent again.
pub mod claims;
/// The negative control: empty before the restore.
pub mod clean;
/// `content`.
pub mod content;
/// Credentials issued before the backup.
pub mod credentials;
/// How rows and cells are named and shown.
pub mod disclosure;
/// Comparing named objects field by field, with the three origins of an expectation.
pub mod expectation;
/// Health, stats and counts.
pub mod health;
/// `in-flight`.
pub mod in_flight;
/// `integrity`.
pub mod integrity;
/// Rules that a backup's own rows must satisfy.
pub mod invariants;
/// Nonces sent again.
pub mod nonces;
/// Operator notifications.
pub mod notifications;
/// The error of a look, reading members, looks side by side.
pub mod observing;
/// `polarity`.
pub mod polarity;
/// Predicted changes against those that happened.
pub mod prediction;
/// The newest intents at the short lists.
pub mod recent_intents;
/// What moves in recorded answers.
#[cfg(test)]
mod recorded_answers;
/// Release truth.
pub mod release;
/// Beta requests.
pub mod requests;
/// `restored-files`.
pub mod restored_files;
/// Operators' roles.
pub mod roles;
/// Rows that differ, in words.
pub mod row_differences;
/// Lost writes.
pub mod rpo;
/// Recovery time.
pub mod rto;
/// `schema`.
pub mod schema;
/// `skew`.
pub mod skew;
/// `snapshot-set`.
pub mod snapshot_set;
/// Processes that live on.
pub mod stability;
/// The lifecycle of an intent.
mod stages;
/// What the first start changes.
pub mod start_rules;
/// Starts on the restored files.
pub mod startable;
/// `startup-diff`.
pub mod startup_diff;
/// The audit entries that a trace names.
mod trace_audit;
/// Intents and traces as the rows have them.
pub mod trace_rows;
/// Intent traces.
pub mod traces;
/// Unfinished intents and messages.
pub mod unfinished;
/// Workspaces as the rows have them.
pub mod workspace_rows;
/// Workspaces and what hangs on them.
pub mod workspaces;
/// New intents and messages.
pub mod write_path;
