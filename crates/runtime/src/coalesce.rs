//! One run for many callers.
//!
//! A step that serves everyone (a reload, a batch of users) is asked for by
//! many at nearly the same time. Requests gather until none came for a quiet
//! moment, or until the oldest has waited long enough; then one run serves
//! them all. Requests that arrive during a run share the next one, because the
//! run may have looked at the world before they changed it.
//!
//! Guarantees: one run at a time; every item is in exactly one run that began
//! after it was submitted; dropping a ticket does not take its item back; a
//! run that panics fails its own callers only.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// How long requests gather.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoalesceConfig {
    /// A run starts when no request came for this long.
    pub quiet: Duration,
    /// A request waits at most this long for others.
    pub max_delay: Duration,
}

impl Default for CoalesceConfig {
    /// 25 ms of quiet, at most 500 ms.
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(25),
            max_delay: Duration::from_millis(500),
        }
    }
}

/// Why a request has no result. What the run itself has to say, its errors
/// included, is in its result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CoalesceError {
    /// The run that the request was part of panicked.
    #[error("the shared run failed unexpectedly: {message}")]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The runtime is being shut down.
    #[error("the shared run did not happen: the program is shutting down")]
    Stopped,
}

/// Gathers requests and runs them together; clones share the same runs.
pub struct Coalescer<T, R> {
    requests: mpsc::UnboundedSender<Request<T, R>>,
    counts: Arc<Counts>,
}

struct Request<T, R> {
    item: T,
    arrived: Instant,
    reply: oneshot::Sender<Result<R, CoalesceError>>,
}

#[derive(Default)]
struct Counts {
    items: AtomicU64,
    runs: AtomicU64,
}

impl<T, R> Coalescer<T, R>
where
    T: Send + 'static,
    R: Clone + Send + 'static,
{
    /// Starts the coalescer; `run` gets the items of one run in the order in
    /// which they were submitted. It ends, its last items run, when the last
    /// clone is dropped.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn<F, Fut>(config: CoalesceConfig, run: F) -> Self
    where
        F: FnMut(Vec<T>) -> Fut + Send + 'static,
        Fut: Future<Output = R> + Send + 'static,
    {
        let (sender, receiver) = mpsc::unbounded_channel();
        let counts = Arc::new(Counts::default());
        let worker = Worker {
            config,
            run,
            requests: receiver,
            counts: Arc::clone(&counts),
        };
        tokio::spawn(worker.work());
        Self {
            requests: sender,
            counts,
        }
    }

    /// Submits `item` at once, before the ticket is first polled. The ticket
    /// gives the result of the run that included it.
    pub fn submit(&self, item: T) -> Ticket<R> {
        let (reply, result) = oneshot::channel();
        self.counts.items.fetch_add(1, Ordering::Relaxed);
        // Fails only when the runtime is going down; the ticket then says so.
        let _ = self.requests.send(Request {
            item,
            arrived: Instant::now(),
            reply,
        });
        Ticket { result }
    }

    /// How many items were submitted so far.
    pub fn items(&self) -> u64 {
        self.counts.items.load(Ordering::Relaxed)
    }

    /// How many runs were begun so far.
    pub fn runs(&self) -> u64 {
        self.counts.runs.load(Ordering::Relaxed)
    }
}

/// The claim on the result of a run. Dropping it gives up the result only.
#[derive(Debug)]
pub struct Ticket<R> {
    result: oneshot::Receiver<Result<R, CoalesceError>>,
}

impl<R> Future for Ticket<R> {
    type Output = Result<R, CoalesceError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result)
            .poll(cx)
            .map(|result| result.unwrap_or(Err(CoalesceError::Stopped)))
    }
}

struct Worker<T, R, F> {
    config: CoalesceConfig,
    run: F,
    requests: mpsc::UnboundedReceiver<Request<T, R>>,
    counts: Arc<Counts>,
}

impl<T, R, F, Fut> Worker<T, R, F>
where
    R: Clone + Send + 'static,
    F: FnMut(Vec<T>) -> Fut,
    Fut: Future<Output = R> + Send + 'static,
{
    async fn work(mut self) {
        while let Some(first) = self.requests.recv().await {
            let batch = self.gather(first).await;
            self.counts.runs.fetch_add(1, Ordering::Relaxed);
            let (items, replies): (Vec<_>, Vec<_>) = batch
                .into_iter()
                .map(|request| (request.item, request.reply))
                .unzip();
            let result = self.run_caught(items).await;
            for reply in replies {
                // A caller that went away wants no answer.
                let _ = reply.send(result.clone());
            }
        }
    }

    /// The requests that share the next run.
    async fn gather(&mut self, first: Request<T, R>) -> Vec<Request<T, R>> {
        let deadline = first.arrived + self.config.max_delay;
        let mut latest = first.arrived;
        let mut batch = vec![first];
        loop {
            // What waited during a run has gathered there already.
            while let Ok(request) = self.requests.try_recv() {
                latest = request.arrived;
                batch.push(request);
            }
            let until = (latest + self.config.quiet).min(deadline);
            if until <= Instant::now() {
                return batch;
            }
            match timeout_at(until, self.requests.recv()).await {
                Ok(Some(request)) => {
                    latest = request.arrived;
                    batch.push(request);
                }
                Ok(None) | Err(_) => return batch,
            }
        }
    }

    async fn run_caught(&mut self, items: Vec<T>) -> Result<R, CoalesceError> {
        // The call that makes the future is the caller's code as well.
        let run = &mut self.run;
        let made = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || run(items)));
        let message = match made {
            Ok(future) => match tokio::spawn(future).await {
                Ok(result) => return Ok(result),
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => panic_message(panic.as_ref()),
                    Err(_) => return Err(CoalesceError::Stopped),
                },
            },
            Err(panic) => panic_message(panic.as_ref()),
        };
        tracing::error!(message, "a shared run panicked");
        Err(CoalesceError::Panicked { message })
    }
}

