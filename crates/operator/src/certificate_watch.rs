//! Notices when somebody renews a certificate that a manifest names.
//!
//! Whoever does it replaces the certificate and the key one after the other, so
//! it is looked at a moment later. An event that is lost, and what has none (a
//! file in another folder that a link leads to), is made up for by the resync.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cb_core::api::Tls;
use cb_host::HostEvent;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

/// When it is looked at after the first change.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Watches the folders of certificates.
#[derive(Debug, Default)]
pub struct CertificateWatch(Option<Mutex<Watching>>);

#[derive(Debug)]
struct Watching {
    watcher: notify::RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
}

impl CertificateWatch {
    /// A watch that tells `events` of changed files; without a runtime's
    /// watches, the resync alone notices changes.
    #[must_use]
    pub fn new(events: mpsc::UnboundedSender<HostEvent>) -> Self {
        let runtime = tokio::runtime::Handle::current();
        let pending: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
        let heard = move |event: notify::Result<notify::Event>| {
            let Ok(event) = event else {
                let _ = events.send(HostEvent::Everything);
                return;
            };
            if matches!(event.kind, EventKind::Access(_)) {
                return;
            }
            for path in event.paths {
                let is_new = lock(&pending).insert(path.clone());
                if is_new {
                    let (events, pending) = (events.clone(), Arc::clone(&pending));
                    runtime.spawn(async move {
                        tokio::time::sleep(LOOK_AFTER).await;
                        lock(&pending).remove(&path);
                        // The receiver is gone only when the operator stops.
                        let _ = events.send(HostEvent::Path(path));
                    });
                }
            }
        };
        match notify::recommended_watcher(heard) {
            Ok(watcher) => Self(Some(Mutex::new(Watching {
                watcher,
                folders: BTreeSet::new(),
            }))),
            Err(error) => {
                tracing::warn!("changed certificates are noticed by the resync alone: {error}");
                Self(None)
            }
        }
    }

    /// Watches the folders of these files from now on.
    pub fn watch(&self, tls: &Tls) {
        let Some(watching) = &self.0 else {
            return;
        };
        let mut watching = lock(watching);
        let Watching { watcher, folders } = &mut *watching;
        for folder in folders_of(tls) {
            if folders.contains(folder) || !folder.is_dir() {
                continue;
            }
            match watcher.watch(folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(folders.insert(folder.to_owned())),
                Err(error) => {
                    let folder = folder.display();
                    tracing::debug!("{folder} is not watched: {error}");
                }
            }
        }
    }
}

/// Whether a file may be one of the certificates that `tls` names, or part of
/// how they are replaced.
#[must_use]
pub fn concerns(tls: &Tls, path: &Path) -> bool {
    folders_of(tls).any(|folder| path.parent() == Some(folder) || path == folder)
}

fn folders_of(tls: &Tls) -> impl Iterator<Item = &Path> {
    let files = [&tls.certificate_file, &tls.key_file].into_iter().flatten();
    files.filter_map(|file| Path::new(file.as_str()).parent())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tls(folder: &Path) -> Tls {
        let file = |name: &str| Some(folder.join(name).to_str().unwrap().parse().unwrap());
        Tls {
            certificate_file: file("a.pem"),
            key_file: file("a.key"),
            ..Tls::default()
        }
    }

    #[tokio::test]
    async fn a_renewal_is_told_once_a_moment_later() {
        let folder = tempfile::tempdir().unwrap();
        let (sender, mut events) = mpsc::unbounded_channel();
        let watch = CertificateWatch::new(sender);
        let tls = tls(folder.path());
        watch.watch(&tls);
        watch.watch(&tls);
        for n in 0..3 {
            std::fs::write(folder.path().join("a.pem"), n.to_string()).unwrap();
        }
        let expected = folder.path().join("a.pem");
        assert!(concerns(&tls, &expected));
        assert!(!concerns(&tls, Path::new("/etc/ssl/other/a.pem")));
        assert_eq!(events.recv().await, Some(HostEvent::Path(expected)));
        assert!(events.try_recv().is_err());
    }
}
