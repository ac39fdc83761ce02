//! The delay queue: which key runs when.
//!
//! Guarantees:
//! - a key waits at most once: adding it again merges the reasons, and the
//!   earlier of the two times wins;
//! - a key that was taken does not come out again before [`Queue::finish`];
//!   what is added meanwhile waits for that, and is not lost;
//! - a key on *hold* (back-off) does not come out before the hold ends,
//!   whatever is added, unless it is added as urgent.
//!
//! It is a plain value: the time is always passed in, so that every law can be
//! tested without a clock. Waiting, waking and running are the controller's.

use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// A deduplicating delay queue with at most one run at a time for each key.
#[derive(Debug)]
pub struct Queue<K, R> {
    waiting: BTreeMap<K, Entry<R>>,
    /// The waiting keys that are not running, by time, then by arrival.
    order: BTreeSet<(Instant, u64, K)>,
    held: BTreeMap<K, Instant>,
    running: BTreeSet<K>,
    arrivals: u64,
}

#[derive(Debug)]
struct Entry<R> {
    at: Instant,
    arrival: u64,
    reasons: BTreeSet<R>,
}

impl<K, R> Default for Queue<K, R> {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            order: BTreeSet::new(),
            held: BTreeMap::new(),
            running: BTreeSet::new(),
            arrivals: 0,
        }
    }
}

