//! Do the environments run the required Node version, and do all their declarations agree with it?

use crate::deployment::compared::{Aspect, NodeSettings};
use crate::deployment::given_file;
use crate::evidence::{Finding, Judgement};
use crate::parity::capture::Looks;
use crate::parity::command::{self, shown_command};
use crate::parity::node_files::{Declaration, Found, Kind, admits, candidates, declarations, major, tag, unlocked};
use crate::parity::node_range::{normal, numbers, satisfies};
use crate::parity::origins::is_dockerfile;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A version that was seen running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// `20.11.1`, or the tag of the image that runs.
    pub version: String,
    /// The command or image that says so.
    #[serde(rename = "where")]
    pub place: String,
}

/// What was seen of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Versions that run.
    pub running: Vec<Running>,
    /// Versions that files declare.
    pub declared: Vec<Declaration>,
}

/// Why a version could not be seen.
#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("no version in what it printed; expected v20.11.1 or the like")]
    NoVersion,
    #[error("{0} is no Node image; name it as node:20-slim")]
    OtherImage(String),
    #[error("cannot be read; give a file that declares a version, or a folder of such files")]
    Read(#[source] std::io::Error),
    #[error(transparent)]
    Command(#[from] command::CommandError),
    #[error("holds no declaration of a Node version")]
    NoDeclaration,
}

/// Runs the command, reads the files; starts nothing.
pub(crate) async fn observe(looks: &mut Looks<'_>) -> Facts {
    let settings = &looks.environment.node;
    let mut facts = Facts::default();
    if !settings.command.is_empty() {
        let seen = version_of(&settings.command, looks).await;
        let shown = shown_command(&settings.command);
        if let Some(version) = looks.note(Aspect::Runtime, &shown, Some(&settings.command), seen) {
            facts.running.push(Running { version, place: shown });
        }
    }
    if let Some(image) = &settings.image {
        let seen = tag(image).ok_or_else(|| LookError::OtherImage(image.clone()));
        if let Some(version) = looks.note(Aspect::Runtime, &format!("image {image}"), None, seen) {
            let place = format!("image {image}");
            facts.running.push(Running { version, place });
        }
    }
    for named in &settings.files {
        let shown = named.display().to_string();
        let seen = declared(looks, named);
        let found = looks.note(Aspect::Runtime, &shown, None, seen).unwrap_or_default();
        for problem in &found.problems {
            looks.missing(Aspect::Runtime, &shown, problem);
        }
        facts.declared.extend(found.declarations);
    }
    if settings.command.is_empty() && settings.image.is_none() && settings.files.is_empty() {
        looks.missing(
            Aspect::Runtime,
            "[node]",
            "names no command, image or files, so nothing says which Node runs; add one",
        );
    }
    facts
}

async fn version_of(argv: &[String], looks: &Looks<'_>) -> Result<String, LookError> {
    let printed = command::run(argv, looks.folder).await?;
    let text = String::from_utf8_lossy(&printed);
    // `v20.11.1` before anything else that a remote shell may say, such as an address.
    let words = || {
        text.split_whitespace()
            .map(|word| word.trim_matches(['"', '\'', ',', ';']))
    };
    let is_version = |word: &&str| word.split('.').filter(|part| part.parse::<u32>().is_ok()).count() == 3;
    let version = words()
        .filter_map(|word| word.strip_prefix('v'))
        .find(is_version)
        .or_else(|| words().find(|word| is_version(word) && word.split('.').count() == 3))
        .or_else(|| {
            words()
                .map(|word| word.trim_start_matches('v'))
                .find(|word| major(word).is_some())
        })
        .ok_or(LookError::NoVersion)?;
    Ok(version.chars().take(40).collect())
}

fn declared(looks: &Looks<'_>, named: &std::path::Path) -> Result<Found, LookError> {
    let mut found = Found::default();
    let root = looks.folder.join(named);
    for file in candidates(&root).map_err(LookError::Read)? {
        let below = file.strip_prefix(&root).unwrap_or(&file);
        let shown = if below.as_os_str().is_empty() {
            named.to_owned()
        } else {
            named.join(below)
        };
        let text = given_file::settings(&file).map_err(LookError::Read)?;
        let lock_beside = file.ancestors().skip(1).take_while(|folder| folder.starts_with(&root));
        let is_locked = lock_beside
            .map(|folder| folder.join("package-lock.json"))
            .any(|lock| lock.is_file());
        if is_locked && is_dockerfile(&file.file_name().unwrap_or_default().to_string_lossy()) {
            found.add(&shown.display().to_string(), unlocked(&text));
        }
        let seen = declarations(&file, &shown.display().to_string(), &text);
        found.declarations.extend(seen.declarations);
        found.problems.extend(seen.problems);
    }
    if found.declarations.is_empty() && found.problems.is_empty() {
        Err(LookError::NoDeclaration)
    } else {
        Ok(found)
    }
}

/// Holds everything that runs or is declared against the required major, and the declarations against each other.
#[must_use]
pub fn judge(facts: &Facts, settings: &NodeSettings) -> Judgement {
    let required = settings.required;
    let mut judged = Judgement {
        expected: format!("Node {required}"),
        observed: observed(facts),
        ..Judgement::default()
    };
    for running in &facts.running {
        judged.items += 1;
        if major(&running.version) != Some(required) {
            let (expected, observed) = (format!("Node {required}"), running.version.clone());
            judged
                .findings
                .push(Finding::new("running Node", expected, observed, &running.place));
        }
        for declaration in facts.declared.iter().filter(|one| !agrees(&running.version, one)) {
            let expected = format!("{} ({})", declaration.text, declaration.place);
            if declaration.kind == Kind::Engines {
                let subject = format!("running Node against {}", declaration.place);
                let finding = Finding::new(subject, expected, &running.version, &running.place);
                judged.findings.push(finding);
            } else {
                let note = format!("{} runs {}, declared is {expected}", running.place, running.version);
                judged.notes.push(note);
            }
        }
    }
    let floor = facts
        .declared
        .iter()
        .find(|one| one.kind == Kind::Engines && !one.text.is_empty());
    for declaration in &facts.declared {
        judged.items += 1;
        if let Some(expected) = disagreement(declaration, required, floor) {
            let observed = if declaration.text.is_empty() {
                "nothing declared"
            } else {
                &declaration.text
            };
            let subject = format!("declared {}", declaration.place);
            judged
                .findings
                .push(Finding::new(subject, expected, observed, &declaration.place));
        } else if declaration.kind == Kind::Image && !is_pinned(&declaration.text) {
            let note = format!(
                "{}: {} is a floating tag; the patch version is not fixed",
                declaration.place, declaration.text
            );
            judged.notes.push(note);
        } else if declaration.kind == Kind::Matrix {
            judged
                .notes
                .push(format!("{}: tried with {}", declaration.place, declaration.text));
        }
    }
    judged
}

/// Whether a version is one that a declaration speaks of, as far as both say it: `20.19.2` is a `20.19` and a `>=20.11`.
fn agrees(version: &str, declaration: &Declaration) -> bool {
    let Some(numbers_of) = numbers(version) else {
        return true;
    };
    match declaration.kind {
        Kind::Engines if declaration.text.is_empty() => true,
        Kind::Engines => match numbers_of[..] {
            [major, minor, patch] => satisfies(&declaration.text, [major, minor, patch]),
            _ => admits(&declaration.text, u32::try_from(numbers_of[0]).unwrap_or_default()),
        },
        // Another major is named by the declaration's own finding.
        Kind::VersionFile | Kind::Image | Kind::Workflow => {
            let declared = numbers(&declaration.text).unwrap_or_default();
            declared.first() != numbers_of.first() || declared.iter().zip(&numbers_of).all(|(one, other)| one == other)
        }
        Kind::Matrix | Kind::Prose | Kind::Install => true,
    }
}

/// What a declaration should have said, if it disagrees.
fn disagreement(declaration: &Declaration, required: u32, floor: Option<&Declaration>) -> Option<String> {
    let text = &declaration.text;
    let needed = format!("Node {required}");
    let floor_text = floor.map(|floor| format!("{} ({})", floor.text, floor.place));
    match declaration.kind {
        Kind::Install => Some("the locked versions: COPY package-lock.json, then npm ci".to_owned()),
        Kind::Engines if text.is_empty() => floor_text,
        Kind::Engines if !admits(text, required) => Some(format!("a range that admits {needed}")),
        Kind::Engines => floor_text.filter(|_| floor.is_some_and(|floor| normal(&floor.text) != normal(text))),
        Kind::Prose if text.starts_with(">=") => {
            let differs =
                floor.is_some_and(|floor| major(floor.text.trim_start_matches(['>', '='])) != major(&text[2..]));
            if admits(text, required) {
                floor_text.filter(|_| differs)
            } else {
                Some(needed)
            }
        }
        Kind::Matrix => {
            let tried = text.split(", ").any(|version| major(version) == Some(required));
            (!tried).then(|| format!("{needed} among the versions"))
        }
        _ => (major(text) != Some(required)).then_some(needed),
    }
}

/// Whether an image always means the same patch version.
fn is_pinned(tag: &str) -> bool {
    let version = tag.split('-').next().unwrap_or_default();
    tag.contains('@') || version.split('.').filter(|part| part.parse::<u32>().is_ok()).count() == 3
}

/// What runs must be the same to the last digit; so must what is declared for it.
#[must_use]
pub fn compare(reference: &Facts, facts: &Facts) -> Judgement {
    let mut judged = Judgement::default();
    let versions = |facts: &Facts| {
        let all = facts.running.iter().map(|one| one.version.clone());
        all.collect::<BTreeSet<_>>()
    };
    let (expected, observed) = (versions(reference), versions(facts));
    if !expected.is_empty() && !observed.is_empty() {
        judged.items += 1;
        // As far as both say it: an image's tag may be shorter than a version.
        let agree = |one: &String, other: &String| match (numbers(one), numbers(other)) {
            (Some(one), Some(other)) => one.iter().zip(&other).all(|(one, other)| one == other),
            _ => one == other,
        };
        let within = |some: &BTreeSet<String>, all: &BTreeSet<String>| {
            some.iter().all(|one| all.iter().any(|other| agree(one, other)))
        };
        if !within(&expected, &observed) || !within(&observed, &expected) {
            let place = facts.running.first().map(|one| one.place.clone()).unwrap_or_default();
            let finding = Finding::new(
                "running Node between environments",
                join(&expected),
                join(&observed),
                place,
            );
            judged.findings.push(finding);
        }
    }
    let (expected, observed) = (declared_by_kind(reference), declared_by_kind(facts));
    for (kind, (texts, place)) in &observed {
        let Some((wanted, _)) = expected.get(kind) else {
            continue;
        };
        judged.items += 1;
        if wanted != texts {
            let subject = format!("declared {} between environments", word(*kind));
            judged
                .findings
                .push(Finding::new(subject, join(wanted), join(texts), place));
        }
    }
    judged
}

type ByKind = BTreeMap<Kind, (BTreeSet<String>, String)>;

/// Texts of the declarations that decide what is deployed, with the place of the first.
fn declared_by_kind(facts: &Facts) -> ByKind {
    let mut found = ByKind::new();
    for one in facts
        .declared
        .iter()
        .filter(|one| ![Kind::Prose, Kind::Matrix, Kind::Install].contains(&one.kind))
    {
        let entry = found
            .entry(one.kind)
            .or_insert_with(|| (BTreeSet::new(), one.place.clone()));
        let text = one.text.trim_start_matches('v');
        entry.0.insert(if one.kind == Kind::Engines {
            normal(text)
        } else {
            text.to_owned()
        });
    }
    found
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::VersionFile => "version file",
        Kind::Engines => "engines",
        Kind::Image => "image",
        Kind::Workflow | Kind::Matrix => "workflow",
        Kind::Prose => "prose",
        Kind::Install => "installation",
    }
}

