//! The audit entries of an intent's trace: all of them, until the log is longer than what a trace searches.
//!
//! A trace names the entries of its nonce among the newest of the log only; what the drill itself adds (logins, proof packs)
//! pushes older ones out of that window. Adds to what [`crate::checks::traces`] has seen. Source: Beam 1.6.0, contract
//! section 2.10.

use crate::checks::expectation::{Fields, Objects};
use crate::checks::observing::{ObserveError, integer};
use crate::checks::traces::ALL;
use crate::client::Access;
use serde_json::Value;

/// How many of the newest entries a trace searches.
const WINDOW: u64 = 100;
/// How many entries there are; it moves with every login, so it is no field to compare.
const ENTRIES: &str = "audit entries in all";

/// Reads how many entries the log has.
///
/// # Errors
/// A call that fails, an answer of another shape.
pub(crate) async fn observe(access: &Access, objects: &mut Objects) -> Result<(), ObserveError> {
    let log = access.directory.get("/observability/audit?limit=1").await?.body;
    objects.set(ALL, ENTRIES, integer(&log, "total", "GET /observability/audit")?);
    Ok(())
}

/// Takes the number of entries from what is expected of an intent; and, where the log is longer than the window and `seen`
/// shows the newer part of the expected entries (they stand newest first), the older part.
pub(crate) fn cut_at_old_end(fields: &mut Fields, seen: Option<&Fields>, observed: &Objects) {
    fields.remove(ENTRIES);
    let all = observed.0.get(ALL).and_then(|list| list.get(ENTRIES)?.as_u64());
    if all.is_none_or(|all| all <= WINDOW) {
        return;
    }
    let shown = seen.and_then(|seen| seen.get("audit")?.as_array());
    let (Some(Value::Array(entries)), Some(shown)) = (fields.get_mut("audit"), shown) else {
        return;
    };
    if entries.starts_with(shown) {
        entries.truncate(shown.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// What is left of the expected entries when these are shown by a log of that length.
    fn left(shown: &[&str], all: u64) -> Option<Value> {
        let mut observed = Objects::default();
        observed.set(ALL, ENTRIES, all);
        observed.set("intent n", "audit", json!(shown));
        let mut fields = Fields::from([
            ("audit".to_owned(), json!(["new", "old"])),
            (ENTRIES.to_owned(), json!(99)),
        ]);
        let seen = observed.0.get("intent n").cloned();
        cut_at_old_end(&mut fields, seen.as_ref(), &observed);
        assert!(!fields.contains_key(ENTRIES));
        fields.remove("audit")
    }

    #[test]
    fn only_the_old_end_may_leave_a_full_window() {
        assert_eq!(left(&["new"], 101), Some(json!(["new"])));
        assert_eq!(left(&["old"], 101), Some(json!(["new", "old"])), "lost in the middle");
    }

    #[test]
    fn a_log_that_fits_into_the_window_loses_nothing() {
        assert_eq!(left(&["new"], 100), Some(json!(["new", "old"])));
    }
}
