//! Are nonces still honoured by directory and bus?
//!
//! Sends taken nonces again with fresh, valid signatures: the directory has to give the stored frame and add no row, the
//! bus the same message id and `deduped`; with another recipient, type or payload both have to refuse. Run it after all
//! reads: it moves shield rows, counters and `last_seen`. Source: Beam 1.6.0, contract sections 2.7 and 3.2.

use crate::checks::claims::{Carried, Claim, Plan, frame_matches, least_payload};
use crate::checks::observing::{ObserveError, Signers, integer, member, seconds, side_by_side};
use crate::client::Access;
use crate::client::http::{Reply, segment};
use crate::client::signing::{Intent, KeyPair};
use crate::evidence::{CheckId, Finding, Judgement, private, short};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};

/// This check.
pub const ID: CheckId = CheckId::Nonces;

const SEND: &str = "POST /intents/send";
const BUS_SEND: &str = "POST /v1/beam/send";
const ECHO: &str = "echo@beam.directory";
/// How many of the newest messages are read, to hold answers against.
const KEPT: u32 = 500;
/// Intents are stamped in the past: a time ahead of the directory's breaks the send (contract 2.7).
const BACKDATED: SignedDuration = SignedDuration::from_secs(1);

/// An answer as far as it is judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Value,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Answered {
        Answered {
            status: reply.status,
            body: reply.body,
        }
    }
}

/// One nonce sent again.
#[derive(Debug, Clone, PartialEq)]
pub struct Resent {
    /// Its nonce.
    pub nonce: String,
    /// The answer to the honest repetition.
    pub honest: Answered,
    /// The answer to the same nonce with something else in it.
    pub changed: Answered,
    /// Recorded stages of its trace before and after; of a message `None`.
    pub stages: Option<(usize, usize)>,
    /// A message as the bus shows it; `None` for an intent, and for a message older than the newest page.
    pub kept: Option<Value>,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Directory, in the order of the plan.
    pub intents: Vec<Resent>,
    /// Bus, in the order of the plan.
    pub messages: Vec<Resent>,
    /// Intents of the directory before and after.
    pub intent_rows: Option<(i64, i64)>,
    /// Messages of the bus before and after.
    pub message_rows: Option<(i64, i64)>,
}

/// Sends the planned nonces again, first to the directory, then to the bus.
///
/// # Errors
/// A call without answer, a count that cannot be read. Refusals are facts.
pub async fn observe(access: &Access, plan: &Plan, signers: &Signers, now: Timestamp) -> Result<Facts, ObserveError> {
    let mut facts = Facts::default();
    if !plan.intents.is_empty() {
        let before = intents_processed(access).await?;
        let looks = plan.intents.iter().filter_map(|claim| {
            let key = signers.get(&claim.from)?;
            Some(resend_intent(access, claim, key, now))
        });
        facts.intents = side_by_side(looks).await?;
        facts.intent_rows = Some((before, intents_processed(access).await?));
    }
    if !plan.messages.is_empty() {
        let before = messages_total(access).await?;
        let kept = access.bus.history(KEPT).await?.value;
        let looks = plan.messages.iter().map(|carried| {
            let own = |message: &&Value| message.get("nonce").and_then(Value::as_str) == Some(&carried.nonce);
            resend_message(access, carried, kept.iter().find(own))
        });
        facts.messages = side_by_side(looks).await?;
        facts.message_rows = Some((before, messages_total(access).await?));
    }
    Ok(facts)
}

async fn intents_processed(access: &Access) -> Result<i64, ObserveError> {
    integer(&access.directory.stats().await?.value, "intentsProcessed", "GET /stats")
}

async fn messages_total(access: &Access) -> Result<i64, ObserveError> {
    integer(&access.bus.stats().await?.value, "total", "GET /v1/beam/stats")
}

async fn resend_intent(access: &Access, claim: &Claim, key: &KeyPair, now: Timestamp) -> Result<Resent, ObserveError> {
    let honest = Intent {
        from: claim.from.clone(),
        to: claim.to.clone(),
        kind: claim.kind.clone(),
        payload: claim.payload.clone().unwrap_or_else(|| least_payload(&claim.kind)),
        nonce: claim.nonce.clone(),
        timestamp: format!("{:.3}", now - BACKDATED),
    };
    let before = recorded_stages(access, &claim.nonce).await?;
    let answer = access.directory.send_intent(&honest.frame(key)).await?;
    let changed = access.directory.send_intent(&other_than(&honest).frame(key)).await?;
    let after = recorded_stages(access, &claim.nonce).await?;
    Ok(Resent {
        nonce: claim.nonce.clone(),
        honest: answer.into(),
        changed: changed.into(),
        stages: Some((before, after)),
        kept: None,
    })
}

