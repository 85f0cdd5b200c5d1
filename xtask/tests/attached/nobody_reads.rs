//! Whoever reads what a drill says may go away while the source is stopped: the drill goes on.

use crate::pair::Pair;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

#[test]
fn a_reader_that_goes_away_while_the_source_is_stopped_changes_nothing() {
    let pair = Pair::new();
    let mut drill = pair.drill(&[]).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(drill.stderr.take().expect("piped")).lines();
    let stopped = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("stop the source"));
    assert!(stopped, "the source was stopped");
    // Every further line meets a broken pipe.
    drop(lines);
    let ended = drill.wait().expect("it ends");
    assert_eq!(ended.code(), Some(0), "{ended}");
    assert!(pair.is_running());
    assert_eq!(pair.held(), 0);
    let report = std::fs::read_to_string(pair.path("here/reports/1.0.0-recovery-drill.md")).expect("a report");
    assert!(report.contains("| send old nonces again | done |"), "{report}");
}
