//! `integrity`: are pages, indexes, constraints and foreign keys sound?
//!
//! `PRAGMA integrity_check` and `foreign_key_check` on a scratch copy, every UNIQUE index really unique by a scan of the
//! *table*, a file header that the file format allows, and SQLite's own rows in the schema. An `ok` says nothing about completeness: that is `content`'s question.

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::copying::{self, CopyError};
use crate::snapshot::database::{Database, DatabaseError, quoted};
use crate::snapshot::header::violations;
use crate::snapshot::internal_objects::unlawful;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The check.
pub const ID: CheckId = CheckId::Integrity;
const MESSAGE_CAP: usize = 1_000;

/// Why it could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// No scratch folder.
    #[error("cannot make a scratch folder in {path}")]
    Scratch {
        /// The parent folder.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// No scratch copy.
    #[error("cannot make a scratch copy for the integrity check")]
    Copy {
        /// The cause.
        #[from]
        source: CopyError,
    },
}

/// A row whose parent is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// The child table.
    pub table: String,
    /// The child's rowid; `None` in a WITHOUT ROWID table.
    pub rowid: Option<i64>,
    /// The parent table.
    pub parent: String,
    /// The child's columns of that foreign key.
    pub columns: String,
}

/// Values that stand more than once in a UNIQUE index's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duplicate {
    /// The table.
    pub table: String,
    /// The index.
    pub index: String,
    /// How many distinct values stand more than once.
    pub values: i64,
}

/// What was seen of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Whose file.
    pub service: Service,
    /// Objects looked at: tables and indexes.
    pub objects: u64,
    /// What the header holds against the file format, messages of `integrity_check` other than `ok`, and what kept it from
    /// ending.
    pub messages: Vec<String>,
    /// Rows without their parent.
    pub orphans: Vec<Orphan>,
    /// UNIQUE that is not.
    pub duplicates: Vec<Duplicate>,
}

/// Looks at a scratch copy of a plain file; the copy is made in `scratch` and removed.
///
/// # Errors
/// [`ObserveError`]. A damaged file is no error: what SQLite says of it becomes a message.
pub fn observe(service: Service, path: &Path, scratch: &Path) -> Result<Facts, ObserveError> {
    let folder = tempfile::tempdir_in(scratch).map_err(|source| ObserveError::Scratch {
        path: scratch.to_owned(),
        source,
    })?;
    let copy = folder.path().join(service.database_file());
    copying::copy_scratch(path, &copy)?;
    let mut facts = Facts {
        service,
        objects: 0,
        messages: Vec::new(),
        orphans: Vec::new(),
        duplicates: Vec::new(),
    };
    facts.messages.extend(header(&copy));
    if let Err(error) = look(&copy, &mut facts) {
        facts.messages.push(said(&error));
    }
    Ok(facts)
}

/// What the file format forbids in the header: `integrity_check` reads none of it.
fn header(copy: &Path) -> Vec<String> {
    let mut start = Vec::new();
    let read = File::open(copy).and_then(|file| {
        let bytes = file.metadata()?.len();
        file.take(256).read_to_end(&mut start)?;
        Ok(bytes)
    });
    // A file that cannot be read is told of when it is opened.
    let found = read.map(|bytes| violations(&start, bytes)).unwrap_or_default();
    found.iter().map(ToString::to_string).collect()
}

fn look(copy: &Path, facts: &mut Facts) -> Result<(), DatabaseError> {
    let database = Database::open_scratch(copy)?;
    let objects = database.rows(
        "SELECT count(*) AS n FROM sqlite_schema WHERE type IN ('table', 'index')",
        &[],
    )?;
    facts.objects = objects[0].integer("n").unwrap_or(0).unsigned_abs();
    // Each question is asked even when another could not be answered.
    let answers = [
        pages(&database, facts),
        unlawful(&database).map(|found| facts.messages.extend(found)),
        orphans(&database, facts),
        duplicates(&database, facts),
    ];
    for error in answers.into_iter().filter_map(Result::err) {
        facts.messages.push(said(&error));
    }
    Ok(())
}

fn pages(database: &Database, facts: &mut Facts) -> Result<(), DatabaseError> {
    for row in database.rows(&format!("PRAGMA integrity_check({MESSAGE_CAP})"), &[])? {
        let message = row.text("integrity_check").unwrap_or_default();
        if message != "ok" {
            facts.messages.push(message.to_owned());
        }
    }
    Ok(())
}

