//! Writes statuses beside the manifests: `ky04.yaml` gets `ky04.status.yaml`,
//! and a file with several objects `FILE.NAME.status.yaml` for each tenant.
//!
//! On a Host that follows a git repository they are in a folder of their own
//! in the same layout, as nothing is written into a commit.
//!
//! A status is written only when it differs from what is written (law 8),
//! never over a file that is not the operator's (law 3), and a failure to
//! write it never stops a pass: the folder may be read-only.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cb_core::api::{API_VERSION, TenantStatus};
use cb_core::mark::Owner;
use cb_core::record::Record;
use cb_core::types::TenantName;
use cb_host::files::{self, FileSpec, chain};
use serde::{Deserialize, Serialize};

use crate::metrics::Metrics;

/// Where statuses go.
#[async_trait]
pub trait StatusSink: Send + Sync {
    /// Writes the status of a tenant, if it is not written already. Returns
    /// whether it is written; else it is to be tried again.
    async fn write(&self, record: &Record, status: &TenantStatus) -> bool;

    /// Removes the status of a tenant that is gone.
    async fn remove(&self, tenant: &TenantName, file: &str);
}

/// Status files beside the manifests.
#[derive(Debug)]
pub struct StatusFiles {
    root: PathBuf,
    /// Whether the folder is the operator's own, and made as needed.
    apart: bool,
    /// How many objects each manifest file has; 1 for those not listed.
    objects: Mutex<Arc<BTreeMap<String, usize>>>,
    /// What was written where: by tenant, or by file for a manifest that no
    /// tenant is known from (a file's path has a dot, a tenant's name has none).
    written: Mutex<BTreeMap<String, (PathBuf, TenantStatus)>>,
    /// Why the last write failed; so that it is tried again with the next pass
    /// and told once.
    failed: Mutex<BTreeMap<String, String>>,
    metrics: Arc<Metrics>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StatusFile {
    api_version: String,
    kind: String,
    metadata: Metadata,
    status: TenantStatus,
}

#[derive(Serialize, Deserialize)]
struct Metadata {
    name: String,
}

impl StatusFiles {
    /// Status files in this folder of manifests.
    #[must_use]
    pub fn new(root: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self {
            root,
            apart: false,
            objects: Mutex::default(),
            written: Mutex::default(),
            failed: Mutex::default(),
            metrics,
        }
    }

    /// Status files in a folder of their own.
    #[must_use]
    pub fn apart(root: PathBuf, metrics: Arc<Metrics>) -> Self {
        Self {
            apart: true,
            ..Self::new(root, metrics)
        }
    }

    /// Sets how many objects each file has, which decides on the names.
    pub fn set_objects(&self, objects: BTreeMap<String, usize>) {
        *self.objects.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(objects);
    }

    /// The status that was written before the operator started, for the times
    /// in it.
    #[must_use]
    pub fn read(&self, tenant: &TenantName, file: &str) -> Option<TenantStatus> {
        let path = self.path(tenant.as_str(), file);
        let content = files::FileCache::content(&path).ok()?;
        if Owner::of(&content) != Some(Owner::Tenant(tenant.to_string())) {
            return None;
        }
        let read: StatusFile = serde_yaml::from_str(std::str::from_utf8(&content).ok()?).ok()?;
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.insert(tenant.to_string(), (path, read.status.clone()));
        Some(read.status)
    }

    /// Writes the status of a tenant whose manifest was never accepted.
    pub async fn write_refused(&self, name: &str, file: &str, message: &str) {
        self.put_refused(name, name, file, message).await;
    }

    /// Writes the status of a file that no tenant is known from.
    pub async fn write_refused_file(&self, file: &str, message: &str) {
        self.put_refused(file, &stem(file), file, message).await;
    }

    async fn put_refused(&self, key: &str, name: &str, file: &str, message: &str) {
        let previous = {
            let written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.get(key).map(|(_, status)| status.clone())
        };
        let status = TenantStatus::refused(message, previous.as_ref(), &crate::now());
        self.put(key, name, file, &status).await;
    }

    /// Removes the status of a tenant that is gone or was never accepted.
    pub async fn remove_named(&self, name: &str, file: &str) {
        self.take_away(name, name, file).await;
    }

