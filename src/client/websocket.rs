//! A recipient on the directory's WebSocket: takes intents and answers them by a rule.
//!
//! It keeps no data and judges nothing. A directory with an open WebSocket does not stop cleanly (contract 1.5): close
//! every recipient before a stop. Source: Beam 1.6.0, contract section 2.9.

use crate::client::dial::{Wire, dial};
use crate::client::http::segment;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async, tungstenite};

const GREETING_LIMIT: Duration = Duration::from_secs(3);
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

type Socket = WebSocketStream<Box<dyn Wire>>;

/// What a recipient does with an intent.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// Answers with success and a payload.
    Accept(Value),
    /// Answers with failure.
    Decline {
        /// For people.
        error: String,
        /// For machines, `PARTNER_DECLINED`.
        error_code: String,
    },
    /// Never answers: the intent stays `delivered`.
    Silent,
    /// Answers with success and a payload, but only once [`Recipient::release`] is called.
    Held(Value),
}

/// Why a recipient did not come to be connected, or ended badly.
#[derive(Debug, Error)]
pub enum RecipientError {
    /// The WebSocket could not be opened.
    #[error("GET {url}: no WebSocket")]
    Connect {
        /// The URL.
        url: String,
        /// What the connection said.
        #[source]
        source: Box<tungstenite::Error>,
    },
    /// It opened, but the directory did not greet this Beam id; an unknown id is closed with 1008.
    #[error("GET {url}: not greeted as {beam_id} within 3 s; is it registered?")]
    NotGreeted {
        /// The URL.
        url: String,
        /// The Beam id.
        beam_id: String,
    },
}

/// A connected recipient. Dropping it ends the connection abruptly; prefer [`Recipient::close`].
pub struct Recipient {
    beam_id: String,
    received: Arc<AtomicU64>,
    stop: Option<oneshot::Sender<()>>,
    release: Arc<Notify>,
    task: JoinHandle<()>,
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Recipient {{ {}, {} received }}", self.beam_id, self.received())
    }
}

impl Recipient {
    /// Connects as `beam_id` to the directory at `base_url` (`http://…`) and answers each frame by the rule.
    ///
    /// # Errors
    /// `Connect`, `NotGreeted`.
    pub async fn connect(
        base_url: &str,
        beam_id: &str,
        rule: impl Fn(&Value) -> Reaction + Send + 'static,
    ) -> Result<Recipient, RecipientError> {
        let address = base_url.trim_end_matches('/').replacen("http", "ws", 1);
        let url = format!("{address}/ws?beamId={}", segment(beam_id));
        let not_greeted = || RecipientError::NotGreeted {
            url: url.clone(),
            beam_id: beam_id.to_owned(),
        };
        let opened = timeout(GREETING_LIMIT, open(&url)).await.map_err(|_| not_greeted())?;
        let mut socket = opened.map_err(|source| RecipientError::Connect {
            url: url.clone(),
            source: Box::new(source),
        })?;
        timeout(GREETING_LIMIT, greeted(&mut socket))
            .await
            .ok()
            .filter(|greeted| *greeted)
            .ok_or_else(not_greeted)?;
        let received = Arc::new(AtomicU64::new(0));
        let (stop, stopped) = oneshot::channel();
        let release = Arc::new(Notify::new());
        let told = Arc::clone(&release);
        let task = tokio::spawn(serve(socket, rule, Arc::clone(&received), told, stopped));
        Ok(Recipient {
            beam_id: beam_id.to_owned(),
            received,
            stop: Some(stop),
            release,
            task,
        })
    }

    /// How many intents arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::SeqCst)
    }

    /// Sends the answers that were held back so far.
    pub fn release(&self) {
        self.release.notify_one();
    }

    /// Closes the WebSocket with a handshake, so that the directory knows that the agent is offline.
    pub async fn close(mut self) {
        if let Some(stop) = self.stop.take() {
            // A task that ended already has closed.
            let _ = stop.send(());
        }
        if timeout(CLOSE_LIMIT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

async fn open(url: &str) -> Result<Socket, tungstenite::Error> {
    let no_host = || tungstenite::Error::Url(tungstenite::error::UrlError::NoHostName);
    let parsed = reqwest::Url::parse(url).map_err(|_| no_host())?;
    let (Some(host), Some(port)) = (parsed.host_str(), parsed.port_or_known_default()) else {
        return Err(no_host());
    };
    Ok(client_async(url, dial(host, port).await?).await?.0)
}

impl Drop for Recipient {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn greeted(socket: &mut Socket) -> bool {
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Text(text) = message {
            let greeting: Value = serde_json::from_str(&text).unwrap_or_default();
            return greeting["type"] == "connected";
        }
    }
    false
}

async fn serve(
    mut socket: Socket,
    rule: impl Fn(&Value) -> Reaction + Send + 'static,
    received: Arc<AtomicU64>,
    release: Arc<Notify>,
    mut stopped: oneshot::Receiver<()>,
) {
    let mut held = Vec::new();
    loop {
        let message = tokio::select! {
            _ = &mut stopped => break,
            () = release.notified() => {
                for answer in held.drain(..) {
                    if socket.send(answer).await.is_err() {
                        return;
                    }
                }
                continue;
            }
            message = socket.next() => message,
        };
        let text = match message {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => return,
        };
        let message: Value = serde_json::from_str(&text).unwrap_or_default();
        if message["type"] != "intent" {
            continue;
        }
        received.fetch_add(1, Ordering::SeqCst);
        let frame = &message["frame"];
        let reaction = rule(frame);
        let waits = matches!(reaction, Reaction::Held(_));
        let Some(result) = result_frame(frame, reaction) else {
            continue;
        };
        let answer = Message::text(result.to_string());
        if waits {
            held.push(answer);
        } else if socket.send(answer).await.is_err() {
            return;
        }
    }
    if socket.close(None).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

/// The answer carries the intent's own time: a recipient has no clock, and the same seed gives the same frame.
fn result_frame(frame: &Value, reaction: Reaction) -> Option<Value> {
    let head = json!({"v": "1", "success": true, "nonce": frame["nonce"], "timestamp": frame["timestamp"]});
    let mut result = head;
    match reaction {
        Reaction::Accept(payload) | Reaction::Held(payload) => result["payload"] = payload,
        Reaction::Decline { error, error_code } => {
            result["success"] = json!(false);
            result["error"] = json!(error);
            result["errorCode"] = json!(error_code);
        }
        Reaction::Silent => return None,
    }
    Some(json!({"type": "result", "frame": result}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_recipient_answers_nothing() {
        assert_eq!(result_frame(&json!({"nonce": "n"}), Reaction::Silent), None);
    }

    #[test]
    fn an_answer_that_is_held_back_is_the_one_that_would_be_given_at_once() {
        let answer = |reaction| result_frame(&json!({"nonce": "n", "timestamp": "t"}), reaction);
        let payload = json!({"approved": true});
        assert_eq!(
            answer(Reaction::Held(payload.clone())),
            answer(Reaction::Accept(payload))
        );
    }

    #[test]
    fn a_declined_intent_carries_its_nonce_and_code() {
        let declined = Reaction::Decline {
            error: "no".to_owned(),
            error_code: "PARTNER_DECLINED".to_owned(),
        };
        let answer = result_frame(&json!({"nonce": "n", "timestamp": "t"}), declined).unwrap_or_default();
        assert_eq!(answer["frame"]["errorCode"], "PARTNER_DECLINED");
        assert_eq!(answer["frame"]["nonce"], "n");
    }
}
