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

/// Inputs that name images → the variables that the container runtime reads.
const IMAGES: [(&str, &str); 2] = [
    ("directory_image", "BEAM_DIRECTORY_IMAGE"),
    ("bus_image", "BEAM_BUS_IMAGE"),
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
    let given = std::env::vars_os()
        .filter_map(|(name, value)| {
            let name = name.to_str()?.strip_prefix(PREFIX)?.to_lowercase();
            // What is no text becomes one that no command takes.
            Some((name, value.to_string_lossy().trim().to_owned()))
        })
        .filter(|(_, value)| !value.is_empty());
    let mut given: Vec<(String, String)> = given.collect();
    let images = match images(&mut given) {
        Ok(images) => images,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let arguments = match arguments(&given) {
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
    for (_, image) in &images {
        if let Err(message) = on_the_engine(image) {
            return refuse(ExitCode::Usage, &message);
        }
    }
    eprintln!("cargo xtask {}", arguments.join(" "));
    match Command::new(program).args(&arguments).envs(images).status() {
        Ok(status) => ExitCode::of(status.code()),
        Err(error) => refuse(
            ExitCode::Inconclusive,
            &format!("cannot run this program again: {error}"),
        ),
    }
}

/// Takes the images out of the inputs; with one of them the services run as containers.
fn images(given: &mut Vec<(String, String)>) -> Result<Vec<(&'static str, String)>, String> {
    let mut images = Vec::new();
    for (input, variable) in IMAGES {
        if let Some(place) = given.iter().position(|(name, _)| name == input) {
            images.push((variable, given.remove(place).1));
        }
    }
    if images.is_empty() {
        return Ok(images);
    }
    match given.iter().find(|(name, _)| name == "runtime") {
        None => given.push(("runtime".to_owned(), "container".to_owned())),
        Some((_, runtime)) if runtime == "container" => {}
        Some((_, runtime)) => return Err(format!("an image was given, but runtime {runtime}; use container")),
    }
    Ok(images)
}

/// Fetches an image that the engine does not have yet.
fn on_the_engine(image: &str) -> Result<(), String> {
    if image.starts_with('-') {
        return Err(format!("{image:?} is no name of an image"));
    }
    let docker = |arguments: &[&str]| {
        let command = Command::new("docker").args(arguments).arg(image).output();
        command.map_err(|error| format!("cannot run docker for the image {image}: {error}"))
    };
    if docker(&["image", "inspect"])?.status.success() {
        return Ok(());
    }
    let pulled = docker(&["pull", "--quiet"])?;
    if pulled.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&pulled.stderr);
    Err(format!(
        "the engine has no image {image}, and it cannot be pulled: {}",
        said.lines().next().unwrap_or_default()
    ))
}

/// The command line of these inputs.
pub(crate) fn arguments(given: &[(String, String)]) -> Result<Vec<String>, String> {
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
        if values.is_empty() {
            return Err(format!("{name} {value:?} names none"));
        }
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
    fn an_image_means_containers() {
        let input = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut given = vec![input("directory_image", "beam:1")];
        assert_eq!(
            images(&mut given),
            Ok(vec![("BEAM_DIRECTORY_IMAGE", "beam:1".to_owned())])
        );
        assert_eq!(given, [input("runtime", "container")]);
        let mut given = vec![input("bus_image", "beam:1"), input("runtime", "process")];
        assert!(images(&mut given).is_err());
        assert!(of(&[("command", "parity"), ("environment", ",")]).is_err());
    }

    #[test]
    fn what_a_command_does_not_take_is_named() {
        let message = of(&[("command", "parity"), ("seed", "7")]).expect_err("refused");
        assert!(message.contains("parity takes no seed"), "{message}");
        assert!(of(&[("command", "rm")]).expect_err("refused").contains("drill, parity"));
    }
}
