//! A folder in which every run of a test happens, with a secret at every place that a run can meet.

use crate::search::{Leak, Seeded, files, in_folder, in_text, seeded};
use recovery_drills::drills::reference;
use std::cell::RefCell;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Variables of the harness that hold a secret each.
const VARIABLES: &[&str] = &[
    "SMTP_PASSWORD",
    "RESEND_API_KEY",
    "STRIPE_SECRET_KEY",
    "BEAM_FEDERATION_SHARED_SECRET",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "DRILLS_STORE_NAMING_SECRET",
    "GITHUB_TOKEN",
    "DRILL_JWT_SECRET",
    "DRILL_BUS_KEY",
    "DRILL_ADMIN_SESSION",
];
/// Variables that the environment file gives to a service.
const OF_SERVICES: &[&str] = &["SERVICE_SMTP_PASS", "SERVICE_FEDERATION_SECRET", "SERVICE_SIGNING_KEY"];
/// Where a password stands in an address.
const IN_ADDRESS: &str = "password in an address";

pub(crate) struct World {
    folder: TempDir,
    secrets: Vec<Seeded>,
    printed: RefCell<Vec<(String, Vec<u8>)>>,
    binary: PathBuf,
}

/// A source that runs by itself; stopped when the test ends.
pub(crate) struct Source<'a> {
    world: &'a World,
    pub(crate) environment: String,
}

impl World {
    pub(crate) fn new() -> World {
        let mut places: Vec<&'static str> = [VARIABLES, OF_SERVICES].concat();
        places.extend([
            "database row",
            "file of [config]",
            "beside it in .env",
            IN_ADDRESS,
            "command of the source",
        ]);
        let mut secrets: Vec<Seeded> = places.into_iter().map(seeded).collect();
        // An address cannot hold a slash or a question mark in its password.
        let password = secrets
            .iter_mut()
            .find(|secret| secret.place == IN_ADDRESS)
            .expect("there");
        password.value = "Zq7passwordOfAnAddress9w".to_owned();
        let world = World {
            folder: tempfile::tempdir().expect("a folder"),
            secrets,
            printed: RefCell::default(),
            binary: reference::ensure_built().expect("built"),
        };
        std::fs::create_dir(world.path("here")).expect("a folder");
        std::fs::create_dir(world.path("runs")).expect("a folder");
        // What is built already is not built again in the target folder that the runs are kept in.
        let built = reference::target_folder().join("debug");
        std::os::unix::fs::symlink(std::path::absolute(built).expect("a path"), world.path("runs/debug"))
            .expect("linked");
        world.git();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn secret(&self, place: &str) -> &str {
        let found = self.secrets.iter().find(|secret| secret.place == place);
        &found.expect("a seeded place").value
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    fn script(&self, name: &str, text: &str) {
        self.write(name, text);
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o700)).expect("executable");
    }

    /// An address with a user and the seeded password.
    pub(crate) fn address(&self, scheme: &str, rest: &str) -> String {
        format!("{scheme}://somebody:{}@{rest}", self.secret(IN_ADDRESS))
    }

    /// The folder of the runs is a repository whose remote has a password.
    fn git(&self) {
        let remote = self.address("https", "git.test/beam.git");
        for arguments in [&["init", "-q"][..], &["remote", "add", "origin", &remote]] {
            let ended = Command::new("git")
                .args(arguments)
                .current_dir(self.path("here"))
                .status();
            assert!(ended.is_ok_and(|status| status.success()), "git {}", arguments[0]);
        }
    }

    /// Runs a command; what it printed is kept.
    pub(crate) fn attempt(&self, arguments: &[&str]) -> Option<i32> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .args(arguments)
            .current_dir(self.path("here"))
            .env("CARGO_TARGET_DIR", self.path("runs"))
            .env("DRILLS_STATE_DIR", self.path("state"))
            .env("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
            .env("AWS_ACCESS_KEY_ID", "somebody")
            .stdin(Stdio::null());
        for name in VARIABLES {
            command.env(name, self.secret(name));
        }
        let output = command.output().expect("the command runs");
        let text = [&output.stdout[..], b"\n", &output.stderr[..]].concat();
        let shown = String::from_utf8_lossy(&text).into_owned();
        assert!(!shown.contains("panicked at"), "{arguments:?}: {shown}");
        self.printed.borrow_mut().push((arguments.join(" "), text));
        output.status.code()
    }

