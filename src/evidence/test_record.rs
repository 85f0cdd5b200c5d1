//! What one drill of one test leaves for the report on a whole test run: that it began, and how it ended.
//!
//! Two files a drill: `<test>.<attempt>.started.json` before its first action, `<test>.<attempt>.json` at the end of the
//! test. The first alone means that the test was aborted.

use crate::evidence::store::{read_document, to_text, write_atomically};
use crate::evidence::{Evidence, StoreError, Verdict};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};

/// Which drill of which test; also what its files are named by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TestDrill {
    /// The test's name, module path first.
    pub test: String,
    /// Counted from 1.
    pub attempt: u32,
    /// Which drill of that attempt, counted from 1; most tests perform one.
    pub drill: u32,
}

impl TestDrill {
    /// File name without its ending. What could leave the folder or be misread there becomes `-`.
    fn stem(&self) -> String {
        let name: String = self
            .test
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' })
            .collect();
        match self.drill {
            1 => format!("{name}.{}", self.attempt),
            drill => format!("{name}.{}.{drill}", self.attempt),
        }
    }

    /// Where it lies in the test run's folder that the drill began.
    #[must_use]
    pub fn started_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}{}", self.stem(), TestStarted::ENDING))
    }

    /// Where it lies in the test run's folder how the drill ended.
    #[must_use]
    pub fn record_path(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.json", self.stem()))
    }
}

impl fmt::Display for TestDrill {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.test)?;
        if self.drill > 1 {
            write!(f, " (drill {})", self.drill)?;
        }
        if self.attempt > 1 {
            write!(f, " (attempt {})", self.attempt)?;
        }
        Ok(())
    }
}

/// That a drill of a test began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestStarted {
    /// Always [`TestStarted::FORMAT`].
    pub format: String,
    /// Id of the test run.
    pub test_run: String,
    /// Which drill.
    pub of: TestDrill,
    /// `process`, `container`.
    pub runtime: String,
    /// RFC 3339 UTC.
    pub started_at: String,
}

impl TestStarted {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-test-started/1";
    /// How the file's name ends.
    pub(crate) const ENDING: &str = ".started.json";

    /// Stores it in the test run's folder.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, folder: &Path) -> Result<(), StoreError> {
        write_atomically(&self.of.started_path(folder), &to_text(self))
    }

    /// Reads one file.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Format`].
    pub(crate) fn read(path: &Path) -> Result<TestStarted, StoreError> {
        read_document(path, TestStarted::FORMAT)
    }
}

/// How the drill of a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TestEnding {
    /// It has evidence.
    Performed,
    /// What was asked for was known to be impossible before anything was started.
    Refused,
    /// The test ended before its drill did.
    Unfinished,
    /// It was not begun, for a stated reason.
    Skipped,
}

impl TestEnding {
    /// The word in records and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            TestEnding::Performed => "performed",
            TestEnding::Refused => "refused",
            TestEnding::Unfinished => "unfinished",
            TestEnding::Skipped => "skipped",
        }
    }
}

/// How a drill of a test ended, and what the test expected of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TestRecord {
    /// Always [`TestRecord::FORMAT`].
    pub format: String,
    /// Id of the test run.
    pub test_run: String,
    /// Which drill.
    pub of: TestDrill,
    /// How it ended.
    pub ending: TestEnding,
    /// `process`, `container`; `null` where nothing was begun.
    pub runtime: Option<String>,
    /// RFC 3339 UTC.
    pub started_at: String,
    /// Milliseconds from the drill's start to its end, monotonic.
    pub duration_ms: u64,
    /// The verdict that the test asserts: a test that injects a fault expects `fail`. `null` where it asserts none.
    pub expected: Option<Verdict>,
    /// The verdict that came; `null` without evidence.
    pub verdict: Option<Verdict>,
    /// Whether all that the test asserts held; `null` for a skipped one.
    pub as_expected: Option<bool>,
    /// Why it was skipped or refused, or what was not as expected.
    pub reason: Option<String>,
    /// The drill's evidence.
    pub evidence: Option<Evidence>,
}

impl TestRecord {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-test/1";

    /// A drill that was not begun.
    #[must_use]
    pub fn skipped(test_run: String, of: TestDrill, at: String, reason: String) -> TestRecord {
        TestRecord {
            format: TestRecord::FORMAT.to_owned(),
            test_run,
            of,
            ending: TestEnding::Skipped,
            runtime: None,
            started_at: at,
            duration_ms: 0,
            expected: None,
            verdict: None,
            as_expected: None,
            reason: Some(reason),
            evidence: None,
        }
    }

    /// What the drill came to in one word: its verdict, or how it ended without one.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        self.verdict.map_or(self.ending.word(), Verdict::word)
    }

    /// Stores it in the test run's folder.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, folder: &Path) -> Result<(), StoreError> {
        write_atomically(&self.of.record_path(folder), &to_text(self))
    }

    /// Reads one file.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Format`].
    pub(crate) fn read(path: &Path) -> Result<TestRecord, StoreError> {
        read_document(path, TestRecord::FORMAT)
    }
}
