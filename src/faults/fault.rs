//! One fault of the catalogue: what is injected, at which stage, and who must catch it. Plain data.

use crate::deployment::Service;
use crate::evidence::{CheckId, FaultId};
use crate::faults::record::Tampering;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$one:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$one])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// All of them, in the order in which a drill meets them.
            pub const ALL: &[$name] = &[$($name::$variant),+];

            /// The word in a file.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }

            /// The one of that name.
            #[must_use]
            pub fn parse(name: &str) -> Option<$name> {
                match name { $($text => Some($name::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

words! {
    /// When a fault is injected.
    Stage {
        /// After the seed, before the stop.
        Source = "source",
        /// The raw files after the copy, before consolidation.
        Set = "set",
        /// The consolidated files and the manifest.
        Snapshot = "snapshot",
        /// After the restore, before the first start.
        RestoredFiles = "restored-files",
        /// The restored pair is ready, nothing was observed yet.
        Running = "running",
        /// Before parity looks.
        Environment = "environment",
        /// Before the gate looks.
        Schema = "schema",
        /// Before `verify` looks.
        Report = "report",
    }
}

words! {
    /// What the source holds.
    Base {
        /// The seed.
        Seed = "seed",
        /// The seed, an intent and a message under way, then SIGKILL of both services.
        InFlight = "in-flight",
    }
}

words! {
    /// How the drill must end.
    Expect {
        /// The checks named fail.
        Fail = "fail",
        /// The verdict is inconclusive.
        Inconclusive = "inconclusive",
        /// A step ends with its typed error.
        Refused = "refused",
    }
}

words! {
    /// Whose data a fault touches.
    Touched {
        /// The directory's.
        Directory = "directory",
        /// The bus's.
        Bus = "bus",
        /// Both services'.
        Both = "both",
    }
}

impl Touched {
    /// The services.
    #[must_use]
    pub fn services(self) -> &'static [Service] {
        match self {
            Touched::Directory => &[Service::Directory],
            Touched::Bus => &[Service::Bus],
            Touched::Both => &Service::ALL,
        }
    }
}

words! {
    /// What a file operation does.
    OpKind {
        /// Cuts a file: `keep` bytes, or `keep_percent`.
        Truncate = "truncate",
        /// Flips the bits of `mask` in the byte at `offset`.
        Xor = "xor",
        /// Writes `len` zero bytes at `offset`.
        Zero = "zero",
        /// Deletes a file.
        Remove = "remove",
        /// Adds the bytes of `hex` at the end.
        Append = "append",
        /// Sets the permission bits, octal.
        Chmod = "chmod",
        /// Copies the file `from` over the file `to`.
        Copy = "copy",
    }
}

words! {
    /// What only a drill itself can do wrong, in a whole drill of its own.
    Hook {
        /// The set is copied while the directory still drains its stop timer; an intent is acknowledged after it.
        SnapshotBeforeExit = "snapshot-before-exit",
        /// The set is copied hot from the source, which then takes further writes.
        WritesDuringDrill = "writes-during-drill",
        /// The restore is planned with the source's own folders as its targets.
        RestoreOntoSource = "restore-onto-source",
        /// The same, with the source known by the name of a symbolic link.
        RestoreOntoLinkedSource = "restore-onto-linked-source",
        /// The clean instances' addresses lead to a pair that runs on the source's files.
        CleanIsSource = "clean-is-source",
        /// A second directory is started on the restored live file, and one on the stopped source's.
        SecondInstance = "second-instance",
        /// The restored directory's file is empty; a pair on the source's files answers its reads.
        ServeOldData = "serve-old-data",
        /// The source has no workspaces.
        NothingToObserve = "nothing-to-observe",
    }
}

words! {
    /// How the same content gets into a new file.
    Remake {
        /// `VACUUM INTO`.
        VacuumInto = "vacuum-into",
        /// The online backup API.
        BackupApi = "backup-api",
        /// `.dump` and load.
        Dump = "dump",
    }
}

/// One file operation. Offsets below zero count from the end of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Op {
    /// The [`OpKind`].
    pub op: String,
    /// `main`, `wal`, `shm`, `manifest`; with `source:` or `other:` the source's or the other service's; `folder` for chmod.
    /// As `from` of a copy also with `clean:` (the clean instances' files) or `earlier:` (the source's before its last writes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The source of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The target of a copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Whose file, where the fault touches both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Bytes to keep; below zero: bytes to cut off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<i64>,
    /// Share of the bytes to keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_percent: Option<u8>,
    /// Where, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// How many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub len: Option<u64>,
    /// Bits to flip, 1 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mask: Option<u8>,
    /// Bytes as hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hex: Option<String>,
    /// Octal permission bits, `"0644"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// A table: the offset counts from the start of the first leaf page of its tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page_of: Option<String>,
}

/// Answers of the running service that are altered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Whose.
    pub service: Service,
    /// `GET`, `POST`…
    pub method: String,
    /// The path without its query; `*` or `{name}` stands for one segment.
    pub path: String,
    /// JSON Patch (RFC 6902), applied to the body; an answer to which it does not apply passes as it is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<Value>,
    /// Another status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The answer is held back for so long, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
}

/// How the restored service is started otherwise than it should be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// Whose start; of both without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Service>,
    /// Variables that are set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Variables that are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
    /// Arguments added: switches of the reference services for deliberate misbehaviour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

words! {
    /// How an archive is compressed.
    Form {
        /// Not at all.
        Tar = "tar",
        /// With gzip.
        Gzip = "gzip",
        /// With zstd.
        Zstd = "zstd",
    }
}

/// The snapshot goes through an archive, which is damaged unless neither damage is named.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The [`Form`].
    pub form: String,
    /// So many of its last bytes are missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut: Option<u64>,
    /// It has one more entry of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
}

