//! What must not be, so that nothing of a drill touches an attached source: no second instance on its files, no folder of the
//! harness among them, no part of its data elsewhere, no secret in its address.

use crate::deployment::attached::{AttachedService, AttachedSource};
use crate::deployment::environment::ServiceSettings;
use crate::snapshot::copying::open_regular;
use crate::snapshot::file_set::FileSet;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The variable that names a service's database file. Source: contract 1.2 and 3.1.
const DB_PATH: &str = "DB_PATH";
/// Where a database's header says that it is in WAL mode (2), and how much of it is read.
const WRITE_VERSION: usize = 18;

/// What keeps folders of the harness from being where they are: inside the folder of the source's files, also through links.
#[must_use]
pub fn places(source: &AttachedSource, folders: &[(&str, &Path, &str)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (what, folder, otherwise) in folders {
        let Some(folder) = resolved(folder) else { continue };
        for one in source.each() {
            let data = one.data.as_ref().and_then(|data| data.canonicalize().ok());
            if let Some(there) = data
                .as_deref()
                .and_then(Path::parent)
                .filter(|there| folder.starts_with(there))
            {
                problems.push(format!(
                    "{what} lie in {}, inside the folder of the {}'s files ({}); {otherwise}",
                    folder.display(),
                    one.service,
                    there.display()
                ));
            }
        }
    }
    problems
}

/// A path that may not be there yet, with the links of what is there resolved.
pub(super) fn resolved(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|folder| folder.exists())?;
    let rest = path.strip_prefix(there).ok()?.to_owned();
    Some(there.canonicalize().ok()?.join(rest))
}

/// What would start a clean or restored instance on the source's own file.
pub(super) fn own_files(one: &AttachedService, settings: &ServiceSettings) -> Vec<String> {
    let service = one.service;
    let mut problems = Vec::new();
    if settings.env.get(DB_PATH).is_some_and(|value| !value.contains("{db}")) {
        problems.push(format!(
            "[{service}] env sets {DB_PATH} to a fixed file, on which clean and restored instances would be started; leave it out, \
             or write {DB_PATH} = \"{{db}}\""
        ));
    }
    let Some(data) = &one.data else { return problems };
    let identity = |path: &Path| std::fs::metadata(path).map(|facts| (facts.dev(), facts.ino())).ok();
    let (own, shown) = (identity(data), data.display().to_string());
    let names = |value: &str| {
        let is_file = || own.is_some() && identity(&one.cwd.join(value)) == own;
        value.contains(&shown) || is_file()
    };
    let argv = settings.command.iter().map(|argument| ("command", argument));
    let env = settings.env.iter().map(|(key, value)| (key.as_str(), value));
    for (what, value) in argv.chain(env) {
        // `--db=file` too.
        if names(value) || value.split_once('=').is_some_and(|(_, value)| names(value)) {
            problems.push(format!(
                "[{service}] {what} names the source's own file {shown}, on which clean and restored instances would be started; write {{db}}"
            ));
        }
    }
    problems
}

/// What shows that a part of the data lies where it would not be copied from.
pub(super) fn elsewhere(one: &AttachedService) -> Vec<String> {
    let (service, mut problems) = (one.service, Vec::new());
    let Some(data) = &one.data else { return problems };
    let Ok(file) = open_regular(data) else { return problems };
    let names = file.metadata().map_or(1, |facts| facts.nlink());
    if names > 1 {
        problems.push(format!(
            "[{service}] data {} has {names} names (hard links), and its -wal lies beside the one that the service opened; give a \
             file with one name",
            data.display()
        ));
    }
    let mut head = Vec::new();
    let read = file.take(WRITE_VERSION as u64 + 1).read_to_end(&mut head);
    let is_logged = read.is_ok() && head.get(WRITE_VERSION) == Some(&2);
    let wal = FileSet::new(service, data.clone()).wal();
    if is_logged && !wal.exists() {
        problems.push(format!(
            "[{service}] data {} is in WAL mode and in use, but there is no {} beside it: what was committed last lies elsewhere; give \
             the path at which the service itself opens it, with its folder mounted as a whole",
            data.display(),
            wal.file_name().unwrap_or_default().to_string_lossy()
        ));
    }
    problems
}

