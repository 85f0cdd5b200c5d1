//! Finds environment files by name or path.

use recovery_drills::deployment::environment::Environment;
use recovery_drills::deployment::given_file;
use recovery_drills::parity::perform::Subject;
use std::path::{Path, PathBuf};

/// Reads the environment of that name (a file of the folder) or path.
pub(crate) fn load(name: &str, folder: &Path) -> Result<Subject, String> {
    let given = PathBuf::from(name);
    let path = if given.extension().is_some_and(|ending| ending == "toml") {
        given
    } else {
        folder.join(format!("{name}.toml"))
    };
    let text = given_file::settings(&path).map_err(|error| {
        let known = known(folder);
        format!(
            "cannot read the environment {}: {error}; known in {}: {}",
            path.display(),
            folder.display(),
            if known.is_empty() {
                "none".to_owned()
            } else {
                known.join(", ")
            }
        )
    })?;
    let environment = Environment::parse(&text, &path).map_err(|error| error.to_string())?;
    Ok(Subject {
        environment,
        folder: path.parent().unwrap_or(Path::new("")).to_owned(),
        fresh: None,
    })
}

/// The names of the environments in a folder, not in its subfolders; sorted.
pub(crate) fn known(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|ending| ending == "toml"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}
