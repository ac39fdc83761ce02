//! Unit files that systemd does not know yet, and one daemon-reload for all.
//!
//! The marker is in the state folder from before a unit file changes until a
//! reload that began after the change has succeeded.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use cb_core::status::ProblemReason;
use cb_runtime::{CoalesceConfig, Coalescer};

use crate::ActionError;
use crate::counts::{Counter, Tally};
use crate::files::{self, FileError, FileSpec};
use crate::retry::Retry;
use crate::systemd::Systemd;

#[derive(Debug)]
pub(super) struct UnitReload {
    batch: Coalescer<(), Result<(), ActionError>>,
    marker: Arc<Marker>,
    retry: Retry,
    done: Arc<Counter>,
}

#[derive(Debug)]
struct Marker {
    path: PathBuf,
    /// Counts the changes, so that a reload does not take away the marker of a
    /// change that came while it ran.
    changes: Mutex<u64>,
}

impl Marker {
    fn count(&self) -> u64 {
        *self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self) -> Result<(), FileError> {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        *changes += 1;
        if self.path.exists() {
            return Ok(());
        }
        files::write(&self.path, b"", FileSpec::own(0o600))
    }

    fn clear(&self, seen: u64) -> Result<(), FileError> {
        let changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        if *changes == seen {
            files::remove(&self.path)?;
        }
        Ok(())
    }
}

impl UnitReload {
    pub(super) fn spawn(systemd: Systemd, pending: &Path) -> Self {
        let marker = Arc::new(Marker {
            path: pending.join("daemon-reload"),
            changes: Mutex::new(0),
        });
        let shared = Arc::clone(&marker);
        let done = Arc::new(Counter::default());
        let counter = Arc::clone(&done);
        let batch = Coalescer::spawn(CoalesceConfig::default(), move |_: Vec<()>| {
            let (systemd, marker) = (systemd.clone(), Arc::clone(&shared));
            let counter = Arc::clone(&counter);
            async move {
                let seen = marker.count();
                let reloaded = systemd.daemon_reload().await;
                counter.count(&reloaded);
                reloaded?;
                marker.clear(seen)?;
                Ok(())
            }
        });
        let retry = Retry::default();
        Self {
            batch,
            marker,
            retry,
            done,
        }
    }

    /// How often systemd read the unit files.
    pub(super) fn counts(&self) -> Tally {
        self.done.get()
    }

    /// To be called before a unit file is changed; may block.
    pub(super) fn will_change(&self) -> impl Fn() -> Result<(), FileError> + Send + 'static {
        let marker = Arc::clone(&self.marker);
        move || marker.set()
    }

    /// Has systemd read the unit files, together with all who ask now.
    pub(super) async fn reload(&self) -> Result<(), ActionError> {
        let result = match self.batch.submit(()).await {
            Ok(result) => result,
            Err(error) => Err(ActionError {
                reason: ProblemReason::Failed,
                message: error.to_string(),
                transient: true,
            }),
        };
        if result.is_err() {
            // The files are as they should be, so no plan will ask again.
            let (batch, marker) = (self.batch.clone(), Arc::clone(&self.marker));
            self.retry.until_ok(move || {
                let owed = marker.path.exists().then(|| batch.submit(()));
                async move {
                    match owed {
                        Some(ticket) => matches!(ticket.await, Ok(Ok(()))),
                        None => true,
                    }
                }
            });
        }
        result
    }

    /// Whether unit files changed that systemd has not read.
    pub(super) fn is_owed(&self) -> bool {
        self.marker.path.exists()
    }

    /// Does the reload that a killed process owed, if it did.
    pub(super) async fn recover(&self) -> Result<(), ActionError> {
        if self.marker.path.exists() {
            self.reload().await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 5: a change that comes during a reload stays owed.
    #[test]
    fn a_reload_clears_only_what_it_has_seen() {
        let folder = tempfile::tempdir().unwrap();
        let marker = Marker {
            path: folder.path().join("daemon-reload"),
            changes: Mutex::new(0),
        };
        marker.set().unwrap();
        let seen = marker.count();
        marker.set().unwrap();
        marker.clear(seen).unwrap();
        assert!(marker.path.exists());
        marker.clear(marker.count()).unwrap();
        assert!(!marker.path.exists());
    }
}
