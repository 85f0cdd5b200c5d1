//! Do the addresses in the configuration belong to this environment? A bus that sends to production's directory, or mails that
//! link to `localhost`, are drift of the configuration though each value may lawfully differ.
//!
//! Source: Beam 1.6.0, contract sections 1.2, 3.1 and 6.2.

use crate::evidence::{Finding, short};
use crate::parity::config;
use crate::parity::origins::{is_local, parsed};
use std::collections::BTreeMap;

/// Keys that name the directory's API to another component: an address within the deployment's own network will do.
const INSIDE: &[&str] = &["DIRECTORY_URL"];
/// Keys that name the API to the public: identity, links in mails and documents.
const OUTSIDE: &[&str] = &["BEAM_DIRECTORY_URL", "PUBLIC_BASE_URL"];

/// What is wrong with addresses, given this environment's API and those of the others (origin → name).
pub(crate) fn findings(
    facts: &config::Facts,
    expected: Option<&str>,
    elsewhere: &BTreeMap<String, String>,
) -> Vec<Finding> {
    let expected = expected.and_then(parsed);
    let mut found = Vec::new();
    for entry in &facts.entries {
        let is_outside = OUTSIDE.contains(&entry.key.as_str());
        if !is_outside && !INSIDE.contains(&entry.key.as_str()) {
            continue;
        }
        let Some((host, origin)) = entry.plain().and_then(parsed) else {
            continue;
        };
        let what = match (elsewhere.get(&origin), &expected) {
            (Some(name), _) => format!("the API of {name}"),
            (None, Some((own_host, own))) if is_outside && *own != origin => {
                // The agents of a demonstration meet the directory within their own network.
                let is_of_public = entry.component.as_deref().is_none_or(|of| of == "directory");
                if host == *own_host {
                    "the same host, but another scheme or port".to_owned()
                } else if is_of_public && is_local(&host) && !is_local(own_host) {
                    "an address of the reader's own machine".to_owned()
                } else {
                    continue;
                }
            }
            _ => continue,
        };
        let wanted = expected.as_ref().map_or("this environment's API", |(_, own)| own);
        let observed = format!("{} ({what})", short(&origin));
        let subject = format!("{} as this environment's address", entry.name());
        found.push(Finding::new(subject, wanted, observed, &entry.place));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parity::config::{Entry, Facts, Value};

    fn observed(component: &str, key: &str, value: &str) -> Vec<String> {
        let entry = Entry {
            component: Some(component.to_owned()),
            key: key.to_owned(),
            value: Value::Plain(value.to_owned()),
            place: ".env:1".to_owned(),
        };
        let facts = Facts {
            entries: vec![entry],
            ..Facts::default()
        };
        let elsewhere = BTreeMap::from([("https://api.beam.test".to_owned(), "production".to_owned())]);
        let found = findings(&facts, Some("https://api.staging.beam.test"), &elsewhere);
        found.into_iter().map(|finding| finding.observed).collect()
    }

    #[test]
    fn the_address_of_another_environment_is_named() {
        let seen = observed("bus", "DIRECTORY_URL", "https://api.beam.test");
        assert_eq!(seen, ["https://api.beam.test (the API of production)"]);
    }

    #[test]
    fn an_address_for_the_public_is_neither_local_nor_of_another_scheme() {
        for value in ["http://localhost:3100", "http://api.staging.beam.test"] {
            assert_eq!(observed("directory", "PUBLIC_BASE_URL", value).len(), 1, "{value}");
        }
    }

    #[test]
    fn an_address_within_the_own_network_will_do_inside() {
        for (component, key, value) in [
            ("bus", "DIRECTORY_URL", "http://directory:3100"),
            ("demo-agents", "BEAM_DIRECTORY_URL", "http://directory:3100"),
            ("directory", "BEAM_DIRECTORY_URL", "https://api.staging.beam.test"),
            ("directory", "PUBLIC_BASE_URL", "https://staging.beam.test"),
        ] {
            assert_eq!(observed(component, key, value), [""; 0], "{key} {value}");
        }
    }
}
