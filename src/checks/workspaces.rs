//! Are workspaces back with identities, policy, channels, threads and timeline?
//!
//! Looks at every workspace and what hangs on it; never compares what moves with the clock or with connections. The rows
//! are read in [`crate::checks::workspace_rows`]. Source: Beam 1.6.0, contract section 2.11.

use crate::checks::expectation::{Expected, Objects};
use crate::checks::observing::{ObserveError, array, integer, member, normal, side_by_side, text};
use crate::client::Access;
use crate::evidence::{CheckId, Judgement};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// This check.
pub const ID: CheckId = CheckId::Workspaces;

const PLACE: &str = "GET /admin/workspaces";
const PRIVATE: &[&str] = &["description", "notes", "summary"];

/// Member of a workspace and column of its row.
pub(crate) const WORKSPACE: [(&str, &str); 6] = [
    ("name", "name"),
    ("status", "status"),
    ("defaultThreadScope", "default_thread_scope"),
    ("externalHandoffsEnabled", "external_handoffs_enabled"),
    ("orgName", "org_name"),
    ("description", "description"),
];
/// Member of an identity and column of its row.
pub(crate) const IDENTITY: [(&str, &str); 8] = [
    ("bindingType", "binding_type"),
    ("owner", "owner"),
    ("runtimeType", "runtime_type"),
    ("policyProfile", "policy_profile"),
    ("canInitiateExternal", "can_initiate_external"),
    ("status", "status"),
    ("defaultThreadScope", "default_thread_scope"),
    ("notes", "notes"),
];
/// Member of a partner channel and column of its row.
pub(crate) const CHANNEL: [(&str, &str); 5] = [
    ("label", "label"),
    ("owner", "owner"),
    ("status", "status"),
    ("notes", "notes"),
    ("lastIntentNonce", "last_intent_nonce"),
];
/// Member of a thread and column of its row.
pub(crate) const THREAD: [(&str, &str); 6] = [
    ("kind", "kind"),
    ("status", "status"),
    ("summary", "summary"),
    ("owner", "owner"),
    ("workflowType", "workflow_type"),
    ("linkedIntentNonce", "linked_intent_nonce"),
];
/// How many timeline entries the directory gives at most.
pub(crate) const TIMELINE_LIMIT: usize = 250;

/// Reads all workspaces.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let workspaces = access.directory.workspaces().await?.value;
    let looks = workspaces.iter().map(|workspace| one(access, workspace));
    let mut objects = Objects::default();
    for found in side_by_side(looks).await? {
        objects.0.extend(found.0);
    }
    Ok(objects)
}

async fn one(access: &Access, workspace: &Value) -> Result<Objects, ObserveError> {
    let slug = text(workspace, "slug", PLACE)?;
    let directory = &access.directory;
    let (policy, identities, channels, threads, timeline) = tokio::join!(
        directory.workspace_policy(slug),
        directory.identities(slug),
        directory.channels(slug),
        directory.threads(slug),
        directory.timeline(slug),
    );
    let mut objects = Objects::default();
    let subject = format!("workspace {slug}");
    copy(&mut objects, &subject, workspace, &WORKSPACE, PLACE)?;
    let place = "GET /admin/workspaces/{slug}/policy";
    objects.set(&subject, "policy", normal(member(&policy?.value, "policy", place)?));
    let place = "GET /admin/workspaces/{slug}/identities";
    for identity in &identities?.value {
        let subject = format!("identity {slug}/{}", text(identity, "beamId", place)?);
        copy(&mut objects, &subject, identity, &IDENTITY, place)?;
    }
    let place = "GET /admin/workspaces/{slug}/partner-channels";
    for channel in &channels?.value {
        let subject = format!("channel {slug}/{}", text(channel, "partnerBeamId", place)?);
        copy(&mut objects, &subject, channel, &CHANNEL, place)?;
    }
    read_threads(access, slug, &threads?.value, &mut objects).await?;
    let place = "GET /admin/workspaces/{slug}/timeline";
    let mut entries = Vec::new();
    for entry in &timeline?.value {
        entries.push(format!(
            "{} {}",
            text(entry, "action", place)?,
            text(entry, "target", place)?
        ));
    }
    objects.set(format!("timeline {slug}"), "entries", json!(entries));
    Ok(objects)
}

