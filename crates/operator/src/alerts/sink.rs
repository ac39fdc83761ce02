//! The task of one sink: takes note of what is wrong, writes messages, keeps
//! them, and sends them one after the other.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::alert::{Message, Outbox, Pace};
use cb_core::api::Kind;
use cb_core::event::{Event, Reason};
use cb_runtime::backoff::Backoff;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::spool::Spool;
use super::transport::{DeliveryError, Transport};
use super::{Known, Patience};
use crate::recorder::Recorder;

/// The longest sleep: after a clock that was set, things are due anew.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// What is shown of a sink.
#[derive(Debug, Clone, Default)]
pub(super) struct SinkStatus {
    pub(super) waiting: usize,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) last_delivered: Option<Timestamp>,
    pub(super) error: Option<String>,
}

/// One sink.
pub(super) struct Sink {
    pub(super) name: String,
    pub(super) host: String,
    pub(super) pace: Pace,
    pub(super) transport: Arc<Transport>,
    pub(super) spool: Spool,
    pub(super) recorder: Recorder,
    pub(super) patience: Patience,
    pub(super) status: Arc<Mutex<SinkStatus>>,
}

impl Sink {
    /// Goes on until `stop` is cancelled. A message that is being sent then is
    /// sent to the end, so that its answer is not lost.
    pub(super) async fn run(self, mut known: Known, stop: CancellationToken) {
        let kept = self.spool.load();
        let mut outbox = kept.unwrap_or_else(|| Outbox::new(&self.host, Timestamp::now()));
        let mut backoff = Backoff::new(self.patience.backoff.clone(), None);
        let mut retry: Option<Instant> = None;
        let mut unsaved = false;
        while !stop.is_cancelled() {
            let now = Timestamp::now();
            let judgements = Arc::clone(&known.borrow_and_update());
            unsaved |= outbox.observe(&judgements, now);
            let (written, lost) = outbox.tick(&self.pace, now);
            unsaved |= written > 0;
            if lost > 0 {
                self.undeliverable("its queue is full, the oldest messages are dropped");
            }
            unsaved = unsaved && !self.save(&outbox).await;
            self.lock().waiting = outbox.waiting();
            let may_send = retry.is_none_or(|at| at <= Instant::now());
            if may_send && let Some(message) = outbox.head().cloned() {
                match self.transport.deliver(&message).await {
                    Ok(()) => {
                        backoff.reset(&());
                        retry = None;
                        self.delivered(&message);
                        outbox.done(&message.id);
                        unsaved |= !self.save(&outbox).await;
                    }
                    Err(error) => {
                        retry = Some(Instant::now() + backoff.fail(()));
                        self.failed(&message, &error);
                        if self.is_given_up(&message) {
                            outbox.done(&message.id);
                            unsaved |= !self.save(&outbox).await;
                        }
                    }
                }
                continue;
            }
            let wait = self.wait(&outbox, retry);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
                changed = known.changed() => {
                    if changed.is_err() {
                        // The feed ends only when the operator stops.
                        stop.cancelled().await;
                    }
                }
            }
        }
    }

    /// How long there is nothing to do, if nothing changes.
    fn wait(&self, outbox: &Outbox, retry: Option<Instant>) -> Duration {
        let now = Timestamp::now();
        let due = outbox
            .next(&self.pace, now)
            .map(|at| Duration::try_from(at.duration_since(now)).unwrap_or(Duration::ZERO));
        let retry = retry.filter(|_| outbox.head().is_some());
        let retry = retry.map(|at| at.saturating_duration_since(Instant::now()));
        [due, retry]
            .into_iter()
            .flatten()
            .fold(LONGEST_SLEEP, Duration::min)
    }

    /// Whether it is on the disk now. If not, messages go out nevertheless: a
    /// full disk is what people must be told of.
    async fn save(&self, outbox: &Outbox) -> bool {
        match self.spool.save(outbox).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(
                    sink = self.name,
                    "alerts for {} are not kept over a restart: {error}",
                    self.name
                );
                false
            }
        }
    }

    fn is_given_up(&self, message: &Message) -> bool {
        let age = Timestamp::now().duration_since(message.created);
        let limit = SignedDuration::try_from(self.patience.give_up).unwrap_or(SignedDuration::MAX);
        age > limit
    }

    fn delivered(&self, message: &Message) {
        let mut status = self.lock();
        if status.error.take().is_some() {
            tracing::info!(
                sink = self.name,
                "alert sink {} takes messages again",
                self.name
            );
        }
        status.last_delivered = Some(Timestamp::now());
        status.delivered += 1;
        status.waiting = status.waiting.saturating_sub(1);
        tracing::debug!(sink = self.name, id = message.id, "an alert was delivered");
    }

    fn failed(&self, message: &Message, error: &DeliveryError) {
        let error = error.to_string();
        tracing::debug!(
            sink = self.name,
            id = message.id,
            "an alert was not delivered: {error}"
        );
        self.undeliverable(&error);
        let mut status = self.lock();
        status.failed += 1;
        status.error = Some(error);
    }

    fn undeliverable(&self, why: &str) {
        let known = self.lock().error.as_deref() == Some(why);
        if !known {
            tracing::warn!(sink = self.name, "alert sink {}: {why}", self.name);
        }
        let note = format!("sink {}: {why}", self.name);
        let event = Event::new(Kind::Host, &self.host, Reason::AlertUndeliverable, note);
        self.recorder.record(event);
    }

    fn lock(&self) -> MutexGuard<'_, SinkStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
