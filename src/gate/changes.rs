//! The changes of a schema, with new columns tried out: whether old rows pass the CHECK that a column brings along, only
//! SQLite can tell.

use crate::deployment::schema::Schema;
use crate::deployment::schema_change::{self, Class, SchemaChange};
use crate::deployment::schema_sql::written_column;
use crate::snapshot::schema_rows::schema_of_sql;
use std::path::Path;

/// All changes from the locked to the observed schema: breaking ones first, then by table and subject.
#[must_use]
pub fn changes(locked: &Schema, observed: &Schema) -> Vec<SchemaChange> {
    let mut all = schema_change::changes(locked, observed);
    for change in &mut all {
        if change.class == Class::Compatible && refuses_old_rows(change, observed) {
            change.class = Class::Breaking;
            "no start can add it to a restored older file: its rows do not pass the CHECK"
                .clone_into(&mut change.restoring);
        }
    }
    all.sort_by_key(|change| change.class);
    all
}

/// Whether a table with a row refuses a new column.
fn refuses_old_rows(change: &SchemaChange, observed: &Schema) -> bool {
    let (true, Some(name)) = (change.subject.starts_with("column "), &change.observed_name) else {
        return false;
    };
    let mut columns = observed.rows.columns.iter();
    let Some(column) = columns.find(|column| column.table == change.table && column.name == *name) else {
        return false;
    };
    let column = written_column(&observed.rows, column);
    let sql = format!("CREATE TABLE old (row); INSERT INTO old VALUES (1); ALTER TABLE old ADD COLUMN {column}");
    // What fails otherwise speaks of columns that are not here; nothing is known then.
    schema_of_sql(&sql, Path::new("a table with one row")).is_err_and(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        cause.unwrap_or_default().contains("CHECK constraint failed")
    })
}
