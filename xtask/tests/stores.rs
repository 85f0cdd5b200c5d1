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

#[test]
fn a_drill_refuses_an_old_a_cut_and_a_damaged_backup_before_it_starts_anything() {
    let folder = stored();
    let at = folder.path();
    let whole = fs::read(at.join("store/recovery-drill-store.json")).expect("read");
    fs::write(at.join("no-archive"), whole).expect("written");
    ends(at, 2, &["drill", "--from", "no-archive"]);
    let packed = Command::new("tar")
        .args(["-czf", "backup.tgz", "-C", &recorded(), "."])
        .current_dir(at)
        .status();
    assert!(packed.expect("tar runs").success());
    let bytes = fs::read(at.join("backup.tgz")).expect("read");
    fs::write(at.join("cut.tgz"), &bytes[..bytes.len() - 4_096]).expect("written");
    assert!(ends(at, 1, &["drill", "--from", "cut.tgz"]).contains("damaged or cut"));
    fs::create_dir(at.join("old")).expect("made");
    for name in ["beam-directory.db", "beam-bus.sqlite", "beam-bus.sqlite-wal"] {
        fs::copy(Path::new(&recorded()).join(name), at.join("old").join(name)).expect("copied");
        let file = fs::File::options()
            .write(true)
            .open(at.join("old").join(name))
            .expect("opened");
        let then = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
        file.set_modified(then).expect("set");
    }
    assert!(ends(at, 1, &["drill", "--from", "old", "--max-age", "36h"]).contains("too old"));
    ends(at, 2, &["drill", "--from", "file:store/2020-01-01T00-00-00-000Z"]);
    let part = fs::read_dir(at.join("store/parts")).expect("listed").flatten().next();
    fs::write(part.expect("a part").path(), "damaged").expect("written");
    assert!(ends(at, 1, &["drill", "--from", "file:store"]).contains("is damaged"));
    let left = fs::read_dir(at.join("target/drills/given")).map_or(0, Iterator::count);
    assert_eq!(left, 0);
}
