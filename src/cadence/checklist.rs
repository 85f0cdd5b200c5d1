//! The boxes of a cut: only evidence that passed, is fresh, belongs to this release and verifies ticks one.

use crate::cadence::sprint::Cadence;
use crate::deployment::Service;
use crate::deployment::release::Release;
use crate::evidence::Verdict;
use jiff::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;

/// One box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Item {
    /// A recovery drill.
    Drill,
    /// A comparison of environments.
    Parity,
    /// The schema gate.
    SchemaGate,
    /// Release truth of the deployed environment.
    Smoke,
    /// The whole fault catalogue.
    Detection,
}

impl Item {
    /// All, in the order of the page.
    pub const ALL: [Item; 5] = [
        Item::Drill,
        Item::Parity,
        Item::SchemaGate,
        Item::Smoke,
        Item::Detection,
    ];

    /// The word that marks its line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Item::Drill => "drill",
            Item::Parity => "parity",
            Item::SchemaGate => "schema-gate",
            Item::Smoke => "smoke",
            Item::Detection => "detection",
        }
    }

    /// What people read.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Item::Drill => "Recovery drill",
            Item::Parity => "Environment parity",
            Item::SchemaGate => "Schema gate",
            Item::Smoke => "Release smoke test",
            Item::Detection => "Detection power",
        }
    }

    /// The command that fills it.
    #[must_use]
    pub fn command(self, expected: &Expected) -> String {
        let environment = expected.environment.as_deref();
        let of = |command: &str| match environment {
            Some(name) => format!("{command} --environment {name}"),
            None => command.to_owned(),
        };
        match self {
            Item::Drill => of("cargo xtask drill"),
            // Without options it compares all of them.
            Item::Parity => "cargo xtask parity".to_owned(),
            Item::SchemaGate => "cargo xtask schema --check".to_owned(),
            Item::Smoke => {
                let name = environment.unwrap_or("production");
                let version = expected.release.version.as_deref();
                let version = version.map_or_else(String::new, |version| format!(" --version {version}"));
                format!("cargo xtask smoke --environment {name}{version}")
            }
            Item::Detection => "cargo xtask faults".to_owned(),
        }
    }

    /// Whether its evidence is of one release and environment.
    #[must_use]
    pub fn is_of_a_release(self) -> bool {
        matches!(self, Item::Drill | Item::Parity | Item::Smoke)
    }
}

/// The newest evidence for a box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Id of the run.
    pub run: String,
    /// How it ended.
    pub verdict: Verdict,
    /// When it began, UTC, as far as that can be told.
    pub began_at: Option<Timestamp>,
    /// When it ended, UTC; `None` where it did not come to an end.
    pub finished_at: Option<Timestamp>,
    /// The environments that it looked at.
    pub environments: Vec<String>,
    /// The release that it saw.
    pub release: Release,
    /// The commit of the harness that made it.
    pub harness_git_sha: Option<String>,
    /// Fingerprints (shape and checks) of the schemas that it saw, where schemas matter to it.
    pub schemas: BTreeMap<Service, String>,
    /// What came of it, in a line.
    pub summary: String,
    /// Why it does not verify, if so.
    pub altered: Option<String>,
}

/// What evidence has to agree with.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The release that is cut, as far as it is stated.
    pub release: Release,
    /// Whose evidence counts; of any environment where `None`.
    pub environment: Option<String>,
    /// Evidence older than a sprint does not count.
    pub cadence: Cadence,
    /// Fingerprints (shape and checks) of the locked schemas.
    pub locks: BTreeMap<Service, String>,
    /// The present.
    pub now: Timestamp,
}

/// A box as it has to stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Judged {
    /// Which.
    pub item: Item,
    /// Whether its evidence is all that it has to be.
    pub ticked: bool,
    /// The run that was looked at.
    pub run: Option<String>,
    /// The day on which it ended, UTC.
    pub day: Option<String>,
    /// What came of it, in a line.
    pub summary: Option<String>,
    /// Why the box is open; empty where it is ticked.
    pub open: Vec<String>,
    /// The command that fills it.
    pub command: String,
}

/// Holds a box's newest evidence against what is expected.
#[must_use]
pub fn judge(item: Item, proof: Option<&Proof>, expected: &Expected) -> Judged {
    let open = match proof {
        Some(proof) => objections(item, proof, expected),
        None => vec!["there is no evidence".to_owned()],
    };
    let day = proof.and_then(|proof| proof.finished_at);
    Judged {
        item,
        ticked: open.is_empty(),
        run: proof.map(|proof| proof.run.clone()),
        day: day.map(|time| time.strftime("%Y-%m-%d").to_string()),
        summary: proof.map(|proof| proof.summary.clone()),
        open,
        command: item.command(expected),
    }
}

