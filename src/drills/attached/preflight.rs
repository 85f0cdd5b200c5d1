//! Everything about an attached source that can be known before it is stopped, and the plan of the drill. Stops nothing,
//! opens no file but for reading, asks for nothing but `GET /health`, which writes nothing.

use crate::deployment::Service;
use crate::deployment::attached::{AttachedService, AttachedSource};
use crate::drills::attached::guards::{self, resolved};
use crate::drills::attached::misplaced;
use crate::drills::attached::moving::{answers, users};
use crate::drills::context::{DrillRequest, chain};
use crate::drills::launching::find_program;
use crate::snapshot::copying::open_regular;
use crate::snapshot::file_set::FileSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Room beside the copies.
const SPARE_BYTES: u64 = 64 << 20;
/// Raw set, independent copy, the plain files of both, the restored files, and scratch copies.
const COPIES: u64 = 6;
/// How much of a file is searched for the name of a table.
const SEARCHED_BYTES: u64 = 16 << 20;

/// What was found.
#[derive(Debug, Default)]
pub struct Preflight {
    /// The source with links resolved.
    pub source: Option<AttachedSource>,
    /// What keeps the drill from being done, each with what to do.
    pub problems: Vec<String>,
}

/// Looks at everything.
pub async fn look(request: &DrillRequest) -> Preflight {
    let mut seen = Preflight::default();
    let Some(mut source) = request.attached.clone() else {
        seen.problems.push("this environment is not attached".to_owned());
        return seen;
    };
    let mut bytes = 0;
    for service in Service::ALL {
        let one = match service {
            Service::Directory => &mut source.directory,
            Service::Bus => &mut source.bus,
        };
        commands(one, &mut seen.problems);
        bytes += files(one, &mut seen.problems).unwrap_or_default();
        seen.problems
            .extend(guards::own_files(one, request.environment.service(service)));
        seen.problems.extend(guards::elsewhere(one));
        seen.problems.extend(guards::address(one));
        if let Err(error) = answers(&one.url).await {
            let problem = format!("{} does not answer: {error}; start it, or correct url", one.url);
            seen.problems.push(format!("[{service}] {problem}"));
        }
    }
    together(&source, &mut seen.problems);
    seen.problems.extend(misplaced(request, &source));
    room(&request.runs, bytes, &mut seen.problems);
    consent(request, &source, &mut seen.problems);
    seen.source = Some(source);
    seen
}

fn commands(one: &AttachedService, problems: &mut Vec<String>) {
    let service = one.service;
    if !one.cwd.is_dir() {
        problems.push(format!("[{service}] cwd {} is not a folder", one.cwd.display()));
    }
    let given = [("stop", &one.stop), ("start", &one.start), ("fetch", &one.fetch)];
    for (name, argv) in given.into_iter().filter(|(_, argv)| !argv.is_empty()) {
        if find_program(&argv[0], Some(&one.cwd)).is_none() {
            let what = format!("[{service}] {name}: command not found: {}", argv[0]);
            problems.push(format!("{what}; check the path or install it"));
        }
    }
    if !one.fetch.is_empty() && !one.fetch.iter().any(|argument| argument.contains("{to}")) {
        let what = format!("[{service}] fetch has no {{to}}");
        problems.push(format!("{what}; that is where the folder to copy into is filled in"));
    }
    if !one.url.starts_with("http://") && !one.url.starts_with("https://") {
        let what = format!("[{service}] url {:?} is no address", one.url);
        problems.push(format!("{what}; write it as http://127.0.0.1:3100"));
    }
}

/// The size of a service's files; resolves links on the way, so that everybody speaks of the same file.
fn files(one: &mut AttachedService, problems: &mut Vec<String>) -> Option<u64> {
    let (service, data) = (one.service, one.data.clone()?);
    let shown = data.display().to_string();
    let resolved = match data.canonicalize() {
        Ok(resolved) => resolved,
        Err(error) => {
            problems.push(format!("[{service}] data {shown}: {error}; correct the path"));
            return None;
        }
    };
    one.data = Some(resolved.clone());
    let set = FileSet::new(service, resolved);
    let mut bytes = 0;
    let mut tables = [false; 2];
    for path in [set.main.clone(), set.wal()] {
        match open_regular(&path) {
            Ok(file) => {
                bytes += file.metadata().map_or(0, |facts| facts.len());
                for (at, found) in tables.iter_mut().enumerate() {
                    *found |= names_table(&path, Service::ALL[at].marker_table());
                }
            }
            Err(error) if error.is_missing() => {}
            Err(error) => problems.push(format!("[{service}] data: {}", chain(&error))),
        }
    }
    let own = tables[usize::from(service == Service::Bus)];
    if !own {
        let other = if tables.contains(&true) {
            "; it is the other service's"
        } else {
            ""
        };
        let table = service.marker_table();
        problems.push(format!(
            "[{service}] data {shown} names no table {table}{other}; give the {service}'s database file"
        ));
    }
    match users(one) {
        Ok(Some(seen)) if seen.open_in.is_empty() && seen.saw_every_process => problems.push(format!(
            "[{service}] no process has data {shown} open, so it is not the file of the service at {}; correct data or url",
            one.url
        )),
        Ok(_) => {}
        Err(error) => problems.push(chain(&error)),
    }
    Some(bytes)
}

