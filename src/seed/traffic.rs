//! Intents and bus messages: echoed, answered on the WebSocket, declined, failed offline, refused, queued, dead.
//!
//! Beam allows 20 intents an hour from one sender to one recipient, the echo responder included (contract 16): what is
//! echoed is spread over all senders.

use crate::client::Access;
use crate::client::http::Reply;
use crate::client::signing::Intent;
use crate::client::websocket::{Reaction, Recipient};
use crate::deployment::Service::{Bus, Directory};
use crate::seed::cast::{Cast, Member, Part, below};
use crate::seed::ledger::{Area, Attempt, Expectation, Row};
use crate::seed::recorder::Recorder;
use crate::seed::{SeedError, SeedPlan, SentIntent, SentMessage};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const ECHO: &str = "echo@beam.directory";
const ECHOED_PER_SENDER: usize = 4;
const BUS_ECHOED_PER_SENDER: usize = 3;
/// How many calls are under way at once: enough to keep both services busy.
const AT_ONCE: usize = 8;
/// A timestamp ahead of the directory's clock breaks the send (contract 2.7, clock trap).
const BACKDATED: SignedDuration = SignedDuration::from_millis(150);

const ECHO_STAGES: &[&str] = &["received", "validated", "dispatched", "delivered", "acked"];
const ANSWERED_STAGES: &[&str] = &[
    "received",
    "validated",
    "dispatched",
    "dispatched",
    "delivered",
    "acked",
];
const DECLINED_STAGES: &[&str] = &[
    "received",
    "validated",
    "dispatched",
    "dispatched",
    "delivered",
    "failed",
];
const OFFLINE_STAGES: &[&str] = &["received", "validated", "dispatched", "failed"];
const DECLINED: &str = "PARTNER_DECLINED";

/// What was sent, in order.
pub(crate) struct Sent {
    pub(crate) intents: Vec<SentIntent>,
    pub(crate) messages: Vec<SentMessage>,
}

/// How an intent is going to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Echoed,
    Answered,
    Declined,
    Offline,
    Forbidden,
    Unsigned,
}

impl End {
    /// Status, error code and recorded stages; `None` when the directory keeps no row.
    fn trace(self) -> Option<(&'static str, Option<&'static str>, &'static [&'static str])> {
        match self {
            End::Echoed => Some(("acked", None, ECHO_STAGES)),
            End::Answered => Some(("acked", None, ANSWERED_STAGES)),
            End::Declined => Some(("failed", Some(DECLINED), DECLINED_STAGES)),
            End::Offline => Some(("failed", Some("OFFLINE"), OFFLINE_STAGES)),
            End::Forbidden | End::Unsigned => None,
        }
    }

    fn http(self) -> (u16, Option<&'static str>) {
        match self {
            End::Echoed | End::Answered => (200, None),
            End::Declined => (200, Some(DECLINED)),
            End::Offline => (503, Some("OFFLINE")),
            End::Forbidden => (403, Some("FORBIDDEN")),
            End::Unsigned => (400, Some("INVALID_INTENT")),
        }
    }

    fn bus_status(self) -> &'static str {
        match self {
            End::Echoed | End::Answered => "delivered",
            End::Offline => "queued",
            End::Declined | End::Forbidden | End::Unsigned => "dead_letter",
        }
    }
}

/// One thing to send.
struct Planned<'a> {
    from: &'a Member,
    to: String,
    kind: &'static str,
    payload: Value,
    nonce: String,
    end: End,
    priority: i64,
    trace_id: Option<String>,
}

/// Sends everything, with the recipient connected only as long as it is needed.
pub(crate) async fn exchange(
    access: &Access,
    plan: &SeedPlan,
    cast: &Cast,
    recorder: &Recorder<'_>,
) -> Result<Sent, SeedError> {
    let recipient = Recipient::connect(access.directory.base_url(), &cast.member(Part::Finance).beam_id, answer)
        .await
        .map_err(SeedError::Recipient)?;
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed ^ 0x7472_6166);
    let intents = direct(cast, plan.seed, &mut random);
    let messages = relayed(cast, plan.seed, &mut random);
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

