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
    fn no_verdict_at_all_is_inconclusive() {
        assert_eq!(Verdict::worst([]), Verdict::Inconclusive);
    }
}
