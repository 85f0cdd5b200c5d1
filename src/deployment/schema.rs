//! The schema of a database as facts: text, shape and checks, their fingerprints and their differences in words.
//!
//! Pure functions on rows of `sqlite_schema` and of pragmas; reading those rows is `snapshot`'s. Column order, comments
//! and white space do not matter to shape and checks; `sqlite_*` objects are left out everywhere.

use crate::deployment::sql_tokens;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A row of `sqlite_schema`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRow {
    /// `table`, `index`, `trigger` or `view`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The table it belongs to.
    pub table: String,
    /// The statement that made it; `None` for automatic indexes.
    pub sql: Option<String>,
}

/// A row of `PRAGMA table_list`, of tables only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// Its name.
    pub name: String,
    /// `table` or `virtual`.
    pub kind: String,
    /// WITHOUT ROWID.
    pub without_rowid: bool,
    /// STRICT.
    pub strict: bool,
}

/// A row of `PRAGMA table_xinfo` with the column's collation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnRow {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// The declared type.
    pub declared_type: String,
    /// NOT NULL.
    pub not_null: bool,
    /// The default expression as written.
    pub default: Option<String>,
    /// Position in the primary key from 1; 0 = not in it.
    pub primary_key: i64,
    /// 0 plain, 1 hidden, 2 virtual generated, 3 stored generated.
    pub hidden: i64,
    /// The collation, `BINARY` unless declared.
    pub collation: String,
}

/// A column of `PRAGMA index_xinfo`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexColumnRow {
    /// Its name; `None` for an expression.
    pub name: Option<String>,
    /// DESC.
    pub descending: bool,
    /// The collation.
    pub collation: String,
}

/// A row of `PRAGMA index_list` with its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexRow {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// UNIQUE.
    pub unique: bool,
    /// `c` = CREATE INDEX, `u` = UNIQUE constraint, `pk` = primary key.
    pub origin: String,
    /// The key columns in their order.
    pub columns: Vec<IndexColumnRow>,
}

/// A row of `PRAGMA foreign_key_list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignKeyRow {
    /// The child table.
    pub table: String,
    /// Number of the constraint within the table.
    pub id: i64,
    /// Position of the column within the constraint.
    pub position: i64,
    /// The parent table.
    pub parent: String,
    /// The child column.
    pub from: String,
    /// The parent column; `None` = its primary key.
    pub to: Option<String>,
    /// ON UPDATE action.
    pub on_update: String,
    /// ON DELETE action.
    pub on_delete: String,
}

/// Everything that SQLite tells of a schema.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaRows {
    /// `sqlite_schema`.
    pub objects: Vec<ObjectRow>,
    /// Tables.
    pub tables: Vec<TableRow>,
    /// Columns of all tables.
    pub columns: Vec<ColumnRow>,
    /// Indexes of all tables.
    pub indexes: Vec<IndexRow>,
    /// Foreign keys of all tables.
    pub foreign_keys: Vec<ForeignKeyRow>,
}

/// One element of a shape.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Element {
    /// The table (or view) it belongs to.
    pub table: String,
    /// What it is, normalised.
    pub description: String,
}

/// A schema as three sets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaFacts {
    /// `table agents` → the statement as stored.
    pub text: BTreeMap<String, String>,
    /// `column agents.email`, `index idx_beam_nonce`, … → its description.
    pub shape: BTreeMap<String, Element>,
    /// `workspaces: status in ( 'active' , 'paused' )`.
    pub checks: BTreeSet<String>,
}

/// A schema: what SQLite tells of it, and the facts drawn from that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    /// The rows.
    pub rows: SchemaRows,
    /// Their facts.
    pub facts: SchemaFacts,
}

impl From<SchemaRows> for Schema {
    fn from(rows: SchemaRows) -> Schema {
        let facts = SchemaFacts::of(&rows);
        Schema { rows, facts }
    }
}

/// SHA-256 of each of the three sets, lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Of the statements as they stand.
    pub text: String,
    /// Of the normalised shape.
    pub shape: String,
    /// Of the CHECK expressions.
    pub checks: String,
}

/// One difference between two schemas, in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchemaDifference {
    /// `index idx_beam_nonce on beam_messages`.
    pub subject: String,
    /// `beam_messages(nonce) UNIQUE`, or `absent`.
    pub expected: String,
    /// Likewise.
    pub observed: String,
}

impl fmt::Display for SchemaDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, observed {}",
            self.subject, self.expected, self.observed
        )
    }
}

const ABSENT: &str = "absent";

