//! Unpacks a backup that is a tar (plain, gzip, zstd) into a new private folder of plain files.
//!
//! An archive is hostile until proven otherwise: every name is checked before anything is written, only regular files come
//! out, flat and 0600, within [`Limits`], and an archive that ends early is refused although both files may be whole. Read
//! as a stream, so memory does not grow with what it states of itself.

use crate::snapshot::copying::{self, CopyError};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};
use tar::EntryType;

mod streams;
use streams::{Counted, Form, stream};

/// Bytes of a tar's block.
const BLOCK: u64 = 512;
/// Largest header that names something longer than a block can.
const EXTENSION_BYTES: u64 = 64 << 10;

/// What an archive may make at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries, folders and headers too.
    pub entries: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes that come out of a compressed archive however small it is …
    pub free_bytes: u64,
    /// … and how many times its own size above that.
    pub growth: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            entries: 1_000,
            bytes: 64 << 30,
            free_bytes: 1 << 30,
            growth: 100,
        }
    }
}

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It is no archive.
    #[error("{path} is neither a folder nor a tar (plain, gzip or zstd); give one of these")]
    NoArchive {
        /// The file.
        path: PathBuf,
    },
    /// It is one database file.
    #[error("{path} is a single database file; give the folder that holds both")]
    Database {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read to its end.
    #[error("{path} is damaged or cut: {what}")]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A name that leads out of the folder, or none.
    #[error("{path} holds an entry {name:?} that leads out of its folder; nothing was unpacked")]
    Escape {
        /// The archive.
        path: PathBuf,
        /// The entry.
        name: String,
    },
    /// Neither a regular file nor a folder.
    #[error("{path} holds {name:?}, a {kind}; only regular files are unpacked")]
    Special {
        /// The archive.
        path: PathBuf,
        /// The entry.
        name: String,
        /// What it is.
        kind: String,
    },
    /// Two files of one name.
    #[error("{path} holds two files named {name:?}; pack one backup only")]
    Twice {
        /// The archive.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// More than the limits allow.
    #[error("{path} is refused: {what}")]
    TooMuch {
        /// The archive.
        path: PathBuf,
        /// What there is too much of, and the limit.
        what: String,
    },
    /// A file of this machine.
    #[error("cannot unpack {path}")]
    File {
        /// The archive.
        path: PathBuf,
        /// The cause.
        source: CopyError,
    },
}

impl ArchiveError {
    /// Whether the caller named something that is no archive at all.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, ArchiveError::NoArchive { .. } | ArchiveError::Database { .. })
    }
}

/// Unpacks an archive into a new folder; the names of its files, in their order.
///
/// # Errors
/// [`ArchiveError`]; the folder does not exist then.
pub fn unpack(path: &Path, into: &Path, limits: &Limits) -> Result<Vec<String>, ArchiveError> {
    let failed = |source| ArchiveError::File {
        path: path.to_owned(),
        source,
    };
    let file = copying::open_regular(path).map_err(failed)?;
    let size = file.metadata().map_or(0, |metadata| metadata.len());
    let mut file = BufReader::new(file);
    let form = streams::recognised(&mut file).map_err(|source| failed(unreadable(path, source)))?;
    let form = match form {
        Some(Form::Database) => return Err(ArchiveError::Database { path: path.to_owned() }),
        Some(form) => form,
        None => return Err(ArchiveError::NoArchive { path: path.to_owned() }),
    };
    let most = match form {
        Form::Tar | Form::Database => limits.bytes,
        Form::Gzip | Form::Zstd => limits
            .free_bytes
            .saturating_add(size.saturating_mul(limits.growth))
            .min(limits.bytes),
    };
    copying::create_private_folder(into).map_err(failed)?;
    let unpacking = Unpacking {
        path,
        into,
        limits,
        most,
        names: Vec::new(),
        seen: BTreeSet::new(),
        bytes: 0,
    };
    let done = stream(form, file)
        .map_err(|source| unpacking.damaged(&source.to_string()))
        .and_then(|stream| unpacking.run(stream));
    if done.is_err() {
        // The first error is the one to report; the folder is ours and nobody was told of it.
        let _ = fs::remove_dir_all(into);
    }
    done
}

fn unreadable(path: &Path, source: io::Error) -> CopyError {
    CopyError::Read {
        path: path.to_owned(),
        source,
    }
}

struct Unpacking<'a> {
    path: &'a Path,
    into: &'a Path,
    limits: &'a Limits,
    most: u64,
    names: Vec<String>,
    seen: BTreeSet<String>,
    bytes: u64,
}

