//! Recomputes a manifest after its files were changed, as a broken backup tool or an attacker would.
//!
//! Fault injection needs it: manifest hashes alone must not be what catches a fault of the content.

use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::manifest::{Manifest, ManifestError};
use crate::snapshot::summary::summarise;
use std::path::Path;

/// Why a manifest could not be recomputed.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// The old manifest cannot be read.
    #[error("cannot read the manifest to recompute")]
    Manifest {
        /// The cause.
        #[from]
        source: ManifestError,
    },
    /// The new one cannot be written.
    #[error("cannot write the recomputed manifest")]
    Write {
        /// The cause.
        #[from]
        source: CopyError,
    },
}

/// Recomputes sizes, hashes, counts, digests and fingerprints of a snapshot folder. Where a value cannot be computed any
/// more (a page is damaged, a file is gone) the old one stays; a file that is there always gets its hash.
///
/// # Errors
/// [`ResealError`].
pub fn reseal(folder: &Path) -> Result<Manifest, ResealError> {
    let mut manifest = Manifest::read(folder)?;
    for part in &mut manifest.services {
        for file in &mut part.files {
            if let Ok(seen) = copying::hash_file(&folder.join(&file.path)) {
                *file = seen;
            }
        }
        let main = folder.join(part.service.database_file());
        if let Ok(summary) = summarise(&main) {
            part.pages = summary.pages;
            part.pragmas = summary.pragmas;
            part.schema = summary.schema;
            part.tables = summary.tables;
            part.digest = summary.digest;
        }
    }
    manifest.write(folder)?;
    Ok(manifest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::Service;
    use crate::snapshot::recorded::{alter, taken};
    use crate::snapshot::verify;

    #[test]
    fn a_resealed_change_verifies_and_counts_what_is_there() {
        let run = taken();
        let folder = run.path().join("snapshot");
        alter(
            &folder.join("beam-bus.sqlite"),
            "DELETE FROM beam_messages WHERE status='acked'",
        );
        assert!(verify(&folder).is_err());
        let manifest = reseal(&folder).expect("resealed");
        verify(&folder).expect("whole again");
        assert_eq!(manifest.part(Service::Bus).expect("a part").tables[0].rows, 7);
    }

    #[test]
    fn a_damaged_file_keeps_its_old_counts_and_gets_its_new_hash() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let before = Manifest::read(&folder).expect("read");
        std::fs::write(folder.join("beam-bus.sqlite"), b"garbage, no database").expect("written");
        let after = reseal(&folder).expect("resealed");
        let (was, is) = (&before.services[1], &after.services[1]);
        assert_eq!(was.tables, is.tables);
        assert_ne!(was.files[0].sha256, is.files[0].sha256);
    }
}
