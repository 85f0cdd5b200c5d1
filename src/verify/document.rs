//! The record of a drill or of a comparison, as one thing that can be asked.

use crate::evidence::{Chain, Evidence, ParityEvidence, Run, Step, Verdict, sha256};
use crate::report;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A record that was read.
#[derive(Debug, Clone)]
pub enum Document {
    /// Of a drill.
    Drill(Box<Evidence>),
    /// Of a comparison of environments, or of a look at one.
    Comparison(Box<ParityEvidence>),
}

impl Document {
    /// Reads a record, strictly: a key that stands twice is refused.
    ///
    /// # Errors
    /// What is wrong with it, with line and column.
    pub fn parse(text: &str) -> Result<Document, serde_json::Error> {
        let value: Value = serde_json::from_str(text)?;
        if is_comparison(&value) {
            serde_json::from_str(text).map(|read| Document::Comparison(Box::new(read)))
        } else {
            serde_json::from_str(text).map(|read| Document::Drill(Box::new(read)))
        }
    }

    /// Reads a record as a careless reader does: of a key that stands twice the last one counts.
    pub(crate) fn lenient(text: &str) -> Option<Document> {
        let value: Value = serde_json::from_str(text).ok()?;
        if is_comparison(&value) {
            read(value).map(|read| Document::Comparison(Box::new(read)))
        } else {
            read(value).map(|read| Document::Drill(Box::new(read)))
        }
    }

    /// Who ran what, when.
    #[must_use]
    pub fn run(&self) -> &Run {
        match self {
            Document::Drill(evidence) => &evidence.run,
            Document::Comparison(evidence) => &evidence.run,
        }
    }

    pub(crate) fn format(&self) -> &str {
        match self {
            Document::Drill(evidence) => &evidence.format,
            Document::Comparison(evidence) => &evidence.format,
        }
    }

    /// The verdict that it states.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Document::Drill(evidence) => evidence.verdict,
            Document::Comparison(evidence) => evidence.verdict,
        }
    }

    pub(crate) fn reasons(&self) -> &[String] {
        match self {
            Document::Drill(evidence) => &evidence.reasons,
            Document::Comparison(evidence) => &evidence.reasons,
        }
    }

    pub(crate) fn steps(&self) -> &[Step] {
        match self {
            Document::Drill(evidence) => &evidence.steps,
            Document::Comparison(evidence) => &evidence.steps,
        }
    }

    pub(crate) fn chain(&self) -> &Chain {
        match self {
            Document::Drill(evidence) => &evidence.chain,
            Document::Comparison(evidence) => &evidence.chain,
        }
    }

    /// The record as it is stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        match self {
            Document::Drill(evidence) => evidence.to_json(),
            Document::Comparison(evidence) => evidence.to_json(),
        }
    }

    /// Computes its chain.
    pub fn close(&mut self) {
        match self {
            Document::Drill(evidence) => evidence.close(),
            Document::Comparison(evidence) => evidence.close(),
        }
    }

    /// The report that belongs to it, which names the digest of the stored bytes.
    #[must_use]
    pub fn report(&self) -> String {
        let digest = sha256(self.to_json().as_bytes());
        match self {
            Document::Drill(evidence) => report::markdown::render(evidence, &digest),
            Document::Comparison(evidence) => report::parity::render(evidence, &digest),
        }
    }
}

fn is_comparison(value: &Value) -> bool {
    matches!(
        value["run"]["drill"].as_str(),
        Some(ParityEvidence::DRILL | ParityEvidence::SMOKE)
    )
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}
