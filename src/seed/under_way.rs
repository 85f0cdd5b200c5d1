//! The in-flight base: a recipient that never answers, one intent and one bus message on their way to it.
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
use serde_json::json;
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
