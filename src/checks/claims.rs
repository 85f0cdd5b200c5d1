//! Nonces that are taken: what the ledger and the rows know of them, and which of them are sent again.
//!
//! Those in doubt come first: known to the ledger, but absent from the rows or different there. Never sends anything, and
//! never picks an intent that failed for want of a connection: sent again it would be stuck (contract 2.7).

use crate::checks::observing::{Signers, normal, parsed};
use crate::seed::{SentIntent, SentMessage};
use crate::snapshot::database::{DatabaseError, Databases};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ECHO: &str = "echo@beam.directory";
/// How many nonces of each service are sent again; those in doubt are all sent, up to five times as many.
pub const LIMIT: usize = 10;
/// How many intents of one sender to one recipient are sent again: a pair has 20 sends an hour, and a restored database
/// still counts those before the backup.
const PER_PAIR: usize = 2;
/// Failures after which a nonce is not kept: sent again, the intent would be stuck.
const RETRYABLE: [&str; 4] = ["OFFLINE", "TIMEOUT", "DELIVERY_FAILED", "DIRECT_HTTP_FAILED"];

/// An intent that the directory has answered for good.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Its nonce.
    pub nonce: String,
    /// Sender.
    pub from: String,
    /// Recipient.
    pub to: String,
    /// Type.
    pub kind: String,
    /// What was sent; the directory does not store it, so the rows do not tell. It is no part of the nonce's identity.
    pub payload: Option<Value>,
    /// The stored answer; without a `timestamp` only those members of it that are known.
    pub frame: Value,
}

/// A message that the bus has taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried {
    /// Its nonce.
    pub nonce: String,
    /// Sender.
    pub from: String,
    /// Recipient.
    pub to: String,
    /// Type.
    pub kind: String,
    /// What was sent.
    pub payload: Value,
    /// The id that every repetition has to be answered with.
    pub message_id: String,
}

/// Taken nonces of both services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// The directory's.
    pub intents: Vec<Claim>,
    /// The bus's.
    pub messages: Vec<Carried>,
}

impl Claims {
    /// What a seed sent and was answered.
    #[must_use]
    pub fn of_seed(intents: &[SentIntent], messages: &[SentMessage]) -> Claims {
        let answered = intents
            .iter()
            .filter(|sent| kept(&sent.status, sent.error_code.as_deref()));
        let claim = |sent: &SentIntent| Claim {
            nonce: sent.intent.nonce.clone(),
            from: sent.intent.from.clone(),
            to: sent.intent.to.clone(),
            kind: sent.intent.kind.clone(),
            payload: Some(sent.intent.payload.clone()),
            frame: sent.frame.clone(),
        };
        let carried = |sent: &SentMessage| {
            let part = |name: &str| sent.body[name].as_str().unwrap_or_default().to_owned();
            Carried {
                nonce: part("nonce"),
                from: part("from"),
                to: part("to"),
                kind: part("intent"),
                payload: sent.body["payload"].clone(),
                message_id: sent.message_id.clone(),
            }
        };
        let delivered = messages
            .iter()
            .filter(|sent| ["delivered", "acked", "failed"].contains(&sent.status.as_str()));
        let relayed: Vec<Claim> = delivered.filter_map(|sent| echoed(carried(sent))).collect();
        let messages = messages.iter().map(carried).collect();
        Claims {
            intents: answered.map(claim).chain(relayed).collect(),
            messages,
        }
    }

    /// What the rows of a snapshot say.
    ///
    /// # Errors
    /// A table that cannot be read.
    pub fn from_rows(databases: &Databases) -> Result<Claims, DatabaseError> {
        let mut claims = Claims::default();
        let rows = databases.directory.rows(
            "SELECT nonce, from_beam_id, to_beam_id, intent_type, status, error_code, result_json FROM intent_log
             WHERE result_json IS NOT NULL ORDER BY id",
            &[],
        )?;
        for row in rows {
            let part = |name| row.text(name).unwrap_or_default().to_owned();
            if kept(&part("status"), row.text("error_code")) {
                claims.intents.push(Claim {
                    nonce: part("nonce"),
                    from: part("from_beam_id"),
                    to: part("to_beam_id"),
                    kind: part("intent_type"),
                    payload: None,
                    frame: parsed(row.text("result_json")),
                });
            }
        }
        let rows = databases
            .bus
            .rows("SELECT * FROM beam_messages ORDER BY created_at, id", &[])?;
        for row in rows {
            let part = |name| row.text(name).unwrap_or_default().to_owned();
            let nonce = row.text("nonce").filter(|nonce| !nonce.is_empty());
            claims.messages.push(Carried {
                nonce: nonce.map_or_else(|| part("id"), str::to_owned),
                from: part("sender"),
                to: part("recipient"),
                kind: part("intent"),
                payload: parsed(row.text("payload")),
                message_id: part("id"),
            });
        }
        Ok(claims)
    }

