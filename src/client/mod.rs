//! HTTP clients of the two services: one method per endpoint, and what it takes to talk to them.
//!
//! A client fails on a missing member or an unexpected status and says method, URL, status and the start of the body; an
//! extra member is fine. It never retries and never judges. Source: Beam 1.6.0, contract sections 2 and 3.

/// Admin endpoints of the directory: roles, requests, notifications, workspaces.
pub mod admin;
/// The message bus.
pub mod bus;
/// One connection to a service, on the network or behind a socket.
pub mod dial;
/// Public and observing endpoints of the directory.
pub mod directory;
/// The connection under both clients: limits, latch, errors.
pub mod http;
/// One look at a health endpoint, before any client is made.
pub mod probe;
/// Texts that are never printed.
pub mod secret;
/// Ed25519 keys and the exact bytes that Beam signs.
pub mod signing;
/// A recipient on the directory's WebSocket.
pub mod websocket;

use crate::client::bus::BusClient;
use crate::client::directory::{DirectoryClient, Session};
use crate::client::http::ClientError;

/// Both clients of one pair, with the credentials that they carry.
#[derive(Debug, Clone)]
pub struct Access {
    /// The directory, with the admin session once [`Access::login`] was called.
    pub directory: DirectoryClient,
    /// The bus, with its API key if there is one.
    pub bus: BusClient,
}

impl Access {
    /// Clients of the pair at these base URLs; nothing is sent yet.
    #[must_use]
    pub fn new(directory_url: &str, bus_url: &str, bus_key: Option<&str>) -> Access {
        Access {
            directory: DirectoryClient::new(directory_url),
            bus: BusClient::new(bus_url, bus_key),
        }
    }

    /// Logs in by magic link; every later call of `directory` carries the session.
    ///
    /// # Errors
    /// Any [`ClientError`] of the two calls; a directory that sends mail answers without the token: `Malformed`.
    pub async fn login(&mut self, email: &str) -> Result<Session, ClientError> {
        let link = self.directory.magic_link(email).await?.value;
        let session = self.directory.verify(&link.token).await?.value;
        self.directory = self.directory.with_session(session.token.expose());
        Ok(session)
    }

    /// Drops both connection pools, so that idle keep-alives do not delay a stop.
    pub fn close(&self) {
        self.directory.close();
        self.bus.close();
    }
}
