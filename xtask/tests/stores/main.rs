//! The commands of the snapshot store, as an operator types them: on a store in a folder, and on a server that speaks S3.

mod on_server;
#[path = "../../../store/tests/stores/serving.rs"]
mod serving;
mod typed;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;
use typed::{ends, ends_with, folder, in_hand, passes, recorded, text, xtask};

fn stored() -> TempDir {
    let folder = folder();
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
    let parts = fs::read_dir(at.join("store/parts")).expect("listed").flatten();
    parts.for_each(|part| fs::write(part.path(), "damaged").expect("written"));
    assert!(ends(at, 1, &["snapshot", "verify", "file:store"]).contains("is damaged"));
    ends(at, 1, &["snapshot", "restore", "file:store", "--to", "back"]);
    assert!(!at.join("back").exists());
}

/// Verdict and failed checks of the only run in that folder.
fn judged(folder: &Path) -> (String, Vec<String>) {
    let runs = fs::read_dir(folder.join("target/drills")).expect("runs").flatten();
    let found: Vec<_> = runs
        .map(|run| run.path().join("evidence.json"))
        .filter(|path| path.is_file())
        .collect();
    let [path] = found.as_slice() else {
        panic!("{found:?}");
    };
    let evidence: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).expect("read")).expect("parsed");
    let failed = evidence["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .filter(|check| check["verdict"] == "fail")
        .map(|check| check["id"].as_str().expect("an id").to_owned())
        .collect();
    let run = path.parent().expect("the run");
    let verdict = evidence["verdict"].as_str().expect("a verdict").to_owned();
    if verdict == "pass" {
        // Evidence, report and the snapshot that was unpacked or fetched belong together.
        passes(folder, &["verify", &run.display().to_string()]);
    }
    fs::remove_dir_all(run).expect("removed");
    (verdict, failed)
}

fn packed(folder: &Path) -> Vec<u8> {
    let packed = Command::new("tar")
        .args(["-czf", "backup.tgz", "-C", &recorded(), "."])
        .current_dir(folder)
        .status();
    assert!(packed.expect("tar runs").success());
    fs::read(folder.join("backup.tgz")).expect("read")
}

#[test]
fn an_archive_passes_and_without_its_end_it_leaves_the_evidence_of_a_failed_set() {
    let folder = folder();
    let at = folder.path();
    let bytes = packed(at);
    passes(at, &["drill", "--from", "backup.tgz", "--no-self-test", "--quiet"]);
    assert_eq!(judged(at), ("pass".to_owned(), Vec::new()));
    fs::write(at.join("cut.tgz"), &bytes[..bytes.len() - 4_096]).expect("written");
    let text = ends_with(xtask(at, &["drill", "--from", "cut.tgz"]), 1);
    assert!(text.contains("damaged or cut"), "{text}");
    let (verdict, failed) = judged(at);
    assert!(
        verdict == "fail" && failed.contains(&"snapshot-set".to_owned()),
        "{failed:?}"
    );
    fs::write(at.join("no-archive"), "hello").expect("written");
    ends(at, 2, &["drill", "--from", "no-archive"]);
    assert_eq!(in_hand(at), 0);
}

#[test]
fn an_old_backup_leaves_the_evidence_of_a_failed_drill() {
    let folder = folder();
    let at = folder.path();
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
    let text = ends_with(xtask(at, &["drill", "--from", "old", "--max-age", "36h"]), 1);
    assert!(text.contains("too old"), "{text}");
    assert_eq!(judged(at), ("fail".to_owned(), Vec::new()));
}

#[test]
fn a_store_is_drilled_and_a_damaged_or_missing_snapshot_is_refused_before_anything_starts() {
    let folder = stored();
    let at = folder.path();
    passes(
        at,
        &["drill", "--from", "file:store", "--no-self-test", "--max-age", "1h"],
    );
    assert_eq!(judged(at).0, "pass");
    ends(at, 2, &["drill", "--from", "file:store/2020-01-01T00-00-00-000Z"]);
    let part = fs::read_dir(at.join("store/parts")).expect("listed").flatten().next();
    fs::write(part.expect("a part").path(), "damaged").expect("written");
    assert!(ends(at, 1, &["drill", "--from", "file:store"]).contains("is damaged"));
    assert_eq!(in_hand(at), 0);
}

#[test]
fn faults_go_into_copies_of_an_archive_and_of_a_stored_snapshot() {
    let folder = stored();
    let at = folder.path();
    packed(at);
    for from in ["backup.tgz", "file:store"] {
        let arguments = [
            "faults",
            "--from",
            from,
            "--only",
            "agents-all-deleted",
            "--at-rest",
            "--clean-runs",
            "0",
        ];
        let text = passes(at, &arguments);
        assert!(text.contains("1 of 1 faults detected"), "{text}");
    }
    assert_eq!(in_hand(at), 0);
}

#[test]
fn a_store_among_the_databases_is_refused_and_so_is_a_link_to_there() {
    let folder = folder();
    let at = folder.path();
    fs::create_dir(at.join("data")).expect("made");
    for name in ["beam-directory.db", "beam-bus.sqlite", "beam-bus.sqlite-wal"] {
        fs::copy(Path::new(&recorded()).join(name), at.join("data").join(name)).expect("copied");
    }
    std::os::unix::fs::symlink("data", at.join("link")).expect("linked");
    for store in ["file:data", "file:data/store", "file:link/deep/store"] {
        let text = ends(at, 2, &["snapshot", "create", "--from", "data", "--to", store]);
        assert!(text.contains("where the databases are"), "{text}");
    }
    assert_eq!(fs::read_dir(at.join("data")).expect("listed").count(), 3);
}

#[test]
fn an_identity_file_that_others_may_read_is_refused() {
    let folder = stored();
    let at = folder.path();
    fs::write(at.join("key.txt"), "AGE-SECRET-KEY-1NOTAREALONE").expect("written");
    let arguments = ["snapshot", "verify", "file:store", "--identity", "key.txt"];
    fs::set_permissions(at.join("key.txt"), fs::Permissions::from_mode(0o640)).expect("set");
    assert!(ends(at, 2, &arguments).contains("chmod 600"));
    fs::set_permissions(at.join("key.txt"), fs::Permissions::from_mode(0o600)).expect("set");
    assert!(ends(at, 2, &arguments).contains("no age identity"));
}

#[test]
fn doctor_removes_what_a_killed_command_left_and_nothing_of_a_living_one() {
    let folder = stored();
    let at = folder.path();
    let given = at.join("target/drills/given");
    for (name, owner) in [
        ("fetched-left", "999999999".to_owned()),
        ("storing-lives", std::process::id().to_string()),
    ] {
        fs::create_dir_all(given.join(name).join("snapshot")).expect("made");
        fs::write(given.join(name).join("owner.lock"), owner).expect("written");
    }
    let said = text(&xtask(at, &["doctor"]).output().expect("run"));
    assert!(
        said.contains("fetched-left") && !said.contains("storing-lives"),
        "{said}"
    );
    let said = text(&xtask(at, &["doctor", "--clean"]).output().expect("run"));
    assert!(said.contains("removed the backup that a killed command left"), "{said}");
    assert!(!given.join("fetched-left").exists() && given.join("storing-lives/snapshot").is_dir());
}
