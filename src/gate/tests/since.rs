//! A change against the commit that it started from, in repositories made for the test.

use crate::deployment::Service;
use crate::evidence::Verdict;
use crate::gate::annotations::annotations;
use crate::gate::base::{Since, put_older_locks, since};
use crate::gate::git::{Change, GitError};
use crate::gate::lock::{self, CHANGES};
use crate::gate::outcome::Outcome;
use crate::gate::relevant;
use crate::gate::shown;
use crate::gate::tests::{locks, of};
use crate::gate::upgrade::Upgrade;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Runs git in a folder, whatever the user's own configuration says.
#[track_caller]
fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    for setting in [
        "user.name=drills",
        "user.email=drills@localhost",
        "commit.gpgsign=false",
        "core.autocrlf=false",
    ] {
        command.args(["-c", setting]);
    }
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A repository whose branch `main` has the project's locks in `fixtures/schemas`, on a branch `change` of it.
struct Repository {
    folder: TempDir,
}

impl Repository {
    fn new() -> Repository {
        let folder = tempfile::tempdir().expect("a folder");
        let repository = Repository { folder };
        let schemas = repository.schemas();
        fs::create_dir_all(&schemas).expect("a folder");
        for file in ["bus.sql", "directory.sql", CHANGES] {
            fs::copy(locks().join(file), schemas.join(file)).expect("copied");
        }
        fs::write(repository.root().join("README.md"), "read me\n").expect("written");
        git(repository.root(), &["init", "--quiet", "--initial-branch=main"]);
        repository.commit("locks");
        git(repository.root(), &["checkout", "--quiet", "-b", "change"]);
        repository
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn schemas(&self) -> PathBuf {
        self.root().join("fixtures/schemas")
    }

    fn commit(&self, message: &str) {
        git(self.root(), &["add", "--all"]);
        git(self.root(), &["commit", "--quiet", "--message", message]);
    }

    /// Accepts a bus lock with texts replaced.
    fn accept(&self, from: &str, to: &str) {
        let text = fs::read_to_string(lock::file(&self.schemas(), Service::Bus)).expect("read");
        assert!(text.contains(from));
        let schema = of(&text.replacen(from, to, 1));
        lock::accept(&self.schemas(), &[(Service::Bus, schema)], "for the test", "2026-11-25").expect("accepted");
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.schemas().join(file);
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains(from), "{text}");
        fs::write(&path, text.replacen(from, to, 1)).expect("written");
    }

    #[track_caller]
    fn since(&self, reference: &str) -> Since {
        since(&self.schemas(), reference, shown).expect("compared")
    }
}

