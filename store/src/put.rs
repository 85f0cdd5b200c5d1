//! Puts a snapshot into a store: parts that are not there yet, each read back, and the index last.
//!
//! A part that is there is not sent again, whether another snapshot has it or an upload that was broken off; it is read back
//! all the same, and sent again if it is damaged. Uploads and prunings see each other by marks, whose age is told by the clock
//! of the store.

use crate::access::AccessError;
use crate::layout::{
    Contents, Index, LayoutError, PART_BYTES, PARTS, Settings, StoredFile, UPLOADS, file_names, index_key, part_name,
};
use crate::mark::{Mark, pruning, written};
use crate::objects::Store;
use crate::sealing::{Lock, Naming, OVERHEAD, SealError, open, seal};
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use recovery_drills::evidence::sha256;
use recovery_drills::snapshot::copying::hex;
use recovery_drills::snapshot::manifest::Manifest;
use recovery_drills::snapshot::verify;
use recovery_drills::snapshot::verify::VerifyError;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// How many parts are on their way at once.
pub(crate) const AT_ONCE: usize = 8;

/// Why a snapshot was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// What was to be stored is no whole snapshot.
    #[error("this snapshot is not whole; nothing was sent")]
    Snapshot {
        /// What is wrong.
        #[from]
        source: VerifyError,
    },
    /// Its manifest states no time.
    #[error("the manifest states no usable time ({taken_at:?}); nothing was sent")]
    Time {
        /// What it states.
        taken_at: String,
    },
    /// A file of it cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It changed while it was sent.
    #[error("{path} changed while it was sent; the snapshot was not stored")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The store could not be used.
    #[error("the snapshot was not stored; what was sent stays for the next try")]
    Access(#[from] AccessError),
    /// The store's own objects could not be used.
    #[error("the snapshot was not stored")]
    Layout(#[from] LayoutError),
    /// A part could not be made.
    #[error("the snapshot was not stored")]
    Seal(#[from] SealError),
    /// What comes back is not what was sent.
    #[error("{store} gives back other bytes than were sent as {key}; the snapshot was not stored")]
    ReadBack {
        /// The store.
        store: String,
        /// The object.
        key: String,
    },
    /// Somebody prunes it.
    #[error("{store} is being pruned, last seen {at}; try again when that is done")]
    Pruning {
        /// The store.
        store: String,
        /// When it last said so.
        at: String,
    },
    /// Somebody took this upload for given up.
    #[error("somebody who pruned {store} took this upload for given up; the snapshot was not stored, try again")]
    GivenUp {
        /// The store.
        store: String,
    },
    /// Another snapshot has its name.
    #[error("{store} has another snapshot of that very moment ({id}); the snapshot was not stored, take another")]
    Taken {
        /// The store.
        store: String,
        /// Its name.
        id: String,
    },
    /// All parts are there, and the store did not say whether the index is.
    #[error(
        "all parts of {id} are in {store}, but whether the snapshot counts is not known; ask `snapshot list` when it answers"
    )]
    Unconfirmed {
        /// The store.
        store: String,
        /// Its name.
        id: String,
        /// What went wrong.
        source: Box<LayoutError>,
    },
}

/// How a snapshot is stored.
#[derive(Clone)]
pub struct How {
    /// Whom it is encrypted to.
    pub lock: Option<Lock>,
    /// A secret of the taking machine, so that encrypted snapshots share unchanged parts.
    pub naming_secret: Option<String>,
    /// Random, for a store that has to be made.
    pub salt: String,
    /// Now.
    pub now: Timestamp,
}

/// A snapshot that was stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its index.
    pub index: Index,
    /// Parts that were sent.
    pub sent: usize,
    /// Bytes that were sent.
    pub sent_bytes: u64,
    /// Why the mark of this upload could not be removed, if so: until it is old, prune removes no part.
    pub marked: Option<String>,
}

/// The id of a snapshot taken at that time.
#[must_use]
pub fn id_of(taken_at: Timestamp) -> String {
    taken_at.strftime("%Y-%m-%dT%H-%M-%S-%3fZ").to_string()
}

/// Stores the snapshot of a folder; the store is made if it is not there yet.
///
/// # Errors
/// [`PutError`]; the snapshot is not listed then.
pub async fn put(store: &Store, folder: &Path, how: &How) -> Result<Stored, PutError> {
    let verified = verify(folder)?;
    let taken: Timestamp = verified.manifest.taken_at.parse().map_err(|_| PutError::Time {
        taken_at: verified.manifest.taken_at.clone(),
    })?;
    let settings = Settings::read_or_make(store, how.salt.clone()).await?;
    let mut mark = Mark::new(store, UPLOADS, &format!("{}.", id_of(taken)), how.now);
    // Ours first, then a look at theirs; whoever prunes does it the other way round, so one of both sees the other.
    mark.write().await?;
    let stored = put_marked(&mut mark, folder, how, &settings, &verified.manifest, id_of(taken)).await;
    match stored {
        Ok(stored) => Ok(Stored {
            marked: mark.remove().await.err().map(|error| error.to_string()),
            ..stored
        }),
        Err(error @ (PutError::Pruning { .. } | PutError::Changed { .. } | PutError::Taken { .. })) => {
            // Nothing of it will be needed. A mark that stays only spares parts for a day.
            let _ = mark.remove().await;
            Err(error)
        }
        // What was sent is for the next try, so the mark stays.
        Err(error) => Err(error),
    }
}

