//! `plan`: what a scheduled workflow has to do today: whether a drill is due, for which environments, in how many shards.

use crate::exit::ExitCode;
use crate::{github, refuse};
use recovery_drills::cadence::settings::Settings;
use recovery_drills::drills::context::chain;
use std::path::PathBuf;

/// Flags of `plan`.
#[derive(clap::Args)]
#[command(
    after_help = "Writes due, sprint, environments, shards to GITHUB_OUTPUT in a workflow; exit 0 whether due or not.\n\nExamples:\n  \
                        cargo xtask plan\n  cargo xtask plan --event schedule --every 7 --environments staging,production --shards 2"
)]
pub(crate) struct Options {
    /// What started the workflow: only a `schedule` has to wait for the first days of a sprint
    #[arg(long, default_value = "workflow_dispatch")]
    event: String,
    /// The schedule fires every so many days
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    every: u16,
    /// The day to plan for [default: today, UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    on: Option<jiff::civil::Date>,
    /// Environments to drill, with commas between
    #[arg(long, default_value = "reference")]
    environments: String,
    /// Parts that the tests are cut into
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=64))]
    shards: u32,
    /// The cadence's file
    #[arg(long, default_value = "drills.toml")]
    settings: PathBuf,
    /// Print the plan as JSON alone on standard output
    #[arg(long)]
    json: bool,
}

fn day(text: &str) -> Result<jiff::civil::Date, String> {
    text.parse().map_err(|_| "write the day as 2026-11-23".to_owned())
}

/// Plans.
pub(crate) fn run(options: &Options) -> ExitCode {
    let settings = match settings(&options.settings) {
        Ok(settings) => settings,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let mut met = std::collections::BTreeSet::new();
    let environments: Vec<&str> = options
        .environments
        .split([',', ' ', '\n'])
        .map(str::trim)
        .filter(|name| !name.is_empty() && met.insert(*name))
        .collect();
    if environments.is_empty() {
        return refuse(
            ExitCode::Usage,
            "--environments names none; give names with commas between",
        );
    }
    let today = options
        .on
        .unwrap_or_else(|| jiff::tz::Offset::UTC.to_datetime(jiff::Timestamp::now()).date());
    let sprint = settings.cadence.sprint(today);
    let is_scheduled = options.event == "schedule";
    let is_due = !is_scheduled || settings.cadence.is_due(today, options.every);
    let shards: Vec<String> = (1..=options.shards)
        .map(|part| format!("{part}/{}", options.shards))
        .collect();
    let plan = serde_json::json!({
        "due": is_due,
        "sprint": sprint.number,
        "first_day": sprint.first.to_string(),
        "last_day": sprint.last.to_string(),
        "environments": environments,
        "shards": shards,
    });
    let why = match (is_due, is_scheduled) {
        (true, false) => format!("asked for by {}", options.event),
        (true, true) => format!("day {} of the sprint, the schedule's first in it", sprint.day),
        (false, _) => format!("day {} of the sprint, not the schedule's first in it", sprint.day),
    };
    let line = format!(
        "sprint {}, {} to {}; a drill is {}due: {why}",
        sprint.number,
        sprint.first,
        sprint.last,
        if is_due { "" } else { "not " }
    );
    if options.json {
        println!("{plan:#}");
    } else {
        println!("{line}");
        println!("environments {}; {} shards", environments.join(", "), shards.len());
    }
    let told = github::tell(
        &[],
        &[
            ("due", &is_due.to_string()),
            ("sprint", &sprint.number.to_string()),
            ("environments", &plan["environments"].to_string()),
            ("shards", &plan["shards"].to_string()),
        ],
        &format!("{line}\n"),
    );
    match told {
        Ok(()) => ExitCode::Pass,
        Err(message) => refuse(ExitCode::Inconclusive, &message),
    }
}

/// The cadence's file; without one, where nobody named another, the defaults.
pub(crate) fn settings(path: &std::path::Path) -> Result<Settings, String> {
    if path.as_os_str() == recovery_drills::cadence::settings::FILE && !path.exists() {
        return Ok(Settings::default());
    }
    Settings::read(path).map_err(|error| chain(&error))
}