    /// Removes the status of a file that no tenant was known from.
    pub async fn remove_file(&self, file: &str) {
        self.take_away(file, &stem(file), file).await;
    }

    async fn take_away(&self, key: &str, name: &str, file: &str) {
        let path = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            written.remove(key).map(|(path, _)| path)
        };
        let path = path.unwrap_or_else(|| self.path(name, file));
        let owner = Owner::Tenant(name.to_owned());
        let removed = tokio::task::spawn_blocking(move || remove_owned(&path, &owner)).await;
        self.report(key, removed);
    }

    fn path(&self, name: &str, file: &str) -> PathBuf {
        let objects = Arc::clone(&self.objects.lock().unwrap_or_else(PoisonError::into_inner));
        let stem = stem(file);
        let file = Path::new(file);
        let several = file
            .to_str()
            .and_then(|file| objects.get(file))
            .is_some_and(|n| *n > 1);
        let status = if several {
            format!("{stem}.{name}.status.yaml")
        } else {
            format!("{stem}.status.yaml")
        };
        self.root.join(file.with_file_name(status))
    }

    async fn put(&self, key: &str, name: &str, file: &str, status: &TenantStatus) {
        let path = self.path(name, file);
        let before = {
            let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
            if written.get(key) == Some(&(path.clone(), status.clone()))
                && !self.failed().contains_key(key)
                // Somebody may have deleted it.
                && path.symlink_metadata().is_ok()
            {
                return;
            }
            written.insert(key.to_owned(), (path.clone(), status.clone()))
        };
        let moved = before
            .map(|(before, _)| before)
            .filter(|before| *before != path);
        let owner = Owner::Tenant(name.to_owned());
        let content = StatusFile {
            api_version: API_VERSION.to_owned(),
            kind: "Tenant".to_owned(),
            metadata: Metadata {
                name: name.to_owned(),
            },
            status: status.clone(),
        };
        let text = match serde_yaml::to_string(&content) {
            Ok(text) => format!("{}{text}", header(&owner)),
            Err(error) => {
                return tracing::error!(
                    tenant = name,
                    "{name}: the status cannot be written: {error}"
                );
            }
        };
        let apart = self.apart;
        let work = move || {
            if let Some(moved) = moved {
                remove_owned(&moved, &owner)?;
            }
            if apart && let Some(folder) = path.parent() {
                files::ensure_dir(folder, FileSpec::own(0o755)).map_err(|error| chain(&error))?;
            }
            write_owned(&path, &text, &owner)
        };
        self.report(key, tokio::task::spawn_blocking(work).await);
    }

    fn failed(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, name: &str, result: Result<Result<(), String>, tokio::task::JoinError>) {
        self.metrics.status_write(matches!(result, Ok(Ok(()))));
        let reason = match result {
            Ok(Ok(())) => {
                self.failed().remove(name);
                return;
            }
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        let told = self.failed().insert(name.to_owned(), reason.clone());
        if told.as_ref() != Some(&reason) {
            tracing::warn!(
                tenant = name,
                "{name}: the status file cannot be written: {reason}"
            );
        }
    }
}

#[async_trait]
impl StatusSink for StatusFiles {
    async fn write(&self, record: &Record, status: &TenantStatus) -> bool {
        let name = record.name().as_str();
        self.put(name, name, &record.file, status).await;
        !self.failed().contains_key(name)
    }

    async fn remove(&self, tenant: &TenantName, file: &str) {
        self.remove_named(tenant.as_str(), file).await;
    }
}

/// A file's name without its folder and extension.
fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}

fn header(owner: &Owner) -> String {
    owner.header().replace(
        "from the manifest; changes made here are put back",
        "when the state changes",
    )
}

fn write_owned(path: &Path, text: &str, owner: &Owner) -> Result<(), String> {
    match files::FileCache::content(path) {
        Ok(content) if content == text.as_bytes() => return Ok(()),
        Ok(content) => match Owner::of(&content) {
            Some(other) if other == *owner => {}
            // A tenant that was renamed in its file: its old self goes first.
            Some(other) => {
                return Err(format!(
                    "{} is still the status of {other}; it is written once that is removed",
                    path.display()
                ));
            }
            None => {
                return Err(format!(
                    "{} is not the operator's; move it away",
                    path.display()
                ));
            }
        },
        // Whatever is wrong with it, writing will tell.
        _ => {}
    }
    files::write(path, text.as_bytes(), FileSpec::own(0o644)).map_err(|error| chain(&error))
}

