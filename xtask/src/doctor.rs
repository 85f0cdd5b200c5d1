//! `doctor`: what this machine can run, what broken runs left, and what to do about it.

use crate::exit::ExitCode;
use crate::test::REQUIRE;
use crate::{attached, containers};
use recovery_drills::drills::attached::resume;
use recovery_drills::drills::context::{broken_runs, chain, clean_broken_run};
use recovery_drills::drills::intake::broken_intakes;
use recovery_drills::drills::{reference, started};
use recovery_drills::runtime::enclosure::Way;
use recovery_drills::runtime::ports;
use std::path::Path;
use std::process::Command;

/// A drill on the reference services needs a few MiB; below this, snapshots of real data will not fit either.
const ENOUGH_DISK_BYTES: u64 = 512 * 1024 * 1024;

/// Flags of `doctor`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Remove what broken runs left
    #[arg(long)]
    clean: bool,
}

/// Looks around and says what it found; exit 1 when something needs doing.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut troubles = 0;
    let mut say = |fine: bool, what: &str, advice: &str| {
        troubles += u32::from(!fine);
        println!(
            "{} {what}{}",
            if fine { "ok  " } else { "FAIL" },
            if fine { String::new() } else { format!(": {advice}") }
        );
    };
    // Before all else: a source that is down is an outage.
    for record in resume::broken() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                say(false, "a held source", &chain(&error));
                continue;
            }
        };
        let what = format!(
            "run {} was killed and held the source {}",
            record.run, record.source.environment
        );
        if !options.clean {
            let away = if record.is_away() { ", which may be down" } else { "" };
            say(
                false,
                &format!("{what}{away}"),
                "start it again with `cargo xtask drill --resume` or `cargo xtask doctor --clean`",
            );
            continue;
        }
        match attached::one(record, Path::new("reports")) {
            Ok(line) => println!("ok   {line}"),
            Err(error) => say(false, &what, &error),
        }
    }
    say(answers("cargo"), "cargo answers", "install Rust with rustup");
    say(
        answers("cc"),
        "a C compiler answers (for the bundled SQLite)",
        "install gcc or clang",
    );
    match free_bytes() {
        Some(free) => say(
            free >= ENOUGH_DISK_BYTES,
            &format!(
                "{} MiB free below {}",
                free / 1_048_576,
                reference::target_folder().display()
            ),
            "free at least 512 MiB or set CARGO_TARGET_DIR elsewhere",
        ),
        None => say(
            false,
            "free disk space",
            "cannot be asked; check the target folder's permissions",
        ),
    }
    say(
        ports::propose().is_ok(),
        "free loopback ports",
        "end what holds the ports from 10100 to 32700",
    );
    match Way::find() {
        Some(Way::Root) => println!("ok   restored processes can have a network of their own (as root)"),
        Some(Way::User) => {
            println!("ok   restored processes can have a network of their own (in a namespace of users)")
        }
        None => println!(
            "note restored processes cannot have a network of their own; install util-linux and iproute2, allow user namespaces, or drill in containers"
        ),
    }
    let built = reference::ensure_built();
    let reason = built.as_ref().err().map(ToString::to_string).unwrap_or_default();
    say(built.is_ok(), "the reference services are built", &reason);
    if nextest() {
        println!("ok   cargo-nextest answers");
    } else {
        println!("note cargo-nextest is not installed; `cargo xtask test` uses cargo test instead");
    }
    match containers::look() {
        Ok(seen) => {
            println!("ok   container engine {} answers", seen.version);
            if seen.is_podman {
                println!(
                    "note under Podman, services find each other only with its DNS plugin (aardvark-dns or dnsname)"
                );
            }
            if options.clean && !containers::BUILT_IN {
                return containers::run_again();
            }
            if options.clean {
                match containers::remove_leftovers() {
                    Ok(removed) => removed.iter().for_each(|one| println!("ok   removed {one}")),
                    Err(error) => say(false, "what killed container drills left", &error),
                }
            } else if seen.of_drills > 0 {
                println!(
                    "note {} containers, networks and volumes of drills are in the engine; `cargo xtask doctor --clean` removes \
                     those of killed runs",
                    seen.of_drills
                );
            }
        }
        Err(error) => {
            let what = "a container engine answers (for --runtime container)";
            let advice = format!("{error}; start Docker or Podman's socket, or set DOCKER_HOST");
            if std::env::var_os(REQUIRE).is_some_and(|value| value == "1") {
                say(false, what, &advice);
            } else {
                println!("note no container engine answers: {advice}; container drills are skipped");
            }
        }
    }
    for run in broken_runs(&reference::runs_folder()) {
        if options.clean {
            match clean_broken_run(&run) {
                Ok(()) => println!("ok   removed what the broken run {} left", run.display()),
                Err(error) => say(false, &format!("the broken run {}", run.display()), &error.to_string()),
            }
        } else {
            say(
                false,
                &format!("a broken run left files in {}", run.display()),
                "remove them with `cargo xtask doctor --clean`",
            );
        }
    }
    for left in broken_intakes(&reference::runs_folder()) {
        if options.clean {
            match std::fs::remove_dir_all(&left) {
                Ok(()) => println!(
                    "ok   removed the backup that a killed command left in {}",
                    left.display()
                ),
                Err(error) => say(false, &format!("the backup in {}", left.display()), &error.to_string()),
            }
        } else {
            say(
                false,
                &format!("a killed command left a backup in {}", left.display()),
                "remove it with `cargo xtask doctor --clean`",
            );
        }
    }
    for run in started::aborted(&reference::runs_folder()) {
        println!("note {}", recovery_drills::report::aborted::line(&run));
    }
    if troubles == 0 { ExitCode::Pass } else { ExitCode::Fail }
}

fn answers(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

fn nextest() -> bool {
    Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn free_bytes() -> Option<u64> {
    let target = reference::target_folder();
    let existing = target.ancestors().find(|folder| folder.exists())?;
    let space = rustix::fs::statvfs(existing).ok()?;
    Some(space.f_bavail.saturating_mul(space.f_frsize))
}
