//! The commands on a server that speaks S3, which is killed in the midst of an upload and comes back.

use crate::serving::{BUCKET, Lives, Server};
use crate::typed::{ends_with, folder, in_hand, recorded, xtask};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use tokio::runtime::Runtime;

const STORE: &str = "s3://backups/beam/production";

fn runtime() -> Runtime {
    Runtime::new().expect("a runtime")
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().expect("an address")
}

/// The program with what it needs to reach the server.
fn on(server: &Server, folder: &Path, arguments: &[&str]) -> Command {
    let mut command = xtask(folder, arguments);
    command.envs(server.variables(crate::typed::SECRET));
    command.env("AWS_MAX_ATTEMPTS", "1");
    command
}

fn numbers(text: &str) -> Vec<usize> {
    let line = text
        .lines()
        .find(|line| line.contains("parts sent"))
        .expect("a line of figures");
    let digits = line.split(|letter: char| !letter.is_ascii_digit());
    digits.filter_map(|word| word.parse().ok()).take(3).collect()
}

fn create(recorded: &str) -> [&str; 6] {
    ["snapshot", "create", "--from", recorded, "--to", STORE]
}

#[test]
fn a_snapshot_is_stored_listed_verified_drilled_and_pruned_on_a_server() {
    let (folder, runtime) = (folder(), runtime());
    let at = folder.path();
    let server = runtime.block_on(Server::on(&at.join("s3")));
    let recorded = recorded();
    let run = |arguments: &[&str]| ends_with(on(&server, at, arguments), 0);
    run(&create(&recorded));
    assert!(run(&["snapshot", "list", STORE]).contains("verified"));
    assert!(run(&["snapshot", "verify", STORE]).contains("every part and every file"));
    let again = numbers(&run(&create(&recorded)));
    // Only the manifest is another.
    assert_eq!((again[0], again[2]), (1, again[1] - 1), "{again:?}");
    let dry = run(&["snapshot", "prune", STORE, "--keep-last", "1", "--dry-run"]);
    assert!(dry.contains("would be removed"), "{dry}");
    assert_eq!(run(&["snapshot", "list", STORE]).lines().count(), 2);
    run(&["snapshot", "prune", STORE, "--keep-last", "1"]);
    assert_eq!(run(&["snapshot", "list", STORE]).lines().count(), 1);
    let drilled = run(&["drill", "--from", STORE, "--max-age", "1h", "--no-self-test"]);
    assert!(drilled.contains("verdict: pass"), "{drilled}");
    assert_eq!(in_hand(at), 0, "what was fetched lies with its run");
    runtime.block_on(server.stop());
}

/// The recorded set with 12 MiB more, so that an upload takes some time: about 50 parts.
fn larger(folder: &Path) -> String {
    let set = folder.join("larger");
    std::fs::create_dir(&set).expect("made");
    for name in ["beam-directory.db", "beam-bus.sqlite", "beam-bus.sqlite-wal"] {
        std::fs::copy(Path::new(&recorded()).join(name), set.join(name)).expect("copied");
    }
    let database = rusqlite::Connection::open(set.join("beam-directory.db")).expect("opened");
    let rows = "CREATE TABLE weight AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3072)
                SELECT i, randomblob(4000) AS b FROM n";
    database.execute_batch(rows).expect("written");
    set.display().to_string()
}

#[test]
fn a_server_killed_in_the_midst_of_an_upload_fails_the_command_which_goes_on_when_it_is_back() {
    let (folder, runtime) = (folder(), runtime());
    let at = folder.path();
    let served = at.join("s3");
    let larger = larger(at);
    // Settings, mark, some parts; then its connections end and its port is closed.
    let server = runtime.block_on(Server::at(&served, anywhere(), Lives::after_writes(26)));
    let failed = ends_with(on(&server, at, &create(&larger)), 1);
    let is_said = failed.contains("the snapshot was not stored") && failed.contains(STORE);
    assert!(is_said, "{failed}");
    let address = runtime.block_on(server.died());
    std::net::TcpStream::connect(address).expect_err("the port is closed");
    assert_eq!(in_hand(at), 0);
    let server = runtime.block_on(Server::at(&served, address, Lives::on()));
    let run = |code: i32, arguments: &[&str]| ends_with(on(&server, at, arguments), code);
    let listed = run(0, &["snapshot", "list", STORE]);
    assert!(listed.contains("no snapshot in"), "{listed}");
    assert!(run(2, &["drill", "--from", STORE]).contains("it holds none"));
    let parts = served.join(BUCKET).join("beam/production/parts");
    let there = std::fs::read_dir(parts).expect("parts").count();
    let figures = numbers(&run(0, &create(&larger)));
    let [sent, of, reused] = figures[..] else {
        panic!("{figures:?}")
    };
    // The manifest names its own moment, so the one part of it is new each time; all others are there.
    assert_eq!(
        (reused, sent),
        (there - 1, of - (there - 1)),
        "{figures:?}, {there} were there"
    );
    assert!(there > 10 && sent < of, "{figures:?}, {there} were there");
    assert!(run(0, &["snapshot", "verify", STORE]).contains("every part and every file"));
    eprintln!("{there} parts were there after the death, {sent} of {of} sent, {reused} reused");
    runtime.block_on(server.stop());
}

