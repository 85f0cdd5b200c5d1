//! Reads what SQLite tells of a schema, for [`crate::deployment::schema`] to turn into facts.

use crate::deployment::schema::{
    ColumnRow, ForeignKeyRow, IndexColumnRow, IndexRow, ObjectRow, Schema, SchemaFacts, SchemaRows, TableRow,
};
use crate::deployment::spelling::settled;
use crate::snapshot::database::{Database, DatabaseError, Row, run_given};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Schemas met in this process by their objects: all that the pragmas tell is derived from the text of `sqlite_schema`, and
/// a drill reads the same two schemas again and again.
static KNOWN: Mutex<Vec<Arc<Known>>> = Mutex::new(Vec::new());
/// How many schemas are remembered.
const MOST_KNOWN: usize = 64;

struct Known {
    rows: SchemaRows,
    facts: SchemaFacts,
}

/// The schema facts of an open database.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn schema_facts(database: &Database) -> Result<SchemaFacts, DatabaseError> {
    Ok(known(database)?.facts.clone())
}

/// The rows of `sqlite_schema` and of the schema pragmas.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn schema_rows(database: &Database) -> Result<SchemaRows, DatabaseError> {
    Ok(known(database)?.rows.clone())
}

/// The schema of an open database.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn schema(database: &Database) -> Result<Schema, DatabaseError> {
    let known = known(database)?;
    Ok(Schema {
        rows: known.rows.clone(),
        facts: known.facts.clone(),
    })
}

/// The schema that statements make, in a database of their own in memory; `path` is the file that they come from.
///
/// # Errors
/// [`DatabaseError::Read`] with what SQLite says of a statement.
pub fn schema_of_sql(sql: &str, path: &Path) -> Result<Schema, DatabaseError> {
    schema(&Database::of_sql(sql, path)?)
}

/// Makes a new database file by statements that stand in another file.
///
/// # Errors
/// [`DatabaseError::Read`] with what SQLite says.
pub fn make_file(sql: &str, from: &Path, file: &Path) -> Result<(), DatabaseError> {
    let made = rusqlite::Connection::open(file).and_then(|mut connection| run_given(&mut connection, sql));
    made.map_err(|source| DatabaseError::Read {
        path: from.to_owned(),
        what: "the statements".to_owned(),
        source,
    })
}

fn known(database: &Database) -> Result<Arc<Known>, DatabaseError> {
    let objects = objects(database)?;
    let remembered = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = remembered().iter().find(|known| known.rows.objects == objects) {
        return Ok(known.clone());
    }
    let rows = read(database, objects)?;
    let facts = SchemaFacts::of(&rows);
    let known = Arc::new(Known { rows, facts });
    let mut all = remembered();
    if all.len() < MOST_KNOWN {
        all.push(known.clone());
    }
    Ok(known)
}

fn objects(database: &Database) -> Result<Vec<ObjectRow>, DatabaseError> {
    let rows = database.rows(
        "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name",
        &[],
    )?;
    Ok(rows
        .iter()
        .map(|row| ObjectRow {
            kind: text(row, "type"),
            name: text(row, "name"),
            table: text(row, "tbl_name"),
            sql: row.text("sql").map(str::to_owned),
        })
        .collect())
}

fn read(database: &Database, objects: Vec<ObjectRow>) -> Result<SchemaRows, DatabaseError> {
    let tables: Vec<TableRow> = database
        .rows(
            "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema='main' AND type IN ('table', 'virtual') \
             AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name",
            &[],
        )?
        .iter()
        .map(|row| TableRow {
            name: text(row, "name"),
            kind: text(row, "type"),
            without_rowid: row.integer("wr") == Some(1),
            strict: row.integer("strict") == Some(1),
        })
        .collect();
    let mut rows = SchemaRows {
        objects,
        ..SchemaRows::default()
    };
    for table in &tables {
        add_columns(database, &table.name, &mut rows)?;
        add_indexes(database, &table.name, &mut rows)?;
        add_foreign_keys(database, &table.name, &mut rows)?;
    }
    rows.tables = tables;
    Ok(settled(rows))
}

fn add_columns(database: &Database, table: &str, rows: &mut SchemaRows) -> Result<(), DatabaseError> {
    let sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1)";
    for row in database.rows(sql, &[table])? {
        let name = text(&row, "name");
        let collation = database
            .connection()
            .column_metadata(Some("main"), table, name.as_str())
            .ok()
            .and_then(|(_, collation, ..)| collation)
            .map_or_else(|| "BINARY".to_owned(), |name| name.to_string_lossy().into_owned());
        rows.columns.push(ColumnRow {
            table: table.to_owned(),
            name,
            declared_type: text(&row, "type"),
            not_null: row.integer("notnull") == Some(1),
            default: row.text("dflt_value").map(str::to_owned),
            primary_key: row.integer("pk").unwrap_or(0),
            hidden: row.integer("hidden").unwrap_or(0),
            collation,
        });
    }
    Ok(())
}

fn add_indexes(database: &Database, table: &str, rows: &mut SchemaRows) -> Result<(), DatabaseError> {
    let sql = "SELECT name, \"unique\", origin FROM pragma_index_list(?1) ORDER BY name";
    for index in database.rows(sql, &[table])? {
        let name = text(&index, "name");
        let sql = "SELECT name, \"desc\", coll FROM pragma_index_xinfo(?1) WHERE key=1 ORDER BY seqno";
        let columns = database
            .rows(sql, &[&name])?
            .iter()
            .map(|column| IndexColumnRow {
                name: column.text("name").map(str::to_owned),
                descending: column.integer("desc") == Some(1),
                collation: text(column, "coll"),
            })
            .collect();
        rows.indexes.push(IndexRow {
            table: table.to_owned(),
            name,
            unique: index.integer("unique") == Some(1),
            origin: text(&index, "origin"),
            columns,
        });
    }
    Ok(())
}

