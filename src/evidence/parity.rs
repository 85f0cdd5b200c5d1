//! The record of a comparison of environments: the envelope of a drill with its environments and their drifts.

use crate::deployment::compared::Aspect;
use crate::evidence::store::{read_document, to_text, write_atomically};
use crate::evidence::{
    Chain, Component, Detection, Evidence, Finding, NotAsked, Objectives, Polarity, Run, SnapshotRecord, Step,
    StoreError, Verdict, sha256,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One disagreement between environments, or of an environment with what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drift {
    /// The question it answers.
    pub aspect: Aspect,
    /// The environment it was seen in, last; before it the one it was compared with, if there was one.
    pub environments: Vec<String>,
    /// What it is about; what an exception names.
    pub subject: String,
    /// What should have been seen.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// File and line, or method and URL.
    #[serde(rename = "where")]
    pub place: String,
}

/// A drift that the environment's file declares as intended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intended {
    /// The drift.
    pub drift: Drift,
    /// Why it is intended.
    pub reason: String,
    /// The last day on which that holds.
    pub until: String,
}

/// One aspect of one environment: a cell of the report's matrix.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AspectRecord {
    /// The question.
    pub id: Aspect,
    /// The environment.
    pub environment: String,
    /// Always `null`: an aspect is of a whole environment.
    pub service: Option<String>,
    /// Its verdict.
    pub verdict: Verdict,
    /// How many things were compared.
    pub items: u64,
    /// What was expected, in short.
    pub expected: String,
    /// What was observed, in short.
    pub observed: String,
    /// What is wrong and not intended.
    pub findings: Vec<Finding>,
    /// What could not be looked at: without it nothing is proven.
    pub problems: Vec<String>,
    /// Remarks that are not findings.
    pub notes: Vec<String>,
}

/// One look at one source of one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// For which question.
    pub aspect: Aspect,
    /// Of which environment.
    pub environment: String,
    /// File, folder, URL or command.
    pub source: String,
    /// What was run to look at it, unexpanded; `null` where a file was read or an address asked.
    pub command: Option<String>,
    /// RFC 3339 UTC.
    pub at: String,
    /// What came of it: `read`, or why it could not be looked at.
    pub outcome: String,
}

/// One compared environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedEnvironment {
    /// Its name.
    pub name: String,
    /// Whether the others were compared with it.
    pub reference: bool,
    /// Its environment capture, a file beside the evidence.
    pub capture: String,
    /// SHA-256 of the capture.
    pub capture_sha256: String,
}

/// The one record of a comparison; `evidence.json` is this, pretty-printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ParityEvidence {
    /// Always [`Evidence::FORMAT`]: the envelope is that of a drill, with `run.drill` = `parity`.
    pub format: String,
    /// The worst verdict of all aspects.
    pub verdict: Verdict,
    /// Why the verdict is not `pass`, one sentence each.
    pub reasons: Vec<String>,
    /// Who ran what, when.
    pub run: Run,
    /// The environments, the reference first.
    pub environments: Vec<ComparedEnvironment>,
    /// Every drift that is not intended.
    pub drifts: Vec<Drift>,
    /// Drifts that are declared as intended.
    pub intended: Vec<Intended>,
    /// Each look at a source.
    pub observations: Vec<Observation>,
    /// The file that `--against` named.
    pub against: Option<String>,
    /// Always empty: nothing is made new.
    pub environments_reset: Vec<String>,
    /// The commands that were run, unexpanded.
    pub commands: Vec<String>,
    /// The harness.
    pub components: Vec<Component>,
    /// What was done.
    pub steps: Vec<Step>,
    /// Always empty.
    pub snapshots: Vec<SnapshotRecord>,
    /// The cells of the matrix.
    pub checks: Vec<AspectRecord>,
    /// Questions that do not arise.
    pub not_asked: Vec<NotAsked>,
    /// Nothing is recovered: all `null`.
    pub objectives: Objectives,
    /// Nothing is restored: all `null`.
    pub polarity: Polarity,
    /// Not measured here.
    pub detection: Detection,
    /// Binds steps and cells to each other, and the whole.
    pub chain: Chain,
}

impl ParityEvidence {
    /// What stands in `run.drill`.
    pub const DRILL: &str = "parity";
    /// What stands there where one environment was held against a release that was just deployed.
    pub const SMOKE: &str = "smoke";

    /// What the cells come to. A comparison of one environment with nothing is none: inconclusive at best.
    #[must_use]
    pub fn verdict_of(drill: &str, cells: &[AspectRecord], not_asked: &[NotAsked]) -> Verdict {
        let alone = drill == ParityEvidence::DRILL && !not_asked.is_empty();
        let cells = cells.iter().map(|cell| cell.verdict);
        Verdict::worst(cells.chain(alone.then_some(Verdict::Inconclusive)))
    }

    /// Computes the chain: the last thing that is done to a record before it is stored.
    pub fn close(&mut self) {
        self.chain = Chain::of(&self.steps, &self.checks);
        self.chain.whole = self.digest();
    }

    /// The document as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        to_text(self)
    }

    /// SHA-256 of the stored document, lower-case hex.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(self.to_json().as_bytes())
    }

    /// Stores the document.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, path: &Path) -> Result<(), StoreError> {
        write_atomically(path, &self.to_json())
    }

    /// Reads a document back; a folder stands for the `evidence.json` in it.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Format`], also for the evidence of a drill.
    pub fn read(path: &Path) -> Result<ParityEvidence, StoreError> {
        let path = if path.is_dir() {
            path.join("evidence.json")
        } else {
            path.to_owned()
        };
        read_document(&path, Evidence::FORMAT)
    }

    /// The cell of one aspect and environment.
    #[must_use]
    pub fn cell(&self, aspect: Aspect, environment: &str) -> Option<&AspectRecord> {
        self.checks
            .iter()
            .find(|record| record.id == aspect && record.environment == environment)
    }
}
