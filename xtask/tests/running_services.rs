//! `smoke` and `parity` on services that run: deployments that roll out, stored answers, restarts, a Node in a container.

use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const SHA: &str = "0123456789abcdef0123456789abcdef01234567";
const DEPLOYED: &str = "2026-04-01T00:00:00.000Z";

fn environments() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/environments");
    folder.canonicalize().expect("the fixtures")
}

/// How a stand-in of a directory answers.
#[derive(Clone, Copy)]
struct Directory {
    /// From its start on until now it states 1.5.0.
    old_for: Duration,
    /// Whether its clock goes on.
    has_clock: bool,
    /// Whether the time of its deployment is its start.
    is_process_start: bool,
}

const GOOD: Directory = Directory {
    old_for: Duration::ZERO,
    has_clock: true,
    is_process_start: false,
};

impl Directory {
    /// Serves on a loopback port for as long as the test lives; its address.
    fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (began, started) = (Instant::now(), jiff::Timestamp::now());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let now = if self.has_clock {
                    jiff::Timestamp::now()
                } else {
                    started
                };
                let version = if began.elapsed() < self.old_for {
                    "1.5.0"
                } else {
                    "1.6.0"
                };
                let deployed = if self.is_process_start {
                    started.to_string()
                } else {
                    DEPLOYED.to_owned()
                };
                let release = json!({"version": version, "gitSha": SHA, "deployedAt": deployed});
                let uptime = if self.is_process_start {
                    began.elapsed().as_secs()
                } else {
                    86_400
                };
                let body = match request.split(' ').nth(1) {
                    Some("/release") => json!({"release": release, "reportedAt": now.to_string()}),
                    Some("/health") => {
                        json!({"status": "ok", "version": version, "release": release, "uptimeSeconds": uptime,
                        "timestamp": now.to_string()})
                    }
                    _ => json!({"agents": 1, "release": release}),
                };
                let body = body.to_string();
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        address
    }
}

/// Staging with absolute paths; `url` is its running directory.
fn staging(folder: &Path, url: Option<&str>, change: impl Fn(String) -> String) {
    let root = environments();
    let root = root.display();
    let text = std::fs::read_to_string(format!("{root}/staging.toml")).expect("staging");
    let mut text = text
        .replace("\"sites/", &format!("\"{root}/sites/"))
        .replace("\"config/", &format!("\"{root}/config/"))
        .replace("[\"node\"]", &format!("[\"{root}/node\"]"))
        .replace("stated = [\"release/staging.json\"]\n", "")
        .replace("\"../", &format!("\"{root}/../"));
    if let Some(url) = url {
        text += &format!("\n[directory]\nurl = {url:?}\n");
    }
    std::fs::write(folder.join("staging.toml"), change(text)).expect("written");
}

fn xtask(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env("CARGO_TARGET_DIR", folder.join("target"));
    command
}

fn smoke(url: &str, wait: &str) -> (Output, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    staging(folder.path(), Some(url), |text| text);
    let arguments = ["smoke", "--environment", "staging.toml", "--json", "--wait", wait];
    let output = xtask(folder.path(), &arguments).output().expect("the command runs");
    (output, folder)
}

fn evidence(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {errors}"))
}