/// A name or password in an address: it would stand in errors, in the plan and in evidence.
pub(super) fn address(one: &AttachedService) -> Option<String> {
    let (_, rest) = one.url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.contains('@').then(|| {
        format!(
            "[{}] url holds a name or password before the @; leave it out, since reads of a source need none",
            one.service
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deployment::environment::Environment;

    fn source(folder: &Path, more: &str) -> (AttachedSource, Environment) {
        let text = format!(
            "name = \"a\"\n[directory]\nruntime = \"attached\"\nurl = \"http://me:secret@x\"\ndata = \"data/d.db\"\nstop = [\"s\"]\nstart = [\"t\"]\n{more}\n\
             [bus]\nruntime = \"attached\"\nurl = \"http://y/@\"\nfetch = [\"f\", \"{{to}}\"]\nstop = [\"s\"]\nstart = [\"t\"]\n"
        );
        let mut environment = Environment::parse(&text, &folder.join("a.toml")).expect("parsed");
        let source = AttachedSource::take_from(&mut environment, folder).expect("both");
        (source.expect("a source"), environment)
    }

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("data")).expect("made");
        let made = rusqlite::Connection::open(folder.path().join("data/d.db")).expect("made");
        made.execute_batch("CREATE TABLE intent_log (a)").expect("made");
        folder
    }

    #[test]
    fn a_file_of_the_source_in_command_or_variables_is_refused() {
        let folder = folder();
        let data = folder.path().join("data/d.db").display().to_string();
        for (more, is_refused) in [
            (
                "command = [\"node\", \"index.js\"]\nenv = { DB_PATH = \"{db}\" }".to_owned(),
                false,
            ),
            ("env = { DB_PATH = \"/srv/other.db\" }".to_owned(), true),
            (format!("env = {{ FILE = {data:?} }}"), true),
            (format!("command = [\"node\", \"--db={data}\"]"), true),
            ("command = [\"node\", \"--db=data/../data/d.db\"]".to_owned(), true),
            ("command = [\"node\", \"data/d.db\"]".to_owned(), true),
        ] {
            let (source, environment) = source(folder.path(), &more);
            let problems = own_files(&source.directory, &environment.directory);
            assert_eq!(!problems.is_empty(), is_refused, "{more}: {problems:?}");
        }
    }

    #[test]
    fn a_second_name_or_a_log_that_is_elsewhere_is_refused() {
        let folder = folder();
        let (source, _) = source(folder.path(), "");
        assert_eq!(elsewhere(&source.directory), Vec::<String>::new());
        let data = folder.path().join("data/d.db");
        let opened = rusqlite::Connection::open(&data).expect("opened");
        opened.pragma_update(None, "journal_mode", "wal").expect("set");
        opened
            .execute_batch("INSERT INTO intent_log VALUES (1)")
            .expect("written");
        assert_eq!(elsewhere(&source.directory), Vec::<String>::new());
        // Its last connection removes the log.
        drop(opened);
        let problems = elsewhere(&source.directory);
        assert!(problems.len() == 1 && problems[0].contains("WAL mode"), "{problems:?}");
        std::fs::hard_link(&data, folder.path().join("other.db")).expect("linked");
        assert!(elsewhere(&source.directory)[0].contains("2 names"));
    }

    #[test]
    fn folders_of_the_harness_are_not_among_the_sources_files() {
        let folder = folder();
        let (source, _) = source(folder.path(), "");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("data"), &link).expect("linked");
        for (place, is_refused) in [("elsewhere/x", false), ("data/x", true), ("link/x/y", true)] {
            let place = folder.path().join(place);
            let problems = places(&source, &[("runs", &place, "set CARGO_TARGET_DIR")]);
            assert_eq!(!problems.is_empty(), is_refused, "{problems:?}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        let folder = folder();
        let (source, _) = source(folder.path(), "");
        let problem = address(&source.directory).expect("refused");
        assert!(!problem.contains("secret"), "{problem}");
        assert_eq!(address(&source.bus), None);
    }

    #[test]
    fn a_path_that_is_not_there_yet_is_resolved_through_links() {
        let folder = folder();
        let real = folder.path().canonicalize().expect("there");
        std::os::unix::fs::symlink(&real, real.join("link")).expect("linked");
        assert_eq!(resolved(&real.join("link/a/b")).expect("resolved"), real.join("a/b"));
    }
}
