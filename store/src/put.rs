//! Puts a snapshot into a store: parts that are not there yet, each read back, and the index last.
//!
//! A part that is there is not sent again, whether another snapshot has it or an upload that was broken off; it is read back
//! all the same, and sent again if it is damaged.

use crate::address::{AccessError, Store};
use crate::layout::{
    Contents, Index, LayoutError, PART_BYTES, PARTS, PRUNING, SMALL_BYTES, Settings, StoredFile, UPLOADS, UnderWay,
    file_names, index_key, part_name,
};
use crate::sealing::{Lock, Naming, OVERHEAD, SealError, hex, open, seal, sha256};
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::{SignedDuration, Timestamp};
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
/// A pruning that began longer ago was broken off.
const PRUNING_LIMIT: SignedDuration = SignedDuration::from_hours(1);

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
    #[error("{store} is being pruned since {since}; try again when that is done")]
    Pruning {
        /// The store.
        store: String,
        /// Since when.
        since: String,
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
}

/// The id of a snapshot taken at that time.
#[must_use]
pub fn id_of(taken_at: Timestamp) -> String {
    taken_at.strftime("%Y-%m-%dT%H-%M-%S-%3fZ").to_string()
}

/// RFC 3339 UTC with milliseconds.
#[must_use]
pub fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
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
    let id = id_of(taken);
    // Ours first, then a look at theirs; whoever prunes does it the other way round, so one of both sees the other.
    let mark = format!("{UPLOADS}/{id}.json");
    let under_way = UnderWay {
        since: written(how.now),
    };
    store
        .write(&mark, serde_json::to_vec(&under_way).unwrap_or_default())
        .await?;
    let stored = put_marked(store, folder, how, &settings, &verified.manifest, id).await;
    if stored.is_ok() {
        store.remove(&mark).await?;
    }
    stored
}

async fn put_marked(
    store: &Store,
    folder: &Path,
    how: &How,
    settings: &Settings,
    manifest: &Manifest,
    id: String,
) -> Result<Stored, PutError> {
    if let Some(since) = pruning(store, how.now).await? {
        return Err(PutError::Pruning {
            store: store.shown().to_owned(),
            since,
        });
    }
    let naming = naming(settings, manifest, how);
    let mut index = Index::new(
        id,
        manifest.taken_at.clone(),
        written(how.now),
        how.lock.as_ref().map(Lock::name),
    );
    let mut there: HashMap<String, Vec<String>> = HashMap::new();
    for (name, _) in store.names(PARTS).await? {
        if let Some((content, _)) = part_name(&name) {
            there.entry(content.to_owned()).or_default().push(name.clone());
        }
    }
    let mut sender = Sender {
        store,
        how,
        naming,
        there,
        places: BTreeMap::new(),
        parts: Vec::new(),
        sent: 0,
        sent_bytes: 0,
        stored_bytes: 0,
    };
    let mut files = Vec::new();
    for name in file_names() {
        let file = sender.file(&folder.join(name), name).await?;
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
    let key = index_key(&index.id);
    store.create(&key, index.text().into_bytes()).await?;
    let back = Index::read(store, &index.id).await?;
    if back.text() != index.text() {
        return Err(PutError::ReadBack {
            store: store.shown().to_owned(),
            key,
        });
    }
    Ok(Stored {
        index: back,
        sent: sender.sent,
        sent_bytes: sender.sent_bytes,
    })
}

/// Since when somebody prunes the store, if somebody does.
async fn pruning(store: &Store, now: Timestamp) -> Result<Option<String>, AccessError> {
    let text = match store.read(PRUNING, SMALL_BYTES).await {
        Ok(text) => text,
        Err(AccessError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let since = serde_json::from_slice::<UnderWay>(&text).ok().map(|mark| mark.since);
    let at = since.as_ref().and_then(|since| since.parse::<Timestamp>().ok());
    Ok(since.filter(|_| at.is_some_and(|at| now.duration_since(at) < PRUNING_LIMIT)))
}

fn naming(settings: &Settings, manifest: &Manifest, how: &How) -> Naming {
    match (&how.lock, &how.naming_secret) {
        (None, _) => Naming::Content,
        (Some(_), Some(secret)) => Naming::keyed(&settings.salt, &[b"secret", secret.as_bytes()]),
        (Some(_), None) => {
            let files = manifest.services.iter().flat_map(|part| &part.files);
            let hashes: Vec<&[u8]> = files.map(|file| file.sha256.as_bytes()).collect();
            Naming::keyed(&settings.salt, &hashes)
        }
    }
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
    async fn file(&mut self, path: &Path, name: &str) -> Result<StoredFile, PutError> {
        let failed = |source| PutError::Read {
            path: path.to_owned(),
            source,
        };
        let mut file = File::open(path).map_err(failed)?;
        let (mut hash, mut bytes, mut order, mut at_end) = (Sha256::new(), 0, Vec::new(), false);
        while !at_end {
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
