//! Blanks comments out of pages, scripts and settings, so that an address in a comment is not taken for one that is used.
//!
//! Lengths and lines stay. Where it is not certain that something is a comment it stays too: a drift must not hide in a text
//! that was taken for one. So in a line as long as a bundler writes it, only comments in `/* … */` count.

/// A line longer than this was written by a bundler: `//` in it may stand in any text.
const LONGEST_LINE: usize = 1_000;
/// A comment longer than this is none.
const LONGEST_COMMENT: usize = 20_000;

/// How comments are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// `<!-- … -->`, and in its scripts as [`Syntax::Script`].
    Page,
    /// `// …` and `/* … */`.
    Script,
    /// A line that begins with `#`.
    Settings,
}

/// The text with blanks for comments. `scripts` are the parts of a page that are scripts: from, to.
pub(crate) fn blanked(text: &str, syntax: Syntax, scripts: &[(usize, usize)]) -> String {
    let mut spans = Vec::new();
    match syntax {
        Syntax::Settings => spans.extend(
            lines(text, 0)
                .filter(|(_, line)| line.trim_start().starts_with('#'))
                .map(whole),
        ),
        Syntax::Script => in_script(text, 0, &mut spans),
        Syntax::Page => {
            between(text, 0, ("<!--", "-->"), &|_| true, &mut spans);
            for (from, to) in scripts {
                in_script(&text[*from..*to], *from, &mut spans);
            }
        }
    }
    let mut bytes = text.as_bytes().to_vec();
    for (from, to) in spans {
        for byte in &mut bytes[from..to] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
    }
    // Only whole characters were blanked.
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

/// Each line with the place of its first byte.
fn lines(text: &str, offset: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = offset;
    text.split_inclusive('\n').map(move |line| {
        let from = at;
        at += line.len();
        (from, line)
    })
}

fn whole((from, line): (usize, &str)) -> (usize, usize) {
    (from, from + line.len())
}

fn in_script(text: &str, offset: usize, spans: &mut Vec<(usize, usize)>) {
    let starts = |before: &str| before.trim_end().is_empty() || before.ends_with([' ', '\t', ';', '{', '}', ',', ')']);
    between(text, offset, ("/*", "*/"), &starts, spans);
    for (from, line) in lines(text, offset).filter(|(_, line)| line.len() <= LONGEST_LINE) {
        let comment = line.match_indices("//").find(|(at, _)| {
            let before = line[..*at].trim_end();
            let is_apart = line[..*at].len() > before.len() || before.is_empty();
            // In an open text it would be part of the text.
            let is_open = ['"', '\'', '`']
                .iter()
                .any(|quote| before.matches(*quote).count() % 2 == 1);
            is_apart && !is_open
        });
        spans.extend(comment.map(|(at, _)| (from + at, from + line.len())));
    }
}

/// What stands between two marks, with the marks, where `may_start` holds for the line before the first.
fn between(
    text: &str,
    offset: usize,
    (open, close): (&str, &str),
    may_start: &dyn Fn(&str) -> bool,
    spans: &mut Vec<(usize, usize)>,
) {
    // Line and closing mark are looked for from where they were found last: a text of opening marks costs no more than another.
    let (mut at, mut line, mut seen, mut closing) = (0, 0, 0, 0);
    while let Some(found) = text[at..].find(open) {
        let from = at + found;
        line = text[seen..from].rfind('\n').map_or(line, |end| seen + end + 1);
        (seen, at) = (from, from + open.len());
        if closing < at {
            let Some(next) = text[at..].find(close) else { break };
            closing = at + next;
        }
        if !may_start(&text[line..from]) {
            continue;
        }
        let length = closing - at;
        if length <= LONGEST_COMMENT {
            at += length + close.len();
            spans.push((offset + from, offset + at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(text: &str, syntax: Syntax) -> String {
        let blanked = blanked(text, syntax, &[]);
        assert_eq!(
            (blanked.len(), blanked.matches('\n').count()),
            (text.len(), text.matches('\n').count())
        );
        blanked.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_of_scripts_are_blanked_and_texts_are_not() {
        for (text, expected) in [
            ("a(); // http://x:1\nb()", "a(); b()"),
            ("/* é http://x:1\n */ b()", "b()"),
            ("u = \"http://x:1\"; v = 'a // b'", "u = \"http://x:1\"; v = 'a // b'"),
            (
                "glob(\"/**/*.js\"); u=\"http://x:1\"; c(\"*/\")",
                "glob(\"/**/*.js\"); u=\"http://x:1\"; c(\"*/\")",
            ),
            ("/* never closed http://x:1", "/* never closed http://x:1"),
        ] {
            assert_eq!(left(text, Syntax::Script), expected, "{text}");
        }
    }

    #[test]
    fn a_bundle_keeps_what_follows_two_slashes() {
        let text = format!("{}; //\" ; u=\"http://x:1\"", "a".repeat(LONGEST_LINE));
        assert_eq!(blanked(&text, Syntax::Script, &[]), text);
    }

    #[test]
    fn comments_of_pages_and_settings_are_blanked() {
        assert_eq!(left("<p>a<!-- http://x:1\n --></p>", Syntax::Page), "<p>a </p>");
        assert_eq!(left("# A=http://x:1\nB=1 # c\n", Syntax::Settings), "B=1 # c");
        let page = "<script>\n// http://x:1\nf()</script>";
        assert!(!blanked(page, Syntax::Page, &[(8, page.len())]).contains("x:1"));
    }
}
