//! The connection under both clients: one pool, one time limit, one latch per service.
//!
//! Never follows a redirect, never uses a proxy, reads at most 32 MiB of a body. After the first time-out or refused
//! connection every further call fails at once with that cause, so that a dead service costs 3 s and not 3 s a call.

use crate::client::dial::socket_of;
use crate::client::secret::{Secret, shown};
use crate::deployment::Service;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;

/// How long one request may take.
pub const REQUEST_LIMIT: Duration = Duration::from_secs(3);

/// Node closes a connection that is idle for 5 s; one that is reused at that moment would break.
const IDLE_LIMIT: Duration = Duration::from_secs(2);

/// How much of a body is read.
pub const BODY_LIMIT_BYTES: usize = 32 * 1024 * 1024;

/// Method and URL of a call, as errors show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The service that was asked.
    pub service: Service,
    /// `GET`, `POST`…
    pub method: Method,
    /// The whole URL.
    pub url: String,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.url)
    }
}

/// A call that gave no usable answer.
#[derive(Debug, Clone, Error)]
pub enum ClientError {
    /// Nothing listens there.
    #[error("{request}: connection refused")]
    Refused {
        /// The call.
        request: Request,
        /// What the connection said.
        source: Arc<reqwest::Error>,
    },
    /// No complete answer within the limit; whether the service acted is unknown.
    #[error("{request}: no answer within {limit_ms} ms")]
    TimedOut {
        /// The call.
        request: Request,
        /// The limit, in milliseconds.
        limit_ms: u128,
        /// What the connection said.
        source: Arc<reqwest::Error>,
    },
    /// The connection broke after the request was sent; whether the service acted is unknown.
    #[error("{request}: connection broke before the answer was complete")]
    Broken {
        /// The call.
        request: Request,
        /// What the connection said.
        source: Arc<reqwest::Error>,
    },
    /// An answer with a status that the call does not allow.
    #[error("{request}: status {status}: {body}")]
    Unexpected {
        /// The call.
        request: Request,
        /// The HTTP status.
        status: u16,
        /// The start of the body, secrets removed.
        body: String,
    },
    /// An answer that lacks a member, is not JSON or is too large.
    #[error("{request}: status {status}, {problem}: {body}")]
    Malformed {
        /// The call.
        request: Request,
        /// The HTTP status.
        status: u16,
        /// What is wrong with it.
        problem: String,
        /// The start of the body, secrets removed.
        body: String,
    },
    /// Not sent, because the service did not answer an earlier call.
    #[error("{request}: not sent, the {} did not answer before", request.service)]
    NotSent {
        /// The call.
        request: Request,
        /// The first call that was not answered.
        #[source]
        first: Box<ClientError>,
    },
}

impl ClientError {
    /// The HTTP status, `None` when there was no answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self {
            ClientError::Unexpected { status, .. } | ClientError::Malformed { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the service was not reached at all, so that nothing can have been written.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        matches!(self, ClientError::Refused { .. } | ClientError::NotSent { .. })
    }

    /// Whether it is a failure to get an answer, not an answer.
    #[must_use]
    pub fn unanswered(&self) -> bool {
        self.status().is_none()
    }
}

/// Any answer of a service: what negative tests look at.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The call.
    pub request: Request,
    /// The HTTP status.
    pub status: u16,
    /// The JSON body; `Null` when there was none; a string when it was not JSON.
    pub body: Value,
}

impl Reply {
    /// The member `errorCode` (`error_code` of the bus).
    #[must_use]
    pub fn error_code(&self) -> Option<&str> {
        ["errorCode", "error_code"]
            .iter()
            .find_map(|name| self.body.get(name)?.as_str())
    }

    /// The answer, if its status is one of those.
    ///
    /// # Errors
    /// `Unexpected` with the start of the body.
    pub fn allow(self, statuses: &[u16]) -> Result<Reply, ClientError> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        Err(ClientError::Unexpected {
            status: self.status,
            body: shown(&self.body),
            request: self.request,
        })
    }

    /// The body as a typed value.
    ///
    /// # Errors
    /// `Malformed` when a member is missing or of another type.
    pub fn typed<T: DeserializeOwned>(self) -> Result<Answer<T>, ClientError> {
        match T::deserialize(&self.body) {
            Ok(value) => Ok(Answer {
                status: self.status,
                value,
            }),
            Err(problem) => Err(self.malformed(problem.to_string())),
        }
    }

    /// One member of the body, as a typed value.
    ///
    /// # Errors
    /// `Malformed` when it is missing or of another type.
    pub fn member<T: DeserializeOwned>(self, name: &str) -> Result<Answer<T>, ClientError> {
        match self.body.get(name).map(T::deserialize) {
            Some(Ok(value)) => Ok(Answer {
                status: self.status,
                value,
            }),
            Some(Err(problem)) => Err(self.malformed(format!("member {name}: {problem}"))),
            None => Err(self.malformed(format!("no member {name}"))),
        }
    }

    /// The error for an answer that does not hold what it should.
    #[must_use]
    pub fn malformed(&self, problem: impl Into<String>) -> ClientError {
        ClientError::Malformed {
            request: self.request.clone(),
            status: self.status,
            problem: problem.into(),
            body: shown(&self.body),
        }
    }
}

