//! Which part of a database file a byte belongs to: header field, cell, free space, freelist, overflow.
//!
//! Parses pages as they are; a damaged page makes parts unknown, never a panic. Source: SQLite file format, sections 1.3 to 1.6.

use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::header::{HEADER_BYTES, field_at, page_size};
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// A field of the file header.
    Header(&'static str),
    /// The head of a b-tree page.
    PageHead,
    /// The list of a b-tree page's cells.
    CellPointers,
    /// A row or an index entry, or a pointer to a child page.
    Cell,
    /// The rowid of a row. Where it is a column by another name it is content; elsewhere VACUUM gives it anew.
    Rowid,
    /// The key of an interior page of a table: it only says where to look.
    Separator,
    /// Between the cell pointers and the cells.
    Unallocated,
    /// Size and successor of a free block between cells.
    FreeBlockHead,
    /// The rest of a free block.
    FreeBlock,
    /// Bytes between cells that are too few for a free block.
    Fragment,
    /// The number of an overflow page's successor.
    OverflowLink,
    /// Content in an overflow page.
    Overflow,
    /// What the last overflow page of a cell does not need.
    OverflowTail,
    /// Successor, count and page numbers of a freelist trunk page.
    FreelistTrunk,
    /// What a freelist trunk page does not need.
    FreelistTrunkTail,
    /// A free page.
    FreelistPage,
    /// The region that extensions reserve at the end of each page.
    Reserved,
    /// In no tree, no freelist: a damaged file, or a page that locks live in.
    Unknown,
}

impl Area {
    /// Whether SQLite never reads the bytes, or reads them and gives nothing on: damage there can be without meaning.
    #[must_use]
    pub fn is_unread(self) -> bool {
        match self {
            Area::Header(field) => [
                "change counter",
                "schema cookie",
                "default cache size",
                "version-valid-for number",
                "SQLite version",
            ]
            .contains(&field),
            Area::Unallocated
            | Area::FreeBlock
            | Area::Fragment
            | Area::OverflowTail
            | Area::FreelistTrunkTail
            | Area::FreelistPage
            | Area::Reserved => true,
            Area::PageHead
            | Area::CellPointers
            | Area::Cell
            | Area::Rowid
            | Area::Separator
            | Area::FreeBlockHead
            | Area::OverflowLink
            | Area::Overflow
            | Area::FreelistTrunk
            | Area::Unknown => false,
        }
    }

    /// Whether damage there can be without meaning: unread, or read but no content where no row and no order changed.
    #[must_use]
    pub fn may_mean_nothing(self) -> bool {
        self.is_unread() || matches!(self, Area::Rowid | Area::Separator)
    }
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Area::Header(field) => return write!(f, "header field {field}"),
            Area::PageHead => "head of a b-tree page",
            Area::CellPointers => "cell pointers",
            Area::Cell => "cell",
            Area::Rowid => "rowid of a row",
            Area::Separator => "key of an interior page",
            Area::Unallocated => "unallocated space of a page",
            Area::FreeBlockHead => "head of a free block",
            Area::FreeBlock => "free block of a page",
            Area::Fragment => "fragment between cells",
            Area::OverflowLink => "link of an overflow page",
            Area::Overflow => "content of an overflow page",
            Area::OverflowTail => "unused tail of an overflow page",
            Area::FreelistTrunk => "freelist trunk page",
            Area::FreelistTrunkTail => "unused tail of a freelist trunk page",
            Area::FreelistPage => "freelist page",
            Area::Reserved => "reserved space of a page",
            Area::Unknown => "unknown part",
        };
        f.write_str(text)
    }
}

/// What a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Tree,
    /// Bytes of content on it.
    Overflow(usize),
    /// Page numbers on it.
    Trunk(usize),
    Free,
}

/// A file's bytes and what each page is.
#[derive(Debug)]
pub struct Pages {
    bytes: Vec<u8>,
    size: usize,
    usable: usize,
    kinds: Vec<Kind>,
}