/// Another recipient; of an intent to the echo another type. Neither needs an access list entry.
fn other_than(honest: &Intent) -> Intent {
    let mut changed = honest.clone();
    if honest.to == ECHO {
        let kind = if honest.kind == "agent.ping" {
            "conversation.message"
        } else {
            "agent.ping"
        };
        changed.kind = kind.to_owned();
        changed.payload = least_payload(kind);
    } else {
        changed.to = ECHO.to_owned();
    }
    changed
}

/// Stages with ids above 0; none for a nonce that the directory does not know.
async fn recorded_stages(access: &Access, nonce: &str) -> Result<usize, ObserveError> {
    let path = format!("/observability/intents/{}", segment(nonce));
    let reply = access
        .directory
        .call(Method::GET, &path, None)
        .await?
        .allow(&[200, 404])?;
    if reply.status == 404 {
        return Ok(0);
    }
    let stages = member(&reply.body, "stages", "GET /observability/intents/{nonce}")?;
    let recorded = |stage: &&Value| stage.get("id").and_then(Value::as_i64).is_some_and(|id| id > 0);
    Ok(stages
        .as_array()
        .map_or(0, |stages| stages.iter().filter(recorded).count()))
}

async fn resend_message(access: &Access, carried: &Carried, kept: Option<&Value>) -> Result<Resent, ObserveError> {
    let mut message = json!({
        "from": carried.from,
        "to": carried.to,
        "intent": carried.kind,
        "payload": carried.payload,
        "nonce": carried.nonce,
    });
    let honest = access.bus.try_send(&message).await?;
    match message["payload"].as_object_mut() {
        Some(payload) => {
            payload.insert("changedByDrill".to_owned(), Value::Bool(true));
        }
        None => message["payload"] = json!({"changedByDrill": true}),
    }
    let changed = access.bus.try_send(&message).await?;
    Ok(Resent {
        nonce: carried.nonce.clone(),
        honest: honest.into(),
        changed: changed.into(),
        stages: None,
        kept: kept.cloned(),
    })
}

/// Takes over a sender on the throw-away restored instance: registers it again with a key that the harness has. Only where
/// no key of any sender is known, and last of all: the old key is revoked by it.
///
/// # Errors
/// The agent is not there, or the registration is refused.
pub async fn take_over(access: &Access, beam_id: &str, key: &KeyPair) -> Result<(), ObserveError> {
    let agent = access.directory.agent(beam_id).await?.value;
    let mut body = json!({"beamId": beam_id, "publicKey": key.public()});
    let members = [
        ("displayName", "display_name"),
        ("capabilities", "capabilities"),
        ("verificationTier", "verification_tier"),
        ("visibility", "visibility"),
    ];
    for (name, shown) in members {
        body[name] = member(&agent, shown, "GET /agents/{beamId}")?.clone();
    }
    access.directory.register(&body).await?;
    Ok(())
}

/// Every repetition has to be recognised, every change refused, and no row added.
#[must_use]
pub fn judge(plan: &Plan, facts: &Facts) -> Judgement {
    let mut judged = Judgement {
        expected: format!(
            "{} intents and {} messages recognised",
            plan.intents.len(),
            plan.messages.len()
        ),
        ..Judgement::default()
    };
    for (claim, resent) in plan.intents.iter().zip(&facts.intents) {
        judge_intent(&mut judged, claim, resent);
    }
    for (carried, resent) in plan.messages.iter().zip(&facts.messages) {
        judge_message(&mut judged, carried, resent);
    }
    let counts = [
        ("rows of intent_log", facts.intent_rows, "GET /stats"),
        ("rows of beam_messages", facts.message_rows, "GET /v1/beam/stats"),
    ];
    for (subject, rows, place) in counts {
        if let Some((before, after)) = rows {
            judged.items += 1;
            hold(&mut judged, subject, before.to_string(), after.to_string(), place);
        }
    }
    if facts.intents.is_empty() && facts.messages.is_empty() {
        judged.items = 0;
    }
    judged.observed = format!(
        "{} intents and {} messages of {} sent again",
        facts.intents.len(),
        facts.messages.len(),
        plan.known
    );
    if !plan.unsigned.is_empty() {
        let senders: Vec<&str> = plan.unsigned.iter().map(String::as_str).collect();
        judged.notes.push(format!(
            "no key for {}: their intents were not sent again",
            senders.join(", ")
        ));
    }
    judged
}

