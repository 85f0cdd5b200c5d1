//! JSON Patch (RFC 6902) with JSON Pointer (RFC 6901). Pure; a patch applies as a whole or not at all.

use serde::Deserialize;
use serde_json::Value;

/// Why a patch is none, or does not apply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// An operation lacks a member or is not known.
    #[error("patch operation {number} is none of add, remove, replace, test, move, copy with its members: {message}")]
    Malformed {
        /// Its place, from 1.
        number: usize,
        /// What the parser said.
        message: String,
    },
    /// A pointer leads nowhere.
    #[error("nothing at {0:?}")]
    Nowhere(String),
    /// A test did not hold.
    #[error("the value at {0:?} is another one")]
    TestFailed(String),
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase", deny_unknown_fields)]
enum Step {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Test { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
}

/// A parsed patch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Patch(Vec<Step>);

impl Patch {
    /// Parses a list of operations.
    ///
    /// # Errors
    /// [`PatchError::Malformed`], [`PatchError::Nowhere`] for a pointer that does not begin with `/`.
    pub(crate) fn parse(steps: &[Value]) -> Result<Patch, PatchError> {
        let each = steps.iter().enumerate().map(|(at, step)| {
            let malformed = |message: String| PatchError::Malformed {
                number: at + 1,
                message,
            };
            let step: Step = serde_json::from_value(step.clone()).map_err(|error| malformed(error.to_string()))?;
            for pointer in step.pointers() {
                parts(pointer)?;
            }
            Ok(step)
        });
        each.collect::<Result<_, _>>().map(Patch)
    }

    /// The patched document.
    ///
    /// # Errors
    /// [`PatchError`] of the first operation that does not apply.
    pub(crate) fn apply(&self, document: &Value) -> Result<Value, PatchError> {
        let mut patched = document.clone();
        for step in &self.0 {
            step.apply(&mut patched)?;
        }
        Ok(patched)
    }
}

impl Step {
    fn pointers(&self) -> Vec<&str> {
        match self {
            Step::Add { path, .. } | Step::Remove { path } | Step::Replace { path, .. } | Step::Test { path, .. } => {
                vec![path]
            }
            Step::Move { from, path } | Step::Copy { from, path } => vec![from, path],
        }
    }

    fn apply(&self, document: &mut Value) -> Result<(), PatchError> {
        match self {
            Step::Add { path, value } => add(document, path, value.clone()),
            Step::Remove { path } => remove(document, path).map(drop),
            Step::Replace { path, value } => {
                *at_mut(document, path)? = value.clone();
                Ok(())
            }
            Step::Test { path, value } if at(document, path)? == value => Ok(()),
            Step::Test { path, .. } => Err(PatchError::TestFailed(path.clone())),
            Step::Move { from, path } if path.starts_with(&format!("{from}/")) => {
                Err(PatchError::Nowhere(path.clone()))
            }
            Step::Move { from, path } => {
                let value = remove(document, from)?;
                add(document, path, value)
            }
            Step::Copy { from, path } => {
                let value = at(document, from)?.clone();
                add(document, path, value)
            }
        }
    }
}

/// The unescaped parts of a pointer; the empty pointer has none.
fn parts(pointer: &str) -> Result<Vec<String>, PatchError> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let rest = pointer
        .strip_prefix('/')
        .ok_or_else(|| PatchError::Nowhere(pointer.to_owned()))?;
    Ok(rest
        .split('/')
        .map(|part| part.replace("~1", "/").replace("~0", "~"))
        .collect())
}

fn at<'a>(document: &'a Value, pointer: &str) -> Result<&'a Value, PatchError> {
    document
        .pointer(pointer)
        .ok_or_else(|| PatchError::Nowhere(pointer.to_owned()))
}

fn at_mut<'a>(document: &'a mut Value, pointer: &str) -> Result<&'a mut Value, PatchError> {
    document
        .pointer_mut(pointer)
        .ok_or_else(|| PatchError::Nowhere(pointer.to_owned()))
}

/// The container of a place, and the place's name in it.
fn parent<'a>(document: &'a mut Value, pointer: &str) -> Result<(&'a mut Value, String), PatchError> {
    let last = parts(pointer)?
        .pop()
        .ok_or_else(|| PatchError::Nowhere(pointer.to_owned()))?;
    let cut = pointer.rfind('/').unwrap_or(0);
    Ok((at_mut(document, &pointer[..cut])?, last))
}

/// An array index as the RFC has it: no sign, no leading zero.
fn index(text: &str) -> Option<usize> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    text.parse().ok().filter(|_| plain)
}

