//! A cache that serves old data: a loopback proxy that lets another service answer every read, and passes on the rest.
//!
//! The other service gets a bearer of its own where the client sent one, as a cache would not ask for one at all. A
//! connection that is upgraded (WebSocket) goes to the service itself. Counts what was answered by the other.

use crate::faults::answers::{ProxyError, address, ask};
use crate::faults::http_message::{read_body, read_head};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::net::TcpStream;

struct Route {
    own: SocketAddr,
    other: SocketAddr,
    bearer: String,
    served: AtomicU64,
}

/// A running proxy; it ends when this value is dropped.
#[derive(Debug)]
pub struct Relay {
    url: String,
    route: Arc<Route>,
    task: tokio::task::JoinHandle<()>,
}

impl std::fmt::Debug for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Route {{ {} before {}, bearer: <set> }}", self.other, self.own)
    }
}

impl Relay {
    /// The address to ask.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many reads the other service answered.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.route.served.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Stands in front of `own` and lets `other` answer what is read.
///
/// # Errors
/// [`ProxyError`].
pub fn start(own: &str, other: &str, bearer: &str) -> Result<Relay, ProxyError> {
    let runtime = tokio::runtime::Handle::try_current()?;
    let behind = |url: &str| address(url).ok_or_else(|| ProxyError::Address { url: url.to_owned() });
    let route = Arc::new(Route {
        own: behind(own)?,
        other: behind(other)?,
        bearer: bearer.to_owned(),
        served: AtomicU64::new(0),
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    listener.set_nonblocking(true)?;
    let url = format!("http://{}", listener.local_addr()?);
    let task = runtime.spawn(serve(listener, Arc::clone(&route)));
    Ok(Relay { url, route, task })
}

async fn serve(listener: TcpListener, route: Arc<Route>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let mut connections = tokio::task::JoinSet::new();
    loop {
        // A connection that breaks is what its client sees: there is nobody else to tell.
        if let Ok((client, _)) = listener.accept().await {
            let route = Arc::clone(&route);
            connections.spawn(async move { drop(exchange(client, &route).await) });
        }
        while connections.try_join_next().is_some() {}
    }
}

async fn exchange(mut client: TcpStream, route: &Route) -> io::Result<()> {
    let Some((mut head, rest)) = read_head(&mut client, Vec::new()).await? else {
        return Ok(());
    };
    if head.header("upgrade").is_some() {
        let mut service = TcpStream::connect(route.own).await?;
        service.write_all(&head.bytes()).await?;
        service.write_all(&rest).await?;
        copy_bidirectional(&mut client, &mut service).await?;
        return Ok(());
    }
    let body = read_body(&mut client, &head, rest, false).await?;
    let behind = if head.target().0 == "GET" {
        route.served.fetch_add(1, Ordering::Relaxed);
        head.replace("authorization", &format!("Bearer {}", route.bearer));
        route.other
    } else {
        route.own
    };
    let answer = ask(behind, &head, &body).await?;
    client.write_all(&answer.bytes()).await?;
    client.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn service(name: &'static str) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let Ok(Some((head, rest))) = read_head(&mut stream, Vec::new()).await else {
                    continue;
                };
                drop(read_body(&mut stream, &head, rest, false).await);
                let said = format!("{name} {}", head.header("authorization").unwrap_or("nobody"));
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{said}", said.len());
                drop(stream.write_all(answer.as_bytes()).await);
            }
        });
        url
    }

    #[tokio::test]
    async fn reads_are_answered_by_the_other_and_writes_by_the_service_itself() {
        let (own, other) = (service("own").await, service("other").await);
        let relay = start(&own, &other, "old").expect("started");
        let client = reqwest::Client::new();
        let asked = |request: reqwest::RequestBuilder| async move {
            let sent = request.bearer_auth("new").send().await.expect("answered");
            sent.text().await.expect("text")
        };
        assert_eq!(asked(client.get(relay.url())).await, "other Bearer old");
        assert_eq!(asked(client.post(relay.url()).body("x")).await, "own Bearer new");
        assert_eq!(relay.served(), 1);
    }

    #[tokio::test]
    async fn who_asks_without_a_bearer_gets_none() {
        let (own, other) = (service("own").await, service("other").await);
        let relay = start(&own, &other, "old").expect("started");
        let said = reqwest::get(relay.url()).await.expect("answered").text().await;
        assert_eq!(said.expect("text"), "other nobody");
    }
}
