//! `schema-upgrade`: older snapshots restored into the present services, and what the way back would lose.
//!
//! Older sets are the recorded ones, and one of the locked schema with their rows. Each is started on once. What the start
//! added is taken back in a copy of the files; then only predicted changes of rows may be left. There is no older service to
//! start: what it would not know is said from the schemas.

use crate::checks::prediction::Window;
use crate::checks::startup_diff;
use crate::deployment::Service;
use crate::deployment::schema::Schema;
use crate::deployment::schema_change::{Class, SchemaChange};
use crate::deployment::way_back::going_back;
use crate::drills::at_rest::{Judged, judged, record};
use crate::drills::context::{DrillContext, Stop, private_folder};
use crate::drills::instances::Deployment;
use crate::drills::reference::workspace_root;
use crate::drills::schema_gate::{SchemaError, locks_folder, of_file};
use crate::drills::{Ending, restoring, source};
use crate::evidence::{CheckId, Finding, Judgement};
use crate::gate::changes::changes;
use crate::gate::lock;
use crate::gate::upgrade::{WAY_BACK, expected_of};
use crate::snapshot::consolidate::consolidate;
use crate::snapshot::database::{Database, DatabaseError, Databases, quoted};
use crate::snapshot::file_set::usual;
use crate::snapshot::raw::copy_set;
use crate::snapshot::schema_rows::schema;
use crate::snapshot::{TakeError, independent_copy};
use std::fs;
use std::path::{Path, PathBuf};

/// The drill's name.
pub const NAME: &str = "schema-upgrade";

/// Recorded sets that the present services must start on.
const RECORDED: [&str; 2] = ["at-rest", "hot-crash"];