fn subjects(output: &Output) -> Vec<String> {
    let drifts = evidence(output)["drifts"].as_array().cloned().unwrap_or_default();
    drifts
        .iter()
        .map(|one| one["subject"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_deployment_that_rolls_out_is_waited_for() {
    let rolling = Directory {
        old_for: Duration::from_secs(3),
        ..GOOD
    };
    let (output, folder) = smoke(&rolling.serve(), "60");
    assert_eq!(output.status.code(), Some(0), "{}", evidence(&output)["reasons"]);
    let report = std::fs::read_to_string(folder.path().join("reports/1.0.0-smoke.md")).expect("a report");
    assert!(report.starts_with("# Smoke test: PASS"), "{report}");
}

#[test]
fn a_deployment_that_never_arrives_is_a_drift() {
    let never = Directory {
        old_for: Duration::from_secs(3_600),
        ..GOOD
    };
    let (output, _folder) = smoke(&never.serve(), "1");
    assert_eq!(output.status.code(), Some(1), "{}", evidence(&output)["reasons"]);
    assert!(subjects(&output).contains(&"version of the expected release".to_owned()));
}

#[test]
fn a_service_that_nobody_reaches_is_inconclusive() {
    let (output, _folder) = smoke("http://127.0.0.1:1", "0");
    assert_eq!(output.status.code(), Some(3), "{}", evidence(&output)["reasons"]);
}

#[test]
fn an_answer_that_was_stored_is_found_by_its_clock() {
    let stored = Directory {
        has_clock: false,
        ..GOOD
    };
    let (output, _folder) = smoke(&stored.serve(), "0");
    assert_eq!(output.status.code(), Some(1), "{}", evidence(&output)["reasons"]);
    assert!(
        subjects(&output)
            .iter()
            .any(|subject| subject.starts_with("clock of GET "))
    );
}

#[test]
fn a_time_of_deployment_that_is_the_start_of_the_process_is_found() {
    let start = Directory {
        is_process_start: true,
        ..GOOD
    };
    let (output, _folder) = smoke(&start.serve(), "0");
    assert_eq!(output.status.code(), Some(1));
    assert!(subjects(&output).contains(&"deployedAt by itself".to_owned()));
}

#[test]
fn it_is_said_that_no_restart_was_seen() {
    let (output, _folder) = smoke(&GOOD.serve(), "0");
    assert_eq!(output.status.code(), Some(0), "{}", evidence(&output)["reasons"]);
    let notes = evidence(&output)["checks"].to_string();
    assert!(notes.contains("no restart was seen: the process runs since"), "{notes}");
    assert!(notes.contains("places of one source prove no more than one"), "{notes}");
}

/// Staging made of the reference services, started for the comparison, with these variables of its directory.
fn started(variables: &str) -> Output {
    let folder = tempfile::tempdir().expect("a folder");
    staging(folder.path(), None, |text| {
        let (before, _) = text.split_once("[schema]").expect("a schema");
        format!("{before}\n[directory]\nenv = {{ {variables} }}\n")
    });
    let production = environments().join("production.toml").display().to_string();
    let arguments = ["parity", "--json", "--quiet", "--start"];
    let mut command = xtask(folder.path(), &arguments);
    command.args(["--environment", &production, "--environment", "staging.toml"]);
    // The reference services are built once, beside everything else.
    command
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("the command runs")
}

#[test]
fn services_that_are_started_twice_show_schema_and_release() {
    let release = format!("BEAM_RELEASE_VERSION = \"1.6.0\", BEAM_RELEASE_SHA = \"{SHA}\"");
    let output = started(&format!("{release}, BEAM_DEPLOYED_AT = \"{DEPLOYED}\""));
    let seen = evidence(&output);
    let cell = |id: &str| {
        let checks = seen["checks"].as_array().cloned().unwrap_or_default();
        checks
            .into_iter()
            .find(|one| one["id"] == id && one["environment"] == "staging")
            .expect("a cell")
    };
    for id in ["release", "schema"] {
        assert_eq!(cell(id)["verdict"], "pass", "{}", cell(id));
    }
    let output = started(&release);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        subjects(&output).contains(&"deployedAt after a restart".to_owned()),
        "{:?}",
        subjects(&output)
    );
}

#[test]
#[cfg(unix)]
fn the_node_of_a_container_is_asked_by_the_engines_command() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    // A stand-in: prints what it would run in which container or image.
    let engine = folder.path().join("docker");
    let script = "#!/bin/sh\ncase \"$*\" in\n  'exec beam-directory node --version') echo v22.11.0;;\n  \
                  'run --rm --entrypoint node beam/directory:1.6.0 --version') echo v20.19.1;;\n  *) exit 1;;\nesac\n";
    std::fs::write(&engine, script).expect("written");
    std::fs::set_permissions(&engine, std::fs::Permissions::from_mode(0o755)).expect("executable");
    let runs = |argv: &str| {
        staging(folder.path(), None, |text| {
            text.replace("required = 20", &format!("required = 20\ncommand = {argv}"))
        });
        let path = format!(
            "{}:{}",
            folder.path().display(),
            std::env::var("PATH").unwrap_or_default()
        );
        let arguments = ["parity", "--json", "--quiet", "--environment", "staging.toml"];
        let output = xtask(folder.path(), &arguments)
            .env("PATH", path)
            .output()
            .expect("the command runs");
        subjects(&output)
    };
    assert!(
        runs("[\"docker\", \"exec\", \"beam-directory\", \"node\", \"--version\"]")
            .contains(&"running Node".to_owned())
    );
    let image = "[\"docker\", \"run\", \"--rm\", \"--entrypoint\", \"node\", \"beam/directory:1.6.0\", \"--version\"]";
    assert_eq!(runs(image), [""; 0]);
}
