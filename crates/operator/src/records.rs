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

use crate::state::{ApplicationRecord, RecordStore, SaveError};
use crate::yaml_folder;

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
            yaml_folder::prepare(folder)?;
        }
        let broken = &mut loaded.broken;
        loaded.records = yaml_folder::read_all(&self.tenants, broken, |path, r: &Record| {
            misnamed(path, r.name().as_str())
        })?;
        loaded.applications =
            yaml_folder::read_all(&self.applications, broken, |path, r: &ApplicationRecord| {
                misnamed(path, r.application.metadata.name.as_str())
            })?;
        Ok(loaded)
    }

    fn tenant(&self, name: &TenantName) -> PathBuf {
        self.tenants.join(format!("{name}.yaml"))
    }

    fn application(&self, name: &ObjectName) -> PathBuf {
        self.applications.join(format!("{name}.yaml"))
    }
}

/// A record is found by the name of its file; why not, if it is not.
fn misnamed(path: &Path, name: &str) -> Option<String> {
    let is_its = path.file_stem().is_some_and(|stem| *stem == *name);
    (!is_its).then(|| format!("it is the record of {name}"))
}

#[async_trait]
impl RecordStore for RecordFolder {
    async fn save(&self, record: &Record) -> Result<(), SaveError> {
        yaml_folder::save(self.tenant(record.name()), record).await
    }

    async fn remove(&self, tenant: &TenantName) -> Result<(), SaveError> {
        yaml_folder::remove(self.tenant(tenant)).await
    }

    async fn save_application(&self, record: &ApplicationRecord) -> Result<(), SaveError> {
        yaml_folder::save(self.application(&record.application.metadata.name), record).await
    }

    async fn remove_application(&self, name: &ObjectName) -> Result<(), SaveError> {
        yaml_folder::remove(self.application(name)).await
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
