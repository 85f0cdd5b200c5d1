//! Which rows differ between the same table of two databases.
//!
//! Streams both tables and keeps only the hashes of rows, then fetches the rows whose hash stands on one side only and
//! pairs them by primary key. Used only for tables whose digests differ. Column order does not matter.

use crate::snapshot::database::{Cell, Database, DatabaseError, Row};
use crate::snapshot::digest::{RowHash, row_hash, select_of};
use std::collections::HashMap;

/// One row that differs. At least one side is there.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// Columns of the primary key, in key order; empty when the table has none.
    pub key: Vec<String>,
    /// The row on the left side, stored columns sorted by name.
    pub before: Option<Row>,
    /// The row on the right side.
    pub after: Option<Row>,
}

impl RowChange {
    /// Names of the columns that differ; empty unless the row is on both sides.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return Vec::new();
        };
        let differs = |(name, cell): &&(String, Cell)| after.cell(name) != cell;
        before.0.iter().filter(differs).map(|(name, _)| name.as_str()).collect()
    }

    /// The row by which it is named: the left one, else the right one.
    #[must_use]
    pub fn row(&self) -> Option<&Row> {
        self.before.as_ref().or(self.after.as_ref())
    }
}

/// All differences of a table, up to a cap.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TableDifference {
    /// The rows, ordered by key.
    pub changes: Vec<RowChange>,
    /// Rows on the left side that the right side lacks as they are.
    pub only_left: u64,
    /// Rows on the right side that the left side lacks as they are.
    pub only_right: u64,
    /// Columns on the left side alone.
    pub columns_left: Vec<String>,
    /// Columns on the right side alone.
    pub columns_right: Vec<String>,
}

impl TableDifference {
    /// Whether there are more rows than `changes` holds.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        let held = |side: fn(&RowChange) -> bool| self.changes.iter().filter(|change| side(change)).count() as u64;
        held(|change| change.before.is_some()) < self.only_left
            || held(|change| change.after.is_some()) < self.only_right
    }
}

