//! Answers of a restored service, altered on their way: a loopback proxy in front of it.
//!
//! Speaks HTTP/1.1 with one request a connection; an upgrade (WebSocket) is passed through as bytes. What is not named in
//! the fault passes unaltered. Counts what it altered: a fault of which no answer was asked for is none.

use crate::deployment::Service;
use crate::faults::fault::Answer;
use crate::faults::http_message::{Head, read_body, read_head};
use crate::faults::json_patch::{Patch, PatchError};
use crate::faults::target::Target;
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

/// Why a proxy could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The service does not run at this stage.
    #[error("the {0} does not run at this stage")]
    NotRunning(Service),
    /// Its address is not of the form `http://address:port`.
    #[error("{url} is no http://address:port of a loopback service")]
    Address {
        /// The base URL.
        url: String,
    },
    /// No loopback port.
    #[error("cannot listen on a loopback port")]
    Listen(#[from] io::Error),
    /// There is no Tokio runtime around the injection.
    #[error("no runtime to run the proxy in")]
    NoRuntime(#[from] tokio::runtime::TryCurrentError),
    /// A patch is none.
    #[error("a patch of the fault is malformed")]
    Patch(#[from] PatchError),
}

struct Rule {
    method: String,
    path: Vec<String>,
    patch: Patch,
    status: Option<u16>,
    delay: Duration,
}

struct Proxy {
    service: Service,
    url: String,
    task: tokio::task::JoinHandle<()>,
}

/// The proxies of one fault; they end when this value is dropped.
pub struct Proxies {
    each: Vec<Proxy>,
    altered: Arc<AtomicU64>,
}

impl std::fmt::Debug for Proxies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let urls: Vec<(Service, &str)> = self
            .each
            .iter()
            .map(|proxy| (proxy.service, proxy.url.as_str()))
            .collect();
        write!(f, "Proxies {{ {urls:?}, altered {} }}", self.altered())
    }
}

impl Proxies {
    /// The address to ask instead of the service's own; `None` for a service that is not altered.
    #[must_use]
    pub fn url(&self, service: Service) -> Option<&str> {
        self.each
            .iter()
            .find(|proxy| proxy.service == service)
            .map(|proxy| proxy.url.as_str())
    }

    /// How many answers were altered so far.
    #[must_use]
    pub fn altered(&self) -> u64 {
        self.altered.load(Ordering::Relaxed)
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.each.iter().for_each(|proxy| proxy.task.abort());
    }
}

/// Whether an answer of a fault file can be used.
///
/// # Errors
/// What is wrong, and what to do.
pub(crate) fn check(answer: &Answer) -> Result<(), String> {
    if !answer.path.starts_with('/') || answer.path.contains('?') {
        return Err(format!(
            "path {:?} of an answer begins with / and has no query",
            answer.path
        ));
    }
    if answer.patch.is_empty() && answer.status.is_none() && answer.delay_ms.is_none() {
        return Err(format!(
            "the answer to {} is not altered; give patch, status or delay_ms",
            answer.path
        ));
    }
    if answer.status.is_some_and(|status| !(200..=599).contains(&status)) {
        return Err("status of an answer is 200 to 599".to_owned());
    }
    Patch::parse(&answer.patch).map(drop).map_err(|error| error.to_string())
}

/// Starts a proxy in front of every service that the answers name.
///
/// # Errors
/// [`ProxyError`].
pub fn start(answers: &[Answer], target: &Target) -> Result<Proxies, ProxyError> {
    let runtime = tokio::runtime::Handle::try_current()?;
    let mut proxies = Proxies {
        each: Vec::new(),
        altered: Arc::default(),
    };
    for service in Service::ALL {
        let own = answers.iter().filter(|answer| answer.service == service);
        let rules = own.map(rule).collect::<Result<Vec<Rule>, ProxyError>>()?;
        if rules.is_empty() {
            continue;
        }
        let live = target.live(service).ok_or(ProxyError::NotRunning(service))?;
        let behind = address(&live.url).ok_or_else(|| ProxyError::Address { url: live.url.clone() })?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let task = runtime.spawn(serve(listener, behind, Arc::new(rules), Arc::clone(&proxies.altered)));
        proxies.each.push(Proxy { service, url, task });
    }
    Ok(proxies)
}

fn rule(answer: &Answer) -> Result<Rule, ProxyError> {
    Ok(Rule {
        method: answer.method.to_ascii_uppercase(),
        path: answer.path.split('/').map(str::to_owned).collect(),
        patch: Patch::parse(&answer.patch)?,
        status: answer.status,
        delay: Duration::from_millis(answer.delay_ms.unwrap_or(0)),
    })
}

