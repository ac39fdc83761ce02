//! Records events: counted and bounded in memory, served by the API, and kept
//! in files over restarts.
//!
//! ```text
//! record ─▶ Journal ─▶ Store (API: list, watch)
//!              └─ changed ─▶ keep ─▶ <state>/events/tenant-ky04.yaml
//! ```
//!
//! [`Recorder::record`] takes no longer than a look-up in memory and never
//! waits for the disk. What is recorded in the last second before a power cut
//! may be lost: events are a help to people, nothing is decided from them.

mod folder;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::event::{Event, Journal, Regarding, Series};
use cb_runtime::Store;
use jiff::Timestamp;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use folder::EventFolder;

/// How many events of one object are kept, and of all together.
const KEPT: (usize, usize) = (50, 10_000);
/// How many changes a watcher may lag behind.
const HISTORY: usize = 4096;
/// How long changes are collected before they are written.
const COALESCE: Duration = Duration::from_secs(1);
/// How long to wait after a file could not be written.
const RETRY: Duration = Duration::from_secs(30);

/// An event as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The event.
    pub series: Series,
    /// The host that it was recorded on.
    pub host: Arc<str>,
}

/// The handle that everything records events with; clones record to the same.
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    host: Arc<str>,
    inner: Mutex<Inner>,
    store: Store<String, Published>,
    changed: Notify,
}

struct Inner {
    journal: Journal,
    /// The objects whose events differ from their files.
    unwritten: BTreeSet<Regarding>,
}

impl Recorder {
    /// A recorder of this host that begins with what was kept.
    #[must_use]
    pub fn new(host: &str, kept: Vec<Series>) -> Self {
        // Revisions must grow over restarts.
        let first = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(1);
        let recorder = Self(Arc::new(Shared {
            host: host.into(),
            inner: Mutex::new(Inner {
                journal: Journal::new(KEPT.0, KEPT.1),
                unwritten: BTreeSet::new(),
            }),
            store: Store::starting_at(first, HISTORY),
            changed: Notify::new(),
        }));
        {
            let mut inner = recorder.lock();
            let dropped = inner.journal.load(kept);
            let objects = dropped.into_iter().map(|series| series.event.regarding);
            inner.unwritten.extend(objects);
            for series in inner.journal.all() {
                recorder.publish(series.clone());
            }
        }
        recorder
    }

    /// Records that something happened now. Never blocks.
    pub fn record(&self, event: Event) {
        let mut inner = self.lock();
        let added = inner.journal.add(event, Timestamp::now());
        // Under the lock, so that counts are published in their order.
        for dropped in added.dropped {
            self.0.store.remove(&dropped.name());
            inner.unwritten.insert(dropped.event.regarding);
        }
        inner.unwritten.insert(added.series.event.regarding.clone());
        self.publish(added.series);
        drop(inner);
        self.0.changed.notify_one();
    }

    /// The events as the API shows them, by their objects' names.
    #[must_use]
    pub fn published(&self) -> &Store<String, Published> {
        &self.0.store
    }

    /// The events of an object, those last seen at the end.
    #[must_use]
    pub fn of(&self, regarding: &Regarding) -> Vec<Series> {
        self.lock().journal.of(regarding).to_vec()
    }

    /// Writes what changes into the folder, until `stop` is cancelled and the
    /// rest is written.
    pub async fn keep(self, folder: EventFolder, stop: CancellationToken) {
        let mut told = false;
        loop {
            if self.lock().unwritten.is_empty() {
                tokio::select! {
                    () = self.0.changed.notified() => {}
                    () = stop.cancelled() => {}
                }
            }
            let wait = if told { RETRY } else { COALESCE };
            let _ = stop.run_until_cancelled(tokio::time::sleep(wait)).await;
            let result = self.write(&folder).await;
            if let (Err(error), false) = (&result, told) {
                tracing::warn!("events cannot be kept over a restart: {error}");
            }
            told = result.is_err();
            if stop.is_cancelled() {
                return;
            }
        }
    }

