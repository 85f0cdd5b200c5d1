//! Are the operators' roles back, bound to this directory's identity?
//!
//! Looks at `GET /admin/roles`, which shows the roles of the directory's own identity only; a restore under another
//! identity (a trailing slash is enough) drops them all. Source: Beam 1.6.0, contract section 2.2 and surprise 11.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::{ObserveError, array, member, text};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};

/// This check.
pub const ID: CheckId = CheckId::Roles;

const PLACE: &str = "GET /admin/roles";
const LIST: &str = "list of roles";

/// Reads the roles assigned in the database.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let mut objects = Objects::default();
    let answer = access.directory.get(PLACE.trim_start_matches("GET ")).await?.body;
    for role in array(&answer, "roles", PLACE)? {
        let subject = format!("role {}", text(role, "email", PLACE)?);
        objects.set(subject, "role", member(role, "role", PLACE)?.clone());
    }
    objects.set(LIST, "total", member(&answer, "total", PLACE)?.clone());
    Ok(objects)
}

/// The same from the rows that are bound to `identity`, what the directory calls itself.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases, identity: &str) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let rows = databases.directory.rows(
        "SELECT user_id, role FROM directory_roles WHERE directory_url = ?1",
        &[identity],
    )?;
    objects.set(LIST, "total", rows.len());
    for row in rows {
        let subject = format!("role {}", row.text("user_id").unwrap_or_default());
        objects.set(subject, "role", row.cell("role").json());
    }
    Ok(objects)
}

/// Holds every role against ledger, baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    expected.judge(observed, "roles", PLACE, &[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn role(role: &str) -> Objects {
        let mut objects = Objects::default();
        objects.set("role ops@beam.local", "role", role);
        objects
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            ledger: Some(was),
            rows: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn the_same_roles_pass() {
        assert_eq!(judged(&role("viewer"), &role("viewer")).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_role_that_vanished_is_one_finding() {
        let judged = judged(&role("viewer"), &Objects::default());
        assert_eq!(judged.findings.len(), 1);
        assert_eq!(judged.findings[0].subject, "role ops@beam.local");
    }

    #[test]
    fn another_role_is_a_finding() {
        assert_eq!(judged(&role("viewer"), &role("admin")).verdict(), Verdict::Fail);
    }

    #[test]
    fn no_role_at_all_is_inconclusive() {
        let none = Objects::default();
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }
}
