//! Whether anything that is kept looks like a secret. Values are never shown: their length and the start of their hash.
//!
//! A run's secrets are gone with it, so this knows their forms only; redaction while the run lives is what knows the values.

use crate::evidence::private;
use crate::verify::look::Look;
use std::fs;
use std::path::{Path, PathBuf};

/// Beginnings of tokens and keys, and how many characters of one must follow.
const BEGINNINGS: [(&str, usize); 5] = [
    ("eyJhbGciOi", 20),
    ("bk_", 16),
    ("beam_org_", 16),
    ("re_", 24),
    ("sk_live_", 8),
];

/// Ends of names whose values are secrets.
const NAMES: [&str; 5] = ["SECRET", "API_KEY", "TOKEN", "PASSWORD", "PRIVATE_KEY"];

/// Largest file that is looked at, in bytes: logs are far smaller.
const SANE_BYTES: u64 = 64 << 20;

/// Looks at all texts of a run's folder; the stored snapshot is what holds the data and is left out.
pub(crate) fn judge(run: &Path) -> Look {
    let mut look = Look::default();
    let mut files = texts(run);
    files.extend(texts(&run.join("logs")));
    for path in files {
        let name = path.strip_prefix(run).unwrap_or(&path).display().to_string();
        match fs::read(&path) {
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
        for (what, value) in secrets(line) {
            let place = format!("{name}:{}", at + 1);
            look.must(false, &what, "<redacted>", &private(value.as_bytes()), &place);
        }
    }
}

/// What of a line looks like a secret: what it is, and the value.
fn secrets(line: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    if line.contains("-----BEGIN") && line.contains("PRIVATE KEY-----") {
        found.push(("private key".to_owned(), line));
    }
    for (beginning, more) in BEGINNINGS {
        for (at, _) in line.match_indices(beginning) {
            let is_start = !line[..at].ends_with(is_of_a_word);
            let value = value_at(&line[at..]);
            if is_start && value.len() >= beginning.len() + more {
                found.push((format!("{beginning}…"), value));
            }
        }
    }
    for (at, _) in line.match_indices("token=") {
        let value = value_at(&line[at + "token=".len()..]);
        if value.len() >= 16 {
            found.push(("token=…".to_owned(), value));
        }
    }
    for (at, _) in line.match_indices('=') {
        let start = line[..at].rfind(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let name = &line[start.map_or(0, |start| start + 1)..at];
        let name = name.trim_start_matches(|c: char| !c.is_ascii_uppercase());
        let value = value_at(&line[at + 1..]);
        if NAMES.iter().any(|end| name.ends_with(end)) && value.len() >= 6 {
            found.push((name.to_owned(), value));
        }
    }
    found
}

/// What stands at the start of a text, up to a space, quote or bracket: nothing of `<redacted>`, `{jwt_secret}`, `$SECRET`.
fn value_at(text: &str) -> &str {
    let end = text.find(|c: char| !(is_of_a_word(c) || ".-+/=:%~".contains(c)));
    &text[..end.unwrap_or(text.len())]
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_found_and_its_value_is_not_shown() {
        let secret = "4f5e6d7c8b9a0f1e2d3c";
        for line in [
            format!("JWT_SECRET={secret}"),
            format!("env: BUS_API_KEY={secret};"),
            format!("link http://127.0.0.1/verify?token={secret}"),
            format!("Authorization: Bearer eyJhbGciOi{secret}"),
            format!("key bk_{secret}"),
        ] {
            let mut look = Look::default();
            one("logs/x.log", &line, &mut look);
            assert_eq!(look.findings.len(), 1, "{line}");
            let shown = format!("{:?}", look.findings);
            assert!(!shown.contains(secret), "{shown}");
            assert!(shown.contains("logs/x.log:1"), "{shown}");
        }
    }

    #[test]
    fn what_was_redacted_and_what_is_to_be_filled_in_is_no_secret() {
        for line in [
            "JWT_SECRET=<redacted>",
            "JWT_SECRET={jwt_secret}",
            "JWT_SECRET=$JWT_SECRET",
            "link http://127.0.0.1/verify?token=<redacted>",
            "config of staging: JWT_SECRET is set",
            "DIRECTORY_URL=http://127.0.0.1:1234",
        ] {
            assert!(secrets(line).is_empty(), "{line}");
        }
    }
}
