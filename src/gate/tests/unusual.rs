//! Changes of the real locks that are easy to take for another one: renames, guards lost halfway, defaults, spellings.

use crate::deployment::Service;
use crate::deployment::schema_change::{Class, SchemaChange};
use crate::gate::compare::{Comparison, compare};
use crate::gate::lock;
use crate::gate::tests::{locks, of};
use Class::{Breaking, Compatible};

/// The lock of a service with texts replaced, each once, against the lock itself.
#[track_caller]
fn altered(service: Service, edits: &[(&str, &str)]) -> Comparison {
    let held = lock::read(&locks(), service).expect("a lock");
    let mut text = std::fs::read_to_string(&held.path).expect("read");
    for (from, to) in edits {
        assert!(text.contains(from), "{from}");
        text = text.replacen(from, to, 1);
    }
    compare(&held, "the lock", &of(&text), "altered")
}

fn lost(all: &[SchemaChange]) -> Vec<(&str, &str)> {
    all.iter()
        .filter_map(|one| Some((one.subject.as_str(), one.nonce_guard_lost.as_deref()?)))
        .collect()
}

const NONCE_INDEX: &str = "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce);";

#[test]
fn every_way_to_lose_the_nonce_of_the_bus_is_named_at_its_index() {
    for (to, how) in [
        ("", "no index of it is left"),
        (
            "CREATE INDEX idx_beam_nonce ON beam_messages (nonce);",
            "its index is not UNIQUE",
        ),
        (
            "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce) WHERE status <> 'failed';",
            "of some rows only, WHERE status <> 'failed'",
        ),
        (
            "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce, sender);",
            "only together with sender",
        ),
        (
            "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (trace_id);",
            "no index of it is left",
        ),
        (
            "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce COLLATE NOCASE);",
            "compares by NOCASE",
        ),
        (
            "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (lower(nonce));",
            "no index of it is left",
        ),
    ] {
        let one = altered(Service::Bus, &[(NONCE_INDEX, to)]);
        let lost = lost(&one.changes);
        assert_eq!(lost.len(), 1, "{to}: {:#?}", one.changes);
        assert_eq!(lost[0].0, "index idx_beam_nonce on beam_messages", "{to}");
        assert!(lost[0].1.contains(how), "{to}: {lost:?}");
        assert_eq!(one.changes[0].class, Breaking);
    }
}

#[test]
fn every_way_to_lose_the_nonce_of_an_intent_is_named_at_its_constraint() {
    let unique = "  result_json TEXT,\n  UNIQUE (nonce)\n";
    for (edits, subject) in [
        (
            vec![(unique, "  result_json TEXT\n")],
            "unique constraint on intent_log(nonce)",
        ),
        (
            vec![(unique, "  result_json TEXT,\n  UNIQUE (nonce, status)\n")],
            "unique constraint on intent_log(nonce)",
        ),
        (
            vec![(unique, "  result_json TEXT,\n  UNIQUE (nonce) ON CONFLICT REPLACE\n")],
            "clause of intent_log: unique ( nonce ) on conflict replace",
        ),
        (
            vec![(
                "nonce TEXT NOT NULL,\n  from_beam_id",
                "nonce TEXT COLLATE NOCASE NOT NULL,\n  from_beam_id",
            )],
            "unique constraint on intent_log(nonce)",
        ),
    ] {
        let one = altered(Service::Directory, &edits);
        let lost = lost(&one.changes);
        assert_eq!(lost.len(), 1, "{edits:?}: {:#?}", one.changes);
        assert_eq!(lost[0].0, subject);
        assert!(lost[0].1.starts_with("the unique nonce of intent_log: "), "{lost:?}");
    }
}

#[test]
fn a_nonce_that_is_still_guarded_is_not_called_lost() {
    let of_bus: [&[(&str, &str)]; 5] = [
        &[("idx_beam_nonce", "idx_nonce")],
        &[(NONCE_INDEX, ""), ("nonce TEXT,", "nonce TEXT UNIQUE,")],
        &[
            ("  nonce TEXT,", "  message_nonce TEXT,"),
            ("(nonce)", "(message_nonce)"),
        ],
        &[("(nonce);", "(nonce DESC);")],
        &[("idx_beam_sender", "idx_sender")],
    ];
    for edits in of_bus {
        let one = altered(Service::Bus, edits);
        assert!(
            !one.changes.is_empty() && lost(&one.changes).is_empty(),
            "{edits:?}: {:#?}",
            one.changes
        );
    }
}

