//! Is every acknowledged write before the cut there?
//!
//! Looks up the row that proves each write of the ledger. An acknowledged one without it is lost; an unknown one may be there
//! or not; a refused one must not be there. Never counts a write whose row cannot tell.

use crate::evidence::{CheckId, Finding, Judgement, private};
use crate::seed::ledger::{Ledger, Outcome, Row, Write};
use crate::snapshot::database::{DatabaseError, Databases};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// This check.
pub const ID: CheckId = CheckId::Rpo;

/// A write that stands in the wrong state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Astray {
    /// Kind and name of the write.
    pub write: String,
    /// Service and table.
    pub place: String,
    /// Milliseconds between its answer (of a refused one: its sending) and the outage.
    pub age_ms: i64,
}

/// What the lookup found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Acknowledged writes with a row that proves them.
    pub acknowledged: u64,
    /// Those without it.
    pub lost: Vec<Astray>,
    /// Writes that ended without an answer and are there; no finding.
    pub unknown_present: u64,
    /// Refused writes that are there.
    pub refused_present: Vec<Astray>,
}

impl Facts {
    /// Age of the oldest lost write at the outage, in milliseconds; `None` when none is lost.
    #[must_use]
    pub fn oldest_lost_age_ms(&self) -> Option<i64> {
        self.lost.iter().map(|lost| lost.age_ms).max()
    }
}

/// Looks up every proof of the ledger in a snapshot or in restored files. A table that cannot be read holds nothing.
#[must_use]
pub fn observe(databases: &Databases, ledger: &Ledger, outage_at: Timestamp) -> Facts {
    let mut facts = Facts::default();
    for write in ledger.writes() {
        let Some(row) = &write.row else { continue };
        let there = present(databases, row).unwrap_or(false);
        match (write.outcome, there) {
            (Outcome::Acknowledged, there) => {
                facts.acknowledged += 1;
                if !there {
                    facts.lost.push(astray(write, row, outage_at));
                }
            }
            (Outcome::Unknown, true) => facts.unknown_present += 1,
            (Outcome::Refused, true) => facts.refused_present.push(astray(write, row, outage_at)),
            (Outcome::Unknown | Outcome::Refused, false) => {}
        }
    }
    facts
}

fn astray(write: &Write, row: &Row, outage_at: Timestamp) -> Astray {
    let at = write.answered_at.unwrap_or(write.sent_at);
    let name = if write.key.contains('@') && row.table == "waitlist" {
        // The e-mail of a person, not a Beam id.
        private(write.key.as_bytes())
    } else {
        write.key.clone()
    };
    Astray {
        write: format!("{} {name}", write.kind),
        place: format!("{} {}", row.service, row.table),
        age_ms: outage_at.as_millisecond() - at.as_millisecond(),
    }
}

fn present(databases: &Databases, row: &Row) -> Result<bool, DatabaseError> {
    let mut conditions = Vec::with_capacity(row.key.len());
    let mut values = Vec::with_capacity(row.key.len());
    for (column, value) in &row.key {
        let column = column.replace('"', "\"\"");
        match value {
            Value::Null => conditions.push(format!("\"{column}\" IS NULL")),
            Value::String(text) => {
                values.push(text.clone());
                conditions.push(format!("\"{column}\" = ?{}", values.len()));
            }
            Value::Bool(flag) => {
                values.push(i32::from(*flag).to_string());
                conditions.push(format!("\"{column}\" = ?{}", values.len()));
            }
            other => {
                values.push(other.to_string());
                conditions.push(format!("\"{column}\" = ?{}", values.len()));
            }
        }
    }
    let table = row.table.replace('"', "\"\"");
    let sql = format!("SELECT 1 FROM \"{table}\" WHERE {} LIMIT 1", conditions.join(" AND "));
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    Ok(!databases.of(row.service).rows(&sql, &values)?.is_empty())
}

/// Lost writes above the limit are findings, refused ones that are there always are.
#[must_use]
pub fn judge(facts: &Facts, limit_writes: u64) -> Judgement {
    let lost = facts.lost.len() as u64;
    let oldest = facts
        .oldest_lost_age_ms()
        .map_or_else(String::new, |age| format!(", the oldest {age} ms before the outage"));
    let mut judged = Judgement {
        items: facts.acknowledged,
        expected: format!(
            "{} acknowledged writes, at most {limit_writes} lost",
            facts.acknowledged
        ),
        observed: format!("{lost} lost{oldest}"),
        ..Judgement::default()
    };
    if lost > limit_writes {
        for lost in &facts.lost {
            judged.findings.push(Finding::new(
                &lost.write,
                "present, it was acknowledged",
                format!("absent, {} ms old at the outage", lost.age_ms),
                &lost.place,
            ));
        }
    } else if lost > 0 {
        judged.notes.push(format!("{lost} lost writes are within the limit"));
    }
    for refused in &facts.refused_present {
        judged.findings.push(Finding::new(
            &refused.write,
            "absent, it was refused",
            "present",
            &refused.place,
        ));
    }
    if facts.unknown_present > 0 {
        judged
            .notes
            .push(format!("{} writes without an answer are there", facts.unknown_present));
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;

    fn lost(age_ms: i64) -> Astray {
        Astray {
            write: "intent n-1".to_owned(),
            place: "directory intent_log".to_owned(),
            age_ms,
        }
    }

    #[test]
    fn nothing_lost_passes() {
        let facts = Facts {
            acknowledged: 3,
            ..Facts::default()
        };
        assert_eq!(judge(&facts, 0).verdict(), Verdict::Pass);
    }

    #[test]
    fn a_lost_write_is_a_finding_with_its_age() {
        let facts = Facts {
            acknowledged: 3,
            lost: vec![lost(5), lost(70)],
            ..Facts::default()
        };
        let judged = judge(&facts, 0);
        assert_eq!(judged.findings.len(), 2);
        assert_eq!(judged.observed, "2 lost, the oldest 70 ms before the outage");
    }

    #[test]
    fn losses_within_the_limit_are_a_note() {
        let facts = Facts {
            acknowledged: 3,
            lost: vec![lost(5)],
            ..Facts::default()
        };
        let judged = judge(&facts, 1);
        assert_eq!((judged.verdict(), judged.notes.len()), (Verdict::Pass, 1));
    }

    #[test]
    fn a_refused_write_that_is_there_is_a_finding() {
        let facts = Facts {
            acknowledged: 1,
            refused_present: vec![lost(5)],
            ..Facts::default()
        };
        assert_eq!(judge(&facts, 9).findings[0].observed, "present");
    }

    #[test]
    fn no_acknowledged_write_is_inconclusive() {
        assert_eq!(judge(&Facts::default(), 0).verdict(), Verdict::Inconclusive);
    }
}
