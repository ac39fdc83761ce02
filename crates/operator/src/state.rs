//! What the operator knows: the records of tenants and Applications, which
//! manifests were refused, and the tenants' statuses.
//!
//! The catalog (manifests) and the passes (ports, services) both change
//! records; [`State::update`] is the only way, and it keeps memory and disk in
//! step: what could not be saved is saved before anything is done that relies
//! on it ([`State::save`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cb_core::alert::{HostProblems, HostReason};
use cb_core::api::{Application, Host, Tenant, TenantStatus};
use cb_core::database::Database;
use cb_core::patch::Provenance;
use cb_core::record::{Phase, Record};
use cb_core::types::{ObjectName, TenantName};
use cb_runtime::store::Store;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How many changes of objects a watcher may lag behind.
const HISTORY: usize = 4096;

/// What is remembered of an Application: its last good manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationRecord {
    /// The last good manifest.
    pub application: Application,
    /// Its file, relative to the folder of manifests.
    pub file: String,
    /// Counts the changes of the spec, from 1.
    pub generation: u64,
    /// When it was first accepted (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Where the manifest's content came from.
    #[serde(default, skip_serializing_if = "Provenance::is_empty")]
    pub provenance: Provenance,
}

/// A tenant as the API shows it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublishedTenant {
    /// The manifest, with the status.
    pub tenant: Tenant,
    /// The manifest's file, relative to the folder of manifests.
    pub file: String,
    /// Counts the changes of the spec.
    pub generation: u64,
    /// When it was first accepted.
    pub created: Option<String>,
    /// Whether it is being removed.
    pub deleting: bool,
    /// Where the manifest's content came from.
    pub provenance: Provenance,
}

/// Where records are kept between runs.
#[async_trait]
pub trait RecordStore: Send + Sync {
    /// Writes a tenant's record; it is on disk when this returns.
    async fn save(&self, record: &Record) -> Result<(), SaveError>;
    /// Removes a tenant's record.
    async fn remove(&self, tenant: &TenantName) -> Result<(), SaveError>;
    /// Writes an Application's record.
    async fn save_application(&self, record: &ApplicationRecord) -> Result<(), SaveError>;
    /// Removes an Application's record.
    async fn remove_application(&self, name: &ObjectName) -> Result<(), SaveError>;
}

/// Keeps nothing, for tests of what is not about records.
#[cfg(test)]
pub(crate) struct NoRecords;

#[cfg(test)]
#[async_trait]
impl RecordStore for NoRecords {
    async fn save(&self, _: &Record) -> Result<(), SaveError> {
        Ok(())
    }
    async fn remove(&self, _: &TenantName) -> Result<(), SaveError> {
        Ok(())
    }
    async fn save_application(&self, _: &ApplicationRecord) -> Result<(), SaveError> {
        Ok(())
    }
    async fn remove_application(&self, _: &ObjectName) -> Result<(), SaveError> {
        Ok(())
    }
}

/// Why a record was not written; it names the file.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the record cannot be saved: {0}")]
pub struct SaveError(pub String);

/// What the operator knows.
pub struct State {
    inner: Mutex<Inner>,
    store: Arc<dyn RecordStore>,
    tenants: Store<TenantName, PublishedTenant>,
    published_applications: Store<ObjectName, ApplicationRecord>,
    host_problems: watch::Sender<HostProblems>,
}

#[derive(Default)]
struct Inner {
    records: BTreeMap<TenantName, Record>,
    applications: BTreeMap<ObjectName, ApplicationRecord>,
    statuses: BTreeMap<TenantName, Arc<TenantStatus>>,
    refused: BTreeMap<TenantName, Vec<String>>,
    /// Records whose newest content is not on disk yet.
    unsaved: BTreeSet<TenantName>,
    /// Keep the writes of one record in order.
    gates: BTreeMap<TenantName, Arc<tokio::sync::Mutex<()>>>,
}