fn shown(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

const COLUMN: (&str, &str) = ("  metadata TEXT\n", "  metadata TEXT,\n  region TEXT\n");
const NONCE: &str = "CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce);\n";

#[test]
fn a_change_of_service_and_lock_together_is_shown_with_its_class_reason_and_diff() {
    let repository = Repository::new();
    repository.accept(COLUMN.0, COLUMN.1);
    repository.commit("accepted");
    let since = repository.since("main");
    assert_eq!(since.problems, [], "{since:#?}");
    let one = &since.accepted[0];
    assert_eq!(
        (since.accepted.len(), one.service, one.is_first),
        (1, Service::Bus, false)
    );
    assert_eq!(one.reasons, ["for the test"]);
    assert_eq!(one.changes[0].subject, "column beam_messages.region");
    let text = fs::read_to_string(repository.schemas().join("bus.sql")).expect("read");
    assert_eq!(
        text.lines().nth(usize::try_from(one.lines[0]).expect("a line") - 1),
        Some("  region TEXT")
    );
    assert!(one.diff.contains("\n+  region TEXT\n"));
    let told = shown::text_since(&since);
    assert!(
        told.contains("bus: accepted in this change: 0 breaking and 1 compatible"),
        "{told}"
    );

    let older = tempfile::tempdir().expect("a folder");
    put_older_locks(&repository.schemas(), &since, older.path()).expect("put");
    assert!(
        !fs::read_to_string(older.path().join("bus.sql"))
            .expect("read")
            .contains("region")
    );
}

#[test]
fn an_accepted_change_passes_only_with_the_drill_and_a_dropped_nonce_index_is_a_warning_at_its_table() {
    let repository = Repository::new();
    repository.accept(NONCE, "");
    let mut outcome = Outcome {
        since: Some(repository.since("main")),
        comparisons: [Service::Bus, Service::Directory]
            .map(|service| held(&repository, service))
            .to_vec(),
        ..Outcome::default()
    };
    assert!(outcome.is_accepting() && outcome.needs_upgrade() && !outcome.is_refused());
    assert_eq!(
        outcome.verdict(),
        Verdict::Inconclusive,
        "without the drill nothing is proven"
    );
    for verdict in [Verdict::Pass, Verdict::Inconclusive, Verdict::Fail] {
        outcome.upgrade = Some(Upgrade {
            verdict,
            run: "a-run".to_owned(),
            reasons: vec!["a reason".to_owned()],
            sets: Vec::new(),
            way_back: None,
        });
        assert_eq!(outcome.verdict(), verdict);
        let summary = shown::summary(&outcome);
        assert!(summary.starts_with(&format!("## Schema gate: {verdict}")), "{summary}");
        assert!(
            summary.contains("**Lost: the bus nonce: no index of it is left"),
            "{summary}"
        );
        let told = annotations(&outcome);
        let expected = "::warning file=bus.sql,line=5,title=accepted breaking schema change::index idx_beam_nonce";
        assert!(told.iter().any(|line| line.starts_with(expected)), "{told:?}");
        let is_red = told
            .iter()
            .any(|line| line.starts_with("::error title=schema-upgrade::"));
        assert_eq!(is_red, verdict != Verdict::Pass, "{told:?}");
    }
}

fn held(repository: &Repository, service: Service) -> crate::gate::compare::Comparison {
    let held = lock::read(&repository.schemas(), service).expect("a lock");
    crate::gate::compare::compare(&held, "x.sql", &held.schema, "the same")
}

#[test]
fn a_lock_that_was_edited_without_an_entry_is_refused() {
    let repository = Repository::new();
    repository.edit("bus.sql", NONCE, "");
    let since = repository.since("main");
    assert_eq!(since.problems.len(), 1, "{since:#?}");
    assert!(
        since.problems[0].what.contains("got no entry that says why"),
        "{since:#?}"
    );
    assert!(shown::text_since(&since).contains("bus: not accepted in this change: 1 breaking"));
    let outcome = Outcome {
        comparisons: vec![held(&repository, Service::Bus)],
        since: Some(since),
        ..Outcome::default()
    };
    assert_eq!(outcome.verdict(), Verdict::Fail);
}

#[test]
fn an_entry_that_tells_something_else_or_has_no_reason_is_refused() {
    let repository = Repository::new();
    repository.accept(NONCE, "");
    repository.edit(
        CHANGES,
        "- breaking: index idx_beam_nonce",
        "- compatible: index idx_beam_nonce",
    );
    let told = repository.since("main").problems;
    assert!(
        told[0].what.contains("does not tell \"breaking: index idx_beam_nonce"),
        "{told:?}"
    );
    repository.edit(CHANGES, "Reason: for the test", "Reason: ");
    let told = repository.since("main").problems;
    assert!(told[0].what.contains("gives no reason"), "{told:?}");
}

#[test]
fn an_entry_of_the_base_that_is_gone_is_refused() {
    let repository = Repository::new();
    repository.edit(
        CHANGES,
        "Reason: first lock: what the reference",
        "Reason: other words: what the reference",
    );
    let since = repository.since("main");
    assert!(since.accepted.is_empty() && since.problems.len() == 1, "{since:#?}");
    assert!(since.problems[0].what.contains("is gone or altered"), "{since:#?}");
}

#[test]
fn what_the_base_got_since_is_not_taken_for_part_of_the_change() {
    let repository = Repository::new();
    fs::write(repository.root().join("notes.md"), "a note\n").expect("written");
    repository.commit("a note");
    git(repository.root(), &["checkout", "--quiet", "main"]);
    repository.accept(COLUMN.0, COLUMN.1);
    repository.commit("accepted on main");
    git(repository.root(), &["checkout", "--quiet", "change"]);
    let since = repository.since("main");
    assert!(since.accepted.is_empty() && since.problems.is_empty(), "{since:#?}");
    let files = Change::since(&repository.schemas(), "main").and_then(|change| change.files());
    assert_eq!(files.expect("listed"), ["notes.md"]);
}

#[test]
fn a_lock_that_the_base_had_not_is_told() {
    let repository = Repository::new();
    git(repository.root(), &["checkout", "--quiet", "--orphan", "empty"]);
    git(repository.root(), &["rm", "--quiet", "-r", "--cached", "."]);
    git(
        repository.root(),
        &["commit", "--quiet", "--allow-empty", "--message", "nothing"],
    );
    repository.commit("the first locks");
    let since = repository.since("HEAD~1");
    assert!(since.accepted.len() == 2 && since.accepted.iter().all(|one| one.is_first));
    assert!(shown::text_since(&since).contains("bus.sql is new in this change"));
}

#[test]
fn every_file_of_a_change_is_listed_committed_or_not() {
    let repository = Repository::new();
    fs::write(repository.root().join("added ü.md"), "more\n").expect("written");
    repository.commit("a document");
    let files = || {
        Change::since(&repository.schemas(), "main")
            .and_then(|change| change.files())
            .expect("listed")
    };
    assert_eq!(files(), ["added ü.md"]);
    assert!(!relevant::is_changed(&relevant::touched(&files())));
    git(repository.root(), &["mv", "fixtures/schemas/bus.sql", "bus.md"]);
    fs::write(repository.root().join("new.rs"), "fn main() {}\n").expect("written");
    assert_eq!(files(), ["added ü.md", "bus.md", "fixtures/schemas/bus.sql", "new.rs"]);
    assert!(relevant::is_changed(&relevant::touched(&files())));
}

#[test]
fn a_reference_that_is_none_and_a_shallow_clone_are_told_apart() {
    let repository = Repository::new();
    for reference in [
        "no-such-branch",
        "",
        "--output=x",
        "0000000000000000000000000000000000000000",
    ] {
        let error = Change::since(&repository.schemas(), reference).expect_err(reference);
        assert!(matches!(error, GitError::NoCommit { .. }), "{reference}: {error}");
    }
    let blob = Change::since(&repository.schemas(), "HEAD:README.md").expect_err("no commit");
    assert!(matches!(blob, GitError::NoCommit { .. }), "{blob}");
    fs::write(repository.root().join("more.md"), "more\n").expect("written");
    repository.commit("more");
    let clone = tempfile::tempdir().expect("a folder");
    let from = format!("file://{}", repository.root().display());
    let to = clone.path().display().to_string();
    git(
        repository.root(),
        &[
            "clone",
            "--quiet",
            "--depth=1",
            "--no-single-branch",
            "--branch=change",
            &from,
            &to,
        ],
    );
    for reference in ["origin/main", "main~1"] {
        let error = Change::since(&clone.path().join("fixtures/schemas"), reference).expect_err(reference);
        assert!(matches!(error, GitError::Shallow { .. }), "{reference}: {error}");
        assert!(error.to_string().contains("fetch-depth: 0"));
    }
    let nowhere = tempfile::tempdir().expect("a folder");
    let error = Change::since(nowhere.path(), "main").expect_err("no repository");
    assert!(matches!(error, GitError::NoRepository { .. }), "{error}");
    assert!(Change::since(&nowhere.path().join("not/there"), "main").is_err());
}

#[test]
fn more_than_ten_annotations_are_counted_and_breaking_ones_stand_first() {
    let repository = Repository::new();
    let mut edits = String::new();
    for at in 0..30 {
        edits.push_str(&format!("  region{at} TEXT,\n"));
    }
    edits.push_str("  error TEXT,\n");
    let held = lock::read(&repository.schemas(), Service::Bus).expect("a lock");
    let observed = of(&held.text.replace("  error TEXT,\n", &edits).replace(NONCE, ""));
    let compared = crate::gate::compare::compare(&held, "bus.sql", &observed, "test");
    assert_eq!(compared.changes.len(), 31);
    let lines = u64::try_from(held.text.lines().count()).expect("lines");
    assert!(compared.lines.iter().all(|line| (1..=lines).contains(line)));
    let outcome = Outcome {
        comparisons: vec![compared],
        ..Outcome::default()
    };
    let told = annotations(&outcome);
    assert_eq!(told.len(), 10, "{told:#?}");
    assert!(told[0].contains("index idx_beam_nonce") && told[0].contains("Lost: the bus nonce"));
    assert!(told[9].contains("and 22 more, 0 of them breaking"), "{told:?}");
}
