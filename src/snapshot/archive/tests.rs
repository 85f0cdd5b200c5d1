//! Archives as they should be, and archives of somebody who means harm.

use super::*;
use crate::snapshot::{adopt, recorded};
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::os::unix::fs::PermissionsExt as _;
use tar::{Builder, Header};
use tempfile::TempDir;

/// An archive of the recorded set below a folder `nightly`.
fn honest() -> Vec<u8> {
    let set = recorded::at_rest();
    let mut builder = Builder::new(Vec::new());
    builder.append_dir_all("nightly", set.path()).expect("packed");
    builder.into_inner().expect("finished")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("finished")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

/// An archive of one entry with exactly this header.
fn with(name: &str, kind: EntryType, size: u64, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o777);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512) + 1_024, 0);
    bytes
}

fn try_unpack(bytes: &[u8], limits: &Limits) -> (Result<Vec<String>, ArchiveError>, TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("backup");
    fs::write(&path, bytes).expect("written");
    let done = unpack(&path, &folder.path().join("into"), limits);
    if done.is_err() {
        let left: Vec<_> = fs::read_dir(folder.path())
            .expect("listed")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        assert_eq!(left, ["backup"], "nothing is left, in the folder or beside it");
    }
    (done, folder)
}

fn refused(bytes: &[u8]) -> ArchiveError {
    try_unpack(bytes, &Limits::default()).0.expect_err("refused")
}

#[test]
fn plain_gzip_and_zstd_archives_are_adopted_like_the_folder_they_were_made_of() {
    let plain = honest();
    // Two frames, as parallel compressors write them.
    let halves = [zstd(&plain[..plain.len() / 2]), zstd(&plain[plain.len() / 2..])].concat();
    for bytes in [plain.clone(), gzip(&plain), zstd(&plain), halves] {
        let (names, folder) = try_unpack(&bytes, &Limits::default());
        assert_eq!(names.expect("unpacked").len(), 5);
        let into = folder.path().join("into");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&into), mode(&into.join("beam-bus.sqlite"))), (0o700, 0o600));
        adopt(&into, &folder.path().join("adopted")).expect("adopted");
    }
}

#[test]
fn an_archive_that_lacks_its_end_is_refused_wherever_it_was_cut() {
    for whole in [honest(), gzip(&honest()), zstd(&honest())] {
        for lacks in [1, 512, 1_024, 4_096, whole.len() / 2] {
            let error = refused(&whole[..whole.len() - lacks]);
            assert!(matches!(error, ArchiveError::Damaged { .. }), "lacks {lacks}: {error}");
        }
    }
}

#[test]
fn an_altered_byte_of_a_compressed_archive_is_found() {
    for mut bytes in [gzip(&honest()), zstd(&honest())] {
        let at = bytes.len() / 2;
        bytes[at] ^= 0x10;
        assert!(try_unpack(&bytes, &Limits::default()).0.is_err());
    }
}

#[test]
fn a_name_that_leads_out_of_the_folder_is_refused() {
    for name in [
        "../escaped",
        "a/../../escaped",
        "/tmp/escaped-from-a-drill",
        "..",
        "a\\..\\b",
        "",
    ] {
        let error = refused(&with(name, EntryType::Regular, 1, b"x"));
        assert!(matches!(error, ArchiveError::Escape { .. }), "{name}: {error}");
    }
    assert!(!Path::new("/tmp/escaped-from-a-drill").exists());
}

#[test]
fn a_long_name_that_leads_out_of_the_folder_is_refused_too() {
    for (kind, name) in [
        (EntryType::GNULongName, "../escaped\0".to_owned()),
        (EntryType::XHeader, "19 path=../escaped\n".to_owned()),
    ] {
        let mut bytes = with("././@LongLink", kind, name.len() as u64, name.as_bytes());
        bytes.truncate(1_024);
        bytes.extend(with("innocent", EntryType::Regular, 1, b"x"));
        let error = refused(&bytes);
        assert!(matches!(error, ArchiveError::Escape { .. }), "{error}");
    }
}

#[test]
fn links_devices_pipes_and_sparse_files_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::GNUSparse,
        EntryType::new(b'?'),
    ] {
        let error = refused(&with("beam-bus.sqlite", kind, 0, b""));
        assert!(
            matches!(error, ArchiveError::Special { .. } | ArchiveError::Damaged { .. }),
            "{error}"
        );
    }
}

#[test]
fn absurd_sizes_are_refused_before_anything_of_them_is_written() {
    for size in [1 << 40, u64::MAX >> 1] {
        let error = refused(&with("beam-bus.sqlite", EntryType::Regular, size, b"x"));
        assert!(matches!(error, ArchiveError::TooMuch { .. }), "{error}");
    }
    let name = with("././@LongLink", EntryType::GNULongName, 1 << 40, b"x");
    assert!(matches!(refused(&name), ArchiveError::TooMuch { .. }));
    let many: Vec<u8> = (0..1_001)
        .flat_map(|_| with("d", EntryType::Directory, 0, b"")[..512].to_vec())
        .collect();
    assert!(matches!(refused(&many), ArchiveError::TooMuch { .. }));
}

#[test]
fn a_bomb_is_refused_by_how_much_it_grows() {
    let limits = Limits {
        free_bytes: 1 << 20,
        ..Limits::default()
    };
    let size = 64 << 20;
    let tar = with("beam-bus.sqlite", EntryType::Regular, size, &vec![0; 64 << 20]);
    for bomb in [gzip(&tar), zstd(&tar)] {
        let error = try_unpack(&bomb, &limits).0.expect_err("refused");
        assert!(matches!(error, ArchiveError::TooMuch { .. }), "{error}");
    }
    // Zeros without end instead of a file.
    let error = try_unpack(&gzip(&vec![0; 16 << 20]), &limits).0.expect_err("refused");
    assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
}

#[test]
fn two_files_of_one_name_are_refused() {
    let mut bytes = with("a/beam-bus.sqlite", EntryType::Regular, 1, b"x");
    bytes.truncate(1_024);
    bytes.extend(with("b/beam-bus.sqlite", EntryType::Regular, 1, b"y"));
    assert!(matches!(refused(&bytes), ArchiveError::Twice { .. }));
}

#[test]
fn what_is_no_archive_is_usage_and_a_single_database_is_named_as_one() {
    for bytes in [&b""[..], b"hello", &[0; 2_000]] {
        assert!(refused(bytes).is_usage());
    }
    let set = recorded::at_rest();
    let database = fs::read(set.path().join("beam-directory.db")).expect("read");
    assert!(matches!(refused(&database), ArchiveError::Database { .. }));
    assert!(!refused(&honest()[..700]).is_usage());
}

#[test]
fn garbage_never_panics() {
    let plain = honest();
    for whole in [plain[..4_096].to_vec(), gzip(&plain[..4_096]), zstd(&plain[..4_096])] {
        for at in 0..whole.len().min(400) {
            let mut bytes = whole.clone();
            bytes[at] = bytes[at].wrapping_add(0x81);
            // Whatever comes of it, but not a panic and nothing outside.
            let _ = try_unpack(&bytes, &Limits::default());
        }
    }
}
