//! The vocabulary that all rooms share, and the one record of a run.
//!
//! Plain serde data. Opens its own file and nothing else; never a clock, never a service.

mod finding;
mod ids;
mod shown;
mod verdict;

pub use finding::{CheckRecord, Finding, Judgement};
pub use ids::{CheckId, FaultId};
pub use shown::{private, short};
pub use verdict::Verdict;
