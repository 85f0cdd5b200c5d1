//! Ed25519 keys and the exact bytes that Beam signs and verifies.
//!
//! Beam parses a payload and serialises it again as JavaScript does, so the signature has to cover that form: compact,
//! keys in the order received except that integer-like keys come first in ascending order, numbers as JavaScript prints
//! them. Source: Beam 1.6.0, contract sections 2.5 to 2.7, checked with recorded frames.

use base64::{Engine, engine::general_purpose::STANDARD};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, json};
use std::fmt;
use thiserror::Error;

/// DER before the 32 bytes of an Ed25519 public key (SubjectPublicKeyInfo).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// DER before the 32 bytes of an Ed25519 private key (PKCS#8).
const PKCS8_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// Multicodec of an Ed25519 public key.
const MULTICODEC: [u8; 2] = [0xed, 0x01];

/// A text that is not the key or signature that it should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KeyError {
    /// Not base64 of the expected DER form.
    #[error("not base64 of an Ed25519 {0}")]
    Form(&'static str),
}

/// An agent's key pair.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair {{ public: {}, private: <set> }}", self.public())
    }
}

impl KeyPair {
    /// The key pair of 32 secret bytes.
    #[must_use]
    pub fn from_bytes(secret: &[u8; 32]) -> KeyPair {
        KeyPair(SigningKey::from_bytes(secret))
    }

    /// The key pair of a private key in base64 of PKCS#8, as identity files hold it.
    ///
    /// # Errors
    /// `Form`: not such a text.
    pub fn from_private(base64: &str) -> Result<KeyPair, KeyError> {
        let secret = unwrap_der(base64, &PKCS8_PREFIX).ok_or(KeyError::Form("private key (PKCS#8)"))?;
        Ok(KeyPair::from_bytes(&secret))
    }

    /// The public key as Beam stores it: base64 of SPKI.
    #[must_use]
    pub fn public(&self) -> String {
        STANDARD.encode([&SPKI_PREFIX[..], self.0.verifying_key().as_bytes()].concat())
    }

    /// The private key as an identity file holds it: base64 of PKCS#8.
    #[must_use]
    pub fn private(&self) -> String {
        STANDARD.encode([&PKCS8_PREFIX[..], self.0.as_bytes()].concat())
    }

    /// The signature of a text, base64.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        STANDARD.encode(self.0.sign(text.as_bytes()).to_bytes())
    }
}

/// Whether `signature` is that of `text` under a public key in base64 of SPKI.
///
/// # Errors
/// `Form`: key or signature is no such text.
pub fn verifies(public: &str, text: &str, signature: &str) -> Result<bool, KeyError> {
    let key = unwrap_der(public, &SPKI_PREFIX).ok_or(KeyError::Form("public key (SPKI)"))?;
    let key = VerifyingKey::from_bytes(&key).map_err(|_| KeyError::Form("public key (SPKI)"))?;
    let bytes = STANDARD.decode(signature).map_err(|_| KeyError::Form("signature"))?;
    let signature = Signature::from_slice(&bytes).map_err(|_| KeyError::Form("signature"))?;
    Ok(key.verify_strict(text.as_bytes(), &signature).is_ok())
}

/// A public key in base64 of SPKI as DID documents show it: base58btc multibase with its multicodec.
///
/// # Errors
/// `Form`: not such a key.
pub fn multibase(public: &str) -> Result<String, KeyError> {
    let key = unwrap_der(public, &SPKI_PREFIX).ok_or(KeyError::Form("public key (SPKI)"))?;
    // Digits of the number in base 58, the lowest first; the multicodec keeps it from beginning with zeros.
    let mut digits: Vec<u8> = Vec::new();
    for byte in MULTICODEC.iter().chain(&key) {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += u32::from(*digit) << 8;
            *digit = (carry % 58) as u8;
            carry /= 58;
        }
        while carry > 0 {
            digits.push((carry % 58) as u8);
            carry /= 58;
        }
    }
    let letters = digits.iter().rev().map(|digit| char::from(BASE58[usize::from(*digit)]));
    Ok(std::iter::once('z').chain(letters).collect())
}

