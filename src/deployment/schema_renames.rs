//! Tables, columns and indexes that have another name: recognised, and taken out of everything that speaks of them.
//!
//! Pure. What is renamed is one change and not something dropped beside something added.

use crate::deployment::schema::{ColumnRow, Schema, SchemaRows};
use crate::deployment::schema_change::{Class, SchemaChange};
use crate::deployment::schema_sql::columns_of;
use crate::deployment::sql_tokens;
use std::collections::{BTreeMap, BTreeSet};

/// A table of fewer columns counts as renamed only if all of them are the same.
const FEW_COLUMNS: usize = 4;

/// What was renamed.
pub(crate) struct Renamed {
    /// The locked schema as it would be if everything had its observed name already.
    pub(crate) locked: Schema,
    /// The renames as changes.
    pub(crate) found: Vec<SchemaChange>,
    /// Observed → locked name of renamed tables.
    tables: BTreeMap<String, String>,
    /// Observed table and column → locked name of renamed columns.
    columns: BTreeMap<(String, String), String>,
}

impl Renamed {
    /// The locked name of a table.
    pub(crate) fn locked_table<'a>(&'a self, observed: &'a str) -> &'a str {
        self.tables.get(observed).map_or(observed, String::as_str)
    }

    /// The observed name of a table.
    pub(crate) fn observed_table<'a>(&'a self, locked: &'a str) -> &'a str {
        let mut tables = self.tables.iter();
        tables
            .find(|(_, old)| *old == locked)
            .map_or(locked, |(new, _)| new.as_str())
    }

    /// The locked name of a column of an observed table.
    pub(crate) fn locked_column<'a>(&'a self, table: &str, observed: &'a str) -> &'a str {
        let key = (table.to_owned(), observed.to_owned());
        self.columns.get(&key).map_or(observed, String::as_str)
    }

    /// The observed name of a column of an observed table.
    pub(crate) fn observed_column<'a>(&'a self, table: &str, locked: &'a str) -> &'a str {
        let mut columns = self.columns.iter();
        columns
            .find(|((of, _), old)| of == table && *old == locked)
            .map_or(locked, |((_, new), _)| new.as_str())
    }
}

/// Finds what has another name: tables first, then columns, then indexes.
pub(crate) fn renamed(locked: &Schema, observed: &Schema) -> Renamed {
    let mut all = Renamed {
        locked: locked.clone(),
        found: Vec::new(),
        tables: BTreeMap::new(),
        columns: BTreeMap::new(),
    };
    tables(&mut all, observed);
    columns(&mut all, observed);
    indexes(&mut all, observed);
    all
}

fn tables(all: &mut Renamed, observed: &Schema) {
    let (was, is) = (all.locked.rows.clone(), &observed.rows);
    let names = |rows: &SchemaRows| -> BTreeSet<String> {
        let plain = rows.tables.iter().filter(|table| table.kind == "table");
        plain.map(|table| table.name.clone()).collect()
    };
    let taken = |rows: &SchemaRows, name: &str| rows.tables.iter().any(|table| table.name == name);
    let gone: Vec<String> = names(&was).into_iter().filter(|name| !taken(is, name)).collect();
    let come: Vec<String> = names(is).into_iter().filter(|name| !taken(&was, name)).collect();
    let fits = |old: &String, new: &String| is_same_table(&columns_of(&was, old), &columns_of(is, new));
    for old in &gone {
        let mut candidates = come.iter().filter(|new| fits(old, new));
        let (Some(new), None) = (candidates.next(), candidates.next()) else {
            continue;
        };
        if gone.iter().filter(|other| fits(other, new)).count() > 1 {
            continue;
        }
        rename_table(&mut all.locked.rows, old, new);
        all.tables.insert(new.clone(), old.clone());
        all.found.push(SchemaChange {
            class: Class::Breaking,
            subject: format!("table {old}"),
            what: format!("renamed to {new}"),
            restoring: format!(
                "a restored older file keeps its rows in {old}, where nothing reads them; the first start creates {new} \
                 empty until the rows are moved"
            ),
            nonce_guard_lost: None,
            table: old.clone(),
            locked_table: Some(old.clone()),
            locked_name: None,
            observed_name: None,
        });
    }
    all.locked = Schema::from(std::mem::take(&mut all.locked.rows));
}

