//! The standing data: sessions, roles, limits, agents with keys, access lists, shield, organisations.

use crate::client::Access;
use crate::client::directory::{DirectoryClient, Session};
use crate::client::secret::Secret;
use crate::client::signing::{KeyPair, rotation};
use crate::deployment::Service::Directory;
use crate::seed::cast::{Cast, Member, Part};
use crate::seed::credentials::Credentials;
use crate::seed::ledger::{Area, Attempt, Row};
use crate::seed::recorder::Recorder;
use crate::seed::{SeedError, SeedPlan};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many of the cast's organisations are created as organisations, not only named by agents.
pub(crate) const ORGS_WITH_A_ROW: usize = 2;

/// Logs in, raises the limits, registers everybody and says who may do what.
pub(crate) async fn open(
    access: &mut Access,
    plan: &SeedPlan,
    cast: &Cast,
    recorder: &Recorder<'_>,
) -> Result<Credentials, SeedError> {
    let public = access.directory.anonymous();
    let (login, api_keys) = tokio::try_join!(
        login(&public, &plan.admin_email, recorder),
        register_all(&public, cast, recorder),
    )?;
    access.directory = access.directory.with_session(login.session.token.expose());
    let directory = &access.directory;
    let operator_email = format!("operator-{}@{}.example", cast.label, cast.orgs[0].name);
    let ((), org_keys, ..) = tokio::try_join!(
        raise_limits(directory, recorder),
        create_orgs(directory, cast, recorder),
        rotate_courier(&public, cast, recorder),
        grant_all(&public, cast, recorder),
        shield_buyer(directory, cast, recorder),
        assign_roles(directory, &operator_email, cast, recorder),
    )?;
    // After the roles: the operator's role comes from the database. The last magic link stays in its table as used.
    let operator = self::login(&public, &operator_email, recorder).await?;
    logout(
        &public.with_session(operator.session.token.expose()),
        &operator_email,
        recorder,
    )
    .await?;
    let keys = |pick: fn(&Member) -> Option<&KeyPair>| {
        let pairs = cast.members.iter().filter_map(|member| Some((member, pick(member)?)));
        pairs
            .map(|(member, key)| (member.beam_id.clone(), key.clone()))
            .collect()
    };
    Ok(Credentials {
        admin_email: plan.admin_email.clone(),
        session: login.session.token,
        revoked_session: operator.session.token,
        operator_email,
        used_magic_link: operator.magic_link,
        api_keys,
        org_keys,
        keys: keys(|member| Some(&member.key)),
        revoked_keys: keys(|member| member.first_key.as_ref()),
    })
}

struct Login {
    magic_link: Secret,
    session: Session,
}

async fn login(directory: &DirectoryClient, email: &str, recorder: &Recorder<'_>) -> Result<Login, SeedError> {
    let issued = audit_row("admin.auth.challenge.issued", [("actor", email)]);
    let attempt = Attempt::new("magic-link", email).row(issued);
    let (_, link) = recorder.write(attempt, directory.magic_link(email)).await?;
    let attempt = Attempt::new("session", email).row(audit_row("admin.auth.login", [("actor", email)]));
    let (_, session) = recorder.write(attempt, directory.verify(&link.token)).await?;
    Ok(Login {
        magic_link: link.token,
        session,
    })
}

async fn logout(directory: &DirectoryClient, email: &str, recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let attempt = Attempt::new("logout", email).row(audit_row("admin.auth.logout", [("actor", email)]));
    recorder.write(attempt, directory.logout()).await?;
    Ok(())
}

/// The bus's relays share one address, so the defaults would queue what is sent after 30 intents (contract 39).
async fn raise_limits(directory: &DirectoryClient, recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let policy = json!({
        "trustedIps": ["10.9.9.9"],
        "intentSendPerIpPerMinute": 5_000,
        "intentSendPerSenderPerMinute": 5_000,
        "lookupPerMinute": 5_000,
        "adminAuthPerMinute": 60,
    });
    let row = Row::new(Directory, "shield_policies", [("policy_key", "public-endpoints")]);
    let attempt = Attempt::new("public-policy", "public-endpoints").row(row);
    recorder.write(attempt, directory.patch_public_policy(&policy)).await?;
    Ok(())
}

