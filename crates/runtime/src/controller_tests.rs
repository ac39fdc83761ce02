//! The controller under a paused clock. The harness lets each pass report that
//! it began, and wait until the test tells it how to end.

use super::*;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

const SECOND: Duration = Duration::from_secs(1);

struct Began {
    key: &'static str,
    context: Context<&'static str>,
    at: Instant,
    end: oneshot::Sender<Outcome>,
}

enum Outcome {
    End(Action),
    Panic,
    /// Ends with a failure as soon as it is cancelled.
    WhenCancelled,
    /// Never ends, cancelled or not.
    Never,
}

struct Scripted(mpsc::UnboundedSender<Began>);

impl Reconciler for Scripted {
    type Key = &'static str;
    type Reason = &'static str;

    async fn reconcile(&self, key: &'static str, context: Context<&'static str>) -> Action {
        let (end, ending) = oneshot::channel();
        let cancel = context.cancel.clone();
        let _ = self.0.send(Began {
            key,
            context,
            at: Instant::now(),
            end,
        });
        match ending.await {
            Ok(Outcome::End(action)) => action,
            Ok(Outcome::Panic) => panic!("as told"),
            Ok(Outcome::WhenCancelled) => {
                cancel.cancelled().await;
                Action::RetryWithBackoff
            }
            Ok(Outcome::Never) | Err(_) => std::future::pending().await,
        }
    }
}

struct Harness {
    handle: Handle<&'static str, &'static str>,
    begun: mpsc::UnboundedReceiver<Began>,
}

impl Harness {
    fn new(parallelism: usize) -> Self {
        let (sender, begun) = mpsc::unbounded_channel();
        let config = ControllerConfig {
            parallelism,
            seed: Some(1),
            ..Default::default()
        };
        Self {
            handle: spawn(Scripted(sender), config),
            begun,
        }
    }

    async fn next(&mut self) -> Began {
        timeout(3600 * SECOND, self.begun.recv())
            .await
            .expect("a pass within an hour")
            .expect("loop")
    }

    async fn idle(&self) {
        timeout(3600 * SECOND, self.handle.idle())
            .await
            .expect("idle within an hour");
    }

    /// Nothing begins for `time`. The clock is paused: this costs none.
    async fn quiet(&mut self, time: Duration) {
        if let Ok(Some(began)) = timeout(time, self.begun.recv()).await {
            panic!("{} began because of {:?}", began.key, began.context.reasons);
        }
    }
}

impl Began {
    fn end(self, action: Action) {
        let _ = self.end.send(Outcome::End(action));
    }

