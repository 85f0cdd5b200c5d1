//! The newest evidence for each box among what runs left.

use crate::cadence::checklist::{Item, Proof};
use crate::evidence::{CommandOutcome, Evidence, ParityEvidence, Run, Started, Verdict, lower_bound_percent};
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How deep below a given folder evidence may lie: what a workflow downloads has a folder an artifact.
const DEEPEST: usize = 6;

/// A run and what it proves.
#[derive(Debug, Clone)]
pub struct Found {
    /// For which box.
    pub item: Item,
    /// What it proves.
    pub proof: Proof,
    /// Its folder.
    pub folder: PathBuf,
    /// Its document.
    pub document: PathBuf,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Collected {
    /// The newest run for each box.
    pub newest: BTreeMap<Item, Found>,
    /// Documents that could not be read, with the reason.
    pub unreadable: Vec<String>,
}

/// Looks through folders of runs. The newest run of its kind counts, also where an older one passed.
#[must_use]
pub fn collect(folders: &[PathBuf]) -> Collected {
    let mut collected = Collected::default();
    let mut documents = Vec::new();
    for folder in folders {
        look_into(folder, 0, &mut documents);
    }
    documents.sort();
    documents.dedup();
    for document in documents {
        match read(&document) {
            Ok(Some(found)) => {
                let newest = collected.newest.entry(found.item).or_insert_with(|| found.clone());
                if began(&newest.proof) < began(&found.proof) {
                    *newest = found;
                }
            }
            Ok(None) => {}
            Err(why) => collected.unreadable.push(format!("{}: {why}", document.display())),
        }
    }
    collected
}

/// Ids of runs are sortable by their time.
fn began(proof: &Proof) -> (Option<Timestamp>, &str) {
    (proof.finished_at, &proof.run)
}

fn look_into(folder: &Path, depth: usize, documents: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type();
        if kind.as_ref().is_ok_and(fs::FileType::is_file) {
            let name = entry.file_name();
            if name == "evidence.json" || name == CommandOutcome::FILE {
                documents.push(path);
            }
        } else if kind.is_ok_and(|kind| kind.is_dir()) && depth < DEEPEST && entry.file_name() != "tests" {
            look_into(&path, depth + 1, documents);
        }
    }
}

fn read(document: &Path) -> Result<Option<Found>, String> {
    let folder = document.parent().unwrap_or(Path::new(".")).to_owned();
    // A drill of a test asserts something of its own.
    if Started::read(&folder).is_ok_and(|started| started.test.is_some()) {
        return Ok(None);
    }
    let text = fs::read_to_string(document).map_err(|error| error.to_string())?;
    let (item, proof) = if document.file_name().is_some_and(|name| name == CommandOutcome::FILE) {
        let outcome = CommandOutcome::read(document).map_err(|error| said(&error))?;
        let item = if outcome.run.drill == CommandOutcome::GATE {
            Item::SchemaGate
        } else {
            Item::Detection
        };
        (item, of_outcome(&outcome, &text))
    } else {
        let value: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match value["run"]["drill"].as_str() {
            Some("backup-restore") => (Item::Drill, of_drill(&parsed(&text)?)),
            Some(ParityEvidence::DRILL) => (Item::Parity, of_comparison(&parsed(&text)?)),
            Some("smoke") => (Item::Smoke, of_comparison(&parsed(&text)?)),
            _ => return Ok(None),
        }
    };
    Ok(Some(Found {
        item,
        proof,
        folder,
        document: document.to_owned(),
    }))
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

fn said(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

fn proof(run: &Run, verdict: Verdict, summary: String) -> Proof {
    Proof {
        run: run.id.clone(),
        // An interrupted run proves nothing, whatever it says.
        verdict: if run.interrupted {
            verdict.max(Verdict::Inconclusive)
        } else {
            verdict
        },
        finished_at: run.finished_at.as_ref().and_then(|time| time.parse().ok()),
        environments: vec![run.environment.clone()],
        release: run.release.clone(),
        shapes: BTreeMap::new(),
        summary,
        altered: None,
    }
}

fn of_drill(evidence: &Evidence) -> Proof {
    let passed = evidence.checks.iter().filter(|check| check.verdict == Verdict::Pass);
    let rto = evidence.objectives.rto_ms.map(|rto| format!(", RTO {rto} ms"));
    let summary = format!(
        "{} of {} checks pass{}",
        passed.count(),
        evidence.checks.len(),
        rto.unwrap_or_default()
    );
    let mut proof = proof(&evidence.run, evidence.verdict, summary);
    let shape = |snapshot: &crate::evidence::SnapshotRecord| (snapshot.service, snapshot.schema.shape.clone());
    proof.shapes = evidence.snapshots.iter().map(shape).collect();
    proof
}

fn of_comparison(evidence: &ParityEvidence) -> Proof {
    let summary = format!(
        "{} drifts, {} intended, in {}",
        evidence.drifts.len(),
        evidence.intended.len(),
        evidence.run.environment
    );
    let mut proof = proof(&evidence.run, evidence.verdict, summary);
    proof.environments = evidence.environments.iter().map(|one| one.name.clone()).collect();
    proof
}

fn of_outcome(outcome: &CommandOutcome, text: &str) -> Proof {
    let mut proof = proof(&outcome.run, outcome.verdict, outcome.summary.clone());
    proof.shapes = outcome
        .locks
        .iter()
        .map(|(service, prints)| (*service, prints.shape.clone()))
        .collect();
    proof.altered = outcome.hold_against(text).err();
    proof
}

/// What a campaign came to, in a line.
#[must_use]
pub fn detection_summary(detected: u64, injected: u64, false_alarms: u64, clean_runs: u64) -> String {
    let bound = lower_bound_percent(detected, injected);
    let bound = bound.map(|bound| format!(" (with 95 % confidence at least {bound:.1} %)"));
    format!(
        "{detected} of {injected} faults detected{}, {false_alarms} false alarms in {clean_runs} clean runs",
        bound.unwrap_or_default()
    )
}
