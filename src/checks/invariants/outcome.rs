//! What a rule is, and what it can say: findings, held, not applicable, or not checked with the reason.
//!
//! Never a verdict: a rule that holds proves nothing about the rest of the backup.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::record::Record;
use crate::evidence::Finding;
use std::fmt::Display;

/// Findings that one rule leaves at most; the last one counts the others.
const MOST_FINDINGS: usize = 50;

/// One thing that must hold in every backup of a Beam stack.
pub struct Rule {
    /// Its short name, a letter for the family and two digits.
    pub name: &'static str,
    /// What must hold, in a few words.
    pub title: &'static str,
    /// Why it must hold, with the section of the contract.
    pub why: &'static str,
    /// The tables it reads; one that could not be loaded relaxes the rule.
    pub needs: &'static [&'static str],
    /// The rule itself: pure, reads the facts only.
    pub run: fn(&Facts) -> RuleOutcome,
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOutcome {
    /// It is broken.
    Broken(Vec<Finding>),
    /// It holds for this many items.
    Held(u64),
    /// There is nothing that it speaks of.
    NotApplicable,
    /// It was not checked, or only in part: why.
    Relaxed(String),
}

/// A rule's notebook while it looks.
#[derive(Default)]
pub(super) struct Look {
    items: u64,
    findings: Vec<Finding>,
    left_out: u64,
    relaxed: Option<String>,
}

impl Look {
    /// Counts one item that the rule speaks of.
    pub(super) fn seen(&mut self) {
        self.items += 1;
    }

    /// Something does not hold for a cell of a row: the finding shows the cell.
    pub(super) fn hold(&mut self, record: Record<'_>, column: &str, holds: bool, expected: impl Display) {
        if !holds {
            let observed = record.shown(column);
            self.wrong(record.subject(), &record.place(column), expected, observed);
        }
    }

    /// A row as a whole is wrong.
    pub(super) fn row(&mut self, record: Record<'_>, holds: bool, expected: impl Display, observed: impl Display) {
        if !holds {
            self.wrong(record.subject(), &record.place(""), expected, observed);
        }
    }

    /// Anything else that is wrong.
    pub(super) fn wrong(&mut self, subject: impl Display, place: &str, expected: impl Display, observed: impl Display) {
        if self.findings.len() < MOST_FINDINGS {
            let finding = Finding::new(subject.to_string(), expected.to_string(), observed.to_string(), place);
            self.findings.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// The rule cannot be held against (part of) this backup; the first reason stays.
    pub(super) fn relax(&mut self, reason: impl Display) {
        if self.relaxed.is_none() {
            self.relaxed = Some(reason.to_string());
        }
    }

    /// What the rule found.
    pub(super) fn end(mut self) -> RuleOutcome {
        if self.left_out > 0
            && let Some(last) = self.findings.last_mut()
        {
            last.observed = format!("{} (and {} more of this rule)", last.observed, self.left_out);
        }
        match self.relaxed {
            _ if !self.findings.is_empty() => RuleOutcome::Broken(self.findings),
            Some(reason) => RuleOutcome::Relaxed(reason),
            None if self.items == 0 => RuleOutcome::NotApplicable,
            None => RuleOutcome::Held(self.items),
        }
    }
}
