//! Facts of a write-ahead log, read as bytes: how many frames it has, and how many SQLite will take.
//!
//! Source: SQLite file format, section 4 (WAL header, frames, checksums). Never opens it with SQLite.

use crate::snapshot::copying::{self, CopyError};
use serde::{Deserialize, Serialize};
use std::io::{self, BufReader, Read};
use std::path::Path;

const HEADER_BYTES: u64 = 32;
const FRAME_HEADER_BYTES: u64 = 24;

/// What a write-ahead log holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalFacts {
    /// Its size.
    pub bytes: u64,
    /// Whether its header has a known magic number and a true checksum.
    pub header_valid: bool,
    /// Page size in bytes as its header says.
    pub page_size: u64,
    /// Whole frames in the file, valid or not.
    pub frames_total: u64,
    /// Frames up to the last one that ends a transaction, with true salts and checksums: what SQLite takes.
    pub frames_committed: u64,
    /// Transactions among them.
    pub commits: u64,
    /// Size of the database in pages after the last of them.
    pub pages_after_commit: u64,
    /// Bytes behind the last whole frame.
    pub torn_bytes: u64,
}

/// Reads the facts of a log; `None` when there is no such file.
///
/// # Errors
/// [`CopyError`] when it is a link or cannot be read.
pub fn wal_facts(path: &Path) -> Result<Option<WalFacts>, CopyError> {
    let file = match copying::open_regular(path) {
        Err(error) if error.is_missing() => return Ok(None),
        other => other?,
    };
    let failed = |source| CopyError::Read {
        path: path.to_owned(),
        source,
    };
    let bytes = file.metadata().map_err(failed)?.len();
    read_facts(BufReader::with_capacity(1 << 18, file), bytes)
        .map(Some)
        .map_err(failed)
}

fn read_facts(mut log: impl Read, bytes: u64) -> io::Result<WalFacts> {
    let mut facts = WalFacts {
        bytes,
        ..WalFacts::default()
    };
    let mut header = [0_u8; HEADER_BYTES as usize];
    if bytes < HEADER_BYTES {
        facts.torn_bytes = bytes;
        return Ok(facts);
    }
    log.read_exact(&mut header)?;
    let magic = word(&header, 0);
    facts.page_size = u64::from(word(&header, 8));
    let sane_page = facts.page_size.is_power_of_two() && (512..=65_536).contains(&facts.page_size);
    if !sane_page {
        return Ok(facts);
    }
    let frame_bytes = FRAME_HEADER_BYTES + facts.page_size;
    facts.frames_total = (bytes - HEADER_BYTES) / frame_bytes;
    facts.torn_bytes = (bytes - HEADER_BYTES) % frame_bytes;
    let big_endian = magic & 1 == 1;
    let mut sum = checksum(big_endian, (0, 0), &header[..24]);
    facts.header_valid = magic & !1 == 0x377f_0682 && sum == (word(&header, 24), word(&header, 28));
    if !facts.header_valid {
        return Ok(facts);
    }
    let mut frame = vec![0_u8; usize::try_from(frame_bytes).unwrap_or(0)];
    for number in 1..=facts.frames_total {
        log.read_exact(&mut frame)?;
        let (head, page) = frame.split_at(FRAME_HEADER_BYTES as usize);
        sum = checksum(big_endian, sum, &head[..8]);
        sum = checksum(big_endian, sum, page);
        let salts_match = head[8..16] == header[16..24];
        if !salts_match || sum != (word(head, 16), word(head, 20)) || word(head, 0) == 0 {
            break;
        }
        let pages = u64::from(word(head, 4));
        if pages > 0 {
            facts.frames_committed = number;
            facts.commits += 1;
            facts.pages_after_commit = pages;
        }
    }
    Ok(facts)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn checksum(big_endian: bool, start: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let (mut first, mut second) = start;
    for pair in bytes.chunks_exact(8) {
        let take = |at: usize| {
            let four = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian {
                u32::from_be_bytes(four)
            } else {
                u32::from_le_bytes(four)
            }
        };
        first = first.wrapping_add(take(0)).wrapping_add(second);
        second = second.wrapping_add(take(4)).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use std::fs;

    fn log_of_three_commits() -> Vec<u8> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let main = folder.path().join("x.db");
        let connection = Connection::open(&main).expect("opened");
        connection
            .execute_batch(
                "PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1); INSERT INTO t VALUES(2);",
            )
            .expect("made");
        fs::read(folder.path().join("x.db-wal")).expect("read")
    }

    fn facts(log: &[u8]) -> WalFacts {
        read_facts(log, log.len() as u64).expect("read")
    }

    #[test]
    fn a_whole_log_is_committed_to_its_end() {
        let facts = facts(&log_of_three_commits());
        assert_eq!((facts.header_valid, facts.commits), (true, 3));
        assert_eq!(facts.frames_committed, facts.frames_total);
    }

    #[test]
    fn a_cut_in_the_middle_of_a_frame_loses_that_commit() {
        let log = log_of_three_commits();
        let facts = facts(&log[..log.len() - 1_000]);
        assert_eq!(facts.commits, 2);
        assert!(facts.torn_bytes > 0);
    }

    #[test]
    fn other_salts_make_every_frame_void() {
        let mut log = log_of_three_commits();
        log[16] ^= 0xff;
        assert_eq!(facts(&log).frames_committed, 0);
    }
}
