//! `polarity`: did data go source → snapshot → clean instance, and never the other way?
//!
//! Proven when source digest = snapshot digest = restored digest, the clean instance had another one, and the source's
//! files are byte for byte the same from its proven stop until its own restart.

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement};
use crate::snapshot::copying::{CopyError, hash_file};
use crate::snapshot::file_set::{FileRecord, FileSet};
use serde::{Deserialize, Serialize};

/// The check.
pub const ID: CheckId = CheckId::Polarity;

/// Content digests of one service at the four places. `None` = not measured in this kind of drill.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digests {
    /// Whose.
    pub service: Service,
    /// Of the independent copy of the stopped source; with an adopted backup, of a second copy of it.
    pub source: Option<String>,
    /// Of the snapshot.
    pub snapshot: Option<String>,
    /// Of the restored file before its first start.
    pub restored: Option<String>,
    /// Of the clean instance's own file before the restore.
    pub clean: Option<String>,
}

/// The source's files of one service as bytes: main, `-wal`, `-journal`; `-shm` by presence only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// Whose.
    pub service: Service,
    /// The files that exist.
    pub files: Vec<FileRecord>,
    /// Whether there is a `-shm`.
    pub has_shm: bool,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Digests per service.
    pub digests: Vec<Digests>,
    /// Subjects that the clean instance showed over HTTP although it should be empty.
    pub clean_showed: Vec<String>,
    /// The source's files at its proven stop.
    pub at_stop: Vec<Witness>,
    /// The same at the end.
    pub at_end: Vec<Witness>,
}

/// Hashes the files of a stopped source, as bytes.
///
/// # Errors
/// [`CopyError`] when a file is there but cannot be read.
pub fn witness(set: &FileSet) -> Result<Witness, CopyError> {
    let mut files = Vec::new();
    for path in [set.main.clone(), set.wal(), set.journal()] {
        match hash_file(&path) {
            Err(error) if error.is_missing() => {}
            other => files.push(other?),
        }
    }
    Ok(Witness {
        service: set.service,
        files,
        has_shm: set.shm().exists(),
    })
}

/// Judges; every digest that was measured takes part.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let mut judged = Judgement {
        expected: "source = snapshot = restored, clean another, source untouched".to_owned(),
        ..Judgement::default()
    };
    for one in &facts.digests {
        judge_digests(one, &mut judged);
    }
    // Without any digest nothing was measured of the clean instance either.
    if !facts.digests.is_empty() {
        judge_clean(&facts.clean_showed, &mut judged);
    }
    for was in &facts.at_stop {
        match facts.at_end.iter().find(|is| is.service == was.service) {
            Some(is) => judge_witness(was, is, &mut judged),
            None => judged.findings.push(Finding::new(
                format!("source files of the {}", was.service),
                "looked at again at the end",
                "not looked at",
                "source",
            )),
        }
    }
    judged.observed = if judged.findings.is_empty() {
        format!("{} comparisons agree", judged.items)
    } else {
        format!("{} of {} comparisons do not", judged.findings.len(), judged.items)
    };
    judged
}

fn judge_digests(one: &Digests, judged: &mut Judgement) {
    let name = |what: &str| format!("{} {what} digest", one.service);
    let Some(reference) = one.source.as_ref().or(one.snapshot.as_ref()) else {
        return;
    };
    for (what, digest) in [("snapshot", &one.snapshot), ("restored", &one.restored)] {
        // Without a source the snapshot is the reference itself: it is not compared with itself.
        let Some(digest) = digest.as_ref().filter(|_| what == "restored" || one.source.is_some()) else {
            continue;
        };
        judged.items += 1;
        if digest != reference {
            judged.findings.push(Finding::new(
                name(what),
                reference.as_str(),
                digest.as_str(),
                one.service.database_file(),
            ));
        }
    }
    if let Some(clean) = &one.clean {
        judged.items += 1;
        if clean == reference {
            judged.findings.push(Finding::new(
                name("clean"),
                "another than the source's",
                clean.as_str(),
                "clean instance before the restore",
            ));
        }
    }
}

