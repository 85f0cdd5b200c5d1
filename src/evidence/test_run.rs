//! A whole test run: the records of its drills, read from one folder or merged from the folders of its shards.
//!
//! A drill that began and left no record is aborted, never left out.

use crate::deployment::given_file;
use crate::evidence::junit::{self, Unexplained, UnexplainedEnding};
use crate::evidence::store::to_text;
use crate::evidence::test_record::{TestDrill, TestEnding, TestRecord, TestStarted};
use crate::evidence::{Evidence, StoreError, Verdict};
use serde::Serialize;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Why the records of a test run could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TestRunError {
    /// A file or folder could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A folder holds no record.
    #[error("{folder} holds no record of a test; give a folder below target/drills/tests")]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// Nextest's report is none.
    #[error("{path} is not a JUnit report; remove it, or run nextest again")]
    Junit {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: quick_xml::DeError,
    },
    /// Two records of one drill.
    #[error("two records of {of} differ: {first} and {second}; merge the shards of one test run only")]
    Conflict {
        /// The drill.
        of: TestDrill,
        /// One record's file.
        first: PathBuf,
        /// The other's.
        second: PathBuf,
    },
}

/// The drills of a test run, ordered by test, attempt and drill.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TestRun {
    /// Always [`TestRun::FORMAT`].
    pub format: String,
    /// The run's id; of shards with ids of their own all, joined by ` + `.
    pub id: String,
    /// See [`TestRun::judge`].
    pub verdict: Verdict,
    /// Drills that came to an end or were skipped.
    pub records: Vec<TestRecord>,
    /// Drills that began and left no record, and whose test is gone.
    pub aborted: Vec<TestStarted>,
    /// Drills whose test still lives.
    pub under_way: Vec<TestStarted>,
    /// Tests of nextest's report on this run that the records do not explain; empty where there is no such report.
    pub unexplained: Vec<Unexplained>,
}

/// What is known of one drill.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Recorded(Box<TestRecord>),
    Aborted(TestStarted),
    UnderWay(TestStarted),
}

impl TestRun {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-test-run/1";

    /// Whether this folder holds records of tests.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        // A record's name has a dot before the ending: `<test>.<attempt>.json`.
        files(folder).is_ok_and(|files| {
            files.iter().any(|file| {
                file.file_stem()
                    .is_some_and(|stem| Path::new(stem).extension().is_some())
            })
        })
    }

    /// Reads the records of one folder, or merges those of several.
    ///
    /// # Errors
    /// [`TestRunError::Empty`] for a folder without records, [`TestRunError::Conflict`] for two different records of one
    /// drill, [`TestRunError::Store`] for an unreadable or foreign file.
    pub fn read(folders: &[PathBuf]) -> Result<TestRun, TestRunError> {
        let mut all: BTreeMap<TestDrill, (PathBuf, Known)> = BTreeMap::new();
        for folder in folders {
            for (of, (path, known)) in read_folder(folder)? {
                match all.entry(of) {
                    Entry::Vacant(place) => {
                        place.insert((path, known));
                    }
                    Entry::Occupied(there) if there.get().1 != known => {
                        return Err(TestRunError::Conflict {
                            of: there.key().clone(),
                            first: there.get().0.clone(),
                            second: path,
                        });
                    }
                    Entry::Occupied(_) => {}
                }
            }
        }
        Ok(TestRun::of(all.into_values().map(|(_, known)| known)))
    }

    fn of(all: impl Iterator<Item = Known>) -> TestRun {
        let (mut records, mut aborted, mut under_way) = (Vec::new(), Vec::new(), Vec::new());
        let mut ids = BTreeSet::new();
        for known in all {
            match known {
                Known::Recorded(record) => {
                    ids.insert(record.test_run.clone());
                    records.push(*record);
                }
                Known::Aborted(started) => {
                    ids.insert(started.test_run.clone());
                    aborted.push(started);
                }
                Known::UnderWay(started) => {
                    ids.insert(started.test_run.clone());
                    under_way.push(started);
                }
            }
        }
        let mut run = TestRun {
            format: TestRun::FORMAT.to_owned(),
            id: ids.into_iter().collect::<Vec<_>>().join(" + "),
            verdict: Verdict::Inconclusive,
            records,
            aborted,
            under_way,
            unexplained: Vec::new(),
        };
        run.verdict = run.judge();
        run
    }

    /// Adds what nextest's JUnit report on this very run knows more; a report on another run says nothing.
    ///
    /// # Errors
    /// [`TestRunError::Store`] for a report that cannot be read, [`TestRunError::Junit`] for one that is not JUnit.
    pub fn compare_with_junit(&mut self, path: &Path) -> Result<(), TestRunError> {
        let text = given_file::document(path).map_err(|source| StoreError::Read {
            path: path.to_owned(),
            source,
        })?;
        let suites = junit::parse(&text).map_err(|source| TestRunError::Junit {
            path: path.to_owned(),
            source,
        })?;
        if suites.run_id() == Some(self.id.as_str()) {
            self.unexplained = suites.unexplained(self);
            self.verdict = self.judge();
        }
        Ok(())
    }

    /// Fail when a test was not as expected; inconclusive when one was aborted or is under way, or none was performed; else
    /// pass.
    fn judge(&self) -> Verdict {
        let failed = |test: &Unexplained| test.ending == UnexplainedEnding::Failed;
        if self.not_as_expected().next().is_some() || self.unexplained.iter().any(failed) {
            Verdict::Fail
        } else if self.as_expected().next().is_none() || !self.aborted.is_empty() || !self.under_way.is_empty() {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// Drills of which all held that their test asserts.
    pub fn as_expected(&self) -> impl Iterator<Item = &TestRecord> {
        self.records.iter().filter(|record| record.as_expected == Some(true))
    }

    /// Drills whose test failed.
    pub fn not_as_expected(&self) -> impl Iterator<Item = &TestRecord> {
        self.records.iter().filter(|record| record.as_expected == Some(false))
    }

    /// Drills that were not begun, for a stated reason.
    pub fn skipped(&self) -> impl Iterator<Item = &TestRecord> {
        self.records
            .iter()
            .filter(|record| record.ending == TestEnding::Skipped)
    }

    /// The evidence that stands for the run, one a runtime and ordered by it: of drills that were meant to pass, of a source
    /// of the harness's own, the last one; one that measured its detection power comes before any that did not.
    #[must_use]
    pub fn representative(&self) -> Vec<&Evidence> {
        let meant_to_pass = self
            .records
            .iter()
            .filter(|record| record.expected == Some(Verdict::Pass));
        let mut plain: Vec<&Evidence> = meant_to_pass
            .filter_map(|record| record.evidence.as_ref())
            .filter(|evidence| evidence.run.from.is_none())
            .collect();
        plain.sort_by_key(|evidence| (evidence.detection.injected.is_some(), &evidence.run.started_at));
        // The last of each runtime stays.
        let by_runtime = plain
            .into_iter()
            .map(|evidence| (evidence.run.runtime.as_str(), evidence));
        by_runtime.collect::<BTreeMap<_, _>>().into_values().collect()
    }

    /// The merged records as one document: pretty-printed JSON with a final line feed.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_text(self)
    }
}

