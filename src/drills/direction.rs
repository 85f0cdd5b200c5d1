//! Backup polarity: data went source → snapshot → clean instance, and never the other way.

use crate::checks::polarity::{self, Digests, Facts};
use crate::deployment::Service;
use crate::drills::at_rest;
use crate::drills::context::{DrillContext, Stop};
use crate::drills::restoring::{Prepared, RestoringError};
use crate::drills::source::hex;
use crate::drills::taking::Taken;
use crate::evidence::{CheckId, Polarity, Verdict};
use crate::snapshot::copying::CopyError;
use crate::snapshot::database::DatabaseError;
use crate::snapshot::summary::summarise;
use std::time::Instant;

/// Judges polarity and puts the digests into the evidence. Looks at the source's files once more, as bytes.
///
/// # Errors
/// [`Stop`] when the time limit passes.
pub async fn judge(
    context: &mut DrillContext,
    taken: &Taken,
    prepared: &Prepared,
    restored: Result<[String; 2], DatabaseError>,
) -> Result<(), Stop> {
    let began = Instant::now();
    let digest_of = |folder: &std::path::Path, service: Service| {
        summarise(&folder.join(service.database_file()))
            .map(|summary| summary.digest)
            .ok()
    };
    let restored = restored.ok();
    let digests: Vec<Digests> = Service::ALL
        .into_iter()
        .enumerate()
        .map(|(at, service)| Digests {
            service,
            source: digest_of(&taken.independent, service),
            snapshot: digest_of(&taken.snapshot, service),
            restored: restored.as_ref().map(|both| both[at].clone()),
            clean: Some(prepared.digests[at].clone()),
        })
        .collect();
    context.evidence.polarity = Polarity {
        proven: Some(false),
        source_digest: both(&digests, |one| one.source.clone()),
        snapshot_digest: both(&digests, |one| one.snapshot.clone()),
        clean_digest: both(&digests, |one| one.clean.clone()),
        restored_digest: both(&digests, |one| one.restored.clone()),
    };
    let at_end = context
        .step("look at the source's files once more", async {
            let witnesses: Result<Vec<_>, CopyError> = match &taken.at_restart {
                Some(witnesses) => Ok(witnesses.to_vec()),
                None => taken.source_sets.iter().map(polarity::witness).collect(),
            };
            let files: usize = witnesses
                .as_ref()
                .map_or(0, |all| all.iter().map(|one| one.files.len()).sum());
            let when = if taken.at_restart.is_some() {
                "before the source's restart"
            } else {
                "now"
            };
            Ok::<_, RestoringError>((witnesses, format!("{files} files, read as bytes {when}")))
        })
        .await?;
    let judgement = match at_end {
        Ok(at_end) => polarity::judge(&Facts {
            digests,
            clean_showed: prepared.shown.clone(),
            at_stop: taken.witnesses.to_vec(),
            at_end,
        }),
        Err(error) => at_rest::unreadable(&error, None),
    };
    let clean = context
        .evidence
        .checks_of(CheckId::Clean)
        .all(|check| check.verdict == Verdict::Pass);
    context.evidence.polarity.proven = Some(judgement.verdict() == Verdict::Pass && clean);
    context.record(CheckId::Polarity, None, judgement, began.elapsed());
    Ok(())
}

/// One digest over both services, `None` unless both were measured.
fn both(digests: &[Digests], one: impl Fn(&Digests) -> Option<String>) -> Option<String> {
    let parts: Option<Vec<String>> = digests
        .iter()
        .map(|digest| one(digest).map(|text| format!("{}:{text}", digest.service)))
        .collect();
    parts.map(|parts| hex(&parts.join("\n")))
}
