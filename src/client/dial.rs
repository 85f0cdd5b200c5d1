//! One connection to a service, wherever it runs: on the network, or enclosed behind a Unix socket.

use crate::runtime::enclosure::socket_of;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A byte stream to a service.
pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

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
