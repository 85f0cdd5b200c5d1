//! Whether the stored bytes are those that the harness writes: one form only, each key once, times in UTC.

use crate::evidence::{Evidence, short};
use crate::verify::document::Document;
use crate::verify::look::Look;
use serde_json::Value;

const FILE: &str = "evidence.json";

/// Holds the text against its own canonical form; `error` is what a strict reader says of it.
pub(crate) fn judge(text: &str, document: &Document, error: Option<&serde_json::Error>) -> Look {
    let mut look = Look::default();
    let refused = error.map(ToString::to_string);
    look.must(
        error.is_none(),
        "keys",
        "each key of the format once",
        refused.as_deref().unwrap_or_default(),
        FILE,
    );
    look.hold("format", &Evidence::FORMAT, &document.format(), FILE);
    let canonical = document.to_json();
    let first = first_difference(&canonical, text);
    look.items += 1;
    if let Some((line, expected, observed)) = first.filter(|_| error.is_none()) {
        look.must(false, &format!("line {line}"), &short(expected), &short(observed), FILE);
    }
    if let Ok(value) = serde_json::from_str::<Value>(text) {
        times(&value, "", &mut look);
    }
    look
}

/// The first line that differs: its number from 1, and both texts.
pub(crate) fn first_difference<'a>(expected: &'a str, observed: &'a str) -> Option<(usize, &'a str, &'a str)> {
    if expected == observed {
        return None;
    }
    const END: &str = "<end of file>";
    let (mut ours, mut theirs) = (expected.split_inclusive('\n'), observed.split_inclusive('\n'));
    let mut line = 0;
    loop {
        line += 1;
        match (ours.next(), theirs.next()) {
            (None, None) => return Some((line, END, END)),
            (one, other) if one != other => {
                let shown = |text: Option<&'a str>| text.map_or(END, |text| text.trim());
                return Some((line, shown(one), shown(other)));
            }
            _ => {}
        }
    }
}

/// Every time below a value: `at` and whatever ends in `_at`.
fn times(value: &Value, at: &str, look: &mut Look) {
    match value {
        Value::Object(members) => {
            for (key, member) in members {
                let place = format!("{at}/{key}");
                match member {
                    Value::String(text) if key == "at" || key.ends_with("_at") => look.must(
                        is_utc(text),
                        &place,
                        "RFC 3339 in UTC with milliseconds: 2026-11-24T04:24:14.255Z",
                        &short(text),
                        FILE,
                    ),
                    other => times(other, &place, look),
                }
            }
        }
        Value::Array(items) => {
            for (n, item) in items.iter().enumerate() {
                times(item, &format!("{at}/{n}"), look);
            }
        }
        _ => {}
    }
}

/// Whether a text is a time as every record has it: RFC 3339 UTC, milliseconds, `Z`.
pub(crate) fn is_utc(text: &str) -> bool {
    let form = text.len() == 24 && text.ends_with('Z') && text.as_bytes()[19] == b'.' && text.as_bytes()[10] == b'T';
    form && text.parse::<jiff::Timestamp>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_without_offset_or_with_another_one_is_not_utc() {
        assert!(is_utc("2026-11-24T04:24:14.255Z"));
        for other in [
            "2026-11-24T04:24:14.255",
            "2026-11-24T05:24:14.255+01:00",
            "2026-11-24T04:24:14Z",
            "2026-13-24T04:24:14.255Z",
            "2026-11-24 04:24:14.255Z",
        ] {
            assert!(!is_utc(other), "{other}");
        }
    }

    #[test]
    fn the_first_line_that_differs_is_named() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some((2, "b", "c")));
        assert_eq!(first_difference("a\n", "a\nc\n"), Some((2, "<end of file>", "c")));
        assert_eq!(first_difference("a\n", "a"), Some((1, "a", "a")));
    }
}
