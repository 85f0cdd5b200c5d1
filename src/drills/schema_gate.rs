//! The schemas that the gate looks at: what the services of an environment create on empty files.

use crate::deployment::Service;
use crate::deployment::schema::Schema;
use crate::drills::context::{DrillContext, DrillRequest, Progress, UsageError, chain};
use crate::drills::reference::workspace_root;
use crate::drills::{Ending, restoring, source};
use crate::snapshot::database::{Database, DatabaseError};
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
    /// A file could not be read.
    #[error("cannot read a schema")]
    Database(#[from] DatabaseError),
}

/// The folder of the locked schemas.
#[must_use]
pub fn locks_folder() -> PathBuf {
    workspace_root().join("fixtures/schemas")
}

/// The schema of a consolidated database file; the file is only read.
///
/// # Errors
/// [`DatabaseError`].
pub fn of_file(path: &Path) -> Result<Schema, DatabaseError> {
    schema(&Database::open(path)?)
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
        let schema = of_file(&prepared.plain.join(service.database_file()))?;
        Ok((service, schema))
    };
    Ok(Service::ALL.into_iter().map(read).collect())
}
