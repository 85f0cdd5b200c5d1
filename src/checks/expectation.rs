//! Expected and observed objects, compared field by field.
//!
//! The vocabulary of every check that reads things back over HTTP: an object has a subject (`agent ops@acme…`) and
//! fields; an expectation says where it comes from.

use crate::checks::observing::normal;
use crate::evidence::{Finding, Judgement, private, short};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// Field name → value, as an HTTP answer carries it.
pub type Fields = BTreeMap<String, Value>;

/// Subject → fields. Only fields that do not move with the clock or with reads belong here.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Objects(pub BTreeMap<String, Fields>);

impl Objects {
    /// Sets one field of one subject, creating the subject.
    pub fn set(&mut self, subject: impl Into<String>, field: impl Into<String>, value: impl Into<Value>) {
        self.0
            .entry(subject.into())
            .or_default()
            .insert(field.into(), value.into());
    }

    /// Sets a field that is shown at several places. Where two places differ both values are kept, side by side: that is a
    /// finding, whatever was expected.
    pub fn also(&mut self, subject: impl Into<String>, field: impl Into<String>, value: impl Into<Value>) {
        let (field, value) = (field.into(), value.into());
        let fields = self.0.entry(subject.into()).or_default();
        match fields.get_mut(&field) {
            None => {
                fields.insert(field, value);
            }
            Some(shown) if *shown == value => {}
            Some(shown) => *shown = serde_json::json!({ DIFFERS: [shown.take(), value] }),
        }
    }

    /// Sets every member of an answer, except those that are stated to move by themselves: `name` or the end of a path
    /// (`runtime.connected`). Members of objects get a path (`prefix.a.b`), an array is one value.
    pub fn whole(&mut self, subject: &str, prefix: &str, answer: &Value, moving: &[&str]) {
        if is_moving(prefix, moving) {
            return;
        }
        match answer {
            Value::Object(members) if !members.is_empty() => {
                for (name, value) in members {
                    let path = if prefix.is_empty() {
                        name.clone()
                    } else {
                        format!("{prefix}.{name}")
                    };
                    self.whole(subject, &path, value, moving);
                }
            }
            other => self.also(subject, prefix, still(other, prefix, moving)),
        }
    }

    /// Without these fields, wherever they stand in a whole answer.
    #[must_use]
    pub fn without(&self, moving: &[&str]) -> Objects {
        let mut kept = self.clone();
        for fields in kept.0.values_mut() {
            fields.retain(|field, _| !is_moving(field, moving));
        }
        kept
    }

    /// Drops subjects that these rows do not know; lists stay.
    pub fn keep_known(&mut self, rows: &Objects) {
        self.0
            .retain(|subject, _| is_list(subject) || rows.0.contains_key(subject));
    }

    /// Without the subjects that `window` does not show, where a service gives no more than `cap` of them. Of what was cut off
    /// an absence proves nothing.
    #[must_use]
    pub fn within(&self, window: &Objects, cap: usize) -> Objects {
        let mut kept = self.clone();
        if window.len() >= cap {
            kept.0
                .retain(|subject, _| !is_list(subject) && window.0.contains_key(subject));
        }
        kept
    }

    /// How many subjects there are, lists aside.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.keys().filter(|subject| !is_list(subject)).count()
    }

    /// Whether there is no subject but lists.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Member by which values that differ between places are told.
const DIFFERS: &str = "shown differently";

/// `list …` is what a list says of itself (how many there are). Of nothing it says something too, so it is compared, but is
/// no item.
fn is_list(subject: &str) -> bool {
    subject.starts_with("list ")
}

/// Whether a path of a whole answer ends in one of these members, or lies below one.
fn is_moving(path: &str, moving: &[&str]) -> bool {
    let is_whole_word = |at: usize, name: &str| {
        let (before, after) = (&path[..at], &path[at + name.len()..]);
        (before.is_empty() || before.ends_with('.')) && (after.is_empty() || after.starts_with('.'))
    };
    let found = |name: &&str| path.match_indices(*name).any(|(at, name)| is_whole_word(at, name));
    moving.iter().any(found)
}

/// A value without the members that move, its numbers as JavaScript writes them.
fn still(value: &Value, path: &str, moving: &[&str]) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| still(item, path, moving)).collect(),
        Value::Object(members) => {
            let kept = members.iter().filter_map(|(name, value)| {
                let path = format!("{path}.{name}");
                (!is_moving(&path, moving)).then(|| (name.clone(), still(value, &path, moving)))
            });
            Value::Object(kept.collect())
        }
        other => normal(other),
    }
}

/// Where an expectation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// What the harness wrote and the source acknowledged.
    Ledger,
    /// What the source answered just before the outage.
    Baseline,
    /// What the snapshot's rows say.
    Rows,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Ledger => "ledger",
            Origin::Baseline => "baseline",
            Origin::Rows => "snapshot rows",
        })
    }
}

