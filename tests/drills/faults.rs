//! Faults as the proof of the checks: each changes one thing, and the drill must name it.

use crate::recording::Performed;
use crate::running::{assert_finding, assert_verdict, change, evidence, on_snapshot, request};
use recovery_drills::deployment::Service;
use recovery_drills::drills::stages::{Acted, Reached, Stages};
use recovery_drills::evidence::{CheckId, Verdict};
use recovery_drills::faults::fault::{Control, ControlAction};
use recovery_drills::runtime::engine::Mount;

const DIRECTORY: &str = "beam-directory.db";
const BUS: &str = "beam-bus.sqlite";

async fn with_snapshot_changed(seed: u64, file: &'static str, sql: &'static str) -> Performed {
    let (mut request, _folder) = request(seed);
    request.stages = on_snapshot(file, sql);
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    evidence
}

async fn a_lost_agent_is_named_by_content_and_agents() {
    let sql = "DELETE FROM agents WHERE beam_id = (SELECT min(beam_id) FROM agents)";
    let evidence = with_snapshot_changed(21, DIRECTORY, sql).await;
    assert_finding(&evidence, CheckId::Content, "agents[beam_id=");
    assert_finding(&evidence, CheckId::Agents, "agent ");
}

async fn a_lost_trace_row_is_named_by_content_and_traces() {
    let sql = "DELETE FROM intent_trace_events WHERE id = (SELECT min(id) FROM intent_trace_events WHERE stage = 'dispatched')";
    let evidence = with_snapshot_changed(22, DIRECTORY, sql).await;
    assert_finding(&evidence, CheckId::Content, "intent_trace_events[id=");
    assert_finding(&evidence, CheckId::Traces, "intent drill-22-");
}

async fn a_lost_nonce_is_named_by_content_traces_and_nonces() {
    let sql = "DELETE FROM intent_log WHERE id = (SELECT min(id) FROM intent_log WHERE status = 'acked')";
    let evidence = with_snapshot_changed(23, DIRECTORY, sql).await;
    assert_finding(&evidence, CheckId::Content, "intent_log[");
    assert_finding(&evidence, CheckId::Traces, "intent drill-23-");
    assert_finding(&evidence, CheckId::Nonces, "drill-23-");
}

async fn a_lost_bus_message_is_named_by_content_bus_and_nonces() {
    let sql = "DELETE FROM beam_messages WHERE id = (SELECT min(id) FROM beam_messages WHERE status = 'acked')";
    let evidence = with_snapshot_changed(24, BUS, sql).await;
    assert_finding(&evidence, CheckId::Content, "beam_messages[id=");
    assert_finding(&evidence, CheckId::Bus, "message drill-24-");
    assert_finding(&evidence, CheckId::Nonces, "drill-24-");
    assert_finding(&evidence, CheckId::Rpo, "drill-24-");
}

async fn a_lost_note_of_a_beta_request_is_named_by_content_and_requests() {
    let sql = "UPDATE waitlist SET operator_notes = NULL WHERE id = (SELECT min(id) FROM waitlist WHERE operator_notes IS NOT NULL)";
    let evidence = with_snapshot_changed(25, DIRECTORY, sql).await;
    assert_finding(&evidence, CheckId::Content, "waitlist[id=");
    assert_finding(&evidence, CheckId::Requests, "operatorNotes");
}

async fn a_dropped_nonce_index_is_named_by_schema() {
    let sql = "DROP INDEX idx_beam_nonce; UPDATE beam_messages SET priority = priority + 1 WHERE id = (SELECT min(id) FROM beam_messages)";
    let evidence = with_snapshot_changed(26, BUS, sql).await;
    assert_finding(&evidence, CheckId::Schema, "idx_beam_nonce");
}

