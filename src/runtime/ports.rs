//! Free loopback ports, and whose a listening port is.
//!
//! A port is only a proposal until the child listens on it: whoever starts a service checks afterwards that the
//! listening socket belongs to the child ([`listener_is_of_group`]) and starts anew on another port when it lost the race.

use std::collections::HashSet;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ports that the kernel hands to clients (`net.ipv4.ip_local_port_range` starts at 32768), so that no
/// outgoing connection takes a proposed port away.
const LOWEST: u32 = 10_100;
const HIGHEST: u32 = 32_700;

/// Whether nobody listens on a loopback or wildcard port right now.
#[must_use]
pub fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && TcpListener::bind(("0.0.0.0", port)).is_ok()
}

/// A port that is free now and was not proposed before by this process.
///
/// # Errors
/// When 2 000 ports in a row are taken.
pub fn propose() -> std::io::Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Processes start at different places, so that two harnesses side by side rarely meet.
    let start = std::process::id().wrapping_mul(7_919);
    let span = HIGHEST - LOWEST;
    for _ in 0..2_000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = LOWEST + start.wrapping_add(step.wrapping_mul(13)) % span;
        let port = u16::try_from(port).unwrap_or(u16::MAX);
        if is_free(port) {
            return Ok(port);
        }
    }
    Err(std::io::Error::new(
        std::io::ErrorKind::AddrInUse,
        "no free port between 10100 and 32700 after 2000 tries; end what holds them",
    ))
}

/// Whether the socket that listens on `port` is held by a process of the group `group`.
///
/// `None` where the system does not tell (no `/proc`), so that the caller has to rely on the child being alive.
#[must_use]
pub fn listener_is_of_group(port: u16, group: u32) -> Option<bool> {
    let inodes = listening_inodes(port, group)?;
    let mut told = false;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if process_group(pid) != Some(group) {
            continue;
        }
        let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        told = true;
        for descriptor in descriptors.flatten() {
            let Ok(target) = fs::read_link(descriptor.path()) else {
                continue;
            };
            let inode = target
                .to_str()
                .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if inode.is_some_and(|inode: u64| inodes.contains(&inode)) {
                return Some(true);
            }
        }
    }
    told.then_some(false)
}

/// Inodes of the sockets that listen on `port` (state `0A`), in the network of the process `pid`, else in this one's.
fn listening_inodes(port: u16, pid: u32) -> Option<HashSet<u64>> {
    let mut inodes = HashSet::new();
    let mut any = false;
    for table in ["tcp", "tcp6"] {
        let of_process = fs::read_to_string(format!("/proc/{pid}/net/{table}"));
        let Ok(text) = of_process.or_else(|_| fs::read_to_string(format!("/proc/net/{table}"))) else {
            continue;
        };
        any = true;
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) = (fields.get(1), fields.get(3), fields.get(9)) else {
                continue;
            };
            if *state == "0A" && local.ends_with(&format!(":{port:04X}")) {
                inodes.extend(inode.parse::<u64>());
            }
        }
    }
    any.then_some(inodes)
}

/// Field 5 of `/proc/<pid>/stat`, read after the command name, which may hold blanks and brackets.
fn process_group(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_port_is_not_free() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }

    #[test]
    fn two_proposals_differ() {
        assert_ne!(propose().unwrap(), propose().unwrap());
    }

    #[test]
    fn a_listener_belongs_to_the_group_that_opened_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let own = process_group(std::process::id()).unwrap();
        assert_eq!(listener_is_of_group(port, own), Some(true));
        assert_eq!(listener_is_of_group(propose().unwrap(), own), Some(false));
    }
}
