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
pub(crate) const RECENT: usize = 200;

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
    for intent in array(&admin, "intents", admin_place)? {
        // It has no nonce here: whom it goes between, and when, has to name it; of two such nothing can be told.
        let subject = match known.get(&parties(intent)).map(Vec::as_slice) {
            None => format!("intent {}", parties(intent)),
            Some([subject]) => subject.clone(),
            Some(_) => continue,
        };
        for name in ["roundTripLatencyMs", "status", "errorCode"] {
            objects.also(&subject, name, member(intent, name, admin_place)?.clone());
        }
        objects.set(&subject, "admin", true);
    }
    for (answer, place) in [(&public, place), (&admin, admin_place)] {
        let total = member(answer, "total", place)?.clone();
        objects.set(ALL, format!("total of {place}"), total);
    }
    Ok(())
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
