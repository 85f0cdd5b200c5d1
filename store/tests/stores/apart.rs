//! Several at once, other recipients, odd names, many objects: what a store keeps apart.

use crate::serving::{BUCKET, Lives, SECRET, Server};
use crate::sets::{files, taken, taken_later};
use crate::{ONE, ONE_ID, TWO, age_pair, comes_back, folder, in_folder, now, on_server, plainly, whole_text};
use recovery_drills_store::access::AccessError;
use recovery_drills_store::address::parse;
use recovery_drills_store::client::Patience;
use recovery_drills_store::layout::{LayoutError, PARTS};
use recovery_drills_store::list::list;
use recovery_drills_store::objects::Store;
use recovery_drills_store::prune::prune;
use recovery_drills_store::put::{How, PutError, put};
use recovery_drills_store::read::{resolve, restore, verify};
use recovery_drills_store::retention::Retention;
use std::fs;

#[tokio::test]
async fn what_is_encrypted_to_another_recipient_is_not_taken_for_the_same() {
    let run = folder();
    let store = in_folder(run.path());
    let ((old, ..), (new, opener, _)) = (age_pair(), age_pair());
    let to = |lock| How {
        lock: Some(lock),
        naming_secret: Some("a secret of the taking machine".to_owned()),
        ..plainly()
    };
    put(&store, &taken(run.path(), ONE), &to(old)).await.expect("stored");
    let snapshot = taken(run.path(), TWO);
    let second = put(&store, &snapshot, &to(new)).await.expect("stored");
    assert_eq!(second.sent, second.index.parts.len());
    comes_back(&store, &second, &snapshot, Some(&opener)).await;
}

#[tokio::test]
async fn two_uploads_of_one_snapshot_at_once_make_one_snapshot() {
    let run = folder();
    let server = Server::on(&run.path().join("s3")).await;
    let store = on_server(&server, SECRET);
    let snapshot = taken(run.path(), ONE);
    let how = plainly();
    let (one, two) = tokio::join!(put(&store, &snapshot, &how), put(&store, &snapshot, &how));
    let stored = one.expect("stored");
    two.expect("the same snapshot, stored");
    assert_eq!(list(&store).await.expect("listed").len(), 1);
    verify(&store, ONE_ID, None, now()).await.expect("whole");
    comes_back(&store, &stored, &snapshot, None).await;
    assert!(store.names("uploads").await.expect("listed").is_empty());
}

#[tokio::test]
async fn more_objects_than_a_server_lists_at_once_are_all_seen() {
    let run = folder();
    let served = run.path().join("s3");
    let server = Server::on(&served).await;
    let store = on_server(&server, SECRET);
    let snapshot = taken(run.path(), ONE);
    let first = put(&store, &snapshot, &plainly()).await.expect("stored");
    let parts = served.join(BUCKET).join("beam/production/parts");
    for number in 0..2_100 {
        // Sorted before every real part: these fill the first pages.
        fs::write(parts.join(format!("{number:064}.{number:064}")), "x").expect("written");
    }
    let listed = store.names(PARTS).await.expect("listed");
    assert_eq!(listed.len(), 2_100 + first.index.parts.len());
    let second = put(&store, &taken_later(run.path(), TWO), &plainly())
        .await
        .expect("stored");
    assert!(second.sent < second.index.parts.len());
    let all = Retention {
        last: 9,
        ..Retention::default()
    };
    assert_eq!(prune(&store, &all, now()).await.expect("pruned").parts.len(), 2_100);
    verify(&store, &second.index.id, None, now()).await.expect("whole");
}

