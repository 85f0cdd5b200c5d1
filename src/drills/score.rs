//! What a campaign of faults comes to: results, rates, bounds. Pure data.

use crate::evidence::{CheckId, Finding, Verdict};
use serde::Serialize;

/// One fault and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct FaultResult {
    /// Its id.
    pub id: String,
    /// Its group.
    pub group: String,
    /// Where it was injected.
    pub stage: String,
    /// Whether every check that had to catch it failed, or the expected ending happened.
    pub detected: bool,
    /// The checks that failed.
    pub caught_by: Vec<CheckId>,
    /// The checks that had to: those that it names, at rest only those that look at files.
    pub expected: Vec<CheckId>,
    /// Why it could not be injected, if so.
    pub error: Option<String>,
    /// Whether the backup alone shows it; `None` where it does not stand in a backup by itself.
    pub alone: Option<bool>,
    /// How long the trial took, in milliseconds.
    pub duration_ms: u64,
    /// Whether a pair was started for it.
    pub booted: bool,
}

/// One benign control.
#[derive(Debug, Clone, Serialize)]
pub struct BenignResult {
    /// Its id.
    pub id: String,
    /// Whether anything alarmed.
    pub alarmed: bool,
    /// What alarmed.
    pub findings: Vec<Finding>,
    /// Why it could not be injected, if so.
    pub error: Option<String>,
}

/// One canary.
#[derive(Debug, Clone, Serialize)]
pub struct Canary {
    /// `must-be-caught`, `changes-nothing`; `untouched` where the template itself alarmed.
    pub id: String,
    /// Whether it was as it should be.
    pub ok: bool,
}

/// A fault with a reason: not staged, or not to be seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    /// Its id.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// What a backup alone shows: no source, no ledger, the manifest sealed again.
#[derive(Debug, Clone, Default, Serialize)]
pub struct AloneScore {
    /// Faults that could stand in a backup by themselves.
    pub injected: u64,
    /// Of these, those that some check sees.
    pub detected: u64,
    /// The others, with why nothing in the backup contradicts them.
    pub missed: Vec<Reasoned>,
}

/// Random faults of one kind.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RandomScore {
    /// `one-cell`, `plausible`, `row`, `index`, `page`, `manifest`.
    pub kind: String,
    /// Injected.
    pub injected: u64,
    /// Detected with source.
    pub detected: u64,
    /// Not detected, and without meaning by rule: id and rule.
    pub without_meaning: Vec<Reasoned>,
    /// Not detected and not explained, made as small as they get: id and TOML.
    pub missed: Vec<Reasoned>,
    /// Injected into the backup alone, where the services wrote the rows.
    pub alone_injected: u64,
    /// Of these, detected.
    pub alone_detected: u64,
    /// Injected into the backup alone, in tables that hold nothing but ballast: no service wrote a second trace of it.
    pub ballast_injected: u64,
    /// Of these, detected.
    pub ballast_detected: u64,
}

/// What one check is there for.
#[derive(Debug, Clone, Serialize)]
pub struct CheckScore {
    /// The check.
    pub id: CheckId,
    /// Detected faults that name it: with its verdict forced to pass they would be missed.
    pub needed_by: u64,
    /// Of these, those that no other check sees.
    pub only_by: u64,
}

/// The whole score.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Score {
    /// Injected faults only.
    pub faults: Vec<FaultResult>,
    /// Benign controls.
    pub benign: Vec<BenignResult>,
    /// Canaries.
    pub canaries: Vec<Canary>,
    /// What was not staged, with the reason.
    pub not_staged: Vec<Reasoned>,
    /// What a backup alone shows.
    pub alone: AloneScore,
    /// Random faults, by kind.
    pub random: Vec<RandomScore>,
    /// What each check is there for.
    pub checks: Vec<CheckScore>,
    /// Clean runs made: whole drills.
    pub clean_runs: u64,
    /// Clean runs that alarmed.
    pub false_alarms: u64,
    /// What the false alarms found.
    pub alarms: Vec<Finding>,
}

impl Score {
    /// How many injected faults were detected.
    #[must_use]
    pub fn detected(&self) -> usize {
        self.faults.iter().filter(|fault| fault.detected).count()
    }

    /// Inconclusive when a canary is not as it should be or nothing was injected; fail on a miss or an alarm; else pass.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        let guessed = self.random.iter().any(|kind| !kind.missed.is_empty());
        let missed = guessed || self.detected() < self.faults.len();
        let alarmed = self.false_alarms > 0
            || self
                .benign
                .iter()
                .any(|benign| benign.alarmed || benign.error.is_some());
        if self.canaries.iter().any(|canary| !canary.ok) {
            Verdict::Inconclusive
        } else if missed || alarmed {
            Verdict::Fail
        } else if self.faults.is_empty() && self.benign.is_empty() && self.random.is_empty() && self.clean_runs == 0 {
            Verdict::Inconclusive
        } else {
            Verdict::Pass
        }
    }

    /// Without any fault something alarmed: nothing else can be claimed.
    pub(crate) fn untouched_alarms(&mut self, alarms: Vec<Finding>) {
        self.canaries.push(Canary {
            id: "untouched".to_owned(),
            ok: false,
        });
        self.alarms.extend(alarms);
    }

    /// Counts what each check is there for.
    pub(crate) fn weigh_checks(&mut self) {
        let detected = || self.faults.iter().filter(|fault| fault.detected);
        let weighed = CheckId::ALL.iter().map(|id| CheckScore {
            id: *id,
            needed_by: detected().filter(|fault| fault.expected.contains(id)).count() as u64,
            only_by: detected().filter(|fault| fault.caught_by == [*id]).count() as u64,
        });
        self.checks = weighed.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_that_is_not_as_it_should_be_proves_nothing() {
        let score = Score {
            canaries: vec![Canary {
                id: "must-be-caught".to_owned(),
                ok: false,
            }],
            clean_runs: 1,
            ..Score::default()
        };
        assert_eq!(score.verdict(), Verdict::Inconclusive);
        assert_eq!(Score::default().verdict(), Verdict::Inconclusive);
    }
}
