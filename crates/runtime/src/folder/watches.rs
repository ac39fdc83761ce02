//! Keeps an inotify watch on each folder that is read, and on what the root is
//! in.
//!
//! The watches are not recursive: each folder is watched by the reader before
//! it is read, which leaves no gap, and folders that do not matter (`.git`)
//! cost nothing. After any doubt everything is watched anew from scratch,
//! because a watch follows its inode and not its path.

use super::reader::Id;
use super::signals::Signals;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) struct Watches {
    root: PathBuf,
    signals: Arc<Signals>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeMap<PathBuf, Id>,
    trouble: Option<String>,
}

impl Watches {
    pub(super) fn new(root: PathBuf, signals: Arc<Signals>) -> Self {
        Self {
            root,
            signals,
            watcher: None,
            watched: BTreeMap::new(),
            trouble: None,
        }
    }

    /// Why changes may go unnoticed by events; polling goes on.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Makes sure that there is a watcher; a new one if `anew`.
    pub(super) fn begin(&mut self, anew: bool) {
        if self.watcher.is_some() && !anew {
            return;
        }
        self.watcher = None;
        self.watched.clear();
        self.signals.watched().clear();
        let signals = Arc::clone(&self.signals);
        let config = notify::Config::default().with_follow_symlinks(false);
        let before = self.trouble.take();
        match RecommendedWatcher::new(move |event| signals.event(event), config) {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => return self.fail(before.as_deref(), &self.root.clone(), &error),
        }
        // The nearest folder that exists above the root tells when the root
        // comes, goes or is replaced.
        let mut ancestors = self
            .root
            .ancestors()
            .skip(1)
            .map(Path::to_owned)
            .collect::<Vec<_>>();
        ancestors.retain(|path| path.is_dir());
        if let Some((nearest, Err(error))) = ancestors
            .first()
            .and_then(|nearest| Some((nearest, self.watch(nearest)?)))
        {
            self.fail(before.as_deref(), nearest, &error);
        }
    }

    /// Watches a folder, given relative to the root, that is about to be read.
    pub(super) fn see(&mut self, relative: &Path, id: Id) {
        // Joining an empty path would add a slash, which events do not have.
        let path = match relative.as_os_str().is_empty() {
            true => self.root.clone(),
            false => self.root.join(relative),
        };
        if self.watched.get(&path) == Some(&id) {
            return;
        }
        if self.watched.remove(&path).is_some() {
            self.unwatch(&path);
        }
        // Known before it is watched: the first event may come at once.
        self.signals.watched().insert(path.clone());
        match self.watch(&path) {
            Some(Ok(())) => {
                self.watched.insert(path, id);
            }
            Some(Err(error)) => {
                let before = self.trouble.take();
                self.fail(before.as_deref(), &path, &error);
            }
            None => {}
        }
    }

    /// Stops watching folders that are no longer read.
    pub(super) fn keep(&mut self, folders: &BTreeMap<PathBuf, Id>) {
        let gone = |path: &PathBuf| match path.strip_prefix(&self.root) {
            Ok(relative) => !folders.contains_key(relative),
            Err(_) => true,
        };
        for path in self
            .watched
            .keys()
            .filter(|path| gone(path))
            .cloned()
            .collect::<Vec<_>>()
        {
            self.watched.remove(&path);
            self.signals.watched().remove(&path);
            self.unwatch(&path);
        }
    }

    fn watch(&mut self, path: &Path) -> Option<notify::Result<()>> {
        Some(
            self.watcher
                .as_mut()?
                .watch(path, RecursiveMode::NonRecursive),
        )
    }

    fn unwatch(&mut self, path: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // The kernel has dropped the watch of a folder that is gone.
            let _ = watcher.unwatch(path);
        }
    }

    /// Notes the trouble; it is logged once and not with each attempt.
    fn fail(&mut self, before: Option<&str>, path: &Path, error: &notify::Error) {
        let message = format!("cannot watch {}: {error}", path.display());
        if before != Some(&message) {
            tracing::warn!(message, "file changes are noticed by polling only");
        }
        self.trouble = Some(message);
    }
}
