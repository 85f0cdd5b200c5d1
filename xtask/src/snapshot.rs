//! `snapshot`: a snapshot by itself, without a drill.

use crate::exit::ExitCode;
use crate::refuse;
use recovery_drills::deployment::Service;
use recovery_drills::drills::context::chain;
use recovery_drills::snapshot::{self, Request, TakeError};
use std::path::{Path, PathBuf};

/// Subcommands of `snapshot`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a snapshot of the files of stopped services
    Create(Create),
    /// Prove that a snapshot is still what was stored
    Verify(Verify),
}

/// Flags of `snapshot create`.
#[derive(clap::Args)]
pub(crate) struct Create {
    /// Folder with both database files, and their -wal where there is one; read as bytes only
    #[arg(long)]
    from: PathBuf,
    /// Folder of the new snapshot; must not exist
    #[arg(long)]
    to: PathBuf,
    /// What the directory calls itself (BEAM_DIRECTORY_URL); kept in the manifest
    #[arg(long)]
    directory_identity: Option<String>,
}

/// Flags of `snapshot verify`.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// Folder of the snapshot
    snapshot: PathBuf,
}

/// Runs the subcommand.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Create(options) => create(&options),
        Command::Verify(options) => verify(&options),
    }
}

fn create(options: &Create) -> ExitCode {
    let folder = std::path::absolute(&options.to).unwrap_or_else(|_| options.to.clone());
    if folder.symlink_metadata().is_ok() {
        return refuse(
            ExitCode::Usage,
            &format!("{} is already there; name a new folder", options.to.display()),
        );
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let raw = match tempfile::Builder::new().prefix(".raw-").tempdir_in(parent) {
        Ok(folder) => folder,
        Err(error) => {
            return refuse(
                ExitCode::Usage,
                &format!("cannot write into {}: {error}", parent.display()),
            );
        }
    };
    let adopted = match snapshot::adopt(&options.from, &raw.path().join("set")) {
        Ok(adopted) => adopted,
        Err(error) => {
            let code = if error.is_usage() {
                ExitCode::Usage
            } else {
                ExitCode::Fail
            };
            return refuse(code, &chain(&error));
        }
    };
    for name in &adopted.ignored {
        eprintln!("ignored: {name}");
    }
    let file = |at: usize| {
        recovery_drills::snapshot::file_set::FileSet::new(Service::ALL[at], options.from.join(&adopted.names[at]))
    };
    let request = Request {
        id: folder
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        directory: file(0),
        bus: file(1),
        directory_identity: options.directory_identity.clone(),
        origin: format!("files in {}", options.from.display()),
        cut_at: None,
        taken_at: now(),
        raw_folder: raw.path().join("unused"),
        folder: folder.clone(),
    };
    match snapshot::plan(request).and_then(|plan| snapshot::seal(&plan, &adopted.raw)) {
        Ok(made) => {
            println!("{}: {}", options.to.display(), made.manifest.id);
            ExitCode::Pass
        }
        Err(error @ TakeError::Exists { .. }) => refuse(ExitCode::Usage, &chain(&error)),
        Err(error) => refuse(ExitCode::Fail, &chain(&error)),
    }
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn verify(options: &Verify) -> ExitCode {
    match snapshot::verify(&options.snapshot) {
        Ok(verified) => {
            println!(
                "{}: unaltered since {}",
                verified.folder.display(),
                verified.manifest.taken_at
            );
            ExitCode::Pass
        }
        Err(error) => {
            let code = if error.is_usage() {
                ExitCode::Usage
            } else {
                ExitCode::Fail
            };
            refuse(code, &chain(&error))
        }
    }
}
