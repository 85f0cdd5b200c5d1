//! Ways down and up that do not go as they should, and data that come from elsewhere.

use crate::pair::Pair;
use crate::{assert_ends, held_drill, run};
use std::process::Output;
use std::time::{Duration, Instant};

/// Commands of one service in place of its own.
fn with(pair: &Pair, changes: &[(&str, &str, &str)], more: &str) {
    pair.environment(|mut text| {
        for (what, service, script) in changes {
            let was = format!("{what} = [\"./service\", \"{what}\", \"{service}\"]");
            assert!(text.contains(&was), "{was}");
            text = text.replace(&was, &format!("{what} = [\"sh\", \"-c\", {script:?}]"));
        }
        text.replace("[directory]", &format!("[directory]\n{more}"))
            .replace("[bus]", &format!("[bus]\n{more}"))
    });
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_files_that_the_source_starts_on_are_those_that_it_stopped_on() {
    let pair = Pair::new();
    let hash = |service: &str, file: &str, when: &str| format!("sha256sum data/{file}* > {service}.{when}");
    let scripts = [("directory", "beam-directory.db"), ("bus", "beam-bus.sqlite")].map(|(service, file)| {
        let down = format!("./service stop {service}; {}", hash(service, file, "down"));
        let up = format!("{}; ./service start {service}", hash(service, file, "up"));
        (service, down, up)
    });
    let mut changes = Vec::new();
    for (service, down, up) in &scripts {
        changes.push(("stop", *service, down.as_str()));
        changes.push(("start", *service, up.as_str()));
    }
    with(&pair, &changes, "");
    assert_ends(&run(&mut pair.drill(&[])), 0, "verdict: pass");
    for service in ["directory", "bus"] {
        let read = |when: &str| std::fs::read_to_string(pair.path(&format!("{service}.{when}"))).expect("hashed");
        assert!(read("down").contains("data/beam-"), "{}", read("down"));
        assert_eq!(read("down"), read("up"), "{service}");
    }
}

/// An environment whose files are fetched by this script, for both services; `$0` is the folder, `$1` the file's name.
fn fetching(pair: &Pair, script: &str) {
    pair.environment(|text| {
        let mut lines = Vec::new();
        for line in text.lines() {
            match line.strip_prefix("data = \"data/") {
                Some(file) => lines.push(format!(
                    "fetch = [\"sh\", \"-c\", {script:?}, \"{{to}}\", \"{}\"]",
                    file.trim_end_matches('"')
                )),
                None => lines.push(line.to_owned()),
            }
        }
        lines.join("\n")
    });
}

#[test]
fn fetched_files_are_drilled_and_halves_of_them_are_not_taken_for_whole() {
    let pair = Pair::new();
    fetching(&pair, "cp data/\"$1\"* \"$0\"");
    let output = run(&mut pair.drill(&[]));
    assert_ends(&output, 0, "verdict: pass");
    // Nobody looked at files that are elsewhere, and nobody says so.
    assert!(
        told(&output).contains("no answer; its files are elsewhere"),
        "{}",
        told(&output)
    );
    assert!(told(&output).contains("were not looked at"), "{}", told(&output));
    // Without the log, what the bus holds is lost.
    fetching(&pair, "cp data/\"$1\" \"$0\"");
    assert_ends(&run(&mut pair.drill(&[])), 1, "verdict: fail");
    // Yesterday's: there are fewer agents in it than the source answers.
    let old = rusqlite::Connection::open(pair.path("old.db")).expect("made");
    old.execute_batch("CREATE TABLE intent_log (a); CREATE TABLE agents (a)")
        .expect("made");
    drop(old);
    fetching(
        &pair,
        "cp data/beam-bus.sqlite* \"$0\"; [ \"$1\" = beam-bus.sqlite ] || { rm \"$0\"/*; cp old.db \"$0/$1\"; }",
    );
    assert_ends(
        &run(&mut pair.drill(&[])),
        1,
        "0 rows of agents, but the source answered 5",
    );
    fetching(&pair, "echo hunter2; exit 3");
    let output = run(&mut pair.drill(&[]));
    assert_ends(&output, 1, "fetch command of the directory ended with exit status: 3");
    assert!(!told(&output).contains("hunter2"));
    assert!(pair.is_running());
    assert_eq!(pair.held(), 0);
}

#[test]
fn a_copy_that_hangs_is_ended_and_the_source_started_again() {
    let pair = Pair::new();
    fetching(&pair, "echo $$ >fetch.pid; exec sleep 600");
    let text = std::fs::read_to_string(pair.path("attached.toml")).expect("written");
    std::fs::write(pair.path("attached.toml"), text.replace("30000", "2000")).expect("written");
    assert_ends(&run(&mut pair.drill(&[])), 1, "max_outage_ms");
    assert!(pair.is_running());
    let pid = std::fs::read_to_string(pair.path("fetch.pid")).expect("it began");
    let began = Instant::now();
    while std::fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|line| line.contains("600")) {
        assert!(began.elapsed() < Duration::from_secs(10), "the copy goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_supervisor_that_starts_the_service_while_it_is_copied_is_noticed() {
    let pair = Pair::new();
    let restarted = "./service stop bus; (until [ -e down ]; do sleep 0.02; done; ./service start bus; touch restarted) >/dev/null 2>&1 &";
    let waiting = "./service stop directory; touch down; until [ -e restarted ]; do sleep 0.02; done";
    with(&pair, &[("stop", "bus", restarted), ("stop", "directory", waiting)], "");
    let output = run(&mut pair.drill(&[]));
    assert_ends(&output, 1, "in use already");
    assert!(pair.is_running());
    assert_eq!(pair.held(), 0);
    pair.assert_intact();
}

#[test]
fn a_service_that_still_answers_after_its_stop_is_no_service_that_runs() {
    let pair = Pair::new();
    with(&pair, &[("stop", "bus", "true")], "stop_limit_ms = 500");
    assert_ends(&run(&mut pair.drill(&[])), 1, "it may go down at any time");
    assert_eq!(pair.held(), 1, "whoever resumes looks again");
    assert!(pair.is_running());
    assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 0, "");
    assert_eq!(pair.held(), 0);
    // It goes down only now, as a slow one would.
    with(&pair, &[("stop", "bus", "true")], "stop_limit_ms = 500");
    assert_ends(&run(&mut pair.drill(&[])), 1, "it may go down at any time");
    assert!(pair.service("stop", "bus").success());
    assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 0, "");
    assert!(pair.is_running());
}

#[test]
fn a_start_that_hangs_is_told_and_holds_nobody_up() {
    let pair = Pair::new();
    let limits = "stop_limit_ms = 3000\nready_limit_ms = 600";
    with(&pair, &[("start", "bus", "exec sleep 45")], limits);
    let began = Instant::now();
    assert_ends(&run(&mut pair.drill(&[])), 1, "THE SOURCE MAY BE DOWN");
    assert!(pair.answers(0), "the directory is not kept down by the bus");
    assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 1, "does not answer");
    assert!(began.elapsed() < Duration::from_secs(40), "it waited for the command");
    assert!(pair.service("start", "bus").success());
    pair.await_running();
    assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 0, "");
    assert_eq!(pair.held(), 0);
}

#[test]
fn a_service_that_went_down_with_the_other_is_started_too() {
    let pair = Pair::new();
    let both = "./service stop bus; ./service stop directory; touch down; sleep 0.5";
    with(&pair, &[("stop", "bus", both), ("stop", "directory", "true")], "");
    let mut child = held_drill(&pair);
    let began = Instant::now();
    while !pair.path("down").exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "it is not stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 0, "");
    assert!(pair.is_running());
    pair.assert_intact();
}
