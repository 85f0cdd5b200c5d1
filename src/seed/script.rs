//! What is sent and how it is going to end, decided before anything is sent.
//!
//! Pure. Beam allows 20 intents an hour from one sender to one recipient, the echo responder included (contract 16): what
//! is echoed is spread over all senders. It takes an intent of a type that is new for its sender for an anomaly and holds
//! it in the books (not the intent itself): each sender keeps to its usual type, with a few exceptions.

use crate::client::websocket::Reaction;
use crate::seed::cast::{Cast, Member, Part, below};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

const ECHO: &str = "echo@beam.directory";
const ECHOED_PER_SENDER: usize = 4;
const RELAYED_PER_SENDER: usize = 3;
const DECLINED: &str = "PARTNER_DECLINED";
const MESSAGE: &str = "conversation.message";

/// How an intent is going to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Acked by the built-in responder.
    Echoed,
    /// Acked by the recipient on the WebSocket.
    Answered,
    /// Refused by that recipient: acknowledged by the directory, as failed.
    Declined,
    /// The recipient is not connected: failed, on the bus queued.
    Offline,
    /// No access list allows it: nothing is stored.
    Forbidden,
    /// The bus has no key for it: the directory stores nothing, the bus a dead letter.
    Unsigned,
}

impl End {
    /// Status, error code and recorded stages; `None` when the directory keeps no row. Source: contract 2.8, recorded.
    pub(crate) fn trace(self) -> Option<(&'static str, Option<&'static str>, Vec<&'static str>)> {
        let stages = |rest: &[&'static str]| [&["received", "validated", "dispatched"], rest].concat();
        match self {
            End::Echoed => Some(("acked", None, stages(&["delivered", "acked"]))),
            End::Answered => Some(("acked", None, stages(&["dispatched", "delivered", "acked"]))),
            End::Declined => {
                let rest = stages(&["dispatched", "delivered", "failed"]);
                Some(("failed", Some(DECLINED), rest))
            }
            End::Offline => Some(("failed", Some("OFFLINE"), stages(&["failed"]))),
            End::Forbidden | End::Unsigned => None,
        }
    }

    /// HTTP status and error code of the directory's answer.
    pub(crate) fn directory_answer(self) -> (u16, Option<&'static str>) {
        match self {
            End::Echoed | End::Answered => (200, None),
            End::Declined => (200, Some(DECLINED)),
            End::Offline => (503, Some("OFFLINE")),
            End::Forbidden => (403, Some("FORBIDDEN")),
            End::Unsigned => (400, Some("INVALID_INTENT")),
        }
    }

    /// HTTP status and error code of the bus's answer: it takes whatever it can store.
    pub(crate) fn bus_answer(self) -> (u16, Option<&'static str>) {
        (201, self.directory_answer().1)
    }

    /// Where the message stands after its first delivery attempt.
    pub(crate) fn bus_status(self) -> &'static str {
        match self {
            End::Echoed | End::Answered => "delivered",
            End::Offline => "queued",
            End::Declined | End::Forbidden | End::Unsigned => "dead_letter",
        }
    }
}

/// One thing to send.
#[derive(Debug, Clone)]
pub(crate) struct Planned<'a> {
    pub(crate) from: &'a Member,
    pub(crate) to: String,
    pub(crate) kind: &'static str,
    pub(crate) payload: Value,
    pub(crate) nonce: String,
    pub(crate) end: End,
    pub(crate) priority: usize,
    pub(crate) trace_id: Option<String>,
}

impl Planned<'_> {
    /// What the directory has to show of it; `None` when it keeps no row.
    pub(crate) fn trace(&self) -> Option<Value> {
        let (status, error_code, stages) = self.end.trace()?;
        Some(json!({
            "from": self.from.beam_id,
            "to": self.to,
            "intentType": self.kind,
            "status": status,
            "errorCode": error_code,
            "stages": stages,
        }))
    }

    /// What the bus has to show of it, but for its id.
    pub(crate) fn message(&self) -> Value {
        let status = self.end.bus_status();
        json!({
            "sender": self.from.beam_id,
            "recipient": self.to,
            "intent": self.kind,
            "status": status,
            "priority": self.priority,
            "trace_id": self.trace_id,
            "payload": self.payload,
            "response": null,
            "retry_count": u8::from(status == "queued"),
        })
    }
}

