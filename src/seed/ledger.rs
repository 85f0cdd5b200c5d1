//! The ledger: every attempted write, recorded before it is sent, with its outcome and what must be observable because of
//! it.
//!
//! Losses count acknowledged writes only; but an unknown one (time-out, killed mid-call) may be there or not, and a
//! refused one must not. The ledger never holds a secret.

use crate::deployment::Service;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Field name → value, as an HTTP answer carries it.
pub type Fields = BTreeMap<String, Value>;

/// What an expectation is about: the check that looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Area {
    /// `agent <beamId>`.
    Agents,
    /// `acl <target> <intentType> <allowedFrom>`.
    Acl,
    /// `role <email>`.
    Roles,
    /// `request <id>`.
    Requests,
    /// `notification <sourceKey>`.
    Notifications,
    /// `workspace <slug>` and its identities, channels and threads.
    Workspaces,
    /// `intent <nonce>`.
    Traces,
    /// `message <nonce>`.
    Bus,
}

impl Area {
    /// The id of the check that looks at these subjects.
    #[must_use]
    pub fn check(self) -> &'static str {
        match self {
            Area::Agents => "agents",
            Area::Acl => "acl",
            Area::Roles => "roles",
            Area::Requests => "requests",
            Area::Notifications => "notifications",
            Area::Workspaces => "workspaces",
            Area::Traces => "traces",
            Area::Bus => "bus",
        }
    }
}

/// Fields that one subject must show because of a write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Who looks at it.
    pub area: Area,
    /// The subject, as the check names it.
    pub subject: String,
    /// Only fields that this write fixed.
    pub fields: Fields,
}

impl Expectation {
    /// An expectation from a JSON object of fields.
    pub fn new(area: Area, subject: impl Into<String>, fields: Value) -> Expectation {
        let fields = match fields {
            Value::Object(members) => members.into_iter().collect(),
            _ => Fields::new(),
        };
        Expectation {
            area,
            subject: subject.into(),
            fields,
        }
    }
}

/// The database row that proves a write: it exists with these columns, or the write is lost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// In whose database.
    pub service: Service,
    /// The table.
    pub table: String,
    /// Column → value; all of them identify the row.
    pub key: BTreeMap<String, Value>,
}

impl Row {
    /// A row from its identifying columns.
    pub fn new<V: Into<Value>>(service: Service, table: &str, key: impl IntoIterator<Item = (&'static str, V)>) -> Row {
        Row {
            service,
            table: table.to_owned(),
            key: key
                .into_iter()
                .map(|(column, value)| (column.to_owned(), value.into()))
                .collect(),
        }
    }
}

/// How an attempted write ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The service said that it has it.
    Acknowledged,
    /// The service said no, or was not reached: it must not be there.
    Refused,
    /// No answer: it may be there or not.
    Unknown,
}

/// One attempted write.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Write {
    /// Order of sending, from 1.
    pub sequence: u64,
    /// What was attempted: `agent`, `intent`, `bus-message`…
    pub kind: String,
    /// Its own name within the kind: Beam id, nonce, e-mail…
    pub key: String,
    /// Just before the call.
    pub sent_at: Timestamp,
    /// Just after the answer, `None` when there was none.
    pub answered_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Outcome,
    /// HTTP status of the answer.
    pub status: Option<u16>,
    /// What must be observable because of it, if it was acknowledged.
    pub expectations: Vec<Expectation>,
    /// The row that proves it; `None` where a row cannot tell (a duplicate, a refused conflict).
    pub row: Option<Row>,
}

/// A write about to be sent.
#[derive(Debug, Clone)]
pub struct Attempt {
    kind: &'static str,
    key: String,
    expectations: Vec<Expectation>,
    row: Option<Row>,
}

impl Attempt {
    /// An attempt of that kind and key.
    pub fn new(kind: &'static str, key: impl Into<String>) -> Attempt {
        Attempt {
            kind,
            key: key.into(),
            expectations: Vec::new(),
            row: None,
        }
    }

    /// With the row that will prove it.
    #[must_use]
    pub fn row(mut self, row: Row) -> Attempt {
        self.row = Some(row);
        self
    }

    /// With fields that must be observable if it is acknowledged.
    #[must_use]
    pub fn expects(mut self, area: Area, subject: impl Into<String>, fields: Value) -> Attempt {
        self.expectations.push(Expectation::new(area, subject, fields));
        self
    }
}

/// Handle of a write in its ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteId(usize);

/// All attempted writes of one run, in the order of sending.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    writes: Vec<Write>,
}

