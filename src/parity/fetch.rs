//! Gets what an address answers: plain HTTP by the harness's own client, HTTPS through `curl`, so that no TLS stack is built for
//! a look at a deployed site.

use crate::parity::command::{self, CommandError};
use std::path::Path;
use std::time::Duration;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const LARGEST_BYTES: usize = 32 * 1024 * 1024;

/// Why an address gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    /// No complete answer.
    #[error("not reachable")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that is none.
    #[error("answers with status {0}")]
    Status(u16),
    /// Too large to be read.
    #[error("answers with more than {LARGEST_BYTES} bytes")]
    TooLarge,
    /// `curl` did not get it.
    #[error("not reachable through curl")]
    Curl(#[from] CommandError),
    /// What should be JSON is not.
    #[error("answers with something that is no JSON")]
    NoJson,
}

/// Asks addresses, one after the other.
pub(crate) struct Fetcher {
    /// `None` where no client can be made: then everything goes through curl.
    client: Option<reqwest::Client>,
    redirects: usize,
}

impl Fetcher {
    /// Follows a few redirects, uses no proxy.
    pub(crate) fn new() -> Fetcher {
        Fetcher::following(5)
    }

    /// Follows no redirect: what answers elsewhere says nothing of who is asked.
    pub(crate) fn direct() -> Fetcher {
        Fetcher::following(0)
    }

    fn following(redirects: usize) -> Fetcher {
        let policy = match redirects {
            0 => reqwest::redirect::Policy::none(),
            some => reqwest::redirect::Policy::limited(some),
        };
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(policy)
            .timeout(LIMIT)
            .build();
        Fetcher {
            client: client.ok(),
            redirects,
        }
    }

    /// The body of a 2xx answer.
    pub(crate) async fn text(&self, url: &str) -> Result<String, FetchError> {
        let Some(client) = self.client.as_ref().filter(|_| !url.starts_with("https://")) else {
            let (seconds, redirects) = (LIMIT.as_secs().to_string(), self.redirects.to_string());
            let argv = [
                "curl",
                "--fail",
                "--silent",
                "--location",
                "--max-redirs",
                &redirects,
                "--max-time",
                &seconds,
                "--",
                url,
            ];
            let body = command::run(&argv.map(str::to_owned), Path::new(".")).await?;
            return Ok(String::from_utf8_lossy(&body).into_owned());
        };
        let unreachable = |error: reqwest::Error| FetchError::Unreachable(error.without_url());
        let mut response = client.get(url).send().await.map_err(unreachable)?;
        if !response.status().is_success() {
            return Err(FetchError::Status(response.status().as_u16()));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if bytes.len() + chunk.len() > LARGEST_BYTES {
                return Err(FetchError::TooLarge);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The body of a 2xx answer as JSON.
    pub(crate) async fn json(&self, url: &str) -> Result<serde_json::Value, FetchError> {
        serde_json::from_str(&self.text(url).await?).map_err(|_| FetchError::NoJson)
    }
}
