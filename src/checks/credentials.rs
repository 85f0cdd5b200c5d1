//! Do credentials issued before the backup still work, and wrong ones not?
//!
//! A fresh login hides a changed `JWT_SECRET` and public stats hide a changed bus key (contract, surprise 41), so only
//! what was issued before is tried, each beside a wrong one. Never prints a credential. Writes little: a visibility that is
//! set to what it is, heartbeats. Source: Beam 1.6.0, contract sections 2.2, 2.5 and 3.2.

use crate::checks::attempt::{self, Attempt, echoing, ending};
use crate::checks::expectation::{Fields, Objects};
use crate::checks::observing::{ObserveError, Signers, flag, side_by_side, text};
use crate::client::Access;
use crate::client::http::{ClientError, Reply, segment};
use crate::client::secret::Secret;
use crate::client::signing::KeyPair;
use crate::evidence::{CheckId, Judgement};
use crate::seed::credentials::Credentials;
use crate::snapshot::database::{DatabaseError, Databases};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// This check.
pub const ID: CheckId = CheckId::Credentials;

const ACCEPTED: &str = "accepted";
const REFUSED: &str = "refused";

/// What was issued before the backup. Whatever is absent is not tried.
#[derive(Debug, Clone, Default)]
pub struct Held {
    /// An admin session that was alive.
    pub session: Option<Secret>,
    /// A session that was revoked.
    pub revoked_session: Option<Secret>,
    /// A magic link that was used.
    pub used_magic_link: Option<Secret>,
    /// API keys by Beam id.
    pub api_keys: BTreeMap<String, Secret>,
    /// API keys by organisation.
    pub org_keys: BTreeMap<String, Secret>,
    /// What the rows say of each organisation; only the bearer of its key is shown it.
    pub orgs: Objects,
    /// Active signing keys.
    pub signers: Signers,
    /// Signing keys that were replaced.
    pub revoked_keys: Signers,
    /// The bus's API key, `None` for a bus without authentication.
    pub bus_key: Option<Secret>,
    /// The key that the issuer's credentials are verified with, as its DID document showed it.
    pub issuer_key: Option<String>,
}

impl Held {
    /// What a seed holds.
    #[must_use]
    pub fn of_seed(credentials: &Credentials, bus_key: Option<Secret>) -> Held {
        Held {
            session: Some(credentials.session.clone()),
            revoked_session: Some(credentials.revoked_session.clone()),
            used_magic_link: Some(credentials.used_magic_link.clone()),
            api_keys: credentials.api_keys.clone(),
            org_keys: credentials.org_keys.clone(),
            orgs: Objects::default(),
            signers: credentials.keys.clone(),
            revoked_keys: credentials.revoked_keys.clone(),
            bus_key,
            issuer_key: None,
        }
    }
}

/// The issuer's key as its DID document shows it; credentials that it signed are verified with nothing else.
///
/// # Errors
/// No answer, no document, no key in it.
pub async fn issuer_key(access: &Access) -> Result<String, ObserveError> {
    let document = access
        .directory
        .anonymous()
        .get(ISSUER.trim_start_matches("GET "))
        .await?;
    let methods = document.body["verificationMethod"].as_array().map(Vec::as_slice);
    let method = methods.unwrap_or_default().first().unwrap_or(&Value::Null);
    Ok(text(method, "publicKeyMultibase", ISSUER)?.to_owned())
}

const ISSUER: &str = "GET /agents/.well-known/did.json";

async fn issuer(access: &Access, held: &Held) -> Option<Attempt> {
    let expected = held.issuer_key.as_ref()?;
    let observed = match issuer_key(access).await {
        Ok(key) => key,
        Err(error) => error.to_string(),
    };
    Some(Attempt::new("issuer's key", ISSUER, expected, observed))
}

/// Tries everything that is held, and wrong ones beside it.
///
/// # Errors
/// The list of agents cannot be read; single refusals and failures are facts.
pub async fn observe(access: &Access, held: &Held, now: Timestamp) -> Result<Vec<Attempt>, ObserveError> {
    let mut listed = Listed::new();
    if !held.api_keys.is_empty() || !held.signers.is_empty() {
        for agent in access.directory.directory_agents().await?.value {
            text(&agent, "visibility", AGENTS)?;
            listed.insert(text(&agent, "beam_id", AGENTS)?.to_owned(), agent);
        }
    }
    let (sessions, bus, keys, orgs, signatures, issuer) = tokio::join!(
        sessions(access, held),
        bus_keys(access, held),
        api_keys(access, held, &listed),
        org_keys(access, held),
        signatures(access, held, &listed, now),
        issuer(access, held),
    );
    let mut attempts = sessions;
    attempts.extend(bus);
    attempts.extend(keys?);
    attempts.extend(orgs?);
    attempts.extend(signatures?);
    attempts.extend(issuer);
    Ok(attempts)
}

