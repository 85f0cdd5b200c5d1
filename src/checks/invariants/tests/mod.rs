//! Every rule is broken by at least one change, and none by a clean set or a harmless change.
//!
//! All on copies of recorded sets of a real Beam 1.6.0: no network, no services.

use crate::checks::invariants::{Alone, examine, judge, observe, observe_up_to, rules};
use crate::deployment::Service;
use crate::evidence::Verdict;
use crate::snapshot::database::Cell;
use crate::snapshot::recorded;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

mod breaking;
mod unseeded;

/// The recorded at-rest set as two plain files, made once.
static AT_REST: LazyLock<TempDir> = LazyLock::new(recorded::plain_at_rest);

/// A copy of the plain at-rest set.
fn at_rest() -> TempDir {
    let into = tempfile::tempdir().expect("a temporary folder");
    for service in Service::ALL {
        let name = service.database_file();
        fs::copy(AT_REST.path().join(name), into.path().join(name)).expect("copied");
    }
    into
}

/// What the rules say of a folder that was taken half a day after the recording.
fn alone(folder: &Path) -> Alone {
    examine(&observe(folder, Some("2026-11-24T12:00:00Z".parse().expect("a time"))))
}

fn silent(alone: &Alone, what: &str) {
    assert!(alone.findings.is_empty(), "{what}: {:#?}", alone.findings);
}

#[test]
fn the_recorded_sets_hold_no_contradiction() {
    let raw = recorded::at_rest();
    for (what, folder) in [
        ("at-rest", &*AT_REST),
        ("raw at-rest", &raw),
        ("hot-crash", &recorded::hot_crash()),
    ] {
        let said = alone(folder.path());
        silent(&said, what);
        assert!(
            said.held >= 85,
            "{what}: only {} rules had something to hold",
            said.held
        );
    }
}

#[test]
fn the_bricked_set_fails_for_its_intent_without_a_trace() {
    let said = alone(recorded::bricked().path());
    assert_eq!(said.findings.len(), 1, "{:#?}", said.findings);
    assert!(said.findings[0].subject.starts_with("I01 ") && said.findings[0].subject.contains("crash-bus-86"));
}

#[test]
fn nothing_appears_beside_a_judged_backup() {
    let folder = at_rest();
    let _ = alone(folder.path());
    assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2);
}

#[test]
fn a_set_without_contradictions_is_never_said_to_pass() {
    let judged = judge(alone(AT_REST.path()));
    assert_eq!(judged.verdict(), Verdict::Pass);
    assert!(
        judged.observed.starts_with("no contradiction found"),
        "{}",
        judged.observed
    );
    let words = format!("{} {} {:?}", judged.expected, judged.observed, judged.notes);
    assert!(!words.contains("pass"), "{words}");
}

#[test]
fn harmless_changes_do_not_alarm() {
    let changes = [
        "VACUUM",
        "PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM",
        "REINDEX",
        "ANALYZE",
        "PRAGMA journal_mode=DELETE",
    ];
    for sql in changes {
        let folder = at_rest();
        for service in Service::ALL {
            recorded::alter(&recorded::file(&folder, service), sql);
        }
        silent(&alone(folder.path()), sql);
    }
    for (service, sql) in [
        (
            Service::Directory,
            "UPDATE agents SET beam_id=beam_id; UPDATE intent_trace_events SET id=id; UPDATE waitlist SET id=id",
        ),
        (
            Service::Directory,
            "UPDATE sqlite_sequence SET seq=seq+5 WHERE name='agent_keys'",
        ),
        (
            Service::Directory,
            "CREATE TEMP TABLE kept AS SELECT * FROM agents ORDER BY beam_id; DELETE FROM agents; INSERT INTO agents SELECT * FROM kept",
        ),
        (Service::Directory, "DELETE FROM rate_limits"),
        (
            Service::Bus,
            "CREATE TEMP TABLE kept AS SELECT * FROM beam_messages ORDER BY id; DELETE FROM beam_messages; INSERT INTO beam_messages SELECT * FROM kept",
        ),
    ] {
        let folder = at_rest();
        recorded::alter(&recorded::file(&folder, service), sql);
        silent(&alone(folder.path()), sql);
    }
}

#[test]
fn a_login_mail_that_was_not_sent_is_no_alarm() {
    let folder = at_rest();
    recorded::alter(
        &recorded::file(&folder, Service::Directory),
        "INSERT INTO admin_magic_links (token, email, role, created_at, expires_at, used)
           SELECT '0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a', email, role, '2026-11-23T23:30:00.000Z', '2026-11-23T23:45:00.000Z', 0 FROM admin_magic_links LIMIT 1",
    );
    let said = alone(folder.path());
    silent(&said, "a login mail that was not sent");
    let reason = said.relaxed.iter().find(|(name, _)| *name == "A01");
    assert!(
        reason.is_some_and(|(_, reason)| reason.contains("not have been sent")),
        "{:?}",
        said.relaxed
    );
}

