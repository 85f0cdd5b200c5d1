//! Looks for secrets in whatever a run left, in every form in which they may have got there.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use std::path::{Path, PathBuf};

/// A recognisable secret and where it was put.
#[derive(Debug, Clone)]
pub(crate) struct Seeded {
    pub(crate) place: &'static str,
    pub(crate) value: String,
}

/// A secret with characters that each encoding changes.
pub(crate) fn seeded(place: &'static str) -> Seeded {
    let letters: String = place.chars().filter(char::is_ascii_alphanumeric).collect();
    Seeded {
        place,
        value: format!("Zq7/{letters}~x?y>k+9w"),
    }
}

/// Where a secret was found, and in which form.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Leak {
    pub(crate) place: &'static str,
    pub(crate) form: &'static str,
    pub(crate) file: String,
    pub(crate) line: String,
}

/// Every form of a secret: plain, as JSON and as a URL have it, hexadecimal, and base64 at each alignment.
fn forms(secret: &str) -> Vec<(&'static str, String)> {
    let percent = |upper: bool| -> String {
        let byte = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other if upper => format!("%{other:02X}"),
            other => format!("%{other:02x}"),
        };
        secret.bytes().map(byte).collect()
    };
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut all = vec![
        ("plain", secret.to_owned()),
        ("percent-encoded", percent(true)),
        ("percent-encoded in lower case", percent(false)),
        ("hexadecimal", hex.clone()),
        ("hexadecimal in capitals", hex.to_uppercase()),
    ];
    for before in 0..3 {
        let shifted = [&b"\0\0\0"[..before], secret.as_bytes()].concat();
        let (from, to) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
        all.push(("base64", STANDARD_NO_PAD.encode(&shifted)[from..to].to_owned()));
        all.push(("base64 for URLs", URL_SAFE_NO_PAD.encode(&shifted)[from..to].to_owned()));
    }
    all
}

/// The leaks in one text.
pub(crate) fn in_text(secrets: &[Seeded], file: &str, text: &[u8]) -> Vec<Leak> {
    let text = String::from_utf8_lossy(text);
    let mut found = Vec::new();
    for secret in secrets {
        for (form, needle) in forms(&secret.value) {
            if let Some(at) = text.find(&needle) {
                let start = text[..at].rfind('\n').map_or(0, |start| start + 1);
                let line: String = text[start..]
                    .lines()
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(300)
                    .collect();
                found.push(Leak {
                    place: secret.place,
                    form,
                    file: file.to_owned(),
                    line,
                });
            }
        }
    }
    found
}

/// All files below a folder but databases: a snapshot naturally holds what the services stored.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().expect("its kind"));
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_database = [".db", ".sqlite", "-wal", "-shm"].iter().any(|end| name.ends_with(end));
        // What `--keep` leaves is what services had, as they had it: databases, keys and their own logs, in a folder of 0700.
        let is_kept = name == "work" && path.parent().is_some_and(|run| run.join("evidence.json").is_file());
        if kind.is_dir() && !is_kept {
            found.extend(files(&path));
        } else if kind.is_file() && !is_database {
            found.push(path);
        }
    }
    found
}

/// The leaks in all files below a folder.
pub(crate) fn in_folder(secrets: &[Seeded], folder: &Path) -> Vec<Leak> {
    let read = |path: &PathBuf| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let each = |path: PathBuf| in_text(secrets, &path.display().to_string(), &read(&path));
    files(folder).into_iter().flat_map(each).collect()
}
