//! What a change of a schema is, in words, and what it means for restoring an older snapshot.
//!
//! Pure. Compatible is only what a start can add to an older file: a service creates tables and indexes that are missing
//! and adds columns, and leaves everything else of a restored file as it is. Source: Beam 1.6.0, contract 4.1.

use crate::deployment::schema::{ColumnRow, IndexRow, Schema, SchemaDifference, check_differences, shape_differences};
use crate::deployment::schema_renames::{Renamed, renamed};
use crate::deployment::schema_sql::columns_of;
use crate::deployment::{nonce_guards, schema_added, sql_tokens};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Whether an older snapshot can still be restored as if nothing had changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A restored older file does not become what a new file is, or holds what the service does not expect.
    Breaking,
    /// The first start adds it to a restored older file.
    Compatible,
}

impl Class {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Class::Breaking => "breaking",
            Class::Compatible => "compatible",
        }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaChange {
    /// Whether it breaks.
    pub class: Class,
    /// `column agents.region`, `index idx_beam_nonce on beam_messages`.
    pub subject: String,
    /// What happened: `added: TEXT`, `renamed to agents.zone`, `dropped`.
    pub what: String,
    /// What it means for restoring an older snapshot.
    pub restoring: String,
    /// The guard against repeated nonces that is lost by it; `None` for most.
    pub nonce_guard_lost: Option<String>,
    /// The table that it belongs to, by the name that the subject has.
    pub table: String,
    /// Its name in the locked schema; `None` where it is not there.
    pub locked_table: Option<String>,
    /// The column, index, trigger or view in the locked schema that it is about, where there is one.
    pub locked_name: Option<String>,
    /// Likewise in the observed schema.
    pub observed_name: Option<String>,
}

/// All changes from the locked to the observed schema: breaking ones first, then by table and subject.
#[must_use]
pub fn changes(locked: &Schema, observed: &Schema) -> Vec<SchemaChange> {
    let mut renamed = renamed(locked, observed);
    let mut found = std::mem::take(&mut renamed.found);
    let mut differences = shape_differences(&renamed.locked.facts, &observed.facts);
    differences.extend(joined(check_differences(&renamed.locked.facts, &observed.facts)));
    let subjects: BTreeSet<String> = differences
        .iter()
        .filter(|one| one.expected == ABSENT)
        .map(|one| one.subject.clone())
        .collect();
    let sides = Sides {
        locked: &renamed.locked,
        observed,
        renamed: &renamed,
    };
    found.extend(
        differences
            .iter()
            .filter(|one| !is_part_of_new_column(one, &subjects))
            .map(|one| sides.change(one)),
    );
    nonce_guards::name_lost(locked, observed, &renamed, &mut found);
    found.sort_by(|one, other| (one.class, &one.table, &one.subject).cmp(&(other.class, &other.table, &other.subject)));
    found
}

const ABSENT: &str = "absent";

/// The locked schema as it would be if what is renamed had its observed name already.
#[must_use]
pub fn with_observed_names(locked: &Schema, observed: &Schema) -> Schema {
    renamed(locked, observed).locked
}

/// A CHECK that is gone and one that came about the same column are one change.
fn joined(all: Vec<SchemaDifference>) -> Vec<SchemaDifference> {
    let about = |one: &SchemaDifference| {
        let text = one.subject.strip_prefix("CHECK ( ").unwrap_or(&one.subject);
        let first = text.split(' ').next().unwrap_or_default().to_owned();
        (first, table_of_check(&one.subject).to_owned())
    };
    let expression = |one: &SchemaDifference| {
        let text = one.subject.strip_prefix("CHECK ( ").unwrap_or(&one.subject);
        let text = text.rsplit_once(" ) of ").map_or(text, |(text, _)| text);
        format!("({})", sql_tokens::readable(text))
    };
    let (mut gone, mut come): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| one.observed == ABSENT);
    let mut found = Vec::new();
    for one in gone.drain(..) {
        let mut changed = SchemaDifference {
            subject: one.subject.clone(),
            expected: expression(&one),
            observed: ABSENT.to_owned(),
        };
        if let Some(at) = come.iter().position(|other| about(other) == about(&one)) {
            changed.observed = expression(&come.swap_remove(at));
        }
        found.push(changed);
    }
    found.extend(come);
    found
}

fn table_of_check(subject: &str) -> &str {
    subject.rsplit_once(" ) of ").map_or("", |(_, table)| table)
}

/// The CHECK, the foreign key and the UNIQUE of a column that is new itself are told with the column.
fn is_part_of_new_column(one: &SchemaDifference, new: &BTreeSet<String>) -> bool {
    if one.expected != ABSENT {
        return false;
    }
    let column = if let Some(rest) = one.subject.strip_prefix("CHECK ( ") {
        let first = rest.split(' ').next().unwrap_or_default().trim_matches('"');
        format!("column {}.{first}", table_of_check(&one.subject))
    } else if let Some(rest) = one
        .subject
        .strip_prefix("foreign key ")
        .or_else(|| one.subject.strip_prefix("unique constraint on "))
    {
        let Some((table, column)) = rest.split_once('(') else {
            return false;
        };
        format!("column {table}.{}", column.trim_end_matches(')'))
    } else {
        return false;
    };
    new.iter().any(|subject| subject.eq_ignore_ascii_case(&column))
}

