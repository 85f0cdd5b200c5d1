//! A network namespace with only the loopback interface for services that are started from here, while the harness itself
//! stays where it is: it has to reach the source, and the source's commands need their network.
//!
//! A relay (this program again) runs in the namespace and opens, for each port of a service, a Unix socket in a private
//! folder. Nothing listens outside of the namespace, and nothing in it has a way out. Namespace and services end with the harness.

use crate::runtime::process::{Launch, ProcessError, ServiceProcess};
use crate::runtime::ready::{self, Look, WaitError};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;

/// The relay's own socket, over which ports are asked for; its end is the relay's end.
const CONTROL: &str = "control";
/// How long the relay may take to be there, and to open a port.
const RELAY_LIMIT: Duration = Duration::from_secs(10);
/// Brings the loopback interface up, then becomes what follows.
const UP: &[&str] = &["--", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];

/// How this machine lets a program into a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As root, who keeps all users.
    Root,
    /// With a namespace of users, in which the caller is root.
    User,
}

impl Way {
    /// The first way that works here; `None` where the system refuses all, or lacks `unshare`, `nsenter` or `ip`.
    #[must_use]
    pub fn find() -> Option<Way> {
        [Way::Root, Way::User].into_iter().find(|way| {
            let mut inside = vec!["nsenter".to_owned(), "--version".to_owned()];
            inside.splice(0..0, way.enter(&[]));
            let mut probe = Command::new(&inside[0]);
            probe.args(&inside[1..]);
            probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            probe.status().is_ok_and(|status| status.success())
        })
    }

    /// Argv that runs `argv` in a new namespace.
    #[must_use]
    pub fn enter(self, argv: &[String]) -> Vec<String> {
        let user: &[&str] = match self {
            Way::Root => &[],
            Way::User => &["--user", "--map-root-user"],
        };
        let words = ["unshare", "--net"].iter().chain(user).chain(UP);
        words
            .map(|word| (*word).to_owned())
            .chain(argv.iter().cloned())
            .collect()
    }

    /// Argv that runs `argv` in the namespace of a process.
    fn join(self, pid: u32, argv: Vec<String>) -> Vec<String> {
        let user: &[&str] = match self {
            Way::Root => &[],
            Way::User => &["--user", "--preserve-credentials"],
        };
        let pid = pid.to_string();
        let target = ["nsenter", "--target", &pid, "--net"];
        let words = target.iter().chain(user).chain(&["--"]);
        words.map(|word| (*word).to_owned()).chain(argv).collect()
    }
}

/// How services are enclosed: the way in, and the argv of the program whose [`relay`] runs there.
#[derive(Debug, Clone)]
pub struct Enclosing {
    /// The way in.
    pub way: Way,
    /// Program and arguments that call [`relay`].
    pub relay: Vec<String>,
}

