//! Gets what an address answers: plain HTTP by the harness's own client, HTTPS through `curl`, so that no TLS stack is built for
//! a look at a deployed site.

use crate::parity::command::{self, CommandError};
use reqwest::Url;
use std::path::Path;
use std::time::Duration;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How much of an answer is read.
const LARGEST_BYTES: usize = 32 * 1024 * 1024;
/// How often an address may send on to another one of its host.
const MOST_REDIRECTS: usize = 5;

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
    /// Sent on to somebody else, whose answer proves nothing of this address.
    #[error("sends on to {0}, which is another host; name the address that answers itself")]
    Elsewhere(String),
    /// Sent on and on.
    #[error("sends on more than {MOST_REDIRECTS} times")]
    Circle,
    /// `curl` did not get it.
    #[error("not reachable through curl")]
    Curl(#[from] CommandError),
    /// What should be JSON is not.
    #[error("answers with something that is no JSON")]
    NoJson,
}

/// What one request came to.
enum Answered {
    Body(Vec<u8>),
    SentOn(String),
}

/// Asks addresses, one after the other.
pub(crate) struct Fetcher {
    /// `None` where no client can be made: then everything goes through curl.
    client: Option<reqwest::Client>,
}

impl Fetcher {
    /// Uses no proxy.
    pub(crate) fn new() -> Fetcher {
        Fetcher::within(LIMIT)
    }

    fn within(limit: Duration) -> Fetcher {
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(limit)
            .build();
        Fetcher { client: client.ok() }
    }

    /// The body of a 2xx answer. Redirects within the host are followed, a few.
    pub(crate) async fn text(&self, url: &str) -> Result<String, FetchError> {
        let mut url = url.to_owned();
        for _ in 0..=MOST_REDIRECTS {
            let client = self.client.as_ref().filter(|_| !url.starts_with("https://"));
            let answered = match client {
                Some(client) => by_client(client, &url).await?,
                None => by_curl(&url).await?,
            };
            match answered {
                Answered::Body(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Answered::SentOn(to) => url = within_host(&url, &to)?,
            }
        }
        Err(FetchError::Circle)
    }

    /// The body of a 2xx answer as JSON.
    pub(crate) async fn json(&self, url: &str) -> Result<serde_json::Value, FetchError> {
        serde_json::from_str(&self.text(url).await?).map_err(|_| FetchError::NoJson)
    }
}

async fn by_client(client: &reqwest::Client, url: &str) -> Result<Answered, FetchError> {
    let unreachable = |error: reqwest::Error| FetchError::Unreachable(error.without_url());
    let mut response = client.get(url).send().await.map_err(unreachable)?;
    let to = response.headers().get(reqwest::header::LOCATION);
    if let Some(to) = to.filter(|_| response.status().is_redirection()) {
        return Ok(Answered::SentOn(String::from_utf8_lossy(to.as_bytes()).into_owned()));
    }
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
    Ok(Answered::Body(bytes))
}

/// What curl prints: the body, a line feed, the status, a blank and where it is sent on to.
async fn by_curl(url: &str) -> Result<Answered, FetchError> {
    let (seconds, bytes) = (LIMIT.as_secs().to_string(), LARGEST_BYTES.to_string());
    let argv = [
        "curl",
        "--fail",
        "--silent",
        "--proto",
        "=http,https",
        "--max-time",
        &seconds,
        "--max-filesize",
        &bytes,
        "--write-out",
        "\n%{http_code} %{redirect_url}",
        "--",
        url,
    ];
    let mut printed = command::run(&argv.map(str::to_owned), Path::new(".")).await?;
    let at = printed.iter().rposition(|byte| *byte == b'\n').unwrap_or_default();
    let told = String::from_utf8_lossy(&printed[at..]).trim().to_owned();
    printed.truncate(at);
    match told.split_once(' ') {
        Some((_, to)) => Ok(Answered::SentOn(to.to_owned())),
        None if told.starts_with('3') => Err(FetchError::Status(told.parse().unwrap_or(300))),
        None => Ok(Answered::Body(printed)),
    }
}

/// Where an address sends on to, if that is its own host (`www.` or not), at the same port or a usual one.
fn within_host(from: &str, to: &str) -> Result<String, FetchError> {
    let shown = || FetchError::Elsewhere(to.split(['?', '#']).next().unwrap_or(to).chars().take(100).collect());
    let from = Url::parse(from).map_err(|_| shown())?;
    let to = from.join(to).map_err(|_| shown())?;
    let host = |url: &Url| url.host_str().map(|host| host.trim_start_matches("www.").to_owned());
    let is_own = host(&from).is_some() && host(&from) == host(&to);
    let is_usual = to.port().is_none() || to.port() == from.port();
    if is_own && is_usual && ["http", "https"].contains(&to.scheme()) {
        Ok(to.into())
    } else {
        Err(shown())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that gives each connection the head, and then the chunk again and again, with a pause before each.
    async fn server(head: String, chunk: Vec<u8>, pause: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (head, chunk) = (head.clone(), chunk.clone());
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 1024]).await;
                    let _ = stream.write_all(head.as_bytes()).await;
                    while !chunk.is_empty() && stream.write_all(&chunk).await.is_ok() {
                        tokio::time::sleep(pause).await;
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_read_up_to_its_limit() {
        let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x10000], b"\r\n"].concat();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        let address = server(head, chunk, Duration::ZERO).await;
        assert!(matches!(Fetcher::new().text(&address).await, Err(FetchError::TooLarge)));
    }

    #[tokio::test]
    async fn an_answer_byte_by_byte_is_waited_for_no_longer_than_its_limit() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_owned();
        let address = server(head, b"x".to_vec(), Duration::from_millis(50)).await;
        let began = Instant::now();
        let answer = Fetcher::within(Duration::from_millis(500)).text(&address).await;
        assert!(matches!(answer, Err(FetchError::Unreachable(_))), "{answer:?}");
        assert!(began.elapsed() < Duration::from_secs(8));
    }

    #[tokio::test]
    async fn who_sends_on_to_another_host_is_not_followed() {
        for to in [
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
            "//other.test/",
            "http://127.0.0.1:1/",
        ] {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            let address = server(head, Vec::new(), Duration::ZERO).await;
            let answer = Fetcher::new().text(&address).await;
            assert!(matches!(answer, Err(FetchError::Elsewhere(_))), "{to}: {answer:?}");
        }
        let head = "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n".to_owned();
        let address = server(head, Vec::new(), Duration::ZERO).await;
        assert!(matches!(Fetcher::new().text(&address).await, Err(FetchError::Circle)));
    }

    #[test]
    fn a_host_may_send_on_within_itself() {
        let to = |from, to| within_host(from, to).ok();
        assert_eq!(
            to("http://beam.test/a", "https://www.beam.test/b").as_deref(),
            Some("https://www.beam.test/b")
        );
        assert_eq!(
            to("http://beam.test:81/a", "c").as_deref(),
            Some("http://beam.test:81/c")
        );
        assert_eq!(to("https://beam.test", "https://beam.test.evil.test/"), None);
        assert_eq!(to("https://beam.test", "https://beam.test:22/"), None);
    }
}
