//! `action`: what the composite action runs: its inputs, given as variables, become one command line of this program.
//!
//! An input is always one argument, `--name=value`, so that no value can bring an option along.

use crate::exit::ExitCode;
use crate::refuse;
use std::process::Command;

/// Prefix of the variables that carry the inputs.
const PREFIX: &str = "DRILLS_INPUT_";

/// Command → the inputs that it takes as options of the same name.
const TAKEN: &[(&str, &[&str])] = &[
    (
        "drill",
        &["environment", "environments", "runtime", "from", "seed", "reports"],
    ),
    ("parity", &["environment", "environments", "reports"]),
    (
        "smoke",
        &["environment", "environments", "version", "sha", "wait", "reports"],
    ),
    ("schema", &["environment", "environments", "runtime", "base", "reports"]),
    ("faults", &["environment", "environments", "runtime", "from", "seed"]),
    ("checklist", &["environment", "version", "sha", "evidence", "reports"]),
    ("plan", &["event", "environment", "shards"]),
    ("issue", &["result", "evidence"]),
];

/// Inputs that may hold several values, with commas between.
const SEVERAL: &[(&str, &str)] = &[
    ("parity", "environment"),
    ("checklist", "evidence"),
    ("issue", "evidence"),
];

/// Flags of `action`.
#[derive(clap::Args)]
#[command(
    after_help = "Reads DRILLS_INPUT_COMMAND and DRILLS_INPUT_<NAME>; empty ones count as left out.\n\nExample:\n  \
                        DRILLS_INPUT_COMMAND=drill DRILLS_INPUT_ENVIRONMENT=staging cargo xtask action"
)]
pub(crate) struct Options {
    /// Print the arguments, one a line, and run nothing
    #[arg(long)]
    print: bool,
}

/// Runs the command that the inputs ask for.
pub(crate) fn run(options: &Options) -> ExitCode {
    let given = std::env::vars()
        .filter_map(|(name, value)| Some((name.strip_prefix(PREFIX)?.to_lowercase(), value.trim().to_owned())))
        .filter(|(_, value)| !value.is_empty());
    let arguments = match arguments(&given.collect::<Vec<_>>()) {
        Ok(arguments) => arguments,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    if options.print {
        for argument in &arguments {
            println!("{argument}");
        }
        return ExitCode::Pass;
    }
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return refuse(ExitCode::Inconclusive, &format!("cannot find this program: {error}")),
    };
    eprintln!("cargo xtask {}", arguments.join(" "));
    match Command::new(program).args(&arguments).status() {
        Ok(status) => ExitCode::of(status.code()),
        Err(error) => refuse(
            ExitCode::Inconclusive,
            &format!("cannot run this program again: {error}"),
        ),
    }
}

/// The command line of these inputs.
fn arguments(given: &[(String, String)]) -> Result<Vec<String>, String> {
    let value = |name: &str| given.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let command = value("command").map_or("drill", String::as_str);
    let Some((command, taken)) = TAKEN.iter().find(|(known, _)| *known == command) else {
        let known: Vec<&str> = TAKEN.iter().map(|(known, _)| *known).collect();
        return Err(format!("command {command:?} is none of {}", known.join(", ")));
    };
    let mut arguments = vec![(*command).to_owned()];
    match *command {
        "schema" => arguments.push("--check".to_owned()),
        "drill" => arguments.extend(value("drill").map(|name| drill_name(name)).transpose()?),
        _ => {}
    }
    for (name, value) in given {
        let name = name.replace('_', "-");
        if ["command", "drill"].contains(&name.as_str()) {
            continue;
        }
        if !taken.contains(&name.as_str()) {
            // An input with a default of its own is there for every command.
            if ["event", "reports"].contains(&name.as_str()) {
                continue;
            }
            return Err(format!("{command} takes no {name}; it takes {}", taken.join(", ")));
        }
        let option = if *command == "plan" && name == "environment" {
            "environments"
        } else {
            name.as_str()
        };
        let values: Vec<&str> = if SEVERAL.contains(&(command, &name)) {
            value
                .split([',', '\n'])
                .map(str::trim)
                .filter(|one| !one.is_empty())
                .collect()
        } else {
            vec![value]
        };
        arguments.extend(values.iter().map(|value| format!("--{option}={value}")));
    }
    Ok(arguments)
}

/// A drill's name is no option.
fn drill_name(name: &str) -> Result<String, String> {
    if name.starts_with('-') {
        return Err(format!("drill {name:?} is no name of a drill"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;
    use clap::Parser as _;

    fn of(inputs: &[(&str, &str)]) -> Result<Vec<String>, String> {
        let inputs: Vec<_> = inputs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        arguments(&inputs)
    }

    #[test]
    fn without_inputs_it_drills() {
        assert_eq!(of(&[]), Ok(vec!["drill".to_owned()]));
    }

    #[test]
    fn every_input_of_every_command_is_an_option_of_it() {
        for (command, taken) in TAKEN {
            for name in *taken {
                let value = match *name {
                    "runtime" => "process",
                    "sha" => "0123456789",
                    "result" => "success",
                    _ => "7",
                };
                let mut inputs = vec![("command", *command), (*name, value)];
                if *command == "smoke" && *name != "environment" {
                    inputs.push(("environment", "staging"));
                }
                if *command == "issue" && *name != "result" {
                    inputs.push(("result", "success"));
                }
                let line = of(&inputs).expect("arguments");
                let parsed = Arguments::try_parse_from(["xtask".to_owned()].into_iter().chain(line.clone()));
                assert!(
                    parsed.is_ok(),
                    "{line:?}: {}",
                    parsed.err().map(|e| e.to_string()).unwrap_or_default()
                );
            }
        }
    }

    #[test]
    fn a_value_cannot_bring_an_option_along() {
        let line = of(&[("environment", "staging --keep"), ("seed", "--keep")]).expect("arguments");
        assert_eq!(line, ["drill", "--environment=staging --keep", "--seed=--keep"]);
        assert!(of(&[("drill", "--keep")]).is_err());
    }

    #[test]
    fn several_environments_are_several_options() {
        let line = of(&[("command", "parity"), ("environment", "production, staging")]).expect("arguments");
        assert_eq!(line, ["parity", "--environment=production", "--environment=staging"]);
    }

    #[test]
    fn what_a_command_does_not_take_is_named() {
        let message = of(&[("command", "parity"), ("seed", "7")]).expect_err("refused");
        assert!(message.contains("parity takes no seed"), "{message}");
        assert!(of(&[("command", "rm")]).expect_err("refused").contains("drill, parity"));
    }
}
