//! Predicted changes, and how they are held against the changes that happened.
//!
//! A prediction names its rule. A change that nobody predicted, a predicted one that did not happen and one that
//! happened otherwise are three kinds of wrong; there is no list of tables to ignore. Pure.

use crate::checks::disclosure::{change_name, shown};
use crate::deployment::Service;
use crate::snapshot::database::{Cell, Row};
use crate::snapshot::difference::RowChange;
use serde::{Deserialize, Serialize};

/// Clocks of harness and service, and rounding to milliseconds, may differ by this much.
const SLACK_MS: i64 = 1_000;

/// From the start request to the look at the files, by the service's clock, in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When the start was requested.
    pub start_requested_ms: i64,
    /// When the files were looked at.
    pub looked_at_ms: i64,
}

impl Window {
    /// How long the services may have been running.
    #[must_use]
    pub fn length_ms(&self) -> i64 {
        self.looked_at_ms - self.start_requested_ms
    }

    fn holds(&self, at_ms: i64) -> bool {
        at_ms >= self.start_requested_ms - SLACK_MS && at_ms <= self.looked_at_ms + SLACK_MS
    }
}

/// What a cell may hold afterwards.
#[derive(Debug, Clone, PartialEq)]
pub enum CellRule {
    /// Exactly this.
    Is(Cell),
    /// One of these texts.
    OneOf(Vec<&'static str>),
    /// A time within the window as ISO text.
    IsoNow,
    /// A time within the window in milliseconds.
    MillisNow,
    /// A time within the window in seconds, REAL.
    SecondsNow,
    /// The window's time minus this instant, in milliseconds: an age.
    AgeSince(i64),
    /// An integer between two bounds, both included.
    Between(i64, i64),
    /// A number between two bounds, both included.
    RealBetween(f64, f64),
    /// Text that is not empty.
    Filled,
    /// JSON with `transport: "recovery"` and this `previousStatus`.
    RecoveryOf(String),
    /// Anything.
    Anything,
}

impl CellRule {
    fn allows(&self, cell: &Cell, window: &Window) -> bool {
        match self {
            CellRule::Is(expected) => cell == expected,
            CellRule::OneOf(words) => cell.text().is_some_and(|text| words.contains(&text)),
            CellRule::IsoNow => cell.text().and_then(millis_of).is_some_and(|at| window.holds(at)),
            CellRule::MillisNow => cell.integer().is_some_and(|at| window.holds(at)),
            CellRule::SecondsNow => match cell {
                Cell::Real(seconds) => window.holds(rounded(seconds * 1_000.0)),
                _ => false,
            },
            CellRule::AgeSince(from) => cell.integer().is_some_and(|age| window.holds(from + age)),
            CellRule::Between(low, high) => cell.integer().is_some_and(|number| (*low..=*high).contains(&number)),
            CellRule::RealBetween(low, high) => match cell {
                Cell::Real(number) => (*low..=*high).contains(number),
                _ => false,
            },
            CellRule::Filled => matches!(cell, Cell::Text(text) if !text.is_empty()),
            CellRule::RecoveryOf(status) => cell.text().is_some_and(|text| is_recovery_of(text, status)),
            CellRule::Anything => true,
        }
    }

    fn words(&self, table: &str, column: &str) -> String {
        match self {
            CellRule::Is(cell) => shown(table, column, cell),
            CellRule::OneOf(words) => format!("one of {}", words.join(", ")),
            CellRule::IsoNow | CellRule::MillisNow | CellRule::SecondsNow => "a time since the start".to_owned(),
            CellRule::AgeSince(_) => "its age at the start in milliseconds".to_owned(),
            CellRule::Between(low, high) if low == high => low.to_string(),
            CellRule::Between(low, high) => format!("between {low} and {high}"),
            CellRule::RealBetween(low, high) => format!("between {low} and {high}"),
            CellRule::Filled => "some text".to_owned(),
            CellRule::RecoveryOf(status) => format!("details of a recovery from {status}"),
            CellRule::Anything => "anything".to_owned(),
        }
    }
}

/// What happens to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It appears.
    Insert,
    /// Some of its cells change.
    Update,
    /// It goes.
    Delete,
}

