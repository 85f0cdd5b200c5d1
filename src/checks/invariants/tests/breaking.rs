//! For each rule a change of the recorded at-rest set that breaks it.

use crate::checks::invariants::rules;
use crate::checks::invariants::tests::unseeded::CHANGES as MORE;
use crate::checks::invariants::tests::{alone, at_rest};
use crate::deployment::Service;
use crate::snapshot::recorded;
use std::collections::BTreeSet;
use std::fs;

const DIRECTORY: Service = Service::Directory;
const BUS: Service = Service::Bus;

/// Rule, whose file, statements that break it.
const CHANGES: &[(&str, Service, &str)] = &[
    (
        "F05",
        BUS,
        "PRAGMA secure_delete=OFF; DELETE FROM beam_messages WHERE nonce='bus-echo-5'",
    ),
    (
        "S01",
        BUS,
        "DROP TABLE beam_messages; CREATE TABLE t (x); PRAGMA writable_schema=ON; UPDATE sqlite_schema SET rootpage=900",
    ),
    (
        "S02",
        DIRECTORY,
        "PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name='idx_agents_org'",
    ),
    (
        "S03",
        DIRECTORY,
        "UPDATE workspace_threads SET workspace_id=77 WHERE id=1",
    ),
    (
        "S04",
        BUS,
        "DROP INDEX idx_beam_nonce; CREATE INDEX idx_beam_nonce ON beam_messages(nonce)",
    ),
    ("S05", BUS, "PRAGMA user_version=7"),
    (
        "S06",
        DIRECTORY,
        "ANALYZE; UPDATE sqlite_stat1 SET stat='9999 1' WHERE tbl='waitlist'",
    ),
    (
        "S07",
        DIRECTORY,
        "PRAGMA ignore_check_constraints=ON; UPDATE workspaces SET status='gone' WHERE id=1",
    ),
    (
        "T01",
        DIRECTORY,
        "UPDATE agents SET display_name=CAST(display_name AS BLOB) WHERE rowid=1",
    ),
    (
        "T02",
        DIRECTORY,
        "UPDATE agents SET display_name=display_name || char(0) || 'x' WHERE rowid=1",
    ),
    (
        "T03",
        DIRECTORY,
        "UPDATE agents SET last_seen=replace(last_seen, 'Z', '+00:00') WHERE rowid=1",
    ),
    (
        "T04",
        DIRECTORY,
        "UPDATE audit_log SET timestamp='2026-11-25T00:00:00.000Z' WHERE id=25",
    ),
    (
        "T05",
        DIRECTORY,
        "UPDATE audit_log SET details=replace(details, ':', ': ') WHERE id=25",
    ),
    ("T06", DIRECTORY, "UPDATE agents SET visibility='hidden' WHERE rowid=1"),
    ("T07", DIRECTORY, "UPDATE orgs SET api_key_hash=upper(api_key_hash)"),
    ("T08", DIRECTORY, "UPDATE intent_log SET error_code='' WHERE id=1"),
    (
        "Q01",
        DIRECTORY,
        "UPDATE sqlite_sequence SET seq=3 WHERE name='audit_log'",
    ),
    ("Q02", DIRECTORY, "DELETE FROM waitlist WHERE id=4"),
    ("Q03", DIRECTORY, "DELETE FROM audit_log WHERE id=13"),
    (
        "Q05",
        DIRECTORY,
        "UPDATE audit_log SET timestamp='2026-11-23T23:29:46.000Z' WHERE id=13",
    ),
    ("Q06", BUS, "DELETE FROM beam_messages WHERE nonce='bus-echo-1'"),
    (
        "Q07",
        DIRECTORY,
        "UPDATE usage_metering SET intent_count=intent_count+1, relayed_count=relayed_count+1 WHERE id=1",
    ),
    (
        "K01",
        DIRECTORY,
        "UPDATE agents SET public_key=(SELECT public_key FROM agents WHERE rowid=2) WHERE rowid=1",
    ),
    (
        "K02",
        DIRECTORY,
        "UPDATE agent_keys SET revoked_at=created_at WHERE id=1",
    ),
    (
        "K03",
        DIRECTORY,
        "DELETE FROM agents WHERE beam_id='ops@acme.beam.directory'",
    ),
    (
        "K04",
        DIRECTORY,
        "UPDATE agent_keys SET created_at=created_at-3600000 WHERE id=1",
    ),
    (
        "K05",
        DIRECTORY,
        "UPDATE agents SET public_key=replace(public_key, 'MCow', 'MCox') WHERE rowid=1",
    ),
    (
        "K06",
        DIRECTORY,
        "UPDATE did_documents SET document=replace(document, 'active', 'revoked') WHERE rowid=1",
    ),
    ("K07", DIRECTORY, "UPDATE agents SET org='globex' WHERE rowid=1"),
    ("K08", DIRECTORY, "UPDATE agents SET trust_score=0.9 WHERE rowid=1"),
    (
        "K09",
        DIRECTORY,
        "UPDATE agents SET verified=1, trust_score=0.8 WHERE rowid=3",
    ),
    (
        "K10",
        DIRECTORY,
        "UPDATE verification_tokens SET expires_at=expires_at+3600000 WHERE rowid=1",
    ),
    ("K11", DIRECTORY, "UPDATE agents SET shield_config=NULL"),
    (
        "K12",
        DIRECTORY,
        "UPDATE agents SET last_seen='2026-11-23T23:29:40.000Z' WHERE rowid=1",
    ),
    (
        "K13",
        DIRECTORY,
        "UPDATE agents SET api_key_hash=(SELECT api_key_hash FROM agents WHERE rowid=1) WHERE rowid=2",
    ),
    ("K14", DIRECTORY, "UPDATE agents SET api_key_hash=NULL WHERE rowid=1"),
    (
        "I01",
        DIRECTORY,
        "DELETE FROM intent_trace_events WHERE nonce='drill-ws-1'",
    ),
    ("I02", DIRECTORY, "DELETE FROM intent_log WHERE nonce='drill-ws-1'"),
    (
        "I03",
        DIRECTORY,
        "UPDATE intent_trace_events SET from_beam_id='ops@acme.beam.directory' WHERE id=10",
    ),
    (
        "I04",
        DIRECTORY,
        "UPDATE intent_trace_events SET stage='acked', status='acked' WHERE id=8",
    ),
    (
        "I05",
        DIRECTORY,
        "UPDATE intent_log SET status='acked' WHERE nonce='drill-offline-1'",
    ),
    (
        "I06",
        DIRECTORY,
        "UPDATE intent_log SET requested_at='2026-11-23T23:29:45.364Z' WHERE id=1",
    ),
    ("I07", DIRECTORY, "UPDATE intent_log SET result_json=NULL WHERE id=1"),
    (
        "I08",
        DIRECTORY,
        "UPDATE intent_log SET completed_at='2026-11-23T23:29:49.977Z' WHERE id=1",
    ),
    (
        "I09",
        DIRECTORY,
        "UPDATE intent_log SET round_trip_latency_ms=1 WHERE id=1",
    ),
    (
        "I10",
        DIRECTORY,
        "UPDATE intent_log SET result_json=replace(result_json, '\"success\":true', '\"success\":false') WHERE id=1",
    ),
    (
        "I11",
        DIRECTORY,
        "UPDATE intent_log SET result_json=replace(result_json, '\"payload\":{\"', '\"payload\":{\"_') WHERE id=1",
    ),
    (
        "I12",
        DIRECTORY,
        "UPDATE intent_trace_events SET details=replace(details, 'hopCount', 'hops') WHERE id=1",
    ),
    ("I13", DIRECTORY, "DELETE FROM intent_trace_events WHERE id=73"),
    (
        "I14",
        DIRECTORY,
        "UPDATE intent_trace_events SET timestamp='2026-11-23T23:29:40.000Z' WHERE id=13",
    ),
    (
        "I15",
        DIRECTORY,
        "DELETE FROM agents WHERE beam_id='recv@northwind.beam.directory'",
    ),
    ("I16", DIRECTORY, "UPDATE intent_log SET id=99 WHERE id=3"),
    (
        "I17",
        DIRECTORY,
        "CREATE TABLE new AS SELECT * FROM intent_log; DROP TABLE intent_log; ALTER TABLE new RENAME TO intent_log; \
         INSERT INTO intent_log SELECT * FROM intent_log WHERE id=1",
    ),
    (
        "H01",
        DIRECTORY,
        "UPDATE shield_audit_log SET sender_beam_id='ops@acme.beam.directory' WHERE nonce='drill-echo-2'",
    ),
    (
        "H02",
        DIRECTORY,
        "UPDATE shield_audit_log SET nonce='drill-echo-77' WHERE nonce='drill-echo-2'",
    ),
    (
        "H03",
        DIRECTORY,
        "UPDATE shield_audit_log SET risk_score=7.5 WHERE nonce='drill-echo-2'",
    ),
    (
        "H04",
        BUS,
        "UPDATE beam_messages SET payload=replace(payload, '10', '19') WHERE nonce='bus-echo-1'",
    ),
    (
        "H05",
        DIRECTORY,
        "UPDATE intent_log SET result_json=replace(result_json, 'Berlin', 'Bremen') WHERE nonce='drill-echo-quote'",
    ),
    (
        "H06",
        DIRECTORY,
        "UPDATE usage_metering SET intent_count=2, relayed_count=2 WHERE id=1",
    ),
    (
        "H07",
        DIRECTORY,
        "UPDATE sqlite_sequence SET seq=99 WHERE name='shield_audit_log'",
    ),
    ("H09", DIRECTORY, "UPDATE rate_limits SET count=0 WHERE rowid=1"),
    (
        "H11",
        DIRECTORY,
        "UPDATE trust_scores SET last_updated='2026-11-23T23:29:40.000Z'",
    ),
    (
        "B01",
        BUS,
        "UPDATE beam_messages SET status='queued' WHERE nonce='bus-echo-3'",
    ),
    ("B02", BUS, "UPDATE beam_messages SET created_at=created_at*1000"),
    (
        "B03",
        BUS,
        "UPDATE beam_messages SET max_retries=1 WHERE nonce='bus-echo-3'",
    ),
    (
        "B04",
        BUS,
        "UPDATE beam_messages SET next_retry_at=next_retry_at+60 WHERE nonce='bus-queued-1'",
    ),
    (
        "B05",
        BUS,
        "UPDATE beam_messages SET nonce=NULL WHERE nonce='bus-echo-3'",
    ),
    (
        "B06",
        BUS,
        "UPDATE beam_messages SET nonce='bus-echo-33' WHERE nonce='bus-echo-3'",
    ),
    (
        "B07",
        DIRECTORY,
        "UPDATE intent_log SET status='acked' WHERE nonce='bus-queued-1'",
    ),
    (
        "B08",
        BUS,
        "UPDATE beam_messages SET delivered_at=delivered_at+300 WHERE nonce='bus-echo-3'",
    ),
    (
        "B09",
        BUS,
        "UPDATE beam_messages SET error='another' WHERE nonce='bus-queued-1'",
    ),
    (
        "B10",
        BUS,
        "UPDATE beam_messages SET status='queued', retry_count=0, next_retry_at=failed_at WHERE nonce='bus-dead-1'",
    ),
    (
        "B11",
        BUS,
        "UPDATE beam_messages SET intent='no.such' WHERE nonce='bus-echo-3'",
    ),
    ("B12", BUS, "DROP TABLE beam_messages; CREATE TABLE other (x)"),
    (
        "B13",
        BUS,
        "UPDATE beam_messages SET created_at=created_at-3600 WHERE nonce='bus-echo-4'",
    ),
    ("R01", DIRECTORY, "DELETE FROM operator_notifications"),
    (
        "R02",
        DIRECTORY,
        "UPDATE operator_notifications SET href='/beta-requests?id=9' WHERE id=1",
    ),
    (
        "R03",
        DIRECTORY,
        "UPDATE operator_notifications SET status='new', acted_at=NULL WHERE id=1",
    ),
    ("R04", DIRECTORY, "UPDATE waitlist SET company='Alpha KG' WHERE id=1"),
    ("R05", DIRECTORY, "UPDATE waitlist SET status='contacted' WHERE id=1"),
    (
        "R06",
        DIRECTORY,
        "UPDATE waitlist SET stage_entered_at='2026-11-23T23:29:47.900Z' WHERE id=1",
    ),
    (
        "R07",
        DIRECTORY,
        "UPDATE waitlist SET created_at='2026-11-23T22:29:47.860Z' WHERE id=1",
    ),
    (
        "R08",
        DIRECTORY,
        "UPDATE waitlist SET email='ops@alpha.example' WHERE id=2",
    ),
    (
        "R09",
        DIRECTORY,
        "UPDATE waitlist SET proof_intent_nonce='drill-none' WHERE id=1",
    ),
    (
        "R10",
        DIRECTORY,
        "UPDATE operator_notifications SET status='acknowledged', acted_at=NULL WHERE id=1",
    ),
    ("W01", DIRECTORY, "UPDATE workspaces SET slug='acme-other' WHERE id=1"),
    (
        "W02",
        DIRECTORY,
        "UPDATE workspaces SET external_handoffs_enabled=0 WHERE id=1",
    ),
    (
        "W03",
        DIRECTORY,
        "UPDATE workspace_identity_bindings SET can_initiate_external=0 WHERE id=1",
    ),
    (
        "W04",
        DIRECTORY,
        "UPDATE workspace_partner_channels SET status='active' WHERE id=2",
    ),
    ("W05", DIRECTORY, "DELETE FROM workspace_thread_participants"),
    (
        "W06",
        DIRECTORY,
        "UPDATE workspace_threads SET linked_intent_nonce=NULL WHERE id=2",
    ),
    (
        "W07",
        DIRECTORY,
        "UPDATE workspace_thread_participants SET workspace_binding_id=2 WHERE id=1",
    ),
    (
        "W08",
        DIRECTORY,
        "UPDATE workspace_policies SET policy_json='{\"version\":1}' WHERE workspace_id=1",
    ),
    ("A01", DIRECTORY, "UPDATE admin_magic_links SET used=0"),
    (
        "A02",
        DIRECTORY,
        "UPDATE admin_sessions SET expires_at='2099-12-31T23:59:59.000Z'",
    ),
    (
        "A03",
        DIRECTORY,
        "UPDATE directory_roles SET directory_url=directory_url || '/'",
    ),
    ("A04", DIRECTORY, "DELETE FROM shield_policies"),
    (
        "A05",
        DIRECTORY,
        "UPDATE audit_log SET actor='eve@beam.local' WHERE id=14",
    ),
    (
        "A06",
        DIRECTORY,
        "UPDATE audit_log SET action='admin.workspace.deleted' WHERE id=14",
    ),
    ("A07", DIRECTORY, "UPDATE orgs SET verified=1"),
    (
        "A08",
        DIRECTORY,
        "UPDATE openclaw_fleet_digest_schedules SET run_hour_utc=30",
    ),
    (
        "A09",
        DIRECTORY,
        "UPDATE reports SET target_beam_id='nobody@acme.beam.directory'",
    ),
    (
        "A10",
        DIRECTORY,
        "UPDATE orgs SET created_at='2026-11-23T22:00:00.000Z'",
    ),
    (
        "A11",
        DIRECTORY,
        "UPDATE intent_acls SET allowed_from='Sender' WHERE id=1",
    ),
    (
        "A12",
        DIRECTORY,
        "UPDATE intent_acls SET intent_type='agent.ping' WHERE id IN (1, 2)",
    ),
];

