//! Where a Node version is declared: version files, `engines`, images, workflows, prose. Text in, declarations out.

use crate::parity::compose::{Variables, filled};
use crate::parity::node_yaml;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What kind of file declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `.nvmrc`, `.node-version`, `.tool-versions`.
    VersionFile,
    /// `engines` of a `package.json`: a range.
    Engines,
    /// An image of a Dockerfile or compose file.
    Image,
    /// `node-version` of a workflow.
    Workflow,
    /// Versions that a workflow tries one after the other.
    Matrix,
    /// A sentence in a document.
    Prose,
    /// An image's dependencies, installed without the lock file that the project has.
    Install,
}

/// One declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Declaration {
    /// What kind of file it stands in.
    pub kind: Kind,
    /// The version or range as it is written; empty for a `package.json` that declares none.
    pub text: String,
    /// File and line.
    #[serde(rename = "where")]
    pub place: String,
}

/// Folders that hold nothing of the project's own.
const NOT_OURS: &[&str] = &["node_modules", ".git", "target", "dist", "build", "coverage"];
/// How deep a folder is searched.
const DEEPEST: usize = 6;

/// The files below a path that may declare a version, sorted; the path itself if it is a file.
///
/// # Errors
/// As the system says it, for the path itself.
pub(crate) fn candidates(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    let mut folders = vec![(path.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in std::fs::read_dir(&folder)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && depth < DEEPEST && !NOT_OURS.contains(&name.as_str()) {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() && kind_of(&entry.path()).is_some() {
                found.push(entry.path());
            }
        }
    }
    found.sort_by_key(|file| (file.components().count(), file.clone()));
    Ok(found)
}

fn kind_of(path: &Path) -> Option<Kind> {
    let name = path.file_name()?.to_str()?.to_lowercase();
    let within = |folder: &str| path.iter().any(|part| part == folder);
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    match name.as_str() {
        ".nvmrc" | ".node-version" | ".tool-versions" => Some(Kind::VersionFile),
        "package.json" => Some(Kind::Engines),
        _ if name.starts_with("dockerfile")
            || name.starts_with("containerfile")
            || ending.eq_ignore_ascii_case("dockerfile") =>
        {
            Some(Kind::Image)
        }
        "action.yml" | "action.yaml" => Some(Kind::Workflow),
        _ if ["yml", "yaml"].contains(&ending) && within("workflows") => Some(Kind::Workflow),
        _ if ["yml", "yaml"].contains(&ending) && name.contains("compose") => Some(Kind::Image),
        _ if ending == "md" && (within("docs") || name.starts_with("readme")) => Some(Kind::Prose),
        _ => None,
    }
}

/// What one file declares, and what of it cannot be known.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) declarations: Vec<Declaration>,
    pub(crate) problems: Vec<String>,
}

/// What one file declares. `shown` is its name in reports.
pub(crate) fn declarations(path: &Path, shown: &str, text: &str) -> Found {
    let mut found = Found::default();
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    if ["yml", "yaml"].contains(&ending) {
        match node_yaml::declared(text) {
            Ok(declared) => {
                let problems = declared.problems.into_iter();
                found.problems = problems.map(|(line, what)| format!("{shown}:{line}: {what}")).collect();
                found.add(shown, declared.found);
            }
            Err(error) => found.problems.push(format!("{shown}: {error}")),
        }
        return found;
    }
    let named = kind_of(path).or(match ending {
        // A file that is named outright may have any name.
        "md" => Some(Kind::Prose),
        "json" => Some(Kind::Engines),
        _ => Some(Kind::VersionFile),
    });
    match named {
        Some(Kind::Engines) => match serde_json::from_str(text.trim_start_matches('\u{feff}')) {
            Ok(package) => found.add(shown, engines(&package, text)),
            Err(_) => found.problems.push(format!("{shown}: is no JSON")),
        },
        Some(Kind::Image) => found.add(shown, images(text)),
        Some(Kind::Prose) => found.add(shown, prose(text)),
        _ => found.add(shown, version_file(name, text)),
    }
    found
}

impl Found {
    pub(crate) fn add(&mut self, shown: &str, all: impl IntoIterator<Item = (Kind, usize, String)>) {
        let of = |(kind, line, text)| Declaration {
            kind,
            text,
            place: format!("{shown}:{line}"),
        };
        self.declarations.extend(all.into_iter().map(of));
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn version_file<'a>(name: &str, text: &'a str) -> impl Iterator<Item = (Kind, usize, String)> + 'a {
    // `.tool-versions` has a line a tool.
    let of_tools = name == ".tool-versions";
    lines(text).filter_map(move |(at, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let version = match line.split_once(char::is_whitespace) {
            Some(("nodejs" | "node", version)) => version.trim(),
            Some(_) => return None,
            None if of_tools => return None,
            None => line,
        };
        (!version.is_empty()).then(|| (Kind::VersionFile, at, version.to_owned()))
    })
}

