//! What a check leaves: findings, and the record that a report prints.

use crate::deployment::Service;
use crate::evidence::{CheckId, Verdict};
use serde::{Deserialize, Serialize};

/// One thing wrong. Texts hold no secret and no personal data: see [`crate::evidence::private`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about: `agents[beam_id=ops@acme.beam.directory]`, `intent n-17`, `beam-bus.sqlite-wal`.
    pub subject: String,
    /// What should have been seen.
    pub expected: String,
    /// What was seen.
    pub observed: String,
    /// Where it was looked at: a file and table, or method and path.
    #[serde(rename = "where")]
    pub place: String,
}

impl Finding {
    /// A finding from its four parts.
    pub fn new(
        subject: impl Into<String>,
        expected: impl Into<String>,
        observed: impl Into<String>,
        place: impl Into<String>,
    ) -> Finding {
        Finding {
            subject: subject.into(),
            expected: expected.into(),
            observed: observed.into(),
            place: place.into(),
        }
    }
}

/// What a `judge` returns: pure comparison, no clock, no I/O.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// How many things were compared. Nothing compared is inconclusive.
    pub items: u64,
    /// What was expected, in one short phrase (`8 agents, 9 keys`).
    pub expected: String,
    /// What was observed, in one short phrase.
    pub observed: String,
    /// Everything wrong, in a stable order.
    pub findings: Vec<Finding>,
    /// Remarks that are not wrong (a CHECK clause missing between environments, `sqlite_stat4` present…).
    pub notes: Vec<String>,
}

impl Judgement {
    /// Fail with a finding, inconclusive when nothing was compared, else pass.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        Verdict::of_look(self.findings.len() as u64, self.items, 0)
    }

    /// Takes over another judgement's items, findings and notes; the phrases are joined.
    pub fn absorb(&mut self, other: Judgement) {
        self.items += other.items;
        for (mine, theirs) in [
            (&mut self.expected, other.expected),
            (&mut self.observed, other.observed),
        ] {
            if mine.is_empty() {
                *mine = theirs;
            } else if !theirs.is_empty() && *mine != theirs {
                mine.push_str("; ");
                mine.push_str(&theirs);
            }
        }
        self.findings.extend(other.findings);
        self.notes.extend(other.notes);
    }
}

/// A check as it stands in the evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckRecord {
    /// Which check.
    pub id: CheckId,
    /// The service it looked at, `null` for both.
    pub service: Option<Service>,
    /// Its verdict.
    pub verdict: Verdict,
    /// How many things were compared.
    pub items: u64,
    /// What was expected, in short.
    pub expected: String,
    /// What was observed, in short.
    pub observed: String,
    /// At most [`CheckRecord::STORED_FINDINGS`] of the findings.
    pub findings: Vec<Finding>,
    /// How many findings there were in all.
    pub findings_total: u64,
    /// Remarks that are not findings.
    pub notes: Vec<String>,
    /// How long looking and judging took, in milliseconds.
    pub duration_ms: u64,
}

impl CheckRecord {
    /// How many findings of one check the evidence holds at most.
    pub const STORED_FINDINGS: usize = 1_000;

    /// What is said of it among the reasons of a run that did not pass; `None` for a passed check.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let what = match self.verdict {
            Verdict::Pass => return None,
            Verdict::Fail => "failed",
            Verdict::Inconclusive => "is inconclusive",
        };
        let service = self.service.map_or(String::new(), |service| format!(" ({service})"));
        let (id, total) = (self.id, self.findings_total);
        Some(format!("check {id}{service} {what}: {total} findings"))
    }

    /// The record of a judgement.
    #[must_use]
    pub fn of(id: CheckId, service: Option<Service>, judgement: Judgement, duration_ms: u64) -> CheckRecord {
        let verdict = judgement.verdict();
        let total = judgement.findings.len() as u64;
        let mut findings = judgement.findings;
        findings.truncate(CheckRecord::STORED_FINDINGS);
        CheckRecord {
            id,
            service,
            verdict,
            items: judgement.items,
            expected: judgement.expected,
            observed: judgement.observed,
            findings,
            findings_total: total,
            notes: judgement.notes,
            duration_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_compared_is_inconclusive() {
        assert_eq!(Judgement::default().verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn a_finding_fails_even_when_nothing_was_counted() {
        let judged = Judgement {
            findings: vec![Finding::new("a", "b", "c", "d")],
            ..Judgement::default()
        };
        assert_eq!(judged.verdict(), Verdict::Fail);
    }

    #[test]
    fn findings_beyond_the_cap_are_counted() {
        let findings = (0..1_001).map(|n| Finding::new(n.to_string(), "", "", "")).collect();
        let record = CheckRecord::of(
            CheckId::Content,
            None,
            Judgement {
                findings,
                ..Judgement::default()
            },
            0,
        );
        assert_eq!((record.findings.len(), record.findings_total), (1_000, 1_001));
    }
}
