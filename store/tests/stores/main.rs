//! Stores on a folder and on a server that speaks S3, which is killed in the midst of an upload and comes back.

mod apart;
mod hostile;
mod serving;
mod sets;

use recovery_drills::evidence::sha256;
use recovery_drills_store::access::AccessError;
use recovery_drills_store::address::parse;
use recovery_drills_store::client::Patience;
use recovery_drills_store::layout::{LayoutError, PARTS};
use recovery_drills_store::list::list;
use recovery_drills_store::objects::Store;
use recovery_drills_store::prune::{self, PruneError};
use recovery_drills_store::put::{How, PutError, Stored, put};
use recovery_drills_store::read::{ReadError, resolve, restore, verify};
use recovery_drills_store::retention::Retention;
use recovery_drills_store::sealing::{Lock, Opener};
use serving::{BUCKET, Lives, SECRET, Server};
use sets::{files, taken, taken_later};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const ONE: &str = "2026-11-22T02:00:00Z";
const ONE_ID: &str = "2026-11-22T02-00-00-000Z";
const TWO: &str = "2026-11-23T02:00:00Z";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn now() -> jiff::Timestamp {
    "2026-11-23T03:00:00Z".parse().expect("a time")
}

fn plainly() -> How {
    How {
        lock: None,
        naming_secret: None,
        salt: "salt-of-the-test".to_owned(),
        now: now(),
    }
}

fn impatient() -> Patience {
    Patience {
        retries: 1,
        limit: Duration::from_secs(1),
    }
}

fn in_folder(folder: &Path) -> Store {
    let address = parse(&format!("file:{}", folder.join("store").display())).expect("an address");
    Store::prepare(&address).expect("made");
    Store::open(&address, Vec::new(), Patience::default()).expect("opened")
}

fn on_server(server: &Server, secret: &str) -> Store {
    let address = parse(&format!("s3://{BUCKET}/beam/production")).expect("an address");
    Store::open(&address, server.variables(secret), impatient()).expect("opened")
}

fn age_pair() -> (Lock, Opener, String) {
    use age::secrecy::ExposeSecret as _;
    let identity = age::x25519::Identity::generate();
    let secret = identity.to_string().expose_secret().to_owned();
    let lock = Lock::parse(&identity.to_public().to_string()).expect("a recipient");
    (lock, Opener::parse(&secret).expect("an identity"), secret)
}

/// Every text of an error, its causes too.
fn whole_text(error: &dyn std::error::Error) -> String {
    let mut text = format!("{error} {error:?}");
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!("\n{cause} {cause:?}"));
        next = cause.source();
    }
    text
}

/// Everything that lies in a store.
async fn everything(store: &Store) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    for folder in ["", PARTS, "snapshots", "verified", "uploads", "prunings"] {
        let listed = store.names(folder).await.expect("listed");
        all.extend(
            listed
                .into_iter()
                .map(|one| (format!("{folder}/{}", one.name), one.bytes)),
        );
    }
    all
}

async fn comes_back(store: &Store, stored: &Stored, snapshot: &Path, opener: Option<&Opener>) {
    let to = folder();
    let to = to.path().join("restored");
    restore(store, &stored.index.id, opener, &to).await.expect("restored");
    assert_eq!(files(&to), files(snapshot));
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&to), 0o700);
    assert!(files(&to).keys().all(|name| mode(&to.join(name)) == 0o600));
    let again = restore(store, &stored.index.id, opener, &to).await;
    assert!(matches!(again, Err(ReadError::Exists { .. })), "{again:?}");
}

#[tokio::test]
async fn a_snapshot_comes_back_from_a_server_as_it_was() {
    let run = folder();
    let server = Server::on(&run.path().join("s3")).await;
    let store = on_server(&server, SECRET);
    let snapshot = taken(run.path(), ONE);
    let stored = put(&store, &snapshot, &plainly()).await.expect("stored");
    assert_eq!(stored.index.id, ONE_ID);
    assert_eq!(stored.sent, stored.index.parts.len());
    let listed = list(&store).await.expect("listed");
    assert!(listed.len() == 1 && listed[0].was_whole());
    let whole = verify(&store, ONE_ID, None, now()).await.expect("whole");
    assert!(whole.opened && whole.untold.is_none());
    comes_back(&store, &stored, &snapshot, None).await;
}

