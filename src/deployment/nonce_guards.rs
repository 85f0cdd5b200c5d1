//! What keeps a nonce from being used twice, and its trace findable: indexes that no schema change may lose unnoticed.

use crate::deployment::schema::Schema;
use crate::deployment::schema_change::{Class, SchemaChange};

/// The guards against repeated nonces: table, whether the index must be unique, what is lost with it.
const NONCE_GUARDS: [(&str, bool, &str); 3] = [
    (
        "beam_messages",
        true,
        "the bus nonce: nothing in the database keeps one message from being stored twice",
    ),
    (
        "intent_log",
        true,
        "the unique nonce of intent_log: nothing in the database keeps one intent from being logged twice",
    ),
    (
        "intent_trace_events",
        false,
        "the intent trace nonce index: the trace of a nonce is found only by reading the whole table",
    ),
];

/// Whether the schema guards a table's nonces: by an index that begins with them, or that is unique and of them alone.
fn guards(schema: &Schema, table: &str, unique: bool) -> bool {
    schema.rows.indexes.iter().any(|index| {
        let names: Vec<&str> = index
            .columns
            .iter()
            .filter_map(|column| column.name.as_deref())
            .collect();
        let key = format!("index {}", index.name);
        let element = schema.facts.shape.get(&key);
        let is_partial = element.is_some_and(|element| element.description.contains(" WHERE "));
        let fits = if unique {
            index.unique && names == ["nonce"]
        } else {
            names.first() == Some(&"nonce")
        };
        index.table == table && fits && !is_partial
    })
}

/// Says of the change by which a guard is lost what is lost with it.
pub(crate) fn name_lost(locked: &Schema, observed: &Schema, found: &mut [SchemaChange]) {
    for (table, unique, name) in NONCE_GUARDS {
        if !guards(locked, table, unique) || guards(observed, table, unique) {
            continue;
        }
        let speaks = |change: &&mut SchemaChange| {
            let is_index = change.what.contains("nonce") || change.subject.contains("nonce");
            change.table == table
                && change.class == Class::Breaking
                && (is_index || change.subject.starts_with("table "))
        };
        if let Some(change) = found.iter_mut().find(speaks) {
            change.nonce_guard_lost = Some(name.to_owned());
        }
    }
}
