//! The evidence for each box among what runs left.
//!
//! A run counts also where it left nothing that can be read: it began, so an older one says no longer how things stand.

use crate::cadence::checklist::{Item, Proof};
use crate::deployment::given_file;
use crate::evidence::{
    CommandOutcome, Evidence, ParityEvidence, Run, SchemaPrints, Started, Verdict, lower_bound_percent,
};
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How deep below a given folder evidence may lie: what a workflow downloads keeps the folders that it had.
const DEEPEST: usize = 16;

/// A run and what it proves.
#[derive(Debug, Clone)]
pub struct Found {
    /// For which boxes; more than one where it cannot be read what it was.
    pub items: Vec<Item>,
    /// What it proves.
    pub proof: Proof,
    /// Its folder.
    pub folder: PathBuf,
    /// Its document; `None` where there is none that can be read.
    pub document: Option<PathBuf>,
}

impl Found {
    /// Whether it says something of an environment; one that cannot be read may be of any.
    #[must_use]
    pub fn is_of(&self, environment: Option<&str>) -> bool {
        let known = &self.proof.environments;
        environment.is_none_or(|name| known.is_empty() || known.iter().any(|one| one == name))
    }
}

/// Looks through folders of runs; the newest first.
#[must_use]
pub fn collect(folders: &[PathBuf]) -> Vec<Found> {
    let mut runs = Vec::new();
    for folder in folders {
        look_into(folder, 0, &mut runs);
    }
    runs.sort();
    runs.dedup();
    let mut all: Vec<Found> = runs.iter().flat_map(|run| read(run)).collect();
    all.sort_by(|one, other| (other.proof.began_at, &other.proof.run).cmp(&(one.proof.began_at, &one.proof.run)));
    all
}

/// The run that counts for a box: the newest of its kind that says something of the environment, also where an older one
/// passed. A box that is of no environment takes any.
#[must_use]
pub fn newest<'a>(all: &'a [Found], item: Item, environment: Option<&str>) -> Option<&'a Found> {
    let environment = environment.filter(|_| item.is_of_a_release());
    all.iter()
        .find(|found| found.items.contains(&item) && found.is_of(environment))
}

fn look_into(folder: &Path, depth: usize, runs: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_file()
            && ["evidence.json", "started.json", CommandOutcome::FILE]
                .iter()
                .any(|known| name == *known)
        {
            runs.push(folder.to_owned());
        } else if kind.is_dir() && depth < DEEPEST && name != "tests" {
            look_into(&path, depth + 1, runs);
        }
    }
}

/// What a run's folder says; nothing where a test made it, or where it is of a kind that no box asks for.
fn read(folder: &Path) -> Vec<Found> {
    let started = Started::read(folder).ok();
    // A drill of a test asserts something of its own.
    if started.as_ref().is_some_and(|started| started.test.is_some()) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for name in ["evidence.json", CommandOutcome::FILE] {
        let document = folder.join(name);
        if !document.exists() {
            continue;
        }
        let read = given_file::document(&document).map_err(|error| error.to_string());
        match read.and_then(|text| of_document(name, &text)) {
            Ok(Some((item, proof))) => found.push(Found {
                items: vec![item],
                proof,
                folder: folder.to_owned(),
                document: Some(document),
            }),
            Ok(None) => {}
            Err(why) => {
                let text = given_file::bytes(&document, given_file::DOCUMENT_BYTES).unwrap_or_default();
                found.push(unreadable(
                    folder,
                    name,
                    &String::from_utf8_lossy(&text),
                    started.as_ref(),
                    &why,
                ));
            }
        }
    }
    if let Some(started) = started.filter(|_| found.is_empty() && !folder.join("evidence.json").exists())
        && let Some(item) = of_kind(&started.drill)
    {
        let proof = Proof {
            environments: vec![started.environment],
            summary: "began and left no evidence".to_owned(),
            ..unproven(folder, &started.id, started.started_at.parse().ok())
        };
        found.push(Found {
            items: vec![item],
            proof,
            folder: folder.to_owned(),
            document: None,
        });
    }
    found
}

