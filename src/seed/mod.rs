//! Writes a partner's workflow through HTTP and keeps the ledger: the only room that creates data.
//!
//! The same seed number gives the same names, keys, nonces and texts; times come from the caller's clock. It works
//! unmodified on Beam and on the reference services, and raises no critical alert there (contract 2.4): a read would
//! turn one into a notification.

/// Rows for the tables that HTTP leaves empty.
pub mod ballast;
/// Who takes part, and the bus's identity file.
pub mod cast;
/// The secrets that the services handed out.
pub mod credentials;
/// A few writes after the seed.
pub mod later;
/// Every attempted write with its outcome.
pub mod ledger;
/// Beta requests, notifications, workspaces.
mod partners;
/// Recording, sending, ending a write.
mod recorder;
/// Sessions, agents, access lists, roles.
mod registry;
/// What is sent, and how it ends.
mod script;
/// Intents and bus messages.
mod traffic;
/// Calls that stay open until the services are killed.
pub mod under_way;

use crate::client::Access;
use crate::client::http::ClientError;
use crate::client::signing::Intent;
use crate::client::websocket::RecipientError;
use crate::seed::cast::Cast;
use crate::seed::credentials::Credentials;
use crate::seed::ledger::Ledger;
use crate::seed::recorder::Recorder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The run's clock.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Send + Sync);

/// What to seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedPlan {
    /// Every name, key, nonce and text derives from it.
    pub seed: u64,
    /// An e-mail that the directory's configuration makes an admin.
    pub admin_email: String,
    /// Which workspaces are made.
    pub workspaces: Workspaces,
    /// How often the whole workflow is written, each time by another cast. What is refused is sent in the first round only:
    /// a few more refusals would raise a critical alert.
    pub rounds: u32,
}

/// Which workspaces a seed makes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Workspaces {
    /// Two, with everything that belongs to them.
    #[default]
    Two,
    /// None: their check finds nothing to look at.
    None,
}

/// What was seeded.
#[derive(Debug, Clone)]
pub struct Seeded {
    /// Every attempted write.
    pub ledger: Ledger,
    /// The secrets that came of it.
    pub credentials: Credentials,
    /// Names that checks need to ask for particular things.
    pub facts: Facts,
}

/// Particular things that were seeded, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// All agents' Beam ids.
    pub agents: Vec<String>,
    /// The agent whose key was changed; like the others below of the first round.
    pub rotated_agent: String,
    /// The agent with a shield configuration.
    pub shielded_agent: String,
    /// The agent whose key the bus does not hold.
    pub ghost_agent: String,
    /// The agent that answered on the WebSocket; it is connected no more.
    pub websocket_recipient: String,
    /// The agent that was never connected.
    pub offline_recipient: String,
    /// Organisations that have a row of their own.
    pub orgs: Vec<String>,
    /// Ids of the beta requests.
    pub requests: Vec<i64>,
    /// Slugs of the workspaces.
    pub workspaces: Vec<String>,
    /// Intents sent to the directory, in order.
    pub intents: Vec<SentIntent>,
    /// Messages sent to the bus, in order.
    pub messages: Vec<SentMessage>,
}

impl Facts {
    /// Adds what a later round seeded; the single agents stay those of the first.
    fn extend(&mut self, more: Facts) {
        self.agents.extend(more.agents);
        self.orgs.extend(more.orgs);
        self.requests.extend(more.requests);
        self.workspaces.extend(more.workspaces);
        self.intents.extend(more.intents);
        self.messages.extend(more.messages);
    }
}

/// An intent as it was sent, and how it ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentIntent {
    /// What was sent; sign it again with a new timestamp to replay the nonce.
    pub intent: Intent,
    /// acked or failed.
    pub status: String,
    /// Why it failed.
    pub error_code: Option<String>,
    /// The answer: for an acked intent the frame that a replay has to return.
    pub frame: Value,
}

/// A bus message as it was sent, and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SentMessage {
    /// The body of `POST /v1/beam/send`; sent again it has to be recognised.
    pub body: Value,
    /// 32 hex digits.
    pub message_id: String,
    /// delivered, acked, failed, queued or dead_letter.
    pub status: String,
}

/// Why seeding did not come to its end.
#[derive(Debug, Error)]
pub enum SeedError {
    /// A write was not answered as it has to be.
    #[error("a write of the seed was not answered as expected")]
    Call(#[source] ClientError),
    /// An answer without the id that the next call needs.
    #[error("{call}: no {member} in the answer")]
    NoId {
        /// The call.
        call: &'static str,
        /// The missing member.
        member: &'static str,
    },
    /// The recipient could not be connected.
    #[error("the seed's WebSocket recipient is not connected")]
    Recipient(#[source] RecipientError),
}

impl From<ClientError> for SeedError {
    fn from(error: ClientError) -> SeedError {
        SeedError::Call(error)
    }
}

/// Seeds a fresh pair whose bus runs with [`cast::identities`] of the same number. On return `access` carries the admin
/// session.
///
/// # Errors
/// `Call`: the first write that was not answered as it has to be; `Recipient`.
pub async fn run(access: &mut Access, plan: &SeedPlan, clock: Clock<'_>) -> Result<Seeded, SeedError> {
    let recorder = Recorder::new(clock);
    let (mut credentials, mut facts) = Box::pin(perform(access, plan, 0, &recorder)).await?;
    for number in 1..plan.rounds {
        let (more, further) = Box::pin(perform(access, plan, number, &recorder)).await?;
        credentials.extend(more);
        facts.extend(further);
    }
    Ok(Seeded {
        ledger: recorder.into_ledger(),
        credentials,
        facts,
    })
}

/// One round of the workflow, by a cast of its own.
async fn perform(
    access: &mut Access,
    plan: &SeedPlan,
    round: u32,
    recorder: &Recorder<'_>,
) -> Result<(Credentials, Facts), SeedError> {
    let cast = Cast::of_round(plan.seed, round);
    let credentials = registry::open(access, plan, &cast, recorder).await?;
    let sent = traffic::exchange(access, plan.seed, round, &cast, recorder).await?;
    let handled = partners::handle(access, plan, &cast, recorder, &sent).await?;
    let beam_id = |part| cast.member(part).beam_id.clone();
    let facts = Facts {
        agents: cast.members.iter().map(|member| member.beam_id.clone()).collect(),
        rotated_agent: beam_id(cast::Part::Courier),
        shielded_agent: beam_id(cast::Part::Buyer),
        ghost_agent: beam_id(cast::Part::Ghost),
        websocket_recipient: beam_id(cast::Part::Finance),
        offline_recipient: beam_id(cast::Part::Desk),
        orgs: cast.orgs[..registry::ORGS_WITH_A_ROW]
            .iter()
            .map(|org| org.name.clone())
            .collect(),
        requests: handled.requests,
        workspaces: handled.workspaces,
        intents: sent.intents,
        messages: sent.messages,
    };
    Ok((credentials, facts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_pair_that_does_not_answer_ends_the_seed() {
        let seeding = tokio::spawn(async {
            // Port 1 on loopback is not listened on.
            let mut access = Access::new("http://127.0.0.1:1", "http://127.0.0.1:1", None);
            let plan = SeedPlan {
                seed: 1,
                admin_email: "ops@beam.local".to_owned(),
                workspaces: Workspaces::Two,
                rounds: 1,
            };
            run(&mut access, &plan, &|| Timestamp::UNIX_EPOCH).await
        });
        let ended = seeding.await.expect("no panic");
        assert!(
            matches!(&ended, Err(SeedError::Call(error)) if error.never_sent()),
            "{ended:?}"
        );
    }
}
