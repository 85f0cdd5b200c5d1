//! `drill`: runs a drill, writes evidence and report, prints where they are.

use crate::exit::ExitCode;
use crate::progress::Lines;
use crate::snapshot::Identity;
use crate::{attached, containers, environments, github, given, isolated, refuse, report, said, verify};
use recovery_drills::deployment::Service;
use recovery_drills::deployment::attached::AttachedSource;
use recovery_drills::deployment::environment::Environment;
use recovery_drills::drills;
use recovery_drills::drills::attached::MAY_BE_DOWN;
use recovery_drills::drills::context::{Base, Consent, DrillRequest, Progress, Quiet};
use recovery_drills::drills::proving::WATCHED_FOR;
use recovery_drills::drills::reference;
use recovery_drills::drills::schema_upgrade;
use recovery_drills::drills::self_test::SelfTest;
use recovery_drills::drills::stages::Stages;
use recovery_drills::evidence::{Evidence, Secrets, Verdict};
use recovery_drills::report::summary;
use recovery_drills::runtime::engine::Mount;
use recovery_drills::verify::signature::SealKey;
use recovery_drills::verify::views::FILE_NAME;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The environment of the reference services, which needs no file.
const REFERENCE: &str = "reference";

/// Flags of `drill`.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  cargo xtask drill\n  cargo xtask drill --from backups/2026-11-22\n  \
                        cargo xtask drill --environment staging --seed 7"
)]
pub(crate) struct Options {
    /// Which drill: backup-restore, schema-upgrade, or all, one after the other; the worst verdict wins
    #[arg(default_value = "backup-restore")]
    name: String,
    /// Name of an environment file (without .toml) or its path; the reference services where left out
    #[arg(long)]
    environment: Option<String>,
    /// Folder of the environment files
    #[arg(long, default_value = "fixtures/environments")]
    environments: PathBuf,
    /// Drill this instead of a source of the harness's own: a snapshot, a plain backup (folder or tar), STORE or STORE/ID
    #[arg(long)]
    from: Option<PathBuf>,
    /// With --from: fail at once if the backup is older, as 36h or 7d
    #[arg(long, value_name = "AGE", requires = "from", value_parser = given::age)]
    max_age: Option<jiff::SignedDuration>,
    #[command(flatten)]
    identity: Identity,
    /// With --from or an attached environment: a bus identity file with the agents' private keys, to re-send old nonces
    #[arg(long)]
    keys: Option<PathBuf>,
    /// With --from or an attached environment: what the directory called itself when the backup was taken
    #[arg(long)]
    directory_identity: Option<String>,
    /// Every random choice derives from it; chosen and printed where left out
    #[arg(long)]
    seed: Option<u64>,
    /// Write the partner's workflow so many times (up to 20), each time by another cast: tenfold data with 10
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=20), conflicts_with = "from")]
    rounds: u32,
    /// Folder that the report is written to
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Print the evidence document alone on standard output
    #[arg(long)]
    json: bool,
    /// Do not measure the checks' own detection power on this snapshot; the report then says so
    #[arg(long)]
    no_self_test: bool,
    /// How the services run [default: as the environment says]
    #[arg(long, value_parser = ["process", "container"])]
    runtime: Option<String>,
    /// How files get into containers: through the engine's copy interface, or as a folder of this machine
    #[arg(long, default_value = "volume", value_parser = ["volume", "bind"])]
    mount: String,
    /// Keep the working files of the run
    #[arg(long)]
    keep: bool,
    /// No step lines
    #[arg(long)]
    quiet: bool,
    /// Of an attached environment: print each step and its command, look whether it could be done, and do nothing
    #[arg(long)]
    plan: bool,
    /// A production environment may be stopped, copied and started again
    #[arg(long)]
    yes: bool,
    /// Restored copies of production data may listen on ports that are not isolated
    #[arg(long)]
    accept_open_ports: bool,
    /// Start the sources again that killed runs left down, and close those runs; nothing else
    #[arg(long, conflicts_with_all = ["plan", "from", "environment"])]
    resume: bool,
}

