//! Thin commands over the library: parse flags, call it, map the verdict to an exit code. No rule of its own.

mod action;
mod attached;
mod checklist;
mod containers;
mod doctor;
mod drill;
mod environments;
mod exit;
mod faults;
mod features;
mod github;
mod given;
mod isolated;
mod issue;
mod named_commands;
mod new;
mod outcome;
mod parity;
mod plan;
mod progress;
mod report;
mod said;
mod schema;
mod smoke;
mod snapshot;
#[cfg(feature = "store")]
mod stores;
mod test;
mod tidy;
mod verify;

use clap::{Parser, Subcommand};
use exit::ExitCode;
use recovery_drills::evidence::{Level, Secrets, annotation, plain};

/// Proves that a Beam directory and message bus can be recovered from their backups.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    arg_required_else_help = true
)]
#[command(after_help = "Exit codes: 0 pass, 1 fail, 2 usage or configuration, 3 inconclusive, 130 interrupted")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a drill; writes evidence and reports/1.0.0-recovery-drill.md
    #[command(alias = "production:backup-restore")]
    Drill(drill::Options),
    /// Compare environments by observing each one; writes reports/1.0.0-parity-check.md
    #[command(alias = "production:parity")]
    Parity(parity::Options),
    /// Hold one environment's release and surfaces against what was just deployed
    #[command(alias = "release:smoke")]
    Smoke(smoke::Options),
    /// Run the fault catalogue: which faults the checks catch, and whether anything alarms without one
    Faults(faults::Options),
    /// Rebuild the report from what a run, a whole test run or its shards left
    Report(report::Options),
    /// Prove that evidence, report and snapshot of a run belong together and were not altered
    Verify(verify::Options),
    /// The gate on schema changes: compare with the locked schemas, or accept a change
    Schema(schema::Options),
    /// The boxes of a cut, ticked by evidence only; writes reports/1.0.0-cut-checklist.md
    Checklist(checklist::Options),
    /// What a scheduled workflow has to do today: once a sprint, for which environments
    Plan(plan::Options),
    /// What the composite action runs: its inputs as one command
    Action(action::Options),
    /// Open, comment or close the one issue of scheduled drills
    Issue(issue::Options),
    /// Take, store, verify, restore or prune snapshots, without a drill
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Say what this machine can run, and what broken runs left
    Doctor(doctor::Options),
    /// Run the tests: nextest where installed, else cargo test
    Test(test::Options),
    /// Start a new piece of the harness
    #[command(subcommand)]
    New(new::Command),
    /// Everything that must hold before a commit: format, clippy, tidy, tests
    Ci,
    /// The structural rules of the house: imports, file sizes, paths, names in docs
    Tidy,
    /// Lead sockets into a network namespace; started by a drill of an attached source
    #[command(name = isolated::RELAY, hide = true)]
    Relay,
}

fn main() -> std::process::ExitCode {
    quiet_on_closed_output();
    let arguments = Arguments::parse();
    let code = match arguments.command {
        Command::Drill(options) => drill::run(options),
        Command::Parity(options) => parity::run(&options),
        Command::Smoke(options) => smoke::run(&options),
        Command::Faults(options) => faults::run(options),
        Command::Report(options) => report::run(&options),
        Command::Verify(options) => verify::run(&options),
        Command::Schema(options) => schema::run(&options),
        Command::Checklist(options) => checklist::run(&options),
        Command::Plan(options) => plan::run(&options),
        Command::Action(options) => action::run(&options),
        Command::Issue(options) => issue::run(&options),
        Command::Snapshot(command) => snapshot::run(command),
        Command::Doctor(options) => doctor::run(&options),
        Command::Test(options) => test::run(&options),
        Command::New(command) => new::run(&command),
        Command::Ci => test::ci(),
        Command::Tidy => tidy::run(),
        Command::Relay => isolated::relay(),
    };
    code.into()
}

/// A reader that went away (`| head`) is no defect: the program ends as others do then, without a word.
fn quiet_on_closed_output() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload().downcast_ref::<String>();
        if said.is_some_and(|text| text.starts_with("failed printing to") && text.contains("Broken pipe")) {
            // What SIGPIPE would have made of it.
            std::process::exit(141);
        }
        usual(panic);
    }));
}

/// Prints an error as every command does and returns the code for it.
fn refuse(code: ExitCode, message: &str) -> ExitCode {
    let message = &plain(&Secrets::of_process().redact(message));
    eprintln!("error: {message}");
    if github::is_here() {
        eprintln!("{}", annotation(Level::Error, None, "cargo xtask", message));
        // What cannot be told in the summary stands in the log.
        let _ = github::tell(&[], &[], &format!("**Error:** {}\n", message.replace(['<', '\n'], " ")));
    }
    code
}
