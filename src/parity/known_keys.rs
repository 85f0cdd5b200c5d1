//! The configuration keys that Beam's components read. Source: Beam 1.6.0, contract sections 1.2, 3.1 and 6.2.

/// How the value of a key is treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Must be the same in all environments.
    Shared,
    /// Lawfully differs: addresses, paths, times of deployment.
    Own,
    /// Names persons or accounts: presence only.
    Personal,
    /// Presence only, and held against the committed example.
    Secret,
}

const DIRECTORY: &str = "directory";
const BUS: &str = "bus";
const DASHBOARD: &str = "dashboard";
const COMPOSE: &str = "compose";
const DEMO: &str = "demo-agents";
const ECHO: &str = "echo-agent";

/// Components whose keys are known.
pub(crate) const COMPONENTS: &[&str] = &[DIRECTORY, BUS, DASHBOARD, COMPOSE, DEMO, ECHO];

/// Component, kind, keys.
const KEYS: &[(&str, Kind, &[&str])] = &[
    (
        DIRECTORY,
        Kind::Secret,
        &[
            "JWT_SECRET",
            "BEAM_DIRECTORY_SIGNING_PRIVATE_KEY",
            "BEAM_FEDERATION_SHARED_SECRET",
            "ECHO_AGENT_SECRET",
            "SMTP_PASS",
            "SMTP_PASSWORD",
            "RESEND_API_KEY",
            "STRIPE_SECRET_KEY",
            "STRIPE_WEBHOOK_SECRET",
            "COMPANIES_HOUSE_API_KEY",
            "LITESTREAM_ACCESS_KEY_ID",
            "LITESTREAM_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
        ],
    ),
    (
        DIRECTORY,
        Kind::Personal,
        &[
            "BEAM_ADMIN_EMAILS",
            "BEAM_OPERATOR_EMAILS",
            "BEAM_VIEWER_EMAILS",
            "SMTP_USER",
            "SMTP_FROM",
        ],
    ),
    (
        DIRECTORY,
        Kind::Own,
        &[
            "PORT",
            "DB_PATH",
            "BEAM_DIRECTORY_URL",
            "BEAM_DIRECTORY_BASE_URL",
            "BEAM_DIRECTORY_DID",
            "BEAM_DIRECTORY_SIGNING_PUBLIC_KEY",
            "PUBLIC_BASE_URL",
            "BEAM_DASHBOARD_URL",
            "APP_URL",
            "BEAM_RELEASE_VERSION",
            "BEAM_RELEASE_SHA",
            "BEAM_DEPLOYED_AT",
            "VERCEL_GIT_COMMIT_SHA",
            "SOURCE_VERSION",
            "GITHUB_SHA",
            "VERCEL_DEPLOYMENT_CREATED_AT",
            "DEPLOYED_AT",
            "STRIPE_PRICE_VERIFIED",
            "STRIPE_PRICE_BUSINESS",
            "STRIPE_PRICE_ENTERPRISE",
            "SMTP_HOST",
            "LITESTREAM_REPLICA_BUCKET",
            "LITESTREAM_REPLICA_ENDPOINT",
            "LITESTREAM_REPLICA_REGION",
        ],
    ),
    (
        DIRECTORY,
        Kind::Shared,
        &[
            "BEAM_ADMIN_SESSION_TTL_HOURS",
            "BEAM_RATE_LIMIT_PER_MIN",
            "RELAY_TIMEOUT_MS",
            "RELAY_RECOVERY_SWEEP_INTERVAL_MS",
            "BEAM_OBSERVABILITY_RETENTION_DAYS",
            "OPENCLAW_HOST_STALE_AFTER_MS",
            "BEAM_PRIVATE_DIRECTORY_MODE",
            "SMTP_PORT",
        ],
    ),
    (BUS, Kind::Secret, &["BEAM_BUS_API_KEY"]),
    (
        BUS,
        Kind::Own,
        &[
            "PORT",
            "DB_PATH",
            "DIRECTORY_URL",
            "IDENTITY_PATH",
            "BEAM_BUS_ALLOWED_ORIGINS",
        ],
    ),
    (
        BUS,
        Kind::Shared,
        &["RATE_LIMIT", "BEAM_BUS_STATS_PUBLIC", "BEAM_BUS_CLEAN_TEST_DATA"],
    ),
    (DASHBOARD, Kind::Own, &["VITE_API_URL", "VITE_BEAM_BUS_URL"]),
    (
        DEMO,
        Kind::Own,
        &["PORT", "BEAM_DIRECTORY_URL", "BEAM_BUS_URL", "DEMO_IDENTITY_PATH"],
    ),
    (DEMO, Kind::Secret, &["BEAM_BUS_API_KEY"]),
    (ECHO, Kind::Own, &["PORT", "BEAM_DIRECTORY_URL"]),
    (ECHO, Kind::Secret, &["ECHO_AGENT_SECRET"]),
    (
        COMPOSE,
        Kind::Own,
        &[
            "COMPOSE_PROJECT_NAME",
            "DIRECTORY_PORT",
            "DASHBOARD_PORT",
            "MESSAGE_BUS_PORT",
            "DEMO_AGENT_PORT",
        ],
    ),
    (COMPOSE, Kind::Shared, &["BEAM_BUS_RATE_LIMIT"]),
];

/// Read by Node, a shell or a container's base image.
const OF_THE_SYSTEM: &[&str] = &[
    "NODE_ENV",
    "NODE_OPTIONS",
    "NODE_VERSION",
    "TZ",
    "LANG",
    "HOST",
    "HOSTNAME",
];

/// Without these a component does not start.
const REQUIRED: &[(&str, &str)] = &[(DIRECTORY, "JWT_SECRET")];

/// Set to nothing, these do harm: an open bus, no operator, a release without a version.
const NEVER_EMPTY: &[&str] = &[
    "JWT_SECRET",
    "BEAM_BUS_API_KEY",
    "BEAM_ADMIN_EMAILS",
    "BEAM_RELEASE_VERSION",
    "VITE_API_URL",
];

/// Parts of a name that make the value of an unknown key a secret.
const SECRET_WORDS: &[&str] = &[
    "SECRET",
    "TOKEN",
    "PASS",
    "PRIVATE",
    "CREDENTIAL",
    "API_KEY",
    "AUTH",
    "_KEY",
];

/// Whether a component reads a key; any component where none is given.
pub(crate) fn is_read(component: Option<&str>, key: &str) -> bool {
    OF_THE_SYSTEM.contains(&key)
        || KEYS
            .iter()
            .any(|(of, _, keys)| component.is_none_or(|component| component == *of) && keys.contains(&key))
}

/// How the value of a key is treated; `None` for a key that nothing reads.
pub(crate) fn kind(key: &str) -> Option<Kind> {
    KEYS.iter()
        .find(|(_, _, keys)| keys.contains(&key))
        .map(|(_, kind, _)| *kind)
}

/// Whether an unknown key looks like a secret's.
pub(crate) fn looks_secret(key: &str) -> bool {
    let key = key.to_uppercase();
    !key.contains("PUBLIC") && SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// The keys without which a component does not start.
pub(crate) fn required(component: &str) -> impl Iterator<Item = &'static str> {
    REQUIRED
        .iter()
        .filter(move |(of, _)| *of == component)
        .map(|(_, key)| *key)
}

/// Whether a key that is set must have a value.
pub(crate) fn is_never_empty(key: &str) -> bool {
    NEVER_EMPTY.contains(&key)
}