#[tokio::test]
async fn the_answer_to_the_index_that_was_lost_is_told_as_that_and_nothing_is_stored_twice() {
    let run = folder();
    let served = run.path().join("s3");
    let snapshot = taken(run.path(), ONE);
    let server = Server::on(&run.path().join("counting")).await;
    put(&on_server(&server, SECRET), &snapshot, &plainly())
        .await
        .expect("stored");
    let at = "127.0.0.1:0".parse().expect("an address");
    let lives = Lives::losing_the_answer_after(server.writes() - 1);
    let server = Server::at(&served, at, lives).await;
    let unknown = put(&on_server(&server, SECRET), &snapshot, &plainly()).await;
    assert!(matches!(unknown, Err(PutError::Unconfirmed { .. })), "{unknown:?}");
    let server = Server::at(&served, server.died().await, Lives::on()).await;
    let store = on_server(&server, SECRET);
    let again = put(&store, &snapshot, &plainly())
        .await
        .expect("it is this very snapshot");
    assert_eq!(again.sent, 0);
    assert_eq!(list(&store).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_told_from_an_empty_one() {
    let run = folder();
    let server = Server::on(&run.path().join("s3")).await;
    let address = parse("s3://nowhere/beam").expect("an address");
    let store = Store::open(&address, server.variables(SECRET), crate::impatient()).expect("opened");
    let error = put(&store, &taken(run.path(), ONE), &plainly())
        .await
        .expect_err("refused");
    let PutError::Layout(LayoutError::Access(error)) = error else {
        panic!("{error:?}")
    };
    assert!(
        matches!(error, AccessError::NoBucket { .. }) && error.is_usage(),
        "{error}"
    );
}

#[tokio::test]
async fn a_store_that_may_only_be_read_is_verified_and_takes_nothing() {
    let run = folder();
    let served = run.path().join("s3");
    let server = Server::on(&served).await;
    let snapshot = taken(run.path(), ONE);
    put(&on_server(&server, SECRET), &snapshot, &plainly())
        .await
        .expect("stored");
    let at = "127.0.0.1:0".parse().expect("an address");
    let store = on_server(&Server::at(&served, at, Lives::read_only()).await, SECRET);
    let whole = verify(&store, ONE_ID, None, now()).await.expect("whole");
    assert!(whole.untold.is_some_and(|why| why.contains("refused access")));
    let refused = put(&store, &taken_later(run.path(), TWO), &plainly())
        .await
        .expect_err("refused");
    assert!(
        matches!(refused, PutError::Access(AccessError::Refused { .. })),
        "{refused:?}"
    );
    assert!(!whole_text(&refused).contains(SECRET));
}

#[tokio::test]
async fn odd_names_of_prefix_and_folder_are_taken_as_they_stand() {
    let run = folder();
    let served = run.path().join("s3");
    let server = Server::on(&served).await;
    let odd = "ops team/100%25 é+a&b=c";
    let address = parse(&format!("s3://{BUCKET}/{odd}")).expect("an address");
    let store = Store::open(&address, server.variables(SECRET), crate::impatient()).expect("opened");
    let snapshot = taken(run.path(), ONE);
    let stored = put(&store, &snapshot, &plainly()).await.expect("stored");
    assert!(served.join(BUCKET).join(odd).join("snapshots").is_dir());
    comes_back(&store, &stored, &snapshot, None).await;
    let named = run.path().join("a store #1 %25 é");
    let address = parse(&named.display().to_string()).expect("an address");
    Store::prepare(&address).expect("made");
    let store = Store::open(&address, Vec::new(), Patience::default()).expect("opened");
    let stored = put(&store, &snapshot, &plainly()).await.expect("stored");
    comes_back(&store, &stored, &snapshot, None).await;
}

#[tokio::test]
async fn what_else_lies_among_the_indexes_is_no_snapshot() {
    let run = folder();
    let store = in_folder(run.path());
    put(&store, &taken(run.path(), ONE), &plainly()).await.expect("stored");
    let indexes = run.path().join("store/snapshots");
    fs::create_dir(indexes.join("older")).expect("made");
    for name in [
        "zzz.json",
        "2026-11-22T02-00-00-000Z.json.bak",
        "older/2027-01-01T00-00-00-000Z.json",
    ] {
        fs::copy(indexes.join(format!("{ONE_ID}.json")), indexes.join(name)).expect("copied");
    }
    assert_eq!(resolve(&store, None).await.expect("resolved"), ONE_ID);
    // One that has the form of an index and is none is shown, so that somebody looks after it.
    let ids: Vec<String> = list(&store)
        .await
        .expect("listed")
        .into_iter()
        .map(|entry| entry.id)
        .collect();
    assert_eq!(ids, [ONE_ID, "zzz"]);
}

#[tokio::test]
async fn a_verification_does_not_speak_for_another_index_in_its_place() {
    let run = folder();
    let store = in_folder(run.path());
    put(&store, &taken(run.path(), ONE), &plainly()).await.expect("stored");
    verify(&store, ONE_ID, None, now()).await.expect("whole");
    assert!(list(&store).await.expect("listed")[0].was_whole());
    let index = run.path().join("store/snapshots").join(format!("{ONE_ID}.json"));
    let text = fs::read_to_string(&index)
        .expect("read")
        .replace("\"taken_at\": \"2026", "\"taken_at\": \"2027");
    fs::write(&index, crate::hostile::resealed(&text)).expect("written");
    let listed = list(&store).await.expect("listed");
    assert!(listed[0].checked.is_none() && !listed[0].was_whole());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named_with_the_cause() {
    let run = folder();
    let store = in_folder(run.path());
    fs::write(
        run.path().join("store/parts"),
        "a file where the folder of parts should be",
    )
    .expect("written");
    let error = put(&store, &taken(run.path(), ONE), &plainly())
        .await
        .expect_err("refused");
    let text = whole_text(&error);
    assert!(
        text.contains("store/parts") && text.contains("check free space and permissions"),
        "{text}"
    );
    assert!(list(&store).await.expect("listed").is_empty());
}

#[tokio::test]
async fn what_killed_writes_left_in_a_folder_is_swept_when_it_is_old() {
    let run = folder();
    let store = in_folder(run.path());
    let stored = put(&store, &taken(run.path(), ONE), &plainly()).await.expect("stored");
    let parts = run.path().join("store/parts");
    let left = |number: u32| parts.join(format!("{}#{number}", stored.index.parts[0]));
    fs::write(left(1), "half").expect("written");
    fs::write(left(2), "half").expect("written");
    let file = fs::File::options().write(true).open(left(1)).expect("opened");
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3_600))
        .expect("set");
    let keep = Retention {
        last: 1,
        ..Retention::default()
    };
    prune(&store, &keep, now()).await.expect("pruned");
    assert!(!left(1).exists() && left(2).exists());
    verify(&store, ONE_ID, None, now()).await.expect("whole");
}

#[tokio::test]
async fn a_restore_leaves_nothing_where_it_could_not_end() {
    let run = folder();
    let store = in_folder(run.path());
    let snapshot = taken(run.path(), ONE);
    put(&store, &snapshot, &plainly()).await.expect("stored");
    let to = run.path().join("new/restored");
    restore(&store, ONE_ID, None, &to).await.expect("restored");
    assert_eq!(files(&to), files(&snapshot));
    let beside = fs::read_dir(run.path().join("new")).expect("listed").count();
    assert_eq!(beside, 1);
}
