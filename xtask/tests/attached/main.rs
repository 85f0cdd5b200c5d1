//! Attached sources: a pair that runs by itself is stopped, copied, started again, and runs afterwards whatever happens.

mod isolation;
mod moving;
mod nobody_reads;
mod pair;

use crate::pair::{Load, Pair, free_port};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

#[track_caller]
pub(crate) fn assert_ends(output: &Output, code: i32, message: &str) {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert!(errors.contains(message), "no {message:?} in:\n{errors}");
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().expect("the command runs")
}

#[test]
fn a_running_pair_under_write_load_is_drilled_and_runs_afterwards() {
    let pair = Pair::new();
    let load = Load::on(&pair);
    let output = run(&mut pair.drill(&["--json"]));
    assert_ends(&output, 0, "verdict: pass");
    let evidence: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    let outage = evidence["objectives"]["outage_ms"].as_u64().expect("measured");
    assert!(outage > 0 && outage <= 30_000, "{outage}");
    assert_eq!(evidence["objectives"]["max_outage_ms"], 30_000);
    assert_eq!(evidence["polarity"]["proven"], true);
    assert_eq!(evidence["run"]["runtime"], "attached");
    let steps: Vec<&str> = evidence["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|step| step["name"].as_str())
        .collect();
    assert_eq!(
        steps[1..4],
        ["stop the source", "copy the source's files", "start the source"]
    );
    let (before, began) = (load.taken(), Instant::now());
    while load.taken() <= before {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the source takes no more writes"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(before > 0, "it was under load");
    let id = evidence["run"]["id"].as_str().expect("an id");
    let report = std::fs::read_to_string(pair.path("here/reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.contains("| Outage of the source | "), "{report}");
    let verified = run(&mut pair.xtask(&["verify", id]));
    assert_ends(&verified, 0, "");
    assert_eq!(pair.held(), 0);
    pair.assert_intact();
}

#[test]
fn an_outage_above_its_limit_starts_the_source_again_and_fails() {
    let pair = Pair::new();
    pair.environment(|text| text.replace("30000", "20"));
    let output = run(&mut pair.drill(&[]));
    assert_ends(&output, 1, "max_outage_ms");
    assert!(pair.is_running());
    assert_eq!(pair.held(), 0);
    pair.assert_intact();
}

#[test]
fn a_source_that_cannot_be_stopped_still_runs() {
    let pair = Pair::new();
    pair.environment(|text| text.replace("stop = [\"./service\", \"stop\", \"directory\"]", "stop = [\"false\"]"));
    let output = run(&mut pair.drill(&[]));
    assert_ends(&output, 1, "stop command of the directory ended with exit status: 1");
    assert!(pair.is_running());
    assert_eq!(pair.held(), 0);
}

#[test]
fn a_source_that_does_not_start_is_told_and_kept_for_resume() {
    let pair = Pair::new();
    pair.environment(|text| text.replace("start = [\"./service\", \"start\", \"bus\"]", "start = [\"false\"]"));
    // Told although nothing else is.
    let output = run(&mut pair.drill(&["--quiet"]));
    assert_ends(&output, 1, "THE SOURCE MAY BE DOWN");
    assert!(pair.answers(0) && !pair.answers(1), "only the bus is down");
    assert_eq!(pair.held(), 1);
    assert_ends(
        &run(&mut pair.xtask(&["drill", "--resume"])),
        1,
        "start command of the bus",
    );
    assert_ends(&run(&mut pair.drill(&[])), 2, "");
    assert!(pair.service("start", "bus").success());
    pair.await_running();
    assert_ends(&run(&mut pair.drill(&[])), 2, "--resume");
    assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 0, "");
    assert_eq!(pair.held(), 0);
    pair.environment(|text| text);
    assert_ends(&run(&mut pair.drill(&[])), 0, "verdict: pass");
}

#[test]
fn what_is_known_before_the_stop_stops_nothing() {
    let pair = Pair::new();
    let swapped = |text: String| {
        let text = text
            .replace("beam-bus.sqlite", "X")
            .replace("beam-directory.db", "beam-bus.sqlite");
        text.replace('X', "beam-directory.db")
    };
    type Change<'a> = (&'a dyn Fn(String) -> String, &'a str);
    let data = pair.path("data/beam-bus.sqlite").display().to_string();
    let changes: [Change; 11] = [
        (&|text| text.replace("\"pair\"", "\"production\""), "add --yes"),
        (
            &|text| text.replace("command = ", "env = { DB_PATH = \"/srv/live.db\" }\ncommand = "),
            "sets DB_PATH to a fixed file",
        ),
        (
            &|text| text.replace("command = ", &format!("env = {{ FILE = {data:?} }}\ncommand = ")),
            "names the source's own file",
        ),
        (
            &|text| text.replace("http://", "http://me:hunter2@"),
            "name or password",
        ),
        (&|text| text.replace("beam-bus.sqlite", "nowhere.db"), "nowhere.db"),
        (&swapped, "it is the other service's"),
        (
            &|text| text.replace("\"./service\", \"stop\"", "\"./nothing\""),
            "command not found: ./nothing",
        ),
        (
            &|text| text.replace(&pair.ports[1].to_string(), &free_port().to_string()),
            "does not answer",
        ),
        (&|text| format!("production = true\n{text}"), "add --yes"),
        (&|text| format!("production = true\n{text}"), "--accept-open-ports"),
        (
            &|text| text.replace("data/beam-bus.sqlite", "data/beam-directory.db"),
            "are one file",
        ),
    ];
    for (change, message) in changes {
        pair.environment(change);
        for arguments in [&[][..], &["--plan"]] {
            // As on a system that refuses namespaces.
            let output = run(pair.drill(arguments).env("DRILLS_IN_OWN_NETWORK", "1"));
            assert_ends(&output, 2, message);
            assert!(!String::from_utf8_lossy(&output.stderr).contains("hunter2"));
        }
    }
    // The right service's file, but not the one that is in use.
    std::fs::copy(pair.path("data/beam-directory.db"), pair.path("data/old.db")).expect("copied");
    pair.environment(|text| text.replace("data/beam-directory.db", "data/old.db"));
    if rustix::process::geteuid().is_root() {
        assert_ends(&run(&mut pair.drill(&[])), 2, "no process has data");
    }
    assert!(pair.is_running());
    assert_eq!(pair.held(), 0);
}

#[test]
fn a_plan_names_each_command_and_does_nothing() {
    let pair = Pair::new();
    let output = run(&mut pair.drill(&["--plan"]));
    assert_ends(&output, 0, "");
    let plan = String::from_utf8_lossy(&output.stdout).into_owned();
    for part in [
        "./service stop bus",
        "./service start directory",
        "data/beam-directory.db",
        "at most 30000 ms",
    ] {
        assert!(plan.contains(part), "no {part:?} in {plan}");
    }
    assert!(!pair.path("state").exists() && !pair.path("runs/drills").exists());
}

/// Slow commands, so that a moment within them can be met.
fn slowly(pair: &Pair) {
    pair.environment(|text| {
        let slow = |what: &str, service: &str| {
            let was = format!("{what} = [\"./service\", \"{what}\", \"{service}\"]");
            let is = format!("{what} = [\"sh\", \"-c\", \"sleep 0.2; ./service {what} {service}; sleep 0.2\"]");
            (was, is)
        };
        let mut text = text;
        for what in ["stop", "start"] {
            for service in ["directory", "bus"] {
                let (was, is) = slow(what, service);
                text = text.replace(&was, &is);
            }
        }
        text
    });
}

/// Starts a drill and waits until the source is held.
fn held_drill(pair: &Pair) -> Child {
    let child = pair.drill(&[]).stderr(Stdio::null()).spawn().expect("it starts");
    let began = Instant::now();
    while pair.held() == 0 {
        assert!(began.elapsed() < Duration::from_secs(20), "the source is not held");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.expect("a process"), signal).expect("signalled");
}

#[test]
fn a_second_drill_is_refused_and_ctrl_c_starts_the_source_again() {
    let pair = Pair::new();
    slowly(&pair);
    for kind in [
        rustix::process::Signal::INT,
        rustix::process::Signal::TERM,
        rustix::process::Signal::HUP,
    ] {
        let mut child = held_drill(&pair);
        assert_ends(&run(&mut pair.drill(&[])), 2, "drills this source right now");
        std::thread::sleep(Duration::from_millis(250));
        signal(&child, kind);
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
        assert!(pair.is_running());
        assert_eq!(pair.held(), 0);
    }
    pair.assert_intact();
}

/// Kills the harness when it says that a step is done, or after a time; then brings the source back. Whether it held the source.
fn kill(pair: &Pair, at: Result<&str, Duration>) -> bool {
    let report = pair.path("here/reports/1.0.0-recovery-drill.md");
    let _ = std::fs::remove_file(&report);
    let mut child = pair.drill(&[]).stderr(Stdio::piped()).spawn().expect("it starts");
    match at {
        Ok(step) => {
            let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
            let seen = lines.map_while(Result::ok).any(|line| line.contains(step));
            assert!(seen, "no step {step:?}");
        }
        Err(after) => std::thread::sleep(after),
    }
    child.kill().expect("killed");
    child.wait().expect("gone");
    let held = pair.held() > 0;
    let resumed = run(&mut pair.xtask(&["drill", "--resume"]));
    assert_ends(&resumed, 0, "");
    assert!(
        pair.is_running(),
        "after a kill at {at:?}: {}",
        String::from_utf8_lossy(&resumed.stdout)
    );
    assert_eq!(pair.held(), 0);
    pair.assert_intact();
    // Whatever the step, the run is closed: it has its report, and nothing of the data is left. A run that was killed before its
    // first step was written down has nothing to report.
    if at.is_ok_and(|step| !step.starts_with("look at the source")) {
        let report = std::fs::read_to_string(&report).expect("a report of the killed run");
        assert!(report.contains("the harness was killed"), "{report}");
        let runs = std::fs::read_dir(pair.path("runs/drills")).expect("runs").flatten();
        let left = runs.filter(|run| run.path().join("work").exists()).count();
        assert_eq!(left, 0, "data of a killed run are left");
    }
    held
}

#[test]
fn a_harness_killed_at_any_step_leaves_a_source_that_resume_brings_back() {
    let pair = Pair::new();
    let _load = Load::on(&pair);
    for step in [
        "look at the source (baseline)",
        "stop the source",
        "copy the source's files",
        "start the source",
        "prove that the source came back",
        "take the snapshot",
        "compare every row",
    ] {
        assert!(kill(&pair, Ok(step)), "held after {step:?}");
    }
    assert_ends(&run(&mut pair.drill(&[])), 0, "verdict: pass");
}

#[test]
fn a_harness_killed_at_random_times_leaves_a_source_that_resume_brings_back() {
    let pair = Pair::new();
    slowly(&pair);
    let _load = Load::on(&pair);
    let seed = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    let mut state = u64::from(seed.subsec_nanos());
    let mut held = 0;
    for _ in 0..20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        held += u32::from(kill(&pair, Err(Duration::from_millis((state >> 33) % 2_000))));
    }
    assert!(held > 0, "no kill met a held source");
    pair.environment(|text| text);
    assert_ends(&run(&mut pair.drill(&[])), 0, "verdict: pass");
}
