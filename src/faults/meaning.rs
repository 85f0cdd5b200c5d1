//! Whether damage to a file's bytes has a meaning: does anything differ that SQLite can read?
//!
//! A rule, not a list of excuses: a change is without meaning only if the file is still sound, every row, storage class,
//! schema text, pragma and statistic is equal, *and* every byte that differs lies where the file format says that nothing is
//! kept, or is a rowid that no column shows (VACUUM gives such rowids anew). Only reads copies that the harness made.

use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::page_area::{Area, Pages};
use crate::snapshot::summary::summarise_open;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// Why a change has no meaning: the parts of the file that it hit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Part of the file → first byte that differs there, and how many do.
    pub areas: BTreeMap<Area, (usize, usize)>,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nothing that SQLite reads differs: ")?;
        for (at, (area, (first, bytes))) in self.areas.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let bytes = if *bytes == 1 {
                format!("byte {first}")
            } else {
                format!("{bytes} bytes from {first} on")
            };
            write!(f, "{comma}{area} ({bytes})")?;
        }
        Ok(())
    }
}

/// Why the bytes that differ between a sound file and its altered copy mean nothing; `None` when they mean something, or
/// when it is not known that they do not.
#[must_use]
pub fn meaning(before: &Path, after: &Path) -> Option<Reason> {
    let areas = areas_hit(before, after)?;
    if areas.is_empty() || !areas.keys().all(|area| area.may_mean_nothing()) {
        return None;
    }
    let equal = everything(before).ok()? == everything(after).ok()?;
    equal.then_some(Reason { areas })
}

/// The parts of the file whose bytes differ; `None` when a file cannot be read or another size differs.
#[must_use]
pub fn areas_hit(before: &Path, after: &Path) -> Option<BTreeMap<Area, (usize, usize)>> {
    let pages = Pages::read(before).ok()?;
    let (was, is) = (std::fs::read(before).ok()?, std::fs::read(after).ok()?);
    if was.len() != is.len() {
        return None;
    }
    let mut areas: BTreeMap<Area, (usize, usize)> = BTreeMap::new();
    for offset in (0..was.len()).filter(|offset| was[*offset] != is[*offset]) {
        areas.entry(pages.area(offset)).or_insert((offset, 0)).1 += 1;
    }
    Some(areas)
}

/// All that SQLite gives a reader, as text; only for a file that it calls sound.
fn everything(path: &Path) -> Result<Vec<String>, DatabaseError> {
    let database = Database::open(path)?;
    let summary = summarise_open(&database)?;
    let mut told = vec![
        format!("{:?}", database.rows("PRAGMA integrity_check", &[])?),
        format!("{:?}", summary.pragmas),
        format!("{:?}", summary.pages),
        summary.digest,
    ];
    let schema = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY rowid";
    told.push(format!("{:?}", database.rows(schema, &[])?));
    for name in ["sqlite_stat1", "sqlite_stat4"] {
        let there = database.rows("SELECT 1 FROM sqlite_schema WHERE name = ?1", &[name])?;
        if !there.is_empty() {
            told.push(format!("{:?}", database.rows(&format!("SELECT * FROM {name}"), &[])?));
        }
    }
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{alter, file, plain_at_rest};

    /// A sound file, its pages, and a copy in which one byte was altered.
    fn after(offset_of: impl Fn(&Pages, &[u8]) -> usize) -> Option<Reason> {
        let (one, two) = (plain_at_rest(), plain_at_rest());
        let (before, after) = (file(&one, Service::Directory), file(&two, Service::Directory));
        let pages = Pages::read(&before).expect("read");
        let mut bytes = std::fs::read(&before).expect("read");
        let offset = offset_of(&pages, &bytes);
        bytes[offset] ^= 0x20;
        std::fs::write(&after, bytes).expect("written");
        meaning(&before, &after)
    }

    fn first(area: Area) -> impl Fn(&Pages, &[u8]) -> usize {
        move |pages, bytes| {
            (4_096..bytes.len())
                .find(|offset| pages.area(*offset) == area)
                .expect("such a part")
        }
    }

    #[test]
    fn damage_where_nothing_is_kept_has_no_meaning_and_its_place_is_named() {
        let reason = after(first(Area::Unallocated)).expect("explained");
        assert!(
            reason.to_string().contains("unallocated space of a page (byte "),
            "{reason}"
        );
        let reason = after(|_, _| 43).expect("explained");
        assert_eq!(
            reason.to_string(),
            "nothing that SQLite reads differs: header field schema cookie (byte 43)"
        );
    }

    #[test]
    fn damage_to_what_is_kept_is_not_explained() {
        for area in [Area::Cell, Area::CellPointers, Area::PageHead] {
            assert_eq!(after(first(area)), None, "{area}");
        }
        assert_eq!(after(|_, _| 63), None, "the user version");
    }

    #[test]
    fn a_rowid_that_no_column_shows_means_nothing_and_one_that_is_a_column_does() {
        let rowid_of = |sql: &str| {
            let (one, two) = (plain_at_rest(), plain_at_rest());
            let (before, after) = (file(&one, Service::Directory), file(&two, Service::Directory));
            for path in [&before, &after] {
                alter(
                    path,
                    "PRAGMA journal_mode=DELETE; CREATE TABLE bare(x); INSERT INTO bare VALUES (1)",
                );
            }
            alter(&after, sql);
            // Only the page with the row, as damage would leave it: the header's counters move with each writing.
            let mut bytes = std::fs::read(&after).expect("read");
            let head = std::fs::read(&before).expect("read");
            bytes[..100].copy_from_slice(&head[..100]);
            std::fs::write(&after, bytes).expect("written");
            meaning(&before, &after).map(|reason| reason.to_string())
        };
        let told = rowid_of("UPDATE bare SET rowid = 2").expect("explained");
        assert!(told.contains("rowid of a row (byte "), "{told}");
        assert_eq!(
            rowid_of("UPDATE audit_log SET id = 90 WHERE id = (SELECT max(id) FROM audit_log)"),
            None
        );
    }

    #[test]
    fn equal_files_and_changed_rows_are_not_explained() {
        let (one, two) = (plain_at_rest(), plain_at_rest());
        let (before, after) = (file(&one, Service::Bus), file(&two, Service::Bus));
        assert_eq!(meaning(&before, &after), None);
        alter(
            &after,
            "PRAGMA journal_mode=DELETE; UPDATE beam_messages SET priority='x'",
        );
        assert_eq!(meaning(&before, &after), None);
        assert!(areas_hit(&before, &after).is_some_and(|areas| areas.contains_key(&Area::Cell)));
    }
}
