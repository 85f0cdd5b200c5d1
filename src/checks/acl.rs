//! Are access lists back, entry by entry?
//!
//! Looks at `GET /acl/{beamId}` of every agent, unlisted ones too; writes nothing. Source: Beam 1.6.0, contract section 2.6.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::{ObserveError, array, member, side_by_side, text};
use crate::client::Access;
use crate::client::http::segment;
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
        let path = format!("/acl/{}", segment(beam_id));
        Ok((beam_id, access.directory.get(&path).await?.body))
    });
    let mut objects = Objects::default();
    for (beam_id, answer) in side_by_side(looks).await? {
        for entry in array(&answer, "acl", PLACE)? {
            let target = text(entry, "target_beam_id", PLACE)?;
            let subject = subject(
                target,
                text(entry, "intent_type", PLACE)?,
                text(entry, "allowed_from", PLACE)?,
            );
            objects.set(&subject, "present", true);
            objects.set(&subject, "listed under", beam_id);
            objects.set(&subject, "id", member(entry, "id", PLACE)?.clone());
            if !renewed_by_the_start(target) {
                objects.set(&subject, "created_at", member(entry, "created_at", PLACE)?.clone());
            }
        }
        let total = member(&answer, "total", PLACE)?;
        objects.set(format!("list of {beam_id}"), "total", total.clone());
    }
    Ok(objects)
}

/// Start-up enters the catalogue's access lists of the demo organisation's agents anew (contract 5.1).
fn renewed_by_the_start(target: &str) -> bool {
    target.ends_with("@demo.beam.directory")
}

/// The same from the rows.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let database = &databases.directory;
    let sql = "SELECT beam_id, (SELECT count(*) FROM intent_acls WHERE target_beam_id = beam_id) AS n FROM agents";
    for row in database.rows(sql, &[])? {
        let beam_id = row.text("beam_id").unwrap_or_default();
        if !renewed_by_the_start(beam_id) {
            objects.set(format!("list of {beam_id}"), "total", row.cell("n").json());
        }
    }
    for row in database.rows("SELECT * FROM intent_acls", &[])? {
        let part = |name| row.text(name).unwrap_or_default();
        let target = part("target_beam_id");
        let subject = subject(target, part("intent_type"), part("allowed_from"));
        objects.set(&subject, "present", true);
        objects.set(&subject, "id", row.cell("id").json());
        objects.set(&subject, "listed under", target);
        if !renewed_by_the_start(target) {
            objects.set(&subject, "created_at", row.cell("created_at").json());
        }
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
