//! `verify`: do evidence, report and snapshot of a run belong together, and is nothing altered?

use crate::exit::ExitCode;
use crate::{refuse, report};
use recovery_drills::deployment::given_file;
use recovery_drills::drills::context::chain;
use recovery_drills::drills::reference;
use recovery_drills::report::named_run;
use recovery_drills::verify::signature::{PublicKey, SealKey};
use recovery_drills::verify::{Expected, shown, verify_as, views};
use std::path::{Path, PathBuf};

/// The variable that names the file of the key that seals evidence.
const SEAL_KEY: &str = "DRILLS_SEAL_KEY";

/// Flags of `verify`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask verify reports/1.0.0-recovery-drill.md\n  \
                  cargo xtask verify target/drills/ID --environment production --public-key operator.pub\n\n\
                  Exit codes: 0 nothing is altered, 1 something is, 2 no such run, 3 something is gone")]
pub(crate) struct Options {
    /// A run's folder, its evidence.json, its id, or a report that names it
    run: String,
    /// A further copy of the report, to be held against the evidence too
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Folder whose reports of this run are held against the evidence
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Demand that the evidence is of this environment
    #[arg(long, value_name = "NAME")]
    environment: Option<String>,
    /// Demand a seal by this very key: a file (PEM or base64), or base64
    #[arg(long, value_name = "KEY", env = "DRILLS_SEAL_PUBLIC_KEY")]
    public_key: Option<String>,
    /// Print the verification alone on standard output
    #[arg(long)]
    json: bool,
    /// No lines
    #[arg(long)]
    quiet: bool,
}

/// Verifies.
pub(crate) fn run(options: &Options) -> ExitCode {
    let (place, mut reports) = match place(options) {
        Ok(found) => found,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let key = options.public_key.as_deref().filter(|given| !given.is_empty());
    let key = match key.map(PublicKey::given).transpose() {
        Ok(key) => key,
        Err(error) => return refuse(ExitCode::Usage, &chain(&error)),
    };
    reports.extend(options.report.iter().cloned());
    reports.extend(views::naming(&place, &options.reports));
    reports.sort();
    reports.dedup();
    let expected = Expected {
        environment: options.environment.clone(),
        key,
    };
    match verify_as(&place, &reports, &expected) {
        Ok(verified) => {
            if options.json {
                print!("{}", verified.to_json());
            }
            if !options.quiet {
                eprint!("{}", shown::lines(&verified));
            }
            verified.verdict.into()
        }
        Err(error) => refuse(ExitCode::Usage, &chain(&error)),
    }
}

/// The run, and the report that it was named by.
fn place(options: &Options) -> Result<(PathBuf, Vec<PathBuf>), String> {
    let given = Path::new(&options.run);
    let is_report = given.extension().is_some_and(|ending| ending == "md") && given.is_file();
    if !is_report {
        let found = report::find(&options.run);
        return found
            .map(|place| (place, Vec::new()))
            .ok_or_else(|| report::not_found(Some(&options.run)));
    }
    let reports = vec![given.to_owned()];
    if let Some(run) = given.parent().filter(|run| run.join("evidence.json").is_file()) {
        return Ok((run.to_owned(), reports));
    }
    let text = given_file::document(given).map_err(|error| format!("cannot read {}: {error}", given.display()))?;
    let id = named_run(&text).filter(|id| !id.contains(['/', '.']));
    let id = id.ok_or_else(|| format!("{} names no run; give a run's folder or id", given.display()))?;
    let run = reference::runs_folder().join(id);
    if run.is_dir() {
        Ok((run, reports))
    } else {
        Err(format!(
            "{} is of run {id}, which is not below {}; give its folder, and this file with --report",
            given.display(),
            reference::runs_folder().display()
        ))
    }
}

/// The key that this machine's evidence is sealed with, if `DRILLS_SEAL_KEY` names one. Asked before anything is started.
pub(crate) fn seal_key() -> Result<Option<SealKey>, String> {
    match std::env::var_os(SEAL_KEY).filter(|path| !path.is_empty()) {
        Some(path) => SealKey::read(Path::new(&path))
            .map(Some)
            .map_err(|error| format!("{SEAL_KEY}: {}", chain(&error))),
        None => Ok(None),
    }
}

/// Seals the evidence of a run's folder, where there is a key.
pub(crate) fn seal(key: Option<&SealKey>, run: &Path) -> Result<(), String> {
    match key {
        Some(key) => key.seal(run).map(|_| ()).map_err(|error| chain(&error)),
        None => Ok(()),
    }
}
