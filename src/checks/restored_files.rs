//! `restored-files`: are the restored files the snapshot, and nothing beside them, before the first start?

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement};
use crate::snapshot::copying::{CopyError, hash_file};
use crate::snapshot::file_set::FileRecord;
use crate::snapshot::manifest::Manifest;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The check.
pub const ID: CheckId = CheckId::RestoredFiles;

/// Why it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The folder cannot be listed.
    #[error("cannot list the restored folder {path}")]
    List {
        /// The folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What was seen of one restored file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whose.
    pub service: Service,
    /// The file by the manifest.
    pub expected: Option<FileRecord>,
    /// The file as it lies there; `None` when it is missing.
    pub observed: Option<FileRecord>,
    /// Why it could not be read, if so.
    pub unreadable: Option<String>,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner and the owner of its folder, who starts the service, as numbers; `None` where one is not there.
    #[serde(default)]
    pub owners: Option<(u32, u32)>,
    /// Everything else in its folder, sorted.
    pub beside: Vec<String>,
}

/// Looks at the database file that the restored instance will be started on.
///
/// # Errors
/// [`ObserveError`] when its folder cannot be listed.
pub fn observe(service: Service, manifest: &Manifest, database: &Path) -> Result<Facts, ObserveError> {
    let folder = database.parent().unwrap_or(Path::new("."));
    let failed = |source| ObserveError::List {
        path: folder.to_owned(),
        source,
    };
    let mut beside = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if Some(entry.file_name().as_os_str()) != database.file_name() {
            beside.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    beside.sort();
    let (observed, unreadable) = match hash_file(database) {
        Ok(file) => (Some(file), None),
        Err(error) if error.is_missing() => (None, None),
        Err(CopyError::Symlink { .. }) => (None, Some("a symbolic link".to_owned())),
        Err(error) => (None, Some(error.to_string())),
    };
    let part = manifest.part(service);
    let owner = |path: &Path| fs::symlink_metadata(path).ok().map(|metadata| metadata.uid());
    Ok(Facts {
        service,
        expected: part.and_then(|part| part.files.first()).cloned(),
        observed,
        unreadable,
        mode: fs::symlink_metadata(database).map_or(0, |metadata| metadata.permissions().mode() & 0o7777),
        owners: owner(database).zip(owner(folder)),
        beside,
    })
}

/// Judges: the same bytes, alone, owned by who starts the service, writable by its owner and closed to others.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let name = facts.service.database_file();
    let words = |file: &FileRecord| format!("{} bytes, sha256 {}", file.bytes, file.sha256);
    let mut judged = Judgement::default();
    let Some(expected) = &facts.expected else {
        return judged;
    };
    judged.items = 1;
    judged.expected = words(expected);
    judged.observed = match (&facts.observed, &facts.unreadable) {
        (Some(file), _) => words(file),
        (None, Some(why)) => why.clone(),
        (None, None) => "missing".to_owned(),
    };
    if judged.expected != judged.observed {
        let (expected, observed) = (judged.expected.clone(), judged.observed.clone());
        judged
            .findings
            .push(Finding::new(name, expected, observed, "restored folder"));
    }
    if facts.observed.is_some() && (facts.mode & 0o077 != 0 || facts.mode & 0o600 != 0o600) {
        let observed = format!("mode {:04o}", facts.mode);
        judged
            .findings
            .push(Finding::new(name, "mode 0600", observed, "restored folder"));
    }
    if let Some((file, folder)) = facts.owners.filter(|(file, folder)| file != folder) {
        let (expected, observed) = (format!("owner {folder}"), format!("owner {file}"));
        judged
            .findings
            .push(Finding::new(name, expected, observed, "restored folder"));
    }
    for other in &facts.beside {
        let finding = Finding::new(
            other.as_str(),
            "absent before the first start",
            "present",
            "restored folder",
        );
        judged.findings.push(finding);
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::restore::{Places, perform, plan};
    use crate::snapshot::database::beside;
    use crate::snapshot::recorded::taken;

    fn judged_after(change: impl Fn(&Path)) -> Judgement {
        let run = taken();
        let snapshot = run.path().join("snapshot");
        let places = Places::create(run.path()).expect("created");
        perform(&plan(&snapshot, &places, &[]).expect("planned"), &places).expect("performed");
        let database = places.bus.database();
        change(&database);
        let manifest = Manifest::read(&snapshot).expect("read");
        judge(&observe(Service::Bus, &manifest, &database).expect("looked"))
    }

    #[test]
    fn restored_bytes_pass() {
        assert_eq!(judged_after(|_| {}).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_stale_log_beside_the_file_is_found() {
        let judged = judged_after(|path| fs::write(beside(path, "-wal"), b"old").expect("written"));
        assert_eq!(judged.findings[0].subject, "beam-bus.sqlite-wal");
    }

    #[test]
    fn a_cut_a_missing_a_linked_and_a_read_only_file_are_found() {
        let changes: [fn(&Path); 4] = [
            |path| fs::write(path, &fs::read(path).expect("read")[..9_000]).expect("cut"),
            |path| fs::remove_file(path).expect("removed"),
            |path| {
                fs::remove_file(path).expect("removed");
                std::os::unix::fs::symlink("/etc/hostname", path).expect("linked");
            },
            |path| fs::set_permissions(path, fs::Permissions::from_mode(0o444)).expect("set"),
        ];
        for change in changes {
            assert_eq!(judged_after(change).findings[0].subject, "beam-bus.sqlite");
        }
    }

    #[test]
    fn a_file_that_belongs_to_somebody_else_is_found() {
        let run = taken();
        let snapshot = run.path().join("snapshot");
        let places = Places::create(run.path()).expect("created");
        perform(&plan(&snapshot, &places, &[]).expect("planned"), &places).expect("performed");
        let manifest = Manifest::read(&snapshot).expect("read");
        let mut facts = observe(Service::Bus, &manifest, &places.bus.database()).expect("looked");
        assert_eq!(judge(&facts).verdict(), Verdict::Pass);
        facts.owners = facts.owners.map(|(file, folder)| (file + 1, folder));
        assert!(judge(&facts).findings[0].observed.starts_with("owner "));
    }

    #[test]
    fn nothing_expected_is_inconclusive() {
        let none = Facts {
            service: Service::Bus,
            expected: None,
            observed: None,
            unreadable: None,
            mode: 0,
            owners: None,
            beside: Vec::new(),
        };
        assert_eq!(judge(&none).verdict(), Verdict::Inconclusive);
    }
}
