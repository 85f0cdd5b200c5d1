//! Is a snapshot folder what its manifest says? Re-hashes everything; opens nothing with SQLite.

use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::file_set::FileRecord;
use crate::snapshot::manifest::{FILE_NAME, Manifest, ManifestError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a snapshot is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no such folder.
    #[error("no snapshot folder at {path}")]
    NoFolder {
        /// What was named.
        path: PathBuf,
    },
    /// The manifest is missing or unreadable.
    #[error("cannot use the snapshot's manifest")]
    Manifest {
        /// The cause.
        #[from]
        source: ManifestError,
    },
    /// The folder cannot be listed.
    #[error("cannot list {path}")]
    List {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Folder and manifest disagree.
    #[error("the snapshot {path} is not what its manifest says: {}", list(.problems))]
    Problems {
        /// The folder.
        path: PathBuf,
        /// All of them.
        problems: Vec<Problem>,
    },
}

impl VerifyError {
    /// Whether the caller named something that is no snapshot at all (usage), rather than a damaged one.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            VerifyError::NoFolder { .. }
                | VerifyError::Manifest {
                    source: ManifestError::Missing { .. }
                }
        )
    }
}

/// One disagreement between folder and manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The file (or `.` for the folder).
    pub file: String,
    /// What should be.
    pub expected: String,
    /// What is.
    pub observed: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, observed {}",
            self.file, self.expected, self.observed
        )
    }
}

/// A snapshot that is what its manifest says.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

/// What was seen of a snapshot folder.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The manifest.
    pub manifest: Manifest,
    /// Every disagreement, in the order of the manifest, then by name.
    pub problems: Vec<Problem>,
    /// How many files were hashed.
    pub files: u64,
}

/// Verifies a snapshot folder.
///
/// # Errors
/// [`VerifyError`].
pub fn verify(folder: &Path) -> Result<Verified, VerifyError> {
    let seen = inspect(folder)?;
    if seen.problems.is_empty() {
        Ok(Verified {
            folder: folder.to_owned(),
            manifest: seen.manifest,
        })
    } else {
        Err(VerifyError::Problems {
            path: folder.to_owned(),
            problems: seen.problems,
        })
    }
}

/// Looks at a snapshot folder and lists every disagreement.
///
/// # Errors
/// All of [`VerifyError`] but [`VerifyError::Problems`].
pub fn inspect(folder: &Path) -> Result<Inspection, VerifyError> {
    let no_folder = || VerifyError::NoFolder {
        path: folder.to_owned(),
    };
    let metadata = fs::metadata(folder).map_err(|_| no_folder())?;
    if !metadata.is_dir() {
        return Err(no_folder());
    }
    let manifest = Manifest::read(folder)?;
    let mut problems = Vec::new();
    readable_by_others(".", metadata.permissions().mode(), 0o700, &mut problems);
    let mut known = BTreeSet::from([FILE_NAME.to_owned()]);
    let mut files = 0;
    for part in &manifest.services {
        for expected in &part.files {
            known.insert(expected.path.clone());
            problems.extend(compare(expected, &copying::hash_file(&folder.join(&expected.path))));
            files += 1;
        }
    }
    let hashes: BTreeSet<&str> = manifest
        .services
        .iter()
        .flat_map(|part| part.files.iter().map(|file| file.sha256.as_str()))
        .collect();
    if hashes.len() < manifest.services.len() {
        let file = manifest.services[1].files[0].path.clone();
        problems.push(problem(
            &file,
            "a file of its own",
            "the same bytes as another service's file",
        ));
    }
    list_others(folder, &known, &mut problems)?;
    Ok(Inspection {
        manifest,
        problems,
        files,
    })
}

fn compare(expected: &FileRecord, observed: &Result<FileRecord, CopyError>) -> Option<Problem> {
    let size = format!("{} bytes, sha256 {}", expected.bytes, expected.sha256);
    match observed {
        Ok(seen) if seen.bytes == expected.bytes && seen.sha256 == expected.sha256 => None,
        Ok(seen) => Some(problem(
            &expected.path,
            &size,
            &format!("{} bytes, sha256 {}", seen.bytes, seen.sha256),
        )),
        Err(error) if error.is_missing() => Some(problem(&expected.path, &size, "missing")),
        Err(CopyError::Symlink { .. }) => Some(problem(&expected.path, "a regular file", "a symbolic link")),
        Err(error) => Some(problem(&expected.path, &size, &error.to_string())),
    }
}

fn list_others(folder: &Path, known: &BTreeSet<String>, problems: &mut Vec<Problem>) -> Result<(), VerifyError> {
    let failed = |source| VerifyError::List {
        path: folder.to_owned(),
        source,
    };
    let mut entries: Vec<fs::DirEntry> = fs::read_dir(folder)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name().to_string_lossy().into_owned();
        let metadata = entry.metadata().map_err(failed)?;
        if !known.contains(&name) {
            problems.push(problem(&name, "no such file in the manifest", "present"));
        } else if metadata.is_file() {
            readable_by_others(&name, metadata.permissions().mode(), 0o600, problems);
        }
    }
    Ok(())
}

fn readable_by_others(file: &str, mode: u32, limit: u32, problems: &mut Vec<Problem>) {
    if mode & 0o077 != 0 {
        let (expected, observed) = (format!("mode {limit:04o}"), format!("mode {:04o}", mode & 0o7777));
        problems.push(problem(file, &expected, &observed));
    }
}

fn problem(file: &str, expected: &str, observed: &str) -> Problem {
    Problem {
        file: file.to_owned(),
        expected: expected.to_owned(),
        observed: observed.to_owned(),
    }
}

fn list(problems: &[Problem]) -> String {
    let words: Vec<String> = problems.iter().map(Problem::to_string).collect();
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded::taken;

    fn problem_after(change: impl Fn(&Path)) -> VerifyError {
        let run = taken();
        let folder = run.path().join("snapshot");
        verify(&folder).expect("whole before the change");
        change(&folder);
        verify(&folder).expect_err("refused")
    }

    #[test]
    fn a_missing_an_extra_and_an_altered_file_are_named() {
        let missing = problem_after(|folder| fs::remove_file(folder.join("beam-bus.sqlite")).expect("removed"));
        assert!(missing.to_string().contains("beam-bus.sqlite: expected"));
        let extra = problem_after(|folder| fs::write(folder.join("beam-bus.sqlite-wal"), b"x").expect("written"));
        assert!(extra.to_string().contains("beam-bus.sqlite-wal"));
        let altered = problem_after(|folder| {
            let path = folder.join("beam-directory.db");
            let mut bytes = fs::read(&path).expect("read");
            bytes[5_000] ^= 1;
            fs::write(path, bytes).expect("written");
        });
        assert!(altered.to_string().contains("beam-directory.db"));
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let error = problem_after(|folder| {
            let path = folder.join("beam-bus.sqlite");
            let other = folder.with_file_name("elsewhere");
            fs::rename(&path, &other).expect("moved");
            std::os::unix::fs::symlink(other, path).expect("linked");
        });
        assert!(error.to_string().contains("a symbolic link"));
    }

    #[test]
    fn a_set_that_others_may_read_is_refused() {
        let error = problem_after(|folder| {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("opened");
        });
        assert!(error.to_string().contains("mode 0755"));
    }

    #[test]
    fn a_missing_folder_is_usage_and_a_garbage_manifest_is_not() {
        assert!(verify(Path::new("/nonexistent")).expect_err("refused").is_usage());
        let garbage = problem_after(|folder| fs::write(folder.join(FILE_NAME), "{").expect("written"));
        assert!(!garbage.is_usage());
    }
}
