//! Agents as the rows have them: the independent side of [`crate::checks::agents`].
//!
//! Reads tables only; never an answer of a service. Source: Beam 1.6.0, contract sections 2.5, 2.6 and 4.3.

use crate::checks::expectation::Objects;
use crate::checks::observing::{flag, normal, object, parsed};
use crate::checks::stages::digest;
use crate::snapshot::database::{Database, DatabaseError, Databases};
use serde_json::{Value, json};

/// Columns that the API shows under the same name.
pub(crate) const COLUMNS: [&str; 17] = [
    "display_name",
    "org",
    "capabilities",
    "public_key",
    "verification_tier",
    "visibility",
    "description",
    "email",
    "logo_url",
    "website",
    "trust_score",
    "created_at",
    "last_seen",
    "shield_config",
    "http_endpoint",
    "dh_public_key",
    "plan",
];
/// Columns that hold 0 or 1.
pub(crate) const FLAGS: [&str; 4] = ["email_verified", "flagged", "personal", "verified"];

/// All agents. One whose current key is not recorded gets it recorded by the start (contract 5.1).
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let database = &databases.directory;
    let mut objects = Objects::default();
    let rows = database.rows("SELECT * FROM agents", &[])?;
    for row in &rows {
        let beam_id = row.text("beam_id").unwrap_or_default();
        let subject = format!("agent {beam_id}");
        objects.set(&subject, "beam_id", beam_id);
        for name in COLUMNS {
            let value = match name {
                "capabilities" => parsed(row.text(name)),
                _ => normal(&row.cell(name).json()),
            };
            objects.set(&subject, name, value);
        }
        for name in FLAGS {
            objects.set(&subject, name, flag(&row.cell(name).json()));
        }
        objects.set(&subject, "verificationTier", row.cell("verification_tier").json());
        objects.set(&subject, "api_key", digest(&row.cell("api_key_hash").json()));
        objects.set(&subject, "active_key", row.cell("public_key").json());
        objects.set(&subject, "revoked_keys", json!([]));
        objects.set(&subject, "shield", shield(row.text("shield_config")));
    }
    objects.set("list of agents", "total", rows.len());
    let keys = database.rows(
        "SELECT beam_id, json_group_array(public_key ORDER BY public_key) AS revoked FROM agent_keys
         WHERE revoked_at IS NOT NULL AND beam_id IN (SELECT beam_id FROM agents) GROUP BY beam_id",
        &[],
    )?;
    for row in keys {
        let subject = format!("agent {}", row.text("beam_id").unwrap_or_default());
        objects.set(&subject, "revoked_keys", parsed(row.text("revoked")));
    }
    objects.set_under_way(under_way(database)?);
    Ok(objects)
}

/// How many intents the start will bring to an end.
///
/// # Errors
/// A table that cannot be read.
pub(crate) fn under_way(database: &Database) -> Result<i64, DatabaseError> {
    let sql = "SELECT count(*) AS n FROM intent_log WHERE status NOT IN ('acked', 'failed', 'dead_letter')";
    let rows = database.rows(sql, &[])?;
    Ok(rows.first().and_then(|row| row.integer("n")).unwrap_or_default())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_shield_truncates_the_least_trust() {
        assert_eq!(
            shield(Some(r#"{"mode":"closed","minTrust":0.9}"#))["minTrust"],
            json!(0)
        );
        assert_eq!(shield(None)["minTrust"], json!(0.3));
    }
}
