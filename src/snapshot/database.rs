//! A consolidated database file, opened read-only as untrusted input.
//!
//! Owns the one way in which this project opens a snapshot or a scratch copy for reading. Never opens a source,
//! never a raw set in place (opening a file that has a `-wal` beside it would change the set).

use crate::deployment::Service;
use crate::snapshot::copying::hex;
use crate::snapshot::work_limit::{WorkLimit, is_over};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Statement};
use serde_json::Value;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Why a database could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The file cannot be opened or is not a database.
    #[error("cannot open {path} as a SQLite database; check that it is a consolidated database file")]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A query failed: a page is damaged, a table or column is missing.
    #[error("cannot read {what} of {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The table or the statement.
        what: String,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// SQLite worked longer on the file than an honest file of its size ever takes.
    #[error(
        "reading {what} of {path} takes longer than a file of its size ever does; something in it runs without an end"
    )]
    Endless {
        /// The file.
        path: PathBuf,
        /// The table or the statement.
        what: String,
    },
}

/// One value with its storage class. `1`, `1.0`, `'1'`, NULL and a blob are five different cells.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text as stored; may hold NUL or bytes that are not UTF-8.
    Text(Vec<u8>),
    /// A blob.
    Blob(Vec<u8>),
}

impl Cell {
    /// The text, if the cell holds valid UTF-8 text.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Text(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// The integer, if the cell holds one.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Cell::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The cell as an HTTP answer would carry it; a blob or broken text becomes a marked hexadecimal string.
    #[must_use]
    pub fn json(&self) -> Value {
        match self {
            Cell::Null => Value::Null,
            Cell::Integer(number) => Value::from(*number),
            Cell::Real(number) => Value::from(*number),
            Cell::Text(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => Value::from(text),
                Err(_) => Value::from(format!("<not utf-8: {}>", hex(bytes))),
            },
            Cell::Blob(bytes) => Value::from(format!("<blob: {}>", hex(bytes))),
        }
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Cell {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Integer(number),
            ValueRef::Real(number) => Cell::Real(number),
            ValueRef::Text(bytes) => Cell::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        }
    }
}

/// One row: column name → cell, in the order of the statement.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(pub Vec<(String, Cell)>);

impl Row {
    /// The cell of a column; NULL when the statement has no such column.
    #[must_use]
    pub fn cell(&self, column: &str) -> &Cell {
        self.0
            .iter()
            .find(|(name, _)| name == column)
            .map_or(&Cell::Null, |(_, cell)| cell)
    }

    /// The text of a column, if it is text.
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        self.cell(column).text()
    }

    /// The integer of a column, if it is one.
    #[must_use]
    pub fn integer(&self, column: &str) -> Option<i64> {
        self.cell(column).integer()
    }
}

/// A consolidated database file, open for reading only.
#[derive(Debug)]
pub struct Database {
    path: PathBuf,
    connection: Connection,
    limit: WorkLimit,
}

impl Database {
    /// Opens a consolidated file read-only: defensive, untrusted schema, no foreign-key actions, no extension, flat memory.
    ///
    /// Nothing appears beside a file that has no `-wal` and no `-shm`: it is opened as immutable, since SQLite creates
    /// both, and leaves them, when it reads a file in WAL mode.
    ///
    /// # Errors
    /// [`DatabaseError::Open`] when the file is missing or SQLite refuses it.
    pub fn open(path: &Path) -> Result<Database, DatabaseError> {
        let alone = ["-wal", "-shm"].iter().all(|suffix| !beside(path, suffix).exists());
        if alone {
            Database::open_uri(path, "mode=ro&immutable=1")
        } else {
            Database::open_uri(path, "mode=ro")
        }
    }

    /// Opens the file of a running service, read-only, and holds one read transaction until the value is dropped:
    /// every query sees the same instant.
    ///
    /// # Errors
    /// [`DatabaseError::Open`] when the file is missing, locked or no database.
    pub fn open_live(path: &Path) -> Result<Database, DatabaseError> {
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let database = Database::open_uri(path, "mode=ro")?;
        let begin = "BEGIN; SELECT count(*) FROM sqlite_schema;";
        database.connection.execute_batch(begin).map_err(failed)?;
        Ok(database)
    }

    /// Opens a scratch copy that nobody needs afterwards with write access, still refusing to write rows: SQLite tells of
    /// violated CHECK constraints only on a connection that could write (observed with 3.54.1).
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_scratch(path: &Path) -> Result<Database, DatabaseError> {
        Database::open_uri(path, "mode=rw")
    }

    /// A database in memory, made by statements that stand in a file; it can only be read.
    ///
    /// # Errors
    /// [`DatabaseError::Read`] with what SQLite says of a statement.
    pub fn of_sql(sql: &str, path: &Path) -> Result<Database, DatabaseError> {
        let failed = |source| DatabaseError::Read {
            path: path.to_owned(),
            what: "the statements".to_owned(),
            source,
        };
        // SQLite would read no further than the first of them.
        std::ffi::CString::new(sql).map_err(|error| failed(error.into()))?;
        let mut connection = Connection::open_in_memory().map_err(failed)?;
        let limit = run_given(&mut connection, sql)
            .and_then(|()| harden(&mut connection, 0))
            .map_err(failed)?;
        Ok(Database {
            path: path.to_owned(),
            connection,
            limit,
        })
    }

