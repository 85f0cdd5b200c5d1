-- Ballast: rows for every table of the directory that the HTTP seed leaves empty, so that every fault finds something.
-- Each statement is for one table and ends with ";" at the end of a line. Parameters: see ballast.rs. Rows are inert:
-- hosts and routes revoked, the peer inactive, targets and schedule disabled, addresses that nobody answers. Storage
-- classes as Beam 1.6.0 has them (contract 4.2): a number written into a TEXT column ends with .0 (:num_…).
-- What belongs to a seeded row is not older than it (…_now).

INSERT INTO billing (beam_id, stripe_customer_id, stripe_subscription_id, tier, status, current_period_end, created_at)
VALUES (:procurement, 'cus_' || :hex14_customer_a, 'sub_' || :hex14_subscription_a, 'business', 'active', NULL, :iso_now),
       (:buyer, 'cus_' || :hex14_customer_b, 'sub_' || :hex14_subscription_b, 'enterprise', 'canceled', NULL, :iso_now);

INSERT INTO business_verifications (beam_id, country, registration_number, legal_name, status, verification_source,
  source_reference, evidence, created_at, verified_at)
VALUES (:procurement, 'DE', 'HRB ' || :seed, 'Händler & Söhne GmbH', 'verified', 'de-format', 'HRB ' || :seed,
         '{"country":"DE","format":"HRB","checked":true}', :iso_now, :iso_now),
       (:buyer, 'GB', '0' || :seed, 'Ballast Holdings Ltd', 'verified', 'companies-house', '0' || :seed,
         '{"companyStatus":"active","officers":2}', :iso_now, :iso_now);

INSERT INTO delegations (grantor_beam_id, grantee_beam_id, scope, created_at, expires_at, revoked)
VALUES (:procurement, :operations, 'conversation.message', :num_now, :num_30d_ahead, 1),
       (:buyer, :planner, 'task.delegate', :num_now, :num_1s_ahead, 0);

INSERT INTO dns_cache (cache_key, record_type, payload, expires_at, cached_at)
VALUES ('_beam._tcp.ballast-a.invalid', 'SRV', '{"directoryUrl":"https://directory.ballast-a.invalid","ttl":300}',
         :ms_2h_ago, :iso_125m_ago),
       ('_did._beam.ballast-b.invalid', 'TXT', '{"did":"did:beam:ballast-b:directory","ttl":86400}', :ms_23h_ahead, :iso_1h_ago);

INSERT INTO domain_verifications (beam_id, domain, challenge_token, status, created_at, verified_at)
VALUES (:finance, 'ballast.invalid', :hex36_challenge_a, 'superseded', :num_now, NULL),
       (:finance, 'ballast.invalid', :hex36_challenge_b, 'verified', :num_now, :iso_now);

INSERT INTO federation_peers (directory_url, public_key, trust_level, status, created_at, last_seen, synced_at)
VALUES ('https://peer-' || :seed || '.ballast.invalid', :key_peer, 0.4, 'inactive', :iso_60d_ago, :iso_31d_ago, :iso_32d_ago);

INSERT INTO federated_agents (beam_id, home_directory_url, cached_document, cached_at, ttl)
VALUES ('broker@ballast-a.beam.directory', 'https://peer-' || :seed || '.ballast.invalid',
         '{"beam_id":"broker@ballast-a.beam.directory","display_name":"Makler Süd","capabilities":["quote.request"]}',
         :iso_32d_ago, 300),
       ('notary@ballast-b.beam.directory', 'https://peer-' || :seed || '.ballast.invalid',
         '{"beam_id":"notary@ballast-b.beam.directory","display_name":"Notaire №7","capabilities":[]}', :iso_31d_ago, 86400);

INSERT INTO federated_trust (beam_id, source_directory_url, origin_directory_url, asserted_trust, effective_trust,
  hop_count, asserted_at)
VALUES ('broker@ballast-a.beam.directory', 'https://peer-' || :seed || '.ballast.invalid',
         'https://peer-' || :seed || '.ballast.invalid', 0.75, 0.3, 1, :iso_32d_ago),
       ('notary@ballast-b.beam.directory', 'https://peer-' || :seed || '.ballast.invalid',
         'https://origin.ballast.invalid', 0.625, 0.125, 2, :iso_31d_ago);

