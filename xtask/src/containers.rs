//! The container engine, where this build has it; else the same command once more, built with it.

use crate::exit::ExitCode;
use crate::features::{Feature, run_again as run_again_with};
use recovery_drills::drills::context::DrillRequest;
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SOCKET: &str = "unix:///var/run/docker.sock";
/// The label of everything that a drill makes in an engine. Source: the package `containers`.
const LABEL: &str = "recovery-drills.run";
/// How long a look at the engine may take.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// Whether this build can run containers.
pub(crate) const BUILT_IN: bool = cfg!(feature = "containers");

/// Runs this very command built with the container runtime, in place of this process; returns only when that fails.
pub(crate) fn run_again() -> ExitCode {
    run_again_with(Feature::Containers)
}

/// Gives the request its engine, if it needs one; what killed runs left there is removed first.
///
/// # Errors
/// No engine answers: what to do.
#[cfg(feature = "containers")]
pub(crate) async fn connect(request: &mut DrillRequest) -> Result<(), String> {
    if request.environment.is_in_containers() {
        let engine = recovery_drills_containers::connect().await;
        request.engine = Some(engine.map_err(|error| error.to_string())?);
    }
    Ok(())
}

/// This build has no engine; whoever needs one was run again before.
///
/// # Errors
/// Never.
#[cfg(not(feature = "containers"))]
pub(crate) async fn connect(_: &mut DrillRequest) -> Result<(), String> {
    Ok(())
}

/// What a container engine says of itself; asked without the engine's client, which is not built for this.
pub(crate) struct Seen {
    /// Version and API version.
    pub(crate) version: String,
    /// Whether it is Podman.
    pub(crate) is_podman: bool,
    /// Containers, networks and volumes of drills, of running ones too.
    pub(crate) of_drills: usize,
}

/// Looks whether an engine answers.
///
/// # Errors
/// Where it was looked for, and what went wrong.
pub(crate) fn look() -> Result<Seen, String> {
    let named = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
    let at = named.unwrap_or_else(|| SOCKET.to_owned());
    let ask = |path: &str| get(&at, path).map_err(|error| format!("{at}: {error}"));
    let version = ask("/version")?;
    let word = |key: &str| version[key].as_str().unwrap_or("unknown").to_owned();
    let filters = format!("%7B%22label%22%3A%5B%22{LABEL}%22%5D%7D");
    let containers = ask(&format!("/containers/json?all=1&filters={filters}"))?;
    let networks = ask(&format!("/networks?filters={filters}"))?;
    let volumes = ask(&format!("/volumes?filters={filters}"))?;
    let lists = [&containers, &networks, &volumes["Volumes"]];
    Ok(Seen {
        version: format!("{} (API {})", word("Version"), word("ApiVersion")),
        is_podman: version["Components"].to_string().contains("Podman"),
        of_drills: lists.iter().filter_map(|list| list.as_array()).map(Vec::len).sum(),
    })
}

fn get(at: &str, path: &str) -> std::io::Result<Value> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: engine\r\n\r\n");
    let mut answer = Vec::new();
    if let Some(socket) = at.strip_prefix("unix://") {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(LOOK_LIMIT))?;
        exchange(&mut stream, &request, &mut answer)?;
    } else {
        let address = at.split_once("://").map_or(at, |(_, address)| address);
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(LOOK_LIMIT))?;
        exchange(&mut stream, &request, &mut answer)?;
    }
    let start = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(0, |at| at + 4);
    Ok(serde_json::from_slice(&answer[start..])?)
}

fn exchange(stream: &mut (impl Read + Write), request: &str, answer: &mut Vec<u8>) -> std::io::Result<()> {
    stream.write_all(request.as_bytes())?;
    stream.read_to_end(answer).map(|_| ())
}

/// Removes what killed runs left in the engine; what was removed, in words.
///
/// # Errors
/// No engine, or something could not be removed.
#[cfg(feature = "containers")]
pub(crate) fn remove_leftovers() -> Result<Vec<String>, String> {
    let runtime = crate::drill::runtime()?;
    runtime.block_on(async {
        let told = |error: recovery_drills::runtime::engine::EngineError| error.to_string();
        let engine = recovery_drills_containers::ContainerEngine::new().await.map_err(told)?;
        let removed = recovery_drills_containers::remove_leftovers(&engine)
            .await
            .map_err(told)?;
        Ok(removed.iter().map(ToString::to_string).collect())
    })
}

/// This build has no engine; whoever needs one was run again before.
///
/// # Errors
/// Never.
#[cfg(not(feature = "containers"))]
pub(crate) fn remove_leftovers() -> Result<Vec<String>, String> {
    Ok(Vec::new())
}
