//! Stores that are damaged, or written to by somebody who means harm.

use crate::sets::{files, taken};
use crate::{ONE, ONE_ID, folder, in_folder, now, plainly};
use recovery_drills::evidence::sha256;
use recovery_drills_store::layout::PARTS;
use recovery_drills_store::list::list;
use recovery_drills_store::put::put;
use recovery_drills_store::read::{ReadError, restore, verify};
use recovery_drills_store::sealing::seal;
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;

struct Stored {
    run: TempDir,
    parts: Vec<String>,
}

impl Stored {
    async fn new() -> Stored {
        let run = folder();
        let stored = put(&in_folder(run.path()), &taken(run.path(), ONE), &plainly())
            .await
            .expect("stored");
        Stored {
            run,
            parts: stored.index.parts,
        }
    }

    fn part(&self, at: usize) -> PathBuf {
        self.run.path().join("store").join(PARTS).join(&self.parts[at])
    }

    fn index(&self) -> PathBuf {
        self.run.path().join("store/snapshots").join(format!("{ONE_ID}.json"))
    }

    /// Neither verified nor restored, and nothing is left of the attempt.
    async fn refused(&self) -> ReadError {
        let store = in_folder(self.run.path());
        let to = self.run.path().join("new/restored");
        let error = restore(&store, ONE_ID, None, &to).await.expect_err("not restored");
        let left = fs::read_dir(self.run.path().join("new")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{error}");
        verify(&store, ONE_ID, None, now()).await.expect_err("not verified");
        error
    }
}

#[tokio::test]
async fn a_missing_a_cut_and_an_altered_part_are_all_named() {
    let stored = Stored::new().await;
    fs::remove_file(stored.part(0)).expect("removed");
    let bytes = fs::read(stored.part(1)).expect("read");
    fs::write(stored.part(1), &bytes[..bytes.len() - 1]).expect("cut");
    let store = in_folder(stored.run.path());
    let error = verify(&store, ONE_ID, None, now()).await.expect_err("damaged");
    let ReadError::Damaged { problems, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(problems.len(), 2);
    assert!(stored.parts[..2].iter().all(|part| error.to_string().contains(part)));
    stored.refused().await;
}

#[tokio::test]
async fn a_damaged_part_is_sent_again_by_the_next_upload() {
    let stored = Stored::new().await;
    fs::write(stored.part(0), "damaged").expect("written");
    stored.refused().await;
    let other = folder();
    let again = taken(other.path(), "2026-11-24T02:00:00Z");
    put(&in_folder(stored.run.path()), &again, &plainly())
        .await
        .expect("stored");
    verify(&in_folder(stored.run.path()), "2026-11-24T02-00-00-000Z", None, now())
        .await
        .expect("whole");
}

#[tokio::test]
async fn a_part_that_grows_without_end_is_refused() {
    let stored = Stored::new().await;
    let bomb = seal(&vec![0; 64 << 20], None).expect("sealed");
    let name = format!("{}.{}", sha256(b"bomb"), sha256(&bomb));
    fs::write(stored.run.path().join("store").join(PARTS).join(&name), &bomb).expect("written");
    // An index that names it and whose own hash holds.
    let text = fs::read_to_string(stored.index())
        .expect("read")
        .replace(&stored.parts[1], &name);
    fs::write(stored.index(), resealed(&text)).expect("written");
    let error = stored.refused().await;
    assert!(error.to_string().contains("bytes come out of it"), "{error}");
}

#[tokio::test]
async fn an_endless_part_and_an_endless_index_are_not_read_to_their_end() {
    let stored = Stored::new().await;
    fs::write(stored.part(0), vec![0; 1 << 20]).expect("written");
    assert!(stored.refused().await.to_string().contains("1048576 bytes"));
    let file = fs::File::create(stored.index()).expect("created");
    file.set_len(1 << 40).expect("a sparse terabyte");
    assert!(stored.refused().await.to_string().contains("1099511627776 bytes"));
    let listed = list(&in_folder(stored.run.path())).await.expect("listed");
    assert!(listed.len() == 1 && listed[0].index.is_err());
}

#[tokio::test]
async fn an_index_of_garbage_is_damaged_and_listed_as_that() {
    for garbage in [
        "",
        "{",
        "null",
        "[[[[[[[[",
        "{\"format\":\"recovery-drill-stored-snapshot/1\"}",
    ] {
        let stored = Stored::new().await;
        fs::write(stored.index(), garbage).expect("written");
        let error = stored.refused().await;
        assert!(!error.is_usage() && !error.is_unknown(), "{error}");
    }
    let stored = Stored::new().await;
    fs::write(stored.index(), "[".repeat(100_000)).expect("written");
    stored.refused().await;
}

#[tokio::test]
async fn a_part_under_another_content_is_found_where_its_stored_hash_holds() {
    let stored = Stored::new().await;
    let text = fs::read_to_string(stored.index()).expect("read");
    // Two parts exchanged, every hash that a reader without the content can compute again is right.
    let swapped = text
        .replace(&stored.parts[1], "<one>")
        .replace(&stored.parts[2], &stored.parts[1])
        .replace("<one>", &stored.parts[2]);
    fs::write(stored.index(), resealed(&swapped)).expect("written");
    let error = stored.refused().await;
    assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
    assert!(!files(stored.run.path().join("store").as_path()).is_empty());
}

/// The index with its own hash computed again, as somebody who means harm would.
pub(crate) fn resealed(text: &str) -> String {
    let index: recovery_drills_store::layout::Index = serde_json::from_str(text).expect("parsed");
    index.text()
}