/// Agents by Beam id, as the list shows them.
type Listed = BTreeMap<String, Value>;

/// What using a credential moves.
const MOVED: [&str; 2] = ["last_seen", "trust_score"];

/// An agent that an accepted call answers with has to be the one that is listed.
fn as_listed(attempt: Attempt, answer: &Result<Reply, ClientError>, listed: Option<&Value>) -> Attempt {
    let (ACCEPTED, Ok(reply), Some(listed)) = (attempt.observed.as_str(), answer, listed) else {
        return attempt;
    };
    let members = reply.body.as_object().into_iter().flatten();
    let differs = |(name, value): &(&String, &Value)| {
        let known = listed.get(name.as_str()).filter(|_| !MOVED.contains(&name.as_str()));
        known.is_some_and(|known| flag(known) != flag(value))
    };
    match members.into_iter().find(differs) {
        Some((name, _)) => Attempt {
            observed: format!("another {name} than listed"),
            ..attempt
        },
        None => attempt,
    }
}

const AGENTS: &str = "GET /directory/agents";
const SESSION: &str = "GET /admin/auth/session";

async fn sessions(access: &Access, held: &Held) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let mut tried = Vec::new();
    if let Some(session) = &held.session {
        tried.push((
            "session issued before the backup",
            session.expose().to_owned(),
            ACCEPTED,
        ));
        tried.push(("session with a broken signature", broken(session.expose()), REFUSED));
    }
    if let Some(revoked) = &held.revoked_session {
        tried.push((
            "session revoked before the backup",
            revoked.expose().to_owned(),
            REFUSED,
        ));
    }
    for (subject, token, wanted) in tried {
        let client = access.directory.with_session(&token);
        let answer = client.call(Method::GET, SESSION.trim_start_matches("GET "), None).await;
        let claims = claims(&token).unwrap_or_default();
        attempts.push(holding(
            outcome(subject, SESSION, wanted, &answer),
            &answer,
            &claims,
            Some("UNAUTHORIZED"),
        ));
    }
    if let Some(link) = &held.used_magic_link {
        let place = "POST /admin/auth/verify";
        let body = json!({"token": link.expose()});
        let client = access.directory.anonymous();
        let answer = client.call(Method::POST, "/admin/auth/verify", Some(&body)).await;
        let attempt = outcome("magic link used before the backup", place, REFUSED, &answer);
        attempts.push(holding(attempt, &answer, &[], Some("INVALID_TOKEN")));
    }
    attempts
}

async fn bus_keys(access: &Access, held: &Held) -> Vec<Attempt> {
    let Some(key) = &held.bus_key else { return Vec::new() };
    let wrong = broken(key.expose());
    let tried = [
        ("bus key from before the backup", Some(key.expose()), ACCEPTED),
        ("bus without a key", None, REFUSED),
        ("bus with a wrong key", Some(wrong.as_str()), REFUSED),
    ];
    let mut attempts = Vec::new();
    for (subject, key, wanted) in tried {
        let answer = access
            .bus
            .with_key(key)
            .call(Method::GET, "/v1/beam/history?limit=1", None)
            .await;
        let attempt = outcome(subject, "GET /v1/beam/history", wanted, &answer);
        attempts.push(holding(attempt, &answer, &[], Some("UNAUTHORIZED")));
    }
    attempts
}

async fn api_keys(access: &Access, held: &Held, listed: &Listed) -> Result<Vec<Attempt>, ObserveError> {
    let wrong = held
        .api_keys
        .first_key_value()
        .map(|(id, key)| (id, broken(key.expose()), REFUSED));
    let tried = held
        .api_keys
        .iter()
        .map(|(id, key)| (id, key.expose().to_owned(), ACCEPTED))
        .chain(wrong);
    let looks = tried.map(|(id, key, wanted)| async move {
        let place = "PATCH /agents/{beamId}/visibility";
        let right = if wanted == ACCEPTED { "API key" } else { "wrong API key" };
        let subject = format!("{right} of {id}");
        let Some(visibility) = listed.get(id).map(|agent| &agent["visibility"]) else {
            return Ok(Attempt::new(subject, place, wanted, "no such agent"));
        };
        // The only call that proves an API key and changes nothing.
        let path = format!("/agents/{}/visibility", segment(id));
        let client = access.directory.with_session(&key);
        let answer = client
            .call(Method::PATCH, &path, Some(&json!({"visibility": visibility})))
            .await;
        Ok(as_listed(
            outcome(subject, place, wanted, &answer),
            &answer,
            listed.get(id),
        ))
    });
    side_by_side(looks).await
}

