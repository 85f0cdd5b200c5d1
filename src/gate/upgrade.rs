//! What the drill `schema-upgrade` came to, as a table: older set, service, question, verdict. Pure, from its evidence.

use crate::deployment::Service;
use crate::evidence::{CheckId, Evidence, Finding, Verdict};
use serde::Serialize;

/// The step that says what older services would lose.
pub const WAY_BACK: &str = "the way back: a new snapshot, services of the locked schema";

/// How many findings of a row are listed; all stand in the evidence.
const LISTED_FINDINGS: usize = 20;

/// The drill's outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Upgrade {
    /// Its verdict.
    pub verdict: Verdict,
    /// The run's id; evidence and report lie in its folder.
    pub run: String,
    /// Why it did not pass, one sentence each.
    pub reasons: Vec<String>,
    /// What was asked of each older set.
    pub sets: Vec<Asked>,
    /// What services of the locked schema would lose of a new snapshot.
    pub way_back: Option<String>,
}

/// One question about one older set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The older set.
    pub set: String,
    /// `schema`: has it all that a new file has, and all that it had? `startup-diff`: is every row still there?
    pub check: CheckId,
    /// Of which service; `null` for both.
    pub service: Option<Service>,
    /// The answer.
    pub verdict: Verdict,
    /// How many things were compared.
    pub items: u64,
    /// What was observed, in short.
    pub observed: String,
    /// The first findings.
    pub findings: Vec<Finding>,
    /// How many there were.
    pub findings_total: u64,
}

const OLDER_SET: &str = "older set ";

/// What is expected of an older set, with its name in front.
#[must_use]
pub fn expected_of(set: &str, expected: &str) -> String {
    format!("{OLDER_SET}{set}: {expected}")
}

impl Upgrade {
    /// The table of a run.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Upgrade {
        let asked = evidence.checks.iter().filter_map(|check| {
            let (set, _) = check.expected.strip_prefix(OLDER_SET)?.split_once(": ")?;
            Some(Asked {
                set: set.to_owned(),
                check: check.id,
                service: check.service,
                verdict: check.verdict,
                items: check.items,
                observed: check.observed.clone(),
                findings: check.findings.iter().take(LISTED_FINDINGS).cloned().collect(),
                findings_total: check.findings_total,
            })
        });
        let back = evidence.steps.iter().find(|step| step.name.starts_with(WAY_BACK));
        Upgrade {
            verdict: evidence.verdict,
            run: evidence.run.id.clone(),
            reasons: evidence.reasons.clone(),
            sets: asked.collect(),
            way_back: back.map(|step| step.detail.clone()),
        }
    }
}
