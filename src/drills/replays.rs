//! What writes to the restored pair, and therefore comes last: nonces sent again, credentials used, new data written.

use crate::checks::claims::{self, Claims};
use crate::checks::credentials::{self, Held};
use crate::checks::observing::{ObserveError, Signers};
use crate::checks::{nonces, write_path};
use crate::client::Access;
use crate::client::secret::Secret;
use crate::client::signing::{KeyPair, multibase};
use crate::deployment::given_file;
use crate::drills::at_rest;
use crate::drills::context::{DrillContext, Stop};
use crate::drills::instances::Deployment;
use crate::drills::source::{self, Written};
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::Databases;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::time::Instant;

/// How many senders are taken over at most; registrations are limited to ten a minute (contract 2.0).
const MOST_TAKEN_OVER: usize = 6;

/// Why a question about replays could not be asked at all; recorded as a finding of its check.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A call failed.
    #[error(transparent)]
    Look(#[from] ObserveError),
}

/// The rows that were restored, and those that must be seen again: the same but in trials of a given set.
pub struct Rows<'a> {
    /// What was restored.
    pub restored: &'a Databases,
    /// What is expected.
    pub expected: &'a Databases,
}

/// Credentials first (nothing was overwritten yet), then new writes, then nonces; key take-over last of all.
///
/// # Errors
/// [`Stop`] when the time limit passes.
pub async fn ask(
    context: &mut DrillContext,
    deployment: &Deployment,
    rows: &Rows<'_>,
    written: Option<&Written>,
    access: &Access,
) -> Result<(), Stop> {
    let given = given_signers(context);
    ask_credentials(context, deployment, rows.expected, written, &given, access).await?;
    let signers = written.map_or(given, |written| written.seeded.credentials.keys.clone());
    // The sender of new bus messages must be one for which the bus signs, and must stay itself.
    write_anew(context, deployment, &signers, access).await?;
    send_again(context, rows, written, signers, access).await
}

async fn ask_credentials(
    context: &mut DrillContext,
    deployment: &Deployment,
    databases: &Databases,
    written: Option<&Written>,
    given: &Signers,
    access: &Access,
) -> Result<(), Stop> {
    let bus_key = Some(Secret::new(deployment.bus_key.clone()));
    let session = given_session(deployment);
    let pinned = || multibase(&deployment.issuer_key()).ok();
    let held = match written {
        Some(written) => Held {
            issuer_key: written.issuer.clone().or_else(pinned),
            // A table that cannot be read is told by the checks at rest.
            orgs: credentials::orgs_from_rows(databases).unwrap_or_default(),
            ..Held::of_seed(&written.seeded.credentials, bus_key)
        },
        None if given.is_empty() && session.is_none() => {
            let reason = "no credential issued before the backup is at hand; give --keys or [access] admin_session_env";
            context.not_asked(CheckId::Credentials.name(), reason);
            return Ok(());
        }
        None => Held {
            session,
            signers: given.clone(),
            bus_key,
            issuer_key: pinned(),
            ..Held::default()
        },
    };
    let (began, now) = (Instant::now(), context.clock.now());
    let judged = context
        .step("use credentials issued before the backup", async {
            let attempts = Box::pin(credentials::observe(access, &held, now)).await;
            let judged = match attempts {
                Ok(attempts) => credentials::judge(&attempts),
                Err(error) => error.judgement(CheckId::Credentials.name()),
            };
            let detail = judged.observed.clone();
            Ok::<_, ReplayError>((judged, detail))
        })
        .await?;
    context.record(CheckId::Credentials, None, judged, began.elapsed());
    Ok(())
}

async fn write_anew(
    context: &mut DrillContext,
    deployment: &Deployment,
    signers: &Signers,
    access: &Access,
) -> Result<(), Stop> {
    let run = context.evidence.run.id.clone();
    let known = bus_identities(deployment);
    let agents = access
        .directory
        .directory_agents()
        .await
        .map(|answer| answer.value)
        .unwrap_or_default();
    let is_there = |id: &&String| {
        agents
            .iter()
            .any(|agent| agent.get("beam_id").and_then(Value::as_str) == Some(id))
    };
    let sender = known
        .iter()
        .filter(|id| signers.contains_key(*id))
        .find(is_there)
        .cloned();
    let (began, now) = (Instant::now(), context.clock.now());
    let judged = context
        .step("write new data", async {
            let writer = write_path::Writer {
                run: &run,
                bus_sender: sender.as_deref(),
                now,
            };
            let attempts = Box::pin(write_path::observe(access, &writer)).await;
            let mut judged = write_path::judge(&attempts);
            if sender.is_none() {
                judged.notes.push(
                    "no message was sent over the bus: it signs for no agent of this backup; give --keys".to_owned(),
                );
            }
            let detail = judged.observed.clone();
            Ok::<_, ReplayError>((judged, detail))
        })
        .await?;
    context.record(CheckId::WritePath, None, judged, began.elapsed());
    Ok(())
}

