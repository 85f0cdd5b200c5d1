//! `checklist`: the boxes of a cut, ticked by evidence only.

use crate::exit::ExitCode;
use crate::{drill, github, parity, plan, refuse, report, smoke};
use recovery_drills::cadence::checklist::{Expected, Item, Judged, judge};
use recovery_drills::cadence::collect::{Found, collect, newest, prints};
use recovery_drills::cadence::commit::changed_since;
use recovery_drills::deployment::Service;
use recovery_drills::deployment::given_file;
use recovery_drills::deployment::release::is_commit;
use recovery_drills::drills::context::chain;
use recovery_drills::drills::{reference, schema_gate};
use recovery_drills::evidence::{CheckId, Level, SchemaPrints, Verdict, annotation, write_atomically};
use recovery_drills::faults::catalogue::Catalogue;
use recovery_drills::gate::lock;
use recovery_drills::report::checklist as page;
use recovery_drills::report::github::shown;
use recovery_drills::verify::signature::{PublicKey, is_sealed};
use recovery_drills::verify::{self, verify_as, views};
use std::path::{Path, PathBuf};

/// Where the page lies below the reports folder.
const PAGE: &str = "1.0.0-cut-checklist.md";

/// Flags of `checklist`.
#[derive(clap::Args)]
#[command(
    after_help = "Exit codes: 0 written; with --check 0 nothing is open, 1 something is, nothing is written; 2 usage\n\nExamples:\n  \
                        cargo xtask checklist --environment production --version 1.6.0\n  cargo xtask checklist --check"
)]
pub(crate) struct Options {
    /// Write nothing; exit 1 while something is open
    #[arg(long)]
    check: bool,
    /// Whose evidence counts [default: as the settings say, else of any environment]
    #[arg(long, value_parser = smoke::stated)]
    environment: Option<String>,
    /// The version that is cut [default: as the settings say, else evidence of any counts]
    #[arg(long, value_parser = smoke::stated)]
    version: Option<String>,
    /// The commit that is cut, 7 to 40 digits
    #[arg(long, value_parser = commit)]
    sha: Option<String>,
    /// Further folders of runs, as a workflow downloads them; target/drills is always looked into
    #[arg(long, value_name = "DIR")]
    evidence: Vec<PathBuf>,
    /// Demand that all evidence is sealed by this very key: a file (PEM or base64), or base64
    #[arg(long, value_name = "KEY", env = "DRILLS_SEAL_PUBLIC_KEY")]
    public_key: Option<String>,
    /// Cadence, release and environment
    #[arg(long, default_value = "drills.toml")]
    settings: PathBuf,
    /// Folder of the locked schemas [default: fixtures/schemas]
    #[arg(long, value_name = "FOLDER")]
    schemas: Option<PathBuf>,
    /// Folder of the page and of the reports
    #[arg(long, default_value = "reports")]
    reports: PathBuf,
    /// Print the boxes as JSON alone on standard output
    #[arg(long)]
    json: bool,
}

/// A commit as options take it.
pub(crate) fn commit(text: &str) -> Result<String, String> {
    if is_commit(text) {
        Ok(text.to_owned())
    } else {
        Err("a commit has 7 to 40 hexadecimal digits".to_owned())
    }
}

/// Judges every box; writes the page, or with `--check` says what is open.
pub(crate) fn run(options: &Options) -> ExitCode {
    let expected = match expected(options) {
        Ok(expected) => expected,
        Err(message) => return refuse(ExitCode::Usage, &message),
    };
    let path = options.reports.join(PAGE);
    let present = match given_file::document(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return refuse(ExitCode::Usage, &format!("cannot read {}: {error}", path.display())),
    };
    let mut folders = vec![reference::runs_folder()];
    folders.extend(options.evidence.iter().cloned());
    if let Some(missing) = options.evidence.iter().find(|folder| !folder.is_dir()) {
        let message = format!("--evidence {} is no folder", missing.display());
        return refuse(ExitCode::Usage, &message);
    }
    let key = match options.public_key.as_deref().filter(|given| !given.is_empty()) {
        Some(given) => match PublicKey::given(given) {
            Ok(key) => Some(key),
            Err(error) => return refuse(ExitCode::Usage, &chain(&error)),
        },
        None => None,
    };
    let all = collect(&folders);
    let judged = Item::ALL.map(|item| {
        let found = newest(&all, item, expected.environment.as_deref());
        let proof = found.map(|found| {
            let mut proof = found.proof.clone();
            let altered = || altered(item, found, options, key.as_ref());
            proof.altered = proof.altered.or_else(altered);
            proof
        });
        judge(item, proof.as_ref(), &expected)
    });
    let text = page::updated(present.as_deref(), &judged, &expected);
    let of_people = page::open_lines_of_people(&text);
    if !options.check
        && let Err(error) = write_atomically(&path, &text)
    {
        return refuse(ExitCode::Usage, &chain(&error));
    }
    if let Err(message) = say(options, &judged, &of_people, &path) {
        return refuse(ExitCode::Inconclusive, &message);
    }
    let is_open = judged.iter().any(|one| !one.ticked) || !of_people.is_empty();
    if options.check && is_open {
        ExitCode::Fail
    } else {
        ExitCode::Pass
    }
}

