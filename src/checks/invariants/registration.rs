//! Rules of what registering an agent leaves: organisation, trust, tier, e-mail token, shield configuration, secrets.
//!
//! Source: Beam 1.6.0, contract 2.5, 2.6, 4.3; `verified` follows the tier is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use std::collections::{HashMap, HashSet};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "K07",
        title: "organisation follows the id",
        why: "name@org.beam.directory belongs to org, name@beam.directory to personal (contract conventions, 2.5)",
        needs: &["agents"],
        run: organisation,
    },
    Rule {
        name: "K08",
        title: "trust formula",
        why: "0.3, 0.3 verified, 0.2 tier, 0.2 seen lately, 0.2 older than 7 days; 0 if flagged; two decimals (contract 2.5)",
        needs: &["agents"],
        run: trust,
    },
    Rule {
        name: "K09",
        title: "verified follows the tier",
        why: "a registration sets verified for every tier but basic, and for a verified e-mail (observed; contract 2.5)",
        needs: &["agents"],
        run: verified,
    },
    Rule {
        name: "K10",
        title: "e-mail token",
        why: "a registration with e-mail writes one token twice, for 24 hours (contract 2.5, 4.3)",
        needs: &["agents", "verification_tokens"],
        run: email_token,
    },
    Rule {
        name: "K11",
        title: "shield configuration audited",
        why: "every change of a shield configuration writes shield.config.updated with its values (contract 2.6)",
        needs: &["agents", "audit_log"],
        run: shield_config,
    },
    Rule {
        name: "K12",
        title: "last_seen within bounds",
        why: "an agent is seen when it is created and whenever a send of it is delivered (contract 2.5, 2.7 step 12; observed)",
        needs: &["agents", "intent_trace_events"],
        run: last_seen,
    },
    Rule {
        name: "K13",
        title: "secrets are unique",
        why: "API keys and tokens are random: no two are equal (contract 2.5, 2.12)",
        needs: &["agents", "orgs"],
        run: unique_secrets,
    },
    Rule {
        name: "K14",
        title: "registered agents have an API key",
        why: "every registration issues one (contract 2.5)",
        needs: &["agents", "org_agents"],
        run: api_key,
    },
];

fn organisation(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        let Some((_, org)) = form::split_beam_id(agent.str("beam_id")) else {
            continue;
        };
        look.seen();
        let expected = org.unwrap_or("personal");
        look.hold(agent, "org", agent.text("org") == Some(expected), expected);
        let personal = i64::from(org.is_none());
        look.hold(agent, "personal", agent.int("personal") == Some(personal), personal);
    }
    look.end()
}

fn trust(facts: &Facts) -> RuleOutcome {
    const WEEK_MS: i64 = 7 * 24 * 3_600_000;
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        let (Some(score), Some(born), Some(seen)) = (
            agent.number("trust_score"),
            agent.ms("created_at"),
            agent.ms("last_seen"),
        ) else {
            continue;
        };
        look.seen();
        let tenths = |holds: bool, tenths: i64| if holds { tenths } else { 0 };
        let base =
            3 + tenths(agent.int("verified") == Some(1), 3) + tenths(agent.str("verification_tier") != "basic", 2);
        let old = seen - born > WEEK_MS;
        let mut lawful = vec![(base + 2 + tenths(old, 2)).min(10)];
        if old {
            lawful.push((base + 2).min(10));
        }
        if agent.int("flagged") == Some(1) {
            lawful = vec![0];
        }
        #[expect(clippy::cast_precision_loss, reason = "a handful of tenths")]
        let holds = lawful.iter().any(|tenths| (score * 10.0 - *tenths as f64).abs() < 1e-9);
        look.hold(
            agent,
            "trust_score",
            holds,
            format_args!("0.{}0 or as the formula gives it", lawful[0] % 10),
        );
    }
    look.end()
}

fn verified(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        look.seen();
        let beam_id = agent.str("beam_id");
        let proven = agent.int("email_verified") == Some(1)
            || facts.find("domain_verifications", "beam_id", beam_id).is_some()
            || facts.find("business_verifications", "beam_id", beam_id).is_some()
            || facts.find("billing", "beam_id", beam_id).is_some();
        let tier = agent.str("verification_tier") != "basic";
        let expected = i64::from(tier);
        if !proven {
            look.hold(
                agent,
                "verified",
                agent.int("verified") == Some(expected),
                format_args!("{expected}, as the tier says"),
            );
        }
        let mailless = agent.is_null("email") && agent.int("email_verified") == Some(1);
        look.hold(agent, "email_verified", !mailless, "0 without an e-mail");
    }
    look.end()
}

