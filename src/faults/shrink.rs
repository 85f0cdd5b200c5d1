//! The smallest change that is still missed, made of one that was.
//!
//! Pure but for what the caller's closures do: whoever judges a candidate and whoever knows the untouched rows are handed in.
//! Greedy and bounded: each smaller candidate that is still missed becomes the next to be made smaller.

use crate::deployment::Service;
use crate::faults::fault::{Fault, Injection, Op, OpKind};
use crate::faults::random::literal;
use crate::snapshot::database::{Cell, Database, Databases, quoted};

/// What is known of the rows before the change: for "one cell instead of a row" and "less of a value".
pub trait Untouched {
    /// Columns of a table, in any order; none for a table that is not known.
    fn columns(&self, service: Service, table: &str) -> Vec<String>;

    /// The cell of a row by its rowid.
    fn cell(&self, service: Service, table: &str, column: &str, rowid: i64) -> Option<Cell>;
}

impl Untouched for Databases {
    fn columns(&self, service: Service, table: &str) -> Vec<String> {
        let columns = self.of(service).columns(table).unwrap_or_default();
        columns.into_iter().map(|(name, _)| name).collect()
    }

    fn cell(&self, service: Service, table: &str, column: &str, rowid: i64) -> Option<Cell> {
        let database: &Database = self.of(service);
        let sql = format!(
            "SELECT {} AS v FROM {} WHERE rowid = {rowid}",
            quoted(column),
            quoted(table)
        );
        let rows = database.rows(&sql, &[]).ok()?;
        rows.first().map(|row| row.cell("v").clone())
    }
}

/// What shrinking came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Shrunk {
    /// The smallest change found; the given one where nothing smaller is missed.
    pub fault: Fault,
    /// How many candidates were judged.
    pub tries: usize,
    /// Whether every smaller candidate was judged; `false` when the tries ran out.
    pub complete: bool,
}

/// Makes a missed fault smaller as long as `missed` says that the smaller one is missed too, in at most `most_tries` tries.
///
/// `missed` must be `false` for a candidate that could not be injected or changed nothing. The result prints with
/// [`toml_text`](crate::faults::written::toml_text).
pub fn shrink(
    fault: &Fault,
    untouched: &dyn Untouched,
    most_tries: usize,
    mut missed: impl FnMut(&Fault) -> bool,
) -> Shrunk {
    let mut shrunk = Shrunk {
        fault: fault.clone(),
        tries: 0,
        complete: false,
    };
    'smaller: loop {
        for candidate in candidates(&shrunk.fault, untouched) {
            if shrunk.tries == most_tries {
                break 'smaller;
            }
            shrunk.tries += 1;
            if missed(&candidate) {
                shrunk.fault = candidate;
                continue 'smaller;
            }
        }
        shrunk.complete = true;
        break;
    }
    if shrunk.fault != *fault {
        shrunk.fault.id.0 = format!("{}-smallest", fault.id.0);
    }
    shrunk
}

/// Changes that are smaller than a fault's, the biggest step first.
fn candidates(fault: &Fault, untouched: &dyn Untouched) -> Vec<Fault> {
    let with = |injection: Injection| {
        let title = title(&injection).unwrap_or_else(|| fault.title.clone());
        Fault {
            injection,
            title,
            ..fault.clone()
        }
    };
    match &fault.injection {
        Injection::Sql { directory, bus } => {
            let directories = fewer_or_smaller(Service::Directory, directory, untouched);
            let buses = fewer_or_smaller(Service::Bus, bus, untouched);
            let of_directory = directories.into_iter().map(|directory| (directory, bus.clone()));
            let of_bus = buses.into_iter().map(|bus| (directory.clone(), bus));
            of_directory
                .chain(of_bus)
                .filter(|(directory, bus)| !(directory.is_empty() && bus.is_empty()))
                .map(|(directory, bus)| with(Injection::Sql { directory, bus }))
                .collect()
        }
        Injection::Ops(ops) => fewer(ops, smaller_op)
            .into_iter()
            .map(|ops| with(Injection::Ops(ops)))
            .collect(),
        Injection::Remake(_)
        | Injection::Command(_)
        | Injection::Answers(_)
        | Injection::Start(_)
        | Injection::Torn(_)
        | Injection::Archive(_)
        | Injection::Clock(_)
        | Injection::Control(_)
        | Injection::Hook(_)
        | Injection::Record(_)
        | Injection::NotStaged(_) => Vec::new(),
    }
}