pub(crate) fn address(url: &str) -> Option<SocketAddr> {
    let rest = url
        .strip_prefix("http://")?
        .trim_end_matches('/')
        .replace("localhost", "127.0.0.1");
    rest.parse().ok()
}

async fn serve(listener: TcpListener, behind: SocketAddr, rules: Arc<Vec<Rule>>, altered: Arc<AtomicU64>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // A connection that breaks is what its client sees: there is nobody else to tell.
        if let Ok((client, _)) = listener.accept().await {
            let (rules, altered) = (Arc::clone(&rules), Arc::clone(&altered));
            connections.spawn(async move { drop(exchange(client, behind, &rules, &altered).await) });
        }
        while connections.try_join_next().is_some() {}
    }
}

/// One request and its answer, or one upgraded connection.
async fn exchange(mut client: TcpStream, behind: SocketAddr, rules: &[Rule], altered: &AtomicU64) -> io::Result<()> {
    let Some((head, rest)) = read_head(&mut client, Vec::new()).await? else {
        return Ok(());
    };
    if head.header("upgrade").is_some() {
        let mut service = TcpStream::connect(behind).await?;
        service.write_all(&head.bytes()).await?;
        service.write_all(&rest).await?;
        copy_bidirectional(&mut client, &mut service).await?;
        return Ok(());
    }
    let body = read_body(&mut client, &head, rest, false).await?;
    let (method, path) = head.target();
    let mut answer = ask(behind, &head, &body).await?;
    for rule in rules.iter().filter(|rule| rule.matches(&method, &path)) {
        tokio::time::sleep(rule.delay).await;
        if rule.alter(&mut answer.head, &mut answer.body) {
            altered.fetch_add(1, Ordering::Relaxed);
        }
    }
    client.write_all(&answer.bytes()).await?;
    client.shutdown().await
}

/// A whole answer of a service.
pub(crate) struct Answered {
    head: Head,
    body: Vec<u8>,
    bodiless: bool,
}

impl Answered {
    /// As it goes to the client, on a connection that ends after it.
    pub(crate) fn bytes(self) -> Vec<u8> {
        let head = if self.bodiless {
            self.head.closing()
        } else {
            self.head.with_length(self.body.len())
        };
        [head.bytes(), self.body].concat()
    }
}

/// Asks a service on a connection of its own.
pub(crate) async fn ask(behind: SocketAddr, head: &Head, body: &[u8]) -> io::Result<Answered> {
    let mut service = TcpStream::connect(behind).await?;
    service.write_all(&head.with_length(body.len()).bytes()).await?;
    service.write_all(body).await?;
    let (mut answer, mut rest) = head_of_answer(&mut service, Vec::new()).await?;
    while answer.status().is_some_and(|status| status < 200) {
        (answer, rest) = head_of_answer(&mut service, rest).await?;
    }
    let bodiless = head.target().0 == "HEAD" || matches!(answer.status(), Some(204 | 304));
    let body = if bodiless {
        Vec::new()
    } else {
        read_body(&mut service, &answer, rest, true).await?
    };
    Ok(Answered {
        head: answer,
        body,
        bodiless,
    })
}

