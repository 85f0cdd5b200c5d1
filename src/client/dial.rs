//! One connection to a service, wherever it is: on the network, or behind a Unix socket that stands for its host and port.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{PoisonError, RwLock};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// Sockets by host and port, as URLs have them.
static SOCKETS: RwLock<BTreeMap<(String, u16), PathBuf>> = RwLock::new(BTreeMap::new());

/// A byte stream to a service.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// From here on every client of this process reaches that host and port through the socket; the host has to be a name that
/// nobody else uses.
pub fn lead(host: &str, port: u16, socket: PathBuf) {
    let mut sockets = SOCKETS.write().unwrap_or_else(PoisonError::into_inner);
    sockets.insert((host.to_owned(), port), socket);
}

/// The socket that stands for a host and port; `None` for all that are on the network.
pub(crate) fn socket_of(host: &str, port: u16) -> Option<PathBuf> {
    let sockets = SOCKETS.read().unwrap_or_else(PoisonError::into_inner);
    sockets.get(&(host.to_owned(), port)).cloned()
}

/// Connects.
///
/// # Errors
/// What the system says.
pub(crate) async fn dial(host: &str, port: u16) -> io::Result<Box<dyn Wire>> {
    Ok(match socket_of(host, port) {
        Some(socket) => Box::new(UnixStream::connect(socket).await?),
        None => Box::new(TcpStream::connect((host, port)).await?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixListener;

    #[tokio::test]
    async fn a_host_with_a_socket_is_reached_there_and_nowhere_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("door");
        let listener = UnixListener::bind(&path).expect("bound");
        lead("a-test.invalid", 80, path);
        let (dialled, accepted) = tokio::join!(dial("a-test.invalid", 80), listener.accept());
        dialled.expect("reached").write_all(b"x").await.expect("written");
        let mut text = String::new();
        accepted.expect("came").0.read_to_string(&mut text).await.expect("read");
        assert_eq!(text, "x");
        assert!(dial("a-test.invalid", 81).await.is_err());
    }
}
