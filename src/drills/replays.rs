//! What writes to the restored pair, and therefore comes last: nonces sent again, credentials used, new data written.

use crate::checks::claims::{self, Claims};
use crate::checks::credentials::{self, Held};
use crate::checks::observing::{ObserveError, Signers};
use crate::checks::{nonces, write_path};
use crate::client::Access;
use crate::client::secret::Secret;
use crate::client::signing::KeyPair;
use crate::drills::at_rest;
use crate::drills::context::{DrillContext, Stop};
use crate::drills::instances::Deployment;
use crate::drills::source::{self, Written};
use crate::evidence::{CheckId, Judgement};
use crate::snapshot::database::Databases;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Instant;

/// Why a question about replays could not be asked at all; recorded as a finding of its check.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A call failed.
    #[error(transparent)]
    Look(#[from] ObserveError),
}

/// Credentials first (nothing was overwritten yet), then new writes, then nonces; key take-over last of all.
///
/// # Errors
/// [`Stop`] when the time limit passes.
pub async fn ask(
    context: &mut DrillContext,
    deployment: &Deployment,
    databases: &Databases,
    written: Option<&Written>,
    access: &Access,
) -> Result<(), Stop> {
    let given = given_signers(context);
    ask_credentials(context, deployment, databases, written, &given, access).await?;
    let signers = written.map_or(given, |written| written.seeded.credentials.keys.clone());
    // The sender of new bus messages must be one for which the bus signs, and must stay itself.
    write_anew(context, deployment, &signers, access).await?;
    send_again(context, databases, written, signers, access).await
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
    let held = match written {
        Some(written) => Held {
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
            ..Held::default()
        },
    };
    let began = Instant::now();
    let judged = context
        .step("use credentials issued before the backup", async {
            let attempts = Box::pin(credentials::observe(access, &held, jiff::Timestamp::now())).await;
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
    let began = Instant::now();
    let judged = context
        .step("write new data", async {
            let writer = write_path::Writer {
                run: &run,
                bus_sender: sender.as_deref(),
                now: jiff::Timestamp::now(),
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
    let text = std::fs::read_to_string(&deployment.identity_file).unwrap_or_default();
    let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
    let entries = parsed.as_object().cloned().unwrap_or_default();
    entries
        .values()
        .filter_map(|entry| entry.get("beamId")?.as_str().map(str::to_owned))
        .collect()
}

async fn send_again(
    context: &mut DrillContext,
    databases: &Databases,
    written: Option<&Written>,
    signers: Signers,
    access: &Access,
) -> Result<(), Stop> {
    let began = Instant::now();
    let seed = context.request.seed;
    let judged = context
        .step("send old nonces again", async {
            let judged = match Claims::from_rows(databases) {
                Ok(rows) => resent(access, &rows, written, signers, seed).await,
                Err(error) => at_rest::unreadable(&error, None),
            };
            let detail = judged.observed.clone();
            Ok::<_, ReplayError>((judged, detail))
        })
        .await?;
    if judged.items == 0 && judged.findings.is_empty() && context.request.from.is_some() {
        context.not_asked(CheckId::Nonces.name(), "no rows in this backup");
    } else {
        context.record(CheckId::Nonces, None, judged, began.elapsed());
    }
    Ok(())
}

async fn resent(
    access: &Access,
    rows: &Claims,
    written: Option<&Written>,
    mut signers: Signers,
    seed: u64,
) -> Judgement {
    let ledger = written.map(|written| {
        let facts = &written.seeded.facts;
        Claims::of_seed(&facts.intents, &facts.messages)
    });
    let mut taken_over = None;
    if !rows.intents.iter().any(|claim| signers.contains_key(&claim.from))
        && let Some(sender) = rows.busiest_sender()
    {
        let secret: [u8; 32] = Sha256::digest(format!("take-over {seed}").as_bytes()).into();
        let key = KeyPair::from_bytes(&secret);
        if let Err(error) = nonces::take_over(access, sender, &key).await {
            return error.judgement("key take-over on the throw-away instance");
        }
        signers.insert(sender.to_owned(), key);
        taken_over = Some(sender.to_owned());
    }
    let plan = claims::plan(ledger.as_ref(), Some(rows), &signers);
    let mut judged = match Box::pin(nonces::observe(access, &plan, &signers, jiff::Timestamp::now())).await {
        Ok(facts) => nonces::judge(&plan, &facts),
        Err(error) => error.judgement(CheckId::Nonces.name()),
    };
    if let Some(sender) = taken_over {
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
    let text = std::fs::read_to_string(path).unwrap_or_default();
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
