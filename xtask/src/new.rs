//! `new`: starts a piece of the harness from its smallest complete form, registered and ready to be seen failing.

use crate::exit::ExitCode;
use crate::{drill, refuse};
use recovery_drills::drills::context::chain;
use recovery_drills::faults::catalogue::Catalogue;
use std::path::{Path, PathBuf};

/// Subcommands of `new`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// A fault: a few lines of TOML in the catalogue
    Fault(Fault),
}

/// Flags of `new fault`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  cargo xtask new fault acl-entry-lost --sql 'DELETE FROM intent_acls WHERE id=1' --caught-by content acl"
)]
pub(crate) struct Fault {
    /// Its name: lower-case letters, digits, hyphens
    id: String,
    /// What happens, as a sentence
    #[arg(long, default_value = "say in one sentence what happens")]
    title: String,
    /// Its group, and the name of the file that takes it
    #[arg(long, default_value = "own")]
    group: String,
    /// Whose data it touches
    #[arg(long, default_value = "directory", value_parser = ["directory", "bus"])]
    service: String,
    /// When it is injected
    #[arg(long, default_value = "snapshot", value_parser = ["source", "set", "snapshot", "restored-files", "running"])]
    stage: String,
    /// Statements, in order
    #[arg(long, num_args = 1.., default_value = "UPDATE agents SET display_name = display_name WHERE 0")]
    sql: Vec<String>,
    /// Every check that must catch it; any check where left out
    #[arg(long, num_args = 1..)]
    caught_by: Vec<String>,
    /// Folder of the catalogue
    #[arg(long)]
    catalogue: Option<PathBuf>,
}

/// Runs the subcommand.
pub(crate) fn run(command: &Command) -> ExitCode {
    let Command::Fault(fault) = command;
    let folder = fault.catalogue.clone().unwrap_or_else(drill::catalogue_folder);
    match add(fault, &folder) {
        Ok(path) => {
            println!("{}", path.display());
            eprintln!(
                "written; see it caught: cargo xtask faults --only {} --clean-runs 0{}\nA fault that changes nothing is an error: give it a \
                 statement that bites. Name in caught_by every check that must see it.",
                fault.id,
                fault
                    .catalogue
                    .as_ref()
                    .map(|folder| format!(" --catalogue {}", folder.display()))
                    .unwrap_or_default()
            );
            ExitCode::Pass
        }
        Err(message) => refuse(ExitCode::Usage, &message),
    }
}

/// Appends the fault to its group's file, after the catalogue with it was read without a mistake.
fn add(fault: &Fault, folder: &Path) -> Result<PathBuf, String> {
    let known = Catalogue::load(&[folder.to_owned()]).map_err(|error| chain(&error))?;
    let taken = known.faults.iter().chain(&known.benign);
    if let Some(other) = taken.into_iter().find(|other| other.id.0 == fault.id) {
        return Err(format!(
            "{} has a fault {:?} already; ids are unique, choose another",
            other.file.display(),
            fault.id
        ));
    }
    if fault.group.contains(['/', '.']) || fault.group.is_empty() {
        return Err(format!(
            "--group {:?} names a file: letters and hyphens only",
            fault.group
        ));
    }
    let path = folder.join(format!("{}.toml", fault.group));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let text = if text.is_empty() {
        String::new()
    } else {
        format!("{}\n\n", text.trim_end())
    };
    let text = format!("{text}{}", entry(fault));
    Catalogue::parse(&text, &path).map_err(|error| chain(&error))?;
    recovery_drills::evidence::write_atomically(&path, &text).map_err(|error| chain(&error))?;
    Ok(path)
}

/// The table, in the order of keys that all files have.
fn entry(fault: &Fault) -> String {
    let quoted = |text: &str| format!("{text:?}");
    let list = |texts: &[String]| {
        let each: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
        format!("[{}]", each.join(", "))
    };
    let lines = [
        "[[fault]]".to_owned(),
        format!("id = {}", quoted(&fault.id)),
        format!("group = {}", quoted(&fault.group)),
        format!("title = {}", quoted(&fault.title)),
        format!("service = {}", quoted(&fault.service)),
        format!("stage = {}", quoted(&fault.stage)),
        format!("sql = {}", list(&fault.sql)),
        format!("caught_by = {}", list(&fault.caught_by)),
    ];
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(id: &str) -> Fault {
        Fault {
            id: id.to_owned(),
            title: "a \"quoted\" title".to_owned(),
            group: "own".to_owned(),
            service: "bus".to_owned(),
            stage: "snapshot".to_owned(),
            sql: vec!["DELETE FROM beam_messages WHERE id='x'".to_owned()],
            caught_by: vec!["content".to_owned()],
            catalogue: None,
        }
    }

    #[test]
    fn a_new_fault_reads_back_and_its_id_is_taken_then() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for id in ["one", "two"] {
            add(&fault(id), folder.path()).expect("written");
        }
        let read = Catalogue::load(&[folder.path().to_owned()]).expect("read");
        let ids: Vec<&str> = read.faults.iter().map(|fault| fault.id.0.as_str()).collect();
        assert_eq!(ids, ["one", "two"]);
        assert_eq!(read.faults[0].title, "a \"quoted\" title");
        let refused = add(&fault("one"), folder.path()).expect_err("refused");
        assert!(refused.contains("\"one\" already"), "{refused}");
    }

    #[test]
    fn a_check_that_is_none_is_refused_and_nothing_is_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let wrong = Fault {
            caught_by: vec!["agentz".to_owned()],
            ..fault("one")
        };
        assert!(add(&wrong, folder.path()).expect_err("refused").contains("agentz"));
        assert!(!folder.path().join("own.toml").exists());
    }
}
