//! The program as an operator types it, in a folder of its own with the reference services built.

use recovery_drills::drills::reference;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

pub(crate) const SECRET: &str = "kept-secret-of-the-test/+1";

/// A folder to run in, with a target folder of its own.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let built = reference::ensure_built().expect("the reference services are built");
    let binaries = folder.path().join("target/debug");
    fs::create_dir_all(&binaries).expect("made");
    // A copy is newer than what it was made of, so that it counts as built.
    fs::copy(built, binaries.join("reference-services")).expect("copied");
    folder
}

/// The program in that folder.
pub(crate) fn xtask(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("DRILLS_STORE_NAMING_SECRET", SECRET)
        .env_remove("DRILLS_AGE_IDENTITY_FILE")
        .env_remove("AWS_REGION");
    command
}

/// Everything it said; never the secret.
pub(crate) fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains(SECRET), "{text}");
    text
}

/// Ends with that code; what it said.
#[track_caller]
pub(crate) fn ends_with(mut command: Command, code: i32) -> String {
    let output = command.output().expect("run");
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

#[track_caller]
pub(crate) fn passes(folder: &Path, arguments: &[&str]) -> String {
    ends_with(xtask(folder, arguments), 0)
}

/// Ends with that code and one message of what is wrong.
#[track_caller]
pub(crate) fn ends(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let text = ends_with(xtask(folder, arguments), code);
    assert!(text.contains("error: "), "{text}");
    text
}

/// The recorded set at rest.
pub(crate) fn recorded() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/snapshots/at-rest");
    path.display().to_string()
}

/// What fetching commands have or left in that folder.
pub(crate) fn in_hand(folder: &Path) -> usize {
    fs::read_dir(folder.join("target/drills/given")).map_or(0, Iterator::count)
}
