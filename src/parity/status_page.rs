//! Does the public status page look at this environment's API? What it probes stands in it as addresses.
//!
//! Judged as the other surfaces are, apart from them: a status page that looks elsewhere says "operational" of another system.

use crate::deployment::compared::Aspect;
use crate::parity::api_url::{self, Elsewhere, Facts};
use crate::parity::capture::Looks;
use crate::parity::config;
use crate::parity::fetch::Fetcher;

/// Reads the status page.
pub(crate) async fn observe(
    looks: &mut Looks<'_>,
    config: &config::Facts,
    elsewhere: &Elsewhere,
    fetcher: &Fetcher,
) -> Facts {
    let settings = looks.environment.surfaces.clone();
    let mut facts = api_url::expectation(looks, &settings, config, elsewhere);
    // A build's variable says nothing of a page that was written by hand.
    facts.configured.clear();
    let at = settings.status_page.as_deref();
    api_url::read(looks, Aspect::StatusPage, "status-page", at, &mut facts, fetcher).await;
    facts
}
