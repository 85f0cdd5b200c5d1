//! Waiting for a named condition: often at first, then less, never a fixed sleep.

use std::future::Future;
use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// How long the first pause is kept before it grows.
const EAGER: Duration = Duration::from_millis(250);

/// How a wait ended well. Times are since the wait began, monotonic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ready {
    /// When the condition was first seen to hold.
    pub after: Duration,
    /// When it was last seen not to hold; `None` if the first look succeeded.
    pub last_failed: Option<Duration>,
    /// How often it was looked.
    pub looks: u32,
}

/// What one look saw.
#[derive(Debug)]
pub enum Look {
    /// The condition holds.
    Holds,
    /// Not yet, and why.
    NotYet(String),
    /// It never will, and why: the wait ends at once.
    Never(String),
}

/// Why a wait ended without the condition.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The limit passed.
    #[error("{condition}: not within {} ms ({looks} looks, the last one: {last})", limit.as_millis())]
    TooLong {
        /// What was waited for.
        condition: String,
        /// How long.
        limit: Duration,
        /// How often it was looked.
        looks: u32,
        /// What the last look saw.
        last: String,
    },
    /// It became clear that it will never hold.
    #[error("{condition}: {why}")]
    Impossible {
        /// What was waited for.
        condition: String,
        /// Why it cannot come.
        why: String,
    },
}

/// Looks until the condition holds, can never hold, or `limit` has passed.
///
/// # Errors
/// [`WaitError`], naming the condition, the limit and what the last look saw.
pub async fn until<F, Fut>(condition: &str, limit: Duration, mut look: F) -> Result<Ready, WaitError>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Look>,
{
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut last_failed = None;
    let mut looks = 0;
    loop {
        let asked = began.elapsed();
        looks += 1;
        let last = match look().await {
            Look::Holds => {
                return Ok(Ready {
                    after: began.elapsed(),
                    last_failed,
                    looks,
                });
            }
            Look::Never(why) => {
                return Err(WaitError::Impossible {
                    condition: condition.to_owned(),
                    why,
                });
            }
            Look::NotYet(why) => why,
        };
        last_failed = Some(asked);
        if began.elapsed() + pause > limit {
            return Err(WaitError::TooLong {
                condition: condition.to_owned(),
                limit,
                looks,
                last,
            });
        }
        tokio::time::sleep(pause).await;
        if began.elapsed() > EAGER {
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_condition_that_holds_at_once_has_no_failed_look() {
        let ready = until("x", Duration::from_secs(1), || async { Look::Holds })
            .await
            .unwrap();
        assert_eq!((ready.last_failed, ready.looks), (None, 1));
    }

    #[tokio::test]
    async fn a_limit_names_the_condition_and_the_last_look() {
        let wait = until("bus answers", Duration::from_millis(5), || async {
            Look::NotYet("refused".to_owned())
        });
        let error = wait.await.unwrap_err().to_string();
        assert!(error.contains("bus answers") && error.contains("refused"), "{error}");
    }

    #[tokio::test]
    async fn an_impossible_condition_ends_the_wait_at_once() {
        let began = Instant::now();
        let wait = until("x", Duration::from_secs(60), || async {
            Look::Never("exited".to_owned())
        });
        assert!(wait.await.is_err() && began.elapsed() < Duration::from_secs(5));
    }
}
