//! A store's address, and reading, writing, listing and removing the objects behind it.
//!
//! Credentials come from the `AWS_*` variables that the caller hands in; an address never holds any. Every error names the
//! store and the object, and no error holds a secret.

use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt as _, PutMode, RetryConfig};
use std::fs::{self, DirBuilder, File, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long one request may take.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The word that stands for the newest snapshot.
pub const LATEST: &str = "latest";

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
    /// A folder that is a store must be private.
    #[error("{path} may be entered by others (mode {mode:04o}) and snapshots hold personal data; chmod 700 it")]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// A folder could not be made or synced.
    #[error("cannot write to {path}; check free space and permissions")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
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
    /// The credentials were not accepted.
    #[error("{store} refused access to {key}; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do")]
    Refused {
        /// The store.
        store: String,
        /// The object.
        key: String,
        /// What the store said.
        source: object_store::Error,
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
        source: object_store::Error,
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

/// What was given as an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The store, as messages show it.
    pub shown: String,
    /// The snapshot in it, if one is named; [`LATEST`] is a name.
    pub id: Option<String>,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
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
        if prefix.split('/').any(|part| part == "." || part == "..") {
            return Err(wrong(text, "the prefix holds . or .."));
        }
        let (bucket, prefix) = (bucket.to_owned(), prefix.trim_matches('/').to_owned());
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

/// A store that can be read and written.
#[derive(Clone)]
pub struct Store {
    shown: String,
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    /// Where it is a folder of this machine.
    folder: Option<PathBuf>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.shown)
    }
}

/// How often and how long a request to an object store is tried again.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries after the first.
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

impl Store {
    /// Opens the store of an address with the `AWS_*` among these variables; makes no request.
    ///
    /// # Errors
    /// [`AccessError::Address`] for a folder that is not there or a setting that cannot be used.
    pub fn open(
        address: &Address,
        variables: impl IntoIterator<Item = (String, String)>,
        patience: Patience,
    ) -> Result<Store, AccessError> {
        let unusable = |what: String| AccessError::Address {
            address: address.shown.clone(),
            what,
        };
        let shown = address.shown.clone();
        match &address.place {
            Place::Folder(path) => {
                let path = fs::canonicalize(path).map_err(|error| unusable(format!("no such folder ({error})")))?;
                let objects = LocalFileSystem::new_with_prefix(&path).map_err(|error| unusable(error.to_string()))?;
                Ok(Store {
                    shown,
                    objects: Arc::new(objects),
                    prefix: String::new(),
                    folder: Some(path),
                })
            }
            Place::Bucket { bucket, prefix } => {
                let mut builder = AmazonS3Builder::new().with_region("us-east-1");
                let mut options = ClientOptions::new()
                    .with_timeout(REQUEST_LIMIT)
                    .with_connect_timeout(CONNECT_LIMIT);
                for (name, value) in variables {
                    if !name.starts_with("AWS_") || value.is_empty() {
                        continue;
                    }
                    if name.starts_with("AWS_ENDPOINT") && value.starts_with("http://") {
                        options = options.with_allow_http(true);
                    }
                    if let Ok(key) = name.to_ascii_lowercase().parse::<AmazonS3ConfigKey>() {
                        builder = builder.with_config(key, value);
                    }
                }
                let retry = RetryConfig {
                    max_retries: patience.retries,
                    retry_timeout: patience.limit,
                    ..RetryConfig::default()
                };
                let built = builder
                    .with_bucket_name(bucket)
                    .with_client_options(options)
                    .with_retry(retry)
                    .build();
                Ok(Store {
                    shown,
                    objects: Arc::new(built.map_err(|error| unusable(error.to_string()))?),
                    prefix: prefix.clone(),
                    folder: None,
                })
            }
        }
    }

    /// Makes the folder of an address, private, where it is a folder that is not there yet.
    ///
    /// # Errors
    /// [`AccessError::Folder`], [`AccessError::Open`].
    pub fn prepare(address: &Address) -> Result<(), AccessError> {
        let Place::Folder(path) = &address.place else {
            return Ok(());
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        let seen = made
            .and_then(|()| fs::metadata(path))
            .map_err(|source| AccessError::Folder {
                path: path.clone(),
                source,
            })?;
        let mode = seen.permissions().mode() & 0o7777;
        if mode & 0o077 == 0 {
            Ok(())
        } else {
            Err(AccessError::Open {
                path: path.clone(),
                mode,
            })
        }
    }

    /// As messages show it.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    fn key(&self, name: &str) -> Key {
        if self.prefix.is_empty() {
            Key::from(name)
        } else {
            Key::from(format!("{}/{name}", self.prefix))
        }
    }

    fn error(&self, what: &'static str, name: &str, source: object_store::Error) -> AccessError {
        let (store, key) = (self.shown.clone(), name.to_owned());
        match source {
            object_store::Error::NotFound { .. } => AccessError::Missing { store, key },
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => {
                AccessError::Exists { store, key }
            }
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                AccessError::Refused { store, key, source }
            }
            source => AccessError::Failed {
                what,
                store,
                key,
                source,
            },
        }
    }

    /// The bytes of an object that may have so many at most.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, AccessError> {
        let failed = |source| self.error("read", name, source);
        let got = self.objects.get(&self.key(name)).await.map_err(failed)?;
        let too_large = |bytes| AccessError::TooLarge {
            store: self.shown.clone(),
            key: name.to_owned(),
            bytes,
            limit,
        };
        if got.meta.size > limit {
            return Err(too_large(got.meta.size));
        }
        let mut bytes = Vec::new();
        let mut pieces = got.into_stream();
        // What was announced need not be what comes.
        while let Some(piece) = pieces.try_next().await.map_err(failed)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > limit {
                return Err(too_large(bytes.len() as u64));
            }
        }
        Ok(bytes)
    }

    /// Writes an object, whether there is one or not.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), AccessError> {
        let put = self.objects.put(&self.key(name), bytes.into()).await;
        put.map_err(|source| self.error("write", name, source))?;
        self.settle(name)
    }

    /// Writes an object that must not be there yet.
    ///
    /// # Errors
    /// [`AccessError::Exists`] and the others.
    pub async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<(), AccessError> {
        let put = self
            .objects
            .put_opts(&self.key(name), bytes.into(), PutMode::Create.into())
            .await;
        put.map_err(|source| self.error("write", name, source))?;
        self.settle(name)
    }

    /// In a folder: for the owner only, and on the disk.
    fn settle(&self, name: &str) -> Result<(), AccessError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let path = folder.join(name);
        let on_disk = fs::set_permissions(&path, Permissions::from_mode(0o600))
            .and_then(|()| File::open(&path)?.sync_all())
            .and_then(|()| File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all());
        on_disk.map_err(|source| AccessError::Folder { path, source })
    }

    /// Names below a folder, with their sizes; sorted.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn names(&self, folder: &str) -> Result<Vec<(String, u64)>, AccessError> {
        let prefix = self.key(folder);
        let listed = self.objects.list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let listed = listed.map_err(|source| self.error("list", folder, source))?;
        let mut names: Vec<(String, u64)> = listed
            .into_iter()
            .filter_map(|object| Some((object.location.filename()?.to_owned(), object.size)))
            .collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object; one that is gone already is no error.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn remove(&self, name: &str) -> Result<(), AccessError> {
        match self.objects.delete(&self.key(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.error("remove", name, source)),
        }
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
