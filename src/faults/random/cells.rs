//! Values of cells: changes as no writer makes them, and changes that a faulty tool leaves behind.
//!
//! A value that SQLite would store as it was, or refuse, is never chosen.

use crate::faults::random::ground::{Affinity, Column, Ground, Table};
use crate::faults::random::{Change, literal, rows, statements};
use crate::snapshot::database::{Cell, quoted};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;

/// Columns that are looked at before an operation counts as not applicable.
const MOST_COLUMNS: usize = 200;
/// Integers from here on are times in milliseconds since 1970.
const FIRST_MILLISECONDS: i64 = 1_000_000_000_000;
/// Numbers from here on are times in seconds since 1970.
const FIRST_SECONDS: f64 = 1_000_000_000.0;

/// What may be done to one cell.
#[derive(Debug, Clone, Copy)]
enum Operation {
    StorageClass,
    OneMore,
    OneLess,
    Case,
    Exchange,
    Null,
    Character,
    OtherRow,
    SevenMilliseconds,
    ThreeSeconds,
}

/// One cell as no writer would leave it.
pub(super) fn one_cell(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let operation = match random.random_range(0..100) {
        0..24 => Operation::StorageClass,
        24..38 => Operation::OneMore,
        38..48 => Operation::OneLess,
        48..65 => Operation::Case,
        65..80 => Operation::Exchange,
        80..88 => Operation::Null,
        _ => Operation::Character,
    };
    applied(operation, ground, random)
}

/// One cell, or one row, as a faulty tool leaves it.
pub(super) fn plausible(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let operation = match random.random_range(0..100) {
        0..32 => Operation::OtherRow,
        32..58 => Operation::Character,
        58..68 => Operation::SevenMilliseconds,
        68..77 => Operation::ThreeSeconds,
        77..87 => Operation::OneLess,
        87..94 => return Some(rows::lost(ground, random)),
        _ => return Some(rows::last_lost(ground, random)),
    };
    applied(operation, ground, random)
}

/// The operation on the first random column that it applies to.
fn applied(operation: Operation, ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    (0..MOST_COLUMNS).find_map(|_| {
        let (table, at) = ground.column(random);
        let (rowid, cells) = table.row(random);
        let column = &table.columns[at];
        if matches!(operation, Operation::Exchange | Operation::OtherRow) {
            let (other_rowid, others) = table.row(random);
            let (one, two) = (&cells[at], &others[at]);
            // A key stands once: it cannot be had twice, not even for a moment.
            if column.is_key || one == two {
                return None;
            }
            let mut list = vec![update(table, column, *rowid, two)];
            let mut what = format!("of row {other_rowid}");
            if matches!(operation, Operation::Exchange) {
                list.push(update(table, column, *other_rowid, one));
                what = format!("exchanged with row {other_rowid}");
            }
            return Some(change(table, column, *rowid, &what, list));
        }
        let (how, value) = other(operation, &cells[at], random)?;
        is_stored(table, at, &cells[at], &value)
            .then(|| change(table, column, *rowid, how, vec![update(table, column, *rowid, &value)]))
    })
}

fn change(table: &Table, column: &Column, rowid: i64, how: &str, list: Vec<String>) -> Change {
    let what = format!("cell {}.{} of row {rowid}: {how}", table.name, column.name);
    let mut all = vec!["PRAGMA ignore_check_constraints=ON".to_owned()];
    all.extend(list);
    statements(table.service, what, all)
}

fn update(table: &Table, column: &Column, rowid: i64, value: &Cell) -> String {
    format!(
        "UPDATE {} SET {} = {} WHERE rowid = {rowid}",
        quoted(&table.name),
        quoted(&column.name),
        literal(value)
    )
}

/// Whether SQLite takes the value as it is, and it is another than before.
fn is_stored(table: &Table, at: usize, before: &Cell, value: &Cell) -> bool {
    let column = &table.columns[at];
    if before == value || (*value == Cell::Null && !column.may_be_null) {
        return false;
    }
    if column.is_rowid && !matches!(value, Cell::Integer(_)) {
        return false;
    }
    if column.is_key && table.rows.iter().any(|(_, cells)| cells[at] == *value) {
        return false;
    }
    let looks_like_number = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        text.trim().parse::<f64>().is_ok()
    };
    match (column.affinity, value) {
        (Affinity::Text, Cell::Integer(_) | Cell::Real(_)) => false,
        (Affinity::Integer | Affinity::Numeric, Cell::Real(number)) => number.fract() != 0.0,
        (Affinity::Real, Cell::Integer(_)) => false,
        (Affinity::Integer | Affinity::Numeric | Affinity::Real, Cell::Text(bytes)) => !looks_like_number(bytes),
        _ => true,
    }
}

/// Another value than a cell's, and what is other about it; `None` where the operation does not apply.
fn other(operation: Operation, cell: &Cell, random: &mut ChaCha8Rng) -> Option<(&'static str, Cell)> {
    Some(match operation {
        Operation::StorageClass => ("another storage class", reclassed(cell)?),
        Operation::OneMore => ("one more", more(cell)?),
        Operation::OneLess => ("one less", less(cell)?),
        Operation::Case => ("the other case", Cell::Text(other_case(cell.text()?).into_bytes())),
        Operation::Null if *cell == Cell::Null => {
            let filled = if random.random_bool(0.5) { "" } else { "x" };
            ("filled", Cell::Text(filled.as_bytes().to_vec()))
        }
        Operation::Null => ("NULL", Cell::Null),
        Operation::Character => (
            "another character",
            Cell::Text(one_character(cell.text()?, random)?.into_bytes()),
        ),
        Operation::SevenMilliseconds => ("7 ms later", moved(cell, 7)?),
        Operation::ThreeSeconds => ("3 s earlier", moved(cell, -3_000)?),
        Operation::Exchange | Operation::OtherRow => return None,
    })
}

