//! `schema`: compares the locked schemas with what the services create, or accepts a change.

use crate::exit::ExitCode;
use crate::progress::Lines;
use crate::{containers, drill, refuse};
use recovery_drills::deployment::Service;
use recovery_drills::deployment::schema::Schema;
use recovery_drills::drills::context::{DrillRequest, Progress, Quiet, chain};
use recovery_drills::drills::reference::workspace_root;
use recovery_drills::drills::schema_gate::{self, SchemaError};
use recovery_drills::drills::{self, schema_upgrade};
use recovery_drills::evidence::Verdict;
use recovery_drills::gate::compare::{Comparison, compare};
use recovery_drills::gate::lock::{self, LockError};
use recovery_drills::gate::shown;
use recovery_drills::report::summary;
use recovery_drills::snapshot::schema_rows::schema_of_sql;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Flags of `schema`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 no change, 1 a change or an edited lock, 2 usage, 3 no schema could be looked at\n\nExamples:\n  \
                        cargo xtask schema --check\n  cargo xtask schema --check --environment staging\n  \
                        cargo xtask schema --check --database backups/2026-11-22/beam-bus.sqlite\n  \
                        cargo xtask schema --write --reason \"agents have a region\""
)]
pub(crate) struct Options {
    /// Compare, and say what changed; nothing is written
    #[arg(long, required_unless_present = "write", conflicts_with = "write")]
    check: bool,
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
    let observed = match observed(options) {
        Ok(Some(observed)) => observed,
        Ok(None) => return containers::run_again(),
        Err((code, message)) => return refuse(code, &message),
    };
    let folder = options.schemas.clone().unwrap_or_else(schema_gate::locks_folder);
    match &options.reason {
        Some(reason) => write(&folder, &observed, reason),
        None => check(options, &folder, &observed),
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

fn check(options: &Options, folder: &Path, observed: &Observed) -> ExitCode {
    let mut all = Vec::new();
    for (service, schema) in &observed.schemas {
        let lock = match lock::read(folder, *service) {
            Ok(lock) => lock,
            Err(error) => return refuse(ExitCode::Usage, &chain(&error)),
        };
        all.push(compare(&lock, &shown_path(&lock.path), schema, &observed.origin));
    }
    if options.json {
        let is_changed = all.iter().any(Comparison::is_changed);
        let verdict = if is_changed { Verdict::Fail } else { Verdict::Pass };
        let document = serde_json::json!({ "verdict": verdict, "comparisons": all });
        match serde_json::to_string_pretty(&document) {
            Ok(text) => println!("{text}"),
            Err(error) => return refuse(ExitCode::Inconclusive, &error.to_string()),
        }
    } else {
        print!("{}", shown::text(&all));
    }
    if let Err(message) = tell_github(options, &all) {
        return refuse(ExitCode::Inconclusive, &message);
    }
    if !all.iter().any(Comparison::is_changed) {
        return ExitCode::Pass;
    }
    if options.database.is_none() && options.sql.is_none() {
        // What a changed schema does to older snapshots is told beside the change; the change alone decides.
        upgrade(options);
    }
    ExitCode::Fail
}

/// Runs the drill schema-upgrade and prints its summary to standard error.
fn upgrade(options: &Options) {
    let done = request(options).and_then(|mut request| {
        schema_upgrade::NAME.clone_into(&mut request.drill);
        let runtime = drill::runtime()?;
        runtime.block_on(async {
            containers::connect(&mut request).await?;
            let drilled = drills::perform(request, progress(options), drill::interrupted()).await;
            drilled.map_err(|error| error.to_string())
        })
    });
    match done {
        Ok(evidence) => {
            eprintln!("\ndrill {}: older snapshots in these services", schema_upgrade::NAME);
            eprint!("{}", summary::render(&evidence));
            let back = evidence
                .steps
                .iter()
                .find(|step| step.name.starts_with(schema_upgrade::WAY_BACK));
            eprintln!("{}", back.map_or("", |step| step.detail.as_str()));
        }
        Err(message) => eprintln!("error: the drill {} could not be run: {message}", schema_upgrade::NAME),
    }
}

fn request(options: &Options) -> Result<DrillRequest, String> {
    let subject = drill::Subject {
        environment: options.environment.as_deref(),
        environments: &options.environments,
        from: None,
        keys: None,
        directory_identity: None,
        runtime: options.runtime.as_deref(),
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

/// In a workflow of GitHub: annotations on standard output (standard error beside --json), the job's summary in its file.
fn tell_github(options: &Options, all: &[Comparison]) -> Result<(), String> {
    if std::env::var("GITHUB_ACTIONS").as_deref() != Ok("true") {
        return Ok(());
    }
    for line in shown::annotations(all) {
        if options.json {
            eprintln!("{line}");
        } else {
            println!("{line}");
        }
    }
    let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) else {
        return Ok(());
    };
    let mut open = std::fs::OpenOptions::new();
    let file = open.create(true).append(true).open(&path);
    file.and_then(|mut file| file.write_all(shown::summary(all).as_bytes()))
        .map_err(|error| {
            format!(
                "cannot append to GITHUB_STEP_SUMMARY {}: {error}",
                Path::new(&path).display()
            )
        })
}

/// The observed schemas; `None` where the command has to run itself again with containers.
fn observed(options: &Options) -> Result<Option<Observed>, (ExitCode, String)> {
    let usage = |message: String| (ExitCode::Usage, message);
    let service = options.service.as_deref();
    let service = Service::ALL.into_iter().find(|known| Some(known.name()) == service);
    if let Some(path) = &options.database {
        let schema = schema_gate::of_file(path).map_err(|error| usage(chain(&error)))?;
        let marker = |service: &Service| {
            let mut tables = schema.rows.tables.iter();
            tables.any(|table| table.name == service.marker_table())
        };
        let service = service
            .or_else(|| Service::ALL.into_iter().find(marker))
            .ok_or_else(|| {
                usage(format!(
                    "{} is neither a directory's nor a bus's database; say which with --service",
                    path.display()
                ))
            })?;
        return Ok(Some(one(service, schema, path)));
    }
    if let (Some(path), Some(service)) = (&options.sql, service) {
        let text =
            std::fs::read_to_string(path).map_err(|error| usage(format!("cannot read {}: {error}", path.display())))?;
        // SQLite repeats the whole text behind its first line.
        let first_line = |text: String| text.lines().next().unwrap_or_default().to_owned();
        let schema = schema_of_sql(&text, path).map_err(|error| usage(first_line(chain(&error))))?;
        return Ok(Some(one(service, schema, path)));
    }
    if service.is_some() {
        let message = "--service goes with --sql or --database; without them both services are started";
        return Err(usage(message.to_owned()));
    }
    created(options)
}

fn one(service: Service, schema: Schema, path: &Path) -> Observed {
    Observed {
        schemas: vec![(service, schema)],
        origin: shown_path(path),
    }
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
