//! Expected and observed objects, compared field by field.
//!
//! The vocabulary of every check that reads things back over HTTP: an object has a subject (`agent ops@acme…`) and
//! fields; an expectation says where it comes from.

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

    /// Without the subjects that `window` does not show, where a service gives no more than `cap` of them. Of what was cut off
    /// an absence proves nothing.
    #[must_use]
    pub fn within(&self, window: &Objects, cap: usize) -> Objects {
        let mut kept = self.clone();
        if window.len() >= cap {
            kept.0.retain(|subject, _| window.0.contains_key(subject));
        }
        kept
    }

    /// How many subjects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no subject.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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

impl Expected<'_> {
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
                judged.items += 1;
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
                for subject in observed.0.keys().filter(|subject| !expected.0.contains_key(*subject)) {
                    push(
                        &mut judged,
                        Finding::new(subject, format!("absent ({origin})"), "present", place),
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
    let show = |value: &Value| shown(value, private_fields.contains(&field));
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
