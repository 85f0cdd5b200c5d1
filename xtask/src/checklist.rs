//! `checklist`: the boxes of a cut, ticked by evidence only.

use crate::exit::ExitCode;
use crate::{github, parity, plan, refuse, report, smoke};
use recovery_drills::cadence::checklist::{Expected, Item, Judged, judge};
use recovery_drills::cadence::collect::{Collected, Found, collect};
use recovery_drills::deployment::Service;
use recovery_drills::drills::context::chain;
use recovery_drills::drills::{reference, schema_gate};
use recovery_drills::evidence::{Level, Verdict, annotation, write_atomically};
use recovery_drills::gate::lock;
use recovery_drills::report::checklist as page;
use recovery_drills::report::github::shown;
use recovery_drills::verify::{verify, views};
use std::path::{Path, PathBuf};

/// Where the page lies below the reports folder.
const PAGE: &str = "1.0.0-cut-checklist.md";

/// How many unreadable documents are named.
const PRINTED: usize = 3;

/// Flags of `checklist`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 written; with --check 0 nothing is open, 1 something is, nothing is written; 2 usage\n\nExamples:\n  \
                        cargo xtask checklist --environment production --version 1.6.0\n  cargo xtask checklist --check"
)]
pub(crate) struct Options {
    /// Write nothing; exit 1 while something is open
    #[arg(long)]
    check: bool,
    /// Whose evidence counts [default: as the settings say, else of any environment]
    #[arg(long)]
    environment: Option<String>,
    /// The version that is cut [default: as the settings say, else evidence of any counts]
    #[arg(long)]
    version: Option<String>,
    /// The commit that is cut, 7 to 40 digits
    #[arg(long, value_parser = commit)]
    sha: Option<String>,
    /// Further folders of runs, as a workflow downloads them; target/drills is always looked into
    #[arg(long, value_name = "DIR")]
    evidence: Vec<PathBuf>,
    /// Cadence, release and environment
    #[arg(long, default_value = "drills.toml")]
    settings: PathBuf,
    /// Folder of the locked schemas [default: fixtures/schemas]
    #[arg(long, value_name = "FOLDER")]
    schemas: Option<PathBuf>,
    /// Folder of the page and of the reports
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Print the boxes as JSON alone on standard output
    #[arg(long)]
    json: bool,
}

fn commit(text: &str) -> Result<String, String> {
    let is_hex = text.chars().all(|digit| digit.is_ascii_hexdigit());
    if is_hex && (7..=40).contains(&text.len()) {
        Ok(text.to_owned())
    } else {
        Err("a commit has 7 to 40 hexadecimal digits".to_owned())
    }
}

/// Judges every box; writes the page, or with `--check` says what is open.
pub(crate) fn run(options: &Options) -> ExitCode {
    let expected = match expected(options) {
        Ok(expected) => expected,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let path = options.reports.join(PAGE);
    let present = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return refuse(ExitCode::Usage, &format!("cannot read {}: {error}", path.display())),
    };
    let mut folders = vec![reference::runs_folder()];
    folders.extend(options.evidence.iter().cloned());
    if let Some(missing) = options.evidence.iter().find(|folder| !folder.is_dir()) {
        let message = format!("--evidence {} is no folder", missing.display());
        return refuse(ExitCode::Usage, &message);
    }
    let mut collected = collect(&folders);
    for unreadable in collected.unreadable.iter().take(PRINTED) {
        eprintln!("warning: not counted: {unreadable}");
    }
    if collected.unreadable.len() > PRINTED {
        eprintln!("warning: not counted: {} in all", collected.unreadable.len());
    }
    for found in collected.newest.values_mut() {
        found.proof.altered = found.proof.altered.take().or_else(|| altered(found, &options.reports));
    }
    let judged = judged(&collected, &expected);
    let text = page::updated(present.as_deref(), &judged, &expected);
    let of_people = page::open_lines_of_people(&text);
    if !options.check
        && let Err(error) = write_atomically(&path, &text)
    {
        return refuse(ExitCode::Usage, &chain(&error));
    }
    say(options, &judged, &of_people, &path);
    let is_open = judged.iter().any(|one| !one.ticked) || !of_people.is_empty();
    if options.check && is_open {
        ExitCode::Fail
    } else {
        ExitCode::Pass
    }
}

