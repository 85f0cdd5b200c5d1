//! Rules of counters: metered attempts, rate-limit windows, pairwise trust.
//!
//! Source: Beam 1.6.0, contract 2.0, 2.7, 4.3; how often pairwise trust is written is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use std::collections::HashMap;

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "H06",
        title: "usage covers attempts",
        why: "usage_metering counts every attempt, and each shield row with a nonce is one (contract 2.7 step 3)",
        needs: &["usage_metering", "shield_audit_log"],
        run: covers,
    },
    Rule {
        name: "H07",
        title: "shield rows are attempts or refusals",
        why: "every insert into the shield's log is a metered attempt or a row without a nonce (contract 2.7)",
        needs: &["usage_metering", "shield_audit_log", "sqlite_sequence"],
        run: inserts,
    },
    Rule {
        name: "H09",
        title: "rate-limit windows",
        why: "keys have three forms, counts start at 1, and a sender's window counts attempts of that sender (contract 2.0, 4.3)",
        needs: &["rate_limits", "usage_metering"],
        run: windows,
    },
    Rule {
        name: "H11",
        title: "pairwise trust",
        why: "a pair of registered agents has a score exactly if an intent between them ended, last written at its end (contract 4.3)",
        needs: &["trust_scores", "intent_log", "agents"],
        run: pair_trust,
    },
];

/// Metered attempts of a sender over all months.
fn metered(facts: &Facts) -> HashMap<&str, i64> {
    let mut sums = HashMap::new();
    for row in facts.rows("usage_metering") {
        *sums.entry(row.str("beam_id")).or_insert(0) += row.int("intent_count").unwrap_or_default();
    }
    sums
}

fn covers(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut attempts: HashMap<(&str, &str), i64> = HashMap::new();
    let sums = metered(facts);
    for row in facts.rows("shield_audit_log").filter(|row| !row.is_null("nonce")) {
        let (sender, month) = (
            row.str("sender_beam_id"),
            row.str("created_at").get(..7).unwrap_or_default(),
        );
        *attempts.entry((sender, month)).or_insert(0) += 1;
        look.seen();
        if !sums.contains_key(sender) {
            match facts.agent_deleted().filter(|_| !facts.registered(sender)) {
                Some(reason) => look.relax(reason),
                None => look.hold(row, "sender_beam_id", false, "a sender with a row in usage_metering"),
            }
        }
    }
    for row in facts.rows("usage_metering") {
        look.seen();
        let counted = attempts
            .get(&(row.str("beam_id"), row.str("period")))
            .copied()
            .unwrap_or(0);
        let total = row.int("intent_count").unwrap_or_default();
        look.hold(
            row,
            "intent_count",
            total >= counted.max(1),
            format_args!("at least {counted}, the attempts in the shield's log"),
        );
        let (direct, relayed) = (
            row.int("direct_count").unwrap_or(-1),
            row.int("relayed_count").unwrap_or(-1),
        );
        look.hold(
            row,
            "relayed_count",
            relayed == total - direct,
            "all attempts but the direct ones",
        );
        look.hold(
            row,
            "direct_count",
            (0..=total).contains(&direct),
            "at most all attempts",
        );
        let encrypted = row.int("encrypted_count").unwrap_or(-1);
        look.hold(
            row,
            "encrypted_count",
            (0..=total).contains(&encrypted),
            "at most all attempts",
        );
        let period = row.str("period");
        let month = period.len() == 7
            && crate::checks::invariants::form::iso_ms(&format!("{period}-01T00:00:00.000Z")).is_some();
        look.hold(row, "period", month, "a month as YYYY-MM");
        let past = counted > 0
            || facts
                .rows("shield_audit_log")
                .all(|row| row.str("created_at").get(..7) != Some(period));
        if facts.pruned("shield").is_none() && total > 0 && month && !past {
            look.hold(row, "beam_id", counted > 0, "a sender that the shield's log knows");
        }
    }
    look.end()
}

fn inserts(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let sequence = facts
        .find("sqlite_sequence", "name", "shield_audit_log")
        .and_then(|row| row.int("seq"));
    let Some(inserted) = sequence else { return look.end() };
    if let Some(reason) = facts.pruned("shield").or_else(|| facts.agent_deleted()) {
        look.relax(reason);
        return look.end();
    }
    let attempts: i64 = metered(facts).values().sum();
    let refusals = facts
        .rows("shield_audit_log")
        .filter(|row| row.is_null("nonce"))
        .count();
    let most = attempts + i64::try_from(refusals).unwrap_or(i64::MAX);
    look.seen();
    if inserted > most {
        let expected = format!("at most {most}, the attempts and the refusals");
        look.wrong(
            "shield_audit_log",
            "beam-directory.db sqlite_sequence",
            expected,
            inserted,
        );
    }
    look.end()
}

