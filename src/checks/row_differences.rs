//! The rows that differ between two places, in words that may be shown.
//!
//! Only tables whose digests differ are read this way; rows beyond a cap are counted, not listed.

use crate::checks::disclosure::{change_name, shown_pair};
use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::difference::{RowChange, table_difference};
use serde::{Deserialize, Serialize};

/// Rows of one table that are fetched of each side.
const ROW_CAP: usize = 1_000;

/// One row or cell that differs, fit to be shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DescribedRow {
    /// Its table.
    pub table: String,
    /// `agents[beam_id=…] public_key`.
    pub subject: String,
    /// What the reference has.
    pub expected: String,
    /// What the other has.
    pub observed: String,
}

/// Every difference of a table, up to the cap; a last line says when there are more.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn described_differences(
    reference: &Database,
    other: &Database,
    table: &str,
) -> Result<Vec<DescribedRow>, DatabaseError> {
    let found = table_difference(reference, other, table, ROW_CAP)?;
    let make = |subject: String, expected: String, observed: String| DescribedRow {
        table: table.to_owned(),
        subject,
        expected,
        observed,
    };
    let mut all: Vec<DescribedRow> = found
        .changes
        .iter()
        .flat_map(|change| described(table, change, &make))
        .collect();
    for (columns, expected, observed) in [
        (&found.columns_left, "present", "absent"),
        (&found.columns_right, "absent", "present"),
    ] {
        let named = columns.iter().map(|name| format!("{table} column {name}"));
        all.extend(named.map(|subject| make(subject, expected.to_owned(), observed.to_owned())));
    }
    if found.is_cut() {
        let (lost, new) = (found.only_left, found.only_right);
        let counts = format!("{lost} rows missing or changed, {new} new or changed; the first {ROW_CAP} are listed");
        all.push(make(table.to_owned(), "equal rows".to_owned(), counts));
    }
    Ok(all)
}

fn described(
    table: &str,
    change: &RowChange,
    make: &impl Fn(String, String, String) -> DescribedRow,
) -> Vec<DescribedRow> {
    let name = change_name(table, change);
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => change
            .columns()
            .into_iter()
            .map(|column| {
                let (expected, observed) = shown_pair(table, column, before.cell(column), after.cell(column));
                make(format!("{name} {column}"), expected, observed)
            })
            .collect(),
        (Some(_), None) => vec![make(name, "present".to_owned(), "absent".to_owned())],
        _ => vec![make(name, "absent".to_owned(), "present".to_owned())],
    }
}
