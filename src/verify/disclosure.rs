//! Whether anything that is kept looks like a secret. Values are never shown: their length and the start of their hash.
//!
//! A run's secrets are gone with it, so this knows their forms only; redaction while the run lives is what knows the values.

use crate::deployment::given_file;
use crate::evidence::{likely_secrets, private};
use crate::verify::look::Look;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest file that is looked at, in bytes: logs are far smaller.
const SANE_BYTES: u64 = 64 << 20;

/// Looks at all texts of a run's folder; the stored snapshot is what holds the data and is left out.
pub(crate) fn judge(run: &Path) -> Look {
    let mut look = Look::default();
    let mut files = texts(run);
    files.extend(texts(&run.join("logs")));
    for path in files {
        let name = path.strip_prefix(run).unwrap_or(&path).display().to_string();
        match given_file::bytes(&path, given_file::DOCUMENT_BYTES) {
            Ok(bytes) => one(&name, &String::from_utf8_lossy(&bytes), &mut look),
            Err(error) => look.problems.push(format!("cannot read {name}: {error}")),
        }
    }
    look
}

fn texts(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .filter(|entry| {
            entry
                .metadata()
                .is_ok_and(|facts| facts.is_file() && facts.len() <= SANE_BYTES)
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

fn one(name: &str, text: &str, look: &mut Look) {
    look.items += 1;
    for (at, line) in text.lines().enumerate() {
        for (what, value) in likely_secrets(line) {
            let place = format!("{name}:{}", at + 1);
            look.must(false, &what, "<redacted>", &private(value.as_bytes()), &place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_what_looks_like_a_secret_is_not_shown() {
        let secret = "4f5e6d7c8b9a0f1e2d3c";
        let mut look = Look::default();
        one("logs/x.log", &format!("\nJWT_SECRET={secret}"), &mut look);
        let shown = format!("{:?}", look.findings);
        assert!(shown.contains("logs/x.log:2") && !shown.contains(secret), "{shown}");
    }
}
