//! When a drill is due, and what evidence of it still counts: sprints, and the cut checklist.
//!
//! Pure but for `collect`, which reads what runs left, and `commit`, which asks git. Starts nothing.

pub mod checklist;
pub mod collect;
pub mod commit;
pub mod settings;
pub mod sprint;
