//! What a change of a schema is, in words, and what it means for restoring an older snapshot.
//!
//! Pure. Compatible is only what a start can add to an older file: a service creates tables and indexes that are missing
//! and adds columns, and leaves everything else of a restored file as it is. Source: Beam 1.6.0, contract 4.1.

use crate::deployment::schema::{
    ColumnRow, IndexRow, Schema, SchemaDifference, SchemaRows, check_differences, shape_differences,
};
use crate::deployment::schema_sql::{columns_of, is_constant};
use crate::deployment::{nonce_guards, sql_tokens};
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
    /// The table that it belongs to.
    pub table: String,
    /// The column, index, trigger or view in the locked schema that it is about, where there is one.
    pub locked_name: Option<String>,
}

/// All changes from the locked to the observed schema: breaking ones first, then by table and subject.
#[must_use]
pub fn changes(locked: &Schema, observed: &Schema) -> Vec<SchemaChange> {
    let (renamed, mut found) = renames(locked, observed);
    let mut differences = shape_differences(&renamed.facts, &observed.facts);
    differences.extend(joined(check_differences(&renamed.facts, &observed.facts)));
    let subjects: BTreeSet<String> = differences
        .iter()
        .filter(|one| one.expected == ABSENT)
        .map(|one| one.subject.clone())
        .collect();
    let sides = Sides {
        locked: &renamed,
        observed,
    };
    found.extend(
        differences
            .iter()
            .filter(|one| !is_part_of_new_column(one, &subjects))
            .map(|one| sides.change(one)),
    );
    nonce_guards::name_lost(locked, observed, &mut found);
    found.sort_by(|one, other| (one.class, &one.table, &one.subject).cmp(&(other.class, &other.table, &other.subject)));
    found
}

const ABSENT: &str = "absent";

/// The locked schema as it would be if the renamed columns had their observed names already.
#[must_use]
pub fn with_observed_names(locked: &Schema, observed: &Schema) -> Schema {
    renames(locked, observed).0
}

/// The locked schema with the observed names of renamed columns, and the renames.
fn renames(locked: &Schema, observed: &Schema) -> (Schema, Vec<SchemaChange>) {
    let (mut rows, mut found) = (locked.rows.clone(), Vec::new());
    for table in &locked.rows.tables {
        let (was, is) = (
            columns_of(&locked.rows, &table.name),
            columns_of(&observed.rows, &table.name),
        );
        let only = |these: &[&ColumnRow], those: &[&ColumnRow]| -> Vec<usize> {
            let is_there = |column: &ColumnRow| those.iter().any(|other| other.name == column.name);
            (0..these.len()).filter(|at| !is_there(these[*at])).collect()
        };
        let (gone, mut come) = (only(&was, &is), only(&is, &was));
        let single = gone.len() == 1 && come.len() == 1;
        for at in gone {
            let same = |other: &usize| is_same_column(was[at], is[*other]) && (single || *other == at);
            let Some(place) = come.iter().position(same) else {
                continue;
            };
            let (old, new) = (was[at], is[come.swap_remove(place)]);
            rename(&mut rows, &table.name, &old.name, &new.name);
            found.push(SchemaChange {
                class: Class::Breaking,
                subject: format!("column {}.{}", table.name, old.name),
                what: format!("renamed to {}.{}", table.name, new.name),
                restoring: format!(
                    "a restored older file keeps its values under {}; {} is empty or missing until the values are moved",
                    old.name, new.name
                ),
                nonce_guard_lost: None,
                table: table.name.clone(),
                locked_name: Some(old.name.clone()),
            });
        }
    }
    (Schema::from(rows), found)
}

fn is_same_column(one: &ColumnRow, other: &ColumnRow) -> bool {
    let key = |column: &ColumnRow| {
        (
            column.declared_type.to_uppercase(),
            column.not_null,
            column.default.as_deref().map(sql_tokens::normalised),
            column.primary_key,
            column.hidden,
            column.collation.to_uppercase(),
        )
    };
    key(one) == key(other)
}

