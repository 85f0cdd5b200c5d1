//! Configuration keys: what is wrong by itself, what differs, what is never stored.

use super::*;

const STRONG: &str = "kX9vQ2mLr7TzWp4sB8nY";

fn facts(text: &str) -> Facts {
    let settings = ConfigSettings::default();
    let examples = BTreeMap::from([("JWT_SECRET".to_owned(), "dev-kX9vQ2mLr7TzWp4s".to_owned())]);
    let entries = dotenv(text)
        .into_iter()
        .map(|one| entry(one, Some("directory"), ".env", &settings, &examples));
    Facts {
        entries: entries.collect(),
        ..Facts::default()
    }
}

fn findings(text: &str) -> Vec<(String, String)> {
    let judged = judge(&facts(text), &ConfigSettings::default());
    judged
        .findings
        .into_iter()
        .map(|finding| (finding.subject, finding.observed))
        .collect()
}

#[test]
fn a_complete_configuration_passes() {
    let text = format!("JWT_SECRET={STRONG}\nPORT=3100\nBEAM_ADMIN_EMAILS=a@b.c\n");
    assert_eq!(findings(&text), []);
}

#[test]
fn each_kind_of_wrong_key_is_named() {
    for (text, subject, observed) in [
        ("PORT=1".to_owned(), "directory JWT_SECRET", "<unset>"),
        ("JWT_SECRET=".to_owned(), "directory JWT_SECRET", "set to nothing"),
        (
            "JWT_SECRET=short".to_owned(),
            "directory JWT_SECRET",
            "shorter than 16 characters",
        ),
        (
            "JWT_SECRET=dev-kX9vQ2mLr7TzWp4s".to_owned(),
            "directory JWT_SECRET",
            "equal to the committed example",
        ),
        (
            format!("JWT_SECRET={STRONG}\nBEAM_ADMIN_KEY=x"),
            "directory BEAM_ADMIN_KEY",
            "unknown: read by nothing",
        ),
        (
            format!("JWT_SECRET={STRONG}\nBEAM_ADMIN_EMAILS="),
            "directory BEAM_ADMIN_EMAILS",
            "set to nothing",
        ),
        (
            format!("JWT_SECRET={STRONG}\nBEAM_DIRECTORY_URL=https://a.b/"),
            "directory BEAM_DIRECTORY_URL",
            "https://a.b/ (trailing slash)",
        ),
        (
            format!("JWT_SECRET={STRONG}\nPORT=1\nPORT=2"),
            "directory PORT twice",
            "another value",
        ),
    ] {
        assert_eq!(findings(&text), [(subject.to_owned(), observed.to_owned())], "{text}");
    }
}

#[test]
fn a_required_key_that_nothing_reads_is_named() {
    let settings = ConfigSettings {
        required: vec!["BEAM_ADMIN_KEY".to_owned()],
        ..ConfigSettings::default()
    };
    let subjects: Vec<String> = judge(&facts(&format!("JWT_SECRET={STRONG}")), &settings)
        .findings
        .into_iter()
        .map(|finding| finding.subject)
        .collect();
    assert!(subjects.contains(&"required BEAM_ADMIN_KEY".to_owned()), "{subjects:?}");
}

#[test]
fn keys_and_values_differ_between_environments() {
    let compared = |one: &str, other: &str| compare(&facts(one), &facts(other), &ConfigSettings::default()).findings;
    assert_eq!(compared("RELAY_TIMEOUT_MS=1", "RELAY_TIMEOUT_MS=2")[0].observed, "2");
    assert_eq!(compared("RELAY_TIMEOUT_MS=1\nPORT=1", "PORT=1")[0].observed, "<unset>");
    assert!(compared("PORT=1\nJWT_SECRET=a", "PORT=2\nJWT_SECRET=b").is_empty());
}

#[test]
fn no_fact_holds_the_value_of_a_secret_or_a_person() {
    let text = format!(
        "JWT_SECRET={STRONG}\nMY_TOKEN=tok-{STRONG}\nBEAM_ADMIN_EMAILS=a@b.c\nX=y-{STRONG}\nAPP_URL=https://u:{STRONG}@h/"
    );
    let stored = serde_json::to_string(&facts(&text)).unwrap();
    assert!(!stored.contains(STRONG) && !stored.contains("a@b.c"), "{stored}");
}
