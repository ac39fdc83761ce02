//! Judges file events: which of them call for a reading, and which put in
//! doubt whether the right folders are watched at all.
//!
//! It runs on the thread that inotify's events arrive on and only raises
//! flags, so that a storm of events takes no memory.

use super::Filter;
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// The flags that events raise.
pub(super) struct Signals {
    root: PathBuf,
    filter: Arc<dyn Filter>,
    /// The folders that are watched, by absolute path.
    watched: Mutex<HashSet<PathBuf>>,
    dirty: AtomicBool,
    doubt: AtomicBool,
    events: AtomicU64,
    pub(super) wake: Notify,
}

/// What an event means, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Ignore,
    /// Read again.
    Dirty,
    /// Watch everything anew, and read again.
    Doubt,
}

impl Signals {
    pub(super) fn new(root: PathBuf, filter: Arc<dyn Filter>) -> Self {
        Self {
            root,
            filter,
            watched: Mutex::default(),
            dirty: AtomicBool::new(false),
            doubt: AtomicBool::new(false),
            events: AtomicU64::new(0),
            wake: Notify::new(),
        }
    }

    /// Takes one event from inotify.
    pub(super) fn event(&self, event: notify::Result<Event>) {
        let verdict = match event {
            Ok(event) => self.judge(&event),
            Err(error) => {
                tracing::warn!(%error, "watching for file changes failed; looking at everything");
                Verdict::Doubt
            }
        };
        if verdict != Verdict::Ignore {
            self.events.fetch_add(1, Ordering::Relaxed);
        }
        match verdict {
            Verdict::Ignore => {}
            Verdict::Dirty => self.raise(&self.dirty),
            Verdict::Doubt => self.raise(&self.doubt),
        }
    }

    /// How many events called for a reading so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Asks for everything to be watched anew and read again.
    pub(super) fn raise_doubt(&self) {
        self.raise(&self.doubt);
    }

    /// Whether a reading was called for.
    pub(super) fn is_raised(&self) -> bool {
        self.dirty.load(Ordering::Acquire) || self.doubt.load(Ordering::Acquire)
    }

    /// Lowers the flags, as a reading begins; says whether there was doubt.
    pub(super) fn lower(&self) -> bool {
        self.dirty.store(false, Ordering::Release);
        self.doubt.swap(false, Ordering::AcqRel)
    }

    pub(super) fn watched(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn raise(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn judge(&self, event: &Event) -> Verdict {
        if event.need_rescan() {
            return Verdict::Doubt;
        }
        match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => {}
            // Our own readings are among these.
            EventKind::Access(_) => return Verdict::Ignore,
            _ if event.paths.is_empty() => return Verdict::Doubt,
            _ => {}
        }
        let verdicts = event
            .paths
            .iter()
            .map(|path| self.judge_path(event.kind, path));
        verdicts.max().unwrap_or(Verdict::Ignore)
    }

    fn judge_path(&self, kind: EventKind, path: &Path) -> Verdict {
        let content = matches!(
            kind,
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Data(_))
        );
        let attributes = matches!(kind, EventKind::Modify(ModifyKind::Metadata(_)));
        // The folder itself, one that it is in, or one that is watched in it.
        if self.root.starts_with(path) || self.watched().contains(path) {
            return if content || attributes {
                Verdict::Dirty
            } else {
                Verdict::Doubt
            };
        }
        let Ok(relative) = path.strip_prefix(&self.root) else {
            return Verdict::Ignore;
        };
        if self.filter.file(relative) {
            return Verdict::Dirty;
        }
        // A file that does not matter, or a folder that came or became readable.
        if !content && self.filter.folder(relative) && is_folder_or_link(path) {
            return Verdict::Dirty;
        }
        Verdict::Ignore
    }
}

