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
    fn long_values_are_cut() {
        assert_eq!(short(&"x".repeat(100)).chars().count(), 81);
    }
}