/// Everything that is expected of one check's objects. Absent origins do not exist in this kind of drill.
#[derive(Debug, Clone, Copy, Default)]
pub struct Expected<'a> {
    /// A subset: only the fields that acknowledged writes fixed.
    pub ledger: Option<&'a Objects>,
    /// Complete: the source's own answers.
    pub baseline: Option<&'a Objects>,
    /// Complete as to subjects: computed from the snapshot's rows.
    pub rows: Option<&'a Objects>,
}

/// Subject and field by which rows tell how many intents were under way.
const UNDER_WAY: (&str, &str) = ("list of intents under way", "total");

impl Objects {
    /// Notes how many intents the start will bring to an end.
    pub fn set_under_way(&mut self, intents: i64) {
        self.set(UNDER_WAY.0, UNDER_WAY.1, intents);
    }

    /// Takes that note out again.
    fn take_under_way(&mut self) -> bool {
        let noted = self.0.remove(UNDER_WAY.0);
        noted.is_some_and(|fields| fields.get(UNDER_WAY.1).and_then(Value::as_i64) != Some(0))
    }
}

/// Members of whole answers that follow from something else than the subject's own row.
#[derive(Debug, Clone, Copy)]
pub struct Derived<'a> {
    /// Counted over a window of time: compared where the harness wrote everything itself, moments ago.
    pub windowed: &'a [&'a str],
    /// Told from intents: compared where none was under way, since the start ends those.
    pub from_intents: &'a [&'a str],
}

impl Expected<'_> {
    /// Baseline and rows as far as they hold of a restored pair.
    #[must_use]
    pub fn lasting(&self, derived: &Derived<'_>) -> (Option<Objects>, Option<Objects>) {
        let mut rows = self.rows.cloned();
        let under_way = rows.as_mut().is_some_and(Objects::take_under_way);
        let mut baseline = self.baseline.cloned();
        if self.ledger.is_none() {
            baseline = baseline.map(|baseline| baseline.without(derived.windowed));
        }
        if under_way {
            baseline = baseline.map(|baseline| baseline.without(derived.from_intents));
        }
        (baseline, rows)
    }

    /// Compares what was observed with every origin that exists.
    ///
    /// `private_fields` are shown by length and hash only. A subject that is there but expected by neither baseline nor
    /// rows is a finding too.
    #[must_use]
    pub fn judge(&self, observed: &Objects, noun: &str, place: &str, private_fields: &[&str]) -> Judgement {
        let mut judged = Judgement {
            expected: format!("{} {noun}", self.subjects()),
            observed: format!("{} {noun}", observed.len()),
            ..Judgement::default()
        };
        let origins = [
            (Origin::Ledger, self.ledger),
            (Origin::Baseline, self.baseline),
            (Origin::Rows, self.rows),
        ];
        for (origin, expected) in origins {
            let Some(expected) = expected else { continue };
            for (subject, fields) in &expected.0 {
                judged.items += u64::from(!is_list(subject));
                let Some(seen) = observed.0.get(subject) else {
                    push(
                        &mut judged,
                        Finding::new(subject, format!("present ({origin})"), "absent", place),
                    );
                    continue;
                };
                for (field, value) in fields {
                    compare_field(
                        &mut judged,
                        origin,
                        subject,
                        field,
                        value,
                        seen.get(field),
                        place,
                        private_fields,
                    );
                }
            }
            if origin != Origin::Ledger {
                let unexpected = |subject: &&String| !expected.0.contains_key(*subject) && !is_list(subject);
                for subject in observed.0.keys().filter(unexpected) {
                    push(
                        &mut judged,
                        Finding::new(subject, format!("absent ({origin})"), "present", place),
                    );
                }
            }
        }
        for (subject, fields) in &observed.0 {
            for (field, value) in fields.iter().filter(|(_, value)| value.get(DIFFERS).is_some()) {
                let subject = format!("{subject} {field}");
                if !judged.findings.iter().any(|finding| finding.subject == subject) {
                    let seen = shown(value, is_private(field, value, private_fields));
                    push(
                        &mut judged,
                        Finding::new(subject, "the same at every place", seen, place),
                    );
                }
            }
        }
        judged
    }

    fn subjects(&self) -> usize {
        [self.ledger, self.baseline, self.rows]
            .into_iter()
            .flatten()
            .map(Objects::len)
            .max()
            .unwrap_or(0)
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "the parts of one finding; a struct would only rename them"
)]
fn compare_field(
    judged: &mut Judgement,
    origin: Origin,
    subject: &str,
    field: &str,
    expected: &Value,
    observed: Option<&Value>,
    place: &str,
    private_fields: &[&str],
) {
    if observed == Some(expected) {
        return;
    }
    let show = |value: &Value| shown(value, is_private(field, value, private_fields));
    let seen = observed.map_or_else(|| "no such field".to_owned(), show);
    push(
        judged,
        Finding::new(
            format!("{subject} {field}"),
            format!("{} ({origin})", show(expected)),
            seen,
            place,
        ),
    );
}

