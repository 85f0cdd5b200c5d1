//! Release truth: the triple that a service states of itself.

use serde::{Deserialize, Serialize};

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
