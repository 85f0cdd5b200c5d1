//! Do the environments set the same configuration keys, and all that are required?
//!
//! Secrets are facts by presence only: set, empty, weak, or the committed example; their values never leave [`observe`].

use crate::deployment::compared::{Aspect, ComponentSources, ConfigSettings};
use crate::deployment::given_file;
use crate::evidence::{Finding, Judgement, short};
use crate::parity::capture::Looks;
use crate::parity::command::{self, shown_command};
use crate::parity::config_sources::{Settings, dotenv, is_dotenv, json, read};
use crate::parity::config_values::entry;
use crate::parity::known_keys::{self, Kind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// What is known of a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// The value itself; no secret, nothing personal.
    Plain(String),
    /// It is set; what to is not said.
    Set,
    /// It is set to nothing.
    Empty,
    /// A secret that is set, and why it is none.
    Weak(String),
}

/// One key that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The component it is set for; `None` for any.
    pub component: Option<String>,
    /// The key.
    pub key: String,
    /// What is known of its value.
    pub value: Value,
    /// File and line.
    #[serde(rename = "where")]
    pub place: String,
}

impl Entry {
    /// The value, where it may be known; an empty one is known.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match &self.value {
            Value::Plain(text) => Some(text),
            Value::Empty => Some(""),
            Value::Set | Value::Weak(_) => None,
        }
    }

    /// Component and key.
    pub(crate) fn name(&self) -> String {
        self.component
            .as_ref()
            .map_or_else(|| self.key.clone(), |component| format!("{component} {}", self.key))
    }
}

/// What was seen of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Every key that is set, in the order in which sources are named.
    pub entries: Vec<Entry>,
    /// Components with a source that could not be read wholly, an empty text for all of them: no key of theirs is called unset.
    #[serde(default)]
    pub unread: BTreeSet<String>,
}

impl Facts {
    /// Whether all that sets keys of a component was read.
    fn is_whole(&self, component: Option<&str>) -> bool {
        let of = |name: &str| self.unread.contains(name);
        !of("") && component.map_or(self.unread.is_empty(), |name| !of(name))
    }
}

/// Reads every source that the environment's file names.
pub(crate) async fn observe(looks: &mut Looks<'_>) -> Facts {
    let settings = looks.environment.config.clone();
    let pooled = ComponentSources {
        files: settings.files.clone(),
        command: settings.command.clone(),
    };
    let parts = [
        (None, Some(pooled)),
        (Some("directory"), settings.directory.clone()),
        (Some("bus"), settings.bus.clone()),
        (Some("dashboard"), settings.dashboard.clone()),
    ];
    let examples = examples(looks, &settings);
    let mut facts = Facts::default();
    let mut any = false;
    for (component, sources) in parts {
        let Some(sources) = sources else { continue };
        any |= !sources.files.is_empty() || !sources.command.is_empty();
        let variables = variables(looks, &sources.files);
        let mut read_all = Vec::new();
        for file in &sources.files {
            let shown = file.display().to_string();
            let seen = read(&looks.folder.join(file), &shown, &variables);
            read_all.push((shown.clone(), looks.note(Aspect::Config, &shown, None, seen)));
        }
        if !sources.command.is_empty() {
            let shown = shown_command(&sources.command);
            let seen = match command::run(&sources.command, looks.folder).await {
                Ok(printed) => json(&String::from_utf8_lossy(&printed)),
                Err(error) => Err(error.into()),
            };
            let seen = seen.map(|settings| Settings {
                settings,
                problems: Vec::new(),
            });
            read_all.push((
                shown.clone(),
                looks.note(Aspect::Config, &shown, Some(&sources.command), seen),
            ));
        }
        for (shown, seen) in read_all {
            let Some(seen) = seen else {
                facts.unread.insert(component.unwrap_or_default().to_owned());
                continue;
            };
            for problem in seen.problems {
                looks.missing(Aspect::Config, &shown, &problem);
                facts.unread.insert(component.unwrap_or_default().to_owned());
            }
            let settings = seen.settings.into_iter();
            let entries = settings.map(|one| entry(one, component, &shown, &looks.environment.config, &examples));
            facts.entries.extend(entries);
        }
    }
    if !any {
        let what_to_do = "names no files and no command, so no key was seen; add one";
        looks.missing(Aspect::Config, "[config]", what_to_do);
    }
    facts
}

