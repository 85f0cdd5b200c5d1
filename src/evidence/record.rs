//! The envelope of a run: everything that a report prints and that a later reader can judge again.
//!
//! Times are RFC 3339 UTC with milliseconds, durations integer milliseconds, sizes bytes, hashes lower-case hex. Every
//! key is always there, `null` where not measured.

use crate::deployment::Service;
use crate::deployment::release::Release;
use crate::deployment::schema::Fingerprints;
use crate::evidence::{Chain, CheckId, CheckRecord, Verdict};
use serde::{Deserialize, Serialize};

/// The one record of a run; `evidence.json` is this, pretty-printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Always [`Evidence::FORMAT`].
    pub format: String,
    /// The worst verdict of checks and steps.
    pub verdict: Verdict,
    /// Why the verdict is not `pass`, one sentence each; empty on a pass.
    pub reasons: Vec<String>,
    /// Who ran what, when, with which seed.
    pub run: Run,
    /// Environments whose instances were made new.
    pub environments_reset: Vec<String>,
    /// Commands that validated the run, unexpanded, so that no secret is in them.
    pub commands: Vec<String>,
    /// What the components say of themselves (SQLite versions, start commands).
    pub components: Vec<Component>,
    /// Every step with its time, in the order in which they began.
    pub steps: Vec<Step>,
    /// The snapshots that were taken or used.
    pub snapshots: Vec<SnapshotRecord>,
    /// The checks that were asked.
    pub checks: Vec<CheckRecord>,
    /// Questions that do not arise in this kind of drill.
    pub not_asked: Vec<NotAsked>,
    /// Recovery objectives.
    pub objectives: Objectives,
    /// The direction in which data went.
    pub polarity: Polarity,
    /// The measured detection power.
    pub detection: Detection,
    /// Binds steps and checks to each other, and the whole.
    pub chain: Chain,
}

impl Evidence {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-evidence/1";

    /// Time from the first step's start to the last step's end, in milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> u64 {
        self.run.duration_ms
    }

    /// Computes the chain: the last thing that is done to a record before it is stored.
    pub fn close(&mut self) {
        self.chain = Chain::of(&self.steps, &self.checks);
        self.chain.whole = self.digest();
    }

    /// The records of one check (one a service, or one for both).
    pub fn checks_of(&self, id: CheckId) -> impl Iterator<Item = &CheckRecord> {
        self.checks.iter().filter(move |check| check.id == id)
    }
}

/// Who ran what, when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Sortable id; also the name of the run's folder.
    pub id: String,
    /// `backup-restore`, …
    pub drill: String,
    /// Name of the environment.
    pub environment: String,
    /// `process`, `container`.
    pub runtime: String,
    /// What kept the instances from anything but the harness.
    pub isolation: String,
    /// Where every random choice derives from.
    pub seed: u64,
    /// RFC 3339 UTC.
    pub started_at: String,
    /// RFC 3339 UTC.
    pub finished_at: Option<String>,
    /// Milliseconds from start to finish, monotonic.
    pub duration_ms: u64,
    /// Whether the run was interrupted before its end.
    pub interrupted: bool,
    /// Whether a stop was requested, or under `--from` the restore begun: from then on what cannot be done is a fail.
    pub outage_began: bool,
    /// The step that could not be done and ended the run; `null` where none did.
    pub stopped_in: Option<String>,
    /// The harness.
    pub harness: Harness,
    /// The command line, unexpanded.
    pub command: String,
    /// The set given to `--from`, as it was given.
    pub from: Option<String>,
    /// The release that was drilled, or that the reference environment states; the check `release` proves it.
    #[serde(default)]
    pub release: Release,
}

/// The harness that wrote the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Harness {
    /// Its version.
    pub version: String,
    /// Its commit, if it was built from a repository.
    pub git_sha: Option<String>,
}

/// A part of the deployment or of the harness and the versions that matter for recovery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Component {
    /// `harness`, `directory`, `bus`.
    pub name: String,
    /// The start command, unexpanded; `null` for the harness.
    pub command: Option<String>,
    /// Its release version as observed.
    pub version: Option<String>,
    /// The SQLite version it uses, where it can be known.
    pub sqlite_version: Option<String>,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepOutcome {
    /// It did what it should.
    Done,
    /// It could not be done.
    Failed,
    /// It was not begun.
    Skipped,
}

