//! Runs a drill of a given backup in a network of its own: harness and services in a namespace that has only the loopback
//! interface, so that a restored copy of real data reaches nobody and is reached by nobody.
//!
//! The program replaces itself by `unshare … itself`, so that its process id, signals and exit code stay the same. Where the
//! system refuses namespaces it goes on without; what holds then is read from the system, not from here, and stands in the evidence.

use recovery_drills::drills::isolation::is_alone;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Set in the namespace, so that it is entered once.
const ENTERED: &str = "DRILLS_IN_OWN_NETWORK";

/// Arguments that enter the namespace, bring its loopback interface up and run what follows.
const ENTER: &[&str] = &[
    "--user",
    "--map-root-user",
    "--net",
    "--",
    "sh",
    "-c",
    "ip link set lo up && exec \"$@\"",
    "sh",
];

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
    let Ok(program) = std::env::current_exe() else { return };
    let mut probe = Command::new("unshare");
    probe.args(ENTER).arg("true");
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if !probe.status().is_ok_and(|status| status.success()) {
        return;
    }
    let mut own = Command::new("unshare");
    own.args(ENTER).arg(program).args(std::env::args_os().skip(1));
    // Comes back only when it failed: then the drill is not isolated, and says so.
    let _ = own.env(ENTERED, "1").envs(variables.iter().cloned()).exec();
}