/// What a caught panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".to_owned())
}

impl<T, R> Clone for Coalescer<T, R> {
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            counts: Arc::clone(&self.counts),
        }
    }
}

impl<T, R> std::fmt::Debug for Coalescer<T, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coalescer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::sleep;

    const MS: Duration = Duration::from_millis(1);

    /// When a run began, in milliseconds, and what it got.
    type Run = (u128, Vec<u32>);

    /// A run that takes `takes`, tells what it got and when, and returns it.
    fn recorder(takes: Duration) -> (Coalescer<u32, Vec<u32>>, mpsc::UnboundedReceiver<Run>) {
        let (log, runs) = mpsc::unbounded_channel();
        let start = Instant::now();
        let coalescer = Coalescer::spawn(CoalesceConfig::default(), move |items: Vec<u32>| {
            let _ = log.send((start.elapsed().as_millis(), items.clone()));
            async move {
                sleep(takes).await;
                assert!(!items.contains(&13), "unlucky");
                items
            }
        });
        (coalescer, runs)
    }

    #[tokio::test(start_paused = true)]
    async fn a_thousand_requests_at_once_share_one_run() {
        let (coalescer, _runs) = recorder(100 * MS);
        let tickets: Vec<_> = (100..1100).map(|n| coalescer.submit(n)).collect();
        for ticket in tickets {
            assert_eq!(ticket.await.expect("run").len(), 1000);
        }
        assert_eq!((coalescer.runs(), coalescer.items()), (1, 1000));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_request_waits_for_the_quiet_window_only() {
        let (coalescer, mut runs) = recorder(MS);
        coalescer.submit(1).await.expect("run");
        assert_eq!(runs.recv().await, Some((25, vec![1])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_steady_stream_is_run_when_the_oldest_waited_long_enough() {
        let (coalescer, mut runs) = recorder(MS);
        for n in 100..160 {
            drop(coalescer.submit(n));
            sleep(10 * MS).await;
        }
        let (at, items) = runs.recv().await.expect("run");
        assert_eq!(at, 500);
        assert!(items.len() >= 50, "{items:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn requests_during_a_run_share_the_next_run() {
        let (coalescer, mut runs) = recorder(1000 * MS);
        let first = coalescer.submit(1);
        assert_eq!(runs.recv().await, Some((25, vec![1])));
        let during: Vec<_> = (2..5).map(|n| coalescer.submit(n)).collect();
        sleep(900 * MS).await;
        let last = coalescer.submit(5);
        assert_eq!(first.await, Ok(vec![1]));
        for ticket in during.into_iter().chain([last]) {
            assert_eq!(ticket.await, Ok(vec![2, 3, 4, 5]));
        }
        // Their quiet window passed during the run, so the next began at once.
        assert_eq!(runs.recv().await, Some((1025, vec![2, 3, 4, 5])));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_just_before_the_end_of_a_run_has_its_quiet_window() {
        let (coalescer, mut runs) = recorder(100 * MS);
        let _first = coalescer.submit(1);
        runs.recv().await.expect("run");
        let _early = coalescer.submit(2);
        sleep(95 * MS).await;
        // At 120 ms; the first run ends at 125 ms.
        let _late = coalescer.submit(3);
        assert_eq!(runs.recv().await, Some((145, vec![2, 3])));
    }

    #[tokio::test(start_paused = true)]
    async fn the_item_of_a_dropped_ticket_runs() {
        let (coalescer, mut runs) = recorder(MS);
        drop(coalescer.submit(7));
        drop(coalescer);
        assert_eq!(runs.recv().await.map(|(_, items)| items), Some(vec![7]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_fails_its_callers_and_the_coalescer_lives_on() {
        let (coalescer, _runs) = recorder(MS);
        let (one, two) = (coalescer.submit(12), coalescer.submit(13));
        let panicked = Err(CoalesceError::Panicked {
            message: "unlucky".to_owned(),
        });
        assert_eq!((one.await, two.await), (panicked.clone(), panicked));
        assert_eq!(coalescer.submit(14).await, Ok(vec![14]));

        let picky: Coalescer<u32, u32> = Coalescer::spawn(CoalesceConfig::default(), |items| {
            assert_eq!(items, [1], "only one");
            async { 1 }
        });
        assert!(matches!(
            picky.submit(2).await,
            Err(CoalesceError::Panicked { .. })
        ));
        assert_eq!(picky.submit(1).await, Ok(1));
    }
}
