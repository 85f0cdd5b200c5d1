//! What answers and pages may do to the harness, through its public readers: a bounded amount of memory and time.

use recovery_drills::client::http::{BODY_LIMIT_BYTES, ClientError, Connection, REQUEST_LIMIT};
use recovery_drills::deployment::Service;
use recovery_drills::deployment::environment::Environment;
use recovery_drills::parity::api_url::scanned;
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, Instant};

/// A server that answers one request with the head, and then the piece again and again until its peer goes.
fn server(head: &'static str, piece: &'static [u8], pause: Duration) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(head.as_bytes());
        while !piece.is_empty() && stream.write_all(piece).is_ok() {
            std::thread::sleep(pause);
        }
    });
    address
}

async fn ask(address: &str) -> Result<u16, ClientError> {
    let connection = Connection::new(Service::Bus, address);
    let reply = connection.call(Method::GET, "/stats", HeaderMap::new(), None).await;
    reply.map(|reply| reply.status)
}

#[tokio::test]
async fn a_services_body_without_an_end_is_an_answer_that_cannot_be_used() {
    static PIECE: [u8; 65536] = [b' '; 65536];
    let answer = ask(&server(
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        &PIECE,
        Duration::ZERO,
    ))
    .await;
    let Err(ClientError::Malformed { problem, .. }) = answer else {
        panic!("{answer:?}");
    };
    assert!(problem.contains(&BODY_LIMIT_BYTES.to_string()), "{problem}");
}

#[tokio::test]
async fn a_service_that_answers_byte_by_byte_is_given_up_in_time() {
    let began = Instant::now();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let answer = ask(&server(head, b" ", Duration::from_millis(100))).await;
    assert!(matches!(answer, Err(ClientError::TimedOut { .. })), "{answer:?}");
    assert!(began.elapsed() < REQUEST_LIMIT * 4);
}

#[tokio::test]
async fn a_service_that_sends_on_to_another_host_is_not_followed() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    other.set_nonblocking(true).expect("set");
    let to = other.local_addr().expect("an address");
    let head = format!("HTTP/1.1 307 Found\r\nLocation: http://{to}/\r\nContent-Length: 0\r\n\r\n");
    let answer = ask(&server(head.leak(), b"", Duration::ZERO)).await;
    assert_eq!(answer.ok(), Some(307));
    assert!(other.accept().is_err(), "somebody came");
}

#[test]
fn a_large_page_made_to_be_slow_is_scanned_in_time() {
    let megabyte = |part: &str| part.repeat((1 << 20) / part.len());
    for part in [
        "://",
        "a://",
        "<script>",
        "<!--",
        "/*",
        "\"://",
        "https://a.b",
        "https:\\/\\/",
        "api.beam.test:",
        "`${",
        "\n",
        "x=\"https://a.b\",",
    ] {
        let text = megabyte(part);
        for is_script in [false, true] {
            let began = Instant::now();
            let found = scanned("x.html", &text, is_script).len();
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "{part:?}: {:?}, {found} found",
                began.elapsed()
            );
        }
    }
}

#[test]
fn settings_nested_without_an_end_are_refused() {
    for text in [
        format!("name = \"x\"\na = {}", "[".repeat(200_000)),
        format!("[{}]", vec!["a"; 100_000].join(".")),
    ] {
        assert!(Environment::parse(&text, Path::new("deep.toml")).is_err());
    }
}
