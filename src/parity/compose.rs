//! The environment of the services of a compose file: `environment`, `env_file`, build `args`, `extends`, `include`, anchors and
//! merge keys, `${…}`. What cannot be known from files is told as a problem, never guessed.

use crate::deployment::given_file;
use crate::parity::config_sources::{Setting, Settings, SourceError, dotenv};
use crate::parity::yaml::{Entry, Node, documents};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How often a file or service may refer to another.
const DEEPEST: usize = 12;

/// Values that `${…}` may refer to.
pub(crate) type Variables = BTreeMap<String, String>;

/// Reads a compose file. `named` are the variables of `.env` files that the environment's file names; they win over those of a
/// `.env` beside the compose file.
///
/// # Errors
/// [`SourceError`] where the file or one that it refers to cannot be read.
pub(crate) fn settings(path: &Path, shown: &str, named: &Variables) -> Result<Settings, SourceError> {
    let beside = given_file::settings(&path.with_file_name(".env")).unwrap_or_default();
    let mut variables: Variables = dotenv(&beside)
        .into_iter()
        .filter_map(|one| Some((one.key, one.value?)))
        .collect();
    variables.extend(named.clone());
    let mut reader = Reader {
        variables,
        found: Settings::default(),
    };
    reader.file(path, shown, DEEPEST)?;
    Ok(reader.found)
}

struct Reader {
    variables: Variables,
    found: Settings,
}

/// One compose file: where it lies and how reports call it.
#[derive(Clone)]
struct File {
    path: PathBuf,
    shown: String,
    root: Rc<Node>,
}

impl File {
    fn open(path: &Path, shown: &str) -> Result<File, SourceError> {
        let all = documents(&given_file::settings(path)?)?;
        let root = all.into_iter().next().ok_or(SourceError::Compose {
            line: 1,
            what: "an empty file",
        })?;
        Ok(File {
            path: path.to_owned(),
            shown: shown.to_owned(),
            root,
        })
    }

    /// A file that this one names: its path, and how reports call it.
    fn beside(&self, name: &str) -> (PathBuf, String) {
        let name = name.trim_start_matches("./");
        let shown = Path::new(&self.shown).with_file_name("").join(name);
        (self.path.with_file_name("").join(name), shown.display().to_string())
    }
}

impl Reader {
    fn file(&mut self, path: &Path, shown: &str, depth: usize) -> Result<(), SourceError> {
        let file = File::open(path, shown)?;
        for included in file.root.get("include").iter().flat_map(|node| node.items()) {
            let names = included
                .get("path")
                .map_or_else(|| vec![Rc::clone(&included)], |path| path.items());
            for node in names {
                let Some(name) = node.text().filter(|_| depth > 0) else {
                    continue;
                };
                let (path, shown) = file.beside(&self.filled(name));
                self.file(&path, &shown, depth - 1)?;
            }
        }
        let services = file.root.get("services").map(|node| node.entries()).unwrap_or_default();
        if services.is_empty() && file.root.get("include").is_none() {
            return Err(SourceError::Compose {
                line: file.root.line,
                what: "a file without services",
            });
        }
        for service in services {
            let settings = self.service(&file, &service.value, depth)?;
            self.found.settings.extend(settings.into_iter().map(|one| Setting {
                component: Some(service.key.clone()),
                ..one
            }));
        }
        Ok(())
    }

    /// What one service sets; where a key is set at several places, the one that wins.
    fn service(&mut self, file: &File, service: &Rc<Node>, depth: usize) -> Result<Vec<Setting>, SourceError> {
        let mut all = self.extended(file, service, depth)?;
        for node in service.get("env_file").iter().flat_map(|node| node.items()) {
            let is_optional = node.get("required").is_some_and(|node| node.text() == Some("false"));
            let path = node.get("path").unwrap_or_else(|| Rc::clone(&node));
            let Some(name) = path.text() else { continue };
            let (path, shown) = file.beside(&self.filled(name));
            match given_file::settings(&path) {
                Ok(text) => over(
                    &mut all,
                    dotenv(&text).into_iter().map(|one| one.of_file(&shown)).collect(),
                ),
                Err(_) if is_optional => {}
                Err(error) => {
                    let place = format!("{}:{}", file.shown, node.line);
                    self.found
                        .problems
                        .push(format!("{place}: env_file {shown} cannot be read: {error}"));
                }
            }
        }
        let arguments = service.get("build").and_then(|build| build.get("args"));
        for block in [arguments, service.get("environment")].into_iter().flatten() {
            let own = self.pairs(file, &block);
            over(&mut all, own);
        }
        Ok(all)
    }

