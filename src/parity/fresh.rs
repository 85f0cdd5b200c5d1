//! What services showed that were started on empty files for a comparison. Started elsewhere; here are plain facts.

use crate::deployment::Service;
use crate::deployment::schema::SchemaFacts;
use serde_json::Value;

/// One answer of a started service.
#[derive(Debug, Clone)]
pub struct Answer {
    /// `started directory GET /release`; the same before and after the restart.
    pub place: String,
    /// Answers of one process are one source.
    pub source: String,
    /// When it was given, RFC 3339 UTC.
    pub at: String,
    /// The answer.
    pub answer: Value,
}

/// What the services of one environment showed.
#[derive(Debug, Clone, Default)]
pub struct Fresh {
    /// Each answer about the release, before and after a restart on the same files.
    pub releases: Vec<[Answer; 2]>,
    /// The schema that each created.
    pub schemas: Vec<(Service, SchemaFacts)>,
    /// Why there is nothing of the above.
    pub problem: Option<String>,
}
