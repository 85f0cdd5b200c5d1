//! Commands that workflows and documents name: each has to be one of this program's, with options that it has; also those
//! that steps ask of the composite action.

use crate::{Arguments, action};
use clap::Parser as _;
use clap::error::ErrorKind;
use std::path::Path;

/// How a document and a workflow call this program.
const CALLS: [&str; 2] = ["cargo xtask ", "--bin xtask -- "];

/// Adds what is named and does not exist: file, line, command.
pub(crate) fn check(name: &Path, text: &str, found: &mut Vec<String>) {
    // What changed is told as it was then.
    if name.ends_with("CHANGELOG.md") {
        return;
    }
    check_steps(name, text, found);
    for (index, line) in text.lines().enumerate() {
        for call in CALLS {
            for part in line.split(call).skip(1) {
                if let Some(problem) = problem(part) {
                    found.push(format!(
                        "{}:{}: `cargo xtask {}` is no command of this program: {problem}",
                        name.display(),
                        index + 1,
                        words(part).join(" ")
                    ));
                }
            }
        }
    }
}

/// Where a step uses the composite action.
const ACTIONS: [&str; 2] = ["uses: ./recovery-drills-harness", "uses: OWNER/recovery-drills@"];

/// Inputs that the action itself reads.
const OF_THE_ACTION: &[&str] = &["artifact"];

/// Adds what a step asks of the composite action and cannot be had.
fn check_steps(name: &Path, text: &str, found: &mut Vec<String>) {
    let lines: Vec<&str> = text.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        let Some(column) = ACTIONS.iter().find_map(|action| line.find(action)) else {
            continue;
        };
        let inputs = inputs(&lines[index + 1..], column);
        if let Some(problem) = step_problem(inputs) {
            found.push(format!(
                "{}:{}: this step of the action: {problem}",
                name.display(),
                index + 1
            ));
        }
    }
}

/// The inputs below `with:` of the step whose keys stand at this column.
fn inputs(lines: &[&str], column: usize) -> Vec<(String, String)> {
    let mut inputs = Vec::new();
    let mut is_with = false;
    for line in lines {
        let indent = line.len() - line.trim_start().len();
        let text = line.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if indent < column || text.starts_with("- ") {
            break;
        }
        if indent == column {
            is_with = text == "with:";
            continue;
        }
        if let Some((key, value)) = text.split_once(':').filter(|_| is_with) {
            let value = value.split(" #").next().unwrap_or_default().trim().trim_matches('"');
            inputs.push((key.replace('-', "_"), value.to_owned()));
        }
    }
    inputs
}

fn step_problem(inputs: Vec<(String, String)>) -> Option<String> {
    let known = |name: &String| !OF_THE_ACTION.contains(&name.as_str());
    let inputs: Vec<_> = inputs.into_iter().filter(|(name, _)| known(name)).collect();
    let is_variable = |value: &String| value.contains("${{");
    let given: Vec<(String, String)> = inputs
        .iter()
        .map(|(name, value)| {
            let value = if is_variable(value) {
                "1".to_owned()
            } else {
                value.clone()
            };
            (name.clone(), value)
        })
        .filter(|(name, _)| !name.ends_with("_image"))
        .collect();
    let words = match action::arguments(&given) {
        Ok(words) => words,
        Err(message) => return Some(message),
    };
    of_parser(&words, inputs.iter().any(|(_, value)| is_variable(value)))
}

/// The words of one command line, up to what ends it in a shell or in a text.
fn words(text: &str) -> Vec<String> {
    let end = text
        .find(['`', '|', ';', '#', '>', '&', '…', '('])
        .unwrap_or(text.len());
    let mut words = Vec::new();
    let (mut word, mut quote, mut is_word) = (String::new(), None, false);
    for c in text[..end].chars() {
        match quote {
            Some(mark) if c == mark => quote = None,
            Some(_) => word.push(c),
            None if c == '"' || c == '\'' => (quote, is_word) = (Some(c), true),
            None if c.is_whitespace() => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            None => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    // The end of a sentence is none of the command's.
    if let Some(last) = words.last_mut() {
        let kept = last.trim_end_matches(['.', ',', ':']).len();
        last.truncate(kept);
    }
    words
}

fn problem(text: &str) -> Option<String> {
    let words = words(text);
    if words.is_empty() {
        return None;
    }
    // Words in capitals of a document, and variables of a workflow, stand for real values.
    let stands_for = |word: &String| word.contains('$') || word.chars().any(|c| c.is_ascii_uppercase());
    let is_cut = text.split('`').next().is_some_and(|call| call.contains('…'));
    of_parser(&words, is_cut || words.iter().any(stands_for))
}

fn of_parser(words: &[String], has_variables: bool) -> Option<String> {
    let words = std::iter::once("xtask").chain(words.iter().map(String::as_str));
    let error = Arguments::try_parse_from(words).err()?;
    let is_unknown = match error.kind() {
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict => true,
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => !has_variables,
        _ => false,
    };
    is_unknown.then(|| error.to_string().lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(Path::new("a.yml"), text, &mut found);
        found
    }

    #[test]
    fn commands_that_exist_are_silent() {
        let text = "run: cargo xtask schema --check\nthen `cargo xtask drill --seed 7`, and cargo xtask test -- --partition \"slice:$A\"\n\
                    run: cargo run --bin xtask -- action\ncargo xtask faults  # all of them\n";
        assert_eq!(problems(text), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_exist_is_named_with_its_line() {
        let found = problems("ok\nrun: cargo xtask drilll\nrun: cargo xtask drill --sed 7\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a.yml:2: `cargo xtask drilll`"), "{}", found[0]);
        assert!(
            found[1].starts_with("a.yml:3: `cargo xtask drill --sed 7`"),
            "{}",
            found[1]
        );
    }

    #[test]
    fn steps_of_the_action_are_held_against_it() {
        let good = "  - uses: ./recovery-drills-harness # here\n    with:\n      command: drill\n      environment: ${{ matrix.a }}\n\
                    \x20     artifact: drill\n  - uses: other\n    with:\n      command: none\n";
        assert_eq!(problems(good), Vec::<String>::new());
        for (wrong, word) in [
            ("command: checklst", "checklst"),
            ("command: parity\n      seed: 7", "parity takes no seed"),
            ("command: drill\n      runtime: procedure", "procedure"),
        ] {
            let text = format!("  - uses: ./recovery-drills-harness\n    with:\n      {wrong}\n");
            let found = problems(&text);
            assert!(found.len() == 1 && found[0].contains(word), "{wrong}: {found:?}");
        }
        let found = problems("run: cargo xtask drill --runtime procedure\n");
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
