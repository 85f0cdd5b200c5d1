//! The newest intents at the public list and at the operators': the same ones as in the whole list, and not otherwise.
//!
//! Adds to what [`crate::checks::traces`] has seen; judges nothing. Source: Beam 1.6.0, contract section 2.10.

use crate::checks::expectation::Objects;
use crate::checks::observing::{ObserveError, array, member, text};
use crate::checks::traces::{ALL, FIELDS};
use crate::client::Access;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many of the newest intents the short lists are asked for.
const RECENT: usize = 200;

/// What both lists tell of how an intent ended.
const ENDING: [&str; 3] = ["roundTripLatencyMs", "status", "errorCode"];

/// Reads both lists into what is known of each intent already.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub(crate) async fn observe(access: &Access, objects: &mut Objects) -> Result<(), ObserveError> {
    let directory = &access.directory;
    let (public, admin) = (
        format!("/intents/recent?limit={RECENT}"),
        format!("/admin/intents?limit={RECENT}"),
    );
    let (public, admin) = tokio::join!(directory.get(&public), directory.get(&admin));
    let (public, admin) = (public?.body, admin?.body);
    let place = "GET /intents/recent";
    for intent in array(&public, "intents", place)? {
        let subject = format!("intent {}", text(intent, "nonce", place)?);
        for (name, _) in FIELDS {
            objects.also(&subject, name, member(intent, name, place)?.clone());
        }
        objects.set(&subject, "public", true);
    }
    let admin_place = "GET /admin/intents";
    let mut known: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (subject, fields) in objects.0.iter().filter(|(subject, _)| *subject != ALL) {
        known.entry(parties(&json!(fields))).or_default().push(subject.clone());
    }
    let mut shown: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for intent in array(&admin, "intents", admin_place)? {
        let mut ending = Vec::with_capacity(ENDING.len());
        for name in ENDING {
            ending.push(member(intent, name, admin_place)?.clone());
        }
        shown.entry(parties(intent)).or_default().push(json!(ending));
    }
    // They have no nonce here: whom they go between, and when, has to name them.
    for (parties, mut endings) in shown {
        let subjects = known.remove(&parties).unwrap_or_default();
        match (subjects.as_slice(), endings.as_slice()) {
            ([subject], [ending]) => {
                for (at, name) in ENDING.into_iter().enumerate() {
                    objects.also(subject, name, ending[at].clone());
                }
            }
            ([], _) => objects.set(format!("intent {parties}"), "admin", true),
            // Of several at one moment it cannot be told which is which.
            (several, _) if several.iter().all(|subject| has_ended(objects, subject)) => {
                endings.sort_by_key(Value::to_string);
                for subject in several {
                    objects.set(subject, "endings of this moment", json!(endings));
                }
            }
            _ => {}
        }
        for subject in subjects {
            objects.set(subject, "admin", true);
        }
    }
    for (answer, place) in [(&public, place), (&admin, admin_place)] {
        let total = member(answer, "total", place)?.clone();
        objects.set(ALL, format!("total of {place}"), total);
    }
    Ok(())
}

fn has_ended(objects: &Objects, subject: &str) -> bool {
    let status = objects.0.get(subject).and_then(|fields| fields.get("status")?.as_str());
    status.is_some_and(|status| ["acked", "failed", "dead_letter"].contains(&status))
}

fn parties(intent: &Value) -> String {
    let part = |name: &str| intent.get(name).and_then(Value::as_str).unwrap_or_default();
    format!(
        "{} {} {} {}",
        part("from"),
        part("to"),
        part("intentType"),
        part("timestamp")
    )
}
