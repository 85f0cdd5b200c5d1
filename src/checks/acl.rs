//! Are access lists back, entry by entry?
//!
//! Looks at `GET /acl/{beamId}` of every agent, unlisted ones too; writes nothing. Source: Beam 1.6.0, contract section 2.6.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::{ObserveError, side_by_side, text};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};

/// This check.
pub const ID: CheckId = CheckId::Acl;

const PLACE: &str = "GET /acl/{beamId}";

/// Reads the access list of every agent.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let agents = access.directory.directory_agents().await?.value;
    let looks = agents.iter().map(|agent| async move {
        let beam_id = text(agent, "beam_id", "GET /directory/agents")?;
        Ok(access.directory.acl(beam_id).await?.value)
    });
    let mut objects = Objects::default();
    for entry in side_by_side(looks).await?.iter().flatten() {
        let subject = subject(
            text(entry, "target_beam_id", PLACE)?,
            text(entry, "intent_type", PLACE)?,
            text(entry, "allowed_from", PLACE)?,
        );
        objects.set(subject, "present", true);
    }
    Ok(objects)
}

/// The same from the rows.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let rows = databases
        .directory
        .rows("SELECT target_beam_id, intent_type, allowed_from FROM intent_acls", &[])?;
    for row in rows {
        let part = |name| row.text(name).unwrap_or_default();
        objects.set(
            subject(part("target_beam_id"), part("intent_type"), part("allowed_from")),
            "present",
            true,
        );
    }
    Ok(objects)
}

fn subject(target: &str, intent_type: &str, allowed_from: &str) -> String {
    format!("acl {target} {intent_type} {allowed_from}")
}

/// Holds every entry against ledger, baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    expected.judge(observed, "access list entries", PLACE, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn entries(from: &[&str]) -> Objects {
        let mut objects = Objects::default();
        for from in from {
            objects.set(subject("t@x.beam.directory", "agent.ping", from), "present", true);
        }
        objects
    }

    fn judged(was: &[&str], is: &[&str]) -> Judgement {
        let was = entries(was);
        let expected = Expected {
            baseline: Some(&was),
            ..Expected::default()
        };
        judge(&expected, &entries(is))
    }

    #[test]
    fn the_same_entries_pass() {
        assert_eq!(judged(&["a", "b"], &["a", "b"]).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_widened_entry_is_two_findings() {
        let subjects: Vec<String> = judged(&["a"], &["*"]).findings.into_iter().map(|f| f.subject).collect();
        assert_eq!(
            subjects,
            [
                "acl t@x.beam.directory agent.ping a",
                "acl t@x.beam.directory agent.ping *"
            ]
        );
    }

    #[test]
    fn no_entry_at_all_is_inconclusive() {
        assert_eq!(judged(&[], &[]).verdict(), Verdict::Inconclusive);
    }
}
