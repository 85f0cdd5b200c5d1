//! A schema written as SQL that people read as a diff: one object after the other, in an order of its own.
//!
//! Pure text from rows. Tables, columns and constraints come from what SQLite tells, so that two services that write the
//! same schema differently give the same text; only triggers, views and what pragmas do not tell keep their statement.

use crate::deployment::schema::{ColumnRow, ForeignKeyRow, IndexRow, ObjectRow, SchemaRows, TableRow};
use crate::deployment::sql_tokens::{self, TableClauses, identifier, readable};
use std::collections::BTreeMap;

/// The schema as SQL: each table with its indexes and triggers, then views, all sorted by name. Columns stand as in
/// `order` where they are there too, further ones in their own order behind them.
#[must_use]
pub fn written(rows: &SchemaRows, order: &SchemaRows) -> String {
    let mut parts = Vec::new();
    let mut tables: Vec<&TableRow> = rows.tables.iter().filter(|table| !is_internal(&table.name)).collect();
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    for table in tables {
        let mut part = vec![table_sql(table, rows, order)];
        let mut indexes: Vec<&IndexRow> = rows
            .indexes
            .iter()
            .filter(|index| index.table == table.name && index.origin == "c")
            .collect();
        indexes.sort_by(|one, other| one.name.cmp(&other.name));
        part.extend(indexes.into_iter().map(|index| index_sql(index, rows)));
        part.extend(
            objects(rows, "trigger")
                .filter(|one| one.table == table.name)
                .map(as_written),
        );
        parts.push(part.join("\n"));
    }
    let of_views = |one: &&ObjectRow| !rows.tables.iter().any(|table| table.name == one.table);
    parts.extend(objects(rows, "view").map(as_written));
    parts.extend(objects(rows, "trigger").filter(of_views).map(as_written));
    let mut text = parts.join("\n\n");
    text.push('\n');
    text
}

/// The line, from 1, of a written schema that speaks of an object: of the column or index named, else of the table; 1
/// where it has neither.
#[must_use]
pub fn line_of(text: &str, table: &str, name: Option<&str>) -> usize {
    let head = format!("CREATE TABLE {} ", identifier(table));
    let of_view = format!("CREATE VIEW {} ", identifier(table));
    let of_table = text
        .lines()
        .position(|line| line.starts_with(&head) || line.starts_with(&of_view));
    let Some(name) = name else {
        return of_table.map_or(1, |at| at + 1);
    };
    let named = identifier(name);
    let column = format!("  {named} ");
    let of_column = of_table.and_then(|from| {
        let mut lines = text.lines().enumerate().skip(from + 1);
        let found = lines.by_ref().take_while(|(_, line)| *line != ");" && !line.is_empty());
        found
            .into_iter()
            .find(|(_, line)| line.starts_with(&column))
            .map(|(at, _)| at)
    });
    let of_object = || {
        text.lines().position(|line| {
            line.starts_with("CREATE ")
                && [" INDEX ", " TRIGGER ", " VIEW "]
                    .iter()
                    .any(|kind| line.contains(&format!("{kind}{named} ")))
        })
    };
    of_column.or_else(of_object).or(of_table).map_or(1, |at| at + 1)
}

fn objects<'a>(rows: &'a SchemaRows, kind: &'a str) -> impl Iterator<Item = &'a ObjectRow> {
    let mut all: Vec<&ObjectRow> = rows.objects.iter().filter(|object| object.kind == kind).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all.into_iter()
}

fn as_written(object: &ObjectRow) -> String {
    format!("{};", readable(object.sql.as_deref().unwrap_or_default()))
}

