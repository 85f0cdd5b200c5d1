//! The structural rules of the house, checked the same way by the command and by a test.
//!
//! Rooms may import only what the table allows; files stay small and say what they are; no path of a machine, no name of
//! a file that does not exist.

use crate::exit::ExitCode;
use crate::named_commands;
use recovery_drills::drills::reference::workspace_root;
use recovery_drills::evidence::CheckId;
use std::fs;
use std::path::{Path, PathBuf};

/// Room → the rooms of the library that it may use.
const IMPORTS: &[(&str, &[&str])] = &[
    ("deployment", &[]),
    ("evidence", &["deployment"]),
    ("runtime", &[]),
    ("client", &["deployment"]),
    ("seed", &["deployment", "client"]),
    ("snapshot", &["deployment", "runtime"]),
    ("restore", &["deployment", "runtime", "snapshot"]),
    ("gate", &["deployment", "evidence", "snapshot"]),
    (
        "checks",
        &[
            "deployment",
            "evidence",
            "runtime",
            "client",
            "seed",
            "snapshot",
            "restore",
        ],
    ),
    ("faults", &["deployment", "evidence", "runtime", "snapshot", "restore"]),
    (
        "drills",
        &[
            "deployment",
            "evidence",
            "runtime",
            "client",
            "seed",
            "snapshot",
            "restore",
            "gate",
            "checks",
            "faults",
            "parity",
            "verify",
        ],
    ),
    ("parity", &["deployment", "evidence", "client", "snapshot"]),
    ("cadence", &["deployment", "evidence", "gate"]),
    ("report", &["deployment", "evidence", "cadence"]),
    ("verify", &["deployment", "evidence", "snapshot", "report"]),
];

/// Package beside the library → the rooms of the library that it may use.
const PACKAGES: &[(&str, &[&str])] = &[
    ("containers", &["runtime", "drills"]),
    ("store", &["deployment", "evidence", "snapshot"]),
];

/// Library → the only places that may use it.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("object_store", &["store/"]),
    ("age", &["store/"]),
    ("recovery_drills_store", &["store/tests/", "xtask/src/stores.rs"]),
];

/// Longest source file, in lines.
const LONGEST_FILE: usize = 500;

/// Names that say nothing.
const EMPTY_NAMES: &[&str] = &["util", "utils", "helpers", "common", "misc", "imp", "manager"];

/// Starts of paths that exist on one machine only, spelled so that this file does not contain them.
const MACHINE_PATHS: &[[&str; 2]] = &[["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"]];

/// Prints what does not hold.
pub(crate) fn run() -> ExitCode {
    let problems = problems(workspace_root());
    for problem in &problems {
        eprintln!("{problem}");
    }
    if problems.is_empty() {
        eprintln!("tidy: everything in its place");
        ExitCode::Pass
    } else {
        eprintln!(
            "tidy: {} problems; the rules stand in xtask/src/tidy.rs and ARCHITECTURE.md",
            problems.len()
        );
        ExitCode::Fail
    }
}

/// Everything that does not hold: file, line, rule.
fn problems(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in files(root) {
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let name = path.strip_prefix(root).unwrap_or(&path).to_path_buf();
        machine_paths(&name, &text, &mut found);
        match name.extension().and_then(|ending| ending.to_str()) {
            Some("rs") => source_rules(&name, &text, &mut found),
            Some("md") => {
                names_in_docs(root, &name, &text, &mut found);
                named_commands::check(&name, &text, &mut found);
            }
            Some("yml") => named_commands::check(&name, &text, &mut found),
            _ => {}
        }
    }
    checks_and_ids(root, &mut found);
    found
}

