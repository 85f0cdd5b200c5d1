//! Removes snapshots that retention does not keep, and parts that no index names.
//!
//! Never the last snapshot that was whole when it was read back; no part while an upload may still need it, and none at all
//! while one index cannot be read, since nobody knows which parts it names.

use crate::access::AccessError;
use crate::layout::{LayoutError, PARTS, PRUNINGS, SNAPSHOTS, Settings, UPLOADS, VERIFIED, index_key, part_name};
use crate::list::{Entry, list};
use crate::mark::{Mark, written};
use crate::objects::Store;
use crate::put::AT_ONCE;
use crate::retention::Retention;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

/// An upload that last wrote its mark longer ago was given up; so was a pruning.
const GIVEN_UP: SignedDuration = SignedDuration::from_hours(24);
/// So many parts are removed before the mark is looked after.
const PARTS_A_ROUND: usize = 256;

/// Why nothing, or not everything, was removed.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The rules keep nothing.
    #[error(
        "no rule of retention; give --keep-last N, --keep-daily N or another, or [snapshots] retention in the environment file"
    )]
    NoRule,
    /// Somebody removed the mark of this pruning.
    #[error("somebody removed the mark of this pruning at once; nothing was removed, try again")]
    Unmarked,
    /// The store could not be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Its objects could not be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

/// What is done with one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// Which.
    pub id: String,
    /// Why it is kept; empty where it is removed.
    pub kept: Vec<String>,
}

/// What is removed and what stays; printing it tells what will be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Every snapshot, oldest first.
    pub fates: Vec<Fate>,
    /// Parts that no kept index names.
    pub parts: Vec<(String, u64)>,
    /// Why no part is removed although there are some, if so.
    pub spared: Option<String>,
    /// Marks of uploads that were given up.
    abandoned: Vec<String>,
}

impl Plan {
    /// The snapshots that are removed.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.fates
            .iter()
            .filter(|fate| fate.kept.is_empty())
            .map(|fate| fate.id.as_str())
    }

    /// Bytes of the parts that are removed.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// Decides, without changing anything.
///
/// # Errors
/// [`PruneError`].
pub async fn plan(store: &Store, retention: &Retention, now: Timestamp) -> Result<Plan, PruneError> {
    if retention.is_empty() {
        return Err(PruneError::NoRule);
    }
    let entries = list(store).await?;
    let fates = fates(&entries, retention);
    let is_kept = |id: &str| fates.iter().any(|fate| fate.id == id && !fate.kept.is_empty());
    let kept = entries.iter().filter(|entry| is_kept(&entry.id));
    let named: BTreeSet<&String> = kept
        .filter_map(|entry| entry.index.as_ref().ok())
        .flat_map(|index| &index.parts)
        .collect();
    let listed = store
        .names(PARTS)
        .await?
        .into_iter()
        .map(|part| (part.name, part.bytes));
    let mut parts: Vec<(String, u64)> = listed
        .filter(|(name, _)| part_name(name).is_some() && !named.contains(name))
        .collect();
    let (under_way, abandoned) = uploads(store, now).await?;
    let unreadable = entries.iter().find(|entry| entry.index.is_err());
    let spared = match (unreadable, under_way) {
        (Some(entry), _) => Some(format!(
            "the index of {} cannot be read, so nobody knows its parts",
            entry.id
        )),
        (None, Some(since)) => Some(format!(
            "an upload is under way, or was broken off, last seen {since}; it is given up after 24 h"
        )),
        (None, None) => None,
    };
    if spared.is_some() {
        parts.clear();
    }
    Ok(Plan {
        fates,
        parts,
        spared,
        abandoned,
    })
}

fn fates(entries: &[Entry], retention: &Retention) -> Vec<Fate> {
    let read: Vec<(&Entry, Timestamp)> = entries
        .iter()
        .filter_map(|entry| Some((entry, entry.index.as_ref().ok()?.taken_at.parse().ok()?)))
        .collect();
    let times: Vec<Timestamp> = read.iter().map(|(_, taken)| *taken).collect();
    let reasons = retention.reasons(&times);
    let last_whole = read
        .iter()
        .filter(|(entry, _)| entry.was_whole())
        .max_by_key(|(_, taken)| *taken)
        .map(|(entry, _)| entry.id.clone());
    let fate = |entry: &Entry| {
        let at = read.iter().position(|(other, _)| other.id == entry.id);
        let mut kept: Vec<String> = match at {
            Some(at) => reasons[at].iter().map(ToString::to_string).collect(),
            None => vec!["cannot be read; remove it by hand".to_owned()],
        };
        if last_whole.as_ref() == Some(&entry.id) {
            kept.push("the last verified".to_owned());
        }
        Fate {
            id: entry.id.clone(),
            kept,
        }
    };
    entries.iter().map(fate).collect()
}

/// When an upload under way last said so, and the marks of what was given up.
async fn uploads(store: &Store, now: Timestamp) -> Result<(Option<String>, Vec<String>), AccessError> {
    let (mut under_way, mut abandoned) = (None, Vec::new());
    for folder in [UPLOADS, PRUNINGS] {
        for listed in store.names(folder).await? {
            if now.duration_since(listed.at) >= GIVEN_UP {
                abandoned.push(format!("{folder}/{}", listed.name));
            } else if folder == UPLOADS {
                under_way = Some(written(listed.at));
            }
        }
    }
    Ok((under_way, abandoned))
}

/// Removes what a plan made at this moment says, and returns that plan. What is old is told by the clock of the store.
///
/// # Errors
/// [`PruneError`]; indexes go before parts, so that what is left of a broken run is never a snapshot with a hole.
pub async fn prune(store: &Store, retention: &Retention, now: Timestamp) -> Result<Plan, PruneError> {
    if retention.is_empty() {
        return Err(PruneError::NoRule);
    }
    // Before a mark is left in a folder or bucket that is no store.
    Settings::read(store).await?;
    let mut mark = Mark::new(store, PRUNINGS, "", now);
    // Ours first, then a look at uploads; whoever uploads does it the other way round, so one of both sees the other.
    mark.write().await?;
    let pruned = perform(&mut mark, retention).await;
    let unmarked = mark.remove().await;
    let plan = pruned?;
    unmarked?;
    Ok(plan)
}

async fn perform(mark: &mut Mark<'_>, retention: &Retention) -> Result<Plan, PruneError> {
    let store = mark.store;
    let now = mark.at().await?.ok_or(PruneError::Unmarked)?;
    let first = plan(store, retention, now).await?;
    for key in &first.abandoned {
        store.remove(key).await?;
    }
    // Listed again: an upload that was taken for given up and ended just now is a snapshot. See `put`.
    let plan = plan(store, retention, now).await?;
    for id in plan.removed() {
        mark.keep().await?;
        store.remove(&index_key(id)).await?;
        store.remove(&format!("{VERIFIED}/{id}.json")).await?;
    }
    for folder in [PARTS, SNAPSHOTS, VERIFIED, UPLOADS, PRUNINGS] {
        store.sweep(folder, GIVEN_UP.unsigned_abs())?;
    }
    for parts in plan.parts.chunks(PARTS_A_ROUND) {
        mark.keep().await?;
        stream::iter(parts)
            .map(|(name, _)| async move { store.remove(&format!("{PARTS}/{name}")).await })
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
    }
    Ok(plan)
}
