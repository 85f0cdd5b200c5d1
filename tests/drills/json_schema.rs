//! The words of JSON Schema that the project's schemas use; also compiled into the tests of xtask.

use serde_json::Value;

/// What of a document is not as the schema has it: the words of JSON Schema that this schema uses, and no other. CI holds
/// real evidence against the same file with a full validator.
pub(crate) fn problems(schema: &Value, document: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "const" if rule != document => found.push(format!("{at}: not {rule}")),
            "enum" if !rule.as_array().expect("a list").contains(document) => {
                found.push(format!("{at}: none of {rule}"))
            }
            "type" if !is_of(rule, document) => found.push(format!("{at}: no {rule}")),
            "anyOf"
                if rule
                    .as_array()
                    .expect("a list")
                    .iter()
                    .all(|one| !problems(one, document, at).is_empty()) =>
            {
                found.push(format!("{at}: none of the alternatives"));
            }
            "items" => {
                for (n, item) in document.as_array().into_iter().flatten().enumerate() {
                    found.extend(problems(rule, item, &format!("{at}/{n}")));
                }
            }
            "properties" => {
                let known = rule.as_object().expect("properties");
                for (key, value) in document.as_object().into_iter().flatten() {
                    match known.get(key) {
                        Some(rule) => found.extend(problems(rule, value, &format!("{at}/{key}"))),
                        None => found.push(format!("{at}/{key}: not in the schema")),
                    }
                }
                let missing = known.keys().filter(|key| document.get(key.as_str()).is_none());
                found.extend(missing.map(|key| format!("{at}/{key}: missing")));
            }
            _ => {}
        }
    }
    found
}

fn is_of(kind: &Value, document: &Value) -> bool {
    match kind.as_str().expect("a type") {
        "object" => document.is_object(),
        "array" => document.is_array(),
        "string" => document.is_string(),
        "integer" => document.is_u64(),
        "boolean" => document.is_boolean(),
        "null" => document.is_null(),
        other => panic!("the schema uses a type that this test does not know: {other}"),
    }
}