fn reclassed(cell: &Cell) -> Option<Cell> {
    match cell {
        Cell::Null => None,
        Cell::Integer(number) => Some(Cell::Blob(number.to_string().into_bytes())),
        Cell::Real(number) => Some(Cell::Blob(format!("{number:?}").into_bytes())),
        Cell::Text(bytes) => Some(Cell::Blob(bytes.clone())),
        Cell::Blob(bytes) => std::str::from_utf8(bytes).ok().map(|_| Cell::Text(bytes.clone())),
    }
}

fn more(cell: &Cell) -> Option<Cell> {
    match cell {
        Cell::Null => None,
        Cell::Integer(number) => number.checked_add(1).map(Cell::Integer),
        Cell::Real(number) => Some(Cell::Real(number + 1.0)),
        Cell::Text(bytes) => Some(Cell::Text([bytes.as_slice(), b"x"].concat())),
        Cell::Blob(bytes) => Some(Cell::Blob([bytes.as_slice(), b"x"].concat())),
    }
}

fn less(cell: &Cell) -> Option<Cell> {
    match cell {
        Cell::Integer(number) => number.checked_sub(1).map(Cell::Integer),
        Cell::Real(number) => Some(Cell::Real(number - 1.0)),
        Cell::Null | Cell::Text(_) | Cell::Blob(_) => None,
    }
}

fn other_case(text: &str) -> String {
    let swapped = text.chars().map(|letter| {
        if letter.is_ascii_lowercase() {
            letter.to_ascii_uppercase()
        } else {
            letter.to_ascii_lowercase()
        }
    });
    swapped.collect()
}

fn one_character(text: &str, random: &mut ChaCha8Rng) -> Option<String> {
    let mut letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return None;
    }
    let at = random.random_range(0..letters.len());
    letters[at] = neighbour(letters[at]);
    Some(letters.into_iter().collect())
}

/// A letter of the same kind.
fn neighbour(letter: char) -> char {
    match letter {
        '0'..='8' | 'a'..='y' | 'A'..='Y' => char::from(letter as u8 + 1),
        '9' => '0',
        'z' => 'a',
        'Z' => 'A',
        '_' => '-',
        _ => '_',
    }
}

/// A time moved by milliseconds; `None` for what is no time.
fn moved(cell: &Cell, by_ms: i64) -> Option<Cell> {
    match cell {
        Cell::Integer(number) if *number >= FIRST_MILLISECONDS => Some(Cell::Integer(number + by_ms)),
        Cell::Real(number) if *number >= FIRST_SECONDS => {
            let milliseconds = (number * 1_000.0).round() + by_ms as f64;
            Some(Cell::Real(milliseconds / 1_000.0))
        }
        Cell::Text(bytes) => {
            let text = std::str::from_utf8(bytes).ok().filter(|text| text.ends_with('Z'))?;
            let time: jiff::Timestamp = text.parse().ok()?;
            let step = Duration::from_millis(by_ms.unsigned_abs());
            let moved = if by_ms < 0 {
                time.checked_sub(step)
            } else {
                time.checked_add(step)
            };
            let moved = moved.ok()?.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
            Some(Cell::Text(moved.into_bytes()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Cell {
        Cell::Text(text.as_bytes().to_vec())
    }

    #[test]
    fn times_of_all_forms_are_moved_and_nothing_else_is() {
        let moved = |cell: Cell| moved(&cell, 7);
        assert_eq!(
            moved(text("2026-11-24T00:00:00.995Z")),
            Some(text("2026-11-24T00:00:01.002Z"))
        );
        assert_eq!(
            moved(Cell::Integer(1_790_000_000_001)),
            Some(Cell::Integer(1_790_000_000_008))
        );
        assert_eq!(
            moved(Cell::Real(1_790_000_000.001)),
            Some(Cell::Real(1_790_000_000.008))
        );
        for other in [text("Z"), text("2026"), Cell::Integer(40), Cell::Real(0.5), Cell::Null] {
            assert_eq!(moved(other), None);
        }
    }

    #[test]
    fn a_value_that_sqlite_would_store_as_before_is_not_chosen() {
        let table = |affinity: Affinity, rows: Vec<Cell>| Table {
            service: crate::deployment::Service::Bus,
            name: "t".to_owned(),
            columns: vec![Column {
                name: "c".to_owned(),
                may_be_null: false,
                is_key: true,
                is_rowid: false,
                affinity,
            }],
            rows: rows.into_iter().map(|cell| (1, vec![cell])).collect(),
        };
        let stored =
            |affinity, before: Cell, value: Cell| is_stored(&table(affinity, vec![before.clone()]), 0, &before, &value);
        assert!(stored(Affinity::Text, text("a"), text("b")));
        assert!(!stored(Affinity::Text, text("a"), text("a")), "the same");
        assert!(!stored(Affinity::Text, text("1"), Cell::Integer(1)), "becomes text");
        assert!(
            !stored(Affinity::Integer, Cell::Integer(1), text("1")),
            "becomes a number"
        );
        assert!(!stored(Affinity::Integer, Cell::Integer(1), Cell::Null), "refused");
        let two = table(Affinity::Text, vec![text("a"), text("b")]);
        assert!(!is_stored(&two, 0, &text("a"), &text("b")), "a key twice");
    }
}
