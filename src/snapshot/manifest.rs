//! `manifest.json`: what a snapshot says of itself.
//!
//! One pretty JSON form, so that equal manifests are equal bytes. An unknown format version or an unknown key is refused:
//! a reader that skips what it does not know would call a half-understood snapshot whole.

use crate::deployment::Service;
use crate::deployment::schema::Fingerprints;
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::digest::{Pragmas, TableSummary};
use crate::snapshot::file_set::FileRecord;
use crate::snapshot::summary::PageFacts;
use crate::snapshot::wal::WalFacts;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// The format that this harness writes and reads.
pub const FORMAT: &str = "recovery-drill-snapshot/1";
/// The manifest's name in a snapshot folder.
pub const FILE_NAME: &str = "manifest.json";
const SANE_BYTES: u64 = 16 << 20;

/// Why a manifest could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The folder has none.
    #[error("no {FILE_NAME} in {folder}; a plain backup is adopted first")]
    Missing {
        /// The snapshot folder.
        folder: PathBuf,
    },
    /// It cannot be read as a file.
    #[error("cannot read the manifest")]
    File {
        /// The cause.
        source: CopyError,
    },
    /// It is no JSON, lacks a key or has one too many.
    #[error("{path} is no readable manifest; the snapshot is damaged")]
    Garbage {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// Another version wrote it.
    #[error("{path} has format {format:?}, this harness reads {FORMAT:?}; use the version that wrote it")]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What it says.
        format: String,
    },
    /// A member is impossible: a path with folders, a service twice or missing.
    #[error("{path} is impossible: {what}; the snapshot is damaged")]
    Impossible {
        /// The file.
        path: PathBuf,
        /// What is impossible.
        what: String,
    },
}

/// A program and its version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Version of the SQLite it used.
    pub sqlite: String,
}

/// One service's part of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePart {
    /// Whose.
    pub service: Service,
    /// The plain files, one a service.
    pub files: Vec<FileRecord>,
    /// The raw files as they were copied from the source.
    pub raw: Vec<FileRecord>,
    /// The raw files as they went into the plain file: the same, unless somebody altered the set in between.
    pub consolidated_from: Vec<FileRecord>,
    /// Facts of the raw `-wal`; `null` when there was none.
    pub wal: Option<WalFacts>,
    /// Page facts of the plain file.
    pub pages: PageFacts,
    /// Pragmas that belong to the content.
    pub pragmas: Pragmas,
    /// Schema fingerprints.
    pub schema: Fingerprints,
    /// Row count and digest per table.
    pub tables: Vec<TableSummary>,
    /// Content digest.
    pub digest: String,
}

/// The whole manifest. Times are RFC 3339 UTC with milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// Name of the snapshot.
    pub id: String,
    /// What the directory calls itself; roles are bound to this exact string. `null` when unknown.
    pub directory_identity: Option<String>,
    /// Where the data come from, in words and without secrets.
    pub origin: String,
    /// The cut: everything acknowledged before it must be in. `null` when unknown (an adopted backup).
    pub cut_at: Option<String>,
    /// When the snapshot was taken.
    pub taken_at: String,
    /// Who took it.
    pub tool: Tool,
    /// The services' parts, directory first.
    pub services: Vec<ServicePart>,
}

impl Manifest {
    /// The part of a service.
    #[must_use]
    pub fn part(&self, service: Service) -> Option<&ServicePart> {
        self.services.iter().find(|part| part.service == service)
    }

    /// The canonical text.
    #[must_use]
    pub fn text(&self) -> String {
        // Strings, numbers and lists only: serialising them cannot fail.
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the manifest of a snapshot folder.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(folder: &Path) -> Result<Manifest, ManifestError> {
        let path = folder.join(FILE_NAME);
        let file = match copying::open_regular(&path) {
            Err(error) if error.is_missing() => {
                return Err(ManifestError::Missing {
                    folder: folder.to_owned(),
                });
            }
            Err(source) => return Err(ManifestError::File { source }),
            Ok(file) => file,
        };
        let mut text = Vec::new();
        file.take(SANE_BYTES)
            .read_to_end(&mut text)
            .map_err(|source| ManifestError::File {
                source: CopyError::Read {
                    path: path.clone(),
                    source,
                },
            })?;
        Manifest::parse(&text, &path)
    }

    /// The manifest of a text; `path` is what errors call it.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn parse(text: &[u8], path: &Path) -> Result<Manifest, ManifestError> {
        #[derive(Deserialize)]
        struct Head {
            format: String,
        }
        let garbage = |source| ManifestError::Garbage {
            path: path.to_owned(),
            source,
        };
        let head: Head = serde_json::from_slice(text).map_err(garbage)?;
        if head.format != FORMAT {
            return Err(ManifestError::UnknownFormat {
                path: path.to_owned(),
                format: head.format,
            });
        }
        let manifest: Manifest = serde_json::from_slice(text).map_err(garbage)?;
        match manifest.impossible() {
            Some(what) => Err(ManifestError::Impossible {
                path: path.to_owned(),
                what,
            }),
            None => Ok(manifest),
        }
    }

    /// Writes the manifest of a snapshot folder, atomically and 0600.
    ///
    /// # Errors
    /// [`CopyError::Write`].
    pub fn write(&self, folder: &Path) -> Result<(), CopyError> {
        copying::write_atomically(&folder.join(FILE_NAME), self.text().as_bytes())
    }

    fn impossible(&self) -> Option<String> {
        for service in Service::ALL {
            let parts = self.services.iter().filter(|part| part.service == service).count();
            if parts != 1 {
                return Some(format!("{parts} parts for the {service}"));
            }
        }
        for part in &self.services {
            let usual = part.service.database_file();
            if part.files.len() != 1 || part.files[0].path != usual {
                let names: Vec<&str> = part.files.iter().map(|file| file.path.as_str()).collect();
                return Some(format!("files of the {} are {names:?}, not [{usual:?}]", part.service));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ManifestError {
        Manifest::parse(text.as_bytes(), Path::new("manifest.json")).expect_err("refused")
    }

    #[test]
    fn garbage_and_an_unknown_format_are_told_apart() {
        assert!(matches!(parse("not json"), ManifestError::Garbage { .. }));
        assert!(matches!(
            parse(r#"{"format":"recovery-drill-snapshot/2"}"#),
            ManifestError::UnknownFormat { .. }
        ));
    }

    #[test]
    fn a_manifest_cannot_point_outside_its_folder() {
        let snapshot = crate::snapshot::recorded::taken();
        let text = std::fs::read_to_string(snapshot.path().join("snapshot/manifest.json")).expect("read");
        let escaped = text.replacen("\"path\": \"beam-bus.sqlite\"", "\"path\": \"../beam-bus.sqlite\"", 1);
        assert!(matches!(parse(&escaped), ManifestError::Impossible { .. }));
    }

    #[test]
    fn a_duplicate_key_is_refused() {
        assert!(matches!(
            parse(&format!(r#"{{"format":"{FORMAT}","id":"a","id":"b"}}"#)),
            ManifestError::Garbage { .. }
        ));
    }
}
