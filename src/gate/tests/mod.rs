//! Each class of change, named; what does not count; locks written and read back.

mod since;
mod unusual;

use crate::deployment::Service;
use crate::deployment::schema::Schema;
use crate::deployment::schema_change::{Class, SchemaChange};
use crate::gate::annotations::annotations;
use crate::gate::changes::changes;
use crate::gate::compare::{Comparison, compare};
use crate::gate::lock::{self, LockError};
use crate::gate::outcome::Outcome;
use crate::gate::shown;
use crate::snapshot::database::Database;
use crate::snapshot::recorded::{alter, bricked, file, hot_crash, plain_at_rest};
use crate::snapshot::schema_rows::{schema, schema_of_sql};
use std::path::{Path, PathBuf};

const BASE: &str = "CREATE TABLE orgs (id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, note TEXT DEFAULT 'a');
    CREATE TABLE agents (beam_id TEXT PRIMARY KEY, org INTEGER REFERENCES orgs(id) ON DELETE CASCADE, rank REAL DEFAULT 0.5,
        stage TEXT NOT NULL DEFAULT 'new' CHECK (stage IN ('new', 'old')), last TEXT);
    CREATE INDEX by_stage ON agents (stage, last DESC);
    CREATE VIEW young AS SELECT * FROM agents WHERE stage = 'new';
    CREATE TRIGGER touch AFTER UPDATE ON orgs BEGIN UPDATE orgs SET note = 'b' WHERE id = new.id; DELETE FROM agents; END;";

fn of(sql: &str) -> Schema {
    schema_of_sql(sql, Path::new("test.sql")).expect("a schema")
}

fn after(from: &str, to: &str) -> Vec<SchemaChange> {
    assert!(BASE.contains(from), "{from}");
    changes(&of(BASE), &of(&BASE.replacen(from, to, 1)))
}

fn locks() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/schemas")
}

fn held(path: &Path, service: Service) -> Comparison {
    let lock = lock::read(&locks(), service).expect("a lock");
    let observed = schema(&Database::open(path).expect("opened")).expect("read");
    compare(&lock, "fixtures/schemas/x.sql", &observed, "test")
}

#[test]
fn each_change_has_its_class_and_says_what_it_means_for_an_older_snapshot() {
    use Class::{Breaking, Compatible};
    for (from, to, class, subject, what) in [
        (
            "last TEXT)",
            "last TEXT, region TEXT)",
            Compatible,
            "column agents.region",
            "added: TEXT",
        ),
        (
            "last TEXT)",
            "last TEXT, n INT NOT NULL DEFAULT -1)",
            Compatible,
            "column agents.n",
            "added: INT NOT NULL",
        ),
        (
            "last TEXT)",
            "last TEXT, kind TEXT CHECK (kind IN ('a')))",
            Compatible,
            "column agents.kind",
            "added: TEXT",
        ),
        (
            "CREATE INDEX",
            "CREATE TABLE more (x); CREATE INDEX",
            Compatible,
            "table more",
            "added, 1 columns",
        ),
        (
            "CREATE VIEW",
            "CREATE INDEX by_last ON agents (last); CREATE VIEW",
            Compatible,
            "index by_last on agents",
            "added: agents(last)",
        ),
        (
            "CREATE VIEW",
            "CREATE UNIQUE INDEX by_last ON agents (last); CREATE VIEW",
            Breaking,
            "index by_last on agents",
            "added: agents(last) UNIQUE",
        ),
        (
            "last TEXT)",
            "last TEXT, n INT NOT NULL)",
            Breaking,
            "column agents.n",
            "added: INT NOT NULL",
        ),
        (
            "last TEXT)",
            "last TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP)",
            Breaking,
            "column agents.at",
            "added: TEXT DEFAULT",
        ),
        (
            "last TEXT)",
            "last TEXT, n INT UNIQUE)",
            Breaking,
            "column agents.n",
            "added: INT",
        ),
        (
            ", note TEXT DEFAULT 'a'",
            "",
            Breaking,
            "column orgs.note",
            "dropped (was TEXT DEFAULT 'a')",
        ),
        (
            "rank REAL",
            "score REAL",
            Breaking,
            "column agents.rank",
            "renamed to agents.score",
        ),
        (
            "rank REAL",
            "rank TEXT",
            Breaking,
            "column agents.rank",
            "changed from REAL",
        ),
        (
            "DEFAULT 0.5",
            "DEFAULT 0.6",
            Breaking,
            "column agents.rank",
            "changed from REAL DEFAULT 0.5 to",
        ),
        (
            "rank REAL",
            "rank REAL NOT NULL",
            Breaking,
            "column agents.rank",
            "changed from",
        ),
        (
            "slug TEXT NOT NULL",
            "slug TEXT",
            Breaking,
            "column orgs.slug",
            "changed from TEXT NOT NULL to TEXT",
        ),
        (
            "slug TEXT",
            "slug TEXT COLLATE NOCASE",
            Breaking,
            "column orgs.slug",
            "changed from",
        ),
        (
            "NOT NULL UNIQUE",
            "NOT NULL",
            Breaking,
            "unique constraint on orgs(slug)",
            "dropped",
        ),
        (
            "beam_id TEXT PRIMARY KEY",
            "beam_id TEXT",
            Breaking,
            "column agents.beam_id",
            "changed from TEXT PRIMARY KEY 1",
        ),
        (
            " AUTOINCREMENT",
            "",
            Breaking,
            "table orgs",
            "changed from table AUTOINCREMENT",
        ),
        (
            "ON DELETE CASCADE",
            "",
            Breaking,
            "foreign key agents(org)",
            "changed from",
        ),
        (
            "'new', 'old'",
            "'new'",
            Breaking,
            "CHECK ( stage in ( 'new' , 'old' ) ) of agents",
            "changed from (stage IN ('new', 'old')) to (stage IN ('new'))",
        ),
        (
            " CHECK (stage IN ('new', 'old'))",
            "",
            Breaking,
            "CHECK ( stage in ( 'new' , 'old' ) ) of agents",
            "dropped",
        ),
        (
            "INDEX by_stage ON agents (stage, last DESC);",
            "VIEW v AS SELECT 1;",
            Breaking,
            "index by_stage on agents",
            "dropped",
        ),
        (
            "last DESC)",
            "last DESC) WHERE last > ''",
            Breaking,
            "index by_stage on agents",
            "changed from",
        ),
        (
            "note = 'b'",
            "note = 'c'",
            Breaking,
            "trigger touch on orgs",
            "changed from",
        ),
        (
            "stage = 'new';",
            "stage = 'old';",
            Breaking,
            "view young",
            "changed from",
        ),
    ] {
        let found = after(from, to);
        let change = found.iter().find(|one| one.subject == subject);
        let change = change.unwrap_or_else(|| panic!("{from} → {to}: {found:#?}"));
        assert_eq!(change.class, class, "{from} → {to}: {change:?}");
        assert!(change.what.starts_with(what), "{from} → {to}: {change:?}");
        assert!(!change.restoring.is_empty());
    }
}