/// What a writer writes while its files are copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Torn {
    /// Statements whose pages lie in the log alone when the main file is copied.
    pub before: Vec<String>,
    /// Statements after the checkpoint: what the copied `-wal` holds.
    pub after: Vec<String>,
}

words! {
    /// What is done to a running service from outside.
    ControlAction {
        /// SIGKILL.
        Kill = "kill",
        /// It stands still: its port is open, nothing answers.
        Pause = "pause",
        /// Nobody reaches it over the network any more; containers only, a process has no network of its own.
        Disconnect = "disconnect",
    }
}

/// Something that is done to a running service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    /// Which service.
    pub service: Service,
    /// The [`ControlAction`].
    pub action: String,
}

/// A step of the harness's wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockStep {
    /// By so much, milliseconds; below zero: back.
    pub step_ms: i64,
}

/// What is injected: one kind a fault.
#[derive(Debug, Clone, PartialEq)]
pub enum Injection {
    /// Statements, on the database of each service.
    Sql {
        /// The directory's.
        directory: Vec<String>,
        /// The bus's.
        bus: Vec<String>,
    },
    /// File operations, in order.
    Ops(Vec<Op>),
    /// The same content in new files.
    Remake(Remake),
    /// Any program.
    Command(Vec<String>),
    /// Altered answers.
    Answers(Vec<Answer>),
    /// An altered start of the restored pair; the drill applies it.
    Start(Vec<Start>),
    /// Main from before a checkpoint, `-wal` from after it.
    Torn(Torn),
    /// The snapshot goes through an archive.
    Archive(Archive),
    /// The harness's wall clock steps.
    Clock(ClockStep),
    /// The restored services are killed, paused or cut off; the drill does it.
    Control(Vec<Control>),
    /// Something that only the drill itself can do.
    Hook(Hook),
    /// What a run left is edited.
    Record(Tampering),
    /// Nothing yet, with the reason.
    NotStaged(String),
}

impl Injection {
    /// The word for messages and lists.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Injection::Sql { .. } => "sql",
            Injection::Ops(_) => "ops",
            Injection::Remake(_) => "remake",
            Injection::Command(_) => "command",
            Injection::Answers(_) => "answers",
            Injection::Start(_) => "start",
            Injection::Torn(_) => "torn",
            Injection::Archive(_) => "archive",
            Injection::Clock(_) => "clock",
            Injection::Control(_) => "control",
            Injection::Hook(_) => "hook",
            Injection::Record(_) => "record",
            Injection::NotStaged(_) => "not staged",
        }
    }
}

/// A fault that must be caught, or a benign control that must not alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// Its name; unique in a catalogue.
    pub id: FaultId,
    /// Its group.
    pub group: String,
    /// What happens, as a sentence.
    pub title: String,
    /// Whose data it touches.
    pub service: Touched,
    /// What the source holds.
    pub base: Base,
    /// When it is injected.
    pub stage: Stage,
    /// Whether it is hard to see.
    pub subtle: bool,
    /// What is injected.
    pub injection: Injection,
    /// Every one of these must fail; empty: any check.
    pub caught_by: Vec<CheckId>,
    /// How the drill must end.
    pub expect: Expect,
    /// Whether what was recorded of the files is recorded again after the injection.
    pub reseal: bool,
    /// Why a backup alone cannot show it, where none of its rows contradicts another.
    pub unseen_alone: Option<String>,
    /// Why it is not asked of a given set, where only data that the harness wrote itself can show it.
    pub unseen_given: Option<String>,
    /// Whether the locked schema is edited by hand to what it leaves; at stage `schema` only.
    pub lock_too: bool,
    /// Whether it is a benign control.
    pub benign: bool,
    /// The file that holds it; empty for a generated one.
    pub file: PathBuf,
}

impl Fault {
    /// Whether it can be judged by looking at files alone.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Set | Stage::Snapshot | Stage::RestoredFiles)
            && !matches!(
                self.injection,
                Injection::Start(_)
                    | Injection::Clock(_)
                    | Injection::Control(_)
                    | Injection::Hook(_)
                    | Injection::NotStaged(_)
            )
    }

    /// Whether the gate on schema changes judges it: statements on files made of the locked schemas.
    #[must_use]
    pub fn is_for_the_gate(&self) -> bool {
        self.stage == Stage::Schema && matches!(self.injection, Injection::Sql { .. })
    }

    /// Whether it acts on files that a running service has open, or on the service's process.
    #[must_use]
    pub fn needs_live_files(&self) -> bool {
        match &self.injection {
            Injection::Hook(_) => true,
            Injection::Sql { .. }
            | Injection::Ops(_)
            | Injection::Remake(_)
            | Injection::Command(_)
            | Injection::Torn(_) => {
                matches!(self.stage, Stage::Source | Stage::Running)
            }
            Injection::Answers(_)
            | Injection::Archive(_)
            | Injection::Start(_)
            | Injection::Clock(_)
            | Injection::Control(_)
            | Injection::Record(_)
            | Injection::NotStaged(_) => false,
        }
    }

    /// Why it is not staged, if so.
    #[must_use]
    pub fn not_staged(&self) -> Option<&str> {
        match &self.injection {
            Injection::NotStaged(reason) => Some(reason),
            _ => None,
        }
    }
}