fn expected(options: &Options) -> Result<Expected, String> {
    let settings = plan::settings(&options.settings)?;
    let mut release = settings.release;
    for (stated, given) in [
        (&mut release.version, &options.version),
        (&mut release.git_sha, &options.sha),
    ] {
        if given.is_some() {
            stated.clone_from(given);
        }
    }
    let folder = options.schemas.clone().unwrap_or_else(schema_gate::locks_folder);
    let mut locks = std::collections::BTreeMap::new();
    for service in Service::ALL {
        let lock = lock::read(&folder, service).map_err(|error| chain(&error))?;
        locks.insert(service, lock.schema.facts.fingerprints().shape);
    }
    Ok(Expected {
        release,
        environment: options.environment.clone().or(settings.environment),
        cadence: settings.cadence,
        locks,
        now: jiff::Timestamp::now(),
    })
}

/// Why a run's documents do not belong together, if so.
fn altered(found: &Found, reports: &Path) -> Option<String> {
    let report = match found.item {
        Item::Drill => report::file_of("backup-restore"),
        Item::Parity => parity::PARITY_CHECK.to_owned(),
        Item::Smoke => smoke::REPORT.to_owned(),
        // An outcome was held against itself when it was read.
        Item::SchemaGate | Item::Detection => return None,
    };
    let report = reports.join(report);
    let given = views::naming(&found.document, reports);
    if report.is_file() && !given.contains(&report) {
        eprintln!(
            "warning: {} is of another run; `cargo xtask report {}` makes it of the one that counts",
            report.display(),
            found.folder.display()
        );
    }
    match verify(&found.document, &given) {
        // What is gone (a snapshot that is stored elsewhere) was not altered.
        Ok(verification) if verification.verdict != Verdict::Fail => None,
        Ok(verification) => Some(match verification.findings.first() {
            Some(first) => format!(
                "{}: expected {}, observed {} [{}]",
                first.subject, first.expected, first.observed, first.place
            ),
            None => "see `cargo xtask verify`".to_owned(),
        }),
        Err(error) => Some(chain(&error)),
    }
}

fn judged(collected: &Collected, expected: &Expected) -> Vec<Judged> {
    Item::ALL
        .map(|item| judge(item, collected.newest.get(&item).map(|found| &found.proof), expected))
        .into()
}

fn say(options: &Options, judged: &[Judged], of_people: &[(usize, String)], path: &Path) {
    let open: Vec<&Judged> = judged.iter().filter(|one| !one.ticked).collect();
    if options.json {
        let document = serde_json::json!({
            "open": open.len() + of_people.len(),
            "boxes": judged,
            "lines": of_people.iter().map(|(line, text)| serde_json::json!({ "line": line, "text": text })).collect::<Vec<_>>(),
        });
        println!("{document:#}");
    } else {
        for one in judged {
            let tick = if one.ticked { 'x' } else { ' ' };
            let summary = one.summary.as_deref().unwrap_or_default();
            println!("[{tick}] {:<20} {summary}", one.item.title());
            if !one.ticked {
                println!("    open: {}; run `{}`", one.open.join("; "), one.command);
            }
        }
        for (line, text) in of_people {
            println!("[ ] line {line}: {text}");
        }
    }
    if !options.check {
        eprintln!("checklist: {}", path.display());
    }
    let annotations: Vec<String> = open
        .iter()
        .map(|one| {
            let message = format!("{}; run `{}`", one.open.join("; "), one.command);
            annotation(Level::Warning, None, &format!("{} is open", one.item.title()), &message)
        })
        .collect();
    let outputs = [
        ("open", (open.len() + of_people.len()).to_string()),
        ("report", path.display().to_string()),
    ];
    let outputs = outputs.each_ref().map(|(name, value)| (*name, value.as_str()));
    if let Err(message) = github::tell(&shown(annotations), &outputs, "") {
        eprintln!("warning: {message}");
    }
}
