//! Texts that must not be printed, and bodies without them.

use serde_json::Value;
use std::fmt;

const SHOWN_CHARS: usize = 200;
const SECRET_MEMBERS: [&str; 9] = [
    "token",
    "url",
    "apiKey",
    "api_key",
    "api_key_hash",
    "privateKey",
    "privateKeyBase64",
    "credential",
    "email_token",
];

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a secret.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself, to put it in a request.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<set>")
    }
}

impl<'de> serde::Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

/// The start of a body on one line, secret members replaced.
pub(crate) fn shown(body: &Value) -> String {
    let mut body = body.clone();
    redact(&mut body);
    let text = match body {
        Value::String(text) => text,
        Value::Null => "empty body".to_owned(),
        other => other.to_string(),
    };
    text.chars()
        .take(SHOWN_CHARS)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, member) in members.iter_mut() {
                if SECRET_MEMBERS.contains(&name.as_str()) && !member.is_null() {
                    *member = Value::String("<set>".to_owned());
                } else {
                    redact(member);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_do_not_reach_an_error() {
        let body = json!({"token": "s3cret", "agent": {"apiKey": "bk_x", "name": "a"}});
        assert_eq!(
            shown(&body),
            r#"{"token":"<set>","agent":{"apiKey":"<set>","name":"a"}}"#
        );
    }
}
