//! Restored instances hold real data: they reach nobody and are reached by nobody but the harness.

use crate::pair::Pair;
use crate::{assert_ends, run};
use recovery_drills::runtime::enclosure::Way;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts who connects.
fn decoy() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (port, count) = (
        listener.local_addr().expect("an address").port(),
        Arc::new(AtomicU64::new(0)),
    );
    let counted = count.clone();
    std::thread::spawn(move || {
        for _ in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (port, count)
}

#[test]
fn restored_instances_with_real_data_get_no_key_to_reach_others_with() {
    let pair = Pair::new();
    let (port, connections) = decoy();
    // A service that greets its mail server at its start, if it is given one.
    let greets = format!(
        "if [ -n \"$SMTP_HOST\" ]; then exec 3<>/dev/tcp/127.0.0.1/$SMTP_PORT; fi; exec '{}' \"$0\"",
        pair.binary.display()
    );
    let environment = format!("SMTP_HOST = \"127.0.0.1\", SMTP_PORT = \"{port}\", RESEND_API_KEY = \"re_x\"");
    let greeting = |text: String| {
        let binary = format!("command = [{:?}, ", pair.binary.display().to_string());
        let wrapped = format!("env = {{ {environment} }}\ncommand = [\"bash\", \"-c\", {greets:?}, ");
        text.replace(&binary, &wrapped)
    };
    pair.environment(greeting);
    // In this machine's network, where the decoy can be reached.
    let output = run(pair.drill(&[]).env("DRILLS_IN_OWN_NETWORK", "1"));
    assert_ends(&output, 0, "verdict: pass");
    assert_eq!(connections.load(Ordering::Relaxed), 0);
    // With data of the harness's own the same services get what the file says: the decoy does count.
    let own: String = std::fs::read_to_string(pair.path("attached.toml")).expect("written");
    let own: Vec<&str> = own
        .lines()
        .filter(|line| {
            ["name", "[", "command", "env"]
                .iter()
                .any(|start| line.starts_with(start))
        })
        .collect();
    std::fs::write(pair.path("own.toml"), own.join("\n")).expect("written");
    let path = pair.path("own.toml").display().to_string();
    run(&mut pair.xtask(&["drill", "--environment", &path, "--no-self-test"]));
    assert!(connections.load(Ordering::Relaxed) > 0);
}

#[test]
fn a_given_backup_is_restored_in_a_network_of_its_own_where_the_system_has_them() {
    let pair = Pair::new();
    let own = format!(
        "name = \"own\"\nproduction = true\n[directory]\ncommand = [{0:?}, \"directory\"]\n[bus]\ncommand = [{0:?}, \"bus\"]\n",
        pair.binary.display().to_string()
    );
    std::fs::write(pair.path("own.toml"), own).expect("written");
    let path = pair.path("own.toml").display().to_string();
    let given = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/snapshots/at-rest");
    let arguments = [
        "drill",
        "--environment",
        &path,
        "--from",
        given,
        "--no-self-test",
        "--json",
    ];
    let output = run(&mut pair.xtask(&arguments));
    if Way::find().is_some() {
        assert_ends(&output, 0, "verdict: pass");
        let evidence: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
        let isolation = evidence["run"]["isolation"].as_str().expect("stated");
        assert!(
            isolation.starts_with("network namespace with only the loopback interface;"),
            "{isolation}"
        );
    } else {
        // Production data behind open ports is refused.
        assert_ends(&output, 2, "--accept-open-ports");
    }
    // As on a system that refuses namespaces.
    let refused = run(pair.xtask(&arguments).env("DRILLS_IN_OWN_NETWORK", "1"));
    assert_ends(&refused, 2, "--accept-open-ports");
    let mut accepted = arguments.to_vec();
    accepted.push("--accept-open-ports");
    let output = run(pair.xtask(&accepted).env("DRILLS_IN_OWN_NETWORK", "1"));
    assert_ends(&output, 0, "verdict: pass");
    let evidence: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    let isolation = evidence["run"]["isolation"].as_str().expect("stated");
    assert!(isolation.contains("WARNING"), "{isolation}");
}

/// A service that tries to reach a partner, the source and this machine's other addresses before it starts, writes down how it
/// ended, and tells its port.
fn curious(pair: &Pair, decoy: u16) -> String {
    let tried = pair.path("tried");
    let source = pair.ports[0];
    format!(
        "for port in {decoy} {source}; do if (exec 3<>/dev/tcp/127.0.0.1/$port) 2>/dev/null; then echo reached; else echo refused; fi \
         >>'{0}.reach'; done; echo $PORT >>'{0}.ports'; exec '{1}' \"$0\"",
        tried.display(),
        pair.binary.display()
    )
}

/// Connects to every port that a service told, again and again; how often somebody answered, and how often it was tried.
fn knocking(pair: &Pair, ends: &Arc<AtomicBool>) -> std::thread::JoinHandle<(u64, u64)> {
    let (told, ends) = (pair.path("tried.ports"), ends.clone());
    std::thread::spawn(move || {
        let (mut reached, mut tried) = (0, 0);
        while !ends.load(Ordering::Relaxed) {
            let ports = std::fs::read_to_string(&told).unwrap_or_default();
            for port in ports.lines().filter_map(|line| line.parse::<u16>().ok()) {
                tried += 1;
                reached += u64::from(TcpStream::connect(("127.0.0.1", port)).is_ok());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        (reached, tried)
    })
}

/// Drills the pair with curious services: what they reached, who connected to the decoy, and how often their ports were reached.
fn drilled(pair: &Pair, more: &[&str], open: bool) -> (String, u64, u64) {
    let (port, connections) = decoy();
    let script = curious(pair, port);
    let binary = format!("command = [{:?}, ", pair.binary.display().to_string());
    pair.environment(|text| text.replace(&binary, &format!("command = [\"bash\", \"-c\", {script:?}, ")));
    for name in ["tried.reach", "tried.ports"] {
        let _ = std::fs::remove_file(pair.path(name));
    }
    let ends = Arc::new(AtomicBool::new(false));
    let knocks = knocking(pair, &ends);
    let mut command = pair.drill(more);
    if open {
        // As on a system that refuses namespaces.
        command.env("DRILLS_IN_OWN_NETWORK", "1");
    }
    let output = run(&mut command);
    ends.store(true, Ordering::Relaxed);
    let (reached, tried) = knocks.join().expect("it knocked");
    assert_ends(&output, 0, "verdict: pass");
    assert!(tried > 0, "no port was knocked at");
    let tries = std::fs::read_to_string(pair.path("tried.reach")).expect("it tried");
    (tries, connections.load(Ordering::Relaxed), reached)
}

#[test]
fn what_an_attached_drill_restores_reaches_nobody_and_is_reached_by_nobody() {
    if Way::find().is_none() {
        println!("NOT RUN: this system gives no network namespaces");
        return;
    }
    let pair = Pair::new();
    let (tries, connections, reached) = drilled(&pair, &["--json"], false);
    assert!(!tries.contains("reached") && tries.contains("refused"), "{tries}");
    assert_eq!((connections, reached), (0, 0));
    // The same services, decoy and knocks in this machine's network: all of it can happen.
    let (tries, connections, reached) = drilled(&pair, &[], true);
    assert!(tries.contains("reached"), "{tries}");
    assert!(connections > 0 && reached > 0, "{connections} {reached}");
}

/// Processes that were started with a folder in their variables or arguments.
fn left(folder: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("processes").flatten();
    let tells = |pid: &str, what: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(folder)
    };
    let names = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let numbers = names.filter(|name| name.parse::<u32>().is_ok());
    numbers
        .filter(|pid| tells(pid, "environ") || tells(pid, "cmdline"))
        .collect()
}

#[test]
fn what_a_killed_drill_restored_ends_with_it() {
    let pair = Pair::new();
    let runs = pair.path("runs/drills").display().to_string();
    for after in ["start the restored pair", "prove the clean instances empty"] {
        let mut drill = pair.drill(&[]).stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(drill.stderr.take().expect("piped")).lines();
        let mut seen = false;
        for line in lines.map_while(Result::ok) {
            if line.contains(after) {
                seen = true;
                break;
            }
        }
        assert!(seen, "{after} was not told");
        drill.kill().expect("killed");
        drill.wait().expect("gone");
        let began = Instant::now();
        assert_ends(&run(&mut pair.xtask(&["drill", "--resume"])), 0, "");
        while !left(&runs).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(10), "left: {:?}", left(&runs));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert!(pair.is_running());
}