/// `engines.node`, with an empty range where there is none; the versions that Volta and `devEngines` pin.
fn engines(package: &Value, text: &str) -> Vec<(Kind, usize, String)> {
    let within = |outer: &str, inner: &str| {
        let outer = lines(text).skip_while(|(_, line)| !line.contains(&format!("\"{outer}\"")));
        let mut inner_lines = outer.filter(|(_, line)| line.contains(&format!("\"{inner}\"")));
        inner_lines.next().map_or(1, |(at, _)| at)
    };
    let range = package["engines"]["node"].as_str().unwrap_or_default();
    let line = if range.is_empty() { 1 } else { within("engines", "node") };
    let mut found = vec![(Kind::Engines, line, range.to_owned())];
    if let Some(version) = package["volta"]["node"].as_str() {
        found.push((Kind::VersionFile, within("volta", "node"), version.to_owned()));
    }
    let runtime = &package["devEngines"]["runtime"];
    if let Some(version) = runtime["version"].as_str().filter(|_| runtime["name"] == "node") {
        found.push((Kind::Engines, within("devEngines", "version"), version.to_owned()));
    }
    found
}

/// Line and tag of each Node image: `FROM node:22-slim`. Build arguments with a default are filled in.
fn images(text: &str) -> impl Iterator<Item = (Kind, usize, String)> {
    let arguments: Variables = lines(text)
        .filter_map(|(_, line)| {
            let (name, value) = line.trim().strip_prefix("ARG ")?.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
        })
        .collect();
    lines(text).filter_map(move |(at, line)| {
        let line = line.trim();
        let lower = line.to_lowercase();
        let rest = lower.starts_with("from ").then(|| &line[5..])?;
        let image = rest.split_whitespace().find(|word| !word.starts_with("--"))?;
        let image = filled(image.trim_matches(['"', '\'']), &arguments, 3);
        tag(&image).map(|tag| (Kind::Image, at, tag))
    })
}

/// Lines that install an image's dependencies without a lock file having been copied before.
pub(crate) fn unlocked(text: &str) -> Vec<(Kind, usize, String)> {
    let mut has_lock = false;
    let mut found = Vec::new();
    for (at, line) in lines(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.first().map(|word| word.to_ascii_uppercase()).as_deref() {
            Some("FROM") => has_lock = false,
            Some("COPY" | "ADD") => {
                let sources = words.get(1..words.len() - 1).unwrap_or_default();
                has_lock |= sources.iter().any(|source| {
                    [".", "./"].contains(source) || source.contains("package-lock") || source.contains("package*")
                });
            }
            Some("RUN") if !has_lock => {
                let pair = words
                    .windows(2)
                    .any(|pair| pair[0] == "npm" && ["install", "i"].contains(&pair[1]));
                let of_tool = words.iter().any(|word| ["-g", "--global"].contains(word));
                if pair && !of_tool {
                    found.push((Kind::Install, at, "npm install without the lock file".to_owned()));
                }
            }
            _ => {}
        }
    }
    found
}

/// The tag of a Node image, with its digest if it has one; `None` for another image.
pub(crate) fn tag(image: &str) -> Option<String> {
    let (path, digest) = image
        .split_once('@')
        .map_or((image, None), |(path, digest)| (path, Some(digest)));
    let name = path.rsplit('/').next()?;
    let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
    let tag = match name {
        "node" | "nodejs" => tag,
        // Distroless images have the version in their name.
        _ => name
            .strip_prefix("nodejs")
            .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))?,
    };
    Some(digest.map_or_else(|| tag.to_owned(), |digest| format!("{tag}@{digest}")))
}

/// `Node 20`, `Node.js 18 or newer`, `Node >= 20.19`.
fn prose(text: &str) -> impl Iterator<Item = (Kind, usize, String)> {
    lines(text).filter_map(|(at, line)| {
        line.match_indices("Node").find_map(|(start, _)| {
            let rest = &line[start + 4..];
            let rest = rest
                .strip_prefix(".js")
                .unwrap_or(rest)
                .trim_start_matches([' ', '*', '`']);
            let least = rest.starts_with(">=") || rest.starts_with('≥');
            let rest = rest.trim_start_matches(['>', '=', '≥', ' ', 'v']);
            let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
            let after = rest[version.len()..].trim_start_matches(['*', '`', '.', 'x']);
            let version = version.trim_end_matches('.');
            let major: u32 = version.split('.').next()?.parse().ok()?;
            let least = least
                || after.starts_with('+')
                || [" or newer", " or later", " or higher", " or above"]
                    .iter()
                    .any(|words| after.starts_with(words));
            (10..=40).contains(&major).then(|| {
                let said = if least {
                    format!(">={version}")
                } else {
                    version.to_owned()
                };
                (Kind::Prose, at, said)
            })
        })
    })
}

