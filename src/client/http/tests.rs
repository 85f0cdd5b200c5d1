//! What a client makes of answers that are not as they should be.

use super::*;

#[test]
fn path_segments_cannot_leave_their_place() {
    assert_eq!(segment("a/b?c#d é@x:1"), "a%2Fb%3Fc%23d%20%C3%A9@x:1");
}

#[tokio::test]
async fn after_a_refused_connection_nothing_more_is_sent() {
    // Port 1 on loopback is not listened on.
    let connection = Connection::new(Service::Bus, "http://127.0.0.1:1/");
    let first = connection.call(Method::GET, "/health", HeaderMap::new(), None).await;
    assert!(matches!(first, Err(ClientError::Refused { .. })), "{first:?}");
    let second = connection.call(Method::GET, "/stats", HeaderMap::new(), None).await;
    assert!(matches!(&second, Err(ClientError::NotSent { request, .. }) if request.url == "http://127.0.0.1:1/stats"));
}

/// Answers each connection with a head, then with the same bytes again and again until nobody reads any more.
async fn served(head: &'static str, body: &'static [u8]) -> (String, Arc<AtomicU32>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(head.as_bytes()).await;
                while !body.is_empty() && stream.write_all(body).await.is_ok() {}
            });
        }
    });
    (url, asked)
}

async fn got(url: &str) -> Result<Reply, ClientError> {
    let connection = Connection::new(Service::Directory, url);
    connection.call(Method::GET, "/stats", HeaderMap::new(), None).await
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk: &[u8] = const {
        &{
            let mut chunk = [b'x'; 0x1_0000 + 9];
            (chunk[0], chunk[1], chunk[2], chunk[3], chunk[4]) = (b'1', b'0', b'0', b'0', b'0');
            (chunk[5], chunk[6]) = (b'\r', b'\n');
            (chunk[0x1_0000 + 7], chunk[0x1_0000 + 8]) = (b'\r', b'\n');
            chunk
        }
    };
    let (url, _) = served(head, chunk).await;
    let error = got(&url).await.expect_err("too large");
    assert!(error.to_string().contains("larger than 33554432 bytes"), "{error}");
}

#[tokio::test]
async fn a_head_whose_body_does_not_come_is_broken() {
    let (url, _) = served("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"").await;
    assert!(matches!(got(&url).await, Err(ClientError::Broken { .. })));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_not_followed() {
    let (elsewhere, asked) = served("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"").await;
    let head = format!("HTTP/1.1 302 Found\r\nLocation: {elsewhere}/stats\r\nContent-Length: 0\r\n\r\n");
    let (url, _) = served(head.leak(), b"").await;
    assert_eq!(got(&url).await.expect("an answer").status, 302);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}
