//! Runs a [`Reconciler`] over the keys of a queue.
//!
//! ```text
//! Handle::{add, changed, …} ──▶ Queue ──▶ passes (bounded) ──▶ Action
//!                                 ▲                              │
//!                                 └── later, or after back-off ──┘
//! ```
//!
//! Guarantees:
//! - one pass at a time for each key, at most `parallelism` in all;
//! - a pass that panics counts as failed; the loop and all others go on;
//! - a key that fails waits for its back-off, whatever ordinary events arrive
//!   (they join the next pass), so that a failing key cannot spin on the
//!   events it causes itself; [`Handle::changed`], [`Handle::urgent`] and
//!   [`Handle::reset`] end the wait;
//! - the reasons of a pass that failed are given to the next pass again.
//!
//! What must not live here: why a key is reconciled, and what a pass does.

use crate::backoff::{Backoff, BackoffConfig};
use crate::coalesce::panic_message;
use crate::queue::Queue;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// What a controller runs.
pub trait Reconciler: Send + Sync + 'static {
    /// What is reconciled: the name of an object, not its content.
    type Key: Ord + Clone + Debug + Send + 'static;
    /// Why a pass runs; small, for the log.
    type Reason: Ord + Clone + Debug + Send + 'static;

    /// One pass. It looks at the state as it is now; the reasons are a hint
    /// and never what it decides by.
    fn reconcile(
        &self,
        key: Self::Key,
        context: Context<Self::Reason>,
    ) -> impl Future<Output = Action> + Send;
}

/// What a pass is told.
#[derive(Clone, Debug)]
pub struct Context<R> {
    /// Why it runs; empty when it was requeued by [`Action::RequeueAfter`].
    pub reasons: BTreeSet<R>,
    /// How many passes of this key failed in a row before this one.
    pub attempt: u32,
    /// Cancelled when a newer spec makes this pass pointless, and at shutdown.
    /// The pass ends at the next point where that is safe.
    pub cancel: CancellationToken,
}

/// What is to happen after a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until something changes.
    Done,
    /// It went well; look again after this time.
    RequeueAfter(Duration),
    /// It failed; try again after the back-off.
    RetryWithBackoff,
}

/// The settings of a controller.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// How many passes run at once, at least 1.
    pub parallelism: usize,
    /// How long failed keys wait.
    pub backoff: BackoffConfig,
    /// Fixes the spread of the back-off, for tests.
    pub seed: Option<u64>,
    /// How long passes that were cancelled at shutdown have to end before they
    /// are dropped.
    pub cancel_grace: Duration,
}

impl Default for ControllerConfig {
    /// 16 passes at once, 5 s of grace.
    fn default() -> Self {
        Self {
            parallelism: 16,
            backoff: BackoffConfig::default(),
            seed: None,
            cancel_grace: Duration::from_secs(5),
        }
    }
}

/// What the controller has done and is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Passes that ended.
    pub passes: u64,
    /// Of these, those that failed, panics included.
    pub errors: u64,
    /// Of the failed ones, those that panicked.
    pub panics: u64,
    /// Passes that were cancelled by a newer spec.
    pub superseded: u64,
    /// Passes begun after a failure of the same key.
    pub retries: u64,
    /// The time of all passes that ended, together.
    pub busy: Duration,
    /// Keys that wait, whether due or later.
    pub queued: usize,
    /// Passes that run now.
    pub running: usize,
}

/// How the passes that ran at shutdown ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Ended by themselves before the deadline.
    pub finished: usize,
    /// Ended after they were cancelled.
    pub cancelled: usize,
    /// Were dropped because they did not end.
    pub aborted: usize,
}

/// Starts the loop. It runs until [`Handle::shutdown`], also when every handle
/// is gone.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn<C: Reconciler>(reconciler: C, config: ControllerConfig) -> Handle<C::Key, C::Reason> {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            queue: Queue::new(),
            backoff: Backoff::new(config.backoff.clone(), config.seed),
            passes: BTreeMap::new(),
            stats: Stats::default(),
            close_at: None,
        }),
        wake: Notify::new(),
        progress: Notify::new(),
        ended: watch::Sender::new(None),
    });
    let handle = Handle {
        shared: Arc::clone(&shared),
    };
    let controller = Controller {
        reconciler: Arc::new(reconciler),
        config,
        shared,
        tasks: JoinSet::new(),
        keys: HashMap::new(),
    };
    tokio::spawn(controller.run());
    handle
}

/// Gives work to a controller; clones give it to the same one. After the
/// shutdown began, work is ignored.
pub struct Handle<K, R> {
    shared: Arc<Shared<K, R>>,
}