/// Data in the clean instance may have come from anywhere, also straight from the source.
fn judge_clean(showed: &[String], judged: &mut Judgement) {
    judged.items += 1;
    let Some(first) = showed.first() else { return };
    judged.findings.push(Finding::new(
        "data of the clean instance",
        "none before the restore",
        format!("{} subjects, {first} among them", showed.len()),
        "clean instance before the restore",
    ));
}

fn judge_witness(was: &Witness, is: &Witness, judged: &mut Judgement) {
    let mut names: Vec<&str> = was
        .files
        .iter()
        .chain(&is.files)
        .map(|file| file.path.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        judged.items += 1;
        let words = |witness: &Witness| {
            let file = witness.files.iter().find(|file| file.path == name);
            file.map_or_else(
                || "absent".to_owned(),
                |file| format!("{} bytes, sha256 {}", file.bytes, file.sha256),
            )
        };
        let (expected, observed) = (words(was), words(is));
        if expected != observed {
            judged.findings.push(Finding::new(name, expected, observed, "source"));
        }
    }
    if was.has_shm != is.has_shm {
        let word = |has: bool| if has { "present" } else { "absent" };
        let subject = format!("-shm of the {}", was.service);
        judged
            .findings
            .push(Finding::new(subject, word(was.has_shm), word(is.has_shm), "source"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{at_rest, sets_in};

    fn facts(source: &str, snapshot: &str, restored: &str, clean: &str) -> Facts {
        let set = at_rest();
        let seen: Vec<Witness> = sets_in(set.path())
            .iter()
            .map(|set| witness(set).expect("hashed"))
            .collect();
        let some = |text: &str| Some(text.to_owned());
        Facts {
            digests: vec![Digests {
                service: Service::Bus,
                source: some(source),
                snapshot: some(snapshot),
                restored: some(restored),
                clean: some(clean),
            }],
            clean_showed: Vec::new(),
            at_stop: seen.clone(),
            at_end: seen,
        }
    }

    #[test]
    fn a_clean_instance_that_showed_data_fails_though_its_own_file_is_empty() {
        let mut seen = facts("a", "a", "a", "b");
        seen.clean_showed = vec!["agent a@b.beam.directory".to_owned(), "stats bus".to_owned()];
        let judged = judge(&seen);
        assert_eq!(judged.findings[0].subject, "data of the clean instance");
        assert_eq!(
            judged.findings[0].observed,
            "2 subjects, agent a@b.beam.directory among them"
        );
    }

    #[test]
    fn equal_digests_and_an_untouched_source_pass() {
        let judged = judge(&facts("a", "a", "a", "b"));
        assert_eq!((judged.verdict(), judged.items), (Verdict::Pass, 7));
    }

    #[test]
    fn another_digest_and_a_clean_instance_with_data_fail() {
        assert_eq!(judge(&facts("a", "b", "b", "c")).findings.len(), 2);
        assert_eq!(
            judge(&facts("a", "a", "b", "c")).findings[0].subject,
            "bus restored digest"
        );
        assert_eq!(
            judge(&facts("a", "a", "a", "a")).findings[0].subject,
            "bus clean digest"
        );
    }

    #[test]
    fn a_source_that_an_inspector_checkpointed_is_found() {
        let set = at_rest();
        let [_, bus] = sets_in(set.path());
        let mut seen = facts("a", "a", "a", "b");
        seen.at_stop = vec![witness(&bus).expect("hashed")];
        let connection = rusqlite::Connection::open(&bus.main).expect("opened");
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM beam_messages", [], |row| row.get(0))
            .expect("read");
        drop(connection);
        seen.at_end = vec![witness(&bus).expect("hashed")];
        let judged = judge(&seen);
        assert_eq!((rows, judged.findings.len()), (8, 2));
    }

    #[test]
    fn nothing_measured_is_inconclusive() {
        let none = Facts {
            digests: Vec::new(),
            clean_showed: Vec::new(),
            at_stop: Vec::new(),
            at_end: Vec::new(),
        };
        assert_eq!(judge(&none).verdict(), Verdict::Inconclusive);
    }
}
