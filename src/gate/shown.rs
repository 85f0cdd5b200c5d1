//! A comparison as people read it on a terminal, and as GitHub does: annotations and a job summary. Pure text.

use crate::deployment::schema_change::Class;
use crate::deployment::way_back::going_back;
use crate::gate::compare::Comparison;

const HAND_EDITED: &str = "the lock is not the one that was accepted last (CHANGES.md): it was edited by hand";
const HOW: &str = "accept with `cargo xtask schema --write --reason \"…\"`, after a recovery drill";

/// For a terminal: what changed in words, below it the diff.
#[must_use]
pub fn text(all: &[Comparison]) -> String {
    let mut text = String::new();
    for one in all {
        text.push_str(&format!("{}\n", headline(one)));
        for change in &one.changes {
            text.push_str(&format!(
                "\n  {}: {} {}\n",
                change.class.word(),
                change.subject,
                change.what
            ));
            if let Some(lost) = &change.nonce_guard_lost {
                text.push_str(&format!("    lost: {lost}\n"));
            }
            text.push_str(&format!("    restoring an older snapshot: {}\n", change.restoring));
            text.push_str(&format!("    the way back: {}\n", going_back(change)));
        }
        if !one.diff.is_empty() {
            text.push_str(&format!("\n{}\n", one.diff));
        }
    }
    if all.iter().any(Comparison::is_changed) {
        text.push_str(&format!("hint: {HOW}\n"));
    }
    text
}

fn headline(one: &Comparison) -> String {
    if !one.changes.is_empty() {
        let (breaking, compatible) = (one.count(Class::Breaking), one.count(Class::Compatible));
        return format!(
            "{}: {breaking} breaking and {compatible} compatible changes of {} ({})",
            one.service, one.lock, one.origin
        );
    }
    if one.lock_is_accepted {
        format!(
            "{}: no change of {}, {} elements equal ({})",
            one.service, one.lock, one.items, one.origin
        )
    } else {
        format!("{}: {}: {HAND_EDITED}", one.service, one.lock)
    }
}

/// Workflow commands of GitHub: an error at the lock's line for each change.
#[must_use]
pub fn annotations(all: &[Comparison]) -> Vec<String> {
    let mut found = Vec::new();
    for one in all {
        let file = property(&one.lock);
        for (change, line) in one.changes.iter().zip(&one.lines) {
            let title = property(&format!("{} schema change", change.class.word()));
            let lost = change.nonce_guard_lost.as_ref().map(|lost| format!(" Lost: {lost}."));
            let message = format!(
                "{} {}.{} Restoring an older snapshot: {}.",
                change.subject,
                change.what,
                lost.unwrap_or_default(),
                change.restoring
            );
            found.push(format!(
                "::error file={file},line={line},title={title}::{}",
                data(&message)
            ));
        }
        if one.changes.is_empty() && !one.lock_is_accepted {
            found.push(format!("::error file={file},line=1::{}", data(HAND_EDITED)));
        }
    }
    found
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

/// Markdown for a job summary.
#[must_use]
pub fn summary(all: &[Comparison]) -> String {
    let mut text = "## Schema gate\n\n".to_owned();
    for one in all {
        text.push_str(&format!("{}\n\n", headline(one)));
        if one.changes.is_empty() {
            continue;
        }
        text.push_str("| class | change | restoring an older snapshot |\n|---|---|---|\n");
        for change in &one.changes {
            let lost = change
                .nonce_guard_lost
                .as_ref()
                .map(|lost| format!(" **Lost: {lost}.**"));
            text.push_str(&format!(
                "| {} | {} {}{} | {} |\n",
                change.class.word(),
                cell(&change.subject),
                cell(&change.what),
                cell(&lost.unwrap_or_default()),
                cell(&change.restoring)
            ));
        }
        text.push_str(&format!("\n```diff\n{}```\n\n", one.diff));
    }
    if all.iter().any(Comparison::is_changed) {
        text.push_str(&format!("To {HOW}.\n"));
    }
    text
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
