//! Gets a snapshot back from a store, and proves that it is whole.
//!
//! Nothing that a store says is believed: names, sizes and hashes are checked before anything is written, parts cannot grow
//! past their size, and files go into a new private folder that gets its name only when it is a whole snapshot.

use crate::access::AccessError;
use crate::address::{LATEST, is_id};
use crate::layout::{
    Checked, Contents, INDEX_BYTES, Index, LayoutError, PART_BYTES, PARTS, SNAPSHOTS, Settings, StoredFile, VERIFIED,
    damaged, index_key, part_name,
};
use crate::mark::written;
use crate::objects::Store;
use crate::put::AT_ONCE;
use crate::sealing::{OVERHEAD, Opener, SealError, open};
use futures_util::StreamExt as _;
use futures_util::stream;
use jiff::Timestamp;
use recovery_drills::evidence::sha256;
use recovery_drills::snapshot::copying::hex;
use recovery_drills::snapshot::verify as verify_folder;
use recovery_drills::snapshot::verify::VerifyError;
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Why a snapshot could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store could not be used.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// An object of it could not be used.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// There is no snapshot of that name.
    #[error("no snapshot {id} in {store}; it holds {held}")]
    NoSnapshot {
        /// What was asked for.
        id: String,
        /// The store.
        store: String,
        /// How many there are, and the newest.
        held: String,
    },
    /// Something is already there.
    #[error("{path} is already there; name a new folder")]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// A file could not be written.
    #[error("cannot write {path}; check free space and permissions")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An encrypted snapshot cannot be opened.
    #[error("cannot open the snapshot {id} of {store}")]
    Locked {
        /// Which.
        id: String,
        /// The store.
        store: String,
        /// Why.
        source: SealError,
    },
    /// It is not what its index says.
    #[error("the snapshot {id} of {store} is damaged: {}", .problems.join("; "))]
    Damaged {
        /// Which.
        id: String,
        /// The store.
        store: String,
        /// Everything that is wrong.
        problems: Vec<String>,
    },
    /// What came back is no whole snapshot.
    #[error("what the store gave back is no whole snapshot")]
    Snapshot {
        /// What is wrong.
        #[from]
        source: VerifyError,
    },
}

impl ReadError {
    /// Whether the caller named something that is not there, or lacks a key, rather than something damaged.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            ReadError::Access(error) | ReadError::Layout(LayoutError::Access(error)) => error.is_usage(),
            ReadError::Layout(LayoutError::NoStore { .. } | LayoutError::UnknownFormat { .. })
            | ReadError::NoSnapshot { .. }
            | ReadError::Exists { .. }
            | ReadError::Locked { .. } => true,
            _ => false,
        }
    }

    /// Whether the store could not be looked at, so that nothing is known.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(
            self,
            ReadError::Access(AccessError::Failed { .. })
                | ReadError::Layout(LayoutError::Access(AccessError::Failed { .. }))
        )
    }
}

/// A snapshot that was read back whole.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Its index.
    pub index: Index,
    /// Whether the parts were opened too, or only held against the hashes of what is stored.
    pub opened: bool,
    /// Why the store does not know of it, if it could not be told.
    pub untold: Option<String>,
}

/// The id that is meant: the newest for [`LATEST`] and for none.
///
/// # Errors
/// [`ReadError::NoSnapshot`] and those of the store.
pub async fn resolve(store: &Store, id: Option<&str>) -> Result<String, ReadError> {
    Settings::read(store).await?;
    let mut ids: Vec<String> = store
        .names(SNAPSHOTS)
        .await?
        .into_iter()
        .filter_map(|listed| Some(listed.name.strip_suffix(".json")?.to_owned()))
        // Whatever else lies there is no snapshot, and not the newest.
        .filter(|id| is_id(id))
        .collect();
    let wanted = id.unwrap_or(LATEST);
    if wanted != LATEST && ids.iter().any(|id| id == wanted) {
        return Ok(wanted.to_owned());
    }
    let newest = ids.pop();
    match newest {
        Some(newest) if wanted == LATEST => Ok(newest),
        newest => Err(ReadError::NoSnapshot {
            id: wanted.to_owned(),
            store: store.shown().to_owned(),
            held: newest.map_or_else(|| "none".to_owned(), |id| format!("{}, the newest {id}", ids.len() + 1)),
        }),
    }
}