/// One step of the procedure.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What was done.
    pub name: String,
    /// RFC 3339 UTC; `null` for a skipped step.
    pub started_at: Option<String>,
    /// Milliseconds, monotonic.
    pub duration_ms: u64,
    /// How it ended.
    pub outcome: StepOutcome,
    /// What came of it, or why it failed.
    pub detail: String,
}

/// A snapshot of one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Whose data.
    pub service: Service,
    /// Where it is stored, relative to the working directory where possible.
    pub location: String,
    /// When the raw set was copied, RFC 3339 UTC.
    pub taken_at: String,
    /// SHA-256 of the snapshot's manifest in the form that the harness writes.
    pub manifest_sha256: String,
    /// The files of the stored snapshot.
    pub files: Vec<StoredFile>,
    /// Its schema fingerprints.
    pub schema: SchemaPrints,
    /// Row count and content digest of every table.
    pub tables: Vec<TableRecord>,
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredFile {
    /// File name inside the snapshot's folder.
    pub path: String,
    /// Size.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
}

/// The three fingerprints of a schema.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SchemaPrints {
    /// Of the schema as it stands.
    pub text: String,
    /// Of the schema as normalised sets.
    pub shape: String,
    /// Of the CHECK expressions.
    pub checks: String,
}

impl From<Fingerprints> for SchemaPrints {
    fn from(prints: Fingerprints) -> SchemaPrints {
        SchemaPrints {
            text: prints.text,
            shape: prints.shape,
            checks: prints.checks,
        }
    }
}

/// One table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableRecord {
    /// Its name.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its order-independent content digest.
    pub digest: String,
}

/// A question that does not arise, decided before anything was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotAsked {
    /// The check, or `content: table`.
    pub id: String,
    /// Why.
    pub reason: String,
}

/// Measured recovery objectives and their limits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Objectives {
    /// First stop request (under `--from`: start of the restore) to the first true answer, in milliseconds.
    pub rto_ms: Option<u64>,
    /// Last failed look and first true answer, in milliseconds.
    pub rto_bracket_ms: Option<[u64; 2]>,
    /// The budget.
    pub rto_limit_ms: Option<u64>,
    /// Writes that the source acknowledged.
    pub acknowledged_writes: Option<u64>,
    /// Of these, the ones missing after the restore.
    pub lost_writes: Option<u64>,
    /// Age of the oldest lost write at the outage, in milliseconds.
    pub oldest_lost_age_ms: Option<u64>,
    /// The budget of lost writes.
    pub rpo_limit_writes: Option<u64>,
    /// Of an attached source: first stop request to the first answer of both services again, in milliseconds.
    pub outage_ms: Option<u64>,
    /// Its longest allowed outage.
    pub max_outage_ms: Option<u64>,
}

/// The direction in which data went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Polarity {
    /// Whether it is proven; `null` where the question does not arise.
    pub proven: Option<bool>,
    /// Content digest of the second, independent copy of the stopped source.
    pub source_digest: Option<String>,
    /// Content digest of the snapshot.
    pub snapshot_digest: Option<String>,
    /// Content digest of the clean instances before the restore.
    pub clean_digest: Option<String>,
    /// Content digest of the restored files before the first start.
    pub restored_digest: Option<String>,
}

/// Measured detection power of the checks on this very snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Faults injected, with source.
    pub injected: Option<u64>,
    /// Faults detected.
    pub detected: Option<u64>,
    /// Faults missed.
    pub missed: Option<Vec<String>>,
    /// Faults injected into the backup alone.
    pub alone_injected: Option<u64>,
    /// Of these, detected.
    pub alone_detected: Option<u64>,
    /// Clean runs that alarmed.
    pub false_alarms: Option<u64>,
    /// Clean runs made: untouched copies and benign changes.
    pub clean_runs: Option<u64>,
    /// Why nothing was measured, or what was left out.
    pub not_measured: Option<String>,
}