#[test]
fn a_renamed_table_is_one_breaking_change_that_says_where_the_rows_stay() {
    let held = lock::read(&locks(), Service::Directory).expect("a lock");
    let text = std::fs::read_to_string(&held.path).expect("read");
    // The parent of five foreign keys; columns and indexes keep their names.
    let one = compare(
        &held,
        "the lock",
        &of(&text.replace(" workspaces ", " spaces ")),
        "renamed",
    );
    let told: Vec<(&str, &str)> = one
        .changes
        .iter()
        .map(|one| (one.subject.as_str(), one.what.as_str()))
        .collect();
    assert_eq!(told, [("table workspaces", "renamed to spaces")]);
    assert_eq!(one.changes[0].class, Breaking);
    assert!(one.changes[0].restoring.contains("keeps its rows in workspaces"));
    assert!(one.diff.contains("-CREATE TABLE workspaces (") && one.diff.contains("+CREATE TABLE spaces ("));
    let line = text.lines().nth(usize::try_from(one.lines[0]).expect("a line") - 1);
    assert_eq!(line, Some("CREATE TABLE workspaces ("));
}

#[test]
fn a_renamed_table_tells_what_else_changed_in_it() {
    let held = lock::read(&locks(), Service::Bus).expect("a lock");
    let text = std::fs::read_to_string(&held.path).expect("read");
    let text = text
        .replace("beam_messages", "messages")
        .replace("max_retries INTEGER DEFAULT 5", "max_retries INTEGER");
    let text = text.replace("CREATE UNIQUE INDEX idx_beam_nonce ON messages (nonce);", "");
    let one = compare(&held, "the lock", &of(&text), "renamed");
    let told: Vec<&str> = one.changes.iter().map(|one| one.subject.as_str()).collect();
    let expected = [
        "table beam_messages",
        "column messages.max_retries",
        "index idx_beam_nonce on messages",
    ];
    assert_eq!(told, expected);
    assert_eq!(lost(&one.changes)[0].0, "index idx_beam_nonce on messages");
    // The lines are those of the lock, where the table has its old name.
    let lines: Vec<&str> = one.lines.iter().map(|at| line_of_lock(&held, *at)).collect();
    assert_eq!(
        lines,
        [
            "CREATE TABLE beam_messages (",
            "  max_retries INTEGER DEFAULT 5,",
            NONCE_INDEX
        ]
    );
}

fn line_of_lock(held: &lock::Lock, at: u64) -> &'static str {
    let text = std::fs::read_to_string(&held.path).expect("read").leak();
    text.lines()
        .nth(usize::try_from(at).expect("a line") - 1)
        .expect("a line of the lock")
}

#[test]
fn a_table_of_other_columns_is_no_rename() {
    let reports =
        "CREATE TABLE reports (\n  id INTEGER PRIMARY KEY AUTOINCREMENT,\n  reporter_beam_id TEXT NOT NULL,\n";
    let other =
        "CREATE TABLE complaints (\n  id INTEGER PRIMARY KEY AUTOINCREMENT,\n  author TEXT NOT NULL,\n  note TEXT,\n";
    let one = altered(
        Service::Directory,
        &[
            (reports, other),
            ("idx_reports_target ON reports", "idx_reports_target ON complaints"),
        ],
    );
    let told: Vec<(&str, Class)> = one
        .changes
        .iter()
        .map(|one| (one.subject.as_str(), one.class))
        .collect();
    assert_eq!(told, [("table reports", Breaking), ("table complaints", Compatible)]);
}

#[test]
fn a_renamed_index_is_told_and_compatible() {
    let one = altered(Service::Bus, &[("idx_beam_nonce", "idx_nonce")]);
    assert_eq!(one.changes.len(), 1, "{:#?}", one.changes);
    assert_eq!(one.changes[0].what, "renamed to idx_nonce");
    assert_eq!(one.changes[0].class, Compatible);
    assert!(one.is_changed(), "it has to be accepted all the same");
}

