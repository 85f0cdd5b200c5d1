//! Do the members of a manifest hold? Those that can be counted again are; the others are held against the sealed ones.
//!
//! Pure but for [`recount`], which reads the plain files. A file that cannot be read gives no count and so no disagreement:
//! that is told by whoever reads rows and pages.

use crate::deployment::Service;
use crate::snapshot::manifest::{Manifest, ServicePart};
use crate::snapshot::summary::{Summary, summarise};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// One member of the manifest that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name: `cut_at`, `bus pages.page_count`, `directory rows of agents`.
    pub name: String,
    /// What should stand there.
    pub expected: String,
    /// What stands there.
    pub observed: String,
}

/// Counts and hashes of both plain files, directory first; `None` for a file that cannot be read to its end. Costs a pass
/// over all rows: whoever needs the summaries elsewhere hands them on.
#[must_use]
pub fn recount(folder: &Path) -> [Option<Summary>; 2] {
    std::thread::scope(|scope| {
        let counts = Service::ALL.map(|service| {
            let path = folder.join(service.database_file());
            scope.spawn(move || summarise(&path).ok())
        });
        counts.map(|count| count.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

/// The members of a part that differ from what was counted of its file.
#[must_use]
pub fn miscounted(part: &ServicePart, seen: &Summary) -> Vec<Member> {
    let mut found = Differing {
        prefix: format!("{} ", part.service),
        members: Vec::new(),
    };
    for (name, counted, read) in [
        ("page_size", seen.pages.page_size, part.pages.page_size),
        ("page_count", seen.pages.page_count, part.pages.page_count),
        ("freelist_count", seen.pages.freelist_count, part.pages.freelist_count),
    ] {
        found.hold(&format!("pages.{name}"), &counted, &read);
    }
    for (name, counted, read) in seen.pragmas.differences(&part.pragmas) {
        found.hold(&format!("pragmas.{name}"), &counted, &read);
    }
    found.hold("schema.text", &seen.schema.text, &part.schema.text);
    found.hold("schema.shape", &seen.schema.shape, &part.schema.shape);
    found.hold("schema.checks", &seen.schema.checks, &part.schema.checks);
    tables(part, seen, &mut found);
    found.hold("digest", &seen.digest, &part.digest);
    found.members
}

fn tables(part: &ServicePart, seen: &Summary, found: &mut Differing) {
    let before = found.members.len();
    let names: BTreeSet<&str> = seen
        .tables
        .iter()
        .chain(&part.tables)
        .map(|table| table.name.as_str())
        .collect();
    for name in names {
        let counted = seen.table(name);
        let read = part.tables.iter().find(|table| table.name == name);
        let rows = |table: Option<&crate::snapshot::digest::TableSummary>| table.map(|table| table.rows);
        let digest = |table: Option<&crate::snapshot::digest::TableSummary>| table.map(|table| table.digest.clone());
        found.hold(&format!("rows of {name}"), &rows(counted), &rows(read));
        found.hold(&format!("digest of {name}"), &digest(counted), &digest(read));
    }
    // Each table is as counted, but one stands twice or out of order: no manifest of this harness.
    if found.members.len() == before {
        found.hold("tables", &seen.tables, &part.tables);
    }
}

/// The members that nobody can count again, where they differ from what was sealed. What can be counted is left out: a
/// manifest may have been sealed again since.
#[must_use]
pub fn unlike_sealed(sealed: &Manifest, read: &Manifest) -> Vec<Member> {
    let mut found = Differing {
        prefix: String::new(),
        members: Vec::new(),
    };
    found.hold("format", &sealed.format, &read.format);
    found.hold("id", &sealed.id, &read.id);
    found.hold(
        "directory_identity",
        &sealed.directory_identity,
        &read.directory_identity,
    );
    found.hold("origin", &sealed.origin, &read.origin);
    found.hold("cut_at", &sealed.cut_at, &read.cut_at);
    found.hold("taken_at", &sealed.taken_at, &read.taken_at);
    found.hold("tool", &sealed.tool, &read.tool);
    let order = |manifest: &Manifest| -> Vec<Service> { manifest.services.iter().map(|part| part.service).collect() };
    found.hold("services", &order(sealed), &order(read));
    for service in Service::ALL {
        let (Some(sealed), Some(read)) = (sealed.part(service), read.part(service)) else {
            continue;
        };
        found.prefix = format!("{service} ");
        found.hold("raw", &sealed.raw, &read.raw);
        found.hold("consolidated_from", &sealed.consolidated_from, &read.consolidated_from);
        found.hold("wal", &sealed.wal, &read.wal);
    }
    found.members
}

struct Differing {
    prefix: String,
    members: Vec<Member>,
}

impl Differing {
    fn hold<T: PartialEq + Serialize>(&mut self, name: &str, expected: &T, observed: &T) {
        if expected != observed {
            let text = |value: &T| serde_json::to_string(value).unwrap_or_default();
            self.members.push(Member {
                name: format!("{}{name}", self.prefix),
                expected: text(expected),
                observed: text(observed),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::recorded::{alter, taken};
    use crate::snapshot::reseal;

    type Edit = fn(&mut Manifest);

    fn names(members: &[Member]) -> Vec<&str> {
        members.iter().map(|member| member.name.as_str()).collect()
    }

    fn miscounted_in(folder: &Path, manifest: &Manifest) -> Vec<Member> {
        let counts = recount(folder);
        let both = manifest.services.iter().zip(counts.iter().flatten());
        both.flat_map(|(part, seen)| miscounted(part, seen)).collect()
    }

    #[test]
    fn every_member_that_can_be_counted_is_held_against_the_file() {
        let run = taken();
        let folder = run.path().join("snapshot");
        let manifest = Manifest::read(&folder).expect("read");
        assert_eq!(miscounted_in(&folder, &manifest), []);
        let edits: [(&str, Edit); 13] = [
            ("bus pages.page_size", |m| m.services[1].pages.page_size += 1),
            ("bus pages.page_count", |m| m.services[1].pages.page_count -= 1),
            ("bus pages.freelist_count", |m| m.services[1].pages.freelist_count = 9),
            ("bus pragmas.user_version", |m| m.services[1].pragmas.user_version = 1),
            ("bus pragmas.encoding", |m| {
                m.services[1].pragmas.encoding = "UTF-16le".to_owned()
            }),
            ("bus schema.text", |m| m.services[1].schema.text.clear()),
            ("bus schema.shape", |m| m.services[1].schema.shape.clear()),
            ("bus schema.checks", |m| m.services[1].schema.checks.clear()),
            ("bus rows of beam_messages", |m| m.services[1].tables[0].rows += 1),
            ("bus digest of beam_messages", |m| {
                m.services[1].tables[0].digest.clear()
            }),
            ("directory rows of agents", |m| {
                m.services[0].tables.retain(|table| table.name != "agents")
            }),
            ("directory tables", |m| m.services[0].tables.reverse()),
            ("bus digest", |m| m.services[1].digest.clear()),
        ];
        for (name, edit) in edits {
            let mut edited = manifest.clone();
            edit(&mut edited);
            assert_eq!(names(&miscounted_in(&folder, &edited)).first(), Some(&name));
        }
    }

    #[test]
    fn a_new_seal_counts_everything_again() {
        let run = taken();
        let folder = run.path().join("snapshot");
        alter(
            &folder.join("beam-directory.db"),
            "PRAGMA user_version=7; CREATE TABLE more(x CHECK(x>0)); DROP TABLE dns_cache; DELETE FROM audit_log; \
             UPDATE agents SET plan='x'; PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM; DELETE FROM intent_log",
        );
        let manifest = reseal(&folder).expect("resealed");
        assert_eq!(miscounted_in(&folder, &manifest), []);
    }

    #[test]
    fn every_other_member_is_held_against_the_seal() {
        let run = taken();
        let sealed = Manifest::read(&run.path().join("snapshot")).expect("read");
        assert_eq!(unlike_sealed(&sealed, &sealed), []);
        let edits: [(&str, Edit); 9] = [
            ("id", |m| m.id.push('x')),
            ("directory_identity", |m| m.directory_identity = None),
            ("origin", |m| m.origin.clear()),
            ("cut_at", |m| m.cut_at = Some(m.taken_at.clone())),
            ("taken_at", |m| m.taken_at = "2026-11-24T00:00:00.501Z".to_owned()),
            ("tool", |m| m.tool.sqlite.push('1')),
            ("bus raw", |m| m.services[1].raw[0].bytes += 1),
            ("bus consolidated_from", |m| m.services[1].consolidated_from.clear()),
            ("bus wal", |m| m.services[1].wal = None),
        ];
        for (name, edit) in edits {
            let mut edited = sealed.clone();
            edit(&mut edited);
            assert_eq!(names(&unlike_sealed(&sealed, &edited)), [name]);
        }
        let mut counted = sealed.clone();
        counted.services[0].digest.clear();
        assert_eq!(
            unlike_sealed(&sealed, &counted),
            [],
            "counted members are not its question"
        );
    }
}
