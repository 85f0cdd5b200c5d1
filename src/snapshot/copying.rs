//! Copies a file in one streaming pass with its hash, and puts files in place atomically.
//!
//! The source of a copy is opened `O_RDONLY | O_NOFOLLOW` and never with SQLite. What is written is 0600, in folders of
//! 0700, under a temporary name first, synced, then renamed.

use crate::snapshot::file_set::FileRecord;
use rustix::fs::{Mode, OFlags};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1 << 20;
/// Above this size the buffers are worth their memory; small files get small buffers.
const SMALL_BYTES: u64 = 1 << 20;

/// Why a file could not be copied, hashed or put in place.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The file is a symbolic link; what it points at may change under us.
    #[error("{path} is a symbolic link; put the file itself there")]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// It is a folder, a pipe, a device.
    #[error("{path} is not a regular file")]
    NotRegular {
        /// What was found.
        path: PathBuf,
    },
    /// Size or time of change moved while it was read.
    #[error("{path} changed while it was copied; stop its service first")]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// Something of that name is already there.
    #[error("{path} is already there; copy into an empty folder")]
    Exists {
        /// What is there.
        path: PathBuf,
    },
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {path}; check free space and permissions")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl CopyError {
    /// Whether the file to be read does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, CopyError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Opens a regular file for reading; a symbolic link is refused.
///
/// # Errors
/// [`CopyError::Symlink`], [`CopyError::NotRegular`], [`CopyError::Read`].
pub(crate) fn open_regular(path: &Path) -> Result<File, CopyError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let path_owned = || path.to_owned();
    let opened = rustix::fs::open(path, flags, Mode::empty());
    let file = match opened {
        Ok(descriptor) => File::from(descriptor),
        Err(rustix::io::Errno::LOOP) => return Err(CopyError::Symlink { path: path_owned() }),
        Err(error) => {
            return Err(CopyError::Read {
                path: path_owned(),
                source: error.into(),
            });
        }
    };
    let metadata = file.metadata().map_err(|source| CopyError::Read {
        path: path_owned(),
        source,
    })?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(CopyError::NotRegular { path: path_owned() })
    }
}

/// Size and SHA-256 of a regular file.
///
/// # Errors
/// As [`CopyError`] says of reading.
pub fn hash_file(path: &Path) -> Result<FileRecord, CopyError> {
    let mut file = open_regular(path)?;
    pass(&mut file, path, &mut io::sink(), path)
}

/// Copies a regular file to a new file of 0600 and syncs it; returns the hash of what was read.
///
/// # Errors
/// [`CopyError`]; an existing target is an error of writing.
pub(crate) fn copy_new(from: &Path, to: &Path) -> Result<FileRecord, CopyError> {
    let record = copy_scratch(from, to)?;
    File::open(to)
        .and_then(|file| file.sync_all())
        .map_err(|source| CopyError::Write {
            path: to.to_owned(),
            source,
        })?;
    Ok(record)
}

/// Copies a regular file to a new file of 0600 that nobody needs after a crash: without a sync.
///
/// # Errors
/// As [`copy_new`].
pub(crate) fn copy_scratch(from: &Path, to: &Path) -> Result<FileRecord, CopyError> {
    let mut source = open_regular(from)?;
    let before = stamp(&source, from)?;
    let failed = |source| CopyError::Write {
        path: to.to_owned(),
        source,
    };
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(failed)?;
    let record = pass(&mut source, from, &mut target, to)?;
    if stamp(&source, from)? != before {
        return Err(CopyError::Changed { path: from.to_owned() });
    }
    Ok(record)
}

/// Writes bytes to `path` by temporary name, sync, rename and sync of the folder.
///
/// # Errors
/// [`CopyError::Write`].
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), CopyError> {
    let failed = |source| CopyError::Write {
        path: path.to_owned(),
        source,
    };
    let temporary = temporary_beside(path);
    let written = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(failed)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// The temporary name beside a file.
pub(crate) fn temporary_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    path.with_file_name(name)
}

/// Creates a folder of 0700 that must not exist yet; its parents are created as needed.
///
/// # Errors
/// [`CopyError::Write`].
pub(crate) fn create_private_folder(path: &Path) -> Result<(), CopyError> {
    let failed = |source| CopyError::Write {
        path: path.to_owned(),
        source,
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .map_err(failed)?;
    }
    DirBuilder::new().mode(0o700).create(path).map_err(failed)
}

/// Makes sure that renames in a folder are on disk.
///
/// # Errors
/// [`CopyError::Write`].
pub(crate) fn sync_folder(path: &Path) -> Result<(), CopyError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|source| CopyError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn stamp(file: &File, path: &Path) -> Result<(u64, i64, i64), CopyError> {
    let metadata = file.metadata().map_err(|source| CopyError::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok((metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
}

fn pass(source: &mut File, from: &Path, target: &mut impl Write, to: &Path) -> Result<FileRecord, CopyError> {
    let size = source.metadata().map_or(SMALL_BYTES, |metadata| metadata.len());
    let mut buffer = vec![0; usize::try_from(size + 1).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES)];
    let (mut hash, mut bytes) = (Sha256::new(), 0);
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(CopyError::Read {
                    path: from.to_owned(),
                    source,
                });
            }
        };
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read]).map_err(|source| CopyError::Write {
            path: to.to_owned(),
            source,
        })?;
        bytes += read as u64;
    }
    Ok(FileRecord {
        path: to.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_has_the_hash_of_its_source_and_mode_0600() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, vec![7; 3_000_000]).expect("written");
        let copied = copy_new(&from, &to).expect("copied");
        assert_eq!(copied, hash_file(&to).expect("hashed"));
        let mode = fs::metadata(&to).expect("there").permissions().mode();
        assert_eq!((copied.bytes, mode & 0o777), (3_000_000, 0o600));
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/hostname", &link).expect("linked");
        assert!(matches!(hash_file(&link), Err(CopyError::Symlink { .. })));
    }

    #[test]
    fn an_existing_target_is_not_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&from, "new").expect("written");
        fs::write(&to, "old").expect("written");
        assert!(copy_new(&from, &to).is_err());
        assert_eq!(fs::read(&to).expect("read"), b"old");
    }
}
