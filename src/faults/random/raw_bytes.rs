//! Bits and blocks of the files' pages, and members of the manifest.

use crate::deployment::Service;
use crate::faults::fault::{Injection, Op, OpKind};
use crate::faults::random::Change;
use crate::faults::random::ground::Ground;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Sizes of blocks that become zero: a sector, and a few bytes.
const BLOCKS: [usize; 2] = [512, 16];
/// Bytes that are looked at before none counts as read.
const MOST_BYTES: usize = 1_000;

/// A bit, or a whole block, of either file; each byte has the same chance, but most of a small database is unallocated, so
/// that two of three are chosen among the bytes that SQLite reads. `None` for a block that is zero already.
pub(super) fn page(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let [directory, bus] = &ground.files;
    let only_read = random.random_bool(0.67);
    let (service, bytes, at) = (0..MOST_BYTES).find_map(|_| {
        let at = random.random_range(0..directory.len() + bus.len());
        let (place, service, bytes, at) = match at.checked_sub(directory.len()) {
            None => (0, Service::Directory, directory, at),
            Some(at) => (1, Service::Bus, bus, at),
        };
        let is_wanted = !only_read || !ground.pages[place].area(at).is_unread();
        is_wanted.then_some((service, bytes, at))
    })?;
    if random.random_bool(0.75) {
        let mask = 1_u8 << random.random_range(0..8);
        let what = format!("bit {mask:#04x} of byte {at} of the {service}'s file flips");
        return Some(bytes_changed(service, what, flipped("main", at, mask), true));
    }
    let block = BLOCKS[random.random_range(0..BLOCKS.len())];
    let start = at / block * block;
    let end = (start + block).min(bytes.len());
    if bytes[start..end].iter().all(|byte| *byte == 0) {
        return None;
    }
    let len = end - start;
    let op = Op {
        op: OpKind::Zero.name().to_owned(),
        file: Some("main".to_owned()),
        offset: i64::try_from(start).ok(),
        len: Some(len as u64),
        ..Op::default()
    };
    let what = format!("{len} bytes of the {service}'s file from {start} on are zero");
    Some(bytes_changed(service, what, op, true))
}

/// One character of a value in the manifest becomes another: a count, a size, a hash, a time, a name.
pub(super) fn manifest(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let text = &ground.manifest;
    let at = random.random_range(0..text.len().max(1));
    let start = text[..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let line = text[start..].split(|byte| *byte == b'\n').next()?;
    let value = value_of(line)?;
    let place = at - start;
    let byte = *line.get(place).filter(|_| value.contains(&place))?;
    let mask = if byte.is_ascii_digit() { 1 } else { 2 };
    let other = byte ^ mask;
    // It has to stay JSON: what is no JSON is a fault of the catalogue.
    let stays_text = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let is_number = line[value.start].is_ascii_digit();
    let leads = is_number && place == value.start && other == b'0' && value.len() > 1;
    if !stays_text(byte) || !stays_text(other) || (is_number && !other.is_ascii_digit()) || leads {
        return None;
    }
    let key = String::from_utf8_lossy(line)
        .trim()
        .split('"')
        .nth(1)
        .unwrap_or_default()
        .to_owned();
    let what = format!("one character of {key:?} at byte {at} of the manifest is another");
    Some(bytes_changed(
        Service::Directory,
        what,
        flipped("manifest", at, mask),
        false,
    ))
}

/// Where in a line of pretty JSON the value of its member stands, quotes left out; `None` for a line without a value that
/// is text or a number.
fn value_of(line: &[u8]) -> Option<std::ops::Range<usize>> {
    let start = line.windows(3).position(|three| three == b"\": ")? + 3;
    let end = line.len() - usize::from(line.ends_with(b","));
    match line.get(start)? {
        b'"' => Some(start + 1..end.checked_sub(1)?),
        b'0'..=b'9' => Some(start..end),
        _ => None,
    }
}

fn flipped(file: &str, at: usize, mask: u8) -> Op {
    Op {
        op: OpKind::Xor.name().to_owned(),
        file: Some(file.to_owned()),
        offset: i64::try_from(at).ok(),
        mask: Some(mask),
        ..Op::default()
    }
}

fn bytes_changed(service: Service, what: String, op: Op, reseal: bool) -> Change {
    Change {
        what,
        service,
        injection: Injection::Ops(vec![op]),
        reseal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_of_a_line_of_json_is_found() {
        let of = |line: &str| value_of(line.as_bytes()).map(|range| line[range].to_owned());
        assert_eq!(of("  \"id\": \"x-1\",").as_deref(), Some("x-1"));
        assert_eq!(of("  \"rows\": 12").as_deref(), Some("12"));
        assert_eq!(of("  \"origin\": \"a \\\": b\"").as_deref(), Some("a \\\": b"));
        for none in ["  \"wal\": null,", "  \"files\": [", "  },", "{"] {
            assert_eq!(of(none), None);
        }
    }
}
