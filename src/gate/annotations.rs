//! What the gate found, as annotations of GitHub at lines of the locks; what GitHub would not show is counted in the last.

use crate::deployment::schema_change::{Class, SchemaChange};
use crate::evidence::{Level, SHOWN_ANNOTATIONS, Verdict, annotation};
use crate::gate::outcome::Outcome;
use crate::gate::shown::HAND_EDITED;

struct Annotation {
    level: Level,
    class: Class,
    /// A file and its line, from 1.
    at: Option<(String, u64)>,
    title: String,
    message: String,
}

/// One line each: errors for what is refused, breaking changes first; for what this change accepts a warning where it breaks,
/// else a notice. At most ten of a kind.
#[must_use]
pub fn annotations(outcome: &Outcome) -> Vec<String> {
    let mut all = refused(outcome);
    for one in outcome.since.iter().flat_map(|since| &since.accepted) {
        for (change, line) in one.changes.iter().zip(&one.lines) {
            let level = match change.class {
                Class::Breaking => Level::Warning,
                Class::Compatible => Level::Notice,
            };
            let title = format!("accepted {} schema change", change.class.word());
            all.push(Annotation {
                level,
                class: change.class,
                at: Some((one.lock.clone(), *line)),
                title,
                message: told(change),
            });
        }
    }
    // Which are shown does not depend on the order of services.
    all.sort_by_key(|one| one.class);
    [Level::Error, Level::Warning, Level::Notice]
        .into_iter()
        .flat_map(|level| capped(level, &all))
        .collect()
}

fn refused(outcome: &Outcome) -> Vec<Annotation> {
    let error = |at: Option<(&str, u64)>, title: &str, message: String, class| Annotation {
        level: Level::Error,
        class,
        at: at.map(|(file, line)| (file.to_owned(), line)),
        title: title.to_owned(),
        message,
    };
    let mut all = Vec::new();
    for one in &outcome.comparisons {
        for (change, line) in one.changes.iter().zip(&one.lines) {
            let title = format!("{} schema change", change.class.word());
            all.push(error(Some((&one.lock, *line)), &title, told(change), change.class));
        }
        if one.changes.is_empty() && !one.lock_is_accepted {
            let at = Some((one.lock.as_str(), 1));
            all.push(error(at, "edited lock", HAND_EDITED.to_owned(), Class::Breaking));
        }
    }
    for problem in outcome.since.iter().flat_map(|since| &since.problems) {
        let at = Some((problem.file.as_str(), problem.line));
        let title = "schema change without acceptance";
        all.push(error(at, title, problem.what.clone(), Class::Breaking));
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
            all.push(error(None, "schema-upgrade", message, Class::Breaking));
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

fn capped(level: Level, all: &[Annotation]) -> Vec<String> {
    let own: Vec<&Annotation> = all.iter().filter(|one| one.level == level).collect();
    let kept = if own.len() > SHOWN_ANNOTATIONS {
        SHOWN_ANNOTATIONS - 1
    } else {
        own.len()
    };
    let mut lines: Vec<String> = own[..kept]
        .iter()
        .map(|one| {
            let at = one.at.as_ref().map(|(file, line)| (file.as_str(), *line));
            annotation(level, at, &one.title, &one.message)
        })
        .collect();
    if own.len() > kept {
        let breaking = own[kept..].iter().filter(|one| one.class == Class::Breaking).count();
        let message = format!(
            "and {} more, {breaking} of them breaking; all stand in the job's summary",
            own.len() - kept
        );
        lines.push(annotation(level, None, "schema gate", &message));
    }
    lines
}