impl Ledger {
    /// Records a write just before its call; its outcome is unknown until it is ended.
    pub fn sent(&mut self, attempt: Attempt, at: Timestamp) -> WriteId {
        let id = WriteId(self.writes.len());
        self.writes.push(Write {
            sequence: self.writes.len() as u64 + 1,
            kind: attempt.kind.to_owned(),
            key: attempt.key,
            sent_at: at,
            answered_at: None,
            outcome: Outcome::Unknown,
            status: None,
            expectations: attempt.expectations,
            row: attempt.row,
        });
        id
    }

    /// The service has it.
    pub fn acknowledged(&mut self, id: WriteId, status: u16, at: Timestamp) {
        self.end(id, Outcome::Acknowledged, Some(status), at);
    }

    /// The service said no (`status`), or was never reached (`None`).
    pub fn refused(&mut self, id: WriteId, status: Option<u16>, at: Timestamp) {
        self.end(id, Outcome::Refused, status, at);
    }

    /// No answer, or one that says nothing about the write (5xx).
    pub fn unknown(&mut self, id: WriteId, status: Option<u16>, at: Timestamp) {
        self.end(id, Outcome::Unknown, status, at);
    }

    /// Adds what only the answer told: ids that the service made up.
    pub fn learned(&mut self, id: WriteId, expectation: Expectation) {
        if let Some(write) = self.writes.get_mut(id.0) {
            write.expectations.push(expectation);
        }
    }

    fn end(&mut self, id: WriteId, outcome: Outcome, status: Option<u16>, at: Timestamp) {
        if let Some(write) = self.writes.get_mut(id.0) {
            write.outcome = outcome;
            write.status = status;
            write.answered_at = Some(at);
        }
    }

    /// Every attempted write, in the order of sending.
    #[must_use]
    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The writes that must survive.
    pub fn acknowledged_writes(&self) -> impl Iterator<Item = &Write> {
        self.with_outcome(Outcome::Acknowledged)
    }

    /// The writes that ended in one way.
    pub fn with_outcome(&self, outcome: Outcome) -> impl Iterator<Item = &Write> {
        self.writes.iter().filter(move |write| write.outcome == outcome)
    }

    /// What an area must show: subject → fields, later acknowledged writes over earlier ones. A field that a later write
    /// of unknown outcome touched is not expected any more.
    #[must_use]
    pub fn expected(&self, area: Area) -> BTreeMap<String, Fields> {
        let mut subjects: BTreeMap<String, Fields> = BTreeMap::new();
        for write in &self.writes {
            for expectation in write.expectations.iter().filter(|one| one.area == area) {
                match write.outcome {
                    Outcome::Acknowledged => subjects
                        .entry(expectation.subject.clone())
                        .or_default()
                        .extend(expectation.fields.clone()),
                    Outcome::Unknown => {
                        if let Some(fields) = subjects.get_mut(&expectation.subject) {
                            fields.retain(|name, _| !expectation.fields.contains_key(name));
                        }
                    }
                    Outcome::Refused => {}
                }
            }
        }
        subjects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stage(stage: &str) -> Attempt {
        Attempt::new("request-change", "1").expects(
            Area::Requests,
            "request 1",
            json!({"stage": stage, "owner": stage}),
        )
    }

    fn ledger_of(outcomes: &[(&str, Outcome)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (name, outcome) in outcomes {
            let id = ledger.sent(stage(name), Timestamp::UNIX_EPOCH);
            ledger.end(id, *outcome, None, Timestamp::UNIX_EPOCH);
        }
        ledger
    }

    fn stage_of(ledger: &Ledger) -> Option<Value> {
        ledger.expected(Area::Requests).get("request 1")?.get("stage").cloned()
    }

    #[test]
    fn a_later_acknowledged_write_overrides() {
        let ledger = ledger_of(&[("new", Outcome::Acknowledged), ("active", Outcome::Acknowledged)]);
        assert_eq!(stage_of(&ledger), Some(json!("active")));
    }

    #[test]
    fn a_refused_write_changes_no_expectation() {
        let ledger = ledger_of(&[("new", Outcome::Acknowledged), ("active", Outcome::Refused)]);
        assert_eq!(stage_of(&ledger), Some(json!("new")));
    }

    #[test]
    fn a_field_touched_by_an_unknown_write_is_not_expected() {
        let ledger = ledger_of(&[("new", Outcome::Acknowledged), ("active", Outcome::Unknown)]);
        assert_eq!(stage_of(&ledger), None);
        assert!(ledger.expected(Area::Requests).contains_key("request 1"));
    }

    #[test]
    fn a_write_that_was_never_ended_is_unknown() {
        let mut ledger = Ledger::default();
        ledger.sent(stage("new"), Timestamp::UNIX_EPOCH);
        assert_eq!(ledger.writes()[0].outcome, Outcome::Unknown);
        assert_eq!(ledger.acknowledged_writes().count(), 0);
    }
}
