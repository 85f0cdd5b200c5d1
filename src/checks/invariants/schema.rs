//! Rules of SQLite's own promises and of the schema of a known release.
//!
//! Source: SQLite; Beam 1.6.0, contract 1.4, 3.6, 4.

use crate::checks::invariants::facts::{Facts, FileFacts};
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "S01",
        title: "opens and reads",
        why: "every table of a sound file can be read from its first to its last row (SQLite)",
        needs: &[],
        run: reads,
    },
    Rule {
        name: "S02",
        title: "integrity_check",
        why: "pages, indexes and uniqueness are SQLite's own promises (SQLite)",
        needs: &[],
        run: integrity,
    },
    Rule {
        name: "S03",
        title: "foreign keys",
        why: "the directory writes with foreign keys on, so every declared key has its parent (contract 1.4, 4.3)",
        needs: &[],
        run: foreign_keys,
    },
    Rule {
        name: "S04",
        title: "schema of a known release",
        why: "a service creates its schema from its release; no release has triggers, views or other tables (contract 3.6, 4)",
        needs: &[],
        run: known_release,
    },
    Rule {
        name: "S05",
        title: "pragmas",
        why: "user_version and application_id are never set, the encoding is UTF-8, auto-vacuum is off (contract 1.4)",
        needs: &[],
        run: pragmas,
    },
    Rule {
        name: "S06",
        title: "statistics are true",
        why: "Beam keeps no statistics (contract 4.2); those of a tool say how many rows there are",
        needs: &[],
        run: statistics,
    },
    Rule {
        name: "S07",
        title: "CHECK and NOT NULL",
        why: "declared constraints hold for every row that a service wrote (SQLite; contract 4.3)",
        needs: &[],
        run: constraints,
    },
];

/// Shape and CHECK fingerprints of the releases that are known: directory and bus of 1.6.0.
const RELEASES: &[(&str, &str, &str)] = &[
    (
        "beam-directory.db",
        "bd9b65c12fa2a511d5c7307e1c11674271e672bc66e0a7236057de30d26ffbb6",
        "16a4ad5efd2ea1a851040feb4047df04db6aedb2d41e2736f7fcf6edc78ed55f",
    ),
    (
        "beam-bus.sqlite",
        "2056d710467a8b10e9be9e932cd9958598ea998cc34ac7020b8ee2c75d87610e",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
];

fn opened(facts: &Facts) -> impl Iterator<Item = &FileFacts> {
    facts
        .files
        .iter()
        .filter(|file| file.bytes.is_some_and(|bytes| bytes > 0))
}

fn reads(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in opened(facts) {
        look.seen();
        for error in &file.errors {
            look.wrong(file.name, file.name, "every table can be read", error);
        }
    }
    look.end()
}

/// Whether a message of `integrity_check` is about a constraint and not about pages or indexes.
fn is_constraint(message: &str) -> bool {
    message.starts_with("NULL value in") || message.starts_with("CHECK constraint failed")
}

fn integrity(facts: &Facts) -> RuleOutcome {
    messages(facts, "ok", |message| !is_constraint(message))
}

fn constraints(facts: &Facts) -> RuleOutcome {
    messages(facts, "every row satisfies the declared constraints", is_constraint)
}

fn messages(facts: &Facts, expected: &str, wanted: fn(&str) -> bool) -> RuleOutcome {
    let mut look = Look::default();
    for file in opened(facts).filter(|file| file.prints.is_some()) {
        look.seen();
        for message in file.integrity.iter().filter(|message| wanted(message)) {
            look.wrong(
                file.name,
                file.name,
                expected,
                message.lines().collect::<Vec<_>>().join("; "),
            );
        }
    }
    look.end()
}

fn foreign_keys(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in opened(facts).filter(|file| file.prints.is_some()) {
        look.seen();
        for (table, rowid) in &file.orphans {
            let place = format!("{} {table}", file.name);
            look.wrong(
                format!("{table}[rowid={rowid}]"),
                &place,
                "the parent row of a declared key",
                "none",
            );
        }
    }
    look.end()
}

fn known_release(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in opened(facts) {
        let Some(prints) = &file.prints else { continue };
        look.seen();
        let known = |(name, shape, checks): &&(&str, &str, &str)| {
            *name == file.name && *shape == prints.shape && *checks == prints.checks
        };
        if RELEASES.iter().any(|release| known(&release)) {
            continue;
        }
        let count = |kind: &str| {
            let of_kind = |object: &&crate::deployment::schema::ObjectRow| {
                object.kind == kind && !object.name.starts_with("sqlite_")
            };
            file.schema.objects.iter().filter(of_kind).count()
        };
        let observed = format!(
            "another one: {} tables, {} indexes, {} triggers, {} views",
            count("table"),
            count("index"),
            count("trigger"),
            count("view")
        );
        look.wrong(file.name, file.name, "the schema that Beam 1.6.0 creates", observed);
    }
    look.end()
}

fn pragmas(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in opened(facts) {
        let Some(pragmas) = &file.pragmas else { continue };
        look.seen();
        for (name, value) in [
            ("user_version", pragmas.user_version),
            ("application_id", pragmas.application_id),
            ("auto_vacuum", pragmas.auto_vacuum),
        ] {
            if value != 0 {
                look.wrong(name, file.name, "0", value);
            }
        }
        if pragmas.encoding != "UTF-8" {
            look.wrong("encoding", file.name, "UTF-8", &pragmas.encoding);
        }
    }
    look.end()
}

fn statistics(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for file in opened(facts) {
        for (table, index, rows) in &file.statistics {
            look.seen();
            let is = i64::try_from(facts.count(table)).unwrap_or(i64::MAX);
            if facts.unloaded(table).is_none() && *rows != is {
                let place = format!("{} sqlite_stat1", file.name);
                look.wrong(
                    format!("statistics of {table} {index}"),
                    &place,
                    format!("{is} rows"),
                    rows,
                );
            }
        }
    }
    look.end()
}
