//! Which snapshots a store holds: those whose index is there.

use crate::access::AccessError;
use crate::layout::{Checked, Index, LayoutError, SMALL_BYTES, SNAPSHOTS, Settings, VERIFIED};
use crate::objects::Store;

/// One snapshot of a store.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub id: String,
    /// Its index, or why it cannot be read.
    pub index: Result<Index, LayoutError>,
    /// When it was last read back, and whether it was whole; storing it counts.
    pub checked: Option<Checked>,
}

impl Entry {
    /// Whether it was whole when it was last read back.
    #[must_use]
    pub fn was_whole(&self) -> bool {
        self.index.is_ok() && self.checked.as_ref().is_some_and(|checked| checked.whole)
    }
}

/// All snapshots, oldest first.
///
/// # Errors
/// [`LayoutError`] where the store cannot be read; a damaged index is an entry.
pub async fn list(store: &Store) -> Result<Vec<Entry>, LayoutError> {
    Settings::read(store).await?;
    let mut entries = Vec::new();
    for listed in store.names(SNAPSHOTS).await? {
        let Some(id) = listed.name.strip_suffix(".json") else {
            continue;
        };
        let index = match Index::read(store, id).await {
            // Removed since it was listed.
            Err(LayoutError::Access(AccessError::Missing { .. })) => continue,
            Err(LayoutError::Access(error @ AccessError::Failed { .. })) => return Err(error.into()),
            index => index,
        };
        let checked = match store.read(&format!("{VERIFIED}/{id}.json"), SMALL_BYTES).await {
            // A mark that cannot be read, or is of another index, speaks for nothing.
            Ok(text) => serde_json::from_slice(&text)
                .ok()
                .filter(|checked: &Checked| index.as_ref().is_ok_and(|index| index.whole == checked.index)),
            Err(AccessError::Missing { .. }) => index.as_ref().ok().map(|index| Checked {
                at: index.stored_at.clone(),
                index: index.whole.clone(),
                whole: true,
            }),
            Err(error) => return Err(error.into()),
        };
        entries.push(Entry {
            id: id.to_owned(),
            index,
            checked,
        });
    }
    Ok(entries)
}