impl<K, R> Handle<K, R>
where
    K: Ord + Clone,
    R: Ord + Clone,
{
    /// Something happened that may concern `key`: run it soon, but not before
    /// its back-off ends.
    pub fn add(&self, key: K, reason: R) {
        self.add_after(key, Duration::ZERO, reason);
    }

    /// As [`Handle::add`], after `delay`.
    pub fn add_after(&self, key: K, delay: Duration, reason: R) {
        self.enqueue(|state, now| state.queue.add(key, now + delay, [reason]));
    }

    /// As [`Handle::add`] for many keys: the periodic resync.
    pub fn add_all(&self, keys: impl IntoIterator<Item = K>, reason: R) {
        self.enqueue(|state, now| {
            for key in keys {
                state.queue.add(key, now, [reason.clone()]);
            }
        });
    }

    /// Run `key` at once, and forget its back-off. A pass that runs goes on,
    /// and another follows it.
    pub fn urgent(&self, key: K, reason: R) {
        self.enqueue(|state, now| state.at_once(key, now, reason, false));
    }

    /// `key` has a new spec: cancel the pass that runs, if any, forget the
    /// back-off, and run it at once.
    pub fn changed(&self, key: K, reason: R) {
        self.enqueue(|state, now| state.at_once(key, now, reason, true));
    }

    /// Forget the back-off of `key`; if it waits for that, it runs now.
    pub fn reset(&self, key: &K) {
        self.enqueue(|state, now| {
            state.backoff.reset(key);
            state.queue.release(key, now);
        });
    }

    /// `key` is no more: drop what waits for it, and its back-off. A pass that
    /// runs goes on.
    pub fn forget(&self, key: &K) {
        self.enqueue(|state, _| {
            state.backoff.reset(key);
            state.queue.remove(key);
            if let Some(pass) = state.passes.get_mut(key) {
                pass.forgotten = true;
            }
        });
    }

    /// The counters as they are now.
    pub fn stats(&self) -> Stats {
        let state = self.shared.lock();
        Stats {
            queued: state.queue.waiting(),
            running: state.queue.running(),
            ..state.stats
        }
    }

    /// Waits until nothing runs and nothing is due. Work for later may wait.
    pub async fn idle(&self) {
        loop {
            let progress = self.shared.progress.notified();
            tokio::pin!(progress);
            // Registered before looking, so that progress in between wakes.
            progress.as_mut().enable();
            if self.shared.ended.borrow().is_some() || self.shared.lock().is_idle(Instant::now()) {
                return;
            }
            progress.await;
        }
    }

    /// Takes no more work, waits up to `deadline` for the passes that run,
    /// then cancels them, and drops what still runs after the grace period.
    /// May be called again, also to shorten the deadline.
    pub async fn shutdown(&self, deadline: Duration) -> ShutdownReport {
        {
            let mut state = self.shared.lock();
            let at = Instant::now() + deadline;
            state.close_at = Some(state.close_at.map_or(at, |earlier| earlier.min(at)));
        }
        self.shared.wake.notify_one();
        let mut ended = self.shared.ended.subscribe();
        // The sender is in `shared`, which this handle keeps alive.
        match ended.wait_for(Option::is_some).await {
            Ok(report) => report.unwrap_or_default(),
            Err(_) => ShutdownReport::default(),
        }
    }

    fn enqueue(&self, work: impl FnOnce(&mut State<K, R>, Instant)) {
        let mut state = self.shared.lock();
        if state.close_at.is_none() {
            work(&mut state, Instant::now());
            drop(state);
            self.shared.wake.notify_one();
        }
    }
}

struct Shared<K, R> {
    state: Mutex<State<K, R>>,
    /// Tells the loop that there is something to do.
    wake: Notify,
    /// Tells those who wait for idleness that a pass ended.
    progress: Notify,
    ended: watch::Sender<Option<ShutdownReport>>,
}

struct State<K, R> {
    queue: Queue<K, R>,
    backoff: Backoff<K>,
    passes: BTreeMap<K, Pass<R>>,
    stats: Stats,
    /// When the passes that run are cancelled; set when the shutdown begins.
    close_at: Option<Instant>,
}

struct Pass<R> {
    cancel: CancellationToken,
    started: Instant,
    reasons: BTreeSet<R>,
    /// A newer spec came: its failure does not count.
    superseded: bool,
    /// The key is urgent: its failure has no back-off.
    urgent: bool,
    /// The key is no more: its failure is not retried.
    forgotten: bool,
}

impl<K: Ord + Clone, R: Ord + Clone> State<K, R> {
    fn at_once(&mut self, key: K, now: Instant, reason: R, supersede: bool) {
        self.backoff.reset(&key);
        if let Some(pass) = self.passes.get_mut(&key) {
            pass.urgent = true;
            pass.forgotten = false;
            if supersede {
                pass.superseded = true;
                pass.cancel.cancel();
            }
        }
        self.queue.add_urgent(key, now, [reason]);
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.queue.running() == 0 && self.queue.next_due().is_none_or(|due| due > now)
    }

