//! `report`: the Markdown of a run, made again from its evidence.

use crate::exit::ExitCode;
use crate::refuse;
use recovery_drills::drills::reference;
use recovery_drills::evidence::{Evidence, write_atomically};
use recovery_drills::{drills, report};
use std::path::{Path, PathBuf};

/// Where the report of a recovery drill lies below the reports folder.
pub(crate) const RECOVERY_DRILL: &str = "1.0.0-recovery-drill.md";

/// Flags of `report`.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// A run's folder, its evidence.json, or its id; the newest run where left out
    run: Option<String>,
    /// Folder that the report is written to
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Print the evidence document on standard output
    #[arg(long)]
    json: bool,
}

/// Rebuilds the report.
pub(crate) fn run(options: &Options) -> ExitCode {
    let Some(place) = find(options.run.as_deref()) else {
        let message = match &options.run {
            Some(run) => format!(
                "no run {run:?}: neither a folder, nor a file, nor an id below {}",
                reference::runs_folder().display()
            ),
            None => format!(
                "no run yet below {}; run `cargo xtask drill` first",
                reference::runs_folder().display()
            ),
        };
        return refuse(ExitCode::Usage, &message);
    };
    let evidence = match Evidence::read(&place) {
        Ok(evidence) => evidence,
        Err(error) => return refuse(ExitCode::Usage, &drills::context::chain(&error)),
    };
    let path = options.reports.join(RECOVERY_DRILL);
    if let Err(error) = write(&evidence, &path) {
        return refuse(ExitCode::Fail, &error);
    }
    if options.json {
        print!("{}", evidence.to_json());
    } else {
        eprint!("{}", report::summary::render(&evidence));
        eprintln!("report: {}", path.display());
    }
    evidence.verdict.into()
}

/// Writes the Markdown of some evidence.
pub(crate) fn write(evidence: &Evidence, path: &Path) -> Result<(), String> {
    let text = report::markdown::render(evidence, &evidence.digest());
    write_atomically(path, &text).map_err(|error| drills::context::chain(&error))
}

fn find(run: Option<&str>) -> Option<PathBuf> {
    let runs = reference::runs_folder();
    match run {
        Some(run) => [PathBuf::from(run), runs.join(run)]
            .into_iter()
            .find(|place| place.exists()),
        None => {
            let entries = std::fs::read_dir(&runs).ok()?;
            let with_evidence = entries
                .flatten()
                .map(|entry| entry.path())
                .filter(|run| run.join("evidence.json").is_file());
            // Ids begin with their time.
            with_evidence.max()
        }
    }
}
