//! What may be known of a configuration value: a secret's presence and weakness, never itself.

use crate::deployment::compared::ConfigSettings;
use crate::parity::config::{Entry, Value};
use crate::parity::config_sources::Setting;
use crate::parity::known_keys::{self, Kind};
use std::collections::BTreeMap;

/// A secret this short can be guessed.
const SHORTEST_SECRET: usize = 16;
/// Parts of secrets that somebody should have replaced.
const PLACEHOLDERS: &[&str] = &[
    "changeme",
    "change-me",
    "change_me",
    "placeholder",
    "your-",
    "your_",
    "example",
    "password",
    "insecure",
    "do-not-use",
    "quickstart",
    "replace",
];

/// What may be known of a setting; here its raw value ends.
pub(crate) fn entry(
    setting: Setting,
    component: Option<&str>,
    shown: &str,
    settings: &ConfigSettings,
    examples: &BTreeMap<String, String>,
) -> Entry {
    let key = setting.key;
    let kind = known_keys::kind(&key);
    let is_secret = settings.secret.contains(&key)
        || kind == Some(Kind::Secret)
        || (kind.is_none() && known_keys::looks_secret(&key));
    let value = match setting.value {
        None => Value::Set,
        Some(text) if text.is_empty() => Value::Empty,
        Some(text) if is_secret => {
            weakness(&text, examples.get(&key)).map_or(Value::Set, |why| Value::Weak(why.to_owned()))
        }
        Some(text) => match kind {
            Some(Kind::Shared | Kind::Own) => Value::Plain(without_credentials(&text)),
            // Nobody says what it is, so nobody says that it may be shown.
            None if settings.known.contains(&key) || settings.own.contains(&key) => {
                Value::Plain(without_credentials(&text))
            }
            _ => Value::Set,
        },
    };
    let shown = setting.file.as_deref().unwrap_or(shown);
    let place = if setting.line == 0 {
        shown.to_owned()
    } else {
        format!("{shown}:{}", setting.line)
    };
    let component = component
        .map(str::to_owned)
        .or_else(|| setting.component.as_deref().map(component_of));
    Entry {
        component,
        key,
        value,
        place,
    }
}

/// The component that a service of a compose file runs.
fn component_of(service: &str) -> String {
    let known = [
        ("echo", "echo-agent"),
        ("demo", "demo-agents"),
        ("dashboard", "dashboard"),
        ("bus", "bus"),
        ("directory", "directory"),
    ];
    let component = known.iter().find(|(part, _)| service.contains(part));
    component.map_or(service, |(_, component)| component).to_owned()
}

fn weakness(secret: &str, example: Option<&String>) -> Option<&'static str> {
    let lower = secret.to_lowercase();
    let distinct: std::collections::BTreeSet<char> = secret.chars().collect();
    if example.is_some_and(|example| example == secret) {
        Some("equal to the committed example")
    } else if PLACEHOLDERS.iter().any(|part| lower.contains(part)) {
        Some("a placeholder that was never replaced")
    } else if secret.trim().len() < SHORTEST_SECRET {
        Some("shorter than 16 characters")
    } else if distinct.len() < 6 {
        Some("made of fewer than 6 different characters")
    } else {
        None
    }
}

/// An address without user and password.
fn without_credentials(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    match rest[..end].rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://<set>@{host}{}", &rest[end..]),
        None => text.to_owned(),
    }
}
