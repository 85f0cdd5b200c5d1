//! Injects one fault at its stage, proves that it changed something, and seals the manifest again.

use crate::deployment::Service;
use crate::evidence::FaultId;
use crate::faults::answers::{self, Proxies, ProxyError};
use crate::faults::bytes::{self, BytesError};
use crate::faults::changed;
use crate::faults::command::{self, CommandError};
use crate::faults::fault::{Control, Fault, Injection, Stage};
use crate::faults::packed::{self, PackError};
use crate::faults::remake::{self, RemakeError};
use crate::faults::sql::{self, SqlError};
use crate::faults::target::Target;
use crate::faults::torn::{self, TornError};
use crate::snapshot::file_set::RawSet;
use crate::snapshot::raw::observe_set;
use crate::snapshot::{ResealError, reseal};
use std::path::Path;

/// Why a fault was not injected. An error of the fault, never a detection.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// The drill is at another stage.
    #[error("fault {} belongs to stage {wanted}, not {stage}", fault.0)]
    Stage {
        /// The fault.
        fault: FaultId,
        /// Its stage.
        wanted: Stage,
        /// The drill's stage.
        stage: Stage,
    },
    /// The stage lacks what the fault needs.
    #[error("fault {} needs the {what}, which does not exist at stage {stage}", fault.0)]
    NotHere {
        /// The fault.
        fault: FaultId,
        /// What is missing.
        what: String,
        /// The stage.
        stage: Stage,
    },
    /// The drill itself has to do it.
    #[error("fault {} is of kind {kind}: the drill has to apply it itself", fault.0)]
    ByTheDrill {
        /// The fault.
        fault: FaultId,
        /// Its kind.
        kind: &'static str,
    },
    /// A statement failed.
    #[error("fault {} cannot be injected", fault.0)]
    Sql {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: Box<SqlError>,
    },
    /// A file operation failed.
    #[error("fault {} cannot be injected", fault.0)]
    Bytes {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: BytesError,
    },
    /// A file could not be made anew.
    #[error("fault {} cannot be injected", fault.0)]
    Remake {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: Box<RemakeError>,
    },
    /// A program failed.
    #[error("fault {} cannot be injected", fault.0)]
    Command {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: CommandError,
    },
    /// The set could not be torn.
    #[error("fault {} cannot be injected", fault.0)]
    Torn {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: Box<TornError>,
    },
    /// The snapshot could not be packed.
    #[error("fault {} cannot be injected", fault.0)]
    Packed {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: PackError,
    },
    /// The proxy could not be started.
    #[error("fault {} cannot be injected", fault.0)]
    Proxy {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: ProxyError,
    },
    /// The manifest could not be sealed again.
    #[error("the snapshot could not be sealed again after fault {}", fault.0)]
    Reseal {
        /// The fault.
        fault: FaultId,
        /// The cause.
        source: ResealError,
    },
    /// Nothing was changed: whatever a check says, this fault proves nothing.
    #[error("fault {} changed nothing; its rows, files or answers are not there", fault.0)]
    ChangedNothing {
        /// The fault.
        fault: FaultId,
    },
}

impl FaultError {
    /// Whether there was nothing for the fault to bite: no such row, no such file.
    #[must_use]
    pub fn is_changed_nothing(&self) -> bool {
        match self {
            FaultError::ChangedNothing { .. } | FaultError::NotHere { .. } => true,
            FaultError::Bytes { source, .. } => source.is_missing(),
            _ => false,
        }
    }
}

/// An injected fault. Keep it until the drill has ended: a proxy lives as long as this value.
#[derive(Debug)]
pub struct Injected {
    /// The fault.
    pub fault: FaultId,
    /// What it changed, in words; empty for answers.
    pub changes: Vec<String>,
    /// The raw sets as they are now, at stage `set`: to be consolidated instead of those that were copied.
    pub raw: Option<[RawSet; 2]>,
    /// Why there is no snapshot any more: its archive was refused.
    pub refused: Option<String>,
    /// The proxies in front of the restored services.
    pub proxies: Option<Proxies>,
    /// What the drill has to do to its services.
    pub control: Vec<Control>,
    /// By how much the drill has to step the harness's wall clock, milliseconds.
    pub step_ms: i64,
}