/// The list with one item less (never empty), then with one item smaller.
fn fewer<T: Clone>(items: &[T], smaller: impl Fn(&T) -> Vec<T>) -> Vec<Vec<T>> {
    let without = |at: usize| {
        let mut list = items.to_vec();
        list.remove(at);
        list
    };
    let mut all: Vec<Vec<T>> = match items.len() {
        0 | 1 => Vec::new(),
        count => (0..count).map(without).collect(),
    };
    for (at, item) in items.iter().enumerate() {
        all.extend(smaller(item).into_iter().map(|one| {
            let mut list = items.to_vec();
            list[at] = one;
            list
        }));
    }
    all
}

fn fewer_or_smaller(service: Service, list: &[String], untouched: &dyn Untouched) -> Vec<Vec<String>> {
    let all = fewer(list, |statement| smaller_statement(service, statement, untouched));
    let changes = |list: &Vec<String>| list.iter().any(|one| !one.starts_with("PRAGMA "));
    all.into_iter().filter(changes).collect()
}

/// A statement in one of the forms in which random faults are written.
#[derive(Debug, PartialEq)]
enum Form<'a> {
    Delete {
        table: &'a str,
        rowid: i64,
    },
    Update {
        table: &'a str,
        column: &'a str,
        value: &'a str,
        rowid: i64,
    },
}

fn form(statement: &str) -> Option<Form<'_>> {
    let (head, rowid) = statement.rsplit_once(" WHERE rowid = ")?;
    let rowid = rowid.parse().ok()?;
    if let Some(table) = head.strip_prefix("DELETE FROM ") {
        return Some(Form::Delete {
            table: unquoted(table)?,
            rowid,
        });
    }
    let (table, set) = head.strip_prefix("UPDATE ")?.split_once(" SET ")?;
    let (column, value) = set.split_once(" = ")?;
    Some(Form::Update {
        table: unquoted(table)?,
        column: unquoted(column)?,
        value,
        rowid,
    })
}

/// A plain quoted name; `None` for names with quotes in them, which no Beam table has.
fn unquoted(name: &str) -> Option<&str> {
    let name = name.strip_prefix('"')?.strip_suffix('"')?;
    (!name.contains('"')).then_some(name)
}

fn smaller_statement(service: Service, statement: &str, untouched: &dyn Untouched) -> Vec<String> {
    match form(statement) {
        Some(Form::Delete { table, rowid }) => one_cell_each(service, table, rowid, untouched),
        Some(Form::Update {
            table,
            column,
            value,
            rowid,
        }) => {
            let (Some(Cell::Text(was)), Some(is)) = (untouched.cell(service, table, column, rowid), text_of(value))
            else {
                return Vec::new();
            };
            let Ok(was) = String::from_utf8(was) else {
                return Vec::new();
            };
            let texts = less_changed(&was, &is);
            let cells = texts.into_iter().map(|text| Cell::Text(text.into_bytes()));
            cells.map(|cell| update(table, column, &cell, rowid)).collect()
        }
        None => Vec::new(),
    }
}

fn update(table: &str, column: &str, value: &Cell, rowid: i64) -> String {
    format!(
        "UPDATE {} SET {} = {} WHERE rowid = {rowid}",
        quoted(table),
        quoted(column),
        literal(value)
    )
}

/// Instead of the whole row: each of its cells lost or, where NULL is nothing new, filled.
fn one_cell_each(service: Service, table: &str, rowid: i64, untouched: &dyn Untouched) -> Vec<String> {
    let columns = untouched.columns(service, table);
    let cells = columns.iter().map(|column| {
        let lost = match untouched.cell(service, table, column, rowid) {
            None | Some(Cell::Null) => Cell::Text(Vec::new()),
            Some(_) => Cell::Null,
        };
        update(table, column, &lost, rowid)
    });
    cells.collect()
}

/// The text of a literal; `None` for any other value.
fn text_of(literal: &str) -> Option<String> {
    let inner = literal.strip_prefix('\'')?.strip_suffix('\'')?;
    Some(inner.replace("''", "'"))
}

