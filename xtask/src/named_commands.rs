//! Commands that workflows and documents name: each has to be one of this program's, with options that it has.

use crate::Arguments;
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
    let error = Arguments::try_parse_from(std::iter::once("xtask".to_owned()).chain(words)).err()?;
    // Values of a document or variables of a workflow stand for real ones.
    let is_unknown = matches!(
        error.kind(),
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::ArgumentConflict
    );
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
}