/// Texts and arrays inside a whole answer are not known to be public.
fn is_private(field: &str, value: &Value, private_fields: &[&str]) -> bool {
    let plain = matches!(value, Value::Null | Value::Bool(_) | Value::Number(_));
    private_fields.contains(&field) || (field.contains('.') && !plain)
}

/// A finding that another origin already made is not repeated.
fn push(judged: &mut Judgement, finding: Finding) {
    let same = |other: &Finding| other.subject == finding.subject && other.observed == finding.observed;
    if !judged.findings.iter().any(same) {
        judged.findings.push(finding);
    }
}

/// A JSON value in one short line; a private one as length and hash.
#[must_use]
pub fn shown(value: &Value, is_private: bool) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Null => return "null".to_owned(),
        other => other.to_string(),
    };
    if is_private {
        private(text.as_bytes())
    } else {
        short(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn objects(status: &str) -> Objects {
        let mut objects = Objects::default();
        objects.set("request 1", "stage", status);
        objects
    }

    #[test]
    fn equal_objects_pass() {
        let same = objects("new");
        let judged = Expected {
            baseline: Some(&same),
            ..Expected::default()
        }
        .judge(&same, "requests", "GET /x", &[]);
        assert_eq!(judged.verdict(), Verdict::Pass);
    }

    #[test]
    fn a_changed_field_names_its_subject_and_origin() {
        let (was, is) = (objects("new"), objects("closed"));
        let judged = Expected {
            rows: Some(&was),
            ..Expected::default()
        }
        .judge(&is, "requests", "GET /x", &[]);
        assert_eq!(
            judged.findings,
            [Finding::new(
                "request 1 stage",
                "new (snapshot rows)",
                "closed",
                "GET /x"
            )]
        );
    }

    #[test]
    fn a_lost_and_an_unexpected_object_are_findings() {
        let was = objects("new");
        let lost = Expected {
            ledger: Some(&was),
            ..Expected::default()
        }
        .judge(&Objects::default(), "requests", "p", &[]);
        assert_eq!(lost.findings[0].observed, "absent");
        let none = Objects::default();
        let extra = Expected {
            baseline: Some(&none),
            ..Expected::default()
        }
        .judge(&was, "requests", "p", &[]);
        assert_eq!(extra.findings[0].observed, "present");
    }

    #[test]
    fn places_that_differ_are_a_finding_whatever_was_expected() {
        let mut seen = objects("new");
        seen.also("request 1", "stage", "new");
        assert_eq!(seen, objects("new"));
        seen.also("request 1", "stage", "closed");
        let was = objects("new");
        let expected = Expected {
            rows: Some(&was),
            ..Expected::default()
        };
        let judged = expected.judge(&seen, "requests", "p", &[]);
        assert_eq!(judged.findings.len(), 1);
        assert_eq!(judged.findings[0].observed, r#"{"shown differently":["new","closed"]}"#);
        was_not_expected(&seen);
    }

    fn was_not_expected(seen: &Objects) {
        let mut was = objects("new");
        was.0.values_mut().for_each(Fields::clear);
        let expected = Expected {
            rows: Some(&was),
            ..Expected::default()
        };
        let judged = expected.judge(seen, "requests", "p", &[]);
        assert_eq!(judged.findings[0].expected, "the same at every place");
    }

    #[test]
    fn a_whole_answer_has_every_member_but_the_moving_ones() {
        let mut seen = Objects::default();
        let answer = serde_json::json!({
            "a": 1.0, "age": 2, "b": {"c": null, "age": 3}, "d": [{"e": "x", "age": 4}], "f": {"g": 1}, "h": {}
        });
        seen.whole("list x", "", &answer, &["age", "f"]);
        let fields = serde_json::json!({"a": 1, "b.c": null, "d": [{"e": "x"}], "h": {}});
        let fields: Fields = serde_json::from_value(fields).expect("fields");
        assert_eq!(seen.0["list x"], fields);
    }

    #[test]
    fn what_a_list_says_of_itself_is_compared_but_is_no_item() {
        let mut was = Objects::default();
        was.set("list of requests", "total", 0);
        let expected = Expected {
            rows: Some(&was),
            ..Expected::default()
        };
        let judged = expected.judge(&was, "requests", "p", &[]);
        assert_eq!(judged.verdict(), Verdict::Inconclusive);
        let mut is = was.clone();
        is.set("list of requests", "total", 1);
        assert_eq!(expected.judge(&is, "requests", "p", &[]).verdict(), Verdict::Fail);
    }

    #[test]
    fn no_origin_at_all_is_inconclusive() {
        let judged = Expected::default().judge(&objects("new"), "requests", "p", &[]);
        assert_eq!(judged.verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn private_values_are_shown_by_hash() {
        let (was, is) = (objects("secret note"), objects("other note"));
        let judged = Expected {
            rows: Some(&was),
            ..Expected::default()
        }
        .judge(&is, "requests", "p", &["stage"]);
        assert!(!judged.findings[0].expected.contains("secret note"));
    }
}