impl SchemaFacts {
    /// The facts of the rows that SQLite gave.
    #[must_use]
    pub fn of(rows: &SchemaRows) -> SchemaFacts {
        let mut facts = SchemaFacts::default();
        for object in rows.objects.iter().filter(|object| !is_internal(&object.name)) {
            let sql = object.sql.clone().unwrap_or_default();
            facts.text.insert(format!("{} {}", object.kind, object.name), sql);
        }
        for table in rows.tables.iter().filter(|table| !is_internal(&table.name)) {
            facts.add_table(table, rows);
        }
        for column in rows.columns.iter().filter(|column| !is_internal(&column.table)) {
            facts.add_column(column, rows);
        }
        for index in rows.indexes.iter().filter(|index| !is_internal(&index.table)) {
            facts.add_index(index, rows);
        }
        facts.add_foreign_keys(rows);
        for object in rows.objects.iter().filter(|object| !is_internal(&object.name)) {
            if object.kind == "trigger" || object.kind == "view" {
                let description = sql_tokens::normalised(object.sql.as_deref().unwrap_or_default());
                facts.add(format!("{} {}", object.kind, object.name), &object.table, description);
            }
        }
        facts
    }

    /// The three fingerprints.
    #[must_use]
    pub fn fingerprints(&self) -> Fingerprints {
        let shape = self
            .shape
            .iter()
            .map(|(subject, element)| format!("{subject}\u{1f}{}\u{1f}{}", element.table, element.description));
        let text = self.text.iter().map(|(subject, sql)| format!("{subject}\u{1f}{sql}"));
        Fingerprints {
            text: fingerprint(text),
            shape: fingerprint(shape),
            checks: fingerprint(self.checks.iter().cloned()),
        }
    }

    fn add(&mut self, subject: String, table: &str, description: String) {
        let element = Element {
            table: table.to_owned(),
            description,
        };
        // Two automatic indexes or foreign keys may be word for word the same; both count.
        let mut key = subject.clone();
        let mut copies = 1;
        while self.shape.contains_key(&key) {
            copies += 1;
            key = format!("{subject} #{copies}");
        }
        self.shape.insert(key, element);
    }

    fn add_table(&mut self, table: &TableRow, rows: &SchemaRows) {
        let sql = sql_of(rows, "table", &table.name);
        let clauses = sql_tokens::table_clauses(sql);
        let mut words = vec![table.kind.clone()];
        let flags = [
            (clauses.autoincrement, "AUTOINCREMENT"),
            (table.without_rowid, "WITHOUT ROWID"),
            (table.strict, "STRICT"),
        ];
        words.extend(
            flags
                .iter()
                .filter(|(is_set, _)| *is_set)
                .map(|(_, word)| (*word).to_owned()),
        );
        if table.kind == "virtual" {
            words.push(sql_tokens::normalised(sql));
        } else {
            for expression in clauses.checks {
                self.checks.insert(format!("{}: {expression}", table.name));
            }
            for clause in clauses.others {
                self.add(
                    format!("clause of {}: {clause}", table.name),
                    &table.name,
                    "present".to_owned(),
                );
            }
        }
        self.add(format!("table {}", table.name), &table.name, words.join(" "));
    }

    fn add_column(&mut self, column: &ColumnRow, rows: &SchemaRows) {
        let mut words = vec![column.declared_type.to_uppercase()];
        if column.not_null {
            words.push("NOT NULL".to_owned());
        }
        if let Some(default) = &column.default {
            words.push(format!("DEFAULT {}", sql_tokens::normalised(default)));
        }
        if column.primary_key > 0 {
            words.push(format!("PRIMARY KEY {}", column.primary_key));
        }
        if !column.collation.eq_ignore_ascii_case("BINARY") {
            words.push(format!("COLLATE {}", column.collation.to_uppercase()));
        }
        if column.hidden != 0 {
            let clauses = sql_tokens::table_clauses(sql_of(rows, "table", &column.table));
            let name = column.name.to_lowercase();
            let expression = clauses.generated.into_iter().find(|(generated, _)| *generated == name);
            let expression = expression.map(|(_, text)| text).unwrap_or_default();
            let kind = match column.hidden {
                2 => "VIRTUAL",
                3 => "STORED",
                _ => "HIDDEN",
            };
            words.push(format!("AS ( {expression} ) {kind}"));
        }
        words.retain(|word| !word.is_empty());
        let subject = format!("column {}.{}", column.table, column.name);
        self.add(subject, &column.table, words.join(" "));
    }

