//! Which files of a change can touch a schema, so that a change of documents alone need not start services. Pure.
//!
//! What is not known to be harmless counts: sources of services, environments, the harness, locks, build files, workflows.

use serde::Serialize;

/// A file that a change touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Touched {
    /// From the root of the repository on.
    pub path: String,
    /// Whether a schema, or the answer of the gate, may differ because of it.
    pub can_touch_a_schema: bool,
}

/// Sorts the files of a change.
#[must_use]
pub fn touched(files: &[String]) -> Vec<Touched> {
    let one = |path: &String| Touched {
        path: path.clone(),
        can_touch_a_schema: can_touch_a_schema(path),
    };
    files.iter().map(one).collect()
}

/// Whether the gate has to look: some file can touch a schema, or no file differs at all, which proves nothing.
#[must_use]
pub fn is_changed(files: &[Touched]) -> bool {
    files.is_empty() || files.iter().any(|file| file.can_touch_a_schema)
}

/// Documents, reports and licences cannot; below `fixtures`, `src` and the like a document may be read by a program.
fn can_touch_a_schema(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let (folders, name) = parts.split_at(parts.len().saturating_sub(1));
    let name = name.first().copied().unwrap_or_default().to_lowercase();
    let is_read_by_programs = ["fixtures", "src", "xtask", "tests", "containers", "store"];
    if folders.iter().any(|folder| is_read_by_programs.contains(folder)) {
        return true;
    }
    let top = folders.first().copied().unwrap_or_default();
    let is_document = [".md", ".txt", ".adoc", ".rst"]
        .iter()
        .any(|ending| name.ends_with(ending));
    let is_picture = [".png", ".svg", ".jpg", ".jpeg", ".gif"]
        .iter()
        .any(|ending| name.ends_with(ending));
    let is_licence = folders.is_empty() && (name.starts_with("license") || name.starts_with("licence"));
    let is_written_by_the_harness = top == "reports" && (is_document || name.ends_with(".json"));
    let is_a_build_file = name == "cmakelists.txt" || name == "requirements.txt";
    !(((is_document || is_picture) && !is_a_build_file) || is_licence || is_written_by_the_harness)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_cannot_touch_a_schema_and_everything_unknown_can() {
        for path in [
            "README.md",
            "docs/guide/backup.md",
            "docs/images/flow.svg",
            "CHANGELOG.md",
            "LICENSE-MIT",
            "reports/1.0.0-recovery-drill.md",
            "packages/directory/README.md",
        ] {
            assert!(!can_touch_a_schema(path), "{path}");
        }
        for path in [
            "fixtures/schemas/bus.sql",
            "fixtures/schemas/CHANGES.md",
            "fixtures/schemas/README.md",
            "fixtures/services/src/bus/schema.rs",
            "fixtures/environments/staging.toml",
            "src/gate/lock.rs",
            "xtask/src/schema.rs",
            "Cargo.lock",
            "Cargo.toml",
            ".github/workflows/schema-gate.yml",
            ".cargo/config.toml",
            "packages/directory/src/README.md",
            "packages/directory/package.json",
            "docs/build.js",
            "requirements.txt",
            "Dockerfile",
            "action.yml",
            "",
        ] {
            assert!(can_touch_a_schema(path), "{path}");
        }
    }

    #[test]
    fn no_file_at_all_is_in_doubt() {
        assert!(is_changed(&[]));
        assert!(!is_changed(&touched(&["README.md".to_owned()])));
        assert!(is_changed(&touched(&["README.md".to_owned(), "Cargo.lock".to_owned()])));
    }
}
