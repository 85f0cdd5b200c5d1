//! `parity`: compares environments, writes evidence, captures and the report.

use crate::exit::ExitCode;
use crate::progress::Lines;
use crate::{drill, environments, github, refuse, smoke, verify};
use recovery_drills::deployment::compared::Aspect;
use recovery_drills::deployment::environment::RuntimeKind;
use recovery_drills::drills::context::{Progress, Quiet, chain};
use recovery_drills::drills::{fresh, reference};
use recovery_drills::evidence::{ParityEvidence, write_atomically};
use recovery_drills::parity::capture::Capture;
use recovery_drills::parity::perform::{self, Request, Subject};
use recovery_drills::report;
use recovery_drills::verify::views::FILE_NAME;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the report of a comparison lies below the reports folder.
pub(crate) const PARITY_CHECK: &str = "1.0.0-parity-check.md";

/// The reference where several environments are compared and none is named first.
const REFERENCE: &str = "production";

/// Flags of `parity`.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask parity\n  \
                        cargo xtask parity --environment production --environment staging\n  \
                        cargo xtask parity --environment production --against capture-production.json")]
pub(crate) struct Options {
    /// An environment by name (without .toml) or path; repeat it, the first is the reference [default: all of the folder,
    /// with production as the reference]
    #[arg(long)]
    environment: Vec<String>,
    /// Folder of the environment files
    #[arg(long, default_value = "fixtures/environments")]
    environments: PathBuf,
    /// An earlier environment capture: what changed since
    #[arg(long, value_name = "CAPTURE")]
    against: Option<PathBuf>,
    /// Start the reference services too, on empty files, where an environment is made of them and its file names no release or
    /// schema; services that a command names are always started: their schema, and their release before and after a restart
    #[arg(long)]
    start: bool,
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

/// Compares.
pub(crate) fn run(options: &Options) -> ExitCode {
    let (mut request, names) = match request(options) {
        Ok(request) => request,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    if let Err(code) = start(options, &mut request, &names) {
        return code;
    }
    let evidence = match performed(&request) {
        Ok(evidence) => evidence,
        Err(code) => return code,
    };
    let path = options.reports.join(PARITY_CHECK);
    let written = write_both(&evidence, &request, &path);
    if options.json {
        print!("{}", evidence.to_json());
    }
    if !options.quiet {
        say(&evidence, &request);
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

/// Starts the services of environments that can be started, and keeps what they showed.
fn start(options: &Options, request: &mut Request, names: &[String]) -> Result<(), ExitCode> {
    for (subject, name) in request.subjects.iter_mut().zip(names) {
        let directory = &subject.environment.directory;
        let (release, schema) = (&subject.environment.release, &subject.environment.schema);
        let is_seen = !release.stated.is_empty() && schema.directory.is_some() && schema.bus.is_some();
        let is_asked_for = !directory.is_reference() || (options.start && !is_seen);
        if directory.url.is_some() || directory.runtime != RuntimeKind::Process || !is_asked_for {
            continue;
        }
        let drilled = drill::Subject {
            environment: Some(name),
            environments: &options.environments,
            from: None,
            keys: None,
            directory_identity: None,
            runtime: None,
            may_be_attached: false,
        };
        let asked = drilled
            .request(1)
            .map_err(|message| refuse(ExitCode::Usage, &message))?;
        let progress: Box<dyn Progress> = if options.quiet {
            Box::new(Quiet)
        } else {
            Box::new(Lines::new())
        };
        let runtime = drill::runtime().map_err(|message| refuse(ExitCode::Inconclusive, &message))?;
        let seen = runtime.block_on(async {
            tokio::select! {
                seen = fresh::look(asked, progress) => Some(seen),
                () = drill::interrupted() => None,
            }
        });
        match seen {
            Some(Ok(seen)) => subject.fresh = Some(seen),
            Some(Err(error)) => return Err(refuse(ExitCode::Usage, &chain(&error))),
            None => return Err(refuse(ExitCode::Interrupted, "interrupted; nothing was changed")),
        }
    }
    Ok(())
}

/// Observes and compares, until it is done or interrupted.
pub(crate) fn performed(request: &Request) -> Result<ParityEvidence, ExitCode> {
    let key = verify::seal_key().map_err(|message| refuse(ExitCode::Usage, &message))?;
    let runtime = drill::runtime().map_err(|message| refuse(ExitCode::Inconclusive, &message))?;
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = perform::perform(request) => Some(ended),
            () = drill::interrupted() => None,
        }
    });
    match ended {
        Some(Ok(evidence)) => verify::seal(key.as_ref(), &request.runs.join(&evidence.run.id))
            .map(|()| evidence)
            .map_err(|message| refuse(ExitCode::Inconclusive, &message)),
        Some(Err(error)) => Err(refuse(ExitCode::Inconclusive, &chain(&error))),
        None => Err(refuse(ExitCode::Interrupted, "interrupted; nothing was changed")),
    }
}

/// The closing lines of a comparison.
pub(crate) fn say(evidence: &ParityEvidence, request: &Request) {
    eprint!("{}", report::parity::lines(evidence));
    let folder = request.runs.join(&evidence.run.id);
    eprintln!("evidence: {}", folder.join("evidence.json").display());
}

/// Writes the Markdown of a comparison beside its evidence and into the reports folder.
pub(crate) fn write_both(evidence: &ParityEvidence, request: &Request, path: &Path) -> Result<(), String> {
    let own = request.runs.join(&evidence.run.id).join(FILE_NAME);
    write(evidence, &own).and_then(|()| write(evidence, path))
}

/// The name of a comparison's report.
pub(crate) fn file_of(evidence: &ParityEvidence) -> &'static str {
    if evidence.run.drill == ParityEvidence::SMOKE {
        smoke::REPORT
    } else {
        PARITY_CHECK
    }
}