/// Whether a prediction must come true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// Once, exactly.
    Must,
    /// Any number of times, or not.
    May,
}

/// One predicted change.
#[derive(Debug, Clone, PartialEq)]
pub struct Predicted {
    /// Why: a sentence with its place in the contract.
    pub rule: &'static str,
    /// Whose file.
    pub service: Service,
    /// Its table.
    pub table: &'static str,
    /// What happens.
    pub kind: Kind,
    /// Whether it must.
    pub force: Force,
    /// Which row: these cells (of the row before, of an inserted row itself).
    pub row: Vec<(&'static str, Cell)>,
    /// Column → what it holds afterwards. An inserted row's other columns are NULL; a changed row's others stay.
    pub cells: Vec<(&'static str, CellRule)>,
}

/// How one prediction or one change came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It happened as predicted.
    AsPredicted,
    /// A predicted change did not happen.
    DidNotHappen,
    /// The row was predicted to change, but not so.
    Otherwise,
    /// Nobody predicted it.
    Unpredicted,
}

/// One outcome, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Whose file.
    pub service: Service,
    /// How it came out.
    pub outcome: Outcome,
    /// The rule; empty for an unpredicted change.
    pub rule: String,
    /// `intent_log[id=17, nonce=n-17] status`.
    pub subject: String,
    /// What was predicted.
    pub expected: String,
    /// What happened.
    pub observed: String,
}

/// Holds the changes of one table against the predictions for it.
#[must_use]
pub fn compare(
    service: Service,
    table: &str,
    predicted: &[Predicted],
    changes: &[RowChange],
    window: &Window,
) -> Vec<Compared> {
    let here: Vec<&Predicted> = predicted
        .iter()
        .filter(|one| one.service == service && one.table == table)
        .collect();
    let mut used = vec![false; here.len()];
    let mut compared = Vec::new();
    for change in changes {
        let candidates: Vec<usize> = (0..here.len())
            .filter(|at| !(used[*at] && here[*at].force == Force::Must) && speaks_of(here[*at], change))
            .collect();
        let fits = candidates
            .iter()
            .copied()
            .find(|at| wrong_cells(here[*at], change, window).is_empty());
        let subject = change_name(table, change);
        match fits.or_else(|| candidates.first().copied()) {
            Some(at) => {
                used[at] = true;
                compared.extend(outcome_of(service, here[at], change, &subject, window));
            }
            None => compared.extend(unpredicted(service, table, change, &subject)),
        }
    }
    for (one, _) in here
        .iter()
        .zip(&used)
        .filter(|(one, used)| !**used && one.force == Force::Must)
    {
        compared.push(Compared {
            service,
            outcome: Outcome::DidNotHappen,
            rule: one.rule.to_owned(),
            subject: predicted_name(one),
            expected: predicted_words(one),
            observed: "unchanged".to_owned(),
        });
    }
    compared
}

fn kind_of(change: &RowChange) -> Kind {
    match (&change.before, &change.after) {
        (None, _) => Kind::Insert,
        (_, None) => Kind::Delete,
        _ => Kind::Update,
    }
}

fn speaks_of(one: &Predicted, change: &RowChange) -> bool {
    one.kind == kind_of(change)
        && change
            .row()
            .is_some_and(|row| one.row.iter().all(|(column, cell)| row.cell(column) == cell))
}

