//! One table of a fault file: its keys, what they may hold, and what is wrong with them.

use crate::deployment::compared::Aspect;
use crate::evidence::{CheckId, FaultId};
use crate::faults::fault::{
    Answer, Archive, Base, ClockStep, Control, ControlAction, Expect, Fault, Form, Hook, Injection, Op, OpKind, Remake,
    Stage, Start, Torn, Touched,
};
use crate::faults::record::Tampering;
use crate::faults::{answers, bytes};
use serde::Deserialize;
use std::path::Path;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    #[serde(default = "own")]
    group: String,
    #[serde(default)]
    title: String,
    service: Option<String>,
    #[serde(default)]
    base: Option<String>,
    stage: String,
    #[serde(default)]
    subtle: bool,
    sql: Option<Vec<String>>,
    directory_sql: Option<Vec<String>>,
    bus_sql: Option<Vec<String>>,
    ops: Option<Vec<Op>>,
    remake: Option<String>,
    command: Option<Vec<String>>,
    answers: Option<Vec<Answer>>,
    start: Option<Vec<Start>>,
    torn: Option<Torn>,
    archive: Option<Archive>,
    clock: Option<ClockStep>,
    control: Option<Vec<Control>>,
    hook: Option<String>,
    record: Option<Tampering>,
    not_staged: Option<String>,
    #[serde(default)]
    caught_by: Vec<String>,
    #[serde(default)]
    expect: Option<String>,
    reseal: Option<bool>,
    unseen_alone: Option<String>,
    unseen_given: Option<String>,
    #[serde(default)]
    lock_too: bool,
}

fn own() -> String {
    "own".to_owned()
}

/// The fault of a table; `number` names it where it has no id.
///
/// # Errors
/// Name of the fault, what is wrong and what to do.
pub(crate) fn fault(table: toml::Table, benign: bool, path: &Path, number: &str) -> Result<Fault, (String, String)> {
    let id = table
        .get("id")
        .and_then(toml::Value::as_str)
        .unwrap_or(number)
        .to_owned();
    let failed = |what: String| (id.clone(), what);
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
    let usual = if entry.sql.is_some() || entry.ops.is_some() || entry.remake.is_some() {
        ""
    } else {
        "both"
    };
    let service = word("service", entry.service.as_deref(), Touched::parse, Touched::ALL, usual).map_err(failed)?;
    let stage = word("stage", Some(&entry.stage), Stage::parse, Stage::ALL, "").map_err(failed)?;
    let base = word("base", entry.base.as_deref(), Base::parse, Base::ALL, "seed").map_err(failed)?;
    let expect = word("expect", entry.expect.as_deref(), Expect::parse, Expect::ALL, "fail").map_err(failed)?;
    let caught_by = entry
        .caught_by
        .iter()
        .map(|name| check(name, stage))
        .collect::<Result<_, _>>()
        .map_err(failed)?;
    let injection = injection(&entry, service, stage).map_err(failed)?;
    if entry.lock_too && stage != Stage::Schema {
        let what = format!("lock_too belongs to stage schema, not {stage}; leave it out");
        return Err(failed(what));
    }
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
        unseen_alone: entry.unseen_alone,
        unseen_given: entry.unseen_given,
        lock_too: entry.lock_too,
        benign,
        file: path.to_owned(),
    })
}

/// A check of a drill; at stage environment an aspect of parity, at stage report a question of `verify`.
fn check(name: &str, stage: Stage) -> Result<CheckId, String> {
    let known: Vec<&str> = match stage {
        Stage::Environment => Aspect::ALL.iter().map(|aspect| aspect.name()).collect(),
        Stage::Report => CheckId::OF_VERIFY.iter().map(|id| id.name()).collect(),
        _ => CheckId::ALL.iter().map(|id| id.name()).collect(),
    };
    let is_asked = known.contains(&name);
    CheckId::parse(name).filter(|_| is_asked).ok_or_else(|| {
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
        entry.remake.is_some(),
        entry.command.is_some(),
        entry.answers.is_some(),
        entry.start.is_some(),
        entry.torn.is_some(),
        entry.archive.is_some(),
        entry.clock.is_some(),
        entry.control.is_some(),
        entry.hook.is_some(),
        entry.record.is_some(),
        entry.not_staged.is_some(),
    ];
    match kinds.iter().filter(|present| **present).count() {
        0 => {
            return Err(
                "nothing is injected; give sql, ops, command, answers, start, control, torn, archive or clock"
                    .to_owned(),
            );
        }
        1 => {}
        _ => {
            return Err(
                "more than one kind of injection; keep one of sql, ops, command, answers, start, control, torn, archive, clock"
                    .to_owned(),
            );
        }
    }
    if has_sql {
        return statements(entry, service);
    }
    if let Some(ops) = &entry.ops {
        not_empty("ops", ops)?;
        ops.iter().try_for_each(|op| check_op(op, service))?;
        return Ok(Injection::Ops(ops.clone()));
    }
    if let Some(how) = &entry.remake {
        return word("remake", Some(how), Remake::parse, Remake::ALL, "").map(Injection::Remake);
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
        answers.iter().try_for_each(answers::check)?;
        return Ok(Injection::Answers(answers.clone()));
    }
    if let Some(start) = &entry.start {
        not_empty("start", start)?;
        if stage != Stage::Running {
            return Err(format!(
                "the restored pair's start is altered at stage running, not {stage}; set stage = \"running\""
            ));
        }
        return Ok(Injection::Start(start.clone()));
    }
    if let Some(control) = &entry.control {
        not_empty("control", control)?;
        if stage != Stage::Running {
            return Err(format!(
                "the restored services are controlled at stage running, not {stage}; set stage = \"running\""
            ));
        }
        for one in control {
            word(
                "control.action",
                Some(&one.action),
                ControlAction::parse,
                ControlAction::ALL,
                "",
            )?;
        }
        return Ok(Injection::Control(control.clone()));
    }
    if let Some(writer) = &entry.torn {
        not_empty("torn.before", &writer.before)?;
        not_empty("torn.after", &writer.after)?;
        if stage != Stage::Set {
            return Err(format!("a set is torn at stage set, not {stage}; set stage = \"set\""));
        }
        return Ok(Injection::Torn(writer.clone()));
    }
    if let Some(archive) = &entry.archive {
        word("archive.form", Some(&archive.form), Form::parse, Form::ALL, "")?;
        if stage != Stage::Snapshot {
            return Err(format!(
                "a snapshot is packed at stage snapshot, not {stage}; set stage = \"snapshot\""
            ));
        }
        return Ok(Injection::Archive(archive.clone()));
    }
    if let Some(clock) = &entry.clock {
        return Ok(Injection::Clock(*clock));
    }
    if let Some(hook) = &entry.hook {
        return word("hook", Some(hook), Hook::parse, Hook::ALL, "").map(Injection::Hook);
    }
    if let Some(record) = &entry.record {
        if stage != Stage::Report {
            return Err(format!(
                "a record is edited at stage report, not {stage}; set stage = \"report\""
            ));
        }
        record.check()?;
        return Ok(Injection::Record(record.clone()));
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
    for name in [&op.file, &op.to].into_iter().flatten() {
        bytes::check_name(name)?;
    }
    if let Some(name) = &op.from {
        bytes::check_from(name)?;
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
