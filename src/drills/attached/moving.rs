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
use serde_json::Value;
use std::future::Future;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_secs(3);
/// How long a service that was asked to stop, in vain as it seems, is watched before it counts as running.
const SETTLED: Duration = Duration::from_secs(3);
/// How long a start that an earlier harness began is given to open its files.
const BEGUN: Duration = Duration::from_millis(1_500);
/// How often in a row a service has to be silent where nobody sees who has its files open, and the time between.
const SILENCES: u32 = 3;
const SILENCE: Duration = Duration::from_millis(200);
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
    /// It is still on its way down, or nobody knows whether it is.
    #[error(
        "the {service} was asked to stop and {what}: it may go down at any time; once it is down, start it with `cargo xtask drill --resume`"
    )]
    StillStopping {
        /// Which.
        service: Service,
        /// What is known of it.
        what: &'static str,
    },
    /// Somebody started it, or another one on its files.
    #[error(
        "the {service} was not started: {what} is in use already ({users}), and a second instance would damage it; keep others (a supervisor, \
         a restart policy) from starting it while it is stopped"
    )]
    Taken {
        /// Which.
        service: Service,
        /// The file.
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

/// Whether a service says by `GET /health`, which writes nothing, that it is well; each look has a connection of its own, which
/// does not outlive it, so that none delays a stop. What a proxy says in its place does not count.
pub(crate) async fn answers(url: &str) -> Result<(), String> {
    let address = format!("{url}/health");
    let look = async {
        let fetcher = Fetcher::new();
        fetcher.text(&address).await
    };
    match tokio::time::timeout(LOOK_LIMIT, look).await {
        Ok(Ok(body)) => is_well(&body),
        Ok(Err(error)) => Err(crate::drills::context::chain(&error)),
        Err(_) => Err(format!("no answer within {} ms", LOOK_LIMIT.as_millis())),
    }
}

/// Whether a body is that of a healthy service. Source: contract 2.1 and 3.
fn is_well(body: &str) -> Result<(), String> {
    let status = serde_json::from_str::<Value>(body).map(|body| body["status"].clone());
    match status {
        Ok(Value::String(status)) if status == "ok" => Ok(()),
        Ok(Value::String(status)) => Err(format!("it says that its status is {status:?}")),
        _ => Err("what answers there is not the service".to_owned()),
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

/// A hold that both services are brought back under at the same time.
type Shared<'a> = Mutex<&'a mut Hold>;

fn held<T>(hold: &Shared<'_>, with: impl FnOnce(&mut Hold) -> T) -> T {
    with(&mut hold.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Stops one service and proves that nobody uses its files; how long it took, and what the proof is.
///
/// # Errors
/// [`MovingError`].
pub(crate) async fn stop(hold: &mut Hold, service: Service) -> Result<(Duration, &'static str), MovingError> {
    let began = Instant::now();
    hold.enter(service, Phase::Stopping)?;
    let given = command(hold, service, "stop");
    given.run(Carrier::Output).await?;
    hold.note(service, Phase::Draining);
    let proof = await_quiet(hold.record.source.of(service)).await?;
    hold.note(service, Phase::Stopped);
    Ok((began.elapsed(), proof))
}

/// Nobody has its files open, where that can be seen; else no answer, several times in a row. What was seen, in words.
async fn await_quiet(service: &AttachedService) -> Result<&'static str, MovingError> {
    let limit = Duration::from_millis(service.stop_limit_ms);
    let (began, mut silences) = (Instant::now(), 0);
    loop {
        let seen = users(service)?;
        let used_by = match &seen {
            Some(seen) if !seen.is_quiet() => Some(named(seen)),
            Some(seen) if seen.saw_every_process => return Ok("no lock, no open file"),
            _ => match answers(&service.url).await {
                Ok(()) => Some("it answers".to_owned()),
                Err(_) if silences + 1 >= SILENCES => {
                    return Ok(match seen {
                        Some(_) => "no lock, no answer; open files of other users cannot be seen",
                        None => "no answer; its files are elsewhere",
                    });
                }
                Err(_) => None,
            },
        };
        let Some(users) = used_by else {
            silences += 1;
            tokio::time::sleep(SILENCE).await;
            continue;
        };
        silences = 0;
        if began.elapsed() > limit {
            return Err(MovingError::InUse {
                service: service.service,
                what: what_of(service),
                users,
            });
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn what_of(service: &AttachedService) -> String {
    let data = service.data.as_ref().map(|data| data.display().to_string());
    data.unwrap_or_else(|| service.url.clone())
}

/// That nobody has the files of a stopped source open.
///
/// # Errors
/// [`MovingError::Taken`].
pub(crate) fn still_stopped(service: &AttachedService) -> Result<(), MovingError> {
    match users(service)?.filter(|seen| !seen.is_quiet()) {
        None => Ok(()),
        Some(seen) => Err(MovingError::Taken {
            service: service.service,
            what: what_of(service),
            users: named(&seen),
        }),
    }
}

/// Starts one service whose files nobody uses; whether it answers is asked by [`await_answer`].
async fn start(hold: &Shared<'_>, service: Service) -> Result<(), MovingError> {
    let one = held(hold, |hold| hold.record.source.of(service).clone());
    still_stopped(&one)?;
    let given = held(hold, |hold| {
        hold.note(service, Phase::Starting);
        command(hold, service, "start")
    });
    let mut child = given.spawn(Carrier::Input)?;
    let began = Instant::now();
    // A start command that stays with its service is none that failed: the service's answer says more than its end.
    loop {
        match tokio::time::timeout(PAUSE * 4, child.wait()).await {
            Ok(status) => {
                let judged = given.judge(status);
                if judged.is_err() && answers(&one.url).await.is_ok() {
                    return Ok(());
                }
                return Ok(judged?);
            }
            Err(_) if answers(&one.url).await.is_ok() => return Ok(()),
            Err(_) if began.elapsed() > given.limit => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Waits for the first answer of a started service. It counts as running once it is proven to be the source, not here.
async fn await_answer(hold: &Shared<'_>, service: Service) -> Result<Duration, MovingError> {
    let (one, output) = held(hold, |hold| {
        (hold.record.source.of(service).clone(), hold.output(service, "start"))
    });
    let (began, limit) = (Instant::now(), Duration::from_millis(one.ready_limit_ms));
    loop {
        let Err(last) = answers(&one.url).await else {
            return Ok(began.elapsed());
        };
        if began.elapsed() > limit {
            return Err(MovingError::NotBack {
                service,
                url: one.url,
                limit,
                last,
                output,
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
    let hold = &Mutex::new(hold);
    for service in Service::ALL {
        start(hold, service).await?;
    }
    for service in Service::ALL {
        await_answer(hold, service).await?;
    }
    Ok(())
}

/// Brings a source back from wherever a broken run left it, both services at the same time; what was done, in words. Does nothing
/// to a source that was never asked to stop, or that was proven to run again.
///
/// # Errors
/// [`MovingError`] of the first service that is not back; the other was tried all the same.
pub(crate) async fn bring_back(hold: &mut Hold) -> Result<String, MovingError> {
    let hold = &Mutex::new(hold);
    let [directory, bus] = Service::ALL.map(|service| bring_one_back(hold, service));
    let (directory, bus) = tokio::join!(directory, bus);
    Ok(format!("directory {}, bus {}", directory?, bus?))
}

async fn bring_one_back(hold: &Shared<'_>, service: Service) -> Result<String, MovingError> {
    let began = Instant::now();
    let (one, phase, is_away, is_taken_over) = held(hold, |hold| {
        let record = &hold.record;
        let (one, phase) = (record.source.of(service).clone(), record.phase(service));
        (one, phase, record.is_away(), hold.is_taken_over)
    });
    let output = |what| held(hold, |hold| hold.output(service, what));
    let stop_limit = Duration::from_millis(one.stop_limit_ms);
    let runs = answers(&one.url).await.is_ok();
    match phase {
        Phase::Untouched if runs || !is_away => return Ok("was never stopped".to_owned()),
        // The stop of the other one took it along.
        Phase::Untouched => {
            await_quiet(&one).await?;
        }
        Phase::Running if runs => return Ok("runs already".to_owned()),
        Phase::Running => return Ok("ran again before; it does not answer now".to_owned()),
        Phase::Stopping | Phase::Draining => {
            // The stop command may live on although its harness was killed, and its service may be about to end.
            let has_ended = await_end(&output("stop"), Carrier::Output, stop_limit).await;
            let settled = if phase == Phase::Draining { stop_limit } else { SETTLED };
            if !is_going_down(&one, settled).await? {
                let what = match (has_ended, phase) {
                    (false, _) => "its stop command still runs",
                    (true, Phase::Draining) if !is_taken_over => "its stop command ended well, but it still answers",
                    (true, _) => {
                        held(hold, |hold| hold.note(service, Phase::Running));
                        return Ok("still runs".to_owned());
                    }
                };
                return Err(MovingError::StillStopping { service, what });
            }
            await_quiet(&one).await?;
        }
        Phase::Stopped => {}
        Phase::Starting => {
            let has_ended = await_end(&output("start"), Carrier::Input, stop_limit).await;
            if !has_ended && answers(&one.url).await.is_err() {
                // Its start is under way: another one would be a second.
                await_answer(hold, service).await?;
            }
        }
    }
    let is_used = || -> Result<bool, MovingError> { Ok(users(&one)?.is_some_and(|seen| !seen.is_quiet())) };
    // Where everybody is seen, files that nobody has open say more than an answer.
    let is_free = users(&one)?.is_some_and(|seen| seen.is_quiet() && seen.saw_every_process);
    if is_free || (!is_used()? && answers(&one.url).await.is_err()) {
        // A start that was begun may be on its way to its files.
        let used = || async { is_used().unwrap_or(true) };
        if !(phase == Phase::Starting && within(BEGUN, used).await) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_healthy_service_is_well() {
        assert!(is_well(r#"{"status":"ok","service":"beam-message-bus"}"#).is_ok());
        for (body, cause) in [
            (r#"{"status":"error"}"#, "error"),
            ("<html>We are back soon</html>", "not the service"),
            (r#"{"ok":true}"#, "not the service"),
            ("", "not the service"),
        ] {
            let told = is_well(body).expect_err("not well");
            assert!(told.contains(cause), "{body}: {told}");
        }
    }
}
