//! The facts that rules judge: both files loaded once, with what SQLite says of them.
//!
//! Loading never fails: what cannot be opened or read is itself a fact. Nothing is written beside the backup; a set that
//! still has its `-wal` is consolidated in a temporary folder first.

use crate::checks::invariants::record::{Record, Table};
use crate::deployment::Service;
use crate::deployment::schema::{Fingerprints, SchemaFacts, SchemaRows};
use crate::snapshot::consolidate::consolidate;
use crate::snapshot::copying;
use crate::snapshot::database::{Cell, Database, DatabaseError, beside, quoted};
use crate::snapshot::digest::{self, Pragmas};
use crate::snapshot::internal_objects::unlawful;
use crate::snapshot::raw::observe_set;
use crate::snapshot::schema_rows::schema_rows;
use crate::snapshot::wal::{WalFacts, wal_facts};
use rusqlite::types::ValueRef;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Rows of one table above which it is not loaded, and rules that need it are listed as not checked.
pub const MOST_ROWS: u64 = 2_000_000;

/// Bytes of one table above which it is not loaded either.
const MOST_BYTES: usize = 512 << 20;

/// A bus file larger than this is not searched for remnants.
const MOST_CARVED_BYTES: u64 = 256 << 20;

/// Row numbers by the value of a column.
type Group = HashMap<String, Vec<usize>>;

/// What is known of one of the two files.
#[derive(Debug, Default)]
pub(super) struct FileFacts {
    /// Its usual name.
    pub(super) name: &'static str,
    /// Size of the main file; `None` when it is missing.
    pub(super) bytes: Option<u64>,
    /// The first 128 bytes: the file header and the head of the first page.
    pub(super) header: Vec<u8>,
    /// Facts of a `-wal` beside it.
    pub(super) wal: Option<WalFacts>,
    /// Whether a rollback journal lies beside it.
    pub(super) journal: bool,
    /// What went wrong when it was opened or read.
    pub(super) errors: Vec<String>,
    /// Messages of `PRAGMA integrity_check` but `ok`.
    pub(super) integrity: Vec<String>,
    /// Table and rowid of each row without its parent.
    pub(super) orphans: Vec<(String, String)>,
    /// What SQLite tells of the schema.
    pub(super) schema: SchemaRows,
    /// Its fingerprints.
    pub(super) prints: Option<Fingerprints>,
    /// Pragmas that belong to the content.
    pub(super) pragmas: Option<Pragmas>,
    /// First number of each `sqlite_stat1` row: table, index, rows.
    pub(super) statistics: Vec<(String, String, i64)>,
    /// The consolidated file's bytes, of the bus only.
    pub(super) pages: Vec<u8>,
}

/// Everything that rules may look at.
#[derive(Debug, Default)]
pub struct Facts {
    /// When the backup was taken, in milliseconds since 1970, if anybody says so.
    pub(super) taken_ms: Option<i64>,
    /// The two files, directory first.
    pub(super) files: Vec<FileFacts>,
    tables: BTreeMap<String, Table>,
    unloaded: BTreeMap<String, String>,
    groups: Mutex<HashMap<(&'static str, &'static str), Arc<Group>>>,
    deleted: OnceLock<Option<String>>,
    reclaimed: OnceLock<Option<String>>,
}

/// Loads a backup: a folder with both usual file names, consolidated or with their `-wal`.
///
/// `taken_at` is what the manifest says; without it, times are not held against the end of the backup.
#[must_use]
pub fn observe(folder: &Path, taken_at: Option<jiff::Timestamp>) -> Facts {
    observe_up_to(folder, taken_at, MOST_ROWS)
}

/// As [`observe`], with another limit of rows per table.
#[must_use]
pub fn observe_up_to(folder: &Path, taken_at: Option<jiff::Timestamp>, most_rows: u64) -> Facts {
    let mut facts = Facts {
        taken_ms: taken_at.map(jiff::Timestamp::as_millisecond),
        ..Facts::default()
    };
    for service in Service::ALL {
        let mut file = look_at_files(service, folder);
        if file.bytes.is_some_and(|bytes| bytes > 0)
            && let Err(error) = load(service, folder, most_rows, &mut file, &mut facts)
        {
            file.errors.push(words(&error));
        }
        facts.files.push(file);
    }
    facts
}