impl State {
    /// The state after a start: what the store had.
    pub fn new(
        store: Arc<dyn RecordStore>,
        records: impl IntoIterator<Item = Record>,
        applications: impl IntoIterator<Item = ApplicationRecord>,
    ) -> Self {
        let records = records
            .into_iter()
            .map(|record| (record.name().clone(), record));
        let applications = applications
            .into_iter()
            .map(|record| (record.application.metadata.name.clone(), record));
        let inner = Inner {
            records: records.collect(),
            applications: applications.collect(),
            ..Inner::default()
        };
        // Versions of objects must grow over restarts, or a watcher that
        // comes back would miss what changed meanwhile.
        let first = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(1) * 1000;
        let state = Self {
            inner: Mutex::new(inner),
            store,
            tenants: Store::starting_at(first, HISTORY),
            published_applications: Store::starting_at(first, HISTORY),
            host_problems: watch::Sender::default(),
        };
        for name in state.names() {
            state.publish(&name);
        }
        for (name, record) in state.applications() {
            state.published_applications.set(name, record);
        }
        state
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record of a tenant.
    pub fn record(&self, name: &TenantName) -> Option<Record> {
        self.lock().records.get(name).cloned()
    }

    /// Looks at all records, in the order of their names.
    pub fn with_records<T>(&self, look: impl FnOnce(&BTreeMap<TenantName, Record>) -> T) -> T {
        look(&self.lock().records)
    }

    /// The names of all tenants.
    pub fn names(&self) -> Vec<TenantName> {
        self.lock().records.keys().cloned().collect()
    }

    /// The record of an Application.
    pub fn application(&self, name: &ObjectName) -> Option<ApplicationRecord> {
        self.lock().applications.get(name).cloned()
    }

    /// The database of a tenant, with the release that is deployed, and that
    /// release's Application.
    ///
    /// # Errors
    /// The name of the Application, if there is none of it.
    pub fn database(
        &self,
        record: &Record,
        host: &Host,
    ) -> Result<(Database, Application), ObjectName> {
        let spec = record.deployed.as_deref().unwrap_or(&record.tenant.spec);
        let known = self.application(&spec.application);
        let application = known.ok_or_else(|| spec.application.clone())?.application;
        let database = Database::of(record.name(), &application, &spec.version, host);
        Ok((database, application))
    }

    /// All Applications.
    pub fn applications(&self) -> BTreeMap<ObjectName, ApplicationRecord> {
        self.lock().applications.clone()
    }

    /// Why the newest manifest of a tenant was refused; empty if it was not.
    pub fn refused(&self, name: &TenantName) -> Vec<String> {
        self.lock().refused.get(name).cloned().unwrap_or_default()
    }

    /// Sets why tenants' manifests were refused. Returns the names of those
    /// for which that changed.
    pub fn set_refused(&self, refused: BTreeMap<TenantName, Vec<String>>) -> BTreeSet<TenantName> {
        let mut inner = self.lock();
        let names = inner.refused.keys().chain(refused.keys());
        let changed = names
            .filter(|n| inner.refused.get(*n) != refused.get(*n))
            .cloned()
            .collect();
        inner.refused = refused;
        changed
    }

    /// Sets all that is wrong with one condition of the host itself: reasons,
    /// and what would be right.
    pub fn set_host_problems(
        &self,
        condition: &'static str,
        problems: impl IntoIterator<Item = (impl Into<HostReason>, String)>,
    ) {
        let now = jiff::Timestamp::now();
        self.host_problems
            .send_if_modified(|known| known.set(condition, problems, now));
    }

    /// What is wrong with the host itself.
    pub fn host_problems(&self) -> watch::Receiver<HostProblems> {
        self.host_problems.subscribe()
    }

    /// The tenants as the API shows them.
    pub fn tenants(&self) -> &Store<TenantName, PublishedTenant> {
        &self.tenants
    }

    /// The Applications as the API shows them.
    pub fn published_applications(&self) -> &Store<ObjectName, ApplicationRecord> {
        &self.published_applications
    }

    /// The last status of a tenant.
    pub fn status(&self, name: &TenantName) -> Option<Arc<TenantStatus>> {
        self.lock().statuses.get(name).cloned()
    }

    /// Sets the status of a tenant.
    pub fn set_status(&self, name: &TenantName, status: TenantStatus) {
        self.lock().statuses.insert(name.clone(), Arc::new(status));
        self.publish(name);
    }

    /// Shows how far an operation is, in the messages of the conditions that
    /// say that one is under way. It is not kept.
    pub fn show_progress(&self, name: &TenantName, message: &str) {
        {
            let mut inner = self.lock();
            let Some(status) = inner.statuses.get_mut(name) else {
                return;
            };
            let mut shown = TenantStatus::clone(status);
            for condition in &mut shown.conditions {
                if ["Ready", "Reconciling", "VersionCurrent"].contains(&condition.kind.as_str()) {
                    message.clone_into(&mut condition.message);
                }
            }
            *status = Arc::new(shown);
        }
        self.publish(name);
    }

    /// Forgets the status of a tenant that was removed: one of its name that
    /// comes later has not been seen yet.
    pub fn forget_status(&self, name: &TenantName) {
        self.lock().statuses.remove(name);
        self.publish(name);
    }

    /// Makes the store that the API reads from follow the records.
    fn publish(&self, name: &TenantName) {
        // Under the lock, so that two changes are published in their order.
        let inner = self.lock();
        let record = inner
            .records
            .get(name)
            .filter(|record| record.phase != Phase::Retained);
        let Some(record) = record else {
            self.tenants.remove(name);
            return;
        };
        let status = inner
            .statuses
            .get(name)
            .map(|status| TenantStatus::clone(status));
        let published = PublishedTenant {
            tenant: Tenant {
                status,
                ..record.tenant.clone()
            },
            file: record.file.clone(),
            generation: record.generation,
            created: record.created.clone(),
            deleting: record.phase != Phase::Active,
            provenance: record.provenance.clone(),
        };
        self.tenants.set(name.clone(), published);
    }

    /// Adds a tenant, or replaces its record.
    ///
    /// # Errors
    /// The record is not on disk; it is saved again before it is relied on.
    pub async fn insert(&self, record: Record) -> Result<(), SaveError> {
        let name = record.name().clone();
        {
            let mut inner = self.lock();
            inner.records.insert(name.clone(), record);
            inner.unsaved.insert(name.clone());
        }
        self.publish(&name);
        self.save(&name).await
    }

    /// Changes a tenant's record. Returns whether there was one.
    ///
    /// # Errors
    /// The change is in memory but not on disk; it is saved again before it is
    /// relied on.
    pub async fn update(
        &self,
        name: &TenantName,
        change: impl FnOnce(&mut Record),
    ) -> Result<bool, SaveError> {
        {
            let mut inner = self.lock();
            let Some(record) = inner.records.get_mut(name) else {
                return Ok(false);
            };
            let before = record.clone();
            change(record);
            if *record != before {
                inner.unsaved.insert(name.clone());
            }
        }
        self.publish(name);
        self.save(name).await.map(|()| true)
    }

    /// Makes sure that the newest record of a tenant is on disk.
    ///
    /// # Errors
    /// It is not.
    pub async fn save(&self, name: &TenantName) -> Result<(), SaveError> {
        let gate = {
            let mut inner = self.lock();
            if !inner.unsaved.contains(name) {
                return Ok(());
            }
            Arc::clone(inner.gates.entry(name.clone()).or_default())
        };
        let _turn = gate.lock().await;
        let newest = {
            let mut inner = self.lock();
            // Whoever had the turn before may have written it.
            if !inner.unsaved.remove(name) {
                return Ok(());
            }
            inner.records.get(name).cloned()
        };
        let Some(record) = newest else { return Ok(()) };
        let saved = self.store.save(&record).await;
        if saved.is_err() {
            self.lock().unsaved.insert(name.clone());
        }
        saved
    }

    /// Forgets a tenant.
    ///
    /// # Errors
    /// Its record is still on disk, and so is still known.
    pub async fn remove(&self, name: &TenantName) -> Result<(), SaveError> {
        let gate = Arc::clone(self.lock().gates.entry(name.clone()).or_default());
        let _turn = gate.lock().await;
        self.store.remove(name).await?;
        let mut inner = self.lock();
        inner.records.remove(name);
        inner.unsaved.remove(name);
        inner.gates.remove(name);
        inner.refused.remove(name);
        inner.statuses.remove(name);
        drop(inner);
        self.publish(name);
        Ok(())
    }

    /// Adds or replaces an Application.
    ///
    /// # Errors
    /// It is not on disk, and so does not take effect.
    pub async fn insert_application(&self, record: ApplicationRecord) -> Result<(), SaveError> {
        self.store.save_application(&record).await?;
        let name = record.application.metadata.name.clone();
        self.lock()
            .applications
            .insert(name.clone(), record.clone());
        self.published_applications.set(name, record);
        Ok(())
    }

    /// Forgets an Application.
    ///
    /// # Errors
    /// Its record is still on disk, and so is still known.
    pub async fn remove_application(&self, name: &ObjectName) -> Result<(), SaveError> {
        self.store.remove_application(name).await?;
        self.lock().applications.remove(name);
        self.published_applications.remove(name);
        Ok(())
    }
}
