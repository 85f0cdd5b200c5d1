//! Are agents back with keys, capabilities and shield configuration?
//!
//! Looks at every agent, unlisted ones too, with its key state and shield. Never keeps an API-key hash (the directory's
//! list leaks it), never compares what moves with the clock (trust score, last seen). Source: Beam 1.6.0, contract
//! sections 2.5, 2.6 and 5.1.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::{ObserveError, array, flag, member, normal, object, parsed, side_by_side, text};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::{Value, json};

/// This check.
pub const ID: CheckId = CheckId::Agents;

const PLACE: &str = "GET /directory/agents";
const PRIVATE: &[&str] = &["description"];
const PLAIN: [&str; 7] = [
    "display_name",
    "org",
    "capabilities",
    "public_key",
    "verification_tier",
    "visibility",
    "description",
];
const FLAGS: [&str; 3] = ["email_verified", "flagged", "personal"];

/// Reads all agents; writes nothing but the session's `last_seen_at`.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let agents = access.directory.directory_agents().await?.value;
    let looks = agents.iter().map(|agent| one(access, agent));
    let mut objects = Objects::default();
    for (subject, fields) in side_by_side(looks).await? {
        for (field, value) in fields {
            objects.set(&subject, field, value);
        }
    }
    Ok(objects)
}

async fn one(access: &Access, agent: &Value) -> Result<(String, Vec<(&'static str, Value)>), ObserveError> {
    let beam_id = text(agent, "beam_id", PLACE)?;
    let mut fields = Vec::with_capacity(13);
    for name in PLAIN {
        fields.push((name, member(agent, name, PLACE)?.clone()));
    }
    for name in FLAGS {
        fields.push((name, flag(member(agent, name, PLACE)?)));
    }
    let (keys, shield) = tokio::join!(access.directory.keys(beam_id), access.directory.shield_config(beam_id));
    let (keys, shield) = (keys?.value, shield?.value);
    let place = "GET /agents/{beamId}/keys";
    let active = member(&keys, "active", place)?;
    let active = if active.is_null() {
        Value::Null
    } else {
        member(active, "publicKey", place)?.clone()
    };
    let mut revoked = Vec::new();
    for key in array(&keys, "revoked", place)? {
        revoked.push(text(key, "publicKey", place)?);
    }
    revoked.sort_unstable();
    fields.push(("active_key", active));
    fields.push(("revoked_keys", json!(revoked)));
    fields.push(("shield", normal(&shield)));
    Ok((format!("agent {beam_id}"), fields))
}

/// The same from the rows. An agent whose current key is not recorded gets it recorded by the start (contract 5.1).
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let rows = databases.directory.rows(
        "SELECT beam_id, display_name, org, capabilities, public_key, verification_tier, visibility, description,
                email_verified, flagged, personal, shield_config FROM agents",
        &[],
    )?;
    for row in rows {
        let subject = format!("agent {}", row.text("beam_id").unwrap_or_default());
        for name in PLAIN {
            let value = match name {
                "capabilities" => parsed(row.text(name)),
                _ => row.cell(name).json(),
            };
            objects.set(&subject, name, value);
        }
        for name in FLAGS {
            objects.set(&subject, name, flag(&row.cell(name).json()));
        }
        objects.set(&subject, "active_key", row.cell("public_key").json());
        objects.set(&subject, "revoked_keys", json!([]));
        objects.set(&subject, "shield", shield(row.text("shield_config")));
    }
    let keys = databases.directory.rows(
        "SELECT beam_id, json_group_array(public_key ORDER BY public_key) AS revoked FROM agent_keys
         WHERE revoked_at IS NOT NULL AND beam_id IN (SELECT beam_id FROM agents) GROUP BY beam_id",
        &[],
    )?;
    for row in keys {
        let subject = format!("agent {}", row.text("beam_id").unwrap_or_default());
        objects.set(&subject, "revoked_keys", parsed(row.text("revoked")));
    }
    Ok(objects)
}

/// The configuration that the API shows for a stored one: defaults where nothing is stored; once something is stored,
/// `minTrust` is truncated to an integer (contract 2.6, observed on 1.6.0).
fn shield(stored: Option<&str>) -> Value {
    let stored = parsed(stored);
    let kept = |name: &str, default: Value| stored.get(name).cloned().unwrap_or(default);
    let min_trust = if stored.is_object() {
        json!(
            stored
                .get("minTrust")
                .and_then(Value::as_f64)
                .unwrap_or_default()
                .trunc()
        )
    } else {
        json!(0.3)
    };
    object([
        ("mode", kept("mode", json!("open"))),
        ("allowlist", kept("allowlist", json!([]))),
        ("blocklist", kept("blocklist", json!([]))),
        ("minTrust", normal(&min_trust)),
        ("rateLimit", kept("rateLimit", json!(20))),
    ])
}

/// Holds every agent against ledger, baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    expected.judge(observed, "agents", PLACE, PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn agent(field: &str, value: Value) -> Objects {
        let mut objects = Objects::default();
        objects.set("agent a@x.beam.directory", field, value);
        objects
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            baseline: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn the_same_agents_pass() {
        let agents = agent("public_key", json!("k"));
        assert_eq!(judged(&agents, &agents).verdict(), Verdict::Pass);
    }

    #[test]
    fn another_key_is_a_finding_that_names_the_agent() {
        let judged = judged(&agent("public_key", json!("k")), &agent("public_key", json!("l")));
        assert_eq!(judged.findings[0].subject, "agent a@x.beam.directory public_key");
    }

    #[test]
    fn a_lost_agent_is_a_finding() {
        assert_eq!(
            judged(&agent("org", json!("x")), &Objects::default()).verdict(),
            Verdict::Fail
        );
    }

    #[test]
    fn no_agent_at_all_is_inconclusive() {
        assert_eq!(
            judged(&Objects::default(), &Objects::default()).verdict(),
            Verdict::Inconclusive
        );
    }

    #[test]
    fn a_description_is_shown_by_hash() {
        let judged = judged(
            &agent("description", json!("Ann Example")),
            &agent("description", json!("B")),
        );
        assert!(!judged.findings[0].expected.contains("Ann"));
    }

    #[test]
    fn a_stored_shield_truncates_the_least_trust() {
        assert_eq!(
            shield(Some(r#"{"mode":"closed","minTrust":0.9}"#))["minTrust"],
            json!(0)
        );
        assert_eq!(shield(None)["minTrust"], json!(0.3));
    }
}