/// Why services cannot be enclosed.
#[derive(Debug, thiserror::Error)]
pub enum EnclosureError {
    /// The relay cannot be started.
    #[error("cannot start the relay into a network namespace")]
    Start(#[from] ProcessError),
    /// It does not come up.
    #[error("the relay into a network namespace is not there; its last lines: {log}")]
    NotThere {
        /// Its last lines.
        log: String,
        /// The wait.
        source: WaitError,
    },
    /// It does not open a port.
    #[error("the relay into a network namespace opens no port {port}")]
    Port {
        /// The port in the namespace.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// Its folder cannot be made.
    #[error("cannot make the folder of the relay, {path}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A namespace and the relay that holds it. Dropped, both end; services in it are those of who started them.
#[derive(Debug)]
pub struct Enclosure {
    way: Way,
    relay: ServiceProcess,
    control: Mutex<BufReader<UnixStream>>,
    folder: File,
    host: String,
}

impl Enclosure {
    /// Makes a namespace; its sockets lie in `folder`, which is made and private.
    ///
    /// # Errors
    /// [`EnclosureError`], but never `Port`.
    pub async fn open(enclosing: &Enclosing, folder: &Path) -> Result<Enclosure, EnclosureError> {
        use std::os::unix::fs::DirBuilderExt;
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let failed = |source| EnclosureError::Folder {
            path: folder.to_owned(),
            source,
        };
        let made = std::fs::DirBuilder::new().mode(0o700).create(folder);
        let opened = made.and_then(|()| File::open(folder)).map_err(failed)?;
        let mut relay = ServiceProcess::start(&Launch {
            name: "relay".to_owned(),
            argv: enclosing.way.enter(&enclosing.relay),
            cwd: Some(folder.to_owned()),
            variables: BTreeMap::new(),
            log: folder.join("relay.log"),
        })?;
        let control = control(&mut relay, &door(&opened, CONTROL)).await?;
        Ok(Enclosure {
            way: enclosing.way,
            relay,
            control: Mutex::new(BufReader::new(control)),
            folder: opened,
            // A reserved name that no resolver knows: a call that misses its socket goes nowhere. A directory takes whoever calls it
            // by a name with the loopback address in it for local, as it is.
            host: format!("127.0.0.1.enclosed-{}.invalid", NEXT.fetch_add(1, Ordering::Relaxed)),
        })
    }

    /// Argv that runs `argv` in the namespace, under the process id of its caller's child.
    #[must_use]
    pub fn within(&self, argv: Vec<String>) -> Vec<String> {
        self.way.join(self.relay.pid(), argv)
    }

    /// The host name that clients of this process are to know its services by.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The Unix socket that leads to a port of the namespace, for as long as this lives.
    ///
    /// # Errors
    /// [`EnclosureError::Port`].
    pub async fn reach(&self, port: u16) -> Result<PathBuf, EnclosureError> {
        let asked = async {
            let mut control = self.control.lock().await;
            control.write_all(format!("{port}\n").as_bytes()).await?;
            let mut answer = String::new();
            control.read_line(&mut answer).await?;
            if answer.trim_end() == "open" {
                return Ok(());
            }
            Err(io::Error::other(answer.trim_end().to_owned()))
        };
        let asked = tokio::time::timeout(RELAY_LIMIT, asked).await;
        asked
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| EnclosureError::Port { port, source })?;
        Ok(door(&self.folder, &port.to_string()))
    }
}

/// A socket in an open folder, by a path that is short however deep the folder lies: the system allows 107 bytes.
fn door(folder: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()))
}

async fn control(relay: &mut ServiceProcess, path: &Path) -> Result<UnixStream, EnclosureError> {
    let connected = std::sync::Mutex::new(None);
    let waited = ready::until("the relay answers", RELAY_LIMIT, || {
        let ended = relay.ended();
        let connected = &connected;
        async move {
            match ended {
                Ok(None) => {}
                Ok(Some(exit)) => return Look::Never(format!("it ended with {exit}")),
                Err(error) => return Look::Never(error.to_string()),
            }
            match UnixStream::connect(path).await {
                Ok(stream) => {
                    *connected.lock().unwrap_or_else(PoisonError::into_inner) = Some(stream);
                    Look::Holds
                }
                Err(error) => Look::NotYet(error.to_string()),
            }
        }
    })
    .await;
    let connected = connected.into_inner().unwrap_or_else(PoisonError::into_inner);
    let unasked = || WaitError::Impossible {
        condition: "the relay answers".to_owned(),
        why: "it was not asked".to_owned(),
    };
    waited
        .and_then(|_| connected.ok_or_else(unasked))
        .map_err(|source| EnclosureError::NotThere {
            log: relay.last_lines(4),
            source,
        })
}

/// What runs in the namespace, with the folder of its sockets as working directory: opens each port that is asked for, until
/// whoever asks is gone.
///
/// # Errors
/// What the system says.
pub async fn relay() -> io::Result<()> {
    let listener = UnixListener::bind(CONTROL)?;
    let (control, _) = listener.accept().await?;
    let mut control = BufReader::new(control);
    let mut line = String::new();
    while control.read_line(&mut line).await? > 0 {
        let answer = match line.trim_end().parse::<u16>() {
            Ok(port) => open(port).map_or_else(|error| error.to_string(), |()| "open".to_owned()),
            Err(error) => format!("{:?}: {error}", line.trim_end()),
        };
        control.write_all(format!("{answer}\n").as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

/// Leads a socket to a port; asked again for one that is open, it stays.
fn open(port: u16) -> io::Result<()> {
    let listener = match UnixListener::bind(port.to_string()) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Ok(()),
        bound => bound?,
    };
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            tokio::spawn(async move {
                // Where nothing listens, the connection ends without an answer, as a refused one does.
                if let Ok(mut inside) = TcpStream::connect(("127.0.0.1", port)).await {
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                }
            });
        }
    });
    Ok(())
}