fn of_kind(drill: &str) -> Option<Item> {
    match drill {
        "backup-restore" => Some(Item::Drill),
        ParityEvidence::DRILL => Some(Item::Parity),
        ParityEvidence::SMOKE => Some(Item::Smoke),
        CommandOutcome::GATE => Some(Item::SchemaGate),
        CommandOutcome::CATALOGUE => Some(Item::Detection),
        _ => None,
    }
}

fn of_document(name: &str, text: &str) -> Result<Option<(Item, Proof)>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let drill = value["run"]["drill"].as_str().ok_or("it does not say what was run")?;
    let Some(item) = of_kind(drill) else {
        return Ok(None);
    };
    let proof = match (item, name == CommandOutcome::FILE) {
        (Item::Drill, false) => of_drill(&parsed(text)?),
        (Item::Parity | Item::Smoke, false) => of_comparison(&parsed(text)?),
        (Item::SchemaGate | Item::Detection, true) => of_outcome(&parsed(text)?, text),
        _ => return Err(format!("{drill} leaves no {name}")),
    };
    Ok(Some((item, proof)))
}

fn parsed<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// A document that cannot be read opens the box of its kind, where that can still be told, else every one that it may be of.
fn unreadable(folder: &Path, name: &str, text: &str, started: Option<&Started>, why: &str) -> Found {
    let told = text
        .split("\"drill\": \"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    let kind = started.map(|started| started.drill.as_str()).or(told);
    let items = match kind.map(of_kind) {
        Some(item) => item.into_iter().collect(),
        None if name == CommandOutcome::FILE => vec![Item::SchemaGate, Item::Detection],
        None => vec![Item::Drill, Item::Parity, Item::Smoke],
    };
    let began = started.and_then(|started| started.started_at.parse().ok());
    let id = folder.file_name().unwrap_or_default().to_string_lossy();
    let proof = Proof {
        environments: started.map(|started| started.environment.clone()).into_iter().collect(),
        summary: "left a document that cannot be read".to_owned(),
        altered: Some(why.to_owned()),
        ..unproven(folder, &id, began)
    };
    Found {
        items,
        proof,
        folder: folder.to_owned(),
        document: None,
    }
}

fn unproven(folder: &Path, id: &str, began: Option<Timestamp>) -> Proof {
    Proof {
        run: id.to_owned(),
        verdict: Verdict::Inconclusive,
        began_at: began.or_else(|| of_id(id)).or_else(|| changed_at(folder)),
        finished_at: None,
        environments: Vec::new(),
        release: Default::default(),
        harness_git_sha: None,
        schemas: Default::default(),
        summary: String::new(),
        altered: None,
    }
}

/// Ids of runs begin with their time: UUID, version 7.
fn of_id(id: &str) -> Option<Timestamp> {
    let time = uuid::Uuid::parse_str(id).ok()?.get_timestamp()?;
    let (seconds, nanoseconds) = time.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}

fn changed_at(folder: &Path) -> Option<Timestamp> {
    let changed: SystemTime = fs::metadata(folder).and_then(|facts| facts.modified()).ok()?;
    Timestamp::try_from(changed).ok()
}

/// What evidence of a schema is compared by: shape and checks.
#[must_use]
pub fn prints(prints: &SchemaPrints) -> String {
    format!("{} {}", prints.shape, prints.checks)
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
        began_at: run.started_at.parse().ok(),
        finished_at: run.finished_at.as_ref().and_then(|time| time.parse().ok()),
        environments: vec![run.environment.clone()],
        release: run.release.clone(),
        harness_git_sha: run.harness.git_sha.clone(),
        schemas: Default::default(),
        summary,
        altered: None,
    }
}

