//! What one question comes to: plain counts and findings.

use crate::evidence::Finding;

/// The answer of one question.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    /// How many things were held against each other.
    pub(crate) items: u64,
    /// What is not as it should be.
    pub(crate) findings: Vec<Finding>,
    /// What could not be looked at: without it nothing is proven.
    pub(crate) problems: Vec<String>,
    /// Remarks.
    pub(crate) notes: Vec<String>,
}

impl Look {
    /// Holds one thing against what it should be.
    pub(crate) fn hold<T: PartialEq + ToString>(&mut self, subject: &str, expected: &T, observed: &T, place: &str) {
        self.must(
            expected == observed,
            subject,
            &expected.to_string(),
            &observed.to_string(),
            place,
        );
    }

    /// Notes one thing that must be so.
    pub(crate) fn must(&mut self, is_so: bool, subject: &str, expected: &str, observed: &str, place: &str) {
        self.items += 1;
        if !is_so {
            self.findings.push(Finding::new(subject, expected, observed, place));
        }
    }
}
