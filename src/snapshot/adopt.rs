//! Adopts a plain backup that has no manifest: recognises the two databases by their tables, their `-wal` by name.
//!
//! The given folder is only read, as bytes; everything is copied first, and nothing ever appears in it.

use crate::deployment::Service;
use crate::snapshot::consolidate::{ConsolidateError, consolidate};
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::database::{Database, beside};
use crate::snapshot::file_set::{FileSet, RawSet};
use crate::snapshot::raw::{RawError, copy_set};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"SQLite format 3\0";

/// Why a folder could not be adopted.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// There is no such folder.
    #[error("no backup folder at {path}")]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// It cannot be listed.
    #[error("cannot list {path}")]
    List {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// No file in it holds a service's tables.
    #[error("no {service} database in {path}: no file there has a table {}", .service.marker_table())]
    Missing {
        /// Whose database.
        service: Service,
        /// The folder.
        path: PathBuf,
    },
    /// Two files could be the one.
    #[error("{path} holds more than one {service} database ({}); leave one", .files.join(", "))]
    Ambiguous {
        /// Whose database.
        service: Service,
        /// The folder.
        path: PathBuf,
        /// The files.
        files: Vec<String>,
    },
    /// One file has the tables of both services.
    #[error("{path} holds the tables of both services; directory and bus were started on one file")]
    Shared {
        /// The file.
        path: PathBuf,
    },
    /// A file has a service's usual name but cannot be read.
    #[error("{path} is there but cannot be read as the {service} database; the backup is damaged")]
    Unreadable {
        /// Whose name it has.
        service: Service,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: Box<ConsolidateError>,
    },
    /// A file has a service's usual name but not its tables.
    #[error("{path} is there but has no table {}; files exchanged or damaged", .service.marker_table())]
    WrongTables {
        /// Whose name it has.
        service: Service,
        /// The file.
        path: PathBuf,
    },
    /// Copying failed.
    #[error("cannot copy the backup")]
    Copy {
        /// The cause.
        #[from]
        source: CopyError,
    },
    /// Copying a set failed.
    #[error("cannot copy a file set of the backup")]
    Raw {
        /// The cause.
        #[from]
        source: RawError,
    },
}

impl AdoptError {
    /// Whether the caller named something that is no backup at all (usage), rather than a damaged one.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            AdoptError::NoFolder { .. } | AdoptError::Missing { .. } | AdoptError::Ambiguous { .. }
        )
    }
}

/// An adopted backup: both raw sets as copies, in the order of [`Service::ALL`].
#[derive(Debug, Clone)]
pub struct Adopted {
    /// Directory, bus.
    pub raw: [RawSet; 2],
    /// The main files' names in the given folder, in the same order.
    pub names: [String; 2],
    /// Every other entry of the folder, sorted.
    pub ignored: Vec<String>,
}

struct Candidate {
    name: String,
    service: Service,
}

/// Copies the two databases of a plain folder into `into`, which is created.
///
/// # Errors
/// [`AdoptError`]; see [`AdoptError::is_usage`].
pub fn adopt(folder: &Path, into: &Path) -> Result<Adopted, AdoptError> {
    let names = list(folder)?;
    copying::create_private_folder(into)?;
    let scratch = into.join(".candidates");
    copying::create_private_folder(&scratch)?;
    let mut candidates = Vec::new();
    for name in names.iter().filter(|name| !is_companion(name)) {
        candidates.extend(recognise(folder, name, &scratch)?);
    }
    fs::remove_dir_all(&scratch).map_err(|source| CopyError::Write { path: scratch, source })?;
    let directory = the_one(Service::Directory, &candidates, folder)?;
    let bus = the_one(Service::Bus, &candidates, folder)?;
    let set = |service, name: &str| copy_set(&FileSet::new(service, folder.join(name)), into);
    let raw = [set(Service::Directory, &directory)?, set(Service::Bus, &bus)?];
    let is_taken = |name: &String| {
        [&directory, &bus]
            .iter()
            .any(|main| name == *main || *name == format!("{main}-wal"))
    };
    Ok(Adopted {
        ignored: names.into_iter().filter(|name| !is_taken(name)).collect(),
        names: [directory, bus],
        raw,
    })
}