    fn extended(&mut self, file: &File, service: &Rc<Node>, depth: usize) -> Result<Vec<Setting>, SourceError> {
        let Some(extends) = service.get("extends") else {
            return Ok(Vec::new());
        };
        let line = extends.line;
        let what = |what| SourceError::Compose { line, what };
        let named = extends.get("service").unwrap_or_else(|| Rc::clone(&extends));
        let name = named.text().ok_or(what("an `extends` without a service"))?;
        let from = match extends.get("file") {
            Some(node) => {
                let (path, shown) = file.beside(&self.filled(node.text().unwrap_or_default()));
                File::open(&path, &shown)?
            }
            None => file.clone(),
        };
        let base = from.root.get("services").and_then(|services| services.get(name));
        let base = base.ok_or(what("an `extends` of a service that is not there"))?;
        if depth == 0 {
            return Err(what("an `extends` that goes round in a circle"));
        }
        self.service(&from, &base, depth - 1)
    }

    /// `KEY: value` or `- KEY=value`. A key without a value is taken from whoever runs compose.
    fn pairs(&mut self, file: &File, block: &Rc<Node>) -> Vec<Setting> {
        let pairs: Vec<(String, usize, Option<String>)> = if block.is_list() {
            let items = block.items();
            let split = |node: &Rc<Node>| {
                let text = node.text()?;
                let (key, value) = text
                    .split_once('=')
                    .map_or((text, None), |(key, value)| (key, Some(value)));
                Some((key.trim().to_owned(), node.line, value.map(str::to_owned)))
            };
            items.iter().filter_map(split).collect()
        } else {
            let of = |entry: Entry| (entry.key, entry.line, entry.value.text().map(str::to_owned));
            block.entries().into_iter().map(of).collect()
        };
        let mut found = Vec::new();
        for (key, line, value) in pairs {
            let value = match value {
                Some(text) => Some(self.filled(&text)),
                None => self.variables.get(&key).cloned(),
            };
            if value.is_none() {
                let place = format!("{}:{line}", file.shown);
                let what = "is taken from the shell that runs compose, and no file says what it is";
                self.found.problems.push(format!("{place}: {key} {what}"));
            }
            found.push(Setting {
                component: None,
                file: Some(file.shown.clone()),
                key,
                value,
                line,
            });
        }
        found
    }

    fn filled(&self, text: &str) -> String {
        filled(text, &self.variables, DEEPEST)
    }
}

/// Later settings replace earlier ones of the same key.
fn over(all: &mut Vec<Setting>, later: Vec<Setting>) {
    all.retain(|one| later.iter().all(|other| other.key != one.key));
    all.extend(later);
}

/// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?message}`, `${NAME:+value}`, the same without the colon, `$$`; a name without
/// a value becomes nothing, as compose does it.
pub(crate) fn filled(text: &str, variables: &Variables, depth: usize) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner);
            out.push_str(&expression(&inner[..end], variables, depth));
            rest = inner.get(end + 1..).unwrap_or_default();
        } else {
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            if end == 0 {
                out.push('$');
            }
            out.push_str(variables.get(&after[..end]).map_or("", String::as_str));
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    out
}

