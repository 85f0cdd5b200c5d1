//! The commands of the snapshot store, as an operator types them, on a store in a folder.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

const SECRET: &str = "kept-secret-of-the-test/+1";

fn xtask(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("DRILLS_STORE_NAMING_SECRET", SECRET)
        .env_remove("DRILLS_AGE_IDENTITY_FILE")
        .output()
        .expect("run")
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(!text.contains(SECRET), "{text}");
    text
}

fn passes(folder: &Path, arguments: &[&str]) -> String {
    let output = xtask(folder, arguments);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {text}");
    text
}

fn ends(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let output = xtask(folder, arguments);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {text}");
    assert!(text.contains("error: ") && !text.contains("panicked"), "{text}");
    text
}

fn recorded() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/snapshots/at-rest");
    path.display().to_string()
}

fn stored() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    passes(
        folder.path(),
        &["snapshot", "create", "--from", &recorded(), "--to", "file:store"],
    );
    folder
}

#[test]
fn a_snapshot_is_stored_listed_verified_restored_and_pruned() {
    let folder = stored();
    let at = folder.path();
    assert!(passes(at, &["snapshot", "list", "store"]).contains("verified"));
    assert!(passes(at, &["snapshot", "verify", "file:store"]).contains("every part and every file"));
    passes(at, &["snapshot", "restore", "file:store/latest", "--to", "back"]);
    assert!(passes(at, &["snapshot", "verify", "back"]).contains("unaltered"));
    ends(at, 2, &["snapshot", "restore", "file:store", "--to", "back"]);
    passes(at, &["snapshot", "create", "--from", &recorded(), "--to", "store"]);
    let dry = passes(at, &["snapshot", "prune", "store", "--keep-last", "1", "--dry-run"]);
    assert!(
        dry.contains("would be removed") && dry.contains("the last verified"),
        "{dry}"
    );
    let list = |what: &str| passes(at, &["snapshot", "list", what]).lines().count();
    assert_eq!(list("store"), 2);
    passes(at, &["snapshot", "prune", "store", "--keep-last", "1"]);
    assert_eq!(list("store"), 1);
}

#[test]
fn what_cannot_be_used_is_said_before_anything_is_done() {
    let folder = stored();
    let at = folder.path();
    ends(at, 2, &["snapshot", "list", "s3://"]);
    ends(at, 2, &["snapshot", "list", "file:nowhere"]);
    ends(at, 2, &["snapshot", "list"]);
    ends(at, 2, &["snapshot", "prune", "file:store"]);
    ends(at, 2, &["snapshot", "verify", "file:store/2020-01-01T00-00-00-000Z"]);
    let key = "AGE-SECRET-KEY-1NOTAREALONE";
    let create = [
        "snapshot",
        "create",
        "--from",
        &recorded(),
        "--to",
        "file:store",
        "--recipient",
        key,
    ];
    assert!(!ends(at, 2, &create).contains(key));
    fs::write(at.join("key.txt"), "not a key").expect("written");
    ends(at, 2, &["snapshot", "verify", "file:store", "--identity", "key.txt"]);
    let parts = fs::read_dir(at.join("store/parts")).expect("listed").flatten();
    parts.for_each(|part| fs::write(part.path(), "damaged").expect("written"));
    assert!(ends(at, 1, &["snapshot", "verify", "file:store"]).contains("is damaged"));
    ends(at, 1, &["snapshot", "restore", "file:store", "--to", "back"]);
    assert!(!at.join("back").exists());
}
