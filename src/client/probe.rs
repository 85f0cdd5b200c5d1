//! One look at a health endpoint, with a connection of its own: for readiness, before any client is made.

use crate::client::dial::dial;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long one look may take.
const LOOK_LIMIT: Duration = Duration::from_millis(1_000);
/// A health answer is small; more than this is not one.
const LARGEST_ANSWER: u64 = 64 * 1024;

/// Asks `GET /health` on a port and returns the status code; the connection is closed afterwards, so that it
/// cannot delay a stop.
///
/// # Errors
/// Refused, timed out, or no HTTP answer: as the system says it.
pub async fn health(host: &str, port: u16) -> io::Result<u16> {
    let look = async {
        let mut stream = dial(host, port).await?;
        let request = format!("GET /health HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(LARGEST_ANSWER).read_to_end(&mut answer).await?;
        status(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no HTTP answer"))
    };
    tokio::time::timeout(LOOK_LIMIT, look)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|byte| *byte == b'\r').next()?;
    std::str::from_utf8(line)
        .ok()?
        .strip_prefix("HTTP/1.")?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), Some(200));
        assert_eq!(status(b"SSH-2.0-x\r\n"), None);
    }
}
