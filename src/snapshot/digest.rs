//! Content digests: of a row, of a table (order-independent), of a database.
//!
//! A row's hash is SHA-256 over its cells in the order of the column *names*, each with a type tag and its length, so that
//! 1, 1.0, '1', NULL and a blob differ. A table's digest sums the row hashes in four lanes of 64 bits modulo 2^64 and adds
//! the count: row order, page size, VACUUM and REINDEX do not matter. Such a sum finds accidents; against somebody who
//! forges rows on purpose the file hash of the manifest is the proof. Rowids are not content.

use crate::snapshot::copying::hex;
use crate::snapshot::database::{Database, DatabaseError, quoted};
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The pragmas that belong to the content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pragmas {
    /// `PRAGMA user_version`; Beam 1.6.0 never sets it.
    pub user_version: i64,
    /// `PRAGMA application_id`; likewise.
    pub application_id: i64,
    /// `PRAGMA encoding`.
    pub encoding: String,
    /// `PRAGMA auto_vacuum`.
    pub auto_vacuum: i64,
}

impl Pragmas {
    /// Name, own value and other value of every pragma that differs.
    #[must_use]
    pub fn differences(&self, other: &Pragmas) -> Vec<(&'static str, String, String)> {
        let numbers = [
            ("user_version", self.user_version, other.user_version),
            ("application_id", self.application_id, other.application_id),
            ("auto_vacuum", self.auto_vacuum, other.auto_vacuum),
        ];
        let mut all: Vec<_> = numbers
            .into_iter()
            .map(|(name, own, theirs)| (name, own.to_string(), theirs.to_string()))
            .collect();
        all.push(("encoding", self.encoding.clone(), other.encoding.clone()));
        all.retain(|(_, own, theirs)| own != theirs);
        all
    }
}

/// Row count and digest of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableSummary {
    /// Its name.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
    /// Digest of its columns' names and of all rows.
    pub digest: String,
}

/// The hash of one row as four numbers.
pub(crate) type RowHash = [u64; 4];

/// The statement that reads a table's stored columns, sorted by name, from the table itself and not from an index.
///
/// # Errors
/// [`DatabaseError`].
pub(crate) fn select(database: &Database, table: &str) -> Result<(Vec<String>, String), DatabaseError> {
    let columns: Vec<String> = database.columns(table)?.into_iter().map(|(name, _)| name).collect();
    let sql = select_of(table, &columns);
    Ok((columns, sql))
}

/// The statement that reads the given columns of a table.
pub(crate) fn select_of(table: &str, columns: &[String]) -> String {
    let list: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    format!("SELECT {} FROM {} NOT INDEXED", list.join(", "), quoted(table))
}

/// Row count and digest of a table.
///
/// # Errors
/// [`DatabaseError::Read`] when a page is damaged.
pub fn table(database: &Database, name: &str) -> Result<TableSummary, DatabaseError> {
    let (columns, sql) = select(database, name)?;
    let (mut rows, mut lanes, mut buffer) = (0_u64, [0_u64; 4], Vec::new());
    let pass = database.each(&sql, |row| {
        let hash = row_hash(row, columns.len(), &mut buffer)?;
        for (lane, part) in lanes.iter_mut().zip(hash) {
            *lane = lane.wrapping_add(part);
        }
        rows += 1;
        Ok(())
    });
    match pass {
        // The table's name says more than the statement.
        Err(DatabaseError::Read { source, .. }) => return Err(database.unreadable(&format!("table {name}"), source)),
        other => other?,
    }
    let mut hash = Sha256::new();
    hash.update(b"recovery-drill-table/1");
    for column in &columns {
        hash.update((column.len() as u64).to_le_bytes());
        hash.update(column.as_bytes());
    }
    hash.update(rows.to_le_bytes());
    for lane in lanes {
        hash.update(lane.to_le_bytes());
    }
    Ok(TableSummary {
        name: name.to_owned(),
        rows,
        digest: hex(&hash.finalize()),
    })
}

/// Every content table of a database, sorted by name.
///
/// # Errors
/// [`DatabaseError`].
pub fn tables(database: &Database) -> Result<Vec<TableSummary>, DatabaseError> {
    let names = database.content_tables()?;
    names.iter().map(|name| table(database, name)).collect()
}

/// The pragmas that belong to the content.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn pragmas(database: &Database) -> Result<Pragmas, DatabaseError> {
    let number = |name: &str| {
        database
            .connection()
            .query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0))
            .map_err(|source| database.unreadable(name, source))
    };
    let encoding = database
        .connection()
        .query_row("PRAGMA encoding", [], |row| row.get(0))
        .map_err(|source| database.unreadable("encoding", source))?;
    Ok(Pragmas {
        user_version: number("user_version")?,
        application_id: number("application_id")?,
        encoding,
        auto_vacuum: number("auto_vacuum")?,
    })
}

