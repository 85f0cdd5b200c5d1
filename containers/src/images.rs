//! Images: whether they are there, who runs in them, and the reference services' own, made of a static build.

use crate::chain;
use crate::engine::ContainerEngine;
use crate::files;
use crate::leftovers::{self, DEADLINE, RUN};
use futures_util::StreamExt as _;
use recovery_drills::drills::reference;
use recovery_drills::runtime::engine::EngineError;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use tar::{Archive, Builder, Header};
use testcontainers::bollard::errors::Error;
use testcontainers::bollard::models::{ContainerCreateBody, HostConfig, Mount};
use testcontainers::bollard::query_parameters::{BuildImageOptionsBuilder, CreateContainerOptionsBuilder};
use testcontainers::bollard::{Docker, body_try_stream};
use tokio::sync::OnceCell;
use tokio_util::io::ReaderStream;

/// The repository of the reference services' image; its tag is the hash of its content.
pub const REFERENCE_REPOSITORY: &str = "recovery-drills/reference-services";
/// Who runs in it: not root, as in real images.
const REFERENCE_USER: &str = "1234:1234";
const ENTRY: &str = "reference-services";
/// Where SQLite may put temporary files: an image from nothing has no other place.
const TEMPORARY: &str = "/drill/data";
/// How long a look into an image may take, seconds.
const LOOK_LIMIT_S: i64 = 60;

/// Whether the engine has the image; nothing is pulled.
pub(crate) async fn is_there(engine: &ContainerEngine, image: &str) -> Result<(), EngineError> {
    match engine.docker().inspect_image(image).await {
        Ok(_) => Ok(()),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Err(EngineError(format!(
            "the container engine has no image {image}; build, load or pull it first, or name another one"
        ))),
        Err(error) => Err(EngineError(format!(
            "cannot look for the image {image}: {}",
            chain(&error)
        ))),
    }
}

/// Repository and tag of an image's name; a colon may also stand before a registry's port.
pub(crate) fn name_and_tag(image: &str) -> (&str, &str) {
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (image, "latest"),
    }
}

/// The reference services' image, made once: where the engine has an image of this content, it is used.
pub(crate) async fn reference(engine: &ContainerEngine) -> Result<String, EngineError> {
    static IMAGE: OnceCell<String> = OnceCell::const_new();
    let image = IMAGE.get_or_try_init(|| async {
        let built = tokio::task::spawn_blocking(reference::ensure_static).await;
        let binary = built
            .map_err(|error| EngineError(error.to_string()))?
            .map_err(|error| EngineError(chain(&error)))?;
        let packed =
            pack(&binary).map_err(|error| EngineError(format!("cannot pack {}: {error}", binary.display())))?;
        let image = format!("{REFERENCE_REPOSITORY}:{}", packed.tag);
        if is_there(engine, &image).await.is_err() {
            build(engine, &image, packed).await?;
        }
        Ok(image)
    });
    image.await.cloned()
}

struct Packed {
    archive: std::fs::File,
    tag: String,
}

/// What the image is built of: the binary and how it is run; the tag is the hash of both.
fn pack(binary: &Path) -> std::io::Result<Packed> {
    let recipe = format!(
        "FROM scratch\nCOPY {ENTRY} /{ENTRY}\n\
         ENV REFERENCE_BIND=0.0.0.0 SQLITE_TMPDIR={TEMPORARY}\nUSER {REFERENCE_USER}\nENTRYPOINT [\"/{ENTRY}\"]\n"
    );
    let mut program = std::fs::File::open(binary)?;
    let mut builder = Builder::new(tempfile::tempfile()?);
    let mut head = Header::new_gnu();
    head.set_mode(0o644);
    head.set_size(recipe.len() as u64);
    builder.append_data(&mut head, "Dockerfile", recipe.as_bytes())?;
    let mut head = Header::new_gnu();
    head.set_mode(0o755);
    head.set_size(program.metadata()?.len());
    builder.append_data(&mut head, ENTRY, &mut program)?;
    let mut archive = builder.into_inner()?;
    archive.rewind()?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match archive.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    archive.rewind()?;
    let tag: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Packed { archive, tag })
}

/// Built by the engine's own builder: no registry is asked, and no other program is needed.
async fn build(engine: &ContainerEngine, image: &str, packed: Packed) -> Result<(), EngineError> {
    let options = BuildImageOptionsBuilder::new().t(image).rm(true).forcerm(true).build();
    let body = body_try_stream(ReaderStream::new(tokio::fs::File::from_std(packed.archive)));
    let mut answers = std::pin::pin!(engine.docker().build_image(options, None, Some(body)));
    while let Some(answer) = answers.next().await {
        answer.map_err(|error| EngineError(format!("cannot build the reference image: {}", chain(&error))))?;
    }
    is_there(engine, image).await
}