async fn org_keys(access: &Access, held: &Held) -> Result<Vec<Attempt>, ObserveError> {
    let looks = held.org_keys.iter().map(|(org, key)| async move {
        let path = format!("/orgs/{}", segment(org));
        let client = access.directory.with_session(key.expose());
        let answer = client.call(Method::GET, &path, None).await;
        let attempt = outcome(
            format!("API key of organisation {org}"),
            "GET /orgs/{name}",
            ACCEPTED,
            &answer,
        );
        let none = Fields::new();
        let stored = held.orgs.0.get(org).unwrap_or(&none);
        let shown = answer
            .as_ref()
            .ok()
            .map(|reply| reply.body.get("org").unwrap_or(&reply.body));
        let differs = |name: &&String| {
            let shown = shown.and_then(|shown| shown.get(name.as_str()));
            shown.is_some_and(|shown| flag(shown) != stored[*name])
        };
        let observed = match (attempt.observed.as_str(), stored.keys().find(differs)) {
            (ACCEPTED, Some(name)) => format!("another {name} than its row"),
            _ => return Ok(attempt),
        };
        Ok(Attempt { observed, ..attempt })
    });
    side_by_side(looks).await
}

/// Organisations as the rows have them, with the names of an answer's members.
///
/// # Errors
/// A table that cannot be read.
pub fn orgs_from_rows(databases: &Databases) -> Result<Objects, DatabaseError> {
    let mut objects = Objects::default();
    let members = [
        ("name", "name"),
        ("displayName", "display_name"),
        ("domain", "domain"),
        ("beamDomain", "beam_domain"),
        ("createdAt", "created_at"),
        ("verified", "verified"),
        ("verifiedAt", "verified_at"),
    ];
    for row in databases.directory.rows("SELECT * FROM orgs", &[])? {
        let name = row.text("name").unwrap_or_default();
        for (member, column) in members {
            let value = row.cell(column).json();
            objects.set(name, member, if member == "verified" { flag(&value) } else { value });
        }
    }
    Ok(objects)
}

async fn signatures(
    access: &Access,
    held: &Held,
    listed: &Listed,
    now: Timestamp,
) -> Result<Vec<Attempt>, ObserveError> {
    let at = format!("{now:.3}");
    let right = held
        .signers
        .iter()
        .map(|(id, key)| ("signing key of", id, key.clone(), ACCEPTED));
    let revoked = held
        .revoked_keys
        .iter()
        .map(|(id, key)| ("replaced signing key of", id, key.clone(), REFUSED));
    let foreign = held
        .signers
        .first_key_value()
        .map(|(id, _)| ("foreign signing key for", id, KeyPair::from_bytes(&[0x5a; 32]), REFUSED));
    let tried: Vec<_> = right.chain(revoked).chain(foreign).collect();
    let looks = tried.into_iter().enumerate().map(|(n, (what, id, key, wanted))| {
        let at = &at;
        async move {
            let nonce = format!("drill-{}-{n}", now.as_millisecond());
            let answer = access.directory.heartbeat(id, &key, at, &nonce).await;
            let place = "POST /agents/{beamId}/heartbeat";
            let attempt = outcome(format!("{what} {id}"), place, wanted, &answer);
            let own = [("/beam_id", Value::from(id.as_str()))];
            let attempt = holding(attempt, &answer, &own, None);
            Ok(as_listed(attempt, &answer, listed.get(id)))
        }
    });
    side_by_side(looks).await
}

/// What a session token says of itself, and the session's answer has to say too (contract 2.2). Nothing is verified here.
fn claims(token: &str) -> Option<Vec<(&'static str, Value)>> {
    let text = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: Value = serde_json::from_slice(&text).ok()?;
    let end = Timestamp::from_millisecond(claims.get("exp")?.as_i64()?).ok()?;
    Some(vec![
        ("/email", claims.get("email")?.clone()),
        ("/role", claims.get("role")?.clone()),
        ("/expiresAt", Value::from(format!("{end:.3}"))),
    ])
}

/// An accepted answer has to show these members, a refusal (401) this code where the contract fixes one.
fn holding(
    attempt: Attempt,
    answer: &Result<Reply, ClientError>,
    members: &[(&str, Value)],
    code: Option<&str>,
) -> Attempt {
    let observed = match (attempt.observed.as_str(), answer) {
        (ACCEPTED, Ok(_)) if echoing(answer, 200, members) != "200" => echoing(answer, 200, members),
        (REFUSED, Ok(reply)) if reply.status == 401 && code.is_some() && reply.error_code() != code => ending(answer),
        _ => return attempt,
    };
    Attempt { observed, ..attempt }
}

