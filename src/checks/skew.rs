//! `skew`: do directory and bus agree on the nonces that both know?
//!
//! Two files without a common snapshot point; the nonce is the join key (contract 8.7). A delivery that the bus recorded
//! (`delivered_at`) means that the directory answered success, so its intent is there, acked, between the same parties.
//! The reverse cannot be told from rows alone (nothing marks an intent as the bus's): there the ledger's nonces speak.

use crate::deployment::Service;
use crate::evidence::{CheckId, Finding, Judgement, short};
use crate::snapshot::database::{DatabaseError, Databases, Row};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The check.
pub const ID: CheckId = CheckId::Skew;

/// One message with what both sides say of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The nonce.
    pub nonce: String,
    /// The bus's status.
    pub bus_status: String,
    /// Whether the bus recorded a delivery.
    pub was_delivered: bool,
    /// The bus's sender, recipient, intent.
    pub bus_parties: [String; 3],
    /// The directory's status; `None` when it does not know the nonce.
    pub directory_status: Option<String>,
    /// The directory's sender, recipient, intent.
    pub directory_parties: Option<[String; 3]>,
    /// Whether sender and recipient are both still registered.
    pub are_registered: bool,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Every bus message.
    pub pairs: Vec<Pair>,
    /// Nonces that must be on the bus, but the bus does not know them; by whether the directory does.
    pub lost_by_bus: Vec<(String, bool)>,
    /// Whether the audit log tells of a prune: then missing intents are lawful.
    pub was_pruned: bool,
}

/// Joins both files of one set. `sent` are the nonces that must be on the bus: of acknowledged writes before the cut; without
/// a ledger those that both files of the source know.
///
/// # Errors
/// [`DatabaseError`].
pub fn observe(set: &Databases, sent: &BTreeSet<String>) -> Result<Facts, DatabaseError> {
    let three = |row: &Row, columns: [&str; 3]| columns.map(|name| row.text(name).unwrap_or_default().to_owned());
    let intents: BTreeMap<String, (String, [String; 3])> = set
        .directory
        .rows(
            "SELECT nonce, status, from_beam_id, to_beam_id, intent_type FROM intent_log",
            &[],
        )?
        .iter()
        .map(|row| {
            let parties = three(row, ["from_beam_id", "to_beam_id", "intent_type"]);
            let status = row.text("status").unwrap_or_default().to_owned();
            (row.text("nonce").unwrap_or_default().to_owned(), (status, parties))
        })
        .collect();
    let agents: BTreeSet<String> = set
        .directory
        .rows("SELECT beam_id FROM agents", &[])?
        .iter()
        .filter_map(|row| row.text("beam_id").map(str::to_owned))
        .collect();
    let pruned = set.directory.rows(
        "SELECT 1 FROM audit_log WHERE action='observability.prune' LIMIT 1",
        &[],
    )?;
    let messages = set.bus.rows(
        "SELECT coalesce(nonce, id) AS nonce, status, delivered_at IS NOT NULL AS delivered, sender, recipient, intent \
         FROM beam_messages ORDER BY nonce",
        &[],
    )?;
    let mut pairs = Vec::new();
    for row in &messages {
        let nonce = row.text("nonce").unwrap_or_default().to_owned();
        let known = intents.get(&nonce);
        let parties = three(row, ["sender", "recipient", "intent"]);
        // The built-in echo recipient has no agents row.
        let is_known = |id: &String| agents.contains(id) || id.starts_with("echo@");
        pairs.push(Pair {
            are_registered: is_known(&parties[0]) && is_known(&parties[1]),
            bus_status: row.text("status").unwrap_or_default().to_owned(),
            was_delivered: row.integer("delivered") == Some(1),
            directory_status: known.map(|(status, _)| status.clone()),
            directory_parties: known.map(|(_, parties)| parties.clone()),
            bus_parties: parties,
            nonce,
        });
    }
    let on_bus: BTreeSet<&str> = pairs.iter().map(|pair| pair.nonce.as_str()).collect();
    let lost_by_bus = sent
        .iter()
        .filter(|nonce| !on_bus.contains(nonce.as_str()))
        .map(|nonce| (nonce.clone(), intents.contains_key(nonce)))
        .collect();
    Ok(Facts {
        pairs,
        lost_by_bus,
        was_pruned: !pruned.is_empty(),
    })
}

/// Judges every recorded delivery and every nonce of the ledger.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let delivered = facts.pairs.iter().filter(|pair| pair.was_delivered).count();
    let both = facts
        .pairs
        .iter()
        .filter(|pair| pair.directory_status.is_some())
        .count();
    let mut judged = Judgement {
        items: (delivered + facts.lost_by_bus.len()) as u64,
        expected: format!("{delivered} recorded deliveries are acked intents"),
        observed: format!("{} messages, {both} of their nonces known to both", facts.pairs.len()),
        ..Judgement::default()
    };
    for pair in &facts.pairs {
        judge_pair(pair, facts.was_pruned, &mut judged);
    }
    for (nonce, has_intent) in &facts.lost_by_bus {
        let observed = if *has_intent {
            "absent, while the directory has its intent: the bus file is older"
        } else {
            "absent in both files"
        };
        judged.findings.push(Finding::new(
            format!("nonce {}", short(nonce)),
            "a bus message (ledger or source)",
            observed,
            Service::Bus.database_file(),
        ));
    }
    judged
}