/// Runs the drill, or all of them.
pub(crate) fn run(options: Options) -> ExitCode {
    if options.resume {
        return attached::resume(&options.reports);
    }
    if options.plan {
        return match request(&options, &options.name, options.from.as_deref()) {
            Ok(request) => attached::plan(&request),
            Err(message) => refuse(ExitCode::Usage, &message),
        };
    }
    let names = match drills::named(&options.name) {
        Ok(names) => names,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    if names.len() > 1 && options.from.is_some() {
        let message = "drill all makes its own sources; leave --from out, or name the drill backup-restore";
        return refuse(ExitCode::Usage, message);
    }
    if names.len() > 1 {
        // What one of them cannot be done with stops all, before the first.
        for name in &names {
            if let Err(message) = request(&options, name, None) {
                return refuse(ExitCode::Usage, &message);
            }
        }
    }
    let mut all = Vec::new();
    for name in &names {
        match one(&options, name) {
            Ok(Some(evidence)) => all.push(evidence),
            Ok(None) => return containers::run_again(),
            Err((code, message)) => return refuse(code, &message),
        }
        if all.last().is_some_and(|evidence| evidence.run.interrupted) {
            break;
        }
    }
    let verdict = Verdict::worst(all.iter().map(|evidence| evidence.verdict));
    if let Err(message) = tell(&options, &all, verdict) {
        return refuse(ExitCode::Inconclusive, &message);
    }
    if options.json {
        match all.as_slice() {
            [evidence] if names.len() == 1 => print!("{}", evidence.to_json()),
            _ => println!("{:#}", serde_json::json!({ "verdict": verdict, "runs": all })),
        }
    }
    if names.len() > 1 && !options.quiet {
        for evidence in &all {
            said::line(format_args!("{}: {}", evidence.run.drill, evidence.verdict));
        }
        said::line(format_args!(
            "verdict: {verdict} — {} of {} drills run",
            all.len(),
            names.len()
        ));
    }
    if all.iter().any(|evidence| evidence.run.interrupted) {
        ExitCode::Interrupted
    } else {
        verdict.into()
    }
}

/// Tells GitHub of all drills; its outputs are of the one that decides.
fn tell(options: &Options, all: &[Evidence], verdict: Verdict) -> Result<(), String> {
    let Some(deciding) = all.iter().find(|evidence| evidence.verdict == verdict) else {
        return Ok(());
    };
    let folder = reference::runs_folder().join(&deciding.run.id);
    let path = options.reports.join(report::file_of(&deciding.run.drill));
    github::tell_drills(all, deciding, &folder, &path)
}

/// Runs one drill and writes its report; `None` where the command has to run itself again with containers.
fn one(options: &Options, name: &str) -> Result<Option<Evidence>, (ExitCode, String)> {
    let from = options.from.as_deref();
    let given = from.map(|from| given::local(from, options.identity.file.as_deref(), options.max_age));
    let given = given.transpose()?;
    let from = given.as_ref().map(|given| given.path.as_path());
    let mut request = request(options, name, from).map_err(|message| (ExitCode::Usage, message))?;
    request.given = given
        .as_ref()
        .map(|given| given.rules(options.max_age))
        .unwrap_or_default();
    if request.environment.is_in_containers() && !containers::BUILT_IN {
        return Ok(None);
    }
    if let Some(given) = given.as_ref().filter(|_| !request.environment.is_in_containers()) {
        isolated::enter(&given.variables());
    }
    let seal = verify::seal_key().map_err(|message| (ExitCode::Usage, message))?;
    let runtime = runtime().map_err(|message| (ExitCode::Inconclusive, message))?;
    let connected = runtime.block_on(containers::connect(&mut request));
    connected.map_err(|message| (ExitCode::Usage, message))?;
    let progress: Box<dyn Progress> = if options.quiet {
        Box::new(Quiet)
    } else {
        Box::new(Lines::new())
    };
    let runs = request.runs.clone();
    if !options.quiet {
        let DrillRequest {
            drill,
            environment,
            seed,
            ..
        } = &request;
        said::line(format_args!("drill {drill} on {}, seed {seed}", environment.name));
    }
    let performed = runtime.block_on(async {
        // Before the first action, so that no signal finds the harness unprepared.
        let stop = armed();
        drills::perform(request, progress, stop).await
    });
    let evidence = performed.map_err(|usage| (ExitCode::Usage, usage.to_string()))?;
    close(options, &evidence, &runs, seal.as_ref()).map_err(|message| (ExitCode::Fail, message))?;
    Ok(Some(evidence))
}

/// The async runtime of all commands.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the async runtime: {error}"))
}

