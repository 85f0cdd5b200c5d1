//! Leaves a record of a command that is no drill: the schema gate, the fault catalogue.

use crate::verify;
use recovery_drills::deployment::Service;
use recovery_drills::deployment::given_file;
use recovery_drills::drills::context::{DrillRequest, chain, timestamp};
use recovery_drills::drills::schema_gate;
use recovery_drills::evidence::{CommandOutcome, Harness, Run, SchemaPrints, TestAttempt, Verdict};
use recovery_drills::gate::lock;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// When a command began.
pub(crate) struct Began {
    at: jiff::Timestamp,
    since: Instant,
}

impl Began {
    /// Now.
    pub(crate) fn now() -> Began {
        Began {
            at: jiff::Timestamp::now(),
            since: Instant::now(),
        }
    }
}

/// Writes what a command came to into a folder of its own below the runs, with the locked schemas of `schemas`; gives that
/// folder. What a test runs is no evidence and leaves none.
pub(crate) fn leave(
    drill: &str,
    request: &DrillRequest,
    began: &Began,
    schemas: Option<&Path>,
    (verdict, summary, result): (Verdict, String, serde_json::Value),
) -> Result<Option<PathBuf>, String> {
    if TestAttempt::under_nextest(|name| std::env::var(name).ok()).is_some() {
        return Ok(None);
    }
    let folder = schemas.map_or_else(schema_gate::locks_folder, Path::to_owned);
    let mut locks = std::collections::BTreeMap::new();
    for service in Service::ALL {
        let lock = lock::read(&folder, service).map_err(|error| chain(&error))?;
        let prints = SchemaPrints::from(lock.schema.facts.fingerprints());
        locks.insert(service, prints);
    }
    let outcome = CommandOutcome {
        format: CommandOutcome::FORMAT.to_owned(),
        verdict,
        summary,
        run: Run {
            id: uuid::Uuid::now_v7().to_string(),
            drill: drill.to_owned(),
            environment: request.environment.name.clone(),
            runtime: request.environment.directory.runtime.word().to_owned(),
            isolation: "none".to_owned(),
            seed: request.seed,
            started_at: timestamp(began.at),
            finished_at: Some(timestamp(jiff::Timestamp::now())),
            duration_ms: u64::try_from(began.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            interrupted: false,
            harness: Harness {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                git_sha: request.harness_git_sha.clone(),
            },
            command: request.command.clone(),
            from: request.from.as_ref().map(|from| from.display().to_string()),
            release: Default::default(),
            outage_began: false,
            stopped_in: None,
        },
        locks,
        result,
        digest: String::new(),
    }
    .closed();
    let path = outcome.write(&request.runs).map_err(|error| chain(&error))?;
    let place = path.parent().unwrap_or(Path::new("."));
    if let Some(key) = verify::seal_key()? {
        let text = given_file::document(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        key.seal_text(place, &outcome.run.id, &text)
            .map_err(|error| chain(&error))?;
    }
    eprintln!("outcome:  {}", path.display());
    Ok(path.parent().map(Path::to_owned))
}