fn judge_pair(pair: &Pair, was_pruned: bool, judged: &mut Judgement) {
    // The bus keeps `delivered_at` through delivered, acked and failed; a requeued row may carry an old one.
    let is_settled = matches!(pair.bus_status.as_str(), "delivered" | "acked" | "failed");
    if !is_settled || !(pair.was_delivered || pair.bus_status != "failed") {
        return;
    }
    let subject = format!("nonce {}", short(&pair.nonce));
    let place = "beam_messages.nonce = intent_log.nonce";
    let Some(status) = &pair.directory_status else {
        if was_pruned || !pair.are_registered {
            let why = if was_pruned {
                "the directory was pruned"
            } else {
                "a party is no longer registered"
            };
            judged
                .notes
                .push(format!("{subject}: {} on the bus, no intent: {why}", pair.bus_status));
        } else {
            let expected = format!("an acked intent: the bus says {}", pair.bus_status);
            judged
                .findings
                .push(Finding::new(subject, expected, "no such intent", place));
        }
        return;
    };
    if status != "acked" {
        let expected = format!("acked: the bus says {}", pair.bus_status);
        judged
            .findings
            .push(Finding::new(subject.clone(), expected, short(status), place));
    }
    if let Some(parties) = pair
        .directory_parties
        .as_ref()
        .filter(|parties| **parties != pair.bus_parties)
    {
        let words = |parties: &[String; 3]| short(&parties.join(" → "));
        judged
            .findings
            .push(Finding::new(subject, words(&pair.bus_parties), words(parties), place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Verdict;
    use crate::snapshot::recorded::{alter, bricked, file, hot_crash, plain_at_rest};
    use tempfile::TempDir;

    fn judged(folder: &TempDir, sent: &[&str]) -> Judgement {
        let set = Databases::open(folder.path()).expect("opened");
        let sent = sent.iter().map(|nonce| (*nonce).to_owned()).collect();
        judge(&observe(&set, &sent).expect("read"))
    }

    fn after(service: Service, sql: &str) -> Judgement {
        let folder = plain_at_rest();
        alter(&file(&folder, service), sql);
        judged(&folder, &["bus-echo-1", "bus-dead-1", "bus-queued-1"])
    }

    #[test]
    fn recorded_sets_have_no_false_alarm() {
        for folder in [plain_at_rest(), hot_crash(), bricked()] {
            let judged = judged(&folder, &[]);
            assert_eq!((judged.verdict(), judged.findings), (Verdict::Pass, Vec::new()));
        }
    }

    #[test]
    fn a_bus_newer_than_its_directory_is_found() {
        let judged = after(Service::Directory, "DELETE FROM intent_log WHERE nonce='bus-echo-2'");
        assert_eq!(judged.findings[0].subject, "nonce bus-echo-2");
    }

    #[test]
    fn a_directory_newer_than_its_bus_is_found_by_the_ledger() {
        let judged = after(Service::Bus, "DELETE FROM beam_messages WHERE nonce='bus-echo-1'");
        assert_eq!(judged.findings[0].subject, "nonce bus-echo-1");
    }

    #[test]
    fn a_changed_nonce_other_parties_and_another_end_are_found() {
        for sql in [
            "UPDATE beam_messages SET nonce='other' WHERE nonce='bus-echo-3'",
            "UPDATE beam_messages SET sender=recipient, recipient=sender WHERE nonce='bus-echo-3'",
        ] {
            assert_eq!(after(Service::Bus, sql).verdict(), Verdict::Fail, "{sql}");
        }
        let judged = after(
            Service::Directory,
            "UPDATE intent_log SET status='failed' WHERE nonce='bus-ws-1'",
        );
        assert_eq!(judged.findings[0].observed, "failed");
    }

    #[test]
    fn missing_intents_of_a_pruned_directory_are_a_note() {
        let judged = after(
            Service::Directory,
            "DELETE FROM intent_log WHERE nonce='bus-echo-2';
             INSERT INTO audit_log(action, actor, target, timestamp) VALUES ('observability.prune', 'a', 'b', 'c')",
        );
        assert_eq!((judged.verdict(), judged.notes.len()), (Verdict::Pass, 1));
    }

    #[test]
    fn no_delivery_at_all_is_inconclusive() {
        let folder = plain_at_rest();
        alter(&file(&folder, Service::Bus), "DELETE FROM beam_messages");
        assert_eq!(judged(&folder, &[]).verdict(), Verdict::Inconclusive);
    }
}
