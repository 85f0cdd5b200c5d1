//! Reading, writing, listing and removing the objects of a store.
//!
//! Credentials come from the `AWS_*` variables that the caller hands in. Every error names the store and the object.

use crate::access::{AccessError, Said};
use crate::address::{Address, Place};
use crate::client::{Patience, client, says_credentials};
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode};
use std::error::Error as _;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A store that can be read and written.
#[derive(Clone)]
pub struct Store {
    shown: String,
    objects: Arc<dyn ObjectStore>,
    prefix: String,
    /// Where it is a folder of this machine.
    folder: Option<PathBuf>,
    /// Whether nothing says where credentials come from.
    asks_machine: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.shown)
    }
}

/// An object as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name in its folder.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, by the clock of the store.
    pub at: Timestamp,
}

impl Store {
    /// Opens the store of an address with the `AWS_*` among these variables; makes no request.
    ///
    /// # Errors
    /// [`AccessError::Address`] for a folder that is not there, [`AccessError::Variables`] for a setting that cannot be used.
    pub fn open(
        address: &Address,
        variables: impl IntoIterator<Item = (String, String)>,
        patience: Patience,
    ) -> Result<Store, AccessError> {
        let unusable = |what: String| AccessError::Address {
            address: address.shown.clone(),
            what,
        };
        match &address.place {
            Place::Folder(path) => {
                let path = fs::canonicalize(path).map_err(|error| unusable(format!("no such folder ({error})")))?;
                let objects = LocalFileSystem::new_with_prefix(&path).map_err(|error| unusable(error.to_string()))?;
                Ok(Store {
                    shown: address.shown.clone(),
                    objects: Arc::new(objects),
                    prefix: String::new(),
                    folder: Some(path),
                    asks_machine: false,
                })
            }
            Place::Bucket { bucket, prefix } => {
                let variables: Vec<(String, String)> = variables
                    .into_iter()
                    .filter(|(name, value)| name.starts_with("AWS_") && !value.is_empty())
                    .collect();
                let objects = client(bucket, &variables, patience)
                    .and_then(|client| client.build().map_err(|error| Said::of(&error).to_string()))
                    .map_err(|what| AccessError::Variables {
                        store: address.shown.clone(),
                        what,
                    })?;
                Ok(Store {
                    shown: address.shown.clone(),
                    objects: Arc::new(objects),
                    prefix: prefix.clone(),
                    folder: None,
                    asks_machine: !says_credentials(&variables),
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
            // Both were checked to be keys as they stand; `from` would rewrite odd characters of the prefix.
            Key::parse(format!("{}/{name}", self.prefix)).unwrap_or_else(|_| Key::from(name))
        }
    }

    fn error(&self, what: &'static str, name: &str, source: &object_store::Error) -> AccessError {
        let (store, key) = (self.shown.clone(), name.to_owned());
        let said = Said::of(source);
        let text = said.to_string();
        if matches!(
            source,
            object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }
        ) {
            return AccessError::Exists { store, key };
        }
        if let (Some(folder), Some(cause)) = (&self.folder, of_the_system(source)) {
            let path = folder.join(name);
            return match cause.kind() {
                io::ErrorKind::NotFound if what != "write" => AccessError::Missing { store, key },
                _ if what == "write" || what == "remove" => AccessError::Folder { path, source: cause },
                _ => AccessError::Failed {
                    what,
                    store,
                    key,
                    source: said,
                },
            };
        }
        match source {
            _ if text.contains("NoSuchBucket") => AccessError::NoBucket { store },
            // Written objects are not looked for: it is the bucket that is not there.
            object_store::Error::NotFound { .. } if what == "write" => AccessError::NoBucket { store },
            object_store::Error::NotFound { .. } => AccessError::Missing { store, key },
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                AccessError::Refused {
                    store,
                    key,
                    source: said,
                }
            }
            // The address under which a machine tells its role.
            _ if self.asks_machine && text.contains("/latest/") => AccessError::NoCredentials { store, source: said },
            _ => AccessError::Failed {
                what,
                store,
                key,
                source: said,
            },
        }
    }

    /// The bytes of an object that may have so many at most.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>, AccessError> {
        let failed = |source: object_store::Error| self.error("read", name, &source);
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

    /// When an object was last written, by the clock of the store; `None` where there is none.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn written_at(&self, name: &str) -> Result<Option<Timestamp>, AccessError> {
        match self.objects.head(&self.key(name)).await {
            Ok(object) => Ok(Some(time(&object))),
            Err(source) => match self.error("look at", name, &source) {
                AccessError::Missing { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// Writes an object, whether there is one or not.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn write(&self, name: &str, bytes: Vec<u8>) -> Result<(), AccessError> {
        let put = self.objects.put(&self.key(name), bytes.into()).await;
        put.map_err(|source| self.error("write", name, &source))?;
        self.settle(name)
    }

    /// Writes an object that must not be there yet. A request that was answered and whose answer was lost may be told as
    /// [`AccessError::Exists`] too: look at what is there.
    ///
    /// # Errors
    /// [`AccessError::Exists`] and the others.
    pub async fn create(&self, name: &str, bytes: Vec<u8>) -> Result<(), AccessError> {
        let key = self.key(name);
        let put = self
            .objects
            .put_opts(&key, bytes.clone().into(), PutMode::Create.into())
            .await;
        match put {
            // A compatible that knows no condition: two at the same moment could both write then.
            Err(source) if knows_no_condition(&source) => match self.written_at(name).await? {
                Some(_) => Err(AccessError::Exists {
                    store: self.shown.clone(),
                    key: name.to_owned(),
                }),
                None => self.write(name, bytes).await,
            },
            Err(source) => Err(self.error("write", name, &source)),
            Ok(_) => self.settle(name),
        }
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

    /// The objects that lie in a folder itself, sorted by name.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn names(&self, folder: &str) -> Result<Vec<Listed>, AccessError> {
        let prefix = self.key(folder);
        let listed = self.objects.list(Some(&prefix)).try_collect::<Vec<_>>().await;
        let listed = match listed.map_err(|source| self.error("list", folder, &source)) {
            // A folder that nothing was written to.
            Err(AccessError::Missing { .. }) => Vec::new(),
            listed => listed?,
        };
        let mut names: Vec<Listed> = listed
            .into_iter()
            .filter_map(|object| {
                let mut parts = object.location.prefix_match(&prefix)?;
                let name = parts.next()?.as_ref().to_owned();
                parts.next().is_none().then(|| Listed {
                    name,
                    bytes: object.size,
                    at: time(&object),
                })
            })
            .collect();
        names.sort();
        Ok(names)
    }

    /// Removes what writes that were broken off left in a folder of this machine, if it is so old; nobody lists it.
    ///
    /// # Errors
    /// [`AccessError::Folder`].
    pub fn sweep(&self, folder: &str, older_than: Duration) -> Result<(), AccessError> {
        let Some(path) = self.folder.as_ref().map(|store| store.join(folder)) else {
            return Ok(());
        };
        let failed = |source| AccessError::Folder {
            path: path.clone(),
            source,
        };
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // The client writes under the object's name with `#` and a number first.
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_unfinished = name
                .rsplit_once('#')
                .is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()));
            let age = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .map_err(failed)?;
            if is_unfinished && age.elapsed().is_ok_and(|age| age > older_than) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Removes an object; one that is gone already is no error.
    ///
    /// # Errors
    /// [`AccessError`].
    pub async fn remove(&self, name: &str) -> Result<(), AccessError> {
        let Err(source) = self.objects.delete(&self.key(name)).await else {
            return Ok(());
        };
        match self.error("remove", name, &source) {
            AccessError::Missing { .. } => Ok(()),
            AccessError::Folder { source, .. } if source.kind() == io::ErrorKind::NotFound => Ok(()),
            error => Err(error),
        }
    }
}

fn time(object: &ObjectMeta) -> Timestamp {
    Timestamp::from_millisecond(object.last_modified.timestamp_millis()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// What the system said, where the store is a folder.
fn of_the_system(error: &object_store::Error) -> Option<io::Error> {
    let mut cause = error.source();
    while let Some(source) = cause {
        if let Some(system) = source.downcast_ref::<io::Error>() {
            return Some(match system.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(system.kind(), system.to_string()),
            });
        }
        cause = source.source();
    }
    None
}

fn knows_no_condition(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotImplemented { .. }) || error.to_string().contains("501 Not Implemented")
}
