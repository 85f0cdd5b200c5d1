//! Intents and bus messages: echoed, answered on the WebSocket, declined, failed offline, refused, queued, dead.
//!
//! The script says what is sent; here it is sent, several at once, and recorded.

use crate::client::Access;
use crate::client::http::Reply;
use crate::client::signing::Intent;
use crate::client::websocket::Recipient;
use crate::deployment::Service::{Bus, Directory};
use crate::seed::cast::{Cast, Part};
use crate::seed::ledger::{Area, Attempt, Expectation, Row};
use crate::seed::recorder::Recorder;
use crate::seed::script::{Author, Planned, answer};
use crate::seed::{SeedError, SentIntent, SentMessage};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde_json::{Value, json};

/// How many calls are under way at once: enough to keep both services busy.
const AT_ONCE: usize = 8;
/// A timestamp ahead of the directory's clock breaks the send (contract 2.7, clock trap).
const BACKDATED: SignedDuration = SignedDuration::from_millis(150);

/// What was sent, in order.
pub(crate) struct Sent {
    pub(crate) intents: Vec<SentIntent>,
    pub(crate) messages: Vec<SentMessage>,
}

/// Sends everything, with the recipient connected only as long as it is needed.
pub(crate) async fn exchange(
    access: &Access,
    seed: u64,
    round: u32,
    cast: &Cast,
    recorder: &Recorder<'_>,
) -> Result<Sent, SeedError> {
    let recipient = Recipient::connect(access.directory.base_url(), &cast.member(Part::Finance).beam_id, answer)
        .await
        .map_err(SeedError::Recipient)?;
    let mut author = Author::new(cast, seed, round);
    let (intents, messages) = (author.intents(), author.messages());
    let sent = tokio::try_join!(
        send_intents(access, &intents, recorder),
        send_messages(access, &messages, recorder),
    );
    // Open WebSockets keep a directory from stopping cleanly, also after a failure.
    recipient.close().await;
    let (intents, mut messages) = sent?;
    acknowledge(access, &mut messages, recorder).await?;
    repeat(access, &messages, recorder).await?;
    Ok(Sent { intents, messages })
}

/// One more intent and one more message, both to the echo; `word` makes their names.
pub(crate) async fn exchange_once_more(
    access: &Access,
    seed: u64,
    cast: &Cast,
    word: &str,
    recorder: &Recorder<'_>,
) -> Result<Sent, SeedError> {
    let (intent, message) = Author::new(cast, seed, 0).once_more(word);
    let (intents, messages) = ([intent], [message]);
    let (intents, messages) = tokio::try_join!(
        send_intents(access, &intents, recorder),
        send_messages(access, &messages, recorder),
    )?;
    Ok(Sent { intents, messages })
}