    /// The sender whose key is worth taking over when no key is known: the one with the most taken nonces.
    #[must_use]
    pub fn busiest_sender(&self) -> Option<&str> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for claim in &self.intents {
            *counts.entry(&claim.from).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(from, _)| from)
    }
}

/// What the directory keeps of a message that the bus relayed to the built-in echo: the answer follows from the payload
/// (contract 2.7).
fn echoed(carried: Carried) -> Option<Claim> {
    if carried.to != ECHO {
        return None;
    }
    let answer = if carried.kind == "conversation.message" {
        let text = carried.payload.get("message").and_then(Value::as_str)?;
        json!({"message": format!("Echo: {text}")})
    } else {
        json!({"intent": carried.kind, "originalPayload": normal(&carried.payload)})
    };
    Some(Claim {
        frame: json!({"success": true, "nonce": carried.nonce, "payload": answer}),
        payload: Some(carried.payload),
        nonce: carried.nonce,
        from: carried.from,
        to: carried.to,
        kind: carried.kind,
    })
}

/// Whether an answer is the expected frame: the whole of it, or the members that are known.
pub(crate) fn frame_matches(expected: &Value, seen: &Value) -> bool {
    if expected.get("timestamp").is_some() {
        return expected == seen;
    }
    match (expected, seen) {
        (Value::Object(expected), Value::Object(seen)) => expected
            .iter()
            .all(|(name, value)| seen.get(name).is_some_and(|seen| frame_matches(value, seen))),
        (expected, seen) => expected == seen,
    }
}

fn kept(status: &str, error_code: Option<&str>) -> bool {
    match status {
        "acked" => true,
        "failed" => error_code.is_some_and(|code| !RETRYABLE.contains(&code)),
        _ => false,
    }
}

/// What is sent again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Intents whose sender's key is known.
    pub intents: Vec<Claim>,
    /// Messages.
    pub messages: Vec<Carried>,
    /// Senders whose key is not known: their intents are not looked at.
    pub unsigned: BTreeSet<String>,
    /// How many nonces there are in all.
    pub known: usize,
}

/// Chooses what is sent again from what the ledger and the rows know; the ledger wins where both speak.
#[must_use]
pub fn plan(ledger: Option<&Claims>, rows: Option<&Claims>, signers: &Signers) -> Plan {
    let none = Claims::default();
    let (ledger, rows) = (ledger.unwrap_or(&none), rows.unwrap_or(&none));
    let intents = merged(&ledger.intents, &rows.intents, |claim| &claim.nonce, same_intent);
    let messages = merged(
        &ledger.messages,
        &rows.messages,
        |carried| &carried.nonce,
        |one, other| one == other,
    );
    let known = intents.len() + messages.len();
    let (signed, unsigned): (Vec<_>, Vec<_>) = intents
        .into_iter()
        .partition(|(_, claim)| signers.contains_key(&claim.from));
    let mut intents = chosen(signed, |claim: &Claim| (&claim.from, &claim.to));
    for claim in &mut intents {
        let row = rows.intents.iter().find(|row| row.nonce == claim.nonce);
        if let Some(row) = row.filter(|row| same_intent(claim, row)) {
            claim.frame = row.frame.clone();
        }
    }
    Plan {
        intents,
        messages: chosen(messages, |carried: &Carried| (&carried.nonce, &carried.nonce)),
        unsigned: unsigned.into_iter().map(|(_, claim)| claim.from.clone()).collect(),
        known,
    }
}

/// Senders of intents that are in doubt: known, but absent from the rows or different there.
pub fn doubted_senders<'a>(known: &'a Claims, rows: &Claims) -> impl Iterator<Item = &'a str> {
    let merged = merged(&known.intents, &rows.intents, |claim| &claim.nonce, same_intent);
    let all: Vec<&Claim> = known.intents.iter().collect();
    let doubted: BTreeSet<String> = merged
        .into_iter()
        .filter(|(is_doubted, _)| *is_doubted)
        .map(|(_, claim)| claim.nonce.clone())
        .collect();
    all.into_iter()
        .filter(move |claim| doubted.contains(&claim.nonce))
        .map(|claim| claim.from.as_str())
}

fn same_intent(one: &Claim, other: &Claim) -> bool {
    (&one.from, &one.to, &one.kind) == (&other.from, &other.to, &other.kind) && frame_matches(&one.frame, &other.frame)
}

/// Every nonce once, with whether it is in doubt.
fn merged<'a, T>(
    ledger: &'a [T],
    rows: &'a [T],
    nonce: impl Fn(&T) -> &String,
    same: impl Fn(&T, &T) -> bool,
) -> Vec<(bool, &'a T)> {
    let in_rows: BTreeMap<&String, &T> = rows.iter().map(|one| (nonce(one), one)).collect();
    let in_ledger: BTreeSet<&String> = ledger.iter().map(&nonce).collect();
    let doubted = |one: &T| !in_rows.get(nonce(one)).is_some_and(|row| same(one, row));
    let written = ledger.iter().map(|one| (doubted(one), one));
    let only_rows = rows.iter().filter(|one| !in_ledger.contains(nonce(one)));
    written.chain(only_rows.map(|one| (false, one))).collect()
}