/// Seals the evidence, writes both reports and says where they are.
fn close(options: &Options, evidence: &Evidence, runs: &Path, key: Option<&SealKey>) -> Result<(), String> {
    let path = options.reports.join(report::file_of(&evidence.run.drill));
    let folder = runs.join(&evidence.run.id);
    let written = verify::seal(key, &folder)
        .and_then(|()| report::write(evidence, &folder.join(FILE_NAME)))
        .and_then(|()| report::write(evidence, &path));
    for reason in evidence
        .reasons
        .iter()
        .filter(|reason| options.quiet && reason.starts_with(MAY_BE_DOWN))
    {
        said::line(format_args!("{reason}"));
    }
    if !options.quiet {
        said::text(format_args!("{}", summary::render(evidence)));
        said::line(format_args!("evidence: {}", folder.join("evidence.json").display()));
        said::line(format_args!("report:   {}", path.display()));
    }
    written
}

fn request(options: &Options, name: &str, from: Option<&Path>) -> Result<DrillRequest, String> {
    let subject = Subject {
        environment: options.environment.as_deref(),
        environments: &options.environments,
        from,
        keys: options.keys.as_deref(),
        directory_identity: options.directory_identity.as_deref(),
        runtime: options.runtime.as_deref(),
        may_be_attached: true,
    };
    let mut request = subject.request(options.seed.unwrap_or_else(chosen_seed))?;
    name.clone_into(&mut request.drill);
    if name == schema_upgrade::NAME && options.from.is_some() {
        return Err("schema-upgrade has older sets of its own; leave --from out".to_owned());
    }
    if request.attached.is_some() && (name != "backup-restore" || options.from.is_some()) {
        let environment = &request.environment.name;
        return Err(format!(
            "{environment} is attached: it is drilled by backup-restore, and without --from (give a backup without it)"
        ));
    }
    if !request.is_given() && (options.keys.is_some() || options.directory_identity.is_some()) {
        let message = "--keys and --directory-identity belong to data that are given: add --from, or name an attached environment";
        return Err(message.to_owned());
    }
    request.consent = Consent {
        yes: options.yes,
        accept_open_ports: options.accept_open_ports,
    };
    request.reports = Some(options.reports.clone());
    request.rounds = options.rounds;
    request.keep = options.keep;
    // Clap knows no other words.
    request.mount = Mount::parse(&options.mount).unwrap_or_default();
    if !options.no_self_test && name != schema_upgrade::NAME {
        request.watched_for = WATCHED_FOR;
        request.self_test = SelfTest::With(vec![catalogue_folder()]);
    }
    Ok(request)
}

/// What is drilled, as the flags of several commands say it.
pub(crate) struct Subject<'a> {
    pub(crate) environment: Option<&'a str>,
    pub(crate) environments: &'a Path,
    pub(crate) from: Option<&'a Path>,
    pub(crate) keys: Option<&'a Path>,
    pub(crate) directory_identity: Option<&'a str>,
    /// `process` or `container`; as the environment says where left out.
    pub(crate) runtime: Option<&'a str>,
    /// Whether the command stops and starts a source that runs already.
    pub(crate) may_be_attached: bool,
}

