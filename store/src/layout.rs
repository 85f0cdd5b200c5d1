//! What lies in a store, and the index of a snapshot.
//!
//! `recovery-drill-store.json` (settings, salt), `parts/<name>.<sha256 of what is stored>`, `snapshots/<id>.json` (the index),
//! `verified/<id>.json` (the last time that it was read back), `uploads/<id>.<random>.json` and `prunings/<random>.json` (under
//! way). An index can be listed and pruned without a key; what it says of files and rows is sealed like a part.

use crate::access::AccessError;
use crate::address::is_id;
use crate::objects::Store;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use recovery_drills::deployment::Service;
use recovery_drills::evidence::sha256;
use recovery_drills::snapshot::manifest;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Content of one part, in bytes; the last of a file may be shorter. Small, so that little is sent where little changed.
pub const PART_BYTES: u64 = 256 << 10;
/// The store's settings.
pub const SETTINGS: &str = "recovery-drill-store.json";
/// Where the parts are.
pub const PARTS: &str = "parts";
/// Where the indexes are.
pub const SNAPSHOTS: &str = "snapshots";
/// Where it is written when a snapshot was last read back.
pub const VERIFIED: &str = "verified";
/// Where uploads under way are.
pub const UPLOADS: &str = "uploads";
/// Where prunings under way are.
pub const PRUNINGS: &str = "prunings";
/// Largest index: half a million parts, 128 GiB of databases.
pub const INDEX_BYTES: u64 = 128 << 20;
/// Largest of the small objects.
pub const SMALL_BYTES: u64 = 64 << 10;

const STORE_FORMAT: &str = "recovery-drill-store/1";
const INDEX_FORMAT: &str = "recovery-drill-stored-snapshot/1";

/// Why an object of the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It cannot be had.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// Nothing of ours is there.
    #[error("{store} is no store of snapshots: it has no {SETTINGS}; store one there first, or check the address")]
    NoStore {
        /// The address.
        store: String,
    },
    /// It is no JSON of ours.
    #[error("{key} in {store} is damaged: {what}")]
    Damaged {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What is wrong.
        what: String,
    },
    /// Another version wrote it.
    #[error("{key} in {store} has format {format:?}; use the version of this program that wrote it")]
    UnknownFormat {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What it says.
        format: String,
    },
}

/// The store's settings.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    format: String,
    /// Drawn when the store was made.
    pub salt: String,
}

/// What is written when a snapshot was read back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checked {
    /// When.
    pub at: String,
    /// The `whole` of the index that was read; the mark says nothing of another one in its place.
    pub index: String,
    /// Whether everything was whole.
    pub whole: bool,
}

/// Something under way.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnderWay {
    /// Since when.
    pub since: String,
}

/// The index of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    format: String,
    /// Its name in the store: the time at which it was taken.
    pub id: String,
    /// When it was taken.
    pub taken_at: String,
    /// When it was stored and read back.
    pub stored_at: String,
    /// Bytes of its files.
    pub bytes: u64,
    /// Bytes of its parts as they are stored, those that it shares with others too.
    pub stored_bytes: u64,
    /// The age recipient; `null` where nothing is encrypted.
    pub recipient: Option<String>,
    /// Names of its parts, each once.
    pub parts: Vec<String>,
    /// [`Contents`] as JSON, sealed like a part, in base64.
    pub contents: String,
    /// SHA-256 of this document with this value empty.
    pub whole: String,
}

/// What only a reader with the key sees of an encrypted snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contents {
    /// The files of the snapshot folder.
    pub files: Vec<StoredFile>,
}

/// One file of the snapshot folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredFile {
    /// Its plain name.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// Its parts in order, as places in the index's list.
    pub parts: Vec<usize>,
}

/// The files that a snapshot folder has, and no other.
#[must_use]
pub fn file_names() -> [&'static str; 3] {
    [
        manifest::FILE_NAME,
        Service::Directory.database_file(),
        Service::Bus.database_file(),
    ]
}

/// The SHA-256 in a part's name of what is stored under it, and the name of its content; `None` where the name is not ours.
#[must_use]
pub fn part_name(name: &str) -> Option<(&str, &str)> {
    let is_hash =
        |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    name.split_once('.')
        .filter(|(content, stored)| is_hash(content) && is_hash(stored))
}