/// An allowed answer with the members that its caller reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<T> {
    /// The HTTP status.
    pub status: u16,
    /// What the body says.
    pub value: T,
}

/// One service's address, pool and latch. Clones share both.
#[derive(Debug, Clone)]
pub struct Connection {
    service: Service,
    base_url: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    pool: Mutex<Option<reqwest::Client>>,
    latch: Mutex<Option<ClientError>>,
}

impl Connection {
    /// A connection with an open latch and no pool yet.
    #[must_use]
    pub fn new(service: Service, base_url: &str) -> Connection {
        Connection {
            service,
            base_url: base_url.trim_end_matches('/').to_owned(),
            shared: Arc::default(),
        }
    }

    /// The address without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Drops the pool; idle connections end. A later call opens a new one.
    pub fn close(&self) {
        lock(&self.shared.pool).take();
    }

    /// Sends one request and reads the whole answer, whatever its status.
    ///
    /// # Errors
    /// `Refused`, `TimedOut`, `Broken`, `Malformed` (body too large), `NotSent` after one of the first two.
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<&Value>,
    ) -> Result<Reply, ClientError> {
        let request = self.request(method, path);
        let first = lock(&self.shared.latch).clone();
        if let Some(first) = first {
            return Err(ClientError::NotSent {
                request,
                first: Box::new(first),
            });
        }
        let answered = self.exchange(&request, headers, body, REQUEST_LIMIT).await;
        if let Err(error @ (ClientError::Refused { .. } | ClientError::TimedOut { .. })) = &answered {
            lock(&self.shared.latch).get_or_insert_with(|| error.clone());
        }
        answered
    }

    /// Like [`Connection::call`] with a limit of its own, and without the latch: for a call that may stay unanswered.
    ///
    /// # Errors
    /// As `call`, but never `NotSent`.
    pub async fn call_within(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        self.exchange(&self.request(method, path), headers, body, limit).await
    }

    fn request(&self, method: Method, path: &str) -> Request {
        Request {
            service: self.service,
            method,
            url: format!("{}{path}", self.base_url),
        }
    }

    async fn exchange(
        &self,
        request: &Request,
        headers: HeaderMap,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        let failed = |error| classify(request, error, limit);
        let mut outgoing = self
            .pool()
            .map_err(failed)?
            .request(request.method.clone(), &request.url)
            .headers(headers)
            .timeout(limit);
        if let Some(body) = body {
            outgoing = outgoing.json(body);
        }
        let mut response = outgoing.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > BODY_LIMIT_BYTES {
                return Err(ClientError::Malformed {
                    request: request.clone(),
                    status,
                    problem: format!("body is larger than {BODY_LIMIT_BYTES} bytes"),
                    body: String::new(),
                });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Reply {
            request: request.clone(),
            status,
            body: parse(&bytes),
        })
    }

    fn pool(&self) -> Result<reqwest::Client, reqwest::Error> {
        let mut pool = lock(&self.shared.pool);
        if let Some(client) = pool.as_ref() {
            return Ok(client.clone());
        }
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .pool_idle_timeout(IDLE_LIMIT);
        let address = reqwest::Url::parse(&self.base_url).ok();
        let address = address.and_then(|url| Some((url.host_str()?.to_owned(), url.port_or_known_default()?)));
        if let Some(socket) = address.and_then(|(host, port)| socket_of(&host, port)) {
            client = client.unix_socket(socket);
        }
        let client = client.build()?;
        *pool = Some(client.clone());
        Ok(client)
    }
}

/// A bearer header; empty when the text cannot stand in a header.
#[must_use]
pub fn bearer(secret: Option<&Secret>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(secret) = secret
        && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", secret.expose()))
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// Adds an `X-Forwarded-For` that no call of this process used before: Beam counts its rate limits by that header, and
/// all callers without it share one bucket.
pub fn forward_from_fresh_address(headers: &mut HeaderMap) {
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(4_099)));
    let [_, a, b, c] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    if let Ok(value) = HeaderValue::from_str(&format!("10.{a}.{b}.{c}")) {
        headers.insert(HeaderName::from_static("x-forwarded-for"), value);
    }
}

/// One path segment or query value, percent-encoded; `@` and `:` stay readable.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' | b':' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

fn classify(request: &Request, error: reqwest::Error, limit: Duration) -> ClientError {
    let request = request.clone();
    let (is_timeout, is_connect) = (error.is_timeout(), error.is_connect());
    let source = Arc::new(error.without_url());
    if is_timeout {
        ClientError::TimedOut {
            request,
            limit_ms: limit.as_millis(),
            source,
        }
    } else if is_connect {
        ClientError::Refused { request, source }
    } else {
        ClientError::Broken { request, source }
    }
}

fn parse(bytes: &[u8]) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(bytes).into_owned()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
