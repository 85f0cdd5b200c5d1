//! The same content in a new file, as other backup tools make it: benign unless rows are lost.
//!
//! Replaces a plain file of the target; the copy is complete before it takes the file's place.

use crate::faults::fault::Remake;
use crate::snapshot::database::{beside, quoted};
use rusqlite::{Connection, OpenFlags};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a file could not be made anew.
#[derive(Debug, thiserror::Error)]
pub enum RemakeError {
    /// SQLite refused.
    #[error("cannot make {path} anew by {how}")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// How.
        how: Remake,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The new file cannot take the old one's place.
    #[error("cannot replace {path}")]
    Replace {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// Makes a plain file anew.
///
/// # Errors
/// [`RemakeError`].
pub fn run(path: &Path, how: Remake) -> Result<(), RemakeError> {
    let made = beside(path, "-remade");
    let failed = |source| RemakeError::Sqlite {
        path: path.to_owned(),
        how,
        source,
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let old = Connection::open_with_flags(path, flags).map_err(failed)?;
    let name = made.display().to_string();
    match how {
        Remake::VacuumInto => old.execute("VACUUM INTO ?1", [&name]).map(drop),
        Remake::BackupApi => backup(&old, &made),
        Remake::Dump => dump(&old, &made),
    }
    .map_err(failed)?;
    old.close().map_err(|(_, error)| failed(error))?;
    let replaced = |source| RemakeError::Replace {
        path: path.to_owned(),
        source,
    };
    let permissions = fs::metadata(path).map_err(replaced)?.permissions();
    fs::set_permissions(&made, permissions).map_err(replaced)?;
    for suffix in ["-wal", "-shm"] {
        drop(fs::remove_file(beside(path, suffix)));
        drop(fs::remove_file(beside(&made, suffix)));
    }
    fs::rename(&made, path).map_err(replaced)
}

fn backup(old: &Connection, made: &Path) -> rusqlite::Result<()> {
    let mut new = Connection::open(made)?;
    rusqlite::backup::Backup::new(old, &mut new)?.run_to_completion(100, Duration::ZERO, None)
}

/// Table by table, the counters, then everything else, as `.dump` writes it.
fn dump(old: &Connection, made: &Path) -> rusqlite::Result<()> {
    let new = Connection::open(made)?;
    new.execute_batch("PRAGMA foreign_keys=OFF")?;
    let path = old.path().unwrap_or_default();
    new.execute("ATTACH ?1 AS old", [path])?;
    let list = |condition: &str| -> rusqlite::Result<Vec<(String, String)>> {
        let sql =
            format!("SELECT name, sql FROM old.sqlite_schema WHERE sql IS NOT NULL AND {condition} ORDER BY rowid");
        let mut statement = new.prepare(&sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    for (name, sql) in list("type='table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")? {
        let name = quoted(&name);
        new.execute_batch(&format!("{sql}; INSERT INTO main.{name} SELECT * FROM old.{name};"))?;
    }
    let counters = "SELECT count(*) FROM old.sqlite_schema WHERE name='sqlite_sequence'";
    if new.query_row(counters, [], |row| row.get::<_, i64>(0))? > 0 {
        new.execute_batch(
            "DELETE FROM main.sqlite_sequence; INSERT INTO main.sqlite_sequence SELECT * FROM old.sqlite_sequence;",
        )?;
    }
    for (_, sql) in list("type<>'table'")? {
        new.execute_batch(&sql)?;
    }
    new.execute_batch("DETACH old")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{file, hot_crash};
    use crate::snapshot::summary::summarise;

    #[test]
    fn a_remade_file_has_the_same_content_and_schema() {
        for how in Remake::ALL {
            let set = hot_crash();
            let path = file(&set, Service::Directory);
            let before = summarise(&path).expect("read");
            run(&path, *how).expect("made anew");
            let after = summarise(&path).expect("read");
            assert_eq!((before.digest, before.schema), (after.digest, after.schema), "{how}");
            assert_eq!(
                fs::read_dir(set.path()).expect("listed").count(),
                3,
                "{how}: nothing is left beside"
            );
        }
    }
}
