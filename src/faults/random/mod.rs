//! Faults that nobody thought of: random changes of cells, rows, indexes, pages and manifest of a real snapshot.
//!
//! The same snapshot and seed give the same faults. Each is a complete fault of its own, ready to be kept as TOML, and each
//! changes something; nobody promises that the change has a meaning. Only reads.

use crate::deployment::Service;
use crate::evidence::FaultId;
use crate::faults::fault::{Base, Expect, Fault, Injection, Stage, Touched};
use crate::faults::random::ground::Ground;
use crate::snapshot::database::{Cell, DatabaseError};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Values of cells.
mod cells;
/// What there is to change.
mod ground;
/// Bytes of pages and of the manifest.
mod raw_bytes;
/// Whole rows and indexes.
mod rows;

/// Choices of one kind before another kind is tried.
const MOST_CHOICES: usize = 300;
/// Kinds in a row that led to nothing new before a snapshot counts as exhausted.
const MOST_VAIN_KINDS: usize = 50;

/// Why there is nothing to change.
#[derive(Debug, thiserror::Error)]
pub enum RandomError {
    /// A file of the snapshot cannot be read.
    #[error("cannot read the snapshot to choose changes")]
    Database(#[from] DatabaseError),
    /// The manifest or a file cannot be read.
    #[error("cannot read {path} to choose changes")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no row at all.
    #[error("{0} holds no row to change")]
    Empty(PathBuf),
    /// The snapshot is too small for so many different changes.
    #[error("{folder} has no more than {found} different changes to offer; ask for fewer")]
    Exhausted {
        /// The snapshot.
        folder: PathBuf,
        /// How many were found.
        found: usize,
    },
}

/// What kind of change a random fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One cell as no writer would leave it: storage class, one more or less, case, exchange, NULL, one character.
    OneCell,
    /// What a faulty tool leaves behind: the value of another row, one character, a time moved, one less, a row lost.
    Plausible,
    /// A row lost, a row twice.
    Row,
    /// An index lost.
    Index,
    /// Bits and blocks of the files.
    Page,
    /// A member of the manifest.
    Manifest,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] = [
        Kind::OneCell,
        Kind::Plausible,
        Kind::Row,
        Kind::Index,
        Kind::Page,
        Kind::Manifest,
    ];

    /// The word in lists: `one-cell`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::OneCell => "one-cell",
            Kind::Plausible => "plausible",
            Kind::Row => "row",
            Kind::Index => "index",
            Kind::Page => "page",
            Kind::Manifest => "manifest",
        }
    }

    /// The group of its faults: `random-one-cell`.
    #[must_use]
    pub fn group(self) -> String {
        format!("random-{}", self.name())
    }

    /// The kind of a random fault; `None` for a fault of the catalogue.
    #[must_use]
    pub fn of(fault: &Fault) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.group() == fault.group)
    }

    /// How many of a thousand faults are of this kind.
    fn weight(self) -> u32 {
        match self {
            Kind::OneCell => 400,
            Kind::Plausible => 350,
            Kind::Row => 70,
            Kind::Index => 20,
            Kind::Page => 110,
            Kind::Manifest => 50,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One change before it has a name.
struct Change {
    what: String,
    service: Service,
    injection: Injection,
    reseal: bool,
}

/// `count` different faults of stage `snapshot` for a snapshot folder, of all kinds, all from one seed.
///
/// # Errors
/// [`RandomError`].
pub fn mutants(folder: &Path, seed: u64, count: usize) -> Result<Vec<Fault>, RandomError> {
    chosen(folder, seed, count, &Kind::ALL)
}

/// As [`mutants`], of one kind only.
///
/// # Errors
/// [`RandomError`].
pub fn mutants_of(kind: Kind, folder: &Path, seed: u64, count: usize) -> Result<Vec<Fault>, RandomError> {
    chosen(folder, seed, count, &[kind])
}

fn chosen(folder: &Path, seed: u64, count: usize, kinds: &[Kind]) -> Result<Vec<Fault>, RandomError> {
    let ground = Ground::survey(folder)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Vec::with_capacity(count);
    let (mut seen, mut vain) = (BTreeSet::new(), 0);
    while found.len() < count {
        let kind = kind_of(kinds, &mut random);
        // A choice that leads to nothing new is made again within its kind, so that kinds keep their shares.
        let mut choices = (0..MOST_CHOICES).filter_map(|_| change(kind, &ground, &mut random));
        match choices.find(|change| seen.insert(format!("{:?}", change.injection))) {
            Some(change) => {
                found.push(named(change, kind, seed, found.len() + 1));
                vain = 0;
            }
            None => vain += 1,
        }
        if vain > MOST_VAIN_KINDS {
            return Err(RandomError::Exhausted {
                folder: folder.to_owned(),
                found: found.len(),
            });
        }
    }
    Ok(found)
}

fn kind_of(kinds: &[Kind], random: &mut ChaCha8Rng) -> Kind {
    let total: u32 = kinds.iter().map(|kind| kind.weight()).sum();
    let mut at = random.random_range(0..total.max(1));
    for kind in kinds {
        if at < kind.weight() {
            return *kind;
        }
        at -= kind.weight();
    }
    kinds[0]
}

/// One change of a kind, or `None` where the choice has nothing to change.
fn change(kind: Kind, ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    match kind {
        Kind::OneCell => cells::one_cell(ground, random),
        Kind::Plausible => cells::plausible(ground, random),
        Kind::Row => Some(rows::row(ground, random)),
        Kind::Index => rows::index_lost(ground, random),
        Kind::Page => raw_bytes::page(ground, random),
        Kind::Manifest => raw_bytes::manifest(ground, random),
    }
}

fn named(change: Change, kind: Kind, seed: u64, number: usize) -> Fault {
    Fault {
        id: FaultId(format!("random-{}-{seed}-{number}", kind.name())),
        group: kind.group(),
        title: change.what,
        service: match change.service {
            Service::Directory => Touched::Directory,
            Service::Bus => Touched::Bus,
        },
        base: Base::Seed,
        stage: Stage::Snapshot,
        subtle: false,
        injection: change.injection,
        caught_by: Vec::new(),
        expect: Expect::Fail,
        reseal: change.reseal,
        unseen_alone: None,
        unseen_given: None,
        lock_too: false,
        benign: false,
        file: PathBuf::new(),
    }
}

/// A value as SQL.
pub(crate) fn literal(cell: &Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => format!("{number:?}"),
        Cell::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => format!("'{}'", text.replace('\'', "''")),
            _ => format!("CAST({} AS TEXT)", blob(bytes)),
        },
        Cell::Blob(bytes) => blob(bytes),
    }
}

