//! The workspaces as the rows have them: the independent side of [`crate::checks::workspaces`].
//!
//! Reads tables only; never an answer of a service. Source: Beam 1.6.0, contract sections 2.11 and 4.3.

use crate::checks::agent_rows::under_way;
use crate::checks::expectation::Objects;
use crate::checks::observing::{flag, parsed};
use crate::checks::workspaces::{CHANNEL, IDENTITY, THREAD, TIMELINE_LIMIT, WORKSPACE, thread_subject};
use crate::snapshot::database::{Database, DatabaseError, Databases, Row};
use serde_json::{Value, json};

/// Fields that hold 0 or 1 in a row.
const FLAGS: [&str; 2] = ["externalHandoffsEnabled", "canInitiateExternal"];

/// All workspaces with identities, policy, channels, threads and timeline.
///
/// # Errors
/// A table that cannot be read.
pub fn from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let database = &databases.directory;
    let mut objects = Objects::default();
    let workspaces = database.rows(
        "SELECT w.*, p.policy_json FROM workspaces w LEFT JOIN workspace_policies p ON p.workspace_id = w.id",
        &[],
    )?;
    objects.set("list of workspaces", "total", workspaces.len());
    objects.set_under_way(under_way(database)?);
    for row in workspaces {
        let slug = row.text("slug").unwrap_or_default();
        let subject = format!("workspace {slug}");
        copy(&mut objects, &subject, &row, &WORKSPACE);
        objects.set(&subject, "policy", policy(row.text("policy_json")));
        objects.set(format!("timeline {slug}"), "entries", timeline(database, slug)?);
    }
    children(
        database,
        &mut objects,
        "identity",
        ("workspace_identity_bindings", "beam_id"),
        &IDENTITY,
    )?;
    children(
        database,
        &mut objects,
        "channel",
        ("workspace_partner_channels", "partner_beam_id"),
        &CHANNEL,
    )?;
    threads(database, &mut objects)?;
    Ok(objects)
}

fn children(
    database: &Database,
    objects: &mut Objects,
    kind: &str,
    (table, key): (&str, &str),
    fields: &[(&str, &str)],
) -> Result<(), DatabaseError> {
    let sql = format!("SELECT w.slug, c.* FROM {table} c JOIN workspaces w ON w.id = c.workspace_id");
    for row in database.rows(&sql, &[])? {
        let slug = row.text("slug").unwrap_or_default();
        let subject = format!("{kind} {slug}/{}", row.text(key).unwrap_or_default());
        copy(objects, &subject, &row, fields);
    }
    Ok(())
}

fn threads(database: &Database, objects: &mut Objects) -> Result<(), DatabaseError> {
    let sql = "SELECT w.slug, t.*,
            (SELECT count(*) FROM workspace_threads o WHERE o.workspace_id = t.workspace_id AND o.title = t.title) AS same,
            (SELECT json_group_array(p.principal_type || ':' || p.principal_id || ':' || p.role)
             FROM workspace_thread_participants p WHERE p.thread_id = t.id) AS participants
         FROM workspace_threads t JOIN workspaces w ON w.id = t.workspace_id";
    for row in database.rows(sql, &[])? {
        let part = |name| row.text(name).unwrap_or_default();
        let id = row.integer("id").unwrap_or_default();
        let subject = thread_subject(part("slug"), part("title"), id, row.integer("same") > Some(1));
        copy(objects, &subject, &row, &THREAD);
        let mut participants: Vec<String> = serde_json::from_str(part("participants")).unwrap_or_default();
        participants.sort_unstable();
        objects.set(&subject, "participants", json!(participants));
    }
    Ok(())
}

fn copy(objects: &mut Objects, subject: &str, row: &Row, fields: &[(&str, &str)]) {
    for (name, column) in fields {
        let value = row.cell(column).json();
        let value = match *name {
            "draftPayload" => parsed(row.text(column)),
            name if FLAGS.contains(&name) => flag(&value),
            _ => value,
        };
        objects.set(subject, *name, value);
    }
}

fn timeline(database: &Database, slug: &str) -> Result<Value, DatabaseError> {
    let sql = format!(
        "SELECT action || ' ' || target AS entry FROM audit_log
         WHERE target = ?1 OR substr(target, 1, length(?1) + 1) = ?1 || ':'
         ORDER BY timestamp DESC, id DESC LIMIT {TIMELINE_LIMIT}"
    );
    let rows = database.rows(&sql, &[slug])?;
    Ok(rows.iter().map(|row| row.cell("entry").json()).collect())
}

/// The policy that the API shows for a stored one: missing members are filled in (observed on 1.6.0).
fn policy(stored: Option<&str>) -> Value {
    let mut shown = json!({
        "version": 1,
        "defaults": {"externalInitiation": "binding", "allowedPartners": []},
        "bindingRules": [],
        "workflowRules": [],
        "metadata": {"notes": null, "template": null},
    });
    overlay(&mut shown, parsed(stored));
    shown
}

fn overlay(shown: &mut Value, stored: Value) {
    match (shown, stored) {
        (Value::Object(shown), Value::Object(stored)) => {
            for (name, value) in stored {
                overlay(shown.entry(name).or_insert(Value::Null), value);
            }
        }
        (_, Value::Null) => {}
        (shown, stored) => *shown = stored,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_policy_is_shown_with_its_defaults() {
        assert_eq!(policy(Some("{}"))["defaults"]["externalInitiation"], "binding");
    }

    #[test]
    fn a_stored_policy_wins_over_the_defaults() {
        let shown = policy(Some(
            r#"{"defaults":{"externalInitiation":"deny"},"bindingRules":[{"a":1}]}"#,
        ));
        assert_eq!(
            shown["defaults"],
            json!({"externalInitiation": "deny", "allowedPartners": []})
        );
        assert_eq!(shown["bindingRules"], json!([{"a": 1}]));
    }
}
