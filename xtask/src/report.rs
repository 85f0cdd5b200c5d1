//! `report`: the Markdown of a run or of a whole test run, made again from what it left.

use crate::exit::ExitCode;
use crate::{parity, refuse};
use recovery_drills::drills::context::chain;
use recovery_drills::drills::reference;
use recovery_drills::drills::started::{Progressed, progressed};
use recovery_drills::evidence::{Evidence, ParityEvidence, Started, TestRun, write_atomically};
use recovery_drills::report;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Where the report of a recovery drill lies below the reports folder.
const RECOVERY_DRILL: &str = "1.0.0-recovery-drill.md";

/// The name of a drill's report: every drill has a file of its own.
pub(crate) fn file_of(drill: &str) -> String {
    if drill == "backup-restore" {
        RECOVERY_DRILL.to_owned()
    } else {
        format!("1.0.0-{drill}.md")
    }
}

/// Flags of `report`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo nextest run && cargo xtask report\n  cargo xtask report --merge shard-1 shard-2"
)]
pub(crate) struct Options {
    /// A run's or test run's folder, an evidence.json, or an id; the newest of all where left out
    run: Option<String>,
    /// Merge the records of these test runs (shards of one) and report on the whole
    #[arg(long, value_name = "DIR", num_args = 1.., conflicts_with = "run")]
    merge: Vec<PathBuf>,
    /// Folder that the report is written to
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Print the evidence document, or the merged records of a test run, on standard output
    #[arg(long)]
    json: bool,
}

/// Rebuilds the report.
pub(crate) fn run(options: &Options) -> ExitCode {
    if !options.merge.is_empty() {
        return of_tests(options, &options.merge);
    }
    let found = match &options.run {
        Some(run) => find(run),
        None => newest(),
    };
    match found {
        Some(place) if TestRun::is_in(&place) => of_tests(options, &[place]),
        Some(place) => of_run(options, &place),
        None => refuse(ExitCode::Usage, &not_found(options.run.as_deref())),
    }
}

pub(crate) fn not_found(run: Option<&str>) -> String {
    let runs = reference::runs_folder();
    match run {
        Some(run) => format!(
            "no run {run:?}: neither a folder, nor a file, nor an id below {}",
            runs.display()
        ),
        None => format!("no run yet below {}; run `cargo xtask drill` first", runs.display()),
    }
}

/// Writes the Markdown of some evidence.
pub(crate) fn write(evidence: &Evidence, path: &Path) -> Result<(), String> {
    let text = report::markdown::render(evidence, &evidence.digest());
    write_atomically(path, &text).map_err(|error| chain(&error))
}

/// The report of one run, which may have been aborted.
fn of_run(options: &Options, place: &Path) -> ExitCode {
    if place.is_dir() {
        match progressed(place) {
            Ok(Progressed::Aborted(started)) => return of_aborted(options, &started),
            Ok(Progressed::UnderWay(started)) => {
                let message = format!("run {} is still under way; wait for its end", started.id);
                return refuse(ExitCode::Inconclusive, &message);
            }
            // Without `started.json` its evidence says what it is, or that it is none.
            Ok(Progressed::Ended) | Err(_) => {}
        }
    }
    if let Ok(compared) = ParityEvidence::read(place) {
        return of_comparison(options, &compared);
    }
    let evidence = match Evidence::read(place) {
        Ok(evidence) => evidence,
        Err(error) => return refuse(ExitCode::Usage, &chain(&error)),
    };
    let text = report::markdown::render(&evidence, &evidence.digest());
    let shown = report::summary::render(&evidence);
    deliver(options, &text, &shown, &evidence.to_json(), evidence.verdict.into())
}

fn of_comparison(options: &Options, evidence: &ParityEvidence) -> ExitCode {
    let path = options.reports.join(parity::file_of(evidence));
    if let Err(message) = parity::write(evidence, &path) {
        return refuse(ExitCode::Fail, &message);
    }
    if options.json {
        print!("{}", evidence.to_json());
    } else {
        eprint!("{}", report::parity::lines(evidence));
        eprintln!("report: {}", path.display());
    }
    evidence.verdict.into()
}

fn of_aborted(options: &Options, started: &Started) -> ExitCode {
    let shown = format!("{}\n", report::aborted::line(started));
    let text = report::aborted::render(started);
    deliver(options, &text, &shown, &started.to_json(), ExitCode::Inconclusive)
}

fn of_tests(options: &Options, folders: &[PathBuf]) -> ExitCode {
    match TestRun::read(folders) {
        Ok(mut tests) => {
            let junit = reference::target_folder().join("nextest/ci/junit.xml");
            if junit.is_file()
                && let Err(error) = tests.compare_with_junit(&junit)
            {
                eprintln!("note: {}", chain(&error));
            }
            let (text, shown) = (report::test_run::render(&tests), report::test_run::lines(&tests));
            deliver(options, &text, &shown, &tests.to_json(), tests.verdict.into())
        }
        Err(error) => refuse(ExitCode::Usage, &chain(&error)),
    }
}

/// Writes the report; shows the lines, or the document alone on standard output.
fn deliver(options: &Options, report: &str, shown: &str, json: &str, code: ExitCode) -> ExitCode {
    let path = options.reports.join(RECOVERY_DRILL);
    if let Err(error) = write_atomically(&path, report) {
        return refuse(ExitCode::Fail, &chain(&error));
    }
    if options.json {
        print!("{json}");
    } else {
        eprint!("{shown}");
        eprintln!("report: {}", path.display());
    }
    code
}

/// What is meant: a path, or the id of a run or test run.
pub(crate) fn find(run: &str) -> Option<PathBuf> {
    let places = [
        PathBuf::from(run),
        reference::runs_folder().join(run),
        reference::test_runs_folder().join(run),
    ];
    places.into_iter().find(|place| place.exists())
}

/// The run or test run that changed last. A run that a test made belongs to its test run and is none of its own.
fn newest() -> Option<PathBuf> {
    let changed = |path: &Path| path.metadata().and_then(|facts| facts.modified()).ok();
    let run = |folder: PathBuf| -> Option<(SystemTime, PathBuf)> {
        let evidence = changed(&folder.join("evidence.json"));
        let at = evidence.or_else(|| changed(&Started::path(&folder)))?;
        Some((at, folder))
    };
    let test_run = |folder: PathBuf| Some((changed(&folder)?, folder));
    let mut all: Vec<(SystemTime, PathBuf)> = folders(&reference::runs_folder()).filter_map(run).collect();
    all.extend(folders(&reference::test_runs_folder()).filter_map(test_run));
    all.sort();
    let stands_alone = |place: &PathBuf| {
        let is_of_a_test = Started::read(place).is_ok_and(|started| started.test.is_some());
        let is_under_way = matches!(progressed(place), Ok(Progressed::UnderWay(_)));
        !is_of_a_test && !is_under_way
    };
    all.into_iter().rev().map(|(_, place)| place).find(stands_alone)
}

fn folders(of: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(of).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir())
}