fn orphans(database: &Database, facts: &mut Facts) -> Result<(), DatabaseError> {
    for row in database
        .rows("PRAGMA foreign_key_check", &[])?
        .into_iter()
        .take(MESSAGE_CAP)
    {
        let table = row.text("table").unwrap_or_default().to_owned();
        let id = row.integer("fkid").unwrap_or(-1).to_string();
        let sql =
            "SELECT group_concat(\"from\", ', ') AS c FROM pragma_foreign_key_list(?1) WHERE id=CAST(?2 AS INTEGER)";
        let columns = database.rows(sql, &[&table, &id])?;
        facts.orphans.push(Orphan {
            rowid: row.integer("rowid"),
            parent: row.text("parent").unwrap_or_default().to_owned(),
            columns: columns[0].text("c").unwrap_or_default().to_owned(),
            table,
        });
    }
    Ok(())
}

fn duplicates(database: &Database, facts: &mut Facts) -> Result<(), DatabaseError> {
    let sql = "SELECT t.name AS t, i.name AS i FROM sqlite_schema t JOIN pragma_index_list(t.name) i \
               WHERE t.type='table' AND i.\"unique\"=1 AND i.partial=0 AND i.origin<>'pk' ORDER BY 1, 2";
    for index in database.rows(sql, &[])? {
        let (table, name) = (index.text("t").unwrap_or_default(), index.text("i").unwrap_or_default());
        let sql = "SELECT name, coll FROM pragma_index_xinfo(?1) WHERE key=1 ORDER BY seqno";
        let columns = database.rows(sql, &[name])?;
        let Some(named): Option<Vec<String>> = columns
            .iter()
            .map(|column| {
                Some(format!(
                    "{} COLLATE {}",
                    quoted(column.text("name")?),
                    column.text("coll")?
                ))
            })
            .collect()
        else {
            // An index on an expression: integrity_check looks at it.
            continue;
        };
        let present: Vec<String> = columns
            .iter()
            .filter_map(|column| Some(format!("{} IS NOT NULL", quoted(column.text("name")?))))
            .collect();
        let sql = format!(
            "SELECT count(*) AS n FROM (SELECT 1 FROM {} NOT INDEXED WHERE {} GROUP BY {} HAVING count(*) > 1)",
            quoted(table),
            present.join(" AND "),
            named.join(", ")
        );
        let values = database.rows(&sql, &[])?[0].integer("n").unwrap_or(0);
        if values > 0 {
            facts.duplicates.push(Duplicate {
                table: table.to_owned(),
                index: name.to_owned(),
                values,
            });
        }
    }
    Ok(())
}

fn said(error: &DatabaseError) -> String {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let what = match error {
        DatabaseError::Open { .. } => "cannot be opened".to_owned(),
        DatabaseError::Read { what, .. } | DatabaseError::Endless { what, .. } => {
            format!("cannot be read ({})", short(what))
        }
    };
    format!("{what}{}", cause.unwrap_or_default())
}

/// Judges: no message, no orphan, no duplicate.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let place = format!("snapshot {}", facts.service.database_file());
    let mut judged = Judgement {
        items: facts.objects,
        expected: "sound pages, indexes, keys".to_owned(),
        observed: format!(
            "{} tables and indexes, {} messages, {} orphans, {} duplicates",
            facts.objects,
            facts.messages.len(),
            facts.orphans.len(),
            facts.duplicates.len()
        ),
        ..Judgement::default()
    };
    for message in &facts.messages {
        judged
            .findings
            .push(Finding::new(named_object(message), "ok", short(message), place.clone()));
    }
    for orphan in &facts.orphans {
        let rowid = orphan.rowid.map_or_else(|| "?".to_owned(), |rowid| rowid.to_string());
        let subject = format!("{}[rowid={rowid}] {}", orphan.table, orphan.columns);
        let observed = format!("no such row in {}", orphan.parent);
        judged.findings.push(Finding::new(
            subject,
            "a row of its parent table",
            observed,
            place.clone(),
        ));
    }
    for duplicate in &facts.duplicates {
        let subject = format!("{} of {}", duplicate.index, duplicate.table);
        let observed = format!("{} values more than once", duplicate.values);
        judged
            .findings
            .push(Finding::new(subject, "every value once", observed, place.clone()));
    }
    judged
}