fn table_sql(table: &TableRow, rows: &SchemaRows, order: &SchemaRows) -> String {
    let statement = rows
        .objects
        .iter()
        .find(|object| object.kind == "table" && object.name == table.name);
    let sql = statement.and_then(|object| object.sql.as_deref()).unwrap_or_default();
    let clauses = sql_tokens::table_clauses(sql);
    // Conflict clauses and deferral are known by the definition that they stand in: it stays as it is.
    if table.kind == "virtual" || !clauses.others.is_empty() {
        return format!("{};", readable(sql));
    }
    let mut lines = Vec::new();
    let mut checks = clauses.checks.clone();
    let columns = columns_of(rows, &table.name);
    for column in ordered(columns.clone(), order) {
        lines.push(column_sql(column, &columns, &clauses, &mut checks));
    }
    let mut key: Vec<&ColumnRow> = columns
        .iter()
        .copied()
        .filter(|column| column.primary_key > 0)
        .collect();
    key.sort_by_key(|column| column.primary_key);
    if key.len() > 1 {
        let key: Vec<String> = key.iter().map(|column| identifier(&column.name)).collect();
        lines.push(format!("PRIMARY KEY ({})", key.join(", ")));
    }
    let mut unique: Vec<String> = rows
        .indexes
        .iter()
        .filter(|index| index.table == table.name && index.origin == "u")
        .map(|index| format!("UNIQUE ({})", index_columns(index, &[])))
        .collect();
    unique.sort();
    lines.extend(unique);
    lines.extend(foreign_keys(rows, &table.name));
    checks.sort();
    lines.extend(checks.iter().map(|check| format!("CHECK ({})", readable(check))));
    let flags = [(table.without_rowid, "WITHOUT ROWID"), (table.strict, "STRICT")];
    let flags: Vec<&str> = flags
        .iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, word)| *word)
        .collect();
    let end = if flags.is_empty() {
        ");".to_owned()
    } else {
        format!(") {};", flags.join(", "))
    };
    format!(
        "CREATE TABLE {} (\n  {}\n{end}",
        identifier(&table.name),
        lines.join(",\n  ")
    )
}

/// The columns of a table in their own order.
pub(crate) fn columns_of<'a>(rows: &'a SchemaRows, table: &str) -> Vec<&'a ColumnRow> {
    rows.columns.iter().filter(|column| column.table == table).collect()
}

fn ordered<'a>(columns: Vec<&'a ColumnRow>, order: &SchemaRows) -> Vec<&'a ColumnRow> {
    let known = columns
        .first()
        .map(|first| columns_of(order, &first.table))
        .unwrap_or_default();
    let place = |column: &ColumnRow| {
        known
            .iter()
            .position(|one| one.name == column.name)
            .unwrap_or(usize::MAX)
    };
    let mut columns = columns;
    columns.sort_by_key(|column| place(column));
    columns
}

/// One column as a lock has it: name and definition.
#[must_use]
pub fn written_column(rows: &SchemaRows, column: &ColumnRow) -> String {
    let mut objects = rows.objects.iter();
    let statement = objects.find(|object| object.kind == "table" && object.name == column.table);
    let sql = statement.and_then(|object| object.sql.as_deref()).unwrap_or_default();
    let clauses = sql_tokens::table_clauses(sql);
    let mut checks = clauses.checks.clone();
    column_sql(column, &columns_of(rows, &column.table), &clauses, &mut checks)
}

/// The same without its name.
pub(crate) fn definition(rows: &SchemaRows, column: &ColumnRow) -> String {
    let text = written_column(rows, column);
    let definition = text.strip_prefix(&identifier(&column.name)).unwrap_or(&text).trim();
    if definition.is_empty() { "no type" } else { definition }.to_owned()
}

fn column_sql(column: &ColumnRow, all: &[&ColumnRow], clauses: &TableClauses, checks: &mut Vec<String>) -> String {
    let mut words = vec![identifier(&column.name)];
    if !column.declared_type.is_empty() {
        words.push(column.declared_type.to_uppercase());
    }
    if column.primary_key > 0 && all.iter().filter(|one| one.primary_key > 0).count() == 1 {
        words.push("PRIMARY KEY".to_owned());
        if clauses.autoincrement {
            words.push("AUTOINCREMENT".to_owned());
        }
    }
    if column.not_null {
        words.push("NOT NULL".to_owned());
    }
    if !column.collation.eq_ignore_ascii_case("BINARY") {
        words.push(format!("COLLATE {}", identifier(&column.collation)));
    }
    if column.hidden > 1 {
        let name = column.name.to_lowercase();
        let generated = clauses.generated.iter().find(|(generated, _)| *generated == name);
        let expression = generated.map(|(_, text)| readable(text)).unwrap_or_default();
        let kind = if column.hidden == 3 { "STORED" } else { "VIRTUAL" };
        words.push(format!("AS ({expression}) {kind}"));
    } else if let Some(default) = &column.default {
        words.push(format!("DEFAULT {}", default_sql(default)));
    }
    // A CHECK stands with the column that it begins with, whether it was written there or below.
    let own = |check: &String| {
        let first = check.split(' ').next().unwrap_or_default();
        first.trim_matches('"') == column.name.to_lowercase()
    };
    words.extend(
        checks
            .iter()
            .filter(|check| own(check))
            .map(|check| format!("CHECK ({})", readable(check))),
    );
    checks.retain(|check| !own(check));
    words.join(" ")
}

