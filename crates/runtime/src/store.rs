//! A shared map whose every change has a revision and can be watched.
//!
//! The revision grows by one with each change and never goes back, as
//! Kubernetes' `resourceVersion` does. A watcher that lists, and then watches
//! from the revision of the list, sees every change exactly once and in order,
//! or is told that it came too late; it is never skipped ahead silently.
//!
//! What must not live here: what the values mean, and how they travel.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// A shared map with revisions; clones share the same content.
pub struct Store<K, V> {
    shared: Arc<Shared<K, V>>,
}

/// A value and the revision that it was last changed at.
#[derive(Debug, PartialEq, Eq)]
pub struct Versioned<V> {
    /// The revision of the last change of this value.
    pub revision: u64,
    /// The value.
    pub value: Arc<V>,
}

/// The whole content at one revision.
#[derive(Debug)]
pub struct Listing<K, V> {
    /// The revision of the store; watch from here to miss nothing.
    pub revision: u64,
    /// Every value, by key.
    pub items: BTreeMap<K, Versioned<V>>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The revision of the value after the write.
    pub revision: u64,
    /// Whether it differed from what was there.
    pub changed: bool,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was not there before.
    Added,
    /// Its value is another one.
    Modified,
    /// It is gone.
    Deleted,
}

/// One change of the store.
#[derive(Debug, PartialEq, Eq)]
pub struct Change<K, V> {
    /// The revision of this change; each is one more than that before it.
    pub revision: u64,
    /// What happened.
    pub kind: ChangeKind,
    /// To which key.
    pub key: K,
    /// The new value; the last one where the key was deleted.
    pub value: Arc<V>,
    /// The value before; none where the key was added.
    pub before: Option<Arc<V>>,
}

/// Why a watch cannot go on. The remedy is the same for both: list again, and
/// watch from the revision of the list (in Kubernetes' words, 410 Gone).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// The changes that follow the revision are no longer kept.
    #[error(
        "revision {asked} is too old: changes are kept after revision {oldest} only; \
         list again and watch from the revision of the list"
    )]
    TooOld {
        /// The revision asked for.
        asked: u64,
        /// The oldest revision that can be watched from.
        oldest: u64,
    },
    /// This store has not reached the revision; it was given by another one.
    #[error(
        "revision {asked} is not known: the newest is {newest}; \
         list again and watch from the revision of the list"
    )]
    Unknown {
        /// The revision asked for.
        asked: u64,
        /// The newest revision there is.
        newest: u64,
    },
}

struct Shared<K, V> {
    inner: Mutex<Inner<K, V>>,
    revision: watch::Sender<u64>,
}

struct Inner<K, V> {
    revision: u64,
    items: BTreeMap<K, Versioned<V>>,
    /// The last changes, without gaps, the newest at the back.
    history: VecDeque<Arc<Change<K, V>>>,
    limit: usize,
}

impl<K: Ord + Clone, V: PartialEq> Store<K, V> {
    /// An empty store at revision 0 that keeps the last `history` changes.
    pub fn new(history: usize) -> Self {
        Self::starting_at(0, history)
    }