async fn head_of_answer(service: &mut TcpStream, rest: Vec<u8>) -> io::Result<(Head, Vec<u8>)> {
    read_head(service, rest)
        .await?
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

impl Rule {
    fn matches(&self, method: &str, path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        let is_any = |part: &str| part == "*" || (part.starts_with('{') && part.ends_with('}'));
        self.method == method
            && parts.len() == self.path.len()
            && self
                .path
                .iter()
                .zip(&parts)
                .all(|(wanted, part)| is_any(wanted) || wanted == part)
    }

    /// Alters an answer; whether anything is different now.
    fn alter(&self, answer: &mut Head, body: &mut Vec<u8>) -> bool {
        let mut is_altered = !self.delay.is_zero();
        if let Ok(was) = serde_json::from_slice::<Value>(body)
            && let Ok(is) = self.patch.apply(&was)
            && was != is
        {
            *body = is.to_string().into_bytes();
            is_altered = true;
        }
        if let Some(status) = self.status.filter(|status| answer.status() != Some(*status)) {
            answer.first = format!("HTTP/1.1 {status} Altered");
            is_altered = true;
        }
        is_altered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::fault::Stage;
    use crate::faults::target::Live;
    use serde_json::json;
    use std::path::Path;
    use tokio::io::AsyncReadExt;

    const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"agents\": 5}";
    const CHUNKED: &str =
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5;x=1\r\n{\"age\r\n8\r\nnts\": 5}\r\n0\r\n\r\n";

    /// A service that gives one answer to everything and keeps what it was asked.
    async fn service(answer: &'static str) -> (String, tokio::sync::mpsc::UnboundedReceiver<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (send, asked) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(Some((head, rest))) = read_head(&mut stream, Vec::new()).await else {
                    continue;
                };
                let body = read_body(&mut stream, &head, rest, false).await.unwrap_or_default();
                drop(send.send(format!("{} {}", head.first, String::from_utf8_lossy(&body))));
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        (url, asked)
    }

    fn altered(path: &str, patch: Value) -> Answer {
        Answer {
            service: Service::Directory,
            method: "GET".to_owned(),
            path: path.to_owned(),
            patch: patch.as_array().cloned().unwrap_or_default(),
            status: None,
            delay_ms: None,
        }
    }

    fn proxy(url: &str, answer: Answer) -> (Proxies, String) {
        let target = Target {
            directory: Some(Live {
                url: url.to_owned(),
                pid: None,
            }),
            ..Target::empty(Stage::Running, Path::new("."))
        };
        let proxies = start(&[answer], &target).expect("started");
        let url = proxies.url(Service::Directory).expect("a proxy").to_owned();
        (proxies, url)
    }

    async fn asked(url: &str) -> (u16, Value) {
        let answer = reqwest::get(url).await.expect("answered");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    fn six() -> Value {
        json!([{"op": "replace", "path": "/agents", "value": 6}])
    }

    #[tokio::test]
    async fn a_named_answer_is_altered_whatever_its_framing() {
        for (answer, status) in [(PLAIN, 200), (CHUNKED, 201)] {
            let (behind, _asked) = service(answer).await;
            let (proxies, url) = proxy(&behind, altered("/stats/{name}", six()));
            assert_eq!(
                asked(&format!("{url}/stats/x?hours=2")).await,
                (status, json!({"agents": 6}))
            );
            assert_eq!(proxies.altered(), 1);
        }
    }

    #[tokio::test]
    async fn other_answers_pass_and_do_not_count() {
        let (behind, _asked) = service(CHUNKED).await;
        let (proxies, url) = proxy(&behind, altered("/stats", six()));
        for path in ["/stats/x", "/health", "/"] {
            assert_eq!(asked(&format!("{url}{path}")).await.1, json!({"agents": 5}), "{path}");
        }
        assert_eq!(proxies.altered(), 0);
    }

    #[tokio::test]
    async fn a_patch_that_does_not_apply_alters_nothing() {
        let (behind, _asked) = service(PLAIN).await;
        let (proxies, url) = proxy(
            &behind,
            altered("/stats", json!([{"op": "remove", "path": "/nothing"}])),
        );
        assert_eq!(asked(&format!("{url}/stats")).await.1, json!({"agents": 5}));
        assert_eq!(proxies.altered(), 0);
    }

    #[tokio::test]
    async fn a_status_is_altered_and_the_request_arrives_whole() {
        let (behind, mut asked) = service(PLAIN).await;
        let answer = Answer {
            method: "POST".to_owned(),
            status: Some(503),
            ..altered("/send", json!([]))
        };
        let (_proxies, url) = proxy(&behind, answer);
        let reply = reqwest::Client::new()
            .post(format!("{url}/send"))
            .body("a body")
            .send()
            .await
            .expect("answered");
        assert_eq!(reply.status().as_u16(), 503);
        assert_eq!(asked.recv().await.as_deref(), Some("POST /send HTTP/1.1 a body"));
    }

    #[tokio::test]
    async fn an_upgraded_connection_passes_as_bytes() {
        let (behind, _asked) = service("HTTP/1.1 101 Switching Protocols\r\n\r\n\u{1}bytes").await;
        let (_proxies, url) = proxy(&behind, altered("/ws", six()));
        let mut stream = TcpStream::connect(url.trim_start_matches("http://"))
            .await
            .expect("connected");
        stream
            .write_all(b"GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n")
            .await
            .expect("written");
        let mut seen = String::new();
        stream.read_to_string(&mut seen).await.expect("read");
        assert!(seen.ends_with("\u{1}bytes"), "{seen}");
    }

    #[test]
    fn an_answer_that_alters_nothing_is_refused() {
        assert!(check(&altered("/stats", json!([]))).is_err());
        assert!(check(&altered("stats", six())).is_err());
        assert!(check(&altered("/stats", json!([{"op": "nonsense"}]))).is_err());
        assert!(check(&altered("/stats", six())).is_ok());
    }
}