    fn open_uri(path: &Path, query: &str) -> Result<Database, DatabaseError> {
        let failed = |source| DatabaseError::Open {
            path: path.to_owned(),
            source,
        };
        let access = if query == "mode=rw" {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let mut connection = Connection::open_with_flags(uri(path, query), flags).map_err(failed)?;
        let bytes = path.metadata().map_or(0, |facts| facts.len());
        let limit = harden(&mut connection, bytes).map_err(failed)?;
        // A first read, so that a file that is no database is refused here and not at the first query.
        connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
            .map_err(failed)?;
        Ok(Database {
            path: path.to_owned(),
            connection,
            limit,
        })
    }

    /// Names of all tables that hold content, sorted: every ordinary table and `sqlite_sequence`, no other `sqlite_*`.
    ///
    /// # Errors
    /// [`DatabaseError::Read`].
    pub fn content_tables(&self) -> Result<Vec<String>, DatabaseError> {
        let sql = "SELECT name FROM sqlite_schema WHERE type='table' AND rootpage>0 \
                   AND (name NOT LIKE 'sqlite\\_%' ESCAPE '\\' OR name='sqlite_sequence') ORDER BY name";
        let rows = self.rows(sql, &[])?;
        Ok(rows
            .iter()
            .filter_map(|row| row.text("name").map(str::to_owned))
            .collect())
    }

    /// Stored columns of a table with their position in the primary key (0 = not in it), sorted by name.
    ///
    /// # Errors
    /// [`DatabaseError::Read`].
    pub fn columns(&self, table: &str) -> Result<Vec<(String, i64)>, DatabaseError> {
        let sql = "SELECT name, pk FROM pragma_table_xinfo(?1) WHERE hidden IN (0, 3) ORDER BY name";
        let rows = self.rows(sql, &[table])?;
        let pair = |row: &Row| Some((row.text("name")?.to_owned(), row.integer("pk")?));
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// Calls `visit` with every row of a SELECT, one at a time, without keeping any.
    ///
    /// # Errors
    /// [`DatabaseError::Read`] naming the statement.
    pub(crate) fn each(
        &self,
        sql: &str,
        mut visit: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> Result<(), DatabaseError> {
        let failed = |source| self.unreadable(sql, source);
        self.limit.begins();
        let mut statement: Statement<'_> = self.connection.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            visit(row).map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn unreadable(&self, what: &str, source: rusqlite::Error) -> DatabaseError {
        let (path, what) = (self.path.clone(), what.to_owned());
        if is_over(&source) {
            DatabaseError::Endless { path, what }
        } else {
            DatabaseError::Read { path, what, source }
        }
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The connection, for this room's own passes.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// All rows of a SELECT with positional text parameters.
    ///
    /// # Errors
    /// [`DatabaseError::Read`] naming the statement.
    pub fn rows(&self, sql: &str, parameters: &[&str]) -> Result<Vec<Row>, DatabaseError> {
        let failed = |source| self.unreadable(sql, source);
        self.limit.begins();
        let mut statement = self.connection.prepare(sql).map_err(failed)?;
        let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
        let mut rows = statement
            .query(rusqlite::params_from_iter(parameters))
            .map_err(failed)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(failed)? {
            let mut cells = Vec::with_capacity(columns.len());
            for (at, name) in columns.iter().enumerate() {
                cells.push((name.clone(), Cell::from(row.get_ref(at).map_err(failed)?)));
            }
            found.push(Row(cells));
        }
        Ok(found)
    }
}

/// A name as an SQL identifier.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The path of a file that SQLite keeps beside a database: `-wal`, `-shm`, `-journal`.
#[must_use]
pub fn beside(main: &Path, suffix: &str) -> PathBuf {
    let mut name = main.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn uri(path: &Path, query: &str) -> String {
    let mut text = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(byte) {
            text.push(char::from(*byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    format!("{text}?{query}")
}

/// How long the statements of a given file may take.
const GIVEN_STATEMENTS: std::time::Duration = std::time::Duration::from_secs(20);

/// The settings for reading a file that anybody may have prepared.
pub(crate) fn harden(connection: &mut Connection, bytes: u64) -> rusqlite::Result<WorkLimit> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 256 << 20)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 8)?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch(
        "PRAGMA query_only=ON; PRAGMA mmap_size=0; PRAGMA cache_size=-8000; PRAGMA cell_size_check=ON;",
    )?;
    WorkLimit::by_size(connection, bytes)
}

/// Runs statements of a file that somebody gave in a database of its own. They cannot open another file (ATTACH, VACUUM INTO),
/// make huge values, or run for ever.
///
/// # Errors
/// What SQLite says of a statement.
pub fn run_given(connection: &mut Connection, sql: &str) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, 16 << 20)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_limit(Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 8)?;
    WorkLimit::of(connection, GIVEN_STATEMENTS)?;
    connection.execute_batch(sql)
}

/// The two databases of a snapshot, open for reading.
#[derive(Debug)]
pub struct Databases {
    /// The directory's.
    pub directory: Database,
    /// The bus's.
    pub bus: Database,
}

impl Databases {
    /// Opens both consolidated files of a folder by their usual names.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open(folder: &Path) -> Result<Databases, DatabaseError> {
        Ok(Databases {
            directory: Database::open(&folder.join(Service::Directory.database_file()))?,
            bus: Database::open(&folder.join(Service::Bus.database_file()))?,
        })
    }

    /// Opens the files of two running services, each with one read transaction.
    ///
    /// # Errors
    /// As [`Database::open_live`].
    pub fn open_live(directory: &Path, bus: &Path) -> Result<Databases, DatabaseError> {
        Ok(Databases {
            directory: Database::open_live(directory)?,
            bus: Database::open_live(bus)?,
        })
    }

    /// The database of a service.
    #[must_use]
    pub fn of(&self, service: Service) -> &Database {
        match service {
            Service::Directory => &self.directory,
            Service::Bus => &self.bus,
        }
    }
}

#[cfg(test)]
mod tests;
