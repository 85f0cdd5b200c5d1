//! Looks at the release that an environment states, at every place that states one.
//!
//! Places of one process are one source: three answers of one object that was made at its start prove no more than one. Two
//! absent values are no agreement. Source: Beam 1.6.0, contract sections 1.3 and 2.1.

use crate::deployment::compared::Aspect;
use crate::deployment::given_file;
use crate::deployment::release::Release;
use crate::parity::capture::{Looks, timestamp};
use crate::parity::fetch::{FetchError, Fetcher};
use crate::parity::fresh::Fresh;
use crate::parity::release_answers::{Stated, places};
use crate::parity::{command, config};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// Between the two looks at a running service: longer than the second that an uptime is counted in.
const BETWEEN_LOOKS: Duration = Duration::from_millis(1_100);

/// What was seen of one environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Every place that states a release.
    pub stated: Vec<Stated>,
    /// What should be deployed, as the environment's file, git or a release file says.
    pub expected: Release,
    /// When it was looked at, RFC 3339 UTC.
    pub observed_at: Option<String>,
    /// What a running service stated when it was asked again, a little later.
    #[serde(default)]
    pub again: Vec<Stated>,
    /// What a service that the harness started itself stated after a restart; before it is in [`Facts::stated`].
    #[serde(default)]
    pub restarted: Vec<Stated>,
    /// When the expected commit was made, as git says; RFC 3339.
    #[serde(default)]
    pub committed_at: Option<String>,
}

#[derive(Debug, thiserror::Error)]
enum LookError {
    #[error("cannot be read")]
    Read(#[from] std::io::Error),
    #[error("is no JSON")]
    Json(#[from] serde_json::Error),
    #[error("holds none of version, gitSha, deployedAt")]
    NoRelease,
    #[error(transparent)]
    Git(#[from] command::CommandError),
}

/// Asks a service that has a `url`, reads the files that `stated` names, and what the configuration sets.
pub(crate) async fn observe(
    looks: &mut Looks<'_>,
    config: &config::Facts,
    fresh: Option<&Fresh>,
    fetcher: &Fetcher,
) -> Facts {
    let (expected, committed_at) = expected(looks).await;
    let mut facts = Facts {
        expected,
        committed_at,
        observed_at: Some(timestamp((looks.clock)())),
        ..Facts::default()
    };
    if let Some(url) = looks.environment.directory.url.clone() {
        let url = url.trim_end_matches('/');
        facts.stated = running(looks, url, fetcher).await;
        if !facts.stated.is_empty() {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            facts.again = running(looks, url, fetcher).await;
        }
    }
    if let Some(fresh) = fresh {
        for [before, after] in &fresh.releases {
            facts
                .stated
                .extend(places(&before.answer, &before.place, &before.source, &before.at));
            facts
                .restarted
                .extend(places(&after.answer, &after.place, &after.source, &after.at));
        }
    }
    for named in &looks.environment.release.stated {
        let shown = named.display().to_string();
        let seen = stated_in(&looks.folder.join(named), &shown);
        facts
            .stated
            .extend(looks.note(Aspect::Release, &shown, None, seen).unwrap_or_default());
    }
    facts.stated.extend(configured(config));
    if facts.stated.is_empty() {
        looks.missing(
            Aspect::Release,
            "[release]",
            "nothing states a release: give [directory] url of the running service, or [release] stated = a JSON file",
        );
    }
    facts
}

async fn running(looks: &mut Looks<'_>, url: &str, fetcher: &Fetcher) -> Vec<Stated> {
    let mut stated = Vec::new();
    for path in ["/release", "/health", "/stats"] {
        let address = format!("{url}{path}");
        let answer: Result<Value, FetchError> = fetcher.json(&address).await;
        let now = timestamp((looks.clock)());
        if let Some(answer) = looks.note(Aspect::Release, &format!("GET {address}"), None, answer) {
            let found = places(&answer, &format!("GET {address}"), url, &now);
            if found.is_empty() {
                let what = "answers without version, gitSha and deployedAt";
                looks.missing(Aspect::Release, &format!("GET {address}"), what);
            }
            stated.extend(found);
        }
    }
    stated
}

fn stated_in(path: &std::path::Path, shown: &str) -> Result<Vec<Stated>, LookError> {
    let document: Value = serde_json::from_str(given_file::settings(path)?.trim_start_matches('\u{feff}'))?;
    let found = places(&document, shown, shown, "");
    if found.is_empty() {
        Err(LookError::NoRelease)
    } else {
        Ok(found)
    }
}

/// What the configuration makes the service state.
fn configured(config: &config::Facts) -> Option<Stated> {
    let value = |key: &'static str| {
        config
            .entries
            .iter()
            .find(|entry| entry.key == key)?
            .plain()
            .map(|text| (text, key))
    };
    let [version, sha, deployed] = ["BEAM_RELEASE_VERSION", "BEAM_RELEASE_SHA", "BEAM_DEPLOYED_AT"].map(value);
    let (_, key) = version.or(sha).or(deployed)?;
    let place = config.entries.iter().find(|entry| entry.key == key)?.place.clone();
    let text = |value: Option<(&str, &str)>| value.map(|(text, _)| text.to_owned());
    Some(Stated {
        source: place.clone(),
        place: format!("{place} (BEAM_RELEASE_*)"),
        release: Release {
            version: text(version),
            git_sha: text(sha),
            deployed_at: text(deployed),
        },
        ..Stated::default()
    })
}

/// The expected release, and when its commit was made where git says so.
async fn expected(looks: &mut Looks<'_>) -> (Release, Option<String>) {
    let settings = &looks.environment.release;
    let mut expected = settings.stated();
    let Some(from) = settings.from.clone() else {
        return (expected, None);
    };
    let seen = if from == "git" {
        tagged(looks.folder).await
    } else {
        stated_in(&looks.folder.join(&from), &from).map(|found| {
            (
                found.into_iter().next().map(|one| one.release).unwrap_or_default(),
                None,
            )
        })
    };
    let source = format!("expected release from {from}");
    let Some((found, committed_at)) = looks.note(Aspect::Release, &source, None, seen) else {
        return (expected, None);
    };
    expected.version = expected.version.or(found.version);
    expected.git_sha = expected.git_sha.or(found.git_sha);
    expected.deployed_at = expected.deployed_at.or(found.deployed_at);
    (expected, committed_at)
}

async fn tagged(folder: &std::path::Path) -> Result<(Release, Option<String>), LookError> {
    let line = async |arguments: &[&str]| -> Result<String, LookError> {
        let argv: Vec<String> = ["git"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        let printed = command::run(&argv, folder).await?;
        Ok(String::from_utf8_lossy(&printed).trim().to_owned())
    };
    let git_sha = line(&["rev-parse", "HEAD"]).await?;
    // Between two tags there is no version to expect; the commit still is.
    let tag = line(&["describe", "--tags", "--exact-match"]).await.ok();
    let committed_at = line(&["show", "--no-patch", "--format=%cI", "HEAD"]).await.ok();
    let release = Release {
        version: tag.map(|tag| tag.trim_start_matches('v').to_owned()),
        git_sha: Some(git_sha),
        deployed_at: None,
    };
    Ok((release, committed_at))
}
