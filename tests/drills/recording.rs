//! What each drill of a test leaves for the report on the whole test run.
//!
//! That it begins is stored before its first action, how it ended only when the test lets go of it: a test that panics until
//! then is recorded as failed, one that is killed or timed out has no final record.

use recovery_drills::drills::context::{UsageError, milliseconds, now};
use recovery_drills::drills::reference;
use recovery_drills::evidence::{Evidence, TestAttempt, TestDrill, TestEnding, TestRecord, TestStarted, Verdict};
use std::cell::Cell;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::Instant;

/// Id of the whole test run: `DRILLS_RUN_ID`, nextest's, or one that this process makes.
fn test_run() -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    let given = ["DRILLS_RUN_ID", "NEXTEST_RUN_ID"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|id| !id.is_empty()));
    given.unwrap_or_else(|| OWN.get_or_init(|| uuid::Uuid::now_v7().to_string()).clone())
}

/// Folder of this test run's records.
pub(crate) fn folder() -> PathBuf {
    let kept = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = test_run().chars().map(|c| if kept(c) { c } else { '-' }).collect();
    reference::test_runs_folder().join(name)
}

/// The next drill of the test that runs on this thread.
fn next_drill() -> TestDrill {
    static BEGUN: Mutex<Option<HashMap<String, u32>>> = Mutex::new(None);
    let test = TestAttempt::under_nextest(|name| std::env::var(name).ok()).unwrap_or_else(|| TestAttempt {
        name: std::thread::current().name().unwrap_or("unnamed").to_owned(),
        attempt: 1,
    });
    let mut begun = BEGUN.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let drill = begun.get_or_insert_default().entry(test.name.clone()).or_insert(0);
    *drill += 1;
    TestDrill {
        test: test.name,
        attempt: test.attempt,
        drill: *drill,
    }
}

/// Records that a test performs no drill, and says so loudly: its name, and why, with what to do about it.
pub(crate) fn skipped(test: &str, reason: &str) {
    let of = TestDrill {
        test: test.to_owned(),
        attempt: 1,
        drill: 1,
    };
    eprintln!("SKIPPED {of}: {reason}");
    let record = TestRecord::skipped(test_run(), of, now(), reason.to_owned());
    record.write(&folder()).expect("the record of a skipped drill");
}

/// A drill that a test performs; its record is stored when the test lets go of it.
#[derive(Debug)]
pub(crate) struct Recording {
    record: TestRecord,
    expected: Cell<Option<Verdict>>,
    began: Instant,
    /// Locked while this process lives, so that a live test is not taken for an aborted one.
    _alive: File,
}

impl Recording {
    /// Stores that a drill begins.
    pub(crate) fn begin(runtime: &str) -> Recording {
        let (folder, of, started_at) = (folder(), next_drill(), now());
        let started = TestStarted {
            format: TestStarted::FORMAT.to_owned(),
            test_run: test_run(),
            of: of.clone(),
            runtime: runtime.to_owned(),
            started_at: started_at.clone(),
        };
        started.write(&folder).expect("the record of a drill that begins");
        let alive = File::open(of.started_path(&folder)).expect("just written");
        alive.lock().expect("a lock of our own file");
        let record = TestRecord {
            format: TestRecord::FORMAT.to_owned(),
            test_run: started.test_run,
            of,
            ending: TestEnding::Unfinished,
            runtime: Some(runtime.to_owned()),
            started_at,
            duration_ms: 0,
            expected: None,
            verdict: None,
            as_expected: None,
            reason: None,
            evidence: None,
        };
        Recording {
            record,
            expected: Cell::new(None),
            began: Instant::now(),
            _alive: alive,
        }
    }

    /// The drill came to its end.
    pub(crate) fn performed(mut self, evidence: Evidence) -> Performed {
        self.record.ending = TestEnding::Performed;
        self.record.duration_ms = milliseconds(self.began.elapsed());
        self.record.runtime = Some(evidence.run.runtime.clone());
        self.record.verdict = Some(evidence.verdict);
        self.record.evidence = Some(evidence.clone());
        Performed {
            evidence,
            recording: self,
        }
    }

    /// The drill could not begin.
    pub(crate) fn refused(mut self, error: UsageError) -> Refused {
        self.record.ending = TestEnding::Refused;
        self.record.duration_ms = milliseconds(self.began.elapsed());
        self.record.reason = Some(error.to_string());
        Refused {
            error,
            _recording: self,
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let record = &mut self.record;
        record.expected = self.expected.get();
        let differs = record.expected.filter(|expected| record.verdict != Some(*expected));
        let trouble = if let Some(expected) = differs {
            Some(format!("expected {expected}, came {}", record.outcome()))
        } else if record.ending == TestEnding::Unfinished {
            Some("the test ended before its drill did".to_owned())
        } else {
            std::thread::panicking().then(|| "an assertion of the test failed after the drill".to_owned())
        };
        record.as_expected = Some(trouble.is_none());
        record.reason = trouble.or(record.reason.take());
        if let Err(error) = record.write(&folder()) {
            // Then the drill counts as aborted.
            eprintln!("the record of {} is lost: {error}", record.of);
        }
    }
}

/// The evidence of a drill that came to its end; read like [`Evidence`].
#[derive(Debug)]
pub(crate) struct Performed {
    evidence: Evidence,
    recording: Recording,
}

impl Performed {
    /// The verdict that the test asserts.
    pub(crate) fn expect(&self, verdict: Verdict) {
        self.recording.expected.set(Some(verdict));
    }
}

impl Deref for Performed {
    type Target = Evidence;

    fn deref(&self) -> &Evidence {
        &self.evidence
    }
}

/// Why a drill could not begin; shown like [`UsageError`].
#[derive(Debug)]
pub(crate) struct Refused {
    error: UsageError,
    _recording: Recording,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}
