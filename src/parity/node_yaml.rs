//! Node versions in workflows, actions and compose files: `node-version`, images, build arguments. Expressions are followed to
//! the matrix, variable or input that they name; one that leads nowhere is told as a problem.

use crate::parity::compose::{Variables, filled};
use crate::parity::node_files::{Kind, tag};
use crate::parity::yaml::{Entry, Node, YamlError, documents};
use std::rc::Rc;

/// Names of build arguments that hold a Node version or image.
const ARGUMENTS: &[&str] = &["NODE_VERSION", "NODE_MAJOR", "NODE_TAG", "NODE_IMAGE"];

/// What a file declares.
#[derive(Debug, Default)]
pub(crate) struct Declared {
    /// Kind, line, version.
    pub(crate) found: Vec<(Kind, usize, String)>,
    /// Line, and what cannot be known.
    pub(crate) problems: Vec<(usize, String)>,
}

/// What a workflow, action or compose file declares.
///
/// # Errors
/// [`YamlError`].
pub(crate) fn declared(text: &str) -> Result<Declared, YamlError> {
    let mut declared = Declared::default();
    for document in documents(text)? {
        let mut entries: Vec<Entry> = Vec::new();
        document.each_map(&mut |node| entries.extend(node.entries()));
        for entry in &entries {
            look(entry, &entries, &mut declared);
        }
    }
    // A merged key is met where it is written and where it is used.
    declared.found.sort_by_key(|(kind, line, _)| (*line, *kind));
    declared.found.dedup();
    declared.problems.sort();
    declared.problems.dedup();
    Ok(declared)
}

fn look(entry: &Entry, all: &[Entry], declared: &mut Declared) {
    match entry.key.as_str() {
        "node-version" => match version(&entry.value, entry.line, all) {
            Ok(found) => declared.found.extend(found),
            Err(expression) => {
                let what = format!("the version is {expression}, and nothing in this file says what that is");
                declared.problems.push((entry.line, what));
            }
        },
        "image" | "container" => {
            let image = entry.value.text().map(|text| filled(text, &Variables::new(), 3));
            let found = image.and_then(|image| tag(&image));
            declared
                .found
                .extend(found.map(|tag| (Kind::Image, entry.value.line, tag)));
        }
        "args" | "build-args" => declared.found.extend(arguments(&entry.value)),
        _ => {}
    }
}

/// `NODE_VERSION: 22` as a mapping, a list of `NODE_VERSION=22`, or lines of it.
fn arguments(block: &Rc<Node>) -> Vec<(Kind, usize, String)> {
    let own = |key: &str| ARGUMENTS.contains(&key.trim());
    let version = |text: &str| {
        let text = filled(text.trim(), &Variables::new(), 3);
        tag(&text).unwrap_or(text)
    };
    let mut found = Vec::new();
    for entry in block.entries().into_iter().filter(|entry| own(&entry.key)) {
        let text = entry.value.text().map(version);
        found.extend(text.map(|text| (Kind::Image, entry.line, text)));
    }
    for item in block.items() {
        let text = item.text().unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        let pairs = pairs.filter(|(key, _)| own(key));
        found.extend(pairs.map(|(_, value)| (Kind::Image, item.line, version(value))));
    }
    found.retain(|(_, _, text)| !text.is_empty() && !text.contains("${{"));
    found
}