/// The major version of `v20.11.1`, `20-slim`, `lts/iron`.
pub(crate) fn major(version: &str) -> Option<u32> {
    let version = version.trim().trim_start_matches(['v', '=', '^', '~']);
    match version.to_lowercase().trim_start_matches("lts/") {
        "hydrogen" => return Some(18),
        "iron" => return Some(20),
        "jod" => return Some(22),
        "krypton" => return Some(24),
        _ => {}
    }
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Whether a range of `engines` admits some version of a major.
pub(crate) fn admits(range: &str, required: u32) -> bool {
    range.split("||").any(|alternative| {
        let spaced = alternative
            .replace(">= ", ">=")
            .replace("<= ", "<=")
            .replace("> ", ">")
            .replace("< ", "<");
        let parts: Vec<&str> = spaced.split_whitespace().filter(|part| *part != "-").collect();
        !parts.is_empty()
            && parts.iter().all(|part| {
                if ["*", "x", "latest"].contains(part) {
                    return true;
                }
                let digits = part.trim_start_matches(['<', '>', '=', '^', '~', 'v']);
                let Some(bound) = major(digits) else { return false };
                let later = digits
                    .split(['.', '-'])
                    .skip(1)
                    .any(|rest| rest.parse::<u32>().is_ok_and(|n| n > 0));
                match part.chars().next() {
                    Some('>') if part.starts_with(">=") || digits.contains('.') => required >= bound,
                    Some('>') => required > bound,
                    Some('<') if part.starts_with("<=") || later => required <= bound,
                    Some('<') => required < bound,
                    _ => required == bound,
                }
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(name: &str, text: &str) -> Vec<(Kind, String, String)> {
        let found = declarations(Path::new(name), name, text);
        found
            .declarations
            .into_iter()
            .map(|found| (found.kind, found.text, found.place))
            .collect()
    }

    #[test]
    fn each_kind_of_file_says_version_and_line() {
        let one = |name: &str, text: &str| texts(name, text).remove(0);
        assert_eq!(one(".nvmrc", "# why\nv20.11.1\n").1, "v20.11.1");
        assert_eq!(
            one("package.json", "{\n \"engines\": {\n  \"node\": \">=20\"\n }\n}"),
            (Kind::Engines, ">=20".to_owned(), "package.json:3".to_owned())
        );
        assert_eq!(one("package.json", "{}").1, "");
        let file =
            "ARG NODE=22\nFROM --platform=linux/amd64 docker.io/library/node:${NODE}-slim AS build\nFROM debian:12";
        assert_eq!(
            one("Dockerfile", file),
            (Kind::Image, "22-slim".to_owned(), "Dockerfile:2".to_owned())
        );
        assert_eq!(one("docs/a.md", "Needs Node.js 18 or newer.").1, ">=18");
        assert_eq!(one("docs/a.md", "a\nthe same Node 20 runtime").2, "docs/a.md:2");
    }

    #[test]
    fn images_of_other_makers_are_known() {
        for (image, expected) in [
            ("gcr.io/distroless/nodejs22-debian12", Some("22-debian12")),
            ("registry.example:5000/library/node:20-slim", Some("20-slim")),
            ("public.example/lambda/nodejs:20", Some("20")),
            ("node", Some("latest")),
            ("node-red:3", None),
            ("postgres:16", None),
        ] {
            assert_eq!(tag(image).as_deref(), expected, "{image}");
        }
    }

    #[test]
    fn an_installation_without_the_lock_file_is_seen() {
        let lines = |text: &str| unlocked(text).into_iter().map(|(_, line, _)| line).collect::<Vec<_>>();
        assert_eq!(lines("FROM node:20\nCOPY package.json ./\nRUN npm install\n"), [3]);
        for good in [
            "FROM node:20\nCOPY package*.json ./\nRUN npm install\n",
            "FROM node:20\nCOPY . .\nRUN npm install\n",
            "FROM node:20\nCOPY package.json package-lock.json ./\nRUN npm ci\n",
            "FROM node:20\nRUN npm install -g serve\n",
        ] {
            assert_eq!(lines(good), [0; 0], "{good}");
        }
    }

    #[test]
    fn a_package_may_pin_its_version_elsewhere_too() {
        let text = "{\n \"engines\": {\"node\": \">=20\"},\n \"volta\": {\n  \"node\": \"22.3.0\"\n }\n}";
        assert_eq!(texts("package.json", text)[1].2, "package.json:4");
        assert_eq!(
            declarations(Path::new("package.json"), "p", "{").problems,
            ["p: is no JSON"]
        );
    }

    #[test]
    fn ranges_admit_what_npm_would() {
        for (range, admitted) in [
            (">=20.19.0", true),
            (">=18", true),
            (">=22", false),
            ("^20.1", true),
            ("20.x", true),
            ("18 || 22", false),
            (">=18 <20", false),
            (">= 18 <= 20", true),
            ("*", true),
        ] {
            assert_eq!(admits(range, 20), admitted, "{range}");
        }
    }
}