impl Injected {
    /// At the end of the drill: whether altered answers really were altered.
    ///
    /// # Errors
    /// [`FaultError::ChangedNothing`] when the drill asked for none of them.
    pub fn settle(&self) -> Result<(), FaultError> {
        match &self.proxies {
            Some(proxies) if proxies.altered() == 0 => Err(FaultError::ChangedNothing {
                fault: self.fault.clone(),
            }),
            _ => Ok(()),
        }
    }
}

/// Injects a fault. Blocks; on answers it needs a Tokio runtime around it.
///
/// # Errors
/// [`FaultError`].
pub fn inject(fault: &Fault, target: &Target) -> Result<Injected, FaultError> {
    let id = || fault.id.clone();
    if fault.stage != target.stage {
        return Err(FaultError::Stage {
            fault: id(),
            wanted: fault.stage,
            stage: target.stage,
        });
    }
    let before = changed::look(fault, target);
    let proxies = apply(fault, target)?;
    let mut injected = Injected {
        fault: id(),
        changes: changed::differences(&before, &changed::look(fault, target)),
        raw: None,
        refused: None,
        proxies,
        control: Vec::new(),
        step_ms: 0,
    };
    if let Injection::Control(control) = &fault.injection {
        let told = control.iter().map(|one| format!("{} {}", one.action, one.service));
        injected.changes.extend(told);
        injected.control.clone_from(control);
    }
    if let Injection::Archive(how) = &fault.injection {
        let folder = target.snapshot_dir.as_ref().ok_or_else(|| FaultError::NotHere {
            fault: id(),
            what: "snapshot".to_owned(),
            stage: target.stage,
        })?;
        let unpacked = packed::run(how, folder, &target.scratch);
        let unpacked = unpacked.map_err(|source| FaultError::Packed { fault: id(), source })?;
        injected.changes.extend(unpacked.changes);
        injected.refused = unpacked.refused;
    }
    if let Injection::Clock(step) = &fault.injection {
        injected.step_ms = step.step_ms;
        if step.step_ms != 0 {
            let change = format!("the harness's wall clock steps by {} ms", step.step_ms);
            injected.changes.push(change);
        }
    }
    // Whether an answer was altered is known at the end: see `settle`.
    if injected.proxies.is_some() {
        return Ok(injected);
    }
    if injected.changes.is_empty() {
        return Err(FaultError::ChangedNothing { fault: id() });
    }
    if fault.reseal && injected.refused.is_none() {
        injected.raw = seal(fault, target)?;
    }
    Ok(injected)
}

fn apply(fault: &Fault, target: &Target) -> Result<Option<Proxies>, FaultError> {
    let id = || fault.id.clone();
    match &fault.injection {
        Injection::Sql { directory, bus } => {
            for (service, list) in [(Service::Directory, directory), (Service::Bus, bus)] {
                statements(fault, target, service, list)?;
            }
        }
        Injection::Ops(ops) => {
            bytes::run(ops, fault.service, target).map_err(|source| FaultError::Bytes { fault: id(), source })?;
        }
        Injection::Remake(how) => {
            for service in fault.service.services() {
                let path = database(fault, target, *service)?;
                remake::run(path, *how).map_err(|source| FaultError::Remake {
                    fault: id(),
                    source: Box::new(source),
                })?;
            }
        }
        Injection::Command(argv) => command::run(argv, target, command::TIME_LIMIT)
            .map_err(|source| FaultError::Command { fault: id(), source })?,
        Injection::Answers(list) => {
            let proxies = answers::start(list, target).map_err(|source| FaultError::Proxy { fault: id(), source })?;
            return Ok(Some(proxies));
        }
        Injection::Torn(writer) => {
            for service in fault.service.services() {
                let path = database(fault, target, *service)?;
                torn::run(path, writer, &target.scratch).map_err(|source| FaultError::Torn {
                    fault: id(),
                    source: Box::new(source),
                })?;
            }
        }
        // The drill steps its own clock and controls its own services; an archive is made by `inject`.
        Injection::Clock(_) | Injection::Control(_) | Injection::Archive(_) => {}
        Injection::Start(_) | Injection::Hook(_) | Injection::Record(_) | Injection::NotStaged(_) => {
            let kind = fault.injection.kind();
            return Err(FaultError::ByTheDrill { fault: id(), kind });
        }
    }
    Ok(None)
}

