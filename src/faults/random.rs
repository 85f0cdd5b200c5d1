//! Faults that nobody thought of: random changes of cells, rows, indexes, pages and manifest of a real snapshot.
//!
//! The same snapshot and seed give the same faults. Each is a complete fault of its own, ready to be kept as TOML. Only
//! reads; nobody promises that a change has a meaning.

use crate::deployment::Service;
use crate::evidence::FaultId;
use crate::faults::fault::{Base, Expect, Fault, Injection, Op, OpKind, Stage, Touched};
use crate::snapshot::database::{Cell, Database, DatabaseError, Row, quoted};
use crate::snapshot::manifest;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why there is nothing to change.
#[derive(Debug, thiserror::Error)]
pub enum RandomError {
    /// A file of the snapshot cannot be read.
    #[error("cannot read the snapshot to choose changes")]
    Database(#[from] DatabaseError),
    /// The manifest or a file cannot be read.
    #[error("cannot read {path} to choose changes")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no row at all.
    #[error("{0} holds no row to change")]
    Empty(PathBuf),
}

/// A table that holds rows.
struct Table {
    service: Service,
    name: String,
    rows: u64,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    may_be_null: bool,
    is_key: bool,
}

/// What there is to change.
struct Ground {
    folder: PathBuf,
    databases: [Database; 2],
    tables: Vec<Table>,
    indexes: Vec<(Service, String)>,
    digits: Vec<i64>,
}

/// One change before it has a name.
struct Change {
    what: String,
    service: Service,
    injection: Injection,
    reseal: bool,
}

/// `count` faults of stage `snapshot` for a snapshot folder, all from one seed.
///
/// # Errors
/// [`RandomError`].
pub fn mutants(folder: &Path, seed: u64, count: usize) -> Result<Vec<Fault>, RandomError> {
    let ground = survey(folder)?;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut found = Vec::with_capacity(count);
    while found.len() < count {
        if let Some(change) = change(&ground, &mut random)? {
            found.push(named(change, seed, found.len() + 1));
        }
    }
    Ok(found)
}

fn named(change: Change, seed: u64, number: usize) -> Fault {
    Fault {
        id: FaultId(format!("random-{seed}-{number}")),
        group: "random".to_owned(),
        title: change.what,
        service: match change.service {
            Service::Directory => Touched::Directory,
            Service::Bus => Touched::Bus,
        },
        base: Base::Seed,
        stage: Stage::Snapshot,
        subtle: false,
        injection: change.injection,
        caught_by: Vec::new(),
        expect: Expect::Fail,
        reseal: change.reseal,
        unseen_alone: None,
        benign: false,
        file: PathBuf::new(),
    }
}

fn survey(folder: &Path) -> Result<Ground, RandomError> {
    let open = |service: Service| Database::open(&folder.join(service.database_file()));
    let databases = [open(Service::Directory)?, open(Service::Bus)?];
    let (mut tables, mut indexes) = (Vec::new(), Vec::new());
    for (service, database) in Service::ALL.into_iter().zip(&databases) {
        for name in database.content_tables()? {
            let counted = database.rows(&format!("SELECT count(*) AS n FROM {}", quoted(&name)), &[])?;
            let rows = counted
                .first()
                .and_then(|row| row.integer("n"))
                .unwrap_or(0)
                .unsigned_abs();
            if rows > 0 {
                let columns = columns(database, &name)?;
                tables.push(Table {
                    service,
                    name,
                    rows,
                    columns,
                });
            }
        }
        let sql = "SELECT name FROM sqlite_schema WHERE type='index' AND sql IS NOT NULL ORDER BY name";
        let named = database.rows(sql, &[])?;
        indexes.extend(
            named
                .iter()
                .filter_map(|row| Some((service, row.text("name")?.to_owned()))),
        );
    }
    if tables.is_empty() {
        return Err(RandomError::Empty(folder.to_owned()));
    }
    let path = folder.join(manifest::FILE_NAME);
    let text = fs::read(&path).map_err(|source| RandomError::File { path, source })?;
    let digits = text.iter().enumerate().filter(|(_, byte)| byte.is_ascii_digit());
    let digits = digits.filter_map(|(at, _)| i64::try_from(at).ok()).collect();
    Ok(Ground {
        folder: folder.to_owned(),
        databases,
        tables,
        indexes,
        digits,
    })
}

fn columns(database: &Database, table: &str) -> Result<Vec<Column>, DatabaseError> {
    let sql = "SELECT x.name AS name, x.\"notnull\" = 0 AND x.pk = 0 AS nullable, x.pk > 0 OR EXISTS (SELECT 1 \
               FROM pragma_index_list(?1) AS i, pragma_index_info(i.name) AS c WHERE i.\"unique\" = 1 AND c.name = x.name) \
               AS is_key FROM pragma_table_xinfo(?1) AS x WHERE x.hidden = 0 ORDER BY x.name";
    let rows = database.rows(sql, &[table])?;
    let column = |row: &Row| {
        Some(Column {
            name: row.text("name")?.to_owned(),
            may_be_null: row.integer("nullable") == Some(1),
            is_key: row.integer("is_key") == Some(1),
        })
    };
    Ok(rows.iter().filter_map(column).collect())
}

/// One change, or `None` where the choice has nothing to change.
fn change(ground: &Ground, random: &mut ChaCha8Rng) -> Result<Option<Change>, RandomError> {
    let table = &ground.tables[random.random_range(0..ground.tables.len())];
    match random.random_range(0..100) {
        0..60 => cell(ground, table, random),
        60..70 => row_lost(ground, table, random),
        70..75 => row_repeated(ground, table, random),
        75..84 => cells_exchanged(ground, table, random),
        84..87 => Ok(index_dropped(ground, random)),
        87..95 => page(ground, random),
        _ => Ok(manifest_digit(ground, random)),
    }
}

/// The rowid of a random row; `None` for a table without rowids.
fn rowid(ground: &Ground, table: &Table, random: &mut ChaCha8Rng) -> Option<i64> {
    let at = random.random_range(0..table.rows);
    let sql = format!(
        "SELECT rowid AS r FROM {} ORDER BY rowid LIMIT 1 OFFSET {at}",
        quoted(&table.name)
    );
    database(ground, table.service)
        .rows(&sql, &[])
        .ok()?
        .first()?
        .integer("r")
}

fn database(ground: &Ground, service: Service) -> &Database {
    match service {
        Service::Directory => &ground.databases[0],
        Service::Bus => &ground.databases[1],
    }
}

fn sql(table: &Table, what: String, statements: &[String]) -> Change {
    let mut list = vec!["PRAGMA ignore_check_constraints=ON".to_owned()];
    list.extend_from_slice(statements);
    let (directory, bus) = match table.service {
        Service::Directory => (list, Vec::new()),
        Service::Bus => (Vec::new(), list),
    };
    Change {
        what,
        service: table.service,
        injection: Injection::Sql { directory, bus },
        reseal: true,
    }
}

fn cell(ground: &Ground, table: &Table, random: &mut ChaCha8Rng) -> Result<Option<Change>, RandomError> {
    let Some(rowid) = rowid(ground, table, random) else {
        return Ok(None);
    };
    let column = &table.columns[random.random_range(0..table.columns.len())];
    let (name, of) = (quoted(&column.name), quoted(&table.name));
    let select = format!("SELECT {name} AS v FROM {of} WHERE rowid={rowid}");
    let rows = database(ground, table.service).rows(&select, &[])?;
    let Some(row) = rows.first() else { return Ok(None) };
    let Some((how, value)) = other(row.cell("v"), column, random) else {
        return Ok(None);
    };
    let what = format!("cell {}.{} of row {rowid}: {how}", table.name, column.name);
    Ok(Some(sql(
        table,
        what,
        &[format!("UPDATE {of} SET {name} = {value} WHERE rowid = {rowid}")],
    )))
}

/// Another value than a cell's, as an SQL expression, and what is other about it.
fn other(cell: &Cell, column: &Column, random: &mut ChaCha8Rng) -> Option<(&'static str, String)> {
    let kind = random.random_range(0..8);
    if kind == 0 && column.may_be_null && *cell != Cell::Null {
        return Some(("lost", "NULL".to_owned()));
    }
    match cell {
        Cell::Null => Some(("filled", if kind < 4 { "''".to_owned() } else { "'x'".to_owned() })),
        Cell::Integer(_) if kind == 1 && column.is_key => None,
        Cell::Integer(number) if kind == 1 => Some(("a blob", blob(number.to_string().as_bytes()))),
        Cell::Integer(0) => Some(("1 for 0", "1".to_owned())),
        Cell::Integer(number) if column.is_key => Some(("far higher", (number + 1_000_003).to_string())),
        Cell::Integer(number) if kind < 5 => Some(("one more", (number + 1).to_string())),
        Cell::Integer(number) => Some(("one less", (number - 1).to_string())),
        Cell::Real(number) if kind < 5 => Some(("a little more", format!("{:?}", number + 0.001))),
        Cell::Real(number) => Some(("a thousand times", format!("{:?}", number * 1000.0 + 1.0))),
        Cell::Text(bytes) => text(bytes, kind, random),
        Cell::Blob(bytes) => Some(("a byte more", blob(&[bytes.as_slice(), b"x"].concat()))),
    }
}

fn text(bytes: &[u8], kind: u32, random: &mut ChaCha8Rng) -> Option<(&'static str, String)> {
    let text = std::str::from_utf8(bytes).ok()?;
    let letters: Vec<char> = text.chars().collect();
    if letters.is_empty() {
        return Some(("a letter", "'x'".to_owned()));
    }
    let at = random.random_range(0..letters.len());
    let with = |letter: Option<char>| -> String {
        let (before, after) = (&letters[..at], &letters[at + 1..]);
        before.iter().chain(letter.iter()).chain(after).collect()
    };
    Some(match kind {
        1 => ("empty", "''".to_owned()),
        2 => ("a letter less", literal(&with(None))),
        3 => ("a letter more", literal(&format!("{text}x"))),
        4 => ("a blob", blob(bytes)),
        5 => ("a space at the end", literal(&format!("{text} "))),
        _ => ("another letter", literal(&with(Some(neighbour(letters[at]))))),
    })
}

/// A letter of the same kind.
fn neighbour(letter: char) -> char {
    match letter {
        '0'..='8' | 'a'..='y' | 'A'..='Y' => char::from(letter as u8 + 1),
        '9' => '0',
        'z' => 'a',
        'Z' => 'A',
        '_' => '-',
        _ => '_',
    }
}

fn literal(text: &str) -> String {
    if text.contains('\0') {
        format!("CAST({} AS TEXT)", blob(text.as_bytes()))
    } else {
        format!("'{}'", text.replace('\'', "''"))
    }
}

fn blob(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("x'{digits}'")
}

fn row_lost(ground: &Ground, table: &Table, random: &mut ChaCha8Rng) -> Result<Option<Change>, RandomError> {
    let lost = rowid(ground, table, random);
    Ok(lost.map(|rowid| {
        let statement = format!("DELETE FROM {} WHERE rowid = {rowid}", quoted(&table.name));
        sql(table, format!("row {rowid} of {} lost", table.name), &[statement])
    }))
}

/// The row a second time, its keys made new: text gains a letter, numbers grow.
fn row_repeated(ground: &Ground, table: &Table, random: &mut ChaCha8Rng) -> Result<Option<Change>, RandomError> {
    let Some(rowid) = rowid(ground, table, random) else {
        return Ok(None);
    };
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let value = |column: &Column| {
        let name = quoted(&column.name);
        if column.is_key {
            format!("CASE typeof({name}) WHEN 'text' THEN {name} || 'x' ELSE {name} + 1000003 END")
        } else {
            name
        }
    };
    let values: Vec<String> = table.columns.iter().map(value).collect();
    let (of, names, values) = (quoted(&table.name), names.join(", "), values.join(", "));
    let statement = format!("INSERT INTO {of} ({names}) SELECT {values} FROM {of} WHERE rowid = {rowid}");
    Ok(Some(sql(
        table,
        format!("row {rowid} of {} a second time", table.name),
        &[statement],
    )))
}

/// Two rows exchange the values of one column that is no key.
fn cells_exchanged(ground: &Ground, table: &Table, random: &mut ChaCha8Rng) -> Result<Option<Change>, RandomError> {
    let columns: Vec<&Column> = table.columns.iter().filter(|column| !column.is_key).collect();
    let (Some(one), Some(two)) = (rowid(ground, table, random), rowid(ground, table, random)) else {
        return Ok(None);
    };
    if columns.is_empty() || one == two {
        return Ok(None);
    }
    let column = columns[random.random_range(0..columns.len())];
    let (of, name) = (quoted(&table.name), quoted(&column.name));
    let differ = format!(
        "SELECT (SELECT {name} FROM {of} WHERE rowid={one}) IS NOT (SELECT {name} FROM {of} WHERE rowid={two}) AS d"
    );
    let rows = database(ground, table.service).rows(&differ, &[])?;
    if rows.first().and_then(|row| row.integer("d")) != Some(1) {
        return Ok(None);
    }
    let statements = [
        format!("CREATE TEMP TABLE two AS SELECT rowid AS r, {name} AS v FROM {of} WHERE rowid IN ({one}, {two})"),
        format!("UPDATE {of} SET {name} = (SELECT v FROM two WHERE r <> {of}.rowid) WHERE rowid IN ({one}, {two})"),
    ];
    let what = format!("rows {one} and {two} of {} exchange {}", table.name, column.name);
    Ok(Some(sql(table, what, &statements)))
}

fn index_dropped(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let last = ground.indexes.len().checked_sub(1)?;
    let (service, name) = &ground.indexes[random.random_range(0..=last)];
    let list = vec![format!("DROP INDEX {}", quoted(name))];
    let (directory, bus) = match service {
        Service::Directory => (list, Vec::new()),
        Service::Bus => (Vec::new(), list),
    };
    let injection = Injection::Sql { directory, bus };
    Some(Change {
        what: format!("index {name} dropped"),
        service: *service,
        injection,
        reseal: true,
    })
}

/// A bit or a whole block of a page that is in use.
fn page(ground: &Ground, random: &mut ChaCha8Rng) -> Result<Option<Change>, RandomError> {
    let service = if random.random_bool(0.7) {
        Service::Directory
    } else {
        Service::Bus
    };
    let path = ground.folder.join(service.database_file());
    let bytes = fs::read(&path).map_err(|source| RandomError::File { path, source })?;
    let at = random.random_range(0..bytes.len());
    let mask = 1_u8 << random.random_range(0..8);
    let is_block = random.random_bool(0.2);
    let block = at / 512 * 512;
    if is_block
        && bytes[block..(block + 512).min(bytes.len())]
            .iter()
            .all(|byte| *byte == 0)
    {
        return Ok(None);
    }
    let file = Some("main".to_owned());
    let offset = i64::try_from(if is_block { block } else { at }).ok();
    let (op, what) = if is_block {
        let op = Op {
            op: OpKind::Zero.name().to_owned(),
            file,
            offset,
            len: Some(512),
            ..Op::default()
        };
        (
            op,
            format!("512 bytes of the {service}'s file from {block} on are zero"),
        )
    } else {
        let op = Op {
            op: OpKind::Xor.name().to_owned(),
            file,
            offset,
            mask: Some(mask),
            ..Op::default()
        };
        (
            op,
            format!("bit {mask:#04x} of byte {at} of the {service}'s file flips"),
        )
    };
    Ok(Some(Change {
        what,
        service,
        injection: Injection::Ops(vec![op]),
        reseal: true,
    }))
}

/// A digit of the manifest becomes its neighbour: a count, a size, a hash, a time.
fn manifest_digit(ground: &Ground, random: &mut ChaCha8Rng) -> Option<Change> {
    let last = ground.digits.len().checked_sub(1)?;
    let offset = ground.digits[random.random_range(0..=last)];
    let op = Op {
        op: OpKind::Xor.name().to_owned(),
        file: Some("manifest".to_owned()),
        offset: Some(offset),
        mask: Some(1),
        ..Op::default()
    };
    Some(Change {
        what: format!("the digit at byte {offset} of the manifest is another"),
        service: Service::Directory,
        injection: Injection::Ops(vec![op]),
        reseal: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::inject::{FaultError, inject};
    use crate::faults::target::Target;
    use crate::snapshot::recorded::taken;

    #[test]
    fn the_same_seed_gives_the_same_faults() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let some = |seed: u64| mutants(&folder, seed, 40).expect("chosen");
        assert_eq!(some(7), some(7));
        assert_ne!(some(7), some(8));
    }

    #[test]
    fn every_random_fault_can_be_injected_and_changes_something() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let faults = mutants(&folder, 3, 60).expect("chosen");
        for (number, fault) in faults.iter().enumerate() {
            let copy = run.path().join(format!("copy-{number}"));
            fs::create_dir(&copy).expect("a folder");
            for entry in fs::read_dir(&folder).expect("listed").flatten() {
                fs::copy(entry.path(), copy.join(entry.file_name())).expect("copied");
            }
            let result = inject(fault, &Target::snapshot(&copy, run.path()));
            let cause = |error: &FaultError| std::error::Error::source(error).map(ToString::to_string);
            assert!(
                result.is_ok(),
                "{}: {:?}",
                fault.title,
                result.as_ref().err().map(cause)
            );
        }
    }
}
