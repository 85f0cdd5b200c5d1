//! The checks that look at files only: of the snapshot before the restore, of the restored files before the first start.

use crate::checks::content::Place;
use crate::checks::prediction::Window;
use crate::checks::{content, in_flight, integrity, invariants, restored_files, rpo, schema, skew, snapshot_set};
use crate::deployment::Service;
use crate::drills::context::{DrillContext, Stop, chain};
use crate::drills::restoring::{Prepared, RestoringError};
use crate::drills::source::Written;
use crate::drills::taking::Taken;
use crate::evidence::{CheckId, Finding, Judgement, Verdict};
use crate::restore::Places;
use crate::seed::ledger::{Area, Ledger};
use crate::snapshot::database::{Database, DatabaseError, Databases};
use crate::snapshot::manifest::Manifest;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// A judged check, ready to be recorded.
pub struct Judged {
    id: CheckId,
    service: Option<Service>,
    judgement: Judgement,
    took: Duration,
}

impl Judged {
    /// The check's id.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.id.name()
    }

    /// The check.
    #[must_use]
    pub fn id(&self) -> CheckId {
        self.id
    }

    /// What it comes to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.judgement.verdict()
    }

    /// What is wrong.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        self.judgement.findings
    }

    /// What was observed, in short.
    #[must_use]
    pub fn observed(&self) -> &str {
        &self.judgement.observed
    }

    /// Puts what is expected in other words.
    pub(crate) fn expecting(&mut self, words: impl FnOnce(&str) -> String) {
        self.judgement.expected = words(&self.judgement.expected);
    }

    /// Whether there was nothing to look at, and nothing wrong with that.
    #[must_use]
    pub fn is_about_nothing(&self) -> bool {
        self.judgement.items == 0 && self.judgement.findings.is_empty()
    }
}

/// Looks and judges; a look that fails is a finding, since the set is there but unreadable.
pub fn judged<F, E: std::error::Error>(
    id: CheckId,
    service: Option<Service>,
    look: impl FnOnce() -> Result<F, E>,
    judge: impl FnOnce(&F) -> Judgement,
) -> Judged {
    let began = Instant::now();
    let judgement = match look() {
        Ok(facts) => judge(&facts),
        Err(error) => unreadable(&error, service),
    };
    Judged {
        id,
        service,
        judgement,
        took: began.elapsed(),
    }
}

/// The judgement of a look that failed.
#[must_use]
pub fn unreadable(error: &dyn std::error::Error, service: Option<Service>) -> Judgement {
    let subject = service.map_or_else(|| "the files".to_owned(), |service| service.database_file().to_owned());
    Judgement {
        expected: "readable files".to_owned(),
        observed: "unreadable".to_owned(),
        findings: vec![Finding::new(subject, "readable", chain(error), "files")],
        ..Judgement::default()
    }
}

/// Records that no snapshot could be taken: then no row is in it, and every acknowledged write is lost.
pub fn nothing_taken(context: &mut DrillContext, cause: &str, written: Option<&Written>) {
    let failed = |subject: &str, expected: &str| Judgement {
        expected: expected.to_owned(),
        observed: "no snapshot".to_owned(),
        findings: vec![Finding::new(subject, expected, cause, "raw set")],
        ..Judgement::default()
    };
    let set = failed("snapshot", "a complete file set");
    context.record(CheckId::SnapshotSet, None, set, Duration::ZERO);
    context.record(
        CheckId::Content,
        None,
        failed("all rows", "the source's rows in a snapshot"),
        Duration::ZERO,
    );
    if let Some(written) = written {
        let all = written.seeded.ledger.acknowledged_writes().count() as u64;
        context.evidence.objectives.acknowledged_writes = Some(all);
        context.evidence.objectives.lost_writes = Some(all);
        context.record(
            CheckId::Rpo,
            None,
            failed("acknowledged writes", "in a snapshot"),
            Duration::ZERO,
        );
    }
}

/// Records what was judged.
pub fn record(context: &mut DrillContext, all: Vec<Judged>) {
    for one in all {
        context.record(one.id, one.service, one.judgement, one.took);
    }
}

