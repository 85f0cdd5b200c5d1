//! Reads the files of a surface: a folder as it was built, or an address and the pages and scripts that it names.

use crate::deployment::given_file;
use crate::parity::fetch::{FetchError, Fetcher};
use crate::parity::origins::{LONGEST_ADDRESS, clipped, is_dockerfile};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// How many pages and scripts of an address are read.
const MOST_PAGES: usize = 200;
/// Files larger than this hold no page.
const LARGEST_BYTES: u64 = 32 * 1024 * 1024;
/// Endings of what is read; source maps are not: they hold what was there before the build.
const READ: &[&str] = &[
    "html",
    "htm",
    "xhtml",
    "js",
    "mjs",
    "cjs",
    "ts",
    "tsx",
    "jsx",
    "vue",
    "svelte",
    "md",
    "mdx",
    "json",
    "webmanifest",
    "txt",
    "yml",
    "yaml",
    "toml",
];
const SCRIPTS: &[&str] = &["js", "mjs", "cjs", "ts", "tsx", "jsx"];

/// One file or page.
pub(crate) struct Text {
    /// As reports show it.
    pub(crate) shown: String,
    pub(crate) text: String,
    pub(crate) is_script: bool,
}

/// Why a surface cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SurfaceError {
    #[error("cannot be read; give the folder of a built site or a URL")]
    Read(#[from] std::io::Error),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("holds no page or script")]
    Empty,
    #[error("names {url}, which is not to be had")]
    Part { url: String, source: FetchError },
    #[error("has more than {MOST_PAGES} pages and scripts; give the folder of the built site instead")]
    TooMany,
}

/// Whether a surface is an address and not a path.
pub(crate) fn is_url(surface: &str) -> bool {
    surface.starts_with("http://") || surface.starts_with("https://")
}

/// The texts of a folder or file, sorted by name.
///
/// # Errors
/// [`SurfaceError`].
pub(crate) fn of_path(path: &Path, shown: &str) -> Result<Vec<Text>, SurfaceError> {
    let mut files = Vec::new();
    if path.metadata()?.is_dir() {
        let mut folders = vec![path.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                let name = entry.file_name();
                if kind.is_dir() && name != "node_modules" && name != ".git" {
                    folders.push(entry.path());
                } else if kind.is_file() && is_read(&entry.path()) {
                    files.push(entry.path());
                }
            }
        }
        files.sort();
    } else {
        files.push(path.to_owned());
    }
    let mut texts = Vec::new();
    for file in files
        .iter()
        .filter(|file| file.metadata().is_ok_and(|facts| facts.len() <= LARGEST_BYTES))
    {
        let below = file.strip_prefix(path).unwrap_or(file);
        let name = if below.as_os_str().is_empty() {
            PathBuf::from(shown)
        } else {
            Path::new(shown).join(below)
        };
        texts.push(Text {
            shown: name.display().to_string(),
            text: String::from_utf8_lossy(&given_file::bytes(file, LARGEST_BYTES)?).into_owned(),
            is_script: has_ending(file, SCRIPTS),
        });
    }
    if texts.is_empty() {
        Err(SurfaceError::Empty)
    } else {
        Ok(texts)
    }
}

fn is_read(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    has_ending(path, READ)
        || is_dockerfile(&name)
        || name.starts_with(".env")
        || name == "_redirects"
        || name == "_headers"
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    endings.iter().any(|known| known.eq_ignore_ascii_case(ending))
}

/// The page of an address, and the pages and scripts of the same origin that it names, and so on.
///
/// # Errors
/// [`SurfaceError`]; a page that the first one links to may be missing, a script may not.
pub(crate) async fn of_url(url: &str, fetcher: &Fetcher) -> Result<Vec<Text>, SurfaceError> {
    let origin_end = url.find("://").map_or(0, |at| at + 3);
    let origin = &url[..url[origin_end..].find('/').map_or(url.len(), |at| origin_end + at)];
    let mut waiting = vec![url.to_owned()];
    let mut met: BTreeSet<String> = BTreeSet::from([url.to_owned()]);
    let mut texts = Vec::new();
    while let Some(next) = waiting.pop() {
        if texts.len() >= MOST_PAGES {
            return Err(SurfaceError::TooMany);
        }
        let is_script = has_ending(Path::new(next.split(['?', '#']).next().unwrap_or(&next)), SCRIPTS);
        let text = match fetcher.text(&next).await {
            Ok(text) => text,
            Err(error) if texts.is_empty() => return Err(error.into()),
            Err(source) if is_script => return Err(SurfaceError::Part { url: next, source }),
            Err(_) => continue,
        };
        for named in names(&text, is_script) {
            let Some(address) = joined(origin, &next, &named) else {
                continue;
            };
            if met.insert(address.clone()) {
                waiting.push(address);
            }
        }
        texts.push(Text {
            shown: next,
            text,
            is_script,
        });
    }
    Ok(texts)
}