fn unwrap_der(base64: &str, prefix: &[u8]) -> Option<[u8; 32]> {
    let der = STANDARD.decode(base64.trim()).ok()?;
    der.strip_prefix(prefix)?.try_into().ok()
}

/// An intent before it is signed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// Sender's Beam id.
    pub from: String,
    /// Recipient's Beam id.
    pub to: String,
    /// A type of the catalogue, `conversation.message`.
    pub kind: String,
    /// What is sent; the directory does not store it.
    pub payload: Value,
    /// Replay protection: accepted once.
    pub nonce: String,
    /// UTC text. Stamp it a little in the past: a time ahead of the directory's breaks the send (contract 2.7).
    pub timestamp: String,
}

impl Intent {
    /// The text that is signed.
    #[must_use]
    pub fn signed_text(&self) -> String {
        javascript_json(&json!({
            "type": "intent",
            "from": self.from,
            "to": self.to,
            "intent": self.kind,
            "payload": self.payload,
            "timestamp": self.timestamp,
            "nonce": self.nonce,
        }))
    }

    /// The body of `POST /intents/send`.
    #[must_use]
    pub fn frame(&self, key: &KeyPair) -> Value {
        json!({
            "v": "1",
            "from": self.from,
            "to": self.to,
            "intent": self.kind,
            "payload": self.payload,
            "nonce": self.nonce,
            "timestamp": self.timestamp,
            "signature": key.sign(&self.signed_text()),
        })
    }
}

/// The body of a key rotation, signed with the key that is replaced.
#[must_use]
pub fn rotation(beam_id: &str, current: &KeyPair, new_public_key: &str, timestamp: &str) -> Value {
    let signed = sorted(&[
        ("action", "keys.rotate"),
        ("beamId", beam_id),
        ("newPublicKey", new_public_key),
        ("timestamp", timestamp),
    ]);
    json!({"new_public_key": new_public_key, "timestamp": timestamp, "signature": current.sign(&signed)})
}

/// The body of a key revocation, signed with the active key.
#[must_use]
pub fn revocation(beam_id: &str, active: &KeyPair, public_key: &str, timestamp: &str) -> Value {
    let signed = sorted(&[
        ("action", "keys.revoke"),
        ("beamId", beam_id),
        ("publicKey", public_key),
        ("timestamp", timestamp),
    ]);
    json!({"public_key": public_key, "timestamp": timestamp, "signature": active.sign(&signed)})
}

/// The header `X-Beam-Signature` of a signed shield change with this nonce.
#[must_use]
pub fn shield_signature(beam_id: &str, key: &KeyPair, nonce: &str) -> String {
    key.sign(&sorted(&[("action", "shield"), ("beamId", beam_id), ("nonce", nonce)]))
}

/// The header `X-Beam-Signature` of a heartbeat; its keys are not sorted.
#[must_use]
pub fn heartbeat_signature(beam_id: &str, key: &KeyPair, timestamp: &str, nonce: &str) -> String {
    key.sign(&javascript_json(&json!({
        "type": "heartbeat",
        "beamId": beam_id,
        "timestamp": timestamp,
        "nonce": nonce,
    })))
}

fn sorted(members: &[(&str, &str)]) -> String {
    let mut members = members.to_vec();
    members.sort_unstable();
    let object: Map<String, Value> = members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    javascript_json(&Value::Object(object))
}

/// A value as JavaScript's `JSON.stringify` prints it after `JSON.parse`.
#[must_use]
pub fn javascript_json(value: &Value) -> String {
    let mut text = String::new();
    write_value(&mut text, value);
    text
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Number(number) => text.push_str(&javascript_number(number)),
        Value::Array(items) => {
            text.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(members) => write_object(text, members),
        // serde_json escapes strings exactly as JSON.stringify does.
        Value::Null | Value::Bool(_) | Value::String(_) => text.push_str(&value.to_string()),
    }
}