/// Whether at least four of five columns are the same, all of a small table.
fn is_same_table(was: &[&ColumnRow], is: &[&ColumnRow]) -> bool {
    let same = |column: &&&ColumnRow| {
        is.iter()
            .any(|other| other.name == column.name && is_same_column(column, other))
    };
    let (same, most) = (was.iter().filter(same).count(), was.len().max(is.len()));
    same > 0 && (same == most || (most > FEW_COLUMNS && same * 5 >= most * 4))
}

fn columns(all: &mut Renamed, observed: &Schema) {
    let mut rows = all.locked.rows.clone();
    for table in &all.locked.rows.tables {
        let (was, is) = (
            columns_of(&all.locked.rows, &table.name),
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
            rename_column(&mut rows, &table.name, &old.name, &new.name);
            all.columns
                .insert((table.name.clone(), new.name.clone()), old.name.clone());
            let locked_table = all.tables.get(&table.name).unwrap_or(&table.name);
            all.found.push(SchemaChange {
                class: Class::Breaking,
                subject: format!("column {}.{}", table.name, old.name),
                what: format!("renamed to {}.{}", table.name, new.name),
                restoring: format!(
                    "a restored older file keeps its values under {}; {} is empty or missing until the values are moved",
                    old.name, new.name
                ),
                nonce_guard_lost: None,
                table: table.name.clone(),
                locked_table: Some(locked_table.clone()),
                locked_name: Some(old.name.clone()),
                observed_name: Some(new.name.clone()),
            });
        }
    }
    all.locked = Schema::from(rows);
}

fn indexes(all: &mut Renamed, observed: &Schema) {
    let named = |schema: &Schema, others: &Schema| -> Vec<(String, String, String)> {
        let own =
            schema.rows.indexes.iter().filter(|index| {
                index.origin == "c" && !others.rows.indexes.iter().any(|other| other.name == index.name)
            });
        own.filter_map(|index| {
            let element = schema.facts.shape.get(&format!("index {}", index.name))?;
            Some((index.name.clone(), index.table.clone(), element.description.clone()))
        })
        .collect()
    };
    let (gone, mut come) = (named(&all.locked, observed), named(observed, &all.locked));
    for (old, table, definition) in gone {
        let same = |(_, of, other): &(String, String, String)| *of == table && *other == definition;
        let Some(place) = come.iter().position(same) else {
            continue;
        };
        let (new, ..) = come.swap_remove(place);
        let rows = &mut all.locked.rows;
        for index in rows.indexes.iter_mut().filter(|index| index.name == old) {
            index.name.clone_from(&new);
        }
        let objects = rows.objects.iter_mut();
        for object in objects.filter(|object| object.kind == "index" && object.name == old) {
            object.name.clone_from(&new);
        }
        let locked_table = all.tables.get(&table).unwrap_or(&table).clone();
        all.found.push(SchemaChange {
            class: Class::Compatible,
            subject: format!("index {old} on {table}"),
            what: format!("renamed to {new}"),
            restoring: format!(
                "the first start builds {new} beside {old} in a restored older file: the two say the same, and an index's \
                 name counts for nothing"
            ),
            nonce_guard_lost: None,
            table,
            locked_table: Some(locked_table),
            locked_name: Some(old),
            observed_name: Some(new),
        });
    }
    all.locked = Schema::from(std::mem::take(&mut all.locked.rows));
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

/// Gives a table of the rows another name, wherever it is spoken of.
fn rename_table(rows: &mut SchemaRows, old: &str, new: &str) {
    let rename = |name: &mut String| {
        if name == old {
            new.clone_into(name);
        }
    };
    rows.tables.iter_mut().for_each(|table| rename(&mut table.name));
    rows.columns.iter_mut().for_each(|column| rename(&mut column.table));
    rows.indexes.iter_mut().for_each(|index| rename(&mut index.table));
    for key in &mut rows.foreign_keys {
        rename(&mut key.table);
        if key.parent.eq_ignore_ascii_case(old) {
            new.clone_into(&mut key.parent);
        }
    }
    for object in &mut rows.objects {
        let speaks = object.table == old || object.kind == "trigger" || object.kind == "view";
        if speaks {
            object.sql = object.sql.as_deref().map(|sql| sql_tokens::with_name(sql, old, new));
        }
        rename(&mut object.table);
        if object.kind == "table" {
            rename(&mut object.name);
        }
    }
}

/// Gives a column of the rows another name, wherever it is spoken of.
fn rename_column(rows: &mut SchemaRows, table: &str, old: &str, new: &str) {
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
