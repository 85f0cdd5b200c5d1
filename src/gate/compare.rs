//! What an observed schema changes of the locked one: classified changes, and the unified diff of both as SQL.

use crate::deployment::Service;
use crate::deployment::schema::Schema;
use crate::deployment::schema_change::{Class, SchemaChange, with_observed_names};
use crate::deployment::schema_sql;
use crate::gate::changes::changes;
use crate::gate::lock::{self, Lock};
use serde::Serialize;
use similar::TextDiff;

/// One service's schema against its lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Whose.
    pub service: Service,
    /// The lock's file.
    pub lock: String,
    /// Where the observed schema comes from, in words.
    pub origin: String,
    /// How many elements of shape and checks were compared.
    pub items: u64,
    /// Whether the lock is the one that was accepted last; otherwise somebody edited it.
    pub lock_is_accepted: bool,
    /// The changes, breaking ones first.
    pub changes: Vec<SchemaChange>,
    /// The line of the lock that each change is about, from 1.
    pub lines: Vec<u64>,
    /// The unified diff; empty without a change.
    pub diff: String,
}

impl Comparison {
    /// Whether anything has to be accepted first.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty() || !self.lock_is_accepted
    }

    /// How many changes are of a class.
    #[must_use]
    pub fn count(&self, class: Class) -> usize {
        self.changes.iter().filter(|change| change.class == class).count()
    }
}

/// Compares. `shown` is the lock's path as messages have it, `origin` where the observed schema comes from.
#[must_use]
pub fn compare(lock: &Lock, shown: &str, observed: &Schema, origin: &str) -> Comparison {
    let changes = changes(&lock.schema, observed);
    let text = lock::text(lock.service, &lock.schema, &lock.schema);
    let diff = if changes.is_empty() {
        String::new()
    } else {
        let order = with_observed_names(&lock.schema, observed);
        let other = lock::text(lock.service, observed, &order);
        let diff = TextDiff::from_lines(&text, &other);
        let (one, two) = (format!("{shown} (locked)"), format!("{} ({origin})", lock.service));
        diff.unified_diff().context_radius(3).header(&one, &two).to_string()
    };
    let line = |change: &SchemaChange| {
        let table = change.locked_table.as_deref().unwrap_or(&change.table);
        schema_sql::line_of(&lock.text, table, change.locked_name.as_deref()) as u64
    };
    let facts = &lock.schema.facts;
    Comparison {
        service: lock.service,
        lock: shown.to_owned(),
        origin: origin.to_owned(),
        items: (facts.shape.len() + facts.checks.len()) as u64,
        lock_is_accepted: lock.is_accepted,
        lines: changes.iter().map(line).collect(),
        changes,
        diff,
    }
}