/// Why the rule is not broken in this folder; `None` if it is.
fn held(folder: &tempfile::TempDir, rule: &str) -> Option<String> {
    let said = alone(folder.path());
    let named = said
        .findings
        .iter()
        .any(|finding| finding.subject.starts_with(&format!("{rule} ")));
    let names: BTreeSet<&str> = said.findings.iter().map(|finding| &finding.subject[..3]).collect();
    (!named).then(|| format!("{rule} holds; broken: {names:?}, not checked: {:?}", said.relaxed))
}

#[test]
fn each_rule_about_rows_is_broken_by_a_change() {
    let mut unbroken = Vec::new();
    for (rule, service, sql) in CHANGES.iter().chain(MORE) {
        let folder = at_rest();
        recorded::alter(&recorded::file(&folder, *service), sql);
        unbroken.extend(held(&folder, rule));
    }
    assert!(unbroken.is_empty(), "{unbroken:#?}");
}

#[test]
fn each_rule_about_files_is_broken_by_a_change() {
    let folder = at_rest();
    fs::remove_file(folder.path().join("beam-bus.sqlite")).expect("removed");
    assert_eq!(None, held(&folder, "F01"));

    let folder = at_rest();
    let path = folder.path().join("beam-bus.sqlite");
    let mut bytes = fs::read(&path).expect("read");
    bytes[0] = b'X';
    fs::write(&path, bytes).expect("written");
    assert_eq!(None, held(&folder, "F02"));

    let folder = recorded::at_rest();
    let path = folder.path().join("beam-bus.sqlite-wal");
    let mut bytes = fs::read(&path).expect("read");
    bytes[24] ^= 0xff;
    fs::write(&path, bytes).expect("written");
    assert_eq!(None, held(&folder, "F03"));

    let folder = at_rest();
    fs::write(folder.path().join("beam-bus.sqlite-journal"), b"journal").expect("written");
    assert_eq!(None, held(&folder, "F04"));
}

#[test]
fn no_rule_is_without_a_change_that_breaks_it() {
    let tried: BTreeSet<&str> = CHANGES
        .iter()
        .chain(MORE)
        .map(|(rule, ..)| *rule)
        .chain(["F01", "F02", "F03", "F04"])
        .collect();
    let untried: Vec<&str> = rules()
        .map(|rule| rule.name)
        .filter(|name| !tried.contains(name))
        .collect();
    assert!(untried.is_empty(), "{untried:?}");
}
