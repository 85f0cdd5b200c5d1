//! Are agents back with keys, capabilities, shield configuration and everything else that the directory shows of them?
//!
//! Looks at every agent, unlisted ones too, at every place that shows it: the lists, the single lookup, key state, DID
//! document, shield, reports, organisation. Where two places differ, no expectation holds. Never keeps an API-key hash (the
//! directory's list leaks it), only a digest of it; never compares what is about connections. Trust and last sign of life
//! are held against the rows alone: the source moves them, a start does not. Source: Beam 1.6.0, contract sections 2.5, 2.6
//! and 5.1.

use crate::checks::agent_rows::{COLUMNS, FLAGS};
use crate::checks::expectation::{Derived, Expected, Objects};
use crate::checks::observing::{ObserveError, array, flag, member, normal, side_by_side, text};
use crate::checks::stages::digest;
use crate::client::Access;
use crate::client::http::segment;
use crate::evidence::{CheckId, Judgement};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// This check.
pub const ID: CheckId = CheckId::Agents;

const PLACE: &str = "GET /directory/agents";
const PRIVATE: &[&str] = &[
    "description",
    "email",
    "logo_url",
    "website",
    "shield_config",
    "http_endpoint",
    "entries",
];
/// Members that no place may be held against another by: connections, and what a look itself moves.
pub(crate) const MOVING: &[&str] = &["connected", "api_key_hash"];
/// What the source moves until its stop: of it only the rows tell.
pub(crate) const LIVELY: &[&str] = &["last_seen", "trust_score"];
const DERIVED: Derived<'_> = Derived {
    windowed: LIVELY,
    from_intents: &["intentStats", "score", "last_seen", "trust_score"],
};
/// Of how many agents everything is read; of all others key state and shield alone.
const SAMPLE: usize = 500;
/// How many agents a search gives at once.
const PAGE: usize = 500;
/// How many agents one page of browsing is asked for.
const BROWSED: u64 = 20;
/// A list this short is not cut.
const CERTAIN: usize = 50;

/// Reads all agents; writes rate-limit counters, the session's `last_seen_at`, and a DID document that is missing.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub async fn observe(access: &Access) -> Result<Objects, ObserveError> {
    let directory = &access.directory;
    let listed = directory.get("/directory/agents?includeUnlisted=true").await?.body;
    let agents = array(&listed, "agents", PLACE)?;
    let mut objects = Objects::default();
    for agent in agents {
        let subject = subject(text(agent, "beam_id", PLACE)?);
        for name in COLUMNS
            .iter()
            .chain(&["email_verified", "flagged", "personal", "verified"])
        {
            member(agent, name, PLACE)?;
        }
        show(&mut objects, &subject, agent);
        if let Some(hash) = agent.get("api_key_hash") {
            objects.set(&subject, "api_key", digest(hash));
        }
    }
    let list = "list of agents";
    objects.set(list, "total", member(&listed, "total", PLACE)?.clone());
    objects.set(list, "listed", member(&listed, "listed", PLACE)?.clone());
    objects.also(list, "listed", agents.len());
    let sampled = sampled(agents);
    let looks = agents.iter().map(|agent| one(access, agent, &sampled));
    for (subject, found) in side_by_side(looks).await? {
        for (name, answer) in found {
            match name {
                "" => show(&mut objects, &subject, &answer),
                name => objects.whole(&subject, name, &answer, MOVING),
            }
        }
    }
    keys_in_short(&mut objects);
    lists(access, &mut objects).await?;
    Ok(objects)
}

/// At most [`SAMPLE`] agents, those with the smallest hashes: the same on source and restored pair.
fn sampled(agents: &[Value]) -> BTreeSet<&str> {
    let ids = agents
        .iter()
        .filter_map(|agent| agent.get("beam_id").and_then(Value::as_str));
    let mut ids: Vec<&str> = ids.collect();
    if ids.len() > SAMPLE {
        ids.sort_by_cached_key(|id| digest(&Value::from(*id)));
        ids.truncate(SAMPLE);
    }
    ids.into_iter().collect()
}