fn judge_intent(judged: &mut Judgement, claim: &Claim, resent: &Resent) {
    let subject = format!("intent {}", claim.nonce);
    if resent.honest.status == 429 {
        judged.notes.push(format!(
            "{subject}: not recognised or refused, a rate limit was hit (429)"
        ));
        return;
    }
    judged.items += 1;
    let frame = |status: u16, body: &Value| match status {
        200 => format!("200 {}", private(body.to_string().as_bytes())),
        other => ending(other, body),
    };
    let expected = frame(200, &claim.frame);
    let same = resent.honest.status == 200 && frame_matches(&claim.frame, &resent.honest.body);
    let observed = if same {
        expected.clone()
    } else {
        frame(resent.honest.status, &resent.honest.body)
    };
    hold(judged, &format!("{subject} sent again"), expected, observed, SEND);
    if resent.changed.status != 429 {
        judged.items += 1;
        let changed = format!("{subject} with another recipient or type");
        let observed = ending(resent.changed.status, &resent.changed.body);
        hold(judged, &changed, "400 INVALID_INTENT".to_owned(), observed, SEND);
    }
    if let Some((before, after)) = resent.stages {
        let trace = "GET /observability/intents/{nonce}";
        hold(
            judged,
            &format!("{subject} recorded stages"),
            before.to_string(),
            after.to_string(),
            trace,
        );
    }
}

fn judge_message(judged: &mut Judgement, carried: &Carried, resent: &Resent) {
    let subject = format!("message {}", carried.nonce);
    judged.items += 2;
    let deduped = resent.honest.body.get("deduped") == Some(&Value::Bool(true));
    let id = resent.honest.body.get("message_id").and_then(Value::as_str);
    let observed = match (resent.honest.status, id) {
        (status @ (200 | 201), Some(id)) => {
            let new = if deduped { "deduped" } else { "taken as new" };
            format!("{status} {new} {}", short(id))
        }
        (status, _) => ending(status, &resent.honest.body),
    };
    let expected = format!("200 deduped {}", carried.message_id);
    hold(judged, &format!("{subject} sent again"), expected, observed, BUS_SEND);
    let observed = ending(resent.changed.status, &resent.changed.body);
    let changed = format!("{subject} with another payload");
    hold(
        judged,
        &changed,
        "409 NONCE_REUSE_CONFLICT".to_owned(),
        observed,
        BUS_SEND,
    );
    if resent.honest.status != 200 {
        return;
    }
    let said = |name: &str| resent.honest.body.get(name).map(seconds);
    let mut told = |name: &str, kept: Option<Value>| {
        let show = |value: Option<Value>| value.map_or_else(|| "absent".to_owned(), |value| short(&value.to_string()));
        let subject = format!("{subject} sent again: {name}");
        hold(judged, &subject, show(kept), show(said(name)), BUS_SEND);
    };
    told("nonce", Some(Value::from(carried.nonce.as_str())));
    if let Some(kept) = &resent.kept {
        for name in ["status", "created_at", "retry_count"] {
            told(name, kept.get(name).map(seconds));
        }
    }
}

fn ending(status: u16, body: &Value) -> String {
    match body.get("errorCode").and_then(Value::as_str) {
        Some(code) => format!("{status} {}", short(code)),
        None => status.to_string(),
    }
}

