//! A pair of reference services that runs by itself, and somebody who writes to it.

use rusqlite::{Connection, OpenFlags};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Reference services as an operator's own, in a folder of their own; stopped when the test ends.
pub(crate) struct Pair {
    folder: TempDir,
    pub(crate) ports: [u16; 2],
    pub(crate) binary: PathBuf,
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

impl Pair {
    pub(crate) fn new() -> Pair {
        let folder = tempfile::tempdir().expect("a folder");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let data = folder.path().join("data");
        std::fs::create_dir(folder.path().join("here")).expect("a folder");
        std::fs::create_dir(&data).expect("a folder");
        for name in [
            "beam-directory.db",
            "beam-bus.sqlite",
            "beam-bus.sqlite-wal",
            "keys.json",
        ] {
            std::fs::copy(root.join("fixtures/snapshots/at-rest").join(name), data.join(name)).expect("copied");
        }
        std::fs::copy(root.join("fixtures/attached/service"), folder.path().join("service")).expect("copied");
        let binary = recovery_drills::drills::reference::ensure_built().expect("built");
        let ports = [free_port(), free_port()];
        let text = format!(
            "BINARY='{}'\nDIRECTORY_PORT={}\nBUS_PORT={}\n",
            binary.display(),
            ports[0],
            ports[1]
        );
        std::fs::write(folder.path().join("pair.env"), text).expect("written");
        let pair = Pair { folder, ports, binary };
        pair.environment(|text| text);
        for service in ["directory", "bus"] {
            assert!(pair.service("start", service).success(), "{service} starts");
        }
        pair.await_running();
        pair
    }

    /// Writes the environment file, changed.
    pub(crate) fn environment(&self, change: impl Fn(String) -> String) {
        let binary = self.binary.display().to_string();
        let mut text = "name = \"pair\"\nmax_outage_ms = 30000\n".to_owned();
        for (service, file, port) in [
            ("directory", "beam-directory.db", self.ports[0]),
            ("bus", "beam-bus.sqlite", self.ports[1]),
        ] {
            text += &format!(
                "[{service}]\nruntime = \"attached\"\nurl = \"http://127.0.0.1:{port}\"\ndata = \"data/{file}\"\ncwd = \".\"\n\
                 stop = [\"./service\", \"stop\", \"{service}\"]\nstart = [\"./service\", \"start\", \"{service}\"]\n\
                 command = [{binary:?}, \"{service}\"]\n"
            );
        }
        std::fs::write(self.path("attached.toml"), change(text)).expect("written");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn service(&self, what: &str, service: &str) -> std::process::ExitStatus {
        let mut command = Command::new(self.path("service"));
        command.args([what, service]).stdin(Stdio::null()).stdout(Stdio::null());
        command.status().expect("the script runs")
    }

    pub(crate) fn answers(&self, at: usize) -> bool {
        self.get(at, "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .starts_with("HTTP/1.1 200")
    }

    pub(crate) fn get(&self, at: usize, request: &str) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.ports[at])) else {
            return String::new();
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(3)));
        let _ = stream.write_all(request.as_bytes());
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    pub(crate) fn is_running(&self) -> bool {
        (0..2).all(|at| self.answers(at))
    }

    #[track_caller]
    pub(crate) fn await_running(&self) {
        let began = Instant::now();
        while !self.is_running() {
            assert!(began.elapsed() < Duration::from_secs(15), "the source does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn xtask(&self, arguments: &[&str]) -> Command {
        let runs = self.path("runs");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(arguments)
            .current_dir(self.path("here"))
            .stdin(Stdio::null());
        command
            .env("DRILLS_STATE_DIR", self.path("state"))
            .env("CARGO_TARGET_DIR", &runs);
        command
    }

    pub(crate) fn drill(&self, more: &[&str]) -> Command {
        let environment = self.path("attached.toml").display().to_string();
        let mut arguments = vec!["drill", "--environment", &environment, "--no-self-test"];
        arguments.extend(more);
        self.xtask(&arguments)
    }

    /// Both databases are whole, and have at least the rows that they began with.
    #[track_caller]
    pub(crate) fn assert_intact(&self) {
        for (file, table, least) in [
            ("beam-directory.db", "intent_log", 20),
            ("beam-bus.sqlite", "beam_messages", 8),
        ] {
            let path = self.path("data").join(file);
            let opened = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("opened");
            let one = |sql: &str| opened.query_row(sql, [], |row| row.get::<_, String>(0)).expect("read");
            assert_eq!(one("PRAGMA integrity_check"), "ok");
            let rows: u32 = one(&format!("SELECT count(*) || '' FROM {table}"))
                .parse()
                .expect("a number");
            assert!(rows >= least, "{rows} rows in {table}");
        }
    }

    pub(crate) fn held(&self) -> usize {
        let entries = std::fs::read_dir(self.path("state")).into_iter().flatten().flatten();
        let is_record = |entry: &std::fs::DirEntry| entry.path().extension().is_some_and(|ending| ending == "json");
        entries.filter(is_record).count()
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for service in ["bus", "directory"] {
            self.service("stop", service);
        }
    }
}

/// Somebody who writes to the directory without a pause; how many writes it took.
pub(crate) struct Load {
    ends: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Load {
    pub(crate) fn on(pair: &Pair) -> Load {
        let (ends, taken, port) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
            pair.ports[0],
        );
        let (ended, counted) = (ends.clone(), taken.clone());
        let writer = std::thread::spawn(move || {
            let mut number = 0;
            while !ended.load(Ordering::Relaxed) {
                number += 1;
                // A new agent each time, with a key of the right form.
                let body = format!(
                    r#"{{"beamId":"load{number}@acme.beam.directory","displayName":"Load {number}","capabilities":["load"],"publicKey":"MCowBQYDK2VwAyEA{number:0>42}A="}}"#
                );
                let request = format!(
                    "POST /agents/register HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
                // Registrations are limited to a few a minute; the counter of an agent's look-ups is written by each.
                let look = "GET /agents/ops@acme.beam.directory HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                for request in [request.as_str(), look] {
                    let mut answer = String::new();
                    if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) {
                        let _ = stream.set_read_timeout(Some(Duration::from_secs(3)));
                        let _ = stream.write_all(request.as_bytes());
                        let _ = stream.read_to_string(&mut answer);
                    }
                    counted.fetch_add(u64::from(answer.starts_with("HTTP/1.1 2")), Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(60));
            }
        });
        Load {
            ends,
            taken,
            writer: Some(writer),
        }
    }

    pub(crate) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}
