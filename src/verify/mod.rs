//! Proves that evidence, report and snapshot of a run belong together and were not altered.
//!
//! Reads files only: starts nothing, writes nothing. Each question is asked by itself and names what it expected, what it
//! saw and where. Without a key it shows edits that were not made everywhere alike; whoever edits evidence, chain, report
//! and seal consistently is seen only by a seal that is held against a pinned key.

/// Bytes and times.
mod canonical;
/// The chain.
mod chain;
/// Checks.
mod checks;
/// What looks like a secret.
mod disclosure;
/// The record itself.
pub mod document;
/// One answer.
mod look;
/// Objectives, polarity, detection.
mod objectives;
/// Lines for a terminal.
pub mod shown;
/// The seal.
pub mod signature;
/// Steps.
mod steps;
/// Stored files.
mod stored;
#[cfg(test)]
mod tests;
/// The verdict.
mod verdict;
/// Reports.
pub mod views;

use crate::deployment::given_file;
use crate::evidence::{CheckId, Finding, NotAsked, Started, StoreError, Verdict, short};
use crate::verify::document::Document;
use crate::verify::look::Look;
use crate::verify::signature::PublicKey;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Why nothing could be verified: known before anything was looked at.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no such run.
    #[error("no run at {path}: neither evidence.json nor started.json; give a run's folder or its evidence.json")]
    NoRun {
        /// What was given.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The run began, and its record of that cannot be read.
    #[error("the run left no evidence, and how it began cannot be read")]
    Started(#[from] StoreError),
}

/// What is demanded beyond that a record agrees with itself.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// It is of this environment.
    pub environment: Option<String>,
    /// It is sealed by this very key.
    pub key: Option<PublicKey>,
}

/// One question and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// The question, one of [`CheckId::OF_VERIFY`].
    pub id: CheckId,
    /// Fail with a finding, inconclusive where something is gone or nothing was compared.
    pub verdict: Verdict,
    /// How many things were held against each other.
    pub compared: u64,
    /// How many findings are its own.
    pub findings: u64,
    /// What could not be looked at.
    pub problems: Vec<String>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// What the verification of a run comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verification {
    /// The run.
    pub run_id: String,
    /// `backup-restore`, `schema-upgrade`, `parity`, `smoke`…
    pub drill: String,
    /// Its environment; of a comparison all, with commas.
    pub environment: String,
    /// Of the verification: pass where nothing is altered, fail where something is, inconclusive where something is gone.
    pub verdict: Verdict,
    /// What the evidence says of the run itself; `null` for a run that left none.
    pub evidence_verdict: Option<Verdict>,
    /// SHA-256 of the evidence file; `null` for a run that left none.
    pub evidence_sha256: Option<String>,
    /// The questions, in their order.
    pub items: Vec<Item>,
    /// Everything that is not as it should be, in the order of the questions.
    pub findings: Vec<Finding>,
    /// Questions that do not arise, with the reason.
    pub not_asked: Vec<NotAsked>,
}

