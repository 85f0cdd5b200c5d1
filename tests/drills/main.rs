//! Drills as integration tests: one binary, since linking is what costs.
//!
//! Each test calls the same function as `cargo xtask drill` and reads the verdict; a failing one prints verdict, findings
//! and the evidence path, nothing else.

mod backup_restore;
mod ballast;
mod endings;
mod faults;
mod from_backup;
mod power;
mod recording;
mod records;
mod running;
mod seed;
mod whole;
