//! The directory: release truth, login, agents and keys, access lists, intents, observation.
//!
//! Source: Beam 1.6.0, contract sections 2.1, 2.2, 2.5 to 2.7, 2.10 and 5.2 (which reads write). The admin surfaces are in
//! [`crate::client::admin`].

use crate::client::http::{Answer, ClientError, Connection, Reply, bearer, forward_from_fresh_address, segment};
use crate::client::secret::Secret;
use crate::client::signing::{KeyPair, heartbeat_signature};
use crate::deployment::Service;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Client of one directory. Clones share pool and latch.
#[derive(Debug, Clone)]
pub struct DirectoryClient {
    connection: Connection,
    session: Option<Secret>,
}

/// A magic link, as a directory without mail hands it out on loopback.
#[derive(Debug, Clone, Deserialize)]
pub struct MagicLink {
    /// Single-use token.
    pub token: Secret,
    /// The role that it will grant.
    pub role: String,
}

/// An admin session.
#[derive(Debug, Clone, Deserialize)]
pub struct Session {
    /// Bearer token.
    pub token: Secret,
    /// Whose session it is.
    pub email: String,
    /// viewer, operator or admin.
    pub role: String,
    /// When it ends, UTC.
    #[serde(rename = "expiresAt")]
    pub expires_at: String,
}

/// A registered agent, as far as a seed needs it.
#[derive(Debug, Clone, Deserialize)]
pub struct Registered {
    /// Its Beam id.
    pub beam_id: String,
    /// Its organisation.
    pub org: Option<String>,
    /// The active public key.
    pub public_key: String,
    /// The API key, shown once.
    #[serde(rename = "apiKey")]
    pub api_key: Secret,
}

impl DirectoryClient {
    /// A client of the directory at this address, without a session.
    #[must_use]
    pub fn new(base_url: &str) -> DirectoryClient {
        DirectoryClient {
            connection: Connection::new(Service::Directory, base_url),
            session: None,
        }
    }

    /// The same connection with this bearer: an admin session, or an agent's API key.
    #[must_use]
    pub fn with_session(&self, token: &str) -> DirectoryClient {
        DirectoryClient {
            connection: self.connection.clone(),
            session: Some(Secret::new(token)),
        }
    }

    /// The same connection without a session.
    #[must_use]
    pub fn anonymous(&self) -> DirectoryClient {
        DirectoryClient {
            connection: self.connection.clone(),
            session: None,
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

    /// Any request with the session and a fresh client address; every status is an answer.
    ///
    /// # Errors
    /// No answer: see [`Connection::call`].
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Reply, ClientError> {
        let mut headers = bearer(self.session.as_ref());
        forward_from_fresh_address(&mut headers);
        self.connection.call(method, path, headers, body).await
    }

    /// Like [`DirectoryClient::call`] with its own limit and without the latch: for a call that may stay unanswered.
    ///
    /// # Errors
    /// No answer: see [`Connection::call_within`].
    pub async fn call_within(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Reply, ClientError> {
        let mut headers = bearer(self.session.as_ref());
        forward_from_fresh_address(&mut headers);
        self.connection.call_within(method, path, headers, body, limit).await
    }

    /// A `GET` that must answer 200.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Reply, ClientError> {
        self.call(Method::GET, path, None).await?.allow(&[200])
    }

    /// A request with a body that must answer 200 or 201.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn write(&self, method: Method, path: &str, body: &Value) -> Result<Reply, ClientError> {
        self.call(method, path, Some(body)).await?.allow(&[200, 201])
    }

    /// `GET /health` of a healthy directory.
    ///
    /// # Errors
    /// Any [`ClientError`]; 503 is `Unexpected`.
    pub async fn health(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/health").await?.typed()
    }

    /// `GET /release`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn release(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/release").await?.typed()
    }