impl Pages {
    /// Reads a sound plain file and follows all its trees and its freelist.
    ///
    /// # Errors
    /// [`DatabaseError`] when the file or its schema cannot be read.
    pub fn read(path: &Path) -> Result<Pages, DatabaseError> {
        let database = Database::open(path)?;
        let roots = database.rows("SELECT rootpage AS r FROM sqlite_schema WHERE rootpage > 0", &[])?;
        let roots = roots.iter().filter_map(|row| usize::try_from(row.integer("r")?).ok());
        let bytes = std::fs::read(path).map_err(|error| DatabaseError::Open {
            path: path.to_owned(),
            source: rusqlite::Error::ToSqlConversionFailure(Box::new(error)),
        })?;
        Ok(Pages::of(bytes, roots))
    }

    /// Follows the trees of the given root pages, that of the schema too, and the freelist.
    #[must_use]
    pub fn of(bytes: Vec<u8>, roots: impl Iterator<Item = usize>) -> Pages {
        let size = page_size(&bytes).unwrap_or(4_096);
        let usable = size - usize::from(bytes.get(20).copied().unwrap_or(0));
        let kinds = vec![Kind::Unknown; bytes.len() / size];
        let mut pages = Pages {
            bytes,
            size,
            usable,
            kinds,
        };
        pages.freelist();
        let mut open: Vec<usize> = roots.chain([1]).collect();
        while let Some(page) = open.pop() {
            if pages.claim(page, Kind::Tree) {
                for cell in pages.cells(page) {
                    open.extend(cell.child);
                    pages.follow(cell.overflow, cell.beyond);
                }
                open.extend(pages.last_child(page));
            }
        }
        pages
    }

    /// The part that a byte of the file belongs to.
    #[must_use]
    pub fn area(&self, offset: usize) -> Area {
        if offset < HEADER_BYTES {
            return Area::Header(field_at(offset));
        }
        let (page, at) = (offset / self.size + 1, offset % self.size);
        match self.kinds.get(page - 1) {
            Some(Kind::Unknown) | None => Area::Unknown,
            Some(_) if at >= self.usable => Area::Reserved,
            Some(Kind::Tree) => self.tree_area(page, at),
            Some(Kind::Overflow(_)) if at < 4 => Area::OverflowLink,
            Some(Kind::Overflow(used)) if at < 4 + used => Area::Overflow,
            Some(Kind::Overflow(_)) => Area::OverflowTail,
            Some(Kind::Trunk(entries)) if at < 8 + 4 * entries => Area::FreelistTrunk,
            Some(Kind::Trunk(_)) => Area::FreelistTrunkTail,
            Some(Kind::Free) => Area::FreelistPage,
        }
    }

    fn tree_area(&self, page: usize, at: usize) -> Area {
        let head = self.head(page);
        let (first, list) = (head, head + self.head_bytes(page));
        let count = self.two(page, head + 3);
        let content = match self.two(page, head + 5) {
            0 => 65_536,
            start => start,
        };
        if (first..list).contains(&at) {
            return Area::PageHead;
        }
        if (list..list + 2 * count).contains(&at) {
            return Area::CellPointers;
        }
        if (list + 2 * count..content).contains(&at) {
            return Area::Unallocated;
        }
        if let Some(cell) = self.cells(page).iter().find(|cell| cell.range.contains(&at)) {
            let is_key = cell.key.contains(&at);
            return match self.byte(page, head) {
                5 if is_key => Area::Separator,
                13 if is_key => Area::Rowid,
                _ => Area::Cell,
            };
        }
        let mut block = self.two(page, head + 1);
        while block >= content && block + 4 <= self.usable {
            if (block..block + 4).contains(&at) {
                return Area::FreeBlockHead;
            }
            if (block..block + self.two(page, block + 2)).contains(&at) {
                return Area::FreeBlock;
            }
            let next = self.two(page, block);
            if next <= block {
                break;
            }
            block = next;
        }
        Area::Fragment
    }

    /// Marks a page that nobody has claimed; tells whether it was free to be claimed.
    fn claim(&mut self, page: usize, kind: Kind) -> bool {
        let slot = page.checked_sub(1).and_then(|at| self.kinds.get_mut(at));
        match slot {
            Some(slot) if *slot == Kind::Unknown => {
                *slot = kind;
                true
            }
            _ => false,
        }
    }