fn statements(fault: &Fault, target: &Target, service: Service, list: &[String]) -> Result<(), FaultError> {
    if list.is_empty() {
        return Ok(());
    }
    let path = database(fault, target, service)?;
    // A raw set's `-wal` and the files of a running service are not ours to fold away.
    let plain = matches!(target.stage, Stage::Snapshot | Stage::RestoredFiles | Stage::Schema);
    sql::run(path, list, plain).map_err(|source| FaultError::Sql {
        fault: fault.id.clone(),
        source: Box::new(source),
    })
}

fn database<'a>(fault: &Fault, target: &'a Target, service: Service) -> Result<&'a Path, FaultError> {
    target.database(service).ok_or_else(|| FaultError::NotHere {
        fault: fault.id.clone(),
        what: format!("{service}'s database"),
        stage: target.stage,
    })
}

/// Records again what was recorded of the files: the manifest of a snapshot, the hashes of a raw set.
fn seal(fault: &Fault, target: &Target) -> Result<Option<[RawSet; 2]>, FaultError> {
    match target.stage {
        Stage::Snapshot => {
            let Some(folder) = &target.snapshot_dir else {
                return Ok(None);
            };
            match reseal(folder) {
                Ok(_) => Ok(None),
                // The fault is in the manifest itself: there is nothing to seal.
                Err(ResealError::Manifest { .. }) => Ok(None),
                Err(source) => Err(FaultError::Reseal {
                    fault: fault.id.clone(),
                    source,
                }),
            }
        }
        Stage::Set => Ok(target.raw.as_ref().map(|raw| {
            // A set whose main file is gone cannot be recorded again: what was recorded stays.
            raw.clone()
                .map(|set| observe_set(set.service, &set.folder).unwrap_or(set))
        })),
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::catalogue::Catalogue;
    use crate::snapshot::recorded::{at_rest, taken};
    use crate::snapshot::{file_set, verify};

    fn fault(keys: &str) -> Fault {
        let head = "[[fault]]\nid = \"f\"\ngroup = \"g\"\ntitle = \"t\"\n";
        let read = Catalogue::parse(&format!("{head}{keys}"), Path::new("x.toml")).expect("read");
        read.faults.into_iter().next().expect("a fault")
    }

    fn on_bus(keys: &str) -> Fault {
        fault(&format!("service = \"bus\"\nstage = \"snapshot\"\n{keys}"))
    }

    fn on_snapshot(fault: &Fault) -> (Result<Injected, FaultError>, bool) {
        let run = taken();
        let folder = run.path().join("snapshot");
        let injected = inject(fault, &Target::snapshot(&folder, run.path()));
        (injected, verify(&folder).is_ok())
    }

    #[test]
    fn a_change_of_content_is_proven_and_sealed() {
        let (injected, is_whole) = on_snapshot(&on_bus("sql = [\"DELETE FROM beam_messages WHERE status='acked'\"]"));
        assert_eq!(
            injected.expect("injected").changes,
            ["bus rows of beam_messages changed"]
        );
        assert!(is_whole, "sealed again");
    }

    #[test]
    fn without_a_new_seal_the_manifest_tells() {
        let (injected, is_whole) = on_snapshot(&on_bus("reseal = false\nsql = [\"DELETE FROM beam_messages\"]"));
        assert!(injected.is_ok() && !is_whole);
    }

    #[test]
    fn statements_that_change_nothing_are_an_error_of_the_fault() {
        for sql in [
            "UPDATE beam_messages SET status=status",
            "DELETE FROM beam_messages WHERE id='nobody'",
            "VACUUM",
            "SELECT 1",
        ] {
            let (injected, _) = on_snapshot(&on_bus(&format!("sql = [\"{sql}\"]")));
            let error = injected.expect_err("refused");
            assert!(matches!(error, FaultError::ChangedNothing { .. }), "{sql}: {error}");
            assert!(error.to_string().contains("fault f changed nothing"));
        }
    }

    #[test]
    fn schema_statistics_and_pragmas_count_as_changes() {
        for sql in [
            "DROP INDEX idx_beam_nonce",
            "ANALYZE",
            "PRAGMA user_version=7",
            "CREATE TABLE more(x)",
        ] {
            let (injected, _) = on_snapshot(&on_bus(&format!("sql = [\"{sql}\"]")));
            assert!(injected.is_ok(), "{sql}: {injected:?}");
        }
    }

    #[test]
    fn bytes_and_modes_count_as_changes_but_flipping_no_bit_does_not() {
        let ops = |op: &str| on_snapshot(&on_bus(&format!("ops = [{{ {op} }}]"))).0;
        assert!(ops("op = \"chmod\", file = \"main\", mode = \"0644\"").is_ok());
        assert!(ops("op = \"zero\", file = \"main\", offset = -4096, len = 4096").is_ok());
        let none = ops("op = \"xor\", file = \"main\", offset = 100, mask = 0");
        assert!(matches!(none, Err(FaultError::ChangedNothing { .. })));
    }

    #[test]
    fn a_program_that_changes_nothing_is_an_error_of_the_fault() {
        let (injected, _) = on_snapshot(&on_bus("command = [\"true\"]"));
        assert!(matches!(injected, Err(FaultError::ChangedNothing { .. })));
        let (injected, _) = on_snapshot(&on_bus("command = [\"sh\", \"-c\", \"rm \\\"$BUS_DB\\\"\"]"));
        assert!(
            injected
                .expect("injected")
                .changes
                .iter()
                .any(|change| change.ends_with("beam-bus.sqlite is gone"))
        );
    }

    #[test]
    fn a_clock_is_stepped_by_the_drill_and_a_step_of_nothing_is_an_error_of_the_fault() {
        let step = |step_ms: i64| on_snapshot(&on_bus(&format!("clock = {{ step_ms = {step_ms} }}"))).0;
        assert_eq!(step(-3_600_000).expect("injected").step_ms, -3_600_000);
        assert!(matches!(step(0), Err(FaultError::ChangedNothing { .. })));
    }

    #[test]
    fn a_fault_goes_in_at_its_own_stage_only() {
        let (injected, _) = on_snapshot(&fault("service = \"bus\"\nstage = \"set\"\nsql = [\"x\"]"));
        assert!(matches!(injected, Err(FaultError::Stage { .. })));
    }

    #[test]
    fn a_raw_set_is_recorded_again_unless_the_fault_says_otherwise() {
        for (reseal, is_recorded) in [("", true), ("reseal = false\n", false)] {
            let set = at_rest();
            let raw = Service::ALL.map(|service| observe_set(service, set.path()).expect("observed"));
            let keys = "service = \"bus\"\nstage = \"set\"\nops = [{ op = \"truncate\", file = \"wal\", keep = -100 }]";
            let injected =
                inject(&fault(&format!("{reseal}{keys}")), &Target::set(&raw, set.path())).expect("injected");
            let again = injected.raw.map(|raw| raw[1].wal.clone());
            let is = again.is_some_and(|wal| wal != raw[1].wal);
            assert_eq!(is, is_recorded);
        }
    }

    #[test]
    fn a_live_file_is_changed_beside_its_service() {
        let set = at_rest();
        let path = file_set::usual(Service::Directory, set.path()).main;
        let service = rusqlite::Connection::open(&path).expect("opened");
        service
            .query_row("SELECT count(*) FROM agents", [], |_| Ok(()))
            .expect("read");
        let target = Target {
            directory_db: Some(path),
            ..Target::empty(Stage::Running, set.path())
        };
        let keys = "service = \"directory\"\nstage = \"running\"\nsql = [\"UPDATE agents SET flagged=1-flagged\"]";
        let injected = inject(&fault(keys), &target).expect("injected");
        assert_eq!(injected.changes, ["directory rows of agents changed"]);
    }
}
