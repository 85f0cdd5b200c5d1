//! File operations of a fault: cut, flip, zero, remove, append, change mode, copy.
//!
//! Names stand for files of the target (`main`, `wal`, `shm`, `manifest`, `folder`; `source:…`, `other:…`, and to copy from
//! also `clean:…`, `earlier:…`); a path is never taken from a fault file.

use crate::deployment::Service;
use crate::faults::fault::{Op, OpKind, Touched};
use crate::faults::target::Target;
use crate::snapshot::database::{Database, DatabaseError, beside};
use crate::snapshot::file_set::FileSet;
use crate::snapshot::manifest;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PARTS: &[&str] = &["main", "wal", "shm", "manifest", "folder"];
const PREFIXES: &[&str] = &["source:", "other:"];
/// Files of others, which are only read.
const READ_ONLY: &[&str] = &["clean:", "earlier:"];

/// Why an operation could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BytesError {
    /// The stage has no such file.
    #[error("there is no file {name:?} at this stage")]
    NoFile {
        /// Its name in the fault file.
        name: String,
    },
    /// The system refused.
    #[error("cannot {op} {path}")]
    File {
        /// The operation.
        op: OpKind,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The place is outside of the file.
    #[error("offset {offset} with {len} bytes lies outside of {path} ({bytes} bytes)")]
    Outside {
        /// The file.
        path: PathBuf,
        /// The offset as it stands in the fault file.
        offset: i64,
        /// How many bytes.
        len: u64,
        /// The file's size.
        bytes: u64,
    },
    /// The table's pages could not be found.
    #[error("cannot find a leaf page of {table} in {path}")]
    Page {
        /// The table.
        table: String,
        /// The file.
        path: PathBuf,
        /// The cause, if SQLite gave one.
        #[source]
        source: Option<Box<DatabaseError>>,
    },
    /// A key holds something that is no number of its kind.
    #[error("{key} {given:?} is no {kind}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is written.
        given: String,
        /// What should be.
        kind: &'static str,
    },
}

impl BytesError {
    /// Whether the file is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        match self {
            BytesError::NoFile { .. } => true,
            BytesError::File { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// Whether a name of a file is one that an operation may use.
///
/// # Errors
/// What is wrong, and what to use.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let part = PREFIXES
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if PARTS.contains(&part) {
        Ok(())
    } else {
        Err(format!(
            "file {name:?} is not known; use main, wal, shm, manifest or folder, with source: or other: before it"
        ))
    }
}

/// Whether a name is one that may be copied from.
///
/// # Errors
/// As [`check_name`].
pub(crate) fn check_from(name: &str) -> Result<(), String> {
    let part = READ_ONLY.iter().find_map(|prefix| name.strip_prefix(prefix));
    match part {
        Some(part) if PARTS[..3].contains(&part) => Ok(()),
        Some(_) => Err(format!("there is no {name:?}; use main, wal or shm after the colon")),
        None => check_name(name),
    }
}

/// Does all operations in order.
///
/// # Errors
/// [`BytesError`] of the first that cannot be done.
pub fn run(ops: &[Op], touched: Touched, target: &Target) -> Result<(), BytesError> {
    ops.iter().try_for_each(|op| one(op, touched, target))
}

fn one(op: &Op, touched: Touched, target: &Target) -> Result<(), BytesError> {
    let service = op.service.unwrap_or(touched.services()[0]);
    let resolve = |name: &Option<String>| path_of(name.as_deref().unwrap_or_default(), service, target);
    let kind = OpKind::parse(&op.op).ok_or_else(|| BytesError::Value {
        key: "op",
        given: op.op.clone(),
        kind: "operation",
    })?;
    if kind == OpKind::Copy {
        let (from, to) = (resolve(&op.from)?, resolve(&op.to)?);
        let bytes = fs::read(&from).map_err(|source| BytesError::File {
            op: kind,
            path: from,
            source,
        })?;
        return fs::write(&to, bytes).map_err(|source| BytesError::File {
            op: kind,
            path: to,
            source,
        });
    }
    let path = resolve(&op.file)?;
    let failed = |source| BytesError::File {
        op: kind,
        path: path.clone(),
        source,
    };
    match kind {
        OpKind::Remove => fs::remove_file(&path).map_err(failed),
        OpKind::Chmod => {
            let mode = number(op.mode.as_deref().unwrap_or_default())?;
            fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(failed)
        }
        OpKind::Append => {
            let bytes = unhex(op.hex.as_deref().unwrap_or_default())?;
            let opened = OpenOptions::new().append(true).open(&path);
            opened.and_then(|mut file| file.write_all(&bytes)).map_err(failed)
        }
        OpKind::Truncate => {
            let bytes = fs::metadata(&path).map_err(failed)?.len();
            let keep = kept(op, bytes);
            let opened = OpenOptions::new().write(true).open(&path);
            opened.and_then(|file| file.set_len(keep)).map_err(failed)
        }
        OpKind::Xor => alter(op, &path, 1, |bytes| bytes[0] ^= op.mask.unwrap_or_default()),
        OpKind::Zero => alter(op, &path, op.len.unwrap_or_default(), |bytes| bytes.fill(0)),
        OpKind::Copy => Ok(()),
    }
}

fn kept(op: &Op, bytes: u64) -> u64 {
    match (op.keep, op.keep_percent) {
        (Some(keep), _) if keep < 0 => bytes.saturating_sub(keep.unsigned_abs()),
        (Some(keep), _) => keep.unsigned_abs(),
        (None, percent) => bytes * u64::from(percent.unwrap_or(100)) / 100,
    }
}

/// Reads `len` bytes at the operation's place, alters them and writes them back.
fn alter(op: &Op, path: &Path, len: u64, change: impl Fn(&mut [u8])) -> Result<(), BytesError> {
    let kind = OpKind::parse(&op.op).unwrap_or(OpKind::Xor);
    let failed = |source| BytesError::File {
        op: kind,
        path: path.to_owned(),
        source,
    };
    let start = match &op.page_of {
        Some(table) => leaf_page(path, table)?,
        None => 0,
    };
    let total = fs::metadata(path).map_err(failed)?.len();
    let offset = op.offset.unwrap_or_default();
    let outside = || BytesError::Outside {
        path: path.to_owned(),
        offset,
        len,
        bytes: total,
    };
    let at = if offset < 0 {
        total.checked_sub(offset.unsigned_abs()).ok_or_else(outside)?
    } else {
        start + offset.unsigned_abs()
    };
    if at.checked_add(len).is_none_or(|end| end > total) || len == 0 {
        return Err(outside());
    }
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| outside())?];
    let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(failed)?;
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    file.read_exact(&mut bytes).map_err(failed)?;
    change(&mut bytes);
    file.seek(SeekFrom::Start(at)).map_err(failed)?;
    file.write_all(&bytes).map_err(failed)
}