/// The API key of each organisation, by its name.
async fn create_orgs(
    directory: &DirectoryClient,
    cast: &Cast,
    recorder: &Recorder<'_>,
) -> Result<BTreeMap<String, Secret>, SeedError> {
    let mut keys = BTreeMap::new();
    for org in &cast.orgs[..ORGS_WITH_A_ROW] {
        let attempt = Attempt::new("org", &org.name).row(Row::new(Directory, "orgs", [("name", org.name.as_str())]));
        let (_, answer) = recorder
            .write(attempt, directory.create_org(&org.name, &org.display_name))
            .await?;
        if let Some(key) = answer["apiKey"].as_str() {
            keys.insert(org.name.clone(), Secret::new(key));
        }
    }
    Ok(keys)
}

async fn register_all(
    directory: &DirectoryClient,
    cast: &Cast,
    recorder: &Recorder<'_>,
) -> Result<BTreeMap<String, Secret>, SeedError> {
    let registrations = cast.members.iter().map(|member| register(directory, member, recorder));
    Ok(try_join_all(registrations).await?.into_iter().collect())
}

async fn register(
    directory: &DirectoryClient,
    member: &Member,
    recorder: &Recorder<'_>,
) -> Result<(String, Secret), SeedError> {
    let key = member.first_key.as_ref().unwrap_or(&member.key).public();
    let mut body = json!({
        "beamId": member.beam_id,
        "displayName": member.display_name,
        "capabilities": member.capabilities,
        "publicKey": key,
        "verificationTier": member.tier,
        "visibility": member.visibility,
        "description": member.description,
    });
    if matches!(member.part, Part::Procurement | Part::Finance) {
        body["email"] = json!(format!("{}@{}.example", member.beam_id.replace('@', "."), member.org));
    }
    let fields = json!({
        "display_name": member.display_name,
        "org": member.org,
        "capabilities": member.capabilities,
        "public_key": key,
        "verification_tier": member.tier,
        "visibility": member.visibility,
        "description": member.description,
        "email_verified": false,
        "flagged": false,
        "personal": member.part == Part::Personal,
        "active_key": key,
        "revoked_keys": [],
    });
    let attempt = Attempt::new("agent", &member.beam_id)
        .row(Row::new(Directory, "agents", [("beam_id", member.beam_id.as_str())]))
        .expects(Area::Agents, subject(&member.beam_id), fields);
    let (_, registered) = recorder.write(attempt, directory.register(&body)).await?;
    Ok((member.beam_id.clone(), registered.api_key))
}

async fn rotate_courier(directory: &DirectoryClient, cast: &Cast, recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let courier = cast.member(Part::Courier);
    let Some(first) = &courier.first_key else { return Ok(()) };
    let key = courier.key.public();
    let proof = rotation(&courier.beam_id, first, &key, &format!("{:.3}", recorder.now()));
    let fields = json!({"public_key": key, "active_key": key, "revoked_keys": [first.public()]});
    let row = Row::new(
        Directory,
        "agent_keys",
        [("beam_id", courier.beam_id.as_str()), ("public_key", &key)],
    );
    let attempt = Attempt::new("key-rotation", &courier.beam_id).row(row).expects(
        Area::Agents,
        subject(&courier.beam_id),
        fields,
    );
    recorder
        .write(attempt, directory.rotate_key(&courier.beam_id, &proof))
        .await?;
    Ok(())
}