/// Agents for which the bus signs.
fn bus_identities(deployment: &Deployment) -> Vec<String> {
    let text = given_file::settings(&deployment.identity_file).unwrap_or_default();
    let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = parsed.as_object().cloned().unwrap_or_default();
    entries
        .values()
        .filter_map(|entry| entry.get("beamId")?.as_str().map(str::to_owned))
        .collect()
}

async fn send_again(
    context: &mut DrillContext,
    rows: &Rows<'_>,
    written: Option<&Written>,
    signers: Signers,
    access: &Access,
) -> Result<(), Stop> {
    let began = Instant::now();
    let (seed, now) = (context.request.seed, context.clock.now());
    let judged = context
        .step("send old nonces again", async {
            let known = match written {
                Some(written) => {
                    let facts = &written.seeded.facts;
                    Ok(Claims::of_seed(&facts.intents, &facts.messages))
                }
                None => Claims::from_rows(rows.expected),
            };
            let judged = match (known, Claims::from_rows(rows.restored)) {
                (Ok(known), Ok(rows)) => resent(access, &known, &rows, signers, (seed, now)).await,
                (Err(error), _) | (_, Err(error)) => at_rest::unreadable(&error, None),
            };
            let detail = judged.observed.clone();
            Ok::<_, ReplayError>((judged, detail))
        })
        .await?;
    if judged.items == 0 && judged.findings.is_empty() && context.request.is_given() {
        context.not_asked(CheckId::Nonces.name(), "no rows in this backup");
    } else {
        context.record(CheckId::Nonces, None, judged, began.elapsed());
    }
    Ok(())
}

/// Without any sender's key, keys are taken over: of the busiest sender, and of those whose nonces are in doubt.
async fn resent(
    access: &Access,
    known: &Claims,
    rows: &Claims,
    mut signers: Signers,
    (seed, now): (u64, jiff::Timestamp),
) -> Judgement {
    let mut taken_over = BTreeSet::new();
    if !known.intents.iter().any(|claim| signers.contains_key(&claim.from)) {
        let doubted = claims::doubted_senders(known, rows);
        let senders = known.busiest_sender().into_iter().chain(doubted);
        taken_over = senders.take(MOST_TAKEN_OVER).map(str::to_owned).collect();
    }
    for sender in &taken_over {
        let secret: [u8; 32] = Sha256::digest(format!("take-over {seed} {sender}").as_bytes()).into();
        let key = KeyPair::from_bytes(&secret);
        if let Err(error) = nonces::take_over(access, sender, &key).await {
            return error.judgement("key take-over on the throw-away instance");
        }
        signers.insert(sender.clone(), key);
    }
    let plan = claims::plan(Some(known), Some(rows), &signers);
    let mut judged = match Box::pin(nonces::observe(access, &plan, &signers, now)).await {
        Ok(facts) => nonces::judge(&plan, &facts),
        Err(error) => error.judgement(CheckId::Nonces.name()),
    };
    for sender in taken_over {
        judged.notes.push(format!(
            "no sender's key was given: the key of {sender} was taken over on the throw-away restored instance"
        ));
    }
    judged
}

/// A session that was issued before the backup, from the variable that `[access]` names; that it is set was checked first.
fn given_session(deployment: &Deployment) -> Option<Secret> {
    let name = deployment.environment.access.admin_session_env.as_ref()?;
    std::env::var(name).ok().map(Secret::new)
}

/// Keys from `--keys` or `[access]`.
fn given_signers(context: &DrillContext) -> Signers {
    let Some(path) = source::given_keys(&context.request) else {
        return Signers::new();
    };
    let text = given_file::settings(&path).unwrap_or_default();
    let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = parsed.as_object().cloned().unwrap_or_default();
    entries
        .values()
        .filter_map(|entry| {
            let id = entry.get("beamId")?.as_str()?.to_owned();
            let key = KeyPair::from_private(entry.get("privateKeyBase64")?.as_str()?).ok()?;
            Some((id, key))
        })
        .collect()
}