fn hold(judged: &mut Judgement, subject: &str, expected: String, observed: String, place: &str) {
    if expected != observed {
        judged.findings.push(Finding::new(subject, expected, observed, place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn plan() -> Plan {
        Plan {
            intents: vec![Claim {
                nonce: "n".to_owned(),
                from: "a@x".to_owned(),
                to: ECHO.to_owned(),
                kind: "agent.ping".to_owned(),
                payload: None,
                frame: json!({"success": true, "payload": {"text": "secret"}}),
            }],
            messages: vec![Carried {
                nonce: "m".to_owned(),
                from: "a@x".to_owned(),
                to: ECHO.to_owned(),
                kind: "agent.ping".to_owned(),
                payload: json!({}),
                message_id: "0a".to_owned(),
            }],
            known: 2,
            ..Plan::default()
        }
    }

    fn answered(status: u16, body: Value) -> Answered {
        Answered { status, body }
    }

    fn facts() -> Facts {
        Facts {
            intents: vec![Resent {
                nonce: "n".to_owned(),
                honest: answered(200, plan().intents[0].frame.clone()),
                changed: answered(400, json!({"errorCode": "INVALID_INTENT"})),
                stages: Some((5, 5)),
                kept: None,
            }],
            messages: vec![Resent {
                nonce: "m".to_owned(),
                honest: answered(
                    200,
                    json!({"message_id": "0a", "deduped": true, "nonce": "m", "status": "acked", "created_at": 1.5,
                        "retry_count": 0}),
                ),
                changed: answered(409, json!({"errorCode": "NONCE_REUSE_CONFLICT"})),
                stages: None,
                kept: Some(json!({"status": "acked", "created_at": 1.5, "retry_count": 0})),
            }],
            intent_rows: Some((9, 9)),
            message_rows: Some((4, 4)),
        }
    }

    fn finding(facts: &Facts) -> Finding {
        let judged = judge(&plan(), facts);
        assert_eq!(judged.findings.len(), 1, "{:?}", judged.findings);
        judged.findings[0].clone()
    }

    #[test]
    fn recognised_nonces_pass() {
        assert_eq!(judge(&plan(), &facts()).findings, []);
    }

    #[test]
    fn another_frame_is_a_finding_that_does_not_show_it() {
        let mut facts = facts();
        facts.intents[0].honest.body = json!({"success": true, "payload": {"text": "Secret"}});
        let finding = finding(&facts);
        assert_eq!(finding.subject, "intent n sent again");
        assert!(!finding.expected.contains("secret"));
    }

    #[test]
    fn a_new_row_is_a_finding() {
        let mut facts = facts();
        facts.intent_rows = Some((9, 10));
        assert_eq!(finding(&facts).subject, "rows of intent_log");
    }

    #[test]
    fn a_new_stage_is_a_finding() {
        let mut facts = facts();
        facts.intents[0].stages = Some((0, 5));
        assert_eq!(finding(&facts).subject, "intent n recorded stages");
    }

    #[test]
    fn another_recipient_that_is_accepted_is_a_finding() {
        let mut facts = facts();
        facts.intents[0].changed = answered(200, json!({}));
        assert_eq!(finding(&facts).subject, "intent n with another recipient or type");
    }

    #[test]
    fn a_message_taken_as_new_is_a_finding() {
        let mut facts = facts();
        facts.messages[0].honest = answered(201, json!({"message_id": "0b", "status": "delivered"}));
        assert_eq!(finding(&facts).observed, "201 taken as new 0b");
    }

    #[test]
    fn another_time_or_status_of_a_known_message_is_a_finding() {
        let mut facts = facts();
        facts.messages[0].honest.body["status"] = json!("queued");
        assert_eq!(finding(&facts).subject, "message m sent again: status");
    }

    #[test]
    fn an_honest_repetition_that_is_a_conflict_is_a_finding() {
        let mut facts = facts();
        facts.messages[0].honest = answered(409, json!({"errorCode": "NONCE_REUSE_CONFLICT"}));
        assert_eq!(finding(&facts).observed, "409 NONCE_REUSE_CONFLICT");
    }

    #[test]
    fn a_rate_limit_is_no_answer_to_the_question() {
        let mut facts = facts();
        facts.intents[0].honest = answered(429, json!({"errorCode": "SHIELD_RATE_LIMITED"}));
        let judged = judge(&plan(), &facts);
        assert_eq!((judged.findings.len(), judged.notes.len()), (0, 1));
    }

    #[test]
    fn nothing_sent_again_is_inconclusive() {
        assert_eq!(judge(&plan(), &Facts::default()).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn the_echo_cannot_be_the_other_recipient_of_itself() {
        let intent = Intent {
            from: "a@x".to_owned(),
            to: ECHO.to_owned(),
            kind: "agent.ping".to_owned(),
            payload: json!({}),
            nonce: "n".to_owned(),
            timestamp: String::new(),
        };
        assert_eq!(other_than(&intent).kind, "conversation.message");
    }
}
