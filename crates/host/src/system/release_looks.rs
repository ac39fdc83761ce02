//! What differs in releases, looked at once for all tenants that run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::release_watch::ReleaseWatch;
use crate::releases::Releases;

/// A look goes over every file of a release, and tenants share it.
const MAX_AGE: Duration = Duration::from_secs(15);

type Changes = Arc<Vec<String>>;

/// The last look at each release.
#[derive(Debug)]
pub(super) struct ReleaseLooks {
    watch: Arc<ReleaseWatch>,
    last: Mutex<HashMap<PathBuf, (Instant, Changes)>>,
    /// When something was last known to happen to a release: what was seen
    /// before says nothing any more.
    touched: Mutex<HashMap<PathBuf, Instant>>,
    /// One look at a time: those who wait for it share it.
    turn: tokio::sync::Mutex<()>,
}

impl ReleaseLooks {
    pub(super) fn new() -> Self {
        Self {
            watch: Arc::new(ReleaseWatch::new()),
            last: Mutex::default(),
            touched: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Tells of releases that somebody writes to.
    pub(super) fn tell(self: &Arc<Self>, touched: impl Fn(&Path) -> bool + Send + 'static) {
        let looks = Arc::clone(self);
        self.watch.tell(move |release| {
            looks.forget(release);
            touched(release)
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, (Instant, Changes)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, release: &Path) -> Option<Changes> {
        let last = self.lock();
        let (at, changes) = last.get(release)?;
        (at.elapsed() < MAX_AGE).then(|| Arc::clone(changes))
    }

    /// What differs from the installation, in words.
    pub(super) async fn changes(&self, releases: &Releases, release: &Path) -> Vec<String> {
        if let Some(known) = self.known(release) {
            return known.to_vec();
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(release) {
            return known.to_vec();
        }
        let (of, path) = (releases.clone(), release.to_owned());
        let begun = Instant::now();
        let watch = Arc::clone(&self.watch);
        let look = tokio::task::spawn_blocking(move || {
            // First, so that no change falls between.
            watch.watch(&path);
            of.differences(&path)
        });
        let look = look.await;
        // A look that was cut off has found nothing; the next one may.
        let found = look.unwrap_or_default();
        let changes: Changes = Arc::new(found.iter().map(ToString::to_string).collect());
        if self.touches().get(release).is_none_or(|at| *at < begun) {
            self.lock()
                .insert(release.to_owned(), (begun, Arc::clone(&changes)));
        }
        changes.to_vec()
    }

    fn touches(&self) -> MutexGuard<'_, HashMap<PathBuf, Instant>> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets what was seen of a release that is installed anew or edited.
    pub(super) fn forget(&self, release: &Path) {
        self.touches().insert(release.to_owned(), Instant::now());
        self.lock().remove(release);
    }
}
