//! Why a store or an object in it cannot be used, in words that hold no secret.
//!
//! What a server answers is not repeated as it stands: the body of an error may hold the request with its session token.

use std::io;
use std::path::PathBuf;

/// Why a store or an object in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// The address is none.
    #[error("{address:?} is no address of a store: {what}; give file:FOLDER or s3://BUCKET/PREFIX")]
    Address {
        /// What was given, without anything that may be a secret.
        address: String,
        /// What is wrong.
        what: String,
    },
    /// A variable that says how the store is reached cannot be used.
    #[error("{store} cannot be used with these AWS_* variables: {what}")]
    Variables {
        /// The store.
        store: String,
        /// Which, and what is wrong with it.
        what: String,
    },
    /// A folder that is a store must be private.
    #[error("{path} may be entered by others (mode {mode:04o}) and snapshots hold personal data; chmod 700 it")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A file or folder of this machine could not be written or synced.
    #[error("cannot write to {path}; check free space and permissions")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such bucket.
    #[error("{store}: there is no such bucket; make it first, or check its name, AWS_REGION and AWS_ENDPOINT_URL")]
    NoBucket {
        /// The store.
        store: String,
    },
    /// There is no such object.
    #[error("{store} has no {key}")]
    Missing {
        /// The store.
        store: String,
        /// The object.
        key: String,
    },
    /// There is one already.
    #[error("{store} has {key} already")]
    Exists {
        /// The store.
        store: String,
        /// The object.
        key: String,
    },
    /// There are no credentials: none are set, and this machine has no role.
    #[error(
        "{store}: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where the machine has a role"
    )]
    NoCredentials {
        /// The store.
        store: String,
        /// What the client said.
        source: Said,
    },
    /// The credentials were not accepted.
    #[error("{store} refused access to {key}; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do")]
    Refused {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What the store said.
        source: Said,
    },
    /// An object is larger than anything that this program writes there.
    #[error("{key} in {store} has {bytes} bytes, more than the {limit} that can be there; it is not ours or damaged")]
    TooLarge {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// The store did not answer, or not as it should.
    #[error("cannot {what} {key} in {store}; nothing is known of it now, try again")]
    Failed {
        /// What was tried.
        what: &'static str,
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What went wrong.
        source: Said,
    },
}

impl AccessError {
    /// Whether the caller named something that is not there or may not be used, rather than a store that failed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        !matches!(
            self,
            AccessError::Failed { .. } | AccessError::TooLarge { .. } | AccessError::Folder { .. }
        )
    }
}

/// What the client of an object store said, fit to be shown.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Said(String);

/// Longest message of a server that is repeated, in characters.
const LONGEST: usize = 200;

impl Said {
    /// The error of a client: of a server's answer its status, code and message only; of addresses neither user nor query.
    pub(crate) fn of(error: &object_store::Error) -> Said {
        Said::text(&error.to_string())
    }

    fn text(text: &str) -> Said {
        let (head, body) = split_body(text);
        let mut told = head.split(' ').map(without_secrets).collect::<Vec<_>>().join(" ");
        for tag in ["Code", "Message"] {
            if let Some(value) = tagged(body, tag) {
                told.push_str(": ");
                told.extend(value.chars().filter(|letter| !letter.is_control()).take(LONGEST));
            }
        }
        Said(told)
    }
}

/// The client's own words, and the body of an answer behind them.
fn split_body(text: &str) -> (&str, &str) {
    for mark in ["status code: ", "error response: "] {
        if let Some(at) = text.find(mark) {
            let start = at + mark.len();
            // The status is of the client, `403 Forbidden`; a body begins after the next colon, or at once.
            let end = match mark {
                "status code: " => text[start..].find(':').map_or(text.len(), |colon| start + colon),
                _ => at + mark.len() - 2,
            };
            return text.split_at(end);
        }
    }
    text.split_at(text.find('<').unwrap_or(text.len()))
}

/// The text of an element of an XML answer.
fn tagged<'a>(body: &'a str, tag: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{tag}>"))?;
    rest.split_once(&format!("</{tag}>")).map(|(value, _)| value)
}

/// A word; of an address without what stands before an `@` or after a `?`.
fn without_secrets(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else {
        return word.to_owned();
    };
    let rest = rest.split('?').next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    let slash = if rest.contains('/') { "/" } else { "" };
    format!("{scheme}://{host}{slash}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_answer_only_status_code_and_message_are_told() {
        let text = "Generic S3 error: Error performing GET http://host:1/b/k in 3ms - Server returned non-2xx status code: \
                    403 Forbidden: <?xml version=\"1.0\"?><Error><Code>SignatureDoesNotMatch</Code><Message>check your \
                    key</Message><CanonicalRequest>GET x-amz-security-token:hidden-token</CanonicalRequest></Error>";
        let told = Said::text(text).to_string();
        assert!(
            told.ends_with("403 Forbidden: SignatureDoesNotMatch: check your key"),
            "{told}"
        );
        assert!(told.contains("http://host:1/b/k"));
        for body in ["authorization: hidden-token", "{\"token\":\"hidden-token\"}", ""] {
            let told = Said::text(&format!("x - Server returned non-2xx status code: 500 Oh: {body}")).to_string();
            assert_eq!(told, "x - Server returned non-2xx status code: 500 Oh");
            let told = Said::text(&format!("x - Server returned error response: {body}")).to_string();
            assert_eq!(told, "x - Server returned error response");
        }
    }

    #[test]
    fn of_an_address_neither_user_nor_query_is_told() {
        let told = Said::text("PUT https://me:hidden@host/b/k?X-Amz-Signature=hidden in 1ms").to_string();
        assert_eq!(told, "PUT https://host/b/k in 1ms");
        assert_eq!(Said::text("see http://host").to_string(), "see http://host");
    }

    #[test]
    fn a_message_without_end_is_cut() {
        let message = "a\n".repeat(5_000);
        let told = Said::text(&format!("x <Error><Code>C</Code><Message>{message}</Message>")).to_string();
        assert!(told.len() < 300 && !told.contains('\n'), "{told}");
    }
}