#[test]
fn a_sender_whose_newest_send_found_nobody_is_no_alarm() {
    let folder = at_rest();
    // Ten minutes after everything else: it is validated and then finds its recipient offline. What other rules say of a lone row
    // does not matter here.
    recorded::alter(
        &recorded::file(&folder, Service::Directory),
        "CREATE TEMP TABLE one AS SELECT * FROM intent_trace_events WHERE stage='validated' AND details LIKE '%\"senderSource\":\"local\"%' LIMIT 1;
         UPDATE one SET id=9999, nonce='found-nobody', timestamp='2026-11-23T23:40:00.000Z';
         INSERT INTO intent_trace_events SELECT * FROM one",
    );
    let said = alone(folder.path());
    assert!(!said.findings.is_empty(), "the row is not seen at all");
    let broken: Vec<_> = said
        .findings
        .iter()
        .filter(|one| one.subject.starts_with("K12"))
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn a_prune_row_relaxes_rules_and_says_so() {
    let folder = at_rest();
    recorded::alter(
        &recorded::file(&folder, Service::Directory),
        r#"DELETE FROM intent_trace_events WHERE nonce='drill-echo-1';
           INSERT INTO audit_log (action, actor, target, timestamp, details) VALUES ('observability.prune', 'ops@beam.local',
             'traces', '2026-11-23T23:29:48.700Z', '{"olderThanDays":30,"deleted":5,"role":"admin"}')"#,
    );
    let said = alone(folder.path());
    silent(&said, "a prune of traces");
    for rule in ["I01", "I16", "Q02", "Q03"] {
        let reason = said.relaxed.iter().find(|(name, _)| *name == rule);
        assert!(
            reason.is_some_and(|(_, reason)| reason.contains("pruned")),
            "{rule}: {:?}",
            said.relaxed
        );
    }
    let notes = judge(said).notes;
    assert!(
        notes.iter().any(|note| note.starts_with("rule I01 not checked")),
        "{notes:?}"
    );
}

#[test]
fn a_table_that_is_too_large_relaxes_the_rules_that_need_it() {
    let said = examine(&observe_up_to(AT_REST.path(), None, 100));
    silent(&said, "at most 100 rows");
    let reason = said
        .relaxed
        .iter()
        .find(|(rule, _)| *rule == "I01")
        .map(|(_, reason)| reason.as_str());
    assert_eq!(reason, Some("intent_trace_events has 116 rows, more than 100"));
}

#[test]
fn names_of_rules_are_unique_and_every_rule_says_why() {
    let mut names: Vec<&str> = rules().map(|rule| rule.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for rule in rules() {
        let sourced = ["contract", "SQLite", "observed"]
            .iter()
            .any(|word| rule.why.contains(word));
        assert!(sourced, "{} does not say where its reason stands", rule.name);
    }
}

#[test]
fn findings_show_no_secret_and_no_address() {
    let folder = at_rest();
    recorded::alter(
        &recorded::file(&folder, Service::Directory),
        "UPDATE waitlist SET email='Someone@alpha.example' WHERE id=1; UPDATE admin_sessions SET id='not-a-session'; \
         UPDATE agents SET api_key_hash='not-a-hash', email='Private@acme.example' WHERE beam_id='sender@acme.beam.directory'",
    );
    let said = format!("{:?}", alone(folder.path()).findings);
    for secret in ["Someone@", "not-a-session", "not-a-hash", "Private@"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[test]
fn generated_columns_are_not_read() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for service in crate::deployment::Service::ALL {
        let name = service.database_file();
        std::fs::copy(AT_REST.path().join(name), folder.path().join(name)).expect("copied");
    }
    rusqlite::Connection::open(folder.path().join("beam-directory.db"))
        .and_then(|file| {
            file.execute_batch(
                "CREATE TABLE g(a, b GENERATED ALWAYS AS (hex(zeroblob(a))) VIRTUAL, c);
                 INSERT INTO g(a, c) WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM r LIMIT 5) SELECT 1000, n FROM r;",
            )
        })
        .expect("made");
    let facts = observe(folder.path(), None);
    let table = facts.tables().find(|table| table.name == "g").expect("loaded");
    assert_eq!(table.columns, ["a", "c"]);
    assert_eq!(
        (table.rows.len(), &table.rows[4].1),
        (5, &vec![Cell::Integer(1000), Cell::Integer(5)])
    );
}
