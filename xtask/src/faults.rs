//! `faults`: runs the fault catalogue and prints the detection power.

use crate::exit::ExitCode;
use crate::progress::Lines;
use crate::{drill, refuse};
use recovery_drills::drills::context::{Progress, Quiet};
use recovery_drills::drills::detection::{self, Campaign};
use recovery_drills::drills::score::Score;
use recovery_drills::drills::reference::workspace_root;
use recovery_drills::evidence::{lower_bound_percent, upper_bound_percent};
use recovery_drills::faults::catalogue::{Catalogue, Wanted};
use std::path::PathBuf;

/// Budget of the recovery time in every trial, in milliseconds.
const RTO_LIMIT_MS: u64 = 10_000;

/// Flags of `faults`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask faults --at-rest\n  cargo xtask faults --only agents-all-deleted\n  \
                        cargo xtask faults --group bus-content --json"
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
    /// Whole clean drills with other seeds
    #[arg(long, default_value_t = 20)]
    clean_runs: u64,
    /// Trials side by side
    #[arg(long, default_value_t = 3)]
    jobs: usize,
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
    let request = match drill::reference_request(options.seed) {
        Ok(mut request) => {
            // A limit of its own, so that a slow recovery is a fault that can be told from a good one.
            request.environment.rto_limit_ms = Some(RTO_LIMIT_MS);
            request
        }
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let campaign = Campaign {
        request,
        catalogue,
        clean_runs: options.clean_runs,
        jobs: options.jobs,
        at_rest: options.at_rest,
    };
    let runtime = match drill::runtime() {
        Ok(runtime) => runtime,
        Err(message) => return refuse(ExitCode::Inconclusive, &message),
    };
    let progress: Box<dyn Progress> = if options.quiet {
        Box::new(Quiet)
    } else {
        Box::new(Lines::new())
    };
    match runtime.block_on(detection::run(&campaign, progress.as_ref())) {
        Ok(score) => close(&options, &score),
        Err(usage) => refuse(ExitCode::Usage, &usage.to_string()),
    }
}

fn catalogue(options: &Options) -> Result<Catalogue, String> {
    let mut folders = vec![workspace_root().join("fixtures/faults")];
    folders.extend(options.catalogue.iter().cloned());
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

fn close(options: &Options, score: &Score) -> ExitCode {
    if options.json {
        match serde_json::to_string_pretty(score) {
            Ok(text) => println!("{text}"),
            Err(error) => return refuse(ExitCode::Inconclusive, &error.to_string()),
        }
    }
    if !options.quiet {
        print_score(score);
    }
    score.verdict().into()
}

fn print_score(score: &Score) {
    for fault in score.faults.iter().filter(|fault| !fault.detected) {
        let names =
            |ids: &[recovery_drills::evidence::CheckId]| ids.iter().map(|id| id.name()).collect::<Vec<_>>().join(", ");
        let error = fault
            .error
            .as_ref()
            .map(|error| format!("; {error}"))
            .unwrap_or_default();
        eprintln!(
            "missed {}: expected {}; failed {}{error}",
            fault.id,
            names(&fault.expected),
            names(&fault.caught_by)
        );
    }
    for benign in score
        .benign
        .iter()
        .filter(|benign| benign.alarmed || benign.error.is_some())
    {
        let first = benign
            .findings
            .first()
            .map(|finding| format!("{}: {}", finding.subject, finding.observed));
        eprintln!(
            "benign {} alarmed: {}",
            benign.id,
            benign.error.clone().or(first).unwrap_or_default()
        );
    }
    for one in &score.not_staged {
        eprintln!("not staged {}: {}", one.id, one.reason);
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
    let percent =
        |bound: Option<f64>, word: &str| bound.map(|bound| format!(" ({word} {bound:.1} %)")).unwrap_or_default();
    eprintln!(
        "{} of {} faults detected{}, {} benign controls silent of {}, {} false alarms in {} clean runs{}, {} not staged",
        score.detected(),
        score.faults.len(),
        percent(
            lower_bound_percent(score.detected() as u64, score.faults.len() as u64),
            "with 95 % confidence at least"
        ),
        score
            .benign
            .iter()
            .filter(|benign| !benign.alarmed && benign.error.is_none())
            .count(),
        score.benign.len(),
        score.false_alarms,
        score.clean_runs,
        percent(upper_bound_percent(score.false_alarms, score.clean_runs), "less than"),
        score.not_staged.len()
    );
}
