//! Changes that break the rules of tables which the recorded at-rest set leaves empty: each adds a row that cannot be.

use crate::deployment::Service;

/// Rule, whose file, statements that break it.
pub(super) const CHANGES: &[(&str, Service, &str)] = &[
    (
        "O01",
        Service::Directory,
        "INSERT INTO openclaw_policy_packs (pack_key, label, policy_json, created_at, updated_at) VALUES ('p', 'P', '{}', \
         '2026-11-23T20:00:00.000Z', '2026-11-23T19:59:59.000Z')",
    ),
    (
        "O02",
        Service::Directory,
        "INSERT INTO domain_verifications (beam_id, domain, challenge_token, status, created_at) SELECT beam_id, 'x.invalid', \
         'x', 'verified', '1795476586000.0' FROM agents LIMIT 1",
    ),
    (
        "O03",
        Service::Directory,
        "INSERT INTO federated_trust VALUES ('a@b.beam.directory', 'https://x.invalid', 'https://x.invalid', 0.5, 1.5, 1, \
         '2026-11-23T20:00:00.000Z')",
    ),
    (
        "O04",
        Service::Directory,
        "INSERT INTO org_agents (org_name, agent_name, beam_id, display_name, public_key, created_at, updated_at) SELECT \
         name, 'clerk', 'clark@' || name || '.beam.directory', 'C', (SELECT public_key FROM agents LIMIT 1), created_at, \
         created_at FROM orgs LIMIT 1",
    ),
    (
        "O05",
        Service::Directory,
        "INSERT INTO openclaw_host_enrollment_requests (id, request_key, created_at, updated_at) VALUES \
         (1, 'a', '2026-11-23T20:00:00.000Z', '2026-11-23T20:00:00.000Z'), \
         (2, 'b', '2026-11-23T20:00:00.000Z', '2026-11-23T20:00:00.000Z'); \
         INSERT INTO openclaw_hosts (id, host_key, enrollment_request_id, hostname, os, connector_version, \
         beam_directory_url, created_at, updated_at) VALUES (1, 'h', 1, 'h', 'linux', '1', 'http://127.0.0.1:9', \
         '2026-11-23T20:00:00.000Z', '2026-11-23T20:00:00.000Z'); \
         UPDATE openclaw_host_enrollment_requests SET claimed_host_id=1, claimed_at=created_at WHERE id=2",
    ),
    (
        "O06",
        Service::Directory,
        "INSERT INTO openclaw_fleet_digest_runs (trigger_kind, generated_at, summary_json, action_items_json, \
         escalation_items_json, markdown, created_at) VALUES ('manual', '2026-11-23T20:00:00.000Z', '{}', '[]', '[]', '', \
         '2026-11-23T20:00:00.000Z'); \
         INSERT INTO openclaw_fleet_digest_deliveries (run_id, delivery_kind, recipient_email, status, delivered_at) VALUES \
         (1, 'digest', 'a@b.example', 'delivered', '2026-11-23T19:00:00.000Z')",
    ),
];
