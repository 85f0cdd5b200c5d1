//! Do the rows contradict each other, judged by themselves?
//!
//! Holds a backup against nothing but what must be true of every Beam stack: no source, no ledger, no manifest but its
//! time. Two outcomes only: *fail*, or *no contradiction found*. A careful, consistent edit escapes every rule, and a rule
//! that the rows themselves relax (a prune, a deleted agent) is listed as not checked.
//! Source: Beam 1.6.0, contract sections 2 to 5 and 8; a rule that rests on observation only says so in its `why`.

use crate::evidence::{CheckId, Finding, Judgement};

mod access;
mod admin;
mod agent_keys;
mod bus;
mod bus_directory;
mod facts;
mod files;
mod fleet;
mod form;
mod intents;
mod notices;
mod outcome;
mod record;
mod registration;
mod requests;
mod results;
mod schema;
mod sequences;
mod sessions;
mod shapes;
mod shield;
mod traces;
mod types;
mod usage;
mod workspace_parts;
mod workspaces;

#[cfg(test)]
mod tests;

pub use facts::{Facts, MOST_ROWS, observe, observe_up_to};
pub use outcome::{Rule, RuleOutcome};

/// This check.
pub const ID: CheckId = CheckId::Invariants;

/// What all rules together say of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alone {
    /// Every contradiction, in the order of the rules; the subject begins with the rule's name.
    pub findings: Vec<Finding>,
    /// How many rules hold, each for at least one item.
    pub held: u64,
    /// How many items they hold for.
    pub items: u64,
    /// Rules that speak of nothing in this backup.
    pub not_applicable: Vec<&'static str>,
    /// Rules that were not checked, or only in part, and why.
    pub relaxed: Vec<(&'static str, String)>,
}

/// All rules, family by family.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let families = [
        files::RULES,
        schema::RULES,
        types::RULES,
        shapes::RULES,
        sequences::RULES,
        agent_keys::RULES,
        registration::RULES,
        traces::RULES,
        intents::RULES,
        results::RULES,
        shield::RULES,
        usage::RULES,
        bus::RULES,
        bus_directory::RULES,
        requests::RULES,
        notices::RULES,
        workspaces::RULES,
        workspace_parts::RULES,
        sessions::RULES,
        admin::RULES,
        access::RULES,
        fleet::RULES,
    ];
    families.into_iter().flatten()
}

/// Holds every rule against the facts.
#[must_use]
pub fn examine(facts: &Facts) -> Alone {
    let mut alone = Alone::default();
    for rule in rules() {
        let unloaded = rule.needs.iter().find_map(|table| facts.unloaded(table));
        let outcome = match unloaded {
            Some(reason) => RuleOutcome::Relaxed(reason.to_owned()),
            None => (rule.run)(facts),
        };
        match outcome {
            RuleOutcome::Broken(findings) => alone.findings.extend(findings.into_iter().map(|finding| Finding {
                subject: format!("{} {}: {}", rule.name, rule.title, finding.subject),
                ..finding
            })),
            RuleOutcome::Held(items) => {
                alone.held += 1;
                alone.items += items;
            }
            RuleOutcome::NotApplicable => alone.not_applicable.push(rule.name),
            RuleOutcome::Relaxed(reason) => alone.relaxed.push((rule.name, reason)),
        }
    }
    alone
}

/// The judgement in the words of the report: *fail* or *no contradiction found*, with the rules not checked as notes.
#[must_use]
pub fn judge(alone: Alone) -> Judgement {
    let observed = match alone.findings.len() {
        0 => format!(
            "no contradiction found; {} rules hold for {} items",
            alone.held, alone.items
        ),
        count => format!("fail: {count} contradictions"),
    };
    Judgement {
        items: alone.items,
        expected: format!("{} rules hold", rules().count()),
        observed,
        findings: alone.findings,
        notes: alone
            .relaxed
            .iter()
            .map(|(rule, reason)| format!("rule {rule} not checked: {reason}"))
            .collect(),
    }
}