fn of_drill(evidence: &Evidence) -> Proof {
    let passed = evidence.checks.iter().filter(|check| check.verdict == Verdict::Pass);
    let rto = evidence.objectives.rto_ms.map(|rto| format!(", RTO {rto} ms"));
    let not_asked = match evidence.not_asked.len() {
        0 => String::new(),
        count => format!(", {count} not asked"),
    };
    let from = evidence.run.from.as_ref().map(|_| ", of a given backup");
    let summary = format!(
        "{} of {} checks pass{not_asked}{}{}",
        passed.count(),
        evidence.checks.len(),
        rto.unwrap_or_default(),
        from.unwrap_or_default()
    );
    let mut proof = proof(&evidence.run, evidence.verdict, summary);
    let shape = |snapshot: &crate::evidence::SnapshotRecord| (snapshot.service, prints(&snapshot.schema));
    proof.schemas = evidence.snapshots.iter().map(shape).collect();
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
    proof.schemas = outcome
        .locks
        .iter()
        .map(|(service, locked)| (*service, prints(locked)))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of runs in which each file is as given: run, name, text.
    fn runs(files: &[(&str, &str, String)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (run, name, text) in files {
            let place = folder.path().join(run);
            fs::create_dir_all(&place).expect("made");
            fs::write(place.join(name), text).expect("written");
        }
        folder
    }

    fn collected(folder: &tempfile::TempDir) -> Vec<Found> {
        collect(&[folder.path().to_owned()])
    }

    fn started(drill: &str, at: &str, test: &str) -> String {
        format!(
            "{{\"format\": {:?}, \"id\": \"a\", \"drill\": {drill:?}, \"environment\": \"staging\", \"runtime\": \"process\", \
             \"seed\": 1, \"started_at\": {at:?}, \"command\": \"\", \"test\": {test}}}",
            Started::FORMAT
        )
    }

    #[test]
    fn a_run_that_left_nothing_counts_for_its_box() {
        let folder = runs(&[(
            "a",
            "started.json",
            started("backup-restore", "2026-11-25T00:00:00.000Z", "null"),
        )]);
        let all = collected(&folder);
        let found = newest(&all, Item::Drill, Some("staging")).expect("a run");
        assert_eq!(
            (found.proof.verdict, found.proof.finished_at),
            (Verdict::Inconclusive, None)
        );
        assert!(newest(&all, Item::Drill, Some("production")).is_none());
        assert!(newest(&all, Item::Parity, None).is_none());
    }

    #[test]
    fn a_run_of_a_test_counts_for_nothing() {
        let test = "{\"name\": \"a\", \"attempt\": 1}";
        let folder = runs(&[(
            "a",
            "started.json",
            started("backup-restore", "2026-11-25T00:00:00.000Z", test),
        )]);
        assert!(collected(&folder).is_empty());
    }

    #[test]
    fn a_document_that_cannot_be_read_counts_for_every_box_that_it_may_be_of() {
        let id = "01a2147a-0bfc-70d2-b47f-5f9080b10f89";
        let folder = runs(&[(id, "evidence.json", "{ \"run\": { \"drill\": \"parity\", ".to_owned())]);
        let all = collected(&folder);
        assert_eq!(all[0].items, [Item::Parity]);
        assert!(all[0].proof.altered.is_some());
        assert!(
            all[0]
                .proof
                .began_at
                .is_some_and(|at| at.to_string().starts_with("2026-11-25"))
        );
        let folder = runs(&[("a", "evidence.json", "nothing".to_owned())]);
        assert_eq!(collected(&folder)[0].items, [Item::Drill, Item::Parity, Item::Smoke]);
    }

    #[test]
    fn evidence_deep_in_a_download_is_found() {
        let deep = "drill-0/a/b/c/d/e/f/target/drills/x";
        let folder = runs(&[(
            deep,
            "started.json",
            started("backup-restore", "2026-11-25T00:00:00.000Z", "null"),
        )]);
        assert_eq!(collected(&folder).len(), 1);
    }
}
