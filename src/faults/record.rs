//! Edits of what a run left: its evidence, report, logs and stored snapshot, before `verify` looks at them.

use crate::faults::json_patch::{Patch, PatchError};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How far back a touched file is dated.
const TOUCHED_BY: Duration = Duration::from_secs(3_600);

/// What is done to a record: the key `record` of a fault.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tampering {
    /// Which record.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub of: RecordOf,
    /// Edits, in order.
    pub edits: Vec<Edit>,
    /// Who seals it afterwards; the old seal stays where nobody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed_by: Option<Sealer>,
}

/// Whose record is edited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordOf {
    /// A drill that passed.
    #[default]
    Drill,
    /// A drill that a failed step ended during the outage.
    BrokenOff,
    /// A comparison of environments.
    Comparison,
}

fn is_usual(of: &RecordOf) -> bool {
    *of == RecordOf::Drill
}

/// Who seals a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sealer {
    /// Whoever holds the key that `verify` demands.
    Operator,
    /// Somebody with a key of their own.
    Another,
}

/// One edit of one file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// The file, below the run's folder.
    pub file: PathBuf,
    /// JSON Patch (RFC 6902).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patch: Vec<Value>,
    /// A text and what stands in its place, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<[String; 2]>,
    /// Text at the end; makes the file where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub append: Option<String>,
    /// Another file of the run that is copied over it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<PathBuf>,
    /// It is removed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
    /// It is dated back by an hour, its bytes stay.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub touch: bool,
}

/// Why an edit could not be made: an error of the fault.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The system refused.
    #[error("cannot edit {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// It is no JSON.
    #[error("{path} is no JSON")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// The patch does not apply.
    #[error("the patch does not apply to {path}")]
    Patch {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: PatchError,
    },
    /// The text is not there.
    #[error("{path} does not hold {text:?}")]
    NoText {
        /// The file.
        path: PathBuf,
        /// The text.
        text: String,
    },
}

impl Tampering {
    /// What is wrong with it, and what to do.
    ///
    /// # Errors
    /// A text for whoever wrote the fault.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.edits.is_empty() {
            return Err("record.edits is empty; give at least one".to_owned());
        }
        for edit in &self.edits {
            let kinds = [
                !edit.patch.is_empty(),
                edit.replace.is_some(),
                edit.append.is_some(),
                edit.copy_of.is_some(),
                edit.remove,
                edit.touch,
            ];
            let file = edit.file.display();
            if kinds.iter().filter(|given| **given).count() != 1 {
                return Err(format!(
                    "the edit of {file} needs one of patch, replace, append, copy_of, remove, touch"
                ));
            }
            for path in [Some(&edit.file), edit.copy_of.as_ref()].into_iter().flatten() {
                let is_inside = path.components().all(|part| matches!(part, Component::Normal(_)));
                if !is_inside || path.as_os_str().is_empty() {
                    let path = path.display();
                    return Err(format!(
                        "{path} is no file below a run's folder; name one like report.md"
                    ));
                }
            }
            Patch::parse(&edit.patch).map_err(|error| error.to_string())?;
        }
        Ok(())
    }
}

/// Edits a run's folder; whether anything was touched that is not seen in bytes.
///
/// # Errors
/// [`RecordError`] of the first edit that cannot be made.
pub fn run(tampering: &Tampering, run: &Path) -> Result<bool, RecordError> {
    for edit in &tampering.edits {
        one(edit, run)?;
    }
    Ok(tampering.edits.iter().any(|edit| edit.touch))
}

fn one(edit: &Edit, run: &Path) -> Result<(), RecordError> {
    let path = run.join(&edit.file);
    let failed = |source| RecordError::File {
        path: path.clone(),
        source,
    };
    if edit.remove {
        return fs::remove_file(&path).map_err(failed);
    }
    if let Some(other) = &edit.copy_of {
        return fs::copy(run.join(other), &path).map(drop).map_err(failed);
    }
    if edit.touch {
        let file = fs::File::options().write(true).open(&path).map_err(failed)?;
        return file.set_modified(SystemTime::now() - TOUCHED_BY).map_err(failed);
    }
    if let Some(more) = &edit.append {
        let mut file = fs::File::options()
            .append(true)
            .create(true)
            .open(&path)
            .map_err(failed)?;
        return file.write_all(more.as_bytes()).map_err(failed);
    }
    let text = fs::read_to_string(&path).map_err(failed)?;
    let edited = match &edit.replace {
        Some([was, is]) if text.contains(was.as_str()) => text.replacen(was.as_str(), is, 1),
        Some([was, _]) => {
            return Err(RecordError::NoText {
                path,
                text: was.clone(),
            });
        }
        None => patched(&path, &text, &edit.patch)?,
    };
    fs::write(&path, edited).map_err(failed)
}

/// The patched document in the one form that documents are stored in.
fn patched(path: &Path, text: &str, patch: &[Value]) -> Result<String, RecordError> {
    let json = |source| RecordError::Json {
        path: path.to_owned(),
        source,
    };
    let document: Value = serde_json::from_str(text).map_err(json)?;
    let patched = Patch::parse(patch).and_then(|patch| patch.apply(&document));
    let patched = patched.map_err(|source| RecordError::Patch {
        path: path.to_owned(),
        source,
    })?;
    serde_json::to_string_pretty(&patched)
        .map(|text| text + "\n")
        .map_err(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tampering(toml: &str) -> Tampering {
        toml::from_str(toml).expect("read")
    }

    #[test]
    fn a_file_outside_of_the_run_and_an_edit_of_no_kind_are_refused() {
        for (edit, expected) in [
            ("file = \"../x\", remove = true", "no file below a run's folder"),
            ("file = \"/x\", remove = true", "no file below a run's folder"),
            ("file = \"x\", copy_of = \"../y\"", "no file below a run's folder"),
            ("file = \"x\"", "needs one of patch"),
            ("file = \"x\", remove = true, touch = true", "needs one of patch"),
        ] {
            let error = tampering(&format!("edits = [{{ {edit} }}]"))
                .check()
                .expect_err("refused");
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_patch_keeps_the_form_of_what_it_does_not_touch() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.json");
        fs::write(&path, "{\n  \"b\": 1,\n  \"a\": [\n    1\n  ]\n}\n").expect("written");
        let edits =
            tampering("edits = [{ file = \"a.json\", patch = [{ op = \"replace\", path = \"/b\", value = 2 }] }]");
        run(&edits, folder.path()).expect("edited");
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text, "{\n  \"b\": 2,\n  \"a\": [\n    1\n  ]\n}\n");
    }

    #[test]
    fn a_text_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("a"), "x").expect("written");
        let edits = tampering("edits = [{ file = \"a\", replace = [\"y\", \"z\"] }]");
        assert!(matches!(run(&edits, folder.path()), Err(RecordError::NoText { .. })));
    }
}