/// Makes a container of an image that is never started; its name.
pub(crate) async fn never_started(
    docker: &Docker,
    image: &str,
    labels: HashMap<String, String>,
    mount: Option<&Mount>,
) -> Result<String, EngineError> {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        // An image without a command cannot be made a container of.
        cmd: Some(vec!["never-started".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            mounts: mount.map(|mount| vec![mount.clone()]),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let options = CreateContainerOptionsBuilder::new().build();
    let made = docker.create_container(Some(options), body).await;
    let made = made.map_err(|error| EngineError(format!("cannot make a container of {image}: {}", chain(&error))))?;
    Ok(made.id)
}

/// Who runs in containers of an image: uid and gid; names are looked up in the image's own files.
pub(crate) async fn user(engine: &ContainerEngine, image: &str) -> Result<(u64, u64), EngineError> {
    let seen = engine.docker().inspect_image(image).await;
    let seen = seen.map_err(|error| EngineError(format!("cannot look at the image {image}: {}", chain(&error))))?;
    let user = seen.config.and_then(|config| config.user).unwrap_or_default();
    let (user, group) = user
        .split_once(':')
        .map_or((user.as_str(), None), |(user, group)| (user, Some(group)));
    let (user, group) = if user.is_empty() { ("0", group) } else { (user, group) };
    let group = group.filter(|group| !group.is_empty());
    if let Ok(uid) = user.parse()
        && let Ok(gid) = group.unwrap_or("0").parse()
    {
        return Ok((uid, gid));
    }
    let accounts = accounts(engine, image).await?;
    let named = |file: &str, name: &str| fields(accounts.get(file).map_or("", String::as_str), name);
    let row = named("passwd", user);
    let uid = user.parse().ok().or_else(|| row.as_ref()?.get(2)?.parse().ok());
    let gid = match group {
        Some(group) => group
            .parse()
            .ok()
            .or_else(|| named("group", group)?.get(2)?.parse().ok()),
        None => row.as_ref().and_then(|row| row.get(3)?.parse().ok()).or(Some(0)),
    };
    match (uid, gid) {
        (Some(uid), Some(gid)) => Ok((uid, gid)),
        _ => Err(EngineError(format!(
            "the image {image} runs as {user}, whom its /etc/passwd does not know; give its USER as numbers"
        ))),
    }
}

/// The fields of the row of a name.
fn fields(text: &str, name: &str) -> Option<Vec<String>> {
    let rows = text
        .lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    rows.into_iter()
        .find(|row| row.first().is_some_and(|first| first == name))
}

/// `/etc/passwd` and `/etc/group` of an image, as far as they exist.
async fn accounts(engine: &ContainerEngine, image: &str) -> Result<HashMap<String, String>, EngineError> {
    let deadline = jiff::Timestamp::now().as_second() + LOOK_LIMIT_S;
    let labels = HashMap::from([
        (RUN.to_owned(), "look-at-image".to_owned()),
        (DEADLINE.to_owned(), deadline.to_string()),
    ]);
    let helper = never_started(engine.docker(), image, labels, None).await?;
    let mut found = HashMap::new();
    for name in ["passwd", "group"] {
        // An image without the file knows no names.
        if let Ok(archive) = files::download(engine.docker(), &helper, &format!("/etc/{name}")).await {
            let mut archive = Archive::new(archive);
            for mut entry in archive.entries().into_iter().flatten().flatten() {
                let mut text = String::new();
                if entry.read_to_string(&mut text).is_ok() {
                    found.insert(name.to_owned(), text);
                }
            }
        }
    }
    leftovers::remove_container(engine.docker(), &helper).await?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_stands_after_the_last_colon_but_not_before_a_slash() {
        assert_eq!(name_and_tag("beam/bus:1.6"), ("beam/bus", "1.6"));
        assert_eq!(name_and_tag("beam/bus"), ("beam/bus", "latest"));
        assert_eq!(
            name_and_tag("registry.local:5000/bus"),
            ("registry.local:5000/bus", "latest")
        );
    }

    #[test]
    fn a_name_is_looked_up_in_the_rows_of_accounts() {
        let text = "root:x:0:0::/:/bin/sh\nnode:x:1000:1001::/:/bin/sh\n";
        let row = fields(text, "node").expect("a row");
        assert_eq!((row[2].as_str(), row[3].as_str()), ("1000", "1001"));
        assert_eq!(fields(text, "nobody"), None);
    }
}