/// Where the first leaf page of a table's tree begins, in bytes.
fn leaf_page(path: &Path, table: &str) -> Result<u64, BytesError> {
    let lost = |source| BytesError::Page {
        table: table.to_owned(),
        path: path.to_owned(),
        source,
    };
    let sql = "SELECT pageno, pgsize FROM dbstat WHERE name=?1 AND pagetype='leaf' AND ncell>0 ORDER BY pageno LIMIT 1";
    let rows = Database::open(path)
        .and_then(|database| database.rows(sql, &[table]))
        .map_err(|source| lost(Some(Box::new(source))))?;
    let row = rows.first().ok_or_else(|| lost(None))?;
    match (row.integer("pageno"), row.integer("pgsize")) {
        (Some(page), Some(size)) if page > 0 => Ok((page - 1).unsigned_abs() * size.unsigned_abs()),
        _ => Err(lost(None)),
    }
}

fn path_of(name: &str, service: Service, target: &Target) -> Result<PathBuf, BytesError> {
    let none = || BytesError::NoFile { name: name.to_owned() };
    let of = |main: Option<&Path>, part: &str| match part {
        "main" => main.map(Path::to_owned),
        "wal" | "shm" => main.map(|main| beside(main, &format!("-{part}"))),
        "manifest" => target
            .snapshot_dir
            .as_ref()
            .map(|folder| folder.join(manifest::FILE_NAME)),
        "folder" => target
            .snapshot_dir
            .clone()
            .or_else(|| main.and_then(Path::parent).map(Path::to_owned)),
        _ => None,
    };
    let other = match service {
        Service::Directory => Service::Bus,
        Service::Bus => Service::Directory,
    };
    let of_sets = |sets: &Option<[FileSet; 2]>, part: &str| {
        let set = sets.as_ref()?.iter().find(|set| set.service == service)?;
        of(Some(&set.main), part)
    };
    let found = if let Some(part) = name.strip_prefix("source:") {
        of_sets(&target.source, part)
    } else if let Some(part) = name.strip_prefix("clean:") {
        of_sets(&target.clean, part)
    } else if let Some(part) = name.strip_prefix("earlier:") {
        of_sets(&target.earlier, part)
    } else if let Some(part) = name.strip_prefix("other:") {
        of(target.database(other), part)
    } else {
        of(target.database(service), name)
    };
    found.ok_or_else(none)
}

fn number(octal: &str) -> Result<u32, BytesError> {
    u32::from_str_radix(octal, 8).map_err(|_| BytesError::Value {
        key: "mode",
        given: octal.to_owned(),
        kind: "octal number",
    })
}