fn remove_owned(path: &Path, owner: &Owner) -> Result<(), String> {
    match files::FileCache::content(path) {
        Ok(content) if Owner::of(&content).as_ref() == Some(owner) => {
            files::remove(path).map(drop).map_err(|error| chain(&error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Law 3 and 8: a person's file is left alone, and an unchanged status is
    /// not written again.
    #[tokio::test]
    async fn a_status_is_written_once_and_never_over_a_persons_file() {
        let folder = tempfile::tempdir().unwrap();
        let sink = StatusFiles::new(folder.path().to_owned(), Metrics::new());
        sink.write_refused("ky04", "ky04.yaml", "no").await;
        let path = folder.path().join("ky04.status.yaml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("# cb-operator: owner=tenant/ky04\n"),
            "{text}"
        );
        let again = StatusFiles::new(folder.path().to_owned(), Metrics::new());
        let read = again.read(&"ky04".parse().unwrap(), "ky04.yaml").unwrap();
        assert_eq!(read.conditions[0].message, "no");
        std::fs::write(folder.path().join("oh09.status.yaml"), "mine").unwrap();
        sink.write_refused("oh09", "oh09.yaml", "no").await;
        assert_eq!(
            std::fs::read_to_string(folder.path().join("oh09.status.yaml")).unwrap(),
            "mine"
        );
        sink.remove(&"ky04".parse().unwrap(), "ky04.yaml").await;
        assert!(!path.exists());
    }

    /// Nobody has made the folders of a repository there.
    #[tokio::test]
    async fn a_folder_of_their_own_is_made_as_needed() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("status");
        let sink = StatusFiles::apart(root.clone(), Metrics::new());
        sink.write_refused("ky04", "eu/ky04.yaml", "no").await;
        assert!(root.join("eu/ky04.status.yaml").is_file());
    }

    /// Law 12: a tenant that was renamed in its file has to wait for the status
    /// file of its old self, which is the operator's own.
    #[tokio::test]
    async fn a_status_file_of_another_tenant_is_not_taken_for_a_persons() {
        let folder = tempfile::tempdir().unwrap();
        let sink = StatusFiles::new(folder.path().to_owned(), Metrics::new());
        sink.write_refused("ky04", "ky04.yaml", "no").await;
        sink.write_refused("ky05", "ky04.yaml", "no").await;
        let told = sink.failed()["ky05"].clone();
        assert!(told.contains("still the status of tenant"), "{told}");
        sink.remove(&"ky04".parse().unwrap(), "ky04.yaml").await;
        sink.write_refused("ky05", "ky04.yaml", "no").await;
        assert!(sink.failed().is_empty());
    }

    /// Law 8: a status that could not be written is written as soon as it can
    /// be, although it is still the same.
    #[tokio::test]
    async fn a_failed_write_is_made_up_for() {
        let folder = tempfile::tempdir().unwrap();
        let sink = StatusFiles::new(folder.path().to_owned(), Metrics::new());
        let path = folder.path().join("ky04.status.yaml");
        std::fs::create_dir(&path).unwrap();
        sink.write_refused("ky04", "ky04.yaml", "no").await;
        std::fs::remove_dir(&path).unwrap();
        sink.write_refused("ky04", "ky04.yaml", "no").await;
        assert!(path.is_file());
        assert!(sink.failed().is_empty());
    }

    /// Law 4: a broken file of the same name in another folder is another file.
    #[tokio::test]
    async fn a_broken_file_does_not_take_a_tenants_place() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("eu")).unwrap();
        let sink = StatusFiles::new(folder.path().to_owned(), Metrics::new());
        sink.write_refused("a", "a.yaml", "one").await;
        sink.write_refused_file("eu/a.yaml", "two").await;
        let read = |file: &str| std::fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(read("a.status.yaml").contains("one"));
        assert!(read("eu/a.status.yaml").contains("two"));
        sink.remove_file("eu/a.yaml").await;
        assert!(!folder.path().join("eu/a.status.yaml").exists());
        assert!(read("a.status.yaml").contains("one"));
    }
}
