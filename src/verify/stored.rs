//! Whether the stored files are those that the evidence describes: snapshots of a drill, captures of a comparison.

use crate::deployment::given_file;
use crate::evidence::{Evidence, ParityEvidence, SnapshotRecord, sha256};
use crate::snapshot::manifest::{Manifest, ServicePart};
use crate::snapshot::verify::{VerifyError, inspect};
use crate::verify::look::Look;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";

/// Holds the stored snapshot of a drill against its evidence.
pub(crate) fn snapshot(evidence: &Evidence, run: &Path) -> Look {
    let mut look = Look::default();
    let Some(folder) = folder(evidence, run) else {
        look.problems.push(format!(
            "the snapshot is not in {} any more: moved or pruned",
            evidence.snapshots[0].location
        ));
        return look;
    };
    let seen = match inspect(&folder) {
        Ok(seen) => seen,
        Err(error) => {
            unusable(&error, &mut look);
            return look;
        }
    };
    for problem in seen.problems {
        if problem.expected.starts_with("mode ") {
            // A copy loses modes; they say nothing of the content.
            look.notes.push(problem.to_string());
        } else if problem.observed == "missing" {
            look.problems.push(format!("{}: moved or pruned", problem.file));
        } else {
            look.must(false, &problem.file, &problem.expected, &problem.observed, MANIFEST);
        }
    }
    look.items += seen.files;
    for record in &evidence.snapshots {
        match seen.manifest.part(record.service) {
            Some(part) => described(record, part, &seen.manifest, &mut look),
            None => look.must(
                false,
                record.service.name(),
                "a part of the manifest",
                "missing",
                MANIFEST,
            ),
        }
    }
    content(evidence, &seen.manifest, &mut look);
    look
}

/// Where the snapshot is: in the run's folder, wherever that was moved to, else where the evidence says. A plain backup that was
/// given is named by the evidence, and the run keeps its consolidated copy; a given snapshot stays where it is.
fn folder(evidence: &Evidence, run: &Path) -> Option<PathBuf> {
    let named = PathBuf::from(&evidence.snapshots.first()?.location);
    [run.join("snapshot"), named].into_iter().find(|folder| folder.is_dir())
}

fn unusable(error: &VerifyError, look: &mut Look) {
    let mut told = error.to_string();
    if let Some(cause) = std::error::Error::source(error) {
        told = format!("{told}: {cause}");
    }
    if error.is_usage() {
        look.problems.push(format!("{told}: moved or pruned"));
    } else {
        look.must(false, "snapshot", "a folder with a readable manifest", &told, MANIFEST);
    }
}

/// One service: files, schema and tables as the evidence has them.
fn described(record: &SnapshotRecord, part: &ServicePart, manifest: &Manifest, look: &mut Look) {
    let service = record.service;
    look.hold(
        &format!("{service}: taken_at"),
        &record.taken_at,
        &manifest.taken_at,
        MANIFEST,
    );
    let manifest_is = sha256(manifest.text().as_bytes());
    look.hold(
        &format!("{service}: manifest"),
        &record.manifest_sha256,
        &manifest_is,
        MANIFEST,
    );
    let files = |all: Vec<(&String, u64, &String)>| {
        let shown: Vec<String> = all
            .into_iter()
            .map(|(path, bytes, sha256)| format!("{path}: {bytes} bytes, sha256 {sha256}"))
            .collect();
        shown.join("; ")
    };
    look.hold(
        &format!("{service}: files"),
        &files(
            record
                .files
                .iter()
                .map(|file| (&file.path, file.bytes, &file.sha256))
                .collect(),
        ),
        &files(
            part.files
                .iter()
                .map(|file| (&file.path, file.bytes, &file.sha256))
                .collect(),
        ),
        MANIFEST,
    );
    for (name, ours, theirs) in [
        ("text", &record.schema.text, &part.schema.text),
        ("shape", &record.schema.shape, &part.schema.shape),
        ("checks", &record.schema.checks, &part.schema.checks),
    ] {
        look.hold(
            &format!("{service}: {name} fingerprint of the schema"),
            ours,
            theirs,
            MANIFEST,
        );
    }
    look.hold(
        &format!("{service}: number of tables"),
        &record.tables.len(),
        &part.tables.len(),
        MANIFEST,
    );
    for (ours, theirs) in record.tables.iter().zip(&part.tables) {
        look.hold(
            &format!("{service}: table {}", ours.name),
            &format!("{}, {} rows, digest {}", ours.name, ours.rows, ours.digest),
            &format!("{}, {} rows, digest {}", theirs.name, theirs.rows, theirs.digest),
            MANIFEST,
        );
    }
}

/// The digest of all content, which polarity is about.
fn content(evidence: &Evidence, manifest: &Manifest, look: &mut Look) {
    let Some(stated) = &evidence.polarity.snapshot_digest else {
        return;
    };
    let parts: Vec<String> = manifest
        .services
        .iter()
        .map(|part| format!("{}:{}", part.service, part.digest))
        .collect();
    look.hold("content digest", stated, &sha256(parts.join("\n").as_bytes()), MANIFEST);
}

/// Holds the captures of a comparison against its evidence.
pub(crate) fn captures(evidence: &ParityEvidence, run: &Path) -> Look {
    let mut look = Look::default();
    for environment in &evidence.environments {
        let name = &environment.capture;
        if name.contains(['/', '\\']) {
            look.must(false, name, "a file beside the evidence", "a path", "evidence.json");
            continue;
        }
        match given_file::bytes(&run.join(name), given_file::DOCUMENT_BYTES) {
            Ok(bytes) => look.hold(name, &environment.capture_sha256, &sha256(&bytes), name),
            Err(error) => look.problems.push(format!("{name}: moved or removed ({error})")),
        }
    }
    look
}
