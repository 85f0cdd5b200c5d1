//! Who holds a source: a record in the harness's own state folder, written before the first stop with all that is needed to
//! start the source again, and a lock a database file, keyed by its device and inode.
//!
//! A lock that nobody has, with a record that names it, means that a harness was killed. Nothing of this lies near the source.

use crate::deployment::Service;
use crate::deployment::attached::AttachedSource;
use crate::deployment::given_file;
use crate::drills::attached::state::is_own;
use crate::drills::context::now;
use crate::drills::run_folder::private_folder;
use crate::evidence::{StoreError, sha256, write_atomically};
use crate::snapshot::quiescent::is_open;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a source could not be held.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// Another harness drills it.
    #[error("run {run} drills this source right now; wait for its end")]
    Taken {
        /// Which run.
        run: String,
    },
    /// A harness that held it was killed.
    #[error("run {run} was killed while it held this source; `cargo xtask drill --resume` starts the source again")]
    Broken {
        /// Which run.
        run: String,
    },
    /// The state folder cannot be used.
    #[error("cannot use the state folder: {path}; set DRILLS_STATE_DIR to a folder of yours")]
    State {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The record cannot be written or read.
    #[error(transparent)]
    Record(#[from] StoreError),
    /// The record is not one.
    #[error(
        "{path} is no record of a held source; look into it, start the source by hand if it is down, then remove the file"
    )]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// How far a service of the source is on its way down and up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Its stop command was not run.
    Untouched,
    /// Its stop command was begun.
    Stopping,
    /// Its stop command ended well; it may still have its files open.
    Draining,
    /// Nobody uses its files.
    Stopped,
    /// Its start command was begun.
    Starting,
    /// It is proven to run again, or was never down.
    Running,
}

/// What is needed to start a source again, and to close the run that stopped it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldRecord {
    /// Always [`HoldRecord::FORMAT`].
    pub format: String,
    /// The run.
    pub run: String,
    /// Its folder.
    pub folder: PathBuf,
    /// RFC 3339 UTC.
    pub held_at: String,
    /// The source.
    pub source: AttachedSource,
    /// Names of the locks.
    pub locks: Vec<String>,
    /// How far: directory, bus.
    pub phases: [Phase; 2],
    /// When the first stop command was begun, RFC 3339 UTC.
    #[serde(default)]
    pub away_since: Option<String>,
}

impl HoldRecord {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-hold/1";

    /// How far a service is.
    #[must_use]
    pub fn phase(&self, service: Service) -> Phase {
        self.phases[usize::from(service == Service::Bus)]
    }

    /// Whether the source has to be started again.
    #[must_use]
    pub fn is_away(&self) -> bool {
        let away = |phase: &Phase| !matches!(phase, Phase::Untouched | Phase::Running);
        self.phases.iter().any(away)
    }
}

/// A source that this harness holds.
#[derive(Debug)]
pub struct Hold {
    /// What would be needed to start it again.
    pub record: HoldRecord,
    /// Whether another harness stopped it: then some time has passed since.
    pub is_taken_over: bool,
    state: PathBuf,
    _locks: Vec<File>,
}

/// The key of one service's files: device and inode, else what names them.
fn key(source: &AttachedSource, service: Service) -> String {
    let one = source.of(service);
    match one.data.as_ref().and_then(|data| fs::metadata(data).ok()) {
        Some(facts) => format!("{:x}-{:x}", facts.dev(), facts.ino()),
        None => format!(
            "url-{}",
            &sha256(format!("{} {:?}", one.url, one.fetch).as_bytes())[..32]
        ),
    }
}