INSERT INTO funnel_events (session_id, origin, page_key, event_category, cta_key, target_page, workflow_type, milestone_key,
  created_at)
VALUES (:uuid_visitor_a, 'https://ballast.invalid', 'landing', 'page_view', NULL, NULL, NULL, NULL, :iso_9d_ago),
       (:uuid_visitor_a, 'https://ballast.invalid', 'hosted_beta', 'cta_click', 'request_beta', 'register',
         'hosted-beta-partner-handoff', NULL, :iso_8d_ago),
       (:uuid_visitor_b, 'https://ballast.invalid', 'guided_evaluation', 'demo_milestone', NULL, NULL, NULL,
         'guided_evaluation_view', :iso_7d_ago);

INSERT INTO nonces (nonce, expires_at)
VALUES ('ballast-shield-' || :hex16_nonce_a, :ms_1h_ago), ('ballast-shield-' || :hex16_nonce_b, :ms_55m_ago);

INSERT INTO openclaw_fleet_digest_runs (trigger_kind, actor, generated_at, summary_json, action_items_json,
  escalation_items_json, markdown, delivery_state, last_delivery_error_code, created_at)
VALUES ('manual', 'fleet@ballast.invalid', :iso_20d_ago,
         '{"actionItems":1,"criticalItems":0,"staleHosts":1,"failedReceipts":0,"duplicateIdentityConflicts":0,"escalations":0}',
         '[{"kind":"stale_host","severity":"warning","title":"Host „Süd“ veraltet"}]', '[]',
         '# Fleet digest' || char(10) || char(10) || '- 1 Host veraltet' || char(10), 'delivered', NULL, :iso_20d_ago),
       ('scheduled', NULL, :iso_19d_ago,
         '{"actionItems":0,"criticalItems":0,"staleHosts":0,"failedReceipts":0,"duplicateIdentityConflicts":0,"escalations":0}',
         '[]', '[]', '# Fleet digest' || char(10), 'failed', 'EMAIL_NOT_CONFIGURED', :iso_19d_ago);

INSERT INTO openclaw_fleet_digest_deliveries (run_id, delivery_kind, recipient_email, status, error_code, error_message,
  delivered_at, details_json)
VALUES ((SELECT min(id) FROM openclaw_fleet_digest_runs), 'digest', 'fleet@ballast.invalid', 'delivered', NULL, NULL,
         :iso_20d_ago, '{"actor":"fleet@ballast.invalid"}'),
       ((SELECT max(id) FROM openclaw_fleet_digest_runs), 'escalation', 'oncall@ballast.invalid', 'failed',
         'EMAIL_NOT_CONFIGURED', 'Mail is not configured', :iso_19d_ago, NULL);

UPDATE openclaw_fleet_digest_schedules SET enabled = 0, delivery_email = 'fleet@ballast.invalid',
  escalation_email = 'oncall@ballast.invalid', run_hour_utc = 6, run_minute_utc = 30, escalate_on_critical = 0,
  last_scheduled_for_at = :iso_19d_ago, last_run_id = (SELECT max(id) FROM openclaw_fleet_digest_runs),
  last_delivery_at = :iso_20d_ago, updated_at = :iso_now WHERE id = 1;

INSERT INTO openclaw_fleet_alert_targets (label, delivery_kind, destination, severity_threshold, enabled, metadata_json,
  last_delivery_status, last_delivery_at, last_error_code, last_error_at, created_at, updated_at)
VALUES ('Bereitschaft', 'email', 'oncall@ballast.invalid', 'critical', 0, '{"notes":"nur nachts – Übung"}',
         'delivered', :iso_20d_ago, NULL, NULL, :iso_40d_ago, :iso_20d_ago),
       ('Loopback hook', 'webhook', 'https://127.0.0.1:9/hooks/' || :token_hook, 'warning', 0,
         '{"headers":{"x-ballast":"1"}}', 'failed', :iso_19d_ago, 'WEBHOOK_FAILED', :iso_19d_ago, :iso_40d_ago, :iso_19d_ago);

INSERT INTO openclaw_fleet_alert_deliveries (target_id, run_id, target_label, delivery_kind, destination,
  severity_threshold, severity, item_count, status, error_code, error_message, delivered_at, details_json)