fn look_at_files(service: Service, folder: &Path) -> FileFacts {
    let main = folder.join(service.database_file());
    let mut file = FileFacts {
        name: service.database_file(),
        journal: beside(&main, "-journal")
            .metadata()
            .is_ok_and(|journal| journal.len() > 0),
        ..FileFacts::default()
    };
    match copying::open_regular(&main) {
        Err(error) if error.is_missing() => {}
        Err(error) => file.errors.push(words(&error)),
        Ok(opened) => {
            file.bytes = opened.metadata().ok().map(|metadata| metadata.len());
            // A shorter file leaves a shorter header, which the rules see.
            let _ = opened.take(128).read_to_end(&mut file.header);
        }
    }
    match wal_facts(&beside(&main, "-wal")) {
        Ok(wal) => file.wal = wal,
        Err(error) => file.errors.push(words(&error)),
    }
    file
}

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
enum LoadError {
    #[error(transparent)]
    Database(#[from] DatabaseError),
    #[error(transparent)]
    Consolidate(#[from] crate::snapshot::consolidate::ConsolidateError),
    #[error(transparent)]
    Raw(#[from] crate::snapshot::raw::RawError),
    #[error("no temporary folder for a copy of the set")]
    Scratch(#[from] std::io::Error),
}

fn load(service: Service, folder: &Path, most: u64, file: &mut FileFacts, facts: &mut Facts) -> Result<(), LoadError> {
    let plain = folder.join(service.database_file());
    if ["-wal", "-shm"].iter().all(|suffix| !beside(&plain, suffix).exists()) {
        return load_plain(service, &plain, most, file, facts);
    }
    let scratch = tempfile::tempdir()?;
    let made = consolidate(&observe_set(service, folder)?, scratch.path())?;
    load_plain(service, &made.path, most, file, facts)
}

fn load_plain(
    service: Service,
    path: &Path,
    most: u64,
    file: &mut FileFacts,
    facts: &mut Facts,
) -> Result<(), LoadError> {
    let database = Database::open(path)?;
    file.pragmas = Some(digest::pragmas(&database)?);
    file.schema = schema_rows(&database)?;
    let schema = SchemaFacts::of(&file.schema);
    file.prints = Some(schema.fingerprints());
    let words_of = |error: &DatabaseError| words(error);
    match database.rows("PRAGMA integrity_check(200)", &[]) {
        Ok(rows) => file.integrity.extend(
            rows.iter()
                .filter_map(|row| row.text("integrity_check").map(str::to_owned)),
        ),
        Err(error) => file.errors.push(words_of(&error)),
    }
    file.integrity.retain(|message| message != "ok");
    match unlawful(&database) {
        Ok(found) => file.integrity.extend(found),
        Err(error) => file.errors.push(words_of(&error)),
    }
    match database.rows("PRAGMA foreign_key_check", &[]) {
        Ok(rows) => file.orphans.extend(rows.iter().map(|row| {
            let rowid = row
                .integer("rowid")
                .map_or_else(|| "?".to_owned(), |rowid| rowid.to_string());
            (row.text("table").unwrap_or_default().to_owned(), rowid)
        })),
        Err(error) => file.errors.push(words_of(&error)),
    }
    check_constraints(&database, &schema, file);
    for name in database.content_tables()? {
        match load_table(&database, service, &name, most) {
            Ok(Ok(table)) => {
                facts.tables.insert(name, table);
            }
            Ok(Err(reason)) => {
                facts.unloaded.insert(name, reason);
            }
            Err(error) => {
                file.errors.push(words(&error));
                facts.unloaded.insert(name.clone(), format!("{name} cannot be read"));
            }
        }
    }
    if file.schema.objects.iter().any(|object| object.name == "sqlite_stat1") {
        let rows = database.rows("SELECT tbl, idx, stat FROM sqlite_stat1", &[])?;
        file.statistics.extend(rows.iter().filter_map(|row| {
            let first = row
                .text("stat")
                .and_then(|stat| stat.split(' ').next())
                .and_then(|word| word.parse().ok());
            let index = row.text("idx").unwrap_or_default().to_owned();
            Some((row.text("tbl")?.to_owned(), index, first.unwrap_or(-1)))
        }));
    }
    let small = path
        .metadata()
        .is_ok_and(|metadata| metadata.len() <= MOST_CARVED_BYTES);
    if service == Service::Bus && small {
        file.pages = std::fs::read(path)?;
    }
    Ok(())
}

/// Holds the CHECK constraints: SQLite does not even parse those of a file that it opened read-only, so `integrity_check`
/// is silent about them.
fn check_constraints(database: &Database, schema: &SchemaFacts, file: &mut FileFacts) {
    for check in &schema.checks {
        let Some((table, expression)) = check.split_once(": ") else {
            continue;
        };
        let sql = format!(
            "SELECT rowid FROM {} NOT INDEXED WHERE NOT ({expression}) LIMIT 20",
            quoted(table)
        );
        match database.rows(&sql, &[]) {
            Ok(rows) => {
                let told = rows
                    .iter()
                    .map(|row| format!("CHECK constraint failed in {table}, rowid {:?}", row.integer("rowid")));
                file.integrity.extend(told);
            }
            Err(error) => file.errors.push(words(&error)),
        }
    }
}

/// The table, or why it is too large to be loaded.
fn load_table(
    database: &Database,
    service: Service,
    name: &str,
    most: u64,
) -> Result<Result<Table, String>, DatabaseError> {
    let columns: Vec<String> = database
        .rows("SELECT name FROM pragma_table_info(?1) ORDER BY cid", &[name])?
        .iter()
        .filter_map(|row| row.text("name").map(str::to_owned))
        .collect();
    let mut rows = Vec::new();
    let mut count = 0_u64;
    // Not `*`: a generated column may make of each row whatever it wants.
    let stored: Vec<String> = columns.iter().map(|column| format!(", {}", quoted(column))).collect();
    let sql = format!("SELECT rowid{} FROM {} NOT INDEXED", stored.concat(), quoted(name));
    let mut bytes = 0_usize;
    database.each(&sql, |row| {
        count += 1;
        for at in 1..=columns.len() {
            bytes += match row.get_ref(at)? {
                ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
                ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
            };
        }
        if bytes > MOST_BYTES {
            rows.clear();
        } else if count <= most {
            let cells = (1..=columns.len()).map(|at| Ok(Cell::from(row.get_ref(at)?)));
            rows.push((row.get(0)?, cells.collect::<rusqlite::Result<Vec<Cell>>>()?));
        }
        Ok(())
    })?;
    if count > most {
        return Ok(Err(format!("{name} has {count} rows, more than {most}")));
    }
    if bytes > MOST_BYTES {
        return Ok(Err(format!("{name} has {bytes} bytes, more than {MOST_BYTES}")));
    }
    Ok(Ok(Table {
        name: name.to_owned(),
        file: service.database_file(),
        columns,
        rows,
    }))
}

fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Facts {
    /// All loaded tables.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// The rows of a table; none when there is no such table.
    pub(super) fn rows(&self, table: &str) -> impl DoubleEndedIterator<Item = Record<'_>> {
        self.tables.get(table).into_iter().flat_map(Table::records)
    }

    /// How many rows a table has.
    pub(super) fn count(&self, table: &str) -> usize {
        self.tables.get(table).map_or(0, |table| table.rows.len())
    }

    /// Why a table was not loaded, if it was not.
    pub(super) fn unloaded(&self, table: &str) -> Option<&str> {
        self.unloaded.get(table).map(String::as_str)
    }

    /// The rows of a table with this text in a column.
    pub(super) fn of(&self, table: &'static str, column: &'static str, value: &str) -> Vec<Record<'_>> {
        let Some(rows) = self.tables.get(table) else {
            return Vec::new();
        };
        let group = self.group(table, column, rows);
        let found = group.get(value).map(Vec::as_slice).unwrap_or_default();
        found.iter().map(|at| Record { table: rows, at: *at }).collect()
    }

    /// The first row of a table with this text in a column.
    pub(super) fn find(&self, table: &'static str, column: &'static str, value: &str) -> Option<Record<'_>> {
        let rows = self.tables.get(table)?;
        let at = *self.group(table, column, rows).get(value)?.first()?;
        Some(Record { table: rows, at })
    }

    /// The row of a table with this integer key.
    pub(super) fn by_id(&self, table: &str, id: i64) -> Option<Record<'_>> {
        let rows = self.tables.get(table)?;
        let at = rows.rows.binary_search_by_key(&id, |(rowid, _)| *rowid).ok()?;
        Some(Record { table: rows, at })
    }

