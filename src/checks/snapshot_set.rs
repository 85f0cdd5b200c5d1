//! `snapshot-set`: is the snapshot a complete file set that matches its manifest?
//!
//! Files, sizes, hashes, modes; both services, each with its own tables and a row in the table that marks it; the frames of
//! the raw `-wal`; a plausible time; every member of the manifest that can be counted again, and with a source the others as
//! they were sealed.

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::database::Database;
use crate::snapshot::file_set::FileRecord;
use crate::snapshot::manifest::Manifest;
use crate::snapshot::recount::{Member, miscounted, recount, unlike_sealed};
use crate::snapshot::summary::Summary;
use crate::snapshot::verify::{Problem, VerifyError, inspect};
use crate::snapshot::wal::WalFacts;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The check.
pub const ID: CheckId = CheckId::SnapshotSet;
/// Clocks of the machine that took a backup and of this one may differ by this much.
const CLOCK_SLACK_MS: i64 = 5_000;

/// What was seen of one service's part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Whose.
    pub service: Service,
    /// Whether the file has this service's marker table; `None` when it cannot be read.
    pub has_own_table: Option<bool>,
    /// Whether this service's marker table has a row; `None` where there is no such table or it cannot be read.
    pub has_own_row: Option<bool>,
    /// Whether the file has the other service's marker table.
    pub has_foreign_table: bool,
    /// The raw files as they were copied.
    pub raw: Vec<FileRecord>,
    /// The raw files as they were consolidated.
    pub consolidated_from: Vec<FileRecord>,
    /// Facts of the raw `-wal`.
    pub wal: Option<WalFacts>,
}

/// What was seen of a snapshot folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Disagreements of folder and manifest.
    pub problems: Vec<Problem>,
    /// Files that were hashed.
    pub files: u64,
    /// Both services' parts.
    pub parts: Vec<Part>,
    /// Members of the manifest that are not what is counted now.
    pub miscounted: Vec<Member>,
    /// The manifest as it was read.
    pub manifest: Manifest,
}

/// When a snapshot may have been taken.
#[derive(Debug, Clone, Copy)]
pub struct Plausible {
    /// Not before this: the drill's own start; `None` for a backup that somebody else took.
    pub not_before: Option<jiff::Timestamp>,
    /// Not after this: now.
    pub not_after: jiff::Timestamp,
}

/// Looks at a snapshot folder, and counts its files.
///
/// # Errors
/// [`VerifyError`] when there is no folder or no readable manifest.
pub fn observe(folder: &Path) -> Result<Facts, VerifyError> {
    observe_counted(folder, &recount(folder))
}

/// Looks at a snapshot folder whose files were counted already: directory first, `None` for a file that cannot be read.
///
/// # Errors
/// As [`observe`].
pub fn observe_counted(folder: &Path, counts: &[Option<Summary>; 2]) -> Result<Facts, VerifyError> {
    let seen = inspect(folder)?;
    let counted = Service::ALL.iter().zip(counts).filter_map(|(service, count)| {
        let part = seen.manifest.part(*service)?;
        Some(miscounted(part, count.as_ref()?))
    });
    let miscounted = counted.flatten().collect();
    let parts = seen
        .manifest
        .services
        .iter()
        .map(|part| {
            let database = Database::open(&folder.join(part.service.database_file())).ok();
            let tables = database.as_ref().and_then(|database| database.content_tables().ok());
            let marker = format!("SELECT 1 FROM {} LIMIT 1", part.service.marker_table());
            let own = database.as_ref().and_then(|database| database.rows(&marker, &[]).ok());
            let has = |service: Service| {
                let marker = service.marker_table();
                tables.as_ref().map(|tables| tables.iter().any(|table| table == marker))
            };
            let other = match part.service {
                Service::Directory => Service::Bus,
                Service::Bus => Service::Directory,
            };
            Part {
                service: part.service,
                has_own_table: has(part.service),
                has_own_row: own.map(|rows| !rows.is_empty()),
                has_foreign_table: has(other) == Some(true),
                raw: part.raw.clone(),
                consolidated_from: part.consolidated_from.clone(),
                wal: part.wal.clone(),
            }
        })
        .collect();
    Ok(Facts {
        problems: seen.problems,
        files: seen.files,
        parts,
        miscounted,
        manifest: seen.manifest,
    })
}