    fn freelist(&mut self) {
        let mut trunk = self.four(1, 32);
        while self.kinds.get(trunk.wrapping_sub(1)).is_some() {
            let entries = self.four(trunk, 4).min(self.usable / 4 - 2);
            if !self.claim(trunk, Kind::Trunk(entries)) {
                return;
            }
            for at in 0..entries {
                let leaf = self.four(trunk, 8 + 4 * at);
                self.claim(leaf, Kind::Free);
            }
            trunk = self.four(trunk, 0);
        }
    }

    fn follow(&mut self, first: Option<usize>, mut beyond: usize) {
        let mut next = first;
        while let Some(page) = next.filter(|_| beyond > 0) {
            let used = beyond.min(self.usable - 4);
            if !self.claim(page, Kind::Overflow(used)) {
                return;
            }
            beyond -= used;
            next = Some(self.four(page, 0));
        }
    }

    fn head(&self, page: usize) -> usize {
        if page == 1 { HEADER_BYTES } else { 0 }
    }

    /// Interior pages have a right-most child in their head.
    fn head_bytes(&self, page: usize) -> usize {
        if matches!(self.byte(page, self.head(page)), 2 | 5) {
            12
        } else {
            8
        }
    }

    fn last_child(&self, page: usize) -> Option<usize> {
        let head = self.head(page);
        (self.head_bytes(page) == 12).then(|| self.four(page, head + 8))
    }

    fn cells(&self, page: usize) -> Vec<Cell> {
        let head = self.head(page);
        let (kind, list) = (self.byte(page, head), head + self.head_bytes(page));
        let count = self.two(page, head + 3).min(self.usable / 2);
        let starts = (0..count).map(|at| self.two(page, list + 2 * at));
        starts.filter_map(|start| self.cell(page, kind, start)).collect()
    }

    fn cell(&self, page: usize, kind: u8, start: usize) -> Option<Cell> {
        let is_interior = matches!(kind, 2 | 5);
        let mut at = start + if is_interior { 4 } else { 0 };
        let child = is_interior.then(|| self.four(page, start));
        if kind == 5 {
            let (_, bytes) = self.varint(page, at);
            return Some(Cell::local(start, at + bytes, child, at..at + bytes));
        }
        let (payload, bytes) = self.varint(page, at);
        let payload = usize::try_from(payload).ok().filter(|payload| *payload < 1 << 31)?;
        at += bytes;
        let mut key = at..at;
        if kind == 13 {
            at += self.varint(page, at).1;
            key.end = at;
        }
        let most = if kind == 13 {
            self.usable - 35
        } else {
            (self.usable - 12) * 64 / 255 - 23
        };
        if payload <= most {
            // No cell is shorter than four bytes.
            return Some(Cell::local(start, (at + payload).max(start + 4), child, key));
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let fitting = least + (payload - least) % (self.usable - 4);
        let local = if fitting <= most { fitting } else { least };
        Some(Cell {
            range: start..at + local + 4,
            key,
            child,
            overflow: Some(self.four(page, at + local)),
            beyond: payload - local,
        })
    }

    fn byte(&self, page: usize, at: usize) -> u8 {
        let offset = page.wrapping_sub(1).wrapping_mul(self.size).wrapping_add(at);
        self.bytes.get(offset).copied().unwrap_or(0)
    }

    fn two(&self, page: usize, at: usize) -> usize {
        usize::from(self.byte(page, at)) << 8 | usize::from(self.byte(page, at + 1))
    }

    fn four(&self, page: usize, at: usize) -> usize {
        self.two(page, at) << 16 | self.two(page, at + 2)
    }

    /// The number at a place, and how many bytes it takes.
    fn varint(&self, page: usize, at: usize) -> (u64, usize) {
        let mut value = 0_u64;
        for taken in 0..8 {
            let byte = self.byte(page, at + taken);
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return (value, taken + 1);
            }
        }
        (value << 8 | u64::from(self.byte(page, at + 8)), 9)
    }
}