    /// Writes what differs from the files.
    async fn write(&self, folder: &EventFolder) -> Result<(), String> {
        let batch: Vec<(Regarding, Vec<Series>)> = {
            let mut inner = self.lock();
            let objects = std::mem::take(&mut inner.unwritten);
            let events = |of: Regarding| {
                let series = inner.journal.of(&of).to_vec();
                (of, series)
            };
            objects.into_iter().map(events).collect()
        };
        if batch.is_empty() {
            return Ok(());
        }
        let folder = folder.clone();
        let work = move || {
            let mut failed = Vec::new();
            let mut reason = None;
            for (of, series) in batch {
                if let Err(error) = folder.write(&of, &series) {
                    reason.get_or_insert(error);
                    failed.push(of);
                }
            }
            (failed, reason)
        };
        let (failed, reason) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| error.to_string())?;
        self.lock().unwritten.extend(failed);
        reason.map_or(Ok(()), Err)
    }

    fn publish(&self, series: Series) {
        let host = Arc::clone(&self.0.host);
        let name = series.name();
        self.0.store.set(name, Published { series, host });
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use cb_core::api::Kind;
    use cb_core::event::Reason;

    use super::*;

    fn event(note: &str) -> Event {
        Event::new(Kind::Tenant, "ky04", Reason::NotReady, note)
    }

    fn counts(recorder: &Recorder) -> Vec<(String, u64)> {
        let events = recorder.of(&event("").regarding);
        let pairs = events.into_iter().map(|s| (s.event.note, s.count));
        pairs.collect()
    }

    /// What was recorded is there after a restart, counted on, and served.
    #[tokio::test]
    async fn events_survive_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let folder = EventFolder::new(root.path().join("events"));
        let kept = folder.load().unwrap();
        let recorder = Recorder::new("web1", kept.values);
        let stop = CancellationToken::new();
        let task = tokio::spawn(recorder.clone().keep(folder.clone(), stop.clone()));
        recorder.record(event("a"));
        recorder.record(event("b"));
        recorder.record(event("a"));
        stop.cancel();
        task.await.unwrap();

        let loaded = folder.load().unwrap();
        assert!(loaded.broken.is_empty());
        let recorder = Recorder::new("web1", loaded.values);
        assert_eq!(counts(&recorder), [("b".into(), 1), ("a".into(), 2)]);
        assert_eq!(recorder.published().list().items.len(), 2);
        recorder.record(event("b"));
        assert_eq!(counts(&recorder), [("a".into(), 2), ("b".into(), 2)]);
        assert_eq!(recorder.published().list().items.len(), 2);
    }

    /// Law 8: no event, no write. A file that is broken is set aside and loses
    /// no other.
    #[tokio::test]
    async fn only_what_changed_is_written() {
        use std::os::unix::fs::MetadataExt as _;
        let root = tempfile::tempdir().unwrap();
        let folder = EventFolder::new(root.path().to_owned());
        let recorder = Recorder::new("web1", Vec::new());
        recorder.record(event("a"));
        recorder.record(Event::new(Kind::Host, "web1", Reason::NotReady, "x"));
        recorder.write(&folder).await.unwrap();
        let inode = |name: &str| root.path().join(name).metadata().unwrap().ino();
        let before = inode("host-web1.yaml");
        recorder.record(event("b"));
        recorder.write(&folder).await.unwrap();
        assert_eq!(inode("host-web1.yaml"), before);

        std::fs::write(root.path().join("host-web1.yaml"), "[{").unwrap();
        let loaded = folder.load().unwrap();
        assert_eq!((loaded.values.len(), loaded.broken.len()), (2, 1));
        assert!(!root.path().join("host-web1.yaml").exists());
    }

    /// What could not be written is written later.
    #[tokio::test]
    async fn a_failed_write_is_made_up_for() {
        let root = tempfile::tempdir().unwrap();
        let folder = EventFolder::new(root.path().join("events"));
        let recorder = Recorder::new("web1", Vec::new());
        recorder.record(event("a"));
        recorder.write(&folder).await.unwrap_err();
        folder.load().unwrap();
        recorder.write(&folder).await.unwrap();
        assert_eq!(folder.load().unwrap().values.len(), 1);
    }
}
