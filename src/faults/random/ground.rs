//! What there is to change in a snapshot: tables with rows, their columns, indexes, bytes. Read once.

use crate::deployment::Service;
use crate::faults::random::RandomError;
use crate::snapshot::database::{Cell, Database, DatabaseError, Row, quoted};
use crate::snapshot::manifest;
use crate::snapshot::page_area::Pages;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::path::Path;

/// Rows of a table among which values are chosen.
const MOST_ROWS: usize = 2_000;

/// A table that holds rows.
pub(super) struct Table {
    pub(super) service: Service,
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// Rowid and cells in the order of `columns`; the first [`MOST_ROWS`] by rowid.
    pub(super) rows: Vec<(i64, Vec<Cell>)>,
}

/// One stored column of a table.
pub(super) struct Column {
    pub(super) name: String,
    pub(super) may_be_null: bool,
    /// In the primary key or a UNIQUE index.
    pub(super) is_key: bool,
    /// The rowid by another name: it takes nothing but integers.
    pub(super) is_rowid: bool,
    /// SQLite's affinity of the declared type.
    pub(super) affinity: Affinity,
}

/// What SQLite makes of a value that is stored in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Affinity {
    Text,
    Integer,
    Real,
    Numeric,
    Blob,
}

impl Affinity {
    /// Source: SQLite, datatype3, section 3.1.
    fn of(declared: &str) -> Affinity {
        let declared = declared.to_ascii_uppercase();
        let has = |word: &str| declared.contains(word);
        if has("INT") {
            Affinity::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Affinity::Text
        } else if has("BLOB") || declared.is_empty() {
            Affinity::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Affinity::Real
        } else {
            Affinity::Numeric
        }
    }
}

/// What there is to change.
pub(super) struct Ground {
    pub(super) tables: Vec<Table>,
    /// Table and column of every cell that could be chosen, so that each column has the same chance.
    pub(super) columns: Vec<(usize, usize)>,
    /// Indexes that can be dropped.
    pub(super) indexes: Vec<(Service, String)>,
    /// Bytes of both files, directory first.
    pub(super) files: [Vec<u8>; 2],
    /// What each part of the files is.
    pub(super) pages: [Pages; 2],
    /// The manifest's text.
    pub(super) manifest: Vec<u8>,
}

impl Ground {
    /// Reads a snapshot folder.
    ///
    /// # Errors
    /// [`RandomError`].
    pub(super) fn survey(folder: &Path) -> Result<Ground, RandomError> {
        let (mut tables, mut indexes) = (Vec::new(), Vec::new());
        for service in Service::ALL {
            let database = Database::open(&folder.join(service.database_file()))?;
            for name in database.content_tables()? {
                let table = table(&database, service, name)?;
                if !table.rows.is_empty() {
                    tables.push(table);
                }
            }
            let sql = "SELECT name FROM sqlite_schema WHERE type='index' AND sql IS NOT NULL ORDER BY name";
            let named = database.rows(sql, &[])?;
            let names = named.iter().filter_map(|row| row.text("name"));
            indexes.extend(names.map(|name| (service, name.to_owned())));
        }
        if tables.is_empty() {
            return Err(RandomError::Empty(folder.to_owned()));
        }
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read(&path).map_err(|source| RandomError::File { path, source })
        };
        let columns = tables.iter().enumerate();
        let columns = columns.flat_map(|(at, table)| (0..table.columns.len()).map(move |column| (at, column)));
        let pages = |service: Service| Pages::read(&folder.join(service.database_file()));
        Ok(Ground {
            columns: columns.collect(),
            pages: [pages(Service::Directory)?, pages(Service::Bus)?],
            files: [
                read(Service::Directory.database_file())?,
                read(Service::Bus.database_file())?,
            ],
            manifest: read(manifest::FILE_NAME)?,
            tables,
            indexes,
        })
    }

    /// A random table that holds rows.
    pub(super) fn table(&self, random: &mut ChaCha8Rng) -> &Table {
        &self.tables[random.random_range(0..self.tables.len())]
    }

    /// A random column of any table that holds rows, and its place in the table.
    pub(super) fn column(&self, random: &mut ChaCha8Rng) -> (&Table, usize) {
        let (table, column) = self.columns[random.random_range(0..self.columns.len())];
        (&self.tables[table], column)
    }
}

impl Table {
    /// A random row.
    pub(super) fn row(&self, random: &mut ChaCha8Rng) -> &(i64, Vec<Cell>) {
        &self.rows[random.random_range(0..self.rows.len())]
    }
}

fn table(database: &Database, service: Service, name: String) -> Result<Table, DatabaseError> {
    let columns = columns(database, &name)?;
    let names: Vec<String> = columns.iter().map(|column| quoted(&column.name)).collect();
    let sql = format!(
        "SELECT rowid AS r, {} FROM {} ORDER BY rowid LIMIT {MOST_ROWS}",
        names.join(", "),
        quoted(&name)
    );
    let found = database.rows(&sql, &[])?;
    let cells = |row: Row| {
        let rowid = row.integer("r")?;
        Some((rowid, row.0.into_iter().skip(1).map(|(_, cell)| cell).collect()))
    };
    Ok(Table {
        service,
        rows: found.into_iter().filter_map(cells).collect(),
        columns,
        name,
    })
}

fn columns(database: &Database, table: &str) -> Result<Vec<Column>, DatabaseError> {
    let sql = "SELECT x.name AS name, x.type AS type, x.\"notnull\" = 0 AND x.pk = 0 AS nullable, x.pk > 0 OR EXISTS \
               (SELECT 1 FROM pragma_index_list(?1) AS i, pragma_index_info(i.name) AS c WHERE i.\"unique\" = 1 \
               AND c.name = x.name) AS is_key, x.pk = 1 AND upper(x.type) = 'INTEGER' AND (SELECT count(*) FROM \
               pragma_table_xinfo(?1) WHERE pk > 0) = 1 AS is_rowid FROM pragma_table_xinfo(?1) AS x \
               WHERE x.hidden = 0 ORDER BY x.name";
    let rows = database.rows(sql, &[table])?;
    let column = |row: &Row| {
        Some(Column {
            name: row.text("name")?.to_owned(),
            may_be_null: row.integer("nullable") == Some(1),
            is_key: row.integer("is_key") == Some(1),
            is_rowid: row.integer("is_rowid") == Some(1),
            affinity: Affinity::of(row.text("type").unwrap_or_default()),
        })
    };
    Ok(rows.iter().filter_map(column).collect())
}