/// The same text with another character near its end: not the last one, which in an encoded text may hold bits that do not
/// count.
fn broken(secret: &str) -> String {
    let mut letters: Vec<char> = secret.chars().collect();
    let at = letters.len().saturating_sub(3);
    match letters.get_mut(at) {
        Some(letter) => *letter = if *letter == 'A' { 'B' } else { 'A' },
        None => letters.push('A'),
    }
    letters.into_iter().collect()
}

fn outcome(subject: impl Into<String>, place: &str, wanted: &str, answer: &Result<Reply, ClientError>) -> Attempt {
    let observed = match answer {
        Ok(reply) if reply.status == 200 => ACCEPTED.to_owned(),
        Ok(reply) if matches!(reply.status, 401 | 403) && wanted == REFUSED => REFUSED.to_owned(),
        other => ending(other),
    };
    Attempt::new(subject, place, wanted, observed)
}

/// Everything issued has to be accepted, everything wrong refused.
#[must_use]
pub fn judge(attempts: &[Attempt]) -> Judgement {
    attempt::judged(attempts, "credentials as they should be")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::http::Request;
    use crate::deployment::Service;
    use crate::evidence::Verdict;

    fn answer(status: u16) -> Result<Reply, ClientError> {
        Ok(Reply {
            request: Request {
                service: Service::Directory,
                method: Method::GET,
                url: "http://127.0.0.1:1/x".to_owned(),
            },
            status,
            body: json!({"errorCode": "UNAUTHORIZED"}),
        })
    }

    #[test]
    fn a_session_that_works_and_a_wrong_one_that_does_not_pass() {
        let attempts = [
            outcome("old", SESSION, ACCEPTED, &answer(200)),
            outcome("wrong", SESSION, REFUSED, &answer(401)),
        ];
        assert_eq!(judge(&attempts).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_session_that_died_is_a_finding() {
        let judged = judge(&[outcome("old", SESSION, ACCEPTED, &answer(401))]);
        assert_eq!(judged.findings[0].observed, "401 UNAUTHORIZED");
    }

    #[test]
    fn a_wrong_key_that_is_accepted_is_a_finding() {
        let judged = judge(&[outcome("wrong", SESSION, REFUSED, &answer(200))]);
        assert_eq!(judged.findings[0].observed, ACCEPTED);
    }

    fn shown(body: Value) -> Result<Reply, ClientError> {
        answer(200).map(|reply| Reply { body, ..reply })
    }

    #[test]
    fn a_session_of_another_operator_than_the_tokens_is_a_finding() {
        let token = format!(
            "h.{}.s",
            URL_SAFE_NO_PAD.encode(r#"{"email":"a@x","role":"admin","exp":1796081386802}"#)
        );
        let claims = claims(&token).expect("claims");
        let own = json!({"email": "a@x", "role": "admin", "expiresAt": "2026-11-30T23:29:46.802Z"});
        let mut other = own.clone();
        other["email"] = json!("b@x");
        for (body, observed) in [(own, ACCEPTED), (other, "200, another email")] {
            let answer = shown(body);
            let attempt = outcome("old", SESSION, ACCEPTED, &answer);
            assert_eq!(holding(attempt, &answer, &claims, None).observed, observed);
        }
    }

    #[test]
    fn an_agent_answered_otherwise_than_listed_is_a_finding() {
        let listed = json!({"beam_id": "a@x", "email_verified": 0, "last_seen": "t"});
        let same = shown(json!({"beam_id": "a@x", "email_verified": false, "last_seen": "u", "did": "d"}));
        let other = shown(json!({"beam_id": "a@x", "email_verified": true, "last_seen": "u"}));
        for (answer, observed) in [(same, ACCEPTED), (other, "another email_verified than listed")] {
            let attempt = outcome("key", AGENTS, ACCEPTED, &answer);
            assert_eq!(as_listed(attempt, &answer, Some(&listed)).observed, observed);
        }
    }

    #[test]
    fn an_issuer_with_another_key_is_a_finding() {
        let seen = |key: &str| judge(&[Attempt::new("issuer's key", ISSUER, "z6Mkone", key)]);
        assert_eq!(seen("z6Mkone").verdict(), Verdict::Pass);
        assert_eq!(seen("z6Mkother").findings[0].subject, "issuer's key");
    }

    #[test]
    fn a_server_error_is_no_refusal() {
        assert_eq!(
            judge(&[outcome("wrong", SESSION, REFUSED, &answer(500))]).verdict(),
            Verdict::Fail
        );
    }

    #[test]
    fn nothing_held_is_inconclusive() {
        assert_eq!(judge(&[]).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn a_broken_secret_differs() {
        for secret in ["abcA", "a", "xxA", "abAx", "abBx"] {
            assert_ne!(broken(secret), secret);
            assert_eq!(broken(secret).len(), secret.len());
        }
        assert_ne!(broken(""), "");
    }
}
