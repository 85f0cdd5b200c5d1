//! The schemas that the gate looks at: what the services of an environment create on empty files.

use crate::deployment::Service;
use crate::deployment::schema::Schema;
use crate::drills::context::{DrillContext, DrillRequest, Progress, UsageError, chain};
use crate::drills::reference::workspace_root;
use crate::drills::{Ending, restoring, source};
use crate::snapshot::TakeError;
use crate::snapshot::consolidate::consolidate;
use crate::snapshot::database::{Database, DatabaseError};
use crate::snapshot::file_set::FileSet;
use crate::snapshot::raw::copy_set;
use crate::snapshot::schema_rows::schema;
use std::path::{Path, PathBuf};

/// Why no schema was seen.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Known before anything was started.
    #[error(transparent)]
    Usage(#[from] UsageError),
    /// The services could not be started on empty files, or not be stopped.
    #[error("the services created no schema: {0}")]
    Services(String),
    /// No folder for a copy.
    #[error("cannot make a temporary folder for a copy of the database")]
    Scratch(#[source] std::io::Error),
    /// A file could not be copied.
    #[error("cannot copy the database")]
    Copy(#[from] TakeError),
    /// A file could not be read.
    #[error("cannot read a schema")]
    Database(#[from] DatabaseError),
}

/// The folder of the locked schemas.
#[must_use]
pub fn locks_folder() -> PathBuf {
    workspace_root().join("fixtures/schemas")
}

/// The schema of a database file and its `-wal`; a copy of both is looked at.
///
/// # Errors
/// [`SchemaError`].
pub fn of_file(path: &Path) -> Result<Schema, SchemaError> {
    let folder = tempfile::tempdir().map_err(SchemaError::Scratch)?;
    // Whose it is does not matter to a copy.
    let set = FileSet::new(Service::Directory, path);
    let raw = copy_set(&set, &folder.path().join("raw")).map_err(TakeError::from)?;
    let made = consolidate(&raw, folder.path()).map_err(TakeError::from)?;
    Ok(schema(&Database::open(&made.path)?)?)
}

/// Starts both services on empty files, stops them, and gives the schemas that they created. Nothing is left of the run.
///
/// # Errors
/// [`SchemaError`].
pub async fn created(
    request: DrillRequest,
    progress: Box<dyn Progress>,
) -> Result<Vec<(Service, Schema)>, SchemaError> {
    let mut context = DrillContext::new(request, progress)?;
    let seen = Box::pin(look(&mut context)).await;
    context.remove_containers().await;
    context.discard();
    match seen {
        Ok(folder) => folder,
        Err(Ending::Usage(error)) => Err(error.into()),
        Err(Ending::Stop(stop)) => Err(SchemaError::Services(chain(&stop))),
    }
}

async fn look(context: &mut DrillContext) -> Result<Result<Vec<(Service, Schema)>, SchemaError>, Ending> {
    let mut deployment = source::deployment(context).await?;
    let prepared = restoring::prove_clean(context, &mut deployment, &[], None).await?;
    let read = |service: Service| {
        let schema = schema(&Database::open(&prepared.plain.join(service.database_file()))?)?;
        Ok((service, schema))
    };
    Ok(Service::ALL.into_iter().map(read).collect())
}
