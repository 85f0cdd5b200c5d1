//! `parity` on a bundle that Vite really built: the address that a build inlines is found, wherever a bundler puts it.
//!
//! Needs Node 20 or later, npm and its registry. Without them the test is ignored, loudly, which counts as skipped and never as
//! passed; `DRILLS_REQUIRE_VITE=1` makes it fail instead.

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const REQUIRE: &str = "DRILLS_REQUIRE_VITE";
const API: &str = "https://api.staging.beam.test";

fn main() {
    let arguments = Arguments::from_args();
    let test = Trial::ignorable_test("each_origin_that_a_real_build_inlines_is_found", || {
        match missing(Path::new(".")) {
            Some(reason) => skipped(reason),
            None => proved(),
        }
    });
    libtest_mimic::run(&arguments, vec![test]).exit();
}

fn skipped(reason: String) -> Result<Completion, Failed> {
    if std::env::var_os(REQUIRE).is_some_and(|value| value == "1") {
        return Err(format!("{REQUIRE}=1, but {reason}").into());
    }
    eprintln!("SKIPPED the proof on a built bundle: {reason}; {REQUIRE}=1 makes this a failure");
    Ok(Completion::ignored_with(reason))
}

/// What this machine lacks.
fn missing(folder: &Path) -> Option<String> {
    let node = run(folder, "node", &["--version"], &[]).filter(|output| output.status.success());
    let version = node.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let major = version
        .as_deref()
        .and_then(|version| version.trim_start_matches('v').split('.').next()?.parse::<u32>().ok());
    match major {
        None => Some("Node is not installed".to_owned()),
        Some(major) if major < 20 => Some(format!("Node {major} is too old for Vite")),
        Some(_) => run(folder, "npm", &["--version"], &[])
            .is_none_or(|output| !output.status.success())
            .then(|| "npm is not installed".to_owned()),
    }
}

/// `None` where the program is not there.
fn run(folder: &Path, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Option<Output> {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .envs(variables.iter().copied());
    command.env_remove("VITE_API_URL").envs(variables.iter().copied());
    command.stdin(Stdio::null()).output().ok()
}

fn fixtures() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    folder.canonicalize().expect("the fixtures")
}

fn proved() -> Result<Completion, Failed> {
    let folder = tempfile::tempdir()?;
    let app = folder.path().join("app");
    for file in [
        "package.json",
        "package-lock.json",
        "index.html",
        "src/main.js",
        "src/lazy.js",
    ] {
        let to = app.join(file);
        std::fs::create_dir_all(to.parent().expect("a folder"))?;
        std::fs::copy(fixtures().join("vite").join(file), to)?;
    }
    let installed = run(&app, "npm", &["ci", "--no-audit", "--no-fund", "--ignore-scripts"], &[]);
    let installed = installed.ok_or("npm cannot be run")?;
    if !installed.status.success() {
        let said = String::from_utf8_lossy(&installed.stderr);
        let last = said
            .lines()
            .rev()
            .find(|line| line.contains("npm error"))
            .unwrap_or_default();
        return skipped(format!("npm ci does not get Vite from the registry ({last})"));
    }
    let local = "http://localhost:3100 (an address of the reader's own machine)";
    for (name, variables, observed, file) in [
        ("good", &[("VITE_API_URL", API)][..], None, ""),
        (
            "other",
            &[("VITE_API_URL", "https://api.elsewhere.test")],
            Some("a second API origin"),
            "index-",
        ),
        (
            "local",
            &[("VITE_API_URL", "http://localhost:3100")],
            Some(local),
            "index-",
        ),
        (
            "slash",
            &[("VITE_API_URL", "https://api.staging.beam.test/")],
            Some("trailing slash"),
            "index-",
        ),
        (
            "http",
            &[("VITE_API_URL", "http://api.staging.beam.test")],
            Some("http where https is expected"),
            "index-",
        ),
        (
            "production",
            &[("VITE_API_URL", "https://api.beam.test")],
            Some("the API of production"),
            "index-",
        ),
        (
            "chunk",
            &[
                ("VITE_API_URL", API),
                ("VITE_SECOND_URL", "https://old-backend.fly.dev"),
            ],
            Some("https://old-backend.fly.dev (a second API origin)"),
            "lazy-",
        ),
        // The variable was forgotten: the default of the code is in the bundle.
        (
            "default",
            &[],
            Some("https://api.default.test (a second API origin)"),
            "index-",
        ),
    ] {
        let built = folder.path().join(name);
        let to = built.display().to_string();
        let output = run(
            &app,
            "npx",
            &["vite", "build", "--outDir", &to, "--emptyOutDir"],
            variables,
        );
        let output = output.ok_or("npx cannot be run")?;
        if !output.status.success() {
            return Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let (code, drifts) = compared(folder.path(), name)?;
        let wrong = |what: &str| Err(format!("{name}: {what}; exit {code:?}, drifts {drifts:#?}").into());
        match observed {
            None if code != Some(0) || !drifts.is_empty() => return wrong("a good bundle alarms"),
            None => {}
            Some(_) if code != Some(1) => return wrong("no drift"),
            Some(observed) => {
                let is_it = |drift: &Value| {
                    let of = |key: &str| drift[key].as_str().unwrap_or_default().to_owned();
                    let place = of("where");
                    let line = place.rsplit_once(".js:").and_then(|(_, line)| line.parse::<u32>().ok());
                    of("aspect") == "api-url"
                        && of("subject").starts_with("dashboard ")
                        && of("observed").contains(observed)
                        && place.contains(&format!("{name}/assets/{file}"))
                        && line.is_some()
                };
                if !drifts.iter().any(is_it) {
                    return wrong("the drift is not named with its place");
                }
            }
        }
    }
    Ok(Completion::Completed)
}

/// Exit code and drifts of staging with this bundle as its dashboard, against production.
fn compared(folder: &Path, dashboard: &str) -> Result<(Option<i32>, Vec<Value>), Failed> {
    let root = fixtures().join("environments");
    let shown = root.display();
    let text = std::fs::read_to_string(root.join("staging.toml"))?;
    let text = text
        .replace("\"sites/staging/dashboard\"", &format!("{dashboard:?}"))
        .replace("\"sites/", &format!("\"{shown}/sites/"))
        .replace("\"config/", &format!("\"{shown}/config/"))
        .replace("\"release/", &format!("\"{shown}/release/"))
        .replace("[\"node\"]", &format!("[\"{shown}/node\"]"))
        .replace("\"../", &format!("\"{shown}/../"));
    std::fs::write(folder.join("staging.toml"), text)?;
    let production = root.join("production.toml").display().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args([
            "parity",
            "--json",
            "--quiet",
            "--environment",
            &production,
            "--environment",
            "staging.toml",
        ])
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .stdin(Stdio::null())
        .output()?;
    let evidence: Value = serde_json::from_slice(&output.stdout)?;
    let drifts = evidence["drifts"].as_array().cloned().unwrap_or_default();
    Ok((output.status.code(), drifts))
}
