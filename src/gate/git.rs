//! What git knows of a change: where it started from, files as they were there, files that differ. Runs `git`; writes nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Why git could not tell.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// git itself cannot be run.
    #[error("cannot run git in {folder}; install git, or give a folder that exists")]
    NotRun {
        /// Where.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The folder belongs to no repository that git reads.
    #[error("{folder} is in no git repository that can be read: {said}")]
    NoRepository {
        /// Which folder.
        folder: PathBuf,
        /// The first line of what git said.
        said: String,
    },
    /// The name stands for no commit here.
    #[error(
        "no commit {reference} in this repository; fetch it first (`git fetch origin`, in a workflow `fetch-depth: 0` at the checkout)"
    )]
    NoCommit {
        /// The name.
        reference: String,
    },
    /// The clone does not reach back far enough.
    #[error(
        "this clone is shallow and does not reach back to where HEAD left {reference}; fetch the whole history (`git fetch --unshallow`, in a workflow `fetch-depth: 0` at the checkout)"
    )]
    Shallow {
        /// The name.
        reference: String,
    },
    /// There is no common commit.
    #[error("HEAD and {reference} have no commit in common; name the branch that this change goes into")]
    Unrelated {
        /// The name.
        reference: String,
    },
    /// Anything else that git refuses.
    #[error("git {command} failed in {folder}: {said}")]
    Failed {
        /// The subcommand.
        command: String,
        /// Where.
        folder: PathBuf,
        /// The first line of what git said.
        said: String,
    },
    /// A file of the repository is no text.
    #[error("{file} of commit {commit} is not UTF-8")]
    NoText {
        /// Which file.
        file: String,
        /// Of which commit.
        commit: String,
    },
}

/// A change against the commit that it started from.
#[derive(Debug, Clone)]
pub struct Change {
    /// Folder that git runs in.
    folder: PathBuf,
    /// The commit that HEAD and the reference have in common, full hash.
    pub base: String,
}

impl Change {
    /// What the work tree around a folder changes of the commit that its HEAD has in common with a reference.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn since(folder: &Path, reference: &str) -> Result<Change, GitError> {
        let inside = git(folder, &["rev-parse", "--is-inside-work-tree"])?;
        if text(&inside.stdout).trim() != "true" {
            return Err(GitError::NoRepository {
                folder: folder.to_owned(),
                said: said(&inside),
            });
        }
        let shallow = git(folder, &["rev-parse", "--is-shallow-repository"])?;
        let is_shallow = text(&shallow.stdout).trim() == "true";
        let reference = reference.trim();
        let lost = |error: GitError| {
            if is_shallow {
                GitError::Shallow {
                    reference: reference.to_owned(),
                }
            } else {
                error
            }
        };
        let no_commit = || GitError::NoCommit {
            reference: if reference.is_empty() { "\"\"" } else { reference }.to_owned(),
        };
        // A name that begins with a dash would be an option to git.
        if reference.is_empty() || reference.starts_with('-') {
            return Err(no_commit());
        }
        let commit = format!("{reference}^{{commit}}");
        let found = git(folder, &["rev-parse", "--verify", "--quiet", &commit])?;
        if !found.status.success() {
            return Err(lost(no_commit()));
        }
        let commit = text(&found.stdout).trim().to_owned();
        let common = git(folder, &["merge-base", &commit, "HEAD"])?;
        if !common.status.success() {
            return Err(lost(GitError::Unrelated {
                reference: reference.to_owned(),
            }));
        }
        Ok(Change {
            folder: folder.to_owned(),
            base: text(&common.stdout).trim().to_owned(),
        })
    }

    /// A file of the folder as it was at the base; `None` where it was not there.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn before(&self, file: &str) -> Result<Option<String>, GitError> {
        let listed = self.read(&["ls-tree", "-z", "--name-only", &self.base, "--", file])?;
        if listed.is_empty() {
            return Ok(None);
        }
        let bytes = self.read(&["show", &format!("{}:./{file}", self.base)])?;
        let text = String::from_utf8(bytes).map_err(|_| GitError::NoText {
            file: file.to_owned(),
            commit: self.base.clone(),
        })?;
        Ok(Some(text))
    }

    /// Every file that differs from the base, committed or not, from the root of the repository on; sorted. Of a renamed file
    /// both names.
    ///
    /// # Errors
    /// [`GitError`].
    pub fn files(&self) -> Result<Vec<String>, GitError> {
        let root = self.read(&["rev-parse", "--show-toplevel"])?;
        let root = Change {
            folder: PathBuf::from(text(&root).trim_end_matches('\n')),
            base: self.base.clone(),
        };
        let mut all = root.read(&[
            "diff",
            "--name-only",
            "--no-renames",
            "--no-ext-diff",
            "-z",
            &self.base,
            "--",
        ])?;
        all.extend(root.read(&["ls-files", "--others", "--exclude-standard", "-z"])?);
        let mut files: Vec<String> = text(&all)
            .split('\0')
            .filter(|file| !file.is_empty())
            .map(str::to_owned)
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    fn read(&self, arguments: &[&str]) -> Result<Vec<u8>, GitError> {
        let output = git(&self.folder, arguments)?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(GitError::Failed {
            command: arguments.first().copied().unwrap_or_default().to_owned(),
            folder: self.folder.clone(),
            said: said(&output),
        })
    }
}

fn git(folder: &Path, arguments: &[&str]) -> Result<Output, GitError> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(arguments);
    // A hook of git says where its own repository is; the folder decides here.
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").output().map_err(|source| GitError::NotRun {
        folder: folder.to_owned(),
        source,
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn said(output: &Output) -> String {
    let text = text(&output.stderr);
    text.lines().next().unwrap_or("it said nothing").to_owned()
}