fn examples(looks: &mut Looks<'_>, settings: &ConfigSettings) -> BTreeMap<String, String> {
    let Some(file) = &settings.example else {
        return BTreeMap::new();
    };
    let seen = given_file::settings(&looks.folder.join(file));
    let text = looks
        .note(Aspect::Config, &file.display().to_string(), None, seen)
        .unwrap_or_default();
    dotenv(&text)
        .into_iter()
        .filter_map(|one| Some((one.key, one.value?)))
        .collect()
}

fn variables(looks: &Looks<'_>, files: &[PathBuf]) -> BTreeMap<String, String> {
    let texts = files
        .iter()
        .filter(|file| is_dotenv(file))
        .filter_map(|file| given_file::settings(&looks.folder.join(file)).ok());
    texts
        .flat_map(|text| dotenv(&text))
        .filter_map(|one| Some((one.key, one.value?)))
        .collect()
}

/// The last entry of each key by component: that one wins.
fn effective(facts: &Facts) -> BTreeMap<(Option<&str>, &str), &Entry> {
    facts
        .entries
        .iter()
        .map(|entry| ((entry.component.as_deref(), entry.key.as_str()), entry))
        .collect()
}

/// Missing, unknown, empty, weak, malformed and contradicting keys of one environment.
#[must_use]
pub fn judge(facts: &Facts, settings: &ConfigSettings) -> Judgement {
    let set = effective(facts);
    let mut judged = Judgement {
        items: set.len() as u64,
        expected: "required keys set, no unknown or weak one".to_owned(),
        observed: format!("{} keys set", set.len()),
        ..Judgement::default()
    };
    if facts.entries.is_empty() {
        return judged;
    }
    for (component, key) in demanded(facts, settings) {
        let found = set
            .iter()
            .find(|((of, name), _)| *name == key && (component.is_none() || of.is_none() || *of == component));
        let name = component.map_or_else(|| key.to_owned(), |component| format!("{component} {key}"));
        match found {
            None if !facts.is_whole(component) => {}
            None => judged
                .findings
                .push(Finding::new(name, "<set>", "<unset>", sources(facts, component))),
            Some((_, entry)) if entry.value == Value::Empty => {
                judged
                    .findings
                    .push(Finding::new(name, "<set>", "set to nothing", &entry.place));
            }
            Some(_) => {}
        }
    }
    for key in settings.required.iter().filter(|key| !is_known(None, key, settings)) {
        let finding = Finding::new(
            format!("required {key}"),
            "a key that some component reads",
            "read by nothing",
            "[config] required",
        );
        judged.findings.push(finding);
    }
    for entry in set.values() {
        own_faults(&mut judged, entry, settings);
    }
    contradictions(&mut judged, facts, &set);
    judged
}

/// Component and key of everything that must be set.
fn demanded<'a>(facts: &'a Facts, settings: &'a ConfigSettings) -> Vec<(Option<&'a str>, &'a str)> {
    let has = |name: &str| {
        facts
            .entries
            .iter()
            .any(|entry| entry.component.as_deref().is_none_or(|of| of == name))
    };
    let components = ["directory", "bus"].into_iter().filter(|name| has(name));
    let mut all: Vec<(Option<&str>, &str)> = components
        .flat_map(|name| known_keys::required(name).map(move |key| (Some(name), key)))
        .collect();
    let of_file = settings.required.iter().map(|key| (None, key.as_str()));
    let of_file: Vec<_> = of_file
        .filter(|(_, key)| !all.iter().any(|(_, other)| other == key))
        .collect();
    all.extend(of_file);
    all
}

fn is_known(component: Option<&str>, key: &str, settings: &ConfigSettings) -> bool {
    let listed = [&settings.known, &settings.own, &settings.secret];
    // A compose file may run services that are none of Beam's.
    let foreign = component.is_some_and(|component| !known_keys::COMPONENTS.contains(&component));
    foreign || known_keys::is_read(component, key) || listed.iter().any(|list| list.iter().any(|name| name == key))
}

fn own_faults(judged: &mut Judgement, entry: &Entry, settings: &ConfigSettings) {
    let name = entry.name();
    let mut wrong = |expected: &str, observed: String| {
        if !judged.findings.iter().any(|finding| finding.subject == name) {
            judged
                .findings
                .push(Finding::new(&name, expected, observed, &entry.place));
        }
    };
    if !is_known(entry.component.as_deref(), &entry.key, settings) {
        wrong("a key that the component reads", "unknown: read by nothing".to_owned());
    }
    match &entry.value {
        Value::Weak(why) => wrong("a secret of its own", why.clone()),
        Value::Empty if known_keys::is_never_empty(&entry.key) => wrong("<set>", "set to nothing".to_owned()),
        Value::Plain(text) if entry.key.ends_with("_URL") && is_origin_with_slash(text) => {
            wrong(text.trim_end_matches('/'), format!("{} (trailing slash)", short(text)));
        }
        _ => {}
    }
}

