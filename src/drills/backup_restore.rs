//! Stop, snapshot, start clean, restore, prove: the drill that an operator rehearses.

use crate::checks::credentials;
use crate::checks::expectation::Objects;
use crate::client::Access;
use crate::drills::base::Earlier;
use crate::drills::context::{Base, DrillContext, UsageError};
use crate::drills::instances::{Deployment, Source};
use crate::drills::restoring::Prepared;
use crate::drills::source::{Ended, Written};
use crate::drills::taking::Taken;
use crate::drills::{Ending, at_rest, attached, base, direction, proving, reads, restoring, source, taking};
use crate::evidence::CheckId;
use crate::seed::Seeded;
use crate::seed::under_way::UnderWay;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The whole drill, from a source of the harness's own or from a given backup.
///
/// # Errors
/// [`Ending::Usage`] before anything was started; [`Ending::Stop`] when a step cannot be done.
pub async fn run(context: &mut DrillContext) -> Result<(), Ending> {
    let ended = match (context.request.from.clone(), context.request.attached.clone()) {
        (Some(from), _) => Box::pin(from_backup(context, from)).await,
        (None, Some(source)) => Box::pin(attached::run(context, source)).await,
        (None, None) => Box::pin(from_source(context)).await,
    };
    source::keep_logs(context);
    ended
}

async fn from_source(context: &mut DrillContext) -> Result<(), Ending> {
    let Taking {
        mut deployment,
        taken,
        prepared,
        written,
        ..
    } = take(context).await?;
    at_rest::snapshot(context, &taken, &prepared, written.as_ref()).await?;
    Box::pin(bring_back(context, &mut deployment, &taken, prepared, written.as_ref())).await
}

/// A source that was stopped and taken, and clean instances that were proven empty.
pub struct Taking {
    /// How instances are started.
    pub deployment: Deployment,
    /// What was taken.
    pub taken: Taken,
    /// Where it goes.
    pub prepared: Prepared,
    /// What was written; nothing to a given set.
    pub written: Option<Written>,
}

/// A source that is whole, was looked at and still runs.
pub struct Standing {
    /// How instances are started.
    pub deployment: Deployment,
    /// The source.
    pub running: Source,
    /// Clients of it, with an admin session.
    pub access: Access,
    /// What was written.
    pub seeded: Seeded,
    /// The source's files from before its last writes.
    pub earlier: Earlier,
    baseline: BTreeMap<CheckId, Objects>,
    issuer: Option<String>,
    under_way: Option<UnderWay>,
}

/// A source that was stopped and taken.
pub struct Stopped {
    /// How instances are started.
    pub deployment: Deployment,
    /// What was taken.
    pub taken: Taken,
    /// What was written.
    pub written: Written,
}

/// Everything up to the restore: start, seed, look, stop, take, prove clean.
///
/// # Errors
/// As [`run`].
pub async fn take(context: &mut DrillContext) -> Result<Taking, Ending> {
    let standing = Box::pin(stand_up(context)).await?;
    let stopped = Box::pin(stop_and_take(context, standing)).await?;
    prepare(context, stopped).await
}

/// Starts, seeds, completes and looks at the source.
///
/// # Errors
/// As [`run`].
pub async fn stand_up(context: &mut DrillContext) -> Result<Standing, Ending> {
    let mut deployment = source::deployment(context).await?;
    proving::name_components(context, &deployment);
    let running = source::start(context, &mut deployment).await?;
    let mut access = source::access(&running.0, &deployment);
    let mut seeded = Box::pin(source::seed(context, &deployment, &mut access)).await?;
    access.close();
    // Only with ballast in every table is it the source.
    let (running, earlier) = base::ballast(context, &mut deployment, running).await?;
    let access = base::access(&running, &deployment, &seeded);
    base::last_writes(context, &access, &mut seeded).await?;
    let under_way = match context.request.base {
        Base::Seed | Base::NoWorkspaces => None,
        Base::InFlight => Some(base::under_way(context, &access, &mut seeded).await?),
    };
    source::living(context, &running)?;
    let baseline = Box::pin(proving::baseline(context, &access)).await?;
    let issuer = credentials::issuer_key(&access).await.ok();
    source::reached(context, &running)?;
    Ok(Standing {
        deployment,
        running,
        access,
        seeded,
        earlier,
        baseline,
        issuer,
        under_way,
    })
}