/// Writes a snapshot into a new folder.
///
/// # Errors
/// [`ReadError`]; the folder does not exist then.
pub async fn restore(store: &Store, id: &str, opener: Option<&Opener>, to: &Path) -> Result<Index, ReadError> {
    if to.symlink_metadata().is_ok() {
        return Err(ReadError::Exists { path: to.to_owned() });
    }
    let index = Index::read(store, id).await?;
    let contents = contents(store, &index, opener)?;
    let parent = to
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ReadError::Write { path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .map_err(failed(parent))?;
    // A name that nobody takes for a snapshot; removed by itself if anything goes wrong.
    let unfinished = tempfile::Builder::new()
        .prefix(".restoring-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(failed(parent))?;
    let mut problems = Vec::new();
    for file in &contents.files {
        let path = unfinished.path().join(&file.path);
        let mut target = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed(&path))?;
        let write = |bytes: &[u8]| target.write_all(bytes);
        problems.extend(stream_file(store, &index, file, opener, write, &path).await?);
        target.sync_all().map_err(failed(&path))?;
    }
    if !problems.is_empty() {
        return Err(broken(store, &index, problems));
    }
    verify_folder(unfinished.path())?;
    if to.symlink_metadata().is_ok() {
        return Err(ReadError::Exists { path: to.to_owned() });
    }
    fs::rename(unfinished.path(), to).map_err(failed(to))?;
    // Under its name now, so nothing is left to be removed.
    let _: PathBuf = unfinished.keep();
    File::open(parent)
        .and_then(|folder| folder.sync_all())
        .map_err(failed(parent))?;
    Ok(index)
}

/// Reads everything of a snapshot back, and writes down in the store what came of it.
///
/// # Errors
/// [`ReadError`].
pub async fn verify(store: &Store, id: &str, opener: Option<&Opener>, now: Timestamp) -> Result<Whole, ReadError> {
    let index = Index::read(store, id).await?;
    let of = index.whole.clone();
    let looked = look(store, index, opener).await;
    let whole = match &looked {
        Ok(_) => true,
        Err(ReadError::Damaged { .. } | ReadError::Layout(LayoutError::Damaged { .. })) => false,
        // Nothing is known of it.
        Err(_) => return looked,
    };
    let checked = Checked {
        at: written(now),
        index: of,
        whole,
    };
    let told = store
        .write(
            &format!("{VERIFIED}/{id}.json"),
            serde_json::to_vec(&checked).unwrap_or_default(),
        )
        .await;
    let mut whole = looked?;
    whole.untold = told.err().map(|error| error.to_string());
    Ok(whole)
}

async fn look(store: &Store, index: Index, opener: Option<&Opener>) -> Result<Whole, ReadError> {
    let mut problems = Vec::new();
    let mut stored_bytes = 0;
    let mut read = stream::iter(&index.parts)
        .map(|name| stored(store, name))
        .buffer_unordered(AT_ONCE);
    while let Some(part) = read.next().await {
        match part? {
            Ok(bytes) => stored_bytes += bytes.len() as u64,
            Err(problem) => problems.push(problem),
        }
    }
    drop(read);
    if problems.is_empty() && stored_bytes != index.stored_bytes {
        problems.push(format!(
            "{stored_bytes} bytes are stored, {} stated",
            index.stored_bytes
        ));
    }
    let opened = index.recipient.is_none() || opener.is_some();
    if opened && problems.is_empty() {
        let contents = contents(store, &index, opener)?;
        for file in &contents.files {
            let nowhere = Path::new(&file.path);
            problems.extend(stream_file(store, &index, file, opener, |_| Ok(()), nowhere).await?);
        }
    }
    if problems.is_empty() {
        Ok(Whole {
            index,
            opened,
            untold: None,
        })
    } else {
        problems.sort();
        Err(broken(store, &index, problems))
    }
}

fn broken(store: &Store, index: &Index, problems: Vec<String>) -> ReadError {
    ReadError::Damaged {
        id: index.id.clone(),
        store: store.shown().to_owned(),
        problems,
    }
}

fn contents(store: &Store, index: &Index, opener: Option<&Opener>) -> Result<Contents, ReadError> {
    let wrong = |what: String| damaged(store, &index_key(&index.id), what);
    let sealed = index
        .sealed()
        .ok_or_else(|| wrong("its contents are no base64".to_owned()))?;
    let opened = open(&sealed, index.recipient.is_some(), opener, INDEX_BYTES);
    let text = opened.map_err(|source| match source {
        SealError::Decompress { what } => ReadError::from(wrong(what)),
        source => ReadError::Locked {
            id: index.id.clone(),
            store: store.shown().to_owned(),
            source,
        },
    })?;
    Ok(index.contents(&text).map_err(wrong)?)
}

/// What is stored of a part, held against the hash in its name; `Err` within is a damage.
async fn stored(store: &Store, name: &str) -> Result<Result<Vec<u8>, String>, AccessError> {
    let stated = part_name(name).map_or("", |(_, stored)| stored);
    match store.read(&format!("{PARTS}/{name}"), PART_BYTES + OVERHEAD).await {
        Ok(bytes) if sha256(&bytes) == stated => Ok(Ok(bytes)),
        Ok(_) => Ok(Err(format!("part {name} is not what its name says"))),
        Err(AccessError::Missing { .. }) => Ok(Err(format!("part {name} is missing"))),
        Err(error @ AccessError::TooLarge { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

/// Hands the content of a file on, part by part; what is wrong with it.
async fn stream_file(
    store: &Store,
    index: &Index,
    file: &StoredFile,
    opener: Option<&Opener>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
    path: &Path,
) -> Result<Vec<String>, ReadError> {
    let mut parts = stream::iter(&file.parts)
        .map(|at| stored(store, &index.parts[*at]))
        .buffered(AT_ONCE);
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    while let Some(part) = parts.next().await {
        let stored = match part? {
            Ok(stored) => stored,
            Err(problem) => return Ok(vec![problem]),
        };
        let content = match open(&stored, index.recipient.is_some(), opener, PART_BYTES) {
            Ok(content) => content,
            Err(error) => return Ok(vec![format!("a part of {} cannot be used: {error}", file.path)]),
        };
        bytes += content.len() as u64;
        hash.update(&content);
        write(&content).map_err(|source| ReadError::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    let sha256 = hex(&hash.finalize());
    if bytes == file.bytes && sha256 == file.sha256 {
        return Ok(Vec::new());
    }
    let stated = format!("{} bytes, sha256 {}", file.bytes, file.sha256);
    Ok(vec![format!(
        "{}: expected {stated}, observed {bytes} bytes, sha256 {sha256}",
        file.path
    )])
}
