//! How an object store is reached: what the usual `AWS_*` variables say, and what is refused of them.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::{ClientConfigKey, ClientOptions, RetryConfig};
use std::time::Duration;

/// How long one request may take; `AWS_TIMEOUT` and `AWS_CONNECT_TIMEOUT` say otherwise.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Any of these says where credentials come from; without them the machine is asked for its role.
const CREDENTIALS: [&str; 5] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_SKIP_SIGNATURE",
];
/// Most tries of a request, the first too; as other clients of S3 know it.
const ATTEMPTS: &str = "AWS_MAX_ATTEMPTS";

/// How often and how long a request to an object store is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries after the first; `AWS_MAX_ATTEMPTS` says otherwise.
    pub retries: usize,
    /// From the first try on.
    pub limit: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            retries: 8,
            limit: Duration::from_secs(60),
        }
    }
}

/// Whether a variable says where credentials come from.
pub(crate) fn says_credentials(variables: &[(String, String)]) -> bool {
    variables.iter().any(|(name, _)| CREDENTIALS.contains(&name.as_str()))
}

/// How the client of a bucket is made; what is wrong with a variable where it cannot be.
pub(crate) fn client(
    bucket: &str,
    variables: &[(String, String)],
    patience: Patience,
) -> Result<AmazonS3Builder, String> {
    let options = ClientOptions::new()
        .with_timeout(REQUEST_LIMIT)
        .with_connect_timeout(CONNECT_LIMIT);
    let mut builder = AmazonS3Builder::new().with_client_options(options);
    let mut retries = patience.retries;
    for (name, value) in variables {
        if name.starts_with("AWS_ENDPOINT") {
            endpoint(name, value)?;
            if value.starts_with("http://") {
                builder = builder.with_config(AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp), "true");
            }
        }
        if name == ATTEMPTS {
            let attempts: usize = value
                .parse()
                .ok()
                .filter(|attempts| (1..=100).contains(attempts))
                .ok_or_else(|| format!("{ATTEMPTS} is {value:?}; give a number from 1 to 100"))?;
            retries = attempts - 1;
        } else if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
            builder = builder.with_config(key, value);
        }
    }
    let retry = RetryConfig {
        max_retries: retries,
        retry_timeout: patience.limit,
        ..RetryConfig::default()
    };
    Ok(builder.with_bucket_name(bucket).with_retry(retry))
}

/// An endpoint is a plain URL; credentials in it would be sent with every request and stand in every message.
fn endpoint(name: &str, value: &str) -> Result<(), String> {
    let Some(rest) = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://")) else {
        return Err(format!("{name} is no URL; give https://HOST or http://HOST:PORT"));
    };
    if rest.contains(['@', '?', '#']) {
        return Err(format!(
            "{name} holds more than an address; give https://HOST alone, and credentials by AWS_ACCESS_KEY_ID and \
             AWS_SECRET_ACCESS_KEY"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::AccessError;
    use crate::objects::Store;

    fn made(variables: &[(&str, &str)]) -> Result<AmazonS3Builder, String> {
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        client("bucket", &variables, Patience::default())
    }

    fn setting(variables: &[(&str, &str)], key: AmazonS3ConfigKey) -> Option<String> {
        made(variables).expect("made").get_config_value(&key)
    }

    #[test]
    fn region_and_client_settings_come_from_the_usual_variables() {
        let region = |variables: &[(&str, &str)]| setting(variables, AmazonS3ConfigKey::Region);
        assert_eq!(
            region(&[("AWS_DEFAULT_REGION", "eu-north-1")]).as_deref(),
            Some("eu-north-1")
        );
        let both = [("AWS_DEFAULT_REGION", "eu-north-1"), ("AWS_REGION", "eu-west-1")];
        assert_eq!(region(&both).as_deref(), Some("eu-west-1"));
        let http = |variables: &[(&str, &str)]| {
            setting(variables, AmazonS3ConfigKey::Client(ClientConfigKey::AllowHttp)).as_deref() == Some("true")
        };
        assert!(http(&[("AWS_ALLOW_HTTP", "true")]) && http(&[("AWS_ENDPOINT_URL", "http://host:9000")]));
        assert!(!http(&[("AWS_ENDPOINT_URL", "https://host")]));
        // A variable of this name is not the bucket of the address.
        let bucket = setting(&[("AWS_BUCKET", "another")], AmazonS3ConfigKey::Bucket);
        assert_eq!(bucket.as_deref(), Some("bucket"));
    }

    #[test]
    fn an_endpoint_that_is_no_plain_address_is_refused_and_not_repeated() {
        for value in ["host:9000", "http://me:hidden@host", "https://host/?key=hidden"] {
            let what = made(&[("AWS_ENDPOINT_URL_S3", value)]).expect_err("refused");
            assert!(
                what.contains("AWS_ENDPOINT_URL_S3") && !what.contains("hidden"),
                "{what}"
            );
        }
    }

    #[test]
    fn half_of_the_credentials_is_told_as_that() {
        let address = crate::address::parse("s3://bucket/x").expect("an address");
        let variables = vec![("AWS_ACCESS_KEY_ID".to_owned(), "half".to_owned())];
        let error = Store::open(&address, variables, Patience::default()).expect_err("refused");
        assert!(
            matches!(error, AccessError::Variables { .. }) && error.is_usage(),
            "{error}"
        );
        assert!(error.to_string().contains("SecretAccessKey"), "{error}");
    }
}