/// Whether a default is one value, which `ALTER TABLE` takes, and no expression.
pub(crate) fn is_constant(default: &str) -> bool {
    let text = default.trim();
    let unsigned = text.trim_start_matches(['-', '+', ' ']);
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.char_indices().all(|(at, c)| {
            let is_exponent = unsigned[..at].ends_with(['e', 'E']) && !unsigned.starts_with("0x");
            c.is_ascii_alphanumeric() || c == '.' || c == '_' || ((c == '-' || c == '+') && is_exponent)
        });
    let quoted = |text: &str, quote: char| {
        let inside = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        inside.is_some_and(|inside| !inside.replace(&format!("{quote}{quote}"), "").contains(quote))
    };
    let is_blob = text
        .strip_prefix(['x', 'X'])
        .is_some_and(|rest| rest.starts_with('\'') && quoted(rest, '\''));
    // SQLite takes a name in the place of a default for a text.
    let is_word = text.chars().all(|c| c.is_alphanumeric() || c == '_') && !is_time(text);
    !text.is_empty() && (is_number || quoted(text, '\'') || quoted(text, '"') || is_blob || is_word)
}

/// Whether a default is the time of the write.
fn is_time(default: &str) -> bool {
    ["current_time", "current_date", "current_timestamp"].contains(&default.to_lowercase().as_str())
}

fn default_sql(default: &str) -> String {
    if is_constant(default) || is_time(default) {
        default.to_owned()
    } else {
        format!("({})", readable(default))
    }
}

fn foreign_keys(rows: &SchemaRows, table: &str) -> Vec<String> {
    let mut keys: BTreeMap<i64, Vec<&ForeignKeyRow>> = BTreeMap::new();
    for row in rows.foreign_keys.iter().filter(|row| row.table == table) {
        keys.entry(row.id).or_default().push(row);
    }
    let mut lines: Vec<String> = keys
        .into_values()
        .map(|mut columns| {
            columns.sort_by_key(|row| row.position);
            let from: Vec<String> = columns.iter().map(|row| identifier(&row.from)).collect();
            let to: Vec<String> = columns
                .iter()
                .filter_map(|row| row.to.as_deref().map(identifier))
                .collect();
            let to = if to.is_empty() {
                String::new()
            } else {
                format!(" ({})", to.join(", "))
            };
            let first = columns[0];
            let mut line = format!(
                "FOREIGN KEY ({}) REFERENCES {}{to}",
                from.join(", "),
                identifier(&first.parent)
            );
            for (event, action) in [("DELETE", &first.on_delete), ("UPDATE", &first.on_update)] {
                if action != "NO ACTION" {
                    line.push_str(&format!(" ON {event} {action}"));
                }
            }
            line
        })
        .collect();
    lines.sort();
    lines
}

fn index_sql(index: &IndexRow, rows: &SchemaRows) -> String {
    let statement = rows
        .objects
        .iter()
        .find(|object| object.kind == "index" && object.name == index.name);
    let sql = statement.and_then(|object| object.sql.as_deref()).unwrap_or_default();
    let (expressions, condition) = sql_tokens::index_clauses(sql);
    let unique = if index.unique { "UNIQUE " } else { "" };
    let condition = condition
        .map(|text| format!(" WHERE {}", readable(&text)))
        .unwrap_or_default();
    format!(
        "CREATE {unique}INDEX {} ON {} ({}){condition};",
        identifier(&index.name),
        identifier(&index.table),
        index_columns(index, &expressions)
    )
}

fn index_columns(index: &IndexRow, expressions: &[String]) -> String {
    let columns: Vec<String> = index
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let Some(name) = &column.name else {
                return expressions.get(at).map(|text| readable(text)).unwrap_or_default();
            };
            let mut text = identifier(name);
            if !column.collation.eq_ignore_ascii_case("BINARY") {
                text.push_str(&format!(" COLLATE {}", identifier(&column.collation)));
            }
            if column.descending {
                text.push_str(" DESC");
            }
            text
        })
        .collect();
    columns.join(", ")
}

fn is_internal(name: &str) -> bool {
    name.get(..7).is_some_and(|head| head.eq_ignore_ascii_case("sqlite_"))
}
