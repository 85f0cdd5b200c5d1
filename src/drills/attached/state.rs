//! The harness's own state folder: what stands in it is run as a command when a broken drill is mended, so it has to be one's own.

use rustix::process::geteuid;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where root keeps it without a home, as a service of the system has none; it outlives a restart of the machine.
const OF_ROOT: &str = "/var/lib/recovery-drills";

/// `DRILLS_STATE_DIR`, else below `XDG_STATE_HOME`, else below the home folder; without these a folder that outlives a restart
/// of the machine.
#[must_use]
pub fn state_folder(variable: impl Fn(&str) -> Option<String>) -> PathBuf {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let of_user = || match geteuid() {
        user if user.is_root() => PathBuf::from(OF_ROOT),
        user => PathBuf::from(format!("/var/tmp/recovery-drills-{}", user.as_raw())),
    };
    given("DRILLS_STATE_DIR")
        .or_else(|| Some(given("XDG_STATE_HOME")?.join("recovery-drills")))
        .or_else(|| Some(given("HOME")?.join(".local/state/recovery-drills")))
        .unwrap_or_else(of_user)
}

/// Whether nobody else can put a record into it; a folder that is not there yet is fine.
///
/// # Errors
/// Whose it is, or that others may write there.
pub fn is_own(state: &Path) -> io::Result<()> {
    let facts = match fs::symlink_metadata(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        // A link of one's own may lead elsewhere; what counts is where.
        Ok(facts) if facts.is_symlink() && facts.uid() == geteuid().as_raw() => fs::metadata(state)?,
        facts => facts?,
    };
    let problem = if facts.uid() != geteuid().as_raw() {
        format!("it belongs to user {}", facts.uid())
    } else if facts.mode() & 0o022 != 0 {
        format!("others may write there (mode {:o})", facts.mode() & 0o777)
    } else {
        return Ok(());
    };
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        format!(
            "{problem}, and records in it are run as commands; make it your own with mode 0700, or set DRILLS_STATE_DIR"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_state_folder_is_the_given_one_or_below_home_and_never_temporary() {
        let only = |name: &'static str| move |asked: &str| (asked == name).then(|| "/x".to_owned());
        assert_eq!(state_folder(only("DRILLS_STATE_DIR")), Path::new("/x"));
        assert_eq!(state_folder(only("XDG_STATE_HOME")), Path::new("/x/recovery-drills"));
        assert_eq!(state_folder(only("HOME")), Path::new("/x/.local/state/recovery-drills"));
        assert!(state_folder(|_| None).starts_with("/var"));
    }

    #[test]
    fn a_folder_that_others_can_write_to_is_not_ones_own() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(is_own(folder.path()).is_ok() && is_own(&folder.path().join("none")).is_ok());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("set");
        let error = is_own(folder.path()).expect_err("refused").to_string();
        assert!(error.contains("mode 777"), "{error}");
    }
}
