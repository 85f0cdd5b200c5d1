//! The lifecycle of an intent: which stage may follow which, and details as a digest.
//!
//! Source: Beam 1.6.0, contract section 2.8.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The first step of a sequence that the lifecycle does not allow. Repeats of a stage are lawful.
pub(crate) fn unlawful_step<'a>(stages: &[&'a str]) -> Option<(&'a str, &'a str)> {
    let first = stages
        .first()
        .filter(|first| **first != "received")
        .map(|first| ("(start)", *first));
    first.or_else(|| {
        stages
            .iter()
            .zip(stages.iter().skip(1))
            .map(|(from, to)| (*from, *to))
            .find(|(from, to)| from != to && !next(from).contains(to))
    })
}

fn next(stage: &str) -> &'static [&'static str] {
    match stage {
        "received" => &["validated", "queued", "failed", "dead_letter"],
        "validated" => &["queued", "dispatched", "failed", "dead_letter"],
        "queued" => &["dispatched", "failed", "dead_letter"],
        "dispatched" => &["queued", "delivered", "failed", "dead_letter"],
        "delivered" => &["acked", "failed", "queued", "dead_letter"],
        "failed" | "dead_letter" => &["queued"],
        _ => &[],
    }
}

/// Eight hexadecimal digits over a value, whatever the order of its members.
pub(crate) fn digest(value: &Value) -> String {
    let mut text = String::new();
    canonical(value, &mut text);
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            text.push('{');
            for name in names {
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(&members[name], text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_traces_of_echo_and_websocket_are_lawful() {
        let echo = ["received", "validated", "dispatched", "delivered", "acked"];
        let websocket = [
            "received",
            "validated",
            "dispatched",
            "dispatched",
            "delivered",
            "acked",
        ];
        assert_eq!((unlawful_step(&echo), unlawful_step(&websocket)), (None, None));
    }

    #[test]
    fn a_skipped_stage_is_not_lawful() {
        assert_eq!(unlawful_step(&["received", "acked"]), Some(("received", "acked")));
        assert_eq!(unlawful_step(&["validated"]), Some(("(start)", "validated")));
    }

    #[test]
    fn the_order_of_members_does_not_change_a_digest() {
        assert_eq!(digest(&json!({"a": 1, "b": 2})), digest(&json!({"b": 2, "a": 1})));
        assert_ne!(digest(&json!({"a": 1})), digest(&json!({"a": "1"})));
    }
}
