//! `schema`: compares the locked schemas with what the services create, or accepts a change.

use crate::exit::ExitCode;
use crate::outcome::{self, Began};
use crate::progress::Lines;
use crate::{containers, drill, github, refuse, report};
use recovery_drills::deployment::Service;
use recovery_drills::deployment::given_file;
use recovery_drills::deployment::schema::Schema;
use recovery_drills::drills::context::{DrillRequest, Progress, Quiet, chain};
use recovery_drills::drills::reference::workspace_root;
use recovery_drills::drills::schema_gate::{self, SchemaError};
use recovery_drills::drills::{self, schema_upgrade};
use recovery_drills::evidence::{CommandOutcome, Verdict};
use recovery_drills::gate::annotations::annotations;
use recovery_drills::gate::base::{self, Since};
use recovery_drills::gate::compare::compare;
use recovery_drills::gate::git::Change;
use recovery_drills::gate::lock::{self, LockError};
use recovery_drills::gate::outcome::Outcome;
use recovery_drills::gate::upgrade::Upgrade;
use recovery_drills::gate::{relevant, shown};
use recovery_drills::snapshot::schema_rows::schema_of_sql;
use std::path::{Path, PathBuf};

/// Flags of `schema`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 no change, or one that was accepted and in which older snapshots come back, 1 a change or an edited \
                        lock, 2 usage, 3 no schema could be looked at\n\nExamples:\n  \
                        cargo xtask schema --check\n  cargo xtask schema --check --environment staging\n  \
                        cargo xtask schema --check --base origin/main\n  cargo xtask schema --changed --base origin/main\n  \
                        cargo xtask schema --check --database backups/2026-11-22/beam-bus.sqlite\n  \
                        cargo xtask schema --write --reason \"agents have a region\""
)]
pub(crate) struct Options {
    /// Compare, and say what changed; nothing is written
    #[arg(long, required_unless_present_any = ["write", "changed"], conflicts_with = "write")]
    check: bool,
    /// Say which files of a change can touch a schema, and write changed=true or changed=false to GITHUB_OUTPUT; exit 0
    #[arg(long, requires = "base", conflicts_with_all = ["check", "write", "environment", "database", "sql", "service"])]
    changed: bool,
    /// The branch or commit that this change goes into: with --check, what the change accepts of the schemas is shown, held
    /// against CHANGES.md, and older snapshots must come back in it
    #[arg(long, value_name = "REF", conflicts_with_all = ["write", "database", "sql"])]
    base: Option<String>,
    /// Accept what is observed: rewrite the locks that differ and append to CHANGES.md
    #[arg(long, requires = "reason")]
    write: bool,
    /// With --write: why the schema changed
    #[arg(long, value_name = "TEXT", requires = "write", value_parser = reason)]
    reason: Option<String>,
    /// Name of an environment file (without .toml) or its path; the reference services where left out
    #[arg(long, conflicts_with_all = ["database", "sql"])]
    environment: Option<String>,
    /// Folder of the environment files
    #[arg(long, default_value = "fixtures/environments")]
    environments: PathBuf,
    /// How the services run [default: as the environment says]
    #[arg(long, value_parser = ["process", "container"], conflicts_with_all = ["database", "sql"])]
    runtime: Option<String>,
    /// Look at this database file, which is only read, instead of starting services
    #[arg(long, value_name = "FILE", conflicts_with = "sql")]
    database: Option<PathBuf>,
    /// Look at the schema that the statements of this file make
    #[arg(long, value_name = "FILE", requires = "service")]
    sql: Option<PathBuf>,
    /// Whose schema --sql or --database is; of a database, recognised by its tables where left out
    #[arg(long, value_parser = ["directory", "bus"])]
    service: Option<String>,
    /// Folder of the locked schemas [default: fixtures/schemas]
    #[arg(long, value_name = "FOLDER")]
    schemas: Option<PathBuf>,
    /// Folder that the report of the drill schema-upgrade is written to, beside the run's own folder
    #[arg(long, value_name = "FOLDER")]
    reports: Option<PathBuf>,
    /// Print the comparison as JSON alone on standard output
    #[arg(long)]
    json: bool,
    /// No step lines
    #[arg(long)]
    quiet: bool,
}

fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        Err("it is empty; say why the schema changed".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

/// An observed schema, and where it comes from.
struct Observed {
    schemas: Vec<(Service, Schema)>,
    origin: String,
}

/// Runs the gate.
pub(crate) fn run(options: &Options) -> ExitCode {
    let folder = options.schemas.clone().unwrap_or_else(schema_gate::locks_folder);
    if options.changed {
        return changed(options, &folder);
    }
    let began = Began::now();
    // What git cannot tell is known before any service is started.
    let since = match options
        .base
        .as_deref()
        .map(|base| base::since(&folder, base, shown_path))
    {
        Some(Err(error)) => return refuse(ExitCode::Usage, &chain(&error)),
        Some(Ok(since)) => Some(since),
        None => None,
    };
    let observed = match observed(options) {
        Ok(Some(observed)) => observed,
        Ok(None) => return containers::run_again(),
        Err((code, message)) => {
            // A gate that could not look says no longer that nothing changed.
            if code == ExitCode::Inconclusive
                && options.check
                && let Err(also) = could_not_look(options, &folder, &began, &message)
            {
                eprintln!("error: {also}");
            }
            return refuse(code, &message);
        }
    };
    match &options.reason {
        Some(reason) => write(&folder, &observed, reason),
        None => check(options, &folder, &observed, since, &began),
    }
}

/// Says which files of the change can touch a schema.
fn changed(options: &Options, folder: &Path) -> ExitCode {
    let reference = options.base.as_deref().unwrap_or_default();
    let found = Change::since(folder, reference).and_then(|change| Ok((change.files()?, change.base)));
    let (files, base) = match found {
        Ok(found) => found,
        Err(error) => return refuse(ExitCode::Usage, &chain(&error)),
    };
    let files = relevant::touched(&files);
    let is_changed = relevant::is_changed(&files);
    if options.json {
        let document = serde_json::json!({ "changed": is_changed, "base": base, "files": files });
        println!("{document:#}");
    } else {
        for file in &files {
            let word = if file.can_touch_a_schema {
                "can touch a schema"
            } else {
                "cannot"
            };
            println!("{word}: {}", file.path);
        }
        if files.is_empty() {
            println!("no file differs from {reference}: in doubt, the gate looks");
        }
        println!("changed={is_changed}");
    }
    match github::tell(&[], &[("changed", &is_changed.to_string())], "") {
        Ok(()) => ExitCode::Pass,
        Err(message) => refuse(ExitCode::Inconclusive, &message),
    }
}

fn write(folder: &Path, observed: &Observed, reason: &str) -> ExitCode {
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    match lock::accept(folder, &observed.schemas, reason, &day) {
        Ok(files) => {
            for file in files {
                eprintln!("written: {}", shown_path(&file));
            }
            ExitCode::Pass
        }
        Err(LockError::NoChange) => {
            eprintln!("{}", LockError::NoChange);
            ExitCode::Pass
        }
        Err(error) => refuse(ExitCode::Usage, &chain(&error)),
    }
}

fn check(options: &Options, folder: &Path, observed: &Observed, since: Option<Since>, began: &Began) -> ExitCode {
    let mut outcome = Outcome {
        since,
        ..Outcome::default()
    };
    for (service, schema) in &observed.schemas {
        let lock = match lock::read(folder, *service) {
            Ok(lock) => lock,
            Err(error) => return refuse(ExitCode::Usage, &chain(&error)),
        };
        let one = compare(&lock, &shown_path(&lock.path), schema, &observed.origin);
        outcome.comparisons.push(one);
    }
    if !options.json {
        print!("{}", shown::text(&outcome.comparisons));
        print!("{}", outcome.since.as_ref().map(shown::text_since).unwrap_or_default());
    }
    let is_started = options.database.is_none() && options.sql.is_none();
    if is_started && outcome.needs_upgrade() {
        match upgrade(options, folder, outcome.since.as_ref()) {
            Ok(upgrade) => outcome.upgrade = Some(upgrade),
            Err((ExitCode::Interrupted, message)) => return refuse(ExitCode::Interrupted, &message),
            Err((_, message)) => outcome.no_upgrade = Some(message),
        }
    }
    if options.json {
        println!("{:#}", outcome.to_json());
    } else {
        print!(
            "{}",
            outcome.upgrade.as_ref().map(shown::text_upgrade).unwrap_or_default()
        );
    }
    if let Some(why) = &outcome.no_upgrade {
        eprintln!("error: the drill {} could not be run: {why}", schema_upgrade::NAME);
    }
    let mut left = None;
    if is_started {
        match leave(options, folder, &outcome, began) {
            Ok(folder) => left = folder,
            Err(message) => return refuse(ExitCode::Inconclusive, &message),
        }
    }
    if let Err(message) = tell_github(options, &outcome, left.as_deref()) {
        return refuse(ExitCode::Inconclusive, &message);
    }
    outcome.verdict().into()
}

fn could_not_look(options: &Options, folder: &Path, began: &Began, message: &str) -> Result<(), String> {
    let nothing = Outcome::default().to_json();
    let ended = (
        Verdict::Inconclusive,
        format!("no schema could be looked at: {message}"),
        nothing,
    );
    outcome::leave(CommandOutcome::GATE, &request(options)?, began, Some(folder), ended).map(drop)
}

/// Leaves the record that the cut checklist takes; gives its folder.
fn leave(options: &Options, folder: &Path, outcome: &Outcome, began: &Began) -> Result<Option<PathBuf>, String> {
    let changed = outcome.comparisons.iter().filter(|one| one.is_changed()).count();
    let items: u64 = outcome.comparisons.iter().map(|one| one.items).sum();
    let summary = if changed == 0 {
        format!("{items} elements of {} schemas as locked", outcome.comparisons.len())
    } else {
        format!(
            "{changed} of {} schemas differ from their locks",
            outcome.comparisons.len()
        )
    };
    let ended = (outcome.verdict(), summary, outcome.to_json());
    outcome::leave(CommandOutcome::GATE, &request(options)?, began, Some(folder), ended)
}

/// Runs the drill schema-upgrade, with an older set of the locks of the base, and writes its report.
fn upgrade(options: &Options, folder: &Path, since: Option<&Since>) -> Result<Upgrade, (ExitCode, String)> {
    let failed = |message: String| (ExitCode::Inconclusive, message);
    let mut request = request(options).map_err(failed)?;
    let before = tempfile::tempdir().map_err(|error| failed(format!("cannot make a temporary folder: {error}")))?;
    request.older_locks = Some(folder.to_owned());
    if let Some(since) = since {
        base::put_older_locks(folder, since, before.path()).map_err(|error| failed(chain(&error)))?;
        request.older_locks = Some(before.path().to_owned());
    }
    schema_upgrade::NAME.clone_into(&mut request.drill);
    let runs = request.runs.clone();
    let runtime = drill::runtime().map_err(failed)?;
    let drilled = runtime.block_on(async {
        containers::connect(&mut request).await?;
        let drilled = drills::perform(request, progress(options), drill::interrupted()).await;
        drilled.map_err(|error| error.to_string())
    });
    let evidence = drilled.map_err(failed)?;
    if evidence.run.interrupted {
        let message = format!("interrupted in the drill {}", schema_upgrade::NAME);
        return Err((ExitCode::Interrupted, message));
    }
    let own = runs.join(&evidence.run.id).join("report.md");
    let asked = options.reports.as_ref();
    let asked = asked.map(|folder| folder.join(report::file_of(&evidence.run.drill)));
    for path in std::iter::once(own).chain(asked) {
        report::write(&evidence, &path).map_err(failed)?;
        if !options.quiet {
            eprintln!("report: {}", shown_path(&path));
        }
    }
    Ok(Upgrade::of(&evidence))
}

fn request(options: &Options) -> Result<DrillRequest, String> {
    let subject = drill::Subject {
        environment: options.environment.as_deref(),
        environments: &options.environments,
        from: None,
        keys: None,
        directory_identity: None,
        runtime: options.runtime.as_deref(),
        may_be_attached: false,
    };
    subject.request(1)
}

fn progress(options: &Options) -> Box<dyn Progress> {
    if options.quiet {
        Box::new(Quiet)
    } else {
        Box::new(Lines::new())
    }
}

/// In a workflow of GitHub: annotations, outputs, the job's summary.
fn tell_github(options: &Options, outcome: &Outcome, left: Option<&Path>) -> Result<(), String> {
    let verdict = outcome.verdict();
    let left = left.map(|folder| folder.display().to_string());
    let report = options
        .reports
        .as_ref()
        .map(|folder| folder.join(report::file_of(schema_upgrade::NAME)));
    let report = report
        .filter(|path| path.is_file())
        .map(|path| path.display().to_string());
    let mut outputs = vec![("verdict", verdict.word())];
    outputs.extend(left.as_deref().map(|folder| ("evidence", folder)));
    outputs.extend(report.as_deref().map(|path| ("report", path)));
    github::tell(&annotations(outcome), &outputs, &shown::summary(outcome))
}

/// The observed schemas; `None` where the command has to run itself again with containers.
fn observed(options: &Options) -> Result<Option<Observed>, (ExitCode, String)> {
    let usage = |message: String| (ExitCode::Usage, message);
    let service = options.service.as_deref();
    let service = Service::ALL.into_iter().find(|known| Some(known.name()) == service);
    if let Some(path) = &options.database {
        let schema = schema_gate::of_file(path).map_err(|error| usage(chain(&error)))?;
        return one(service, schema, path).map(Some);
    }
    if let (Some(path), Some(service)) = (&options.sql, service) {
        let text =
            given_file::settings(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
        // SQLite repeats the whole text behind its first line.
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let schema = schema_of_sql(&text, path).map_err(|error| usage(first_line(chain(&error))))?;
        return one(Some(service), schema, path).map(Some);
    }
    if service.is_some() {
        let message = "--service goes with --sql or --database; without them both services are started";
        return Err(usage(message.to_owned()));
    }
    created(options)
}

/// One service's schema, of a file.
fn one(service: Option<Service>, schema: Schema, path: &Path) -> Result<Observed, (ExitCode, String)> {
    let service = schema_gate::whose(&schema, service, path);
    let service = service.map_err(|error| (ExitCode::Usage, chain(&error)))?;
    Ok(Observed {
        schemas: vec![(service, schema)],
        origin: shown_path(path),
    })
}

/// What the services create on empty files.
fn created(options: &Options) -> Result<Option<Observed>, (ExitCode, String)> {
    let mut request = request(options).map_err(|message| (ExitCode::Usage, message))?;
    if request.environment.is_in_containers() && !containers::BUILT_IN {
        return Ok(None);
    }
    let origin = format!("created on empty files, environment {}", request.environment.name);
    let runtime = drill::runtime().map_err(|message| (ExitCode::Inconclusive, message))?;
    let connected = runtime.block_on(containers::connect(&mut request));
    connected.map_err(|message| (ExitCode::Usage, message))?;
    let progress = progress(options);
    let engine = request.engine.clone();
    let created = runtime.block_on(async {
        let created = tokio::select! {
            created = schema_gate::created(request, progress) => Some(created),
            () = drill::interrupted() => None,
        };
        if let (None, Some(engine)) = (&created, engine) {
            engine.remove_own().await;
        }
        created
    });
    match created {
        Some(Ok(schemas)) => Ok(Some(Observed { schemas, origin })),
        Some(Err(error @ SchemaError::Usage(_))) => Err((ExitCode::Usage, chain(&error))),
        Some(Err(error)) => Err((ExitCode::Inconclusive, chain(&error))),
        None => Err((ExitCode::Interrupted, "interrupted; nothing was compared".to_owned())),
    }
}

/// A path as messages and annotations have it: from the root of the repository on, where it is inside.
fn shown_path(path: &Path) -> String {
    path.strip_prefix(workspace_root())
        .unwrap_or(path)
        .display()
        .to_string()
}
