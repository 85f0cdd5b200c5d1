//! Looking at a service's answers: the error of a look, reading members, and several looks side by side.
//!
//! An unexpected shape is an error that names method, path and member; never a panic, never a default. Whoever runs a
//! drill turns an error on the restored pair into a finding ([`ObserveError::judgement`]).

use crate::client::http::{ClientError, Request};
use crate::client::signing::KeyPair;
use crate::evidence::{Finding, Judgement, short};
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Number, Value};
use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;

/// How many looks go on at the same time.
const SIDE_BY_SIDE: usize = 8;

/// Beam id → the key pair that signs for it.
pub type Signers = BTreeMap<String, KeyPair>;

/// A look that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The service gave no usable answer.
    #[error("the look failed")]
    Call(#[from] ClientError),
    /// The answer is not shaped as the contract says.
    #[error("{place}: member {member} is missing or of another type")]
    Shape {
        /// Method and path.
        place: String,
        /// The member, with its path inside the answer.
        member: String,
    },
}

impl ObserveError {
    /// Method and path of the look.
    #[must_use]
    pub fn place(&self) -> String {
        match self {
            ObserveError::Shape { place, .. } => place.clone(),
            ObserveError::Call(error) => {
                let request = request_of(error);
                format!("{} {}", request.method, path_of(&request.url))
            }
        }
    }

    /// The one finding that a failed look on the restored pair is.
    #[must_use]
    pub fn judgement(&self, subject: &str) -> Judgement {
        let mut cause = self.to_string();
        let mut next = self.source();
        while let Some(source) = next {
            cause.push_str(": ");
            cause.push_str(&source.to_string());
            next = source.source();
        }
        Judgement {
            expected: "an answer".to_owned(),
            observed: "none that can be used".to_owned(),
            findings: vec![Finding::new(
                subject,
                "an answer as the contract has it",
                short(&cause),
                self.place(),
            )],
            ..Judgement::default()
        }
    }
}

fn request_of(error: &ClientError) -> &Request {
    match error {
        ClientError::Refused { request, .. }
        | ClientError::TimedOut { request, .. }
        | ClientError::Broken { request, .. }
        | ClientError::Unexpected { request, .. }
        | ClientError::Malformed { request, .. }
        | ClientError::NotSent { request, .. } => request,
    }
}

/// The path of a URL, without scheme and authority.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').map_or("/", |at| &rest[at..])
}

/// Does one look for each item, eight at a time; the answers stand in the order of the items.
///
/// # Errors
/// The first look that fails.
pub(crate) fn side_by_side<R, F>(
    looks: impl IntoIterator<Item = F>,
) -> impl Future<Output = Result<Vec<R>, ObserveError>>
where
    F: Future<Output = Result<R, ObserveError>>,
{
    // A vector at once: a closure held across an await would keep the whole look from being `Send`.
    let looks: Vec<F> = looks.into_iter().collect();
    stream::iter(looks).buffered(SIDE_BY_SIDE).try_collect()
}

/// A member that the contract promises.
///
/// # Errors
/// `Shape`.
pub(crate) fn member<'a>(value: &'a Value, name: &str, place: &str) -> Result<&'a Value, ObserveError> {
    value.get(name).ok_or_else(|| missing(name, place))
}

/// A text member.
///
/// # Errors
/// `Shape`.
pub(crate) fn text<'a>(value: &'a Value, name: &str, place: &str) -> Result<&'a str, ObserveError> {
    member(value, name, place)?.as_str().ok_or_else(|| missing(name, place))
}

/// An integer member.
///
/// # Errors
/// `Shape`.
pub(crate) fn integer(value: &Value, name: &str, place: &str) -> Result<i64, ObserveError> {
    member(value, name, place)?.as_i64().ok_or_else(|| missing(name, place))
}

/// An array member.
///
/// # Errors
/// `Shape`.
pub(crate) fn array<'a>(value: &'a Value, name: &str, place: &str) -> Result<&'a [Value], ObserveError> {
    member(value, name, place)?
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| missing(name, place))
}

pub(crate) fn missing(member: &str, place: &str) -> ObserveError {
    ObserveError::Shape {
        place: place.to_owned(),
        member: member.to_owned(),
    }
}

/// A value whose numbers are written as JavaScript writes them: `1.0` is `1`. A service written in JavaScript cannot tell
/// the two apart, so an answer and the text in its row may differ in this alone.
pub(crate) fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(normal_number(number)),
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(name, value)| (name.clone(), normal(value)))
                .collect(),
        ),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// Largest integer below which every integer is its own floating-point number.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn normal_number(number: &Number) -> Number {
    match number.as_f64() {
        #[expect(clippy::cast_possible_truncation, reason = "whole and below 2^53, so exact")]
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < EXACT => Number::from(float as i64),
        _ => number.clone(),
    }
}

/// JSON text from a row as the API shows it; text that is not JSON stays text.
pub(crate) fn parsed(text: Option<&str>) -> Value {
    match text {
        None => Value::Null,
        Some(text) => serde_json::from_str(text).map_or_else(|_| Value::from(text), |value| normal(&value)),
    }
}

/// 0 and 1 of a row as the API shows them; anything else stays as it is.
pub(crate) fn flag(value: &Value) -> Value {
    match value.as_i64() {
        Some(0) => Value::Bool(false),
        Some(1) => Value::Bool(true),
        _ => value.clone(),
    }
}

/// Seconds since 1970, to the millisecond: two parsers may differ in the last binary digit.
pub(crate) fn seconds(value: &Value) -> Value {
    value
        .as_f64()
        .map_or_else(|| value.clone(), |time| Value::from((time * 1_000.0).round() / 1_000.0))
}

/// A JSON object from pairs.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
    let members: Map<String, Value> = members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use serde_json::json;

    #[test]
    fn a_missing_member_names_place_and_member() {
        let error = text(&json!({"a": 1}), "a", "GET /x").expect_err("not a text");
        assert_eq!(error.to_string(), "GET /x: member a is missing or of another type");
    }

    #[test]
    fn a_failed_look_is_a_finding() {
        let judged = missing("roles", "GET /admin/roles").judgement("roles");
        assert_eq!(judged.verdict(), Verdict::Fail);
        assert_eq!(judged.findings[0].place, "GET /admin/roles");
    }

    #[test]
    fn whole_numbers_are_equal_however_they_were_written() {
        assert_eq!(normal(&json!({"a": [1.0, 1.5]})), json!({"a": [1, 1.5]}));
    }

    #[test]
    fn a_url_is_shown_by_its_path() {
        assert_eq!(path_of("http://127.0.0.1:1/a?b=c"), "/a?b=c");
    }

    #[tokio::test]
    async fn looks_keep_the_order_of_their_items() {
        let looked = side_by_side((0..20).map(|n| async move { Ok(n) })).await;
        assert_eq!(looked.expect("no look fails"), (0..20).collect::<Vec<_>>());
    }
}
