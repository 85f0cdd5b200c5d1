//! Several drills at once, each on a thread of its own: what one waits for or computes holds no other up, whose looks would
//! run into their time limits.

use crate::drills::context::UsageError;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// Makes one drill; its future stays on the thread that makes it.
pub(crate) type Job<T> = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = T>>> + Send>;

/// The threads; dropped, they give their drills up and end.
struct Workers {
    given_up: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.given_up.send_replace(true);
        for thread in self.threads.drain(..) {
            // A panic was told to whoever waits for the results, by their end.
            let _ = thread.join();
        }
    }
}

/// Runs the jobs, so many at a time, and hands over what comes of each as it comes. Fewer results than jobs mean that a
/// thread was lost.
pub(crate) async fn run<T: Send + 'static>(jobs: Vec<Job<T>>, at_once: usize, mut ended: impl FnMut(T)) {
    let count = at_once.clamp(1, jobs.len().max(1));
    let waiting = Arc::new(Mutex::new(VecDeque::from(jobs)));
    let (results, mut came) = mpsc::unbounded_channel();
    let (given_up, _) = watch::channel(false);
    let threads = (0..count).map(|_| {
        let (waiting, results, runtime) = (Arc::clone(&waiting), results.clone(), Handle::current());
        let mut stop = given_up.subscribe();
        std::thread::spawn(move || {
            while let Some(job) = next(&waiting) {
                let ended = runtime.block_on(async {
                    tokio::select! {
                        ended = job() => Some(ended),
                        _ = stop.wait_for(|stop| *stop) => None,
                    }
                });
                let Some(ended) = ended else { return };
                if results.send(ended).is_err() {
                    return;
                }
            }
        })
    });
    let workers = Workers {
        threads: threads.collect(),
        given_up,
    };
    drop(results);
    while let Some(result) = came.recv().await {
        ended(result);
    }
    drop(workers);
}

/// A lost thread must not look like fewer drills.
///
/// # Errors
/// [`UsageError`]: fewer came than were wanted.
pub(crate) fn all_came(came: usize, wanted: usize) -> Result<(), UsageError> {
    if came == wanted {
        return Ok(());
    }
    Err(UsageError(format!(
        "only {came} of {wanted} drills came to an end: a defect of the harness stopped a thread; please report it"
    )))
}

fn next<T>(waiting: &Mutex<VecDeque<Job<T>>>) -> Option<Job<T>> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    fn job(work: impl Future<Output = u32> + Send + 'static) -> Job<u32> {
        Box::new(move || Box::pin(work))
    }

    #[tokio::test]
    async fn a_job_that_blocks_its_thread_holds_no_other_up() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let blocks = job(async move {
            let _ = held.recv();
            1
        });
        let goes_on = job(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let _ = release.send(());
            2
        });
        let mut seen = Vec::new();
        run(vec![blocks, goes_on], 2, |result| seen.push(result)).await;
        seen.sort_unstable();
        assert_eq!(seen, [1, 2]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn given_up_jobs_end_before_whoever_gave_them_up_goes_on() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let jobs = (0..2).map(|_| {
            let counted = Counted(Arc::clone(&dropped));
            job(async move {
                let _counted = counted;
                std::future::pending().await
            })
        });
        let began = Instant::now();
        let running = run(jobs.collect(), 2, |_| {});
        assert!(tokio::time::timeout(Duration::from_millis(50), running).await.is_err());
        assert_eq!(dropped.load(Ordering::SeqCst), 2);
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
