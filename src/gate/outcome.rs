//! What the gate comes to: schemas against their locks, locks against the base of a change, older snapshots.

use crate::evidence::Verdict;
use crate::gate::base::Since;
use crate::gate::compare::Comparison;
use crate::gate::upgrade::Upgrade;

/// Everything that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Each service's schema against its lock.
    pub comparisons: Vec<Comparison>,
    /// The locks against those of a base, where one was named.
    pub since: Option<Since>,
    /// The drill schema-upgrade, where it was run.
    pub upgrade: Option<Upgrade>,
    /// Why it could not be run, where it had to be.
    pub no_upgrade: Option<String>,
}

impl Outcome {
    /// Whether something differs from its lock, or a lock was changed in a way that is not accepted.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        let problems = self.since.as_ref().is_some_and(|since| !since.problems.is_empty());
        problems || self.comparisons.iter().any(Comparison::is_changed)
    }

    /// Whether this change accepts another schema: then older snapshots have to come back in it.
    #[must_use]
    pub fn is_accepting(&self) -> bool {
        self.since.as_ref().is_some_and(|since| !since.accepted.is_empty())
    }

    /// Whether the drill schema-upgrade has something to answer.
    #[must_use]
    pub fn needs_upgrade(&self) -> bool {
        self.is_accepting() || self.comparisons.iter().any(|one| !one.changes.is_empty())
    }

    /// Fail when something is refused; of an accepted change the drill's verdict, inconclusive without one; of no comparison
    /// inconclusive.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let compared = self.comparisons.iter().map(|one| match one.items {
            0 => Verdict::Inconclusive,
            _ => Verdict::Pass,
        });
        let mut all: Vec<Verdict> = vec![Verdict::worst(compared)];
        if self.is_refused() {
            all.push(Verdict::Fail);
        }
        if self.is_accepting() {
            let drilled = self.upgrade.as_ref().map(|upgrade| upgrade.verdict);
            all.push(drilled.unwrap_or(Verdict::Inconclusive));
        }
        Verdict::worst(all)
    }

    /// The document that `--json` prints.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "verdict": self.verdict(),
            "comparisons": self.comparisons,
            "base": self.since,
            "upgrade": self.upgrade,
            "no_upgrade": self.no_upgrade,
        })
    }
}
