//! Records on disk: one small YAML file per tenant and Application.
//!
//! ```text
//! <state>/records/ky04.yaml
//! <state>/records/applications/cbapp.yaml
//! ```

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use cb_core::record::Record;
use cb_core::types::{ObjectName, TenantName};
use cb_host::files::{self, FileSpec, chain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::state::{ApplicationRecord, RecordStore, SaveError};

/// Only root reads records: manifests can hold what is meant for few.
const MODE: u32 = 0o600;

/// The folder of records.
#[derive(Debug, Clone)]
pub struct RecordFolder {
    tenants: PathBuf,
    applications: PathBuf,
}

/// What the folder held.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The tenants.
    pub records: Vec<Record>,
    /// The Applications.
    pub applications: Vec<ApplicationRecord>,
    /// The files that could not be read, and why. They were set aside as
    /// `NAME.yaml.broken`: what they said comes back from manifests and units.
    pub broken: Vec<String>,
}

impl RecordFolder {
    /// The records in this folder.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self {
            applications: folder.join("applications"),
            tenants: folder,
        }
    }

    /// Makes the folder and reads what is in it.
    ///
    /// # Errors
    /// The folder cannot be made or listed.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let mut loaded = Loaded::default();
        for folder in [&self.tenants, &self.applications] {
            files::ensure_dir(folder, FileSpec::own(0o700))?;
            files::remove_abandoned(folder)?;
        }
        loaded.records = read_all(&self.tenants, &mut loaded.broken, |r: &Record| {
            r.name().to_string()
        })?;
        loaded.applications = read_all(
            &self.applications,
            &mut loaded.broken,
            |r: &ApplicationRecord| r.application.metadata.name.to_string(),
        )?;
        Ok(loaded)
    }

    fn tenant(&self, name: &TenantName) -> PathBuf {
        self.tenants.join(format!("{name}.yaml"))
    }

    fn application(&self, name: &ObjectName) -> PathBuf {
        self.applications.join(format!("{name}.yaml"))
    }
}

fn read_all<T: DeserializeOwned>(
    folder: &Path,
    broken: &mut Vec<String>,
    name: impl Fn(&T) -> String,
) -> anyhow::Result<Vec<T>> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "yaml") {
            continue;
        }
        let reason = match read(&path) {
            Ok(record) if path.file_stem().is_some_and(|stem| *stem == *name(&record)) => {
                out.push(record);
                continue;
            }
            Ok(record) => format!("it is the record of {}", name(&record)),
            Err(reason) => reason,
        };
        broken.push(format!("{}: {reason}", path.display()));
        let aside = path.with_extension("yaml.broken");
        files::move_dir(&path, &aside)?;
    }
    Ok(out)
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, String> {
    let content = files::FileCache::content(path).map_err(|error| chain(&error))?;
    let text = String::from_utf8(content).map_err(|error| error.to_string())?;
    serde_yaml::from_str(&text).map_err(|error| error.to_string())
}

#[async_trait]
impl RecordStore for RecordFolder {
    async fn save(&self, record: &Record) -> Result<(), SaveError> {
        write(self.tenant(record.name()), record).await
    }

    async fn remove(&self, tenant: &TenantName) -> Result<(), SaveError> {
        remove(self.tenant(tenant)).await
    }

    async fn save_application(&self, record: &ApplicationRecord) -> Result<(), SaveError> {
        write(self.application(&record.application.metadata.name), record).await
    }

    async fn remove_application(&self, name: &ObjectName) -> Result<(), SaveError> {
        remove(self.application(name)).await
    }
}

async fn write(path: PathBuf, record: &impl Serialize) -> Result<(), SaveError> {
    let text = serde_yaml::to_string(record).map_err(|error| SaveError(error.to_string()))?;
    blocking(move || files::write(&path, text.as_bytes(), FileSpec::own(MODE))).await
}

async fn remove(path: PathBuf) -> Result<(), SaveError> {
    blocking(move || files::remove(&path).map(drop)).await
}

async fn blocking(
    work: impl FnOnce() -> Result<(), files::FileError> + Send + 'static,
) -> Result<(), SaveError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| SaveError(chain(&error))),
        Err(error) => Err(SaveError(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> Record {
        let tenant = format!(
            "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: {name}}}, \
             spec: {{application: cbapp, version: v1}}}}"
        );
        Record::new(
            serde_yaml::from_str(&tenant).unwrap(),
            format!("{name}.yaml"),
        )
    }

    /// Law 5: what was saved is there after a restart, and a broken record
    /// loses no other.
    #[tokio::test]
    async fn records_come_back_and_a_broken_one_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let records = RecordFolder::new(folder.path().join("records"));
        assert!(records.load().unwrap().records.is_empty());
        records.save(&record("ky04")).await.unwrap();
        records.save(&record("oh09")).await.unwrap();
        let broken = folder.path().join("records/oh09.yaml");
        std::fs::write(&broken, "tenant: [").unwrap();
        let loaded = records.load().unwrap();
        assert_eq!(loaded.records, [record("ky04")]);
        assert_eq!(loaded.broken.len(), 1);
        assert!(broken.with_extension("yaml.broken").exists() && !broken.exists());
        records.remove(&"ky04".parse().unwrap()).await.unwrap();
        assert!(records.load().unwrap().records.is_empty());
    }
}
