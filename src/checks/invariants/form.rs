//! Forms of values as Beam writes them: times, ids, JSON text, keys, hashes.
//!
//! Pure functions on text. Source: Beam 1.6.0, contract conventions and sections 2.5, 2.7, 3.3.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Milliseconds since 1970 of `YYYY-MM-DDTHH:MM:SS.sssZ`; nothing else is a time.
pub(super) fn iso_ms(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() != 24 || bytes[23] != b'Z' {
        return None;
    }
    for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.')] {
        if bytes[at] != mark {
            return None;
        }
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i64, |sum, byte| {
            byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0'))
        })
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second, ms) = (number(11, 13)?, number(14, 16)?, number(17, 19)?, number(20, 23)?);
    let lawful = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    lawful.then(|| (((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second) * 1_000 + ms)
}

/// A client's time: strict or any RFC 3339 form.
pub(super) fn client_ms(text: &str) -> Option<i64> {
    iso_ms(text).or_else(|| text.parse::<jiff::Timestamp>().ok().map(|time| time.as_millisecond()))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 (proleptic Gregorian).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Lower-case hexadecimal digits of this length.
pub(super) fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// A random UUID (version 4), with or without dashes.
pub(super) fn is_uuid4(text: &str) -> bool {
    let dashed = text.len() == 36;
    if dashed && [8, 13, 18, 23].iter().any(|at| text.as_bytes()[*at] != b'-') {
        return false;
    }
    let digits: String = if dashed { text.replace('-', "") } else { text.to_owned() };
    is_hex(&digits, 32) && digits.as_bytes()[12] == b'4' && b"89ab".contains(&digits.as_bytes()[16])
}

/// Name and organisation of `name@org.beam.directory`; no organisation for `name@beam.directory`.
pub(super) fn split_beam_id(text: &str) -> Option<(&str, Option<&str>)> {
    let label = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
    };
    let (name, domain) = text.split_once('@')?;
    if domain == "beam.directory" {
        return label(name).then_some((name, None));
    }
    let org = domain.strip_suffix(".beam.directory")?;
    (label(name) && label(org)).then_some((name, Some(org)))
}

/// The DIDs that a Beam id may have. A personal agent's holds its name, or (observed for names of five letters) all of its id.
pub(super) fn dids_of(beam_id: &str) -> Vec<String> {
    match split_beam_id(beam_id) {
        Some((name, Some(org))) => vec![format!("did:beam:{org}:{name}")],
        Some((name, None)) => vec![format!("did:beam:{name}"), format!("did:beam:{beam_id}")],
        None => Vec::new(),
    }
}

/// The 32 bytes of an Ed25519 public key in base64 of its SPKI form.
pub(super) fn ed25519(spki: &str) -> Option<[u8; 32]> {
    use base64::Engine as _;
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let bytes = base64::engine::general_purpose::STANDARD.decode(spki).ok()?;
    bytes.strip_prefix(PREFIX.as_slice())?.try_into().ok()
}

/// An Ed25519 key as base58btc multibase.
pub(super) fn multibase(raw: &[u8; 32]) -> String {
    const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut digits: Vec<u8> = vec![0];
    for byte in [&[0xed, 0x01], raw.as_slice()].concat() {
        let mut carry = u32::from(byte);
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
    let text = digits.iter().rev().map(|digit| char::from(BASE58[usize::from(*digit)]));
    std::iter::once('z').chain(text).collect()
}

/// The first 16 hexadecimal digits of a text's SHA-256, as the shield stores them.
pub(super) fn short_hash(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Length of a text in UTF-16 units, as JavaScript counts.
pub(super) fn js_length(text: &str) -> i64 {
    i64::try_from(text.encode_utf16().count()).unwrap_or(i64::MAX)
}

/// Why a text is not what `JSON.stringify` would write; `None` if it may be.
pub(super) fn json_fault(text: &str) -> Option<&'static str> {
    let Ok(value) = serde_json::from_str::<Value>(text) else {
        return Some("text that is no JSON");
    };
    if !js_numbers(&value) {
        return Some("a number that JavaScript writes otherwise");
    }
    let again = value.to_string();
    let exponents = text.contains("e+") || text.contains("e-") || text.contains("\\ud");
    (again != text && !exponents).then_some("JSON that serialises to another text")
}

/// JavaScript writes whole numbers without decimals.
fn js_numbers(value: &Value) -> bool {
    match value {
        Value::Number(number) if number.is_f64() => number
            .as_f64()
            .is_some_and(|number| number.fract() != 0.0 || number.abs() >= 1e21),
        Value::Array(items) => items.iter().all(js_numbers),
        Value::Object(members) => members.values().all(js_numbers),
        _ => true,
    }
}

/// The retry delay of attempt `n` in seconds (contract 3.3).
pub(super) fn retry_delay_s(nonce: &str, attempt: i64) -> f64 {
    let base = [30.0, 60.0, 120.0, 240.0, 480.0];
    let at = usize::try_from((attempt - 1).clamp(0, 4)).unwrap_or(0);
    let hash = format!("{nonce}:{attempt}")
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let jitter = f64::from(hash.unsigned_abs() % 31) - 15.0;
    (base[at] * (1.0 + jitter / 100.0)).round().max(5.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed_strictly() {
        assert_eq!(iso_ms("2026-11-23T23:29:46.494Z"), Some(1_795_476_586_494));
        for wrong in [
            "2026-11-23T23:29:46Z",
            "2026-02-29T00:00:00.000Z",
            "2026-11-23 23:29:46.494Z",
        ] {
            assert_eq!(iso_ms(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_recorded_key_has_its_recorded_multibase_form() {
        let raw = ed25519("MCowBQYDK2VwAyEA14gPogtGrDed7Mt/YnEgQpQxEqXPpHuGycPdTt/1bpY=").expect("a key");
        assert_eq!(multibase(&raw), "z6Mktxc2uGSRjFsCTpcYSpfkQ7LGA7nvBM25rY5UYx4SL4oP");
    }

    #[test]
    fn json_that_javascript_would_not_write_is_told() {
        assert_eq!(json_fault(r#"{"a":1,"b":[0.5,"é"]}"#), None);
        for wrong in [r#"{"a": 1}"#, r#"{"a":1,"a":2}"#, r#"{"a":1.0}"#, "{"] {
            assert!(json_fault(wrong).is_some(), "{wrong}");
        }
    }

    #[test]
    fn recorded_retry_delays_are_computed() {
        assert_eq!(retry_delay_s("bus-queued-1", 1), 30.0);
        assert_eq!(retry_delay_s("crash-bus-103", 1), 35.0);
    }
}