/// Where a snapshot's index is.
#[must_use]
pub fn index_key(id: &str) -> String {
    format!("{SNAPSHOTS}/{id}.json")
}

impl Index {
    /// A new index.
    #[must_use]
    pub fn new(id: String, taken_at: String, stored_at: String, recipient: Option<String>) -> Index {
        Index {
            format: INDEX_FORMAT.to_owned(),
            id,
            taken_at,
            stored_at,
            bytes: 0,
            stored_bytes: 0,
            recipient,
            parts: Vec::new(),
            contents: String::new(),
            whole: String::new(),
        }
    }

    /// Its text, with its hash.
    #[must_use]
    pub fn text(&self) -> String {
        let mut index = self.clone();
        index.whole = index.computed();
        let mut text = serde_json::to_string_pretty(&index).unwrap_or_default();
        text.push('\n');
        text
    }

    fn computed(&self) -> String {
        let mut index = self.clone();
        index.whole.clear();
        // Strings, numbers and lists only: serialising them cannot fail.
        sha256(serde_json::to_string(&index).unwrap_or_default().as_bytes())
    }

    /// Puts the sealed contents in.
    pub fn enclose(&mut self, sealed: &[u8]) {
        self.contents = STANDARD.encode(sealed);
    }

    /// The sealed contents.
    #[must_use]
    pub fn sealed(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.contents).ok()
    }

    /// Reads a snapshot's index.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub async fn read(store: &Store, id: &str) -> Result<Index, LayoutError> {
        let key = index_key(id);
        let text = store.read(&key, INDEX_BYTES).await?;
        let index: Index = parsed(store, &key, INDEX_FORMAT, &text)?;
        match index.impossible(id) {
            None => Ok(index),
            Some(what) => Err(damaged(store, &key, what)),
        }
    }

    fn impossible(&self, id: &str) -> Option<String> {
        if self.whole != self.computed() {
            return Some("its hash is another than the one it states".to_owned());
        }
        if self.id != id || !is_id(id) {
            return Some(format!("it is the index of {:?}", self.id));
        }
        if let Some(name) = self.parts.iter().find(|name| part_name(name).is_none()) {
            return Some(format!("{name:?} is no name of a part"));
        }
        let distinct: BTreeSet<&String> = self.parts.iter().collect();
        (distinct.len() != self.parts.len()).then(|| "it names a part twice".to_owned())
    }

    /// Parses and checks the sealed contents: names, sizes and parts that fit together, nothing that is not used.
    ///
    /// # Errors
    /// What is wrong.
    pub fn contents(&self, text: &[u8]) -> Result<Contents, String> {
        let contents: Contents = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let names: Vec<&str> = contents.files.iter().map(|file| file.path.as_str()).collect();
        if names != file_names() {
            return Err(format!("files {names:?}, not {:?}", file_names()));
        }
        let mut used: BTreeSet<&usize> = BTreeSet::new();
        for file in &contents.files {
            if file.parts.len() as u64 != file.bytes.div_ceil(PART_BYTES) {
                let (parts, bytes) = (file.parts.len(), file.bytes);
                return Err(format!("{} has {parts} parts for {bytes} bytes", file.path));
            }
            used.extend(&file.parts);
        }
        if used.iter().any(|at| **at >= self.parts.len()) || used.len() != self.parts.len() {
            return Err(format!("{} of {} parts are used", used.len(), self.parts.len()));
        }
        let bytes = contents
            .files
            .iter()
            .try_fold(0_u64, |sum, file| sum.checked_add(file.bytes));
        if bytes == Some(self.bytes) {
            Ok(contents)
        } else {
            Err(format!("{bytes:?} bytes of files, {} stated", self.bytes))
        }
    }
}

/// A damaged object.
pub(crate) fn damaged(store: &Store, key: &str, what: String) -> LayoutError {
    LayoutError::Damaged {
        store: store.shown().to_owned(),
        key: key.to_owned(),
        what,
    }
}

