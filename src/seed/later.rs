//! A few writes after the seed: what is acknowledged shortly before the outage, and what an older backup lacks.
//!
//! Few enough that no limit comes near: one access list entry, one intent, one bus message.

use crate::client::Access;
use crate::seed::cast::Cast;
use crate::seed::recorder::Recorder;
use crate::seed::{Clock, SeedError, Seeded, registry, traffic};

/// Writes them to a pair that was seeded with that number; `word` makes their names, so it is used once.
///
/// # Errors
/// `Call`: a write that was not answered as it has to be.
pub async fn write(
    access: &Access,
    seed: u64,
    word: &str,
    seeded: &mut Seeded,
    clock: Clock<'_>,
) -> Result<(), SeedError> {
    let cast = Cast::new(seed);
    let recorder = Recorder::resume(std::mem::take(&mut seeded.ledger), clock);
    let public = access.directory.anonymous();
    let written = tokio::try_join!(
        registry::grant_once_more(&public, &cast, word, &recorder),
        traffic::exchange_once_more(access, seed, &cast, word, &recorder),
    );
    // The ledger stays whole, also when a write failed.
    seeded.ledger = recorder.into_ledger();
    let ((), sent) = written?;
    seeded.facts.intents.extend(sent.intents);
    seeded.facts.messages.extend(sent.messages);
    Ok(())
}