fn is_origin_with_slash(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.ends_with('/'))
}

/// One key set twice to different values in one source, and one database for both services.
fn contradictions(judged: &mut Judgement, facts: &Facts, set: &BTreeMap<(Option<&str>, &str), &Entry>) {
    let file = |entry: &Entry| {
        entry
            .place
            .rsplit_once(':')
            .map_or(entry.place.clone(), |(file, _)| file.to_owned())
    };
    for (at, entry) in facts.entries.iter().enumerate() {
        let earlier = facts.entries[..at]
            .iter()
            .find(|other| other.name() == entry.name() && file(other) == file(entry) && other.value != entry.value);
        if let Some(earlier) = earlier {
            let expected = format!("one value ({})", earlier.place);
            judged.findings.push(Finding::new(
                format!("{} twice", entry.name()),
                expected,
                "another value",
                &entry.place,
            ));
        }
    }
    let path = |component: &'static str| {
        set.get(&(Some(component), "DB_PATH"))
            .or_else(|| set.get(&(None, "DB_PATH")))
    };
    if let (Some(directory), Some(bus)) = (path("directory"), path("bus"))
        && (directory.component.is_some() || bus.component.is_some())
        && directory
            .plain()
            .is_some_and(|value| !value.is_empty() && bus.plain() == Some(value))
    {
        let expected = format!("another file than the directory's ({})", directory.place);
        judged.findings.push(Finding::new(
            "bus DB_PATH",
            expected,
            "the same file: two schemas in one",
            &bus.place,
        ));
    }
}

/// The files and commands that set keys of a component; all of them where none sets any.
fn sources(facts: &Facts, component: Option<&str>) -> String {
    let of = |is_its: &dyn Fn(&Entry) -> bool| {
        let entries = facts.entries.iter().filter(|entry| is_its(entry));
        let file = |entry: &Entry| {
            let place = entry.place.as_str();
            place.rsplit_once(':').map_or(place, |(file, _)| file).to_owned()
        };
        let files: BTreeSet<String> = entries.map(file).collect();
        files.into_iter().collect::<Vec<_>>().join(", ")
    };
    let own = of(&|entry| component.is_none() || entry.component.as_deref().is_none_or(|of| Some(of) == component));
    if own.is_empty() { of(&|_| true) } else { own }
}

/// The same keys, and the same values where nothing speaks for a difference.
#[must_use]
pub fn compare(reference: &Facts, facts: &Facts, settings: &ConfigSettings) -> Judgement {
    let mut judged = Judgement::default();
    if reference.entries.is_empty() || facts.entries.is_empty() {
        return judged;
    }
    let (expected, observed) = (effective(reference), effective(facts));
    for (key, wanted) in &expected {
        judged.items += 1;
        let subject = format!("{} between environments", wanted.name());
        let Some(seen) = observed.get(key) else {
            if facts.is_whole(key.0) {
                let expected = format!("<set> ({})", wanted.place);
                let place = sources(facts, key.0);
                judged.findings.push(Finding::new(subject, expected, "<unset>", place));
            }
            continue;
        };
        let is_own = known_keys::kind(key.1) == Some(Kind::Own) || settings.own.iter().any(|own| own == key.1);
        match (&wanted.value, &seen.value) {
            (Value::Plain(wanted), Value::Plain(seen_text)) if !is_own && wanted != seen_text => {
                judged
                    .findings
                    .push(Finding::new(subject, short(wanted), short(seen_text), &seen.place));
            }
            (Value::Empty, Value::Empty) => {}
            (Value::Empty, _) => judged
                .findings
                .push(Finding::new(subject, "set to nothing", "<set>", &seen.place)),
            (_, Value::Empty) => judged
                .findings
                .push(Finding::new(subject, "<set>", "set to nothing", &seen.place)),
            _ => {}
        }
    }
    for (key, seen) in &observed {
        if !expected.contains_key(key) && reference.is_whole(key.0) {
            let subject = format!("{} between environments", seen.name());
            judged
                .findings
                .push(Finding::new(subject, "<unset>", "<set>", &seen.place));
        }
    }
    judged
}

#[cfg(test)]
mod tests;