fn email_token(facts: &Facts) -> RuleOutcome {
    const DAY_MS: i64 = 24 * 3_600_000;
    let mut look = Look::default();
    for row in facts.rows("verification_tokens") {
        look.seen();
        let life = row
            .int("expires_at")
            .zip(row.int("created_at"))
            .map(|(end, start)| end - start);
        look.hold(
            row,
            "expires_at",
            // Two looks at one clock (observed on 1.6.0: 0 ms apart).
            life.is_some_and(|life| (life - DAY_MS).abs() <= 5),
            "24 hours after created_at",
        );
        let Some(agent) = facts.find("agents", "beam_id", row.str("beam_id")) else {
            continue;
        };
        let newest = facts
            .of("verification_tokens", "beam_id", row.str("beam_id"))
            .iter()
            .all(|other| other.int("created_at") <= row.int("created_at"));
        if !newest {
            continue;
        }
        look.hold(
            row,
            "email",
            row.text("email") == agent.text("email"),
            "the agent's e-mail",
        );
        look.hold(
            row,
            "token",
            row.text("token") == agent.text("email_token"),
            "the agent's email_token",
        );
        let (born, seen) = (agent.ms("created_at"), agent.ms("last_seen"));
        let created = row.int("created_at");
        let within = created >= born.map(|ms| ms - 5) && created <= seen.map(|ms| ms + 2_000);
        look.hold(row, "created_at", within, "a time of the agent's life");
        let single = facts.of("agent_keys", "beam_id", row.str("beam_id")).len() == 1;
        let unchanged = single && born.zip(created).is_some_and(|(born, created)| created - born > 2_000);
        look.hold(row, "created_at", !unchanged, "the time of the registration");
    }
    let end = facts
        .taken_ms
        .or_else(|| facts.rows("agents").filter_map(|row| row.ms("last_seen")).max());
    for agent in facts.rows("agents").filter(|agent| !agent.is_null("email_token")) {
        let token = facts.find("verification_tokens", "token", agent.str("email_token"));
        let young = agent
            .ms("last_seen")
            .zip(end)
            .is_some_and(|(seen, end)| end - seen < DAY_MS);
        look.seen();
        look.row(
            agent,
            token.is_some() || !young,
            "its email_token in verification_tokens",
            "none",
        );
        look.hold(
            agent,
            "email",
            !agent.is_null("email"),
            "an e-mail, as there is a token for it",
        );
    }
    for agent in facts.rows("agents").filter(|agent| !agent.is_null("email")) {
        let waiting = agent.int("email_verified") == Some(0);
        let tokenless = waiting && agent.is_null("email_token");
        look.seen();
        look.hold(
            agent,
            "email_token",
            !tokenless,
            "a token, as the e-mail is not verified yet",
        );
    }
    look.end()
}

fn shield_config(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    if let Some(reason) = facts.pruned("audit") {
        look.relax(reason);
        return look.end();
    }
    for agent in facts.rows("agents") {
        let last = facts.last_audit(&["shield.config.updated"], agent.str("beam_id"));
        let last = last.filter(|row| row.ms("timestamp") >= agent.ms("created_at"));
        let Some(audit) = last else {
            look.hold(
                agent,
                "shield_config",
                agent.is_null("shield_config"),
                "NULL, as no audit row tells of a change",
            );
            continue;
        };
        look.seen();
        let (config, details) = (agent.json("shield_config"), audit.json("details"));
        for member in ["mode", "minTrust", "rateLimit"] {
            let agrees = details.get(member).is_none() || config.get(member) == details.get(member);
            look.hold(
                agent,
                "shield_config",
                agrees,
                format_args!("{member} as in audit row {}", audit.rowid()),
            );
        }
        let lists = ["allowlist", "blocklist"].iter().all(|member| {
            config[*member]
                .as_array()
                .is_some_and(|ids| ids.iter().all(serde_json::Value::is_string))
        });
        look.hold(agent, "shield_config", lists, "two lists of Beam ids");
    }
    look.end()
}

fn last_seen(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut latest: HashMap<&str, i64> = HashMap::new();
    // A send that ends offline, blocked or undelivered does not count as a sign of its sender.
    let acknowledged: HashSet<&str> = facts
        .rows("intent_trace_events")
        .filter(|row| row.str("stage") == "acked")
        .map(|row| row.str("nonce"))
        .collect();
    for row in facts
        .rows("intent_trace_events")
        .filter(|row| row.str("stage") == "validated" && acknowledged.contains(row.str("nonce")))
    {
        let local = row.str("details").contains("\"senderSource\":\"local\"");
        if let Some(ms) = row.ms("timestamp").filter(|_| local) {
            let known = latest.entry(row.str("from_beam_id")).or_insert(ms);
            *known = ms.max(*known);
        }
    }
    for agent in facts.rows("agents") {
        let (Some(born), Some(seen)) = (agent.ms("created_at"), agent.ms("last_seen")) else {
            continue;
        };
        look.seen();
        look.hold(agent, "last_seen", seen >= born, "not before created_at");
        let sent = latest.get(agent.str("beam_id")).copied().unwrap_or(i64::MIN);
        look.hold(
            agent,
            "last_seen",
            seen.saturating_add(2_000) >= sent,
            "not before its newest delivered intent",
        );
    }
    look.end()
}

fn unique_secrets(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    let mut known = HashMap::new();
    let columns = [
        ("agents", "api_key_hash"),
        ("orgs", "api_key_hash"),
        ("agents", "email_token"),
        ("orgs", "verification_token"),
    ];
    for (table, column) in columns {
        for row in facts.rows(table) {
            let Some(secret) = row.text(column) else { continue };
            look.seen();
            let first = known.insert(secret, row.subject());
            look.hold(row, column, first.is_none(), "a value of its own");
        }
    }
    look.end()
}

fn api_key(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        if facts.find("org_agents", "beam_id", agent.str("beam_id")).is_some() {
            continue;
        }
        look.seen();
        look.hold(agent, "api_key_hash", !agent.is_null("api_key_hash"), "a hash");
    }
    look.end()
}