#[test]
fn a_lost_answer_to_the_index_is_inconclusive_and_the_list_knows() {
    let (folder, runtime) = (folder(), runtime());
    let at = folder.path();
    let served = at.join("s3");
    let recorded = recorded();
    let writes = {
        let server = runtime.block_on(Server::on(&at.join("counting")));
        ends_with(on(&server, at, &create(&recorded)), 0);
        let writes = server.writes();
        runtime.block_on(server.stop());
        writes
    };
    // The index is the last write.
    let server = runtime.block_on(Server::at(
        &served,
        anywhere(),
        Lives::losing_the_answer_after(writes - 1),
    ));
    let unknown = ends_with(on(&server, at, &create(&recorded)), 3);
    assert!(unknown.contains("snapshot list"), "{unknown}");
    let address = runtime.block_on(server.died());
    let server = runtime.block_on(Server::at(&served, address, Lives::on()));
    assert!(ends_with(on(&server, at, &["snapshot", "list", STORE]), 0).contains("verified"));
    ends_with(on(&server, at, &["snapshot", "verify", STORE]), 0);
    runtime.block_on(server.stop());
}

#[test]
fn a_store_that_may_only_be_read_is_verified_and_takes_nothing() {
    let (folder, runtime) = (folder(), runtime());
    let at = folder.path();
    let recorded = recorded();
    let server = runtime.block_on(Server::on(&at.join("s3")));
    ends_with(on(&server, at, &create(&recorded)), 0);
    runtime.block_on(server.stop());
    let server = runtime.block_on(Server::at(&at.join("s3"), anywhere(), Lives::read_only()));
    assert!(ends_with(on(&server, at, &["snapshot", "verify", STORE]), 0).contains("could not be told"));
    assert!(ends_with(on(&server, at, &create(&recorded)), 2).contains("refused access"));
    let prune = ["snapshot", "prune", STORE, "--keep-last", "1"];
    assert!(ends_with(on(&server, at, &prune), 2).contains("refused access"));
    runtime.block_on(server.stop());
}

#[test]
fn what_is_wrong_with_server_bucket_or_credentials_is_said_in_a_line() {
    let (folder, runtime) = (folder(), runtime());
    let at = folder.path();
    let server = runtime.block_on(Server::on(&at.join("s3")));
    let recorded = recorded();
    let elsewhere = ["snapshot", "create", "--from", &recorded, "--to", "s3://nowhere/x"];
    assert!(ends_with(on(&server, at, &elsewhere), 2).contains("no such bucket"));
    let wrong = |name: &str, value: &str, code: i32| {
        let mut command = on(&server, at, &["snapshot", "list", STORE]);
        command.env(name, value);
        ends_with(command, code)
    };
    assert!(wrong("AWS_SECRET_ACCESS_KEY", "another", 2).contains("refused access"));
    let hidden = wrong("AWS_ENDPOINT_URL", "http://me:hidden-word@127.0.0.1:1", 2);
    assert!(
        hidden.contains("AWS_ENDPOINT_URL") && !hidden.contains("hidden-word"),
        "{hidden}"
    );
    assert!(wrong("AWS_MAX_ATTEMPTS", "never", 2).contains("AWS_MAX_ATTEMPTS"));
    let gone = on(&server, at, &["snapshot", "list", STORE]);
    runtime.block_on(server.stop());
    assert!(ends_with(gone, 3).contains("nothing is known of it now"));
}
