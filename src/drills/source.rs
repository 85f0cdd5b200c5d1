//! The source of a drill: started on new files, seeded, looked at, stopped, and never touched again.

use crate::checks::expectation::Objects;
use crate::checks::stability::Forced;
use crate::client::Access;
use crate::client::signing::KeyPair;
use crate::deployment::Service;
use crate::deployment::given_file;
use crate::deployment::release::Release;
use crate::drills::context::{
    Base, DrillContext, DrillRequest, Stop, UsageError, milliseconds, private_folder, timestamp,
};
use crate::drills::instances::{Deployment, Pair, Source, StartError};
use crate::drills::isolation::enclosure;
use crate::drills::launching::ISSUER_PRIVATE;
use crate::drills::stages::Reached;
use crate::evidence::CheckId;
use crate::runtime::engine::Mount;
use crate::runtime::process::Stopped;
use crate::seed::{self, SeedPlan, Seeded, Workspaces};
use crate::snapshot::file_set::FileSet;
use crate::snapshot::quiescent;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often a start that lost its port is tried again on new files.
pub(crate) const START_TRIES: u32 = 3;

/// How long before the drill the instances are told they were deployed, where the environment does not say.
const DEPLOYED_BEFORE: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How long the kernel may take to release what a gone process held.
const QUIET_LIMIT: Duration = Duration::from_secs(2);