impl Subject<'_> {
    /// The request of a drill of it, without a self-test.
    pub(crate) fn request(&self, seed: u64) -> Result<DrillRequest, String> {
        let mut environment = environment(self.environment, self.environments)?;
        let attached = if self.may_be_attached {
            let here = std::env::current_dir().map_err(|error| format!("cannot tell the working folder: {error}"))?;
            AttachedSource::take_from(&mut environment, &here)?
        } else {
            None
        };
        match self.runtime {
            Some("process") => environment.in_processes(),
            Some("container") => environment.in_containers(|name| std::env::var(name).ok()),
            _ if environment.is_in_containers() => environment.in_containers(|name| std::env::var(name).ok()),
            _ => {}
        }
        if let Some(from) = self.from.filter(|from| !from.exists()) {
            return Err(format!(
                "--from: {} does not exist; give a snapshot folder or a folder of database files",
                from.display()
            ));
        }
        if let Some(keys) = self.keys.filter(|keys| !keys.is_file()) {
            return Err(format!(
                "--keys: {} is not a file; give a bus identity file (JSON)",
                keys.display()
            ));
        }
        let needs_reference = Service::ALL
            .iter()
            .any(|service| environment.service(*service).is_reference());
        let reference_services = if needs_reference {
            Some(reference::ensure_built().map_err(|error| error.to_string())?)
        } else {
            None
        };
        let is_enclosed = attached.is_some() && !environment.is_in_containers();
        let enclosing = is_enclosed.then(isolated::enclosing).flatten();
        Ok(DrillRequest {
            drill: "backup-restore".to_owned(),
            environment,
            from: self.from.map(Path::to_owned),
            given: Default::default(),
            attached,
            enclosing,
            consent: Consent::default(),
            keys: self.keys.map(Path::to_owned),
            directory_identity: self.directory_identity.map(str::to_owned),
            seed,
            rounds: 1,
            keep: false,
            older_locks: None,
            runs: reference::runs_folder(),
            reports: None,
            command: command_line(),
            harness_git_sha: git_sha(),
            reference_services,
            base: Base::default(),
            stages: Stages::default(),
            engine: None,
            mount: Mount::default(),
            self_test: SelfTest::Skipped,
            watched_for: Duration::ZERO,
            forced_pass: None,
        })
    }
}

fn environment(name: Option<&str>, folder: &Path) -> Result<Environment, String> {
    match name {
        None => Ok(Environment::reference()),
        // The name that evidence gives it; a file of that name goes before.
        Some(REFERENCE) if !folder.join(format!("{REFERENCE}.toml")).exists() => Ok(Environment::reference()),
        Some(name) => Ok(environments::load(name, folder)?.environment),
    }
}

/// The project's own fault catalogue.
pub(crate) fn catalogue_folder() -> PathBuf {
    reference::workspace_root().join("fixtures/faults")
}

/// The command as it was typed, without the password of an address in it and without what the variables hold as secrets.
pub(crate) fn command_line() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    Secrets::of_process().redact(&format!("cargo xtask {}", arguments.join(" ")))
}

fn chosen_seed() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::from(since.subsec_nanos()) ^ (since.as_secs() << 20) & 0xffff_ffff
}

/// The commit that the harness was built from.
pub(crate) fn git_sha() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(reference::workspace_root())
        .output()
        .ok()?;
    let sha = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && sha.len() == 40).then_some(sha)
}

/// Ends when the user presses Ctrl-C or the system asks to stop.
pub(crate) async fn interrupted() {
    armed().await;
}

/// The same, with its signals caught from now on; needs the async runtime.
fn armed() -> impl Future<Output = ()> {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let caught = kinds.map(signal);
    async move {
        let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)] = caught else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            // A terminal that is closed.
            _ = hang_up.recv() => {}
        }
    }
}
