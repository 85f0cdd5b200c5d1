//! Networks without a way out for copies of real data. A drill of a given backup runs in one as a whole; a drill of an attached
//! source has to stay in the machine's network, and only what it restores goes into one.
//!
//! To go in, the program replaces itself by `unshare … itself`, so that its process id, signals and exit code stay the same. Where
//! the system refuses namespaces it goes on without; what holds then is read from the system, not from here, and stands in the evidence.

use crate::exit::ExitCode;
use crate::{drill, refuse};
use recovery_drills::drills::isolation::is_alone;
use recovery_drills::runtime::enclosure::{self, Enclosing, Way};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

/// Set in the namespace, so that it is entered once.
const ENTERED: &str = "DRILLS_IN_OWN_NETWORK";
/// The hidden command that runs in the namespace of restored services.
pub(crate) const RELAY: &str = "relay";

/// Whether this program put itself into a namespace.
pub(crate) fn is_entered() -> bool {
    std::env::var_os(ENTERED).is_some()
}

/// Enters a namespace if the system allows it, and hands these variables over; returns only if it does not, or if it is entered
/// already.
pub(crate) fn enter(variables: &[(&str, PathBuf)]) {
    if is_alone() || is_entered() {
        return;
    }
    let (Some(way), Ok(program)) = (Way::find(), std::env::current_exe()) else {
        return;
    };
    let Some(program) = program.to_str() else { return };
    let inside = way.enter(&[program.to_owned()]);
    let mut own = Command::new(&inside[0]);
    own.args(&inside[1..]).args(std::env::args_os().skip(1));
    // Comes back only when it failed: then the drill is not isolated, and says so.
    let _ = own.env(ENTERED, "1").envs(variables.iter().cloned()).exec();
}

/// How the processes that an attached drill restores get a network of their own; `None` where the system refuses.
pub(crate) fn enclosing() -> Option<Enclosing> {
    if is_entered() {
        return None;
    }
    let program = std::env::current_exe().ok()?.to_str()?.to_owned();
    Some(Enclosing {
        way: Way::find()?,
        relay: vec![program, RELAY.to_owned()],
    })
}

/// Leads sockets into the namespace that this process runs in, until whoever asks for them is gone.
pub(crate) fn relay() -> ExitCode {
    let relayed = drill::runtime().and_then(|runtime| {
        let relayed = runtime.block_on(enclosure::relay());
        relayed.map_err(|error| format!("the relay ends: {error}"))
    });
    match relayed {
        Ok(()) => ExitCode::Pass,
        Err(message) => refuse(ExitCode::Fail, &message),
    }
}