#[test]
fn a_renamed_column_is_one_change_wherever_it_is_spoken_of() {
    let other = BASE.replace("stage", "step");
    let other = other.replace("by_step", "by_stage").replace(
        "VIEW young AS SELECT * FROM agents WHERE step",
        "VIEW young AS SELECT * FROM agents WHERE stage",
    );
    let found = changes(&of(BASE), &of(&other));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].what, "renamed to agents.step");
}

#[test]
fn a_dropped_table_is_one_change() {
    let dropped = "DROP VIEW young; DROP TABLE agents;";
    let found = changes(&of(BASE), &of(&format!("{BASE} {dropped}")));
    let subjects: Vec<&str> = found.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects, ["table agents", "view young"]);
    assert_eq!(found[0].class, Class::Breaking);
}

#[test]
fn column_order_white_space_comments_and_the_place_of_a_constraint_do_not_count() {
    let other = BASE
        .replace("rank REAL DEFAULT 0.5,", "")
        .replace(
            "beam_id TEXT PRIMARY KEY,",
            "beam_id   text PRIMARY KEY, /* rank */ rank REAL DEFAULT 0.5,",
        )
        .replace(
            "slug TEXT NOT NULL UNIQUE, note TEXT DEFAULT 'a'",
            "slug TEXT NOT NULL, note TEXT DEFAULT 'a', UNIQUE(slug)",
        );
    assert_ne!(other, BASE);
    assert_eq!(changes(&of(BASE), &of(&other)), []);
}

#[test]
fn a_lost_nonce_guard_is_named() {
    for (service, sql, name) in [
        (Service::Bus, "DROP INDEX idx_beam_nonce", "the bus nonce"),
        (
            Service::Bus,
            "DROP INDEX idx_beam_nonce; CREATE INDEX idx_beam_nonce ON beam_messages(nonce)",
            "the bus nonce",
        ),
        (
            Service::Bus,
            "DROP INDEX idx_beam_nonce; CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages(nonce) WHERE status<>'failed'",
            "the bus nonce",
        ),
        (
            Service::Directory,
            "DROP INDEX idx_intent_trace_nonce",
            "the intent trace nonce index",
        ),
        (
            Service::Directory,
            "CREATE TABLE other AS SELECT * FROM intent_log; DROP TABLE intent_log; ALTER TABLE other RENAME TO intent_log",
            "the unique nonce of intent_log",
        ),
    ] {
        let folder = plain_at_rest();
        alter(&file(&folder, service), sql);
        let one = held(&file(&folder, service), service);
        let lost: Vec<&String> = one
            .changes
            .iter()
            .filter_map(|change| change.nonce_guard_lost.as_ref())
            .collect();
        assert!(
            lost.len() == 1 && lost[0].starts_with(name),
            "{sql}: {:#?}",
            one.changes
        );
    }
}

