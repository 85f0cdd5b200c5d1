//! A whole test run, for a terminal and as Markdown.
//!
//! What was skipped, aborted or not as expected is named in full before anything that passed.

use crate::evidence::{TestRecord, TestRun, TestStarted, UnexplainedEnding, Verdict};
use crate::report::markdown::{self, cell, code, text};
use std::fmt::Write as _;

/// One row of the table: test, runtime, expected, verdict, milliseconds.
type Row = [String; 5];

const HEADER: [&str; 5] = ["test", "runtime", "expected", "verdict", "ms"];

/// Table, counts and what was not as it should be, without colours.
#[must_use]
pub fn lines(run: &TestRun) -> String {
    let rows = rows(run);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([HEADER[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..HEADER.len()).map(width).collect();
    let mut out = String::new();
    let header = HEADER.map(str::to_owned);
    for row in std::iter::once(&header).chain(&rows) {
        let [test, runtime, expected, verdict, ms] = row;
        let _ = writeln!(
            out,
            "{test:<0$}  {runtime:<1$}  {expected:<2$}  {verdict:<3$}  {ms:>4$}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
    }
    out.push('\n');
    for (what, detail) in notable(run) {
        let _ = writeln!(out, "{what}: {detail}");
    }
    let _ = writeln!(out, "test run {}: {} — {}", run.id, run.verdict, counts(run));
    out
}

/// The report of a test run: what it came to, the report of the drill that stands for each runtime, all tests.
#[must_use]
pub fn render(run: &TestRun) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "# Recovery drills under test: {}\n",
        run.verdict.word().to_uppercase()
    );
    let _ = writeln!(out, "Test run `{}` · {}\n", code(&run.id), counts(run));
    let notable = notable(run);
    for (what, detail) in &notable {
        let _ = writeln!(out, "- **{what}**: {}", text(detail));
    }
    if !notable.is_empty() {
        out.push('\n');
    }
    let stands_for_it = run.representative();
    if stands_for_it.is_empty() {
        out.push_str("No drill of this run was meant to pass without a fault: nothing is proven of any recovery.\n");
    } else {
        out.push_str(
            "Below: for each runtime the last drill without a fault, then all tests. Tests drill in temporary folders, so \
             the snapshots named here are gone.\n",
        );
    }
    for evidence in stands_for_it {
        let _ = write!(out, "\n{}", markdown::render(evidence, &evidence.digest()));
    }
    let _ = writeln!(
        out,
        "\n# All tests of the run\n\n| {} |\n|---|---|---|---|---|",
        HEADER.join(" | ")
    );
    for row in rows(run) {
        let _ = writeln!(out, "| {} |", row.map(|value| cell(&value)).join(" | "));
    }
    out
}

fn rows(run: &TestRun) -> Vec<Row> {
    let recorded = run.records.iter().map(|record| {
        let bad = if record.as_expected == Some(false) { " (!)" } else { "" };
        [
            record.of.to_string(),
            record.runtime.clone().unwrap_or_else(|| "–".to_owned()),
            record.expected.map_or("–", Verdict::word).to_owned(),
            format!("{}{bad}", record.outcome()),
            record.duration_ms.to_string(),
        ]
    });
    let unended = |word: &'static str| {
        move |started: &TestStarted| {
            let none = || "–".to_owned();
            [
                started.of.to_string(),
                started.runtime.clone(),
                none(),
                word.to_owned(),
                none(),
            ]
        }
    };
    let mut rows: Vec<Row> = recorded
        .chain(run.aborted.iter().map(unended("aborted (!)")))
        .chain(run.under_way.iter().map(unended("under way (!)")))
        .collect();
    rows.sort_by(|one, other| one[0].cmp(&other[0]));
    rows
}

/// What was not as expected, aborted, under way, skipped or not recorded: the word and the drill with its cause.
fn notable(run: &TestRun) -> Vec<(&'static str, String)> {
    let with_reason = |record: &TestRecord| match &record.reason {
        Some(reason) => format!("{}: {reason}", record.of),
        None => record.of.to_string(),
    };
    let failed = run
        .not_as_expected()
        .map(|record| ("NOT AS EXPECTED", with_reason(record)));
    let aborted = run.aborted.iter().map(|started| {
        let detail = format!("{}: began at {}, left no record", started.of, started.started_at);
        ("ABORTED", detail)
    });
    let under_way = run.under_way.iter().map(|started| {
        let detail = format!("{}: began at {}, its test still runs", started.of, started.started_at);
        ("UNDER WAY", detail)
    });
    let skipped = run.skipped().map(|record| ("SKIPPED", with_reason(record)));
    let mut all: Vec<(&'static str, String)> = failed.chain(aborted).chain(under_way).chain(skipped).collect();
    for (ending, what) in [
        (UnexplainedEnding::Failed, "FAILED, which no record says"),
        (UnexplainedEnding::Passed, "passed without a drill of its own"),
        (UnexplainedEnding::LeftOut, "left out by nextest"),
    ] {
        let tests = run.unexplained.iter().filter(|test| test.ending == ending);
        let names: Vec<&str> = tests.map(|test| test.test.as_str()).collect();
        if !names.is_empty() {
            all.push((what, names.join(", ")));
        }
    }
    all
}

fn counts(run: &TestRun) -> String {
    format!(
        "{} as expected, {} not as expected, {} skipped, {} aborted, {} under way",
        run.as_expected().count(),
        run.not_as_expected().count(),
        run.skipped().count(),
        run.aborted.len(),
        run.under_way.len()
    )
}
