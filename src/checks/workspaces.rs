//! Are workspaces back with identities, policy, channels, threads and timeline?
//!
//! Looks at every workspace and what hangs on it; never compares what moves with the clock or with connections. The rows
//! are read in [`crate::checks::workspace_rows`]. Source: Beam 1.6.0, contract section 2.11.

use crate::checks::expectation::{Derived, Expected, Objects};
use crate::checks::observing::{ObserveError, array, integer, member, missing, normal, side_by_side, text};
use crate::checks::stages::digest as digest_of;
use crate::client::Access;
use crate::client::http::segment;
use crate::evidence::{CheckId, Judgement};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// This check.
pub const ID: CheckId = CheckId::Workspaces;

const PLACE: &str = "GET /admin/workspaces";
const PRIVATE: &[&str] = &["description", "notes", "summary", "draftPayload"];
const LIST: &str = "list of workspaces";

/// What moves with the clock and with connections.
pub(crate) const MOVING: &[&str] = &[
    "generatedAt",
    "markdown",
    "lastSeenAgeHours",
    "lifecycleStatus",
    "connected",
    "deliveryMode",
    "hostHealth",
    "runtimeSessionState",
];
const DERIVED: Derived<'_> = Derived {
    windowed: &[
        "healthStatus",
        "stats",
        "trustScore",
        "lastSeen",
        "lastDelivery",
        "overview",
        "digest",
        "queue",
    ],
    from_intents: &[
        "healthStatus",
        "stats",
        "trustScore",
        "lastSeen",
        "lastDelivery",
        "trace",
        "lastActivityAt",
        "overview",
        "digest",
        "queue",
    ],
};

