//! `faults`: runs the fault catalogue and prints the detection power.

use crate::exit::ExitCode;
use crate::outcome::{self, Began};
use crate::progress::Lines;
use crate::snapshot::Identity;
use crate::{containers, drill, github, given, refuse};
use recovery_drills::cadence::collect::detection_summary;
use recovery_drills::drills::context::{DrillRequest, Progress, Quiet, broken_runs, clean_broken_run};
use recovery_drills::drills::detection::{self, Campaign};
use recovery_drills::drills::score::Score;
use recovery_drills::evidence::{
    CheckId, CommandOutcome, FEWEST_CLEAN_RUNS, Finding, Level, annotation, lower_bound_percent, upper_bound_percent,
};
use recovery_drills::faults::catalogue::{Catalogue, Wanted};
use recovery_drills::report::github::shown;
use std::path::{Path, PathBuf};

/// Budget of the recovery time in every trial, in milliseconds.
const RTO_LIMIT_MS: u64 = 10_000;

/// Flags of `faults`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask faults --at-rest\n  cargo xtask faults --only agents-all-deleted\n  \
                        cargo xtask faults --group bus-content --json\n  \
                        cargo xtask faults --from backups/2026-11-22 --keys identities.json"
)]
pub(crate) struct Options {
    /// Folder with further fault files, beside the project's own
    #[arg(long)]
    catalogue: Vec<PathBuf>,
    /// Only these faults
    #[arg(long, num_args = 1..)]
    only: Vec<String>,
    /// Only these groups
    #[arg(long, num_args = 1..)]
    group: Vec<String>,
    /// Only what needs no start
    #[arg(long)]
    at_rest: bool,
    /// List what would be run, and run nothing
    #[arg(long)]
    list: bool,
    /// Whole clean drills with other seeds [default: 20, with --random none]
    #[arg(long)]
    clean_runs: Option<u64>,
    /// Trials with a running pair side by side
    #[arg(long, default_value_t = 3)]
    jobs: usize,
    /// Name of an environment file (without .toml) or its path; the reference services where left out
    #[arg(long)]
    environment: Option<String>,
    /// Folder of the environment files
    #[arg(long, default_value = "fixtures/environments")]
    environments: PathBuf,
    /// How the services run [default: as the environment says]
    #[arg(long, value_parser = ["process", "container"])]
    runtime: Option<String>,
    /// This plays the source, and faults go into copies of it: a snapshot, a plain backup (folder or tar), STORE or STORE/ID
    #[arg(long)]
    from: Option<PathBuf>,
    #[command(flatten)]
    identity: Identity,
    /// With --from: a bus identity file with the agents' private keys
    #[arg(long, requires = "from")]
    keys: Option<PathBuf>,
    /// With --from: what the directory called itself when the backup was taken
    #[arg(long, requires = "from")]
    directory_identity: Option<String>,
    /// So many random faults of the snapshot instead of the catalogue; a missed one is made small and printed as TOML
    #[arg(long, value_name = "N", default_value_t = 0)]
    random: usize,
    /// Deliberately take this check's verdict for a pass: what goes missed then is what needs it
    #[arg(long, value_name = "CHECK")]
    force_pass: Option<String>,
    /// Every random choice derives from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the score as JSON alone on standard output
    #[arg(long)]
    json: bool,
    /// No line a trial
    #[arg(long)]
    quiet: bool,
}