/// Judges what was seen, where the harness itself sealed the set: also the members that nobody can count again.
#[must_use]
pub fn judge_sealed(facts: &Facts, plausible: &Plausible, sealed: &Manifest) -> Judgement {
    let mut judged = judge(facts, plausible);
    members(&unlike_sealed(sealed, &facts.manifest), &mut judged);
    judged
}

fn members(wrong: &[Member], judged: &mut Judgement) {
    let findings = wrong.iter().map(|one| {
        let (expected, observed) = (short(&one.expected), short(&one.observed));
        Finding::new(one.name.as_str(), expected, observed, "manifest.json")
    });
    judged.findings.extend(findings);
}

/// Judges what was seen.
#[must_use]
pub fn judge(facts: &Facts, plausible: &Plausible) -> Judgement {
    let mut judged = Judgement {
        items: facts.files,
        expected: "two files as the manifest says".to_owned(),
        observed: format!("{} files, {} disagreements", facts.files, facts.problems.len()),
        ..Judgement::default()
    };
    for problem in &facts.problems {
        judged.findings.push(Finding::new(
            problem.file.as_str(),
            problem.expected.as_str(),
            problem.observed.as_str(),
            "snapshot folder",
        ));
    }
    for part in &facts.parts {
        judge_tables(part, &mut judged);
        judge_raw(part, &mut judged);
    }
    members(&facts.miscounted, &mut judged);
    judge_time(facts, plausible, &mut judged);
    judged
}

fn judge_tables(part: &Part, judged: &mut Judgement) {
    let file = part.service.database_file();
    let expected = format!("tables of the {} with rows", part.service);
    let wrong = match part.has_own_table {
        None => Some("unreadable"),
        Some(false) => Some("no such tables"),
        Some(true) if part.has_foreign_table => Some("tables of both services"),
        Some(true) if part.has_own_row == Some(false) => {
            Some("the tables, but no row: a main file without its own log looks like this")
        }
        Some(true) => None,
    };
    if let Some(observed) = wrong {
        judged
            .findings
            .push(Finding::new(file, expected, observed, "snapshot folder"));
    }
}

fn judge_raw(part: &Part, judged: &mut Judgement) {
    let place = "raw set before consolidation";
    let names = part
        .raw
        .iter()
        .chain(&part.consolidated_from)
        .map(|file| file.path.as_str());
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let find = |files: &[FileRecord]| files.iter().find(|file| file.path == name).cloned();
        let (was, is) = (find(&part.raw), find(&part.consolidated_from));
        if was != is {
            let words = |file: &Option<FileRecord>| {
                file.as_ref().map_or_else(
                    || "absent".to_owned(),
                    |file| format!("{} bytes, sha256 {}", file.bytes, file.sha256),
                )
            };
            judged.findings.push(Finding::new(name, words(&was), words(&is), place));
        }
    }
    let Some(wal) = &part.wal else { return };
    let name = format!("{}-wal", part.service.database_file());
    if wal.frames_total > 0 && wal.frames_committed == 0 {
        let observed = format!("{} frames, none of them valid", wal.frames_total);
        judged
            .findings
            .push(Finding::new(name, "frames that belong to this log", observed, place));
        return;
    }
    if wal.frames_committed < wal.frames_total || wal.torn_bytes > 0 {
        judged.notes.push(format!(
            "{name}: {} of {} frames are committed, {} bytes behind the last whole frame (an older generation, or a kill)",
            wal.frames_committed, wal.frames_total, wal.torn_bytes
        ));
    }
}