/// All files that git would track, roughly: no hidden folders but the project's own, no target.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let hidden = name.starts_with('.') && ![".cargo", ".config", ".ci", ".github"].contains(&name.as_ref());
            let generated = name == "node_modules"
                || (folder == root && (name == "target" || name == "Cargo.lock"))
                || (folder == root.join("fuzz") && ["target", "artifacts", "corpus"].contains(&name.as_ref()));
            if hidden || generated {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn machine_paths(name: &Path, text: &str, found: &mut Vec<String>) {
    for (at, line) in text.lines().enumerate() {
        for parts in MACHINE_PATHS {
            let path = parts.concat();
            // A URL path such as `https://host/home/` is no machine path.
            let bare = line.match_indices(&path).any(|(start, _)| {
                let before = line[..start].chars().next_back();
                before.is_none_or(|c| !(c.is_alphanumeric() || "._-}".contains(c)))
            });
            if bare {
                found.push(format!(
                    "{}:{}: a path of one machine ({path}…)",
                    name.display(),
                    at + 1
                ));
            }
        }
    }
}

fn source_rules(name: &Path, text: &str, found: &mut Vec<String>) {
    let shown = name.display();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        found.push(format!("{shown}: {lines} lines, more than {LONGEST_FILE}: split it"));
    }
    if !text.trim_start().starts_with("//!") {
        found.push(format!("{shown}:1: no module doc (`//!`) that says what it owns"));
    }
    let stem = name.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if EMPTY_NAMES.contains(&stem) {
        found.push(format!("{shown}: the name {stem:?} says nothing"));
    }
    let this_file = name.ends_with("xtask/src/tidy.rs");
    for (at, line) in text.lines().enumerate() {
        let place = at + 1;
        if !this_file && line.contains("super::super") {
            found.push(format!("{shown}:{place}: super::super; import from the crate root"));
        }
        if !this_file && line.trim_start().starts_with("#[ignore") {
            found.push(format!("{shown}:{place}: an ignored test"));
        }
        library_rule(name, place, line, found);
        only_there(name, place, line, found);
        if let Some(room) = room_of(name) {
            import_rule(room, &shown.to_string(), place, line, found);
        }
    }
}

fn room_of(name: &Path) -> Option<&str> {
    let mut parts = name
        .components()
        .map(|part| part.as_os_str().to_str().unwrap_or_default());
    (parts.next() == Some("src"))
        .then(|| parts.next())
        .flatten()
        .map(|part| part.trim_end_matches(".rs"))
}

/// The packages beside the library know nothing of what they are not for: the engine of what is drilled, the store of drills.
fn library_rule(name: &Path, place: usize, line: &str, found: &mut Vec<String>) {
    let of_package = |(package, _): &&(&str, &[&str])| name.starts_with(Path::new(package).join("src"));
    let Some((package, allowed)) = PACKAGES.iter().find(of_package) else {
        return;
    };
    let code = line.split("//").next().unwrap_or_default();
    for rest in code.split("recovery_drills::").skip(1) {
        if !allowed.iter().any(|room| rest.starts_with(room)) {
            let (shown, allowed) = (name.display(), allowed.join(", "));
            found.push(format!(
                "{shown}:{place}: {package} may use {allowed} of the library only"
            ));
        }
    }
}

/// The clients of stores are costly to build: one room has them, one command module has that room.
fn only_there(name: &Path, place: usize, line: &str, found: &mut Vec<String>) {
    let code = line.split("//").next().unwrap_or_default();
    let shown = name.display().to_string();
    for (library, places) in ONLY_IN {
        let is_used = code.match_indices(&format!("{library}::")).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            before.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
        });
        if is_used && !places.iter().any(|place| shown.starts_with(place)) && shown != "xtask/src/tidy.rs" {
            let places = places.join(", ");
            found.push(format!("{shown}:{place}: {library} is used in {places} only"));
        }
    }
}

fn import_rule(room: &str, shown: &str, place: usize, line: &str, found: &mut Vec<String>) {
    let Some((_, allowed)) = IMPORTS.iter().find(|(known, _)| *known == room) else {
        if room != "lib" {
            found.push(format!("{shown}:{place}: room {room:?} is not in the table of imports"));
        }
        return;
    };
    let code = line.split("//").next().unwrap_or_default();
    for rest in code.split("crate::").skip(1) {
        let used: String = rest
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let is_room = IMPORTS.iter().any(|(known, _)| *known == used);
        if is_room && used != room && !allowed.contains(&used.as_str()) {
            found.push(format!(
                "{shown}:{place}: {room} may not use {used}; allowed: {}",
                allowed.join(", ")
            ));
        }
    }
}

