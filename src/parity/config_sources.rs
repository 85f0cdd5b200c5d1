//! Where configuration is set: `.env` files, compose files, `fly.toml`, JSON. Text in, settings out.
//!
//! Values are raw here, secrets too; nothing of this file's is ever stored or shown.

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// A key that one place sets. No `Debug`: the value may be a secret.
pub(crate) struct Setting {
    /// The service of a compose file; `None` elsewhere.
    pub(crate) component: Option<String>,
    pub(crate) key: String,
    /// `None` where only the presence is told.
    pub(crate) value: Option<String>,
    /// From 1; 0 where there are no lines.
    pub(crate) line: usize,
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
    #[error("line {line}: {what} in a compose file is not understood; write the keys out, one a line")]
    Compose { line: usize, what: &'static str },
    #[error(transparent)]
    Command(#[from] crate::parity::command::CommandError),
}

/// Reads one file by its name; `variables` fill in `${…}` of a compose file.
pub(crate) fn read(path: &Path, text: &str, variables: &BTreeMap<String, String>) -> Result<Vec<Setting>, SourceError> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("toml") => fly(text),
        Some("json") => json(text),
        Some("yml" | "yaml") => compose(text, variables),
        _ => Ok(dotenv(text)),
    }
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
        key: key.trim().to_owned(),
        value: Some(value.into()),
        line,
    }
}

pub(crate) fn dotenv(text: &str) -> Vec<Setting> {
    let mut found = Vec::new();
    let mut lines = text.trim_start_matches('\u{feff}').lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let line = line.trim();
        let line = line.strip_prefix("export ").unwrap_or(line);
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
            None => value.split(" #").next().unwrap_or_default().trim().to_owned(),
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

/// `environment` and build `args` of each service. Understands the plain form only, and says so where it is not enough.
fn compose(text: &str, variables: &BTreeMap<String, String>) -> Result<Vec<Setting>, SourceError> {
    let mut found = Vec::new();
    let (mut in_services, mut service, mut service_indent) = (false, None::<String>, None::<usize>);
    // Indentation of the block of keys that is being read.
    let mut block: Option<usize> = None;
    for (at, raw) in text.lines().enumerate() {
        let line = at + 1;
        let bare = raw.trim();
        if bare.is_empty() || bare.starts_with('#') {
            continue;
        }
        let indent = raw.len() - raw.trim_start().len();
        if indent == 0 {
            in_services = bare.starts_with("services:");
            (service, service_indent, block) = (None, None, None);
            continue;
        }
        if !in_services {
            continue;
        }
        if indent <= *service_indent.get_or_insert(indent) {
            service = Some(
                bare.split(':')
                    .next()
                    .unwrap_or_default()
                    .trim_matches(['"', '\''])
                    .to_owned(),
            );
            block = None;
            continue;
        }
        let is_item = bare.starts_with("- ");
        if block.is_some_and(|start| indent < start || (indent == start && !is_item)) {
            block = None;
        }
        if block.is_some() {
            if bare.starts_with("<<:") {
                return Err(SourceError::Compose {
                    line,
                    what: "a merge key",
                });
            }
            let pair = bare.trim_start_matches("- ").trim_matches(['"', '\'']);
            let (key, value) = if is_item {
                pair.split_once('=').unwrap_or((pair, ""))
            } else {
                pair.split_once(':').unwrap_or((pair, ""))
            };
            let value = value
                .trim()
                .split(" #")
                .next()
                .unwrap_or_default()
                .trim()
                .trim_matches(['"', '\'']);
            found.push(Setting {
                component: service.clone(),
                ..setting(line, key, filled(value, variables))
            });
            continue;
        }
        for name in ["environment:", "args:"] {
            if let Some(rest) = bare.strip_prefix(name) {
                if !rest.trim().is_empty() && !rest.trim().starts_with('#') {
                    return Err(SourceError::Compose {
                        line,
                        what: "a list in one line",
                    });
                }
                block = Some(indent);
            }
        }
    }
    Ok(found)
}

/// `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; a name without a value becomes nothing, as compose does it.
fn filled(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let Some((inner, tail)) = after.split_once('}') else {
            rest = after;
            break;
        };
        let end = inner.find([':', '-', '?']).unwrap_or(inner.len());
        let default = inner[end..]
            .trim_start_matches(':')
            .strip_prefix('-')
            .unwrap_or_default();
        let value = variables.get(&inner[..end]).filter(|value| !value.is_empty());
        out.push_str(value.map_or(default, String::as_str));
        rest = tail;
    }
    out.push_str(rest);
    out
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
        let found = dotenv("# A=1\nexport B=\"x # y\"\nC= z # why\nK='a\nb'\nE=\n");
        let found: Vec<_> = found
            .into_iter()
            .map(|one| (one.key, one.value.unwrap(), one.line))
            .collect();
        let expected = [("B", "x # y", 2), ("C", "z", 3), ("K", "a\nb", 4), ("E", "", 6)];
        assert_eq!(
            found,
            expected.map(|(key, value, line)| (key.to_owned(), value.to_owned(), line))
        );
    }

    #[test]
    fn a_compose_file_is_read_by_service() {
        let text = "services:\n  directory:\n    environment:\n      PORT: 3100\n      JWT_SECRET: ${JWT_SECRET:?set it}\n    ports:\n      - \
                    \"1:1\"\n  message-bus:\n    environment:\n      - RATE_LIMIT=${LIMIT:-50}\nvolumes:\n  a:\n";
        let variables = BTreeMap::from([("JWT_SECRET".to_owned(), "v".to_owned())]);
        let found = pairs(compose(text, &variables).unwrap());
        let one = |of: &str, key: &str, value: &str, line| {
            (Some(of.to_owned()), key.to_owned(), Some(value.to_owned()), line)
        };
        assert_eq!(
            found,
            [
                one("directory", "PORT", "3100", 4),
                one("directory", "JWT_SECRET", "v", 5),
                one("message-bus", "RATE_LIMIT", "50", 10)
            ]
        );
    }

    #[test]
    fn a_compose_file_that_is_not_understood_is_refused() {
        let text = "services:\n  a:\n    environment:\n      <<: *all\n";
        assert!(compose(text, &BTreeMap::new()).is_err());
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
