//! Do new intents and messages go through end to end?
//!
//! The only check that makes new things: two agents, an access list entry, an intent to the echo and one to a WebSocket
//! recipient, a bus message. Every name derives from the run's own word, so that nothing meets old data. The bus answers 201
//! for dead letters too: its status is looked at, not the code. Run it after everything that counts rows. Source: Beam 1.6.0,
//! contract sections 2.5 to 2.9, 3.2 and 3.3.

use crate::checks::attempt::{self, Attempt, echoing, ending};
use crate::client::Access;
use crate::client::http::{ClientError, Reply, segment};
use crate::client::signing::{Intent, KeyPair};
use crate::client::websocket::{Reaction, Recipient};
use crate::evidence::{CheckId, Judgement};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// This check.
pub const ID: CheckId = CheckId::WritePath;

const ECHO: &str = "echo@beam.directory";
const KIND: &str = "conversation.message";
const REGISTER: &str = "POST /agents/register";
const SEND: &str = "POST /intents/send";
const TRACE: &str = "GET /observability/intents/{nonce}";
const BUS_SEND: &str = "POST /v1/beam/send";
const HISTORY: &str = "GET /v1/beam/history";
/// Stages of an intent that the built-in echo answered (contract 2.8).
const ECHO_STAGES: &str = "received, validated, dispatched, delivered, acked";
/// Stages of an intent that a WebSocket recipient answered.
const WEBSOCKET_STAGES: &str = "received, validated, dispatched, dispatched, delivered, acked";
/// Intents are stamped in the past: a time ahead of the directory's breaks the send (contract 2.7).
const BACKDATED: SignedDuration = SignedDuration::from_millis(500);

/// Who writes, and under which names.
#[derive(Debug, Clone, Copy)]
pub struct Writer<'a> {
    /// The run's own word; new names and keys derive from it.
    pub run: &'a str,
    /// An agent for which the bus signs; without one the bus is not written to.
    pub bus_sender: Option<&'a str>,
    /// The time that new intents carry.
    pub now: Timestamp,
}

/// New agents of this run.
struct Newcomer {
    beam_id: String,
    key: KeyPair,
}

impl Newcomer {
    fn new(run: &str, part: &str) -> Newcomer {
        let secret: [u8; 32] = Sha256::digest(format!("{run} {part}").as_bytes()).into();
        Newcomer {
            beam_id: format!("{part}-{}@recovery-drill.beam.directory", word(run)),
            key: KeyPair::from_bytes(&secret),
        }
    }
}