fn unhex(text: &str) -> Result<Vec<u8>, BytesError> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pair = |two: &[u8]| {
        let two = std::str::from_utf8(two).ok().filter(|two| two.len() == 2)?;
        u8::from_str_radix(two, 16).ok()
    };
    digits
        .chunks(2)
        .map(pair)
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(|| BytesError::Value {
            key: "hex",
            given: text.to_owned(),
            kind: "row of hexadecimal digits",
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fault::Stage;
    use crate::snapshot::recorded::{at_rest, sets_in};
    use tempfile::TempDir;

    fn target(folder: &TempDir) -> Target {
        let sets = sets_in(folder.path());
        Target {
            directory_db: Some(sets[0].main.clone()),
            bus_db: Some(sets[1].main.clone()),
            source: Some(sets.clone()),
            clean: Some(sets.clone()),
            earlier: Some(sets),
            ..Target::empty(Stage::Set, folder.path())
        }
    }

    fn op(kind: OpKind, file: &str) -> Op {
        Op {
            op: kind.name().to_owned(),
            file: Some(file.to_owned()),
            ..Op::default()
        }
    }

    fn after(ops: &[Op], touched: Touched, name: &str) -> Vec<u8> {
        let set = at_rest();
        run(ops, touched, &target(&set)).expect("done");
        fs::read(set.path().join(name)).unwrap_or_default()
    }

    fn wal() -> Vec<u8> {
        fs::read(at_rest().path().join("beam-bus.sqlite-wal")).expect("read")
    }

    #[test]
    fn offsets_below_zero_count_from_the_end() {
        let flip = Op {
            offset: Some(-1),
            mask: Some(0x20),
            ..op(OpKind::Xor, "wal")
        };
        let (was, is) = (wal(), after(&[flip], Touched::Bus, "beam-bus.sqlite-wal"));
        assert_eq!(was[was.len() - 1] ^ 0x20, is[is.len() - 1]);
        assert_eq!(was[..was.len() - 1], is[..is.len() - 1]);
    }

    #[test]
    fn a_file_is_cut_by_bytes_from_both_ends_and_by_share() {
        let cut = |keep: Option<i64>, keep_percent: Option<u8>| {
            let op = Op {
                keep,
                keep_percent,
                ..op(OpKind::Truncate, "wal")
            };
            after(&[op], Touched::Bus, "beam-bus.sqlite-wal").len()
        };
        let whole = wal().len();
        assert_eq!((cut(Some(100), None), cut(Some(-100), None)), (100, whole - 100));
        assert_eq!(cut(None, Some(60)), whole * 60 / 100);
    }

    #[test]
    fn zeros_removals_additions_and_copies_do_what_they_say() {
        let zero = Op {
            offset: Some(0),
            len: Some(16),
            ..op(OpKind::Zero, "main")
        };
        assert_eq!(after(&[zero], Touched::Directory, "beam-directory.db")[..16], [0; 16]);
        let gone = after(&[op(OpKind::Remove, "wal")], Touched::Bus, "beam-bus.sqlite-wal");
        assert!(gone.is_empty());
        let append = Op {
            hex: Some("00 ff".to_owned()),
            ..op(OpKind::Append, "wal")
        };
        assert!(after(&[append], Touched::Bus, "beam-bus.sqlite-wal").ends_with(&[0, 0xff]));
        let (from, to) = (Some("other:main".to_owned()), Some("main".to_owned()));
        let copy = Op {
            op: "copy".to_owned(),
            from,
            to,
            ..Op::default()
        };
        let copied = after(&[copy], Touched::Bus, "beam-bus.sqlite");
        assert_eq!(
            copied,
            fs::read(at_rest().path().join("beam-directory.db")).expect("read")
        );
    }

    #[test]
    fn a_leaf_page_is_found_by_its_table() {
        let flip = Op {
            offset: Some(0),
            mask: Some(0xff),
            page_of: Some("audit_log".to_owned()),
            ..op(OpKind::Xor, "main")
        };
        let was = fs::read(at_rest().path().join("beam-directory.db")).expect("read");
        let is = after(&[flip], Touched::Directory, "beam-directory.db");
        let at = was.iter().zip(&is).position(|(was, is)| was != is).expect("changed");
        assert_eq!((at % 4096, was[at]), (0, 13), "the type byte of a table leaf");
    }

    #[test]
    fn a_place_outside_of_the_file_is_refused() {
        let set = at_rest();
        let zero = Op {
            offset: Some(1 << 30),
            len: Some(1),
            ..op(OpKind::Zero, "main")
        };
        let error = run(&[zero], Touched::Directory, &target(&set)).expect_err("refused");
        assert!(matches!(error, BytesError::Outside { .. }));
    }

    #[test]
    fn files_of_another_run_are_copied_from_and_never_written_to() {
        for from in ["clean:main", "earlier:main"] {
            let copy = Op {
                op: "copy".to_owned(),
                from: Some(from.to_owned()),
                to: Some("shm".to_owned()),
                ..Op::default()
            };
            assert!(check_from(from).is_ok());
            assert_eq!(
                after(&[copy], Touched::Bus, "beam-bus.sqlite-shm"),
                fs::read(at_rest().path().join("beam-bus.sqlite")).expect("read")
            );
        }
        for name in ["clean:wal", "earlier:main"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(check_from("clean:manifest").is_err());
    }

    #[test]
    fn only_known_names_stand_for_files() {
        for name in ["main", "source:wal", "other:main", "manifest"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["/etc/passwd", "../main", "source:x", "target:main"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