async fn read_threads(
    access: &Access,
    slug: &str,
    threads: &[Value],
    objects: &mut Objects,
) -> Result<(), ObserveError> {
    let place = "GET /admin/workspaces/{slug}/threads";
    let looks = threads.iter().map(|thread| async move {
        let id = integer(thread, "id", place)?;
        Ok((id, access.directory.thread(slug, id).await?.value))
    });
    let details = side_by_side(looks).await?;
    let mut titles = Vec::new();
    for thread in threads {
        titles.push(text(thread, "title", place)?);
    }
    let place = "GET /admin/workspaces/{slug}/threads/{id}";
    for (title, (id, detail)) in titles.iter().zip(&details) {
        let repeats = titles.iter().filter(|other| *other == title).count() > 1;
        let subject = thread_subject(slug, title, *id, repeats);
        copy(objects, &subject, member(detail, "thread", place)?, &THREAD, place)?;
        let mut participants = Vec::new();
        for participant in array(detail, "participants", place)? {
            participants.push(format!(
                "{}:{}:{}",
                text(participant, "principalType", place)?,
                text(participant, "principalId", place)?,
                text(participant, "role", place)?,
            ));
        }
        participants.sort_unstable();
        objects.set(&subject, "participants", json!(participants));
    }
    Ok(())
}

fn copy(
    objects: &mut Objects,
    subject: &str,
    from: &Value,
    fields: &[(&str, &str)],
    place: &str,
) -> Result<(), ObserveError> {
    for (name, _) in fields {
        objects.set(subject, *name, member(from, name, place)?.clone());
    }
    Ok(())
}

/// A thread is named by its title, and by its id too where the title repeats in its workspace.
pub(crate) fn thread_subject(slug: &str, title: &str, id: i64, repeats: bool) -> String {
    if repeats {
        format!("thread {slug}/{title}#{id}")
    } else {
        format!("thread {slug}/{title}")
    }
}

/// Holds every workspace and its parts against ledger, baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let mut judged = expected.judge(observed, "workspace objects", PLACE, PRIVATE);
    judged.observed = kinds(observed);
    judged
}

fn kinds(objects: &Objects) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for subject in objects.0.keys() {
        let kind = subject.split(' ').next().unwrap_or_default();
        *counts.entry(kind).or_default() += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if counts.is_empty() {
        "none".to_owned()
    } else {
        counts.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn one(subject: &str, field: &str, value: Value) -> Objects {
        let mut objects = Objects::default();
        objects.set(subject, field, value);
        objects
    }

    fn judged(was: &Objects, is: &Objects) -> Judgement {
        let expected = Expected {
            baseline: Some(was),
            ..Expected::default()
        };
        judge(&expected, is)
    }

    #[test]
    fn the_same_workspaces_pass_and_are_counted_by_kind() {
        let same = one("workspace ops", "name", json!("Ops"));
        let judged = judged(&same, &same);
        assert_eq!(
            (judged.verdict(), judged.observed.as_str()),
            (Verdict::Pass, "workspace 1")
        );
    }

    #[test]
    fn an_emptied_policy_is_a_finding() {
        let was = one("workspace ops", "policy", json!({"version": 1}));
        let judged = judged(&was, &one("workspace ops", "policy", json!({})));
        assert_eq!(judged.findings[0].subject, "workspace ops policy");
    }

    #[test]
    fn an_inverted_right_is_a_finding() {
        let was = one("identity ops/a@x", "canInitiateExternal", json!(false));
        let is = one("identity ops/a@x", "canInitiateExternal", json!(true));
        assert_eq!(judged(&was, &is).verdict(), Verdict::Fail);
    }

    #[test]
    fn lost_participants_are_a_finding() {
        let was = one("thread ops/T", "participants", json!(["human:a:owner"]));
        assert_eq!(
            judged(&was, &one("thread ops/T", "participants", json!([]))).verdict(),
            Verdict::Fail
        );
    }

    #[test]
    fn a_lost_channel_is_a_finding() {
        let was = one("channel ops/p@y", "status", json!("blocked"));
        assert_eq!(judged(&was, &Objects::default()).verdict(), Verdict::Fail);
    }

    #[test]
    fn no_workspace_at_all_is_inconclusive() {
        let none = Objects::default();
        assert_eq!(judged(&none, &none).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn a_repeated_title_is_told_apart_by_its_id() {
        assert_eq!(thread_subject("ops", "T", 4, true), "thread ops/T#4");
    }
}