impl<K: Ord + Clone, R: Ord> Queue<K, R> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `key` run at `at`, or earlier if it already waits for an earlier
    /// time, but not before its hold ends.
    pub fn add(&mut self, key: K, at: Instant, reasons: impl IntoIterator<Item = R>) {
        let at = self.held.get(&key).map_or(at, |until| at.max(*until));
        self.insert(key, at, reasons);
    }

    /// As [`Queue::add`], and ends the hold of the key.
    pub fn add_urgent(&mut self, key: K, at: Instant, reasons: impl IntoIterator<Item = R>) {
        self.held.remove(&key);
        self.insert(key, at, reasons);
    }

    /// Keeps `key` back until `until`, whether it waits already or is added
    /// later. The hold ends when the key is taken, released or removed.
    pub fn hold(&mut self, key: K, until: Instant) {
        if self.waiting.get(&key).is_some_and(|entry| entry.at < until) {
            self.reschedule(&key, until);
        }
        self.held.insert(key, until);
    }

    /// Ends the hold of `key`; if it waits, it waits at most until `now`.
    pub fn release(&mut self, key: &K, now: Instant) {
        if self.held.remove(key).is_some()
            && self.waiting.get(key).is_some_and(|entry| entry.at > now)
        {
            self.reschedule(key, now);
        }
    }

    /// Takes the key that has been due the longest, with the reasons it was
    /// added for. It counts as running until [`Queue::finish`].
    pub fn take(&mut self, now: Instant) -> Option<(K, BTreeSet<R>)> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, _, key) = self.order.pop_first()?;
        let entry = self.waiting.remove(&key)?;
        self.held.remove(&key);
        self.running.insert(key.clone());
        Some((key, entry.reasons))
    }

    /// Says that the run of `key` is over, so that it may run again.
    pub fn finish(&mut self, key: &K) {
        if self.running.remove(key)
            && let Some(entry) = self.waiting.get(key)
        {
            self.order.insert((entry.at, entry.arrival, key.clone()));
        }
    }

    /// Drops what waits for `key`, and its hold. A run is not touched.
    pub fn remove(&mut self, key: &K) {
        self.held.remove(key);
        if let Some(entry) = self.waiting.remove(key) {
            self.order.remove(&(entry.at, entry.arrival, key.clone()));
        }
    }

    /// When the next key can be taken; none if every waiting key is running.
    pub fn next_due(&self) -> Option<Instant> {
        self.order.first().map(|(at, _, _)| *at)
    }

    /// When `key` is to run, if it waits.
    pub fn due(&self, key: &K) -> Option<Instant> {
        self.waiting.get(key).map(|entry| entry.at)
    }

    /// Whether `key` was taken and has not finished.
    pub fn is_running(&self, key: &K) -> bool {
        self.running.contains(key)
    }

    /// How many keys wait, those that are running as well included.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many keys are running.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    fn insert(&mut self, key: K, at: Instant, reasons: impl IntoIterator<Item = R>) {
        if let Some(entry) = self.waiting.get_mut(&key) {
            entry.reasons.extend(reasons);
            if at < entry.at {
                self.reschedule(&key, at);
            }
            return;
        }
        let arrival = self.arrivals;
        self.arrivals += 1;
        let reasons = reasons.into_iter().collect();
        if !self.running.contains(&key) {
            self.order.insert((at, arrival, key.clone()));
        }
        self.waiting.insert(
            key,
            Entry {
                at,
                arrival,
                reasons,
            },
        );
    }

    fn reschedule(&mut self, key: &K, at: Instant) {
        let Some(entry) = self.waiting.get_mut(key) else {
            return;
        };
        let old = (entry.at, entry.arrival, key.clone());
        entry.at = at;
        if self.order.remove(&old) {
            self.order.insert((at, old.1, old.2));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(base: Instant, ms: u64) -> Instant {
        base + Duration::from_millis(ms)
    }

    #[test]
    fn earliest_time_wins_and_reasons_merge() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.add("a", at(now, 100), ["slow"]);
        queue.add("a", at(now, 10), ["fast"]);
        queue.add("a", at(now, 50), ["middle"]);
        assert_eq!(queue.waiting(), 1);
        assert_eq!(queue.next_due(), Some(at(now, 10)));
        assert_eq!(queue.take(at(now, 9)), None);
        let (key, reasons) = queue.take(at(now, 10)).expect("due");
        assert_eq!(
            (key, reasons),
            ("a", BTreeSet::from(["fast", "middle", "slow"]))
        );
        assert_eq!(queue.take(at(now, 1000)), None);
    }

    #[test]
    fn keys_due_at_the_same_time_come_in_order_of_arrival() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for key in ["c", "a", "b"] {
            queue.add(key, now, [()]);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.take(now))
            .map(|(key, _)| key)
            .collect();
        assert_eq!(order, ["c", "a", "b"]);
    }

    #[test]
    fn a_running_key_added_again_runs_again_after() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.add("a", now, [1]);
        queue.take(now).expect("due");
        queue.add("a", now, [2]);
        assert_eq!((queue.next_due(), queue.take(now)), (None, None));
        queue.finish(&"a");
        assert_eq!(queue.take(now), Some(("a", BTreeSet::from([2]))));
    }

    #[test]
    fn a_hold_keeps_ordinary_work_back_and_urgent_work_ends_it() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.add("a", now, [1]);
        queue.hold("a", at(now, 100));
        queue.add("a", now, [2]);
        assert_eq!(queue.due(&"a"), Some(at(now, 100)));
        queue.add_urgent("a", at(now, 5), [3]);
        assert_eq!(
            queue.take(at(now, 5)),
            Some(("a", BTreeSet::from([1, 2, 3])))
        );

        queue.finish(&"a");
        queue.hold("a", at(now, 100));
        queue.add("a", at(now, 6), [4]);
        queue.release(&"a", at(now, 7));
        assert_eq!(queue.due(&"a"), Some(at(now, 7)));
    }

    #[derive(Clone, Debug)]
    enum Op {
        Add { key: u8, after: u64 },
        Urgent { key: u8, after: u64 },
        Hold { key: u8, after: u64 },
        Release { key: u8 },
        Remove { key: u8 },
        Take,
        Finish { nth: usize },
        Pass { ms: u64 },
    }

    fn op() -> impl Strategy<Value = Op> {
        let key = 0..4_u8;
        prop_oneof![
            4 => (key.clone(), 0..50_u64).prop_map(|(key, after)| Op::Add { key, after }),
            1 => (key.clone(), 0..50_u64).prop_map(|(key, after)| Op::Urgent { key, after }),
            1 => (key.clone(), 0..50_u64).prop_map(|(key, after)| Op::Hold { key, after }),
            1 => key.clone().prop_map(|key| Op::Release { key }),
            1 => key.prop_map(|key| Op::Remove { key }),
            4 => Just(Op::Take),
            3 => (0..4_usize).prop_map(|nth| Op::Finish { nth }),
            3 => (0..40_u64).prop_map(|ms| Op::Pass { ms }),
        ]
    }

    /// What the queue promises for one key, written down in the plainest way.
    #[derive(Default, Clone)]
    struct Model {
        due: Option<u64>,
        hold: Option<u64>,
        reasons: BTreeSet<usize>,
        running: bool,
    }

    impl Model {
        fn add(&mut self, at: u64, reason: usize) {
            let at = at.max(self.hold.unwrap_or(0));
            self.due = Some(self.due.map_or(at, |due| due.min(at)));
            self.reasons.insert(reason);
        }
    }

    proptest! {
        /// Never two at once for a key; earliest wins; no reason is lost; the
        /// key that has been due the longest comes first.
        #[test]
        fn the_queue_keeps_its_promises(ops in prop::collection::vec(op(), 1..120)) {
            let base = Instant::now();
            let mut queue: Queue<u8, usize> = Queue::new();
            let mut model: BTreeMap<u8, Model> = (0..4).map(|key| (key, Model::default())).collect();
            let mut now = 0;
            for (step, op) in ops.into_iter().enumerate() {
                match op {
                    Op::Pass { ms } => now += ms,
                    Op::Add { key, after } => {
                        queue.add(key, at(base, now + after), [step]);
                        model.get_mut(&key).unwrap().add(now + after, step);
                    }
                    Op::Urgent { key, after } => {
                        queue.add_urgent(key, at(base, now + after), [step]);
                        let model = model.get_mut(&key).unwrap();
                        model.hold = None;
                        model.add(now + after, step);
                    }
                    Op::Hold { key, after } => {
                        queue.hold(key, at(base, now + after));
                        let model = model.get_mut(&key).unwrap();
                        model.hold = Some(now + after);
                        model.due = model.due.map(|due| due.max(now + after));
                    }
                    Op::Release { key } => {
                        queue.release(&key, at(base, now));
                        let model = model.get_mut(&key).unwrap();
                        if model.hold.take().is_some() {
                            model.due = model.due.map(|due| due.min(now));
                        }
                    }
                    Op::Remove { key } => {
                        queue.remove(&key);
                        let model = model.get_mut(&key).unwrap();
                        *model = Model { running: model.running, ..Model::default() };
                    }
                    Op::Take => {
                        let earliest = model
                            .values()
                            .filter(|model| !model.running)
                            .filter_map(|model| model.due)
                            .filter(|due| *due <= now)
                            .min();
                        match queue.take(at(base, now)) {
                            None => prop_assert_eq!(earliest, None),
                            Some((key, reasons)) => {
                                let model = model.get_mut(&key).unwrap();
                                prop_assert!(!model.running, "two at once for {}", key);
                                prop_assert_eq!(model.due, earliest);
                                prop_assert_eq!(&model.reasons, &reasons);
                                *model = Model { running: true, ..Model::default() };
                            }
                        }
                    }
                    Op::Finish { nth } => {
                        let key = model.iter().filter(|(_, m)| m.running).map(|(k, _)| *k).nth(nth);
                        if let Some(key) = key {
                            queue.finish(&key);
                            model.get_mut(&key).unwrap().running = false;
                        }
                    }
                }
                for (key, model) in &model {
                    prop_assert_eq!(queue.due(key), model.due.map(|due| at(base, due)));
                    prop_assert_eq!(queue.is_running(key), model.running);
                }
                let next = model.values().filter(|m| !m.running).filter_map(|m| m.due).min();
                prop_assert_eq!(queue.next_due(), next.map(|due| at(base, due)));
            }

            // Nothing lost: with runs finished and time enough, every key that
            // was added comes out with every reason it was added for.
            for (key, model) in &mut model {
                if std::mem::take(&mut model.running) {
                    queue.finish(key);
                }
            }
            while let Some((key, reasons)) = queue.take(at(base, now + 1000)) {
                prop_assert_eq!(&std::mem::take(&mut model.get_mut(&key).unwrap().reasons), &reasons);
            }
            prop_assert!(model.values().all(|model| model.reasons.is_empty()));
            prop_assert_eq!(queue.waiting(), 0);
        }
    }
}