impl Verification {
    /// The document: pretty-printed JSON with a final line feed.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Plain data with text keys: serialising cannot fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

/// Verifies a run by its folder or its `evidence.json`, with the report beside it and those given.
///
/// # Errors
/// [`VerifyError`]: there is no such run, or a given report cannot be read.
pub fn verify(run: &Path, reports: &[PathBuf]) -> Result<Verification, VerifyError> {
    verify_as(run, reports, &Expected::default())
}

/// Verifies a run as [`verify`] does, and that it is of an environment or sealed by a key.
///
/// # Errors
/// As [`verify`].
pub fn verify_as(run: &Path, reports: &[PathBuf], expected: &Expected) -> Result<Verification, VerifyError> {
    let (folder, file) = if run.is_dir() {
        (run.to_owned(), run.join("evidence.json"))
    } else {
        let folder = run.parent().filter(|folder| !folder.as_os_str().is_empty());
        (folder.unwrap_or(Path::new(".")).to_owned(), run.to_owned())
    };
    let given = views::read(reports).map_err(|(path, source)| VerifyError::Read { path, source })?;
    if !file.is_file() {
        if run.is_dir() && Started::path(run).is_file() {
            return Ok(without_evidence(&Started::read(run)?));
        }
        return Err(VerifyError::NoRun { path: run.to_owned() });
    }
    let bytes = given_file::bytes(&file, given_file::DOCUMENT_BYTES).map_err(|source| VerifyError::Read {
        path: file.clone(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let (document, error) = match Document::parse(&text) {
        Ok(document) => (document, None),
        Err(error) => match Document::lenient(&text) {
            Some(document) => (document, Some(error)),
            None => return Ok(unreadable(&bytes, &folder, &error)),
        },
    };
    let mut asking = Asking::default();
    asking.ask(CheckId::Canonical, canonical::judge(&text, &document, error.as_ref()));
    asking.ask(CheckId::RecordedVerdict, verdict::judge(&document));
    asking.ask(CheckId::RecordedChecks, checks::judge(&document));
    match &document {
        Document::Drill(evidence) => asking.ask(CheckId::RecordedObjectives, objectives::judge(evidence)),
        Document::Comparison(_) => asking.leave_out(CheckId::RecordedObjectives, "nothing was recovered"),
    }
    asking.ask(CheckId::RecordedSteps, steps::judge(&document));
    asking.ask(CheckId::RecordChain, chain::judge(&document));
    let own = folder.join(views::FILE_NAME);
    let views = views::judge(&document, &document.report(), &own, &given);
    asking.ask(CheckId::Views, views);
    match &document {
        Document::Drill(evidence) if evidence.snapshots.is_empty() => {
            asking.leave_out(CheckId::StoredSnapshot, "this run took no snapshot");
        }
        Document::Drill(evidence) => asking.ask(CheckId::StoredSnapshot, stored::snapshot(evidence, &folder)),
        Document::Comparison(evidence) => {
            asking.ask(CheckId::StoredSnapshot, stored::captures(evidence, &folder));
        }
    }
    asking.ask(CheckId::Disclosure, disclosure::judge(&folder));
    match signature::judge(&folder, &document, &bytes, expected.key.as_ref()) {
        Some(look) => asking.ask(CheckId::Signature, look),
        None => asking.leave_out(
            CheckId::Signature,
            "the evidence is not sealed, and no key is pinned: whoever edits everything alike is not seen",
        ),
    }
    match &expected.environment {
        Some(name) => asking.ask(CheckId::OfEnvironment, of_environment(&document, name)),
        None => asking.leave_out(CheckId::OfEnvironment, "no environment was named"),
    }
    Ok(asking.end(&document, &bytes))
}

fn of_environment(document: &Document, expected: &str) -> Look {
    let mut look = Look::default();
    let observed = &document.run().environment;
    let is_of_it = match document {
        Document::Drill(_) => observed == expected,
        Document::Comparison(evidence) => evidence.environments.iter().any(|one| one.name == expected),
    };
    look.must(
        is_of_it,
        "environment",
        expected,
        &short(observed),
        "evidence.json, run",
    );
    look
}

/// The answers so far.
#[derive(Default)]
struct Asking {
    items: Vec<Item>,
    findings: Vec<Finding>,
    not_asked: Vec<NotAsked>,
}

impl Asking {
    fn ask(&mut self, id: CheckId, look: Look) {
        let findings = look.findings.len() as u64;
        self.items.push(Item {
            id,
            verdict: Verdict::of_look(findings, look.items, look.problems.len()),
            compared: look.items,
            findings,
            problems: look.problems,
            notes: look.notes,
        });
        self.findings.extend(look.findings);
    }

    fn leave_out(&mut self, id: CheckId, reason: &str) {
        self.not_asked.push(NotAsked {
            id: id.name().to_owned(),
            reason: reason.to_owned(),
        });
    }

    fn end(self, document: &Document, bytes: &[u8]) -> Verification {
        let run = document.run();
        Verification {
            run_id: run.id.clone(),
            drill: run.drill.clone(),
            environment: run.environment.clone(),
            verdict: Verdict::worst(self.items.iter().map(|item| item.verdict)),
            evidence_verdict: Some(document.verdict()),
            evidence_sha256: Some(crate::evidence::sha256(bytes)),
            items: self.items,
            findings: self.findings,
            not_asked: self.not_asked,
        }
    }
}

/// A run that began and left nothing that could be verified.
fn without_evidence(started: &Started) -> Verification {
    let mut asking = Asking::default();
    let problem = format!(
        "the run began at {} and left no evidence: it was aborted, or is still under way",
        short(&started.started_at)
    );
    asking.ask(
        CheckId::Canonical,
        Look {
            problems: vec![problem],
            ..Look::default()
        },
    );
    Verification {
        run_id: started.id.clone(),
        drill: started.drill.clone(),
        environment: started.environment.clone(),
        verdict: Verdict::Inconclusive,
        evidence_verdict: None,
        evidence_sha256: None,
        items: asking.items,
        findings: Vec::new(),
        not_asked: Vec::new(),
    }
}

/// Evidence that no reader understands; `started.json` says which run it should be of.
fn unreadable(bytes: &[u8], folder: &Path, error: &serde_json::Error) -> Verification {
    let mut asking = Asking::default();
    let mut look = Look::default();
    let expected = "evidence of a drill or comparison, readable as JSON";
    look.must(false, "evidence.json", expected, &error.to_string(), "evidence.json");
    asking.ask(CheckId::Canonical, look);
    let started = Started::read(folder).ok();
    let of = |one: fn(&Started) -> &String| {
        started
            .as_ref()
            .map_or_else(|| "unknown".to_owned(), |all| one(all).clone())
    };
    Verification {
        run_id: of(|started| &started.id),
        drill: of(|started| &started.drill),
        environment: of(|started| &started.environment),
        verdict: Verdict::Fail,
        evidence_verdict: None,
        evidence_sha256: Some(crate::evidence::sha256(bytes)),
        items: asking.items,
        findings: asking.findings,
        not_asked: Vec::new(),
    }
}
