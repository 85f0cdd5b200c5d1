//! That a run began: written before its first action, so that a run which was killed or timed out is never left out.

use crate::evidence::StoreError;
use crate::evidence::store::{read_document, to_text, write_atomically};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// `started.json` in a run's folder. Alone, without `evidence.json`, it means that the run was aborted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// Always [`Started::FORMAT`].
    pub format: String,
    /// The run's id; also the name of its folder.
    pub id: String,
    /// `backup-restore`, …
    pub drill: String,
    /// Name of the environment.
    pub environment: String,
    /// `process`, `container`.
    pub runtime: String,
    /// Where every random choice derives from.
    pub seed: u64,
    /// RFC 3339 UTC.
    pub started_at: String,
    /// The command line, unexpanded.
    pub command: String,
    /// The test that the run belongs to; `null` outside nextest.
    pub test: Option<TestAttempt>,
}

/// One attempt of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestAttempt {
    /// The test's name, module path first.
    pub name: String,
    /// Counted from 1.
    pub attempt: u32,
}

impl TestAttempt {
    /// The test that nextest runs in this process, by the variables that it sets; `None` outside nextest.
    pub fn under_nextest(variable: impl Fn(&str) -> Option<String>) -> Option<TestAttempt> {
        let name = variable("NEXTEST_TEST_NAME").filter(|name| !name.is_empty())?;
        let attempt = variable("NEXTEST_ATTEMPT").and_then(|attempt| attempt.parse().ok());
        Some(TestAttempt {
            name,
            attempt: attempt.unwrap_or(1),
        })
    }
}

impl Started {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-started/1";

    /// Where it lies in a run's folder.
    #[must_use]
    pub fn path(run: &Path) -> PathBuf {
        run.join("started.json")
    }

    /// The document as it is stored: pretty-printed JSON with a final line feed.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_text(self)
    }

    /// Stores it in the run's folder.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, run: &Path) -> Result<(), StoreError> {
        write_atomically(&Started::path(run), &self.to_json())
    }

    /// Reads it from the run's folder.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Format`].
    pub fn read(run: &Path) -> Result<Started, StoreError> {
        read_document(&Started::path(run), Started::FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_of_a_run_is_known_under_nextest_only() {
        let under = |name: &str| match name {
            "NEXTEST_TEST_NAME" => Some("faults::a".to_owned()),
            "NEXTEST_ATTEMPT" => Some("2".to_owned()),
            _ => None,
        };
        let expected = TestAttempt {
            name: "faults::a".to_owned(),
            attempt: 2,
        };
        assert_eq!(TestAttempt::under_nextest(under), Some(expected));
        assert_eq!(TestAttempt::under_nextest(|_| None), None);
    }
}
