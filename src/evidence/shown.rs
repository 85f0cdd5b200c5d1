//! How values are shown in findings: short, in one line, and without personal data or secrets.

use sha2::{Digest, Sha256};

const SHOWN_CHARS: usize = 80;

/// A value that may be read by anyone: control characters escaped, cut after 80 characters.
#[must_use]
pub fn short(value: &str) -> String {
    let escaped: String = value
        .chars()
        .flat_map(|c| {
            if c.is_control() || is_invisible(c) {
                c.escape_unicode().collect::<Vec<_>>()
            } else {
                vec![c]
            }
        })
        .collect();
    match escaped.char_indices().nth(SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", &escaped[..cut]),
        None => escaped,
    }
}

/// A secret or personal value: its length and the first 8 hex digits of its SHA-256, enough to tell two values apart.
#[must_use]
pub fn private(value: &[u8]) -> String {
    let hash = Sha256::digest(value);
    let head: String = hash.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    format!("<{} bytes, sha256 {head}…>", value.len())
}

/// Text for a terminal or a log of CI: control and invisible characters escaped, line ends kept. A line after the first is
/// set in, so that none begins with a workflow command of GitHub.
#[must_use]
pub fn plain(text: &str) -> String {
    let lines: Vec<String> = text.trim_end_matches('\n').split('\n').map(one_line).collect();
    lines.join("\n    ")
}

/// The same for what must stay in one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    let escape = |c: char| {
        if (c.is_control() && c != '\t') || is_invisible(c) {
            c.escape_unicode().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_become_visible() {
        assert_eq!(short("a\u{200b}b\n"), "a\\u{200b}b\\u{a}");
    }

    #[test]
    fn no_text_can_command_a_terminal_or_a_ci_runner() {
        assert_eq!(one_line("a\u{1b}[2J\r\nb\u{202e}"), "a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}");
        let shown = plain("first\n::error::second\n\u{9b}x");
        assert_eq!(shown, "first\n    ::error::second\n    \\u{9b}x");
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(short(&"x".repeat(100)).chars().count(), 81);
    }
}
