//! Where configuration is set: `.env` files, `fly.toml`, JSON; compose files stand in a file of their own. Text in, settings out.
//!
//! Values are raw here, secrets too; nothing of this file's is ever stored or shown.

use crate::deployment::given_file;
use crate::parity::compose::{self, Variables};
use serde_json::Value;
use std::path::Path;

/// A key that one place sets. No `Debug`: the value may be a secret.
pub(crate) struct Setting {
    /// The service of a compose file; `None` elsewhere.
    pub(crate) component: Option<String>,
    /// The file, where it is another than the one that was named.
    pub(crate) file: Option<String>,
    pub(crate) key: String,
    /// `None` where only the presence is told.
    pub(crate) value: Option<String>,
    /// From 1; 0 where there are no lines.
    pub(crate) line: usize,
}

impl Setting {
    /// As a setting of another file.
    pub(crate) fn of_file(self, shown: &str) -> Setting {
        Setting {
            file: Some(shown.to_owned()),
            ..self
        }
    }
}

/// What a source sets, and what of it cannot be known.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) settings: Vec<Setting>,
    pub(crate) problems: Vec<String>,
}

/// Why a source cannot be read. Never holds a part of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("is no JSON object of keys and values, nor a list of objects with a name")]
    Json,
    #[error("is no TOML with a table [env]")]
    Toml,
    #[error("line {line}: {what}, in a compose file; name a file that `docker compose config` takes")]
    Compose { line: usize, what: &'static str },
    #[error(transparent)]
    Yaml(#[from] crate::parity::yaml::YamlError),
    #[error(transparent)]
    Command(#[from] crate::parity::command::CommandError),
}

/// Reads one file by its name; `variables` fill in `${…}` of a compose file.
///
/// # Errors
/// [`SourceError`].
pub(crate) fn read(path: &Path, shown: &str, variables: &Variables) -> Result<Settings, SourceError> {
    let text = || given_file::settings(path);
    let settings = match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => fly(&text()?)?,
        Some("json") => json(&text()?)?,
        Some("yml" | "yaml") => return compose::settings(path, shown, variables),
        _ => dotenv(&text()?),
    };
    Ok(Settings {
        settings,
        problems: Vec::new(),
    })
}

/// Whether a file has variables that a compose file may refer to.
pub(crate) fn is_dotenv(path: &Path) -> bool {
    !matches!(
        path.extension().and_then(|ending| ending.to_str()),
        Some("toml" | "json" | "yml" | "yaml")
    )
}

fn setting(line: usize, key: &str, value: impl Into<String>) -> Setting {
    Setting {
        component: None,
        file: None,
        key: key.trim().to_owned(),
        value: Some(value.into()),
        line,
    }
}

/// The keys of a `.env` file, as Docker and Node read it.
pub(crate) fn dotenv(text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        let is_exported = |rest: &&str| rest.starts_with(char::is_whitespace);
        let line = line.strip_prefix("export").filter(is_exported).unwrap_or(line);
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            continue;
        };
        let value = value.trim();
        let text = match value.chars().next().filter(|quote| ['"', '\'', '`'].contains(quote)) {
            Some(quote) => {
                let mut inner = value[1..].to_owned();
                while !inner.contains(quote) {
                    // A private key stands on several lines.
                    let Some((_, more)) = lines.next() else { break };
                    inner.push('\n');
                    inner.push_str(more);
                }
                inner.split(quote).next().unwrap_or_default().to_owned()
            }
            None => {
                let is_comment = |(at, _): &(usize, &str)| *at == 0 || value[..*at].ends_with(char::is_whitespace);
                let end = value
                    .match_indices('#')
                    .find(is_comment)
                    .map_or(value.len(), |(at, _)| at);
                value[..end].trim().to_owned()
            }
        };
        found.push(setting(at + 1, key, text));
    }
    found
}

fn fly(text: &str) -> Result<Vec<Setting>, SourceError> {
    let table: toml::Table = toml::from_str(text).map_err(|_| SourceError::Toml)?;
    let env = table
        .get("env")
        .and_then(toml::Value::as_table)
        .ok_or(SourceError::Toml)?;
    let line_of = |key: &str| {
        let is_it = |line: &str| line.trim_start().trim_start_matches(['"', '\'']).starts_with(key);
        text.lines().position(is_it).map_or(0, |at| at + 1)
    };
    let shown = |value: &toml::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok(env
        .iter()
        .map(|(key, value)| setting(line_of(key), key, shown(value)))
        .collect())
}

/// An object of keys, one in a member `env`, or a list of objects with a name (`fly secrets list --json` tells names only).
pub(crate) fn json(text: &str) -> Result<Vec<Setting>, SourceError> {
    let text = text.trim_start_matches('\u{feff}');
    let document: Value = serde_json::from_str(text).map_err(|_| SourceError::Json)?;
    let shown = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let line_of = |key: &str| {
        let quoted = format!("\"{key}\"");
        text.lines()
            .position(|line| line.contains(&quoted))
            .map_or(0, |at| at + 1)
    };
    let found = |key: &str, value: Option<String>| Setting {
        component: None,
        file: None,
        key: key.to_owned(),
        value,
        line: line_of(key),
    };
    if let Value::Array(list) = &document {
        let of = |item: &Value| {
            let member = |names: [&str; 3]| names.iter().find_map(|name| item.get(name)).cloned();
            let name = member(["name", "Name", "key"])?;
            Some(found(
                name.as_str()?,
                member(["value", "Value", "val"]).as_ref().and_then(shown),
            ))
        };
        return list.iter().map(of).collect::<Option<Vec<_>>>().ok_or(SourceError::Json);
    }
    let keys = document
        .get("env")
        .unwrap_or(&document)
        .as_object()
        .ok_or(SourceError::Json)?;
    Ok(keys.iter().map(|(key, value)| found(key, shown(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(found: Vec<Setting>) -> Vec<(Option<String>, String, Option<String>, usize)> {
        found
            .into_iter()
            .map(|one| (one.component, one.key, one.value, one.line))
            .collect()
    }

    #[test]
    fn a_dotenv_file_is_read_with_quotes_and_comments() {
        let found =
            dotenv("# A=1\r\nexport B=\"x # y\"\r\n\texport\tC = z\t# why\r\nK='a\nb'\nE=\nF=a#b\nexported=1\n");
        let found: Vec<_> = found
            .into_iter()
            .map(|one| (one.key, one.value.unwrap(), one.line))
            .collect();
        let expected = [
            ("B", "x # y", 2),
            ("C", "z", 3),
            ("K", "a\nb", 4),
            ("E", "", 6),
            ("F", "a#b", 7),
            ("exported", "1", 8),
        ];
        assert_eq!(
            found,
            expected.map(|(key, value, line)| (key.to_owned(), value.to_owned(), line))
        );
    }

    #[test]
    fn toml_and_json_are_read() {
        let found = pairs(fly("app = \"x\"\n[env]\n  PORT = 3100\n").unwrap());
        assert_eq!(found, [(None, "PORT".to_owned(), Some("3100".to_owned()), 3)]);
        let names = pairs(json("[{\"Name\": \"JWT_SECRET\", \"Digest\": \"x\"}]").unwrap());
        assert_eq!(names, [(None, "JWT_SECRET".to_owned(), None, 1)]);
        assert_eq!(pairs(json("{\"A\": 1}").unwrap())[0].2.as_deref(), Some("1"));
    }
}
