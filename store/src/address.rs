//! A store's address: what a text says of a folder or a bucket, and of a snapshot in it. Pure.
//!
//! An address never holds credentials; one that does is refused without being repeated.

use crate::access::AccessError;
use object_store::path::Path as Key;
use std::path::{Path, PathBuf};

/// The word that stands for the newest snapshot.
pub const LATEST: &str = "latest";

/// What was given as an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The store, as messages show it.
    pub shown: String,
    /// The snapshot in it, if one is named; [`LATEST`] is a name.
    pub id: Option<String>,
    pub(crate) place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Address {
    /// The folder, where the store is one.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(path) => Some(path),
            Place::Bucket { .. } => None,
        }
    }
}

/// Whether a text can only be a store's address, and no plain folder.
#[must_use]
pub fn is_address(text: &str) -> bool {
    text.starts_with("file:") || text.contains("://")
}

/// Whether a name has the form of a snapshot's id: a time, as `2026-11-22T02-00-00-000Z`.
#[must_use]
pub fn is_id(name: &str) -> bool {
    let form = b"dddd-dd-ddTdd-dd-dd-dddZ";
    name.len() == form.len()
        && name.bytes().zip(form).all(|(byte, form)| match form {
            b'd' => byte.is_ascii_digit(),
            other => byte == *other,
        })
}

/// Reads an address: `s3://BUCKET/PREFIX`, `file:FOLDER`, `file://…` or a plain folder, each with `/ID` or `/latest` or not.
///
/// # Errors
/// [`AccessError::Address`].
pub fn parse(text: &str) -> Result<Address, AccessError> {
    let wrong = |address: &str, what: &str| AccessError::Address {
        address: address.to_owned(),
        what: what.to_owned(),
    };
    let trimmed = text.trim_end_matches('/');
    if text.contains("://") && !trimmed.contains("://") {
        return Err(wrong(text, "it names nothing"));
    }
    let (store, id) = match trimmed.rsplit_once('/') {
        Some((store, last)) if last == LATEST || is_id(last) => (store.trim_end_matches('/'), Some(last.to_owned())),
        _ => (trimmed, None),
    };
    let place = if let Some(rest) = store.strip_prefix("s3://") {
        // Whoever puts credentials there finds them in a shell's history already; they are not repeated.
        if rest.contains('@') {
            return Err(wrong(
                "s3://…",
                "credentials are given by the AWS_* variables, never in an address",
            ));
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty()
            || !bucket
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        {
            return Err(wrong(text, "the bucket has no usable name"));
        }
        // Taken as it stands: another program must find the objects under the name that was given here.
        let prefix = prefix.trim_end_matches('/');
        let is_key = Key::parse(prefix).is_ok_and(|key| key.as_ref() == prefix);
        if !is_key || prefix.contains(['?', '#']) {
            return Err(wrong(
                text,
                "the prefix is no usable key: it has an empty part, . or .., or an odd character",
            ));
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.to_owned());
        Place::Bucket { bucket, prefix }
    } else if let Some(rest) = store.strip_prefix("file:") {
        Place::Folder(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))
    } else if let Some((scheme, _)) = store.split_once("://") {
        return Err(wrong(&format!("{scheme}://…"), "this kind of store is not known"));
    } else {
        Place::Folder(PathBuf::from(store))
    };
    match &place {
        Place::Folder(path) if path.as_os_str().is_empty() => Err(wrong(text, "it names no folder")),
        _ => Ok(Address {
            shown: store.to_owned(),
            id,
            place,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_tells_the_store_from_the_snapshot() {
        let of = |text: &str| parse(text).map(|address| (address.shown, address.id)).expect("parsed");
        let id = "2026-11-22T02-00-00-000Z";
        assert_eq!(of("s3://b/p"), ("s3://b/p".to_owned(), None));
        assert_eq!(
            of(&format!("s3://b/p/{id}")),
            ("s3://b/p".to_owned(), Some(id.to_owned()))
        );
        assert_eq!(of("s3://b/latest/"), ("s3://b".to_owned(), Some(LATEST.to_owned())));
        assert_eq!(
            of(&format!("backups/{id}")),
            ("backups".to_owned(), Some(id.to_owned()))
        );
        assert_eq!(of("file:backups").0, "file:backups");
    }

    #[test]
    fn what_is_no_address_is_refused_and_credentials_in_it_are_not_repeated() {
        for text in ["s3://", "s3:///p", "gs://b/p", "file:", "s3://b/../c", "s3://b c/p"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let error = parse("s3://KEY:hidden-secret@bucket/p")
            .expect_err("refused")
            .to_string();
        assert!(!error.contains("hidden-secret"), "{error}");
        let error = parse("https://me:hidden-secret@host/p")
            .expect_err("refused")
            .to_string();
        assert!(!error.contains("hidden-secret"), "{error}");
    }

    #[test]
    fn an_id_is_a_time_and_nothing_else() {
        assert!(is_id("2026-11-22T02-00-00-000Z"));
        for name in ["2026-11-22", "2026-11-22T02-00-00-000z", "../2026-11-22T02-00-00-0", ""] {
            assert!(!is_id(name), "{name}");
        }
    }
}
