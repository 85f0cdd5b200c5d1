//! Nextest's JUnit report, read for one thing: tests of drills that the records do not explain.

use crate::evidence::TestRun;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The test binary whose tests perform drills, as nextest names it.
const DRILLS: &str = "beam-recovery-drills::drills";

/// A test of the drills' binary that left no record, or one that contradicts its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unexplained {
    /// The test's name, module path first.
    pub test: String,
    /// What nextest says of it.
    pub ending: UnexplainedEnding,
}

/// What nextest says of a test that the records do not explain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnexplainedEnding {
    /// It failed or timed out, and no record says so.
    Failed,
    /// It passed and performs no drill that would be recorded.
    Passed,
    /// It was not run: filtered out, or in another shard.
    LeftOut,
}

/// The root of the report.
#[derive(Debug, Deserialize)]
pub(crate) struct Suites {
    #[serde(rename = "@uuid")]
    uuid: Option<String>,
    #[serde(rename = "testsuite", default)]
    suites: Vec<Suite>,
}

#[derive(Debug, Deserialize)]
struct Suite {
    #[serde(rename = "@name")]
    name: String,
    #[serde(rename = "testcase", default)]
    cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    #[serde(rename = "@name")]
    name: String,
    failure: Option<Trouble>,
    error: Option<Trouble>,
    skipped: Option<Trouble>,
}

/// That an element is there; what it holds is for its reader.
#[derive(Debug, Deserialize)]
struct Trouble {}

/// Reads a report.
pub(crate) fn parse(text: &str) -> Result<Suites, quick_xml::DeError> {
    quick_xml::de::from_str(text)
}

impl Suites {
    /// Id of the run that the report is of.
    pub(crate) fn run_id(&self) -> Option<&str> {
        self.uuid.as_deref()
    }

    /// Tests of drills that the records of the run do not explain, in the report's order.
    pub(crate) fn unexplained(&self, run: &TestRun) -> Vec<Unexplained> {
        let recorded = run.records.iter().map(|record| record.of.test.as_str());
        let begun = run.aborted.iter().chain(&run.under_way);
        let known: BTreeSet<&str> = recorded.chain(begun.clone().map(|one| one.of.test.as_str())).collect();
        let failed = run.not_as_expected().map(|record| record.of.test.as_str());
        let known_bad: BTreeSet<&str> = failed.chain(begun.map(|one| one.of.test.as_str())).collect();
        let cases = self.suites.iter().filter(|suite| suite.name == DRILLS);
        cases
            .flat_map(|suite| &suite.cases)
            .filter_map(|case| {
                let ending = if case.failure.is_some() || case.error.is_some() {
                    UnexplainedEnding::Failed
                } else if case.skipped.is_some() {
                    UnexplainedEnding::LeftOut
                } else {
                    UnexplainedEnding::Passed
                };
                let explained = match ending {
                    UnexplainedEnding::Failed => &known_bad,
                    UnexplainedEnding::Passed | UnexplainedEnding::LeftOut => &known,
                };
                (!explained.contains(case.name.as_str())).then(|| Unexplained {
                    test: case.name.clone(),
                    ending,
                })
            })
            .collect()
    }
}