    fn add_index(&mut self, index: &IndexRow, rows: &SchemaRows) {
        let (expressions, condition) = sql_tokens::index_clauses(sql_of(rows, "index", &index.name));
        let columns: Vec<String> = index
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let expression = || expressions.get(at).cloned().unwrap_or_default();
                let mut text = column.name.clone().unwrap_or_else(expression);
                if column.descending && column.name.is_some() {
                    text.push_str(" DESC");
                }
                if !column.collation.eq_ignore_ascii_case("BINARY") {
                    text.push_str(&format!(" COLLATE {}", column.collation));
                }
                text
            })
            .collect();
        let on = format!("{}({})", index.table, columns.join(", "));
        match index.origin.as_str() {
            "c" => {
                let unique = if index.unique { " UNIQUE" } else { "" };
                let partial = condition.map(|text| format!(" WHERE {text}")).unwrap_or_default();
                self.add(
                    format!("index {}", index.name),
                    &index.table,
                    format!("{on}{unique}{partial}"),
                );
            }
            "pk" => self.add(format!("primary key index on {on}"), &index.table, "UNIQUE".to_owned()),
            _ => self.add(format!("unique constraint on {on}"), &index.table, "UNIQUE".to_owned()),
        }
    }

    fn add_foreign_keys(&mut self, rows: &SchemaRows) {
        let mut keys: BTreeMap<(&str, i64), Vec<&ForeignKeyRow>> = BTreeMap::new();
        for row in rows.foreign_keys.iter().filter(|row| !is_internal(&row.table)) {
            keys.entry((&row.table, row.id)).or_default().push(row);
        }
        for ((table, _), mut columns) in keys {
            columns.sort_by_key(|row| row.position);
            let from: Vec<&str> = columns.iter().map(|row| row.from.as_str()).collect();
            let to: Vec<&str> = columns
                .iter()
                .map(|row| row.to.as_deref().unwrap_or("primary key"))
                .collect();
            let first = columns[0];
            let subject = format!("foreign key {table}({})", from.join(", "));
            let description = format!(
                "→ {}({}) ON DELETE {} ON UPDATE {}",
                first.parent,
                to.join(", "),
                first.on_delete,
                first.on_update
            );
            self.add(subject, table, description);
        }
    }
}

/// All differences: shape, checks, then statements of objects whose shape and checks are equal.
#[must_use]
pub fn differences(expected: &SchemaFacts, observed: &SchemaFacts) -> Vec<SchemaDifference> {
    let mut found = shape_differences(expected, observed);
    found.extend(check_differences(expected, observed));
    if found.is_empty() {
        found = text_differences(expected, observed);
    }
    found
}

/// Differences of the shape; of a table that is missing as a whole only the table is named.
#[must_use]
pub fn shape_differences(expected: &SchemaFacts, observed: &SchemaFacts) -> Vec<SchemaDifference> {
    let subjects: BTreeSet<&String> = expected.shape.keys().chain(observed.shape.keys()).collect();
    let mut found = Vec::new();
    for subject in subjects {
        let (was, is) = (expected.shape.get(subject), observed.shape.get(subject));
        if was == is {
            continue;
        }
        let Some(table) = was.or(is).map(|element| element.table.as_str()) else {
            continue;
        };
        let whole = format!("table {table}");
        let only_in_one = expected.shape.contains_key(&whole) != observed.shape.contains_key(&whole);
        if only_in_one && *subject != whole && !subject.starts_with("view ") {
            continue;
        }
        let named = match subject.split_once(' ') {
            Some(("index" | "trigger", _)) => format!("{subject} on {table}"),
            _ => subject.clone(),
        };
        found.push(difference(
            named,
            was.map(|element| element.description.as_str()),
            is.map(|element| element.description.as_str()),
        ));
    }
    found
}

/// Differences of the CHECK expressions of tables that are on both sides.
#[must_use]
pub fn check_differences(expected: &SchemaFacts, observed: &SchemaFacts) -> Vec<SchemaDifference> {
    let word = |facts: &SchemaFacts, check: &String| facts.checks.contains(check).then_some("present");
    expected
        .checks
        .symmetric_difference(&observed.checks)
        .filter_map(|check| {
            check
                .split_once(": ")
                .map(|(table, expression)| (check, table, expression))
        })
        .filter(|(_, table, _)| {
            let whole = format!("table {table}");
            expected.shape.contains_key(&whole) == observed.shape.contains_key(&whole)
        })
        .map(|(check, table, expression)| {
            let subject = format!("CHECK ( {expression} ) of {table}");
            difference(subject, word(expected, check), word(observed, check))
        })
        .collect()
}

/// Differences of the statements as they stand.
#[must_use]
pub fn text_differences(expected: &SchemaFacts, observed: &SchemaFacts) -> Vec<SchemaDifference> {
    let subjects: BTreeSet<&String> = expected.text.keys().chain(observed.text.keys()).collect();
    subjects
        .into_iter()
        .filter(|subject| expected.text.get(*subject) != observed.text.get(*subject))
        .map(|subject| {
            difference(
                format!("text of {subject}"),
                expected.text.get(subject).map(String::as_str),
                observed.text.get(subject).map(String::as_str),
            )
        })
        .collect()
}

fn difference(subject: String, expected: Option<&str>, observed: Option<&str>) -> SchemaDifference {
    SchemaDifference {
        subject,
        expected: expected.unwrap_or(ABSENT).to_owned(),
        observed: observed.unwrap_or(ABSENT).to_owned(),
    }
}

fn sql_of<'a>(rows: &'a SchemaRows, kind: &str, name: &str) -> &'a str {
    rows.objects
        .iter()
        .find(|object| object.kind == kind && object.name == name)
        .and_then(|object| object.sql.as_deref())
        .unwrap_or_default()
}

fn is_internal(name: &str) -> bool {
    name.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("sqlite_"))
}

fn fingerprint(lines: impl Iterator<Item = String>) -> String {
    let mut hash = Sha256::new();
    for line in lines {
        hash.update((line.len() as u64).to_le_bytes());
        hash.update(line.as_bytes());
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