async fn put_marked(
    mark: &mut Mark<'_>,
    folder: &Path,
    how: &How,
    settings: &Settings,
    manifest: &Manifest,
    id: String,
) -> Result<Stored, PutError> {
    let store = mark.store;
    if let Some(at) = pruning(mark).await? {
        return Err(PutError::Pruning {
            store: store.shown().to_owned(),
            at: written(at),
        });
    }
    let mut index = Index::new(
        id,
        manifest.taken_at.clone(),
        written(how.now),
        how.lock.as_ref().map(Lock::name),
    );
    let mut there: HashMap<String, Vec<String>> = HashMap::new();
    for listed in store.names(PARTS).await? {
        if let Some((content, _)) = part_name(&listed.name) {
            there.entry(content.to_owned()).or_default().push(listed.name.clone());
        }
    }
    let mut sender = Sender {
        store,
        how,
        naming: naming(settings, manifest, how),
        there,
        places: BTreeMap::new(),
        parts: Vec::new(),
        sent: 0,
        sent_bytes: 0,
        stored_bytes: 0,
    };
    let mut files = Vec::new();
    for name in file_names() {
        let file = sender.file(&folder.join(name), name, mark).await?;
        let stated = manifest
            .services
            .iter()
            .flat_map(|part| &part.files)
            .find(|file| file.path == name);
        if stated.is_some_and(|stated| stated.sha256 != file.sha256) {
            return Err(PutError::Changed {
                path: folder.join(name),
            });
        }
        index.bytes += file.bytes;
        files.push(file);
    }
    index.parts = sender.parts;
    index.stored_bytes = sender.stored_bytes;
    let contents = serde_json::to_vec(&Contents { files }).unwrap_or_default();
    index.enclose(&seal(&contents, how.lock.as_ref())?);
    let index = commit(mark, &index).await?;
    Ok(Stored {
        index,
        sent: sender.sent,
        sent_bytes: sender.sent_bytes,
        marked: None,
    })
}

/// Writes the index: from here on the snapshot counts. What comes back is what was written.
async fn commit(mark: &Mark<'_>, index: &Index) -> Result<Index, PutError> {
    let (store, key) = (mark.store, index_key(&index.id));
    let unconfirmed = |source: LayoutError| PutError::Unconfirmed {
        store: store.shown().to_owned(),
        id: index.id.clone(),
        source: Box::new(source),
    };
    let was_there = match store.create(&key, index.text().into_bytes()).await {
        Ok(()) => false,
        // Ours, if the answer to a first try was lost.
        Err(AccessError::Exists { .. }) => true,
        Err(error @ AccessError::Failed { .. }) => return Err(unconfirmed(error.into())),
        Err(error) => return Err(error.into()),
    };
    let back = Index::read(store, &index.id).await;
    let back = match back {
        Ok(back) if back.text() == index.text() => back,
        Err(LayoutError::Access(error)) => return Err(unconfirmed(error.into())),
        _ if was_there => {
            return Err(PutError::Taken {
                store: store.shown().to_owned(),
                id: index.id.clone(),
            });
        }
        Ok(_) | Err(_) => {
            store.remove(&key).await?;
            return Err(PutError::ReadBack {
                store: store.shown().to_owned(),
                key,
            });
        }
    };
    // Whoever prunes removes the marks of uploads that it takes for given up first, and lists the indexes after that: an index
    // that was written while its mark was there is seen.
    if !mark.is_there().await.map_err(|error| unconfirmed(error.into()))? {
        store.remove(&key).await?;
        return Err(PutError::GivenUp {
            store: store.shown().to_owned(),
        });
    }
    Ok(back)
}

/// Who it is encrypted to is part of the key: what only an older recipient can open is not taken for the same.
fn naming(settings: &Settings, manifest: &Manifest, how: &How) -> Naming {
    let Some(lock) = &how.lock else { return Naming::Content };
    let recipient = lock.name();
    if let Some(secret) = &how.naming_secret {
        return Naming::keyed(&settings.salt, &[recipient.as_bytes(), b"secret", secret.as_bytes()]);
    }
    let files = manifest.services.iter().flat_map(|part| &part.files);
    let hashes = files.map(|file| file.sha256.as_bytes());
    let from: Vec<&[u8]> = std::iter::once(recipient.as_bytes()).chain(hashes).collect();
    Naming::keyed(&settings.salt, &from)
}

struct Sender<'a> {
    store: &'a Store,
    how: &'a How,
    naming: Naming,
    /// Content name → parts of that name that are in the store.
    there: HashMap<String, Vec<String>>,
    /// Content name → place in `parts`.
    places: BTreeMap<String, usize>,
    parts: Vec<String>,
    sent: usize,
    sent_bytes: u64,
    stored_bytes: u64,
}

