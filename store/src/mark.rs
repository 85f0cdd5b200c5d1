//! Marks of what is under way in a store: uploads and prunings, which see each other by them.
//!
//! How old a mark is, is told by the clock of the store, so that clocks of machines may differ.

use crate::access::AccessError;
use crate::layout::{PRUNINGS, UnderWay};
use crate::objects::Store;
use jiff::{SignedDuration, Timestamp};
use std::time::{Duration, Instant};

/// A pruning that last wrote its mark longer ago was broken off.
const PRUNING_LIMIT: SignedDuration = SignedDuration::from_hours(1);
/// So often the mark of what is under way is written again.
const MARK_AGAIN: Duration = Duration::from_secs(300);

/// An object that says that something is under way, written again from time to time.
pub(crate) struct Mark<'a> {
    pub(crate) store: &'a Store,
    pub(crate) key: String,
    since: Timestamp,
    written: Instant,
}

impl Mark<'_> {
    pub(crate) fn new<'a>(store: &'a Store, folder: &str, start: &str, since: Timestamp) -> Mark<'a> {
        Mark {
            store,
            key: format!("{folder}/{start}{}.json", uuid::Uuid::new_v4().simple()),
            since,
            written: Instant::now(),
        }
    }

    pub(crate) async fn write(&mut self) -> Result<(), AccessError> {
        self.written = Instant::now();
        let text = UnderWay {
            since: written(self.since),
        };
        self.store
            .write(&self.key, serde_json::to_vec(&text).unwrap_or_default())
            .await
    }

    /// Writes it again if it is some minutes old.
    pub(crate) async fn keep(&mut self) -> Result<(), AccessError> {
        if self.written.elapsed() > MARK_AGAIN && self.is_there().await? {
            self.write().await?;
        }
        Ok(())
    }

    /// Whether nobody removed it.
    pub(crate) async fn is_there(&self) -> Result<bool, AccessError> {
        Ok(self.store.written_at(&self.key).await?.is_some())
    }

    /// When it was written, by the clock of the store.
    pub(crate) async fn at(&self) -> Result<Option<Timestamp>, AccessError> {
        self.store.written_at(&self.key).await
    }

    pub(crate) async fn remove(&self) -> Result<(), AccessError> {
        self.store.remove(&self.key).await
    }
}

/// When somebody who prunes the store last said so, if somebody does; a mark that is old beside ours was left behind.
pub(crate) async fn pruning(mark: &Mark<'_>) -> Result<Option<Timestamp>, AccessError> {
    let Some(ours) = mark.at().await? else { return Ok(None) };
    let marks = mark.store.names(PRUNINGS).await?;
    let newest = marks.iter().map(|listed| listed.at).max();
    Ok(newest.filter(|at| ours.duration_since(*at) < PRUNING_LIMIT))
}

/// RFC 3339 UTC with milliseconds.
#[must_use]
pub(crate) fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
