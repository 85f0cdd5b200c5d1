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
    #[error("cannot look at a copy of {path}")]
    Copy {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: TakeError,
    },
    /// A file could not be read.
    #[error("cannot read a schema")]
    Database(#[from] DatabaseError),
    /// There is no schema to look at.
    #[error("{0} holds no table: there is no schema to compare; give the file that a service wrote")]
    Empty(PathBuf),
    /// The tables are nobody's.
    #[error("{0} is neither a directory's nor a bus's database; say which with --service")]
    Nobodys(PathBuf),
    /// The tables are the other service's.
    #[error("{path} is of the {is}, not of the {said}; say --service {is}")]
    OfTheOther {
        /// The file.
        path: PathBuf,
        /// Whose it was said to be.
        said: Service,
        /// Whose it is.
        is: Service,
    },
}

/// Whose schema it is: as said, or recognised by its tables.
///
/// # Errors
/// [`SchemaError::Empty`], [`SchemaError::Nobodys`], [`SchemaError::OfTheOther`].
pub fn whose(schema: &Schema, said: Option<Service>, path: &Path) -> Result<Service, SchemaError> {
    if schema.rows.tables.is_empty() {
        return Err(SchemaError::Empty(path.to_owned()));
    }
    let is_marked = |service: &Service| {
        let mut tables = schema.rows.tables.iter();
        tables.any(|table| table.name == service.marker_table())
    };
    let marked: Vec<Service> = Service::ALL.into_iter().filter(is_marked).collect();
    match (said, marked.as_slice()) {
        (Some(said), [is]) if *is != said => Err(SchemaError::OfTheOther {
            path: path.to_owned(),
            said,
            is: *is,
        }),
        (Some(said), _) => Ok(said),
        (None, [first, ..]) => Ok(*first),
        (None, []) => Err(SchemaError::Nobodys(path.to_owned())),
    }
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
    let failed = |source| SchemaError::Copy {
        path: path.to_owned(),
        source,
    };
    let raw = copy_set(&set, &folder.path().join("raw")).map_err(|error| failed(error.into()))?;
    let made = consolidate(&raw, folder.path()).map_err(|error| failed(error.into()))?;
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