/// Member of a workspace and column of its row.
pub(crate) const WORKSPACE: [(&str, &str); 10] = [
    ("id", "id"),
    ("createdAt", "created_at"),
    ("updatedAt", "updated_at"),
    ("slug", "slug"),
    ("name", "name"),
    ("status", "status"),
    ("defaultThreadScope", "default_thread_scope"),
    ("externalHandoffsEnabled", "external_handoffs_enabled"),
    ("orgName", "org_name"),
    ("description", "description"),
];
/// Member of an identity and column of its row.
pub(crate) const IDENTITY: [(&str, &str); 12] = [
    ("id", "id"),
    ("createdAt", "created_at"),
    ("updatedAt", "updated_at"),
    ("workspaceId", "workspace_id"),
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
pub(crate) const CHANNEL: [(&str, &str); 11] = [
    ("id", "id"),
    ("createdAt", "created_at"),
    ("updatedAt", "updated_at"),
    ("workspaceId", "workspace_id"),
    ("lastSuccessAt", "last_success_at"),
    ("lastFailureAt", "last_failure_at"),
    ("label", "label"),
    ("owner", "owner"),
    ("status", "status"),
    ("notes", "notes"),
    ("lastIntentNonce", "last_intent_nonce"),
];
/// Member of a thread and column of its row.
pub(crate) const THREAD: [(&str, &str); 14] = [
    ("id", "id"),
    ("createdAt", "created_at"),
    ("updatedAt", "updated_at"),
    ("workspaceId", "workspace_id"),
    ("title", "title"),
    ("draftIntentType", "draft_intent_type"),
    ("draftPayload", "draft_payload_json"),
    ("lastActivityAt", "last_activity_at"),
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
    let answer = access.directory.get("/admin/workspaces").await?.body;
    let workspaces = array(&answer, "workspaces", PLACE)?;
    let mut objects = Objects::default();
    objects.set(LIST, "total", member(&answer, "total", PLACE)?.clone());
    let looks = workspaces.iter().map(|workspace| one(access, workspace));
    for found in side_by_side(looks).await? {
        objects.0.extend(found.0);
    }
    Ok(objects)
}

/// What is read below a workspace: the end of the path, and what it is for.
const PARTS: [&str; 9] = [
    "",
    "/policy",
    "/identities",
    "/partner-channels",
    "/threads",
    "/timeline?limit=250",
    "/overview",
    "/digest",
    "/approval-queue",
];

async fn one(access: &Access, workspace: &Value) -> Result<Objects, ObserveError> {
    let slug = text(workspace, "slug", PLACE)?;
    let looks = PARTS.iter().map(|part| async move {
        let path = format!("/admin/workspaces/{}{part}", segment(slug));
        Ok(access.directory.get(&path).await?.body)
    });
    let answers = side_by_side(looks).await?;
    let [
        _,
        policy,
        identities,
        channels,
        threads,
        timeline,
        overview,
        digest,
        queue,
    ] = answers.as_slice()
    else {
        return Err(missing("workspace", PLACE));
    };
    let mut objects = Objects::default();
    let subject = format!("workspace {slug}");
    has(workspace, &WORKSPACE, PLACE)?;
    objects.whole(&subject, "", workspace, MOVING);
    for (part, answer) in PARTS.iter().zip(&answers) {
        let place = format!("GET /admin/workspaces/{{slug}}{part}");
        objects.whole(&subject, "", member(answer, "workspace", &place)?, MOVING);
    }
    policy_and_reports(
        &mut objects,
        &subject,
        policy,
        &[("overview", overview), ("digest", digest), ("queue", queue)],
    )?;
    let place = "GET /admin/workspaces/{slug}/identities";
    for identity in listed(&mut objects, slug, identities, "bindings", place)? {
        let subject = format!("identity {slug}/{}", text(identity, "beamId", place)?);
        has(identity, &IDENTITY, place)?;
        objects.whole(&subject, "", identity, MOVING);
    }
    let place = "GET /admin/workspaces/{slug}/partner-channels";
    for channel in listed(&mut objects, slug, channels, "channels", place)? {
        let subject = format!("channel {slug}/{}", text(channel, "partnerBeamId", place)?);
        has(channel, &CHANNEL, place)?;
        objects.whole(&subject, "", channel, MOVING);
    }
    let place = "GET /admin/workspaces/{slug}/threads";
    let threads = listed(&mut objects, slug, threads, "threads", place)?;
    read_threads(access, slug, threads, &mut objects).await?;
    let place = "GET /admin/workspaces/{slug}/timeline";
    let (mut entries, mut whole) = (Vec::new(), Vec::new());
    for entry in array(timeline, "entries", place)? {
        let part = |name| text(entry, name, place);
        entries.push(format!("{} {}", part("action")?, part("target")?));
        whole.push(digest_of(&normal(entry)));
    }
    let subject = format!("timeline {slug}");
    if entries.len() < TIMELINE_LIMIT {
        objects.set(&subject, "total", member(timeline, "total", place)?.clone());
        objects.also(&subject, "total", entries.len());
    }
    objects.set(&subject, "entries", json!(entries));
    objects.set(&subject, "whole entries", json!(whole));
    Ok(objects)
}

/// The policy with what follows from it, and the reports about a workspace.
fn policy_and_reports(
    objects: &mut Objects,
    subject: &str,
    policy: &Value,
    reports: &[(&str, &Value)],
) -> Result<(), ObserveError> {
    let place = "GET /admin/workspaces/{slug}/policy";
    objects.set(subject, "policy", normal(member(policy, "policy", place)?));
    for (name, report) in [("effective policy", policy)].iter().chain(reports) {
        for (part, value) in report.as_object().into_iter().flatten() {
            if !["workspace", "policy"].contains(&part.as_str()) {
                objects.whole(subject, &format!("{name}.{part}"), value, MOVING);
            }
        }
    }
    Ok(())
}

/// The items of a list of a workspace; its total is set beside their number.
fn listed<'a>(
    objects: &mut Objects,
    slug: &str,
    answer: &'a Value,
    name: &str,
    place: &str,
) -> Result<&'a [Value], ObserveError> {
    let items = array(answer, name, place)?;
    let subject = format!("list of {slug}");
    objects.set(&subject, name, member(answer, "total", place)?.clone());
    objects.also(&subject, name, items.len());
    Ok(items)
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
    for ((title, thread), (id, detail)) in titles.iter().zip(threads).zip(&details) {
        let repeats = titles.iter().filter(|other| *other == title).count() > 1;
        let subject = thread_subject(slug, title, *id, repeats);
        has(thread, &THREAD, place)?;
        objects.whole(&subject, "", thread, MOVING);
        objects.whole(&subject, "", member(detail, "thread", place)?, MOVING);
        objects.whole(
            &format!("workspace {slug}"),
            "",
            member(detail, "workspace", place)?,
            MOVING,
        );
        let (mut participants, mut whole) = (Vec::new(), Vec::new());
        for participant in array(detail, "participants", place)? {
            let part = |name| text(participant, name, place);
            participants.push(format!(
                "{}:{}:{}",
                part("principalType")?,
                part("principalId")?,
                part("role")?,
            ));
            let mut participant = normal(participant);
            if let Some(identity) = participant.get_mut("identity").and_then(Value::as_object_mut) {
                // The agent's own: the source moves them until its stop.
                identity.retain(|name, _| !["lastSeen", "trustScore"].contains(&name.as_str()));
            }
            whole.push(digest_of(&participant));
        }
        participants.sort_unstable();
        whole.sort_unstable();
        objects.set(&subject, "participants", json!(participants));
        objects.set(&subject, "whole participants", json!(whole));
    }
    Ok(())
}

/// Whether an object has every member that its row has.
fn has(value: &Value, fields: &[(&str, &str)], place: &str) -> Result<(), ObserveError> {
    fields
        .iter()
        .try_for_each(|(name, _)| member(value, name, place).map(drop))
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
    let (baseline, rows) = expected.lasting(&DERIVED);
    let mut judged = Expected {
        ledger: expected.ledger,
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(observed, "workspace objects", PLACE, PRIVATE);
    judged.observed = kinds(observed);
    judged
}

fn kinds(objects: &Objects) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for subject in objects.0.keys().filter(|subject| !subject.starts_with("list ")) {
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