    /// Books the end of a pass; nothing in `action` means that it panicked.
    fn finish(&mut self, key: &K, action: Option<Action>, now: Instant) {
        self.queue.finish(key);
        let Some(pass) = self.passes.remove(key) else {
            return;
        };
        self.stats.passes += 1;
        self.stats.busy += now.duration_since(pass.started);
        self.stats.superseded += u64::from(pass.superseded);
        self.stats.panics += u64::from(action.is_none());
        match action.unwrap_or(Action::RetryWithBackoff) {
            Action::Done => self.backoff.reset(key),
            Action::RequeueAfter(delay) => {
                self.backoff.reset(key);
                if !pass.forgotten {
                    self.queue.add(key.clone(), now + delay, []);
                }
            }
            Action::RetryWithBackoff => {
                // Cut short by a newer spec is not a failure; a panic is.
                self.stats.errors += u64::from(!pass.superseded || action.is_none());
                if pass.forgotten {
                    return;
                }
                if pass.urgent {
                    self.queue.add(key.clone(), now, pass.reasons);
                } else {
                    let until = now + self.backoff.fail(key.clone());
                    self.queue.add(key.clone(), until, pass.reasons);
                    self.queue.hold(key.clone(), until);
                }
            }
        }
    }
}

struct Controller<C: Reconciler> {
    reconciler: Arc<C>,
    config: ControllerConfig,
    shared: Arc<Shared<C::Key, C::Reason>>,
    tasks: JoinSet<Action>,
    keys: HashMap<Id, C::Key>,
}

impl<C: Reconciler> Controller<C> {
    async fn run(mut self) {
        while let Some(next) = self.start_what_is_due() {
            let shared = Arc::clone(&self.shared);
            tokio::select! {
                Some(ended) = self.tasks.join_next_with_id() => self.book(ended),
                () = shared.wake.notified() => {}
                () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            }
        }
        let report = self.drain().await;
        self.shared.ended.send_replace(Some(report));
        self.shared.progress.notify_waiters();
    }

    /// Starts passes up to the limit, and gives the time of the next one that
    /// could start; nothing at all when the controller is to shut down.
    fn start_what_is_due(&mut self) -> Option<Option<Instant>> {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        if state.close_at.is_some() {
            return None;
        }
        let now = Instant::now();
        while state.queue.running() < self.config.parallelism.max(1) {
            let Some((key, reasons)) = state.queue.take(now) else {
                return Some(state.queue.next_due());
            };
            self.start(&mut state, key, reasons, now);
        }
        // At the limit: only the end of a pass makes room.
        Some(None)
    }

    fn start(
        &mut self,
        state: &mut State<C::Key, C::Reason>,
        key: C::Key,
        reasons: BTreeSet<C::Reason>,
        now: Instant,
    ) {
        let context = Context {
            reasons: reasons.clone(),
            attempt: state.backoff.failures(&key),
            cancel: CancellationToken::new(),
        };
        state.stats.retries += u64::from(context.attempt > 0);
        let pass = Pass {
            cancel: context.cancel.clone(),
            started: now,
            reasons,
            superseded: false,
            urgent: false,
            forgotten: false,
        };
        state.passes.insert(key.clone(), pass);
        tracing::debug!(?key, reasons = ?context.reasons, attempt = context.attempt, "pass begins");
        let (reconciler, argument) = (Arc::clone(&self.reconciler), key.clone());
        let task = self
            .tasks
            .spawn(async move { reconciler.reconcile(argument, context).await });
        self.keys.insert(task.id(), key);
    }

    fn book(&mut self, ended: Result<(Id, Action), JoinError>) {
        let (id, action) = match ended {
            Ok((id, action)) => (id, Some(action)),
            Err(error) => {
                let id = error.id();
                if let (Ok(panic), Some(key)) = (error.try_into_panic(), self.keys.get(&id)) {
                    tracing::error!(
                        ?key,
                        message = panic_message(panic.as_ref()),
                        "a pass panicked"
                    );
                }
                (id, None)
            }
        };
        if let Some(key) = self.keys.remove(&id) {
            self.shared.lock().finish(&key, action, Instant::now());
            self.shared.progress.notify_waiters();
        }
    }

    async fn drain(&mut self) -> ShutdownReport {
        let mut report = ShutdownReport::default();
        let shared = Arc::clone(&self.shared);
        loop {
            let close_at = shared.lock().close_at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                ended = self.tasks.join_next_with_id() => match ended {
                    Some(ended) => {
                        self.book(ended);
                        report.finished += 1;
                    }
                    None => return report,
                },
                () = sleep_until(close_at) => break,
                // The deadline may have been shortened.
                () = shared.wake.notified() => {}
            }
        }
        for pass in shared.lock().passes.values() {
            pass.cancel.cancel();
        }
        let give_up = Instant::now() + self.config.cancel_grace;
        while let Ok(ended) = tokio::time::timeout_at(give_up, self.tasks.join_next_with_id()).await
        {
            let Some(ended) = ended else { return report };
            self.book(ended);
            report.cancelled += 1;
        }
        report.aborted = self.tasks.len();
        tracing::warn!(
            passes = report.aborted,
            "dropping passes that did not end in time"
        );
        self.tasks.shutdown().await;
        report
    }
}

impl<K, R> Shared<K, R> {
    fn lock(&self) -> MutexGuard<'_, State<K, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, R> Clone for Handle<K, R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K, R> Debug for Handle<K, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "controller_tests.rs"]
mod tests;