    fn group(&self, table: &'static str, column: &'static str, rows: &Table) -> Arc<Group> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry((table, column)).or_insert_with(|| {
            let mut group = Group::new();
            for record in rows.records() {
                if let Some(text) = record.text(column) {
                    group.entry(text.to_owned()).or_default().push(record.at);
                }
            }
            Arc::new(group)
        });
        Arc::clone(group)
    }

    /// Whether an agent of this id is registered here.
    pub(super) fn registered(&self, beam_id: &str) -> bool {
        self.find("agents", "beam_id", beam_id).is_some()
    }

    /// The audit rows of an action in their order.
    pub(super) fn audited(&self, action: &str) -> Vec<Record<'_>> {
        self.of("audit_log", "action", action)
    }

    /// The largest server time that audit rows carry for this action and target.
    pub(super) fn last_audit(&self, actions: &[&str], target: &str) -> Option<Record<'_>> {
        let rows = self.of("audit_log", "target", target);
        rows.into_iter().rfind(|row| actions.contains(&row.str("action")))
    }

    /// Why rows of a dataset may lawfully be missing: `intents`, `traces`, `audit` or `shield` was pruned.
    pub(super) fn pruned(&self, dataset: &str) -> Option<String> {
        let of_it =
            |row: &&Record<'_>| row.str("target") == dataset && row.json("details")["deleted"].as_i64() != Some(0);
        let rows = self.audited("observability.prune");
        let row = rows.iter().find(of_it)?;
        Some(format!("audit row {} says that {dataset} were pruned", row.rowid()))
    }

    /// Why requests may lawfully be missing: the waitlist was cleared.
    pub(super) fn cleared(&self) -> Option<String> {
        let rows = self.audited("admin.waitlist.cleared");
        let row = rows.first()?;
        Some(format!("audit row {} says that the waitlist was cleared", row.rowid()))
    }

    /// Why rows of an agent may lawfully be missing: it looks as if an agent was deleted.
    pub(super) fn agent_deleted(&self) -> Option<String> {
        self.deleted.get_or_init(|| self.find_deleted()).clone()
    }

    fn find_deleted(&self) -> Option<String> {
        let gone = |beam_id: &str| beam_id != "echo@beam.directory" && !self.registered(beam_id);
        let row = self.rows("intent_trace_events").find(|row| {
            self.find("intent_log", "nonce", row.str("nonce")).is_none()
                && (gone(row.str("from_beam_id")) || gone(row.str("to_beam_id")))
        })?;
        Some(format!(
            "trace row {} looks like one of an agent that was deleted",
            row.rowid()
        ))
    }

    /// Why an intent row may lawfully be missing.
    pub(super) fn intents_gone(&self) -> Option<String> {
        self.pruned("intents").or_else(|| self.agent_deleted())
    }

    /// Why intent ids may have gaps: a nonce that was claimed again burns an id (contract 2.7).
    pub(super) fn reclaimed(&self) -> Option<String> {
        self.reclaimed.get_or_init(|| self.find_reclaimed()).clone()
    }

    fn find_reclaimed(&self) -> Option<String> {
        let retried = self
            .rows("beam_messages")
            .find(|row| row.int("retry_count").is_some_and(|count| count >= 2));
        let retried = retried.or_else(|| {
            let in_flight = |row: &Record<'_>| {
                matches!(
                    row.str("status"),
                    "received" | "validated" | "queued" | "dispatched" | "delivered"
                )
            };
            self.rows("intent_log").filter(in_flight).find(|row| {
                let trace = self.of("intent_trace_events", "nonce", row.str("nonce"));
                trace.iter().any(|event| event.str("stage") == "failed")
            })
        });
        let retried = retried.or_else(|| {
            self.rows("intent_trace_events")
                .find(|row| row.str("details").contains("\"transport\":\"recovery\""))
        })?;
        Some(format!("{} may have been claimed again", retried.subject()))
    }
}