VALUES ((SELECT min(id) FROM openclaw_fleet_alert_targets), (SELECT min(id) FROM openclaw_fleet_digest_runs),
         'Bereitschaft', 'email', 'oncall@ballast.invalid', 'critical', 'critical', 1, 'delivered', NULL, NULL, :iso_20d_ago,
         '{"actor":"fleet@ballast.invalid","test":false}'),
       ((SELECT max(id) FROM openclaw_fleet_alert_targets), NULL, 'Loopback hook', 'webhook',
         'https://127.0.0.1:9/hooks/' || :token_hook, 'warning', 'warning', 2, 'failed', 'WEBHOOK_FAILED',
         'connection refused', :iso_19d_ago, '{"actor":"fleet@ballast.invalid","test":true}');

INSERT INTO openclaw_host_enrollment_requests (request_key, label, workspace_slug, notes, status, claimed_host_id,
  claimed_at, approved_at, approved_by, revoked_at, expires_at, created_at, updated_at)
VALUES ('oce_' || :token_request_a, 'Werk Süd', NULL, 'abgebaut', 'revoked', NULL, :iso_44d_ago, :iso_43d_ago,
         'fleet@ballast.invalid', :iso_30d_ago, :iso_42d_ago, :iso_45d_ago, :iso_30d_ago),
       ('oce_' || :token_request_b, 'Werk Nord', NULL, NULL, 'revoked', NULL, :iso_44d_ago, NULL, NULL, :iso_43d_ago,
         :iso_42d_ago, :iso_45d_ago, :iso_43d_ago),
       ('oce_' || :token_request_c, NULL, NULL, 'never claimed', 'expired', NULL, NULL, NULL, NULL, NULL, :iso_38d_ago,
         :iso_39d_ago, :iso_38d_ago);

INSERT INTO openclaw_hosts (host_key, enrollment_request_id, label, hostname, os, connector_version, beam_directory_url,
  workspace_slug, status, health_status, route_count, credential_hash, credential_nonce, credential_state,
  credential_issued_at, credential_rotated_at, recovery_completed_at, approved_at, approved_by, revoked_at,
  revocation_reason, last_heartbeat_at, last_inventory_at, last_route_event_at, metadata_json, created_at, updated_at)
VALUES ('och_' || :token_host_a,
         (SELECT id FROM openclaw_host_enrollment_requests WHERE request_key = 'oce_' || :token_request_a), 'Werk Süd',
         'host-a.ballast.invalid', 'linux', '0.9.2', 'http://127.0.0.1:9', NULL, 'revoked', 'revoked', 1,
         :hex64_credential_a, :token_credential_a, 'revoked', :iso_43d_ago, :iso_35d_ago, NULL, :iso_43d_ago,
         'fleet@ballast.invalid', :iso_30d_ago, 'abgebaut', :iso_31d_ago, :iso_31d_ago, :iso_31d_ago,
         '{"placement":{"site":"Süd","rack":"7"}}', :iso_44d_ago, :iso_30d_ago),
       ('och_' || :token_host_b,
         (SELECT id FROM openclaw_host_enrollment_requests WHERE request_key = 'oce_' || :token_request_b), 'Werk Nord',
         'host-b.ballast.invalid', 'darwin', '0.9.2', 'http://127.0.0.1:9', NULL, 'revoked', 'revoked', 0, NULL, NULL,
         'revoked', NULL, NULL, NULL, NULL, NULL, :iso_43d_ago, NULL, NULL, NULL, NULL, NULL, :iso_44d_ago, :iso_43d_ago);

UPDATE openclaw_host_enrollment_requests SET claimed_host_id =
  (SELECT id FROM openclaw_hosts WHERE enrollment_request_id = openclaw_host_enrollment_requests.id)
WHERE claimed_at IS NOT NULL;

INSERT INTO openclaw_host_routes (host_id, beam_id, workspace_slug, route_source, route_key, runtime_type, label,
  connection_mode, http_endpoint, session_key, reported_state, runtime_session_state, owner_resolution_state,
  owner_resolution_actor, owner_resolution_at, owner_resolution_note, metadata_json, last_seen_at, ended_at, created_at,
  updated_at)