/// Texts between two: half of the characters that differ, then each one alone. Between texts of different lengths: half of
/// what was added or cut.
fn less_changed(was: &str, is: &str) -> Vec<String> {
    let (was, is): (Vec<char>, Vec<char>) = (was.chars().collect(), is.chars().collect());
    let text = |letters: &[char]| letters.iter().collect::<String>();
    if was.len() != is.len() {
        let (short, long) = if was.len() < is.len() { (&was, &is) } else { (&is, &was) };
        if !long.starts_with(short) || long.len() - short.len() < 2 {
            return Vec::new();
        }
        return vec![text(&long[..short.len().midpoint(long.len())])];
    }
    let differing: Vec<usize> = (0..was.len()).filter(|at| was[*at] != is[*at]).collect();
    if differing.len() < 2 {
        return Vec::new();
    }
    let only = |places: &[usize]| {
        let mut letters = was.clone();
        for at in places {
            letters[*at] = is[*at];
        }
        text(&letters)
    };
    let (first, second) = differing.split_at(differing.len() / 2);
    let halves = [only(first), only(second)];
    let singles = differing.iter().map(|at| only(&[*at]));
    let mut all: Vec<String> = halves.into_iter().chain(singles).collect();
    all.dedup();
    all
}

/// A block becomes its halves, one byte of it a bit, several bits each of them.
fn smaller_op(op: &Op) -> Vec<Op> {
    match (OpKind::parse(&op.op), op.offset) {
        (Some(OpKind::Zero), Some(offset)) => match op.len {
            Some(len) if len > 1 => {
                let half = len / 2;
                let part = |from: u64, len: u64| Op {
                    offset: i64::try_from(from).ok().and_then(|from| offset.checked_add(from)),
                    len: Some(len),
                    ..op.clone()
                };
                vec![part(0, half), part(half, len - half)]
            }
            _ => bits(op, u8::MAX),
        },
        (Some(OpKind::Xor), Some(_)) => match op.mask {
            Some(mask) if mask.count_ones() > 1 => bits(op, mask),
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

/// Each bit of a mask flipped alone.
fn bits(op: &Op, mask: u8) -> Vec<Op> {
    let single = (0..8).map(|bit| 1_u8 << bit).filter(|bit| mask & bit != 0);
    single
        .map(|bit| Op {
            op: OpKind::Xor.name().to_owned(),
            len: None,
            mask: Some(bit),
            ..op.clone()
        })
        .collect()
}

/// What a change of a known form does, in words.
fn title(injection: &Injection) -> Option<String> {
    match injection {
        Injection::Sql { directory, bus } => {
            let mut changes = directory.iter().chain(bus).filter(|one| !one.starts_with("PRAGMA "));
            let (first, rest) = (changes.next()?, changes.count());
            let first = match form(first)? {
                Form::Delete { table, rowid } => format!("row {rowid} of {table} lost"),
                Form::Update {
                    table,
                    column,
                    value,
                    rowid,
                } => {
                    let start: String = value.chars().take(24).collect();
                    let dots = if start.len() < value.len() { "…" } else { "" };
                    format!("cell {table}.{column} of row {rowid} is {start}{dots}")
                }
            };
            Some(if rest == 0 {
                first
            } else {
                format!("{first}, and {rest} more")
            })
        }
        Injection::Ops(ops) => {
            let [op] = ops.as_slice() else { return None };
            let (file, offset) = (op.file.as_deref()?, op.offset?);
            match (OpKind::parse(&op.op)?, op.len, op.mask) {
                (OpKind::Zero, Some(len), _) => Some(format!("{len} bytes of {file} from {offset} on are zero")),
                (OpKind::Xor, _, Some(mask)) => Some(format!("bit {mask:#04x} of byte {offset} of {file} flips")),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::catalogue::Catalogue;
    use crate::faults::written::toml_text;
    use std::path::Path;

    /// One table `t` with columns `a` (a text) and `b` (NULL).
    struct One;

    impl Untouched for One {
        fn columns(&self, _: Service, table: &str) -> Vec<String> {
            let all = if table == "t" { ["a", "b"].as_slice() } else { &[] };
            all.iter().map(|name| (*name).to_owned()).collect()
        }

        fn cell(&self, _: Service, _: &str, column: &str, _: i64) -> Option<Cell> {
            Some(match column {
                "a" => Cell::Text(b"abcdefgh".to_vec()),
                _ => Cell::Null,
            })
        }
    }

    fn fault(keys: &str) -> Fault {
        let head =
            "[[fault]]\nid = \"f\"\ngroup = \"random-row\"\ntitle = \"t\"\nservice = \"bus\"\nstage = \"snapshot\"\n";
        let read = Catalogue::parse(&format!("{head}{keys}"), Path::new("x.toml")).expect("read");
        read.faults.into_iter().next().expect("a fault")
    }

    fn statements(fault: &Fault) -> &[String] {
        match &fault.injection {
            Injection::Sql { bus, .. } => bus,
            _ => &[],
        }
    }

    fn ops(fault: &Fault) -> &[Op] {
        match &fault.injection {
            Injection::Ops(ops) => ops,
            _ => &[],
        }
    }

    #[test]
    fn only_the_statement_that_is_missed_stays() {
        let three = fault("sql = [\"PRAGMA ignore_check_constraints=ON\", \"UPDATE x SET y=1\", \"UPDATE x SET z=1\"]");
        let shrunk = shrink(&three, &One, 100, |one| {
            statements(one).iter().any(|statement| statement.contains("z=1"))
        });
        assert_eq!(statements(&shrunk.fault), ["UPDATE x SET z=1"]);
        assert!(shrunk.complete);
        assert_eq!(shrunk.fault.id.0, "f-smallest");
    }

    #[test]
    fn a_lost_row_becomes_the_one_cell_that_nobody_looks_at() {
        let row = fault(r#"sql = ['DELETE FROM "t" WHERE rowid = 7']"#);
        let shrunk = shrink(&row, &One, 100, |one| statements(one)[0].contains("\"b\""));
        assert_eq!(
            statements(&shrunk.fault),
            ["UPDATE \"t\" SET \"b\" = '' WHERE rowid = 7"]
        );
        assert_eq!(shrunk.fault.title, "cell t.b of row 7 is ''");
    }

    #[test]
    fn of_a_changed_text_one_character_is_left() {
        let text = fault(r#"sql = ["UPDATE \"t\" SET \"a\" = 'ABCDEFGH' WHERE rowid = 7"]"#);
        let shrunk = shrink(&text, &One, 100, |one| statements(one)[0].contains('F'));
        assert_eq!(
            statements(&shrunk.fault),
            ["UPDATE \"t\" SET \"a\" = 'abcdeFgh' WHERE rowid = 7"]
        );
        let cut = fault(r#"sql = ["UPDATE \"t\" SET \"a\" = '' WHERE rowid = 7"]"#);
        let shrunk = shrink(&cut, &One, 100, |_| true);
        assert_eq!(
            statements(&shrunk.fault),
            ["UPDATE \"t\" SET \"a\" = 'abcdefg' WHERE rowid = 7"]
        );
    }

    #[test]
    fn of_a_block_the_one_bit_is_left() {
        let block = fault("ops = [{ op = \"zero\", file = \"main\", offset = 1024, len = 512 }]");
        let covers = |op: &Op| {
            let (from, len) = (op.offset.unwrap_or(0), op.len.unwrap_or(1));
            let bit = op.mask.unwrap_or(0xff) & 0x10 != 0;
            bit && (from..from + i64::try_from(len).unwrap_or(0)).contains(&1_300)
        };
        let shrunk = shrink(&block, &One, 100, |one| ops(one).iter().any(covers));
        assert_eq!(
            (ops(&shrunk.fault)[0].offset, ops(&shrunk.fault)[0].mask),
            (Some(1_300), Some(0x10))
        );
        assert_eq!(shrunk.fault.title, "bit 0x10 of byte 1300 of main flips");
        let text = toml_text(&shrunk.fault).expect("written");
        let again = Catalogue::parse(&text, Path::new("x.toml")).expect("read again");
        assert_eq!(again.faults, [shrunk.fault]);
    }

    #[test]
    fn tries_are_bounded_and_what_cannot_shrink_stays() {
        let block = fault("ops = [{ op = \"zero\", file = \"main\", offset = 0, len = 512 }]");
        let shrunk = shrink(&block, &One, 4, |_| true);
        assert_eq!((shrunk.tries, shrunk.complete), (4, false));
        assert_eq!(ops(&shrunk.fault)[0].len, Some(32));
        let program = fault("command = [\"true\"]");
        let shrunk = shrink(&program, &One, 4, |_| true);
        assert_eq!((shrunk.fault, shrunk.tries), (program, 0));
    }
}
