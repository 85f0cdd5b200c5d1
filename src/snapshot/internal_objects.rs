//! SQLite's own rows in a schema: auto-indexes, `sqlite_sequence`, statistics. Are they as SQLite writes them?
//!
//! Names are matched without regard to case, so that a damaged letter there goes unseen by SQLite itself, by
//! `integrity_check` and by every fingerprint, which leaves `sqlite_*` out. Source: SQLite file format, section 2.6.

use crate::snapshot::database::{Database, DatabaseError, Row};

/// Tables of SQLite's own and the text that it makes them with.
const TABLES: &[(&str, &str)] = &[
    ("sqlite_sequence", "CREATE TABLE sqlite_sequence(name,seq)"),
    ("sqlite_stat1", "CREATE TABLE sqlite_stat1(tbl,idx,stat)"),
    ("sqlite_stat4", "CREATE TABLE sqlite_stat4(tbl,idx,neq,nlt,ndlt,sample)"),
];

/// What is wrong with SQLite's own objects, and with the table that an object says it belongs to.
///
/// # Errors
/// [`DatabaseError::Read`].
pub fn unlawful(database: &Database) -> Result<Vec<String>, DatabaseError> {
    let rows = database.rows("SELECT type, name, tbl_name, sql FROM sqlite_schema", &[])?;
    let is_table = |name: &str| {
        let mut tables = rows.iter().filter(|row| row.text("type") == Some("table"));
        tables.any(|row| row.text("name") == Some(name)) || rows.iter().any(|row| is_view(row, name))
    };
    let mut found = Vec::new();
    for row in &rows {
        let name = row.text("name").unwrap_or_default();
        let table = row.text("tbl_name").unwrap_or_default();
        if !is_table(table) {
            found.push(format!("schema row {name}: belongs to {table}, which is no table"));
        }
        if !name.to_ascii_lowercase().starts_with("sqlite_") {
            continue;
        }
        let lawful = match row.text("sql") {
            None => is_auto_index(row, name, table),
            Some(sql) => TABLES.contains(&(name, sql)) && row.text("type") == Some("table") && table == name,
        };
        if !lawful {
            found.push(format!("schema row {name}: not as SQLite writes it"));
        }
    }
    Ok(found)
}

fn is_view(row: &Row, name: &str) -> bool {
    row.text("type") == Some("view") && row.text("name") == Some(name)
}

fn is_auto_index(row: &Row, name: &str, table: &str) -> bool {
    let number = name
        .strip_prefix("sqlite_autoindex_")
        .and_then(|rest| rest.strip_prefix(table))
        .and_then(|rest| rest.strip_prefix('_'));
    let is_number = number.is_some_and(|digits| digits.parse::<u32>().is_ok_and(|number| number > 0));
    row.text("type") == Some("index") && is_number
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{alter, file, plain_at_rest};

    fn after(sql: &str) -> Vec<String> {
        let set = plain_at_rest();
        let path = file(&set, Service::Directory);
        alter(&path, sql);
        unlawful(&Database::open(&path).expect("opened")).expect("read")
    }

    #[test]
    fn a_letter_in_a_name_that_sqlite_does_not_mind_is_found() {
        for (sql, name) in [
            (
                "UPDATE sqlite_schema SET name='sqlite_autoindex_oRgs_1' WHERE name='sqlite_autoindex_orgs_1'",
                "sqlite_autoindex_oRgs_1",
            ),
            (
                "UPDATE sqlite_schema SET tbl_name='oRgs' WHERE name='sqlite_autoindex_orgs_1'",
                "sqlite_autoindex_orgs_1",
            ),
            (
                "UPDATE sqlite_schema SET sql='cREATE TABLE sqlite_sequence(name,seq)' WHERE name='sqlite_sequence'",
                "sqlite_sequence",
            ),
        ] {
            let found = after(&format!("PRAGMA writable_schema=ON; {sql}"));
            assert!(found.iter().any(|one| one.contains(name)), "{sql}: {found:?}");
        }
    }

    #[test]
    fn what_sqlite_itself_does_is_lawful() {
        for sql in [
            "",
            "VACUUM",
            "ANALYZE",
            "ALTER TABLE orgs RENAME TO organisations",
            "CREATE VIEW v AS SELECT 1; CREATE TRIGGER g INSTEAD OF INSERT ON v BEGIN SELECT 1; END",
        ] {
            assert_eq!(after(sql), [] as [&str; 0], "{sql}");
        }
    }
}
