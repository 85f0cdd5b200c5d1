//! What the gate found, as people read it on a terminal and in a job summary. Pure text.

use crate::deployment::schema_change::{Class, SchemaChange};
use crate::deployment::way_back::going_back;
use crate::evidence::Verdict;
use crate::gate::base::{Accepted, Since};
use crate::gate::compare::Comparison;
use crate::gate::outcome::Outcome;
use crate::gate::upgrade::{Asked, Upgrade};

/// What a lock is that somebody edited.
pub(crate) const HAND_EDITED: &str =
    "the lock is not the one that was accepted last (CHANGES.md): it was edited by hand";
const HOW: &str = "`cargo xtask schema --write --reason \"…\"` accepts it, after a recovery drill";

/// For a terminal: what changed in words, below it the diff.
#[must_use]
pub fn text(all: &[Comparison]) -> String {
    let mut text = String::new();
    for one in all {
        text.push_str(&format!("{}\n{}", headline(one), told(&one.changes)));
        if !one.diff.is_empty() {
            text.push_str(&format!("\n{}\n", one.diff));
        }
    }
    if all.iter().any(Comparison::is_changed) {
        text.push_str(&format!("hint: {HOW}\n"));
    }
    text
}

/// For a terminal: what a change accepts of the schemas, and what is wrong with that.
#[must_use]
pub fn text_since(since: &Since) -> String {
    let mut text = format!("\n{}\n", since_headline(since));
    for one in &since.accepted {
        text.push_str(&format!("\n{}\n{}", accepted_headline(one), told(&one.changes)));
        for reason in &one.reasons {
            text.push_str(&format!("\n  reason: {reason}\n"));
        }
        if !one.diff.is_empty() {
            text.push_str(&format!("\n{}\n", one.diff));
        }
    }
    for problem in &since.problems {
        text.push_str(&format!("error: {}:{}: {}\n", problem.file, problem.line, problem.what));
    }
    text
}

/// For a terminal: the drill schema-upgrade as a table.
#[must_use]
pub fn text_upgrade(upgrade: &Upgrade) -> String {
    let mut text = format!("\nolder snapshots in these services: {}\n", upgrade.verdict);
    for one in &upgrade.sets {
        text.push_str(&format!(
            "  {:<12} {}: {}\n",
            one.verdict.word(),
            asked(one),
            one.observed
        ));
        for finding in &one.findings {
            text.push_str(&format!(
                "    {}: expected {}, observed {} [{}]\n",
                finding.subject, finding.expected, finding.observed, finding.place
            ));
        }
    }
    for reason in untold(upgrade) {
        text.push_str(&format!("  {reason}\n"));
    }
    if let Some(back) = &upgrade.way_back {
        text.push_str(&format!("  the way back: {back}\n"));
    }
    text
}

