//! Proof that nobody uses a file set: no lock on it and, as far as this user may see, no process has it open.
//!
//! Reads `/proc` only; opens none of the files.

use crate::snapshot::file_set::FileSet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Why it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum QuiescenceError {
    /// `/proc/locks` is not readable.
    #[error("cannot read /proc/locks, so it is unknown whether {path} is in use")]
    Locks {
        /// The main file in question.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of the set cannot be looked at.
    #[error("cannot look at {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A lock on a file of a set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lock {
    /// The file.
    pub path: PathBuf,
    /// `POSIX` or `FLOCK`, `READ` or `WRITE`.
    pub kind: String,
    /// Who holds it; 0 or less when the kernel does not tell.
    pub pid: i64,
}

/// What was seen of a file set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiescence {
    /// The files that exist and were looked for.
    pub looked_at: Vec<PathBuf>,
    /// All locks on them.
    pub locks: Vec<Lock>,
    /// Processes other than this one that have one of them open.
    pub open_in: Vec<i64>,
    /// Whether the open files of every process could be read; false for a user who is not root.
    pub saw_every_process: bool,
}

impl Quiescence {
    /// Whether nobody holds a lock and nobody seen has a file open.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.locks.is_empty() && self.open_in.is_empty()
    }
}

/// Looks whether anybody uses a set (main file, `-wal`, `-shm`). A set that does not exist is quiet.
///
/// # Errors
/// [`QuiescenceError`].
pub fn quiescent(set: &FileSet) -> Result<Quiescence, QuiescenceError> {
    let mut seen = Quiescence::default();
    let mut keys = Vec::new();
    for path in [set.main.clone(), set.wal(), set.shm(), set.journal()] {
        match fs::metadata(&path) {
            Ok(metadata) => {
                keys.push((metadata.dev(), metadata.ino()));
                seen.looked_at.push(path);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(QuiescenceError::File { path, source }),
        }
    }
    if keys.is_empty() {
        seen.saw_every_process = true;
        return Ok(seen);
    }
    let locks = fs::read_to_string("/proc/locks").map_err(|source| QuiescenceError::Locks {
        path: set.main.clone(),
        source,
    })?;
    for (device, inode, kind, pid) in locks.lines().filter_map(parse_lock) {
        if let Some(at) = keys.iter().position(|key| *key == (device, inode)) {
            seen.locks.push(Lock {
                path: seen.looked_at[at].clone(),
                kind,
                pid,
            });
        }
    }
    (seen.open_in, seen.saw_every_process) = processes_that_have_open(&keys);
    Ok(seen)
}

/// `1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; a waiting request has `->` after the number.
fn parse_lock(line: &str) -> Option<(u64, u64, String, i64)> {
    let mut words = line.split_whitespace().skip(1).filter(|word| *word != "->");
    let (class, _, mode) = (words.next()?, words.next()?, words.next()?);
    let pid = words.next()?.parse().ok()?;
    let mut file = words.next()?.split(':');
    let major = u32::from_str_radix(file.next()?, 16).ok()?;
    let minor = u32::from_str_radix(file.next()?, 16).ok()?;
    let inode = file.next()?.parse().ok()?;
    Some((rustix::fs::makedev(major, minor), inode, format!("{class} {mode}"), pid))
}

/// Whether a process that can be seen has a file open; no where it is not there.
#[must_use]
pub fn is_open(path: &Path) -> bool {
    let key = fs::metadata(path).map(|facts| (facts.dev(), facts.ino()));
    key.is_ok_and(|key| !processes_that_have_open(&[key]).0.is_empty())
}

fn processes_that_have_open(keys: &[(u64, u64)]) -> (Vec<i64>, bool) {
    let (mut found, mut saw_all) = (BTreeSet::new(), true);
    let own = i64::from(std::process::id());
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i64>().ok());
    for pid in pids.filter(|pid| *pid != own) {
        let descriptors = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                saw_all &= error.kind() == io::ErrorKind::NotFound;
                continue;
            }
        };
        let is_ours = |entry: fs::DirEntry| {
            fs::metadata(entry.path()).is_ok_and(|metadata| keys.contains(&(metadata.dev(), metadata.ino())))
        };
        if descriptors.flatten().any(is_ours) {
            found.insert(pid);
        }
    }
    (found.into_iter().collect(), saw_all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use rusqlite::Connection;

    #[test]
    fn a_lock_line_is_read() {
        let line = "3: POSIX  ADVISORY  READ  1234 fe:01:5678 1073741826 1073742335";
        let lock = parse_lock(line).expect("read");
        assert_eq!(
            lock,
            (rustix::fs::makedev(0xfe, 1), 5678, "POSIX READ".to_owned(), 1234)
        );
    }

    #[test]
    fn an_open_database_is_not_quiet_and_a_closed_one_is() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let set = FileSet::new(Service::Bus, folder.path().join("x.db"));
        let connection = Connection::open(&set.main).expect("opened");
        connection
            .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a);")
            .expect("made");
        let busy = quiescent(&set).expect("looked");
        assert!(!busy.locks.is_empty());
        drop(connection);
        assert!(quiescent(&set).expect("looked").is_quiet());
    }

    #[test]
    fn a_set_that_does_not_exist_is_quiet() {
        let set = FileSet::new(Service::Bus, "/nonexistent/x.db");
        assert!(quiescent(&set).expect("looked").is_quiet());
    }
}