/// Writes the Markdown of a comparison.
pub(crate) fn write(evidence: &ParityEvidence, path: &Path) -> Result<(), String> {
    let text = report::parity::render(evidence, &evidence.digest());
    write_atomically(path, &text).map_err(|error| chain(&error))
}

/// The comparison, and its environments as they were named.
fn request(options: &Options) -> Result<(Request, Vec<String>), String> {
    let mut names = options.environment.clone();
    if names.is_empty() {
        names = environments::known(&options.environments);
        // Stable: the others stay in their order.
        names.sort_by_key(|name| name != REFERENCE);
    }
    if names.is_empty() {
        return Err(format!(
            "no environment file in {}; give --environments a folder of *.toml, or --environment a file",
            options.environments.display()
        ));
    }
    let subjects = names
        .iter()
        .map(|name| environments::load(name, &options.environments))
        .collect::<Result<Vec<Subject>, String>>()?;
    let mut met = BTreeSet::new();
    if let Some(twice) = subjects.iter().find(|subject| !met.insert(&subject.environment.name)) {
        return Err(format!(
            "two of the environments are named {:?}; give each file a name of its own",
            twice.environment.name
        ));
    }
    let against = match &options.against {
        Some(path) => {
            let capture = Capture::read(path).map_err(|error| chain(&error))?;
            if !met.contains(&capture.environment) {
                return Err(format!(
                    "--against: {} is a capture of {:?}, which is not among the environments; add --environment {}",
                    path.display(),
                    capture.environment,
                    capture.environment
                ));
            }
            Some((capture, path.display().to_string()))
        }
        None => None,
    };
    let request = Request {
        subjects,
        against,
        aspects: &Aspect::ALL,
        patience: Duration::ZERO,
        drill: ParityEvidence::DRILL,
        runs: reference::runs_folder(),
        command: drill::command_line(),
        harness_git_sha: drill::git_sha(),
    };
    Ok((request, names))
}