fn told(changes: &[SchemaChange]) -> String {
    let mut text = String::new();
    for change in changes {
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
    text
}

fn asked(one: &Asked) -> String {
    let service = one
        .service
        .map_or(String::new(), |service| format!(" of the {service}"));
    format!("{}, {}{service}", one.set, one.check)
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

fn since_headline(since: &Since) -> String {
    let commit = since.commit.get(..12).unwrap_or(&since.commit);
    let what = match since.accepted.len() {
        0 => "no lock differs".to_owned(),
        1 => "1 lock differs".to_owned(),
        more => format!("{more} locks differ"),
    };
    format!("since {} (commit {commit}): {what}", since.reference)
}

fn accepted_headline(one: &Accepted) -> String {
    if one.is_first {
        return format!("{}: {} is new in this change", one.service, one.lock);
    }
    let (breaking, compatible) = (one.count(Class::Breaking), one.count(Class::Compatible));
    let word = if one.reasons.is_empty() {
        "not accepted"
    } else {
        "accepted"
    };
    format!(
        "{}: {word} in this change: {breaking} breaking and {compatible} compatible changes of {}",
        one.service, one.lock
    )
}

/// Markdown for a job summary.
#[must_use]
pub fn summary(outcome: &Outcome) -> String {
    let mut text = format!("## Schema gate: {}\n\n", outcome.verdict());
    for one in &outcome.comparisons {
        text.push_str(&format!("{}\n\n", headline(one)));
        text.push_str(&table(&one.changes));
        text.push_str(&diff(&one.diff));
    }
    if let Some(since) = &outcome.since {
        text.push_str(&format!("### Accepted in this change\n\n{}\n\n", since_headline(since)));
        for one in &since.accepted {
            text.push_str(&format!("{}\n\n", accepted_headline(one)));
            for reason in &one.reasons {
                text.push_str(&format!("> {}\n\n", cell(reason)));
            }
            text.push_str(&table(&one.changes));
            text.push_str(&diff(&one.diff));
        }
        for problem in &since.problems {
            text.push_str(&format!("- **{}:{}**: {}\n", problem.file, problem.line, problem.what));
        }
    }
    if let Some(upgrade) = &outcome.upgrade {
        text.push_str(&upgraded(upgrade));
    }
    if let Some(why) = &outcome.no_upgrade {
        text.push_str(&format!("\nThe drill schema-upgrade was not run: {}\n", cell(why)));
    }
    if outcome.comparisons.iter().any(Comparison::is_changed) {
        text.push_str(&format!("\n{HOW}.\n"));
    }
    text
}

fn table(changes: &[SchemaChange]) -> String {
    if changes.is_empty() {
        return String::new();
    }
    let mut text = "| class | change | restoring an older snapshot | the way back |\n|---|---|---|---|\n".to_owned();
    for change in changes {
        let lost = change
            .nonce_guard_lost
            .as_ref()
            .map(|lost| format!(" **Lost: {lost}.**"));
        text.push_str(&format!(
            "| {} | {} {}{} | {} | {} |\n",
            change.class.word(),
            cell(&change.subject),
            cell(&change.what),
            cell(&lost.unwrap_or_default()),
            cell(&change.restoring),
            going_back(change)
        ));
    }
    text
}

/// A diff as a block; its fence is longer than any that a schema may hold.
fn diff(diff: &str) -> String {
    if diff.is_empty() {
        return String::new();
    }
    let longest = diff.split(|c| c != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(3.max(longest + 1));
    format!("\n{fence}diff\n{diff}{fence}\n\n")
}

/// Reasons that no row of the table tells.
fn untold(upgrade: &Upgrade) -> impl Iterator<Item = &String> {
    let is_told = upgrade.sets.iter().any(|one| one.verdict != Verdict::Pass);
    let reasons = upgrade.reasons.iter();
    reasons.filter(move |reason| !is_told || !reason.starts_with("check "))
}

fn upgraded(upgrade: &Upgrade) -> String {
    let mut text = format!(
        "\n### Older snapshots in these services: {}\n\nDrill schema-upgrade, run {}.\n\n| older set | asked | verdict | observed |\n|---|---|---|---|\n",
        upgrade.verdict, upgrade.run
    );
    for one in &upgrade.sets {
        let service = one
            .service
            .map_or(String::new(), |service| format!(" of the {service}"));
        let mut observed = cell(&one.observed);
        for finding in &one.findings {
            observed.push_str(&format!(
                "<br>{}: expected {}, observed {}",
                cell(&finding.subject),
                cell(&finding.expected),
                cell(&finding.observed)
            ));
        }
        let more = one.findings_total.saturating_sub(one.findings.len() as u64);
        if more > 0 {
            observed.push_str(&format!("<br>and {more} more, in the evidence"));
        }
        text.push_str(&format!(
            "| {} | {}{service} | {} | {observed} |\n",
            cell(&one.set),
            one.check,
            one.verdict
        ));
    }
    for reason in untold(upgrade) {
        text.push_str(&format!("\n- {}\n", cell(reason)));
    }
    if let Some(back) = &upgrade.way_back {
        text.push_str(&format!("\nThe way back: {}\n", cell(back)));
    }
    text
}

/// Text of a schema in a table: no cell ends early, no mark-up begins.
fn cell(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('|', "\\|")
        .replace('`', "\\`")
        .replace(['\n', '\r'], " ")
}
