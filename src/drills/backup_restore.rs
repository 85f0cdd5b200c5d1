//! Stop, snapshot, start clean, restore, prove: the drill that an operator rehearses.

use crate::drills::context::DrillContext;
use crate::drills::proving::{self, Written};
use crate::drills::{Ending, at_rest, reads, restoring, source, taking};
use std::path::PathBuf;

/// The whole drill, from a source of the harness's own or from a given backup.
///
/// # Errors
/// [`Ending::Usage`] before anything was started; [`Ending::Stop`] when a step cannot be done.
pub async fn run(context: &mut DrillContext) -> Result<(), Ending> {
    let ended = match context.request.from.clone() {
        None => from_source(context).await,
        Some(from) => from_backup(context, from).await,
    };
    source::keep_logs(context);
    ended
}

async fn from_source(context: &mut DrillContext) -> Result<(), Ending> {
    let mut deployment = source::deployment(context)?;
    let running = source::start(context, &mut deployment).await?;
    proving::name_components(context, &deployment, &running.0);
    let mut access = source::access(&running.0, &deployment);
    let seeded = source::seed(context, &deployment, &mut access).await?;
    let baseline = proving::baseline(context, &access).await?;
    access.close();
    let written = Written { seeded, baseline };
    let stopped = source::stop(context, running, &deployment).await?;
    let taken = taking::from_source(context, &stopped, &deployment).await?;
    let agents = &written.seeded.facts.agents;
    let promised = reads::all_promised(&written.seeded.ledger);
    let prepared = restoring::prove_clean(context, &mut deployment, agents, Some(&promised)).await?;
    at_rest::snapshot(context, &taken, &prepared, Some(&written)).await?;
    let prepared = restoring::put_back(context, &taken, prepared).await?;
    at_rest::restored(context, &taken, &prepared).await?;
    let restored = restoring::start_restored(context, &mut deployment, &taken, &prepared).await?;
    proving::prove(context, &deployment, &taken, &prepared, Some(&written), restored).await?;
    Ok(())
}

async fn from_backup(context: &mut DrillContext, from: PathBuf) -> Result<(), Ending> {
    let mut deployment = source::deployment(context)?;
    let taken = taking::from_backup(context, &from, &mut deployment).await?;
    let prepared = restoring::prove_clean(context, &mut deployment, &[], None).await?;
    at_rest::snapshot(context, &taken, &prepared, None).await?;
    let prepared = restoring::put_back(context, &taken, prepared).await?;
    at_rest::restored(context, &taken, &prepared).await?;
    let restored = restoring::start_restored(context, &mut deployment, &taken, &prepared).await?;
    proving::name_components(context, &deployment, &restored.0);
    proving::prove(context, &deployment, &taken, &prepared, None, restored).await?;
    Ok(())
}