/// The set whose rows the set of the locked schema gets.
const ROWS_OF: &str = "at-rest";

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
enum UpgradeError {
    #[error(transparent)]
    Start(#[from] crate::drills::instances::StartError),
    #[error("cannot stop the services")]
    Process(#[from] crate::runtime::process::ProcessError),
    #[error("cannot copy a set")]
    Copy(#[from] TakeError),
    #[error("cannot read a lock")]
    Lock(#[from] lock::LockError),
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("cannot read a set")]
    Database(#[from] DatabaseError),
    #[error("cannot make {path}")]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot fill a set of the locked schema")]
    Fill(#[source] rusqlite::Error),
}

/// The drill.
///
/// # Errors
/// [`Ending::Usage`] before anything was started; [`Ending::Stop`] when a step cannot be done.
pub async fn run(context: &mut DrillContext) -> Result<(), Ending> {
    let mut deployment = source::deployment(context).await?;
    let prepared = restoring::prove_clean(context, &mut deployment, &[], None).await?;
    let fresh = fresh(context, &prepared.plain).await?;
    for name in RECORDED {
        let folder = workspace_root().join("fixtures/snapshots").join(name);
        let set = adopt(context, name, &folder).await?;
        one(context, &mut deployment, name, &set, &fresh).await?;
    }
    let set = of_the_lock(context).await?;
    one(context, &mut deployment, "locked schema", &set, &fresh).await?;
    way_back(context, &fresh).await?;
    source::keep_logs(context);
    Ok(())
}

/// The schemas that the present services create: directory, bus.
async fn fresh(context: &mut DrillContext, plain: &Path) -> Result<[Schema; 2], Stop> {
    context
        .step("read what the services create", async {
            let [directory, bus] = Service::ALL.map(|service| of_file(&plain.join(service.database_file())));
            let both = [directory?, bus?];
            let objects: usize = both.iter().map(|one| one.facts.shape.len()).sum();
            Ok::<_, UpgradeError>((both, format!("{objects} elements")))
        })
        .await
}

/// Plain copies of a recorded set.
async fn adopt(context: &mut DrillContext, name: &str, from: &Path) -> Result<PathBuf, Stop> {
    let into = context.folders.work.join(format!("old-{name}"));
    context
        .step(&format!("take the older set {name}"), async {
            folder(&into)?;
            for service in Service::ALL {
                let raw =
                    copy_set(&usual(service, from), &into.join(format!("raw-{service}"))).map_err(TakeError::from)?;
                consolidate(&raw, &into).map_err(TakeError::from)?;
            }
            Ok::<_, UpgradeError>((into, String::new()))
        })
        .await
}

/// A set of the locked schemas with the rows of a recorded set, as far as they fit.
async fn of_the_lock(context: &mut DrillContext) -> Result<PathBuf, Stop> {
    let locks = older_locks(context);
    let into = context.folders.work.join("old-locked");
    let rows = context.folders.work.join(format!("old-{ROWS_OF}"));
    context
        .step("make an older set of the locked schema", async {
            folder(&into)?;
            let mut filled = 0;
            for service in Service::ALL {
                let file = into.join(service.database_file());
                lock::make_database(&locks, service, &file)?;
                filled += fill(&file, &rows.join(service.database_file()))?;
            }
            Ok::<_, UpgradeError>((into, format!("{filled} rows of {ROWS_OF}")))
        })
        .await
}

/// The locks that were there before.
fn older_locks(context: &DrillContext) -> PathBuf {
    let asked = context.request.older_locks.clone();
    asked.unwrap_or_else(locks_folder)
}

/// Copies the rows of all tables and columns that both files have; the number of rows copied.
fn fill(file: &Path, from: &Path) -> Result<usize, UpgradeError> {
    let (old, new) = (Database::open(from)?, Database::open(file)?);
    let theirs = old.content_tables()?;
    let mut statements = Vec::new();
    for table in new.content_tables()?.into_iter().filter(|table| theirs.contains(table)) {
        let known = old.columns(&table)?;
        let mut shared = new.columns(&table)?;
        shared.retain(|column| known.iter().any(|other| other.0 == column.0));
        let names: Vec<String> = shared.iter().map(|(name, _)| quoted(name)).collect();
        let names = names.join(", ");
        statements.push(format!(
            "INSERT OR IGNORE INTO main.{0} ({names}) SELECT {names} FROM old.{0}",
            quoted(&table)
        ));
    }
    drop((old, new));
    let filled = || {
        let connection = rusqlite::Connection::open(file)?;
        connection.execute_batch("PRAGMA foreign_keys=OFF; PRAGMA synchronous=OFF")?;
        connection.execute("ATTACH ?1 AS old", [from.display().to_string()])?;
        connection.execute_batch("BEGIN")?;
        let mut rows = 0;
        for statement in &statements {
            rows += connection.execute(statement, [])?;
        }
        connection.execute_batch("COMMIT")?;
        Ok(rows)
    };
    filled().map_err(UpgradeError::Fill)
}

/// Starts the present services on a copy of an older set, stops them, and judges what became of it.
async fn one(
    context: &mut DrillContext,
    deployment: &mut Deployment,
    name: &str,
    old: &Path,
    fresh: &[Schema; 2],
) -> Result<(), Stop> {
    context.outage_begins();
    let (work, logs) = (context.folders.work.clone(), context.folders.work.join("logs"));
    let place = work.join(format!("upgraded-{}", name.replace(' ', "-")));
    let after = place.join("after");
    let window = context
        .step(&format!("start on the older set {name}"), async {
            folder(&place)?;
            let databases = Service::ALL.map(|service| place.join(service.database_file()));
            for (service, database) in Service::ALL.into_iter().zip(&databases) {
                fs::copy(old.join(service.database_file()), database).map_err(|source| UpgradeError::Folder {
                    path: database.clone(),
                    source,
                })?;
            }
            let mut pair = deployment.start(&databases, &logs, "upgraded").await?;
            let started = pair.directory.started_at.min(pair.bus.started_at).as_millisecond();
            pair.stop(&deployment.environment).await?;
            let window = Window {
                start_requested_ms: started,
                looked_at_ms: jiff::Timestamp::now().as_millisecond(),
            };
            for service in Service::ALL {
                independent_copy(&usual(service, &place), &after)?;
            }
            Ok::<_, UpgradeError>((window, source::started(&pair)))
        })
        .await?;
    let judged = look(name, old, &after, fresh, window);
    record(context, judged);
    Ok(())
}

/// The schema of each service after the start, and its rows once what the start added is taken back.
fn look(name: &str, old: &Path, after: &Path, fresh: &[Schema; 2], window: Window) -> Vec<Judged> {
    let mut all = Vec::new();
    let mut refused = Vec::new();
    for (service, fresh) in Service::ALL.into_iter().zip(fresh) {
        let (before, file) = (old.join(service.database_file()), after.join(service.database_file()));
        let looked = || {
            let read = |path: &Path| Database::open(path).and_then(|database| schema(&database));
            Ok::<_, DatabaseError>([read(&before)?, read(&file)?])
        };
        all.push(judged(CheckId::Schema, Some(service), looked, |[was, is]| {
            judge_schema(name, service, was, is, fresh)
        }));
        refused.extend(take_back(&before, &file));
    }
    let look = || {
        let (before, after) = (Databases::open(old)?, Databases::open(after)?);
        startup_diff::observe(&before, &after, window)
    };
    all.push(judged(CheckId::StartupDiff, None, look, |facts| {
        let mut judged = startup_diff::judge(facts);
        judged.findings.extend(refused.iter().cloned());
        for finding in &mut judged.findings {
            finding.place = format!("{}, older set {name}", finding.place);
        }
        judged
    }));
    for one in &mut all {
        one.expecting(|expected| expected_of(name, expected));
    }
    all
}

/// Only compatible changes may have happened to an older file, and afterwards it must have all that a new one has. A CHECK
/// that it lacks is a note, since no start adds one, and so is what it kept although a new file has it no more.
fn judge_schema(name: &str, service: Service, was: &Schema, is: &Schema, fresh: &Schema) -> Judgement {
    let place = format!("{} of the older set {name}", service.database_file());
    let (happened, missing) = (changes(was, is), changes(is, fresh));
    let meant = changes(was, fresh);
    let mut judged = Judgement {
        items: (is.facts.shape.len() + is.facts.checks.len()) as u64,
        expected: "everything old, and what a new file has".to_owned(),
        observed: format!(
            "{} changes by the start, {} differences from a new file",
            happened.len(),
            missing.len()
        ),
        ..Judgement::default()
    };
    // A rename that new files have too was moved with what it holds; the rows are compared under the old name.
    let is_moved = |change: &SchemaChange| {
        let same = |other: &SchemaChange| other.subject == change.subject && other.what == change.what;
        is_rename(change) && meant.iter().any(same)
    };
    for change in happened {
        if change.class == Class::Breaking && !is_moved(&change) {
            let finding = Finding::new(change.subject, "as it was", change.what, place.clone());
            judged.findings.push(finding);
        } else {
            judged
                .notes
                .push(format!("{place}: {} {}", change.subject, change.what));
        }
    }
    // What the services call otherwise now has to be moved by the start: under the old name nothing reads it.
    let is_left = |change: &&SchemaChange| {
        let table = change.locked_table.as_deref().unwrap_or(&change.table);
        let left = match change.subject.split(' ').next() {
            Some("table") => format!("table {table}"),
            Some("column") => format!("column {table}.{}", change.locked_name.as_deref().unwrap_or_default()),
            _ => return false,
        };
        is_rename(change) && is.facts.shape.contains_key(&left)
    };
    for change in meant.iter().filter(is_left) {
        judged.findings.push(Finding::new(
            change.subject.clone(),
            format!("{}, with what it holds", change.what),
            "left under the old name, where nothing reads it",
            place.clone(),
        ));
    }
    for change in missing {
        if change.subject.starts_with("CHECK ") || change.what.starts_with("dropped") {
            let told = format!("{place}: in a new file {} is {}", change.subject, change.what);
            judged.notes.push(told);
        } else {
            let expected = format!("{} in a new file", change.what);
            judged
                .findings
                .push(Finding::new(change.subject, expected, "not so", place.clone()));
        }
    }
    judged
}

/// Whether a table or column has another name.
fn is_rename(change: &SchemaChange) -> bool {
    let kind = change.subject.split(' ').next();
    change.what.starts_with("renamed") && matches!(kind, Some("table" | "column"))
}

/// Takes what a start added to the file or renamed in it back, so that its rows can be compared with the older ones.
fn take_back(before: &Path, file: &Path) -> Vec<Finding> {
    let read = |path: &Path| Database::open(path).and_then(|database| schema(&database));
    // What cannot be read is told by the look at the schema.
    let (Ok(was), Ok(is)) = (read(before), read(file)) else {
        return Vec::new();
    };
    let mut added: Vec<SchemaChange> = changes(&was, &is);
    added.retain(|change| change.class == Class::Compatible || is_rename(change));
    // Indexes first: a column that one speaks of cannot be dropped. Renamed tables last: columns are told under the new name.
    added.sort_by_key(|change| match (is_rename(change), change.subject.split(' ').next()) {
        (true, Some("table")) => 3,
        (true, _) => 2,
        (false, Some("index")) => 0,
        _ => 1,
    });
    let mut findings = Vec::new();
    for change in added {
        let Some(statement) = drop_statement(&change) else {
            continue;
        };
        let dropped = rusqlite::Connection::open(file).and_then(|connection| connection.execute_batch(&statement));
        if let Err(error) = dropped {
            findings.push(Finding::new(
                change.subject,
                "can be taken back",
                error.to_string(),
                statement,
            ));
        }
    }
    findings
}

fn drop_statement(change: &SchemaChange) -> Option<String> {
    let (kind, rest) = change.subject.split_once(' ')?;
    let new = change.observed_name.as_deref().filter(|_| is_rename(change));
    match kind {
        "table" if is_rename(change) => {
            let new = change.what.strip_prefix("renamed to ")?;
            Some(format!("ALTER TABLE {} RENAME TO {}", quoted(new), quoted(rest)))
        }
        "column" if new.is_some() => Some(format!(
            "ALTER TABLE {} RENAME COLUMN {} TO {}",
            quoted(&change.table),
            quoted(new?),
            quoted(change.locked_name.as_deref()?)
        )),
        "table" | "view" => Some(format!("DROP {kind} {}", quoted(rest))),
        "index" => rest
            .rsplit_once(" on ")
            .map(|(name, _)| format!("DROP INDEX {}", quoted(name))),
        "column" => {
            let column = rest.strip_prefix(change.table.as_str())?.strip_prefix('.')?;
            Some(format!(
                "ALTER TABLE {} DROP COLUMN {}",
                quoted(&change.table),
                quoted(column)
            ))
        }
        _ => None,
    }
}

/// Says what services of the locked schema would lose of a new snapshot.
async fn way_back(context: &mut DrillContext, fresh: &[Schema; 2]) -> Result<(), Stop> {
    let locks = older_locks(context);
    context
        .step(WAY_BACK, async {
            let mut lost = Vec::new();
            for (service, fresh) in Service::ALL.into_iter().zip(fresh) {
                let locked = lock::read(&locks, service)?;
                let all = changes(&locked.schema, fresh);
                lost.extend(
                    all.iter()
                        .map(|change| format!("{} {}: {}", change.subject, change.what, going_back(change))),
                );
            }
            let told = if lost.is_empty() {
                "nothing would be lost: the services create the locked schemas".to_owned()
            } else {
                lost.join("; ")
            };
            Ok::<_, UpgradeError>(((), told))
        })
        .await
}

fn folder(path: &Path) -> Result<(), UpgradeError> {
    private_folder(path).map_err(|source| UpgradeError::Folder {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::schema_rows::schema_of_sql;

    const OLD: &str = "CREATE TABLE seats (id TEXT PRIMARY KEY, owner TEXT, note TEXT);";

    fn judged(is: &str, fresh: &str) -> Vec<String> {
        let of = |sql: &str| schema_of_sql(sql, Path::new("test.sql")).expect("a schema");
        let judged = judge_schema("test", Service::Bus, &of(OLD), &of(is), &of(fresh));
        judged.findings.into_iter().map(|finding| finding.subject).collect()
    }

    #[test]
    fn a_table_or_column_that_is_called_otherwise_has_to_be_moved() {
        let chairs = OLD.replace("seats", "chairs");
        assert_eq!(judged(&format!("{OLD} {chairs}"), &chairs), ["table seats"]);
        let holder = OLD.replace("owner TEXT", "holder TEXT");
        let both = OLD.replace("owner TEXT", "owner TEXT, holder TEXT");
        assert_eq!(judged(&both, &holder), ["column seats.owner"]);
        assert_eq!(judged(&chairs, &chairs), [""; 0], "moved");
        assert_eq!(
            judged(&holder, OLD).first().map(String::as_str),
            Some("column seats.owner"),
            "by the start alone"
        );
    }

    #[test]
    fn a_rename_is_taken_back_with_its_rows() {
        let folder = tempfile::tempdir().expect("a folder");
        let [before, file] = ["before", "file"].map(|name| folder.path().join(name));
        let make = |path: &Path, sql: &str| {
            let made = rusqlite::Connection::open(path).and_then(|connection| connection.execute_batch(sql));
            made.expect("made");
        };
        let rows = "INSERT INTO seats VALUES ('a', 'b', 'c');";
        make(&before, &format!("{OLD} {rows}"));
        make(
            &file,
            &format!(
                "{OLD} {rows} ALTER TABLE seats RENAME COLUMN owner TO holder; ALTER TABLE seats ADD COLUMN more TEXT;"
            ),
        );
        assert_eq!(take_back(&before, &file), []);
        let read = |path: &Path| {
            schema(&Database::open(path).expect("opened"))
                .expect("read")
                .facts
                .shape
        };
        assert_eq!(read(&file), read(&before));
        make(
            &file,
            "ALTER TABLE seats RENAME TO chairs; CREATE INDEX i ON chairs (note);",
        );
        assert_eq!(take_back(&before, &file), []);
        assert_eq!(read(&file), read(&before));
        let owner = rusqlite::Connection::open(&file)
            .and_then(|connection| connection.query_row("SELECT owner FROM seats", [], |row| row.get::<_, String>(0)));
        assert_eq!(owner.expect("the row"), "b");
    }

    #[test]
    fn what_a_start_adds_to_an_older_file_is_no_finding_and_what_it_leaves_out_is() {
        let more = OLD.replace("note TEXT", "note TEXT, region TEXT");
        assert_eq!(judged(&more, &more), [""; 0]);
        assert_eq!(judged(OLD, &more), ["column seats.region"]);
        let without = OLD.replace(", note TEXT", "");
        assert_eq!(judged(OLD, &without), [""; 0], "the old file keeps it");
        assert_eq!(
            judged(&without, &without),
            ["column seats.note"],
            "the start dropped it"
        );
    }
}