fn blob(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

/// Statements on the database of a service as a change.
fn statements(service: Service, what: String, list: Vec<String>) -> Change {
    let (directory, bus) = match service {
        Service::Directory => (list, Vec::new()),
        Service::Bus => (Vec::new(), list),
    };
    Change {
        what,
        service,
        injection: Injection::Sql { directory, bus },
        reseal: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::inject::{FaultError, inject};
    use crate::faults::target::Target;
    use crate::snapshot::recorded::taken;
    use std::fs;

    #[test]
    fn literals_hold_what_text_cannot_say() {
        let text = |text: &str| Cell::Text(text.as_bytes().to_vec());
        assert_eq!(literal(&text("it's")), "'it''s'");
        assert_eq!(literal(&text("a\0b")), "CAST(x'610062' AS TEXT)");
        assert_eq!(literal(&Cell::Real(1.0)), "1.0");
        assert_eq!(literal(&Cell::Blob(vec![0, 255])), "x'00ff'");
    }

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let some = |seed: u64| mutants(&folder, seed, 60).expect("chosen");
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn every_kind_is_there_and_told_by_its_group() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let faults = mutants(&folder, 5, 300).expect("chosen");
        for kind in Kind::ALL {
            let of_kind = faults.iter().filter(|fault| Kind::of(fault) == Some(kind)).count();
            assert!(of_kind > 0, "{kind}");
            let only = mutants_of(kind, &folder, 5, 3).expect("chosen");
            assert!(only.iter().all(|fault| Kind::of(fault) == Some(kind)));
        }
    }

    #[test]
    fn a_snapshot_that_offers_too_few_changes_says_so() {
        let run = taken();
        let too_many = mutants_of(Kind::Index, &run.path().join("snapshot"), 1, 5_000);
        assert!(matches!(too_many, Err(RandomError::Exhausted { .. })));
    }

    #[test]
    fn every_random_fault_can_be_injected_and_changes_something() {
        let run = taken();
        let folder = run.path().join("snapshot");
        for fault in &mutants(&folder, 3, 120).expect("chosen") {
            let copy = tempfile::tempdir().expect("a temporary folder");
            for entry in fs::read_dir(&folder).expect("listed").flatten() {
                fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copied");
            }
            let result = inject(fault, &Target::snapshot(copy.path(), run.path()));
            let cause = |error: &FaultError| std::error::Error::source(error).map(ToString::to_string);
            assert!(
                result.is_ok(),
                "{}: {:?}: {:?}",
                fault.title,
                fault.injection,
                result.as_ref().err().map(|error| (error.to_string(), cause(error)))
            );
        }
    }
}
