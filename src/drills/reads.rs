//! Everything that is read back over HTTP, in one place: the same looks make the baseline and, later, the observation.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::ObserveError;
use crate::checks::{
    acl, agent_rows, agents, audit, bus, health, notifications, release, requests, roles, trace_rows, traces,
    workspace_rows, workspaces,
};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::seed::ledger::{Area, Ledger};
use crate::snapshot::database::{DatabaseError, Databases};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// One look: what was seen, and how long it took.
pub struct Look {
    /// Which check looked.
    pub id: CheckId,
    /// What it saw.
    pub seen: Result<Objects, ObserveError>,
    /// How long it took.
    pub took: Duration,
}

/// Checks that compare what is read over HTTP with ledger, baseline and rows.
pub const COMPARED: &[CheckId] = &[
    CheckId::Health,
    CheckId::Agents,
    CheckId::Acl,
    CheckId::Roles,
    CheckId::Requests,
    CheckId::Notifications,
    CheckId::Workspaces,
    CheckId::Traces,
    CheckId::Bus,
    CheckId::Audit,
];

async fn timed(id: CheckId, look: impl Future<Output = Result<Objects, ObserveError>>) -> Look {
    let began = Instant::now();
    let seen = Box::pin(look).await;
    Look {
        id,
        seen,
        took: began.elapsed(),
    }
}

/// Looks at everything, side by side. `access` carries an admin session. Reads that make rows (critical alerts) come last.
pub async fn look(access: &Access) -> Vec<Look> {
    // The audit log is read first: it must not show what the other looks may cause.
    let audit = timed(CheckId::Audit, audit::observe(access)).await;
    let (health, release, agents, acl, roles, requests, workspaces, traces, bus) = tokio::join!(
        timed(CheckId::Health, health::observe(access)),
        timed(CheckId::Release, release::observe(access)),
        timed(CheckId::Agents, agents::observe(access)),
        timed(CheckId::Acl, acl::observe(access)),
        timed(CheckId::Roles, roles::observe(access)),
        timed(CheckId::Requests, requests::observe(access)),
        timed(CheckId::Workspaces, workspaces::observe(access)),
        timed(CheckId::Traces, traces::observe(access)),
        timed(CheckId::Bus, bus::observe(access)),
    );
    let notifications = timed(CheckId::Notifications, notifications::observe(access)).await;
    vec![
        health,
        release,
        agents,
        acl,
        roles,
        requests,
        notifications,
        workspaces,
        traces,
        bus,
        audit,
    ]
}

/// What the snapshot's rows say for each check.
///
/// # Errors
/// A table that cannot be read.
pub fn rows(id: CheckId, databases: &Databases, identity: &str) -> Result<Option<Objects>, DatabaseError> {
    match id {
        CheckId::Health => health::from_rows(databases).map(Some),
        CheckId::Agents => agent_rows::from_rows(databases).map(Some),
        CheckId::Acl => acl::from_rows(databases).map(Some),
        CheckId::Roles => roles::from_rows(databases, identity).map(Some),
        CheckId::Requests => requests::from_rows(databases).map(Some),
        CheckId::Notifications => notifications::from_rows(databases).map(Some),
        CheckId::Workspaces => workspace_rows::from_rows(databases).map(Some),
        CheckId::Traces => trace_rows::from_rows(databases).map(Some),
        CheckId::Bus => bus::from_rows(databases).map(Some),
        CheckId::Audit => audit::from_rows(databases).map(Some),
        _ => Ok(None),
    }
}

/// What the ledger fixes for each check.
#[must_use]
pub fn promised(id: CheckId, ledger: &Ledger) -> Option<Objects> {
    let area = match id {
        CheckId::Agents => Area::Agents,
        CheckId::Acl => Area::Acl,
        CheckId::Roles => Area::Roles,
        CheckId::Requests => Area::Requests,
        CheckId::Notifications => Area::Notifications,
        CheckId::Workspaces => Area::Workspaces,
        CheckId::Traces => Area::Traces,
        CheckId::Bus => Area::Bus,
        _ => return None,
    };
    Some(Objects(ledger.expected(area)))
}

/// Judges one of [`COMPARED`].
#[must_use]
pub fn judge(id: CheckId, expected: &Expected<'_>, seen: &Objects) -> Judgement {
    match id {
        CheckId::Health => health::judge(expected, seen),
        CheckId::Agents => agents::judge(expected, seen),
        CheckId::Acl => acl::judge(expected, seen),
        CheckId::Roles => roles::judge(expected, seen),
        CheckId::Requests => requests::judge(expected, seen),
        CheckId::Notifications => notifications::judge(expected, seen),
        CheckId::Workspaces => workspaces::judge(expected, seen),
        CheckId::Traces => traces::judge(expected, seen),
        CheckId::Bus => bus::judge(expected, seen),
        CheckId::Audit => audit::judge(expected, seen),
        _ => Judgement::default(),
    }
}

/// The looks that saw something, by check.
///
/// # Errors
/// The first look that failed.
pub fn all_seen(looks: Vec<Look>) -> Result<BTreeMap<CheckId, Objects>, ObserveError> {
    looks
        .into_iter()
        .map(|look| look.seen.map(|seen| (look.id, seen)))
        .collect()
}

/// Every subject that the ledger fixes, for the negative control on clean instances.
#[must_use]
pub fn all_promised(ledger: &Ledger) -> Objects {
    let each = COMPARED.iter().filter_map(|id| promised(*id, ledger));
    Objects(each.flat_map(|objects| objects.0).collect())
}