fn parsed<T: for<'de> Deserialize<'de>>(store: &Store, key: &str, format: &str, text: &[u8]) -> Result<T, LayoutError> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
    }
    let garbage = |error: serde_json::Error| damaged(store, key, error.to_string());
    let head: Head = serde_json::from_slice(text).map_err(garbage)?;
    if head.format != format {
        return Err(LayoutError::UnknownFormat {
            store: store.shown().to_owned(),
            key: key.to_owned(),
            format: head.format,
        });
    }
    serde_json::from_slice(text).map_err(garbage)
}

impl Settings {
    /// The settings of a store that is there.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub async fn read(store: &Store) -> Result<Settings, LayoutError> {
        match store.read(SETTINGS, SMALL_BYTES).await {
            Ok(text) => parsed(store, SETTINGS, STORE_FORMAT, &text),
            Err(AccessError::Missing { .. }) => Err(LayoutError::NoStore {
                store: store.shown().to_owned(),
            }),
            Err(error) => Err(error.into()),
        }
    }

    /// The settings of a store, which is made if it is not there yet.
    ///
    /// # Errors
    /// [`LayoutError`].
    pub async fn read_or_make(store: &Store, salt: String) -> Result<Settings, LayoutError> {
        match Settings::read(store).await {
            Err(LayoutError::NoStore { .. }) => {}
            other => return other,
        }
        let settings = Settings {
            format: STORE_FORMAT.to_owned(),
            salt,
        };
        let text = serde_json::to_vec_pretty(&settings).unwrap_or_default();
        match store.create(SETTINGS, text).await {
            // Somebody else was faster.
            Ok(()) | Err(AccessError::Exists { .. }) => Settings::read(store).await,
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> (Index, Contents) {
        let id = "2026-11-22T02-00-00-000Z";
        let mut index = Index::new(id.to_owned(), "t".to_owned(), "t".to_owned(), None);
        index.parts = vec![format!("{0}.{0}", sha256(b"a")), format!("{0}.{0}", sha256(b"b"))];
        index.bytes = PART_BYTES + 11;
        let file = |path: &str, bytes, parts: &[usize]| StoredFile {
            path: path.to_owned(),
            bytes,
            sha256: String::new(),
            parts: parts.to_vec(),
        };
        let [manifest, directory, bus] = file_names();
        let files = vec![
            file(manifest, 1, &[0]),
            file(directory, PART_BYTES + 1, &[1, 0]),
            file(bus, 9, &[1]),
        ];
        (index, Contents { files })
    }

    fn refused(change: impl Fn(&mut Contents)) {
        let (index, mut contents) = index();
        let text = |contents: &Contents| serde_json::to_vec(contents).expect("written");
        assert_eq!(index.contents(&text(&contents)), Ok(contents.clone()));
        change(&mut contents);
        assert!(index.contents(&text(&contents)).is_err());
    }

    #[test]
    fn contents_cannot_name_a_file_outside_of_the_snapshot() {
        refused(|contents| contents.files[1].path = "../beam-directory.db".to_owned());
        refused(|contents| contents.files[1].path = contents.files[2].path.clone());
        refused(|contents| drop(contents.files.pop()));
    }

    #[test]
    fn contents_cannot_state_a_size_that_its_parts_do_not_have() {
        refused(|contents| contents.files[1].bytes = u64::MAX);
        refused(|contents| contents.files[1].parts.push(0));
        refused(|contents| contents.files[1].parts[0] = usize::MAX);
        refused(|contents| contents.files[2].bytes -= 1);
    }

    #[test]
    fn an_index_that_was_altered_or_moved_is_damaged() {
        let (index, _) = index();
        let read = |text: &str| serde_json::from_str::<Index>(text).expect("parsed");
        assert_eq!(read(&index.text()).impossible(&index.id), None);
        assert!(read(&index.text()).impossible("2026-11-22T02-00-00-001Z").is_some());
        let altered = index.text().replace("\"bytes\": 262155", "\"bytes\": 262156");
        assert!(read(&altered).impossible(&index.id).is_some());
        let mut escaped = index.clone();
        escaped.parts[0] = "../../elsewhere".to_owned();
        assert!(read(&escaped.text()).impossible(&index.id).is_some());
    }
}