#[tokio::test]
async fn a_folder_is_a_store_that_only_its_owner_can_read() {
    let run = folder();
    let store = in_folder(run.path());
    let snapshot = taken(run.path(), ONE);
    let stored = put(&store, &snapshot, &plainly()).await.expect("stored");
    comes_back(&store, &stored, &snapshot, None).await;
    let at = run.path().join("store");
    let mode = std::fs::metadata(at.join(PARTS).join(&stored.index.parts[0]))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&at, std::fs::Permissions::from_mode(0o755)).expect("opened");
    let refused = Store::prepare(&parse(&at.display().to_string()).expect("an address"));
    assert!(
        matches!(refused, Err(AccessError::Open { mode: 0o755, .. })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn parts_that_are_there_are_not_sent_again() {
    let run = folder();
    let server = Server::on(&run.path().join("s3")).await;
    let store = on_server(&server, SECRET);
    let first = put(&store, &taken(run.path(), ONE), &plainly()).await.expect("stored");
    let second = put(&store, &taken_later(run.path(), TWO), &plainly())
        .await
        .expect("stored");
    // The manifest and the bus's file are others; the directory's is the same.
    assert!(
        second.sent < second.index.parts.len(),
        "{} of {}",
        second.sent,
        second.index.parts.len()
    );
    let shared = second
        .index
        .parts
        .iter()
        .filter(|part| first.index.parts.contains(part))
        .count();
    assert!(shared > 0 && shared + second.sent == second.index.parts.len());
    assert_eq!(list(&store).await.expect("listed").len(), 2);
}

#[tokio::test]
async fn an_upload_whose_server_dies_is_never_listed_and_goes_on_where_it_stopped() {
    let run = folder();
    let served = run.path().join("s3");
    let snapshot = taken(run.path(), ONE);
    let parts_of_it = {
        let whole = put(&in_folder(run.path()), &snapshot, &plainly())
            .await
            .expect("stored");
        whole.index.parts.len()
    };
    let mut at = "127.0.0.1:0".parse().expect("an address");
    let (mut parts, mut deaths) = (0, 0);
    while deaths == 0 || parts < parts_of_it {
        // The first dies at the mark; then each lets a part or two through; the last dies at the index.
        let dies_after = if deaths == 0 { 1 } else { 2 };
        let server = Server::at(&served, at, Lives::after_writes(dies_after)).await;
        let error = put(&on_server(&server, SECRET), &snapshot, &plainly())
            .await
            .expect_err("the server died");
        assert!(!whole_text(&error).contains(SECRET));
        at = server.died().await;
        deaths += 1;
        let server = Server::at(&served, at, Lives::on()).await;
        let store = on_server(&server, SECRET);
        assert!(list(&store).await.expect("listed").is_empty(), "after {deaths} deaths");
        let asked = resolve(&store, None).await;
        assert!(matches!(asked, Err(ReadError::NoSnapshot { .. })), "{asked:?}");
        let before = std::mem::replace(&mut parts, store.names(PARTS).await.expect("listed").len());
        assert!(parts >= before && deaths < 12, "{before}, then {parts} parts");
        server.stop().await;
    }
    assert!(deaths >= 3);
    let server = Server::at(&served, at, Lives::after_writes(1)).await;
    put(&on_server(&server, SECRET), &snapshot, &plainly())
        .await
        .expect_err("the server died at the index");
    at = server.died().await;
    let server = Server::at(&served, at, Lives::on()).await;
    let store = on_server(&server, SECRET);
    let stored = put(&store, &snapshot, &plainly()).await.expect("stored");
    assert_eq!(stored.sent, 0, "all parts were there");
    comes_back(&store, &stored, &snapshot, None).await;
}

#[tokio::test]
async fn wrong_credentials_are_refused_in_words_that_hold_no_secret() {
    let run = folder();
    let server = Server::on(&run.path().join("s3")).await;
    let wrong = "another-secret-of-the-test/+2";
    let store = on_server(&server, wrong);
    let error = put(&store, &taken(run.path(), ONE), &plainly())
        .await
        .expect_err("refused");
    let refused = matches!(
        &error,
        PutError::Layout(LayoutError::Access(AccessError::Refused { .. }))
    );
    assert!(refused, "{error:?}");
    let text = whole_text(&error);
    assert!(text.contains("AWS_SECRET_ACCESS_KEY") && !text.contains(wrong) && !text.contains(SECRET));
    let asked = resolve(&store, None).await.expect_err("refused");
    assert!(asked.is_usage() && !whole_text(&asked).contains(wrong));
}

#[tokio::test]
async fn a_server_that_is_gone_is_told_from_a_store_that_is_empty() {
    let run = folder();
    let server = Server::on(&run.path().join("s3")).await;
    let store = on_server(&server, SECRET);
    let empty = resolve(&store, None).await.expect_err("empty");
    assert!(empty.is_usage() && !empty.is_unknown(), "{empty}");
    server.stop().await;
    let gone = resolve(&store, None).await.expect_err("gone");
    assert!(gone.is_unknown(), "{gone:?}");
}

#[tokio::test]
async fn encrypted_parts_need_no_key_to_be_taken_checked_and_pruned_and_tell_nothing() {
    let run = folder();
    let store = in_folder(run.path());
    let (lock, opener, secret) = age_pair();
    let how = How {
        lock: Some(lock),
        ..plainly()
    };
    let snapshot = taken(run.path(), ONE);
    let stored = put(&store, &snapshot, &how).await.expect("stored");
    let checked = verify(&store, ONE_ID, None, now()).await.expect("whole");
    assert!(!checked.opened);
    assert!(
        verify(&store, ONE_ID, Some(&opener), now())
            .await
            .expect("whole")
            .opened
    );
    comes_back(&store, &stored, &snapshot, Some(&opener)).await;
    let locked = restore(&store, ONE_ID, None, &run.path().join("x"))
        .await
        .expect_err("locked");
    assert!(locked.is_usage(), "{locked}");
    let (_, other, _) = age_pair();
    let locked = restore(&store, ONE_ID, Some(&other), &run.path().join("x"))
        .await
        .expect_err("locked");
    assert!(locked.is_usage() && !whole_text(&locked).contains(&secret));
    // Neither a content's hash nor a word of a schema, in names or in bytes.
    let contents: Vec<String> = files(&snapshot)
        .values()
        .flat_map(|bytes| {
            bytes
                .chunks(256 << 10)
                .map(sha256)
                .chain([sha256(bytes)])
                .collect::<Vec<_>>()
        })
        .collect();
    for name in [PARTS, "snapshots", "uploads", "verified"] {
        let Ok(entries) = std::fs::read_dir(run.path().join("store").join(name)) else {
            continue;
        };
        for entry in entries.flatten() {
            let text = format!(
                "{} {}",
                entry.file_name().display(),
                String::from_utf8_lossy(&std::fs::read(entry.path()).expect("read"))
            );
            let tells = contents.iter().any(|hash| text.contains(hash)) || text.contains("intent_log");
            assert!(!tells, "{}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn encrypted_snapshots_share_parts_only_where_the_taking_machine_has_a_secret() {
    let run = folder();
    let store = in_folder(run.path());
    let (lock, ..) = age_pair();
    let mut how = How {
        lock: Some(lock),
        ..plainly()
    };
    let (one, two) = (taken(run.path(), ONE), taken_later(run.path(), TWO));
    put(&store, &one, &how).await.expect("stored");
    let second = put(&store, &two, &how).await.expect("stored");
    assert_eq!(second.sent, second.index.parts.len());
    how.naming_secret = Some("a secret of the taking machine".to_owned());
    let third = taken(run.path(), "2026-11-24T02:00:00Z");
    put(&store, &third, &how).await.expect("stored");
    let fourth = put(&store, &taken_later(run.path(), "2026-11-25T02:00:00Z"), &how)
        .await
        .expect("stored");
    assert!(fourth.sent < fourth.index.parts.len());
}

#[tokio::test]
async fn what_retention_does_not_keep_is_removed_with_the_parts_that_nobody_else_names() {
    let run = folder();
    let store = in_folder(run.path());
    put(&store, &taken(run.path(), ONE), &plainly()).await.expect("stored");
    let second = put(&store, &taken_later(run.path(), TWO), &plainly())
        .await
        .expect("stored");
    let last = Retention {
        last: 1,
        ..Retention::default()
    };
    let before = everything(&store).await;
    assert!(before.len() > 6);
    let plan = prune::plan(&store, &last, now()).await.expect("planned");
    assert_eq!(plan.removed().collect::<Vec<_>>(), [ONE_ID]);
    assert!(!plan.parts.is_empty() && plan.bytes() > 0);
    assert_eq!(everything(&store).await, before, "a plan changes nothing");
    prune::prune(&store, &last, now()).await.expect("pruned");
    let parts: Vec<String> = store
        .names(PARTS)
        .await
        .expect("listed")
        .into_iter()
        .map(|listed| listed.name)
        .collect();
    let mut expected = second.index.parts.clone();
    expected.sort();
    assert_eq!(parts, expected);
    verify(&store, &second.index.id, None, now()).await.expect("whole");
    let nothing = prune::prune(&store, &Retention::default(), now()).await;
    assert!(matches!(nothing, Err(PruneError::NoRule)), "{nothing:?}");
}

#[tokio::test]
async fn the_last_verified_snapshot_is_kept_whatever_the_rules_say() {
    let run = folder();
    let store = in_folder(run.path());
    put(&store, &taken(run.path(), ONE), &plainly()).await.expect("stored");
    let second = put(&store, &taken_later(run.path(), TWO), &plainly())
        .await
        .expect("stored");
    let own = second.index.parts.iter().find(|part| {
        let one = std::fs::read_to_string(run.path().join(format!("store/snapshots/{ONE_ID}.json"))).expect("read");
        !one.contains(part.as_str())
    });
    std::fs::write(
        run.path()
            .join("store")
            .join(PARTS)
            .join(own.expect("a part of its own")),
        "damaged",
    )
    .expect("written");
    let damaged = verify(&store, &second.index.id, None, now())
        .await
        .expect_err("damaged");
    assert!(!damaged.is_usage() && !damaged.is_unknown(), "{damaged}");
    let last = Retention {
        last: 1,
        ..Retention::default()
    };
    let plan = prune::prune(&store, &last, now()).await.expect("pruned");
    assert_eq!(plan.removed().count(), 0, "{:?}", plan.fates);
    assert_eq!(plan.fates[0].kept, ["the last verified"]);
    verify(&store, ONE_ID, None, now()).await.expect("whole");
}

#[tokio::test]
async fn no_part_is_removed_while_an_upload_may_need_it() {
    let run = folder();
    let served = run.path().join("s3");
    let server = Server::at(
        &served,
        "127.0.0.1:0".parse().expect("an address"),
        Lives::after_writes(5),
    )
    .await;
    put(&on_server(&server, SECRET), &taken(run.path(), ONE), &plainly())
        .await
        .expect_err("the server died");
    let server = Server::at(&served, server.died().await, Lives::on()).await;
    let store = on_server(&server, SECRET);
    let last = Retention {
        last: 1,
        ..Retention::default()
    };
    let plan = prune::prune(&store, &last, now()).await.expect("pruned");
    assert!(plan.spared.is_some() && plan.parts.is_empty());
    let parts = store.names(PARTS).await.expect("listed").len();
    assert!(parts > 0);
    older(&served.join(BUCKET).join("beam/production/uploads"), 25);
    let plan = prune::prune(&store, &last, now()).await.expect("pruned");
    assert!(plan.spared.is_none() && plan.parts.len() == parts);
    assert!(store.names(PARTS).await.expect("listed").is_empty());
    assert!(store.names("uploads").await.expect("listed").is_empty());
}

/// Makes all marks in a folder look so many hours older, by the store's clock.
fn older(folder: &Path, hours: u64) {
    let entries = std::fs::read_dir(folder).expect("listed").flatten();
    let mut count = 0;
    for entry in entries.filter(|entry| entry.path().is_file()) {
        let file = std::fs::File::options().write(true).open(entry.path()).expect("opened");
        let then = std::time::SystemTime::now() - Duration::from_secs(hours * 3_600);
        file.set_modified(then).expect("set");
        count += 1;
    }
    assert!(count > 0, "nothing in {}", folder.display());
}

#[tokio::test]
async fn nothing_is_stored_while_somebody_prunes_and_a_pruning_that_was_broken_off_is_forgotten() {
    let run = folder();
    let store = in_folder(run.path());
    let snapshot = taken(run.path(), ONE);
    // A clock of the other machine that is days off does not matter.
    let mark = b"{\"since\":\"2020-01-01T00:00:00Z\"}".to_vec();
    store.write("prunings/1.json", mark).await.expect("marked");
    let refused = put(&store, &snapshot, &plainly()).await;
    assert!(matches!(refused, Err(PutError::Pruning { .. })), "{refused:?}");
    assert!(store.names("uploads").await.expect("listed").is_empty());
    older(&run.path().join("store/prunings"), 2);
    put(&store, &snapshot, &plainly()).await.expect("stored");
}