/// Paths in backticks that look like files of this repository must exist.
fn names_in_docs(root: &Path, name: &Path, text: &str, found: &mut Vec<String>) {
    if name.starts_with("reports") || name.ends_with("CHANGELOG.md") {
        return;
    }
    let folder = root.join(name.parent().unwrap_or(Path::new("")));
    let mut fenced = false;
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for quoted in line.split('`').skip(1).step_by(2) {
            let rooted = [
                "src/",
                "xtask/",
                "fixtures/",
                "tests/",
                "fuzz/",
                "reports/",
                ".ci/",
                ".config/",
                ".cargo/",
                ".github/",
            ];
            let is_path =
                rooted.iter().any(|start| quoted.starts_with(start)) && !quoted.contains(['*', '<', ' ', '{', '…']);
            if is_path && !root.join(quoted).exists() && !folder.join(quoted).exists() {
                found.push(format!("{}:{}: `{quoted}` does not exist", name.display(), at + 1));
            }
        }
    }
}

/// File name = id: every check has its file, every file its check.
fn checks_and_ids(root: &Path, found: &mut Vec<String>) {
    let folder = root.join("src/checks");
    for id in CheckId::ALL {
        let stem = id.name().replace('-', "_");
        if !folder.join(format!("{stem}.rs")).is_file() && !folder.join(&stem).join("mod.rs").is_file() {
            found.push(format!(
                "src/checks/{stem}.rs: missing, although the check {id} is registered"
            ));
        }
    }
    let Ok(entries) = fs::read_dir(&folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or_default()
            .to_owned();
        let is_check = fs::read_to_string(&path).is_ok_and(|text| text.contains("pub const ID: CheckId"));
        if is_check && CheckId::parse(&stem.replace('_', "-")).is_none() {
            found.push(format!(
                "src/checks/{stem}.rs: no check of that id is registered in src/evidence/ids.rs"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_its_place() {
        let problems = problems(workspace_root());
        assert!(problems.is_empty(), "\n{}", problems.join("\n"));
    }

    #[test]
    fn a_forbidden_import_is_found() {
        let mut found = Vec::new();
        source_rules(
            Path::new("src/report/x.rs"),
            "//! x\nuse crate::client::Access;\n",
            &mut found,
        );
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_store_that_knows_drills_and_a_client_of_stores_elsewhere_are_found() {
        let problems = |name: &str, line: &str| {
            let mut found = Vec::new();
            source_rules(Path::new(name), &format!("//! x\n{line}\n"), &mut found);
            found.len()
        };
        assert_eq!(problems("store/src/x.rs", "use recovery_drills::drills::reference;"), 1);
        assert_eq!(problems("store/src/x.rs", "use recovery_drills::snapshot::verify;"), 0);
        for (line, at_home) in [
            ("use object_store::path::Path;", "store/src/x.rs"),
            ("    age::encrypt(&key, text)", "store/tests/stores/x.rs"),
            ("use recovery_drills_store::put::put;", "xtask/src/stores.rs"),
        ] {
            assert_eq!(problems(at_home, line), 0, "{line}");
            assert_eq!(problems("xtask/src/given.rs", line), 1, "{line}");
        }
        assert_eq!(
            problems("xtask/src/given.rs", "let storage::x = image::y; // age::x"),
            0
        );
    }

    #[test]
    fn a_machine_path_is_found_and_a_url_is_not() {
        let mut found = Vec::new();
        let path = MACHINE_PATHS[2].concat();
        machine_paths(
            Path::new("x.md"),
            &format!("see {path}someone\nhttps://example.org{path}page"),
            &mut found,
        );
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn a_doc_that_names_a_missing_file_is_found() {
        let mut found = Vec::new();
        names_in_docs(
            workspace_root(),
            Path::new("README.md"),
            "see `src/nowhere.rs` and `src/lib.rs`",
            &mut found,
        );
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