/// One cell of a b-tree page.
struct Cell {
    range: Range<usize>,
    /// Its integer key; empty in an index.
    key: Range<usize>,
    child: Option<usize>,
    overflow: Option<usize>,
    /// Bytes of its payload in overflow pages.
    beyond: usize,
}

impl Cell {
    fn local(start: usize, end: usize, child: Option<usize>, key: Range<usize>) -> Cell {
        Cell {
            range: start..end,
            key,
            child,
            overflow: None,
            beyond: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded::alter;
    use std::collections::BTreeSet;

    const CONTENT: &str =
        "PRAGMA page_size=1024; CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB); CREATE INDEX i ON t(a);
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<300)
        INSERT INTO t(a, b) SELECT printf('text %05d', x), zeroblob(CASE x%100 WHEN 0 THEN 3000 WHEN 50 THEN 3040 ELSE 20 END) FROM n;
        CREATE TABLE gone(x); INSERT INTO gone SELECT hex(randomblob(300)) FROM t; DROP TABLE gone;
        DELETE FROM t WHERE id%7=0 AND id%50<>0; UPDATE t SET a='x' WHERE id%11=0";

    fn pages() -> (tempfile::TempDir, Pages) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("x.db");
        alter(&path, CONTENT);
        let pages = Pages::read(&path).expect("read");
        (folder, pages)
    }

    #[test]
    fn every_page_of_a_sound_file_is_known() {
        let (_folder, pages) = pages();
        assert!(!pages.kinds.contains(&Kind::Unknown));
        let areas: BTreeSet<Area> = (0..pages.bytes.len()).map(|offset| pages.area(offset)).collect();
        for area in [
            Area::Header("page count"),
            Area::PageHead,
            Area::CellPointers,
            Area::Cell,
            Area::Rowid,
            Area::Separator,
            Area::Unallocated,
            Area::FreeBlockHead,
            Area::FreeBlock,
            Area::OverflowLink,
            Area::Overflow,
            Area::OverflowTail,
            Area::FreelistTrunk,
            Area::FreelistTrunkTail,
            Area::FreelistPage,
        ] {
            assert!(areas.contains(&area), "{area}");
        }
    }

    #[test]
    fn the_freelist_is_as_long_as_the_header_says() {
        let (_folder, pages) = pages();
        let is_free = |kind: &&Kind| matches!(kind, Kind::Free | Kind::Trunk(_));
        assert_eq!(pages.kinds.iter().filter(is_free).count(), pages.four(1, 36));
    }

    #[test]
    fn unread_bytes_can_be_anything_and_nothing_differs() {
        let (folder, pages) = pages();
        let path = folder.path().join("x.db");
        let all = |path: &Path| {
            let database = Database::open(path).expect("opened");
            let check = database.rows("PRAGMA integrity_check", &[]).expect("checked");
            let rows = database.rows("SELECT id, a, b FROM t", &[]).expect("read");
            (format!("{check:?}"), rows)
        };
        let before = all(&path);
        assert!(
            before.0.contains("\"integrity_check\", Text([111, 107])"),
            "{}",
            before.0
        );
        let mut bytes = pages.bytes.clone();
        let mut altered = 0;
        for (offset, byte) in bytes.iter_mut().enumerate() {
            // A valid-for number of its own would make the page count void.
            if offset >= HEADER_BYTES && pages.area(offset).is_unread() {
                *byte ^= 0xff;
                altered += 1;
            }
        }
        assert!(altered > 1_000);
        std::fs::write(&path, bytes).expect("written");
        assert_eq!(all(&path), before);
    }

    #[test]
    fn garbage_is_unknown_and_no_panic() {
        let pages = Pages::of(vec![0xff; 10_000], [3, 77, usize::MAX].into_iter());
        assert_eq!(pages.area(9_000), Area::Unknown);
        assert_eq!(Pages::of(Vec::new(), std::iter::empty()).area(500), Area::Unknown);
        let areas: BTreeSet<Area> = (0..10_000).map(|at| pages.area(at)).collect();
        assert!(areas.contains(&Area::Header("magic")));
    }
}
