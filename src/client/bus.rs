//! The message bus: send, acknowledge, read.
//!
//! Source: Beam 1.6.0, contract section 3.2. Reads write nothing. The bus answers 201 for dead letters too: look at
//! `status` in the body.

use crate::client::http::{Answer, ClientError, Connection, Reply, bearer, segment};
use crate::client::secret::Secret;
use crate::deployment::Service;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

/// Client of one message bus. Clones share pool and latch.
#[derive(Debug, Clone)]
pub struct BusClient {
    connection: Connection,
    key: Option<Secret>,
}

/// What the bus says about a message that it took.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Taken {
    /// 32 hex digits.
    pub message_id: String,
    /// The nonce, as sent.
    pub nonce: String,
    /// Lifecycle status: delivered, queued, dead_letter… for a duplicate the current one.
    pub status: String,
    /// True when the nonce was known and nothing new was stored.
    #[serde(default)]
    pub deduped: bool,
    /// Seconds since 1970; when a queued message is tried next.
    #[serde(default)]
    pub next_retry_at: Option<f64>,
    /// Why it was not delivered.
    #[serde(default)]
    pub error_code: Option<String>,
}

impl BusClient {
    /// A client of the bus at this address; `None` for a bus without authentication.
    #[must_use]
    pub fn new(base_url: &str, key: Option<&str>) -> BusClient {
        BusClient {
            connection: Connection::new(Service::Bus, base_url),
            key: key.map(Secret::new),
        }
    }

    /// The same connection with another API key.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> BusClient {
        BusClient {
            connection: self.connection.clone(),
            key: key.map(Secret::new),
        }
    }

    /// The address without a trailing slash.
    #[must_use]
    pub fn base_url(&self) -> &str {
        self.connection.base_url()
    }

    /// Drops the connection pool.
    pub fn close(&self) {
        self.connection.close();
    }

    /// Any request with the API key; every status is an answer.
    ///
    /// # Errors
    /// No answer: see [`Connection::call`].
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, ClientError> {
        self.connection
            .call(method, path, bearer(self.key.as_ref()), body)
            .await
    }

    async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.call(Method::GET, path, None).await?.allow(&[200])
    }

    /// `GET /health`: proves only that the process answers.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn health(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/health").await?.typed()
    }

    /// `POST /v1/beam/send` of a message that is expected to be taken (201) or known (200).
    ///
    /// # Errors
    /// Any [`ClientError`]; a conflict (409) is `Unexpected`.
    pub async fn send(&self, message: &Value) -> Result<Answer<Taken>, ClientError> {
        self.try_send(message).await?.allow(&[200, 201])?.typed()
    }

    /// `POST /v1/beam/send`; every status is an answer.
    ///
    /// # Errors
    /// No answer.
    pub async fn try_send(&self, message: &Value) -> Result<Reply, ClientError> {
        self.call(Method::POST, "/v1/beam/send", Some(message)).await
    }

    /// `POST /v1/beam/ack` with a status (`acked`, `failed`) and perhaps the recipient's response.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn ack(
        &self,
        message_id: &str,
        status: &str,
        response: Option<&Value>,
    ) -> Result<Answer<Value>, ClientError> {
        let mut body = json!({"message_id": message_id, "status": status});
        if let Some(response) = response {
            body["response"] = response.clone();
        }
        let reply = self.call(Method::POST, "/v1/beam/ack", Some(&body)).await?;
        reply.allow(&[200])?.typed()
    }

    /// `GET /v1/beam/poll` of an agent's messages in a status.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn poll(&self, agent: &str, status: &str) -> Result<Answer<Vec<Value>>, ClientError> {
        let path = format!(
            "/v1/beam/poll?agent={}&status={}&limit=100",
            segment(agent),
            segment(status)
        );
        self.get(&path).await?.member("messages")
    }

    /// `GET /v1/beam/history`, newest first, at most `limit` (500 is the most that the bus gives).
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn history(&self, limit: u32) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&format!("/v1/beam/history?limit={limit}"))
            .await?
            .member("messages")
    }

    /// `GET /v1/beam/history` with filters: `sender`, `recipient`, `intent`, `status`, `since`, `until`, `limit`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn history_where(&self, filters: &[(&str, &str)]) -> Result<Answer<Vec<Value>>, ClientError> {
        let query: Vec<String> = filters
            .iter()
            .map(|(name, value)| format!("{name}={}", segment(value)))
            .collect();
        self.get(&format!("/v1/beam/history?{}", query.join("&")))
            .await?
            .member("messages")
    }

    /// `GET /v1/beam/stats`: counts by status and agent.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn stats(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/v1/beam/stats").await?.typed()
    }

    /// `GET /v1/beam/dead-letter`, at most 500.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn dead_letters(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/v1/beam/dead-letter?limit=500").await?.member("messages")
    }

    /// `POST /v1/beam/dead-letter/{id}/requeue`: one delivery attempt at once.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn requeue(&self, message_id: &str) -> Result<Answer<Taken>, ClientError> {
        let path = format!("/v1/beam/dead-letter/{}/requeue", segment(message_id));
        self.call(Method::POST, &path, None).await?.allow(&[200])?.typed()
    }
}