/// What a Beam id can hold of a run's word: hexadecimal digits of its hash.
fn word(run: &str) -> String {
    Sha256::digest(run.as_bytes())
        .iter()
        .take(6)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Writes and looks whether it arrived. A step that fails is a fact; the steps that need it are left out.
pub async fn observe(access: &Access, writer: &Writer<'_>) -> Vec<Attempt> {
    let mut attempts = Vec::new();
    let (sender, recipient) = (
        Newcomer::new(writer.run, "sender"),
        Newcomer::new(writer.run, "recipient"),
    );
    let (one, other) = tokio::join!(register(access, &sender), register(access, &recipient));
    attempts.extend([one, other]);
    if attempts.iter().any(|attempt| !attempt.holds()) {
        return attempts;
    }
    let echo = Errand {
        intent: intent(writer, &sender, ECHO, "echo"),
        sender: &sender,
        answer: ("/payload/message", json!("Echo: drill echo")),
        stages: ECHO_STAGES,
    };
    send(access, &echo, &mut attempts).await;
    for from in [Some(sender.beam_id.as_str()), writer.bus_sender].into_iter().flatten() {
        attempts.push(allow(access, &recipient.beam_id, from).await);
    }
    let place = "GET /ws";
    let accept = |_: &Value| Reaction::Accept(json!({"accepted": true}));
    match Recipient::connect(access.directory.base_url(), &recipient.beam_id, accept).await {
        Err(error) => attempts.push(Attempt::new(
            "WebSocket recipient",
            place,
            "connected",
            error.to_string(),
        )),
        Ok(connected) => {
            attempts.push(Attempt::new("WebSocket recipient", place, "connected", "connected"));
            let delivered = Errand {
                intent: intent(writer, &sender, &recipient.beam_id, "websocket"),
                sender: &sender,
                answer: ("/payload", json!({"accepted": true})),
                stages: WEBSOCKET_STAGES,
            };
            send(access, &delivered, &mut attempts).await;
            if let Some(bus_sender) = writer.bus_sender {
                carry(access, writer, bus_sender, &recipient.beam_id, &mut attempts).await;
            }
            connected.close().await;
        }
    }
    attempts
}

async fn register(access: &Access, newcomer: &Newcomer) -> Attempt {
    let body = json!({
        "beamId": newcomer.beam_id,
        "displayName": "Recovery drill",
        "capabilities": [KIND],
        "publicKey": newcomer.key.public(),
    });
    let answer = access
        .directory
        .anonymous()
        .call(Method::POST, "/agents/register", Some(&body))
        .await;
    let shown = [
        ("/beam_id", body["beamId"].clone()),
        ("/display_name", body["displayName"].clone()),
        ("/capabilities", body["capabilities"].clone()),
        ("/public_key", body["publicKey"].clone()),
        ("/keyState/active/publicKey", body["publicKey"].clone()),
        ("/keyState/active/beamId", body["beamId"].clone()),
        ("/keyState/active/status", Value::from("active")),
        ("/keyState/total", Value::from(1)),
        ("/org", Value::from("recovery-drill")),
        ("/visibility", Value::from("unlisted")),
        ("/personal", Value::Bool(false)),
        ("/flagged", Value::Bool(false)),
        ("/email", Value::Null),
    ];
    Attempt::new(
        format!("new agent {}", newcomer.beam_id),
        REGISTER,
        "201",
        echoing(&answer, 201, &shown),
    )
}

async fn allow(access: &Access, target: &str, from: &str) -> Attempt {
    let body = json!({"targetBeamId": target, "intentType": KIND, "allowedFrom": from});
    let answer = access
        .directory
        .anonymous()
        .call(Method::POST, "/acl", Some(&body))
        .await;
    let shown = [
        ("/target_beam_id", Value::from(target)),
        ("/intent_type", Value::from(KIND)),
        ("/allowed_from", Value::from(from)),
    ];
    Attempt::new(
        format!("access list entry for {from}"),
        "POST /acl",
        "201",
        echoing(&answer, 201, &shown),
    )
}

fn intent(writer: &Writer<'_>, sender: &Newcomer, to: &str, what: &str) -> Intent {
    Intent {
        from: sender.beam_id.clone(),
        to: to.to_owned(),
        kind: KIND.to_owned(),
        payload: json!({"message": format!("drill {what}")}),
        nonce: format!("drill-{what}-{}", word(writer.run)),
        timestamp: format!("{:.3}", writer.now - BACKDATED),
    }
}

/// What is sent, and what has to come of it.
struct Errand<'a> {
    intent: Intent,
    sender: &'a Newcomer,
    /// The member of the answer that the recipient gives, and its value.
    answer: (&'a str, Value),
    stages: &'a str,
}

async fn send(access: &Access, errand: &Errand<'_>, attempts: &mut Vec<Attempt>) {
    let Errand { intent, sender, .. } = errand;
    let answer = access
        .directory
        .anonymous()
        .send_intent(&intent.frame(&sender.key))
        .await;
    let shown = [("/nonce", Value::from(intent.nonce.as_str())), errand.answer.clone()];
    let observed = match &answer {
        Ok(reply) if reply.status == 200 && reply.body["success"] == true => {
            echoing(&answer, 200, &shown).replacen("200", "200 success", 1)
        }
        other => ending(other),
    };
    attempts.push(Attempt::new(
        format!("new intent to {}", intent.to),
        SEND,
        "200 success",
        observed,
    ));
    attempts.push(traced(access, &intent.nonce, errand.stages).await);
}

/// The trace shows that nonce acknowledged, with these recorded stages.
async fn traced(access: &Access, nonce: &str, stages: &str) -> Attempt {
    let path = format!("/observability/intents/{}", segment(nonce));
    let answer = access.directory.call(Method::GET, &path, None).await;
    let expected = format!("acked: {stages}");
    Attempt::new(
        format!("trace of {nonce}"),
        TRACE,
        &expected,
        seen_trace(nonce, &answer),
    )
}

fn seen_trace(nonce: &str, answer: &Result<Reply, ClientError>) -> String {
    let Ok(Reply { status: 200, body, .. }) = answer else {
        return ending(answer);
    };
    let recorded = |stage: &&Value| stage["id"].as_i64().is_some_and(|id| id > 0);
    let stages = body["stages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let stages: Vec<&str> = stages
        .iter()
        .filter(recorded)
        .map(|stage| stage["stage"].as_str().unwrap_or("?"))
        .collect();
    let own = |shown: &Value| shown["nonce"] == nonce;
    if !own(&body["intent"]) || !body["stages"].as_array().is_some_and(|stages| stages.iter().all(own)) {
        return "the trace of another nonce".to_owned();
    }
    let status = body["intent"]["status"].as_str().unwrap_or("no status");
    format!("{status}: {}", stages.join(", "))
}

/// A bus message to the connected recipient: delivered, kept, traced by the directory, recognised when repeated.
async fn carry(access: &Access, writer: &Writer<'_>, from: &str, to: &str, attempts: &mut Vec<Attempt>) {
    let nonce = format!("drill-bus-{}", word(writer.run));
    let message = json!({
        "from": from,
        "to": to,
        "intent": KIND,
        "payload": {"message": "drill bus"},
        "nonce": nonce,
    });
    let first = access.bus.try_send(&message).await;
    let id = first
        .as_ref()
        .ok()
        .and_then(|reply| reply.body["message_id"].as_str().map(str::to_owned));
    let observed = match &first {
        Ok(reply) if reply.body["nonce"] != nonce.as_str() && matches!(reply.status, 200 | 201) => {
            format!("{}, another nonce", reply.status)
        }
        Ok(reply) if matches!(reply.status, 200 | 201) => {
            let status = reply.body["status"].as_str().unwrap_or("no status");
            match reply.error_code() {
                Some(code) => format!("{} {status} {code}", reply.status),
                None => format!("{} {status}", reply.status),
            }
        }
        other => ending(other),
    };
    let delivered = observed == "201 delivered";
    attempts.push(Attempt::new(
        format!("new message from {from}"),
        BUS_SEND,
        "201 delivered",
        observed,
    ));
    if !delivered {
        return;
    }
    let newest = [("recipient", to), ("limit", "10")];
    let (again, history, trace) = tokio::join!(
        access.bus.try_send(&message),
        access.bus.history_where(&newest),
        traced(access, &nonce, WEBSOCKET_STAGES),
    );
    let observed = match &again {
        Ok(reply) if reply.status == 200 && reply.body["deduped"] == true => {
            let same = reply.body["message_id"].as_str() == id.as_deref();
            let which = if same { "the same id" } else { "another id" };
            format!("200 deduped, {which}")
        }
        other => ending(other),
    };
    attempts.push(Attempt::new(
        format!("message {nonce} repeated"),
        BUS_SEND,
        "200 deduped, the same id",
        observed,
    ));
    let observed = match history {
        Ok(messages) => messages
            .value
            .iter()
            .find(|message| message["nonce"] == nonce.as_str())
            .map_or_else(|| "absent".to_owned(), |message| kept(message, from, to)),
        Err(error) => ending(&Err(error)),
    };
    attempts.push(Attempt::new(format!("message {nonce}"), HISTORY, "delivered", observed));
    attempts.push(trace);
}

/// The status of a message that is kept as it was sent.
fn kept(message: &Value, from: &str, to: &str) -> String {
    let sent = [
        ("sender", json!(from)),
        ("recipient", json!(to)),
        ("intent", json!(KIND)),
        ("payload", json!({"message": "drill bus"})),
    ];
    match sent.iter().find(|(name, value)| message[*name] != *value) {
        Some((name, _)) => format!("another {name}"),
        None => message["status"].as_str().unwrap_or("no status").to_owned(),
    }
}

/// Every step has to go through.
#[must_use]
pub fn judge(attempts: &[Attempt]) -> Judgement {
    let mut judged = attempt::judged(attempts, "steps");
    if !attempts.iter().any(|attempt| attempt.place == BUS_SEND) {
        judged
            .notes
            .push("the bus was not written to: no agent is known for which it signs".to_owned());
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::http::Request;
    use crate::deployment::Service;
    use crate::evidence::Verdict;

    fn answer(status: u16, body: Value) -> Result<Reply, ClientError> {
        Ok(Reply {
            request: Request {
                service: Service::Directory,
                method: Method::GET,
                url: "http://127.0.0.1:1/x".to_owned(),
            },
            status,
            body,
        })
    }

    #[test]
    fn steps_that_go_through_pass() {
        let attempts = [Attempt::new("new message", BUS_SEND, "201 delivered", "201 delivered")];
        assert_eq!(judge(&attempts).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_dead_letter_is_a_finding_though_the_code_is_201() {
        let attempts = [Attempt::new(
            "new message",
            BUS_SEND,
            "201 delivered",
            "201 dead_letter INVALID_INTENT",
        )];
        assert_eq!(judge(&attempts).findings[0].observed, "201 dead_letter INVALID_INTENT");
    }

    #[test]
    fn no_step_at_all_is_inconclusive() {
        assert_eq!(judge(&[]).verdict(), Verdict::Inconclusive);
    }

    #[test]
    fn invented_stages_are_not_counted() {
        let body = json!({
            "intent": {"nonce": "n", "status": "acked"},
            "stages": [{"id": 0, "nonce": "n", "stage": "received"}, {"id": 4, "nonce": "n", "stage": "acked"}]
        });
        assert_eq!(seen_trace("n", &answer(200, body.clone())), "acked: acked");
        assert_eq!(seen_trace("m", &answer(200, body)), "the trace of another nonce");
        assert_eq!(
            seen_trace("n", &answer(404, json!({"errorCode": "NOT_FOUND"}))),
            "404 NOT_FOUND"
        );
    }

    #[test]
    fn names_derive_from_the_run() {
        assert_ne!(
            Newcomer::new("a", "sender").beam_id,
            Newcomer::new("b", "sender").beam_id
        );
    }
}
