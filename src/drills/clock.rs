//! The wall clock of one run, as the harness reads it. A fault may step it; durations never come from it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

/// A wall clock. Clones are the same clock: a step of one is a step of all.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<AtomicI64>);

impl Clock {
    /// The wall clock's time.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        let ahead = jiff::SignedDuration::from_millis(self.0.load(Ordering::SeqCst));
        // A step beyond the range of times leaves the clock where it is.
        let real = jiff::Timestamp::now();
        real.checked_add(ahead).unwrap_or(real)
    }

    /// Steps the clock, milliseconds; below zero: back.
    pub fn step(&self, step_ms: i64) {
        self.0.fetch_add(step_ms, Ordering::SeqCst);
    }

    /// This moment on both clocks.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment {
            monotonic: Instant::now(),
            wall: self.now(),
        }
    }
}

/// One moment, on the clock that only runs forward and on the one that people read.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For durations.
    pub monotonic: Instant,
    /// For records.
    pub wall: jiff::Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_moves_the_wall_clock_of_all_clones_and_no_duration() {
        let clock = Clock::default();
        let was = clock.moment();
        clock.clone().step(-3_600_000);
        let is = clock.moment();
        assert!(is.wall < was.wall && is.monotonic >= was.monotonic);
        assert!((is.wall.as_millisecond() - was.wall.as_millisecond() + 3_600_000).abs() < 60_000);
    }
}
