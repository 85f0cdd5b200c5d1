//! Recognisable secrets are put everywhere a run can meet one; none of them may stand in what any command prints or leaves.
//!
//! Files of databases are exempt: a snapshot is what the services stored, kept 0600 in folders of 0700. So are the working files that
//! `--keep` leaves.

mod search;
mod world;

use crate::search::{Leak, in_folder, in_text, seeded};
use crate::world::World;

#[track_caller]
fn assert_none(leaks: &[Leak]) {
    let lines: Vec<String> = leaks
        .iter()
        .map(|leak| format!("{} ({}) in {}:\n    {}", leak.place, leak.form, leak.file, leak.line))
        .collect();
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), lines.join("\n"));
}

#[test]
fn the_search_finds_each_form_of_a_planted_secret() {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    let secret = seeded("planted");
    let folder = tempfile::tempdir().expect("a folder");
    let hex: String = secret.value.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut planted = vec![
        secret.value.clone(),
        "Zq7%2Fplanted~x%3Fy%3Ek%2B9w".to_owned(),
        "Zq7%2fplanted~x%3fy%3ek%2b9w".to_owned(),
        hex.to_uppercase(),
        hex,
    ];
    for before in ["", "a", "ab", "user:"] {
        let text = format!("{before}{}:z", secret.value);
        planted.extend([STANDARD.encode(&text), URL_SAFE.encode(&text)]);
    }
    std::fs::create_dir(folder.path().join("deep")).expect("a folder");
    for (at, text) in planted.iter().enumerate() {
        let secrets = [secret.clone()];
        assert_ne!(in_text(&secrets, "x", format!("a {text} b").as_bytes()), [], "{text}");
        let path = folder.path().join("deep/file.txt");
        std::fs::write(&path, format!("line\n{text}")).expect("written");
        assert_ne!(in_folder(&secrets, folder.path()), [], "form {at}");
    }
    assert_eq!(in_text(&[secret], "x", b"Zq7/planted~x?y"), []);
}

#[test]
fn drills_of_own_services_leak_nothing() {
    let world = World::new();
    let environment = world.own_services();
    world.run(0, &["drill", "--environment", &environment, "--no-self-test"]);
    world.run(
        0,
        &[
            "drill",
            "--environment",
            &environment,
            "--no-self-test",
            "--json",
            "--keep",
        ],
    );
    world.run(0, &["verify", &world.newest_run()]);
    world.run(
        0,
        &[
            "faults",
            "--environment",
            &environment,
            "--only",
            "agent-keys-exchanged",
            "--clean-runs",
            "0",
        ],
    );
    // Whatever they come to: the texts of their ends count.
    world.attempt(&["schema", "--check", "--environment", &environment]);
    world.attempt(&["checklist", "--reports", "reports"]);
    world.attempt(&["doctor"]);
    world.attempt(&["report", &world.newest_run(), "--reports", "reports"]);
    world.assert_services_had_secrets();
    assert!(
        world.logs().contains("<redacted>"),
        "what services printed was never met"
    );
    assert_none(&world.leaks());
}

#[test]
fn drills_that_fail_leak_nothing() {
    let world = World::new();
    let environment = world.own_services();
    world.break_service();
    world.attempt(&["drill", "--environment", &environment, "--no-self-test"]);
    assert!(world.printed().contains("directory"), "{}", world.printed());
    world.assert_services_had_secrets();
    for text in world.broken_environments() {
        let output = world.attempt(&["drill", "--environment", &text]);
        assert_eq!(output, Some(2), "{}", world.printed());
    }
    assert_none(&world.leaks());
}

#[test]
fn backups_and_stores_leak_nothing() {
    let world = World::new();
    let backup = world.backup_with_secret_rows();
    world.attempt(&["drill", "--from", &backup, "--no-self-test"]);
    world.run(0, &["snapshot", "create", "--from", &backup, "--to", "snapshot"]);
    world.run(0, &["snapshot", "verify", "snapshot"]);
    world.damage("here/snapshot/beam-directory.db");
    world.run(1, &["snapshot", "verify", "snapshot"]);
    world.attempt(&["drill", "--from", "snapshot", "--no-self-test"]);
    let address = world.address("s3", "bucket/prefix");
    world.attempt(&["snapshot", "create", "--from", &backup, "--to", &address]);
    world.attempt(&["snapshot", "list", &address]);
    world.attempt(&["drill", "--from", &address]);
    world.attempt(&["snapshot", "list", &world.address("http", "nowhere")]);
    assert_none(&world.leaks());
}

#[test]
fn comparisons_and_smoke_leak_nothing() {
    let world = World::new();
    let environment = world.compared();
    world.attempt(&["parity", "--environment", &environment, "--reports", "reports"]);
    let capture = std::fs::read_to_string(world.newest_capture()).expect("a capture");
    assert!(capture.contains("SMTP_PASSWORD"), "the files of [config] were not read");
    world.attempt(&[
        "parity",
        "--environment",
        &environment,
        "--json",
        "--reports",
        "reports",
    ]);
    world.attempt(&["smoke", "--environment", &environment, "--reports", "reports"]);
    world.attempt(&["verify", &world.newest_run()]);
    assert_none(&world.leaks());
}

#[test]
fn an_attached_source_and_its_commands_leak_nothing() {
    let world = World::new();
    for (stop, start, code) in [
        ("true", "true", None),
        ("exit 7", "true", Some(1)),
        ("true", "exit 7", Some(1)),
    ] {
        let source = world.attached(stop, start);
        let ended = world.attempt(&["drill", "--environment", &source.environment, "--no-self-test", "--yes"]);
        assert!(code.is_none() || ended == code, "{ended:?}: {}", world.printed());
        assert!(
            world.commands_ran(),
            "no command of the source was run:\n{}",
            world.printed()
        );
        source.restart();
        world.attempt(&["drill", "--resume"]);
        world.attempt(&["doctor"]);
    }
    assert_none(&world.leaks());
}