/// The recipient's rule: it declines what asks for it, and accepts the rest.
pub(crate) fn answer(frame: &Value) -> Reaction {
    if frame["payload"]["decline"] == true {
        return Reaction::Decline {
            error: "declined by the partner".to_owned(),
            error_code: DECLINED.to_owned(),
        };
    }
    let reference = format!("R-{}", frame["nonce"].as_str().unwrap_or_default());
    Reaction::Accept(json!({"approved": true, "reference": reference, "fee": 12.5, "note": "geprüft ✓"}))
}

/// Writes the script of one seed number.
pub(crate) struct Author<'a> {
    cast: &'a Cast,
    random: ChaCha8Rng,
    /// Whether to send what is refused: five refused sends a day raise a critical alert (contract, surprise 22), so the first
    /// round alone does.
    provokes: bool,
}

impl<'a> Author<'a> {
    /// Of a round, counted from 0, that the cast is of.
    pub(crate) fn new(cast: &'a Cast, seed: u64, round: u32) -> Author<'a> {
        let mut random = ChaCha8Rng::seed_from_u64(seed ^ 0x7472_6166);
        random.set_stream(round.into());
        Author {
            cast,
            random,
            provokes: round == 0,
        }
    }

    /// What goes to the directory: 36 echoed, 8 answered, 2 declined, 2 offline, in the first round 1 forbidden.
    pub(crate) fn intents(&mut self) -> Vec<Planned<'a>> {
        let mut planned = Vec::new();
        for round in 0..ECHOED_PER_SENDER {
            for (n, from) in self.cast.signers().enumerate() {
                planned.push(self.echoed(from, &format!("echo-{round}-{n}")));
            }
        }
        let answered = [
            (Part::Procurement, MESSAGE),
            (Part::Courier, "quote.request"),
            (Part::Buyer, "purchase.preflight"),
            (Part::Archive, "agent.ping"),
        ];
        for (n, (from, kind)) in answered.into_iter().cycle().take(8).enumerate() {
            planned.push(self.sent(from, Part::Finance, kind, &format!("ws-{n}"), End::Answered));
        }
        for (n, from) in [Part::Procurement, Part::Buyer].into_iter().enumerate() {
            let mut one = self.sent(from, Part::Finance, MESSAGE, &format!("declined-{n}"), End::Declined);
            one.payload["decline"] = json!(true);
            planned.push(one);
        }
        for (n, from) in [Part::Procurement, Part::Planner].into_iter().enumerate() {
            planned.push(self.sent(from, Part::Desk, MESSAGE, &format!("offline-{n}"), End::Offline));
        }
        if self.provokes {
            planned.push(self.sent(Part::Personal, Part::Finance, MESSAGE, "forbidden-0", End::Forbidden));
        }
        planned
    }