struct Sides<'a> {
    locked: &'a Schema,
    observed: &'a Schema,
    renamed: &'a Renamed,
}

impl Sides<'_> {
    fn change(&self, one: &SchemaDifference) -> SchemaChange {
        let kind = one.subject.split(' ').next().unwrap_or_default();
        let (class, what, restoring) = match kind {
            "table" => self.of_table(one),
            "column" => self.of_column(one),
            "index" => self.of_index(one),
            _ => of_other(one, kind),
        };
        let table = self.table(one);
        let own = self.renamed.locked_table(&table).to_owned();
        let is_locked = |name: &String| self.locked.facts.shape.contains_key(&format!("table {name}"));
        let name = named(one, kind);
        let locked_name = name.as_deref().filter(|_| one.expected != ABSENT);
        SchemaChange {
            class,
            subject: one.subject.clone(),
            what,
            restoring,
            nonce_guard_lost: None,
            locked_table: is_locked(&table).then_some(own),
            locked_name: locked_name.map(|name| self.renamed.locked_column(&table, name).to_owned()),
            observed_name: name.filter(|_| one.observed != ABSENT),
            table,
        }
    }

    /// The table that a difference belongs to.
    fn table(&self, one: &SchemaDifference) -> String {
        let (_, rest) = one.subject.split_once(' ').unwrap_or_default();
        if one.subject.starts_with("CHECK ") {
            return table_of_check(&one.subject).to_owned();
        }
        let of = |schema: &Schema| {
            let key = one.subject.split(" on ").next().unwrap_or_default();
            let shape = &schema.facts.shape;
            let element = shape.get(&one.subject).or_else(|| shape.get(key));
            element.map(|element| element.table.clone())
        };
        of(self.locked)
            .or_else(|| of(self.observed))
            .unwrap_or_else(|| rest.to_owned())
    }

    fn of_table(&self, one: &SchemaDifference) -> (Class, String, String) {
        let name = one.subject.strip_prefix("table ").unwrap_or_default();
        if one.expected == ABSENT {
            let columns = columns_of(&self.observed.rows, name).len();
            let told = "the first start creates it empty in a restored older file";
            return (Class::Compatible, format!("added, {columns} columns"), told.to_owned());
        }
        if one.observed == ABSENT {
            let told = "a restored older file keeps its rows, but nothing reads them any more";
            return (Class::Breaking, "dropped".to_owned(), told.to_owned());
        }
        let has = |text: &str, word: &str| text.split(' ').any(|one| one == word);
        let told = if has(&one.expected, "AUTOINCREMENT") != has(&one.observed, "AUTOINCREMENT") {
            "a restored older file keeps the table as it was made: only one of the two gives a deleted row's number again"
        } else if has(&one.expected, "STRICT") != has(&one.observed, "STRICT") {
            "a restored older file keeps the table as it was made: only one of the two holds values to their types"
        } else {
            "a restored older file keeps the table as it was made"
        };
        changed(one, told)
    }

    fn of_column(&self, one: &SchemaDifference) -> (Class, String, String) {
        let find = |schema: &Schema| {
            let mut columns = schema.rows.columns.iter();
            columns
                .find(|column| one.subject == format!("column {}.{}", column.table, column.name))
                .cloned()
        };
        match (find(self.locked), find(self.observed)) {
            (None, Some(new)) => schema_added::column(self.observed, &new),
            (Some(was), None) => {
                let told = if was.not_null && was.default.is_none() {
                    "a restored older file still demands a value and refuses rows that are written without"
                } else {
                    "a restored older file still holds its values, but nothing reads them any more"
                };
                (
                    Class::Breaking,
                    format!("dropped (was {})", one.expected),
                    told.to_owned(),
                )
            }
            (Some(was), Some(is)) => of_changed_column(&was, &is, one),
            (None, None) => changed(one, "a restored older file keeps the old column"),
        }
    }

    fn of_index(&self, one: &SchemaDifference) -> (Class, String, String) {
        let name = index_name(&one.subject);
        let find = |schema: &Schema| schema.rows.indexes.iter().find(|index| index.name == name).cloned();
        if one.expected == ABSENT {
            let what = format!("added: {}", one.observed);
            let new: Option<IndexRow> = find(self.observed);
            let (class, told) = match new {
                Some(new) => schema_added::index(self.locked, self.observed, &new),
                None => (Class::Breaking, "no start is known to add it".to_owned()),
            };
            return (class, what, told);
        }
        if one.observed == ABSENT {
            let unique = if find(self.locked).is_some_and(|index| index.unique) {
                "a restored older file still has it and refuses what a new file takes twice"
            } else {
                "a restored older file still has it, a new file does not: the two answer at different speed"
            };
            return (
                Class::Breaking,
                format!("dropped (was {})", one.expected),
                unique.to_owned(),
            );
        }
        let unique = [self.locked, self.observed].map(|schema| find(schema).is_some_and(|index| index.unique));
        let told = match unique {
            [true, false] => {
                "created only if missing: a restored older file keeps the old index and refuses what a new file takes \
                 twice"
            }
            [false, true] => {
                "created only if missing: a restored older file keeps the old index and takes twice what a new file \
                 refuses"
            }
            _ => "created only if missing: a restored older file keeps the old index",
        };
        changed(one, told)
    }
}

