//! The commands that speak to a store; built with the feature `store` only.
//!
//! Secrets are the `AWS_*` variables, the identity file and `DRILLS_STORE_NAMING_SECRET`; what is printed is redacted.

use crate::exit::ExitCode;
use crate::snapshot::{Create, Prune, Restore, Verify, take};
use crate::{drill, refuse};
use recovery_drills::drills::intake::Intake;
use recovery_drills::drills::reference;
use recovery_drills::evidence::Secrets;
use recovery_drills::snapshot::dated;
use recovery_drills_store::access::AccessError;
use recovery_drills_store::address::{Address, parse};
use recovery_drills_store::client::Patience;
use recovery_drills_store::layout::{Index, LayoutError};
use recovery_drills_store::list::list as entries;
use recovery_drills_store::objects::Store;
use recovery_drills_store::prune::{Plan, PruneError, plan as plan_pruning, prune as perform_pruning};
use recovery_drills_store::put::{How, PutError, put};
use recovery_drills_store::read::{ReadError, resolve, restore as get, verify as read_back};
use recovery_drills_store::retention::Retention;
use recovery_drills_store::sealing::{Lock, Opener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// A secret of the taking machine, which names the parts of encrypted snapshots.
const NAMING_SECRET: &str = "DRILLS_STORE_NAMING_SECRET";
/// What may never be printed.
const SECRETS: [&str; 5] = [
    "AWS_PROXY_URL",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    NAMING_SECRET,
];

type Failure = (ExitCode, String);

/// An error as it may be printed.
fn told(error: &dyn std::error::Error) -> String {
    let mut secrets = Secrets::default();
    for name in SECRETS {
        if let Ok(value) = std::env::var(name) {
            secrets.add(&value);
        }
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        // The client of the object store says its causes in its own text already.
        let said = source.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = source.source();
    }
    secrets.redact(&text)
}

fn access(error: &AccessError) -> ExitCode {
    match error {
        AccessError::Failed { .. } => ExitCode::Inconclusive,
        error if error.is_usage() => ExitCode::Usage,
        _ => ExitCode::Fail,
    }
}

fn layout(error: &LayoutError) -> ExitCode {
    match error {
        LayoutError::Access(error) => access(error),
        LayoutError::NoStore { .. } | LayoutError::UnknownFormat { .. } => ExitCode::Usage,
        LayoutError::Damaged { .. } => ExitCode::Fail,
    }
}

fn reading(error: &ReadError) -> Failure {
    let code = if error.is_unknown() {
        ExitCode::Inconclusive
    } else if error.is_usage() {
        ExitCode::Usage
    } else {
        ExitCode::Fail
    };
    (code, told(error))
}

fn unusable(error: &AccessError) -> Failure {
    (access(error), told(error))
}

fn opened(address: &Address) -> Result<Store, Failure> {
    let variables =
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Store::open(address, variables, Patience::default()).map_err(|error| unusable(&error))
}

fn parsed(text: &str) -> Result<Address, Failure> {
    parse(text).map_err(|error| unusable(&error))
}

/// An address of a store alone.
fn of_store(text: &str) -> Result<Address, Failure> {
    let address = parsed(text)?;
    match &address.id {
        None => Ok(address),
        Some(id) => Err((
            ExitCode::Usage,
            format!("{text} names the snapshot {id}; name the store {}", address.shown),
        )),
    }
}

/// Largest identity file, in bytes.
const IDENTITY_BYTES: u64 = 1 << 20;

fn opener(file: Option<&Path>) -> Result<Option<Opener>, Failure> {
    let Some(path) = file else { return Ok(None) };
    let unusable = |what: String| {
        let message = format!("cannot use the identity file {}: {what}", path.display());
        (ExitCode::Usage, message)
    };
    let metadata = std::fs::metadata(path).map_err(|error| unusable(error.to_string()))?;
    // A pipe or a device may have no end, and is no file that somebody keeps a key in.
    if !metadata.is_file() || metadata.len() > IDENTITY_BYTES {
        return Err(unusable("it is no file of age-keygen".to_owned()));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(unusable(format!("others may read it (mode {mode:04o}); chmod 600 it")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let opener = Opener::parse(&text).map_err(|error| (ExitCode::Usage, format!("{}: {error}", path.display())))?;
    Ok(Some(opener))
}

fn ended(done: Result<ExitCode, Failure>) -> ExitCode {
    done.unwrap_or_else(|(code, message)| refuse(code, &message))
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = drill::runtime().map_err(|message| (ExitCode::Inconclusive, message))?;
    runtime.block_on(async {
        tokio::select! {
            done = work => done,
            () = drill::interrupted() => Err((ExitCode::Interrupted, "interrupted".to_owned())),
        }
    })
}

/// `snapshot create` into a store.
pub(crate) fn create_in(options: &Create, to: &str) -> ExitCode {
    ended(store_new(options, to))
}

fn store_new(options: &Create, to: &str) -> Result<ExitCode, Failure> {
    let address = of_store(to)?;
    let settings = options
        .defaults
        .settings()
        .map_err(|message| (ExitCode::Usage, message))?;
    let recipient = options.recipient.clone().or(settings.recipient);
    let lock = recipient.map(|text| Lock::parse(&text)).transpose();
    let lock = lock.map_err(|error| (ExitCode::Usage, told(&error)))?;
    apart(&address, &options.from)?;
    Store::prepare(&address).map_err(|error| unusable(&error))?;
    let store = opened(&address)?;
    let private = intake("storing")?;
    let folder = private.folder().join("snapshot");
    take(options, &folder)?;
    let how = How {
        lock,
        naming_secret: std::env::var(NAMING_SECRET).ok().filter(|secret| !secret.is_empty()),
        salt: uuid::Uuid::new_v4().to_string(),
        now: jiff::Timestamp::now(),
    };
    let stored = block_on(async {
        put(&store, &folder, &how).await.map_err(|error| {
            let code = match &error {
                PutError::Access(error) if error.is_usage() => ExitCode::Usage,
                PutError::Layout(error) if layout(error) == ExitCode::Usage => ExitCode::Usage,
                // Nobody knows whether it is stored.
                PutError::Unconfirmed { .. } => ExitCode::Inconclusive,
                // It was to be stored and is not.
                _ => ExitCode::Fail,
            };
            (code, told(&error))
        })
    })?;
    let index = &stored.index;
    println!("{}/{}", store.shown(), index.id);
    if let Some(why) = &stored.marked {
        eprintln!("the mark of this upload could not be removed, so prune removes no part for a day: {why}");
    }
    eprintln!(
        "stored and read back: {} of {} parts sent, {} were there, {} bytes for {} bytes of files; {}",
        stored.sent,
        index.parts.len(),
        index.parts.len() - stored.sent,
        stored.sent_bytes,
        index.bytes,
        index
            .recipient
            .as_ref()
            .map_or_else(|| "not encrypted".to_owned(), |to| format!("encrypted to {to}"))
    );
    Ok(ExitCode::Pass)
}

/// A store in the folder of the databases, or above it, would put files among them.
fn apart(address: &Address, from: &Path) -> Result<(), Failure> {
    let (Some(store), Ok(from)) = (address.folder().map(resolved), from.canonicalize()) else {
        return Ok(());
    };
    if !store.starts_with(&from) {
        return Ok(());
    }
    let message = format!(
        "the store {} lies in {}, where the databases are; name a store elsewhere, at best on another disk",
        address.shown,
        from.display()
    );
    Err((ExitCode::Usage, message))
}

/// A path without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for there in path.ancestors() {
        if let (Ok(there), Ok(rest)) = (there.canonicalize(), path.strip_prefix(there)) {
            return there.join(rest);
        }
    }
    path
}

/// A folder of this program's own that nobody else may enter.
pub(crate) fn intake(what: &str) -> Result<Intake, Failure> {
    let runs = reference::runs_folder();
    Intake::new(&runs, what).map_err(|error| (ExitCode::Fail, format!("cannot write into {}: {error}", runs.display())))
}

/// Whether a stored snapshot is not older than it may be.
pub(crate) fn young_enough(text: &str, index: &Index, limit: jiff::SignedDuration) -> Result<(), Failure> {
    let taken = index.taken_at.parse().map_err(|_| {
        let message = format!("{text}: {:?} is no time, so its age is not known", index.taken_at);
        (ExitCode::Fail, message)
    })?;
    let what = format!("{text} ({})", index.id);
    dated::young_enough(&what, taken, "its index", limit, jiff::Timestamp::now())
        .map_err(|error| (ExitCode::Fail, error.to_string()))
}

/// `snapshot list`.
pub(crate) fn list(store: &str) -> ExitCode {
    ended(listed(store))
}

fn listed(text: &str) -> Result<ExitCode, Failure> {
    let store = opened(&of_store(text)?)?;
    let entries = block_on(async { entries(&store).await.map_err(|error| (layout(&error), told(&error))) })?;
    let mut code = ExitCode::Pass;
    for entry in &entries {
        let seen = entry.checked.as_ref().map_or_else(
            || "never verified".to_owned(),
            |checked| {
                let word = if checked.whole { "verified" } else { "DAMAGED at" };
                format!("{word} {}", checked.at)
            },
        );
        match &entry.index {
            Ok(index) => {
                let sealed = if index.recipient.is_some() {
                    "encrypted"
                } else {
                    "plain"
                };
                println!("{}  {:>12} bytes  {sealed:<9}  {seen}", entry.id, index.bytes);
            }
            Err(error) => {
                println!("{}  DAMAGED: {}", entry.id, told(error));
                code = ExitCode::Fail;
            }
        }
    }
    if entries.is_empty() {
        eprintln!("no snapshot in {}", store.shown());
    }
    Ok(code)
}

/// `snapshot verify` of a stored snapshot.
pub(crate) fn verify_in(options: &Verify, text: &str) -> ExitCode {
    ended(verified(options, text))
}

fn verified(options: &Verify, text: &str) -> Result<ExitCode, Failure> {
    let address = parsed(text)?;
    let (store, opener) = (opened(&address)?, opener(options.identity.file.as_deref())?);
    let whole = block_on(async {
        let id = resolve(&store, address.id.as_deref())
            .await
            .map_err(|error| reading(&error))?;
        let whole = read_back(&store, &id, opener.as_ref(), jiff::Timestamp::now()).await;
        whole.map_err(|error| reading(&error))
    })?;
    let depth = if whole.opened {
        "every part and every file"
    } else {
        "every part as it is stored; it is encrypted, so its files are only proven with --identity"
    };
    println!(
        "{}/{}: whole, as taken {}; read back: {depth}",
        store.shown(),
        whole.index.id,
        whole.index.taken_at
    );
    if let Some(why) = &whole.untold {
        eprintln!("the store could not be told, so prune does not know of it: {why}");
    }
    Ok(ExitCode::Pass)
}

/// `snapshot restore`.
pub(crate) fn restore(options: &Restore, text: &str) -> ExitCode {
    ended(
        fetch(text, options.identity.file.as_deref(), |_| Ok(options.to.clone())).map(|(index, to)| {
            println!("{}: snapshot {} taken {}", to.display(), index.id, index.taken_at);
            ExitCode::Pass
        }),
    )
}

/// Gets a snapshot into the folder that `to` names for its index, after it had a look at it.
pub(crate) fn fetch(
    text: &str,
    identity: Option<&Path>,
    to: impl FnOnce(&Index) -> Result<PathBuf, Failure>,
) -> Result<(Index, PathBuf), Failure> {
    let address = parsed(text)?;
    let (store, opener) = (opened(&address)?, opener(identity)?);
    block_on(async {
        let id = resolve(&store, address.id.as_deref())
            .await
            .map_err(|error| reading(&error))?;
        let index = Index::read(&store, &id).await.map_err(|error| reading(&error.into()))?;
        let to = to(&index)?;
        let index = get(&store, &id, opener.as_ref(), &to)
            .await
            .map_err(|error| reading(&error))?;
        Ok((index, to))
    })
}

/// `snapshot prune`.
pub(crate) fn prune(options: &Prune, text: &str) -> ExitCode {
    ended(pruned(options, text))
}

fn pruned(options: &Prune, text: &str) -> Result<ExitCode, Failure> {
    let retention = retention(options)?;
    let store = opened(&of_store(text)?)?;
    let now = jiff::Timestamp::now();
    let plan = block_on(async {
        let plan = if options.dry_run {
            plan_pruning(&store, &retention, now).await
        } else {
            perform_pruning(&store, &retention, now).await
        };
        plan.map_err(|error| {
            let code = match &error {
                PruneError::NoRule => ExitCode::Usage,
                PruneError::Unmarked => ExitCode::Fail,
                PruneError::Access(error) => access(error),
                PruneError::Layout(error) => layout(error),
            };
            (code, told(&error))
        })
    })?;
    print_plan(&plan, options.dry_run);
    Ok(ExitCode::Pass)
}

/// The rules that are given, else the environment's.
fn retention(options: &Prune) -> Result<Retention, Failure> {
    let usage = |message: String| (ExitCode::Usage, message);
    let mut retention = Retention::default();
    let given = options.rules();
    for (rule, number) in &given {
        retention.set(rule, *number).map_err(usage)?;
    }
    if given.is_empty() {
        for (rule, value) in &options.defaults.settings().map_err(usage)?.retention {
            let number = value
                .as_integer()
                .ok_or_else(|| usage(format!("[snapshots] retention: {rule} is no number")))?;
            let set = retention.set(rule, number);
            set.map_err(|what| usage(format!("[snapshots] retention: {what}")))?;
        }
    }
    Ok(retention)
}

fn print_plan(plan: &Plan, is_dry: bool) {
    let removed = if is_dry { "would be removed" } else { "removed" };
    for fate in &plan.fates {
        if fate.kept.is_empty() {
            println!("{}  {removed}", fate.id);
        } else {
            println!("{}  kept: {}", fate.id, fate.kept.join(", "));
        }
    }
    println!("{} parts, {} bytes {removed}", plan.parts.len(), plan.bytes());
    if let Some(why) = &plan.spared {
        println!("no part is removed: {why}");
    }
}