fn subject(beam_id: &str) -> String {
    format!("agent {beam_id}")
}

/// The members of an agent, as any place shows them.
fn show(objects: &mut Objects, subject: &str, agent: &Value) {
    for (name, value) in agent.as_object().into_iter().flatten() {
        let value = if FLAGS.contains(&name.as_str()) {
            flag(value)
        } else {
            value.clone()
        };
        objects.whole(subject, name, &value, MOVING);
    }
}

type Found = Vec<(&'static str, Value)>;

async fn one(access: &Access, agent: &Value, sampled: &BTreeSet<&str>) -> Result<(String, Found), ObserveError> {
    let beam_id = text(agent, "beam_id", PLACE)?;
    let directory = &access.directory;
    let id = segment(beam_id);
    let (keys, shield) = (format!("/agents/{id}/keys"), format!("/shield/config/{id}"));
    let (keys, shield) = tokio::join!(directory.get(&keys), directory.get(&shield));
    let (keys, shield) = (keys?.body, shield?.body);
    let place = "GET /agents/{beamId}/keys";
    member(member(&keys, "keyState", place)?, "active", place)?;
    let mut found = vec![
        ("keyState", member(&keys, "keyState", place)?.clone()),
        ("beam_id", member(&keys, "beamId", place)?.clone()),
    ];
    let place = "GET /shield/config/{beamId}";
    found.push(("beam_id", member(&shield, "beamId", place)?.clone()));
    found.push(("shield", json!([member(&shield, "shield", place)?])));
    if sampled.contains(beam_id) {
        let (single, reports) = (format!("/agents/{id}"), format!("/agents/{id}/reports"));
        let (single, reports) = tokio::join!(directory.get(&single), directory.call(Method::GET, &reports, None));
        let (single, reports) = (single?.body, reports?);
        let did = text(&single, "did", "GET /agents/{beamId}")?;
        // A DID is a path of its own: its colons stay.
        let path = format!("/did/{}", segment(did).replace("%3A", ":"));
        let document = directory.call(Method::GET, &path, None).await?;
        found.push(("document", json!({"status": document.status, "body": document.body})));
        found.push(("reports", json!({"status": reports.status, "body": reports.body})));
        found.push(("", single));
    }
    Ok((subject(beam_id), found))
}

/// The active key and the revoked ones, as the rows tell them.
fn keys_in_short(objects: &mut Objects) {
    for fields in objects.0.values_mut() {
        let Some(revoked) = fields.get("keyState.revoked") else {
            continue;
        };
        let key = |key: &Value| key.get("publicKey").cloned().unwrap_or_default();
        let mut revoked: Vec<Value> = revoked.as_array().into_iter().flatten().map(key).collect();
        revoked.sort_by_key(Value::to_string);
        let active = fields.get("keyState.active.publicKey").cloned().unwrap_or_default();
        fields.insert("active_key".to_owned(), active);
        fields.insert("revoked_keys".to_owned(), json!(revoked));
        if let Some(Value::Array(mut shield)) = fields.remove("shield") {
            fields.insert("shield".to_owned(), shield.pop().unwrap_or_default());
        }
    }
}

/// Other places that show agents, and what belongs to all of them.
async fn lists(access: &Access, objects: &mut Objects) -> Result<(), ObserveError> {
    let directory = &access.directory;
    let search = format!("/agents/search?limit={PAGE}");
    let browse = format!("/agents/browse?limit={BROWSED}");
    let (admin, search, browse, revoked, trust, policy) = tokio::join!(
        directory.get("/admin/agents"),
        directory.get(&search),
        directory.get(&browse),
        directory.get("/keys/revoked"),
        directory.get("/admin/trust"),
        directory.get("/shield/policies/public-endpoints"),
    );
    let (admin, search, browse) = (admin?.body, search?.body, browse?.body);
    let place = "GET /admin/agents";
    for agent in array(&admin, "agents", place)? {
        let subject = subject(text(agent, "beamId", place)?);
        objects.also(&subject, "display_name", member(agent, "name", place)?.clone());
        objects.also(&subject, "last_seen", member(agent, "lastSeen", place)?.clone());
    }
    for (answer, place) in [(&search, "GET /agents/search"), (&browse, "GET /agents/browse")] {
        for agent in array(answer, "agents", place)? {
            show(objects, &subject(text(agent, "beam_id", place)?), agent);
        }
    }
    let place = "GET /agents/browse";
    let total = member(&browse, "total", place)?;
    objects.also("list of agents", "total", total.clone());
    // A page is full, or holds all there are.
    objects.set("list of agents", "browsed", array(&browse, "agents", place)?.len());
    let page = total.as_u64().unwrap_or_default().min(BROWSED);
    objects.also("list of agents", "browsed", page);
    for (answer, place) in [(&admin, "GET /admin/agents"), (&search, "GET /agents/search")] {
        let length = array(answer, "agents", place)?.len();
        let field = format!("total of {place}");
        objects.set("list of agents", &field, member(answer, "total", place)?.clone());
        // Whether a longer list would be cut, and how it would count then, is not known.
        if length < CERTAIN {
            objects.also("list of agents", &field, length);
        }
    }
    let revoked = revoked?.body;
    let keys = "list of revoked keys";
    let place = "GET /keys/revoked";
    objects.whole(keys, "entries", member(&revoked, "keys", place)?, MOVING);
    objects.also(keys, "total", member(&revoked, "total", place)?.clone());
    let trust = trust?.body;
    let place = "GET /admin/trust";
    let mut scores = array(&trust, "trustScores", place)?.to_vec();
    scores.sort_by_key(Value::to_string);
    for score in &scores {
        let pair = format!("{} to {}", text(score, "from", place)?, text(score, "to", place)?);
        let shown = [member(score, "score", place)?, member(score, "lastUpdated", place)?];
        // A path that ends in `score`: what the start's ended intents lower is not held against the baseline.
        objects.also("list of trust", format!("{pair}.score"), normal(&json!(shown)));
    }
    objects.also("list of trust", "total score", member(&trust, "total", place)?.clone());
    objects.whole("list of limits", "public", &policy?.body, &[]);
    Ok(())
}

/// Holds every agent against ledger, baseline and rows.
#[must_use]
pub fn judge(expected: &Expected<'_>, observed: &Objects) -> Judgement {
    let (baseline, rows) = expected.lasting(&DERIVED);
    Expected {
        ledger: expected.ledger,
        baseline: baseline.as_ref(),
        rows: rows.as_ref(),
    }
    .judge(observed, "agents", PLACE, PRIVATE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn agent(field: &str, value: Value) -> Objects {
        let mut objects = Objects::default();
        objects.set("agent a@x.beam.directory", field, value);
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
    fn the_same_agents_pass() {
        let agents = agent("public_key", json!("k"));
        assert_eq!(judged(&agents, &agents).verdict(), Verdict::Pass);
    }

    #[test]
    fn another_key_is_a_finding_that_names_the_agent() {
        let judged = judged(&agent("public_key", json!("k")), &agent("public_key", json!("l")));
        assert_eq!(judged.findings[0].subject, "agent a@x.beam.directory public_key");
    }

    #[test]
    fn a_lost_agent_is_a_finding() {
        assert_eq!(
            judged(&agent("org", json!("x")), &Objects::default()).verdict(),
            Verdict::Fail
        );
    }

    #[test]
    fn no_agent_at_all_is_inconclusive() {
        assert_eq!(
            judged(&Objects::default(), &Objects::default()).verdict(),
            Verdict::Inconclusive
        );
    }

    #[test]
    fn a_description_is_shown_by_hash() {
        let judged = judged(
            &agent("description", json!("Ann Example")),
            &agent("description", json!("B")),
        );
        assert!(!judged.findings[0].expected.contains("Ann"));
    }
}
