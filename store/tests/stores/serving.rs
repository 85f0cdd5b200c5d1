//! An S3-speaking server in this process, on a folder, that can be killed in the midst of an upload and come back.

use hyper::service::{Service, service_fn};
use hyper::{Method, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s_fs::FileSystem;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

pub(crate) const KEY: &str = "AKIDEXAMPLE";
pub(crate) const SECRET: &str = "kept-secret-of-the-test/+1";
pub(crate) const BUCKET: &str = "backups";

/// How long a server lives, and what it refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lives {
    /// It dies instead of answering the write after so many.
    writes: usize,
    /// Whether that write is done all the same.
    does_the_last: bool,
    /// Whether it refuses every write.
    read_only: bool,
}

impl Lives {
    /// For good.
    pub(crate) fn on() -> Lives {
        Lives::after_writes(usize::MAX)
    }

    /// Dies at the write after so many, which is not done.
    pub(crate) fn after_writes(writes: usize) -> Lives {
        Lives {
            writes,
            does_the_last: false,
            read_only: false,
        }
    }

    /// Dies after the write after so many was done, before it is answered.
    pub(crate) fn losing_the_answer_after(writes: usize) -> Lives {
        Lives {
            does_the_last: true,
            ..Lives::after_writes(writes)
        }
    }

    /// For good, and lets nobody write.
    pub(crate) fn read_only() -> Lives {
        Lives {
            read_only: true,
            ..Lives::on()
        }
    }
}

/// As S3 words it.
fn refusal(status: StatusCode, code: &str) -> Response<s3s::Body> {
    let text = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>said by the test</Message></Error>");
    let mut answer = Response::new(s3s::Body::from(text));
    *answer.status_mut() = status;
    answer
}

/// A running server.
pub(crate) struct Server {
    pub(crate) at: SocketAddr,
    written: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Server {
    /// On a folder and a free port; lives on.
    pub(crate) async fn on(folder: &Path) -> Server {
        Server::at(folder, "127.0.0.1:0".parse().expect("an address"), Lives::on()).await
    }

    /// On that address.
    pub(crate) async fn at(folder: &Path, at: SocketAddr, lives: Lives) -> Server {
        std::fs::create_dir_all(folder.join(BUCKET)).expect("a bucket");
        let mut builder = S3ServiceBuilder::new(FileSystem::new(folder).expect("a file system"));
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        let service = builder.build();
        let listener = TcpListener::bind(at).await.expect("a port");
        let at = listener.local_addr().expect("an address");
        let written = Arc::new(AtomicUsize::new(0));
        let counted = written.clone();
        let task = tokio::spawn(async move {
            let (dead, mut death) = tokio::sync::mpsc::unbounded_channel::<()>();
            // Dropped with the task: every connection ends with it.
            let mut connections = JoinSet::new();
            loop {
                let socket = tokio::select! {
                    accepted = listener.accept() => accepted.expect("a connection").0,
                    _ = death.recv() => return,
                };
                let (service, counted, dead) = (service.clone(), counted.clone(), dead.clone());
                connections.spawn(async move {
                    let answer = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                        let is_write = request.method() == Method::PUT;
                        let dies = is_write && counted.fetch_add(1, Ordering::SeqCst) >= lives.writes;
                        let is_refused =
                            lives.read_only && request.method() != Method::GET && request.method() != Method::HEAD;
                        let is_known = request.uri().path().split('/').nth(1) == Some(BUCKET);
                        let dead = dead.clone();
                        let answer = Service::call(&service, request);
                        async move {
                            if is_refused {
                                return Ok(refusal(StatusCode::FORBIDDEN, "AccessDenied"));
                            }
                            // The file system behind it would make any bucket.
                            if !is_known {
                                return Ok(refusal(StatusCode::NOT_FOUND, "NoSuchBucket"));
                            }
                            if dies && lives.does_the_last {
                                drop(answer.await);
                                let _ = dead.send(());
                                return std::future::pending().await;
                            }
                            if dies {
                                // What came before is still answered, so that each life gets something done.
                                tokio::time::sleep(Duration::from_millis(200)).await;
                                // Another may have been faster: it is dead either way.
                                let _ = dead.send(());
                                std::future::pending::<()>().await;
                            }
                            answer.await
                        }
                    });
                    let served = Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), answer)
                        .await;
                    drop(served);
                });
            }
        });
        Server { at, written, task }
    }

    /// Waits until it is dead, its port free again.
    pub(crate) async fn died(self) -> SocketAddr {
        self.task.await.expect("ended by itself");
        self.at
    }

    /// So many writes were asked of it.
    pub(crate) fn writes(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    /// Ends it and all its connections.
    pub(crate) async fn stop(self) {
        self.task.abort();
        // Cancelled, which is what was asked for.
        let _ = self.task.await;
    }

    /// What whoever uses it has in the environment.
    pub(crate) fn variables(&self, secret: &str) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", format!("http://{}", self.at)),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}