/// The digest of a whole database: its tables (sorted by name) and its pragmas.
#[must_use]
pub fn database(tables: &[TableSummary], pragmas: &Pragmas) -> String {
    let mut hash = Sha256::new();
    hash.update(b"recovery-drill-database/1");
    for number in [pragmas.user_version, pragmas.application_id, pragmas.auto_vacuum] {
        hash.update(number.to_le_bytes());
    }
    for text in std::iter::once(&pragmas.encoding).chain(tables.iter().flat_map(|table| [&table.name, &table.digest])) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    hex(&hash.finalize())
}

/// The hash of the row's first `columns` cells. `buffer` is reused from row to row.
pub(crate) fn row_hash(row: &rusqlite::Row<'_>, columns: usize, buffer: &mut Vec<u8>) -> rusqlite::Result<RowHash> {
    buffer.clear();
    for at in 0..columns {
        encode(row.get_ref(at)?, buffer);
    }
    let hash = Sha256::digest(&*buffer);
    let mut lanes = [0_u64; 4];
    for (lane, eight) in lanes.iter_mut().zip(hash.chunks_exact(8)) {
        let mut bytes = [0_u8; 8];
        bytes.copy_from_slice(eight);
        *lane = u64::from_le_bytes(bytes);
    }
    Ok(lanes)
}

fn encode(value: ValueRef<'_>, buffer: &mut Vec<u8>) {
    let (tag, bytes): (u8, &[u8]) = match value {
        ValueRef::Null => (0, &[]),
        ValueRef::Integer(number) => (1, &number.to_le_bytes()),
        ValueRef::Real(number) => (2, &canonical_bits(number).to_le_bytes()),
        ValueRef::Text(text) => (3, text),
        ValueRef::Blob(blob) => (4, blob),
    };
    buffer.push(tag);
    buffer.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
    buffer.extend_from_slice(bytes);
}

/// SQLite stores -0.0 as the integer 0 where it can, and no NaN at all: both have one form here.
fn canonical_bits(number: f64) -> u64 {
    if number == 0.0 {
        0
    } else if number.is_nan() {
        f64::NAN.to_bits()
    } else {
        number.to_bits()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    const TABLE: &str = "CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, a, b TEXT); CREATE INDEX i ON t(b);
        INSERT INTO t(a, b) VALUES (1, 'one'), (2.5, 'two'), (NULL, NULL), (x'00ff', ''), ('1', 'three');
        CREATE TABLE plain(k, v); INSERT INTO plain VALUES ('x', 1), ('y', 2);";

    fn digest_after(change: &str) -> String {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.db");
        let connection = Connection::open(&path).expect("opened");
        connection.execute_batch(TABLE).expect("made");
        connection.execute_batch(change).expect("changed");
        drop(connection);
        let opened = Database::open(&path).expect("opened");
        let summary = tables(&opened).expect("digested");
        database(&summary, &pragmas(&opened).expect("read"))
    }

    #[test]
    fn what_is_no_content_leaves_the_digest() {
        let before = digest_after("");
        for change in [
            "VACUUM",
            "PRAGMA page_size=8192; VACUUM",
            "REINDEX",
            "PRAGMA journal_mode=WAL; PRAGMA wal_checkpoint(TRUNCATE)",
            "ANALYZE",
            "UPDATE t SET a=a",
            "CREATE TABLE o AS SELECT * FROM plain ORDER BY k DESC; DELETE FROM plain; INSERT INTO plain SELECT * FROM o; DROP TABLE o",
            "DROP INDEX i",
        ] {
            assert_eq!(digest_after(change), before, "{change}");
        }
    }

    #[test]
    fn every_change_of_content_changes_the_digest() {
        let before = digest_after("");
        for change in [
            "UPDATE t SET a=1.0 WHERE id=1",
            "UPDATE t SET a='1' WHERE id=1",
            "UPDATE t SET a=CAST('1' AS BLOB) WHERE id=5",
            "UPDATE t SET b='' WHERE id=3",
            "UPDATE t SET b='onf' WHERE id=1",
            "UPDATE t SET b='one' || char(0) || 'x' WHERE id=1",
            "INSERT INTO plain SELECT * FROM plain WHERE k='x'",
            "DELETE FROM plain WHERE k='y'",
            "UPDATE sqlite_sequence SET seq=9",
            "DELETE FROM sqlite_sequence",
            "PRAGMA user_version=7",
            "PRAGMA application_id=7",
            "CREATE TABLE extra(x)",
            "ALTER TABLE plain RENAME COLUMN k TO kk",
            "UPDATE t SET a=b, b=a WHERE id=1",
        ] {
            assert_ne!(digest_after(change), before, "{change}");
        }
    }

    #[test]
    fn minus_zero_is_zero() {
        assert_eq!(canonical_bits(-0.0), canonical_bits(0.0));
    }
}