/// What a page links to, and the scripts and settings that a script loads.
fn names(text: &str, is_script: bool) -> Vec<String> {
    // Minified pages leave the quotes out.
    let value = |from: usize| {
        let near = clipped(&text[from..], LONGEST_ADDRESS);
        let (value, end) = match near.chars().next() {
            Some(quote) if "\"'`".contains(quote) => near[1..].split_once(quote)?,
            _ => near
                .split_once(|c: char| c.is_whitespace() || c == '>')
                .unwrap_or((near, "")),
        };
        // What was cut off is no name.
        (value.len() + end.len() < LONGEST_ADDRESS || !end.is_empty()).then_some(value)
    };
    let mut found = Vec::new();
    if !is_script {
        for attribute in ["src=", "href="] {
            found.extend(
                text.match_indices(attribute)
                    .filter_map(|(at, _)| value(at + attribute.len()))
                    .map(str::to_owned),
            );
        }
        found.retain(|name| {
            let path = Path::new(name.split(['?', '#']).next().unwrap_or(name));
            path.extension().is_none() || has_ending(path, &["html", "htm"]) || has_ending(path, SCRIPTS)
        });
    }
    // A script may load other scripts, and its settings.
    for ending in [".js\"", ".js'", ".js`", ".mjs\"", ".json\"", ".json'", ".json`"] {
        for (at, _) in text.match_indices(ending) {
            let start = text[..at].rfind(['"', '\'', '`']).map_or(0, |start| start + 1);
            let name = format!("{}{}", &text[start..at], ending.trim_end_matches(['"', '\'', '`']));
            let is_path = name.starts_with("./") || name.starts_with('/') || name.starts_with("assets/");
            if is_path && name.len() < 300 && !name.contains(char::is_whitespace) {
                found.push(name);
            }
        }
    }
    found
}

/// The address that a page means by a name; `None` for another origin.
fn joined(origin: &str, page: &str, name: &str) -> Option<String> {
    let name = name.split('#').next().unwrap_or(name);
    if name.is_empty() || name.starts_with("//") || name.contains("{") {
        return None;
    }
    if let Some(rest) = name.strip_prefix(origin) {
        return (rest.is_empty() || rest.starts_with('/')).then(|| name.to_owned());
    }
    if name.split(['/', '?']).next().is_some_and(|first| first.contains(':')) {
        return None;
    }
    if name.starts_with('/') {
        return Some(format!("{origin}{name}"));
    }
    // Vite names chunks from the site's root.
    if name.starts_with("assets/") && page.contains("/assets/") {
        return Some(format!("{origin}/{name}"));
    }
    let mut parts: Vec<&str> = page[origin.len()..].split('?').next()?.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    Some(format!("{origin}/{}", parts.join("/").trim_start_matches('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_joined_within_the_origin() {
        let join = |page: &str, name: &str| joined("http://a.b", page, name);
        assert_eq!(join("http://a.b/x/", "../y.js").as_deref(), Some("http://a.b/y.js"));
        assert_eq!(join("http://a.b", "c.html").as_deref(), Some("http://a.b/c.html"));
        assert_eq!(join("http://a.b/x/i.html", "/y.js").as_deref(), Some("http://a.b/y.js"));
        assert_eq!(join("http://a.b/", "https://c.d/y.js"), None);
        assert_eq!(join("http://a.b/", "mailto:x@y.z"), None);
    }

    #[test]
    fn a_page_names_its_scripts_and_a_script_its_chunks() {
        assert_eq!(
            names(
                "<script type=module src=\"/assets/i.js\"></script><link href='/x.css'>",
                false
            )[0],
            "/assets/i.js"
        );
        assert_eq!(
            names(
                "const d=[\"assets/chunk-1.js\"];import(\"./b.js\");fetch('/config.json')",
                true
            ),
            ["assets/chunk-1.js", "./b.js", "/config.json"]
        );
        assert_eq!(
            names("<script type=module src=/assets/i.js></script>", false),
            ["/assets/i.js"]
        );
    }
}