/// Stops the source and takes the set that is restored.
///
/// # Errors
/// As [`run`].
pub async fn stop_and_take(context: &mut DrillContext, standing: Standing) -> Result<Stopped, Ending> {
    let Standing {
        deployment,
        running,
        access,
        mut seeded,
        earlier,
        baseline,
        issuer,
        under_way,
    } = standing;
    access.close();
    let how = if under_way.is_some() {
        Ended::Killed
    } else {
        Ended::Stopped
    };
    let stopped = source::stop(context, running, &deployment, how).await?;
    if let Some(under_way) = under_way {
        base::ended(context, under_way, &mut seeded).await?;
    }
    let written = Written {
        seeded,
        baseline,
        issuer,
        cut_at: stopped.cut_at,
        forced: match how {
            Ended::Stopped => source::forced("source", &stopped.stopped),
            Ended::Killed => Vec::new(),
        },
    };
    let mut taken = taking::from_source(context, &stopped, &deployment, &written).await?;
    taken.earlier = Some(earlier);
    Ok(Stopped {
        deployment,
        taken,
        written,
    })
}

/// Proves clean instances empty, in whose place the set is restored.
///
/// # Errors
/// As [`run`].
pub async fn prepare(context: &mut DrillContext, stopped: Stopped) -> Result<Taking, Ending> {
    let Stopped {
        mut deployment,
        taken,
        written,
    } = stopped;
    let agents = &written.seeded.facts.agents;
    let promised = reads::all_promised(&written.seeded.ledger);
    let prepared = restoring::prove_clean(context, &mut deployment, agents, Some(&promised)).await?;
    Ok(Taking {
        deployment,
        taken,
        prepared,
        written: Some(written),
    })
}

async fn from_backup(context: &mut DrillContext, from: PathBuf) -> Result<(), Ending> {
    let Taking {
        mut deployment,
        taken,
        prepared,
        ..
    } = take_given(context, &from).await?;
    at_rest::snapshot(context, &taken, &prepared, None).await?;
    Box::pin(bring_back(context, &mut deployment, &taken, prepared, None)).await
}

/// Everything up to the restore of a given set: copy it, prove clean instances empty.
///
/// # Errors
/// As [`run`].
pub async fn take_given(context: &mut DrillContext, from: &Path) -> Result<Taking, Ending> {
    if let Some(problem) = context.request.refused_isolation() {
        return Err(UsageError(problem).into());
    }
    let mut deployment = source::deployment(context).await?;
    proving::name_components(context, &deployment);
    let taken = taking::from_backup(context, from, &mut deployment).await?;
    without_ledger(context, &taken);
    let prepared = restoring::prove_clean(context, &mut deployment, &[], None).await?;
    Ok(Taking {
        deployment,
        taken,
        prepared,
        written: None,
    })
}

/// What is not asked of data that somebody else wrote.
pub fn without_ledger(context: &mut DrillContext, taken: &Taken) {
    context.not_asked(
        CheckId::Rpo.name(),
        "no ledger: the harness did not write this backup's data",
    );
    for table in taken.empty_tables() {
        context.not_asked(format!("{}: {table}", CheckId::Content), "no rows in this backup");
    }
}

/// Restores, compares, starts, proves: the same for every kind of set.
///
/// # Errors
/// As [`run`].
pub async fn bring_back(
    context: &mut DrillContext,
    deployment: &mut Deployment,
    taken: &Taken,
    prepared: Prepared,
    written: Option<&Written>,
) -> Result<(), Ending> {
    let prepared = match restoring::put_back(context, taken, prepared).await {
        Ok(prepared) => prepared,
        Err(stop) => {
            // What is wrong with the snapshot is said row by row, although it was not restored.
            at_rest::compare_content(context, taken, None).await?;
            return Err(stop.into());
        }
    };
    at_rest::restored(context, taken, &prepared).await?;
    let digests = restoring::digests(&prepared.places);
    let started = restoring::start_restored(context, deployment, taken, &prepared).await;
    let proven = match started {
        Ok(restored) => Box::pin(proving::prove(context, deployment, taken, &prepared, written, restored)).await,
        Err(stop) => Err(stop),
    };
    // Whether the direction of data is proven does not depend on how the restored pair behaves.
    direction::judge(context, taken, &prepared, digests).await?;
    proven?;
    Ok(())
}
