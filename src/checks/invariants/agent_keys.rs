//! Rules of agents' public keys: the current one is recorded, one is active, DID documents say the same.
//!
//! Source: Beam 1.6.0, contract 2.5, 2.7, 4.3; that the first key's time is the agent's is observed.

use crate::checks::invariants::facts::Facts;
use crate::checks::invariants::form;
use crate::checks::invariants::outcome::{Look, Rule, RuleOutcome};
use crate::checks::invariants::record::Record;
use serde_json::{Value, json};

/// The rules of this family.
pub(super) const RULES: &[Rule] = &[
    Rule {
        name: "K01",
        title: "current key recorded",
        why: "an agent's public_key has a row in agent_keys that is not revoked (contract 2.5)",
        needs: &["agents", "agent_keys"],
        run: current_recorded,
    },
    Rule {
        name: "K02",
        title: "one active key",
        why: "keyState.active is one key; a rotation revokes the old one (contract 2.5)",
        needs: &["agents", "agent_keys"],
        run: one_active,
    },
    Rule {
        name: "K03",
        title: "keys have an agent",
        why: "deleting an agent deletes its keys, though no foreign key says so (contract 2.5)",
        needs: &["agents", "agent_keys"],
        run: keys_have_agents,
    },
    Rule {
        name: "K04",
        title: "key times",
        why: "the first key is as old as its agent (observed); a rotation revokes and creates in one call (contract 2.5)",
        needs: &["agents", "agent_keys"],
        run: key_times,
    },
    Rule {
        name: "K05",
        title: "keys are Ed25519",
        why: "a public key is the base64 of 44 bytes SPKI with the Ed25519 prefix (contract 2.7)",
        needs: &["agents", "agent_keys"],
        run: ed25519,
    },
    Rule {
        name: "K06",
        title: "DID document says the same",
        why: "did_documents is derived from agent and keys, rewritten with each of their changes (contract 2.5, 4.2)",
        needs: &["agents", "agent_keys", "did_documents"],
        run: did_documents,
    },
];

fn current_recorded(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        look.seen();
        let keys = facts.of("agent_keys", "beam_id", agent.str("beam_id"));
        let current = keys.iter().find(|key| key.str("public_key") == agent.str("public_key"));
        let expected = "a key that agent_keys holds as active for this agent";
        look.hold(
            agent,
            "public_key",
            current.is_some_and(|key| key.is_null("revoked_at")),
            expected,
        );
    }
    look.end()
}

fn one_active(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        let keys = facts.of("agent_keys", "beam_id", agent.str("beam_id"));
        let active = keys.iter().filter(|key| key.is_null("revoked_at")).count();
        look.seen();
        look.row(agent, active == 1, "exactly one active key in agent_keys", active);
    }
    look.end()
}

fn keys_have_agents(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for key in facts.rows("agent_keys") {
        look.seen();
        look.hold(
            key,
            "beam_id",
            facts.registered(key.str("beam_id")),
            "an agent that is registered",
        );
    }
    look.end()
}

fn key_times(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for agent in facts.rows("agents") {
        let keys = facts.of("agent_keys", "beam_id", agent.str("beam_id"));
        if let (Some(first), Some(born)) = (keys.first(), agent.ms("created_at")) {
            look.seen();
            let near = first.int("created_at").is_some_and(|ms| (ms - born).abs() <= 2_000);
            look.hold(
                *first,
                "created_at",
                near,
                format_args!("the agent's own {}", agent.str("created_at")),
            );
        }
        for key in keys.iter().filter(|key| !key.is_null("revoked_at")) {
            let (Some(created), Some(revoked)) = (key.int("created_at"), key.int("revoked_at")) else {
                continue;
            };
            look.seen();
            let follows = |other: &&Record<'_>| {
                other.rowid() != key.rowid() && other.int("created_at").is_some_and(|ms| (ms - revoked).abs() <= 2_000)
            };
            let lawful = revoked >= created && keys.iter().any(|other| follows(&other));
            look.hold(
                *key,
                "revoked_at",
                lawful,
                "the time at which another key of the agent was created",
            );
        }
    }
    look.end()
}

fn ed25519(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("agents").chain(facts.rows("agent_keys")) {
        look.seen();
        let lawful = row.text("public_key").is_some_and(|key| form::ed25519(key).is_some());
        look.hold(row, "public_key", lawful, "base64 of 44 bytes with the Ed25519 prefix");
    }
    look.end()
}

