//! What keeps a nonce from being used twice, and its trace findable: indexes that no schema change may lose unnoticed.

use crate::deployment::schema::{IndexRow, Schema};
use crate::deployment::schema_change::{Class, SchemaChange};
use crate::deployment::schema_renames::Renamed;
use crate::deployment::sql_tokens;

/// The column of all guards.
const NONCE: &str = "nonce";

/// The guards against repeated nonces: table, whether the index must be unique, its name, what is lost with it.
const NONCE_GUARDS: [(&str, bool, &str, &str); 3] = [
    (
        "beam_messages",
        true,
        "the bus nonce",
        "nothing in the database keeps one message from being stored twice",
    ),
    (
        "intent_log",
        true,
        "the unique nonce of intent_log",
        "nothing in the database keeps one intent from being logged twice",
    ),
    (
        "intent_trace_events",
        false,
        "the intent trace nonce index",
        "the trace of a nonce is found only by reading the whole table",
    ),
];

/// Whether the schema guards a table's nonces: by an index that begins with them, or that is unique and of them alone.
/// Some rows only, another collation, or a constraint that gives way to a repeat are no guard.
fn guards(schema: &Schema, table: &str, column: &str, unique: bool) -> bool {
    gives_way(schema, table, column).is_none()
        && of(schema, table, column).any(|index| {
            let fits = !unique || (index.unique && index.columns.len() == 1);
            fits && condition(schema, index).is_none() && is_binary(index)
        })
}

/// The indexes of a table that begin with a column.
fn of<'a>(schema: &'a Schema, table: &'a str, column: &'a str) -> impl Iterator<Item = &'a IndexRow> {
    let first = move |index: &&IndexRow| {
        let first = index.columns.first().and_then(|first| first.name.as_deref());
        index.table == table && first == Some(column)
    };
    schema.rows.indexes.iter().filter(first)
}

fn is_binary(index: &IndexRow) -> bool {
    let mut first = index.columns.iter().take(1);
    first.all(|column| column.collation.eq_ignore_ascii_case("BINARY"))
}

/// The condition of a partial index.
fn condition<'a>(schema: &'a Schema, index: &IndexRow) -> Option<&'a str> {
    let element = schema.facts.shape.get(&format!("index {}", index.name))?;
    element.description.split_once(" WHERE ").map(|(_, text)| text)
}

/// What a UNIQUE constraint does instead of refusing a repeat: `replace` or `ignore`.
fn gives_way<'a>(schema: &'a Schema, table: &str, column: &str) -> Option<&'a str> {
    let start = format!("clause of {table}: ");
    schema.facts.shape.keys().find_map(|key| {
        let words: Vec<&str> = key.strip_prefix(&start)?.split(' ').collect();
        let speaks = words.contains(&"unique") && words.contains(&column.to_lowercase().as_str());
        let action = *words.last()?;
        let gives_way = words.contains(&"conflict") && (action == "replace" || action == "ignore");
        (speaks && gives_way).then_some(action)
    })
}

/// What became of a guard, in words.
fn became(schema: &Schema, table: &str, column: &str, unique: bool) -> String {
    if let Some(action) = gives_way(schema, table, column) {
        return format!("ON CONFLICT {} lets a repeat pass", action.to_uppercase());
    }
    let all: Vec<&IndexRow> = of(schema, table, column).collect();
    let single = |index: &&&IndexRow| !unique || (index.unique && index.columns.len() == 1);
    if let Some(index) = all.iter().find(single) {
        return match condition(schema, index) {
            Some(condition) => format!(
                "its index is of some rows only, WHERE {}",
                sql_tokens::readable(condition)
            ),
            None => format!(
                "its index compares by {}, so that different nonces count as one",
                index.columns[0].collation
            ),
        };
    }
    if let Some(index) = all.iter().find(|index| index.unique) {
        let others = index.columns[1..].iter();
        let others: Vec<&str> = others
            .map(|column| column.name.as_deref().unwrap_or("an expression"))
            .collect();
        return format!("it is unique only together with {}", others.join(", "));
    }
    match all.first() {
        Some(_) if unique => "its index is not UNIQUE".to_owned(),
        _ => "no index of it is left".to_owned(),
    }
}

/// Says of the change by which a guard is lost what is lost with it. A guard of what was renamed is looked for under the
/// new name.
pub(crate) fn name_lost(locked: &Schema, observed: &Schema, renamed: &Renamed, found: &mut [SchemaChange]) {
    for (table, unique, name, consequence) in NONCE_GUARDS {
        let now = renamed.observed_table(table);
        let column = renamed.observed_column(now, NONCE);
        if !guards(locked, table, NONCE, unique) || guards(observed, now, column, unique) {
            continue;
        }
        // The index itself says it best, then whatever else speaks of the nonce.
        let fit = |change: &SchemaChange| {
            let text = format!("{} {}", change.subject, change.what);
            let speaks = text.contains(NONCE) || text.contains(column);
            let kind = change.subject.split(' ').next().unwrap_or_default();
            match kind {
                _ if change.table != table && change.table != now => None,
                _ if change.class != Class::Breaking => None,
                "index" | "unique" | "primary" if speaks && !change.what.starts_with("added") => Some(0),
                "clause" if speaks => Some(1),
                "column" if speaks => Some(2),
                "table" => Some(3),
                _ => Some(4),
            }
        };
        let best = found.iter_mut().filter(|change| fit(change).is_some());
        if let Some(change) = best.min_by_key(|change| fit(change)) {
            let became = became(observed, now, column, unique);
            change.nonce_guard_lost = Some(format!("{name}: {became}; {consequence}"));
        }
    }
}
