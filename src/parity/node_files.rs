//! Where a Node version is declared: version files, `engines`, images, workflows, prose. Text in, declarations out.

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
        _ if name.starts_with("dockerfile") || ending.eq_ignore_ascii_case("dockerfile") => Some(Kind::Image),
        _ if ["yml", "yaml"].contains(&ending) && within("workflows") => Some(Kind::Workflow),
        _ if ["yml", "yaml"].contains(&ending) && name.contains("compose") => Some(Kind::Image),
        _ if ending == "md" && (within("docs") || name.starts_with("readme")) => Some(Kind::Prose),
        _ => None,
    }
}

/// What one file declares. `shown` is its name in reports.
pub(crate) fn declarations(path: &Path, shown: &str, text: &str) -> Vec<Declaration> {
    let at = |kind: Kind, line: usize, text: &str| Declaration {
        kind,
        text: text.to_owned(),
        place: format!("{shown}:{line}"),
    };
    let named = kind_of(path).or_else(|| {
        // A file that is named outright may have any name.
        let ending = path.extension().and_then(|ending| ending.to_str());
        match ending {
            Some("yml" | "yaml") => Some(Kind::Workflow),
            Some("md") => Some(Kind::Prose),
            Some("json") => Some(Kind::Engines),
            _ => Some(Kind::VersionFile),
        }
    });
    match named {
        Some(Kind::Engines) => {
            let (line, range) = engines(text);
            vec![at(Kind::Engines, line, &range)]
        }
        Some(Kind::Image) => images(text).map(|(line, tag)| at(Kind::Image, line, &tag)).collect(),
        Some(Kind::Workflow | Kind::Matrix) => workflow(text)
            .into_iter()
            .map(|(kind, line, version)| at(kind, line, &version))
            .collect(),
        Some(Kind::Prose) => prose(text).map(|(line, said)| at(Kind::Prose, line, &said)).collect(),
        Some(Kind::VersionFile) => version_file(text)
            .map(|(line, text)| at(Kind::VersionFile, line, &text))
            .collect(),
        None => Vec::new(),
    }
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

fn version_file(text: &str) -> impl Iterator<Item = (usize, String)> {
    lines(text).filter_map(|(at, line)| {
        let line = line.split('#').next().unwrap_or_default().trim();
        // `.tool-versions` has a line a tool.
        let version = match line.split_once(char::is_whitespace) {
            Some(("nodejs" | "node", version)) => version.trim(),
            Some(_) => return None,
            None => line,
        };
        (!version.is_empty()).then(|| (at, version.to_owned()))
    })
}

/// Line and range of `engines.node`; an empty range where there is none.
fn engines(text: &str) -> (usize, String) {
    let package: Value = serde_json::from_str(text).unwrap_or_default();
    let range = package["engines"]["node"].as_str().unwrap_or_default().to_owned();
    let mut within = false;
    for (at, line) in lines(text) {
        within |= line.contains("\"engines\"");
        if within && line.contains("\"node\"") {
            return (at, range);
        }
    }
    (1, range)
}

/// Line and tag of each Node image: `FROM node:22-slim`, `image: docker.io/library/node:22`. Build arguments with a default
/// are filled in.
fn images(text: &str) -> impl Iterator<Item = (usize, String)> {
    let arguments: Vec<(String, String)> = lines(text)
        .filter_map(|(_, line)| {
            let (name, value) = line.trim().strip_prefix("ARG ")?.split_once('=')?;
            Some((name.trim().to_owned(), value.trim().trim_matches('"').to_owned()))
        })
        .collect();
    lines(text).filter_map(move |(at, line)| {
        let line = line.trim();
        let lower = line.to_lowercase();
        let rest = if lower.starts_with("from ") {
            &line[5..]
        } else if lower.starts_with("image:") {
            &line[6..]
        } else {
            return None;
        };
        let image = rest.split_whitespace().find(|word| !word.starts_with("--"))?;
        let mut image = image.trim_matches(['"', '\'']).to_owned();
        for (name, value) in &arguments {
            image = image
                .replace(&format!("${{{name}}}"), value)
                .replace(&format!("${name}"), value);
        }
        tag(&image).map(|tag| (at, tag))
    })
}

/// The tag of a Node image, with its digest if it has one; `None` for another image.
pub(crate) fn tag(image: &str) -> Option<String> {
    let (path, digest) = image
        .split_once('@')
        .map_or((image, None), |(path, digest)| (path, Some(digest)));
    let name = path.rsplit('/').next()?;
    let (name, tag) = name.split_once(':').unwrap_or((name, "latest"));
    (name == "node").then(|| digest.map_or_else(|| tag.to_owned(), |digest| format!("{tag}@{digest}")))
}

fn workflow(text: &str) -> Vec<(Kind, usize, String)> {
    let mut found = Vec::new();
    for (at, line) in lines(text) {
        let bare = line
            .split(" #")
            .next()
            .unwrap_or_default()
            .trim()
            .trim_start_matches("- ");
        let Some(value) = bare.strip_prefix("node-version:").map(str::trim) else {
            continue;
        };
        if let Some((_, name)) = value.split_once("matrix.") {
            let name: String = name
                .chars()
                .take_while(|c| c.is_alphanumeric() || "-_".contains(*c))
                .collect();
            found.extend(matrix(text, &name));
        } else {
            found.extend(listed(text, at, value));
        }
    }
    found.dedup();
    found
}

/// The values of a matrix variable.
fn matrix(text: &str, name: &str) -> Option<(Kind, usize, String)> {
    let key = format!("{name}:");
    lines(text).find_map(|(at, line)| {
        let value = line.trim().trim_start_matches("- ").strip_prefix(&key)?.trim();
        if value.contains("matrix.") {
            return None;
        }
        listed(text, at, value).map(|(_, at, versions)| (Kind::Matrix, at, versions))
    })
}

/// One version, `[20, 22]`, or a list on the following lines.
fn listed(text: &str, at: usize, value: &str) -> Option<(Kind, usize, String)> {
    let clean = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
    if let Some(inner) = value.strip_prefix('[') {
        let versions: Vec<String> = inner.trim_end_matches(']').split(',').map(clean).collect();
        return Some((Kind::Matrix, at, versions.join(", ")));
    }
    if !value.is_empty() {
        return Some((Kind::Workflow, at, clean(value)));
    }
    let versions: Vec<String> = text
        .lines()
        .skip(at)
        .map_while(|line| line.trim().strip_prefix("- ").map(clean))
        .collect();
    (!versions.is_empty()).then(|| (Kind::Matrix, at, versions.join(", ")))
}

/// `Node 20`, `Node.js 18 or newer`, `Node >= 20.19`.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
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
                (at, said)
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
        declarations(Path::new(name), name, text)
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
    fn a_workflow_is_read_with_its_matrix() {
        let text = "jobs:\n  a:\n    strategy:\n      matrix:\n        node: [20, 22]\n    steps:\n      - uses: x\n        with:\n          \
                    node-version: ${{ matrix.node }}\n  b:\n    steps:\n      - with:\n          node-version: '22'";
        let found = texts(".github/workflows/ci.yml", text);
        assert_eq!(
            found[0],
            (
                Kind::Matrix,
                "20, 22".to_owned(),
                ".github/workflows/ci.yml:5".to_owned()
            )
        );
        assert_eq!((found[1].0, found[1].1.as_str()), (Kind::Workflow, "22"));
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
