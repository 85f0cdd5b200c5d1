//! The chain of a record: each step and each check bound to those before it, and a digest of the whole.
//!
//! It has no key. It shows what was removed, exchanged or edited by somebody who did not compute it anew; whoever edits
//! everything and computes the chain again is seen only by what contradicts itself, and by a seal with a key of one's own.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Links of a record. Empty until the run is closed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// A link a step, in their order: SHA-256 of the link before (of nothing for the first), a line feed and the step as
    /// compact JSON.
    pub steps: Vec<String>,
    /// A link a check, likewise; the first follows the last step's.
    pub checks: Vec<String>,
    /// SHA-256 of the whole document as it is stored, with this member empty; empty until the run is closed.
    pub whole: String,
}

impl Chain {
    /// The links of these steps and checks; the digest of the whole is left empty.
    pub(crate) fn of(steps: &[impl Serialize], checks: &[impl Serialize]) -> Chain {
        let mut before = String::new();
        let steps = links(&mut before, steps);
        let checks = links(&mut before, checks);
        Chain {
            steps,
            checks,
            whole: String::new(),
        }
    }
}

fn links(before: &mut String, members: &[impl Serialize]) -> Vec<String> {
    let link = |member| {
        // Plain data with text keys: serialising cannot fail.
        let text = serde_json::to_string(member).unwrap_or_default();
        *before = sha256(format!("{before}\n{text}").as_bytes());
        before.clone()
    };
    members.iter().map(link).collect()
}

/// SHA-256 as lower-case hex.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_removed_changes_every_link_after_it() {
        let (all, fewer) = (Chain::of(&["a", "b", "c"], &["x"]), Chain::of(&["a", "c"], &["x"]));
        assert_eq!(all.steps[0], fewer.steps[0]);
        assert_ne!(all.steps[1], fewer.steps[1]);
        assert_ne!(all.checks, fewer.checks);
    }

    #[test]
    fn a_link_can_be_computed_with_any_sha256() {
        // printf '\n"a"' | sha256sum
        let expected = "2884dfceb2e4d323d3d24455af52e93f57003a3390bbb119212da7e65acc68f8";
        assert_eq!(Chain::of(&["a"], &[] as &[&str]).steps, [expected]);
    }
}