impl Hold {
    /// Takes the source for a run; nobody else has it then.
    ///
    /// # Errors
    /// [`HoldError`].
    pub fn take(state: &Path, run: &str, folder: &Path, source: AttachedSource, at: String) -> Result<Hold, HoldError> {
        let mut names = Service::ALL
            .map(|service| format!("{}.lock", key(&source, service)))
            .to_vec();
        // Always in the same order, so that of two harnesses one gets both.
        names.sort();
        names.dedup();
        let mut locks = Vec::new();
        for name in &names {
            locks.push(take_lock(state, name, run)?);
        }
        let left = records(state).into_iter().flatten();
        if let Some(other) = left
            .into_iter()
            .find(|other| other.locks.iter().any(|lock| names.contains(lock)))
        {
            return Err(HoldError::Broken { run: other.run });
        }
        let record = HoldRecord {
            format: HoldRecord::FORMAT.to_owned(),
            run: run.to_owned(),
            folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()),
            held_at: at,
            source,
            locks: names,
            phases: [Phase::Untouched; 2],
            away_since: None,
        };
        let hold = Hold {
            record,
            is_taken_over: false,
            state: state.to_owned(),
            _locks: locks,
        };
        hold.write()?;
        Ok(hold)
    }

    /// Takes what a killed harness left.
    ///
    /// # Errors
    /// [`HoldError::Taken`] when it lives, [`HoldError::State`].
    pub fn take_over(state: &Path, record: HoldRecord) -> Result<Hold, HoldError> {
        let mut locks = Vec::new();
        for name in &record.locks {
            match take_lock(state, name, &record.run) {
                Ok(lock) => locks.push(lock),
                Err(HoldError::State { path, .. }) => locks.extend(looked_at(&path)?),
                Err(error) => return Err(error),
            }
        }
        Ok(Hold {
            record,
            is_taken_over: true,
            state: state.to_owned(),
            _locks: locks,
        })
    }

    /// Writes down what the preflight found of the source: its files with links resolved.
    ///
    /// # Errors
    /// [`HoldError::Record`].
    pub fn know(&mut self, source: AttachedSource) -> Result<(), HoldError> {
        self.record.source = source;
        self.write()
    }

    /// Writes down, before it happens, how far a service is.
    ///
    /// # Errors
    /// [`HoldError::Record`]; the phase is not entered then.
    pub fn enter(&mut self, service: Service, phase: Phase) -> Result<(), HoldError> {
        let was = self.record.phases;
        if phase == Phase::Stopping {
            self.record.away_since.get_or_insert_with(now);
        }
        self.record.phases[usize::from(service == Service::Bus)] = phase;
        self.write().inspect_err(|_| self.record.phases = was)
    }

    /// Where a command's output goes.
    #[must_use]
    pub fn output(&self, service: Service, what: &str) -> PathBuf {
        self.state.join(format!("{}.{service}.{what}.log", self.record.run))
    }

    /// Keeps a phase that was entered already in mind, and writes it down if that can be done: on the way up a full disk must
    /// not keep the source down.
    pub fn note(&mut self, service: Service, phase: Phase) {
        self.record.phases[usize::from(service == Service::Bus)] = phase;
        let _ = self.write();
    }

    /// Removes what the commands of this run and of earlier ones left: no error names it. What a service writes into stays.
    pub fn forget_outputs(&self) {
        let entries = fs::read_dir(&self.state).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let run = name.split('.').next().unwrap_or_default();
            let is_output = name.ends_with(".log") || name.ends_with(".running");
            let is_needed = || run != self.record.run && record_path(&self.state, run).exists();
            if is_output && !is_needed() && !is_open(&path) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Both services are proven to run.
    pub fn is_back(&mut self) {
        for service in Service::ALL {
            self.note(service, Phase::Running);
        }
    }

    /// Lets the source go: it runs again.
    ///
    /// # Errors
    /// [`HoldError::State`].
    pub fn let_go(&self) -> Result<(), HoldError> {
        let path = self.path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(HoldError::State { path, source: error }),
            _ => Ok(()),
        }
    }

    fn path(&self) -> PathBuf {
        record_path(&self.state, &self.record.run)
    }

    fn write(&self) -> Result<(), HoldError> {
        // Plain data with text keys: serialising cannot fail.
        let text = serde_json::to_string_pretty(&self.record).unwrap_or_default();
        let path = self.path();
        write_atomically(&path, &text)?;
        // It names commands. That its folder is one's own is what keeps others from writing it.
        let private = fs::set_permissions(&path, fs::Permissions::from_mode(0o600));
        private.map_err(|source| HoldError::State { path, source })
    }
}

fn record_path(state: &Path, run: &str) -> PathBuf {
    state.join(format!("{run}.json"))
}

fn take_lock(state: &Path, name: &str, run: &str) -> Result<File, HoldError> {
    let path = state.join(name);
    let failed = |source| HoldError::State {
        path: path.clone(),
        source,
    };
    is_own(state).map_err(failed)?;
    private_folder(state).map_err(failed)?;
    let mut options = OpenOptions::new();
    options.create(true).read(true).append(true).mode(0o600);
    let mut file = options.open(&path).map_err(failed)?;
    if file.try_lock().is_err() {
        let holder = given_file::settings(&path).unwrap_or_default();
        let run = holder.lines().last().unwrap_or("of somebody else").to_owned();
        return Err(HoldError::Taken { run });
    }
    file.set_len(0).and_then(|()| writeln!(file, "{run}")).map_err(failed)?;
    Ok(file)
}

