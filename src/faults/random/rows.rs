//! Whole rows lost or doubled, and indexes lost.

use crate::faults::random::ground::{Column, Ground, Table};
use crate::faults::random::{Change, statements};
use crate::snapshot::database::quoted;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A row lost, or a row twice.
pub(super) fn row(ground: &Ground, random: &mut ChaCha8Rng) -> Change {
    if random.random_bool(0.6) {
        lost(ground, random)
    } else {
        twice(ground, random)
    }
}

/// A random row lost.
pub(super) fn lost(ground: &Ground, random: &mut ChaCha8Rng) -> Change {
    let table = ground.table(random);
    without(table, table.row(random).0, "lost")
}

/// The last row of a random table lost.
pub(super) fn last_lost(ground: &Ground, random: &mut ChaCha8Rng) -> Change {
    let table = ground.table(random);
    let last = table.rows.last().map_or(0, |(rowid, _)| *rowid);
    without(table, last, "lost, the last one")
}

fn without(table: &Table, rowid: i64, how: &str) -> Change {
    let what = format!("row {rowid} of {} {how}", table.name);
    let list = vec![format!("DELETE FROM {} WHERE rowid = {rowid}", quoted(&table.name))];
    statements(table.service, what, list)
}

/// The row a second time, its keys made new: text gains a letter, numbers grow.
fn twice(ground: &Ground, random: &mut ChaCha8Rng) -> Change {
    let table = ground.table(random);
    let rowid = table.row(random).0;
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let value = |column: &Column| {
        let name = quoted(&column.name);
        if column.is_key {
            format!("CASE typeof({name}) WHEN 'text' THEN {name} || 'x' ELSE {name} + 1000003 END")
        } else {
            name
        }
    };
    let values: Vec<String> = table.columns.iter().map(value).collect();
    let (of, names, values) = (quoted(&table.name), names.join(", "), values.join(", "));
    let list = vec![
        "PRAGMA ignore_check_constraints=ON".to_owned(),
        format!("INSERT INTO {of} ({names}) SELECT {values} FROM {of} WHERE rowid = {rowid}"),
    ];
    statements(
        table.service,
        format!("row {rowid} of {} a second time", table.name),
        list,
    )
}

/// An index lost; `None` where there is none.
pub(super) fn index_lost(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let last = ground.indexes.len().checked_sub(1)?;
    let (service, name) = &ground.indexes[random.random_range(0..=last)];
    let list = vec![format!("DROP INDEX {}", quoted(name))];
    Some(statements(*service, format!("index {name} lost"), list))
}
