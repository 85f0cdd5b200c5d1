//! `test` and `ci`: the tests with nextest where it is installed, and all that must hold before a commit.

use crate::exit::ExitCode;
use crate::{containers, refuse};
use std::process::Command;

/// One set of features for everything, so that nothing is built twice.
const FEATURES: &str = "xtask/containers,xtask/store";
/// What turns skipped container drills into failed ones.
pub(crate) const REQUIRE: &str = "DRILLS_REQUIRE_CONTAINERS";

/// Flags of `test`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Passed on to nextest or cargo test, after `--`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Runs the tests of the whole workspace.
pub(crate) fn run(options: &Options) -> ExitCode {
    let nextest = Command::new(cargo()).args(["nextest", "--version"]).output();
    let has_nextest = nextest.is_ok_and(|output| output.status.success());
    let profile = if std::env::var_os("CI").is_some() {
        "ci"
    } else {
        "default"
    };
    let mut arguments = if has_nextest {
        vec![
            "nextest",
            "run",
            "--workspace",
            "--features",
            FEATURES,
            "--profile",
            profile,
        ]
    } else {
        eprintln!("cargo-nextest is not installed: using cargo test (cargo install --locked cargo-nextest is faster)");
        vec!["test", "--workspace", "--features", FEATURES]
    };
    arguments.extend(options.arguments.iter().map(String::as_str));
    let code = call(&arguments);
    if let Err(error) = containers::look() {
        eprintln!(
            "SKIPPED: all container drills, since no container engine answers ({error}); start Docker or Podman's socket, or \
             set DOCKER_HOST; {REQUIRE}=1 makes this a failure"
        );
    }
    code
}

/// Format, clippy, tidy, tests: stops at the first that does not hold.
pub(crate) fn ci() -> ExitCode {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--features",
        FEATURES,
        "--",
        "-D",
        "warnings",
    ];
    let steps: [&dyn Fn() -> ExitCode; 4] = [
        &|| call(&["fmt", "--all", "--check"]),
        &|| call(&clippy),
        &crate::tidy::run,
        &|| run(&Options { arguments: Vec::new() }),
    ];
    steps
        .iter()
        .map(|step| step())
        .find(|code| *code != ExitCode::Pass)
        .unwrap_or(ExitCode::Pass)
}

fn call(arguments: &[&str]) -> ExitCode {
    eprintln!("cargo {}", arguments.join(" "));
    match Command::new(cargo()).args(arguments).status() {
        Ok(status) if status.success() => ExitCode::Pass,
        Ok(_) => ExitCode::Fail,
        Err(error) => refuse(
            ExitCode::Usage,
            &format!("cannot run cargo {}: {error}", arguments.join(" ")),
        ),
    }
}

fn cargo() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
