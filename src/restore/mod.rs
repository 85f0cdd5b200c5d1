//! Puts a snapshot in a clean instance's place: `plan` (pure looks, printable), then `perform` (atomic per file).
//!
//! Never writes to a folder that the harness did not create for a clean instance, never over a file that is in use,
//! never with a snapshot that is not what its manifest says. No HTTP.

mod perform;
/// Places of clean instances.
pub mod place;
mod plan;

pub use perform::{Restored, RestoredFile, perform};
pub use place::{CleanPlace, PlaceError, Places};
pub use plan::{RestoreError, RestorePlan, plan};
