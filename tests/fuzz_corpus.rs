//! The saved corpus of the fuzzer, held against the same claims without a fuzzer: what it once found stays found.

use std::path::Path;

#[path = "../fuzz/claims.rs"]
mod claims;

fn replay(target: &str, least: usize, claim: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the corpus is listed")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    assert!(
        files.len() >= least,
        "{} inputs of {target}, a saved corpus has more",
        files.len()
    );
    for file in files {
        let data = std::fs::read(&file).expect("an input is read");
        println!("{}", file.display());
        claim(&data);
    }
}

#[test]
fn claims_about_manifests_hold_for_the_corpus() {
    replay("manifest", 8, claims::manifest);
}

#[test]
fn claims_about_environments_hold_for_the_corpus() {
    replay("environment", 12, claims::environment);
}

#[test]
fn claims_about_schemas_hold_for_the_corpus() {
    replay("schema", 9, claims::schema);
}

#[test]
fn claims_about_bundles_hold_for_the_corpus() {
    replay("bundle", 6, claims::bundle);
}