/// The lock of a broken run on a disk that takes no more: the source's way up must not depend on it.
fn looked_at(path: &Path) -> Result<Option<File>, HoldError> {
    let Ok(file) = File::open(path) else { return Ok(None) };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(_) => Err(HoldError::Taken {
            run: "of somebody else".to_owned(),
        }),
    }
}

/// The records in a state folder, in no order; what cannot be read is an error of its own.
#[must_use]
pub fn records(state: &Path) -> Vec<Result<HoldRecord, HoldError>> {
    let listed = is_own(state).and_then(|()| fs::read_dir(state));
    let entries = match listed {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(source) => {
            let path = state.to_owned();
            return vec![Err(HoldError::State { path, source })];
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .filter_map(|path| match given_file::settings(&path) {
            Ok(text) => Some(serde_json::from_str(&text).map_err(|source| HoldError::Format { path, source })),
            // Let go in this very moment.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(source) => Some(Err(HoldError::State { path, source })),
        })
        .collect()
}

/// Whether the harness that wrote a record is gone.
#[must_use]
pub fn is_broken(state: &Path, record: &HoldRecord) -> bool {
    let is_free = |name: &String| File::open(state.join(name)).map_or(true, |lock| lock.try_lock_shared().is_ok());
    record.locks.iter().all(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::environment::Environment;

    fn source(folder: &Path) -> AttachedSource {
        let text = "name = \"a\"\n[directory]\nruntime = \"attached\"\nurl = \"http://x\"\ndata = \"d.db\"\nstop = [\"s\"]\nstart = [\"t\"]\n[bus]\nruntime = \"attached\"\nurl = \"http://y\"\ndata = \"b.db\"\nstop = [\"s\"]\nstart = [\"t\"]\n";
        fs::write(folder.join("d.db"), "d").expect("written");
        fs::write(folder.join("b.db"), "b").expect("written");
        let mut environment = Environment::parse(text, &folder.join("a.toml")).expect("parsed");
        AttachedSource::take_from(&mut environment, folder)
            .expect("both")
            .expect("a source")
    }

    fn take(folder: &Path, run: &str) -> Result<Hold, HoldError> {
        let state = folder.join("state");
        Hold::take(&state, run, &folder.join(run), source(folder), "now".to_owned())
    }

    #[test]
    fn a_source_is_held_by_one_run_only_whatever_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let held = take(folder.path(), "r1").expect("free");
        let error = take(folder.path(), "r2").expect_err("held").to_string();
        assert!(error.contains("run r1 drills this source"), "{error}");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("link")).expect("linked");
        let mut linked = source(folder.path());
        linked.bus.data = Some(folder.path().join("link/b.db"));
        let state = folder.path().join("state");
        let error = Hold::take(&state, "r3", folder.path(), linked, String::new()).expect_err("held");
        assert!(matches!(error, HoldError::Taken { .. }), "{error}");
        held.let_go().expect("let go");
        // Its locks end with it.
        drop(held);
        take(folder.path(), "r4").expect("free again");
    }

    #[test]
    fn what_a_killed_run_held_is_refused_until_it_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        let mut held = take(folder.path(), "r1").expect("free");
        held.enter(Service::Bus, Phase::Stopping).expect("written");
        assert!(!is_broken(&state, &held.record));
        drop(held);
        let error = take(folder.path(), "r2").expect_err("broken").to_string();
        assert!(error.contains("--resume"), "{error}");
        let record = records(&state).remove(0).expect("a record");
        assert!(is_broken(&state, &record) && record.is_away());
        assert_eq!(record.phase(Service::Bus), Phase::Stopping);
        Hold::take_over(&state, record)
            .expect("taken over")
            .let_go()
            .expect("let go");
        take(folder.path(), "r3").expect("free again");
    }

    #[test]
    fn an_unreadable_record_is_told_with_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("x.json"), "{").expect("written");
        let error = records(folder.path()).remove(0).expect_err("no record").to_string();
        assert!(error.contains("x.json"), "{error}");
    }
}
