//! The in-flight base: a recipient that never answers, one intent and one bus message on their way to it; and an intent
//! that is answered when the harness says so.
//!
//! Both calls stay open until the services are killed; then the intents stand as `delivered` in the directory, the message
//! as `dispatched` on the bus, and the ledger says of both writes that their outcome is unknown. Source: Beam 1.6.0,
//! contract 2.8, 2.9, appendix A.

use crate::client::Access;
use crate::client::http::{ClientError, Reply};
use crate::client::signing::Intent;
use crate::client::websocket::{Reaction, Recipient};
use crate::deployment::Service::{Bus, Directory};
use crate::seed::cast::{Cast, Part};
use crate::seed::ledger::{Attempt, Ledger, Outcome, Row, WriteId};
use crate::seed::{Clock, SeedError};
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

const KIND: &str = "conversation.message";
/// A timestamp ahead of the directory's clock breaks the send (contract 2.7, clock trap).
const BACKDATED: SignedDuration = SignedDuration::from_millis(150);

/// Two calls that nobody will answer. Dropping it abandons them.
#[derive(Debug)]
pub struct UnderWay {
    /// The nonce of the intent that was sent to the directory.
    pub intent: String,
    /// The nonce of the message that was sent to the bus.
    pub message: String,
    recipient: Recipient,
    calls: [(WriteId, JoinHandle<Result<Reply, ClientError>>); 2],
}

/// Connects the recipient and sends both. `access` carries the admin session of the seeded pair.
///
/// # Errors
/// `Recipient`: it was not connected.
pub async fn begin(access: &Access, seed: u64, ledger: &mut Ledger, clock: Clock<'_>) -> Result<UnderWay, SeedError> {
    let cast = Cast::new(seed);
    let (recipient, sender, relayed) = (
        cast.member(Part::Finance),
        cast.member(Part::Buyer),
        cast.member(Part::Procurement),
    );
    let connected = Recipient::connect(access.directory.base_url(), &recipient.beam_id, |_| Reaction::Silent)
        .await
        .map_err(SeedError::Recipient)?;
    let (intent, message) = (format!("drill-{seed}-open-0"), format!("drill-{seed}-bus-open-0"));
    let payload = json!({"message": "unterwegs – 配達中", "order": seed % 1_000});
    let frame = Intent {
        from: sender.beam_id.clone(),
        to: recipient.beam_id.clone(),
        kind: KIND.to_owned(),
        payload: payload.clone(),
        nonce: intent.clone(),
        timestamp: format!("{:.3}", clock() - BACKDATED),
    }
    .frame(&sender.key);
    let body = json!({
        "from": relayed.beam_id, "to": recipient.beam_id, "intent": KIND, "payload": payload, "nonce": message, "priority": 1,
    });
    let to_directory =
        Attempt::new("intent", &intent).row(Row::new(Directory, "intent_log", [("nonce", intent.as_str())]));
    let to_bus =
        Attempt::new("bus-message", &message).row(Row::new(Bus, "beam_messages", [("nonce", message.as_str())]));
    let (directory, bus) = (access.directory.clone(), access.bus.clone());
    let calls = [
        (
            ledger.sent(to_directory, clock()),
            tokio::spawn(async move { directory.send_intent(&frame).await }),
        ),
        (
            ledger.sent(to_bus, clock()),
            tokio::spawn(async move { bus.try_send(&body).await }),
        ),
    ];
    Ok(UnderWay {
        intent,
        message,
        recipient: connected,
        calls,
    })
}

/// One intent that its recipient has and answers only when it is told to. Dropping it abandons the call.
#[derive(Debug)]
pub struct Held {
    recipient: Recipient,
    write: WriteId,
    call: JoinHandle<Result<Reply, ClientError>>,
}

