//! Reads a file that somebody gave: a regular one only, and no more of it than a file of its kind has.
//!
//! A pipe without a writer would be waited for, a device read without an end. A symbolic link is followed: settings are often
//! links; files of a snapshot are opened elsewhere, and there a link is refused.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// Largest file of settings: an environment, `.env`, compose file, list of keys, catalogue, schema.
pub const SETTINGS_BYTES: u64 = 8 << 20;
/// Largest document of a run or comparison: evidence, report, seal.
pub const DOCUMENT_BYTES: u64 = 256 << 20;

/// The text of a file of settings.
///
/// # Errors
/// As [`bytes`]; also for what is no UTF-8.
pub fn settings(path: &Path) -> Result<String> {
    text(path, SETTINGS_BYTES)
}

/// The text of a document of a run.
///
/// # Errors
/// As [`bytes`]; also for what is no UTF-8.
pub fn document(path: &Path) -> Result<String> {
    text(path, DOCUMENT_BYTES)
}

/// The bytes of a file of at most `largest` bytes.
///
/// # Errors
/// What the system says; `InvalidInput` for a pipe, device or folder; `FileTooLarge` for more bytes.
pub fn bytes(path: &Path, largest: u64) -> Result<Vec<u8>> {
    // Without waiting for the other end of a pipe; a regular file does not mind.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "it is a pipe, device or folder; give a regular file",
        ));
    }
    // A file may grow, and one of /proc says that it has no bytes: what is read counts, not what it says.
    let mut read = Vec::with_capacity(usize::try_from(facts.len().min(largest)).unwrap_or_default());
    file.take(largest + 1).read_to_end(&mut read)?;
    if read.len() as u64 > largest {
        return Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("it has more than {largest} bytes, more than such a file ever has"),
        ));
    }
    Ok(read)
}

fn text(path: &Path, largest: u64) -> Result<String> {
    String::from_utf8(bytes(path, largest)?).map_err(|_| Error::new(ErrorKind::InvalidData, "it is no UTF-8 text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn pipes_devices_and_folders_are_refused_at_once() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pipe = folder.path().join("pipe.toml");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, Mode::from_raw_mode(0o600)).expect("made");
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink("/dev/zero", &link).expect("linked");
        let began = Instant::now();
        for path in [&pipe, &link, folder.path(), Path::new("/dev/zero")] {
            assert_eq!(
                settings(path).expect_err("refused").kind(),
                ErrorKind::InvalidInput,
                "{path:?}"
            );
        }
        assert!(began.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_file_of_more_bytes_than_its_kind_has_is_refused() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("large.toml");
        let file = File::create(&path).expect("made");
        file.set_len(SETTINGS_BYTES).expect("longer");
        assert!(settings(&path).is_ok());
        // No space is taken: the file is a hole.
        file.set_len(1 << 40).expect("longer");
        assert_eq!(settings(&path).expect_err("refused").kind(), ErrorKind::FileTooLarge);
        assert_eq!(document(&path).expect_err("refused").kind(), ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_link_to_settings_is_followed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (path, link) = (folder.path().join("a.toml"), folder.path().join("b.toml"));
        std::fs::write(&path, "name = \"a\"").expect("written");
        std::os::unix::fs::symlink(&path, &link).expect("linked");
        assert_eq!(settings(&link).expect("read"), "name = \"a\"");
    }
}