fn expected(options: &Options) -> Result<Expected, String> {
    let settings = plan::settings(&options.settings)?;
    let mut release = settings.release;
    for (stated, given) in [
        (&mut release.version, &options.version),
        (&mut release.git_sha, &options.sha),
    ] {
        if given.is_some() {
            stated.clone_from(given);
        }
    }
    let folder = options.schemas.clone().unwrap_or_else(schema_gate::locks_folder);
    let mut locks = std::collections::BTreeMap::new();
    for service in Service::ALL {
        let lock = lock::read(&folder, service).map_err(|error| chain(&error))?;
        let locked = SchemaPrints::from(lock.schema.facts.fingerprints());
        locks.insert(service, prints(&locked));
    }
    Ok(Expected {
        release,
        environment: options.environment.clone().or(settings.environment),
        cadence: settings.cadence,
        locks,
        now: jiff::Timestamp::now(),
    })
}

/// Why a run's documents do not belong together, or not to what is there now, if so.
fn altered(item: Item, found: &Found, options: &Options, key: Option<&PublicKey>) -> Option<String> {
    let document = found.document.as_ref()?;
    let report = match item {
        Item::Drill => report::file_of("backup-restore"),
        Item::Parity => parity::PARITY_CHECK.to_owned(),
        Item::Smoke => smoke::REPORT.to_owned(),
        Item::SchemaGate | Item::Detection => return outcome_altered(item, found, document, key),
    };
    let report = options.reports.join(report);
    let given = views::naming(document, &options.reports);
    if report.is_file() && !given.contains(&report) {
        eprintln!(
            "warning: {} is of another run; `cargo xtask report {}` makes it of the one that counts",
            report.display(),
            found.folder.display()
        );
    }
    let demanded = verify::Expected {
        environment: None,
        key: key.cloned(),
    };
    let verified = match verify_as(document, &given, &demanded) {
        Ok(verified) => verified,
        Err(error) => return Some(chain(&error)),
    };
    if let Some(first) = verified.findings.first() {
        return Some(format!(
            "{}: expected {}, observed {} [{}]",
            first.subject, first.expected, first.observed, first.place
        ));
    }
    // A snapshot may be stored elsewhere; whatever else is gone, nobody can tell whether it was altered.
    let unproven = verified
        .items
        .iter()
        .find(|one| one.verdict != Verdict::Pass && !(item == Item::Drill && one.id == CheckId::StoredSnapshot));
    unproven.map(|one| format!("{} is {}: {}", one.id, one.verdict, one.problems.join(", ")))
}

fn outcome_altered(item: Item, found: &Found, document: &Path, key: Option<&PublicKey>) -> Option<String> {
    let text = given_file::document(document).unwrap_or_default();
    if let Some(key) = key
        && let Err(why) = is_sealed(&found.folder, &found.proof.run, &text, key)
    {
        return Some(why);
    }
    if item == Item::Detection
        && let Some(why) = left_out(&text)
    {
        return Some(why);
    }
    changed_since(reference::workspace_root(), found.proof.harness_git_sha.as_deref())
}

/// The first fault of the catalogue that a campaign neither injected nor gave a reason for.
fn left_out(text: &str) -> Option<String> {
    let catalogue = match Catalogue::load(&[drill::catalogue_folder()]) {
        Ok(catalogue) => catalogue,
        Err(error) => return Some(chain(&error)),
    };
    let outcome: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let mut known = std::collections::BTreeSet::new();
    for name in ["faults", "not_staged", "benign"] {
        let all = outcome["result"][name].as_array().into_iter().flatten();
        known.extend(all.filter_map(|one| one["id"].as_str()));
    }
    let mut all = catalogue.faults.iter().chain(&catalogue.benign);
    all.find(|fault| !known.contains(fault.id.0.as_str()))
        .map(|fault| format!("the catalogue's {} was left out", fault.id.0))
}

fn say(options: &Options, judged: &[Judged], of_people: &[(usize, String)], path: &Path) -> Result<(), String> {
    let open: Vec<&Judged> = judged.iter().filter(|one| !one.ticked).collect();
    if options.json {
        let document = serde_json::json!({
            "open": open.len() + of_people.len(),
            "boxes": judged,
            "lines": of_people.iter().map(|(line, text)| serde_json::json!({ "line": line, "text": text })).collect::<Vec<_>>(),
        });
        println!("{document:#}");
    } else {
        for one in judged {
            let tick = if one.ticked { 'x' } else { ' ' };
            let summary = one.summary.as_deref().unwrap_or_default();
            println!("[{tick}] {:<20} {summary}", one.item.title());
            if !one.ticked {
                println!("    open: {}; run `{}`", one.open.join("; "), one.command);
            }
        }
        for (line, text) in of_people {
            println!("[ ] line {line}: {text}");
        }
    }
    if !options.check {
        eprintln!("checklist: {}", path.display());
    }
    let annotations: Vec<String> = open
        .iter()
        .map(|one| {
            let message = format!("{}; run `{}`", one.open.join("; "), one.command);
            annotation(Level::Warning, None, &format!("{} is open", one.item.title()), &message)
        })
        .collect();
    let outputs = [
        ("open", (open.len() + of_people.len()).to_string()),
        ("report", path.display().to_string()),
    ];
    let outputs = outputs.each_ref().map(|(name, value)| (*name, value.as_str()));
    github::tell(&shown(annotations), &outputs, "")
}