fn did_documents(facts: &Facts) -> RuleOutcome {
    let mut look = Look::default();
    for row in facts.rows("did_documents") {
        let parts: Vec<&str> = row.str("did").split(':').collect();
        let beam_id = match parts.as_slice() {
            ["did", "beam", org, name] => format!("{name}@{org}.beam.directory"),
            ["did", "beam", id] if id.contains('@') => (*id).to_owned(),
            ["did", "beam", name] => format!("{name}@beam.directory"),
            _ => String::new(),
        };
        look.seen();
        let Some(agent) = facts.find("agents", "beam_id", &beam_id) else {
            look.hold(row, "did", false, "the DID of an agent that is registered");
            continue;
        };
        let keys = facts.of("agent_keys", "beam_id", &beam_id);
        document(&mut look, row, agent, &keys);
        let (born, written, changed) = (agent.ms("created_at"), row.ms("created_at"), row.ms("updated_at"));
        look.hold(row, "updated_at", changed >= written, "not before created_at");
        look.hold(
            row,
            "created_at",
            written >= born.map(|ms| ms - 5),
            "not before the agent",
        );
        let newest = keys
            .iter()
            .flat_map(|key| [key.int("created_at"), key.int("revoked_at")])
            .flatten()
            .max();
        look.hold(
            row,
            "updated_at",
            changed >= newest.map(|ms| ms - 5),
            "not before the agent's newest key",
        );
        if keys.len() == 1 {
            let near = written.zip(born).is_some_and(|(written, born)| written - born <= 2_000);
            look.hold(row, "created_at", near, "the time of the registration");
        }
    }
    for agent in facts.rows("agents") {
        look.seen();
        let dids = form::dids_of(agent.str("beam_id"));
        let there = dids.iter().any(|did| facts.find("did_documents", "did", did).is_some());
        look.row(agent, there, "a DID document", "none");
    }
    look.end()
}

fn document(look: &mut Look, row: Record<'_>, agent: Record<'_>, keys: &[Record<'_>]) {
    let held = row.json("document");
    let (did, beam_id) = (row.str("did"), agent.str("beam_id"));
    let mut expected = Vec::new();
    let mut active = None;
    for key in keys {
        let Some(raw) = form::ed25519(key.str("public_key")) else {
            return;
        };
        let multibase = form::multibase(&raw);
        let id = format!("{did}#{multibase}");
        let mut method =
            json!({"id": id, "type": "Ed25519VerificationKey2020", "controller": did, "publicKeyMultibase": multibase});
        let revoked = key.int("revoked_at");
        method["beamStatus"] = json!(if revoked.is_some() { "revoked" } else { "active" });
        if revoked.is_none() {
            active = Some(id);
        }
        expected.push((method, revoked));
    }
    let methods = held["verificationMethod"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let agrees = |(method, revoked): &(Value, Option<i64>)| {
        methods.iter().any(|found| {
            let at = found["beamRevokedAt"].as_str().and_then(form::iso_ms);
            let mut bare = found.clone();
            if let Some(members) = bare.as_object_mut() {
                members.shift_remove("beamRevokedAt");
            }
            bare == *method && at == *revoked
        })
    };
    let same = methods.len() == expected.len() && expected.iter().all(agrees);
    look.hold(
        row,
        "document",
        same,
        "the agent's keys, active and revoked, in verificationMethod",
    );
    for member in [
        "authentication",
        "assertionMethod",
        "capabilityInvocation",
        "capabilityDelegation",
    ] {
        let main = held[member] == json!([active]);
        look.hold(row, "document", main, format_args!("the active key in {member}"));
    }
    let context = json!([
        "https://www.w3.org/ns/did/v1",
        "https://w3id.org/security/suites/ed25519-2020/v1"
    ]);
    let head = held["@context"] == context && held["id"] == did && held["alsoKnownAs"] == json!([beam_id]);
    look.hold(row, "document", head, "the agent's DID and Beam id");
    let born = held["created"].as_str() == agent.text("created_at");
    look.hold(row, "document", born, "the agent's created_at in created");
    let seen = held["updated"].as_str().and_then(form::iso_ms);
    let lawful = seen.is_some() && seen <= agent.ms("last_seen") && seen >= agent.ms("created_at");
    look.hold(row, "document", lawful, "a time of the agent's life in updated");
    services(look, row, &held, did, beam_id);
}

fn services(look: &mut Look, row: Record<'_>, held: &Value, did: &str, beam_id: &str) {
    let (id, escaped) = (beam_id.replace('@', "%40"), did.replace(':', "%3A").replace('@', "%40"));
    let wanted = [
        ("directory", "BeamDirectoryService", format!("/agents/{id}")),
        ("did-resolution", "DIDResolutionService", format!("/did/{escaped}")),
        ("keys", "BeamKeyStateService", format!("/agents/{id}/keys")),
    ];
    let found = held["service"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut bases = Vec::new();
    for ((name, kind, path), service) in wanted.iter().zip(found) {
        let base = service["serviceEndpoint"]
            .as_str()
            .and_then(|url| url.strip_suffix(path.as_str()));
        if service["id"] == format!("{did}#{name}") && service["type"] == *kind {
            bases.extend(base.filter(|base| base.starts_with("http")));
        }
    }
    let same = bases.len() == 3 && found.len() == 3 && bases.iter().all(|base| *base == bases[0]);
    look.hold(
        row,
        "document",
        same,
        "the three service addresses of this agent under one base",
    );
}
