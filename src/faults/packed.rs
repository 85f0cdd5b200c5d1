//! A snapshot packed into an archive, the archive damaged, and unpacked as a drill unpacks a given one.
//!
//! Other tools yield files of a damaged archive, or put them elsewhere; whether ours refuses it is what a fault asks. The
//! archive lies in the fault's own folder, and an entry that leads out of it would lead to that folder's parent.

use crate::faults::fault::{Archive, Form};
use crate::snapshot::archive::{self, Limits};
use flate2::Compression;
use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Why nothing could be packed.
#[derive(Debug, thiserror::Error)]
#[error("cannot pack {path}")]
pub struct PackError {
    path: PathBuf,
    source: io::Error,
}

/// What came of it.
#[derive(Debug)]
pub struct Unpacked {
    /// What was done, in words; empty where the damage changed nothing.
    pub changes: Vec<String>,
    /// Why the archive was refused; the folder is gone then.
    pub refused: Option<String>,
}

/// Puts what the archive of a folder yields in the folder's place.
///
/// # Errors
/// [`PackError`] when there is no archive; a refused one is no error.
pub fn run(how: &Archive, folder: &Path, scratch: &Path) -> Result<Unpacked, PackError> {
    let form = Form::parse(&how.form).unwrap_or(Form::Tar);
    let path = scratch.join("packed");
    let unpacked = scratch.join("unpacked");
    let failed = |source| PackError {
        path: folder.to_owned(),
        source,
    };
    let whole = packed(folder, None, form).map_err(failed)?;
    let mut bytes = match &how.entry {
        Some(name) => packed(folder, Some(name), form).map_err(failed)?,
        None => whole.clone(),
    };
    if let Some(cut) = how.cut {
        let keep = bytes.len().saturating_sub(usize::try_from(cut).unwrap_or(usize::MAX));
        bytes.truncate(keep);
    }
    let mut changes = Vec::new();
    if bytes != whole {
        changes.push(format!("{form} of {} bytes instead of {}", bytes.len(), whole.len()));
    } else if how.entry.is_none() && how.cut.is_none() {
        changes.push(format!("packed as {form} of {} bytes and unpacked", bytes.len()));
    }
    fs::write(&path, bytes).map_err(failed)?;
    let done = archive::unpack(&path, &unpacked, &Limits::default());
    fs::remove_file(&path).map_err(failed)?;
    fs::remove_dir_all(folder).map_err(failed)?;
    let refused = match done {
        Ok(_) => {
            fs::rename(&unpacked, folder).map_err(failed)?;
            None
        }
        Err(error) => Some(error.to_string()),
    };
    Ok(Unpacked { changes, refused })
}

/// The archive of a folder's files in their order; with one more entry of that very name.
fn packed(folder: &Path, entry: Option<&str>, form: Form) -> io::Result<Vec<u8>> {
    let mut builder = Builder::new(Vec::new());
    let mut names: Vec<_> = fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    names.sort_by_key(fs::DirEntry::file_name);
    for name in names {
        builder.append_path_with_name(name.path(), name.file_name())?;
    }
    if let Some(entry) = entry {
        let content = b"written outside";
        let mut header = Header::new_gnu();
        // The crate refuses to write such a name.
        let field = &mut header.as_old_mut().name;
        let length = entry.len().min(field.len());
        field[..length].copy_from_slice(&entry.as_bytes()[..length]);
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        builder.append(&header, &content[..])?;
    }
    let plain = builder.into_inner()?;
    Ok(match form {
        Form::Tar => plain,
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&plain)?;
            encoder.finish()?
        }
        Form::Zstd => compress_to_vec(plain.as_slice(), CompressionLevel::Fastest),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded::taken;
    use crate::snapshot::verify;

    fn unpacked(form: &str, cut: Option<u64>, entry: Option<&str>) -> (Unpacked, bool) {
        let run = taken();
        let how = Archive {
            form: form.to_owned(),
            cut,
            entry: entry.map(str::to_owned),
        };
        let folder = run.path().join("snapshot");
        let done = run_in(&how, &folder);
        (done, verify(&folder).is_ok())
    }

    fn run_in(how: &Archive, folder: &Path) -> Unpacked {
        let scratch = tempfile::tempdir().expect("a temporary folder");
        run(how, folder, scratch.path()).expect("packed")
    }

    #[test]
    fn an_archive_without_damage_yields_the_same_snapshot() {
        for form in ["tar", "gzip", "zstd"] {
            let (done, is_whole) = unpacked(form, None, None);
            assert!(done.refused.is_none() && is_whole, "{form}: {done:?}");
            assert_eq!(done.changes.len(), 1);
        }
    }

    #[test]
    fn a_cut_archive_and_one_that_leads_out_yield_nothing() {
        for (cut, entry) in [(Some(4_096), None), (None, Some("../../beam-directory.db"))] {
            for form in ["tar", "gzip", "zstd"] {
                let (done, is_whole) = unpacked(form, cut, entry);
                assert!(done.refused.is_some() && !is_whole, "{form}: {done:?}");
            }
        }
    }

    #[test]
    fn damage_that_changes_nothing_is_told_as_that() {
        assert!(unpacked("tar", Some(0), None).0.changes.is_empty());
    }
}