async fn a_bus_log_dropped_from_the_raw_set_fails() {
    let (mut request, _folder) = request(27);
    request.stages = Stages::acting(|reached| match reached {
        Reached::Set { folder, .. } => {
            std::fs::remove_file(folder.join("beam-bus.sqlite-wal")).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::SnapshotSet, "snapshot");
}

async fn an_altered_snapshot_that_was_not_resealed_is_not_restored() {
    let (mut request, _folder) = request(28);
    request.stages = Stages::acting(|reached| match reached {
        Reached::Snapshot { folder } => change(&folder.join(DIRECTORY), "UPDATE agents SET trust_score = 0.1"),
        _ => Ok(()),
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::SnapshotSet, DIRECTORY);
    assert_finding(&evidence, CheckId::Content, "agents[beam_id=");
}

async fn a_stale_log_beside_the_restored_file_is_named() {
    let (mut request, _folder) = request(29);
    request.stages = Stages::acting(|reached| match reached {
        Reached::RestoredFiles { databases } => {
            let wal = format!("{}-wal", databases[0].display());
            std::fs::write(wal, b"left over").map_err(|error| error.to_string())
        }
        _ => Ok(()),
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::RestoredFiles, "-wal");
}

async fn a_source_that_changes_after_its_stop_is_named_by_polarity() {
    let (mut request, _folder) = request(30);
    let source = std::sync::Mutex::new(None);
    request.stages = Stages::acting(move |reached| {
        let mut known = source.lock().map_err(|error| error.to_string())?;
        match reached {
            Reached::Source { databases, .. } => *known = Some(databases[0].clone()),
            Reached::RestoredFiles { .. } => {
                if let Some(path) = known.as_deref() {
                    change(path, "UPDATE agents SET description = 'written after the stop'")?;
                }
            }
            _ => {}
        }
        Ok(())
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::Polarity, DIRECTORY);
    assert_eq!(evidence.polarity.proven, Some(false));
}

async fn an_unpredicted_change_by_the_start_is_named_by_startup_diff() {
    let (mut request, _folder) = request(31);
    request.mount = Mount::Bind;
    request.stages = Stages::acting(|reached| match reached {
        Reached::Running { databases, .. } => change(&databases[0], "UPDATE workspaces SET description = 'repaired'"),
        _ => Ok(()),
    });
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::StartupDiff, "workspaces");
    assert_finding(&evidence, CheckId::Workspaces, "workspace ");
}

async fn a_directory_killed_before_the_looks_fails_in_bounded_time() {
    let (mut request, _folder) = request(32);
    request.stages = Stages::altering(|reached| {
        let mut acted = Acted::default();
        if matches!(reached, Reached::Running { .. }) {
            acted.control.push(Control {
                service: Service::Directory,
                action: ControlAction::Kill.name().to_owned(),
            });
        }
        Ok(acted)
    });
    let began = std::time::Instant::now();
    let evidence = evidence(request).await;
    assert_verdict(&evidence, Verdict::Fail);
    assert_finding(&evidence, CheckId::Stability, "directory process");
    assert!(began.elapsed().as_secs() < 60, "it took {:?}", began.elapsed());
}

crate::drills! {
    both: [
        a_lost_agent_is_named_by_content_and_agents,
        a_lost_trace_row_is_named_by_content_and_traces,
        a_lost_nonce_is_named_by_content_traces_and_nonces,
        a_lost_bus_message_is_named_by_content_bus_and_nonces,
        a_lost_note_of_a_beta_request_is_named_by_content_and_requests,
        a_dropped_nonce_index_is_named_by_schema,
        a_bus_log_dropped_from_the_raw_set_fails,
        an_altered_snapshot_that_was_not_resealed_is_not_restored,
        a_stale_log_beside_the_restored_file_is_named,
        a_source_that_changes_after_its_stop_is_named_by_polarity,
        an_unpredicted_change_by_the_start_is_named_by_startup_diff,
        a_directory_killed_before_the_looks_fails_in_bounded_time,
    ],
    process: [],
}
