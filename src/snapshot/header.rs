//! The first 100 bytes of a database file: what stands where, and what the file format forbids.
//!
//! Pure. SQLite itself ignores several of these fields when it reads, but a later writer does not: an unknown write version
//! makes the restored file read-only. Source: SQLite file format, section 1.3.

use std::fmt;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 100;

/// Fields: first byte, name.
const FIELDS: &[(usize, &str)] = &[
    (0, "magic"),
    (16, "page size"),
    (18, "write version"),
    (19, "read version"),
    (20, "reserved space"),
    (21, "payload fractions"),
    (24, "change counter"),
    (28, "page count"),
    (32, "first freelist page"),
    (36, "freelist count"),
    (40, "schema cookie"),
    (44, "schema format"),
    (48, "default cache size"),
    (52, "largest root page"),
    (56, "text encoding"),
    (60, "user version"),
    (64, "incremental vacuum"),
    (68, "application id"),
    (72, "space for expansion"),
    (92, "version-valid-for number"),
    (96, "SQLite version"),
];

/// A field that the file format forbids to be so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field.
    pub field: &'static str,
    /// What the format allows.
    pub expected: String,
    /// What stands there.
    pub observed: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            field,
            expected,
            observed,
        } = self;
        write!(f, "header field {field}: expected {expected}, observed {observed}")
    }
}

/// The name of the field that holds a byte of the header.
#[must_use]
pub fn field_at(offset: usize) -> &'static str {
    let before = FIELDS.iter().rev().find(|(start, _)| *start <= offset);
    before.map_or("magic", |(_, name)| name)
}

/// Bytes of a page; `None` when the header holds no lawful number.
#[must_use]
pub fn page_size(header: &[u8]) -> Option<usize> {
    let size = match header.get(16..18)? {
        [0, 1] => 65_536,
        [high, low] => usize::from(*high) << 8 | usize::from(*low),
        _ => return None,
    };
    ((512..=65_536).contains(&size) && size.is_power_of_two()).then_some(size)
}

/// What the file format forbids in a plain file of `bytes` bytes, whose `start` holds at least the header and the head of
/// the first page (108 bytes). Nothing is said of a file that is no SQLite database: whoever opens it tells.
#[must_use]
pub fn violations(start: &[u8], bytes: u64) -> Vec<Violation> {
    if start.len() < HEADER_BYTES + 8 || !start.starts_with(b"SQLite format 3\0") {
        return Vec::new();
    }
    let four = |at: usize| u32::from_be_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    let mut found = Vec::new();
    let mut hold = |holds: bool, field: &'static str, expected: String, observed: String| {
        if !holds {
            found.push(Violation {
                field,
                expected,
                observed,
            });
        }
    };
    let versions = (start[18], start[19]);
    hold(
        versions.0 == versions.1 && (1..=2).contains(&versions.0),
        "write version",
        "1 or 2, as the read version".to_owned(),
        format!("{} and {}", versions.0, versions.1),
    );
    let fractions = [start[21], start[22], start[23]];
    let told = format!("{fractions:?}");
    hold(
        fractions == [64, 32, 32],
        "payload fractions",
        "[64, 32, 32]".to_owned(),
        told,
    );
    // A file without any table may still have neither format nor encoding.
    let least = u32::from(u16::from_be_bytes([start[103], start[104]]) > 0 || start[100] != 13);
    let (format, encoding) = (four(44), four(56));
    hold(
        (least..=4).contains(&format),
        "schema format",
        format!("{least} to 4"),
        format.to_string(),
    );
    hold(
        (least..=3).contains(&encoding),
        "text encoding",
        format!("{least} to 3"),
        encoding.to_string(),
    );
    hold(
        four(52) > 0 || four(64) == 0,
        "incremental vacuum",
        "0 without auto-vacuum".to_owned(),
        four(64).to_string(),
    );
    hold(
        start[72..92].iter().all(|byte| *byte == 0),
        "space for expansion",
        "zero bytes".to_owned(),
        "others".to_owned(),
    );
    match page_size(start) {
        None => hold(
            false,
            "page size",
            "a power of two from 512 to 65536".to_owned(),
            "another".to_owned(),
        ),
        // The count is only valid when the writer that knows of it wrote last.
        Some(size) if four(24) == four(92) && four(28) > 0 => {
            let counted = u64::from(four(28)) * size as u64;
            let told = format!("{} of {size} bytes", four(28));
            hold(counted == bytes, "page count", format!("pages for {bytes} bytes"), told);
        }
        Some(_) => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{alter, file, hot_crash, plain_at_rest};

    fn fields_after(change: impl Fn(&mut Vec<u8>)) -> Vec<&'static str> {
        let set = plain_at_rest();
        let mut bytes = std::fs::read(file(&set, Service::Bus)).expect("read");
        change(&mut bytes);
        let found = violations(&bytes, bytes.len() as u64);
        found.into_iter().map(|one| one.field).collect()
    }

    #[test]
    fn every_forbidden_field_is_named() {
        type Change = fn(&mut Vec<u8>);
        let changes: [(Change, &str); 9] = [
            (|b| b[16] = 0x11, "page size"),
            (|b| b[18] = 4, "write version"),
            (|b| b[19] = 1, "write version"),
            (|b| b[22] = 33, "payload fractions"),
            (|b| b[47] = 5, "schema format"),
            (|b| b[59] = 0, "text encoding"),
            (|b| b[67] = 1, "incremental vacuum"),
            (|b| b[80] = 1, "space for expansion"),
            (|b| b.extend([0; 4096]), "page count"),
        ];
        for (change, field) in changes {
            assert_eq!(fields_after(change), [field]);
        }
        assert_eq!(fields_after(|_| {}), [] as [&str; 0]);
    }

    #[test]
    fn what_no_reader_and_no_writer_needs_is_not_forbidden() {
        for byte in [27, 43, 51, 95, 99] {
            assert_eq!(
                fields_after(|bytes| bytes[byte] ^= 1),
                [] as [&str; 0],
                "{}",
                field_at(byte)
            );
        }
    }

    #[test]
    fn files_as_sqlite_leaves_them_are_lawful() {
        let set = hot_crash();
        for sql in [
            "",
            "VACUUM",
            "PRAGMA journal_mode=DELETE; PRAGMA page_size=65536; VACUUM",
            "PRAGMA auto_vacuum=2; VACUUM",
        ] {
            for service in Service::ALL {
                let path = file(&set, service);
                alter(&path, sql);
                let bytes = std::fs::read(&path).expect("read");
                assert_eq!(violations(&bytes, bytes.len() as u64), [], "{sql}");
            }
        }
        let empty = set.path().join("empty.db");
        alter(&empty, "PRAGMA journal_mode=WAL");
        let bytes = std::fs::read(&empty).expect("read");
        assert_eq!(violations(&bytes, bytes.len() as u64), []);
    }
}