/// The versions that a value stands for; the expression where it leads nowhere.
fn version(value: &Rc<Node>, line: usize, all: &[Entry]) -> Result<Vec<(Kind, usize, String)>, String> {
    if value.is_list() {
        return Ok(list(value, line).into_iter().collect());
    }
    // The input of an action or of a workflow that others call.
    if let Some(default) = value.get("default") {
        return version(&default, default.line, all);
    }
    let Some(text) = value.text() else {
        return Ok(Vec::new());
    };
    let Some((_, inner)) = text.split_once("${{") else {
        return Ok(vec![(Kind::Workflow, value.line, text.trim().to_owned())]);
    };
    let inner = inner.split("}}").next().unwrap_or(inner).trim();
    let path: Vec<&str> = inner.trim_start_matches("github.event.").split('.').collect();
    let is_name = |part: &&str| part.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    let [of, names @ ..] = path.as_slice() else {
        return Err(text.to_owned());
    };
    if names.is_empty() || !names.iter().all(is_name) {
        return Err(text.to_owned());
    }
    let below = |from: &Rc<Node>| names.iter().try_fold(Rc::clone(from), |node, name| node.get(name));
    let holders = all.iter().filter(|entry| entry.key == *of).map(|entry| &entry.value);
    let mut found = Vec::new();
    for holder in holders {
        let included = holder
            .get("include")
            .iter()
            .flat_map(|list| list.items())
            .collect::<Vec<_>>();
        let included = included.iter().filter_map(below).filter(|node| node.text().is_some());
        let included: Vec<Rc<Node>> = included.collect();
        if let Some(first) = included.first() {
            let texts: Vec<&str> = included.iter().filter_map(|node| node.text()).collect();
            found.push((Kind::Matrix, first.line, texts.join(", ")));
        }
        match (below(holder), *of) {
            (Some(node), "matrix") => found.extend(list(&node, node.line)),
            (Some(node), "inputs") => {
                let default = node.get("default");
                found.extend(default.and_then(|node| Some((Kind::Workflow, node.line, node.text()?.to_owned()))));
            }
            (Some(node), "env") => found.extend(node.text().map(|text| (Kind::Workflow, node.line, text.to_owned()))),
            _ => {}
        }
    }
    found.retain(|(_, _, text)| !text.contains("${{"));
    if found.is_empty() {
        Err(text.to_owned())
    } else {
        Ok(found)
    }
}

/// Versions that are tried one after the other.
fn list(node: &Rc<Node>, line: usize) -> Option<(Kind, usize, String)> {
    let items = node.items();
    let texts: Vec<&str> = items.iter().filter_map(|item| item.text()).map(str::trim).collect();
    (!texts.is_empty()).then(|| (Kind::Matrix, line, texts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(Kind, usize, String)> {
        declared(text).unwrap().found
    }

    #[test]
    fn a_workflow_is_read_with_its_matrix() {
        let text = "jobs:\n  a:\n    strategy:\n      matrix:\n        node: [20, 22]\n    steps:\n      - uses: x\n        with:\n          \
                    node-version: ${{ matrix.node }}\n  b:\n    steps:\n      # node-version: 18\n      - with: {node-version: '22'}";
        let expected = [
            (Kind::Matrix, 5, "20, 22".to_owned()),
            (Kind::Workflow, 13, "22".to_owned()),
        ];
        assert_eq!(found(text), expected);
    }

    #[test]
    fn variables_inputs_and_included_combinations_are_followed() {
        for (text, kind, line, version) in [
            (
                "env:\n  N: '22'\na:\n  node-version: ${{ env.N }}\n",
                Kind::Workflow,
                2,
                "22",
            ),
            (
                "on:\n  inputs:\n    n:\n      default: 22\na:\n  node-version: ${{inputs.n}}\n",
                Kind::Workflow,
                4,
                "22",
            ),
            ("inputs:\n  node-version:\n    default: 22\n", Kind::Workflow, 3, "22"),
            (
                "matrix:\n  include:\n    - n: 22\n    - n: 24\nnode-version: ${{ matrix.n }}\n",
                Kind::Matrix,
                3,
                "22, 24",
            ),
        ] {
            assert_eq!(found(text), [(kind, line, version.to_owned())], "{text}");
        }
    }

    #[test]
    fn an_expression_that_leads_nowhere_is_a_problem() {
        let declared = declared("a:\n  node-version: ${{ vars.NODE }}\n").unwrap();
        assert_eq!((declared.found.len(), declared.problems[0].0), (0, 2));
    }

    #[test]
    fn images_and_build_arguments_are_seen() {
        let text = "services:\n  a:\n    image: \"node:22-slim\" # x\n  b:\n    build:\n      args:\n        NODE_VERSION: 22\n  c:\n    container: node:18\n  \
                    d:\n    build:\n      args: [NODE_IMAGE=node:18-slim]\n  e:\n    image: node:${TAG:-24}\n";
        let tags: Vec<_> = found(text)
            .into_iter()
            .map(|(_, line, tag)| format!("{line} {tag}"))
            .collect();
        assert_eq!(tags, ["3 22-slim", "7 22", "9 18", "12 18-slim", "14 24"]);
    }
}
