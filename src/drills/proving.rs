//! Everything that is asked of the running restored pair, in the order of the design: recovery, files, reads, replays.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::ObserveError;
use crate::checks::prediction::Window;
use crate::checks::{in_flight, release, rto, stability, startup_diff};
use crate::client::{Access, probe};
use crate::deployment::Service;
use crate::drills::context::{DrillContext, Stop, chain, milliseconds};
use crate::drills::instances::{Deployment, Pair, Restored};
use crate::drills::reads::{self, Look};
use crate::drills::replays::Rows;
use crate::drills::restoring::{self, Prepared};
use crate::drills::source::Written;
use crate::drills::stages::Reached;
use crate::drills::taking::Taken;
use crate::drills::{at_rest, replays, scratch, self_test, source};
use crate::evidence::{CheckId, Component, Finding, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use crate::snapshot::summary;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a restored pair is watched at least, from its readiness on, where stability is asked in earnest.
pub const WATCHED_FOR: Duration = Duration::from_millis(3_500);

/// Why a question does not arise under `--from`; the service still answered with an empty list.
const NO_ROWS: &str = "no rows in this backup";

/// Why a step on the restored pair could not be done.
#[derive(Debug, thiserror::Error)]
pub enum ProvingError {
    /// A look failed.
    #[error(transparent)]
    Look(#[from] ObserveError),
    /// A file could not be read.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The operator's login failed.
    #[error("cannot log in to the restored directory")]
    Login(#[from] crate::client::http::ClientError),
    /// A running instance's file could not be read.
    #[error("{0}")]
    Files(String),
    /// An instance could not be stopped.
    #[error("cannot stop the restored pair")]
    Process(#[from] crate::runtime::process::ProcessError),
}

/// The components and their start commands, for the report.
pub fn name_components(context: &mut DrillContext, deployment: &Deployment) {
    context.component(Component {
        name: "harness".to_owned(),
        command: Some(context.request.command.clone()),
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        sqlite_version: Some(summary::sqlite_version().to_owned()),
    });
    context.evidence.run.release = deployment.release.clone();
    for service in Service::ALL {
        context.component(Component {
            name: service.name().to_owned(),
            command: Some(deployment.shown_command(service)),
            version: if service == Service::Directory {
                deployment.release.version.clone()
            } else {
                None
            },
            sqlite_version: None,
        });
    }
    context.evidence.environments_reset.push(format!(
        "{} (clean and restored instances)",
        deployment.environment.name
    ));
    let run = context.evidence.run.id.clone();
    let commands = [context.request.command.clone(), format!("cargo xtask report {run}")];
    context.evidence.commands.extend(commands);
}

/// What the source answers just before the outage.
///
/// # Errors
/// [`Stop`]: nothing can be proven without it.
pub async fn baseline(context: &mut DrillContext, access: &Access) -> Result<BTreeMap<CheckId, Objects>, Stop> {
    context
        .step("look at the source (baseline)", async {
            let seen = reads::all_seen(reads::look(access).await)?;
            let subjects: usize = seen.values().map(Objects::len).sum();
            Ok::<_, ObserveError>((seen, format!("{subjects} subjects")))
        })
        .await
}

/// Asks everything of the running pair, then stops it: recovery, files, reads, replays, in this order.
///
/// # Errors
/// [`Stop`] when a step cannot be done; the pair is killed then.
pub async fn prove(
    context: &mut DrillContext,
    deployment: &Deployment,
    taken: &Taken,
    prepared: &Prepared,
    written: Option<&Written>,
    restored: Restored,
) -> Result<(), Stop> {
    let Restored(mut pair) = restored;
    let urls = running(context, &mut pair).await?;
    let mut access = source::access_at(&urls, deployment);
    let (databases, expected) = open(context, taken).await?;
    match landmark(&expected, written) {
        Some(landmark) => restoring::measure_recovery(context, &access, &landmark).await?,
        None if written.is_none() => context.not_asked(
            CheckId::Rto.name(),
            "this backup has no access list entry or no message to ask for",
        ),
        // With a source, data never turn a check into "not asked": nothing compared is inconclusive.
        None => context.record(CheckId::Rto, None, Judgement::default(), Duration::ZERO),
    }
    changed_files(context, &databases, prepared, &pair).await?;
    let read = Box::pin(read_back(
        context,
        deployment,
        &expected,
        (taken, written),
        &mut access,
        &pair,
    ))
    .await;
    if read.is_ok() {
        let rows = Rows {
            restored: &databases,
            expected: &expected,
        };
        Box::pin(replays::ask(context, deployment, &rows, written, &access)).await?;
    }
    access.close();
    if read.is_ok() {
        // The pair lives on meanwhile, and is watched.
        if context.request.self_test.is_on() {
            let specimen = scratch::specimen(context, taken, prepared, written);
            self_test::measure(context, specimen).await?;
        }
        let watched_for = context.request.watched_for;
        let until = pair.each().map(|instance| instance.ready_at() + watched_for);
        tokio::time::sleep_until(until[0].max(until[1]).into()).await;
    }
    let (lives, looked_for) = watch(&mut pair).await;
    let mut forced = written.map(|written| written.forced.clone()).unwrap_or_default();
    let stopped = match read {
        Err(stop) => Err(stop),
        Ok(()) => {
            let stopping = context.step("stop the restored pair", async {
                let stopped = pair.stop(&deployment.environment).await?;
                let detail = format!("directory {}, bus {}", stopped[0].exit, stopped[1].exit);
                Ok::<_, ProvingError>((stopped, detail))
            });
            stopping.await
        }
    };
    if let Ok(stopped) = &stopped {
        forced.extend(source::forced("restored pair", stopped));
    }
    let judged = stability::judge(&lives, &forced);
    context.record(CheckId::Stability, None, judged, looked_for);
    stopped.map(|_| ())
}

/// Tells that the restored pair is ready and nothing was observed yet; the addresses to ask.
async fn running(context: &DrillContext, pair: &mut Pair) -> Result<[String; 2], Stop> {
    let urls = [pair.directory.url(), pair.bus.url()];
    let moment = Reached::Running {
        databases: [pair.directory.database.clone(), pair.bus.database.clone()],
        urls: urls.clone(),
        pids: pair.pids(),
    };
    let stopped = |cause: String| Stop {
        step: "stage running".to_owned(),
        cause,
    };
    let acted = context.request.stages.reached(&moment);
    let acted = acted.map_err(|error| stopped(error.to_string()))?;
    for control in &acted.control {
        let done = pair.control(control).await;
        done.map_err(|error| stopped(chain(&error)))?;
    }
    Ok(acted.instead_of(urls))
}

/// What the first start changed in the files, and how unfinished rows ended: read-only, while the services run.
async fn changed_files(
    context: &mut DrillContext,
    databases: &Databases,
    prepared: &Prepared,
    pair: &Pair,
) -> Result<(), Stop> {
    let started = pair.directory.started_at.min(pair.bus.started_at).as_millisecond();
    let looked = context
        .step("look at what the start changed", async {
            pair.look_at_files().await?;
            let window = Window {
                start_requested_ms: started,
                looked_at_ms: jiff::Timestamp::now().as_millisecond(),
            };
            let running = at_rest::restored_databases(&prepared.places);
            let look = |id, look: &dyn Fn(&Databases) -> Result<Judgement, DatabaseError>| {
                let seen = || {
                    running
                        .as_ref()
                        .map_err(told)
                        .and_then(|running| look(running).map_err(|error| told(&error)))
                };
                at_rest::judged(id, None, seen, Judgement::clone)
            };
            let start = look(CheckId::StartupDiff, &|running| {
                startup_diff::observe(databases, running, window).map(|facts| startup_diff::judge(&facts))
            });
            let unfinished = look(CheckId::InFlight, &|running| {
                in_flight::observe(databases, running, &window).map(|facts| in_flight::judge(&facts))
            });
            let detail = format!("{}; {}", start.observed(), unfinished.observed());
            Ok::<_, ProvingError>((vec![start, unfinished], detail))
        })
        .await?;
    for one in looked {
        if one.is_about_nothing() && context.request.is_given() {
            context.not_asked(one.name(), NO_ROWS);
        } else {
            at_rest::record(context, vec![one]);
        }
    }
    Ok(())
}

/// The error as text: one look may be judged twice.
fn told(error: &DatabaseError) -> ProvingError {
    ProvingError::Files(chain(error))
}

/// What was restored, and what is expected: the same but in trials of a given set, which plays the source.
async fn open(context: &mut DrillContext, taken: &Taken) -> Result<(Databases, Databases), Stop> {
    let (folder, expected) = (taken.snapshot.clone(), taken.expected.clone());
    context
        .step("open the snapshot's rows", async move {
            let both = (Databases::open(&folder)?, Databases::open(&expected)?);
            Ok::<_, ProvingError>((both, "read-only, as untrusted input".to_owned()))
        })
        .await
}

/// An agent with an access list and a message, known to be in the data: from the ledger where there is one.
fn landmark(databases: &Databases, written: Option<&Written>) -> Option<rto::Landmark> {
    let first = |rows: Vec<crate::snapshot::database::Row>, column: &str| {
        rows.first().and_then(|row| row.text(column).map(str::to_owned))
    };
    if let Some(written) = written {
        let acl = written
            .baseline
            .get(&CheckId::Acl)?
            .0
            .keys()
            .find(|subject| subject.starts_with("acl "))?
            .split(' ')
            .nth(1)?
            .to_owned();
        let message = written.seeded.facts.messages.last()?;
        let nonce = message.body.get("nonce")?.as_str()?.to_owned();
        return Some(rto::Landmark { beam_id: acl, nonce });
    }
    let acl = databases
        .directory
        .rows("SELECT target_beam_id FROM intent_acls ORDER BY id LIMIT 1", &[])
        .ok()?;
    let bus = databases
        .bus
        .rows("SELECT nonce FROM beam_messages ORDER BY created_at DESC LIMIT 1", &[])
        .ok()?;
    Some(rto::Landmark {
        beam_id: first(acl, "target_beam_id")?,
        nonce: first(bus, "nonce")?,
    })
}

async fn read_back(
    context: &mut DrillContext,
    deployment: &Deployment,
    databases: &Databases,
    (taken, written): (&Taken, Option<&Written>),
    access: &mut Access,
    pair: &Pair,
) -> Result<(), Stop> {
    let email = deployment.admin_email.clone();
    let session = context
        .step("log in as the operator", async {
            let session = access.login(&email).await?;
            let detail = format!("by magic link, as {}", session.role);
            Ok::<_, ProvingError>((session, detail))
        })
        .await;
    let session = match session {
        Ok(session) => session,
        Err(stop) => {
            // An operator who cannot log in has no role; what needs a session cannot be asked any more.
            let refused = Finding::new(
                "operator's login",
                "a session",
                stop.cause.as_str(),
                "restored directory",
            );
            let judged = Judgement {
                expected: "the operator logs in".to_owned(),
                observed: "no session".to_owned(),
                findings: vec![refused],
                ..Judgement::default()
            };
            context.record(CheckId::Roles, None, judged, Duration::ZERO);
            return Err(stop);
        }
    };
    context.secrets.add(session.token.expose());
    let looks = context
        .step("read everything back", async {
            let looks = reads::look(access).await;
            let seen: usize = looks
                .iter()
                .filter_map(|look| look.seen.as_ref().ok())
                .map(Objects::len)
                .sum();
            Ok::<_, ProvingError>((looks, format!("{seen} subjects")))
        })
        .await?;
    let identity = deployment.identity.clone().unwrap_or_default();
    for look in looks {
        let judged = judged(&look, databases, &identity, (taken, written), deployment, pair);
        let nothing = judged.items == 0 && judged.findings.is_empty();
        if nothing && context.request.is_given() {
            context.not_asked(look.id.name(), NO_ROWS);
        } else {
            context.record(look.id, None, judged, look.took);
        }
    }
    Ok(())
}

fn judged(
    look: &Look,
    databases: &Databases,
    identity: &str,
    (taken, written): (&Taken, Option<&Written>),
    deployment: &Deployment,
    pair: &Pair,
) -> Judgement {
    let seen = match &look.seen {
        Ok(seen) => seen,
        Err(error) => return error.judgement(look.id.name()),
    };
    let baseline = written.map(|written| &written.baseline).or(taken.baseline.as_ref());
    let baseline = baseline.and_then(|baseline| baseline.get(&look.id));
    if look.id == CheckId::Release {
        let truth = release::Truth {
            before: baseline,
            stated: Some(&deployment.release),
            started_at: Some(pair.directory.started_at),
        };
        return release::judge(&truth, seen);
    }
    let rows = match reads::rows(look.id, databases, identity) {
        Ok(rows) => rows,
        Err(error) => return at_rest::unreadable(&error, None),
    };
    let ledger = written.and_then(|written| reads::promised(look.id, &written.seeded.ledger));
    let expected = Expected {
        ledger: ledger.as_ref(),
        baseline,
        rows: rows.as_ref(),
    };
    reads::judge(look.id, &expected, seen)
}

/// Whether both processes that became ready still live and answer.
async fn watch(pair: &mut Pair) -> (Vec<stability::Life>, Duration) {
    let began = Instant::now();
    let mut lives = Vec::new();
    for instance in pair.each() {
        let health = probe::health(&instance.host, instance.port).await.ok();
        let pid = instance.running.pid();
        let ended = instance.running.ended();
        let exit = match &ended {
            Ok(None) => None,
            Ok(Some(exit)) => Some(exit.to_string()),
            Err(error) => Some(error.to_string()),
        };
        lives.push(stability::Life {
            service: instance.service,
            pid_at_ready: pid,
            pid_at_end: matches!(ended, Ok(None)).then_some(pid),
            exit,
            watched_ms: milliseconds(instance.started.elapsed().saturating_sub(instance.ready.after)),
            health: vec![health],
        });
    }
    (lives, began.elapsed())
}