    /// What goes to the bus: 27 echoed, 4 answered, 2 queued, in the first round 1 dead letter.
    pub(crate) fn messages(&mut self) -> Vec<Planned<'a>> {
        let mut planned = Vec::new();
        for round in 0..RELAYED_PER_SENDER {
            for (n, from) in self.cast.signers().enumerate() {
                let mut one = self.echoed(from, &format!("bus-{round}-{n}"));
                one.priority = (round + n) % 4;
                one.trace_id = (n % 2 == 0).then(|| format!("trace-{}-{round}", self.cast.label));
                planned.push(one);
            }
        }
        for n in 0..4 {
            planned.push(self.sent(
                Part::Procurement,
                Part::Finance,
                MESSAGE,
                &format!("bus-ws-{n}"),
                End::Answered,
            ));
        }
        for n in 0..2 {
            planned.push(self.sent(
                Part::Operations,
                Part::Desk,
                MESSAGE,
                &format!("bus-queued-{n}"),
                End::Offline,
            ));
        }
        if self.provokes {
            let mut dead = self.echoed(self.cast.member(Part::Ghost), "bus-dead-0");
            dead.end = End::Unsigned;
            planned.push(dead);
        }
        planned
    }

    /// After the seed: one echoed intent and one echoed message.
    pub(crate) fn once_more(&mut self, word: &str) -> (Planned<'a>, Planned<'a>) {
        (
            self.echoed(self.cast.member(Part::Planner), &format!("echo-{word}")),
            self.echoed(self.cast.member(Part::Operations), &format!("bus-{word}")),
        )
    }

    fn echoed(&mut self, from: &'a Member, name: &str) -> Planned<'a> {
        self.planned(from, ECHO, usual_type(from.part), name, End::Echoed)
    }

    fn sent(&mut self, from: Part, to: Part, kind: &'static str, name: &str, end: End) -> Planned<'a> {
        let (from, to) = (self.cast.member(from), self.cast.member(to));
        self.planned(from, &to.beam_id, kind, name, end)
    }

    fn planned(&mut self, from: &'a Member, to: &str, kind: &'static str, name: &str, end: End) -> Planned<'a> {
        Planned {
            from,
            to: to.to_owned(),
            kind,
            payload: payload(kind, &mut self.random),
            // At least 8 characters, or Beam refuses it as a proof nonce.
            nonce: format!("drill-{}-{name}", self.cast.label),
            end,
            priority: 0,
            trace_id: None,
        }
    }
}

fn usual_type(part: Part) -> &'static str {
    match part {
        Part::Procurement | Part::Operations | Part::Personal | Part::Ghost => MESSAGE,
        Part::Courier => "quote.request",
        Part::Finance => "inventory.check",
        Part::Desk => "escalation.request",
        Part::Archive => "agent.ping",
        Part::Buyer => "purchase.preflight",
        Part::Planner => "task.delegate",
    }
}

/// A payload with what the type requires, and with members that only JavaScript's form signs rightly.
fn payload(kind: &str, random: &mut ChaCha8Rng) -> Value {
    let order = below(random, 9_000) + 1_000;
    let quantity = below(random, 48) + 2;
    let sku = format!("SKU-{}", below(random, 900) + 100);
    // Never a whole number: JavaScript would store 12.0 as 12.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn script(cast: &Cast) -> (Vec<Planned<'_>>, Vec<Planned<'_>>) {
        let mut author = Author::new(cast, 5, 0);
        (author.intents(), author.messages())
    }

    #[test]
    fn no_pair_comes_near_the_hourly_limit() {
        let cast = Cast::new(5);
        let (intents, messages) = script(&cast);
        let mut pairs: BTreeMap<(&str, &str), u32> = BTreeMap::new();
        for one in intents.iter().chain(&messages) {
            *pairs.entry((&one.from.beam_id, &one.to)).or_default() += 1;
        }
        // 20 an hour; checks send more after the restore.
        assert!(pairs.values().all(|count| *count <= 8), "{pairs:?}");
    }

    #[test]
    fn failures_stay_below_the_alert_thresholds() {
        let cast = Cast::new(5);
        let (intents, messages) = script(&cast);
        let traces: Vec<_> = intents
            .iter()
            .chain(&messages)
            .filter_map(|one| one.end.trace())
            .collect();
        let failed = traces.iter().filter(|(status, ..)| *status == "failed").count();
        assert!(failed * 10 < traces.len(), "{failed} of {}", traces.len());
        let refused = |end: &End| matches!(end, End::Forbidden | End::Unsigned);
        assert!(intents.iter().chain(&messages).filter(|one| refused(&one.end)).count() < 3);
    }

    #[test]
    fn every_nonce_of_every_round_is_its_own() {
        let (mut nonces, mut sent, mut refused) = (BTreeSet::new(), 0, 0);
        for round in 0..10 {
            let cast = Cast::of_round(5, round);
            let mut author = Author::new(&cast, 5, round);
            let all = [author.intents(), author.messages()].concat();
            sent += all.len();
            refused += all.iter().filter(|one| one.end.trace().is_none()).count();
            nonces.extend(all.into_iter().map(|one| one.nonce));
        }
        assert_eq!((nonces.len(), refused), (sent, 2));
        assert!(nonces.iter().all(|nonce| nonce.len() >= 8));
    }
}