#[test]
fn new_columns_are_held_against_what_sqlite_adds() {
    for (definition, class, told) in [
        ("f TEXT", Compatible, "old rows get NULL"),
        ("f TEXT DEFAULT 'it''s'", Compatible, "old rows get 'it''s'"),
        ("f BLOB DEFAULT x'00ff'", Compatible, "old rows get x'00ff'"),
        ("f REAL DEFAULT 1.5e-3", Compatible, "old rows get 1.5e-3"),
        ("f INTEGER DEFAULT 0x10", Compatible, "old rows get 0x10"),
        ("f INTEGER NOT NULL DEFAULT (-1)", Compatible, "old rows get -1"),
        ("f TEXT DEFAULT \"eu\"", Compatible, "old rows get \"eu\""),
        ("f TEXT DEFAULT eu", Compatible, "old rows get eu"),
        ("f INTEGER DEFAULT TRUE", Compatible, "old rows get TRUE"),
        ("f TEXT AS (lower(nonce))", Compatible, "computed from old rows"),
        (
            "f INTEGER NOT NULL DEFAULT 1 CHECK (f > 0)",
            Compatible,
            "old rows get 1",
        ),
        ("f INTEGER CHECK (f IN (1, 2))", Compatible, "old rows get NULL"),
        ("f INTEGER DEFAULT 0 CHECK (f > 0)", Breaking, "do not pass the CHECK"),
        ("f INTEGER CHECK (f IS NOT NULL)", Breaking, "do not pass the CHECK"),
        ("f TEXT DEFAULT (datetime('now'))", Breaking, "no constant"),
        ("f TEXT DEFAULT CURRENT_TIMESTAMP", Breaking, "no constant"),
        ("f TEXT NOT NULL", Breaking, "NOT NULL without a default"),
        ("f TEXT NOT NULL DEFAULT NULL", Breaking, "NOT NULL without a default"),
        ("f TEXT UNIQUE", Breaking, "no PRIMARY KEY or UNIQUE column"),
        (
            "f TEXT AS (lower(nonce)) STORED",
            Breaking,
            "no STORED generated column",
        ),
        ("f TEXT REFERENCES beam_messages(id)", Compatible, "old rows get NULL"),
        (
            "f TEXT DEFAULT 'x' REFERENCES beam_messages(id)",
            Breaking,
            "no column with REFERENCES",
        ),
    ] {
        let one = altered(
            Service::Bus,
            &[("metadata TEXT\n", &format!("metadata TEXT,\n  {definition}\n"))],
        );
        assert_eq!(one.changes.len(), 1, "{definition}: {:#?}", one.changes);
        let change = &one.changes[0];
        assert_eq!(
            (change.subject.as_str(), change.class),
            ("column beam_messages.f", class),
            "{definition}"
        );
        assert!(change.restoring.contains(told), "{definition}: {change:?}");
        assert!(one.diff.contains("\n+  f "), "{definition}: {}", one.diff);
    }
}

#[test]
fn a_new_unique_index_breaks_only_where_old_rows_may_repeat_a_value() {
    for (columns, index, class) in [
        ("", "trace_id", Breaking),
        ("", "nonce, sender", Compatible),
        ("", "id", Compatible),
        (",\n  f TEXT", "f", Compatible),
        (",\n  f TEXT DEFAULT 'x'", "f", Breaking),
    ] {
        let column = format!("metadata TEXT{columns}\n");
        let index = format!("{NONCE_INDEX}\nCREATE UNIQUE INDEX more ON beam_messages ({index});");
        let one = altered(Service::Bus, &[("metadata TEXT\n", &column), (NONCE_INDEX, &index)]);
        let added = one
            .changes
            .iter()
            .find(|one| one.subject == "index more on beam_messages");
        assert_eq!(added.map(|one| one.class), Some(class), "{index}: {:#?}", one.changes);
    }
}

#[test]
fn another_spelling_of_the_same_is_no_change() {
    let agents = "FOREIGN KEY (source_beam_id) REFERENCES agents (beam_id)";
    let role = "CHECK (role IN ('admin', 'operator', 'viewer'))";
    let of_directory: [(&str, &str); 9] = [
        (agents, "FOREIGN KEY (source_beam_id) REFERENCES AGENTS"),
        (
            agents,
            "FOREIGN KEY (\"source_beam_id\") REFERENCES [agents] (BEAM_ID) ON DELETE NO ACTION",
        ),
        (
            agents,
            "CONSTRAINT c FOREIGN KEY (source_beam_id) REFERENCES agents (beam_id) NOT DEFERRABLE",
        ),
        (
            agents,
            "FOREIGN KEY (source_beam_id) REFERENCES agents (beam_id) DEFERRABLE INITIALLY IMMEDIATE",
        ),
        (role, "check (((`role` in ('admin','operator','viewer'))))"),
        ("  org TEXT,", "  org text null default null,"),
        ("DEFAULT 0.5", "DEFAULT (+0.5)"),
        (
            "CREATE TABLE workspaces",
            "create table if not exists \"main\".\"workspaces\"",
        ),
        (
            "slug TEXT NOT NULL",
            "slug TEXT NOT NULL ON CONFLICT ABORT /* UNIQUE */ -- CHECK (1)\n",
        ),
    ];
    for (from, to) in of_directory {
        let one = altered(Service::Directory, &[(from, to)]);
        assert!(
            one.changes.is_empty() && one.diff.is_empty(),
            "{to}: {:#?}",
            one.changes
        );
    }
}
