//! The container engine, where this build has it; else the same command once more, built with it.

use crate::exit::ExitCode;
use crate::refuse;
use recovery_drills::drills::context::DrillRequest;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Whether this build can run containers.
pub(crate) const BUILT_IN: bool = cfg!(feature = "containers");

/// Runs this very command built with the container runtime, in place of this process; returns only when that fails.
pub(crate) fn run_again() -> ExitCode {
    eprintln!("building the container runtime, if it is not built yet (some minutes the first time)");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["run", "--quiet", "--package", "xtask", "--features", "containers", "--"]);
    command.args(std::env::args_os().skip(1));
    let error = command.exec();
    refuse(
        ExitCode::Usage,
        &format!("cannot run cargo for the container runtime: {error}"),
    )
}

/// Gives the request its engine, if it needs one; what killed runs left there is removed first.
///
/// # Errors
/// No engine answers: what to do.
#[cfg(feature = "containers")]
pub(crate) async fn connect(request: &mut DrillRequest) -> Result<(), String> {
    if request.environment.is_in_containers() {
        let engine = recovery_drills_containers::connect().await;
        request.engine = Some(engine.map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// This build has no engine; whoever needs one was run again before.
///
/// # Errors
/// Never.
#[cfg(not(feature = "containers"))]
pub(crate) async fn connect(_: &mut DrillRequest) -> Result<(), String> {
    Ok(())
}
