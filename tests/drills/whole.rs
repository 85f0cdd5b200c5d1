//! Faults that need a whole drill: of the source's life, by a user's own few lines.

use crate::running::request;
use recovery_drills::drills::context::{DrillRequest, Quiet};
use recovery_drills::drills::detection::{self, Campaign};
use recovery_drills::drills::score::{FaultResult, Score};
use recovery_drills::evidence::CheckId;
use recovery_drills::faults::catalogue::Catalogue;
use std::path::Path;

const HEAD: &str = "group = \"mine\"\ntitle = \"t\"\nservice = \"directory\"\nstage = \"source\"\n";

async fn score_of(faults: &[(&str, &str)]) -> Score {
    let (request, _folder) = request(41);
    score_on(request, faults).await
}

async fn score_on(request: DrillRequest, faults: &[(&str, &str)]) -> Score {
    let tables = faults
        .iter()
        .map(|(id, keys)| format!("[[fault]]\nid = \"{id}\"\n{HEAD}{keys}\n"));
    let campaign = Campaign {
        request,
        catalogue: Catalogue::parse(&tables.collect::<String>(), Path::new("mine.toml")).expect("faults"),
        clean_runs: 0,
        jobs: 2,
        at_rest: false,
        random: 0,
    };
    detection::run(&campaign, &Quiet).await.expect("run")
}

async fn an_ending_or_no_check_named_is_looked_for_in_a_whole_drill() {
    let (request, _folder) = request(42);
    let text = r#"
[[fault]]
id = "unsealed"
service = "directory"
stage = "snapshot"
reseal = false
sql = ["UPDATE waitlist SET source = 'elsewhere'"]
expect = "refused"

[[fault]]
id = "folder-in-place-of-the-log"
stage = "restored-files"
command = ["sh", "-c", 'mkdir "$DIRECTORY_DB-wal"']

[[benign]]
id = "vacuumed"
service = "bus"
stage = "snapshot"
sql = ["VACUUM"]
"#;
    let campaign = Campaign {
        request,
        catalogue: Catalogue::parse(text, Path::new("mine.toml")).expect("faults"),
        clean_runs: 0,
        jobs: 2,
        at_rest: false,
        random: 0,
    };
    let score = detection::run(&campaign, &Quiet).await.expect("run");
    let refused = named(&score, "unsealed");
    assert!(refused.detected && refused.booted, "{refused:?}");
    assert!(named(&score, "folder-in-place-of-the-log").detected);
    assert!(!score.benign[0].alarmed && score.benign[0].error.is_none());
}

fn named<'a>(score: &'a Score, id: &str) -> &'a FaultResult {
    score.faults.iter().find(|fault| fault.id == id).expect("a result")
}

async fn a_change_of_the_live_source_after_the_baseline_is_caught() {
    let sql = "sql = [\"DELETE FROM intent_acls WHERE id = (SELECT min(id) FROM intent_acls)\"]\ncaught_by = [\"acl\"]";
    let script = "test -n \"$BUS_DB$BUS_URL$BUS_PID$DIRECTORY_DB$DIRECTORY_URL\" && kill -STOP \"$DIRECTORY_PID\" && \
                  kill -CONT \"$DIRECTORY_PID\" && chmod 0604 \"$DIRECTORY_DB\"";
    let command = format!("command = [\"sh\", \"-c\", '{script}']\ncaught_by = []");
    let score = score_of(&[("live-row-lost", sql), ("live-file-opened-up", &command)]).await;
    let caught = named(&score, "live-row-lost");
    assert!(caught.detected && caught.booted, "{caught:?}");
    assert!(caught.caught_by.contains(&CheckId::Rpo), "{caught:?}");
    // The program found everything that it asks for; that a mode is not copied is for no check to say.
    assert_eq!(named(&score, "live-file-opened-up").error, None);
}

async fn a_fault_of_the_source_that_does_nothing_or_fails_is_an_error_of_the_fault() {
    let score = score_of(&[
        ("nothing", "sql = [\"UPDATE agents SET flagged = flagged\"]"),
        ("no-such-table", "sql = [\"DELETE FROM no_such_table\"]"),
        ("fails", "command = [\"sh\", \"-c\", \"echo no such file >&2; exit 4\"]"),
    ])
    .await;
    for (id, told) in [
        ("nothing", "changed nothing"),
        ("no-such-table", "no such table"),
        ("fails", "exit code 4"),
    ] {
        let result = named(&score, id);
        let error = result.error.clone().unwrap_or_default();
        assert!(!result.detected && error.contains(told), "{id}: {result:?}");
    }
}

async fn a_second_instance_is_started_with_the_environments_own_command() {
    let (mut request, _folder) = request(42);
    let services = request.reference_services.clone().expect("built").display().to_string();
    let script = format!("echo started by a script of its own; exec {services} directory");
    request.environment.directory.command = ["/bin/sh", "-c", &script].map(str::to_owned).to_vec();
    let keys = "hook = \"second-instance\"\ncaught_by = [\"polarity\", \"startup-diff\"]";
    let score = score_on(request, &[("second", keys)]).await;
    let second = named(&score, "second");
    assert!(second.detected && second.error.is_none(), "{second:?}");
}

crate::drills! {
    both: [
        an_ending_or_no_check_named_is_looked_for_in_a_whole_drill,
        a_change_of_the_live_source_after_the_baseline_is_caught,
    ],
    process: [
        a_fault_of_the_source_that_does_nothing_or_fails_is_an_error_of_the_fault,
        a_second_instance_is_started_with_the_environments_own_command,
    ],
}