/// Looks at the snapshot: set, integrity, schema, skew, lost writes, unfinished rows that no directory can start on.
///
/// # Errors
/// [`Stop`] when a worker is lost or the time limit passes.
pub async fn snapshot(
    context: &mut DrillContext,
    taken: &Taken,
    prepared: &Prepared,
    written: Option<&Written>,
) -> Result<(), Stop> {
    let (folder, independent, plain) = (
        taken.snapshot.clone(),
        taken.independent.clone(),
        prepared.plain.clone(),
    );
    let scratch = context.folders.work.clone();
    let not_before = if written.is_some() {
        context.evidence.run.started_at.parse().ok()
    } else {
        None
    };
    let ledger = written.map(|written| (written.seeded.ledger.clone(), written.cut_at));
    let sealed = taken.sealed.clone();
    let taken_at = taken.manifest.taken_at.parse().ok();
    let rpo_limit = context.request.environment.rpo_limit_writes;
    let all = context
        .step("look at the snapshot", async {
            let all = tokio::task::spawn_blocking(move || {
                let plausible = snapshot_set::Plausible {
                    not_before,
                    not_after: jiff::Timestamp::now(),
                };
                let mut all = Vec::new();
                let each = std::thread::scope(|scope| {
                    let set = scope.spawn(|| set(&folder, &plausible, sealed.as_ref()));
                    let alone = scope.spawn(|| by_itself(&folder, taken_at));
                    let looks = Service::ALL.map(|service| {
                        scope.spawn({
                            let (folder, independent, plain, scratch) = (&folder, &independent, &plain, &scratch);
                            move || of_service(service, folder, Some(independent), plain, scratch)
                        })
                    });
                    all.push(set.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                    all.push(alone.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
                    looks.map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                });
                all.extend(each.into_iter().flatten());
                all.extend(across(&folder, Some(&independent), ledger, rpo_limit));
                all
            })
            .await?;
            let detail = format!("{} questions", all.len());
            Ok::<_, RestoringError>((all, detail))
        })
        .await?;
    if let (Some(written), Ok(databases)) = (written, Databases::open(&taken.snapshot)) {
        let lost = rpo::observe(&databases, &written.seeded.ledger, written.cut_at);
        let objectives = &mut context.evidence.objectives;
        objectives.acknowledged_writes = Some(lost.acknowledged);
        objectives.lost_writes = Some(lost.lost.len() as u64);
        objectives.oldest_lost_age_ms = lost.oldest_lost_age_ms().and_then(|age| u64::try_from(age).ok());
    }
    record(context, all);
    Ok(())
}

/// Is the folder what its manifest says, and the manifest what the harness sealed (where it did)?
pub(crate) fn set(folder: &Path, plausible: &snapshot_set::Plausible, sealed: Option<&Manifest>) -> Judged {
    let judge = |facts: &snapshot_set::Facts| match sealed {
        Some(sealed) => snapshot_set::judge_sealed(facts, plausible, sealed),
        None => snapshot_set::judge(facts, plausible),
    };
    judged(CheckId::SnapshotSet, None, || snapshot_set::observe(folder), judge)
}

/// One file by itself, and its schema against those of the source (where there is one) and of the clean instance.
pub(crate) fn of_service(
    service: Service,
    folder: &Path,
    independent: Option<&Path>,
    plain: &Path,
    scratch: &Path,
) -> Vec<Judged> {
    let file = service.database_file();
    let (snapshot, clean) = (folder.join(file), plain.join(file));
    let source = independent.map(|independent| independent.join(file));
    vec![
        judged(
            CheckId::Integrity,
            Some(service),
            || integrity::observe(service, &snapshot, scratch),
            integrity::judge,
        ),
        judged(
            CheckId::Schema,
            Some(service),
            || schema::observe(service, &snapshot, source.as_deref(), Some(&clean), scratch),
            schema::judge,
        ),
    ]
}

/// What the rows say of each other, without source and ledger.
pub(crate) fn by_itself(folder: &Path, taken_at: Option<jiff::Timestamp>) -> Judged {
    let look = || Ok::<_, DatabaseError>(invariants::examine(&invariants::observe(folder, taken_at)));
    judged(CheckId::Invariants, None, look, |alone| {
        invariants::judge(alone.clone())
    })
}

/// What needs both databases, and the ledger.
pub(crate) fn across(
    folder: &Path,
    independent: Option<&Path>,
    ledger: Option<(Ledger, jiff::Timestamp)>,
    rpo_limit: u64,
) -> Vec<Judged> {
    let now = jiff::Timestamp::now().as_millisecond();
    let window = Window {
        start_requested_ms: now,
        looked_at_ms: now,
    };
    let databases = match Databases::open(folder) {
        Ok(databases) => databases,
        Err(error) => {
            let failed = |id| judged(id, None, || Err::<(), _>(&error), |()| Judgement::default());
            let lost = ledger.map(|_| failed(CheckId::Rpo));
            return [failed(CheckId::Skew)].into_iter().chain(lost).collect();
        }
    };
    let sent: BTreeSet<String> = match &ledger {
        Some((ledger, _)) => bus_nonces(ledger).into_iter().collect(),
        // What cannot be read there is told by the row comparison.
        None => independent.and_then(|set| known_to_both(set).ok()).unwrap_or_default(),
    };
    let mut all = vec![judged(
        CheckId::Skew,
        None,
        || skew::observe(&databases, &sent),
        skew::judge,
    )];
    // Only what no directory can start on is said here; how the others end is seen after the start.
    let stuck = judged(
        CheckId::InFlight,
        None,
        || in_flight::observe_at_rest(&databases, &window),
        in_flight::judge,
    );
    if !stuck.judgement.findings.is_empty() {
        all.push(stuck);
    }
    if let Some((ledger, cut_at)) = ledger {
        let look = || Ok::<_, DatabaseError>(rpo::observe(&databases, &ledger, cut_at));
        all.push(judged(CheckId::Rpo, None, look, |facts| rpo::judge(facts, rpo_limit)));
    }
    all
}

fn bus_nonces(ledger: &Ledger) -> Vec<String> {
    let subjects = ledger.expected(Area::Bus).into_keys();
    subjects
        .filter_map(|subject| subject.strip_prefix("message ").map(str::to_owned))
        .collect()
}

/// Nonces that both services of a set know: the bus sent them.
fn known_to_both(folder: &Path) -> Result<BTreeSet<String>, DatabaseError> {
    let databases = Databases::open(folder)?;
    let nonces = |database: &Database, sql: &str| {
        let rows = database.rows(sql, &[])?;
        let texts = rows.iter().filter_map(|row| row.text("nonce").map(str::to_owned));
        Ok::<BTreeSet<String>, DatabaseError>(texts.collect())
    };
    let intents = nonces(&databases.directory, "SELECT nonce FROM intent_log")?;
    let messages = nonces(&databases.bus, "SELECT nonce FROM beam_messages")?;
    Ok(intents.intersection(&messages).cloned().collect())
}

/// Looks at the restored files, before any service opens them, and at every row of all three places.
///
/// # Errors
/// [`Stop`] when a worker is lost or the time limit passes.
pub async fn restored(context: &mut DrillContext, taken: &Taken, prepared: &Prepared) -> Result<(), Stop> {
    let files = Service::ALL.map(|service| prepared.places.of(service).database());
    let manifest = taken.manifest.clone();
    let looks = Service::ALL.map(|service| {
        let at = prepared.places.of(service).database();
        judged(
            CheckId::RestoredFiles,
            Some(service),
            || restored_files::observe(service, &manifest, &at),
            restored_files::judge,
        )
    });
    record(context, looks.into_iter().collect());
    compare_content(context, taken, Some(files)).await
}

/// Compares source, snapshot and, where they are there, restored files row by row.
///
/// # Errors
/// [`Stop`] when a worker is lost or the time limit passes.
pub async fn compare_content(
    context: &mut DrillContext,
    taken: &Taken,
    restored: Option<[std::path::PathBuf; 2]>,
) -> Result<(), Stop> {
    let (folder, independent) = (taken.snapshot.clone(), taken.independent.clone());
    let own = context.request.environment.snapshots.required_tables.clone();
    let required: BTreeSet<String> = content::REQUIRED_TABLES
        .iter()
        .map(|table| (*table).to_owned())
        .chain(own)
        .collect();
    let all = context
        .step("compare every row", async {
            let all = tokio::task::spawn_blocking(move || {
                std::thread::scope(|scope| {
                    let looks = [0, 1].map(|at| {
                        let (folder, independent, restored, required) = (&folder, &independent, &restored, &required);
                        scope.spawn(move || {
                            let service = Service::ALL[at];
                            let file = service.database_file();
                            let (source, snapshot) = (independent.join(file), folder.join(file));
                            let mut places =
                                vec![(Place::Source, source.as_path()), (Place::Snapshot, snapshot.as_path())];
                            if let Some(restored) = restored {
                                places.push((Place::Restored, restored[at].as_path()));
                            }
                            rows(service, &places, required)
                        })
                    });
                    looks.map(|look| look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                })
            })
            .await?;
            let rows: u64 = all.iter().map(|one| one.judgement.items).sum();
            Ok::<_, RestoringError>((all, format!("{rows} tables compared")))
        })
        .await?;
    record(context, all.into_iter().collect());
    Ok(())
}

/// Every row of all places; the first is the reference.
pub(crate) fn rows(service: Service, places: &[(Place, &Path)], required: &BTreeSet<String>) -> Judged {
    let judge = |facts: &content::Facts| content::judge(facts, required);
    judged(
        CheckId::Content,
        Some(service),
        || content::observe(service, places),
        judge,
    )
}

/// The databases of the running restored instances, to be dropped soon: an open read keeps their logs from being folded.
///
/// # Errors
/// A restored file that cannot be read.
pub fn restored_databases(places: &Places) -> Result<Databases, DatabaseError> {
    Databases::open_live(&places.directory.database(), &places.bus.database())
}