/// Where the brace that was opened before a text closes; its end where none does.
fn closing(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return at,
            '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

fn expression(inner: &str, variables: &Variables, depth: usize) -> String {
    let end = inner
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(inner.len());
    let (name, operator) = inner.split_at(end);
    let value = variables.get(name);
    let (operator, value) = match operator.strip_prefix(':') {
        Some(operator) => (operator, value.filter(|value| !value.is_empty())),
        None => (operator, value),
    };
    let other = |text: &str| {
        if depth == 0 {
            String::new()
        } else {
            filled(text, variables, depth - 1)
        }
    };
    match (operator.chars().next(), value) {
        (Some('-'), None) => other(&operator[1..]),
        (Some('+'), Some(_)) => other(&operator[1..]),
        (Some('+'), None) => String::new(),
        (_, value) => value.cloned().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Component, key, value and place of everything that a folder's `compose.yaml` sets, and what cannot be known.
    fn read(files: &[(&str, &str)]) -> Result<(Vec<String>, Vec<String>), SourceError> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let found = settings(&folder.path().join("compose.yaml"), "c/compose.yaml", &Variables::new())?;
        let shown = |one: &Setting| {
            let (component, value) = (
                one.component.as_deref().unwrap_or(""),
                one.value.as_deref().unwrap_or("?"),
            );
            let file = one.file.as_deref().unwrap_or("");
            format!("{component} {}={value} {file}:{}", one.key, one.line)
        };
        Ok((found.settings.iter().map(shown).collect(), found.problems))
    }

    fn set(files: &[(&str, &str)]) -> Vec<String> {
        read(files).unwrap().0
    }

    #[test]
    fn services_set_keys_as_mappings_and_as_lists() {
        let text = "services:\n  directory:\n    environment:\n      PORT: 3100 # why\n      JWT_SECRET: ${JWT_SECRET:?set it}\n    ports: [\"1:1\"]\n  \
                    message-bus:\n    environment:\n    - RATE_LIMIT=${LIMIT:-50}\nvolumes:\n  a:\n";
        assert_eq!(
            set(&[("compose.yaml", text), (".env", "JWT_SECRET=v\n")]),
            [
                "directory PORT=3100 c/compose.yaml:4",
                "directory JWT_SECRET=v c/compose.yaml:5",
                "message-bus RATE_LIMIT=50 c/compose.yaml:9"
            ]
        );
    }

    #[test]
    fn anchors_and_merge_keys_are_followed_to_their_line() {
        let text = "x-common: &common\n  PORT: 1\n  RATE_LIMIT: 2\nservices:\n  bus:\n    environment:\n      <<: *common\n      PORT: 3\n";
        assert_eq!(
            set(&[("compose.yaml", text)]),
            ["bus RATE_LIMIT=2 c/compose.yaml:3", "bus PORT=3 c/compose.yaml:8"]
        );
    }

    #[test]
    fn what_a_service_extends_and_its_env_files_lose_to_its_own_keys() {
        let text = "services:\n  bus:\n    extends: {file: base.yaml, service: b}\n    env_file: [./a.env]\n    environment:\n      PORT: 3\n";
        let base = "services:\n  b:\n    environment:\n      PORT: 1\n      RATE_LIMIT: 2\n      DB_PATH: x\n";
        assert_eq!(
            set(&[
                ("compose.yaml", text),
                ("base.yaml", base),
                ("a.env", "# c\nRATE_LIMIT=7\n")
            ]),
            [
                "bus DB_PATH=x c/base.yaml:6",
                "bus RATE_LIMIT=7 c/a.env:2",
                "bus PORT=3 c/compose.yaml:6"
            ]
        );
    }

    #[test]
    fn what_no_file_says_is_told() {
        let text = "services:\n  bus:\n    env_file: gone.env\n    environment:\n      BEAM_BUS_API_KEY:\n";
        let (_, problems) = read(&[("compose.yaml", text)]).unwrap();
        assert!(
            problems[0].starts_with("c/compose.yaml:3: env_file c/gone.env"),
            "{problems:?}"
        );
        assert!(
            problems[1].starts_with("c/compose.yaml:5: BEAM_BUS_API_KEY is taken"),
            "{problems:?}"
        );
    }

    #[test]
    fn a_circle_or_another_file_is_refused() {
        let circle = "services:\n  a: {extends: b}\n  b: {extends: a}\n";
        for text in [circle, "a: [\n", "", "name: x\n", "services:\n  a: {extends: gone}\n"] {
            assert!(read(&[("compose.yaml", text)]).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_filled_in_as_compose_does_it() {
        let variables = Variables::from([("A".to_owned(), "a".to_owned()), ("E".to_owned(), String::new())]);
        for (text, expected) in [
            ("$A-${A}", "a-a"),
            ("${E:-d}${E-d}${N-d}${N:-${A}}", "dda"),
            ("${A:+x}${N:+x}${N:?m}$$A", "x$A"),
            ("${A", "a"),
            ("100$", "100$"),
        ] {
            assert_eq!(filled(text, &variables, DEEPEST), expected, "{text}");
        }
    }
}
