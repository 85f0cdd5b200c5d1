//! The checks that look at files only: of the snapshot before the restore, of the restored files before the first start.

use crate::drills::context::{DrillContext, Stop};
use crate::drills::proving::Written;
use crate::drills::restoring::Prepared;
use crate::drills::taking::Taken;

/// Looks at the snapshot.
///
/// # Errors
/// [`Stop`] when a worker is lost.
pub async fn snapshot(
    context: &mut DrillContext,
    taken: &Taken,
    prepared: &Prepared,
    written: Option<&Written>,
) -> Result<(), Stop> {
    let _ = (context, taken, prepared, written);
    Ok(())
}

/// Looks at the restored files, before any service opens them.
///
/// # Errors
/// [`Stop`] when a worker is lost.
pub async fn restored(context: &mut DrillContext, taken: &Taken, prepared: &Prepared) -> Result<(), Stop> {
    let _ = (context, taken, prepared);
    Ok(())
}