async fn send_intents(
    access: &Access,
    planned: &[Planned<'_>],
    recorder: &Recorder<'_>,
) -> Result<Vec<SentIntent>, SeedError> {
    // A vector, because a closure inside the stream would keep this future from being `Send`.
    let calls: Vec<_> = planned.iter().map(|one| send_intent(access, one, recorder)).collect();
    let sent: Vec<Option<SentIntent>> = stream::iter(calls).buffered(AT_ONCE).try_collect().await?;
    Ok(sent.into_iter().flatten().collect())
}

async fn send_intent(
    access: &Access,
    planned: &Planned<'_>,
    recorder: &Recorder<'_>,
) -> Result<Option<SentIntent>, SeedError> {
    let intent = Intent {
        from: planned.from.beam_id.clone(),
        to: planned.to.clone(),
        kind: planned.kind.to_owned(),
        payload: planned.payload.clone(),
        nonce: planned.nonce.clone(),
        timestamp: backdated(recorder),
    };
    let mut attempt = Attempt::new("intent", &planned.nonce).row(intent_row(&planned.nonce));
    if let Some(expected) = planned.trace() {
        attempt = attempt.expects(Area::Traces, format!("intent {}", planned.nonce), expected);
    }
    let frame = intent.frame(&planned.from.key);
    let (_, reply) = recorder
        .write_answered(
            attempt,
            planned.end.directory_answer(),
            access.directory.send_intent(&frame),
        )
        .await?;
    Ok(planned.end.trace().map(|(status, error_code, _)| SentIntent {
        intent,
        status: status.to_owned(),
        error_code: error_code.map(str::to_owned),
        frame: reply.body,
    }))
}

fn backdated(recorder: &Recorder<'_>) -> String {
    let at = recorder.now() - BACKDATED;
    format!("{at:.3}")
}

fn intent_row(nonce: &str) -> Row {
    Row::new(Directory, "intent_log", [("nonce", nonce)])
}

async fn send_messages(
    access: &Access,
    planned: &[Planned<'_>],
    recorder: &Recorder<'_>,
) -> Result<Vec<SentMessage>, SeedError> {
    let calls: Vec<_> = planned.iter().map(|one| send_message(access, one, recorder)).collect();
    stream::iter(calls).buffered(AT_ONCE).try_collect().await
}

async fn send_message(
    access: &Access,
    planned: &Planned<'_>,
    recorder: &Recorder<'_>,
) -> Result<SentMessage, SeedError> {
    let mut body = json!({
        "from": planned.from.beam_id,
        "to": planned.to,
        "intent": planned.kind,
        "payload": planned.payload,
        "nonce": planned.nonce,
        "priority": planned.priority,
    });
    if let Some(trace_id) = &planned.trace_id {
        body["trace_id"] = json!(trace_id);
    }
    let status = planned.end.bus_status();
    let mut attempt = Attempt::new("bus-message", &planned.nonce)
        .row(message_row(&planned.nonce))
        .expects(Area::Bus, message_subject(&planned.nonce), planned.message());
    if let Some(expected) = planned.trace() {
        attempt = attempt.expects(Area::Traces, format!("intent {}", planned.nonce), expected);
    }
    let (id, reply) = recorder
        .write_answered(attempt, planned.end.bus_answer(), access.bus.try_send(&body))
        .await?;
    let message_id = message_id_of(&reply, status)?;
    let learned = json!({"id": message_id});
    recorder.learned(
        id,
        Expectation::new(Area::Bus, message_subject(&planned.nonce), learned),
    );
    Ok(SentMessage {
        body,
        message_id,
        status: status.to_owned(),
    })
}

fn message_id_of(reply: &Reply, status: &str) -> Result<String, SeedError> {
    if reply.body["status"] != status {
        return Err(reply.malformed(format!("wanted status {status}")).into());
    }
    let id = reply.body["message_id"].as_str();
    Ok(id.ok_or_else(|| reply.malformed("no message_id"))?.to_owned())
}

fn message_row(nonce: &str) -> Row {
    Row::new(Bus, "beam_messages", [("nonce", nonce)])
}

fn message_subject(nonce: &str) -> String {
    format!("message {nonce}")
}

/// Recipients acknowledge some of what was delivered: three with success and a response, two with failure.
async fn acknowledge(access: &Access, messages: &mut [SentMessage], recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let acks = ["acked", "acked", "acked", "failed", "failed"];
    let delivered = messages.iter_mut().filter(|message| message.status == "delivered");
    try_join_all(
        delivered
            .zip(acks)
            .enumerate()
            .map(|(n, (message, status))| async move {
                let nonce = message.body["nonce"].as_str().unwrap_or_default().to_owned();
                let response =
                    json!({"ok": status == "acked", "reference": format!("A-{n}-{nonce}"), "note": "übernommen"});
                let row = Row::new(Bus, "beam_messages", [("nonce", nonce.as_str()), ("status", status)]);
                // Beam keeps the response of an acknowledged message only.
                let shown = if status == "acked" {
                    response.clone()
                } else {
                    Value::Null
                };
                let attempt = Attempt::new("bus-ack", &nonce).row(row).expects(
                    Area::Bus,
                    message_subject(&nonce),
                    json!({"status": status, "response": shown}),
                );
                let call = access.bus.ack(&message.message_id, status, Some(&response));
                recorder.write(attempt, call).await?;
                message.status = status.to_owned();
                Ok::<(), SeedError>(())
            }),
    )
    .await?;
    Ok(())
}

/// One message sent again as it was (known, nothing new) and once with another payload (conflict, refused).
async fn repeat(access: &Access, messages: &[SentMessage], recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let Some(message) = messages.iter().find(|message| message.status == "delivered") else {
        return Ok(());
    };
    let nonce = message.body["nonce"].as_str().unwrap_or_default();
    let attempt = Attempt::new("bus-duplicate", nonce).row(message_row(nonce));
    let (_, reply) = recorder
        .write_answered(attempt, (200, None), access.bus.try_send(&message.body))
        .await?;
    if reply.body["message_id"] != message.message_id.as_str() {
        return Err(reply.malformed("another message_id for a known nonce").into());
    }
    let mut changed = message.body.clone();
    changed["payload"]["changed"] = json!(true);
    let conflict = (409, Some("NONCE_REUSE_CONFLICT"));
    recorder
        .write_answered(
            Attempt::new("bus-conflict", nonce),
            conflict,
            access.bus.try_send(&changed),
        )
        .await?;
    Ok(())
}
