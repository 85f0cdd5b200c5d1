//! `issue`: one issue for scheduled drills that fail: opened, commented, and closed by the next one that passes.

use crate::exit::ExitCode;
use crate::refuse;
use recovery_drills::cadence::collect::collect;
use recovery_drills::evidence::Verdict;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What the issue is found by.
const LABEL: &str = "recovery-drill";
const TITLE: &str = "A scheduled recovery drill did not pass";

/// Flags of `issue`.
#[derive(clap::Args)]
#[command(
    after_help = "Calls gh, which reads GH_TOKEN and GH_REPO.\n\nExample:\n  cargo xtask issue --result failure --evidence downloaded"
)]
pub(crate) struct Options {
    /// How the jobs ended
    #[arg(long, value_parser = ["success", "failure", "cancelled", "skipped"])]
    result: String,
    /// Folders of runs, whose newest evidence is told
    #[arg(long, value_name = "DIR")]
    evidence: Vec<PathBuf>,
}

/// Opens, comments or closes.
pub(crate) fn run(options: &Options) -> ExitCode {
    match told(options) {
        Ok(line) => {
            eprintln!("{line}");
            ExitCode::Pass
        }
        Err(message) => refuse(ExitCode::Inconclusive, &message),
    }
}

fn told(options: &Options) -> Result<String, String> {
    // Somebody's own issue may bear the label: ours has the title too.
    let ours = format!(".[] | select(.title == {TITLE:?}) | .number");
    let found = gh(&[
        "issue",
        "list",
        "--label",
        LABEL,
        "--state",
        "open",
        "--limit",
        "50",
        "--json",
        "number,title",
        "--jq",
        &ours,
    ])?;
    let open = found.lines().next().map(str::trim).filter(|number| !number.is_empty());
    let body = body(options);
    match (options.result.as_str(), open) {
        ("success", None) => Ok("the drill passed and no issue is open".to_owned()),
        ("success", Some(number)) => {
            gh(&["issue", "close", number, "--comment", &body])?;
            Ok(format!("issue {number} closed"))
        }
        (_, Some(number)) => {
            gh(&["issue", "comment", number, "--body", &body])?;
            Ok(format!("issue {number} commented"))
        }
        (_, None) => {
            gh(&[
                "label",
                "create",
                LABEL,
                "--force",
                "--description",
                "Scheduled recovery drills",
            ])?;
            let url = gh(&["issue", "create", "--title", TITLE, "--label", LABEL, "--body", &body])?;
            Ok(format!("issue opened: {}", url.trim()))
        }
    }
}

/// What the issue says: how it ended, what the newest evidence is, where to look.
fn body(options: &Options) -> String {
    let mut text = match options.result.as_str() {
        "success" => "The scheduled recovery drill passed again.\n".to_owned(),
        "failure" => "The scheduled recovery drill did not pass.\n".to_owned(),
        other => format!("The scheduled recovery drill was {other}, so nothing is proven.\n"),
    };
    let all = collect(&options.evidence);
    if all.is_empty() {
        text.push_str("\nNo evidence was left.\n");
    }
    let mut met = BTreeSet::new();
    // The newest of each kind and environment.
    for found in all
        .iter()
        .filter(|found| met.insert((&found.items, &found.proof.environments)))
    {
        let proof = &found.proof;
        let word = if proof.verdict == Verdict::Pass {
            "passed"
        } else {
            "did not pass"
        };
        let of = match proof.environments.as_slice() {
            [] => String::new(),
            names => format!(" of {}", names.join(", ")),
        };
        let titles: Vec<&str> = found.items.iter().map(|item| item.title()).collect();
        text.push_str(&format!(
            "\n- {}{of} {word} ({}): {}, run `{}`",
            titles.join(" or "),
            proof.verdict,
            proof.summary.replace(['\n', '`'], " "),
            proof.run
        ));
    }
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let (Some(server), Some(repository), Some(run)) = (
        variable("GITHUB_SERVER_URL"),
        variable("GITHUB_REPOSITORY"),
        variable("GITHUB_RUN_ID"),
    ) {
        text.push_str(&format!("\n\n{server}/{repository}/actions/runs/{run}"));
    }
    text
}

fn gh(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("gh").args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run gh: {error}; install GitHub's command line"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "gh {} {} ended with {}: {}; does GH_TOKEN allow to write issues?",
        arguments[0],
        arguments[1],
        output.status,
        said.trim()
    ))
}