/// The JSON files of a folder, by name.
fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let entries = fs::read_dir(folder).map_err(|source| StoreError::Read {
        path: folder.to_owned(),
        source,
    })?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    files.sort();
    Ok(files)
}

fn read_folder(folder: &Path) -> Result<BTreeMap<TestDrill, (PathBuf, Known)>, TestRunError> {
    let mut found = BTreeMap::new();
    let (began, ended): (Vec<PathBuf>, Vec<PathBuf>) = files(folder)?
        .into_iter()
        .partition(|path| path.to_string_lossy().ends_with(TestStarted::ENDING));
    for path in began {
        // Looked at before the records: a test that ends in between has one.
        let lives = fs::File::open(&path).is_ok_and(|lock| lock.try_lock_shared().is_err());
        let started = TestStarted::read(&path)?;
        let of = started.of.clone();
        let record = of.record_path(folder);
        let known = if record.is_file() {
            (record.clone(), Known::Recorded(Box::new(TestRecord::read(&record)?)))
        } else if lives {
            (path, Known::UnderWay(started))
        } else {
            (path, Known::Aborted(started))
        };
        found.insert(of, known);
    }
    for path in ended {
        let record = TestRecord::read(&path)?;
        found
            .entry(record.of.clone())
            .or_insert_with(|| (path, Known::Recorded(Box::new(record))));
    }
    if found.is_empty() {
        return Err(TestRunError::Empty {
            folder: folder.to_owned(),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(test: &str) -> TestDrill {
        TestDrill {
            test: test.to_owned(),
            attempt: 1,
            drill: 1,
        }
    }

    fn started(test: &str, folder: &Path) {
        let started = TestStarted {
            format: TestStarted::FORMAT.to_owned(),
            test_run: "run".to_owned(),
            of: of(test),
            runtime: "process".to_owned(),
            started_at: "2026-11-24T04:24:14.255Z".to_owned(),
        };
        started.write(folder).expect("written");
    }

    fn skipped(test: &str) -> TestRecord {
        let at = "2026-11-24T04:24:14.255Z".to_owned();
        TestRecord::skipped("run".to_owned(), of(test), at, "no container engine".to_owned())
    }

    fn performed(test: &str, as_expected: bool) -> TestRecord {
        TestRecord {
            ending: TestEnding::Performed,
            verdict: Some(Verdict::Fail),
            as_expected: Some(as_expected),
            reason: None,
            ..skipped(test)
        }
    }

    fn read(folder: &Path) -> TestRun {
        TestRun::read(&[folder.to_owned()]).expect("read")
    }

    #[test]
    fn a_drill_that_began_and_left_no_record_is_aborted() {
        let folder = tempfile::tempdir().expect("a folder");
        started("faults::hangs", folder.path());
        started("faults::ends", folder.path());
        performed("faults::ends", true).write(folder.path()).expect("written");
        let run = read(folder.path());
        let aborted: Vec<&str> = run.aborted.iter().map(|one| one.of.test.as_str()).collect();
        assert_eq!((aborted, run.as_expected().count()), (vec!["faults::hangs"], 1));
        assert_eq!(run.verdict, Verdict::Inconclusive);
    }

    #[test]
    fn a_drill_whose_test_holds_its_lock_is_under_way() {
        let folder = tempfile::tempdir().expect("a folder");
        started("faults::runs", folder.path());
        let lock = fs::File::open(of("faults::runs").started_path(folder.path())).expect("there");
        lock.lock().expect("locked");
        let run = read(folder.path());
        assert_eq!((run.under_way.len(), run.aborted.len()), (1, 0));
    }

    #[test]
    fn a_failed_test_outweighs_an_aborted_one() {
        let folder = tempfile::tempdir().expect("a folder");
        started("a", folder.path());
        performed("b", false).write(folder.path()).expect("written");
        assert_eq!(read(folder.path()).verdict, Verdict::Fail);
    }

    #[test]
    fn a_run_of_skipped_drills_only_proves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        skipped("a").write(folder.path()).expect("written");
        assert_eq!(read(folder.path()).verdict, Verdict::Inconclusive);
    }

    #[test]
    fn shards_are_merged_and_equal_records_count_once() {
        let (one, other) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        performed("a", true).write(one.path()).expect("written");
        skipped("c").write(one.path()).expect("written");
        performed("b", true).write(other.path()).expect("written");
        skipped("c").write(other.path()).expect("written");
        let run = TestRun::read(&[one.path().to_owned(), other.path().to_owned()]).expect("merged");
        let tests: Vec<&str> = run.records.iter().map(|record| record.of.test.as_str()).collect();
        assert_eq!((tests, run.verdict), (vec!["a", "b", "c"], Verdict::Pass));
    }

    #[test]
    fn two_records_of_one_drill_that_differ_are_an_error_that_names_both() {
        let (one, other) = (
            tempfile::tempdir().expect("a folder"),
            tempfile::tempdir().expect("a folder"),
        );
        performed("a", true).write(one.path()).expect("written");
        performed("a", false).write(other.path()).expect("written");
        let error = TestRun::read(&[one.path().to_owned(), other.path().to_owned()])
            .expect_err("a conflict")
            .to_string();
        for folder in [one.path(), other.path()] {
            assert!(error.contains(&folder.display().to_string()), "{error}");
        }
    }

    #[test]
    fn a_folder_without_records_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("evidence.json"), "{}").expect("written");
        assert!(!TestRun::is_in(folder.path()));
        let empty = tempfile::tempdir().expect("a folder");
        let error = TestRun::read(&[empty.path().to_owned()]).expect_err("nothing there");
        assert!(matches!(error, TestRunError::Empty { .. }), "{error}");
    }

    #[test]
    fn a_test_that_nextest_saw_and_no_record_explains_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        performed("a", true).write(folder.path()).expect("written");
        started("b", folder.path());
        let case = |name: &str, inside: &str| format!("<testcase name=\"{name}\">{inside}</testcase>");
        let cases = [
            case("a", "<failure type=\"test failure\">later</failure>"),
            case("b", "<failure type=\"test timeout\"/>"),
            case("c", ""),
            case("d", "<skipped message=\"filtered\"/>"),
        ];
        let report = |id: &str| {
            let suite = format!(
                "<testsuite name=\"beam-recovery-drills::drills\">{}</testsuite>",
                cases.concat()
            );
            let path = folder.path().join("junit.xml");
            fs::write(&path, format!("<testsuites uuid=\"{id}\">{suite}</testsuites>")).expect("written");
            path
        };
        let mut run = read(folder.path());
        run.compare_with_junit(&report("another run")).expect("JUnit");
        assert_eq!((run.unexplained.len(), run.verdict), (0, Verdict::Inconclusive));
        run.compare_with_junit(&report("run")).expect("JUnit");
        let named: Vec<(&str, UnexplainedEnding)> = run
            .unexplained
            .iter()
            .map(|test| (test.test.as_str(), test.ending))
            .collect();
        let expected = [
            ("a", UnexplainedEnding::Failed),
            ("c", UnexplainedEnding::Passed),
            ("d", UnexplainedEnding::LeftOut),
        ];
        assert_eq!((named.as_slice(), run.verdict), (expected.as_slice(), Verdict::Fail));
    }

    #[test]
    fn a_record_file_keeps_to_its_folder() {
        let path = of("../faults::a b").record_path(Path::new("tests"));
        assert_eq!(path, Path::new("tests/---faults--a-b.1.json"));
    }
}