/// Runs the catalogue.
pub(crate) fn run(options: Options) -> ExitCode {
    let catalogue = match catalogue(&options) {
        Ok(catalogue) => catalogue,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    if options.list {
        for fault in catalogue.faults.iter().chain(&catalogue.benign) {
            let caught_by: Vec<&str> = fault.caught_by.iter().map(|id| id.name()).collect();
            let names = if fault.benign {
                "benign".to_owned()
            } else {
                caught_by.join(", ")
            };
            println!(
                "{:<34} {:<20} {:<15} {names}",
                fault.id.0,
                fault.group,
                fault.stage.name()
            );
        }
        return ExitCode::Pass;
    }
    // Kept to the end: clean runs begin with it again.
    let given = options
        .from
        .as_deref()
        .map(|from| given::local(from, options.identity.file.as_deref(), None));
    let given = match given.transpose() {
        Ok(given) => given,
        Err((code, message)) => return refuse(code, &message),
    };
    let from = given.as_ref().map(|given| given.path.as_path());
    let mut request = match request(&options, from) {
        Ok(request) => request,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    if request.environment.is_in_containers() && !containers::BUILT_IN {
        drop(given);
        return containers::run_again();
    }
    let runtime = match drill::runtime() {
        Ok(runtime) => runtime,
        Err(message) => return refuse(ExitCode::Inconclusive, &message),
    };
    if let Err(message) = runtime.block_on(containers::connect(&mut request)) {
        return refuse(ExitCode::Usage, &message);
    }
    let (engine, runs) = (request.engine.clone(), request.runs.clone());
    let (began, asked) = (Began::now(), request.clone());
    let campaign = Campaign {
        request,
        catalogue,
        clean_runs: options
            .clean_runs
            .unwrap_or(if options.random > 0 { 0 } else { FEWEST_CLEAN_RUNS }),
        jobs: options.jobs,
        at_rest: options.at_rest,
        random: options.random,
    };
    let progress: Box<dyn Progress> = if options.quiet {
        Box::new(Quiet)
    } else {
        Box::new(Lines::new())
    };
    let ended = runtime.block_on(async {
        let ended = tokio::select! {
            ended = detection::run(&campaign, progress.as_ref()) => Some(ended),
            () = drill::interrupted() => None,
        };
        if ended.is_none() {
            if let Some(engine) = engine {
                engine.remove_own().await;
            }
            // Nobody holds the folders of the campaign any more; what cannot be removed is told by `doctor`.
            for run in broken_runs(&runs) {
                let _ = clean_broken_run(&run);
            }
        }
        ended
    });
    match ended {
        Some(Ok(score)) => close(&options, &score, &asked, &began),
        Some(Err(usage)) => refuse(ExitCode::Usage, &usage.to_string()),
        None => refuse(ExitCode::Interrupted, "interrupted; nothing is scored"),
    }
}

fn request(options: &Options, from: Option<&Path>) -> Result<DrillRequest, String> {
    let forced_pass = match &options.force_pass {
        None => None,
        Some(name) => Some(CheckId::parse(name).ok_or_else(|| {
            let known: Vec<&str> = CheckId::ALL.iter().map(|id| id.name()).collect();
            format!("--force-pass: {name:?} is no check; use one of {}", known.join(", "))
        })?),
    };
    let subject = drill::Subject {
        environment: options.environment.as_deref(),
        environments: &options.environments,
        from,
        keys: options.keys.as_deref(),
        directory_identity: options.directory_identity.as_deref(),
        runtime: options.runtime.as_deref(),
        may_be_attached: false,
    };
    let mut request = subject.request(options.seed)?;
    // A limit of its own, so that a slow recovery is a fault that can be told from a good one.
    request.environment.rto_limit_ms.get_or_insert(RTO_LIMIT_MS);
    request.forced_pass = forced_pass;
    Ok(request)
}

fn catalogue(options: &Options) -> Result<Catalogue, String> {
    let mut folders = vec![drill::catalogue_folder()];
    folders.extend(options.catalogue.iter().cloned());
    if options.random > 0 {
        return Ok(Catalogue::default());
    }
    let wanted = Wanted {
        only: options.only.clone(),
        groups: options.group.clone(),
        at_rest: options.at_rest,
    };
    let loaded = Catalogue::load(&folders).map_err(|error| recovery_drills::drills::context::chain(&error))?;
    loaded
        .filtered(&wanted)
        .map_err(|error| recovery_drills::drills::context::chain(&error))
}

fn close(options: &Options, score: &Score, asked: &DrillRequest, began: &Began) -> ExitCode {
    if let Err(message) = leave(options, score, asked, began) {
        return refuse(ExitCode::Inconclusive, &message);
    }
    if options.json {
        match serde_json::to_string_pretty(score) {
            Ok(text) => println!("{text}"),
            Err(error) => return refuse(ExitCode::Inconclusive, &error.to_string()),
        }
    }
    if !options.quiet {
        if !options.json && score.random.is_empty() {
            print_table(score);
        } else if !options.json {
            print_random(score);
        }
        print_score(score);
    }
    score.verdict().into()
}

/// Leaves the record of a whole catalogue, and tells GitHub; a part of the catalogue proves less than the cut asks for.
fn leave(options: &Options, score: &Score, asked: &DrillRequest, began: &Began) -> Result<(), String> {
    let (detected, injected) = (score.detected() as u64, score.faults.len() as u64);
    let summary = detection_summary(detected, injected, score.false_alarms, score.clean_runs);
    let is_whole = options.only.is_empty()
        && options.group.is_empty()
        && !options.at_rest
        && options.random == 0
        && options.force_pass.is_none()
        && options.from.is_none();
    let mut folder = None;
    if is_whole {
        let result = serde_json::to_value(score).map_err(|error| error.to_string())?;
        let ended = (score.verdict(), summary.clone(), result);
        folder = outcome::leave(CommandOutcome::CATALOGUE, asked, began, None, ended)?;
    }
    let verdict = score.verdict();
    let missed = score.faults.iter().filter(|fault| !fault.detected);
    let mut annotations: Vec<String> = missed
        .map(|fault| {
            let error = fault.error.as_deref().unwrap_or("no check that it names failed");
            annotation(Level::Error, None, &format!("fault {} missed", fault.id), error)
        })
        .collect();
    annotations.extend(score.alarms.iter().map(|finding| {
        let message = format!(
            "{}: expected {}, observed {}",
            finding.subject, finding.expected, finding.observed
        );
        annotation(Level::Error, None, "alarm without a fault", &message)
    }));
    let text = format!("## Fault catalogue: {}\n\n{summary}\n", verdict.word().to_uppercase());
    let shown_folder = folder.map(|folder| folder.display().to_string());
    let mut outputs = vec![("verdict", verdict.word())];
    outputs.extend(shown_folder.as_deref().map(|folder| ("evidence", folder)));
    github::tell(&shown(annotations), &outputs, &text)
}

fn names(ids: &[CheckId]) -> String {
    ids.iter().map(|id| id.name()).collect::<Vec<_>>().join(", ")
}

/// A row a fault: what caught it, what had to, what the backup alone shows, and the time.
fn print_table(score: &Score) {
    println!(
        "{:<32} {:<8} {:<5} {:>6}  {:<40} expected",
        "fault", "verdict", "alone", "ms", "caught by"
    );
    for fault in &score.faults {
        let verdict = match (&fault.error, fault.detected) {
            (Some(_), _) => "ERROR",
            (None, true) => "caught",
            (None, false) => "MISSED",
        };
        let alone = match fault.alone {
            Some(true) => "seen",
            Some(false) => "no",
            None => "-",
        };
        println!(
            "{:<32} {verdict:<8} {alone:<5} {:>6}  {:<40} {}",
            fault.id,
            fault.duration_ms,
            names(&fault.caught_by),
            names(&fault.expected)
        );
    }
    for benign in &score.benign {
        let verdict = if benign.error.is_some() {
            "ERROR"
        } else if benign.alarmed {
            "ALARM"
        } else {
            "silent"
        };
        println!("{:<32} {verdict:<8}", benign.id);
    }
}

/// What is not as it should be, and why; what was only left out comes first, so that trouble stands last.
fn print_trouble(score: &Score) {
    for one in &score.not_staged {
        eprintln!("not staged {}: {}", one.id, one.reason);
    }
    for one in &score.alone.missed {
        eprintln!("not seen in the backup alone {}: {}", one.id, one.reason);
    }
    for fault in score.faults.iter().filter(|fault| !fault.detected) {
        let error = fault.error.as_ref().map(|error| format!("; {error}"));
        eprintln!(
            "missed {}: expected {}; failed {}{}",
            fault.id,
            names(&fault.expected),
            names(&fault.caught_by),
            error.unwrap_or_default()
        );
    }
    for benign in &score.benign {
        let first = benign.findings.first();
        let first = first.map(|finding| {
            let Finding {
                subject,
                expected,
                observed,
                ..
            } = finding;
            format!("{subject}: expected {expected}, observed {observed}")
        });
        if let Some(error) = &benign.error {
            eprintln!("benign {} could not be injected: {error}", benign.id);
        } else if benign.alarmed {
            eprintln!("benign {} alarmed: {}", benign.id, first.unwrap_or_default());
        }
    }
    for finding in score.alarms.iter().take(20) {
        eprintln!(
            "alarm without a fault: {}: expected {}, observed {}",
            finding.subject, finding.expected, finding.observed
        );
    }
    for canary in score.canaries.iter().filter(|canary| !canary.ok) {
        eprintln!("canary {} is not as it should be: nothing is proven", canary.id);
    }
}

/// A row a kind of random faults; then what is without meaning by rule, and the misses as TOML.
fn print_random(score: &Score) {
    if score.random.is_empty() {
        return;
    }
    println!(
        "{:<12} {:>8} {:>8} {:>15} {:>6}  {:<14} alone, in ballast",
        "random", "injected", "detected", "without meaning", "missed", "alone"
    );
    for kind in &score.random {
        println!(
            "{:<12} {:>8} {:>8} {:>15} {:>6}  {:<14} {} of {}",
            kind.kind,
            kind.injected,
            kind.detected,
            kind.without_meaning.len(),
            kind.missed.len(),
            format!("{} of {}", kind.alone_detected, kind.alone_injected),
            kind.ballast_detected,
            kind.ballast_injected
        );
    }
    for one in score.random.iter().flat_map(|kind| &kind.without_meaning) {
        eprintln!("without meaning {}: {}", one.id, one.reason);
    }
    for one in score.random.iter().flat_map(|kind| &kind.missed) {
        println!("\n# missed: {}\n{}", one.id, one.reason);
    }
}

fn print_score(score: &Score) {
    print_trouble(score);
    let percent =
        |bound: Option<f64>, word: &str| bound.map(|bound| format!(" ({word} {bound:.1} %)")).unwrap_or_default();
    let silent = score
        .benign
        .iter()
        .filter(|benign| !benign.alarmed && benign.error.is_none());
    let (detected, injected) = (score.detected() as u64, score.faults.len() as u64);
    eprintln!(
        "{detected} of {injected} faults detected{}, {} of {} alone{}, {} benign controls silent of {}, {} false alarms in {} clean \
         runs{}, {} not staged",
        percent(lower_bound_percent(detected, injected), "with 95 % confidence at least"),
        score.alone.detected,
        score.alone.injected,
        percent(
            lower_bound_percent(score.alone.detected, score.alone.injected),
            "at least"
        ),
        silent.count(),
        score.benign.len(),
        score.false_alarms,
        score.clean_runs,
        percent(upper_bound_percent(score.false_alarms, score.clean_runs), "at most"),
        score.not_staged.len()
    );
}