fn join(texts: &BTreeSet<String>) -> String {
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    all.join(", ")
}

fn observed(facts: &Facts) -> String {
    let running: Vec<&str> = facts.running.iter().map(|one| one.version.as_str()).collect();
    let declarations = facts.declared.len();
    if running.is_empty() {
        format!("{declarations} declarations; what runs was not looked at")
    } else {
        format!("runs {}; {declarations} declarations", running.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared(kind: Kind, text: &str) -> Declaration {
        Declaration {
            kind,
            text: text.to_owned(),
            place: "f:1".to_owned(),
        }
    }

    fn facts(running: &[&str], declared: Vec<Declaration>) -> Facts {
        let running = running.iter().map(|version| Running {
            version: (*version).to_owned(),
            place: "node --version".to_owned(),
        });
        Facts {
            running: running.collect(),
            declared,
        }
    }

    #[test]
    fn another_major_is_found_with_its_place() {
        let judged = judge(
            &facts(&[], vec![declared(Kind::VersionFile, "22")]),
            &NodeSettings::default(),
        );
        assert_eq!(
            (judged.findings[0].observed.as_str(), judged.findings[0].place.as_str()),
            ("22", "f:1")
        );
    }

    #[test]
    fn engines_that_differ_or_are_missing_are_found() {
        let all = [">=20.19.0", ">=18.0.0", ""].map(|text| declared(Kind::Engines, text));
        assert_eq!(
            judge(&facts(&[], all.to_vec()), &NodeSettings::default())
                .findings
                .len(),
            2
        );
    }

    #[test]
    fn another_patch_version_is_found_between_environments() {
        assert_eq!(
            compare(&facts(&["22.11.0"], vec![]), &facts(&["22.20.0"], vec![]))
                .findings
                .len(),
            1
        );
        assert!(
            compare(&facts(&["20.1.0"], vec![]), &facts(&["20.1.0"], vec![]))
                .findings
                .is_empty()
        );
        assert!(
            compare(&facts(&["20.1.0"], vec![]), &facts(&["20-slim"], vec![]))
                .findings
                .is_empty()
        );
    }

    #[test]
    fn the_floor_of_the_engines_holds_for_what_runs() {
        let seen = |version: &str| {
            let judged = judge(
                &facts(&[version], vec![declared(Kind::Engines, ">=20.19.0")]),
                &NodeSettings::default(),
            );
            (judged.findings.len(), judged.notes.len())
        };
        assert_eq!(
            (seen("20.11.0"), seen("20.20.2"), seen("20-slim")),
            ((1, 0), (0, 0), (0, 0))
        );
        let pinned = facts(&["20.19.5"], vec![declared(Kind::Image, "20.19.0-slim")]);
        let judged = judge(&pinned, &NodeSettings::default());
        assert_eq!((judged.findings.len(), judged.notes.len()), (0, 1));
    }

    #[test]
    fn nothing_seen_is_no_pass() {
        assert_eq!(judge(&Facts::default(), &NodeSettings::default()).items, 0);
    }
}
