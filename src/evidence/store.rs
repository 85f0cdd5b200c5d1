//! Writing and reading `evidence.json`: whole or not at all.

use crate::deployment::given_file;
use crate::evidence::{Evidence, sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Why evidence or a report could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file could not be written.
    #[error("cannot write {path}; check the folder's permissions and free space")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file could not be read.
    #[error("cannot read {path}; give the folder of a run, or its evidence.json")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a document of the format that was looked for.
    #[error("{path} is not evidence of format {format}; it may be damaged or from another version")]
    Format {
        /// The file.
        path: PathBuf,
        /// The format word.
        format: &'static str,
        /// What was wrong with it.
        source: serde_json::Error,
    },
}

/// Writes a file so that a reader sees the old or the new text, never a part: temporary name, sync, rename, sync the folder.
///
/// # Errors
/// [`StoreError::Write`] with the path.
pub fn write_atomically(path: &Path, text: &str) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write {
        path: path.to_owned(),
        source,
    };
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    let written = file.persist(path).map_err(|kept| failed(kept.error))?;
    readable(&written).map_err(failed)?;
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(failed)
}

/// Evidence and reports hold no secret: they may be read like any other file of the repository.
fn readable(file: &fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

/// A document as it is stored: pretty-printed JSON with a final line feed.
pub(crate) fn to_text(document: &impl Serialize) -> String {
    // Plain data with text keys: serialising cannot fail.
    let mut text = serde_json::to_string_pretty(document).unwrap_or_default();
    text.push('\n');
    text
}

/// Reads a document of one format.
///
/// # Errors
/// [`StoreError::Read`], [`StoreError::Format`].
pub(crate) fn read_document<T: DeserializeOwned>(path: &Path, format: &'static str) -> Result<T, StoreError> {
    let text = given_file::document(path).map_err(|source| StoreError::Read {
        path: path.to_owned(),
        source,
    })?;
    let otherwise = |source| StoreError::Format {
        path: path.to_owned(),
        format,
        source,
    };
    let document: serde_json::Value = serde_json::from_str(&text).map_err(otherwise)?;
    let found = document["format"].as_str().unwrap_or_default();
    if found != format {
        let message = format!("format is {:?}", crate::evidence::short(found));
        return Err(otherwise(<serde_json::Error as serde::de::Error>::custom(message)));
    }
    // From the text again, not from the value: an error then says line and column.
    serde_json::from_str(&text).map_err(otherwise)
}

impl Evidence {
    /// The document as it is stored: pretty-printed JSON with a final line feed.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_text(self)
    }

    /// SHA-256 of the stored document, lower-case hex; reports carry it, so that an edit of either is noticed.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(self.to_json().as_bytes())
    }

    /// Stores the document.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        write_atomically(path, &self.to_json())
    }

    /// Reads a document back; a folder stands for the `evidence.json` in it.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Format`].
    pub fn read(path: &Path) -> Result<Evidence, StoreError> {
        let path = if path.is_dir() {
            path.join("evidence.json")
        } else {
            path.to_owned()
        };
        read_document(&path, Evidence::FORMAT)
    }
}