VALUES ((SELECT min(id) FROM openclaw_hosts), 'runner@ballast-a.beam.directory', NULL, 'agent-folder', 'agents/runner',
         'codex', 'Läufer', 'websocket', NULL, 'session-' || :hex16_session_a, 'idle', 'revoked', 'preferred',
         'fleet@ballast.invalid', :iso_40d_ago, 'einziger Läufer', '{"folder":"agents/runner"}', :iso_31d_ago, NULL,
         :iso_43d_ago, :iso_30d_ago),
       ((SELECT min(id) FROM openclaw_hosts), 'runner@ballast-b.beam.directory', NULL, 'subagent-run', 'run/17', NULL, NULL,
         'http', 'https://127.0.0.1:9/run', NULL, 'ended', 'revoked', 'disabled', 'fleet@ballast.invalid', :iso_39d_ago, NULL,
         NULL, :iso_36d_ago, :iso_36d_ago, :iso_42d_ago, :iso_30d_ago);

INSERT INTO openclaw_host_heartbeats (host_id, route_count, connector_version, health_status, details_json, heartbeat_at)
VALUES ((SELECT min(id) FROM openclaw_hosts), 2, '0.9.1', 'healthy', '{"load":0.25}', :iso_42d_ago),
       ((SELECT min(id) FROM openclaw_hosts), 1, '0.9.2', 'healthy', NULL, :iso_31d_ago);

INSERT INTO openclaw_policy_packs (pack_key, label, description, host_group_label, policy_json, created_at, updated_at)
VALUES ('ballast-strict', 'Streng', 'nichts nach außen', 'Werk', '{"version":1,"defaults":{"externalInitiation":"deny",'
         || '"allowedPartners":[]},"bindingRules":[],"workflowRules":[],"metadata":{"notes":"nur intern","template":null}}',
         :iso_50d_ago, :iso_50d_ago),
       ('ballast-open', 'Nach außen', NULL, NULL, '{"version":1,"defaults":{"externalInitiation":"binding",'
         || '"allowedPartners":[]},"bindingRules":[],"workflowRules":[],"metadata":{"notes":null,"template":null}}',
         :iso_49d_ago, :iso_48d_ago);

INSERT INTO openclaw_workspace_templates (template_key, label, description, host_group_label, policy_pack_key,
  template_json, created_at, updated_at)
VALUES ('ballast-site', 'Werk', 'Werk mit Läufern', 'Werk', 'ballast-strict',
         '{"defaultThreadScope":"internal","externalHandoffsEnabled":false}', :iso_48d_ago, :iso_48d_ago),
       ('ballast-office', 'Büro', NULL, NULL, 'ballast-open',
         '{"defaultThreadScope":"handoff","externalHandoffsEnabled":true}', :iso_47d_ago, :iso_46d_ago);

INSERT INTO org_agents (org_name, agent_name, beam_id, display_name, capabilities, public_key, created_at, updated_at)
VALUES (:org0, 'registrar', 'registrar@' || :org0 || '.beam.directory', 'Registratur – 登記', '["conversation.message"]',
         :key_registrar, :iso_now, :iso_now),
       (:org1, 'treasurer', 'treasurer@' || :org1 || '.beam.directory', 'Skarbnik', '[]', :key_treasurer, :iso_now, :iso_now);

INSERT INTO pinned_keys (beam_id, pinned_beam_id, public_key, created_at)
VALUES (:procurement, :finance, (SELECT public_key FROM agents WHERE beam_id = :finance), :iso_now),
       (:finance, :procurement, (SELECT public_key FROM agents WHERE beam_id = :procurement), :iso_now);

INSERT INTO reports (reporter_beam_id, target_beam_id, reason, created_at, status)
VALUES (:finance, :ghost, 'schickt unsignierte Nachrichten', :num_now, 'pending'),
       (:desk, :ghost, 'spam', :num_now, 'pending');

INSERT INTO workspace_members (workspace_id, principal_id, principal_type, role, created_at, updated_at)
VALUES ((SELECT min(id) FROM workspaces), 'owner@ballast.invalid', 'human', 'owner', :iso_now, :iso_now),
       ((SELECT min(id) FROM workspaces), :operations, 'agent', 'operator', :iso_now, :iso_now),
       ((SELECT max(id) FROM workspaces), :finance, 'partner', 'viewer', :iso_now, :iso_now);