fn list(folder: &Path) -> Result<Vec<String>, AdoptError> {
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => AdoptError::NoFolder {
            path: folder.to_owned(),
        },
        _ => AdoptError::List {
            path: folder.to_owned(),
            source,
        },
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn is_companion(name: &str) -> bool {
    ["-wal", "-shm", "-journal"].iter().any(|suffix| name.ends_with(suffix))
}

/// Whose database a file is, if any. Consolidates a scratch copy to see its tables, `-wal` included.
fn recognise(folder: &Path, name: &str, scratch: &Path) -> Result<Option<Candidate>, AdoptError> {
    let path = folder.join(name);
    let usual = Service::ALL.into_iter().find(|service| service.database_file() == name);
    if usual.is_none() && !looks_like_database(&path) {
        return Ok(None);
    }
    let as_service = usual.unwrap_or(Service::Directory);
    let place = scratch.join(name);
    let raw = copy_set(&FileSet::new(as_service, &path), &place)?;
    let plain = place.join("plain");
    copying::create_private_folder(&plain)?;
    let made = match (consolidate(&raw, &plain), usual) {
        (Ok(made), _) => made,
        (Err(_), None) => return Ok(None),
        (Err(source), Some(service)) => {
            let source = Box::new(source);
            return Err(AdoptError::Unreadable { service, path, source });
        }
    };
    let tables = Database::open(&made.path)
        .and_then(|database| database.content_tables())
        .unwrap_or_default();
    let has = |service: Service| tables.iter().any(|table| table == service.marker_table());
    match (has(Service::Directory), has(Service::Bus), usual) {
        (true, true, _) => Err(AdoptError::Shared { path }),
        (true, false, _) => Ok(Some(Candidate {
            name: name.to_owned(),
            service: Service::Directory,
        })),
        (false, true, _) => Ok(Some(Candidate {
            name: name.to_owned(),
            service: Service::Bus,
        })),
        (false, false, None) => Ok(None),
        (false, false, Some(service)) => Err(AdoptError::WrongTables { service, path }),
    }
}

/// A regular file that begins like a database, or that has a `-wal` beside it.
fn looks_like_database(path: &Path) -> bool {
    let Ok(mut file) = copying::open_regular(path) else {
        return false;
    };
    let mut head = [0_u8; 16];
    file.read_exact(&mut head).is_ok() && head == MAGIC || beside(path, "-wal").exists()
}

fn the_one(service: Service, candidates: &[Candidate], folder: &Path) -> Result<String, AdoptError> {
    let files: Vec<String> = candidates
        .iter()
        .filter(|candidate| candidate.service == service)
        .map(|candidate| candidate.name.clone())
        .collect();
    let path = folder.to_owned();
    match files.as_slice() {
        [] => Err(AdoptError::Missing { service, path }),
        [one] => Ok(one.clone()),
        _ => Err(AdoptError::Ambiguous { service, path, files }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded;
    use crate::snapshot::summary::summarise;
    use std::collections::BTreeMap;
    use tempfile::TempDir;

    fn bytes_of(folder: &TempDir) -> BTreeMap<String, Vec<u8>> {
        fs::read_dir(folder.path())
            .expect("listed")
            .flatten()
            .map(|entry| {
                let name = entry.file_name().to_string_lossy().into_owned();
                (name, fs::read(entry.path()).expect("read"))
            })
            .collect()
    }

    fn try_adopt(folder: &TempDir) -> (Result<Adopted, AdoptError>, TempDir) {
        let into = tempfile::tempdir().expect("a temporary folder");
        (adopt(folder.path(), &into.path().join("adopted")), into)
    }

    #[test]
    fn a_plain_folder_is_adopted_with_the_rows_of_its_log_and_left_as_it_was() {
        let folder = recorded::at_rest();
        let before = bytes_of(&folder);
        let (adopted, into) = try_adopt(&folder);
        let adopted = adopted.expect("adopted");
        assert_eq!(bytes_of(&folder), before);
        assert_eq!(adopted.ignored, ["expected-counts.json", "keys.json"]);
        let bus = consolidate(&adopted.raw[1], into.path()).expect("consolidated");
        assert_eq!(
            summarise(&bus.path)
                .expect("read")
                .table("beam_messages")
                .map(|t| t.rows),
            Some(8)
        );
    }

    #[test]
    fn databases_are_known_by_their_tables_not_by_their_names() {
        let folder = recorded::at_rest();
        for (from, to) in [
            ("beam-bus.sqlite", "a.bak"),
            ("beam-bus.sqlite-wal", "a.bak-wal"),
            ("beam-directory.db", "b.bak"),
        ] {
            fs::rename(folder.path().join(from), folder.path().join(to)).expect("renamed");
        }
        let (adopted, _into) = try_adopt(&folder);
        assert_eq!(adopted.expect("adopted").names, ["b.bak", "a.bak"]);
    }

    #[test]
    fn two_candidates_are_named() {
        let folder = recorded::at_rest();
        fs::copy(folder.path().join("beam-directory.db"), folder.path().join("old.db")).expect("copied");
        let error = try_adopt(&folder).0.expect_err("refused");
        assert!(error.to_string().contains("beam-directory.db, old.db"), "{error}");
    }

    #[test]
    fn a_missing_database_is_usage_and_a_bus_without_its_log_is_not() {
        let folder = recorded::at_rest();
        fs::remove_file(folder.path().join("beam-directory.db")).expect("removed");
        assert!(try_adopt(&folder).0.expect_err("refused").is_usage());
        let folder = recorded::at_rest();
        fs::remove_file(folder.path().join("beam-bus.sqlite-wal")).expect("removed");
        let error = try_adopt(&folder).0.expect_err("refused");
        assert!(
            matches!(
                error,
                AdoptError::Unreadable {
                    service: Service::Bus,
                    ..
                }
            ),
            "{error}"
        );
        assert!(!error.is_usage());
    }

    #[test]
    fn a_missing_folder_is_usage() {
        let into = tempfile::tempdir().expect("a temporary folder");
        let error = adopt(Path::new("/nonexistent"), &into.path().join("x")).expect_err("refused");
        assert!(error.is_usage());
    }

    /// The raw recorded sets are too large for this repository; where the shared folder lies beside it they are used.
    #[test]
    fn raw_sets_of_a_kill_are_adopted_with_everything_that_was_committed() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/beam/recorded");
        for (set, intents, messages) in [("hot-crash", 272, 199), ("bricked", 55, 23)] {
            let from = shared.join(set);
            if !from.is_dir() {
                return;
            }
            let into = tempfile::tempdir().expect("a temporary folder");
            let adopted = adopt(&from, &into.path().join("adopted")).expect("adopted");
            for (raw, table, rows) in [(0, "intent_log", intents), (1, "beam_messages", messages)] {
                let made = consolidate(&adopted.raw[raw], into.path()).expect("consolidated");
                assert!(made.wal.is_some_and(|wal| wal.frames_committed > 0));
                let summary = summarise(&made.path).expect("read");
                assert_eq!(summary.table(table).map(|table| table.rows), Some(rows), "{set}");
            }
        }
    }
}
