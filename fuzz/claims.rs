//! What must hold for any input of the four readers of files that anybody may have prepared. Called by the fuzzer, and by
//! `tests/fuzz_corpus.rs` for the saved corpus.
#![allow(dead_code, reason = "each target calls one of them")]

use recovery_drills::deployment::environment::Environment;
use recovery_drills::deployment::schema::{SchemaFacts, differences};
use recovery_drills::deployment::spelling::settled;
use recovery_drills::parity::api_url::scanned;
use recovery_drills::snapshot::manifest::Manifest;
use recovery_drills::snapshot::schema_rows::schema_of_sql;
use std::path::Path;

/// What is read as a manifest is written and read again as the same; its files have their usual names and no path.
pub(crate) fn manifest(data: &[u8]) {
    let path = Path::new("manifest.json");
    let Ok(read) = Manifest::parse(data, path) else {
        return;
    };
    let text = read.text();
    let again = Manifest::parse(text.as_bytes(), path).expect("what was written is read");
    assert_eq!(again, read, "a manifest that was written is another one");
    assert_eq!(again.text(), text, "equal manifests are equal bytes");
    for part in &read.services {
        let names: Vec<&str> = part.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(names, [part.service.database_file()], "a file with another name");
    }
}

/// What is read as an environment has a name that is a plain word, and reads the same a second time and with a comment behind it.
pub(crate) fn environment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("folder/some.toml");
    let Ok(read) = Environment::parse(text, path) else {
        return;
    };
    assert!(
        !read.name.is_empty() && !read.name.contains(['/', '\\', '\n', '\u{1b}', '<']),
        "{:?}",
        read.name
    );
    assert!(read.time_limit_ms > 0);
    let shown = format!("{read:?}");
    let commented = format!("{text}\n# a comment\n");
    for again in [text, &commented] {
        let again = Environment::parse(again, path).expect("what was read is read again");
        assert_eq!(format!("{again:?}"), shown, "read twice, understood differently");
    }
    for argument in read.directory.command.iter().chain(&read.bus.command) {
        assert!(
            !argument.contains("{jwt_secret}") && !argument.contains("{bus_api_key}"),
            "a secret in an argv"
        );
    }
}

/// Statements that SQLite takes: normalising twice gives the same; a comment, line ends and blanks around tokens that SQLite
/// sees as such change no fingerprint of shape and checks; a schema does not differ from itself.
pub(crate) fn schema(data: &[u8]) {
    let Ok(sql) = std::str::from_utf8(data) else { return };
    // Nothing but statements that make something: what rows are written does not matter here, and takes long.
    if sql.len() > 4096 || !is_only_create(sql) {
        return;
    }
    let path = Path::new("given.sql");
    let Ok(schema) = schema_of_sql(sql, path) else { return };
    let facts = &schema.facts;
    let prints = facts.fingerprints();
    assert_eq!(
        prints,
        SchemaFacts::of(&schema.rows).fingerprints(),
        "one schema, two fingerprints"
    );
    assert!(differences(facts, facts).is_empty(), "a schema differs from itself");

    let once = settled(schema.rows.clone());
    assert_eq!(settled(once.clone()), once, "settled twice, another schema");

    // The same rows with blanks and a comment where SQL has a blank outside of quotes.
    let mut spaced = schema.rows.clone();
    for object in &mut spaced.objects {
        object.sql = object.sql.as_deref().map(with_more_space);
    }
    let other = SchemaFacts::of(&spaced).fingerprints();
    assert_eq!(
        (&other.shape, &other.checks),
        (&prints.shape, &prints.checks),
        "white space made another schema:\n{sql}"
    );
}

/// What the scanner finds lies in the text at the line that it names, is a plain origin, and is found again.
pub(crate) fn bundle(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for (shown, is_script) in [("index.html", false), ("assets/index.js", true), (".env", false)] {
        let found = scanned(shown, &text, is_script);
        assert_eq!(
            found,
            scanned(shown, &text, is_script),
            "scanned twice, found differently"
        );
        let lines = text.matches('\n').count() + 1;
        for literal in &found {
            let line = literal
                .place
                .rsplit(':')
                .next()
                .and_then(|line| line.parse::<usize>().ok());
            assert!(
                line.is_some_and(|line| (1..=lines).contains(&line)),
                "{literal:?} of {lines} lines"
            );
            assert!(
                !literal.origin.contains([' ', '\n', '\r', '<', '>', '"', '\u{1b}']),
                "{literal:?}"
            );
        }
    }
}

/// Whether every statement begins with CREATE: roughly, as the text is cut at each semicolon.
fn is_only_create(sql: &str) -> bool {
    let lower = sql.to_ascii_lowercase();
    let bad = [
        "insert",
        "replace",
        "recursive",
        "attach",
        "vacuum",
        "pragma",
        "analyze",
        "reindex",
        "temp",
        "virtual",
        "select",
    ];
    lower.trim_start().starts_with("create") && !bad.iter().any(|word| lower.contains(word))
}

/// Each blank outside of quotes and comments as a line end, a comment and a blank.
fn with_more_space(sql: &str) -> String {
    let mut spaced = String::with_capacity(sql.len() * 2);
    let mut rest = sql.char_indices().peekable();
    while let Some((at, c)) = rest.next() {
        let end = match c {
            '\'' | '"' | '`' => Some(c.to_string()),
            '[' => Some("]".to_owned()),
            '-' if sql[at..].starts_with("--") => Some("\n".to_owned()),
            '/' if sql[at..].starts_with("/*") => Some("*/".to_owned()),
            _ => None,
        };
        let Some(end) = end else {
            spaced.push_str(if c == ' ' {
                "\n /* x */\t"
            } else {
                &sql[at..at + c.len_utf8()]
            });
            continue;
        };
        let inside = at + if end == "*/" { 2 } else { c.len_utf8() };
        let close = sql[inside..]
            .find(&end)
            .map_or(sql.len(), |found| inside + found + end.len());
        spaced.push_str(&sql[at..close]);
        while rest.peek().is_some_and(|(next, _)| *next < close) {
            rest.next();
        }
    }
    spaced
}
