//! Rules of the file set: both files there, headers and logs in order, nothing left of rows that are gone.
//!
//! Source: SQLite file format; Beam 1.6.0, contract 1.4, 3.2, 8.1 to 8.4.

use crate::checks::invariants::facts::{Facts, FileFacts};
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::snapshot::header::violations;
use std::collections::HashSet;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "F01",
        title: "file set complete",
        why: "a stack is two files and neither is ever empty: a zero-byte file is a valid empty database (contract 8.1, 8.4)",
        needs: &[],
        run: complete,
    },
    Rule {
        name: "F02",
        title: "file header",
        why: "Beam writes UTF-8 files without auto-vacuum in WAL mode (contract 1.4); the rest is the SQLite file format, section 1.3",
        needs: &[],
        run: header,
    },
    Rule {
        name: "F03",
        title: "write-ahead log valid",
        why: "a log that is there must have a true header and whole frames, else SQLite ignores it silently (contract 8.1 to 8.3)",
        needs: &[],
        run: log_valid,
    },
    Rule {
        name: "F04",
        title: "write-ahead log belongs to its file",
        why: "a log has the page size of its file, and a WAL database has no rollback journal (contract 1.4, 8.3)",
        needs: &[],
        run: log_belongs,
    },
    Rule {
        name: "F05",
        title: "no remnant of a message that is gone",
        why: "nothing deletes bus rows (contract 3.2): every message id in the pages is the id of a row; blind after VACUUM",
        needs: &["beam_messages"],
        run: remnants,
    },
];

fn complete(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in &facts.files {
        look.seen();
        match file.bytes {
            None => look.wrong(file.name, file.name, "a main file", "none"),
            Some(0) => look.wrong(file.name, file.name, "a main file with content", "zero bytes"),
            Some(_) => {}
        }
    }
    look.end()
}

fn header(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in facts
        .files
        .iter()
        .filter(|file| file.bytes.is_some_and(|bytes| bytes > 0))
    {
        look.seen();
        if !file.header.starts_with(b"SQLite format 3\0") || file.header.len() < 100 {
            look.wrong(file.name, file.name, "the header of a SQLite database", "another one");
            continue;
        }
        let two = |at: usize| u32::from(file.header[at]) << 8 | u32::from(file.header[at + 1]);
        let four = |at: usize| two(at) << 16 | two(at + 2);
        let size = if two(16) == 1 { 65_536 } else { two(16) };
        if !(512..=65_536).contains(&size) || !size.is_power_of_two() {
            look.wrong(file.name, file.name, "a page size that is a power of two", size);
            continue;
        }
        if four(56) > 1 {
            look.wrong(file.name, file.name, "encoding UTF-8", four(56));
        }
        // A log may hold a newer first page than the file itself.
        if file.wal.is_none() {
            for one in violations(&file.header, file.bytes.unwrap_or_default()) {
                look.wrong(
                    format!("{} {}", file.name, one.field),
                    file.name,
                    one.expected,
                    one.observed,
                );
            }
        }
    }
    look.end()
}

fn logs(facts: &Facts) -> impl Iterator<Item = (&FileFacts, &crate::snapshot::wal::WalFacts)> {
    facts
        .files
        .iter()
        .filter_map(|file| file.wal.as_ref().map(|wal| (file, wal)))
        .filter(|(_, wal)| wal.bytes > 0)
}

fn log_valid(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for (file, wal) in logs(facts) {
        look.seen();
        let subject = format!("{}-wal", file.name);
        if !wal.header_valid {
            look.wrong(&subject, &subject, "a header with a true checksum", "another one");
        } else if wal.torn_bytes > 0 {
            look.wrong(
                &subject,
                &subject,
                "whole frames",
                format!("{} bytes behind the last one", wal.torn_bytes),
            );
        } else if wal.frames_committed == 0 && wal.frames_total > 0 {
            look.wrong(
                &subject,
                &subject,
                "frames that SQLite takes",
                format!("none of {}", wal.frames_total),
            );
        }
    }
    look.end()
}

fn log_belongs(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in facts.files.iter().filter(|file| file.wal.is_some() || file.journal) {
        look.seen();
        if file.journal {
            let subject = format!("{}-journal", file.name);
            look.wrong(
                &subject,
                &subject,
                "no rollback journal beside a WAL database",
                "one with content",
            );
        }
        let Some(wal) = file.wal.as_ref().filter(|wal| wal.header_valid) else {
            continue;
        };
        let size = match file.header.get(16..18) {
            Some([0, 1]) => 65_536,
            Some([high, low]) => u64::from(*high) << 8 | u64::from(*low),
            _ => continue,
        };
        let subject = format!("{}-wal", file.name);
        if wal.page_size != size {
            look.wrong(&subject, &subject, format!("pages of {size} bytes"), wal.page_size);
        }
    }
    look.end()
}

/// Searches the bus file's pages for ids in the form that the bus gives its messages.
fn remnants(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let Some(file) = facts.files.iter().find(|file| !file.pages.is_empty()) else {
        return look.end();
    };
    let mut known: HashSet<&str> = HashSet::new();
    let mut parts: HashSet<&str> = HashSet::new();
    let mut texts = String::new();
    for row in facts.rows("beam_messages") {
        let id = row.str("id");
        if form::is_hex(id, 32) {
            parts.extend([&id[..20], &id[12..]]);
            known.insert(id);
        }
        for column in ["nonce", "payload", "response", "error", "trace_id", "metadata"] {
            texts.push_str(row.str(column));
            texts.push('\n');
        }
    }
    look.seen();
    let mut gone: HashSet<&str> = HashSet::new();
    for (at, id) in ids_in(&file.pages) {
        let live = known.contains(id) || parts.contains(&id[..20]) || parts.contains(&id[12..]);
        if live || texts.contains(id) || purged(&file.pages[at..]) || !gone.insert(id) {
            continue;
        }
        look.wrong(
            format!("message {id}"),
            &format!("{} pages", file.name),
            "a row, for nothing deletes messages",
            "remnants of one in the pages, and no row",
        );
    }
    look.end()
}

/// What `BEAM_BUS_CLEAN_TEST_DATA` deletes at start names its parties soon after the id.
fn purged(bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(400)];
    [b"@test.", b"@demo."]
        .iter()
        .any(|mark| head.windows(mark.len()).any(|window| window == mark.as_slice()))
}

/// Every run of hexadecimal digits that begins with a random UUID without dashes, at its place.
fn ids_in(bytes: &[u8]) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut start = None;
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    for (at, byte) in bytes.iter().copied().chain([0]).enumerate() {
        match (digit(byte), start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                start = None;
                // The nonce follows the id at once, so only the run's beginning is the id; the byte before it is a record header's.
                if at - from >= 32
                    && let Ok(id) = std::str::from_utf8(&bytes[from..from + 32])
                    && form::is_uuid4(id)
                {
                    found.push((from, id));
                }
            }
            _ => {}
        }
    }
    found
}