/// The table or index that a message of `integrity_check` speaks of.
fn named_object(message: &str) -> String {
    let named = message.split_once(": ").map(|(subject, _)| subject);
    if let Some(subject) = named.filter(|name| name.starts_with("header field ") || name.starts_with("schema row ")) {
        return subject.to_owned();
    }
    let after = |word: &str| {
        let rest = message.split_once(word)?.1;
        rest.split(|c: char| c.is_whitespace() || c == ':')
            .next()
            .map(str::to_owned)
    };
    after("from index ")
        .or_else(|| after("in index "))
        .or_else(|| after("constraint failed in "))
        .or_else(|| after("NULL value in "))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "pages".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{alter, file, plain_at_rest};

    fn judged_after(service: Service, change: impl Fn(&Path)) -> Judgement {
        let folder = plain_at_rest();
        let path = file(&folder, service);
        change(&path);
        judge(&observe(service, &path, folder.path()).expect("looked"))
    }

    #[test]
    fn a_sound_file_passes_and_the_scratch_copy_is_gone() {
        let folder = plain_at_rest();
        let path = file(&folder, Service::Directory);
        let facts = observe(Service::Directory, &path, folder.path()).expect("looked");
        assert_eq!(judge(&facts).verdict(), Verdict::Pass);
        assert_eq!(std::fs::read_dir(folder.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_value_that_its_check_forbids_is_found() {
        let judged = judged_after(Service::Directory, |path| {
            alter(
                path,
                "PRAGMA ignore_check_constraints=ON; UPDATE workspaces SET status='vanished' WHERE id=1",
            );
        });
        assert_eq!(judged.verdict(), Verdict::Fail);
        assert!(
            judged.findings.iter().any(|finding| finding.observed.contains("CHECK")),
            "{judged:?}"
        );
    }

    #[test]
    fn an_orphan_names_table_row_and_column() {
        let judged = judged_after(Service::Directory, |path| {
            alter(path, "UPDATE workspace_threads SET workspace_id=99 WHERE id=1");
        });
        assert_eq!(judged.findings[0].subject, "workspace_threads[rowid=1] workspace_id");
    }

    #[test]
    fn a_letter_changed_in_the_table_and_not_in_its_index_is_found() {
        let judged = judged_after(Service::Directory, |path| {
            // The same change as a flipped bit: the table is written while its index is out of sight.
            alter(
                path,
                "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name='idx_agents_org';",
            );
            alter(path, "UPDATE agents SET org='other' WHERE beam_id LIKE 'recv@%'");
            let folder = plain_at_rest();
            let whole = file(&folder, Service::Directory);
            let row: (String, i64) = rusqlite::Connection::open(&whole)
                .and_then(|db| {
                    db.query_row(
                        "SELECT sql, rootpage FROM sqlite_schema WHERE name='idx_agents_org'",
                        [],
                        |row| Ok((row.get(0)?, row.get(1)?)),
                    )
                })
                .expect("read");
            alter(
                path,
                &format!(
                    "PRAGMA writable_schema=ON; INSERT INTO sqlite_schema VALUES ('index','idx_agents_org','agents',{},'{}');",
                    row.1, row.0
                ),
            );
        });
        assert_eq!(judged.verdict(), Verdict::Fail);
        assert!(
            judged.findings.iter().any(|one| one.subject == "idx_agents_org"),
            "{:?}",
            judged.findings
        );
    }

    #[test]
    fn a_zeroed_page_and_a_broken_page_header_are_findings_not_errors() {
        for (at, bytes) in [(4_096 * 20, vec![0; 4_096]), (4_096 * 20, vec![0x7f])] {
            let judged = judged_after(Service::Directory, |path| {
                let mut all = std::fs::read(path).expect("read");
                all[at..at + bytes.len()].copy_from_slice(&bytes);
                std::fs::write(path, all).expect("written");
            });
            assert_eq!(judged.verdict(), Verdict::Fail);
        }
    }

    #[test]
    fn garbage_is_a_finding() {
        let judged = judged_after(Service::Bus, |path| std::fs::write(path, b"garbage").expect("written"));
        assert_eq!(judged.verdict(), Verdict::Fail);
    }

    #[test]
    fn a_file_without_objects_is_inconclusive() {
        let none = Facts {
            service: Service::Bus,
            objects: 0,
            messages: Vec::new(),
            orphans: Vec::new(),
            duplicates: Vec::new(),
        };
        assert_eq!(judge(&none).verdict(), Verdict::Inconclusive);
    }
}
