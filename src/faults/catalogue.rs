//! Files of faults: `[[fault]]` and `[[benign]]` tables in `*.toml`, validated as a whole.
//!
//! A mistake names file, fault and what to do. Reads folders, nothing else.

use crate::evidence::{CheckId, FaultId};
use crate::faults::fault::{Answer, Base, Expect, Fault, HOOKS, Injection, Op, OpKind, Stage, Start, Touched};
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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    group: String,
    title: String,
    service: String,
    #[serde(default)]
    base: Option<String>,
    stage: String,
    #[serde(default)]
    subtle: bool,
    sql: Option<Vec<String>>,
    directory_sql: Option<Vec<String>>,
    bus_sql: Option<Vec<String>>,
    ops: Option<Vec<Op>>,
    command: Option<Vec<String>>,
    answers: Option<Vec<Answer>>,
    start: Option<Vec<Start>>,
    hook: Option<String>,
    not_staged: Option<String>,
    #[serde(default)]
    caught_by: Vec<String>,
    #[serde(default)]
    expect: Option<String>,
    reseal: Option<bool>,
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
                let text = fs::read_to_string(&path).map_err(|source| CatalogueError::Read {
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
            let each = tables
                .into_iter()
                .enumerate()
                .map(|(at, table)| one(table, benign, path, &number(at)));
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
                && (!wanted.at_rest || fault.is_at_rest())
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

fn one(table: toml::Table, benign: bool, path: &Path, number: &str) -> Result<Fault, CatalogueError> {
    let id = table
        .get("id")
        .and_then(toml::Value::as_str)
        .unwrap_or(number)
        .to_owned();
    let failed = |what: String| wrong(path, &id, what);
    let entry: Entry = table
        .try_into()
        .map_err(|error: toml::de::Error| failed(error.to_string().trim_end().replace('\n', " ")))?;
    if id.is_empty()
        || !id
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Err(failed("an id is lower-case letters, digits and hyphens".to_owned()));
    }
    let service = word("service", Some(&entry.service), Touched::parse, Touched::ALL, "").map_err(failed)?;
    let stage = word("stage", Some(&entry.stage), Stage::parse, Stage::ALL, "").map_err(failed)?;
    let base = word("base", entry.base.as_deref(), Base::parse, Base::ALL, "seed").map_err(failed)?;
    let expect = word("expect", entry.expect.as_deref(), Expect::parse, Expect::ALL, "fail").map_err(failed)?;
    let caught_by = entry
        .caught_by
        .iter()
        .map(|name| check(name))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let injection = injection(&entry, service, stage).map_err(failed)?;
    Ok(Fault {
        id: FaultId(entry.id),
        group: entry.group,
        title: entry.title,
        service,
        base,
        stage,
        subtle: entry.subtle,
        injection,
        caught_by,
        expect,
        reseal: entry.reseal.unwrap_or(true),
        benign,
        file: path.to_owned(),
    })
}

fn check(name: &str) -> Result<CheckId, String> {
    CheckId::parse(name).ok_or_else(|| {
        let known: Vec<&str> = CheckId::ALL.iter().map(|id| id.name()).collect();
        format!(
            "caught_by names {name:?}, which is no check; use one of {}",
            known.join(", ")
        )
    })
}

fn word<T: Copy + std::fmt::Display>(
    key: &str,
    given: Option<&str>,
    parse: fn(&str) -> Option<T>,
    all: &[T],
    default: &str,
) -> Result<T, String> {
    let given = given.unwrap_or(default);
    parse(given).ok_or_else(|| {
        let known: Vec<String> = all.iter().map(ToString::to_string).collect();
        format!("{key} is {given:?}; use one of {}", known.join(", "))
    })
}

fn injection(entry: &Entry, service: Touched, stage: Stage) -> Result<Injection, String> {
    let has_sql = entry.sql.is_some() || entry.directory_sql.is_some() || entry.bus_sql.is_some();
    let kinds = [
        has_sql,
        entry.ops.is_some(),
        entry.command.is_some(),
        entry.answers.is_some(),
        entry.start.is_some(),
        entry.hook.is_some(),
        entry.not_staged.is_some(),
    ];
    match kinds.iter().filter(|present| **present).count() {
        0 => return Err("nothing is injected; give sql, ops, command or answers".to_owned()),
        1 => {}
        _ => return Err("more than one kind of injection; keep one of sql, ops, command, answers".to_owned()),
    }
    if has_sql {
        return statements(entry, service);
    }
    if let Some(ops) = &entry.ops {
        not_empty("ops", ops)?;
        ops.iter().try_for_each(|op| check_op(op, service))?;
        return Ok(Injection::Ops(ops.clone()));
    }
    if let Some(argv) = &entry.command {
        not_empty("command", argv)?;
        return Ok(Injection::Command(argv.clone()));
    }
    if let Some(answers) = &entry.answers {
        not_empty("answers", answers)?;
        if stage != Stage::Running {
            return Err(format!(
                "answers are altered at stage running, not {stage}; set stage = \"running\""
            ));
        }
        answers.iter().try_for_each(crate::faults::answers::check)?;
        return Ok(Injection::Answers(answers.clone()));
    }
    if let Some(start) = &entry.start {
        not_empty("start", start)?;
        return Ok(Injection::Start(start.clone()));
    }
    if let Some(hook) = &entry.hook {
        if !HOOKS.iter().any(|(name, _)| name == hook) {
            let known: Vec<&str> = HOOKS.iter().map(|(name, _)| *name).collect();
            return Err(format!("hook {hook:?} is not known; use one of {}", known.join(", ")));
        }
        return Ok(Injection::Hook(hook.clone()));
    }
    let reason = entry.not_staged.clone().unwrap_or_default();
    Ok(Injection::NotStaged(reason))
}

fn not_empty<T>(key: &str, items: &[T]) -> Result<(), String> {
    if items.is_empty() {
        Err(format!("{key} is empty; give at least one"))
    } else {
        Ok(())
    }
}

fn statements(entry: &Entry, service: Touched) -> Result<Injection, String> {
    let own = entry.sql.clone().unwrap_or_default();
    let (mut directory, mut bus) = (
        entry.directory_sql.clone().unwrap_or_default(),
        entry.bus_sql.clone().unwrap_or_default(),
    );
    match service {
        Touched::Both if entry.sql.is_some() => {
            return Err("sql with service = \"both\"; use directory_sql and bus_sql".to_owned());
        }
        Touched::Directory if entry.bus_sql.is_some() => {
            return Err("bus_sql with service = \"directory\"; set service = \"both\"".to_owned());
        }
        Touched::Bus if entry.directory_sql.is_some() => {
            return Err("directory_sql with service = \"bus\"; set service = \"both\"".to_owned());
        }
        Touched::Directory => directory.splice(0..0, own).for_each(drop),
        Touched::Bus => bus.splice(0..0, own).for_each(drop),
        Touched::Both => {}
    }
    if directory.is_empty() && bus.is_empty() {
        return Err("sql is empty; give at least one statement".to_owned());
    }
    Ok(Injection::Sql { directory, bus })
}

/// Whether an operation has the keys that its kind needs.
fn check_op(op: &Op, service: Touched) -> Result<(), String> {
    let kind = word("op", Some(&op.op), OpKind::parse, OpKind::ALL, "")?;
    let needs = |key: &str, given: bool| {
        if given {
            Ok(())
        } else {
            Err(format!("op {kind} needs {key}"))
        }
    };
    match kind {
        OpKind::Truncate => needs("keep or keep_percent", op.keep.is_some() != op.keep_percent.is_some())?,
        OpKind::Xor => needs("offset and mask", op.offset.is_some() && op.mask.is_some())?,
        OpKind::Zero => needs("offset and len", op.offset.is_some() && op.len.is_some())?,
        OpKind::Append => needs("hex", op.hex.is_some())?,
        OpKind::Chmod => needs("mode", op.mode.is_some())?,
        OpKind::Copy => needs("from and to", op.from.is_some() && op.to.is_some())?,
        OpKind::Remove => {}
    }
    if kind != OpKind::Copy {
        needs("file", op.file.is_some())?;
    }
    for name in [&op.file, &op.from, &op.to].into_iter().flatten() {
        crate::faults::bytes::check_name(name)?;
    }
    let names_service = [&op.file, &op.from, &op.to]
        .into_iter()
        .flatten()
        .any(|name| name != "manifest" && name != "folder");
    if service == Touched::Both && op.service.is_none() && names_service {
        return Err(format!("op {kind} with service = \"both\" needs its own service"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            ("hook = \"pray\"", "\"pray\" is not known"),
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
