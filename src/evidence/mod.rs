//! The vocabulary that all rooms share, and the one record of a run.
//!
//! Plain serde data. Opens its own file and nothing else; never a clock, never a service.

mod bound;
mod chain;
mod finding;
mod ids;
mod junit;
mod likely_secrets;
mod outcome;
mod parity;
mod record;
mod redaction;
mod shown;
mod started;
mod store;
mod test_record;
mod test_run;
mod verdict;
mod workflow_command;

pub use bound::{lower_bound_percent, upper_bound_percent};
pub use chain::{Chain, sha256};
pub use finding::{CheckRecord, Finding, Judgement};
pub use ids::{CheckId, FaultId};
pub use junit::{Unexplained, UnexplainedEnding};
pub use likely_secrets::likely_secrets;
pub use outcome::{CommandOutcome, FEWEST_CLEAN_RUNS};
pub use parity::{AspectRecord, ComparedEnvironment, Drift, Intended, Observation, ParityEvidence};
pub use record::{
    Component, Detection, Evidence, Harness, NotAsked, Objectives, Polarity, Run, SchemaPrints, SnapshotRecord, Step,
    StepOutcome, StoredFile, TableRecord,
};
pub use redaction::Secrets;
pub use shown::{one_line, plain, private, short};
pub use started::{Started, TestAttempt};
pub use store::{StoreError, write_atomically};
pub use test_record::{TestDrill, TestEnding, TestRecord, TestStarted};
pub use test_run::{TestRun, TestRunError};
pub use verdict::Verdict;
pub use workflow_command::{Level, SHOWN_ANNOTATIONS, annotation};
