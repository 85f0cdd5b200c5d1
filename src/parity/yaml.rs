//! YAML as nodes that know their line: anchors, aliases and merge keys are resolved. Text in, nodes out.
//!
//! An alias shares its node with its anchor, so that a file of nested aliases costs no memory.

use saphyr_parser::{Event, Parser, ScalarStyle, ScanError};
use std::collections::HashMap;
use std::rc::Rc;

/// How deep nodes and merges may lie in each other.
const DEEPEST: usize = 60;

/// Why a text is no YAML that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    /// Another syntax.
    #[error("line {line}: is no YAML")]
    Syntax {
        /// From 1.
        line: usize,
    },
    /// An alias without an anchor before it, or within its own anchor.
    #[error("line {line}: an alias of nothing")]
    Alias {
        /// From 1.
        line: usize,
    },
    /// Too deep.
    #[error("line {line}: nested more than {DEEPEST} deep")]
    Deep {
        /// From 1.
        line: usize,
    },
}

/// A value and the line on which it begins, from 1.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    value: Value,
}

#[derive(Debug)]
enum Value {
    /// Text, and whether it stood there without quotes.
    Scalar(String, bool),
    List(Vec<Rc<Node>>),
    Map(Vec<(Rc<Node>, Rc<Node>)>),
}

/// A key of a mapping, with the line on which the key stands.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) value: Rc<Node>,
}

impl Node {
    /// The text of a scalar; `None` for `null` and for anything else.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(text, is_plain) if !(*is_plain && ["", "~", "null", "Null", "NULL"].contains(&&**text)) => {
                Some(text)
            }
            _ => None,
        }
    }

    /// Whether it is a list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self.value, Value::List(_))
    }

    /// The items of a list; a scalar counts as a list of one.
    pub(crate) fn items(self: &Rc<Node>) -> Vec<Rc<Node>> {
        match &self.value {
            Value::List(items) => items.clone(),
            Value::Scalar(..) if self.text().is_some() => vec![Rc::clone(self)],
            _ => Vec::new(),
        }
    }

    /// The keys of a mapping in their order; what is merged into it stands first and without what the mapping itself sets.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.merged(DEEPEST)
    }

    fn merged(&self, depth: usize) -> Vec<Entry> {
        let Value::Map(pairs) = &self.value else {
            return Vec::new();
        };
        let mut own = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        for (key, value) in pairs {
            let Some(name) = key.text() else { continue };
            if name == "<<" && depth > 0 {
                for source in value.sources() {
                    // An earlier source wins over a later one.
                    let new = source.merged(depth - 1);
                    let unknown = |entry: &Entry| merged.iter().all(|known| known.key != entry.key);
                    let new: Vec<Entry> = new.into_iter().filter(unknown).collect();
                    merged.extend(new);
                }
                continue;
            }
            own.push(Entry {
                key: name.to_owned(),
                line: key.line,
                value: Rc::clone(value),
            });
        }
        merged.retain(|entry| own.iter().all(|known: &Entry| known.key != entry.key));
        merged.extend(own);
        merged
    }

    /// What a merge key names: a mapping, or a list of them.
    fn sources(self: &Rc<Node>) -> Vec<Rc<Node>> {
        match &self.value {
            Value::List(items) => items.clone(),
            _ => vec![Rc::clone(self)],
        }
    }

    /// The value of a key; the last one where it stands twice.
    pub(crate) fn get(&self, key: &str) -> Option<Rc<Node>> {
        let all = self.entries();
        all.into_iter()
            .rev()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value)
    }

    /// Calls `look` for each mapping in it, itself included, each node once.
    pub(crate) fn each_map(self: &Rc<Node>, look: &mut dyn FnMut(&Rc<Node>)) {
        let mut met = std::collections::HashSet::new();
        let mut waiting = vec![Rc::clone(self)];
        while let Some(node) = waiting.pop() {
            if !met.insert(Rc::as_ptr(&node)) {
                continue;
            }
            match &node.value {
                Value::Map(pairs) => {
                    look(&node);
                    waiting.extend(pairs.iter().rev().map(|(_, value)| Rc::clone(value)));
                }
                Value::List(items) => waiting.extend(items.iter().rev().cloned()),
                Value::Scalar(..) => {}
            }
        }
    }
}

