//! Notices when somebody changes a file that a manifest names: a certificate, a
//! secret, or the host's age key that secrets are decrypted with.
//!
//! Files are replaced one after the other (a certificate and its key), or are
//! emptied before they are written, so it is looked at them a moment later. An
//! event that is lost, and what has none (a file in another folder that a link
//! leads to), is made up for by the resync. Encrypted files next to manifests
//! are noticed with these.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cb_core::api::{HostSpec, TenantSpec};
use cb_core::record::Record;
use cb_core::secret::SecretSource;
use cb_host::HostEvent;
use notify::event::ModifyKind;
use notify::{EventKind, RecursiveMode, Watcher as _};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// When it is looked at after the first change.
const LOOK_AFTER: Duration = Duration::from_secs(1);

type Paths = Arc<Mutex<BTreeSet<PathBuf>>>;

/// Watches the folders of named files.
#[derive(Debug, Default)]
pub struct NamedFiles(Option<Watching>);

#[derive(Debug)]
struct Watching {
    watcher: Mutex<notify::RecommendedWatcher>,
    /// The folders that are watched. What tells of events waits for this lock
    /// and never holds it while it asks the watcher, which waits for it.
    folders: Paths,
}

impl NamedFiles {
    /// A watch that tells `events` of changed files; if the system has no
    /// watches left, the resync alone notices changes.
    #[must_use]
    pub fn new(events: mpsc::UnboundedSender<HostEvent>) -> Self {
        let folders = Paths::default();
        let heard = hears(events, Arc::clone(&folders));
        match notify::recommended_watcher(heard) {
            Ok(watcher) => Self(Some(Watching {
                watcher: Mutex::new(watcher),
                folders,
            })),
            Err(error) => {
                tracing::warn!(
                    "changed certificates and secrets are noticed by the resync alone: {error}"
                );
                Self(None)
            }
        }
    }

    /// Watches the files that a tenant's specs name from now on. To be called
    /// before they are looked at, so that no change is missed.
    pub fn watch(&self, record: &Record, host: &HostSpec) {
        let Some(watching) = &self.0 else {
            return;
        };
        let named = specs(record).flat_map(|spec| certificates(spec).chain(secrets(spec, host)));
        for folder in named.filter_map(Path::parent) {
            if lock(&watching.folders).contains(folder) || !folder.is_dir() {
                continue;
            }
            let mut watcher = lock(&watching.watcher);
            // One of that name that is gone may still be known.
            let _ = watcher.unwatch(folder);
            lock(&watching.folders).insert(folder.to_owned());
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                lock(&watching.folders).remove(folder);
                tracing::debug!("{} is not watched: {error}", folder.display());
            }
        }
    }
}

/// Tells of each path that changed, once and a moment later. A folder that was
/// removed or renamed is watched anew when it is asked for again.
fn hears(
    events: mpsc::UnboundedSender<HostEvent>,
    folders: Paths,
) -> impl FnMut(notify::Result<notify::Event>) {
    let runtime = Handle::current();
    let pending = Paths::default();
    move |event| {
        let Ok(event) = event else {
            // The receiver is gone only when the operator stops.
            let _ = events.send(HostEvent::Everything);
            return;
        };
        if event.need_rescan() {
            let _ = events.send(HostEvent::Everything);
        }
        if event.kind.is_access() {
            return;
        }
        let renamed = matches!(event.kind, EventKind::Modify(ModifyKind::Name(_)));
        let moved = renamed || event.kind.is_remove();
        for path in event.paths {
            if moved {
                lock(&folders).remove(&path);
            }
            if lock(&pending).insert(path.clone()) {
                let (events, pending) = (events.clone(), Arc::clone(&pending));
                runtime.spawn(async move {
                    tokio::time::sleep(LOOK_AFTER).await;
                    lock(&pending).remove(&path);
                    let _ = events.send(HostEvent::Path(path));
                });
            }
        }
    }
}

/// Whether what happened at this path may change what a tenant gets.
#[must_use]
pub fn concerns(record: &Record, host: &HostSpec, path: &Path) -> bool {
    let is = |file: &Path| file == path || file.parent() == Some(path);
    // It may be a link to a file next to it, which is the one that is replaced.
    let beside = |file: &Path| file.parent() == path.parent();
    specs(record).any(|spec| {
        certificates(spec).any(|file| is(file) || beside(file)) || secrets(spec, host).any(is)
    })
}

/// What the tenant is to be, and what it may still be kept at.
fn specs(record: &Record) -> impl Iterator<Item = &TenantSpec> {
    std::iter::once(&record.tenant.spec).chain(record.deployed.as_deref())
}

