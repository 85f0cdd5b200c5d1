//! How long SQLite may work on a file that anybody may have prepared: a view, a CHECK constraint or an index on an expression can
//! be made to run for ever.
//!
//! Counted is the time within statements, by SQLite's own progress callback; what passes between them is not.

use rusqlite::Connection;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What every file is allowed.
const BASE: Duration = Duration::from_secs(10);
/// The same once a file was met that runs without an end: a drill opens its copies many times.
const BASE_AFTERWARDS: Duration = Duration::from_secs(2);
/// What a file is allowed besides for each of its bytes: two seconds a MiB, about a hundred times what an honest file takes.
const NANOSECONDS_A_BYTE: u64 = 2_000;
/// Steps of SQLite's machine between two looks at the clock. A step may be a function call that takes long.
const STEPS: i32 = 100;
static MET_ENDLESS: AtomicBool = AtomicBool::new(false);

/// What one statement cannot have used without a look at the clock.
const LONGEST_GAP: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Meter {
    left: Duration,
    last: Instant,
}

/// The time that a connection has left.
#[derive(Debug, Clone)]
pub(crate) struct WorkLimit(Arc<Mutex<Meter>>);

impl WorkLimit {
    /// Limits a connection by the size of its file.
    pub(crate) fn by_size(connection: &mut Connection, bytes: u64) -> rusqlite::Result<WorkLimit> {
        let base = if MET_ENDLESS.load(Ordering::Relaxed) {
            BASE_AFTERWARDS
        } else {
            BASE
        };
        let limit = base.saturating_add(Duration::from_nanos(bytes.saturating_mul(NANOSECONDS_A_BYTE)));
        WorkLimit::of(connection, limit)
    }

    /// Limits a connection.
    pub(crate) fn of(connection: &mut Connection, limit: Duration) -> rusqlite::Result<WorkLimit> {
        let meter = Arc::new(Mutex::new(Meter {
            left: limit,
            last: Instant::now(),
        }));
        let seen = Arc::clone(&meter);
        connection.progress_handler(
            STEPS,
            Some(move || {
                let mut meter = seen.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let gap = now.saturating_duration_since(meter.last).min(LONGEST_GAP);
                meter.last = now;
                meter.left = meter.left.saturating_sub(gap);
                let is_over = meter.left.is_zero();
                if is_over {
                    MET_ENDLESS.store(true, Ordering::Relaxed);
                }
                is_over
            }),
        )?;
        Ok(WorkLimit(meter))
    }

    /// A statement begins: the time since the last one is not counted.
    pub(crate) fn begins(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last = Instant::now();
    }

    /// Sets what is left.
    #[cfg(test)]
    pub(crate) fn set(&self, left: Duration) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).left = left;
    }
}

/// Whether SQLite stopped because its time was over.
pub(crate) fn is_over(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
}