fn of_changed_column(was: &ColumnRow, is: &ColumnRow, one: &SchemaDifference) -> (Class, String, String) {
    let (_, what, _) = changed(one, "");
    let told = if !was.declared_type.eq_ignore_ascii_case(&is.declared_type) {
        "values of a restored older file keep their old storage class"
    } else if !was.not_null && is.not_null {
        "a restored older file stays nullable, and its NULL values are what the service no longer expects"
    } else if was.not_null && !is.not_null {
        "a restored older file stays NOT NULL and refuses what the service may write now"
    } else if was.primary_key != is.primary_key {
        "a restored older file keeps the old primary key"
    } else if was.hidden != is.hidden {
        "a restored older file keeps the old column: only in one of the two is it computed"
    } else if was.default != is.default {
        "a restored older file keeps the old default: rows written without a value differ"
    } else if !was.collation.eq_ignore_ascii_case(&is.collation) {
        "a restored older file keeps the old collation: the two order and compare its values differently"
    } else {
        "a restored older file keeps the old column"
    };
    (Class::Breaking, what, told.to_owned())
}

/// What is neither table, column nor index of its own.
fn of_other(one: &SchemaDifference, kind: &str) -> (Class, String, String) {
    if kind == "view" && one.expected == ABSENT {
        let told = "the first start creates it in a restored older file";
        return (Class::Compatible, "added".to_owned(), told.to_owned());
    }
    let told = match (kind, one.expected == ABSENT, one.observed == ABSENT) {
        ("CHECK", true, _) => "a restored older file lacks it and takes what a new file refuses",
        ("CHECK", _, true) => "a restored older file still has it and refuses what a new file takes",
        ("CHECK", ..) => "a restored older file keeps the old one: the two take different values",
        ("unique", true, _) => "no start adds it: a restored older file takes one value twice",
        ("unique", _, true) => "a restored older file still has it and refuses what a new file takes twice",
        ("foreign", ..) => "a restored older file keeps the old foreign keys and their actions",
        ("trigger", true, _) => "it changes rows of a restored older file that no service writes",
        ("trigger", ..) => "created only if missing: a restored older file keeps the old trigger",
        ("primary", ..) => "a restored older file keeps the old primary key",
        _ => "a restored older file keeps what it was made with",
    };
    changed(one, told)
}

fn changed(one: &SchemaDifference, told: &str) -> (Class, String, String) {
    // `UNIQUE` and the like say no more than the subject.
    let is_plain = |text: &str| text == "UNIQUE" || text == "present";
    // A column without a type has no words, and statements are kept in lower case.
    let told_as = |text: &str| match one.subject.split(' ').next() {
        Some("column") if text.is_empty() => "no type".to_owned(),
        Some("trigger" | "view") if text != ABSENT => sql_tokens::readable(text),
        _ => text.to_owned(),
    };
    let (expected, observed) = (told_as(&one.expected), told_as(&one.observed));
    let what = match (expected.as_str(), observed.as_str()) {
        (ABSENT, is) if is_plain(is) => "added".to_owned(),
        (ABSENT, is) => format!("added: {is}"),
        (was, ABSENT) if is_plain(was) || one.subject.starts_with("CHECK ") => "dropped".to_owned(),
        (was, ABSENT) => format!("dropped (was {was})"),
        (was, is) => format!("changed from {was} to {is}"),
    };
    (Class::Breaking, what, told.to_owned())
}

fn index_name(subject: &str) -> &str {
    let rest = subject.strip_prefix("index ").unwrap_or(subject);
    rest.rsplit_once(" on ").map_or(rest, |(name, _)| name)
}

/// The column, index, trigger or view that a difference is about.
fn named(one: &SchemaDifference, kind: &str) -> Option<String> {
    let (_, rest) = one.subject.split_once(' ')?;
    match kind {
        "column" => rest.split_once('.').map(|(_, column)| column.to_owned()),
        "index" | "trigger" => rest.rsplit_once(" on ").map(|(name, _)| name.to_owned()),
        "view" => Some(rest.to_owned()),
        "CHECK" => rest
            .strip_prefix("( ")
            .and_then(|text| text.split(' ').next())
            .map(|first| first.trim_matches('"').to_owned()),
        _ => None,
    }
}
