//! A database file is read without a trace, and a hostile one within limits.

use super::*;

fn names(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path()).expect("listed").flatten();
    let mut names: Vec<String> = entries
        .map(|one| one.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn reading_a_running_services_file_sees_one_instant_and_leaves_its_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("live #1?.db");
    let writer = Connection::open(&path).expect("opened");
    writer
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES (1);")
        .expect("made");
    let before = names(&folder);
    let log = std::fs::read(beside(&path, "-wal")).expect("read");
    let live = Database::open_live(&path).expect("opened");
    writer.execute_batch("INSERT INTO t VALUES (2)").expect("written");
    assert_eq!(live.rows("SELECT a FROM t", &[]).expect("read").len(), 1);
    drop(live);
    assert_eq!(names(&folder), before);
    assert!(std::fs::read(beside(&path, "-wal")).expect("read").starts_with(&log));
}

#[test]
fn a_file_in_log_mode_is_read_without_a_trace() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("plain.db");
    let writer = Connection::open(&path).expect("opened");
    writer
        .execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t(a);")
        .expect("made");
    drop(writer);
    let database = Database::open(&path).expect("opened");
    assert!(database.rows("SELECT a FROM t", &[]).expect("read").is_empty());
    assert!(database.rows("DELETE FROM t", &[]).is_err());
    assert_eq!(names(&folder), ["plain.db"]);
}

#[test]
fn garbage_is_refused_when_it_is_opened() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("garbage.db");
    std::fs::write(&path, b"garbage").expect("written");
    assert!(matches!(Database::open(&path), Err(DatabaseError::Open { .. })));
}

fn hostile(sql: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let connection = Connection::open(folder.path().join("x.db")).expect("opened");
    connection.execute_batch(sql).expect("made");
    folder
}

#[test]
fn what_runs_without_an_end_is_stopped() {
    let folder = hostile(
        "CREATE TABLE t(a); INSERT INTO t VALUES (1);
         CREATE VIEW endless AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r) SELECT n FROM r;",
    );
    let database = Database::open(&folder.path().join("x.db")).expect("opened");
    database.limit.set(std::time::Duration::from_millis(100));
    let error = database.rows("SELECT max(n) FROM endless", &[]).expect_err("stopped");
    assert!(matches!(error, DatabaseError::Endless { .. }), "{error}");
}

#[test]
fn an_honest_file_has_time_left_whatever_passes_between_its_statements() {
    let folder = hostile("CREATE TABLE t(a); INSERT INTO t VALUES (1);");
    let database = Database::open(&folder.path().join("x.db")).expect("opened");
    database.limit.set(std::time::Duration::from_millis(500));
    std::thread::sleep(std::time::Duration::from_millis(600));
    let sql = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r LIMIT 1000) SELECT max(n) FROM r";
    assert_eq!(database.rows(sql, &[]).expect("read").len(), 1);
}

#[test]
fn a_value_of_more_than_256_mib_is_not_read() {
    let folder = hostile("CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(300000000));");
    let database = Database::open(&folder.path().join("x.db")).expect("opened");
    let error = crate::snapshot::digest::table(&database, "t").expect_err("refused");
    assert!(matches!(error, DatabaseError::Read { .. }), "{error}");
}

#[test]
fn given_statements_write_no_other_file_and_end() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let other = folder.path().join("other.db");
    for sql in [
        format!("ATTACH '{0}' AS o; CREATE TABLE o.t(a);", other.display()),
        format!("CREATE TABLE t(a); VACUUM INTO '{}';", other.display()),
        "CREATE TABLE t(a); INSERT INTO t VALUES (zeroblob(100000000));".to_owned(),
    ] {
        assert!(Database::of_sql(&sql, Path::new("given.sql")).is_err(), "{sql}");
        assert!(!other.exists(), "{sql}");
    }
}