async fn grant_all(directory: &DirectoryClient, cast: &Cast, recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let id = |part| cast.member(part).beam_id.clone();
    let everyone_at = |org: usize| format!("*@{}.beam.directory", cast.orgs[org].name);
    let grants = [
        (Part::Finance, "conversation.message", id(Part::Procurement)),
        (Part::Finance, "conversation.message", id(Part::Buyer)),
        (Part::Finance, "quote.request", everyone_at(0)),
        (Part::Finance, "purchase.preflight", everyone_at(2)),
        (Part::Finance, "agent.ping", "*".to_owned()),
        (Part::Desk, "conversation.message", everyone_at(0)),
        (Part::Desk, "conversation.message", id(Part::Planner)),
        (Part::Buyer, "quote.request", id(Part::Finance)),
        (Part::Buyer, "task.delegate", everyone_at(2)),
        (Part::Procurement, "conversation.message", everyone_at(1)),
    ];
    try_join_all(grants.into_iter().map(|(part, intent, from)| {
        let target = id(part);
        async move { grant(directory, &target, intent, &from, recorder).await }
    }))
    .await?;
    Ok(())
}

async fn grant(
    directory: &DirectoryClient,
    target: &str,
    intent: &str,
    from: &str,
    recorder: &Recorder<'_>,
) -> Result<(), SeedError> {
    let key = format!("{target} {intent} {from}");
    let columns = [
        ("target_beam_id", target),
        ("intent_type", intent),
        ("allowed_from", from),
    ];
    let attempt = Attempt::new("acl", &key)
        .row(Row::new(Directory, "intent_acls", columns))
        .expects(Area::Acl, format!("acl {key}"), json!({"present": true}));
    recorder
        .write(attempt, directory.create_acl(target, intent, from))
        .await?;
    Ok(())
}

/// One more sender for the partner's desk; `word` makes its name.
pub(crate) async fn grant_once_more(
    directory: &DirectoryClient,
    cast: &Cast,
    word: &str,
    recorder: &Recorder<'_>,
) -> Result<(), SeedError> {
    let target = &cast.member(Part::Desk).beam_id;
    let from = format!("{word}@{}.beam.directory", cast.orgs[2].name);
    grant(directory, target, "escalation.request", &from, recorder).await
}

async fn shield_buyer(directory: &DirectoryClient, cast: &Cast, recorder: &Recorder<'_>) -> Result<(), SeedError> {
    let buyer = &cast.member(Part::Buyer).beam_id;
    // minTrust is an integer, because a stored fraction is truncated when read (contract 2.6).
    let shield = json!({
        "mode": "whitelist",
        "allowlist": [cast.member(Part::Finance).beam_id, format!("*@{}.beam.directory", cast.orgs[2].name)],
        "blocklist": [cast.member(Part::Ghost).beam_id],
        "minTrust": 1,
        "rateLimit": 200,
    });
    let attempt = Attempt::new("shield-config", buyer)
        .row(audit_row("shield.config.updated", [("target", buyer.as_str())]))
        .expects(Area::Agents, subject(buyer), json!({"shield": shield}));
    recorder
        .write(attempt, directory.patch_shield_config(buyer, &shield))
        .await?;
    Ok(())
}

async fn assign_roles(
    directory: &DirectoryClient,
    operator: &str,
    cast: &Cast,
    recorder: &Recorder<'_>,
) -> Result<(), SeedError> {
    let viewer = format!("auditor@{}.example", cast.orgs[1].name);
    for (email, role) in [(operator, "operator"), (&viewer, "viewer")] {
        let attempt = Attempt::new("role", email)
            .row(Row::new(
                Directory,
                "directory_roles",
                [("user_id", email), ("role", role)],
            ))
            .expects(Area::Roles, format!("role {email}"), json!({"role": role}));
        recorder.write(attempt, directory.assign_role(email, role)).await?;
    }
    Ok(())
}

/// The audit row of an action; a row of the written table itself would tell less.
pub(crate) fn audit_row<'a>(action: &'a str, column: [(&'static str, &'a str); 1]) -> Row {
    let [column] = column;
    Row::new(
        Directory,
        "audit_log",
        [("action", Value::from(action)), (column.0, column.1.into())],
    )
}

fn subject(beam_id: &str) -> String {
    format!("agent {beam_id}")
}