    /// `GET /stats`: three counts.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn stats(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/stats").await?.typed()
    }

    /// `GET /admin/auth/config`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn auth_config(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/admin/auth/config").await?.typed()
    }

    /// `POST /admin/auth/magic-link`; writes.
    ///
    /// # Errors
    /// Any [`ClientError`]; a directory that sends mail gives no token: `Malformed`.
    pub async fn magic_link(&self, email: &str) -> Result<Answer<MagicLink>, ClientError> {
        let body = json!({"email": email});
        self.write(Method::POST, "/admin/auth/magic-link", &body).await?.typed()
    }

    /// `POST /admin/auth/verify`; writes.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn verify(&self, token: &Secret) -> Result<Answer<Session>, ClientError> {
        let body = json!({"token": token.expose()});
        self.write(Method::POST, "/admin/auth/verify", &body).await?.typed()
    }

    /// `GET /admin/auth/session` of this client's session; moves `last_seen_at`.
    ///
    /// # Errors
    /// Any [`ClientError`]; a dead session is `Unexpected` 401.
    pub async fn session(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/admin/auth/session").await?.typed()
    }

    /// `POST /admin/auth/logout`: revokes this client's session.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn logout(&self) -> Result<Answer<Value>, ClientError> {
        self.write(Method::POST, "/admin/auth/logout", &json!({}))
            .await?
            .typed()
    }

    /// `POST /agents/register`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn register(&self, agent: &Value) -> Result<Answer<Registered>, ClientError> {
        self.write(Method::POST, "/agents/register", agent).await?.typed()
    }

    /// `GET /agents/{beamId}` with keys; counts against the lookup limit (120 a minute and address).
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn agent(&self, beam_id: &str) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/agents/{}", segment(beam_id))).await?.typed()
    }

    /// `GET /directory/agents?includeUnlisted=true`: all agents; unlisted ones only with an admin session.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn directory_agents(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/directory/agents?includeUnlisted=true")
            .await?
            .member("agents")
    }

    /// `GET /agents/{beamId}/keys`: the key state.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn keys(&self, beam_id: &str) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/agents/{}/keys", segment(beam_id)))
            .await?
            .member("keyState")
    }

    /// `POST /agents/{beamId}/keys/rotate` with a body from [`crate::client::signing::rotation`], or as the API key's bearer.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn rotate_key(&self, beam_id: &str, proof: &Value) -> Result<Answer<Value>, ClientError> {
        let path = format!("/agents/{}/keys/rotate", segment(beam_id));
        self.write(Method::POST, &path, proof).await?.typed()
    }

    /// `POST /agents/{beamId}/keys/revoke` with a body from [`crate::client::signing::revocation`].
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn revoke_key(&self, beam_id: &str, proof: &Value) -> Result<Answer<Value>, ClientError> {
        let path = format!("/agents/{}/keys/revoke", segment(beam_id));
        self.write(Method::POST, &path, proof).await?.typed()
    }

    /// `POST /agents/{beamId}/heartbeat` signed with a key; every status is an answer. Moves `last_seen`.
    ///
    /// # Errors
    /// No answer.
    pub async fn heartbeat(
        &self,
        beam_id: &str,
        key: &KeyPair,
        timestamp: &str,
        nonce: &str,
    ) -> Result<Reply, ClientError> {
        let signature = heartbeat_signature(beam_id, key, timestamp, nonce);
        let mut headers = HeaderMap::new();
        forward_from_fresh_address(&mut headers);
        let signed = [
            ("x-beam-timestamp", timestamp),
            ("x-beam-nonce", nonce),
            ("x-beam-signature", &signature),
        ];
        for (name, value) in signed {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let path = format!("/agents/{}/heartbeat", segment(beam_id));
        self.connection.call(Method::POST, &path, headers, None).await
    }

    /// `GET /keys/revoked`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn revoked_keys(&self) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get("/keys/revoked").await?.member("keys")
    }

    /// `POST /acl`: who may send which intent to whom.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_acl(
        &self,
        target: &str,
        intent_type: &str,
        allowed_from: &str,
    ) -> Result<Answer<Value>, ClientError> {
        let body = json!({"targetBeamId": target, "intentType": intent_type, "allowedFrom": allowed_from});
        self.write(Method::POST, "/acl", &body).await?.typed()
    }

    /// `GET /acl/{beamId}`; writes nothing.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn acl(&self, beam_id: &str) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&format!("/acl/{}", segment(beam_id))).await?.member("acl")
    }

    /// `GET /shield/config/{beamId}`: the member `shield`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn shield_config(&self, beam_id: &str) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/shield/config/{}", segment(beam_id)))
            .await?
            .member("shield")
    }

    /// `PATCH /shield/config/{beamId}`: the member `shield`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn patch_shield_config(&self, beam_id: &str, patch: &Value) -> Result<Answer<Value>, ClientError> {
        let path = format!("/shield/config/{}", segment(beam_id));
        self.write(Method::PATCH, &path, patch).await?.member("shield")
    }

    /// `GET /shield/policies/public-endpoints`: the member `policy`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn public_policy(&self) -> Result<Answer<Value>, ClientError> {
        self.get("/shield/policies/public-endpoints").await?.member("policy")
    }

    /// `PATCH /shield/policies/public-endpoints`: the member `policy`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn patch_public_policy(&self, patch: &Value) -> Result<Answer<Value>, ClientError> {
        self.write(Method::PATCH, "/shield/policies/public-endpoints", patch)
            .await?
            .member("policy")
    }

    /// `POST /orgs`: the answer holds the organisation's API key.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn create_org(&self, name: &str, display_name: &str) -> Result<Answer<Value>, ClientError> {
        let body = json!({"name": name, "displayName": display_name});
        self.write(Method::POST, "/orgs", &body).await?.typed()
    }

    /// `POST /intents/send` of a signed frame; every status is an answer (200 with `success: false`, 503 `OFFLINE`…).
    ///
    /// # Errors
    /// No answer.
    pub async fn send_intent(&self, frame: &Value) -> Result<Reply, ClientError> {
        self.call(Method::POST, "/intents/send", Some(frame)).await
    }

    /// `GET /intents/recent`, public, at most 200; writes nothing.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn recent_intents(&self, limit: u32) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&format!("/intents/recent?limit={limit}"))
            .await?
            .member("intents")
    }

    /// `GET /observability/intents`, at most 500.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn intents(&self, limit: u32) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&format!("/observability/intents?limit={limit}"))
            .await?
            .member("intents")
    }

    /// `GET /observability/intents/{nonce}`: intent, stages, audit, shield. Stages with ids 0 and −1 are invented.
    ///
    /// # Errors
    /// Any [`ClientError`]; an unknown nonce is `Unexpected` 404.
    pub async fn trace(&self, nonce: &str) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/observability/intents/{}", segment(nonce)))
            .await?
            .typed()
    }

    /// `GET /observability/audit`: the newest entries.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn audit(&self, limit: u32) -> Result<Answer<Vec<Value>>, ClientError> {
        self.get(&format!("/observability/audit?limit={limit}"))
            .await?
            .member("entries")
    }

    /// `GET /observability/overview`; writes a notification for each critical alert.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub async fn overview(&self, hours: u32) -> Result<Answer<Value>, ClientError> {
        self.get(&format!("/observability/overview?hours={hours}"))
            .await?
            .typed()
    }
}