/// Whether the start of a file has the statement that makes a table.
fn names_table(path: &Path, table: &str) -> bool {
    let Ok(file) = open_regular(path) else { return false };
    let mut bytes = Vec::new();
    if file.take(SEARCHED_BYTES).read_to_end(&mut bytes).is_err() {
        return false;
    }
    let text = String::from_utf8_lossy(&bytes);
    let mut made = text.match_indices("CREATE TABLE");
    made.any(|(at, _)| {
        let near: String = text[at..].chars().take(36 + table.len()).collect();
        near.contains(table)
    })
}

/// What the two services must not share.
fn together(source: &AttachedSource, problems: &mut Vec<String>) {
    let identity = |one: &AttachedService| {
        let facts = fs::metadata(one.data.as_ref()?).ok()?;
        Some((facts.dev(), facts.ino()))
    };
    if identity(&source.directory).is_some_and(|directory| identity(&source.bus) == Some(directory)) {
        problems.push("[directory] data and [bus] data are one file; give each its own".to_owned());
    }
    if source.directory.url == source.bus.url {
        problems.push("[directory] url and [bus] url are the same; give each its own".to_owned());
    }
}

fn room(runs: &Path, bytes: u64, problems: &mut Vec<String>) {
    let needed = bytes.saturating_mul(COPIES).saturating_add(SPARE_BYTES);
    let Some(there) =
        resolved(runs).and_then(|runs| runs.ancestors().find(|folder| folder.exists()).map(Path::to_owned))
    else {
        return;
    };
    if let Ok(space) = rustix::fs::statvfs(&there) {
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        if free < needed {
            let folder = there.display();
            problems.push(format!(
                "{folder} has {free} bytes free, the drill needs {needed}; make room or set CARGO_TARGET_DIR elsewhere"
            ));
        }
    }
}

fn consent(request: &DrillRequest, source: &AttachedSource, problems: &mut Vec<String>) {
    if source.production && !request.consent.yes {
        problems.push(format!(
            "{} is a production environment and will be away for up to {} ms; add --yes",
            source.environment, source.max_outage_ms
        ));
    }
    let limit_ms = request.environment.time_limit_ms;
    if source.max_outage_ms >= limit_ms {
        problems.push(format!(
            "max_outage_ms is {} and the drill's time_limit_ms {limit_ms}: it would be broken off first; raise time_limit_ms",
            source.max_outage_ms
        ));
    }
    if let Some(problem) = request.refused_isolation() {
        problems.push(problem);
    }
}

/// The drill's steps with their commands, as they stand in the environment file; nothing of it is done.
#[must_use]
pub fn steps(request: &DrillRequest, source: &AttachedSource) -> Vec<String> {
    let argv = |argv: &[String]| argv.join(" ");
    let at = |one: &AttachedService| {
        let files = match (&one.data, one.fetch.as_slice()) {
            (_, fetch) if !fetch.is_empty() => format!("twice by: {}", argv(fetch)),
            (Some(data), _) => format!("{} and its -wal, read-only, twice", data.display()),
            (None, _) => "nothing".to_owned(),
        };
        (one.service, files)
    };
    let [directory, bus] = source.each();
    let mut steps = vec![
        format!(
            "look at the source: GET {0}/health, {0}/release, {0}/stats, {1}/health; none writes",
            directory.url, bus.url
        ),
        "write down in the state folder how the source is started again".to_owned(),
    ];
    for one in [bus, directory] {
        let limit = one.stop_limit_ms;
        steps.push(format!(
            "stop the {} (up to {limit} ms): {}",
            one.service,
            argv(&one.stop)
        ));
    }
    steps.push("prove that no process and no lock holds the files".to_owned());
    for (service, files) in [directory, bus].map(at) {
        steps.push(format!("copy the {service}'s files: {files}"));
    }
    for one in [directory, bus] {
        let limit = one.ready_limit_ms;
        steps.push(format!(
            "start the {} (up to {limit} ms): {}",
            one.service,
            argv(&one.start)
        ));
    }
    steps.push(format!(
        "measure the outage, from the first stop to the first answer of both: at most {} ms, else the source is started and the drill fails",
        source.max_outage_ms
    ));
    steps.push("prove that the source came back: same release, answering, its files its own".to_owned());
    let how = if request.environment.is_in_containers() {
        "containers"
    } else if Service::ALL
        .iter()
        .any(|service| request.environment.service(*service).is_reference())
    {
        "processes (the reference services, where the file gives no command)"
    } else {
        "processes"
    };
    steps.push(format!(
        "restore the copies into clean {how}; isolation: {}",
        request.isolation()
    ));
    steps.push("compare, start, read back and prove as drill --from does; write evidence and report".to_owned());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_known_by_the_statement_that_makes_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.db");
        rusqlite::Connection::open(&path)
            .and_then(|made| made.execute_batch("CREATE TABLE IF NOT EXISTS intent_log (a);"))
            .expect("made");
        assert!(names_table(&path, "intent_log"));
        assert!(!names_table(&path, "beam_messages"));
    }
}
