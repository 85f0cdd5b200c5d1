//! Backups that somebody else took: the recorded sets of the real services.

use crate::running::{assert_finding, assert_verdict, change, contents, evidence, perform, recorded, request};
use recovery_drills::evidence::{CheckId, Verdict};
use recovery_drills::snapshot;

async fn the_recorded_set_at_rest_restores_and_stays_untouched() {
    let (mut request, _folder) = request(41);
    let given = recorded("at-rest");
    let before = contents(given.path());
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    assert_eq!(contents(given.path()), before);
    let not_asked: Vec<&str> = evidence.not_asked.iter().map(|one| one.id.as_str()).collect();
    assert!(
        not_asked.contains(&"rpo") && not_asked.contains(&"credentials"),
        "{not_asked:?}"
    );
}

async fn given_keys_re_send_the_recorded_nonces_with_their_senders_signatures() {
    let (mut request, folder) = request(42);
    let given = recorded("at-rest");
    let keys = folder.path().join("keys.json");
    std::fs::rename(given.path().join("keys.json"), &keys).expect("the recorded keys");
    request.from = Some(given.path().to_owned());
    request.keys = Some(keys);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    let nonces = evidence.checks_of(CheckId::Nonces).next().expect("asked");
    assert!(nonces.items >= 10 && nonces.notes.is_empty(), "{nonces:?}");
    assert!(evidence.checks_of(CheckId::Credentials).all(|check| check.items > 0));
}

async fn a_set_of_a_crash_under_load_passes_and_its_unfinished_rows_end_as_predicted() {
    let (mut request, _folder) = request(52);
    let given = recorded("hot-crash");
    let before = contents(given.path());
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Pass);
    assert_eq!(contents(given.path()), before);
    let ends = evidence.checks_of(CheckId::InFlight).next().expect("asked");
    assert_eq!(
        (ends.items, ends.observed.as_str()),
        (172, "2 failed TIMEOUT, 170 queued")
    );
    let start = evidence.checks_of(CheckId::StartupDiff).next().expect("asked");
    for rule in [
        "requeued at start",
        "fail as TIMEOUT",
        "sequences of traces and trust",
        "sqlite_sequence of agent_keys",
    ] {
        assert!(
            start.notes.iter().any(|note| note.contains(rule)),
            "{rule}: {:?}",
            start.notes
        );
    }
}

async fn a_set_on_which_the_directory_cannot_start_fails_and_names_the_intent() {
    let (mut request, _folder) = request(43);
    let given = recorded("bricked");
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::InFlight, "crash-bus-86");
    assert_finding(&evidence, CheckId::Startable, "directory");
}

async fn a_bus_without_its_log_is_no_backup() {
    let (mut request, folder) = request(44);
    let given = recorded("at-rest");
    std::fs::remove_file(given.path().join("beam-bus.sqlite-wal")).expect("removed");
    request.from = Some(given.path().to_owned());
    let ended = perform(request).await;
    let evidence = ended.expect("a set that is there is judged, not refused");
    assert_verdict(&evidence, Verdict::Fail);
    assert!(
        evidence.reasons.iter().any(|reason| reason.contains("beam-bus.sqlite")),
        "{:?}",
        evidence.reasons
    );
    drop(folder);
}

async fn an_unreadable_database_fails() {
    let (mut request, _folder) = request(45);
    let given = recorded("at-rest");
    std::fs::write(given.path().join("beam-directory.db"), b"this is no database at all").expect("written");
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert!(
        evidence
            .reasons
            .iter()
            .any(|reason| reason.contains("beam-directory.db")),
        "{:?}",
        evidence.reasons
    );
}

async fn a_folder_without_a_database_is_a_usage_error_and_leaves_nothing() {
    let (mut request, folder) = request(46);
    let given = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(given.path().join("notes.txt"), b"no backup here").expect("written");
    request.from = Some(given.path().to_owned());
    let runs = request.runs.clone();
    let error = perform(request).await.expect_err("nothing to drill");
    assert!(error.to_string().contains("no directory database"), "{error}");
    let left = std::fs::read_dir(&runs).map_or(0, |entries| entries.flatten().count());
    assert_eq!(left, 0);
    drop(folder);
}

async fn a_snapshot_of_a_drill_can_be_drilled_again_and_its_alteration_is_noticed() {
    let (first, folder) = request(47);
    let runs = first.runs.clone();
    let made = evidence(first).await;
    let set = runs.join(&made.run.id).join("snapshot");
    let (mut again, _other) = request(48);
    again.from = Some(set.clone());
    assert_verdict(&evidence(again).await, Verdict::Pass);
    change(&set.join("beam-directory.db"), "DELETE FROM intent_acls").expect("changed");
    let (mut altered, _third) = request(49);
    altered.from = Some(set.clone());
    assert_verdict(&evidence(altered).await, Verdict::Fail);
    snapshot::reseal(&set).expect("resealed");
    let (mut resealed, _fourth) = request(50);
    resealed.from = Some(set);
    // Without a source nobody can know that the access lists are gone: the question does not arise.
    let resealed = evidence(resealed).await;
    assert!(
        resealed.not_asked.iter().any(|one| one.id == "acl"),
        "{:?}",
        resealed.not_asked
    );
    drop(folder);
}

async fn a_garbage_manifest_fails() {
    let (mut request, _folder) = request(51);
    let given = recorded("at-rest");
    std::fs::write(given.path().join("manifest.json"), b"{ not json").expect("written");
    request.from = Some(given.path().to_owned());
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert!(
        evidence.reasons.iter().any(|reason| reason.contains("manifest")),
        "{:?}",
        evidence.reasons
    );
}

/// Whether a bus whose directory is said to be on this machine reaches it, in a drill with real data or with the harness's own.
async fn reaches_this_machine(seed: u64, real_data: bool) -> bool {
    let listener = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let outward = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Sends nothing; it is asked which of this machine's addresses leads outward.
    outward.connect("192.0.2.1:9").expect("this machine has an address");
    let address = outward.local_addr().expect("an address").ip();
    let (mut request, _folder) = request(seed);
    let settings = &mut request.environment.bus;
    settings
        .env
        .insert("DIRECTORY_URL".to_owned(), format!("http://{address}:{port}"));
    let given = recorded("at-rest");
    request.from = real_data.then(|| given.path().to_owned());
    listener.set_nonblocking(true).expect("set");
    // What comes of the drill does not matter here: its bus has no directory.
    let _ = perform(request).await.map(|performed| performed.verdict);
    listener.accept().is_ok()
}

async fn containers_with_real_data_reach_nobody_and_those_with_our_own_do() {
    assert!(!reaches_this_machine(45, true).await, "real data got out");
    assert!(
        reaches_this_machine(46, false).await,
        "the decoy cannot be reached at all"
    );
}

crate::drills! {
    both: [
        the_recorded_set_at_rest_restores_and_stays_untouched,
        given_keys_re_send_the_recorded_nonces_with_their_senders_signatures,
        a_set_of_a_crash_under_load_passes_and_its_unfinished_rows_end_as_predicted,
        a_set_on_which_the_directory_cannot_start_fails_and_names_the_intent,
        a_bus_without_its_log_is_no_backup,
        an_unreadable_database_fails,
        a_snapshot_of_a_drill_can_be_drilled_again_and_its_alteration_is_noticed,
        a_garbage_manifest_fails,
    ],
    process: [
        a_folder_without_a_database_is_a_usage_error_and_leaves_nothing,
    ],
    container: [
        containers_with_real_data_reach_nobody_and_those_with_our_own_do,
    ],
}