    #[track_caller]
    pub(crate) fn run(&self, code: i32, arguments: &[&str]) {
        let ended = self.attempt(arguments);
        assert_eq!(ended, Some(code), "{arguments:?}: {}", self.printed());
    }

    /// What the last command printed.
    pub(crate) fn printed(&self) -> String {
        let all = self.printed.borrow();
        all.last()
            .map_or_else(String::new, |(_, text)| String::from_utf8_lossy(text).into_owned())
    }

    /// The leaks in all that was printed, all that runs left, and all reports.
    pub(crate) fn leaks(&self) -> Vec<Leak> {
        let mut found = Vec::new();
        for (command, text) in self.printed.borrow().iter() {
            // The arguments are the caller's own.
            let short: String = command.chars().take(40).collect();
            found.extend(in_text(&self.secrets, &format!("output of {short}"), text));
        }
        let runs = self.path("runs");
        assert!(self.printed.borrow().len() > 1, "nothing was run");
        found.extend(in_folder(&self.secrets, &runs));
        found.extend(in_folder(&self.secrets, &self.path("here/reports")));
        found
    }

    fn runs(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path("runs/drills"))
            .into_iter()
            .flatten()
            .flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        found.retain(|path| path.join("evidence.json").is_file());
        found.sort();
        found
    }

    pub(crate) fn newest_run(&self) -> String {
        self.runs().last().expect("a run").display().to_string()
    }

    pub(crate) fn newest_capture(&self) -> PathBuf {
        let all = files(&self.path("runs"));
        let is_capture = |path: &&PathBuf| path.display().to_string().contains("/capture-");
        all.iter().rfind(is_capture).expect("a capture").clone()
    }

    /// The logs that runs kept.
    pub(crate) fn logs(&self) -> String {
        let kept = files(&self.path("runs"))
            .into_iter()
            .filter(|path| path.display().to_string().contains("/logs/"));
        kept.filter_map(|path| std::fs::read_to_string(path).ok()).collect()
    }

    /// An environment of services that print every variable they were given, in each encoding.
    pub(crate) fn own_services(&self) -> String {
        self.script(
            "service",
            &format!(
                "#!/bin/sh\n# Proof of what reached a service, outside of what is searched.\nenv >>'{}'\n\
                 for name in SERVICE_SMTP_PASS SERVICE_FEDERATION_SECRET SERVICE_SIGNING_KEY JWT_SECRET BUS_API_KEY; do\n\
                     eval \"value=\\$$name\"\n\
                     echo \"$name is $value\"; echo \"plainly: $value\" >&2\n\
                     printf 'user:%s' \"$value\" | base64 -w0; echo\n\
                     printf '%s' \"$value\" | od -An -tx1 | tr -d ' \\n'; echo\n\
                 done\n[ ! -e '{}' ] || exit 9\nexec '{}' \"$@\"\n",
                self.path("reached").display(),
                self.path("broken").display(),
                self.binary.display()
            ),
        );
        let env: Vec<String> = OF_SERVICES
            .iter()
            .map(|name| format!("{name} = '{}'", self.secret(name)))
            .collect();
        let env = env.join(", ");
        self.write(
            "own.toml",
            &format!(
                "name = \"own\"\n[directory]\ncommand = [\"./service\", \"directory\"]\ncwd = \".\"\nenv = {{ {env} }}\n\
                 [bus]\ncommand = [\"./service\", \"bus\"]\ncwd = \".\"\nenv = {{ {env} }}\n\
                 [access]\njwt_secret_env = \"DRILL_JWT_SECRET\"\nbus_key_env = \"DRILL_BUS_KEY\"\n"
            ),
        )
    }

    /// From now on the services print what they know and end.
    pub(crate) fn break_service(&self) {
        self.write("broken", "");
    }

    #[track_caller]
    pub(crate) fn assert_services_had_secrets(&self) {
        let reached = std::fs::read_to_string(self.path("reached")).expect("a service was started");
        for name in OF_SERVICES.iter().chain(&["DRILL_JWT_SECRET"]) {
            assert!(reached.contains(self.secret(name)), "{name} did not reach a service");
        }
        assert!(
            !reached.contains(self.secret("AWS_SECRET_ACCESS_KEY")),
            "a service was given the harness's own variables"
        );
    }

    /// Environment files that cannot be used, each with a secret in or beside the wrong place.
    pub(crate) fn broken_environments(&self) -> Vec<String> {
        let secret = self.secret("SERVICE_SMTP_PASS");
        let texts = [
            format!("name = \"x\"\n[directory]\nenv = {{ SMTP_PASS = '{secret}' \n"),
            format!("name = \"x\"\n[directory]\nport = '{secret}'\n"),
            format!("name = \"x\"\n[directory]\nenv = '{secret}'\n"),
            format!("name = \"x\"\n[directory]\nenv = {{ A = '{secret}{{nothing}}' }}\n"),
            format!("name = \"x\"\n[directory]\nruntime = '{secret}'\n"),
            format!("name = '{secret}'\n"),
            format!("name = \"x\"\n[bus]\ncommand = [\"no-such-program\"]\nenv = {{ SMTP_PASS = '{secret}' }}\n"),
        ];
        let write = |(at, text): (usize, &String)| self.write(&format!("broken-{at}.toml"), text);
        texts.iter().enumerate().map(write).collect()
    }

    /// A plain backup whose rows hold secrets where Beam stores such, and contradict each other, so that checks speak of them.
    pub(crate) fn backup_with_secret_rows(&self) -> String {
        let folder = self.path("backup");
        std::fs::create_dir(&folder).expect("a folder");
        let from = reference::workspace_root().join("fixtures/snapshots/at-rest");
        for name in ["beam-directory.db", "beam-bus.sqlite", "beam-bus.sqlite-wal"] {
            std::fs::copy(from.join(name), folder.join(name)).expect("copied");
        }
        let opened = rusqlite::Connection::open(folder.join("beam-directory.db")).expect("opened");
        opened.execute_batch("PRAGMA foreign_keys=OFF").expect("off");
        let secret = self.secret("database row");
        for change in [
            "UPDATE admin_magic_links SET token = ?1",
            "UPDATE admin_sessions SET id = ?1",
            "UPDATE orgs SET api_key_hash = ?1, verification_token = ?1",
            "UPDATE agents SET api_key_hash = ?1, email = ?1 WHERE rowid = 1",
            "UPDATE verification_tokens SET token = token || ?1, beam_id = 'nobody@nowhere.beam.directory'",
        ] {
            let changed = opened.execute(change, [secret]).expect("changed");
            assert!(changed > 0, "{change}");
        }
        folder.display().to_string()
    }

    pub(crate) fn damage(&self, name: &str) {
        let mut bytes = std::fs::read(self.path(name)).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 64].fill(0xaa);
        std::fs::write(self.path(name), bytes).expect("written");
    }

    /// An environment for comparison: files with secrets, addresses with a password.
    pub(crate) fn compared(&self) -> String {
        let (key, beside) = (self.secret("file of [config]"), self.secret("beside it in .env"));
        self.write(
            "compared/.env",
            &format!("PASSED_ON='{beside}'\nMAIL_URL=smtp://a:{beside}@mail.test\n"),
        );
        self.write(
            "compared/directory.env",
            &format!(
                "JWT_SECRET='{key}'\nSMTP_PASSWORD='{key}'\nRELEASE_NOTE='{key}'\nAPI={}\n",
                self.address("https", "x.test")
            ),
        );
        self.write(
            "compared/compose.yml",
            "services:\n  bus:\n    image: bus\n    environment:\n      BUS_API_KEY: ${PASSED_ON}\n      RESEND_API_KEY: ${NOWHERE:?set it}\n",
        );
        self.write(
            "compared/site/index.html",
            &format!(
                "<script>fetch('{}')</script>\n",
                self.address("https", "api.beam.test/agents")
            ),
        );
        let address = self.address("https", "api.beam.test");
        let closed = self.address("http", "127.0.0.1:1");
        self.write(
            "compared/here.toml",
            &format!(
                "name = \"here\"\n[release]\nversion = \"1.6.0\"\nfrom = \"git\"\n[directory]\nurl = \"{closed}\"\n[bus]\nurl = \"{closed}\"\n\
                 [surfaces]\napi_url = \"{address}\"\npublic_site = \"site\"\ndocs = \"{closed}/docs\"\n\
                 [config]\ndirectory = {{ files = [\"directory.env\"] }}\nbus = {{ files = [\"compose.yml\"] }}\nrequired = [\"SMTP_PASSWORD\"]\n\
                 [snapshots]\nstore = \"{}\"\n",
                self.address("s3", "bucket/x")
            ),
        )
    }

    /// A pair of services that runs by itself, whose stop and start commands print secrets and end as given.
    pub(crate) fn attached(&self, stop: &str, start: &str) -> Source<'_> {
        let root = reference::workspace_root();
        let data = self.path("pair/data");
        std::fs::create_dir_all(&data).expect("a folder");
        for name in [
            "beam-directory.db",
            "beam-bus.sqlite",
            "beam-bus.sqlite-wal",
            "keys.json",
        ] {
            std::fs::copy(root.join("fixtures/snapshots/at-rest").join(name), data.join(name)).expect("copied");
        }
        let script = std::fs::read_to_string(root.join("fixtures/attached/service")).expect("read");
        self.script("pair/service", &script);
        let secret = self.secret("command of the source");
        self.script(
            "pair/noisy",
            &format!(
                "#!/bin/sh\necho 'password {secret}'; echo 'password {secret}' >&2; printf '%s' 'x{secret}' | base64 -w0\n\
                 : >'{}'\n./service \"$1\" \"$2\" || exit 8\nif [ \"$1\" = stop ]; then {stop}; else {start}; fi\n",
                self.path("commands-ran").display()
            ),
        );
        let ports = [free_port(), free_port()];
        let binary = self.binary.display();
        self.write(
            "pair/pair.env",
            &format!(
                "BINARY='{binary}'\nDIRECTORY_PORT={}\nBUS_PORT={}\n",
                ports[0], ports[1]
            ),
        );
        let mut text = format!(
            "name = \"pair\"\nmax_outage_ms = 30000\n[snapshots]\nstore = \"{}\"\n",
            self.address("s3", "b/p")
        );
        for (service, file, port) in [
            ("directory", "beam-directory.db", ports[0]),
            ("bus", "beam-bus.sqlite", ports[1]),
        ] {
            text += &format!(
                "[{service}]\nruntime = \"attached\"\nurl = \"http://127.0.0.1:{port}\"\ndata = \"data/{file}\"\ncwd = \".\"\n\
                 stop = [\"./noisy\", \"stop\", \"{service}\"]\nstart = [\"./noisy\", \"start\", \"{service}\"]\n\
                 command = [\"{binary}\", \"{service}\"]\n"
            );
        }
        let _ = std::fs::remove_file(self.path("commands-ran"));
        let source = Source {
            world: self,
            environment: self.write("pair/pair.toml", &text),
        };
        source.restart();
        source
    }

    pub(crate) fn commands_ran(&self) -> bool {
        self.path("commands-ran").exists()
    }
}

impl Source<'_> {
    fn service(&self, what: &str, service: &str) {
        let mut command = Command::new(self.world.path("pair/service"));
        command.args([what, service]).current_dir(self.world.path("pair"));
        // One that runs already, or not, says so.
        let _ = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }

    /// Starts what does not run, and waits until both take connections.
    pub(crate) fn restart(&self) {
        self.service("start", "directory");
        self.service("start", "bus");
        let text = std::fs::read_to_string(self.world.path("pair/pair.env")).expect("read");
        let ports = text
            .lines()
            .filter_map(|line| line.split_once("PORT=")?.1.parse::<u16>().ok());
        for port in ports {
            let began = std::time::Instant::now();
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(began.elapsed().as_secs() < 20, "the source does not start");
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Source<'_> {
    fn drop(&mut self) {
        self.service("stop", "bus");
        self.service("stop", "directory");
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
