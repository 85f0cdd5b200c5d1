//! What a seeded pair gets before it is the source: ballast in every table and, where asked for, calls under way.
//!
//! Only on instances that the harness started on files of its own; a given backup never comes here.

use crate::client::Access;
use crate::drills::context::{DrillContext, Stop};
use crate::drills::instances::{Deployment, Source, StartError};
use crate::drills::source::{self, START_TRIES, SourceError};
use crate::runtime::ready::{self, Look};
use crate::seed::Seeded;
use crate::seed::ballast::{self, Loaded};
use crate::seed::ledger::Outcome;
use crate::seed::under_way::{self, UnderWay};
use std::time::Duration;

/// How long the calls under way may take to stand where they stay.
const UNDER_WAY_LIMIT: Duration = Duration::from_secs(5);

/// Stops the seeded pair, adds the ballast, starts it again on the same files.
///
/// # Errors
/// [`Stop`]; before the outage, so the drill is inconclusive.
pub async fn ballast(context: &mut DrillContext, deployment: &mut Deployment, source: Source) -> Result<Source, Stop> {
    let (seed, logs) = (context.request.seed, context.folders.work.join("logs"));
    let mut pair = source.0;
    let work = async {
        let databases = [pair.directory.database.clone(), pair.bus.database.clone()];
        pair.stop(&deployment.environment).await?;
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
        Ok((Source(pair), detail))
    };
    context.step("load the ballast and start the source again", work).await
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