fn objections(item: Item, proof: &Proof, expected: &Expected) -> Vec<String> {
    let mut open = Vec::new();
    if proof.verdict != Verdict::Pass {
        open.push(format!("its verdict is {}", proof.verdict));
    }
    open.extend(age(proof, expected));
    if item.is_of_a_release() {
        if !proof.release.is(&expected.release) {
            open.push(format!(
                "it is of release {}, not of {}",
                proof.release, expected.release
            ));
        }
        if let Some(name) = &expected.environment
            && !proof.environments.contains(name)
        {
            open.push(format!("it is of {}, not of {name}", proof.environments.join(", ")));
        }
    }
    if item == Item::Parity && proof.environments.len() < 2 {
        open.push("it compares no environment with another".to_owned());
    }
    if matches!(item, Item::Drill | Item::SchemaGate | Item::Detection) {
        for (service, locked) in &expected.locks {
            match proof.schemas.get(service) {
                Some(shape) if shape == locked => {}
                Some(_) => open.push(format!("the schema of the {service} changed since")),
                None => open.push(format!("it says nothing of the {service}'s schema")),
            }
        }
    }
    open.extend(proof.altered.iter().map(|why| format!("it does not verify: {why}")));
    open
}

fn age(proof: &Proof, expected: &Expected) -> Option<String> {
    let Some(finished) = proof.finished_at else {
        return Some("it did not come to an end".to_owned());
    };
    let seconds = expected.now.duration_since(finished).as_secs();
    let longest = i64::from(expected.cadence.sprint_days) * 86_400;
    if seconds < -60 {
        return Some("it ended in the future; set the clock right".to_owned());
    }
    (seconds > longest).then(|| {
        format!(
            "it is {} days old, a sprint has {}",
            seconds / 86_400,
            expected.cadence.sprint_days
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected() -> Expected {
        Expected {
            release: Release {
                version: Some("1.6.0".to_owned()),
                ..Release::default()
            },
            environment: Some("production".to_owned()),
            cadence: Cadence::DEFAULT,
            locks: Service::ALL.map(|service| (service, "aa".to_owned())).into(),
            now: "2026-11-25T12:00:00Z".parse().expect("a time"),
        }
    }

    fn proof() -> Proof {
        Proof {
            run: "01".to_owned(),
            verdict: Verdict::Pass,
            began_at: Some("2026-11-20T11:59:00Z".parse().expect("a time")),
            finished_at: Some("2026-11-20T12:00:00Z".parse().expect("a time")),
            environments: vec!["production".to_owned(), "staging".to_owned()],
            release: expected().release,
            harness_git_sha: None,
            schemas: expected().locks,
            summary: "33 of 33 checks pass".to_owned(),
            altered: None,
        }
    }

    fn why(item: Item, change: impl Fn(&mut Proof)) -> String {
        let mut proof = proof();
        change(&mut proof);
        let judged = judge(item, Some(&proof), &expected());
        assert_eq!(judged.ticked, judged.open.is_empty());
        judged.open.join("; ")
    }

    #[test]
    fn evidence_that_is_all_it_has_to_be_ticks_every_box() {
        for item in Item::ALL {
            assert_eq!(why(item, |_| {}), "", "{item:?}");
        }
    }

    #[test]
    fn each_objection_opens_the_box_and_says_why() {
        assert!(why(Item::Drill, |proof| proof.verdict = Verdict::Inconclusive).contains("inconclusive"));
        let old = |proof: &mut Proof| proof.finished_at = Some("2026-11-10T12:00:00Z".parse().expect("a time"));
        assert_eq!(why(Item::Parity, old), "it is 15 days old, a sprint has 14");
        let future = |proof: &mut Proof| proof.finished_at = Some("2026-11-26T12:00:00Z".parse().expect("a time"));
        assert!(why(Item::Smoke, future).contains("future"));
        assert!(why(Item::Smoke, |proof| proof.finished_at = None).contains("did not come to an end"));
        let other = |proof: &mut Proof| proof.release.version = Some("1.5.0".to_owned());
        assert!(why(Item::Drill, other).contains("1.5.0"));
        assert!(why(Item::Drill, |proof| proof.environments = vec!["staging".to_owned()]).contains("staging"));
        let alone = |proof: &mut Proof| proof.environments.truncate(1);
        assert!(why(Item::Parity, alone).contains("compares no environment"));
        let changed = |proof: &mut Proof| drop(proof.schemas.insert(Service::Bus, "bb".to_owned()));
        assert!(why(Item::Drill, changed).contains("schema of the bus changed"));
        assert!(why(Item::Detection, changed).contains("schema of the bus changed"));
        assert!(why(Item::SchemaGate, changed).contains("schema of the bus changed"));
        assert!(why(Item::Drill, |proof| proof.schemas.clear()).contains("nothing of the bus's schema"));
        let altered = |proof: &mut Proof| proof.altered = Some("report differs".to_owned());
        assert!(why(Item::Detection, altered).contains("report differs"));
    }

    #[test]
    fn without_evidence_a_box_is_open_and_names_its_command() {
        let judged = judge(Item::Smoke, None, &expected());
        assert!(!judged.ticked);
        assert_eq!(
            judged.command,
            "cargo xtask smoke --environment production --version 1.6.0"
        );
    }

    #[test]
    fn a_box_of_the_harness_itself_is_of_no_release() {
        let other = |proof: &mut Proof| proof.release = Release::default();
        assert_eq!(why(Item::Detection, other), "");
        assert_eq!(why(Item::SchemaGate, other), "");
    }
}
