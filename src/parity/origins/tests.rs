//! What is an origin of an API in a text, and what is none.

use super::*;

fn known() -> Known {
    Known {
        apis: vec!["api.beam.test".to_owned()],
        others: vec!["https://beam.test".to_owned()],
    }
}

fn origins(text: &str, is_script: bool) -> Vec<String> {
    scan("s", "f", text, is_script, &known())
        .into_iter()
        .map(|one| format!("{} {}", one.origin, one.place))
        .collect()
}

#[test]
fn an_address_is_found_with_its_line_in_a_minified_bundle() {
    let text =
        "/*!x*/\nimport\"./a.js\";const B=\"https://api.beam.test\",r=`https://old.beam.invalid`;fetch(B+\"/health\")";
    assert_eq!(
        origins(text, true),
        ["https://api.beam.test f:2", "https://old.beam.invalid f:2"]
    );
}

#[test]
fn links_and_name_spaces_are_no_apis() {
    let text = "<a href=\"https://beam.test\">x</a> <a href='https://partner.invalid/'>y</a> <svg xmlns=\"http://www.w3.org/2000/svg\">";
    assert_eq!(origins(text, false), [""; 0]);
    assert_eq!(
        origins(
            "throw Error(\"see https://react.dev/errors/\"+c);a=\"http://www.w3.org/1999/xlink\"",
            true
        ),
        [""; 0]
    );
}

#[test]
fn each_way_to_name_an_api_is_seen() {
    for (text, origin) in [
        ("curl http://localhost:3100/health", "http://localhost:3100"),
        ("VITE_API_URL=https://x.invalid", "https://x.invalid"),
        (
            "<meta name=\"beam-api\" content=\"https://y.invalid\">",
            "https://y.invalid",
        ),
        ("see https://z.fly.dev/v1/beam/history", "https://z.fly.dev"),
        ("new WebSocket('wss://w.invalid/live')", "https://w.invalid"),
        ("{\"a\":\"https:\\/\\/api.old.invalid\\/x\"}", "https://api.old.invalid"),
        ("HTTPS://API.BEAM.TEST:443/x", "https://api.beam.test"),
        ("<script>fetch(\"https://q.invalid\")</script>", "https://q.invalid"),
        ("http://[::1]:3100/", "http://[::1]:3100"),
        ("http://directory:3100/x", "http://directory:3100"),
    ] {
        assert_eq!(origins(text, false), [format!("{origin} f:1")], "{text}");
    }
}

#[test]
fn another_environments_host_is_seen_without_its_scheme() {
    let known = Known {
        apis: vec!["https://api.other.test".to_owned()],
        others: Vec::new(),
    };
    let lines = |text: &str| scan("s", "f", text, true, &known).len();
    for text in [
        "q=\"//api.other.test/x\"",
        "h=\"api.other.test\"",
        "u=\"https%3A%2F%2Fapi.other.test\"",
    ] {
        assert_eq!(lines(text), 1, "{text}");
    }
    assert_eq!(
        lines("h=\"xapi.other.test\";m=\"a@api.other.test\";i=\"api.other.testing\""),
        0
    );
}

#[test]
fn what_is_no_address_in_use_is_no_alarm() {
    for text in [
        "// was http://localhost:3100 before",
        "/* fetch('http://127.0.0.1:3100/health') */",
        "new URL(e,\"http://a.b\")",
        "k=\"https://fonts.googleapis.com\"",
    ] {
        assert_eq!(origins(text, true), [""; 0], "{text}");
    }
    let page = "<!-- http://localhost:3100 --><script type=\"application/ld+json\">{\"url\":\"https://www.site.test\"}</script>";
    assert_eq!(origins(page, false), [""; 0]);
}

#[test]
fn a_host_that_sends_requests_on_is_seen() {
    let of = |name: &str, text: &str| scan("s", name, text, false, &known()).len();
    assert_eq!(of("site/_redirects", "/api/* https://gate.test/:splat 200\n"), 1);
    assert_eq!(of("site/_redirects", "/docs/* https://docs.test/:splat 200\n"), 0);
    assert_eq!(
        of(
            "vercel.json",
            "{\"source\": \"/api/(.*)\",\n\"destination\": \"https://gate.test/$1\"}"
        ),
        1
    );
}

#[test]
fn a_base_that_ends_in_a_slash_is_seen() {
    let slash = |text: &str| scan("s", "f", text, true, &known())[0].trailing_slash;
    assert!(slash("a=\"https://api.beam.test/\""));
    assert!(!slash("a=\"https://api.beam.test/health/\""));
}