impl Unpacking<'_> {
    fn damaged(&self, what: &str) -> ArchiveError {
        ArchiveError::Damaged {
            path: self.path.to_owned(),
            what: what.to_owned(),
        }
    }

    fn too_much(&self, what: String) -> ArchiveError {
        ArchiveError::TooMuch {
            path: self.path.to_owned(),
            what,
        }
    }

    fn run(mut self, stream: Box<dyn Read>) -> Result<Vec<String>, ArchiveError> {
        let mut archive = tar::Archive::new(Counted::new(stream));
        let mut end = 0;
        let mut long_name = None;
        let (mut count, path) = (0, self.path.to_owned());
        let broken = |source: io::Error| ArchiveError::Damaged {
            path: path.clone(),
            what: source.to_string(),
        };
        // Raw: what names an entry is read here, within a limit, and not by the crate, which reads all of it.
        for entry in archive.entries().map_err(broken)?.raw(true) {
            let mut entry = entry.map_err(broken)?;
            count += 1;
            if count > self.limits.entries {
                return Err(self.too_much(format!("more than {} entries", self.limits.entries)));
            }
            let size = entry.size();
            end = entry
                .raw_file_position()
                .saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
            match entry.header().entry_type() {
                EntryType::GNULongName | EntryType::XHeader | EntryType::XGlobalHeader => {
                    long_name = self.extension(&mut entry)?.or(long_name);
                }
                kind => {
                    let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
                    self.one(&name, kind, size, &mut entry)?;
                }
            }
        }
        let mut rest = archive.into_inner();
        // The mark of the end is two blocks of zeros; what follows is padding. Whoever lacks them was cut.
        let padding = io::copy(&mut (&mut rest).take(1 << 20), &mut io::sink()).map_err(broken)?;
        let after = rest.read.saturating_sub(end);
        if padding == 1 << 20 || rest.zeros < after {
            return Err(self.damaged("something follows its end"));
        }
        if after < 2 * BLOCK {
            return Err(self.damaged("it ends before its end mark"));
        }
        Ok(self.names)
    }

    /// The name that an extension header gives the next entry, if it does.
    fn extension(&self, entry: &mut tar::Entry<'_, Counted>) -> Result<Option<Vec<u8>>, ArchiveError> {
        let size = entry.size();
        if size > EXTENSION_BYTES {
            let what = format!("a header of {size} bytes, more than {EXTENSION_BYTES}");
            return Err(self.too_much(what));
        }
        let kind = entry.header().entry_type();
        let mut text = Vec::new();
        let read = entry.read_to_end(&mut text);
        read.map_err(|source| self.damaged(&source.to_string()))?;
        if text.len() as u64 != size {
            return Err(self.damaged("it ends within a header"));
        }
        match kind {
            EntryType::GNULongName => {
                text.truncate(text.iter().position(|byte| *byte == 0).unwrap_or(text.len()));
                Ok(Some(text))
            }
            _ => {
                let mut name = None;
                for pair in tar::PaxExtensions::new(&text) {
                    let pair = pair.map_err(|source| self.damaged(&source.to_string()))?;
                    match pair.key_bytes() {
                        b"path" => name = Some(pair.value_bytes().to_vec()),
                        b"size" | b"GNU.sparse.map" | b"GNU.sparse.major" => {
                            return Err(
                                self.too_much("sizes outside of an entry's own header are not followed".to_owned())
                            );
                        }
                        _ => {}
                    }
                }
                Ok(name)
            }
        }
    }

    /// One entry: checked, then written if it is a file.
    fn one(
        &mut self,
        name: &[u8],
        kind: EntryType,
        size: u64,
        content: &mut impl EntryLike,
    ) -> Result<(), ArchiveError> {
        let shown = String::from_utf8_lossy(name).into_owned();
        let escape = || ArchiveError::Escape {
            path: self.path.to_owned(),
            name: shown.clone(),
        };
        let text = std::str::from_utf8(name).map_err(|_| escape())?;
        let inside = Path::new(text)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside || text.is_empty() || text.contains(['\0', '\\']) {
            return Err(escape());
        }
        match kind {
            EntryType::Directory => return Ok(()),
            EntryType::Regular | EntryType::Continuous => {}
            other => {
                return Err(ArchiveError::Special {
                    path: self.path.to_owned(),
                    name: shown,
                    kind: word(other),
                });
            }
        }
        let file_name = Path::new(text)
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or_else(escape)?
            .to_owned();
        if !self.seen.insert(file_name.clone()) {
            return Err(ArchiveError::Twice {
                path: self.path.to_owned(),
                name: file_name,
            });
        }
        self.bytes = self.bytes.saturating_add(size);
        if self.bytes > self.most {
            let what = format!(
                "its files have at least {} bytes, more than the {} allowed",
                self.bytes, self.most
            );
            return Err(self.too_much(what));
        }
        self.write(&file_name, size, content)?;
        self.names.push(file_name);
        Ok(())
    }

    fn write(&self, name: &str, size: u64, content: &mut impl EntryLike) -> Result<(), ArchiveError> {
        let to = self.into.join(name);
        let failed = |source: io::Error| ArchiveError::File {
            path: self.path.to_owned(),
            source: CopyError::Write {
                path: to.clone(),
                source,
            },
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&to)
            .map_err(failed)?;
        let mut buffer = vec![0; 64 << 10];
        let mut written = 0;
        loop {
            let read = match content.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(source) if source.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(self.damaged(&format!("{name}: {source}"))),
            };
            file.write_all(&buffer[..read]).map_err(failed)?;
            written += read as u64;
        }
        if written != size {
            return Err(self.damaged(&format!("{name} has {written} of its {size} bytes")));
        }
        set_time(&file, content.modified()).map_err(failed)
    }
}

/// What is needed of an entry, so that headers and contents can be told apart in the types.
trait EntryLike: Read {
    /// Seconds since 1970.
    fn modified(&self) -> Option<u64>;
}

impl EntryLike for tar::Entry<'_, Counted> {
    fn modified(&self) -> Option<u64> {
        self.header().mtime().ok()
    }
}

/// The time of the backup goes with it; one that cannot be is left out.
fn set_time(file: &File, modified: Option<u64>) -> io::Result<()> {
    match modified.and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))) {
        Some(time) if modified.is_some_and(|seconds| seconds < 1 << 33) => file.set_modified(time),
        _ => Ok(()),
    }
}

fn word(kind: EntryType) -> String {
    match kind {
        EntryType::Link => "hard link".to_owned(),
        EntryType::Symlink => "symbolic link".to_owned(),
        EntryType::Char | EntryType::Block => "device".to_owned(),
        EntryType::Fifo => "pipe".to_owned(),
        EntryType::GNUSparse => "sparse file".to_owned(),
        other => format!("entry of type {:?}", char::from(other.as_byte())),
    }
}

#[cfg(test)]
mod tests;
