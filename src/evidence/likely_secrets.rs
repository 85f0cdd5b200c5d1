//! What looks like a secret, by its form alone: for those that nobody told the harness of.

/// Beginnings of tokens and keys, and how many characters of one must follow.
const BEGINNINGS: [(&str, usize); 5] = [
    ("eyJhbGciOi", 20),
    ("bk_", 16),
    ("beam_org_", 16),
    ("re_", 24),
    ("sk_live_", 8),
];

/// Ends of names whose values are secrets.
const NAMES: [&str; 5] = ["SECRET", "API_KEY", "TOKEN", "PASSWORD", "PRIVATE_KEY"];

/// What of a line looks like a secret: what it is, and the value.
#[must_use]
pub fn likely_secrets(line: &str) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    if line.contains("-----BEGIN") && line.contains("PRIVATE KEY-----") {
        found.push(("private key".to_owned(), line));
    }
    for (beginning, more) in BEGINNINGS {
        for (at, _) in line.match_indices(beginning) {
            let is_start = !line[..at].ends_with(is_of_a_word);
            let value = value_at(&line[at..]);
            if is_start && value.len() >= beginning.len() + more {
                found.push((format!("{beginning}…"), value));
            }
        }
    }
    for (at, _) in line.match_indices("token=") {
        let value = value_at(&line[at + "token=".len()..]);
        if value.len() >= 16 {
            found.push(("token=…".to_owned(), value));
        }
    }
    for (user, password) in address_passwords(line) {
        if !password.starts_with(['<', '$', '{']) {
            found.push((
                format!("password of {}", user.chars().take(12).collect::<String>()),
                password,
            ));
        }
    }
    for (at, _) in line.match_indices('=') {
        let start = line[..at].rfind(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
        let name = &line[start.map_or(0, |start| start + 1)..at];
        let name = name.trim_start_matches(|c: char| !c.is_ascii_uppercase());
        let value = value_at(&line[at + 1..]);
        if NAMES.iter().any(|end| name.ends_with(end)) && value.len() >= 6 {
            found.push((name.to_owned(), value));
        }
    }
    found
}

/// User and password of every address that holds them: `scheme://user:password@host`.
pub(crate) fn address_passwords(text: &str) -> Vec<(&str, &str)> {
    let of_address = |(at, _): (usize, &str)| {
        let rest = &text[at + "://".len()..];
        let end = rest.find(|c: char| c.is_whitespace() || "/\"'<>`?#|".contains(c) && c != '<');
        let (before, _) = rest[..end.unwrap_or(rest.len())].rsplit_once('@')?;
        let (user, password) = before.split_once(':')?;
        (!password.is_empty()).then_some((user, password))
    };
    text.match_indices("://").filter_map(of_address).collect()
}

/// What stands at the start of a text, up to a space, quote or bracket: nothing of `<redacted>`, `{jwt_secret}`, `$SECRET`.
fn value_at(text: &str) -> &str {
    let end = text.find(|c: char| !(is_of_a_word(c) || ".-+/=:%~".contains(c)));
    &text[..end.unwrap_or(text.len())]
}

fn is_of_a_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The text with the values of what looks like a secret replaced by `<redacted>`.
pub(crate) fn without_likely_secrets(text: &str) -> String {
    let clean = |line: &str| {
        let mut found: Vec<&str> = likely_secrets(line).into_iter().map(|(_, value)| value).collect();
        found.sort_by_key(|value| std::cmp::Reverse(value.len()));
        let redacted = |text: String, value: &&str| text.replace(value, "<redacted>");
        found.iter().fold(line.to_owned(), redacted)
    };
    text.split('\n').map(clean).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_found_and_its_value_taken_out() {
        let secret = "4f5e6d7c8b9a0f1e2d3c";
        for line in [
            format!("JWT_SECRET={secret}"),
            format!("env: BUS_API_KEY={secret};"),
            format!("link http://127.0.0.1/verify?token={secret}"),
            format!("Authorization: Bearer eyJhbGciOi{secret}"),
            format!("key bk_{secret}"),
            format!("cannot reach https://somebody:{secret}@host.test/path"),
        ] {
            assert_eq!(likely_secrets(&line).len(), 1, "{line}");
            let clean = without_likely_secrets(&format!("a\n{line}\nb"));
            assert!(
                !clean.contains(secret) && clean.starts_with("a\n") && clean.ends_with("\nb"),
                "{clean}"
            );
            assert!(likely_secrets(&clean).is_empty(), "{clean}");
        }
    }

    #[test]
    fn what_was_redacted_and_what_is_to_be_filled_in_is_no_secret() {
        for line in [
            "JWT_SECRET=<redacted>",
            "JWT_SECRET={jwt_secret}",
            "JWT_SECRET=$JWT_SECRET",
            "link http://127.0.0.1/verify?token=<redacted>",
            "config of staging: JWT_SECRET is set",
            "DIRECTORY_URL=http://127.0.0.1:1234",
        ] {
            assert!(likely_secrets(line).is_empty(), "{line}");
            assert_eq!(without_likely_secrets(line), line);
        }
    }
}
