//! Puts a snapshot in a clean instance's place: `plan` (pure looks, printable), then `perform` (atomic per file).
//!
//! Never writes to a folder that the harness did not create for a clean instance, never over a file that is in use,
//! never with a snapshot that is not what its manifest says. No HTTP.

mod perform;
/// Places of clean instances.
pub mod place;

pub use perform::{RestoreError, RestorePlan, Restored, RestoredFile, perform, plan};
pub use place::{CleanPlace, PlaceError, Places};
