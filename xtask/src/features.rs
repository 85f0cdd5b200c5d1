//! The parts of this program that are built only when a command needs them: the same command once more, built with them.

use crate::exit::ExitCode;
use crate::refuse;
use recovery_drills::drills::reference;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// What a newcomer's build leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feature {
    /// The container runtime.
    Containers,
    /// Object stores and encryption.
    Store,
}

impl Feature {
    const ALL: [Feature; 2] = [Feature::Containers, Feature::Store];

    fn name(self) -> &'static str {
        match self {
            Feature::Containers => "xtask/containers",
            Feature::Store => "xtask/store",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Feature::Containers => "the container runtime",
            Feature::Store => "the snapshot store",
        }
    }

    /// Whether this build has it.
    pub(crate) fn is_built_in(self) -> bool {
        match self {
            Feature::Containers => cfg!(feature = "containers"),
            Feature::Store => cfg!(feature = "store"),
        }
    }
}

/// Runs this very command built with the feature too, in place of this process; returns only when that fails.
pub(crate) fn run_again(with: Feature) -> ExitCode {
    let words = with.words();
    eprintln!("building {words}, if it is not built yet (some minutes the first time)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--manifest-path"]);
    // Not the project that it is called from, which may be another.
    command.arg(reference::workspace_root().join("Cargo.toml"));
    // What is built in already stays, else two features that a command needs would take turns.
    let features: Vec<&str> = Feature::ALL
        .into_iter()
        .filter(|feature| *feature == with || feature.is_built_in())
        .map(Feature::name)
        .collect();
    command.args(["--bin", "xtask", "--features", &features.join(","), "--"]);
    command.args(std::env::args_os().skip(1));
    let error = command.exec();
    refuse(ExitCode::Usage, &format!("cannot run cargo for {words}: {error}"))
}
