//! What differs in releases, looked at once for all tenants that run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::drift::Actor;
use tokio::time::Instant;

use super::release_watch::ReleaseWatch;
use crate::actors::Actors;
use crate::releases::Releases;

/// A look goes over every file of a release, and tenants share it.
const MAX_AGE: Duration = Duration::from_secs(15);

/// In how many folders of a release it is known who changed a file: each takes
/// longer than the one before to be marked.
const MAX_NAMED: usize = 200;

/// What differs from the installation.
#[derive(Debug, Clone, Default)]
pub(super) struct Changes {
    /// Each difference, in words.
    pub(super) told: Arc<[String]>,
    /// Who made the first of them.
    pub(super) by: Option<Actor>,
}

/// The last look at each release.
#[derive(Debug)]
pub(super) struct ReleaseLooks {
    watch: Arc<ReleaseWatch>,
    actors: Arc<Actors>,
    last: Mutex<HashMap<PathBuf, (Instant, Changes)>>,
    /// When something was last known to happen to a release: what was seen
    /// before says nothing any more.
    touched: Mutex<HashMap<PathBuf, Instant>>,
    /// One look at a time: those who wait for it share it.
    turn: tokio::sync::Mutex<()>,
}

impl ReleaseLooks {
    pub(super) fn new(actors: Arc<Actors>) -> Self {
        Self {
            watch: Arc::new(ReleaseWatch::new()),
            actors,
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
        (at.elapsed() < MAX_AGE).then(|| changes.clone())
    }

    /// What differs from the installation.
    pub(super) async fn changes(&self, releases: &Releases, release: &Path) -> Changes {
        if let Some(known) = self.known(release) {
            return known;
        }
        let _turn = self.turn.lock().await;
        if let Some(known) = self.known(release) {
            return known;
        }
        let (of, path) = (releases.clone(), release.to_owned());
        let begun = Instant::now();
        let (watch, actors) = (Arc::clone(&self.watch), Arc::clone(&self.actors));
        let look = tokio::task::spawn_blocking(move || {
            // First, so that no change falls between.
            let folders = watch.watch(&path);
            for folder in folders.iter().take(MAX_NAMED) {
                actors.watch(folder);
            }
            let found = of.differences(&path);
            let first = found.first().map(|first| path.join(&first.path));
            Changes {
                told: found.iter().map(ToString::to_string).collect(),
                by: actors.of(first.into_iter()).into_values().next(),
            }
        });
        // A look that was cut off has found nothing; the next one may.
        let changes = look.await.unwrap_or_default();
        if self.touches().get(release).is_none_or(|at| *at < begun) {
            self.lock()
                .insert(release.to_owned(), (begun, changes.clone()));
        }
        changes
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
