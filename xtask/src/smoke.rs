//! `smoke`: does one environment state the release that was just deployed, and do its surfaces use its API?

use crate::checklist::commit;
use crate::exit::ExitCode;
use crate::{drill, environments, github, parity, refuse};
use recovery_drills::deployment::compared::Aspect;
use recovery_drills::drills::reference;
use recovery_drills::evidence::ParityEvidence;
use recovery_drills::parity::perform::Request;
use std::path::PathBuf;
use std::time::Duration;

/// What is asked of a deployment that rolls out.
const ASPECTS: &[Aspect] = &[Aspect::Release, Aspect::ApiUrl, Aspect::StatusPage];

/// Where the report of a smoke test lies below the reports folder.
pub(crate) const REPORT: &str = "1.0.0-smoke.md";

/// Flags of `smoke`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask smoke --environment staging --version 1.6.0\n  \
                        cargo xtask smoke --environment production --sha 0123456 --wait 120"
)]
pub(crate) struct Options {
    /// The environment by name (without .toml) or path
    #[arg(long)]
    environment: String,
    /// Folder of the environment files
    #[arg(long, default_value = "fixtures/environments")]
    environments: PathBuf,
    /// The expected version [default: as the environment says]
    #[arg(long, value_parser = stated)]
    version: Option<String>,
    /// The expected commit, 7 to 40 digits [default: as the environment says]
    #[arg(long, value_parser = commit)]
    sha: Option<String>,
    /// The expected time of deployment, RFC 3339 [default: as the environment says]
    #[arg(long)]
    deployed_at: Option<String>,
    /// Look again for so many seconds while the environment is not as expected
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    wait: u64,
    /// Folder that the report is written to
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Print the evidence document alone on standard output
    #[arg(long)]
    json: bool,
    /// No closing lines
    #[arg(long)]
    quiet: bool,
}

/// A text that says something.
pub(crate) fn stated(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("it is empty; leave the option out where nothing is expected".to_owned())
    } else {
        Ok(text.trim().to_owned())
    }
}

/// Looks, until it is as expected or the time is over.
pub(crate) fn run(options: &Options) -> ExitCode {
    let mut subject = match environments::load(&options.environment, &options.environments) {
        Ok(subject) => subject,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let release = &mut subject.environment.release;
    for (stated, given) in [
        (&mut release.version, &options.version),
        (&mut release.git_sha, &options.sha),
        (&mut release.deployed_at, &options.deployed_at),
    ] {
        if given.is_some() {
            stated.clone_from(given);
        }
    }
    if release.version.is_none() && release.git_sha.is_none() && release.deployed_at.is_none() && release.from.is_none()
    {
        return refuse(
            ExitCode::Usage,
            "nothing says which release is expected; give --version, --sha or --deployed-at, or [release] in the environment's file",
        );
    }
    let request = Request {
        subjects: vec![subject],
        against: None,
        aspects: ASPECTS,
        patience: Duration::from_secs(options.wait),
        drill: ParityEvidence::SMOKE,
        runs: reference::runs_folder(),
        command: drill::command_line(),
        harness_git_sha: drill::git_sha(),
    };
    let evidence = match parity::performed(&request) {
        Ok(evidence) => evidence,
        Err(code) => return code,
    };
    let path = options.reports.join(REPORT);
    let written = parity::write_both(&evidence, &request, &path);
    if options.json {
        print!("{}", evidence.to_json());
    }
    if !options.quiet {
        parity::say(&evidence, &request);
        eprintln!("report:   {}", path.display());
    }
    let told = github::tell_comparison(
        &evidence,
        &request.subjects,
        &request.runs.join(&evidence.run.id),
        &path,
    );
    match written.and(told) {
        Ok(()) => evidence.verdict.into(),
        Err(message) => refuse(ExitCode::Inconclusive, &message),
    }
}