/// Gives a column of the rows another name, wherever it is spoken of.
fn rename(rows: &mut SchemaRows, table: &str, old: &str, new: &str) {
    for column in rows
        .columns
        .iter_mut()
        .filter(|one| one.table == table && one.name == old)
    {
        column.name = new.to_owned();
    }
    let indexes = rows.indexes.iter_mut().filter(|index| index.table == table);
    for column in indexes.flat_map(|index| &mut index.columns) {
        if column.name.as_deref() == Some(old) {
            column.name = Some(new.to_owned());
        }
    }
    for key in &mut rows.foreign_keys {
        if key.table == table && key.from == old {
            key.from = new.to_owned();
        }
        if key.parent == table && key.to.as_deref() == Some(old) {
            key.to = Some(new.to_owned());
        }
    }
    for object in rows.objects.iter_mut().filter(|object| object.table == table) {
        object.sql = object.sql.as_deref().map(|sql| sql_tokens::with_name(sql, old, new));
    }
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

/// The CHECK and the foreign key of a column that is new itself are told with the column.
fn is_part_of_new_column(one: &SchemaDifference, new: &BTreeSet<String>) -> bool {
    if one.expected != ABSENT {
        return false;
    }
    let column = if let Some(rest) = one.subject.strip_prefix("CHECK ( ") {
        let first = rest.split(' ').next().unwrap_or_default().trim_matches('"');
        format!("column {}.{first}", table_of_check(&one.subject))
    } else if let Some(rest) = one.subject.strip_prefix("foreign key ") {
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
        SchemaChange {
            class,
            subject: one.subject.clone(),
            what,
            restoring,
            nonce_guard_lost: None,
            table: self.table(one),
            locked_name: locked_name(one, kind),
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
        changed(one, "a restored older file keeps the table as it was made")
    }

    fn of_column(&self, one: &SchemaDifference) -> (Class, String, String) {
        let find = |schema: &Schema| {
            let mut columns = schema.rows.columns.iter();
            columns
                .find(|column| one.subject == format!("column {}.{}", column.table, column.name))
                .cloned()
        };
        match (find(self.locked), find(self.observed)) {
            (None, Some(new)) => self.of_new_column(&new, &one.observed),
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

    fn of_new_column(&self, new: &ColumnRow, description: &str) -> (Class, String, String) {
        let what = format!("added: {description}");
        let breaking = |why: &str| (Class::Breaking, what.clone(), why.to_owned());
        let is_unique = self.observed.rows.indexes.iter().any(|index| {
            let names = index
                .columns
                .iter()
                .any(|column| column.name.as_deref() == Some(&new.name));
            index.table == new.table && index.origin != "c" && names
        });
        let default = new
            .default
            .as_deref()
            .filter(|text| sql_tokens::normalised(text) != "null");
        if new.primary_key > 0 || is_unique {
            return breaking(
                "no start can add it to a restored older file: SQLite adds no PRIMARY KEY or UNIQUE column",
            );
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
        let told = match default {
            Some(value) => format!("old rows get {value} once the first start has added the column"),
            None if new.hidden == 2 => "computed from old rows once the first start has added the column".to_owned(),
            None => "old rows get NULL once the first start has added the column".to_owned(),
        };
        (Class::Compatible, what, told)
    }

    fn of_index(&self, one: &SchemaDifference) -> (Class, String, String) {
        let name = index_name(&one.subject);
        let find = |schema: &Schema| schema.rows.indexes.iter().find(|index| index.name == name).cloned();
        if one.expected == ABSENT {
            let is_unique = find(self.observed).is_some_and(|index: IndexRow| index.unique);
            let is_old = self
                .locked
                .facts
                .shape
                .contains_key(&format!("table {}", self.table(one)));
            let what = format!("added: {}", one.observed);
            if is_unique && is_old {
                let told = "the first start on a restored older file fails where its rows hold one value twice";
                return (Class::Breaking, what, told.to_owned());
            }
            let told = "the first start builds it over the rows of a restored older file";
            return (Class::Compatible, what, told.to_owned());
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
        changed(
            one,
            "created only if missing: a restored older file keeps the old index",
        )
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
    } else if was.default != is.default {
        "a restored older file keeps the old default: rows written without a value differ"
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
    let what = match (one.expected.as_str(), one.observed.as_str()) {
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

/// The line of the lock that a change is about names this.
fn locked_name(one: &SchemaDifference, kind: &str) -> Option<String> {
    if one.expected == ABSENT {
        return None;
    }
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
