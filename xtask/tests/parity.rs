//! `parity` as its user calls it: the good environments agree, each planted drift is named, what cannot be seen is no pass.

use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn environments() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/environments");
    folder.canonicalize().expect("the fixtures")
}

/// Runs the command from a folder of its own, runs kept in it.
fn parity(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("parity")
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn evidence(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {errors}"))
}

fn texts(value: &Value, name: &str) -> Vec<String> {
    let all = value[name].as_array().expect("an array");
    all.iter()
        .map(|one| one["subject"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// The staging environment with absolute paths, changed by `change`, compared with production.
fn changed(change: impl Fn(String) -> String) -> (Output, TempDir) {
    let (folder, root) = (folder(), environments());
    let root = root.display();
    let text = std::fs::read_to_string(format!("{root}/staging.toml")).expect("staging");
    let text = text
        .replace("\"sites/", &format!("\"{root}/sites/"))
        .replace("\"config/", &format!("\"{root}/config/"))
        .replace("\"release/", &format!("\"{root}/release/"))
        .replace("[\"node\"]", &format!("[\"{root}/node\"]"))
        .replace("\"../", &format!("\"{root}/../"));
    std::fs::write(folder.path().join("staging.toml"), change(text)).expect("written");
    let production = format!("{root}/production.toml");
    let arguments = ["--json", "--environment", &production, "--environment", "staging.toml"];
    let output = parity(folder.path(), &arguments);
    (output, folder)
}

#[test]
fn the_good_environments_agree() {
    let folder = folder();
    let environments = environments().display().to_string();
    let output = parity(
        folder.path(),
        &["--json", "--environments", &environments, "--reports", "out"],
    );
    let evidence = evidence(&output);
    assert_eq!(texts(&evidence, "drifts"), [""; 0], "{}", evidence["drifts"]);
    assert_eq!(output.status.code(), Some(0), "{}", evidence["reasons"]);
    let names: Vec<&str> = evidence["environments"]
        .as_array()
        .expect("an array")
        .iter()
        .filter_map(|one| one["name"].as_str())
        .collect();
    assert_eq!(names, ["production", "demo", "staging"]);
    let report = std::fs::read_to_string(folder.path().join("out/1.0.0-parity-check.md")).expect("a report");
    assert!(report.starts_with("# Environment parity: PASS"), "{report}");
}

#[test]
fn the_evidence_has_every_key_of_the_envelope() {
    let schema = environments().join("../schemas/evidence.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).expect("the schema")).expect("JSON");
    let (output, _folder) = changed(|text| text);
    let evidence = evidence(&output);
    for key in schema["required"].as_array().expect("keys") {
        let key = key.as_str().expect("a key");
        assert!(evidence.get(key).is_some(), "no {key}");
    }
    assert_eq!(
        (&evidence["format"], &evidence["run"]["drill"]),
        (&schema["properties"]["format"]["const"], &"parity".into())
    );
}

#[test]
fn no_secret_is_in_anything_that_is_written() {
    let folder = folder();
    let environments = environments();
    let output = parity(
        folder.path(),
        &[
            "--json",
            "--environments",
            &environments.display().to_string(),
            "--reports",
            "out",
        ],
    );
    let mut written = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let mut folders = vec![folder.path().to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).expect("a folder").flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                written += &std::fs::read_to_string(entry.path()).unwrap_or_default();
            }
        }
    }
    for name in ["staging", "demo", "production"] {
        for file in ["directory.env", "bus.env"] {
            let text = std::fs::read_to_string(environments.join("config").join(name).join(file)).expect("a file");
            let secrets = text
                .lines()
                .filter_map(|line| line.split_once('='))
                .filter(|(key, _)| key.ends_with("SECRET") || key.ends_with("API_KEY"));
            for (key, value) in secrets {
                assert!(!written.contains(value), "the value of {key} of {name} was written");
            }
        }
    }
}

#[test]
fn each_planted_drift_is_named_with_its_place() {
    let folder = folder();
    let root = environments();
    let mut files: Vec<PathBuf> = std::fs::read_dir(root.join("drifted"))
        .expect("the drifted environments")
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 30, "{} files", files.len());
    let production = root.join("production.toml").display().to_string();
    let mut missed = Vec::new();
    for file in &files {
        let text = std::fs::read_to_string(file).expect("a file");
        let output = parity(
            folder.path(),
            &[
                "--json",
                "--environment",
                &production,
                "--environment",
                &file.display().to_string(),
            ],
        );
        let evidence = evidence(&output);
        let drifts = evidence["drifts"].as_array().expect("drifts");
        let name = file.file_stem().expect("a name").to_string_lossy();
        if output.status.code() != Some(1) {
            missed.push(format!(
                "{name}: exit {:?}, {}",
                output.status.code(),
                evidence["reasons"]
            ));
        }
        let mut aspects = Vec::new();
        for line in text.lines().filter_map(|line| line.strip_prefix("# expects: ")) {
            let [aspect, subject, observed] = line.split(" | ").collect::<Vec<_>>()[..] else {
                panic!("{name}: {line}");
            };
            aspects.push(aspect);
            let is_it = |drift: &Value| {
                let has = |member: &str, part: &str| drift[member].as_str().is_some_and(|text| text.contains(part));
                let environments = drift["environments"].as_array().expect("environments");
                has("aspect", aspect)
                    && has("subject", subject)
                    && has("observed", observed)
                    && !drift["where"].as_str().unwrap_or_default().is_empty()
                    && environments.last() == Some(&Value::from("staging"))
            };
            if !drifts.iter().any(is_it) {
                missed.push(format!("{name}: no {line}; found {}", evidence["drifts"]));
            }
        }
        assert!(!aspects.is_empty(), "{name} says nothing of what is expected");
        for drift in drifts
            .iter()
            .filter(|drift| !aspects.contains(&drift["aspect"].as_str().unwrap_or_default()))
        {
            missed.push(format!("{name}: an alarm besides: {drift}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}

#[test]
fn a_surface_that_is_not_reachable_or_shows_no_api_is_inconclusive() {
    let gone = |text: String| {
        text.lines()
            .map(|line| {
                if line.starts_with("docs") {
                    "docs = \"http://127.0.0.1:1/\""
                } else {
                    line
                }
            })
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let (output, _folder) = changed(gone);
    assert_eq!(output.status.code(), Some(3), "{}", evidence(&output)["reasons"]);
    let empty = |text: String| {
        text.lines()
            .map(|line| {
                if line.starts_with("docs") {
                    "docs = \"empty\""
                } else {
                    line
                }
            })
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let (output, _folder) = changed(empty);
    assert_eq!(output.status.code(), Some(3), "{}", evidence(&output)["reasons"]);
}

#[test]
fn neither_environment_with_a_release_is_inconclusive() {
    let (folder, root) = (folder(), environments());
    for name in ["production", "staging"] {
        std::fs::write(
            folder.path().join(format!("{name}.toml")),
            format!(
                "name = \"{name}\"\n[node]\nfiles = [\"{}\"]\n",
                root.join("node").display()
            ),
        )
        .expect("written");
    }
    let output = parity(folder.path(), &["--json", "--environments", "."]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn one_environment_alone_is_inconclusive() {
    let folder = folder();
    let staging = environments().join("staging.toml").display().to_string();
    let output = parity(folder.path(), &["--json", "--environment", &staging]);
    assert_eq!(output.status.code(), Some(3), "{}", evidence(&output)["reasons"]);
}

#[test]
fn smoke_holds_the_release_against_what_was_deployed() {
    let folder = folder();
    let staging = environments().join("staging.toml").display().to_string();
    let smoke = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["smoke", "--environment", &staging])
            .args(arguments)
            .current_dir(folder.path())
            .env("CARGO_TARGET_DIR", folder.path().join("target"))
            .stdin(Stdio::null())
            .output();
        output.expect("the command runs").status.code()
    };
    assert_eq!(smoke(&["--version", "1.6.0", "--sha", "0123456"]), Some(0));
    assert_eq!(smoke(&["--version", "1.7.0"]), Some(1));
    assert_eq!(
        smoke(&["--deployed-at", "2026-04-02T00:00:00Z", "--wait", "1"]),
        Some(1)
    );
    assert_eq!(smoke(&["--environments", "nowhere", "--version"]), Some(2));
}

#[test]
fn the_node_that_runs_is_asked_by_its_command() {
    let asked = |version: &str| {
        changed(|text| {
            text.replace(
                "required = 20",
                &format!("required = 20\ncommand = [\"echo\", \"{version}\"]"),
            )
        })
    };
    let (output, _folder) = asked("v20.19.0");
    assert_eq!(output.status.code(), Some(0), "{}", evidence(&output)["reasons"]);
    let (output, _folder) = asked("v22.3.0");
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&evidence(&output), "drifts").contains(&"running Node".to_owned()));
}

#[test]
fn an_earlier_capture_shows_what_changed_since() {
    let (output, folder) = changed(|text| text);
    assert_eq!(output.status.code(), Some(0), "{}", evidence(&output)["reasons"]);
    let run = evidence(&output)["run"]["id"].as_str().expect("an id").to_owned();
    let capture = folder.path().join(format!("target/drills/{run}/capture-staging.json"));
    let capture = capture.display().to_string();
    let same = parity(
        folder.path(),
        &["--json", "--environment", "staging.toml", "--against", &capture],
    );
    assert_eq!(same.status.code(), Some(0), "{}", evidence(&same)["reasons"]);
    let text = std::fs::read_to_string(folder.path().join("staging.toml")).expect("staging");
    let bus = folder.path().join("bus.env").display().to_string();
    std::fs::copy(environments().join("drifted/files/config-value-differs.env"), &bus).expect("copied");
    let text: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("bus = {") {
                format!("bus = {{ files = [{bus:?}] }}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    std::fs::write(folder.path().join("staging.toml"), text.join("\n")).expect("written");
    let later = parity(
        folder.path(),
        &["--json", "--environment", "staging.toml", "--against", &capture],
    );
    assert_eq!(
        texts(&evidence(&later), "drifts"),
        ["bus RATE_LIMIT between environments"]
    );
}

#[test]
fn a_deployed_dashboard_is_read_with_the_scripts_that_it_names() {
    let built = environments().join("sites/staging/dashboard");
    let served = |other: Option<&'static str>| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let built = built.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let path = request
                    .split(' ')
                    .nth(1)
                    .unwrap_or("/")
                    .trim_start_matches('/')
                    .to_owned();
                let file = built.join(if path.is_empty() { "index.html" } else { &path });
                let mut body = std::fs::read_to_string(file).unwrap_or_default();
                if let Some(other) = other.filter(|_| path.ends_with(".js")) {
                    body = body.replace("https://api.staging.beam.test", other);
                }
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        changed(|text| {
            let lines = text.lines().map(|line| {
                if line.starts_with("dashboard = \"") {
                    format!("dashboard = \"{address}/\"")
                } else {
                    line.to_owned()
                }
            });
            lines.collect::<Vec<_>>().join("\n")
        })
    };
    let (output, _folder) = served(None);
    assert_eq!(output.status.code(), Some(0), "{}", evidence(&output)["reasons"]);
    let (output, _folder) = served(Some("https://beam-old.invalid"));
    assert_eq!(
        texts(&evidence(&output), "drifts"),
        ["dashboard https://beam-old.invalid"]
    );
}

#[test]
fn what_cannot_be_used_is_a_usage_error() {
    let folder = folder();
    std::fs::write(folder.path().join("bad.toml"), "name = \"x\"\n[surfaces]\ncolour = 1\n").expect("written");
    for arguments in [
        &["--environment", "nowhere"][..],
        &["--environment", "bad.toml"],
        &["--environments", "."],
        &["--against", "none.json"],
    ] {
        assert_eq!(parity(folder.path(), arguments).status.code(), Some(2), "{arguments:?}");
    }
}