fn add(document: &mut Value, pointer: &str, value: Value) -> Result<(), PatchError> {
    if pointer.is_empty() {
        *document = value;
        return Ok(());
    }
    let nowhere = || PatchError::Nowhere(pointer.to_owned());
    match parent(document, pointer)? {
        (Value::Object(members), name) => drop(members.insert(name, value)),
        (Value::Array(items), name) if name == "-" => items.push(value),
        (Value::Array(items), name) => {
            let place = index(&name).filter(|place| *place <= items.len()).ok_or_else(nowhere)?;
            items.insert(place, value);
        }
        _ => return Err(nowhere()),
    }
    Ok(())
}

fn remove(document: &mut Value, pointer: &str) -> Result<Value, PatchError> {
    let nowhere = || PatchError::Nowhere(pointer.to_owned());
    match parent(document, pointer)? {
        (Value::Object(members), name) => members.shift_remove(&name).ok_or_else(nowhere),
        (Value::Array(items), name) => {
            let place = index(&name).filter(|place| *place < items.len()).ok_or_else(nowhere)?;
            Ok(items.remove(place))
        }
        _ => Err(nowhere()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn patched(document: Value, steps: Value) -> Result<Value, PatchError> {
        let steps = steps.as_array().cloned().unwrap_or_default();
        Patch::parse(&steps)?.apply(&document)
    }

    #[test]
    fn the_examples_of_the_rfc_hold() {
        let cases = [
            (
                json!({"foo": "bar"}),
                json!([{"op": "add", "path": "/baz", "value": "qux"}]),
                json!({"foo": "bar", "baz": "qux"}),
            ),
            (
                json!({"foo": ["bar", "baz"]}),
                json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
                json!({"foo": ["bar", "qux", "baz"]}),
            ),
            (
                json!({"baz": "qux", "foo": "bar"}),
                json!([{"op": "remove", "path": "/baz"}]),
                json!({"foo": "bar"}),
            ),
            (
                json!({"foo": ["bar", "qux", "baz"]}),
                json!([{"op": "remove", "path": "/foo/1"}]),
                json!({"foo": ["bar", "baz"]}),
            ),
            (
                json!({"baz": "qux"}),
                json!([{"op": "replace", "path": "/baz", "value": "boo"}]),
                json!({"baz": "boo"}),
            ),
            (
                json!({"foo": {"a": 1}, "q": {}}),
                json!([{"op": "move", "from": "/foo/a", "path": "/q/t"}]),
                json!({"foo": {}, "q": {"t": 1}}),
            ),
            (
                json!({"foo": ["all", "cows", "eat"]}),
                json!([{"op": "move", "from": "/foo/0", "path": "/foo/2"}]),
                json!({"foo": ["cows", "eat", "all"]}),
            ),
            (
                json!({"foo": ["bar"]}),
                json!([{"op": "add", "path": "/foo/-", "value": ["abc"]}]),
                json!({"foo": ["bar", ["abc"]]}),
            ),
            (
                json!({"/": 9, "~1": 10}),
                json!([{"op": "test", "path": "/~01", "value": 10}, {"op": "remove", "path": "/~1"}]),
                json!({"~1": 10}),
            ),
            (
                json!({"a": [1]}),
                json!([{"op": "copy", "from": "/a", "path": "/b"}]),
                json!({"a": [1], "b": [1]}),
            ),
            (
                json!([1]),
                json!([{"op": "replace", "path": "", "value": {}}]),
                json!({}),
            ),
        ];
        for (document, steps, expected) in cases {
            assert_eq!(patched(document, steps.clone()), Ok(expected), "{steps}");
        }
    }

    #[test]
    fn a_patch_that_does_not_apply_is_refused() {
        for steps in [
            json!([{"op": "add", "path": "/a/b", "value": 1}]),
            json!([{"op": "remove", "path": "/x"}]),
            json!([{"op": "replace", "path": "/list/7", "value": 1}]),
            json!([{"op": "add", "path": "/list/01", "value": 1}]),
            json!([{"op": "test", "path": "/list/0", "value": 2}]),
            json!([{"op": "move", "from": "/list", "path": "/list/0"}]),
        ] {
            assert!(patched(json!({"list": [1]}), steps.clone()).is_err(), "{steps}");
        }
    }

    #[test]
    fn what_is_no_patch_is_refused_before_it_is_used() {
        for steps in [
            json!([{"op": "increment", "path": "/a"}]),
            json!([{"op": "add", "path": "/a"}]),
            json!([{"op": "remove", "path": "a"}]),
            json!([{"op": "remove", "path": "/a", "worth": 1}]),
        ] {
            let steps = steps.as_array().cloned().expect("a list");
            assert!(Patch::parse(&steps).is_err(), "{steps:?}");
        }
    }
}
