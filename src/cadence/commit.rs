//! Whether anything that evidence speaks of changed since the commit that it was made at.

use crate::gate::git::{Change, GitError};
use crate::gate::relevant;
use std::path::Path;

/// Why evidence that a harness of a commit made says no longer how things stand, if so. Documents and reports do not count.
#[must_use]
pub fn changed_since(folder: &Path, commit: Option<&str>) -> Option<String> {
    // A harness that was not built from a repository has no commit, and neither has its evidence.
    let commit = commit?;
    let files = match Change::since(folder, commit).and_then(|change| change.files()) {
        Ok(files) => files,
        Err(GitError::NotRun { .. } | GitError::NoRepository { .. }) => return None,
        Err(error) => return Some(format!("what changed since its commit cannot be told: {error}")),
    };
    let touched = relevant::touched(&files);
    let first = touched.iter().find(|file| file.can_touch_a_schema)?;
    Some(format!(
        "{} changed since its commit {}",
        first.path,
        commit.get(..12).unwrap_or(commit)
    ))
}
