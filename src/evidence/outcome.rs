//! The record of a command that is no drill and compares no environments: the schema gate, the fault catalogue.

use crate::deployment::Service;
use crate::evidence::store::{read_document, to_text};
use crate::evidence::{Run, SchemaPrints, StoreError, Verdict, sha256, write_atomically};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A campaign with fewer clean drills says too little of false alarms.
pub const FEWEST_CLEAN_RUNS: u64 = 20;

/// What such a command leaves in the folder of its run, pretty-printed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandOutcome {
    /// Always [`CommandOutcome::FORMAT`].
    pub format: String,
    /// How it ended.
    pub verdict: Verdict,
    /// One line on what came of it.
    pub summary: String,
    /// Who ran what, when; `run.drill` is [`CommandOutcome::GATE`] or [`CommandOutcome::CATALOGUE`].
    pub run: Run,
    /// The locked schemas at that time.
    pub locks: BTreeMap<Service, SchemaPrints>,
    /// What `--json` prints.
    pub result: Value,
    /// SHA-256 of this document with an empty text here: an edit that is not made here too is seen.
    pub digest: String,
}

impl CommandOutcome {
    /// The format word of this version.
    pub const FORMAT: &str = "recovery-drill-outcome/1";
    /// What stands in `run.drill` of a schema gate's.
    pub const GATE: &str = "schema-gate";
    /// What stands in `run.drill` of a whole fault catalogue's.
    pub const CATALOGUE: &str = "faults";
    /// The file's name.
    pub const FILE: &str = "outcome.json";

    /// Closes it: from here on an edit is seen.
    #[must_use]
    pub fn closed(mut self) -> CommandOutcome {
        self.digest = self.own_digest();
        self
    }

    fn own_digest(&self) -> String {
        let open = CommandOutcome {
            digest: String::new(),
            ..self.clone()
        };
        sha256(to_text(&open).as_bytes())
    }

    /// Stores it below the folder of runs; gives the file.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn write(&self, runs: &Path) -> Result<PathBuf, StoreError> {
        let path = runs.join(&self.run.id).join(CommandOutcome::FILE);
        write_atomically(&path, &to_text(self))?;
        Ok(path)
    }

    /// Reads it back.
    ///
    /// # Errors
    /// [`StoreError::Read`], [`StoreError::Format`].
    pub fn read(path: &Path) -> Result<CommandOutcome, StoreError> {
        read_document(path, CommandOutcome::FORMAT)
    }

    /// Why this file is not what the command wrote, if so: other bytes than it writes, or a verdict that the result does
    /// not bear out.
    ///
    /// # Errors
    /// A sentence that says what disagrees.
    pub fn hold_against(&self, text: &str) -> Result<(), String> {
        if text != to_text(self) {
            return Err("its text is not what the harness writes: it was edited".to_owned());
        }
        if self.digest != self.own_digest() {
            return Err("it was changed after it was written: its digest is another".to_owned());
        }
        let borne_out = match self.run.drill.as_str() {
            CommandOutcome::GATE => passes_gate(&self.result),
            CommandOutcome::CATALOGUE => passes_catalogue(&self.result),
            other => return Err(format!("no command leaves an outcome of {other:?}")),
        };
        if (self.verdict == Verdict::Pass) == borne_out {
            Ok(())
        } else {
            Err(format!("verdict {} is not what its result says", self.verdict))
        }
    }
}

fn passes_gate(result: &Value) -> bool {
    let Some(all) = result["comparisons"].as_array() else {
        return false;
    };
    let unchanged = |one: &Value| {
        one["changes"].as_array().is_some_and(Vec::is_empty) && one["lock_is_accepted"].as_bool() == Some(true)
    };
    let base = &result["base"];
    let none = |name: &str| base[name].as_array().is_none_or(Vec::is_empty);
    // What a change accepts has to bring older snapshots back.
    let holds = none("accepted") || result["upgrade"]["verdict"] == "pass";
    !all.is_empty() && all.iter().all(unchanged) && none("problems") && holds
}

fn passes_catalogue(result: &Value) -> bool {
    let every = |name: &str, holds: fn(&Value) -> bool| {
        result[name]
            .as_array()
            .is_some_and(|all| !all.is_empty() && all.iter().all(holds))
    };
    every("faults", |fault| fault["detected"] == true && fault["error"].is_null())
        && every("benign", |benign| {
            benign["alarmed"] == false && benign["error"].is_null()
        })
        && every("canaries", |canary| canary["ok"] == true)
        && result["false_alarms"] == 0
        && result["clean_runs"].as_u64() >= Some(FEWEST_CLEAN_RUNS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn catalogue() -> Value {
        json!({
            "faults": [{ "id": "a", "detected": true, "error": null }],
            "benign": [{ "id": "b", "alarmed": false, "error": null }],
            "canaries": [{ "id": "c", "ok": true }],
            "false_alarms": 0, "clean_runs": 20,
        })
    }

    fn outcome(drill: &str, verdict: Verdict, result: Value) -> CommandOutcome {
        let run = json!({
            "id": "1", "drill": drill, "environment": "reference", "runtime": "process", "isolation": "none", "seed": 1,
            "started_at": "2026-11-25T00:00:00.000Z", "finished_at": null, "duration_ms": 0, "interrupted": false, "outage_began": false, "stopped_in": null,
            "harness": { "version": "0.1.0", "git_sha": null }, "command": "", "from": null,
        });
        CommandOutcome {
            format: CommandOutcome::FORMAT.to_owned(),
            verdict,
            summary: String::new(),
            run: serde_json::from_value(run).expect("a run"),
            locks: BTreeMap::new(),
            result,
            digest: String::new(),
        }
        .closed()
    }

    #[test]
    fn an_outcome_as_written_holds() {
        let one = outcome(CommandOutcome::CATALOGUE, Verdict::Pass, catalogue());
        assert_eq!(one.hold_against(&to_text(&one)), Ok(()));
    }

    #[test]
    fn an_edited_verdict_or_text_does_not_hold() {
        let mut result = catalogue();
        result["faults"][0]["detected"] = json!(false);
        let one = outcome(CommandOutcome::CATALOGUE, Verdict::Pass, result);
        assert!(one.hold_against(&to_text(&one)).is_err());
        let good = outcome(CommandOutcome::CATALOGUE, Verdict::Pass, catalogue());
        assert!(good.hold_against(&format!("{}\n", to_text(&good))).is_err());
        let mut fresh = good.clone();
        fresh.run.started_at = "2026-12-25T00:00:00.000Z".to_owned();
        assert!(fresh.hold_against(&to_text(&fresh)).is_err());
        let gate = json!({ "comparisons": [{ "changes": [{}], "lock_is_accepted": true }] });
        let one = outcome(CommandOutcome::GATE, Verdict::Pass, gate.clone());
        assert!(one.hold_against(&to_text(&one)).is_err());
        let one = outcome(CommandOutcome::GATE, Verdict::Fail, gate);
        assert_eq!(one.hold_against(&to_text(&one)), Ok(()));
    }

    #[test]
    fn a_campaign_of_few_clean_runs_passes_nothing() {
        let mut result = catalogue();
        result["clean_runs"] = json!(FEWEST_CLEAN_RUNS - 1);
        let one = outcome(CommandOutcome::CATALOGUE, Verdict::Pass, result);
        assert!(one.hold_against(&to_text(&one)).is_err());
    }
}
