//! Whether a start can add a new column or index to a restored older file, and what old rows get then. Pure.
//!
//! Source: SQLite's rules of `ALTER TABLE … ADD COLUMN`.

use crate::deployment::schema::{ColumnRow, IndexColumnRow, IndexRow, Schema};
use crate::deployment::schema_change::Class;
use crate::deployment::schema_sql::{definition, is_constant};
use crate::deployment::sql_tokens;

/// Class, what happened, and what it means for an older snapshot, of a new column.
pub(crate) fn column(observed: &Schema, new: &ColumnRow) -> (Class, String, String) {
    let references = observed
        .rows
        .foreign_keys
        .iter()
        .find(|key| key.table == new.table && key.from.eq_ignore_ascii_case(&new.name));
    let mut what = format!("added: {}", definition(&observed.rows, new));
    if let Some(key) = references {
        what.push_str(&format!(" REFERENCES {}", key.parent));
    }
    let constraint = observed.rows.indexes.iter().find(|index| {
        let named = |column: &IndexColumnRow| column.name.as_deref() == Some(&new.name);
        index.table == new.table && index.origin != "c" && index.columns.iter().any(named)
    });
    if constraint.is_some_and(|index| index.origin == "u" && index.columns.len() == 1) {
        what.push_str(" UNIQUE");
    }
    let breaking = |why: &str| (Class::Breaking, what.clone(), why.to_owned());
    let default = given_default(new);
    if new.primary_key > 0 || constraint.is_some() {
        return breaking("no start can add it to a restored older file: SQLite adds no PRIMARY KEY or UNIQUE column");
    }
    if new.hidden == 3 {
        return breaking("no start can add it to a restored older file: SQLite adds no STORED generated column");
    }
    if new.not_null && default.is_none() && new.hidden == 0 {
        return breaking(
            "NOT NULL without a default: no start can add it to a restored older file, its rows have no value",
        );
    }
    if default.is_some_and(|text| !is_constant(text)) {
        return breaking("no start can add it to a restored older file: its default is no constant");
    }
    if default.is_some() && references.is_some() {
        return breaking(
            "no start can add it to a restored older file: SQLite adds no column with REFERENCES and a default but NULL",
        );
    }
    let told = match default {
        Some(value) => format!("old rows get {value} once the first start has added the column"),
        None if new.hidden == 2 => "computed from old rows once the first start has added the column".to_owned(),
        None => "old rows get NULL once the first start has added the column".to_owned(),
    };
    (Class::Compatible, what, told)
}

/// The default that is a value.
fn given_default(column: &ColumnRow) -> Option<&str> {
    let default = column.default.as_deref();
    default.filter(|text| sql_tokens::normalised(text) != "null")
}

/// Class and meaning of a new index on a table that is in the locked schema too.
pub(crate) fn index(locked: &Schema, observed: &Schema, new: &IndexRow) -> (Class, String) {
    let builds = "the first start builds it over the rows of a restored older file";
    if !new.unique {
        return (Class::Compatible, builds.to_owned());
    }
    // What fewer of its columns keep apart already cannot repeat in all of them.
    let is_kept_apart = locked.rows.indexes.iter().any(|index| {
        let key = format!("index {}", index.name);
        let element = locked.facts.shape.get(&key);
        let is_partial = element.is_some_and(|element| element.description.contains(" WHERE "));
        let same = |column: &IndexColumnRow| {
            let mut others = new.columns.iter();
            column.name.is_some()
                && others.any(|other| other.name == column.name && other.collation == column.collation)
        };
        index.table == new.table && index.unique && !is_partial && index.columns.iter().all(same)
    });
    if is_kept_apart {
        return (
            Class::Compatible,
            format!("{builds}, which hold no value twice as they are"),
        );
    }
    let is_new = |column: &IndexColumnRow| {
        let name = column.name.as_deref();
        let old = locked.rows.columns.iter();
        let mut old = old.filter(|column| column.table == new.table);
        let of = observed.rows.columns.iter();
        let mut of = of.filter(|column| column.table == new.table && Some(column.name.as_str()) == name);
        name.is_some()
            && !old.any(|column| Some(column.name.as_str()) == name)
            && of.any(|column| column.hidden == 0 && given_default(column).is_none())
    };
    if new.columns.iter().any(is_new) {
        return (
            Class::Compatible,
            format!("{builds}, whose new column is NULL: NULL is never the same twice"),
        );
    }
    let told = "the first start on a restored older file fails where its rows hold one value twice";
    (Class::Breaking, told.to_owned())
}
