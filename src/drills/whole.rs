//! A whole drill with one fault in it: what belongs to the life of a source, and what only a drill itself can do wrong.
//!
//! It seeds, stops, takes and restores a source of its own; the same checks judge it as any drill.

use crate::drills::backup_restore::{self, Taking};
use crate::drills::context::{Base, DrillContext, DrillRequest, Quiet, Stop, UsageError};
use crate::drills::hooks::{Hand, HookError};
use crate::drills::injecting::{NotInjected, Others, Shared, acting};
use crate::drills::trial::{Trial, conclude};
use crate::drills::{Ending, at_rest};
use crate::faults::fault::{Fault, Hook, Injection, Stage};
use crate::runtime::engine::Mount;
use std::time::Instant;

/// Whether a fault cannot go into a copy of a template.
#[must_use]
pub(crate) fn needs(fault: &Fault) -> bool {
    fault.stage == Stage::Source || matches!(fault.injection, Injection::Hook(_))
}

/// Runs the drill with the fault in it and judges.
///
/// # Errors
/// [`UsageError`] when no folder can be made for the drill, or it cannot begin.
pub(crate) async fn try_out(mut request: DrillRequest, fault: &Fault) -> Result<Trial, UsageError> {
    let began = Instant::now();
    let shared = Shared::default();
    let hand = match &fault.injection {
        Injection::Hook(hook) => Some(Hand::new(*hook)),
        _ => None,
    };
    request.keep = false;
    if fault.needs_live_files() {
        request.mount = Mount::Bind;
    }
    request.stages = match &hand {
        Some(hand) => hand.stages(),
        None => acting(fault.clone(), shared.clone(), Others::default()),
    };
    if fault.injection == Injection::Hook(Hook::NothingToObserve) {
        request.base = Base::NoWorkspaces;
    }
    let mut context = DrillContext::new(request, Box::new(Quiet))?;
    let ended = Box::pin(drill(&mut context, hand.as_ref())).await;
    context.remove_containers().await;
    let ended = match ended {
        Err(Ending::Usage(error)) => {
            context.discard();
            return Err(error);
        }
        Err(Ending::Stop(stop)) => Err(stop),
        Ok(()) => Ok(()),
    };
    let error = match &hand {
        Some(hand) => hand.error().map(NotInjected::from),
        None => shared.error().or_else(|| shared.is_without_injection()),
    };
    // Without its fault the drill says nothing; what stopped it may tell why there is none.
    let error = error.map(|error| match &ended {
        Err(stop) if !stop.cause.contains(&error.cause) => NotInjected {
            cause: format!("{} ({stop})", error.cause),
            ..error
        },
        _ => error,
    });
    Ok(conclude(context, ended, error, began))
}

async fn drill(context: &mut DrillContext, hand: Option<&Hand>) -> Result<(), Ending> {
    let mut standing = Box::pin(backup_restore::stand_up(context)).await?;
    if let Some(hand) = hand {
        let done = Box::pin(hand.standing(context, &mut standing)).await;
        done.map_err(|error| stop(hand, &error))?;
    }
    let mut stopped = Box::pin(backup_restore::stop_and_take(context, standing)).await?;
    let mut twin = None;
    if let Some(hand) = hand {
        let done = Box::pin(hand.stopped(context, &mut stopped)).await;
        twin = done.map_err(|error| stop(hand, &error))?;
    }
    let mut taking = Box::pin(backup_restore::prepare(context, stopped)).await?;
    if let Some(hand) = hand {
        hand.prepared(context, &mut taking)
            .map_err(|error| stop(hand, &error))?;
    }
    let Taking {
        mut deployment,
        taken,
        prepared,
        written,
        ..
    } = taking;
    at_rest::snapshot(context, &taken, &prepared, written.as_ref()).await?;
    let back = Box::pin(backup_restore::bring_back(
        context,
        &mut deployment,
        &taken,
        prepared,
        written.as_ref(),
    ))
    .await;
    if let Some(mut twin) = twin {
        let ended = twin.stop(&deployment.environment).await;
        ended.map_err(|error| Stop {
            step: "stop the pair of the fault".to_owned(),
            cause: error.to_string(),
        })?;
    }
    if let Some(hand) = hand {
        hand.at_end(&taken).map_err(|error| stop(hand, &error))?;
    }
    back
}

fn stop(hand: &Hand, error: &HookError) -> Stop {
    Stop {
        step: "inject the fault".to_owned(),
        cause: hand.failed(error),
    }
}
