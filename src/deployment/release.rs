//! Release truth: the triple that a service states of itself.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Fewer digits of a commit tell too little.
const FEWEST_DIGITS: usize = 7;
const MOST_DIGITS: usize = 40;

/// Version, commit and time of a deployment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Version text.
    pub version: Option<String>,
    /// 7 to 40 hexadecimal digits.
    pub git_sha: Option<String>,
    /// RFC 3339.
    pub deployed_at: Option<String>,
}

impl Release {
    /// Whether this is the release of which `stated` says version or commit: a `v` before the version does not matter, a
    /// commit may be cut to 7 digits. What `stated` leaves out is not asked; what this one leaves out does not agree.
    #[must_use]
    pub fn is(&self, stated: &Release) -> bool {
        let agrees = |stated: &Option<String>, seen: &Option<String>, same: fn(&str, &str) -> bool| match (stated, seen)
        {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(one), Some(other)) => same(one, other),
        };
        agrees(&stated.version, &self.version, is_same_version)
            && agrees(&stated.git_sha, &self.git_sha, is_same_commit)
    }
}

/// Whether a text is a commit: 7 to 40 hexadecimal digits.
#[must_use]
pub fn is_commit(text: &str) -> bool {
    (FEWEST_DIGITS..=MOST_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether two texts are one version: spaces around it, and the letter that tags put before it, do not matter.
#[must_use]
pub fn is_same_version(one: &str, other: &str) -> bool {
    number(one.trim()) == number(other.trim())
}

/// Whether two texts are one commit, of which either may be cut to 7 digits.
#[must_use]
pub fn is_same_commit(one: &str, other: &str) -> bool {
    let (one, other) = (one.trim().to_lowercase(), other.trim().to_lowercase());
    one == other
        || (one.len().min(other.len()) >= FEWEST_DIGITS && (one.starts_with(&other) || other.starts_with(&one)))
}

/// A version without the letter that tags put before it.
fn number(version: &str) -> &str {
    let bare = version.strip_prefix(['v', 'V']).unwrap_or(version);
    if bare.starts_with(|c: char| c.is_ascii_digit()) {
        bare
    } else {
        version
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().unwrap_or("no version");
        match &self.git_sha {
            Some(sha) => write!(f, "{version} ({})", sha.get(..12).unwrap_or(sha)),
            None => f.write_str(version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(version: &str, sha: &str) -> Release {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Release {
            version: some(version),
            git_sha: some(sha),
            deployed_at: None,
        }
    }

    #[test]
    fn a_release_is_the_stated_one_by_version_and_commit() {
        let seen = release("1.6.0", "0123456789abcdef0123456789abcdef01234567");
        assert!(seen.is(&release("", "")));
        assert!(seen.is(&release("v1.6.0", "0123456")));
        assert!(seen.is(&release(" V1.6.0 ", "0123456789AB")));
        assert!(!seen.is(&release("1.6.1", "")));
        assert!(!seen.is(&release("1.6.0", "0123457")));
        // Six digits tell too little.
        assert!(!seen.is(&release("", "012345")));
    }

    #[test]
    fn what_is_not_seen_does_not_agree() {
        assert!(!release("", "").is(&release("1.6.0", "")));
        assert!(!release("1.6.0", "").is(&release("1.6.0", "0123456")));
    }
}