    /// An empty store at a revision of the caller's choice.
    ///
    /// A store does not outlive its process. Starting from a number that grows
    /// over restarts (the time in microseconds) makes the revisions of an
    /// earlier process too old here, instead of plausible and wrong.
    pub fn starting_at(revision: u64, history: usize) -> Self {
        let inner = Inner {
            revision,
            items: BTreeMap::new(),
            history: VecDeque::new(),
            limit: history.max(1),
        };
        let shared = Shared {
            inner: Mutex::new(inner),
            revision: watch::Sender::new(revision),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The value of `key`.
    pub fn get(&self, key: &K) -> Option<Versioned<V>> {
        self.shared.lock().items.get(key).cloned()
    }

    /// Every value, and the revision to watch from.
    pub fn list(&self) -> Listing<K, V> {
        let inner = self.shared.lock();
        Listing {
            revision: inner.revision,
            items: inner.items.clone(),
        }
    }

    /// The revision of the last change.
    pub fn revision(&self) -> u64 {
        self.shared.lock().revision
    }

    /// Puts `value` at `key`. An equal value changes nothing: no revision, no
    /// event.
    pub fn set(&self, key: K, value: V) -> Written {
        let mut inner = self.shared.lock();
        let (kind, before) = match inner.items.get(&key) {
            Some(old) if *old.value == value => {
                return Written {
                    revision: old.revision,
                    changed: false,
                };
            }
            Some(old) => (ChangeKind::Modified, Some(Arc::clone(&old.value))),
            None => (ChangeKind::Added, None),
        };
        let value = Arc::new(value);
        let revision = inner.record(kind, key.clone(), (Arc::clone(&value), before));
        inner.items.insert(key, Versioned { revision, value });
        self.shared.revision.send_replace(revision);
        Written {
            revision,
            changed: true,
        }
    }

    /// Takes `key` out, and gives what was there.
    pub fn remove(&self, key: &K) -> Option<Arc<V>> {
        let mut inner = self.shared.lock();
        let old = inner.items.remove(key)?;
        let last = Arc::clone(&old.value);
        let values = (Arc::clone(&last), Some(last));
        let revision = inner.record(ChangeKind::Deleted, key.clone(), values);
        self.shared.revision.send_replace(revision);
        Some(old.value)
    }

    /// Every change after `revision`, in order: first those that are past,
    /// then those to come.
    ///
    /// # Errors
    /// If the changes after `revision` are no longer kept, or if this store
    /// never was at that revision.
    pub fn watch_from(&self, revision: u64) -> Result<Watch<K, V>, WatchError> {
        self.shared.lock().check(revision)?;
        let notice = self.shared.revision.subscribe();
        Ok(Watch {
            shared: Arc::clone(&self.shared),
            position: revision,
            notice,
        })
    }
}

/// A reader of the changes; see [`Store::watch_from`].
pub struct Watch<K, V> {
    shared: Arc<Shared<K, V>>,
    position: u64,
    notice: watch::Receiver<u64>,
}

impl<K, V> Watch<K, V> {
    /// The next change; waits for one if there is none. Cancel-safe.
    ///
    /// # Errors
    /// If this reader was so slow that the next change is no longer kept. It
    /// stays so: list again and start a new watch.
    pub async fn next(&mut self) -> Result<Arc<Change<K, V>>, WatchError> {
        loop {
            // Marked as seen before looking, so that a change in between wakes.
            self.notice.borrow_and_update();
            if let Some(change) = self.try_next()? {
                return Ok(change);
            }
            // The sender is in `shared`, which this reader keeps alive.
            let _ = self.notice.changed().await;
        }
    }

    /// The next change if it has happened already.
    ///
    /// # Errors
    /// As [`Watch::next`].
    pub fn try_next(&mut self) -> Result<Option<Arc<Change<K, V>>>, WatchError> {
        let change = self.shared.lock().after(self.position)?;
        if let Some(change) = &change {
            self.position = change.revision;
        }
        Ok(change)
    }

    /// The revision of the last change that was read.
    pub fn position(&self) -> u64 {
        self.position
    }
}

impl<K, V> Shared<K, V> {
    fn lock(&self) -> MutexGuard<'_, Inner<K, V>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K, V> Inner<K, V> {
    /// With the new value and the one before.
    fn record(
        &mut self,
        kind: ChangeKind,
        key: K,
        (value, before): (Arc<V>, Option<Arc<V>>),
    ) -> u64 {
        self.revision += 1;
        if self.history.len() == self.limit {
            self.history.pop_front();
        }
        self.history.push_back(Arc::new(Change {
            revision: self.revision,
            kind,
            key,
            value,
            before,
        }));
        self.revision
    }

    fn check(&self, asked: u64) -> Result<(), WatchError> {
        let (newest, oldest) = (self.revision, self.revision - self.history.len() as u64);
        if asked > newest {
            return Err(WatchError::Unknown { asked, newest });
        }
        if asked < oldest {
            return Err(WatchError::TooOld { asked, oldest });
        }
        Ok(())
    }

    fn after(&self, position: u64) -> Result<Option<Arc<Change<K, V>>>, WatchError> {
        self.check(position)?;
        // The history has no gaps, so the distance from its end is the index.
        let behind = usize::try_from(self.revision - position).unwrap_or(usize::MAX);
        Ok(self
            .history
            .len()
            .checked_sub(behind)
            .and_then(|at| self.history.get(at))
            .cloned())
    }
}

impl<K, V> Clone for Store<K, V> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<V> Clone for Versioned<V> {
    fn clone(&self) -> Self {
        Self {
            revision: self.revision,
            value: Arc::clone(&self.value),
        }
    }
}

impl<K, V> std::fmt::Debug for Store<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let inner = self.shared.lock();
        f.debug_struct("Store")
            .field("revision", &inner.revision)
            .field("items", &inner.items.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(change: &Change<&str, i32>) -> (u64, ChangeKind, &'static str, i32)
where {
        let key = ["a", "b"]
            .into_iter()
            .find(|key| *key == change.key)
            .expect("known key");
        (change.revision, change.kind, key, *change.value)
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_gives_every_change_in_order_and_waits_for_the_next() {
        let store = Store::new(10);
        store.set("a", 1);
        let mut watch = store.watch_from(0).expect("kept");
        store.set("b", 2);
        store.set("a", 3);
        store.remove(&"b");
        let mut changes = Vec::new();
        for _ in 0..4 {
            changes.push(seen(&watch.next().await.expect("kept")));
        }
        use ChangeKind::*;
        assert_eq!(
            changes,
            [
                (1, Added, "a", 1),
                (2, Added, "b", 2),
                (3, Modified, "a", 3),
                (4, Deleted, "b", 2)
            ]
        );

        let writer = store.clone();
        let late = tokio::spawn(async move { watch.next().await.map(|change| seen(&change)) });
        tokio::task::yield_now().await;
        writer.set("b", 5);
        assert_eq!(late.await.expect("no panic"), Ok((5, Added, "b", 5)));
    }

    #[test]
    fn an_equal_value_has_no_revision_and_no_event() {
        let store = Store::new(10);
        assert_eq!(
            store.set("a", 1),
            Written {
                revision: 1,
                changed: true
            }
        );
        store.set("b", 1);
        assert_eq!(
            store.set("a", 1),
            Written {
                revision: 1,
                changed: false
            }
        );
        assert_eq!(store.remove(&"c"), None);
        assert_eq!(store.revision(), 2);
        assert_eq!(store.watch_from(2).expect("kept").try_next(), Ok(None));
    }

    #[test]
    fn history_is_bounded_and_a_late_reader_is_told() {
        let store = Store::starting_at(100, 3);
        let mut slow = store.watch_from(100).expect("kept");
        for value in 0..5 {
            store.set("a", value);
        }
        let too_old = WatchError::TooOld {
            asked: 100,
            oldest: 102,
        };
        assert_eq!(slow.try_next(), Err(too_old));
        assert_eq!(
            store.watch_from(101).err(),
            Some(WatchError::TooOld {
                asked: 101,
                oldest: 102
            })
        );
        assert_eq!(
            store.watch_from(106).err(),
            Some(WatchError::Unknown {
                asked: 106,
                newest: 105
            })
        );
        let mut exact = store.watch_from(102).expect("kept");
        assert_eq!(
            exact.try_next().expect("kept").expect("there").revision,
            103
        );
    }

    #[test]
    fn the_revision_before_the_start_is_too_old() {
        let store: Store<&str, i32> = Store::starting_at(100, 3);
        assert_eq!(
            store.watch_from(99).err(),
            Some(WatchError::TooOld {
                asked: 99,
                oldest: 100
            })
        );
    }

    proptest! {
        /// A list and the changes after it give the content of the store.
        #[test]
        fn list_and_watch_miss_nothing(
            writes in prop::collection::vec((0..5_u8, prop::option::of(0..3_u8)), 0..60),
            listed_at in 0..60_usize,
        ) {
            let store = Store::new(100);
            let mut copy = None;
            for (n, (key, value)) in writes.iter().enumerate() {
                if n == listed_at {
                    copy = Some(store.list());
                }
                match value {
                    Some(value) => { store.set(*key, *value); }
                    None => { store.remove(key); }
                }
            }
            let mut copy = copy.unwrap_or_else(|| store.list());
            let mut watch = store.watch_from(copy.revision).expect("kept");
            while let Some(change) = watch.try_next().expect("kept") {
                prop_assert_eq!(change.revision, copy.revision + 1);
                copy.revision = change.revision;
                let old = match change.kind {
                    ChangeKind::Deleted => copy.items.remove(&change.key),
                    _ => copy.items.insert(
                        change.key,
                        Versioned { revision: change.revision, value: Arc::clone(&change.value) },
                    ),
                };
                prop_assert_eq!(old.is_some(), change.kind != ChangeKind::Added);
            }
            let end = store.list();
            prop_assert_eq!((copy.revision, copy.items), (end.revision, end.items));
        }
    }
}