/// The recipient's rule: it declines what asks for it, and accepts the rest.
fn answer(frame: &Value) -> Reaction {
    if frame["payload"]["decline"] == true {
        return Reaction::Decline {
            error: "declined by the partner".to_owned(),
            error_code: DECLINED.to_owned(),
        };
    }
    let reference = format!("R-{}", frame["nonce"].as_str().unwrap_or_default());
    Reaction::Accept(json!({"approved": true, "reference": reference, "fee": 12.5, "note": "geprüft ✓"}))
}

fn direct<'a>(cast: &'a Cast, seed: u64, random: &mut ChaCha8Rng) -> Vec<Planned<'a>> {
    let mut planned = Vec::new();
    for round in 0..ECHOED_PER_SENDER {
        for (n, from) in cast.signers().enumerate() {
            planned.push(echoed(from, format!("drill-{seed}-echo-{round}-{n}"), round + n, random));
        }
    }
    let (procurement, buyer) = (cast.member(Part::Procurement), cast.member(Part::Buyer));
    for n in 0..8 {
        let (from, kind) = match n % 4 {
            0 => (procurement, "conversation.message"),
            1 => (cast.member(Part::Courier), "quote.request"),
            2 => (buyer, "purchase.preflight"),
            _ => (cast.member(Part::Planner), "agent.ping"),
        };
        planned.push(to_member(
            from,
            cast,
            Part::Finance,
            kind,
            format!("drill-{seed}-ws-{n}"),
            End::Answered,
            random,
        ));
    }
    for (n, from) in [procurement, buyer].into_iter().enumerate() {
        let nonce = format!("drill-{seed}-declined-{n}");
        planned.push(to_member(
            from,
            cast,
            Part::Finance,
            "conversation.message",
            nonce,
            End::Declined,
            random,
        ));
    }
    for (n, from) in [procurement, cast.member(Part::Planner)].into_iter().enumerate() {
        let nonce = format!("drill-{seed}-offline-{n}");
        planned.push(to_member(
            from,
            cast,
            Part::Desk,
            "conversation.message",
            nonce,
            End::Offline,
            random,
        ));
    }
    let nonce = format!("drill-{seed}-forbidden-0");
    let stranger = cast.member(Part::Archive);
    planned.push(to_member(
        stranger,
        cast,
        Part::Finance,
        "conversation.message",
        nonce,
        End::Forbidden,
        random,
    ));
    planned
}

fn relayed<'a>(cast: &'a Cast, seed: u64, random: &mut ChaCha8Rng) -> Vec<Planned<'a>> {
    let mut planned = Vec::new();
    for round in 0..BUS_ECHOED_PER_SENDER {
        for (n, from) in cast.signers().enumerate() {
            let mut one = echoed(from, format!("drill-{seed}-bus-{round}-{n}"), round * 2 + n, random);
            one.priority = i64::try_from((round + n) % 4).unwrap_or(0);
            one.trace_id = (n % 2 == 0).then(|| format!("trace-{seed}-{round}"));
            planned.push(one);
        }
    }
    let procurement = cast.member(Part::Procurement);
    for n in 0..4 {
        let nonce = format!("drill-{seed}-bus-ws-{n}");
        planned.push(to_member(
            procurement,
            cast,
            Part::Finance,
            "conversation.message",
            nonce,
            End::Answered,
            random,
        ));
    }
    for n in 0..2 {
        let nonce = format!("drill-{seed}-bus-queued-{n}");
        let from = cast.member(Part::Operations);
        planned.push(to_member(
            from,
            cast,
            Part::Desk,
            "conversation.message",
            nonce,
            End::Offline,
            random,
        ));
    }
    let mut dead = echoed(cast.member(Part::Ghost), format!("drill-{seed}-bus-dead-0"), 0, random);
    dead.end = End::Unsigned;
    planned.push(dead);
    planned
}

fn echoed<'a>(from: &'a Member, nonce: String, turn: usize, random: &mut ChaCha8Rng) -> Planned<'a> {
    const KINDS: [&str; 7] = [
        "conversation.message",
        "quote.request",
        "inventory.check",
        "purchase.preflight",
        "task.delegate",
        "agent.ping",
        "escalation.request",
    ];
    let kind = KINDS[turn % KINDS.len()];
    Planned {
        from,
        to: ECHO.to_owned(),
        kind,
        payload: payload(kind, random),
        nonce,
        end: End::Echoed,
        priority: 0,
        trace_id: None,
    }
}

