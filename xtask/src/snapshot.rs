//! `snapshot`: a snapshot by itself, without a drill: in a folder of its own, or in a store.

use crate::exit::ExitCode;
use crate::features::Feature;
use crate::{environments, features, refuse};
use recovery_drills::deployment::Service;
use recovery_drills::deployment::environment::SnapshotSettings;
use recovery_drills::drills::context::chain;
use recovery_drills::evidence::one_line;
use recovery_drills::snapshot::file_set::FileSet;
use recovery_drills::snapshot::manifest::FILE_NAME;
use recovery_drills::snapshot::{self, Request, TakeError};
use std::path::{Path, PathBuf};

/// Subcommands of `snapshot`.
#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Make a snapshot of the files of stopped services, in a new folder or in a store
    Create(Create),
    /// List the snapshots of a store
    List(List),
    /// Prove that a snapshot is still what was stored: everything is read back
    Verify(Verify),
    /// Get a snapshot of a store back into a new folder
    Restore(Restore),
    /// Remove the snapshots of a store that retention does not keep; never the last verified one
    Prune(Prune),
}

/// Where the environment's `[snapshots]` come from, for what the flags leave out.
#[derive(clap::Args)]
pub(crate) struct Defaults {
    /// Environment whose [snapshots] say store, recipient and retention where the flags do not
    #[arg(long)]
    environment: Option<String>,
    /// Folder of the environment files
    #[arg(long, default_value = "fixtures/environments")]
    environments: PathBuf,
}

impl Defaults {
    /// The settings; empty without an environment.
    pub(crate) fn settings(&self) -> Result<SnapshotSettings, String> {
        match &self.environment {
            None => Ok(SnapshotSettings::default()),
            Some(name) => Ok(environments::load(name, &self.environments)?.environment.snapshots),
        }
    }

    /// The address that is given, else the environment's store.
    fn store(&self, given: Option<&str>) -> Result<String, String> {
        if let Some(given) = given {
            return Ok(given.to_owned());
        }
        let store = self.settings()?.store;
        store.ok_or_else(|| {
            "no store; give its address (file:FOLDER, s3://BUCKET/PREFIX) or --environment with [snapshots] store"
                .to_owned()
        })
    }
}

/// Flags of `snapshot create`.
#[derive(clap::Args)]
pub(crate) struct Create {
    /// Folder with both database files, and their -wal where there is one; read as bytes only
    #[arg(long)]
    pub(crate) from: PathBuf,
    /// Folder of the new snapshot, which must not exist; or a store: file:FOLDER, s3://BUCKET/PREFIX
    #[arg(long, required_unless_present = "environment")]
    to: Option<String>,
    /// What the directory calls itself (BEAM_DIRECTORY_URL); kept in the manifest
    #[arg(long)]
    directory_identity: Option<String>,
    /// age recipient (age1…) that it is encrypted to in the store
    #[arg(long)]
    pub(crate) recipient: Option<String>,
    #[command(flatten)]
    pub(crate) defaults: Defaults,
}

/// Flags of `snapshot list`.
#[derive(clap::Args)]
pub(crate) struct List {
    /// The store
    store: Option<String>,
    #[command(flatten)]
    pub(crate) defaults: Defaults,
}

/// Flags of `snapshot verify`.
#[derive(clap::Args)]
pub(crate) struct Verify {
    /// Folder of a snapshot; or a store, its newest snapshot, or one of it: STORE/ID
    snapshot: Option<String>,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) defaults: Defaults,
}

/// Flags of `snapshot restore`.
#[derive(clap::Args)]
pub(crate) struct Restore {
    /// The store, its newest snapshot, or one of it: STORE/ID
    snapshot: Option<String>,
    /// New folder for it
    #[arg(long)]
    pub(crate) to: PathBuf,
    #[command(flatten)]
    pub(crate) identity: Identity,
    #[command(flatten)]
    pub(crate) defaults: Defaults,
}

/// What opens an encrypted snapshot.
#[derive(clap::Args)]
pub(crate) struct Identity {
    /// Identity file that opens an encrypted snapshot, as age-keygen writes it
    #[arg(long = "identity", value_name = "FILE", env = "DRILLS_AGE_IDENTITY_FILE")]
    pub(crate) file: Option<PathBuf>,
}

/// Flags of `snapshot prune`.
#[derive(clap::Args)]
pub(crate) struct Prune {
    /// The store
    store: Option<String>,
    /// Keep the newest N
    #[arg(long, value_name = "N")]
    keep_last: Option<u32>,
    /// Keep the newest of each of N days (UTC) that have one
    #[arg(long, value_name = "N")]
    keep_daily: Option<u32>,
    /// Likewise of N weeks
    #[arg(long, value_name = "N")]
    keep_weekly: Option<u32>,
    /// Likewise of N months
    #[arg(long, value_name = "N")]
    keep_monthly: Option<u32>,
    /// Likewise of N years
    #[arg(long, value_name = "N")]
    keep_yearly: Option<u32>,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) defaults: Defaults,
}