/// Connects a recipient that holds its answer back, and sends it an intent.
///
/// # Errors
/// `Recipient`: it was not connected.
pub async fn hold(access: &Access, seed: u64, ledger: &mut Ledger, clock: Clock<'_>) -> Result<Held, SeedError> {
    let cast = Cast::new(seed);
    let (recipient, sender) = (cast.member(Part::Finance), cast.member(Part::Buyer));
    let hold = |_: &Value| Reaction::Held(json!({"approved": true, "note": "spät – 遅い"}));
    let connected = Recipient::connect(access.directory.base_url(), &recipient.beam_id, hold)
        .await
        .map_err(SeedError::Recipient)?;
    let nonce = format!("drill-{seed}-held-0");
    let frame = Intent {
        from: sender.beam_id.clone(),
        to: recipient.beam_id.clone(),
        kind: KIND.to_owned(),
        payload: json!({"message": "noch offen – 保留中", "order": seed % 1_000}),
        nonce: nonce.clone(),
        timestamp: format!("{:.3}", clock() - BACKDATED),
    }
    .frame(&sender.key);
    // The row alone was there before the answer; what was acknowledged is its end.
    let row = Row::new(
        Directory,
        "intent_log",
        [("nonce", nonce.as_str()), ("status", "acked")],
    );
    let write = ledger.sent(Attempt::new("intent", &nonce).row(row), clock());
    let directory = access.directory.clone();
    Ok(Held {
        recipient: connected,
        write,
        call: tokio::spawn(async move { directory.send_intent(&frame).await }),
    })
}

impl Held {
    /// Whether the recipient has the intent.
    #[must_use]
    pub fn is_delivered(&self) -> bool {
        self.recipient.received() > 0
    }

    /// Lets the recipient answer; the sender's answer goes into the ledger, then the recipient hangs up.
    pub async fn release(self, ledger: &mut Ledger, clock: Clock<'_>) -> Outcome {
        self.recipient.release();
        // A lost task is a call without an answer.
        let answered = self.call.await.ok().and_then(Result::ok);
        let outcome = match answered {
            Some(reply) if reply.status == 200 && reply.body["success"] == true => {
                ledger.acknowledged(self.write, reply.status, clock());
                Outcome::Acknowledged
            }
            reply => {
                ledger.unknown(self.write, reply.map(|reply| reply.status), clock());
                Outcome::Unknown
            }
        };
        self.recipient.close().await;
        outcome
    }
}

impl UnderWay {
    /// Whether both stand where they stay: `None`, or what is still missing.
    ///
    /// # Errors
    /// A look that was not answered.
    pub async fn missing(&self, access: &Access) -> Result<Option<String>, ClientError> {
        for nonce in [&self.intent, &self.message] {
            let reply = access
                .directory
                .get(&format!("/observability/intents?q={nonce}"))
                .await?;
            let intents = reply.body["intents"].as_array().cloned().unwrap_or_default();
            let status = intents
                .iter()
                .find(|one| one["nonce"] == nonce.as_str())
                .map(|one| one["status"].clone());
            if status != Some(json!("delivered")) {
                return Ok(Some(format!("intent {nonce} is {}", status.unwrap_or_default())));
            }
        }
        let messages = access.bus.history_where(&[("status", "dispatched")]).await?.value;
        if !messages.iter().any(|one| one["nonce"] == self.message.as_str()) {
            return Ok(Some(format!("message {} is not dispatched", self.message)));
        }
        let received = self.recipient.received();
        Ok((received < 2).then(|| format!("the recipient has {received} of 2 intents")))
    }

    /// After the services were killed: an answer that came all the same is recorded, else the outcome stays unknown.
    pub async fn end(self, ledger: &mut Ledger, clock: Clock<'_>) -> [Outcome; 2] {
        let mut outcomes = [Outcome::Unknown; 2];
        for ((id, call), outcome) in self.calls.into_iter().zip(&mut outcomes) {
            // A lost task is a call without an answer.
            let answered = call.await.ok().and_then(Result::ok);
            *outcome = match answered.map(|reply| reply.status) {
                Some(status) if status < 300 => {
                    ledger.acknowledged(id, status, clock());
                    Outcome::Acknowledged
                }
                Some(status @ 400..500) => {
                    ledger.refused(id, Some(status), clock());
                    Outcome::Refused
                }
                status => {
                    ledger.unknown(id, status, clock());
                    Outcome::Unknown
                }
            };
        }
        outcomes
    }
}
