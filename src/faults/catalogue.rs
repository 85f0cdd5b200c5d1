//! Files of faults: `[[fault]]` and `[[benign]]` tables in `*.toml`, validated as a whole.
//!
//! A mistake names file, fault and what to do. Reads folders, nothing else.

use crate::deployment::given_file;
use crate::evidence::FaultId;
use crate::faults::entry;
use crate::faults::fault::Fault;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Why a catalogue cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// A folder or file cannot be read.
    #[error("cannot read {path}; name a folder with *.toml files of faults")]
    Read {
        /// What was read.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file is no TOML.
    #[error("{path} is no TOML: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line and cause.
        message: String,
    },
    /// A fault is impossible.
    #[error("{path}: fault {fault}: {what}")]
    Fault {
        /// The file.
        path: PathBuf,
        /// Its id, or its place in the file.
        fault: String,
        /// What is wrong, and what to do.
        what: String,
    },
    /// Somebody asked for a fault or group that is not there.
    #[error("no {kind} {name:?} in the catalogue; see --list")]
    Unknown {
        /// `fault` or `group`.
        kind: &'static str,
        /// What was asked for.
        name: String,
    },
}

/// Which faults are wanted; empty lists want all.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Ids (`--only`).
    pub only: Vec<String>,
    /// Groups (`--group`).
    pub groups: Vec<String>,
    /// Only what needs no start (`--at-rest`).
    pub at_rest: bool,
}

/// All faults and benign controls, in the order of folders, files, tables.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// Faults that must be caught.
    pub faults: Vec<Fault>,
    /// Changes that must not alarm.
    pub benign: Vec<Fault>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<toml::Table>,
    #[serde(default)]
    benign: Vec<toml::Table>,
}

impl Catalogue {
    /// Reads every `*.toml` of the given folders, by name.
    ///
    /// # Errors
    /// [`CatalogueError`]: the first mistake, with file and fault.
    pub fn load(folders: &[PathBuf]) -> Result<Catalogue, CatalogueError> {
        let mut catalogue = Catalogue::default();
        let mut known: BTreeMap<FaultId, PathBuf> = BTreeMap::new();
        for folder in folders {
            for path in files(folder)? {
                let text = given_file::settings(&path).map_err(|source| CatalogueError::Read {
                    path: path.clone(),
                    source,
                })?;
                let read = Catalogue::parse(&text, &path)?;
                for fault in read.faults.iter().chain(&read.benign) {
                    if let Some(first) = known.insert(fault.id.clone(), path.clone()) {
                        let what = format!(
                            "the id is taken by a fault in {}; ids are unique, choose another",
                            first.display()
                        );
                        return Err(wrong(&path, &fault.id.0, what));
                    }
                }
                catalogue.faults.extend(read.faults);
                catalogue.benign.extend(read.benign);
            }
        }
        Ok(catalogue)
    }