#[test]
fn the_recorded_real_databases_have_the_locked_schemas() {
    for folder in [plain_at_rest(), hot_crash(), bricked()] {
        for service in Service::ALL {
            let one = held(&file(&folder, service), service);
            assert!(!one.is_changed() && one.diff.is_empty(), "{}", shown::text(&[one]));
            assert!(one.items > 20);
        }
    }
}

#[test]
fn a_lock_makes_the_schema_that_it_was_written_from() {
    for sql in [
        BASE,
        "CREATE TABLE t (\"select\" TEXT DEFAULT (lower('A')), b BLOB DEFAULT x'00ff', n INT DEFAULT -1, \
         g INT AS (n * 2) STORED, PRIMARY KEY (n, b)) WITHOUT ROWID; CREATE INDEX i ON t (lower(b), n DESC) WHERE n > 1.5;",
        "CREATE TABLE t (a INT UNIQUE ON CONFLICT IGNORE, b INT REFERENCES t(a) DEFERRABLE INITIALLY DEFERRED) STRICT;",
        "CREATE TABLE empty (a, \"b c\" \"odd type\" CHECK (\"b c\" <> 'It''s (')); CREATE VIEW v AS SELECT 1 AS x;",
    ] {
        let schema = of(sql);
        let text = lock::text(Service::Bus, &schema, &schema);
        assert_eq!(changes(&schema, &of(&text)), [], "{text}");
        assert_eq!(lock::text(Service::Bus, &of(&text), &schema), text);
    }
}

#[test]
fn an_accepted_change_is_written_with_its_reason_and_an_edited_lock_is_noticed() {
    let folder = tempfile::tempdir().expect("a folder");
    let accept =
        |sql: &str, reason: &str| lock::accept(folder.path(), &[(Service::Bus, of(sql))], reason, "2026-11-25");
    accept(BASE, "the first").expect("accepted");
    let changed = BASE.replace("last TEXT)", "last TEXT, region TEXT)");
    assert!(matches!(accept(BASE, "again"), Err(LockError::NoChange)));
    accept(&changed, "agents have a region").expect("accepted");
    let list = std::fs::read_to_string(folder.path().join(lock::CHANGES)).expect("read");
    assert!(list.contains("Reason: agents have a region"), "{list}");
    assert!(
        list.contains("- compatible: column agents.region added: TEXT."),
        "{list}"
    );
    let lock = lock::read(folder.path(), Service::Bus).expect("read");
    assert!(!compare(&lock, "bus.sql", &of(&changed), "test").is_changed());

    let path = lock::file(folder.path(), Service::Bus);
    let text = std::fs::read_to_string(&path).expect("read");
    let edited = text.replace("  region TEXT", "  region TEXT,\n  zone TEXT");
    std::fs::write(&path, &edited).expect("written");
    let lock = lock::read(folder.path(), Service::Bus).expect("read");
    let one = compare(&lock, "bus.sql", &of(&edited), "test");
    assert!(one.changes.is_empty() && one.is_changed());
    assert!(shown::text(&[one]).contains("edited by hand"));
}

#[test]
fn a_dropped_nonce_index_stands_on_its_line_of_the_lock_and_in_the_diff() {
    let folder = plain_at_rest();
    let path = file(&folder, Service::Bus);
    alter(&path, "DROP INDEX idx_beam_nonce");
    let one = held(&path, Service::Bus);
    let lock = std::fs::read_to_string(lock::file(&locks(), Service::Bus)).expect("read");
    let at = lock
        .lines()
        .position(|line| line.contains(" idx_beam_nonce "))
        .expect("its line")
        + 1;
    let diff = one.diff.clone();
    let outcome = Outcome {
        comparisons: vec![one],
        ..Outcome::default()
    };
    let told = annotations(&outcome);
    assert!(
        told[0].starts_with(&format!("::error file=fixtures/schemas/x.sql,line={at},title=")),
        "{told:?}"
    );
    assert!(diff.contains("\n-CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce);\n"));
    assert!(shown::summary(&outcome).contains("| breaking | index idx_beam_nonce on beam_messages dropped"));
}