    fn reasons(&self) -> Vec<&'static str> {
        self.context.reasons.iter().copied().collect()
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_added_many_times_runs_once_with_all_reasons() {
    let mut test = Harness::new(4);
    for reason in ["unit", "file", "unit"] {
        test.handle.add("a", reason);
    }
    let pass = test.next().await;
    assert_eq!(
        (pass.key, pass.reasons(), pass.context.attempt),
        ("a", vec!["file", "unit"], 0)
    );
    pass.end(Action::Done);
    test.idle().await;
    test.quiet(3600 * SECOND).await;
    let stats = test.handle.stats();
    assert_eq!(
        (stats.passes, stats.errors, stats.queued, stats.running),
        (1, 0, 0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn never_twice_at_once_and_work_added_meanwhile_follows() {
    let mut test = Harness::new(4);
    test.handle.add("a", "first");
    let pass = test.next().await;
    test.handle.add("a", "second");
    test.quiet(60 * SECOND).await;
    assert_eq!(
        (test.handle.stats().queued, test.handle.stats().running),
        (1, 1)
    );
    pass.end(Action::Done);
    assert_eq!(test.next().await.reasons(), ["second"]);
}

#[tokio::test(start_paused = true)]
async fn parallelism_is_bounded_and_a_stuck_key_does_not_stop_the_others() {
    let mut test = Harness::new(2);
    test.handle.add_all(["a", "b", "c", "d"], "resync");
    let (stuck, b) = (test.next().await, test.next().await);
    test.quiet(SECOND).await;
    let _ = stuck.end.send(Outcome::Never);
    b.end(Action::Done);
    let c = test.next().await;
    assert_eq!(c.key, "c");
    test.quiet(SECOND).await;
    c.end(Action::Done);
    assert_eq!(test.next().await.key, "d");
}

#[tokio::test(start_paused = true)]
async fn requeue_after_runs_again_then_and_earlier_work_comes_earlier() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    let pass = test.next().await;
    let start = pass.at;
    pass.end(Action::RequeueAfter(10 * SECOND));
    let pass = test.next().await;
    assert_eq!((pass.at - start, pass.reasons()), (10 * SECOND, vec![]));
    pass.end(Action::RequeueAfter(10 * SECOND));
    test.quiet(3 * SECOND).await;
    test.handle.add("a", "event");
    let pass = test.next().await;
    assert_eq!(
        (pass.at - start, pass.reasons()),
        (13 * SECOND, vec!["event"])
    );
    pass.end(Action::Done);
    test.quiet(60 * SECOND).await;
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_to_the_cap_and_success_resets() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    let mut last = Instant::now();
    for attempt in 0..12_u32 {
        let pass = test.next().await;
        assert_eq!(
            (pass.context.attempt, pass.reasons()),
            (attempt, vec!["start"])
        );
        if attempt > 0 {
            let ceiling = BackoffConfig::default().ceiling(attempt);
            let waited = pass.at - last;
            assert!(
                waited >= ceiling / 2 && waited <= ceiling + SECOND / 100,
                "{attempt}: {waited:?}"
            );
        }
        last = pass.at;
        pass.end(Action::RetryWithBackoff);
    }
    test.next().await.end(Action::Done);
    test.handle.add("a", "again");
    let pass = test.next().await;
    assert_eq!(pass.context.attempt, 0);
    pass.end(Action::RetryWithBackoff);
    let started = Instant::now();
    let pass = test.next().await;
    assert!(pass.at - started <= SECOND + SECOND / 100);
    let stats = test.handle.stats();
    assert_eq!((stats.passes, stats.errors, stats.retries), (14, 13, 13));
}

/// A failing key must not spin on the events that its own passes cause.
#[tokio::test(start_paused = true)]
async fn ordinary_events_wait_for_the_back_off_and_urgent_ones_do_not() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    for _ in 0..6 {
        test.next().await.end(Action::RetryWithBackoff);
    }
    let pass = test.next().await;
    test.handle.add("a", "event during");
    pass.end(Action::RetryWithBackoff);
    test.idle().await;
    test.handle.add("a", "event after");
    test.handle.add_all(["a"], "resync");
    test.quiet(30 * SECOND).await;
    let now = Instant::now();
    test.handle.urgent("a", "person");
    let pass = test.next().await;
    assert_eq!((pass.at, pass.context.attempt), (now, 0));
    assert_eq!(
        pass.reasons(),
        ["event after", "event during", "person", "resync", "start"]
    );

    pass.end(Action::RetryWithBackoff);
    test.idle().await;
    let now = Instant::now();
    test.handle.reset(&"a");
    assert_eq!(test.next().await.at, now);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_of_its_key_only() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    let _ = test.next().await.end.send(Outcome::Panic);
    test.handle.add("b", "start");
    let other = test.next().await;
    assert_eq!(other.key, "b");
    other.end(Action::Done);
    let again = test.next().await;
    assert_eq!(
        (again.key, again.context.attempt, again.reasons()),
        ("a", 1, vec!["start"])
    );
    again.end(Action::Done);
    test.idle().await;
    let stats = test.handle.stats();
    assert_eq!(
        (stats.passes, stats.errors, stats.panics, stats.running),
        (3, 1, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_spec_cancels_the_pass_and_runs_at_once_without_back_off() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    for _ in 0..5 {
        test.next().await.end(Action::RetryWithBackoff);
    }
    let pass = test.next().await;
    let _ = pass.end.send(Outcome::WhenCancelled);
    test.quiet(60 * SECOND).await;
    assert!(!pass.context.cancel.is_cancelled());
    let now = Instant::now();
    test.handle.changed("a", "new spec");
    let next = test.next().await;
    assert!(pass.context.cancel.is_cancelled() && !next.context.cancel.is_cancelled());
    assert_eq!((next.at, next.context.attempt), (now, 0));
    assert_eq!(next.reasons(), ["new spec", "start"]);
    next.end(Action::Done);
    test.idle().await;
    assert_eq!(
        (test.handle.stats().superseded, test.handle.stats().errors),
        (1, 5)
    );

    // A key in back-off runs at once as well.
    test.handle.add("b", "start");
    test.next().await.end(Action::RetryWithBackoff);
    test.idle().await;
    let now = Instant::now();
    test.handle.changed("b", "new spec");
    assert_eq!(test.next().await.at, now);
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_key_is_not_retried_until_it_is_added_again() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    let pass = test.next().await;
    test.handle.add("a", "event");
    test.handle.forget(&"a");
    pass.end(Action::RetryWithBackoff);
    test.quiet(3600 * SECOND).await;
    test.handle.add("a", "back");
    let pass = test.next().await;
    assert_eq!((pass.context.attempt, pass.reasons()), (0, vec!["back"]));
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_then_cancels_then_drops() {
    let mut test = Harness::new(3);
    test.handle
        .add_all(["quick", "slow", "stuck", "waiting"], "start");
    let (quick, slow, stuck) = (test.next().await, test.next().await, test.next().await);
    let start = Instant::now();
    let handle = test.handle.clone();
    let shutdown = tokio::spawn(async move { handle.shutdown(30 * SECOND).await });
    test.quiet(10 * SECOND).await;
    quick.end(Action::Done);
    let _ = slow.end.send(Outcome::WhenCancelled);
    let _ = stuck.end.send(Outcome::Never);
    test.handle.changed("waiting", "too late");
    let report = shutdown.await.expect("no panic");
    assert_eq!(
        report,
        ShutdownReport {
            finished: 1,
            cancelled: 1,
            aborted: 1
        }
    );
    assert_eq!(start.elapsed().as_secs(), 35);
    assert!(slow.context.cancel.is_cancelled());
    // Asking again gives the same answer, and idleness does not hang.
    assert_eq!(test.handle.shutdown(SECOND).await, report);
    test.idle().await;
    assert!(
        test.begun.recv().await.is_none(),
        "the loop is gone, and nothing began meanwhile"
    );
}

#[tokio::test(start_paused = true)]
async fn a_second_shutdown_can_shorten_the_first() {
    let mut test = Harness::new(1);
    test.handle.add("a", "start");
    let _ = test.next().await.end.send(Outcome::WhenCancelled);
    let (start, handle) = (Instant::now(), test.handle.clone());
    let slow = tokio::spawn(async move { handle.shutdown(600 * SECOND).await });
    test.quiet(SECOND).await;
    test.handle.shutdown(Duration::ZERO).await;
    assert_eq!(slow.await.expect("no panic").cancelled, 1);
    assert_eq!(start.elapsed().as_secs(), 1);
}