/// Compares a table of two databases; at most `cap` rows of each side are fetched.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn table_difference(
    left: &Database,
    right: &Database,
    table: &str,
    cap: usize,
) -> Result<TableDifference, DatabaseError> {
    let (on_left, on_right) = (left.columns(table)?, right.columns(table)?);
    let has = |list: &[(String, i64)], name: &str| list.iter().any(|(column, _)| column == name);
    let common: Vec<String> = on_left
        .iter()
        .filter(|(name, _)| has(&on_right, name))
        .map(|(name, _)| name.clone())
        .collect();
    let only = |mine: &[(String, i64)], other: &[(String, i64)]| -> Vec<String> {
        mine.iter()
            .filter(|(name, _)| !has(other, name))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let mut found = TableDifference {
        columns_left: only(&on_left, &on_right),
        columns_right: only(&on_right, &on_left),
        ..TableDifference::default()
    };
    if common.is_empty() {
        return Ok(found);
    }
    let sql = select_of(table, &common);
    let mut surplus = count(left, &sql, common.len())?;
    count_down(right, &sql, common.len(), &mut surplus)?;
    surplus.retain(|_, count| *count != 0);
    let mut missing: HashMap<RowHash, i64> = HashMap::new();
    surplus.retain(|hash, count| {
        if *count < 0 {
            missing.insert(*hash, -*count);
        }
        *count > 0
    });
    found.only_left = surplus.values().sum::<i64>().unsigned_abs();
    found.only_right = missing.values().sum::<i64>().unsigned_abs();
    let before = fetch(left, &sql, &common, surplus, cap)?;
    let after = fetch(right, &sql, &common, missing, cap)?;
    found.changes = paired(key_columns(table, &on_left, &common), before, after);
    Ok(found)
}

fn key_columns(table: &str, columns: &[(String, i64)], common: &[String]) -> Vec<String> {
    if table == "sqlite_sequence" {
        // It declares no key, but SQLite keeps one row a table in it.
        return vec!["name".to_owned()];
    }
    let mut key: Vec<&(String, i64)> = columns.iter().filter(|(_, position)| *position > 0).collect();
    key.sort_by_key(|(_, position)| *position);
    let names: Vec<String> = key.into_iter().map(|(name, _)| name.clone()).collect();
    if names.iter().all(|name| common.contains(name)) {
        names
    } else {
        Vec::new()
    }
}

fn count(database: &Database, sql: &str, columns: usize) -> Result<HashMap<RowHash, i64>, DatabaseError> {
    let (mut counts, mut buffer) = (HashMap::new(), Vec::new());
    database.each(sql, |row| {
        *counts.entry(row_hash(row, columns, &mut buffer)?).or_insert(0) += 1;
        Ok(())
    })?;
    Ok(counts)
}

fn count_down(
    database: &Database,
    sql: &str,
    columns: usize,
    counts: &mut HashMap<RowHash, i64>,
) -> Result<(), DatabaseError> {
    let mut buffer = Vec::new();
    database.each(sql, |row| {
        let hash = row_hash(row, columns, &mut buffer)?;
        match counts.get_mut(&hash) {
            // Equal rows are most rows: their entry goes as soon as both sides have met.
            Some(1) => drop(counts.remove(&hash)),
            Some(count) => *count -= 1,
            None => drop(counts.insert(hash, -1)),
        }
        Ok(())
    })
}

fn fetch(
    database: &Database,
    sql: &str,
    columns: &[String],
    mut wanted: HashMap<RowHash, i64>,
    cap: usize,
) -> Result<Vec<Row>, DatabaseError> {
    let (mut rows, mut buffer) = (Vec::new(), Vec::new());
    if wanted.is_empty() {
        return Ok(rows);
    }
    database.each(sql, |row| {
        let hash = row_hash(row, columns.len(), &mut buffer)?;
        let left = wanted.get_mut(&hash).filter(|count| **count > 0);
        if let Some(count) = left.filter(|_| rows.len() < cap) {
            *count -= 1;
            let mut cells = Vec::with_capacity(columns.len());
            for (at, name) in columns.iter().enumerate() {
                cells.push((name.clone(), Cell::from(row.get_ref(at)?)));
            }
            rows.push(Row(cells));
        }
        Ok(())
    })?;
    Ok(rows)
}

fn paired(key: Vec<String>, before: Vec<Row>, after: Vec<Row>) -> Vec<RowChange> {
    let key_of = |row: &Row| -> Vec<Cell> { key.iter().map(|name| row.cell(name).clone()).collect() };
    let mut after: Vec<Option<Row>> = after.into_iter().map(Some).collect();
    let mut by_key: HashMap<String, Vec<usize>> = HashMap::new();
    for (at, row) in after.iter().enumerate() {
        if let Some(row) = row.as_ref().filter(|_| !key.is_empty()) {
            by_key.entry(format!("{:?}", key_of(row))).or_default().push(at);
        }
    }
    let mut changes = Vec::new();
    for row in before {
        let partner = by_key
            .get_mut(&format!("{:?}", key_of(&row)))
            .and_then(Vec::pop)
            .and_then(|at| after[at].take());
        changes.push(RowChange {
            key: key.clone(),
            before: Some(row),
            after: partner,
        });
    }
    changes.extend(after.into_iter().flatten().map(|row| RowChange {
        key: key.clone(),
        before: None,
        after: Some(row),
    }));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded::alter;
    use rusqlite::Connection;

    fn difference(table: &str, change: &str) -> TableDifference {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (left, right) = (folder.path().join("l.db"), folder.path().join("r.db"));
        Connection::open(&left)
            .expect("opened")
            .execute_batch(
                "CREATE TABLE k(id TEXT PRIMARY KEY, v); INSERT INTO k VALUES ('a', 1), ('b', 2), ('c', 3);
                 CREATE TABLE bare(x, y); INSERT INTO bare VALUES (1, 1), (1, 1), (2, 2);",
            )
            .expect("made");
        std::fs::copy(&left, &right).expect("copied");
        alter(&right, change);
        let open = |path| Database::open(path).expect("opened");
        table_difference(&open(&left), &open(&right), table, 100).expect("compared")
    }

    #[test]
    fn a_changed_cell_names_row_and_column() {
        let found = difference("k", "UPDATE k SET v=2.0 WHERE id='b'");
        assert_eq!(found.changes.len(), 1);
        assert_eq!(found.changes[0].columns(), ["v"]);
        assert_eq!(found.changes[0].row().and_then(|row| row.text("id")), Some("b"));
    }

    #[test]
    fn lost_and_new_rows_stand_on_one_side() {
        let found = difference("k", "DELETE FROM k WHERE id='a'; INSERT INTO k VALUES ('d', 4)");
        assert!(found.changes[0].after.is_none() && found.changes[1].before.is_none());
    }

    #[test]
    fn a_duplicate_row_of_a_table_without_key_is_seen() {
        let found = difference("bare", "INSERT INTO bare VALUES (2, 2)");
        assert_eq!((found.only_left, found.only_right), (0, 1));
        let lost = difference("bare", "DELETE FROM bare WHERE rowid=1");
        assert_eq!((lost.only_left, lost.only_right), (1, 0));
    }

    #[test]
    fn equal_tables_have_no_difference() {
        assert_eq!(difference("k", "VACUUM"), TableDifference::default());
    }
}