fn judge_time(facts: &Facts, plausible: &Plausible, judged: &mut Judgement) {
    let expected = match plausible.not_before {
        Some(not_before) => format!("between {not_before} and {}", plausible.not_after),
        None => format!("not after {}", plausible.not_after),
    };
    let is_plausible = facts.manifest.taken_at.parse::<jiff::Timestamp>().is_ok_and(|taken| {
        let at = taken.as_millisecond();
        at <= plausible.not_after.as_millisecond() + CLOCK_SLACK_MS
            && plausible
                .not_before
                .is_none_or(|not_before| at >= not_before.as_millisecond() - CLOCK_SLACK_MS)
    });
    if !is_plausible {
        judged.findings.push(Finding::new(
            "taken_at",
            expected,
            facts.manifest.taken_at.as_str(),
            "manifest.json",
        ));
    }
    // A set cannot hold what was acknowledged after it was taken. Times of one clock: the taker's.
    let time = |text: &str| text.parse::<jiff::Timestamp>().ok();
    if let Some(cut) = &facts.manifest.cut_at
        && time(cut).is_none_or(|cut| time(&facts.manifest.taken_at).is_some_and(|taken| cut > taken))
    {
        let expected = format!("not after taken_at {}", facts.manifest.taken_at);
        judged
            .findings
            .push(Finding::new("cut_at", expected, cut.as_str(), "manifest.json"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{self, request, sets_in, taken};
    use crate::snapshot::{copy, plan, reseal, seal};
    use std::fs;

    const ANY_TIME: Plausible = Plausible {
        not_before: None,
        not_after: jiff::Timestamp::MAX,
    };

    fn judged_after(change: impl Fn(&Path)) -> Judgement {
        let run = taken();
        let folder = run.path().join("snapshot");
        change(&folder);
        reseal(&folder).expect("resealed");
        judge(&observe(&folder).expect("looked"), &ANY_TIME)
    }

    #[test]
    fn a_snapshot_as_taken_passes() {
        let judged = judged_after(|_| {});
        assert_eq!(
            (judged.verdict(), judged.items),
            (Verdict::Pass, 2),
            "{:?}",
            judged.findings
        );
    }

    #[test]
    fn exchanged_and_doubled_files_are_found_though_the_manifest_was_resealed() {
        let swapped = judged_after(|folder| {
            let (one, two) = (folder.join("beam-bus.sqlite"), folder.join("beam-directory.db"));
            let aside = folder.with_file_name("aside");
            fs::rename(&one, &aside).expect("moved");
            fs::rename(&two, &one).expect("moved");
            fs::rename(&aside, &two).expect("moved");
        });
        assert_eq!(swapped.findings.len(), 2, "{:?}", swapped.findings);
        let doubled = judged_after(|folder| {
            fs::copy(folder.join("beam-directory.db"), folder.join("beam-bus.sqlite")).expect("copied");
        });
        assert_eq!(doubled.verdict(), Verdict::Fail);
    }

    #[test]
    fn a_file_whose_marker_table_is_empty_is_found() {
        let emptied = judged_after(|folder| {
            let path = folder.join("beam-bus.sqlite");
            let bus = rusqlite::Connection::open(path).expect("opened");
            bus.execute("DELETE FROM beam_messages", []).expect("emptied");
            bus.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
                .expect("checkpointed");
        });
        let found = emptied.findings.iter().find(|one| one.subject == "beam-bus.sqlite");
        assert!(found.is_some_and(|one| one.observed.contains("no row")), "{emptied:?}");
    }

    #[test]
    fn a_missing_file_an_extra_file_and_an_empty_file_are_found() {
        for change in [
            (|folder: &Path| fs::remove_file(folder.join("beam-bus.sqlite")).expect("removed")) as fn(&Path),
            |folder| fs::write(folder.join("beam-bus.sqlite-wal"), b"old").expect("written"),
            |folder| fs::write(folder.join("beam-bus.sqlite"), b"").expect("written"),
        ] {
            let judged = judged_after(change);
            assert!(
                judged
                    .findings
                    .iter()
                    .any(|one| one.subject.starts_with("beam-bus.sqlite"))
            );
        }
    }

    #[test]
    fn a_log_cut_or_of_another_generation_or_exchanged_is_found() {
        let changes: [fn(&mut Vec<u8>); 3] = [
            |log| log.truncate(log.len() * 6 / 10),
            |log| log[16..24].fill(0),
            |log| log[40_000] ^= 1,
        ];
        for change in changes {
            let source = recorded::at_rest();
            let run = tempfile::tempdir().expect("a temporary folder");
            let planned = plan(request(source.path(), run.path())).expect("planned");
            let raw = copy(&planned).expect("copied");
            let log = raw[1].wal_path();
            let mut bytes = fs::read(&log).expect("read");
            change(&mut bytes);
            fs::write(&log, bytes).expect("written");
            // Refused is as good as found: the drill then records that nothing could be taken.
            if let Ok(snapshot) = seal(&planned, &raw) {
                let judged = judge(&observe(&snapshot.folder).expect("looked"), &ANY_TIME);
                assert_eq!(judged.verdict(), Verdict::Fail);
            }
        }
    }

    #[test]
    fn a_time_in_the_future_or_before_the_drill_is_found() {
        let run = taken();
        let facts = observe(&run.path().join("snapshot")).expect("looked");
        let time = |text: &str| text.parse().expect("a time");
        for plausible in [
            Plausible {
                not_before: None,
                not_after: time("2026-11-23T00:00:00Z"),
            },
            Plausible {
                not_before: Some(time("2026-11-25T00:00:00Z")),
                not_after: time("2026-11-26T00:00:00Z"),
            },
        ] {
            assert_eq!(judge(&facts, &plausible).findings[0].subject, "taken_at");
        }
    }

    #[test]
    fn a_member_of_the_manifest_that_its_file_contradicts_is_found() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let mut manifest = Manifest::read(&folder).expect("read");
        manifest.services[0].tables[3].rows += 1;
        manifest.services[1].schema.shape = manifest.services[0].schema.shape.clone();
        manifest.write(&folder).expect("written");
        let judged = judge(&observe(&folder).expect("looked"), &ANY_TIME);
        let subjects: Vec<&str> = judged.findings.iter().map(|one| one.subject.as_str()).collect();
        let table = format!("directory rows of {}", manifest.services[0].tables[3].name);
        assert_eq!(subjects, [table.as_str(), "bus schema.shape"]);
    }

    #[test]
    fn what_was_sealed_is_held_against_the_manifest() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let sealed = Manifest::read(&folder).expect("read");
        let mut manifest = sealed.clone();
        manifest.directory_identity = Some("http://127.0.0.1:43111".to_owned());
        manifest.services[1]
            .consolidated_from
            .clone_from(&sealed.services[1].raw);
        manifest.write(&folder).expect("written");
        let facts = observe(&folder).expect("looked");
        assert_eq!(judge(&facts, &ANY_TIME).findings, [], "nobody else can know");
        let judged = judge_sealed(&facts, &ANY_TIME, &sealed);
        assert_eq!(judged.findings.len(), 1);
        assert_eq!(judged.findings[0].subject, "directory_identity");
    }

    #[test]
    fn a_cut_after_the_taking_is_found() {
        let run = taken();
        let mut facts = observe(&run.path().join("snapshot")).expect("looked");
        for (cut, found) in [
            ("2026-11-23T23:59:59.000Z", 0),
            ("2026-11-24T00:00:00.501Z", 1),
            ("yesterday", 1),
        ] {
            facts.manifest.cut_at = Some(cut.to_owned());
            assert_eq!(judge(&facts, &ANY_TIME).findings.len(), found, "{cut}");
        }
    }

    #[test]
    fn no_file_at_all_is_inconclusive() {
        let run = taken();
        let none = Facts {
            problems: Vec::new(),
            files: 0,
            parts: Vec::new(),
            miscounted: Vec::new(),
            manifest: Manifest::read(&run.path().join("snapshot")).expect("read"),
        };
        assert_eq!(judge(&none, &ANY_TIME).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn the_recorded_sets_have_no_false_alarm() {
        for set in [recorded::at_rest(), recorded::hot_crash(), recorded::bricked()] {
            assert_eq!(sets_in(set.path()).len(), 2);
            let run = tempfile::tempdir().expect("a temporary folder");
            let planned = plan(request(set.path(), run.path())).expect("planned");
            let snapshot = crate::snapshot::perform(&planned).expect("performed");
            let judged = judge(&observe(&snapshot.folder).expect("looked"), &ANY_TIME);
            assert_eq!(judged.findings, []);
        }
    }
}