fn write_object(text: &mut String, members: &Map<String, Value>) {
    let mut ordered: Vec<(Option<u32>, &String, &Value)> = members
        .iter()
        .map(|(name, value)| (array_index(name), name, value))
        .collect();
    // Stable: names that are no index stay in the order received, after all indexes.
    ordered.sort_by_key(|(index, ..)| (index.is_none(), *index));
    text.push('{');
    for (n, (_, name, value)) in ordered.into_iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        text.push_str(&Value::String(name.clone()).to_string());
        text.push(':');
        write_value(text, value);
    }
    text.push('}');
}

/// `0` … `4294967294` without leading zeros: what JavaScript orders as an integer.
fn array_index(name: &str) -> Option<u32> {
    let index: u32 = name.parse().ok()?;
    (index != u32::MAX && index.to_string() == name).then_some(index)
}

fn javascript_number(number: &Number) -> String {
    let value = number.as_f64().unwrap_or(f64::NAN);
    if !value.is_finite() {
        return "null".to_owned();
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let exponential = format!("{:e}", value.abs());
    let (mantissa, exponent) = exponential.split_once('e').unwrap_or((&exponential, "0"));
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", placed(&digits, exponent))
}

/// ECMAScript `Number::toString`: plain from 1e-6 up to below 1e21, else exponential with an explicit sign.
fn placed(digits: &str, exponent: i32) -> String {
    let count = i32::try_from(digits.len()).unwrap_or(i32::MAX);
    match exponent {
        21.. | ..=-7 => {
            let (head, tail) = digits.split_at(1);
            let point = if tail.is_empty() { "" } else { "." };
            format!("{head}{point}{tail}e{exponent:+}")
        }
        ..0 => format!("0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
        _ if exponent + 1 >= count => {
            format!("{digits}{}", "0".repeat((exponent + 1 - count).unsigned_abs() as usize))
        }
        _ => {
            let (whole, part) = digits.split_at(exponent.unsigned_abs() as usize + 1);
            format!("{whole}.{part}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded 2026-11-23 from Beam 1.6.0: frames that the directory accepted (`recorded/http.jsonl` 16 and 31).
    const RECORDED: [(&str, &str); 2] = [
        (
            "MCowBQYDK2VwAyEA14gPogtGrDed7Mt/YnEgQpQxEqXPpHuGycPdTt/1bpY=",
            r#"{"v":"1","from":"sender@acme.beam.directory","to":"echo@beam.directory","intent":"conversation.message","payload":{"message":"Quote 1001 bitte prüfen / please check","n":1},"nonce":"drill-echo-1","timestamp":"2026-11-23T23:29:45.363Z","signature":"l7q4aasFd1PTnHe9/IgwpGcHhDBpvTZ5Gf7rCQ/G4O6yqjjp1ye393q+qSDDPHe+l6Mv7hV9IZydpZ39+KUwCw=="}"#,
        ),
        (
            "MCowBQYDK2VwAyEA14gPogtGrDed7Mt/YnEgQpQxEqXPpHuGycPdTt/1bpY=",
            r#"{"v":"1","from":"sender@acme.beam.directory","to":"recv@northwind.beam.directory","intent":"conversation.message","payload":{"message":"approve PO 1043","decline":true},"nonce":"drill-ws-declined","timestamp":"2026-11-23T23:29:45.690Z","signature":"+1NBtA1XSsJ1e9wRL7N0IOcr6beqMUL3t8SmThTqQmHJOSJV9PqHWwdDmqrhHWb6wnTrkUC5S8N0e8sUKJR+BA=="}"#,
        ),
    ];

    fn recorded_intent(frame: &str) -> (Intent, String) {
        let frame: Value = serde_json::from_str(frame).expect("a recorded frame is JSON");
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let intent = Intent {
            from: text("from"),
            to: text("to"),
            kind: text("intent"),
            payload: frame["payload"].clone(),
            nonce: text("nonce"),
            timestamp: text("timestamp"),
        };
        (intent, text("signature"))
    }

    #[test]
    fn recorded_frames_verify() {
        for (public, frame) in RECORDED {
            let (intent, signature) = recorded_intent(frame);
            assert_eq!(verifies(public, &intent.signed_text(), &signature), Ok(true));
        }
    }

    #[test]
    fn a_changed_payload_does_not_verify() {
        let (public, frame) = RECORDED[0];
        let (mut intent, signature) = recorded_intent(frame);
        intent.payload["n"] = json!(2);
        assert_eq!(verifies(public, &intent.signed_text(), &signature), Ok(false));
    }

    #[test]
    fn a_recorded_key_pair_keeps_its_text_form() {
        let private = "MC4CAQAwBQYDK2VwBCIEILaBud1MdRQTakWsQZ3uepIqGglal6YnXKyWtMM3kAXG";
        let pair = KeyPair::from_private(private).expect("a recorded key");
        assert_eq!(
            (pair.public().as_str(), pair.private().as_str()),
            (RECORDED[0].0, private)
        );
    }

    #[test]
    fn a_signed_frame_is_the_recorded_one_again() {
        let pair = KeyPair::from_private("MC4CAQAwBQYDK2VwBCIEILaBud1MdRQTakWsQZ3uepIqGglal6YnXKyWtMM3kAXG");
        let (intent, _) = recorded_intent(RECORDED[0].1);
        let frame = intent.frame(&pair.expect("a recorded key"));
        assert_eq!(frame.to_string(), RECORDED[0].1);
    }

    #[test]
    fn a_private_key_is_never_printed() {
        let pair = KeyPair::from_bytes(&[7; 32]);
        assert!(!format!("{pair:?}").contains(&pair.private()));
    }

    #[test]
    fn numbers_are_printed_as_javascript_does() {
        let cases = [
            ("1.0", "1"),
            ("-0.0", "0"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("9007199254740993", "9007199254740992"),
            ("0.000001", "0.000001"),
            ("1e-7", "1e-7"),
            ("1.5e-9", "1.5e-9"),
            ("-12.50", "-12.5"),
            ("1.25e22", "1.25e+22"),
            ("18446744073709551615", "18446744073709552000"),
        ];
        for (given, expected) in cases {
            let value: Value = serde_json::from_str(given).expect("a number");
            assert_eq!(javascript_json(&value), expected, "{given}");
        }
    }

    #[test]
    fn integer_like_keys_come_first_in_ascending_order() {
        let value: Value = serde_json::from_str(r#"{"b":1,"10":2,"a":3,"2":4,"01":5,"4294967295":6}"#).expect("JSON");
        assert_eq!(
            javascript_json(&value),
            r#"{"2":4,"10":2,"b":1,"a":3,"01":5,"4294967295":6}"#
        );
    }

    #[test]
    fn text_is_not_escaped_more_than_javascript_does() {
        let value = json!({"text": "a/b \u{7f} ü \u{2028} \"\\\n\u{1}"});
        assert_eq!(
            javascript_json(&value),
            "{\"text\":\"a/b \u{7f} ü \u{2028} \\\"\\\\\\n\\u0001\"}"
        );
    }

    #[test]
    fn a_recorded_key_has_its_recorded_form_in_did_documents() {
        let key = "MCowBQYDK2VwAyEA14gPogtGrDed7Mt/YnEgQpQxEqXPpHuGycPdTt/1bpY=";
        let form = multibase(key).expect("a key");
        assert_eq!(form, "z6Mktxc2uGSRjFsCTpcYSpfkQ7LGA7nvBM25rY5UYx4SL4oP");
        assert!(multibase("no key").is_err());
    }
}
