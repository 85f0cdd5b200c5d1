//! The gate on schema changes as a workflow calls it: exit codes, annotations, summary, output variables.

use recovery_drills::deployment::Service;
use recovery_drills::drills::schema_gate::locks_folder;
use recovery_drills::gate::lock::{self, CHANGES};
use recovery_drills::snapshot::schema_rows::schema_of_sql;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// The command in a folder, as a job of GitHub: with files for its summary and its output variables there.
fn job(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", recovery_drills::drills::reference::target_folder())
        .env("GITHUB_ACTIONS", "true")
        // What a test makes is no evidence for a cut.
        .env("NEXTEST_TEST_NAME", "schema")
        .env("GITHUB_STEP_SUMMARY", folder.join("summary.md"))
        .env("GITHUB_OUTPUT", folder.join("output"))
        .stdin(Stdio::null())
        .output()
        .expect("the command runs")
}

#[track_caller]
fn assert_ends(output: &Output, code: i32, message: &str) {
    let (told, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert_eq!(output.status.code(), Some(code), "{told}\n{errors}");
    assert!(
        told.contains(message) || errors.contains(message),
        "no {message:?} in:\n{told}\n{errors}"
    );
    assert!(!errors.contains("panicked"), "{errors}");
}

#[track_caller]
fn git(folder: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder);
    for setting in [
        "user.name=drills",
        "user.email=drills@localhost",
        "commit.gpgsign=false",
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

/// A repository with the locks, that of the bus without one index, on a branch `change` of `main`.
fn repository() -> (TempDir, PathBuf) {
    let folder = folder();
    let schemas = folder.path().join("fixtures/schemas");
    fs::create_dir_all(&schemas).expect("a folder");
    for file in ["bus.sql", "directory.sql", CHANGES] {
        fs::copy(locks_folder().join(file), schemas.join(file)).expect("copied");
    }
    let path = lock::file(&schemas, Service::Bus);
    let text = fs::read_to_string(&path).expect("read");
    let without = text.replace("CREATE INDEX idx_beam_sender ON beam_messages (sender);\n", "");
    assert_ne!(without, text);
    accept(&schemas, &without, "the older schema");
    fs::write(folder.path().join("README.md"), "read me\n").expect("written");
    fs::write(folder.path().join(".gitignore"), "/summary.md\n/output\n/reports\n").expect("written");
    git(folder.path(), &["init", "--quiet", "--initial-branch=main"]);
    commit(folder.path());
    git(folder.path(), &["checkout", "--quiet", "-b", "change"]);
    (folder, schemas)
}

fn commit(folder: &Path) {
    git(folder, &["add", "--all"]);
    git(folder, &["commit", "--quiet", "--message", "a change"]);
}

fn accept(schemas: &Path, sql: &str, reason: &str) {
    let schema = schema_of_sql(sql, Path::new("bus.sql")).expect("a schema");
    lock::accept(schemas, &[(Service::Bus, schema)], reason, "2026-11-25").expect("accepted");
}

/// What the bus really creates.
fn real() -> String {
    fs::read_to_string(lock::file(&locks_folder(), Service::Bus)).expect("read")
}

#[test]
fn an_accepted_change_passes_with_older_snapshots_and_is_listed() {
    let (folder, schemas) = repository();
    accept(&schemas, &real(), "senders are searched for");
    commit(folder.path());
    let place = schemas.display().to_string();
    let arguments = [
        "schema",
        "--check",
        "--base",
        "main",
        "--schemas",
        &place,
        "--reports",
        "reports",
        "--json",
        "--quiet",
    ];
    let output = job(folder.path(), &arguments);
    assert_ends(&output, 0, "\"verdict\": \"pass\"");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    let accepted = &document["base"]["accepted"][0];
    assert_eq!(accepted["reasons"][0], "senders are searched for");
    assert_eq!(accepted["changes"][0]["class"], "compatible");
    assert_eq!(document["upgrade"]["verdict"], "pass");
    let sets = document["upgrade"]["sets"].as_array().expect("a table");
    assert_eq!(sets.len(), 9);
    // The older set of the locked schema is of the base's lock: the start had to add the index.
    let of_bus = sets
        .iter()
        .find(|one| one["set"] == "locked schema" && one["service"] == "bus");
    let observed = of_bus.expect("asked")["observed"].as_str().unwrap_or_default();
    assert!(observed.starts_with("1 changes by the start"), "{observed}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("::notice file="), "{errors}");
    let summary = fs::read_to_string(folder.path().join("summary.md")).expect("a summary");
    for text in [
        "## Schema gate: pass",
        "> senders are searched for",
        "| locked schema | startup-diff",
    ] {
        assert!(summary.contains(text), "no {text:?} in {summary}");
    }
    assert!(folder.path().join("reports/1.0.0-schema-upgrade.md").is_file());
}

#[test]
fn a_lock_that_was_changed_without_an_entry_fails_beside_services_that_agree_with_it() {
    let (folder, schemas) = repository();
    fs::write(lock::file(&schemas, Service::Bus), real()).expect("written");
    let place = schemas.display().to_string();
    let output = job(
        folder.path(),
        &["schema", "--check", "--base", "main", "--schemas", &place, "--quiet"],
    );
    assert_ends(&output, 1, "got no entry that says why");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        told.contains("not accepted in this change") && told.contains("+CREATE INDEX idx_beam_sender"),
        "{told}"
    );
    let annotations = String::from_utf8_lossy(&output.stderr);
    assert!(
        annotations.contains("title=schema change without acceptance::"),
        "{annotations}"
    );
}

#[test]
fn a_change_of_documents_only_is_told_and_a_reference_that_is_none_is_usage() {
    let (folder, schemas) = repository();
    let place = schemas.display().to_string();
    let changed = |base: &str| {
        job(
            folder.path(),
            &["schema", "--changed", "--base", base, "--schemas", &place],
        )
    };
    let said = || fs::read_to_string(folder.path().join("output")).expect("an output");
    assert_ends(&changed("main"), 0, "changed=true");
    fs::write(folder.path().join("README.md"), "read me again\n").expect("written");
    assert_ends(&changed("main"), 0, "cannot: README.md");
    fs::write(lock::file(&schemas, Service::Bus), real()).expect("written");
    assert_ends(&changed("main"), 0, "can touch a schema: fixtures/schemas/bus.sql");
    assert_eq!(said(), "changed=true\nchanged=false\nchanged=true\n");
    assert_ends(&changed("no-such-branch"), 2, "no commit no-such-branch");
    let output = job(
        folder.path(),
        &["schema", "--check", "--base", "nowhere", "--schemas", &place],
    );
    assert_ends(&output, 2, "fetch it first");
    assert_ends(&job(folder.path(), &["schema", "--changed"]), 2, "--base");
}

#[test]
fn what_is_no_schema_is_refused_with_its_own_code() {
    let folder = folder();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.display().to_string()
    };
    let sql = |text: &[u8], service: &str| {
        let path = file("x.sql", text);
        job(
            folder.path(),
            &["schema", "--check", "--sql", &path, "--service", service],
        )
    };
    for garbage in [
        "CREATE TABLE t (",
        ")))",
        "CREATE TABLE beam_messages (x);\u{0}",
        "CREATE TABLE t(x); ATTACH 'y' AS z",
        "'",
        "BEGIN; CREATE TABLE t(x",
    ] {
        assert_ends(&sql(garbage.as_bytes(), "bus"), 2, "error: ");
    }
    assert_ends(&sql(b"\xff\xfe", "bus"), 2, "UTF-8");
    assert_ends(&sql(b"", "bus"), 2, "holds no table");
    assert_ends(&sql(b"-- nothing\n", "directory"), 2, "holds no table");
    assert_ends(&sql(real().as_bytes(), "bus"), 0, "no change");
    assert_ends(&sql(real().as_bytes(), "directory"), 2, "say --service bus");
    assert_ends(&sql(b"CREATE TABLE t(x)", "bus"), 1, "table beam_messages dropped");

    let made = folder.path().join("made.sqlite");
    lock::make_database(&locks_folder(), Service::Bus, &made).expect("made");
    let bytes = fs::read(made).expect("read");
    let database = |bytes: &[u8], more: &[&str]| {
        let path = file("x.sqlite", bytes);
        job(
            folder.path(),
            &[&["schema", "--check", "--database", &path], more].concat(),
        )
    };
    assert_ends(&database(&bytes, &[]), 0, "no change");
    assert_ends(&database(&bytes, &["--service", "directory"]), 2, "say --service bus");
    assert_ends(&database(b"", &["--service", "bus"]), 2, "x.sqlite: ");
    assert_ends(&database(&bytes[..5000], &[]), 2, "error: ");
    let scrambled: Vec<u8> = bytes.iter().map(|byte| byte ^ 0x5a).collect();
    assert_ends(&database(&scrambled, &["--service", "bus"]), 2, "error: ");
    let nowhere = folder.path().join("nowhere.db").display().to_string();
    assert_ends(
        &job(folder.path(), &["schema", "--check", "--database", &nowhere]),
        2,
        "no ",
    );
    let itself = folder.path().display().to_string();
    assert_ends(
        &job(folder.path(), &["schema", "--check", "--database", &itself]),
        2,
        "error: ",
    );
}

#[test]
fn a_dropped_nonce_index_is_red_with_annotation_and_summary() {
    let folder = folder();
    let path = folder.path().join("bus.sql");
    let without = real().replace("CREATE UNIQUE INDEX idx_beam_nonce ON beam_messages (nonce);\n", "");
    fs::write(&path, without).expect("written");
    let place = path.display().to_string();
    let output = job(
        folder.path(),
        &["schema", "--check", "--sql", &place, "--service", "bus"],
    );
    assert_ends(
        &output,
        1,
        "::error file=fixtures/schemas/bus.sql,line=28,title=breaking schema change::",
    );
    let summary = fs::read_to_string(folder.path().join("summary.md")).expect("a summary");
    assert!(
        summary.contains("## Schema gate: fail") && summary.contains("**Lost: the bus nonce"),
        "{summary}"
    );
}

#[test]
fn all_drills_are_run_with_a_report_each_and_an_unknown_name_lists_them() {
    let folder = folder();
    let arguments = [
        "drill",
        "all",
        "--json",
        "--seed",
        "77",
        "--no-self-test",
        "--reports",
        "out",
    ];
    let output = job(folder.path(), &arguments);
    assert_ends(&output, 0, "2 of 2 drills run");
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(document["verdict"], "pass");
    let names: Vec<&str> = document["runs"]
        .as_array()
        .expect("runs")
        .iter()
        .filter_map(|run| run["run"]["drill"].as_str())
        .collect();
    assert_eq!(names, recovery_drills::drills::NAMES);
    for report in ["1.0.0-recovery-drill.md", "1.0.0-schema-upgrade.md"] {
        assert!(folder.path().join("out").join(report).is_file(), "{report}");
    }
    let unknown = job(folder.path(), &["drill", "restore-backup"]);
    assert_ends(&unknown, 2, "backup-restore, schema-upgrade and all");
    let from = folder.path().display().to_string();
    assert_ends(
        &job(folder.path(), &["drill", "all", "--from", &from]),
        2,
        "leave --from out",
    );
}
