//! A service's files on their way into a container and out of it, as archives, through the engine's copy interface.
//!
//! An archive carries owner and mode; it goes through a file, so that a large database does not stand in memory.

use futures_util::StreamExt as _;
use recovery_drills::runtime::engine::ContainerLaunch;
use std::fs::{self, File, Permissions};
use std::io;
use std::io::{Seek as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use tar::{Archive, Builder, EntryType, Header};
use testcontainers::bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use testcontainers::bollard::{Docker, body_try_stream};
use tokio_util::io::ReaderStream;

/// Who may enter the folder of the files: its owner.
const FOLDER_MODE: u32 = 0o700;
const CHUNK: usize = 256 * 1024;

/// Why files did not get in or out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// A file of this side.
    #[error("cannot {action} {path}")]
    Here {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The engine refused.
    #[error("the container engine cannot copy {path} of {container}")]
    Engine {
        /// The path in the container.
        path: String,
        /// The container.
        container: String,
        /// What it said.
        source: Box<testcontainers::bollard::errors::Error>,
    },
    /// The service has no database file.
    #[error("the container has no {0}; does the service keep its database there (DB_PATH)?")]
    NoDatabase(String),
    /// A worker of the harness was lost.
    #[error("a worker thread of the harness stopped")]
    Worker(#[from] tokio::task::JoinError),
}

fn here(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError::Here { action, path, source }
}

/// The volume's own folder, above the folder of the database: `/drill` of `/drill/data`.
pub(crate) fn root_of(folder: &str) -> &str {
    folder.rsplit_once('/').map_or("/", |(root, _)| root)
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Packs database (with its `-wal`, if they exist) and identities as the service's user owns them.
pub(crate) async fn pack(launch: &ContainerLaunch, user: (u64, u64)) -> Result<File, FileError> {
    let folder = last(&launch.folder).to_owned();
    let identities = (launch.identity_file.clone(), last(&launch.identities).to_owned());
    let main = launch.database.clone();
    tokio::task::spawn_blocking(move || {
        let mut builder = Builder::new(tempfile::tempfile().map_err(here("make an archive of", &main))?);
        let mut head = Header::new_gnu();
        head.set_entry_type(EntryType::Directory);
        own(&mut head, FOLDER_MODE, 0, user);
        let added = builder.append_data(&mut head, format!("{folder}/"), io::empty());
        added.map_err(here("pack", &main))?;
        let name = file_name(&main);
        let of_database = [main.clone(), beside(&main, "-wal")];
        let names = [format!("{folder}/{name}"), format!("{folder}/{name}-wal")];
        for (path, name) in of_database.into_iter().zip(names).chain([identities]) {
            add(&mut builder, &path, &name, user).map_err(here("pack", &path))?;
        }
        let mut file = builder.into_inner().map_err(here("pack", &main))?;
        file.rewind().map_err(here("pack", &main))?;
        Ok(file)
    })
    .await?
}

/// A file that is not there is not packed: a new instance has none.
fn add(builder: &mut Builder<File>, path: &Path, name: &str, user: (u64, u64)) -> io::Result<()> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let facts = file.metadata()?;
    let mut head = Header::new_gnu();
    own(&mut head, facts.permissions().mode() & 0o777, facts.len(), user);
    builder.append_data(&mut head, name, &mut file)
}

fn own(head: &mut Header, mode: u32, size: u64, (uid, gid): (u64, u64)) {
    head.set_mode(mode);
    head.set_size(size);
    head.set_uid(uid);
    head.set_gid(gid);
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn beside(main: &Path, ending: &str) -> PathBuf {
    let mut name = main.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Unpacks an archive into a folder of a container that does not run.
pub(crate) async fn upload(docker: &Docker, container: &str, folder: &str, packed: File) -> Result<(), FileError> {
    let stream = ReaderStream::with_capacity(tokio::fs::File::from_std(packed), CHUNK);
    let options = UploadToContainerOptionsBuilder::new().path(folder).build();
    let put = docker.upload_to_container(container, Some(options), body_try_stream(stream));
    put.await.map_err(|source| refused(folder, container, source))
}

fn refused(path: &str, container: &str, source: testcontainers::bollard::errors::Error) -> FileError {
    FileError::Engine {
        path: path.to_owned(),
        container: container.to_owned(),
        source: Box::new(source),
    }
}

/// The archive of a path of a container.
pub(crate) async fn download(docker: &Docker, container: &str, path: &str) -> Result<File, FileError> {
    let options = DownloadFromContainerOptionsBuilder::new().path(path).build();
    let mut stream = docker.download_from_container(container, Some(options));
    let archive = || PathBuf::from("an archive");
    let mut file = tempfile::tempfile().map_err(here("make", &archive()))?;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|source| refused(path, container, source))?;
        file.write_all(&chunk).map_err(here("write", &archive()))?;
    }
    file.rewind().map_err(here("read", &archive()))?;
    Ok(file)
}

/// Copies the database and its `-wal` out of a container that does not run (or is paused), in place of those of this side.
///
/// A container's answer is not trusted: only these two names are taken, only as regular files.
pub(crate) async fn copy_out(docker: &Docker, container: &str, folder: &str, main: &Path) -> Result<(), FileError> {
    let archive = download(docker, container, folder).await?;
    let main = main.to_owned();
    let name = file_name(&main);
    let missing = FileError::NoDatabase(format!("{folder}/{name}"));
    tokio::task::spawn_blocking(move || {
        let wal = beside(&main, "-wal");
        let mut seen = [false, false];
        let mut archive = Archive::new(archive);
        for entry in archive.entries().map_err(here("read the archive of", &main))? {
            let mut entry = entry.map_err(here("read the archive of", &main))?;
            let path = entry.path().map_err(here("read the archive of", &main))?;
            let of = if path.file_name() == main.file_name() {
                0
            } else if path.file_name() == wal.file_name() {
                1
            } else {
                continue;
            };
            let mode = entry.header().mode().map_err(here("read the archive of", &main))?;
            if entry.header().entry_type() != EntryType::Regular {
                continue;
            }
            let to = [&main, &wal][of];
            write(&mut entry, to, mode).map_err(here("write", to))?;
            seen[of] = true;
        }
        if !seen[0] {
            return Err(missing);
        }
        if !seen[1] {
            remove(&wal).map_err(here("remove", &wal))?;
        }
        let shm = beside(&main, "-shm");
        remove(&shm).map_err(here("remove", &shm))
    })
    .await?
}

/// With the mode that it has in the container, so that it goes back with it; its folder is private.
fn write(from: &mut impl io::Read, to: &Path, mode: u32) -> io::Result<()> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    io::copy(from, &mut file)?;
    file.as_file().set_permissions(Permissions::from_mode(mode & 0o777))?;
    file.persist(to).map(|_| ()).map_err(|error| error.error)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes a file, or a folder with its files, the property of a container's user.
pub(crate) fn give_to(path: &Path, (uid, gid): (u64, u64)) -> Result<(), FileError> {
    let give = |path: &Path| {
        let [uid, gid] = [uid, gid].map(|id| u32::try_from(id).ok());
        std::os::unix::fs::lchown(path, uid, gid).map_err(here("change the owner of", path))
    };
    give(path)?;
    if !path.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(here("read", path))?.flatten() {
        give(&entry.path())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_of_a_folder_is_the_folder_above() {
        assert_eq!((root_of("/drill/data"), last("/drill/data")), ("/drill", "data"));
    }

    #[test]
    fn what_is_packed_has_its_owner_and_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("a.db");
        fs::write(&main, b"rows").unwrap();
        fs::set_permissions(&main, Permissions::from_mode(0o640)).unwrap();
        let mut builder = Builder::new(tempfile::tempfile().unwrap());
        add(&mut builder, &main, "data/a.db", (1234, 5678)).unwrap();
        add(&mut builder, &beside(&main, "-wal"), "data/a.db-wal", (1, 1)).unwrap();
        let mut file = builder.into_inner().unwrap();
        file.rewind().unwrap();
        let mut archive = Archive::new(file);
        let heads: Vec<(u64, u64, u32, u64)> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let head = entry.header();
                (
                    head.uid().unwrap(),
                    head.gid().unwrap(),
                    head.mode().unwrap(),
                    head.size().unwrap(),
                )
            })
            .collect();
        assert_eq!(heads, [(1234, 5678, 0o640, 4)]);
    }
}