/// Columns of a change that a prediction does not allow, with what it expects there.
fn wrong_cells(one: &Predicted, change: &RowChange, window: &Window) -> Vec<(String, String)> {
    let Some(after) = &change.after else {
        return Vec::new();
    };
    let mut wrong = Vec::new();
    for (column, cell) in &after.0 {
        let rule = one.cells.iter().find(|(name, _)| name == column).map(|(_, rule)| rule);
        let is_named = one.row.iter().any(|(name, _)| name == column);
        let expected = match (rule, &change.before) {
            (Some(rule), _) if rule.allows(cell, window) => continue,
            (Some(rule), _) => rule.words(one.table, column),
            (None, Some(before)) if before.cell(column) == cell => continue,
            (None, Some(before)) => shown(one.table, column, before.cell(column)),
            (None, None) if is_named || one.force == Force::May || *cell == Cell::Null => continue,
            (None, None) => "NULL".to_owned(),
        };
        wrong.push((column.clone(), expected));
    }
    wrong
}

fn outcome_of(service: Service, one: &Predicted, change: &RowChange, subject: &str, window: &Window) -> Vec<Compared> {
    let wrong = wrong_cells(one, change, window);
    if wrong.is_empty() {
        return vec![Compared {
            service,
            outcome: Outcome::AsPredicted,
            rule: one.rule.to_owned(),
            subject: subject.to_owned(),
            expected: predicted_words(one),
            observed: "so".to_owned(),
        }];
    }
    let observed = |column: &str| {
        let cell = change.after.as_ref().map_or(&Cell::Null, |row| row.cell(column));
        shown(one.table, column, cell)
    };
    wrong
        .into_iter()
        .map(|(column, expected)| Compared {
            service,
            outcome: Outcome::Otherwise,
            rule: one.rule.to_owned(),
            subject: format!("{subject} {column}"),
            observed: observed(&column),
            expected,
        })
        .collect()
}

fn unpredicted(service: Service, table: &str, change: &RowChange, subject: &str) -> Vec<Compared> {
    let make = |subject: String, expected: String, observed: String| Compared {
        service,
        outcome: Outcome::Unpredicted,
        rule: String::new(),
        subject,
        expected,
        observed,
    };
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => change
            .columns()
            .into_iter()
            .map(|column| {
                let cell = |row: &Row| shown(table, column, row.cell(column));
                make(
                    format!("{subject} {column}"),
                    format!("{} (unchanged)", cell(before)),
                    cell(after),
                )
            })
            .collect(),
        (Some(_), None) => vec![make(subject.to_owned(), "present".to_owned(), "gone".to_owned())],
        _ => vec![make(subject.to_owned(), "absent".to_owned(), "present".to_owned())],
    }
}

fn predicted_name(one: &Predicted) -> String {
    let cells: Vec<String> = one
        .row
        .iter()
        .map(|(column, cell)| format!("{column}={}", shown(one.table, column, cell).trim_matches('\'')))
        .collect();
    format!("{}[{}]", one.table, cells.join(", "))
}

fn predicted_words(one: &Predicted) -> String {
    let cells: Vec<String> = one
        .cells
        .iter()
        .filter(|(_, rule)| *rule != CellRule::Anything)
        .map(|(column, rule)| format!("{column} := {}", rule.words(one.table, column)))
        .collect();
    match one.kind {
        Kind::Insert => format!("a new row ({})", cells.join(", ")),
        Kind::Update => cells.join(", "),
        Kind::Delete => "gone".to_owned(),
    }
}

/// Milliseconds since 1970 of an ISO text; `None` when it is no such text.
#[must_use]
pub fn millis_of(text: &str) -> Option<i64> {
    text.parse::<jiff::Timestamp>()
        .ok()
        .map(jiff::Timestamp::as_millisecond)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "milliseconds since 1970 fit; a float cast saturates"
)]
pub(crate) fn rounded(millis: f64) -> i64 {
    millis.round() as i64
}

fn is_recovery_of(text: &str, status: &str) -> bool {
    serde_json::from_str::<serde_json::Value>(text)
        .is_ok_and(|details| details["transport"] == "recovery" && details["previousStatus"] == status)
}