impl Prune {
    /// The rules that are given, by their names in an environment file.
    #[cfg(feature = "store")]
    pub(crate) fn rules(&self) -> Vec<(&'static str, i64)> {
        [
            ("keep_last", self.keep_last),
            ("keep_daily", self.keep_daily),
            ("keep_weekly", self.keep_weekly),
            ("keep_monthly", self.keep_monthly),
            ("keep_yearly", self.keep_yearly),
        ]
        .into_iter()
        .filter_map(|(rule, number)| Some((rule, i64::from(number?))))
        .collect()
    }
}

/// Runs the subcommand.
pub(crate) fn run(command: Command) -> ExitCode {
    match command {
        Command::Create(options) => match &options.to {
            Some(to) if !is_store(to) => create(&options, Path::new(to)),
            to => in_store(&options.defaults, to.as_deref(), |store| create_in(&options, store)),
        },
        Command::List(options) => in_store(&options.defaults, options.store.as_deref(), list),
        Command::Verify(options) => match &options.snapshot {
            Some(snapshot) if !is_store(snapshot) => verify(Path::new(snapshot)),
            snapshot => in_store(&options.defaults, snapshot.as_deref(), |store| {
                verify_in(&options, store)
            }),
        },
        Command::Restore(options) => in_store(&options.defaults, options.snapshot.as_deref(), |store| {
            restore(&options, store)
        }),
        Command::Prune(options) => in_store(&options.defaults, options.store.as_deref(), |store| {
            prune(&options, store)
        }),
    }
}

/// Whether a text names a store, or a snapshot in one, and not the folder of a snapshot.
pub(crate) fn is_store(text: &str) -> bool {
    let marked = |folder: &Path| folder.join(STORE_MARK).is_file();
    let path = Path::new(text);
    text.starts_with("file:")
        || text.contains("://")
        || !path.join(FILE_NAME).exists() && (marked(path) || !path.exists() && path.parent().is_some_and(marked))
}

/// The file that makes a folder a store. Source: the package `store`.
const STORE_MARK: &str = "recovery-drill-store.json";

fn in_store(defaults: &Defaults, given: Option<&str>, act: impl FnOnce(&str) -> ExitCode) -> ExitCode {
    match defaults.store(given) {
        Err(message) => refuse(ExitCode::Usage, &message),
        Ok(_) if !Feature::Store.is_built_in() => features::run_again(Feature::Store),
        Ok(store) => act(&store),
    }
}

#[cfg(feature = "store")]
use crate::stores::{create_in, list, prune, restore, verify_in};

/// A build without the store never comes here: it runs itself again with it.
#[cfg(not(feature = "store"))]
mod absent {
    use super::{Create, Prune, Restore, Verify};
    use crate::exit::ExitCode;
    use crate::features::{Feature, run_again};

    pub(super) fn create_in(_: &Create, _: &str) -> ExitCode {
        run_again(Feature::Store)
    }
    pub(super) fn list(_: &str) -> ExitCode {
        run_again(Feature::Store)
    }
    pub(super) fn verify_in(_: &Verify, _: &str) -> ExitCode {
        run_again(Feature::Store)
    }
    pub(super) fn restore(_: &Restore, _: &str) -> ExitCode {
        run_again(Feature::Store)
    }
    pub(super) fn prune(_: &Prune, _: &str) -> ExitCode {
        run_again(Feature::Store)
    }
}
#[cfg(not(feature = "store"))]
use absent::{create_in, list, prune, restore, verify_in};

fn create(options: &Create, to: &Path) -> ExitCode {
    match take(options, to) {
        Ok(id) => {
            println!("{}: {id}", to.display());
            ExitCode::Pass
        }
        Err((code, message)) => refuse(code, &message),
    }
}

/// Makes a snapshot in a new folder; its id.
pub(crate) fn take(options: &Create, to: &Path) -> Result<String, (ExitCode, String)> {
    let folder = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
    if folder.symlink_metadata().is_ok() {
        let message = format!("{} is already there; name a new folder", to.display());
        return Err((ExitCode::Usage, message));
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    let raw = tempfile::Builder::new()
        .prefix(".raw-")
        .tempdir_in(parent)
        .map_err(|error| {
            let message = format!("cannot write into {}: {error}", parent.display());
            (ExitCode::Usage, message)
        })?;
    let adopted = snapshot::adopt(&options.from, &raw.path().join("set")).map_err(|error| {
        let code = if error.is_usage() {
            ExitCode::Usage
        } else {
            ExitCode::Fail
        };
        (code, chain(&error))
    })?;
    for name in &adopted.ignored {
        eprintln!("ignored: {}", one_line(name));
    }
    let file = |at: usize| FileSet::new(Service::ALL[at], options.from.join(&adopted.names[at]));
    let request = Request {
        id: folder
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
        directory: file(0),
        bus: file(1),
        directory_identity: options.directory_identity.clone(),
        origin: format!("files in {}", options.from.display()),
        cut_at: None,
        taken_at: jiff::Timestamp::now(),
        raw_folder: raw.path().join("unused"),
        folder: folder.clone(),
    };
    match snapshot::plan(request).and_then(|plan| snapshot::seal(&plan, &adopted.raw)) {
        Ok(made) => Ok(made.manifest.id),
        Err(error @ TakeError::Exists { .. }) => Err((ExitCode::Usage, chain(&error))),
        Err(error) => Err((ExitCode::Fail, chain(&error))),
    }
}

fn verify(folder: &Path) -> ExitCode {
    match snapshot::verify(folder) {
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
