//! Workflow commands of GitHub: what the gate found, at lines of the locks. Pure text.
//!
//! GitHub shows ten of a kind for each step; what does not fit is counted in the last. Source: GitHub's limits of annotations.

use crate::deployment::schema_change::{Class, SchemaChange};
use crate::evidence::Verdict;
use crate::gate::outcome::Outcome;
use crate::gate::shown::HAND_EDITED;

/// How many of a kind are shown for one step.
const SHOWN: usize = 10;

struct Annotation {
    kind: &'static str,
    class: Class,
    place: String,
    message: String,
}

/// One line each: errors for what is refused, breaking changes first; for what this change accepts a warning where it breaks,
/// else a notice. At most ten of a kind.
#[must_use]
pub fn annotations(outcome: &Outcome) -> Vec<String> {
    let mut all = refused(outcome);
    for one in outcome.since.iter().flat_map(|since| &since.accepted) {
        for (change, line) in one.changes.iter().zip(&one.lines) {
            let kind = match change.class {
                Class::Breaking => "warning",
                Class::Compatible => "notice",
            };
            let title = format!("accepted {} schema change", change.class.word());
            all.push(Annotation {
                kind,
                class: change.class,
                place: at(&one.lock, *line, &title),
                message: told(change),
            });
        }
    }
    // Which are shown does not depend on the order of services.
    all.sort_by_key(|one| one.class);
    ["error", "warning", "notice"]
        .into_iter()
        .flat_map(|kind| capped(kind, &all))
        .collect()
}

fn refused(outcome: &Outcome) -> Vec<Annotation> {
    let error = |place: String, message: String, class| Annotation {
        kind: "error",
        class,
        place,
        message,
    };
    let mut all = Vec::new();
    for one in &outcome.comparisons {
        for (change, line) in one.changes.iter().zip(&one.lines) {
            let title = format!("{} schema change", change.class.word());
            all.push(error(at(&one.lock, *line, &title), told(change), change.class));
        }
        if one.changes.is_empty() && !one.lock_is_accepted {
            let place = at(&one.lock, 1, "edited lock");
            all.push(error(place, HAND_EDITED.to_owned(), Class::Breaking));
        }
    }
    for problem in outcome.since.iter().flat_map(|since| &since.problems) {
        let place = at(&problem.file, problem.line, "schema change without acceptance");
        all.push(error(place, problem.what.clone(), Class::Breaking));
    }
    if outcome.needs_upgrade() {
        let first = outcome
            .upgrade
            .as_ref()
            .filter(|upgrade| upgrade.verdict != Verdict::Pass);
        let told = first.map(|upgrade| {
            let findings = upgrade.sets.iter().flat_map(|one| &one.findings);
            let finding = findings.map(|one| format!("{}: {}", one.subject, one.observed)).next();
            let why = finding.or_else(|| upgrade.reasons.first().cloned()).unwrap_or_default();
            format!("the drill schema-upgrade ended with {}: {why}", upgrade.verdict)
        });
        let missing = outcome.no_upgrade.as_ref();
        let missing = missing.map(|why| format!("the drill schema-upgrade was not run: {why}"));
        for message in told.into_iter().chain(missing) {
            all.push(error(" title=schema-upgrade".to_owned(), message, Class::Breaking));
        }
    }
    all
}

fn told(change: &SchemaChange) -> String {
    let lost = change.nonce_guard_lost.as_ref().map(|lost| format!(" Lost: {lost}."));
    format!(
        "{} {}.{} Restoring an older snapshot: {}.",
        change.subject,
        change.what,
        lost.unwrap_or_default(),
        change.restoring
    )
}

fn capped(kind: &str, all: &[Annotation]) -> Vec<String> {
    let own: Vec<&Annotation> = all.iter().filter(|one| one.kind == kind).collect();
    let kept = if own.len() > SHOWN { SHOWN - 1 } else { own.len() };
    let mut lines: Vec<String> = own[..kept]
        .iter()
        .map(|one| format!("::{kind}{}::{}", one.place, data(&one.message)))
        .collect();
    if own.len() > kept {
        let breaking = own[kept..].iter().filter(|one| one.class == Class::Breaking).count();
        lines.push(format!(
            "::{kind} title=schema gate::and {} more, {breaking} of them breaking; all stand in the job's summary",
            own.len() - kept
        ));
    }
    lines
}

fn at(file: &str, line: u64, title: &str) -> String {
    format!(" file={},line={line},title={}", property(file), property(title))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
