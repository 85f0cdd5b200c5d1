//! Environment files: what is taken, what is refused.

use super::*;

fn parse(text: &str) -> Result<Environment, EnvironmentError> {
    Environment::parse(text, Path::new("staging.toml"))
}

#[test]
fn a_name_is_enough() {
    let environment = parse("name = \"staging\"").unwrap();
    assert_eq!(
        (environment.time_limit_ms, environment.directory.runtime),
        (120_000, RuntimeKind::Process)
    );
}

#[test]
fn an_error_repeats_nothing_of_the_file() {
    let secret = "s3cret-of-the-file";
    for text in [
        format!("name = \"x\"\n[directory]\nenv = {{ A = '{secret}' \n"),
        format!("name = \"x\"\n[directory]\nport = '{secret}'\n"),
        format!("name = \"x\"\n[directory]\nruntime = '{secret}'\n"),
        format!("name = '{secret}/'\n"),
    ] {
        let error = parse(&text).unwrap_err().to_string();
        assert!(!error.contains(secret), "{error}");
    }
    let error = parse("name = \"x\"\n[directory]\nruntime = 'none'\n")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("line 3") && error.contains("expected one of `process`"),
        "{error}"
    );
}

#[test]
fn every_section_of_the_design_is_known() {
    let text = r#"
        name = "production"
        time_limit_ms = 1000
        rto_limit_ms = 900
        rpo_limit_writes = 0
        max_outage_ms = 5000
        [directory]
        runtime = "process"
        command = ["node", "index.js", "--port", "{port}"]
        cwd = "/srv"
        env = { DB_PATH = "{db}", JWT_SECRET = "{jwt_secret}" }
        [bus]
        runtime = "container"
        image = "beam/bus"
        [access]
        admin_email = "ops@beam.local"
        bus_key_env = "BUS_KEY"
        [surfaces]
        api_url = "https://api.example"
        [release]
        version = "1.6.0"
        [config]
        files = [".env"]
        [node]
        required = 20
        [snapshots]
        store = "backups"
        required_tables = ["orgs"]
    "#;
    assert_eq!(parse(text).unwrap().release.stated().version.as_deref(), Some("1.6.0"));
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let error = parse("name = \"a\"\ncolour = 1").unwrap_err().to_string();
    assert!(error.contains("colour") && error.contains("line 2"), "{error}");
}

#[test]
fn a_secret_in_argv_is_refused() {
    let error = parse("name = \"a\"\n[directory]\ncommand = [\"x\", \"{jwt_secret}\"]")
        .unwrap_err()
        .to_string();
    assert!(error.contains("env only"), "{error}");
}

#[test]
fn an_unknown_placeholder_is_refused() {
    let error = parse("name = \"a\"\n[bus]\nenv = { A = \"{prot}\" }")
        .unwrap_err()
        .to_string();
    assert!(error.contains("{prot}"), "{error}");
}

#[test]
fn an_image_of_the_surroundings_wins_over_the_file() {
    let mut environment =
        parse("name = \"a\"\n[bus]\nimage = \"beam/bus\"\n[directory]\nimage = \"beam/directory\"").unwrap();
    environment.in_containers(|name| (name == "BEAM_BUS_IMAGE").then(|| "local/bus".to_owned()));
    let images = [&environment.directory.image, &environment.bus.image].map(|image| image.as_deref().unwrap());
    assert_eq!(images, ["beam/directory", "local/bus"]);
    assert_eq!(environment.directory.runtime, RuntimeKind::Container);
}

#[test]
fn an_attached_service_needs_its_commands() {
    let error = parse("name = \"a\"\n[bus]\nruntime = \"attached\"\nurl = \"http://x\"")
        .unwrap_err()
        .to_string();
    assert!(error.contains("stop"), "{error}");
}

#[test]
fn placeholders_are_filled_in_and_other_braces_stay() {
    let values = BTreeMap::from([("port", "80".to_owned())]);
    assert_eq!(fill_in("{port} {\"a\":1} {db}", &values), "80 {\"a\":1} {db}");
}
