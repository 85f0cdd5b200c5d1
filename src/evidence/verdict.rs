//! Verdicts and their order: pass < inconclusive < fail; the worst wins; no verdict at all is inconclusive.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The answer of a check or of a whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Something was compared and nothing was wrong.
    Pass,
    /// Nothing could be compared, so nothing is proven.
    Inconclusive,
    /// At least one finding.
    Fail,
}

impl Verdict {
    /// The worst of several verdicts; of none, [`Verdict::Inconclusive`].
    pub fn worst(verdicts: impl IntoIterator<Item = Verdict>) -> Verdict {
        verdicts.into_iter().max().unwrap_or(Verdict::Inconclusive)
    }

    /// Of one look: fail with a finding, inconclusive where nothing was compared or something could not be looked at.
    #[must_use]
    pub fn of_look(findings: u64, items: u64, problems: usize) -> Verdict {
        if findings > 0 {
            Verdict::Fail
        } else if items == 0 || problems > 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// Of a whole run: the worst of its checks. One that was broken off is no better than inconclusive, and no better than
    /// fail once the outage had begun.
    pub fn of_run(checks: impl IntoIterator<Item = Verdict>, broken_off: bool, outage_began: bool) -> Verdict {
        let broken = if outage_began {
            Verdict::Fail
        } else {
            Verdict::Inconclusive
        };
        let checks = checks.into_iter().max();
        match (checks, broken_off) {
            (Some(worst), true) => worst.max(broken),
            (None, true) => broken,
            (worst, false) => Verdict::worst(worst),
        }
    }

    /// The word in evidence and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Pass => "pass",
            Verdict::Inconclusive => "inconclusive",
            Verdict::Fail => "fail",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_wins() {
        assert_eq!(
            Verdict::worst([Verdict::Pass, Verdict::Inconclusive]),
            Verdict::Inconclusive
        );
        assert_eq!(
            Verdict::worst([Verdict::Fail, Verdict::Pass, Verdict::Inconclusive]),
            Verdict::Fail
        );
    }

    #[test]
    fn a_run_that_was_broken_off_is_no_pass_and_after_the_outage_a_fail() {
        for (checks, outage_began, expected) in [
            (vec![Verdict::Pass], false, Verdict::Inconclusive),
            (vec![Verdict::Pass], true, Verdict::Fail),
            (vec![Verdict::Fail], false, Verdict::Fail),
            (vec![], true, Verdict::Fail),
        ] {
            assert_eq!(Verdict::of_run(checks, true, outage_began), expected);
        }
        assert_eq!(Verdict::of_run([], false, true), Verdict::Inconclusive);
    }

    #[test]
    fn no_verdict_at_all_is_inconclusive() {
        assert_eq!(Verdict::worst([]), Verdict::Inconclusive);
    }
}