fn to_member<'a>(
    from: &'a Member,
    cast: &Cast,
    to: Part,
    kind: &'static str,
    nonce: String,
    end: End,
    random: &mut ChaCha8Rng,
) -> Planned<'a> {
    let mut payload = payload(kind, random);
    if end == End::Declined {
        payload["decline"] = json!(true);
    }
    Planned {
        from,
        to: cast.member(to).beam_id.clone(),
        kind,
        payload,
        nonce,
        end,
        priority: 0,
        trace_id: None,
    }
}

/// A payload with what the type requires, and with members that only JavaScript's form signs rightly.
fn payload(kind: &str, random: &mut ChaCha8Rng) -> Value {
    let order = below(random, 9_000) + 1_000;
    let quantity = below(random, 48) + 2;
    let sku = format!("SKU-{}", below(random, 900) + 100);
    // Cents that are never zero: JavaScript would store 12.0 as 12.
    let price = below(random, 5_000) as f64 + 0.75;
    match kind {
        "quote.request" => json!({"sku": sku, "quantity": quantity, "shipTo": "Łódź, ul. Próżna 7"}),
        "inventory.check" => {
            json!({"sku": sku, "quantity": quantity, "bins": {"10": "rear", "2": "front", "all": false}})
        }
        "purchase.preflight" => {
            json!({"requestNonce": format!("quote-{order}"), "sku": sku, "quantity": quantity, "totalPriceEur": price})
        }
        "task.delegate" => json!({"task": format!("Lieferung {order} umbuchen"), "steps": [1, 2, {"after": null}]}),
        "agent.ping" => json!({"sequence": order}),
        "escalation.request" => json!({"caseId": format!("case-{order}"), "reason": "Zahlung überfällig"}),
        _ => json!({"message": format!("Order {order}: 注文の確認 / bitte prüfen ✓"), "order": order, "limit": price}),
    }
}

async fn send_intents(
    access: &Access,
    planned: &[Planned<'_>],
    recorder: &Recorder<'_>,
) -> Result<Vec<SentIntent>, SeedError> {
    let sent: Vec<Option<SentIntent>> = stream::iter(planned.iter().map(|one| send_intent(access, one, recorder)))
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
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
    if let Some(expected) = trace_of(planned) {
        attempt = attempt.expects(Area::Traces, format!("intent {}", planned.nonce), expected);
    }
    let frame = intent.frame(&planned.from.key);
    let (_, reply) = recorder
        .write_answered(attempt, planned.end.http(), access.directory.send_intent(&frame))
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

fn trace_of(planned: &Planned<'_>) -> Option<Value> {
    let (status, error_code, stages) = planned.end.trace()?;
    Some(json!({
        "from": planned.from.beam_id,
        "to": planned.to,
        "intentType": planned.kind,
        "status": status,
        "errorCode": error_code,
        "stages": stages,
    }))
}

async fn send_messages(
    access: &Access,
    planned: &[Planned<'_>],
    recorder: &Recorder<'_>,
) -> Result<Vec<SentMessage>, SeedError> {
    stream::iter(planned.iter().map(|one| send_message(access, one, recorder)))
        .buffered(AT_ONCE)
        .try_collect()
        .await
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
        .expects(
            Area::Bus,
            message_subject(&planned.nonce),
            message_fields(planned, status),
        );
    if let Some(expected) = trace_of(planned) {
        attempt = attempt.expects(Area::Traces, format!("intent {}", planned.nonce), expected);
    }
    let wanted = match planned.end {
        End::Echoed | End::Answered => (201, None),
        other => (201, other.http().1),
    };
    let (id, reply) = recorder
        .write_answered(attempt, wanted, access.bus.try_send(&body))
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

fn message_fields(planned: &Planned<'_>, status: &str) -> Value {
    json!({
        "sender": planned.from.beam_id,
        "recipient": planned.to,
        "intent": planned.kind,
        "status": status,
        "priority": planned.priority,
        "trace_id": planned.trace_id,
        "payload": planned.payload,
        "response": null,
        "retry_count": i32::from(status == "queued"),
    })
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
                let attempt = Attempt::new("bus-ack", &nonce).row(row).expects(
                    Area::Bus,
                    message_subject(&nonce),
                    json!({"status": status, "response": response}),
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