fn add_foreign_keys(database: &Database, table: &str, rows: &mut SchemaRows) -> Result<(), DatabaseError> {
    let sql = "SELECT id, seq, \"table\", \"from\", \"to\", on_update, on_delete FROM pragma_foreign_key_list(?1)";
    for row in database.rows(sql, &[table])? {
        rows.foreign_keys.push(ForeignKeyRow {
            table: table.to_owned(),
            id: row.integer("id").unwrap_or(0),
            position: row.integer("seq").unwrap_or(0),
            parent: text(&row, "table"),
            from: text(&row, "from"),
            to: row.text("to").map(str::to_owned),
            on_update: text(&row, "on_update"),
            on_delete: text(&row, "on_delete"),
        });
    }
    Ok(())
}

fn text(row: &Row, column: &str) -> String {
    row.text(column).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::schema::{Fingerprints, differences};
    use rusqlite::Connection;

    fn facts(sql: &str) -> SchemaFacts {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.db");
        let connection = Connection::open(&path).expect("opened");
        connection.execute_batch(sql).expect("made");
        drop(connection);
        schema_facts(&Database::open(&path).expect("opened")).expect("read")
    }

    const BASE: &str = "CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE);
        CREATE TABLE child(k TEXT PRIMARY KEY, p INTEGER REFERENCES parent(id) ON DELETE CASCADE, s TEXT DEFAULT 'a' CHECK(s IN ('a','b')));
        CREATE UNIQUE INDEX by_s ON child(s, p DESC);";

    fn prints(sql: &str) -> Fingerprints {
        facts(sql).fingerprints()
    }

    #[test]
    fn column_order_comments_and_white_space_change_only_the_text() {
        let other = "CREATE TABLE child(s text /* stage */ DEFAULT 'a'   CHECK( s in ('a', 'b') ), k TEXT PRIMARY KEY,
            p INTEGER REFERENCES parent(id) ON DELETE CASCADE);
            CREATE TABLE parent(id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL, UNIQUE(slug));
            CREATE UNIQUE INDEX by_s ON child(s, p DESC);";
        let (one, two) = (prints(BASE), prints(other));
        assert_eq!((one.shape, one.checks), (two.shape, two.checks));
        assert_ne!(one.text, two.text);
    }

    #[test]
    fn a_column_added_later_is_as_one_created_at_once() {
        let added = format!("{BASE} ALTER TABLE parent ADD COLUMN note TEXT;");
        let created = BASE.replace("slug TEXT", "note TEXT, slug TEXT");
        assert_eq!(prints(&added).shape, prints(&created).shape);
    }

    #[test]
    fn every_change_of_the_shape_is_seen_and_named() {
        let cases = [
            ("by_s ON child(s, p DESC)", "by_s ON child(s, p)", "index by_s on child"),
            ("UNIQUE INDEX by_s", "INDEX by_s", "index by_s on child"),
            ("p DESC);", "p DESC) WHERE s<>'b';", "index by_s on child"),
            ("ON DELETE CASCADE", "", "foreign key child(p)"),
            ("NOT NULL UNIQUE", "NOT NULL", "unique constraint on parent(slug)"),
            ("AUTOINCREMENT", "", "table parent"),
            ("DEFAULT 'a'", "DEFAULT 'b'", "column child.s"),
            (
                "slug TEXT NOT NULL",
                "slug TEXT COLLATE NOCASE NOT NULL",
                "column parent.slug",
            ),
            ("k TEXT PRIMARY KEY", "k BLOB PRIMARY KEY", "column child.k"),
        ];
        for (from, to, subject) in cases {
            let changed = facts(&BASE.replacen(from, to, 1));
            let found = differences(&facts(BASE), &changed);
            assert!(
                found.iter().any(|one| one.subject == subject),
                "{from} → {to}: {found:?}"
            );
        }
    }

    #[test]
    fn a_lost_index_a_trigger_and_a_view_are_differences() {
        for (change, subject) in [
            ("DROP INDEX by_s", "index by_s on child"),
            (
                "CREATE TRIGGER tr AFTER UPDATE ON child BEGIN DELETE FROM parent; END",
                "trigger tr on child",
            ),
            ("CREATE VIEW v AS SELECT 1", "view v"),
            ("DROP TABLE child", "table child"),
            ("CREATE TABLE more(x)", "table more"),
        ] {
            let changed = facts(&format!("{BASE} {change};"));
            let found = differences(&facts(BASE), &changed);
            assert_eq!(found[0].subject, subject);
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }

    #[test]
    fn a_lost_check_changes_the_checks_and_not_the_shape() {
        let without = BASE.replace("CHECK(s IN ('a','b'))", "");
        assert_eq!(prints(BASE).shape, prints(&without).shape);
        assert_ne!(prints(BASE).checks, prints(&without).checks);
        let found = differences(&facts(BASE), &facts(&without));
        assert_eq!(found[0].subject, "CHECK ( s in ( 'a' , 'b' ) ) of child");
    }

    #[test]
    fn statistics_are_no_part_of_a_schema() {
        let analysed = format!("{BASE} INSERT INTO parent(slug) VALUES ('x'); ANALYZE;");
        assert_eq!(prints(BASE), prints(&analysed));
    }
}