    /// Reads the text of one file.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn parse(text: &str, path: &Path) -> Result<Catalogue, CatalogueError> {
        let file: File = toml::from_str(text).map_err(|error| CatalogueError::Parse {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        let read = |tables: Vec<toml::Table>, benign: bool| {
            let number = |at: usize| format!("number {}", at + 1);
            let each = tables.into_iter().enumerate().map(|(at, table)| {
                entry::fault(table, benign, path, &number(at)).map_err(|(fault, what)| wrong(path, &fault, what))
            });
            each.collect::<Result<Vec<Fault>, CatalogueError>>()
        };
        let catalogue = Catalogue {
            faults: read(file.fault, false)?,
            benign: read(file.benign, true)?,
        };
        let mut known = BTreeSet::new();
        for fault in catalogue.faults.iter().chain(&catalogue.benign) {
            if !known.insert(&fault.id) {
                let what = "the id stands twice in this file; ids are unique, choose another".to_owned();
                return Err(wrong(path, &fault.id.0, what));
            }
        }
        Ok(catalogue)
    }

    /// Only what is wanted.
    ///
    /// # Errors
    /// [`CatalogueError::Unknown`] for an id or group that is not there.
    pub fn filtered(self, wanted: &Wanted) -> Result<Catalogue, CatalogueError> {
        let all = || self.faults.iter().chain(&self.benign);
        for id in &wanted.only {
            if !all().any(|fault| fault.id.0 == *id) {
                return Err(CatalogueError::Unknown {
                    kind: "fault",
                    name: id.clone(),
                });
            }
        }
        for group in &wanted.groups {
            if !all().any(|fault| fault.group == *group) {
                return Err(CatalogueError::Unknown {
                    kind: "group",
                    name: group.clone(),
                });
            }
        }
        let keep = |fault: &Fault| {
            (wanted.only.is_empty() || wanted.only.contains(&fault.id.0))
                && (wanted.groups.is_empty() || wanted.groups.contains(&fault.group))
                && (!wanted.at_rest || fault.is_at_rest() || fault.is_for_the_gate())
        };
        let kept = |faults: Vec<Fault>| faults.into_iter().filter(keep).collect();
        Ok(Catalogue {
            faults: kept(self.faults),
            benign: kept(self.benign),
        })
    }
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, CatalogueError> {
    let failed = |source| CatalogueError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn wrong(path: &Path, fault: &str, what: String) -> CatalogueError {
    CatalogueError::Fault {
        path: path.to_owned(),
        fault: fault.to_owned(),
        what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fault::{Base, Expect};

    const GOOD: &str =
        "[[fault]]\nid = \"one\"\ngroup = \"g\"\ntitle = \"t\"\nservice = \"bus\"\nstage = \"snapshot\"\n";

    fn parse(text: &str) -> Result<Catalogue, CatalogueError> {
        Catalogue::parse(text, Path::new("faults/x.toml"))
    }

    fn refused(keys: &str) -> String {
        parse(&format!("{GOOD}{keys}")).expect_err("refused").to_string()
    }

    #[test]
    fn defaults_are_those_of_the_design() {
        let read = parse(&format!("{GOOD}sql = [\"DELETE FROM beam_messages\"]")).expect("read");
        let fault = &read.faults[0];
        assert_eq!(
            (fault.base, fault.expect, fault.reseal, fault.subtle),
            (Base::Seed, Expect::Fail, true, false)
        );
        assert!(fault.caught_by.is_empty() && fault.is_at_rest());
    }

    #[test]
    fn a_mistake_names_file_fault_and_what_to_do() {
        let sql = "sql = [\"x\"]\n";
        for (keys, expected) in [
            ("", "nothing is injected"),
            (&format!("{sql}command = [\"true\"]"), "more than one kind"),
            (
                &format!("{sql}caught_by = [\"agentz\"]"),
                "\"agentz\", which is no check",
            ),
            (&format!("{sql}stge = \"x\""), "unknown field `stge`"),
            (
                &format!("{sql}expect = \"maybe\""),
                "use one of fail, inconclusive, refused",
            ),
            (&format!("{sql}base = \"none\""), "use one of seed, in-flight"),
            ("directory_sql = [\"x\"]", "set service = \"both\""),
            ("sql = []", "give at least one statement"),
            ("hook = \"pray\"", "hook is \"pray\"; use one of snapshot-before-exit"),
            ("torn = { before = [\"x\"], after = [\"y\"] }", "set stage = \"set\""),
            ("start = [{ unset = [\"PORT\"] }]", "set stage = \"running\""),
            ("clock = { step_s = 1 }", "unknown field `step_s`"),
            (
                "ops = [{ op = \"copy\", from = \"main\", to = \"clean:main\" }]",
                "is not known; use main",
            ),
            ("ops = [{ op = \"melt\", file = \"main\" }]", "use one of truncate"),
            (
                "ops = [{ op = \"xor\", file = \"main\" }]",
                "op xor needs offset and mask",
            ),
            (
                "ops = [{ op = \"remove\", file = \"/etc/passwd\" }]",
                "is not known; use main",
            ),
            (
                "answers = [{ service = \"bus\", method = \"GET\", path = \"/x\", status = 500 }]",
                "set stage = \"running\"",
            ),
        ] {
            let text = refused(keys);
            assert!(
                text.starts_with("faults/x.toml: fault one: ") && text.contains(expected),
                "{text}"
            );
        }
        let stage = GOOD.replace("snapshot", "later");
        assert!(
            parse(&stage)
                .expect_err("refused")
                .to_string()
                .contains("stage is \"later\"; use one of source, set")
        );
    }

    #[test]
    fn an_id_stands_once_in_all_folders() {
        let fault = format!("{GOOD}sql = [\"x\"]\n");
        let text = parse(&format!("{fault}{fault}")).expect_err("refused").to_string();
        assert!(text.contains("fault one: the id stands twice"), "{text}");
        let folders = [0, 1].map(|_| tempfile::tempdir().expect("a temporary folder"));
        for folder in &folders {
            fs::write(folder.path().join("x.toml"), &fault).expect("written");
        }
        let paths = folders.each_ref().map(|folder| folder.path().to_owned());
        let text = Catalogue::load(&paths).expect_err("refused").to_string();
        assert!(text.contains("the id is taken by a fault in"), "{text}");
    }

    #[test]
    fn only_what_is_wanted_stays_and_an_unknown_name_is_refused() {
        let more = GOOD.replace("one", "two").replace("\"g\"", "\"h\"");
        let read = || parse(&format!("{GOOD}sql = [\"x\"]\n{more}command = [\"true\"]\n")).expect("read");
        let ids = |wanted: Wanted| -> Vec<String> {
            read()
                .filtered(&wanted)
                .expect("filtered")
                .faults
                .into_iter()
                .map(|fault| fault.id.0)
                .collect()
        };
        assert_eq!(
            ids(Wanted {
                only: vec!["two".to_owned()],
                ..Wanted::default()
            }),
            ["two"]
        );
        assert_eq!(
            ids(Wanted {
                groups: vec!["g".to_owned()],
                ..Wanted::default()
            }),
            ["one"]
        );
        let unknown = Wanted {
            only: vec!["three".to_owned()],
            ..Wanted::default()
        };
        assert!(matches!(read().filtered(&unknown), Err(CatalogueError::Unknown { .. })));
    }
}
