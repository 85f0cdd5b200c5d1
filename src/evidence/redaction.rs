//! Keeps known secrets out of evidence, reports, logs and error texts.

use crate::evidence::likely_secrets::without_likely_secrets;

/// The secrets of a run; everything that leaves the harness as text goes through [`Secrets::redact`].
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({} set)", self.0.len())
    }
}

impl Secrets {
    /// Adds a secret, with its base64 and percent-encoded forms. Values shorter than 6 characters would blank
    /// innocent text and are left out.
    pub fn add(&mut self, secret: &str) {
        use base64::Engine as _;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
        if secret.len() < 6 {
            return;
        }
        let forms = [
            secret.to_owned(),
            percent_encoded(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
        ];
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
    fn debug_output_shows_no_secret() {
        let mut secrets = Secrets::default();
        secrets.add("topsecret");
        assert!(!format!("{secrets:?}").contains("topsecret"));
    }
}
