//! Where the reference services' binary comes from: whoever needs it first builds it, under a file lock.
//!
//! Same profile and target folder as the harness; Cargo's output goes to standard error.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::SystemTime;

/// Why the binary is not there.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// Cargo could not be run or failed.
    #[error("cannot build the reference services: {message}; run `cargo build --package beam-reference-services`")]
    Build {
        /// What went wrong.
        message: String,
    },
    /// The lock could not be taken.
    #[error("cannot lock {path} for the build of the reference services")]
    Lock {
        /// The lock file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A file that the workspace has and another project has not.
const MARK: &str = "fixtures/services/src/main.rs";

/// Root of the workspace that the harness was built from: as Cargo says it where it runs the harness, since a target folder
/// that two checkouts share holds a build of either.
#[must_use]
pub fn workspace_root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| {
        let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let root = package.and_then(|package| {
            let is_root = |folder: &&Path| folder.join(MARK).is_file();
            package.ancestors().find(is_root).map(Path::to_owned)
        });
        root.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")))
    })
}

/// Cargo's target folder: `CARGO_TARGET_DIR`, else `target` in the workspace.
#[must_use]
pub fn target_folder() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) if !folder.is_empty() => std::path::absolute(&folder).unwrap_or_else(|_| folder.into()),
        _ => workspace_root().join("target"),
    }
}

/// Folder under which runs are kept.
#[must_use]
pub fn runs_folder() -> PathBuf {
    target_folder().join("drills")
}

/// Folder under which test runs keep the records of their drills.
#[must_use]
pub fn test_runs_folder() -> PathBuf {
    runs_folder().join("tests")
}

/// The binary of the reference services, built if it is missing or older than its sources.
///
/// # Errors
/// [`ReferenceError`].
pub fn ensure_built() -> Result<PathBuf, ReferenceError> {
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let target = target_folder();
    let binary = target.join(profile).join("reference-services");
    let mut arguments = vec!["build"];
    if profile == "release" {
        arguments.push("--release");
    }
    built(binary, &target, &arguments, &[])
}

/// The same, linked statically, so that an image needs nothing else; in a target folder of its own.
///
/// # Errors
/// [`ReferenceError`], also where the compiler's host is no Linux.
pub fn ensure_static() -> Result<PathBuf, ReferenceError> {
    let host = host_triple()?;
    let target = target_folder().join("static");
    let binary = target.join(&host).join("debug").join("reference-services");
    let arguments = ["build", "--package", "beam-reference-services", "--target", &host];
    let variables = [
        ("RUSTFLAGS", "-C target-feature=+crt-static"),
        ("CARGO_PROFILE_DEV_DEBUG", "0"),
        ("CARGO_PROFILE_DEV_STRIP", "true"),
    ];
    built(binary, &target, &arguments, &variables)
}

fn host_triple() -> Result<String, ReferenceError> {
    let failed = |message: String| ReferenceError::Build { message };
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc).arg("-vV").output();
    let output = output.map_err(|error| failed(format!("cannot ask rustc for its host: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    match host {
        Some(host) if host.contains("linux") => Ok(host.to_owned()),
        other => Err(failed(format!(
            "the reference image needs a Linux build, and this compiler's host is {}; name images instead",
            other.unwrap_or("unknown")
        ))),
    }
}

fn built(
    binary: PathBuf,
    target: &Path,
    arguments: &[&str],
    variables: &[(&str, &str)],
) -> Result<PathBuf, ReferenceError> {
    let lock_path = target.join("reference-services.lock");
    let lock_failed = |source| ReferenceError::Lock {
        path: lock_path.clone(),
        source,
    };
    fs::create_dir_all(target).map_err(lock_failed)?;
    let lock = File::create(&lock_path).map_err(lock_failed)?;
    lock.lock().map_err(lock_failed)?;
    if is_fresh(&binary) {
        return Ok(binary);
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments);
    cargo.args(["--bin", "reference-services"]);
    // Variables that a surrounding `cargo run` or nextest set for its own package would make Cargo rebuild.
    for (key, _) in std::env::vars_os() {
        if key
            .to_str()
            .is_some_and(|key| key.starts_with("CARGO_PKG_") || key.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(key);
        }
    }
    cargo.current_dir(workspace_root()).env("CARGO_TARGET_DIR", target);
    cargo.envs(variables.iter().copied());
    cargo
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .stderr(Stdio::inherit());
    let status = cargo.status().map_err(|error| ReferenceError::Build {
        message: error.to_string(),
    })?;
    if !status.success() {
        return Err(ReferenceError::Build {
            message: format!("cargo ended with {status}"),
        });
    }
    // Cargo leaves an unchanged binary's time as it was; touch it, so that the next look sees it as fresh.
    if let Ok(file) = File::options().append(true).open(&binary) {
        let _ = file.set_modified(SystemTime::now());
    }
    Ok(binary)
}

/// Whether the binary is newer than everything it is made of.
fn is_fresh(binary: &Path) -> bool {
    let Ok(built) = fs::metadata(binary).and_then(|facts| facts.modified()) else {
        return false;
    };
    let root = workspace_root();
    let parts = [
        "Cargo.toml",
        "Cargo.lock",
        "fixtures/services/Cargo.toml",
        "fixtures/services/src",
    ];
    parts
        .iter()
        .all(|part| newest(&root.join(part)).is_some_and(|changed| changed < built))
}

fn newest(path: &Path) -> Option<SystemTime> {
    let facts = fs::metadata(path).ok()?;
    let own = facts.modified().ok()?;
    if !facts.is_dir() {
        return Some(own);
    }
    fs::read_dir(path)
        .ok()?
        .flatten()
        .filter_map(|entry| newest(&entry.path()))
        .chain([own])
        .max()
}
