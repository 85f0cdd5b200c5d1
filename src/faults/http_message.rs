//! One HTTP/1.1 message on a connection: its head, and its body by stated length, by chunks or to the end.

use std::io;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

const HEAD_LIMIT: usize = 64 << 10;
const BODY_LIMIT: usize = 64 << 20;

/// First line and headers of a message.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    /// Request or status line.
    pub(crate) first: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn parse(text: &[u8]) -> io::Result<Head> {
        let text = std::str::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData)?;
        let mut lines = text.split("\r\n").filter(|line| !line.is_empty());
        let first = lines.next().unwrap_or_default().to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers = headers
            .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
            .collect();
        Ok(Head { first, headers })
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    /// Another value of a header that is there; without it, nothing.
    pub(crate) fn replace(&mut self, name: &str, value: &str) {
        let known = self
            .headers
            .iter_mut()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        known.for_each(|(_, held)| value.clone_into(held));
    }

    /// Method and path, without the query.
    pub(crate) fn target(&self) -> (String, String) {
        let mut words = self.first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        (
            method.to_owned(),
            target.split('?').next().unwrap_or_default().to_owned(),
        )
    }

    /// The status of an answer.
    pub(crate) fn status(&self) -> Option<u16> {
        self.first.split(' ').nth(1)?.parse().ok()
    }

    /// The same on a connection that ends after it.
    pub(crate) fn closing(mut self) -> Head {
        self.headers
            .retain(|(name, _)| !["connection", "keep-alive"].contains(&name.to_ascii_lowercase().as_str()));
        self.headers.push(("connection".to_owned(), "close".to_owned()));
        self
    }

    /// The same with a body of so many bytes as a whole, on a connection that ends after it.
    pub(crate) fn with_length(&self, length: usize) -> Head {
        let mut head = self.clone().closing();
        let framing = ["content-length", "transfer-encoding", "trailer"];
        head.headers
            .retain(|(name, _)| !framing.contains(&name.to_ascii_lowercase().as_str()));
        head.headers.push(("content-length".to_owned(), length.to_string()));
        head
    }

    /// As it goes over the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let lines: String = self
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("{}\r\n{lines}\r\n", self.first).into_bytes()
    }
}

/// Reads up to the empty line; what was read beyond it belongs to the body. `None` when nothing came at all.
pub(crate) async fn read_head(stream: &mut TcpStream, mut bytes: Vec<u8>) -> io::Result<Option<(Head, Vec<u8>)>> {
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Head::parse(&bytes).map(|head| Some((head, rest)));
        }
        if bytes.len() > HEAD_LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return if bytes.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}

/// Reads the body: chunked, of a stated length, or (an answer only) to the end of the connection.
pub(crate) async fn read_body(
    stream: &mut TcpStream,
    head: &Head,
    mut bytes: Vec<u8>,
    is_answer: bool,
) -> io::Result<Vec<u8>> {
    let is_chunked = head
        .header("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    if is_chunked {
        return read_chunks(stream, bytes).await;
    }
    let length = head
        .header("content-length")
        .map(|value| value.parse::<usize>().map_err(|_| io::ErrorKind::InvalidData));
    match length.transpose()? {
        Some(length) => fill(stream, &mut bytes, length).await.map(|()| bytes),
        None if is_answer => {
            stream.take(BODY_LIMIT as u64).read_to_end(&mut bytes).await?;
            Ok(bytes)
        }
        None => Ok(Vec::new()),
    }
}

/// Reads until at least `length` bytes are there.
async fn fill(stream: &mut TcpStream, bytes: &mut Vec<u8>, length: usize) -> io::Result<()> {
    if length > BODY_LIMIT {
        return Err(io::ErrorKind::InvalidData.into());
    }
    while bytes.len() < length {
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}

async fn read_chunks(stream: &mut TcpStream, mut bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = loop {
            match bytes.windows(2).position(|two| two == b"\r\n") {
                Some(end) => break end,
                None => {
                    let more = bytes.len() + 1;
                    fill(stream, &mut bytes, more).await?;
                }
            }
        };
        let size = std::str::from_utf8(&bytes[..end])
            .ok()
            .and_then(|line| line.split(';').next());
        let size = size.and_then(|digits| usize::from_str_radix(digits.trim(), 16).ok());
        let size = size
            .filter(|size| body.len() + size <= BODY_LIMIT)
            .ok_or(io::ErrorKind::InvalidData)?;
        bytes.drain(..end + 2);
        if size == 0 {
            // Trailers do not matter: the connection ends here.
            return Ok(body);
        }
        fill(stream, &mut bytes, size + 2).await?;
        body.extend_from_slice(&bytes[..size]);
        bytes.drain(..size + 2);
    }
}
