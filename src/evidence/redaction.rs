//! Keeps known secrets out of evidence, reports, logs and error texts.

use crate::evidence::likely_secrets::{address_passwords, without_likely_secrets};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The secrets of a run; everything that leaves the harness as text goes through [`Secrets::redact`].
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} set)", self.0.len())
    }
}

impl Secrets {
    /// The secrets that this process was given in its variables, known by the variables' names.
    #[must_use]
    pub fn of_process() -> Secrets {
        let mut secrets = Secrets::default();
        for (name, value) in std::env::vars_os() {
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str()) {
                secrets.learn(name, value);
            }
        }
        secrets
    }

    /// Adds the value of a variable if its name says that it is a secret; and the password of an address in any.
    pub fn learn(&mut self, name: &str, value: &str) {
        if is_secret_name(name) && value.len() >= SHORTEST_OF_A_NAME {
            self.add(value);
            // A private key stands on several lines, or with `\n` in one.
            value
                .split(['\n', '\r'])
                .filter(|line| line.len() >= 20)
                .for_each(|line| self.add(line));
        }
        for (_, password) in address_passwords(value) {
            self.add(password);
        }
    }

    /// Adds a secret, with its hexadecimal, base64 and percent-encoded forms; of base64 at each of the three places where it
    /// may stand in a longer text. Values shorter than 6 characters would blank innocent text and are left out.
    pub fn add(&mut self, secret: &str) {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
        if secret.len() < 6 {
            return;
        }
        let percent = percent_encoded(secret);
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        let json = serde_json::Value::from(secret).to_string();
        let mut forms = vec![
            secret.to_owned(),
            json.trim_matches('"').to_owned(),
            percent.replace("%20", "+"),
            lower_percent(&percent),
            percent,
            hex.to_uppercase(),
            hex,
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
        ];
        for before in 0..3_usize {
            let mut shifted = vec![0; before];
            shifted.extend_from_slice(secret.as_bytes());
            // Characters that a neighbour shares are left out.
            let (from, to) = ((before * 8).div_ceil(6), shifted.len() * 8 / 6);
            for encoded in [STANDARD_NO_PAD.encode(&shifted), URL_SAFE_NO_PAD.encode(&shifted)] {
                forms.extend(
                    encoded
                        .get(from..to)
                        .filter(|inner| inner.len() >= 8)
                        .map(str::to_owned),
                );
            }
        }
        for form in forms {
            if !self.0.contains(&form) {
                self.0.push(form);
            }
        }
        // Longest first, so that a secret within a secret does not leave the rest standing.
        self.0.sort_by_key(|form| std::cmp::Reverse(form.len()));
    }

    /// The text with every secret replaced by `<redacted>`: those that are known, and what looks like one (a token that a
    /// service made and printed).
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for secret in &self.0 {
            if clean.contains(secret.as_str()) {
                clean = clean.replace(secret.as_str(), "<redacted>");
            }
        }
        without_likely_secrets(&clean)
    }

    /// A document with every text in it redacted.
    ///
    /// # Errors
    /// Where a redacted text is none that the document can hold.
    pub fn redact_document<T: Serialize + DeserializeOwned>(&self, document: &T) -> Result<T, serde_json::Error> {
        let mut value = serde_json::to_value(document)?;
        redact_texts(&mut value, self);
        serde_json::from_value(value)
    }
}

fn redact_texts(value: &mut serde_json::Value, secrets: &Secrets) {
    match value {
        serde_json::Value::String(text) => *text = secrets.redact(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| redact_texts(item, secrets)),
        serde_json::Value::Object(members) => members.values_mut().for_each(|member| redact_texts(member, secrets)),
        _ => {}
    }
}

/// Shorter values of secret variables are words such as `off`.
const SHORTEST_OF_A_NAME: usize = 8;

/// Whether a variable of that name holds a secret.
fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let ends = [
        "SECRET",
        "TOKEN",
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "PASS",
        "PWD_HASH",
        "PRIVATE",
        "CREDENTIAL",
        "CREDENTIALS",
        "_KEY",
        "APIKEY",
        "_DSN",
        "_AUTH",
        "SESSION",
        "COOKIE",
        "KEY_BASE64",
        "PRIVATE_KEY_B64",
        "PRIVATE_KEY_PEM",
    ];
    ends.iter().any(|end| name.ends_with(end)) && !name.ends_with("PUBLIC_KEY")
}

fn lower_percent(text: &str) -> String {
    let mut lower = String::with_capacity(text.len());
    let mut left = 0_u8;
    for c in text.chars() {
        left = if c == '%' { 3 } else { left };
        lower.push(if left > 0 { c.to_ascii_lowercase() } else { c });
        left = left.saturating_sub(1);
    }
    lower
}

fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_replaced_in_plain_base64_and_percent_encoded_form() {
        let mut secrets = Secrets::default();
        secrets.add("s3cret/+value");
        let text = "a s3cret/+value b czNjcmV0Lyt2YWx1ZQ== c s3cret%2F%2Bvalue d";
        assert_eq!(secrets.redact(text), "a <redacted> b <redacted>== c <redacted> d");
    }

    #[test]
    fn a_secret_within_a_longer_text_is_found_in_base64_and_hexadecimal() {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD, URL_SAFE};
        let secret = "pa55~word?of>a<run";
        let mut secrets = Secrets::default();
        secrets.add(secret);
        for before in ["", "a", "ab", "abc"] {
            let text = format!("{before}{secret}:after");
            for encoded in [STANDARD.encode(&text), URL_SAFE.encode(&text)] {
                let left = secrets.redact(&encoded);
                assert!(
                    left.contains("<redacted>") && left.len() < "<redacted>".len() + 18,
                    "{left}"
                );
            }
        }
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            secrets.redact(&format!("{hex} {}", hex.to_uppercase())),
            "<redacted> <redacted>"
        );
        assert_eq!(secrets.redact("pa55~word%3fof%3ea%3crun"), "<redacted>");
    }

    #[test]
    fn variables_are_secrets_by_their_name_and_passwords_by_their_place() {
        let mut secrets = Secrets::default();
        secrets.learn("SMTP_PASS", "abcdefgh1");
        secrets.learn("SMTP_HOST", "mail.test");
        secrets.learn("DATABASE_URL", "https://user:p4ssw0rd-x@db.test/x");
        assert_eq!(
            secrets.redact("abcdefgh1 mail.test p4ssw0rd-x"),
            "<redacted> mail.test <redacted>"
        );
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let mut secrets = Secrets::default();
        secrets.add("topsecret");
        assert!(!format!("{secrets:?}").contains("topsecret"));
    }
}
