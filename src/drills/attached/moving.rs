//! Down and up: stops the services of a held source by their own commands, proves that nobody uses their files, and starts
//! them again, from wherever they stand.
//!
//! A start is never asked for while somebody has the files open, so that no second instance runs on a live file.

use crate::deployment::Service;
use crate::deployment::attached::AttachedService;
use crate::drills::attached::hold::{Hold, HoldError, Phase};
use crate::drills::context::milliseconds;
use crate::parity::fetch::Fetcher;
use crate::runtime::attached::{Carrier, Given, GivenError, await_end};
use crate::snapshot::file_set::FileSet;
use crate::snapshot::quiescent::{Quiescence, QuiescenceError, quiescent};
use std::future::Future;
use std::time::{Duration, Instant};

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// How long a service that was asked to stop, in vain as it seems, is watched before it counts as running.
const SETTLED: Duration = Duration::from_secs(3);
/// How long a start that an earlier harness began is given to open its files.
const BEGUN: Duration = Duration::from_millis(1_500);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(15);

/// Why a source could not be stopped or started.
#[derive(Debug, thiserror::Error)]
pub enum MovingError {
    /// Its command failed.
    #[error(transparent)]
    Command(#[from] GivenError),
    /// The record cannot be kept.
    #[error(transparent)]
    Hold(#[from] HoldError),
    /// It still uses its files.
    #[error("the {service} still uses {what} after its stop command ({users}); let its stop command wait for its end")]
    InUse {
        /// Which.
        service: Service,
        /// File or address.
        what: String,
        /// Who.
        users: String,
    },
    /// Whether it uses its files cannot be told.
    #[error("cannot tell whether the {service} uses its files")]
    Quiescence {
        /// Which.
        service: Service,
        /// The cause.
        source: QuiescenceError,
    },
    /// It does not answer.
    #[error("the {service} does not answer {url}/health {} ms after its start command: {last}; look at {output}", .limit.as_millis(), output = .output.display())]
    NotBack {
        /// Which.
        service: Service,
        /// Its address.
        url: String,
        /// How long it was waited for.
        limit: Duration,
        /// What the last look saw.
        last: String,
        /// The output of its start command.
        output: std::path::PathBuf,
    },
}

/// Whether a service answers `GET /health`, which writes nothing; each look has a connection of its own, which does not
/// outlive it, so that none delays a stop.
pub(crate) async fn answers(url: &str) -> Result<(), String> {
    let address = format!("{url}/health");
    let look = async {
        let fetcher = Fetcher::new();
        fetcher.text(&address).await
    };
    match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(crate::drills::context::chain(&error)),
        Err(_) => Err(format!("no answer within {} ms", LOOK_LIMIT.as_millis())),
    }
}

/// Who uses the files of a service; `None` where they are not on this machine.
pub(crate) fn users(service: &AttachedService) -> Result<Option<Quiescence>, MovingError> {
    let Some(data) = &service.data else { return Ok(None) };
    let set = FileSet::new(service.service, data);
    let seen = quiescent(&set).map_err(|source| MovingError::Quiescence {
        service: service.service,
        source,
    })?;
    Ok(Some(seen))
}

/// Locks and processes in words.
pub(crate) fn named(seen: &Quiescence) -> String {
    let locks = seen
        .locks
        .iter()
        .map(|lock| format!("{} lock of process {}", lock.kind, lock.pid));
    let open = seen.open_in.iter().map(|pid| format!("open in process {pid}"));
    locks.chain(open).collect::<Vec<_>>().join(", ")
}

fn command(hold: &Hold, service: Service, what: &str) -> Given {
    let one = hold.record.source.of(service);
    let (argv, limit_ms) = match what {
        "stop" => (&one.stop, one.stop_limit_ms),
        _ => (&one.start, one.ready_limit_ms),
    };
    Given {
        name: format!("{what} command of the {service}"),
        argv: argv.clone(),
        cwd: one.cwd.clone(),
        output: hold.output(service, what),
        limit: Duration::from_millis(limit_ms),
    }
}

/// Stops one service and proves that nobody uses its files.
///
/// # Errors
/// [`MovingError`].
pub(crate) async fn stop(hold: &mut Hold, service: Service) -> Result<Duration, MovingError> {
    let began = Instant::now();
    hold.enter(service, Phase::Stopping)?;
    let given = command(hold, service, "stop");
    given.run(Carrier::Output).await?;
    await_quiet(hold.record.source.of(service)).await?;
    hold.note(service, Phase::Stopped);
    Ok(began.elapsed())
}

/// Neither an answer nor, where the files are on this machine, anybody who has them open.
async fn await_quiet(service: &AttachedService) -> Result<(), MovingError> {
    let limit = Duration::from_millis(service.stop_limit_ms);
    let began = Instant::now();
    loop {
        let used_by = match users(service)? {
            Some(seen) if !seen.is_quiet() => Some(named(&seen)),
            // Its files are free; where they are elsewhere, only its silence can tell.
            Some(_) => None,
            None => answers(&service.url).await.ok().map(|()| "it answers".to_owned()),
        };
        let Some(users) = used_by else { return Ok(()) };
        if began.elapsed() > limit {
            let data = service.data.as_ref().map(|data| data.display().to_string());
            return Err(MovingError::InUse {
                service: service.service,
                what: data.unwrap_or_else(|| service.url.clone()),
                users,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Starts one service whose files nobody uses; whether it answers is asked by [`await_answer`].
///
/// # Errors
/// [`MovingError`].
pub(crate) async fn start(hold: &mut Hold, service: Service) -> Result<(), MovingError> {
    hold.note(service, Phase::Starting);
    let given = command(hold, service, "start");
    let url = hold.record.source.of(service).url.clone();
    let mut child = given.spawn(Carrier::Input)?;
    let began = Instant::now();
    // A start command that stays with its service is none that failed: the service's answer says more than its end.
    loop {
        match tokio::time::timeout(PAUSE * 4, child.wait()).await {
            Ok(status) => {
                let judged = given.judge(status);
                if judged.is_err() && answers(&url).await.is_ok() {
                    return Ok(());
                }
                return Ok(judged?);
            }
            Err(_) if answers(&url).await.is_ok() => return Ok(()),
            Err(_) if began.elapsed() > given.limit => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Waits for the first answer of a started service.
///
/// # Errors
/// [`MovingError::NotBack`].
pub(crate) async fn await_answer(hold: &mut Hold, service: Service) -> Result<Duration, MovingError> {
    let one = hold.record.source.of(service).clone();
    let (began, limit) = (Instant::now(), Duration::from_millis(one.ready_limit_ms));
    loop {
        let Err(last) = answers(&one.url).await else {
            hold.note(service, Phase::Running);
            return Ok(began.elapsed());
        };
        if began.elapsed() > limit {
            return Err(MovingError::NotBack {
                service,
                url: one.url,
                limit,
                last,
                output: hold.output(service, "start"),
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Starts both, the directory first, and waits for their answers.
///
/// # Errors
/// [`MovingError`].
pub(crate) async fn start_both(hold: &mut Hold) -> Result<(), MovingError> {
    for service in Service::ALL {
        start(hold, service).await?;
    }
    for service in Service::ALL {
        await_answer(hold, service).await?;
    }
    Ok(())
}

/// Brings a source back from wherever a broken run left it; what was done, in words. Does nothing to a service that was
/// never asked to stop, or that answers again.
///
/// # Errors
/// [`MovingError`] of the first service that is not back; the other was tried all the same.
pub(crate) async fn bring_back(hold: &mut Hold) -> Result<String, MovingError> {
    let mut done = Vec::new();
    let mut failed = None;
    for service in Service::ALL {
        match bring_one_back(hold, service).await {
            Ok(what) => done.push(format!("{service} {what}")),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    match failed {
        Some(error) => Err(error),
        None => Ok(done.join(", ")),
    }
}

async fn bring_one_back(hold: &mut Hold, service: Service) -> Result<String, MovingError> {
    let began = Instant::now();
    let one = hold.record.source.of(service).clone();
    let stop_limit = Duration::from_millis(one.stop_limit_ms);
    match hold.record.phase(service) {
        Phase::Untouched => return Ok("was never stopped".to_owned()),
        Phase::Running => return Ok("runs already".to_owned()),
        Phase::Stopping => {
            // The stop command may live on although its harness was killed, and its service may be about to end.
            await_end(&hold.output(service, "stop"), Carrier::Output, stop_limit).await;
            if !is_going_down(&one, SETTLED).await? {
                hold.note(service, Phase::Running);
                return Ok("still runs".to_owned());
            }
            await_quiet(&one).await?;
        }
        Phase::Stopped => {}
        Phase::Starting => {
            await_end(&hold.output(service, "start"), Carrier::Input, stop_limit).await;
        }
    }
    let is_used = || -> Result<bool, MovingError> { Ok(users(&one)?.is_some_and(|seen| !seen.is_quiet())) };
    if !is_used()? && answers(&one.url).await.is_err() {
        // A start that was begun may be on its way to its files.
        let begun = hold.record.phase(service) == Phase::Starting;
        let used = || async { is_used().unwrap_or(true) };
        if !(begun && within(BEGUN, used).await) {
            start(hold, service).await?;
        }
    }
    await_answer(hold, service).await?;
    Ok(format!("answers after {} ms", milliseconds(began.elapsed())))
}

/// Whether a service that was asked to stop does so: it lets go of its files, or does not answer, within a while.
async fn is_going_down(service: &AttachedService, within_limit: Duration) -> Result<bool, MovingError> {
    let is_down = || async {
        let free = users(service).is_ok_and(|seen| seen.is_some_and(|seen| seen.is_quiet()));
        free || answers(&service.url).await.is_err()
    };
    Ok(within(within_limit, is_down).await)
}

/// Whether a condition comes to hold within a time.
async fn within<F: Future<Output = bool>>(limit: Duration, mut holds: impl FnMut() -> F) -> bool {
    let began = Instant::now();
    loop {
        if holds().await {
            return true;
        }
        if began.elapsed() > limit {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
