//! Drills as integration tests: one binary, since linking is what costs.
//!
//! Each test calls the same function as `cargo xtask drill` and reads the verdict; a failing one prints verdict, findings
//! and the evidence path, nothing else. Drills run as processes and as containers: see `trials`.

mod backup_restore;
mod ballast;
mod endings;
mod faults;
mod from_backup;
mod json_schema;
mod power;
mod recording;
mod records;
mod running;
mod schema;
mod seed;
mod trials;
mod verify;
mod whole;

fn main() {
    trials::run(&[
        backup_restore::DRILLS,
        ballast::DRILLS,
        endings::DRILLS,
        faults::DRILLS,
        from_backup::DRILLS,
        power::DRILLS,
        records::DRILLS,
        schema::DRILLS,
        verify::DRILLS,
        whole::DRILLS,
    ])
}
