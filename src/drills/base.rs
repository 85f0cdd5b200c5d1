//! What a seeded pair gets before it is the source: ballast in every table and, where asked for, calls under way.
//!
//! Only on instances that the harness started on files of its own; a given backup never comes here.

use crate::client::Access;
use crate::deployment::Service;
use crate::drills::context::{DrillContext, Stop, private_folder};
use crate::drills::instances::{Deployment, Source, StartError};
use crate::drills::source::{self, START_TRIES, SourceError};
use crate::runtime::ready::{self, Look};
use crate::seed::Seeded;
use crate::seed::ballast::{self, Loaded};
use crate::seed::later;
use crate::seed::ledger::Outcome;
use crate::seed::under_way::{self, UnderWay};
use crate::snapshot::file_set::{FileSet, usual};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The files of the seeded pair from before its last writes: directory, bus.
pub type Earlier = [FileSet; 2];

/// How long the calls under way may take to stand where they stay.
const UNDER_WAY_LIMIT: Duration = Duration::from_secs(5);

/// Stops the seeded pair, adds the ballast, starts it again on the same files.
///
/// # Errors
/// [`Stop`]; before the outage, so the drill is inconclusive.
pub async fn ballast(
    context: &mut DrillContext,
    deployment: &mut Deployment,
    source: Source,
) -> Result<(Source, Earlier), Stop> {
    let earlier = context.folders.work.join("earlier");
    let (seed, logs) = (context.request.seed, context.folders.work.join("logs"));
    let mut pair = source.0;
    let work = async {
        let databases = [pair.directory.database.clone(), pair.bus.database.clone()];
        pair.stop(&deployment.environment).await?;
        let earlier = keep(&databases, &earlier)?;
        let directory = databases[0].clone();
        let loaded =
            tokio::task::spawn_blocking(move || ballast::load(&directory, seed, jiff::Timestamp::now())).await??;
        let mut tries = 0;
        let pair = loop {
            tries += 1;
            match deployment.start(&databases, &logs, "source").await {
                Ok(pair) => break pair,
                // The lost start changed what any start changes; these files are not the source yet.
                Err(StartError::PortLost { .. }) if tries < START_TRIES => {}
                Err(error) => return Err(SourceError::Start(error)),
            }
        };
        let detail = format!("{}; {}", told(&loaded), source::started(&pair));
        Ok(((Source(pair), earlier), detail))
    };
    context.step("load the ballast and start the source again", work).await
}

/// Plain copies of a stopped pair's files, as they are.
fn keep(databases: &[PathBuf; 2], folder: &Path) -> Result<Earlier, SourceError> {
    let failed = |source| SourceError::Prepare {
        path: folder.to_owned(),
        source,
    };
    private_folder(folder).map_err(failed)?;
    for (service, database) in Service::ALL.into_iter().zip(databases) {
        let (from, to) = (FileSet::new(service, database.clone()), usual(service, folder));
        for (from, to) in [(from.main.clone(), to.main.clone()), (from.wal(), to.wal())] {
            if from.exists() {
                std::fs::copy(&from, &to).map_err(failed)?;
            }
        }
    }
    Ok(Service::ALL.map(|service| usual(service, folder)))
}

/// The last writes before the outage, over HTTP: what an older backup does not have.
///
/// # Errors
/// [`Stop`]; before the outage.
pub async fn last_writes(context: &mut DrillContext, access: &Access, seeded: &mut Seeded) -> Result<(), Stop> {
    let seed = context.request.seed;
    context
        .step("write once more", async {
            let before = seeded.ledger.writes().len();
            Box::pin(later::write(access, seed, "last", seeded, &jiff::Timestamp::now)).await?;
            let detail = format!("{} more writes acknowledged", seeded.ledger.writes().len() - before);
            Ok::<_, SourceError>(((), detail))
        })
        .await
}

fn told(loaded: &Loaded) -> String {
    let mut text = format!("{} rows in {} tables", loaded.rows, loaded.tables);
    if !loaded.empty.is_empty() {
        text.push_str(&format!("; still empty: {}", loaded.empty.join(", ")));
    }
    for (table, why) in &loaded.left_out {
        text.push_str(&format!("; {table} left out: {why}"));
    }
    text
}

/// Clients of the pair with the session that the seed logged in with.
#[must_use]
pub fn access(source: &Source, deployment: &Deployment, seeded: &Seeded) -> Access {
    let mut access = source::access(&source.0, deployment);
    access.directory = access.directory.with_session(seeded.credentials.session.expose());
    access
}

/// Sends an intent and a bus message to a recipient that never answers, and waits until both stand where they stay.
///
/// # Errors
/// [`Stop`]; before the outage.
pub async fn under_way(context: &mut DrillContext, access: &Access, seeded: &mut Seeded) -> Result<UnderWay, Stop> {
    let seed = context.request.seed;
    context
        .step("leave calls under way", async {
            let begun = under_way::begin(access, seed, &mut seeded.ledger, &jiff::Timestamp::now).await?;
            let ready = ready::until("intents delivered, message dispatched", UNDER_WAY_LIMIT, || async {
                match begun.missing(access).await {
                    Ok(None) => Look::Holds,
                    Ok(Some(missing)) => Look::NotYet(missing),
                    Err(error) => Look::Never(error.to_string()),
                }
            })
            .await?;
            let detail = format!(
                "{} and {} after {} ms",
                begun.intent,
                begun.message,
                ready.after.as_millis()
            );
            Ok::<_, SourceError>((begun, detail))
        })
        .await
}

/// After the kill: the ledger learns how the calls ended.
///
/// # Errors
/// [`Stop`] when the time limit passes.
pub async fn ended(context: &mut DrillContext, under_way: UnderWay, seeded: &mut Seeded) -> Result<(), Stop> {
    context
        .step("see how the calls under way ended", async {
            let outcomes = under_way.end(&mut seeded.ledger, &jiff::Timestamp::now).await;
            let unknown = outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count();
            let detail = format!("{unknown} of {} with an unknown outcome", outcomes.len());
            Ok::<_, SourceError>(((), detail))
        })
        .await
}