/// A part that is in the store and was read back.
struct Kept {
    name: String,
    bytes: u64,
    was_sent: bool,
}

impl Sender<'_> {
    /// Sends what is new of a file.
    async fn file(&mut self, path: &Path, name: &str, mark: &mut Mark<'_>) -> Result<StoredFile, PutError> {
        let failed = |source| PutError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let (mut hash, mut bytes, mut order, mut at_end) = (Sha256::new(), 0, Vec::new(), false);
        while !at_end {
            mark.keep().await?;
            let mut batch = Vec::new();
            while batch.len() < AT_ONCE && !at_end {
                let mut content = Vec::new();
                (&mut file).take(PART_BYTES).read_to_end(&mut content).map_err(failed)?;
                at_end = (content.len() as u64) < PART_BYTES;
                if content.is_empty() {
                    break;
                }
                hash.update(&content);
                bytes += content.len() as u64;
                let name = self.naming.of(&content);
                let next = self.places.len();
                let place = *self.places.entry(name.clone()).or_insert(next);
                order.push(place);
                if place == next {
                    batch.push((name, content));
                }
            }
            let known = &*self;
            let kept: Vec<_> = stream::iter(batch)
                .map(|(name, content)| known.part(name, content))
                .buffered(AT_ONCE)
                .collect()
                .await;
            for kept in kept {
                let kept = kept?;
                self.stored_bytes += kept.bytes;
                if kept.was_sent {
                    self.sent += 1;
                    self.sent_bytes += kept.bytes;
                }
                self.parts.push(kept.name);
            }
        }
        Ok(StoredFile {
            path: name.to_owned(),
            bytes,
            sha256: hex(&hash.finalize()),
            parts: order,
        })
    }

    async fn part(&self, name: String, content: Vec<u8>) -> Result<Kept, PutError> {
        for there in self.there.get(&name).into_iter().flatten() {
            let Some((_, stated)) = part_name(there) else { continue };
            let stored = match self
                .store
                .read(&format!("{PARTS}/{there}"), PART_BYTES + OVERHEAD)
                .await
            {
                Ok(stored) => stored,
                Err(AccessError::Missing { .. } | AccessError::TooLarge { .. }) => continue,
                Err(error) => return Err(error.into()),
            };
            // Without encryption the content itself can be held against ours; with it, what was once sent.
            let is_ours =
                self.how.lock.is_some() || open(&stored, false, None, PART_BYTES).is_ok_and(|back| back == content);
            if sha256(&stored) == stated && is_ours {
                return Ok(Kept {
                    name: there.clone(),
                    bytes: stored.len() as u64,
                    was_sent: false,
                });
            }
        }
        let sealed = seal(&content, self.how.lock.as_ref())?;
        let name = format!("{name}.{}", sha256(&sealed));
        let key = format!("{PARTS}/{name}");
        self.store.write(&key, sealed.clone()).await?;
        let back = self.store.read(&key, PART_BYTES + OVERHEAD).await?;
        // What was sent must also be what opens again; encrypted, only its owner can tell.
        let opens =
            self.how.lock.is_some() || open(&back, false, None, PART_BYTES).is_ok_and(|opened| opened == content);
        if back != sealed || !opens {
            return Err(PutError::ReadBack {
                store: self.store.shown().to_owned(),
                key,
            });
        }
        Ok(Kept {
            name,
            bytes: sealed.len() as u64,
            was_sent: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::parse;
    use crate::client::Patience;

    fn store(folder: &Path) -> Store {
        let address = parse(&folder.join("store").display().to_string()).expect("an address");
        Store::prepare(&address).expect("made");
        Store::open(&address, Vec::new(), Patience::default()).expect("opened")
    }

    fn index(bytes: u64) -> Index {
        let mut index = Index::new(
            "2026-11-22T02-00-00-000Z".to_owned(),
            "t".to_owned(),
            "t".to_owned(),
            None,
        );
        index.bytes = bytes;
        index
    }

    #[tokio::test]
    async fn an_upload_whose_mark_somebody_removed_does_not_become_a_snapshot() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = store(folder.path());
        let mut mark = Mark::new(&store, UPLOADS, "", Timestamp::UNIX_EPOCH);
        let given_up = commit(&mark, &index(1)).await;
        assert!(matches!(given_up, Err(PutError::GivenUp { .. })), "{given_up:?}");
        assert!(store.names("snapshots").await.expect("listed").is_empty());
        mark.write().await.expect("marked");
        commit(&mark, &index(1)).await.expect("stored");
        // As after a first try whose answer was lost; another snapshot of that name is none of ours.
        commit(&mark, &index(1)).await.expect("stored already");
        let taken = commit(&mark, &index(2)).await;
        assert!(matches!(taken, Err(PutError::Taken { .. })), "{taken:?}");
        assert_eq!(Index::read(&store, &index(1).id).await.expect("read").bytes, 1);
    }
}