/// Why a step about the source could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It could not be started.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It could not be stopped.
    #[error("cannot stop the source")]
    Process(#[from] crate::runtime::process::ProcessError),
    /// A file or folder could not be made.
    #[error("cannot prepare {path}")]
    Prepare {
        /// What.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was not seeded.
    #[error("cannot seed the source")]
    Seed(#[from] seed::SeedError),
    /// The ballast was not added.
    #[error("cannot load the ballast")]
    Ballast(#[from] seed::ballast::BallastError),
    /// What is under way did not come to stand where it stays.
    #[error(transparent)]
    Wait(#[from] crate::runtime::ready::WaitError),
    /// A worker of the harness was lost.
    #[error("a worker thread of the harness stopped")]
    Worker(#[from] tokio::task::JoinError),
    /// Somebody still uses its files.
    #[error("{path} is still in use after the stop ({users}); end what uses it")]
    InUse {
        /// The database file.
        path: PathBuf,
        /// Locks and processes.
        users: String,
    },
    /// It cannot be known whether somebody uses its files.
    #[error("cannot tell whether the source's files are in use")]
    Quiescence(#[from] quiescent::QuiescenceError),
}

/// What every instance of the run has in common. Writes the bus's identity file.
///
/// # Errors
/// [`UsageError`] for an unreadable `--keys` file, a variable of `[access]` that is not set, or an impossible command.
pub async fn deployment(context: &mut DrillContext) -> Result<Deployment, UsageError> {
    let request = context.request.clone();
    let environment = request.environment.clone();
    let (seed, run) = (request.seed, context.evidence.run.id.clone());
    let secret = |label: &str, variable: &Option<String>| match variable {
        None => Ok(hex(&format!("{label} {seed} {run}"))),
        Some(name) => std::env::var(name).map_err(|_| {
            UsageError(format!(
                "[access] names the variable {name}, which is not set; set it to the secret"
            ))
        }),
    };
    if environment.access.admin_session_env.is_some() {
        let session = secret("session", &environment.access.admin_session_env)?;
        context.secrets.add(&session);
    }
    let jwt_secret = secret("jwt", &environment.access.jwt_secret_env)?;
    let bus_key = secret("bus key", &environment.access.bus_key_env)?;
    context.secrets.add(&jwt_secret);
    context.secrets.add(&bus_key);
    let issuer = KeyPair::from_bytes(&Sha256::digest(format!("issuer {seed} {run}").as_bytes()).into());
    let given = environment.directory.env.get(ISSUER_PRIVATE).cloned();
    [issuer.private()]
        .iter()
        .chain(&given)
        .for_each(|key| context.secrets.add(key));
    let identities = identities(context, given_keys(&request).as_deref())?;
    let identity_file = context.folders.work.join("identities.json");
    write_private(&identity_file, &identities.to_string())
        .map_err(|error| UsageError(format!("cannot write {}: {error}", identity_file.display())))?;
    let stated = environment.release.stated();
    let release = Release {
        version: stated
            .version
            .or_else(|| Some(format!("drill-{}", env!("CARGO_PKG_VERSION")))),
        git_sha: stated
            .git_sha
            .or_else(|| Some(hex(&format!("release {seed}"))[..40].to_owned())),
        // A time of its own, well before any start of a process: a service that states its start instead is noticed.
        deployed_at: stated
            .deployed_at
            .or_else(|| Some(timestamp(jiff::Timestamp::now() - DEPLOYED_BEFORE))),
    };
    let deployment = Deployment {
        admin_email: environment
            .access
            .admin_email
            .clone()
            .unwrap_or_else(|| "ops@beam.local".to_owned()),
        identity: request.directory_identity.clone(),
        release,
        jwt_secret,
        bus_key,
        issuer,
        identity_file,
        reference_services: request.reference_services.clone(),
        overrides: Default::default(),
        containers: context.containers(),
        enclosure: enclosure(context).await?,
        has_real_data: request.is_given(),
        environment,
    };
    deployment.check()?;
    deployment.check_images().await?;
    Ok(deployment)
}

/// Private keys of a given backup's agents: `--keys`, else the identity file of `[access]`. A seeded source has its own.
#[must_use]
pub fn given_keys(request: &DrillRequest) -> Option<PathBuf> {
    if !request.is_given() {
        return None;
    }
    request
        .keys
        .clone()
        .or_else(|| request.environment.access.identity_file.clone())
}

/// Keys that the bus signs with: the seed's agents, the write path's sender, and those of `--keys`.
fn identities(context: &mut DrillContext, keys: Option<&Path>) -> Result<Value, UsageError> {
    let (seed, rounds) = (context.request.seed, context.request.rounds);
    let all = match keys {
        None => seed::cast::identities(seed, rounds),
        Some(path) => {
            let text = given_file::settings(path)
                .map_err(|error| UsageError(format!("cannot read {}: {error}", path.display())))?;
            let parsed: Value = serde_json::from_str(&text).map_err(|error| {
                UsageError(format!(
                    "{} is not JSON: {error}; give a bus identity file",
                    path.display()
                ))
            })?;
            if !parsed.is_object() {
                return Err(UsageError(format!(
                    "{} is not a bus identity file: no JSON object",
                    path.display()
                )));
            }
            parsed
        }
    };
    if let Value::Object(entries) = &all {
        for private in entries
            .values()
            .filter_map(|entry| entry.get("privateKeyBase64")?.as_str())
        {
            context.secrets.add(private);
        }
    }
    Ok(all)
}

/// Starts directory and bus on new empty files.
///
/// # Errors
/// [`Stop`].
pub async fn start(context: &mut DrillContext, deployment: &mut Deployment) -> Result<Source, Stop> {
    let (work, logs) = (context.folders.work.clone(), context.folders.work.join("logs"));
    let work_of_step = async {
        let mut tries = 0;
        loop {
            tries += 1;
            let folder = work.join(format!("source-{tries}"));
            for path in [&folder, &logs] {
                private_folder(path).map_err(|source| SourceError::Prepare {
                    path: path.clone(),
                    source,
                })?;
            }
            let databases = Service::ALL.map(|service| folder.join(service.database_file()));
            match deployment.start(&databases, &logs, "source").await {
                Ok(pair) => return Ok::<_, SourceError>(((Source(pair)), String::new())),
                // The identity was made of the lost port.
                Err(StartError::PortLost { .. }) if tries < START_TRIES => deployment.identity = None,
                Err(error) => return Err(error.into()),
            }
        }
    };
    let source = context.step("start the source", async {
        let (source, _): (Source, String) = work_of_step.await?;
        let detail = started(&source.0);
        Ok::<_, SourceError>((source, detail))
    });
    source.await
}

/// Ports and times of a start, for the step's detail.
#[must_use]
pub fn started(pair: &Pair) -> String {
    let one = |instance: &crate::drills::instances::Instance| {
        format!(
            "{} on port {} ready after {} ms",
            instance.service,
            instance.port,
            milliseconds(instance.ready.after)
        )
    };
    format!("{}, {}", one(&pair.directory), one(&pair.bus))
}

/// Clients of a pair, not logged in.
#[must_use]
pub fn access(pair: &Pair, deployment: &Deployment) -> Access {
    access_at(&[pair.directory.url(), pair.bus.url()], deployment)
}

/// Clients of a pair at these addresses (directory, bus), not logged in.
#[must_use]
pub fn access_at(urls: &[String; 2], deployment: &Deployment) -> Access {
    Access::new(&urls[0], &urls[1], Some(&deployment.bus_key))
}

/// Writes the partner's workflow; the clients carry the admin session afterwards.
///
/// # Errors
/// [`Stop`].
pub async fn seed(context: &mut DrillContext, deployment: &Deployment, access: &mut Access) -> Result<Seeded, Stop> {
    let plan = SeedPlan {
        seed: context.request.seed,
        admin_email: deployment.admin_email.clone(),
        workspaces: match context.request.base {
            Base::NoWorkspaces => Workspaces::None,
            Base::Seed | Base::InFlight => Workspaces::Two,
        },
        rounds: context.request.rounds,
    };
    let seeded = context
        .step("seed the source", async {
            let seeded = Box::pin(seed::run(access, &plan, &jiff::Timestamp::now)).await?;
            let acknowledged = seeded.ledger.acknowledged_writes().count();
            let detail = format!(
                "{} writes attempted, {acknowledged} acknowledged",
                seeded.ledger.writes().len()
            );
            Ok::<_, SourceError>((seeded, detail))
        })
        .await?;
    let credentials = &seeded.credentials;
    let issued = [
        &credentials.session,
        &credentials.revoked_session,
        &credentials.used_magic_link,
    ];
    for secret in issued.into_iter().chain(credentials.api_keys.values()) {
        context.secrets.add(secret.expose());
    }
    Ok(seeded)
}

/// Tells that the source is whole and runs; nothing was observed yet.
///
/// # Errors
/// [`Stop`] when whoever acts on the stage fails.
pub fn living(context: &DrillContext, source: &Source) -> Result<(), Stop> {
    let Source(pair) = source;
    tell(
        context,
        &Reached::Living {
            databases: [pair.directory.database.clone(), pair.bus.database.clone()],
            urls: [pair.directory.url(), pair.bus.url()],
            pids: pair.pids(),
        },
    )
}

/// Tells that the source was looked at and still runs.
///
/// # Errors
/// [`Stop`] when whoever acts on the stage fails.
pub fn reached(context: &DrillContext, source: &Source) -> Result<(), Stop> {
    let Source(pair) = source;
    tell(
        context,
        &Reached::Source {
            databases: [pair.directory.database.clone(), pair.bus.database.clone()],
            urls: [pair.directory.url(), pair.bus.url()],
            pids: pair.pids(),
        },
    )
}

fn tell(context: &DrillContext, moment: &Reached) -> Result<(), Stop> {
    let told = context.request.stages.reached(moment);
    told.map(|_| ()).map_err(|error| Stop {
        step: "stage source".to_owned(),
        cause: error.to_string(),
    })
}

/// What the harness wrote to the source, and what the source answered just before the outage.
pub struct Written {
    /// Ledger and credentials.
    pub seeded: Seeded,
    /// The source's own answers, by check.
    pub baseline: BTreeMap<CheckId, Objects>,
    /// The key by which the source's issuer was known just before the outage, as its DID document shows it; `None` where it
    /// shows none.
    pub issuer: Option<String>,
    /// The wall clock at the first stop request.
    pub cut_at: jiff::Timestamp,
    /// Services of the source that had to be killed although they were asked to stop.
    pub forced: Vec<Forced>,
}

/// The stopped source.
pub struct StoppedSource {
    /// Directory, bus.
    pub sets: [FileSet; 2],
    /// How the directory and the bus ended.
    pub stopped: [Stopped; 2],
    /// The wall clock at the first stop request: what was acknowledged before must survive.
    pub cut_at: jiff::Timestamp,
}

/// How the source ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// As an operator stops it: SIGTERM.
    Stopped,
    /// As a crash ends it: SIGKILL.
    Killed,
}

/// Ends both services and proves it: no process of the groups, no lock, no open file. The RTO clock starts here.
///
/// # Errors
/// [`Stop`]; from here on a failed step is a failed drill.
pub async fn stop(
    context: &mut DrillContext,
    source: Source,
    deployment: &Deployment,
    how: Ended,
) -> Result<StoppedSource, Stop> {
    context.outage_begins();
    let cut_at = jiff::Timestamp::now();
    let mut pair = source.0;
    let sets = [
        FileSet::new(Service::Directory, pair.directory.database.clone()),
        FileSet::new(Service::Bus, pair.bus.database.clone()),
    ];
    let step = match how {
        Ended::Stopped => "stop the source",
        Ended::Killed => "kill the source",
    };
    context
        .step(step, async {
            let stopped = match how {
                Ended::Stopped => pair.stop(&deployment.environment).await?,
                Ended::Killed => pair.kill().await?,
            };
            for set in &sets {
                await_quiet(set).await?;
            }
            let one = |service: Service, stopped: &Stopped| {
                let killed = stopped.killed_after.map_or(String::new(), |after| {
                    format!(", SIGKILL after {} ms", after.as_millis())
                });
                format!(
                    "{service} gone after {} ms with {}{killed}",
                    milliseconds(stopped.gone_after),
                    stopped.exit
                )
            };
            let proof = match &deployment.containers {
                Some(containers) if containers.mount == Mount::Volume => "files copied out of the ended containers",
                _ => "no lock, no open file",
            };
            let detail = format!(
                "{}; {}; {proof}",
                one(Service::Directory, &stopped[0]),
                one(Service::Bus, &stopped[1])
            );
            Ok::<_, SourceError>((StoppedSource { sets, stopped, cut_at }, detail))
        })
        .await
}

/// Which of these had to be killed (directory, bus).
#[must_use]
pub fn forced(role: &str, stopped: &[Stopped; 2]) -> Vec<Forced> {
    let one = |(service, stopped): (Service, &Stopped)| {
        let given_ms = milliseconds(stopped.killed_after?);
        Some(Forced {
            service,
            role: role.to_owned(),
            given_ms,
            exit: stopped.exit.to_string(),
        })
    };
    Service::ALL.into_iter().zip(stopped).filter_map(one).collect()
}

async fn await_quiet(set: &FileSet) -> Result<(), SourceError> {
    let began = Instant::now();
    loop {
        let seen = quiescent(set)?;
        if seen.is_quiet() {
            return Ok(());
        }
        if began.elapsed() > QUIET_LIMIT {
            let locks = seen
                .locks
                .iter()
                .map(|lock| format!("{} lock of process {}", lock.kind, lock.pid));
            let users: Vec<String> = locks
                .chain(seen.open_in.iter().map(|pid| format!("open in process {pid}")))
                .collect();
            return Err(SourceError::InUse {
                path: set.main.clone(),
                users: users.join(", "),
            });
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Copies a service log into the run's folder, with every known secret redacted.
pub fn keep_logs(context: &DrillContext) {
    let Ok(entries) = std::fs::read_dir(context.folders.work.join("logs")) else {
        return;
    };
    for entry in entries.flatten() {
        if let Ok(bytes) = std::fs::read(entry.path()) {
            let text = context.secrets.redact(&String::from_utf8_lossy(&bytes));
            // A log that cannot be kept must not turn a verdict.
            let _ = std::fs::write(context.folders.logs.join(entry.file_name()), text);
        }
    }
}

/// A file that only its owner may read.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

/// SHA-256 of a text, lower-case hex.
#[must_use]
pub fn hex(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