/// What has gone again meanwhile has nothing to read in it.
fn is_folder_or_link(path: &Path) -> bool {
    path.symlink_metadata()
        .is_ok_and(|found| found.is_dir() || found.is_symlink())
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, Flag, MetadataKind, RemoveKind, RenameMode};

    struct Yaml;

    impl Filter for Yaml {
        fn file(&self, path: &Path) -> bool {
            path.extension().is_some_and(|end| end == "yaml")
        }

        fn folder(&self, path: &Path) -> bool {
            !path.as_os_str().as_encoded_bytes().starts_with(b".")
        }
    }

    /// A folder with a watched sub-folder, one not watched yet, and a link.
    fn signals() -> (tempfile::TempDir, Signals) {
        let dir = tempfile::tempdir().expect("temporary folder");
        let root = dir.path().join("root");
        for sub in ["root/sub", "root/new", "root/.git"] {
            std::fs::create_dir_all(dir.path().join(sub)).expect("folder");
        }
        std::os::unix::fs::symlink("/nowhere", root.join("link")).expect("link");
        let signals = Signals::new(root.clone(), Arc::new(Yaml));
        signals.watched().extend([root.clone(), root.join("sub")]);
        (dir, signals)
    }

    #[test]
    fn events_are_judged_by_kind_and_path() {
        let created = EventKind::Create(CreateKind::Any);
        let removed = EventKind::Remove(RemoveKind::Any);
        let written = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        let renamed = EventKind::Modify(ModifyKind::Name(RenameMode::From));
        let attributes = EventKind::Modify(ModifyKind::Metadata(MetadataKind::Any));
        let closed = EventKind::Access(AccessKind::Close(AccessMode::Write));
        let opened = EventKind::Access(AccessKind::Open(AccessMode::Any));
        use Verdict::*;
        let (dir, signals) = signals();
        for (kind, path, verdict) in [
            // Files that matter, and those that do not.
            (created, "root/a.yaml", Dirty),
            (written, "root/a.yaml", Dirty),
            (closed, "root/sub/a.yaml", Dirty),
            (attributes, "root/a.yaml", Dirty),
            (removed, "root/a.yaml", Dirty),
            (renamed, "root/a.yaml", Dirty),
            (opened, "root/a.yaml", Ignore),
            (created, "root/a.status", Ignore),
            (renamed, "root/a.status", Ignore),
            (removed, "root/a.status", Ignore),
            // Folders.
            (created, "root/new", Dirty),
            (attributes, "root/new", Dirty),
            (created, "root/link", Dirty),
            (created, "root/.git", Ignore),
            (opened, "root/sub", Ignore),
            (attributes, "root/sub", Dirty),
            (renamed, "root/sub", Doubt),
            (removed, "root/sub", Doubt),
            (created, "root/sub", Doubt),
            // The root, what it is in, and its neighbours.
            (removed, "root", Doubt),
            (created, "root", Doubt),
            (renamed, "", Doubt),
            (attributes, "root", Dirty),
            (created, "root2/a.yaml", Ignore),
            (created, "neighbour.yaml", Ignore),
        ] {
            let path = dir.path().join(path);
            let event = Event::new(kind).add_path(path.clone());
            assert_eq!(
                signals.judge(&event),
                verdict,
                "{kind:?} {}",
                path.display()
            );
        }
    }

    #[test]
    fn an_overflow_or_an_error_puts_everything_in_doubt() {
        let (_dir, signals) = signals();
        signals.event(Ok(Event::new(EventKind::Other).set_flag(Flag::Rescan)));
        assert!(signals.is_raised() && signals.lower());
        signals.event(Err(notify::Error::generic("broken")));
        assert!(signals.is_raised() && signals.lower());
        assert!(!signals.is_raised() && !signals.lower());
    }

    #[test]
    fn a_rename_counts_by_both_of_its_paths() {
        let (dir, signals) = signals();
        let both = EventKind::Modify(ModifyKind::Name(RenameMode::Both));
        let event = Event::new(both)
            .add_path(dir.path().join("root/.tmp1"))
            .add_path(dir.path().join("root/a.yaml"));
        assert_eq!(signals.judge(&event), Verdict::Dirty);
    }
}