fn certificates(spec: &TenantSpec) -> impl Iterator<Item = &Path> {
    let tls = spec.tls.iter();
    let files = tls.flat_map(|tls| [&tls.certificate_file, &tls.key_file]);
    files.flatten().map(|file| Path::new(file.as_str()))
}

/// Files with secrets, and with what decrypts those next to the manifest.
fn secrets<'a>(spec: &'a TenantSpec, host: &'a HostSpec) -> impl Iterator<Item = &'a Path> {
    let given = spec.secret_refs.iter();
    let given = given.flat_map(|secret| [&secret.file, &secret.credential]);
    let is_sealed = |source: &SecretSource| source.beside().is_some();
    let key = &host.secrets.age_identity_file;
    let key = SecretSource::all(spec).iter().any(is_sealed).then_some(key);
    given
        .flatten()
        .chain(key)
        .map(|file| Path::new(file.as_str()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(spec: &str) -> Record {
        let tenant = format!(
            "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: ky04}}, \
             spec: {{application: cbapp, version: v1, {spec}}}}}"
        );
        Record::new(serde_yaml::from_str(&tenant).unwrap(), "ky04.yaml".into())
    }

    /// Law 1: each way in which people and programs replace a file is told, and
    /// once; also in a folder that is not the one that was there before.
    #[tokio::test]
    #[allow(clippy::disallowed_methods, reason = "a test's files")]
    async fn each_way_to_replace_a_file_is_told_once() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("secrets");
        std::fs::create_dir(&folder).unwrap();
        let file = folder.join("token");
        let host = HostSpec::default();
        let record = record(&format!(
            "secretRefs: [{{name: token, file: '{}'}}]",
            file.display()
        ));
        let (sender, mut events) = mpsc::unbounded_channel();
        let watch = NamedFiles::new(sender);
        watch.watch(&record, &host);
        for n in 0..3 {
            std::fs::write(&file, n.to_string()).unwrap();
        }
        let expected = HostEvent::Path(file.clone());
        assert_eq!(events.recv().await.as_ref(), Some(&expected));
        assert!(events.try_recv().is_err());

        let other = folder.join(".token.new");
        std::fs::write(&other, "new").unwrap();
        std::fs::rename(&other, &file).unwrap();
        while events.recv().await.unwrap() != expected {}

        std::fs::rename(&folder, parent.path().join("old")).unwrap();
        std::fs::create_dir(&folder).unwrap();
        while events.recv().await.unwrap() != HostEvent::Path(folder.clone()) {}
        watch.watch(&record, &host);
        std::fs::write(&file, "in another folder").unwrap();
        while events.recv().await.unwrap() != expected {}
    }

    #[test]
    fn a_file_concerns_those_that_name_it() {
        let host = HostSpec::default();
        let of = |spec: &str, path: &str| concerns(&record(spec), &host, Path::new(path));
        let tls = "tls: {certificateFile: /etc/ssl/a.pem, keyFile: /etc/ssl/a.key}";
        assert!(of(tls, "/etc/ssl/a.pem") && of(tls, "/etc/ssl/a.key"));
        assert!(of(tls, "/etc/ssl/a-2027.pem") && of(tls, "/etc/ssl"));
        assert!(!of(tls, "/etc/ssl/other/a.pem"));
        let files = "secretRefs: [{name: a, file: /etc/cb/secrets/a}, \
                     {name: b, credential: /etc/cb/secrets/b.cred}]";
        assert!(of(files, "/etc/cb/secrets/a") && of(files, "/etc/cb/secrets/b.cred"));
        assert!(of(files, "/etc/cb/secrets"));
        assert!(!of(files, "/etc/cb/secrets/c") && !of(files, "/etc/cb/age.key"));
        for sealed in [
            "secretRefs: [{name: a, age: a.age}]",
            "secretRefs: [{name: a, sops: {file: a.sops.yaml, key: a}}]",
            "envFrom: [{age: a.age}]",
        ] {
            assert!(of(sealed, "/etc/cb/age.key"), "{sealed}");
        }
        assert!(!of("domains: []", "/etc/cb/age.key"));
    }

    /// While an upgrade waits or has failed, its services have what was
    /// deployed.
    #[test]
    fn what_a_tenant_is_still_kept_at_is_watched_too() {
        let host = HostSpec::default();
        let mut record = record("domains: []");
        let deployed = "{application: cbapp, version: v0, secretRefs: [{name: a, file: /s/a}]}";
        record.deployed = Some(Box::new(serde_yaml::from_str(deployed).unwrap()));
        assert!(concerns(&record, &host, Path::new("/s/a")));
    }
}
