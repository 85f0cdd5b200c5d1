//! The steps of workflows as GitHub's runner calls them: what they write into its files, and what they do of themselves.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn environments() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/environments");
    folder.canonicalize().expect("the fixtures")
}

/// The command in a step of a workflow whose files lie in the folder; runs are kept there too.
fn step(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env("GITHUB_ACTIONS", "true")
        .env("GITHUB_OUTPUT", folder.join("output"))
        .env("GITHUB_STEP_SUMMARY", folder.join("summary"))
        .env_remove("GITHUB_REPOSITORY")
        .env_remove("NEXTEST_TEST_NAME")
        .env("GITHUB_WORKSPACE", environments())
        .stdin(Stdio::null());
    command
}

fn ran(command: &mut Command) -> Output {
    command.output().expect("the command runs")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// `parity` of production and one other environment of the fixtures.
fn parity(folder: &Path, other: &str) -> Output {
    let (production, other) = (
        environments().join("production.toml").display().to_string(),
        environments().join(other).display().to_string(),
    );
    let arguments = [
        "parity",
        "--quiet",
        "--environment",
        &production,
        "--environment",
        &other,
    ];
    ran(&mut step(folder, &arguments))
}

#[test]
fn a_drift_is_annotated_at_its_line_and_told_in_the_summary() {
    let folder = folder();
    let output = parity(folder.path(), "drifted/docs-say-localhost.toml");
    assert_eq!(output.status.code(), Some(1), "{}", errors(&output));
    let annotation = errors(&output);
    let line = annotation
        .lines()
        .find(|line| line.starts_with("::error file="))
        .expect("an annotation");
    assert!(
        line.contains(",line=") && line.contains("title=drift of api-url in"),
        "{line}"
    );
    assert!(text(folder.path(), "summary").contains("FAIL"));
    let outputs = text(folder.path(), "output");
    assert!(outputs.contains("verdict=fail\n"), "{outputs}");
    let evidence = outputs
        .lines()
        .find_map(|line| line.strip_prefix("evidence="))
        .expect("a folder");
    assert!(Path::new(evidence).join("evidence.json").is_file());
    let report = outputs
        .lines()
        .find_map(|line| line.strip_prefix("report="))
        .expect("a report");
    assert!(folder.path().join(report).is_file());
}

#[test]
fn outside_a_workflow_nothing_is_written() {
    let folder = folder();
    let output = ran(step(folder.path(), &["plan"]).env_remove("GITHUB_ACTIONS"));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(!folder.path().join("output").exists() && !folder.path().join("summary").exists());
}

#[test]
fn a_schedule_drills_in_the_first_week_of_a_sprint_only() {
    let folder = folder();
    fs::write(
        folder.path().join("drills.toml"),
        "[cadence]\nfirst_sprint = 2026-11-23\nsprint_days = 14\n",
    )
    .expect("written");
    for (event, day, due) in [
        ("schedule", "2026-11-23", "due=true"),
        ("schedule", "2026-11-30", "due=false"),
        ("schedule", "2026-12-07", "due=true"),
        ("workflow_dispatch", "2026-11-30", "due=true"),
    ] {
        let _ = fs::remove_file(folder.path().join("output"));
        let arguments = [
            "plan",
            "--event",
            event,
            "--on",
            day,
            "--environments",
            "staging,production",
            "--shards",
            "2",
        ];
        let output = ran(&mut step(folder.path(), &arguments));
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let outputs = text(folder.path(), "output");
        assert!(outputs.lines().any(|line| line == due), "{event} {day}: {outputs}");
        assert!(
            outputs.contains("environments=[\"staging\",\"production\"]\n"),
            "{outputs}"
        );
        assert!(outputs.contains("shards=[\"1/2\",\"2/2\"]\n"), "{outputs}");
    }
}

#[test]
fn a_cadence_that_cannot_be_meant_is_usage() {
    let folder = folder();
    fs::write(folder.path().join("drills.toml"), "[cadence]\nsprint_days = 0\n").expect("written");
    for command in ["plan", "checklist"] {
        let output = ran(&mut step(folder.path(), &[command]));
        assert_eq!(output.status.code(), Some(2), "{command}");
        assert!(
            errors(&output).contains("drills.toml: sprint_days = 0"),
            "{}",
            errors(&output)
        );
    }
}

/// A stand-in for GitHub's command line: notes its arguments; `open` is the number of the open issue.
fn with_gh(folder: &Path, arguments: &[&str], open: &str, code: i32) -> (Output, String) {
    let program = folder.join("gh");
    let log = folder.join("gh.log");
    let script = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >>'{}'\n[ \"$1 $2\" = 'issue list' ] && printf '%s\\n' '{open}'\n[ {code} = 0 ] || echo 'HTTP 403' >&2\nexit {code}\n",
        log.display()
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("made executable");
    let _ = fs::remove_file(&log);
    let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap_or_default());
    let output = ran(step(folder, arguments).env("PATH", path));
    (output, fs::read_to_string(&log).unwrap_or_default())
}

#[test]
fn a_failed_drill_opens_one_issue_comments_it_and_closes_it_when_it_passes() {
    let folder = folder();
    parity(folder.path(), "drifted/docs-say-localhost.toml");
    let runs = folder.path().join("target/drills").display().to_string();
    let failed = ["issue", "--result", "failure", "--evidence", &runs];

    let (output, calls) = with_gh(folder.path(), &failed, "", 0);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(calls.contains("label create recovery-drill --force"), "{calls}");
    assert!(
        calls.contains("issue create --title A scheduled recovery drill did not pass --label recovery-drill"),
        "{calls}"
    );
    assert!(
        calls.contains("Environment parity of production, staging did not pass (fail)"),
        "{calls}"
    );

    let (_, calls) = with_gh(folder.path(), &failed, "7", 0);
    assert!(calls.contains("issue comment 7 --body"), "{calls}");
    assert!(!calls.contains("issue create"), "{calls}");

    let passed = ["issue", "--result", "success"];
    let (_, calls) = with_gh(folder.path(), &passed, "7", 0);
    assert!(
        calls.contains("issue close 7 --comment The scheduled recovery drill passed again."),
        "{calls}"
    );
    let (_, calls) = with_gh(folder.path(), &passed, "", 0);
    assert_eq!(calls.lines().count(), 1, "{calls}");

    let (output, _) = with_gh(folder.path(), &failed, "", 4);
    assert_eq!(output.status.code(), Some(3));
    assert!(errors(&output).contains("HTTP 403"), "{}", errors(&output));
}

fn checklist(folder: &Path, further: &[&str]) -> (Output, String) {
    let mut arguments = vec!["checklist"];
    arguments.extend(further);
    let output = ran(&mut step(folder, &arguments));
    (output, text(folder, "reports/1.0.0-cut-checklist.md"))
}

#[test]
fn evidence_ticks_its_box_and_nothing_else() {
    let folder = folder();
    assert_eq!(parity(folder.path(), "staging.toml").status.code(), Some(0));
    let (output, page) = checklist(folder.path(), &["--version", "v1.6.0", "--environment", "production"]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(page.contains("- [x] **Environment parity**"), "{page}");
    assert_eq!(page.matches("- [ ] **").count(), 4, "{page}");
    assert!(text(folder.path(), "output").contains("open=4\n"));
    // Of another release or environment it counts for nothing.
    for further in [["--version", "1.7.0"], ["--environment", "demo"]] {
        let (_, page) = checklist(folder.path(), &further);
        assert!(page.contains("- [ ] **Environment parity**"), "{page}");
    }
    let (output, _) = checklist(folder.path(), &["--check"]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_later_failure_takes_the_tick_away_and_check_writes_nothing() {
    let folder = folder();
    parity(folder.path(), "staging.toml");
    let (_, ticked) = checklist(folder.path(), &[]);
    assert!(ticked.contains("- [x] **Environment parity**"), "{ticked}");
    parity(folder.path(), "drifted/docs-say-localhost.toml");
    let (_, same) = checklist(folder.path(), &["--check"]);
    assert_eq!(same, ticked);
    let (_, page) = checklist(folder.path(), &[]);
    assert!(page.contains("open: its verdict is fail"), "{page}");
}

#[test]
fn evidence_that_was_edited_ticks_nothing() {
    let folder = folder();
    parity(folder.path(), "drifted/docs-say-localhost.toml");
    let outputs = text(folder.path(), "output");
    let run = outputs
        .lines()
        .find_map(|line| line.strip_prefix("evidence="))
        .expect("a folder");
    let path = Path::new(run).join("evidence.json");
    let edited =
        fs::read_to_string(&path)
            .expect("evidence")
            .replacen("\"verdict\": \"fail\"", "\"verdict\": \"pass\"", 1);
    fs::write(&path, edited).expect("edited");
    let (_, page) = checklist(folder.path(), &[]);
    assert!(page.contains("- [ ] **Environment parity**"), "{page}");
    assert!(page.contains("does not verify"), "{page}");
}

#[test]
fn lines_of_people_survive_and_count() {
    let folder = folder();
    let page = folder.path().join("reports/1.0.0-cut-checklist.md");
    fs::create_dir_all(page.parent().expect("a folder")).expect("made");
    fs::write(&page, "# Our cut\n\n- [x] The partner agreed\n- [ ] The press knows\n").expect("written");
    let (output, page) = checklist(folder.path(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    assert!(
        page.starts_with("# Our cut\n\n- [x] The partner agreed\n- [ ] The press knows\n"),
        "{page}"
    );
    assert!(text(folder.path(), "output").contains("open=6\n"));
}

#[test]
fn what_cannot_be_read_or_has_no_end_opens_its_box() {
    let folder = folder();
    parity(folder.path(), "staging.toml");
    let (_, page) = checklist(folder.path(), &[]);
    assert!(page.contains("- [x] **Environment parity**"), "{page}");
    // A later comparison whose record was cut short.
    parity(folder.path(), "drifted/docs-say-localhost.toml");
    let outputs = text(folder.path(), "output");
    let run = outputs
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("evidence="))
        .expect("a folder");
    let path = Path::new(run).join("evidence.json");
    let whole = fs::read_to_string(&path).expect("evidence");
    fs::write(&path, &whole[..whole.len() / 2]).expect("cut");
    let (_, page) = checklist(folder.path(), &[]);
    assert!(page.contains("- [ ] **Environment parity**"), "{page}");
}

#[test]
fn a_pinned_key_is_demanded_of_all_evidence() {
    let folder = folder();
    parity(folder.path(), "staging.toml");
    let key = "6kpsY+KcUgq+9VB7Ey7F+ZVHdq6+vnuSQh7qaRRG0iw=";
    let output = ran(step(folder.path(), &["checklist"]).env("DRILLS_SEAL_PUBLIC_KEY", key));
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let page = text(folder.path(), "reports/1.0.0-cut-checklist.md");
    assert!(
        page.contains("- [ ] **Environment parity**") && page.contains("seal"),
        "{page}"
    );
}

#[test]
fn a_refusal_is_told_to_github() {
    let folder = folder();
    let output = ran(&mut step(folder.path(), &["parity", "--environments", "nowhere"]));
    assert_eq!(output.status.code(), Some(2));
    assert!(
        errors(&output).contains("::error title=cargo xtask::"),
        "{}",
        errors(&output)
    );
    assert!(text(folder.path(), "summary").contains("**Error:**"));
}