/// A list or mapping that is not closed yet.
struct Open {
    line: usize,
    anchor: usize,
    children: Vec<Rc<Node>>,
    is_map: bool,
}

/// The documents of a text.
///
/// # Errors
/// [`YamlError`].
pub(crate) fn documents(text: &str) -> Result<Vec<Rc<Node>>, YamlError> {
    let mut anchors: HashMap<usize, Rc<Node>> = HashMap::new();
    let mut open: Vec<Open> = Vec::new();
    let mut done = Vec::new();
    for event in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = event.map_err(|error: ScanError| YamlError::Syntax {
            line: error.marker().line().max(1),
        })?;
        let line = span.start.line();
        let (node, anchor) = match event {
            Event::Scalar(text, style, anchor, _) => {
                let value = Value::Scalar(text.into_owned(), style == ScalarStyle::Plain);
                (Rc::new(Node { line, value }), anchor)
            }
            Event::Alias(anchor) => {
                let node = anchors.get(&anchor).cloned().ok_or(YamlError::Alias { line })?;
                (node, 0)
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                if open.len() >= DEEPEST {
                    return Err(YamlError::Deep { line });
                }
                open.push(Open {
                    line,
                    anchor,
                    children: Vec::new(),
                    is_map: matches!(event, Event::MappingStart(..)),
                });
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(closed) = open.pop() else { continue };
                let line = closed.line;
                let value = if closed.is_map {
                    let pairs = closed.children.chunks_exact(2);
                    Value::Map(pairs.map(|pair| (Rc::clone(&pair[0]), Rc::clone(&pair[1]))).collect())
                } else {
                    Value::List(closed.children)
                };
                (Rc::new(Node { line, value }), closed.anchor)
            }
            _ => continue,
        };
        if anchor > 0 {
            anchors.insert(anchor, Rc::clone(&node));
        }
        match open.last_mut() {
            Some(parent) => parent.children.push(node),
            None => done.push(node),
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Rc<Node> {
        documents(text).unwrap().remove(0)
    }

    #[test]
    fn merged_keys_keep_their_line_and_lose_to_own_ones() {
        let node = one("x: &x\n  A: 1\n  B: 2\ny:\n  <<: *x\n  B: 3\n");
        let found: Vec<_> = node.get("y").unwrap().entries();
        let found: Vec<_> = found
            .iter()
            .map(|entry| (entry.key.as_str(), entry.value.text().unwrap(), entry.line))
            .collect();
        assert_eq!(found, [("A", "1", 2), ("B", "3", 6)]);
    }

    #[test]
    fn of_several_merged_mappings_the_first_wins() {
        let node = one("y:\n  <<: [{A: 1}, {A: 2, B: 2}]\n");
        let y = node.get("y").unwrap();
        assert_eq!(
            (y.get("A").unwrap().text(), y.get("B").unwrap().text()),
            (Some("1"), Some("2"))
        );
    }

    #[test]
    fn quoted_nothing_is_a_text_and_null_is_none() {
        let node = one("a: \"\"\nb:\nc: ~\n");
        assert_eq!(node.get("a").unwrap().text(), Some(""));
        assert_eq!(
            (node.get("b").unwrap().text(), node.get("c").unwrap().text()),
            (None, None)
        );
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        assert!(documents("a:\n  - [\n").is_err());
        assert!(documents("a: *b\n").is_err());
        assert!(documents(&"[".repeat(1000)).is_err());
    }

    #[test]
    fn nested_aliases_are_shared_not_copied() {
        let mut text = "a0: &a0 {x: 1}\n".to_owned();
        for n in 1..40 {
            let before = n - 1;
            text += &format!("a{n}: &a{n} [*a{before}, *a{before}, *a{before}, *a{before}]\n");
        }
        let mut maps = 0;
        one(&text).each_map(&mut |_| maps += 1);
        assert_eq!(maps, 2);
    }
}
