//! A fault as the TOML that a catalogue reads: what a generated or shrunk fault is kept as.

use crate::faults::fault::{Base, Expect, Fault, Injection, Touched};
use serde::Serialize;
use toml::{Table, Value};

/// The fault as a `[[fault]]` or `[[benign]]` table of its own.
///
/// # Errors
/// What the TOML writer refused: a number beyond its range.
pub fn toml_text(fault: &Fault) -> Result<String, toml::ser::Error> {
    let mut table = Table::new();
    let mut set = |key: &str, value: Value| drop(table.insert(key.to_owned(), value));
    set("id", Value::from(fault.id.0.as_str()));
    set("group", Value::from(fault.group.as_str()));
    set("title", Value::from(fault.title.as_str()));
    set("service", Value::from(fault.service.name()));
    if fault.base != Base::Seed {
        set("base", Value::from(fault.base.name()));
    }
    set("stage", Value::from(fault.stage.name()));
    if fault.subtle {
        set("subtle", Value::from(true));
    }
    if !fault.reseal {
        set("reseal", Value::from(false));
    }
    if fault.lock_too {
        set("lock_too", Value::from(true));
    }
    match &fault.injection {
        Injection::Sql { directory, bus } => match fault.service {
            Touched::Directory => set("sql", written(directory)?),
            Touched::Bus => set("sql", written(bus)?),
            Touched::Both => {
                set("directory_sql", written(directory)?);
                set("bus_sql", written(bus)?);
            }
        },
        Injection::Ops(ops) => set("ops", written(ops)?),
        Injection::Remake(how) => set("remake", Value::from(how.name())),
        Injection::Command(argv) => set("command", written(argv)?),
        Injection::Answers(answers) => set("answers", written(answers)?),
        Injection::Start(start) => set("start", written(start)?),
        Injection::Torn(writer) => set("torn", written(writer)?),
        Injection::Archive(archive) => set("archive", written(archive)?),
        Injection::Clock(step) => set("clock", written(step)?),
        Injection::Control(control) => set("control", written(control)?),
        Injection::Hook(hook) => set("hook", Value::from(hook.name())),
        Injection::Record(record) => set("record", written(record)?),
        Injection::NotStaged(reason) => set("not_staged", Value::from(reason.as_str())),
    }
    if fault.expect != Expect::Fail {
        set("expect", Value::from(fault.expect.name()));
    }
    if let Some(why) = &fault.unseen_alone {
        set("unseen_alone", Value::from(why.as_str()));
    }
    if let Some(why) = &fault.unseen_given {
        set("unseen_given", Value::from(why.as_str()));
    }
    if !fault.caught_by.is_empty() {
        set("caught_by", written(&fault.caught_by)?);
    }
    let mut file = Table::new();
    let key = if fault.benign { "benign" } else { "fault" };
    file.insert(key.to_owned(), Value::Array(vec![Value::Table(table)]));
    toml::to_string(&file)
}

fn written(value: &impl Serialize) -> Result<Value, toml::ser::Error> {
    Value::try_from(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::catalogue::Catalogue;
    use std::path::Path;

    #[test]
    fn every_fault_reads_back_as_it_was_written() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/faults");
        let all = Catalogue::load(&[folder]).expect("a catalogue");
        for fault in all.faults.iter().chain(&all.benign) {
            let text = toml_text(fault).expect("written");
            let again = Catalogue::parse(&text, &fault.file).expect("read");
            let again: Vec<Fault> = again.faults.into_iter().chain(again.benign).collect();
            assert_eq!(again, std::slice::from_ref(fault), "{text}");
        }
    }
}
