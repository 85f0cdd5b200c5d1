//! Names of checks and faults. A check's file is named like its id, with `_` for `-`.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! check_ids {
    (
        drill { $($variant:ident = $text:literal : $question:literal,)+ }
        parity { $($compared:ident = $compared_text:literal : $compared_question:literal,)+ }
        verify { $($asked:ident = $asked_text:literal : $asked_question:literal,)+ }
    ) => {
        /// A question that a drill, a comparison of environments or `verify` asks. The order is that in which a drill looks and a report lists.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum CheckId {
            $(
                #[doc = $question]
                #[serde(rename = $text)]
                $variant,
            )+
            $(
                #[doc = $compared_question]
                #[serde(rename = $compared_text)]
                $compared,
            )+
            $(
                #[doc = $asked_question]
                #[serde(rename = $asked_text)]
                $asked,
            )+
        }

        impl CheckId {
            /// All checks of a backup-and-restore drill, in reporting order.
            pub const ALL: &[CheckId] = &[$(CheckId::$variant),+];

            /// All questions of `verify`, in reporting order.
            pub const OF_VERIFY: &[CheckId] = &[$(CheckId::$asked),+];

            /// The id as it stands in evidence and fault files.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(CheckId::$variant => $text,)+ $(CheckId::$compared => $compared_text,)+ $(CheckId::$asked => $asked_text),+ }
            }

            /// What the check asks, as a sentence for the report.
            #[must_use]
            pub fn question(self) -> &'static str {
                match self { $(CheckId::$variant => $question,)+ $(CheckId::$compared => $compared_question,)+ $(CheckId::$asked => $asked_question),+ }
            }

            /// The check of that name, if there is one.
            #[must_use]
            pub fn parse(name: &str) -> Option<CheckId> {
                match name {
                    $($text => Some(CheckId::$variant),)+
                    $($compared_text => Some(CheckId::$compared),)+
                    $($asked_text => Some(CheckId::$asked),)+
                    _ => None,
                }
            }
        }
    };
}

check_ids! {
    drill {
        SnapshotSet = "snapshot-set": "Is the snapshot a complete file set that matches its manifest?",
        Integrity = "integrity": "Are pages, indexes, constraints and foreign keys of the snapshot sound?",
        Schema = "schema": "Is the snapshot's schema the source's, object for object?",
        Content = "content": "Does every row of the source stand in the snapshot and in the restored files?",
        Invariants = "invariants": "Do the rows contradict each other, judged by themselves?",
        RestoredFiles = "restored-files": "Are the restored files the snapshot, and nothing beside them?",
        Polarity = "polarity": "Did data go source → snapshot → clean instance and never the other way?",
        Clean = "clean": "Did the clean instances show none of the data before the restore?",
        Startable = "startable": "Do both services start on the restored files?",
        StartupDiff = "startup-diff": "Did the first start change exactly what was predicted?",
        Stability = "stability": "Do both services stay up and keep their process?",
        Health = "health": "Do health, stats and workspaces answer, with the counts of the data?",
        Release = "release": "Is the release truth the same before and after, at every endpoint?",
        Agents = "agents": "Are agents back with keys, capabilities and shield configuration?",
        Acl = "acl": "Are access lists back, entry by entry?",
        Roles = "roles": "Are the operators' roles back, bound to this directory's identity?",
        Requests = "requests": "Are beta requests back with stage, owner, notes and proof nonce?",
        Notifications = "notifications": "Are operator notifications back with state and links?",
        Workspaces = "workspaces": "Are workspaces back with identities, policy, channels, threads and timeline?",
        Traces = "traces": "Do intent traces replay, recorded stage by recorded stage?",
        Nonces = "nonces": "Are nonces still honoured by directory and bus?",
        Bus = "bus": "Are bus messages back, by status and row?",
        Skew = "skew": "Do directory and bus agree on the nonces that both know?",
        Credentials = "credentials": "Do credentials issued before the backup still work, and wrong ones not?",
        InFlight = "in-flight": "Did unfinished intents and messages end as the contract predicts?",
        WritePath = "write-path": "Do new intents and messages go through end to end?",
        Audit = "audit": "Is the audit log back without a gap?",
        Rto = "rto": "Was the first true answer given within the recovery time limit?",
        Rpo = "rpo": "Is every acknowledged write before the cut there?",
    }
    // Those that only a comparison of environments asks; it asks `release` and `schema` too.
    parity {
        Runtime = "runtime": "Do the environments run the required Node version?",
        Config = "config": "Do the environments set the same configuration keys, and all that are required?",
        ApiUrl = "api-url": "Do public site, docs and dashboard use this environment's API and no other?",
        StatusPage = "status-page": "Does the status page look at this environment's API?",
    }
    // What `verify` asks of a record that was left.
    verify {
        Canonical = "canonical": "Is the evidence, byte for byte, what the harness writes, with every time in UTC?",
        RecordedVerdict = "recorded-verdict": "Is the verdict what checks, steps and reasons come to?",
        RecordedChecks = "recorded-checks": "Is every check there, with a verdict that its items and findings give?",
        RecordedObjectives = "recorded-objectives": "Do objectives, polarity and detection agree with their checks?",
        RecordedSteps = "recorded-steps": "Is every step of the procedure there, in order and within the run?",
        RecordChain = "chain": "Does each step and check follow from those before it, and the whole from all?",
        Views = "views": "Is each report what this evidence gives?",
        StoredSnapshot = "stored-snapshot": "Are the stored files those that the evidence describes?",
        Disclosure = "disclosure": "Does nothing that is kept look like a secret?",
        Signature = "signature": "Is the evidence sealed, by the key that it should be?",
        OfEnvironment = "of-environment": "Is the evidence of the environment that it is offered for?",
    }
}

impl fmt::Display for CheckId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Name of a fault in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FaultId(pub String);