const BUCKETS: &[&str] = &[
    "agent-registration",
    "agent-search",
    "agent-browse",
    "agent-lookup",
    "did-resolution",
    "admin-auth",
    "key-mutation",
    "intent-send-ip",
    "intent-send-sender",
];

fn windows(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let sums = metered(facts);
    for row in facts.rows("rate_limits") {
        look.seen();
        let key = row.str("rate_key");
        let count = row.int("count").unwrap_or_default();
        look.hold(row, "count", count >= 1, "at least 1");
        let refused = |sender: &str| {
            let rows = facts.of("shield_audit_log", "sender_beam_id", sender);
            i64::try_from(rows.iter().filter(|row| row.is_null("nonce")).count()).unwrap_or(0)
        };
        if let Some((from, to)) = key.split_once('→') {
            let ids = [from, to]
                .iter()
                .all(|id| crate::checks::invariants::form::split_beam_id(id).is_some());
            look.hold(row, "rate_key", ids, "two Beam ids");
            let most = sums.get(from).copied().unwrap_or(0) + refused(from);
            look.hold(
                row,
                "count",
                !ids || count <= most,
                format_args!("at most {most}, the sender's attempts"),
            );
            continue;
        }
        let parts: Vec<&str> = key.splitn(3, ':').collect();
        let lawful = match parts.as_slice() {
            [bucket, "ip", address] => BUCKETS.contains(bucket) && !address.is_empty(),
            [bucket, "beam", id] => BUCKETS.contains(bucket) && !id.is_empty(),
            _ => false,
        };
        look.hold(
            row,
            "rate_key",
            lawful,
            "bucket:ip:address, bucket:beam:id or sender→recipient",
        );
        if let ["intent-send-sender", "beam", sender] = parts.as_slice()
            && facts.registered(sender)
        {
            let most = sums.get(sender).copied().unwrap_or(0) + refused(sender);
            look.hold(
                row,
                "count",
                count <= most,
                format_args!("at most {most}, the sender's attempts and refusals"),
            );
        }
    }
    look.end()
}

fn pair_trust(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut last: HashMap<(&str, &str), i64> = HashMap::new();
    let finished = |row: &Record<'_>| {
        matches!(row.str("status"), "acked" | "failed")
            && facts.registered(row.str("from_beam_id"))
            && facts.registered(row.str("to_beam_id"))
    };
    for intent in facts.rows("intent_log").filter(finished) {
        let pair = (intent.str("from_beam_id"), intent.str("to_beam_id"));
        let ms = intent.ms("completed_at").unwrap_or_default();
        let known = last.entry(pair).or_insert(ms);
        *known = ms.max(*known);
    }
    let gone = facts.pruned("intents").or_else(|| facts.reclaimed());
    for row in facts.rows("trust_scores") {
        look.seen();
        let score = row.number("score").unwrap_or(-1.0);
        let hundreds = score * 100.0;
        let lawful = (0.0..=1.0).contains(&score) && (hundreds - hundreds.round()).abs() < 1e-9;
        look.hold(row, "score", lawful, "a number in 0..1 with two decimals");
        let pair = (row.str("source_beam_id"), row.str("target_beam_id"));
        match (last.remove(&pair), &gone) {
            (Some(ms), None) => {
                let near = row
                    .ms("last_updated")
                    .is_some_and(|written| (written - ms).abs() <= 1_000);
                look.hold(
                    row,
                    "last_updated",
                    near,
                    "the end of the pair's newest intent, within a second",
                );
            }
            (None, None) => look.row(row, false, "an intent of this pair that ended", "none"),
            (_, Some(reason)) => look.relax(reason),
        }
    }
    if gone.is_none() {
        for (from, to) in last.into_keys() {
            let subject = format!("trust_scores[{from} → {to}]");
            look.wrong(
                subject,
                "beam-directory.db trust_scores",
                "a row, as an intent of the pair ended",
                "none",
            );
        }
    }
    look.end()
}
