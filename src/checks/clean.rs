//! Did the clean instances show none of the data before the restore?
//!
//! The negative control of the whole drill: whatever is seen later must come from the restore. Logging in is not needed:
//! only public reads that write nothing. Source: Beam 1.6.0, contract sections 2.1, 2.10, 3.2 and 5.2.

use crate::checks::expectation::{Fields, Objects};
use crate::checks::observing::{ObserveError, member, side_by_side, text};
use crate::client::Access;
use crate::evidence::{CheckId, Finding, Judgement};
use serde_json::Value;

/// This check.
pub const ID: CheckId = CheckId::Clean;

const PLACE: &str = "GET /stats, /directory/agents, /intents/recent, /acl/{beamId}, /v1/beam/history";
/// How many of the source's agents are asked for by name.
const ASKED: usize = 16;

/// Looks at counts, at every list that is public, and for some agents of the source by name.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe_clean(access: &Access, agents: &[String]) -> Result<Objects, ObserveError> {
    let (directory, bus) = (access.directory.anonymous(), &access.bus);
    let (stats, bus_stats, listed, intents, messages) = tokio::join!(
        directory.stats(),
        bus.stats(),
        directory.directory_agents(),
        directory.recent_intents(200),
        bus.history(500),
    );
    let (stats, bus_stats) = (stats?.value, bus_stats?.value);
    let mut objects = Objects::default();
    for name in ["agents", "intentsProcessed", "waitlistSize"] {
        objects.set("stats directory", name, member(&stats, name, "GET /stats")?.clone());
    }
    let total = member(&bus_stats, "total", "GET /v1/beam/stats")?;
    objects.set("stats bus", "total", total.clone());
    for agent in &listed?.value {
        let beam_id = text(agent, "beam_id", "GET /directory/agents")?;
        objects.set(format!("agent {beam_id}"), "present", true);
    }
    for intent in &intents?.value {
        let nonce = text(intent, "nonce", "GET /intents/recent")?;
        objects.set(format!("intent {nonce}"), "present", true);
    }
    for message in &messages?.value {
        let nonce = text(message, "nonce", "GET /v1/beam/history")?;
        objects.set(format!("message {nonce}"), "present", true);
    }
    let looks = agents.iter().take(ASKED).map(|beam_id| {
        let directory = &directory;
        async move { Ok((beam_id, directory.acl(beam_id).await?.value.len())) }
    });
    for (beam_id, entries) in side_by_side(looks).await? {
        objects.set(format!("acl of {beam_id}"), "entries", entries);
    }
    Ok(objects)
}

/// Every count has to be 0, and nothing may be there. `ledger` holds the subjects that were written to the source.
#[must_use]
pub fn judge(ledger: Option<&Objects>, observed: &Objects) -> Judgement {
    let mut judged = Judgement {
        expected: "nothing".to_owned(),
        observed: "nothing".to_owned(),
        ..Judgement::default()
    };
    for (subject, fields) in &observed.0 {
        judged.items += 1;
        let seen = data(fields);
        if seen.is_empty() {
            continue;
        }
        let known = ledger.is_some_and(|ledger| ledger.0.contains_key(subject));
        let expected = if known {
            "absent, it was written to the source"
        } else {
            "nothing"
        };
        judged
            .findings
            .push(Finding::new(subject, expected, seen.join(", "), PLACE));
    }
    if !judged.findings.is_empty() {
        judged.observed = format!("{} things in an instance that should be empty", judged.findings.len());
    }
    judged
}

fn data(fields: &Fields) -> Vec<String> {
    let empty = |value: &Value| matches!(value.as_u64(), Some(0));
    fields
        .iter()
        .filter(|(_, value)| !empty(value))
        .map(|(name, value)| format!("{name} {value}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn clean(agents: u64) -> Objects {
        let mut objects = Objects::default();
        objects.set("stats directory", "agents", agents);
        objects.set("stats bus", "total", 0);
        objects
    }

    #[test]
    fn an_empty_instance_passes() {
        assert_eq!(judge(None, &clean(0)).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_count_above_nothing_is_a_finding() {
        assert_eq!(judge(None, &clean(1)).findings[0].subject, "stats directory");
    }

    #[test]
    fn a_subject_of_the_ledger_is_named_as_such() {
        let mut observed = clean(0);
        observed.set("intent n-1", "present", true);
        let judged = judge(Some(&observed), &observed);
        assert_eq!(judged.findings[0].expected, "absent, it was written to the source");
    }

    #[test]
    fn no_look_at_all_is_inconclusive() {
        assert_eq!(judge(None, &Objects::default()).verdict(), Verdict::Inconclusive);
    }
}