/// All in doubt, then some of the others, few of each pair.
fn chosen<'a, T: Clone>(all: Vec<(bool, &'a T)>, pair: impl Fn(&'a T) -> (&'a String, &'a String)) -> Vec<T> {
    let (doubted, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|(doubted, _)| *doubted);
    let mut picked: Vec<T> = doubted
        .into_iter()
        .take(5 * LIMIT)
        .map(|(_, one)| one.clone())
        .collect();
    let mut taken: BTreeMap<_, usize> = BTreeMap::new();
    for (_, one) in others {
        let count = taken.entry(pair(one)).or_default();
        if picked.len() < LIMIT && *count < PER_PAIR {
            *count += 1;
            picked.push(one.clone());
        }
    }
    picked
}

/// A payload that the directory accepts for this type (contract 2.6).
pub(crate) fn least_payload(kind: &str) -> Value {
    match kind {
        "conversation.message" | "system.broadcast" => json!({"message": "sent again by a recovery drill"}),
        "task.delegate" => json!({"task": "drill"}),
        "quote.request" => json!({"sku": "drill", "quantity": 1, "shipTo": "drill"}),
        "inventory.check" => json!({"sku": "drill", "quantity": 1}),
        "purchase.preflight" => {
            json!({"requestNonce": "drill", "sku": "drill", "quantity": 1, "totalPriceEur": 1})
        }
        "escalation.request" => json!({"caseId": "drill", "reason": "drill"}),
        _ => json!({}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::signing::KeyPair;

    fn claim(nonce: &str, to: &str) -> Claim {
        Claim {
            nonce: nonce.to_owned(),
            from: "a@x".to_owned(),
            to: to.to_owned(),
            kind: "agent.ping".to_owned(),
            payload: None,
            frame: json!({"success": true}),
        }
    }

    fn claims(intents: Vec<Claim>) -> Claims {
        Claims {
            intents,
            messages: Vec::new(),
        }
    }

    fn signers() -> Signers {
        [("a@x".to_owned(), KeyPair::from_bytes(&[1; 32]))].into()
    }

    #[test]
    fn a_nonce_that_the_rows_lost_is_sent_again_first() {
        let all: Vec<Claim> = (0..30).map(|n| claim(&format!("n{n}"), &format!("r{n}"))).collect();
        let rows = claims(all.iter().filter(|claim| claim.nonce != "n29").cloned().collect());
        let plan = plan(Some(&claims(all)), Some(&rows), &signers());
        assert_eq!((plan.intents.len(), plan.intents[0].nonce.as_str()), (LIMIT, "n29"));
    }

    #[test]
    fn a_changed_answer_is_in_doubt_and_the_ledger_is_expected() {
        let mut changed = claim("n1", "r");
        changed.frame = json!({"success": false});
        let rows = claims(vec![claim("n0", "r"), changed]);
        let plan = plan(
            Some(&claims(vec![claim("n0", "r"), claim("n1", "r")])),
            Some(&rows),
            &signers(),
        );
        assert_eq!(plan.intents[0], claim("n1", "r"));
    }

    #[test]
    fn a_relayed_message_tells_what_the_echo_answered() {
        let carried = Carried {
            nonce: "n".to_owned(),
            from: "a@x".to_owned(),
            to: ECHO.to_owned(),
            kind: "conversation.message".to_owned(),
            payload: json!({"message": "hello"}),
            message_id: "0a".to_owned(),
        };
        let claim = echoed(carried).expect("an echo");
        let stored =
            |text: &str| json!({"v": "1", "success": true, "nonce": "n", "payload": {"message": text, "from": ECHO}});
        assert!(frame_matches(&claim.frame, &stored("Echo: hello")));
        assert!(!frame_matches(&claim.frame, &stored("Echo: hellp")));
    }

    #[test]
    fn few_intents_of_one_pair_are_sent_again() {
        let rows = claims((0..9).map(|n| claim(&format!("n{n}"), "r")).collect());
        assert_eq!(plan(None, Some(&rows), &signers()).intents.len(), PER_PAIR);
    }

    #[test]
    fn senders_without_a_known_key_are_listed() {
        let rows = claims(vec![claim("n", "r")]);
        let plan = plan(None, Some(&rows), &Signers::new());
        assert_eq!((plan.intents.len(), plan.unsigned.len()), (0, 1));
    }

    #[test]
    fn an_intent_that_failed_for_want_of_a_connection_is_not_kept() {
        assert!(!kept("failed", Some("OFFLINE")));
        assert!(kept("failed", Some("PARTNER_DECLINED")));
    }
}
