//! Copies of backups off the host.
//!
//! A task of its own: a destination that is slow or away keeps no pass and no
//! upgrade waiting. It is level-triggered: for each tenant it compares the
//! backups there are with the copies there are, so that a copy that was missed
//! is made later. Copies expire by the tenant's policy, by their own count and
//! age, not because a backup on the host is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cb_core::api::{Host, Offsite as Wanted};
use cb_core::backup::{Candidate, expired};
use cb_core::database::Database;
use cb_core::record::Record;
use cb_core::types::{BackupId, TenantName};
use cb_host::files::{FileCache, chain};
use cb_offsite::{Config, Credentials, Destination, Pushed, S3};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::state::State;

/// How often all tenants are compared, whatever was heard of.
const RESYNC: Duration = Duration::from_secs(3600);
/// How long it waits after a failure, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));

/// The copies off the host.
pub struct Offsite<H> {
    host: Arc<H>,
    spec: Arc<Host>,
    state: Arc<State>,
    wanted: Wanted,
    failures: Mutex<BTreeMap<TenantName, String>>,
    backed_up: mpsc::UnboundedSender<TenantName>,
}

impl<H: cb_host::Host> Offsite<H> {
    /// The copies and what [`Offsite::run`] listens to; `None` if the Host
    /// names no destination.
    pub fn new(
        host: Arc<H>,
        spec: Arc<Host>,
        state: Arc<State>,
    ) -> Option<(Arc<Self>, mpsc::UnboundedReceiver<TenantName>)> {
        let wanted = spec.spec.backups.offsite.clone()?;
        let (backed_up, heard) = mpsc::unbounded_channel();
        let offsite = Self {
            host,
            spec,
            state,
            wanted,
            failures: Mutex::default(),
            backed_up,
        };
        Some((Arc::new(offsite), heard))
    }

    /// Has a tenant's backups compared soon.
    pub fn wake(&self, tenant: &TenantName) {
        // The receiver is gone only when the operator stops.
        let _ = self.backed_up.send(tenant.clone());
    }

    /// Why tenants have backups without a copy; empty if all have one.
    pub fn failures(&self) -> BTreeMap<TenantName, String> {
        self.failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes copies until the senders are gone.
    pub async fn run(&self, mut backed_up: mpsc::UnboundedReceiver<TenantName>) {
        let mut open: BTreeSet<TenantName> = self.state.names().into_iter().collect();
        let mut wait = RETRY.0;
        let mut resync = Instant::now() + RESYNC;
        loop {
            let failed = self.copy_all(std::mem::take(&mut open)).await;
            wait = if failed.is_empty() {
                RETRY.0
            } else {
                (wait * 2).min(RETRY.1)
            };
            let again = if failed.is_empty() {
                resync
            } else {
                Instant::now() + wait
            };
            open = failed;
            tokio::select! {
                heard = backed_up.recv() => match heard {
                    Some(name) => drop(open.insert(name)),
                    None => return,
                },
                () = tokio::time::sleep_until(again) => {}
            }
            if Instant::now() >= resync {
                resync = Instant::now() + RESYNC;
                open.extend(self.state.names());
            }
        }
    }

    /// Compares these tenants; those that failed.
    async fn copy_all(&self, names: BTreeSet<TenantName>) -> BTreeSet<TenantName> {
        let mut failed = BTreeSet::new();
        for name in names {
            let Some(record) = self.state.record(&name) else {
                continue;
            };
            let came = self.copy(&record).await;
            let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
            match came {
                Ok(()) => drop(failures.remove(&name)),
                Err(error) => {
                    if failures.insert(name.clone(), error.clone()).as_ref() != Some(&error) {
                        tracing::warn!(tenant = %name, "{name}: its backups are not copied off the host: {error}");
                    }
                    failed.insert(name);
                }
            }
        }
        failed
    }

    async fn copy(&self, record: &Record) -> Result<(), String> {
        let name = record.name();
        let database = self.database(record)?;
        let backups = self
            .host
            .backups(&database)
            .await
            .map_err(|e| e.to_string())?;
        if backups.is_empty() {
            return Ok(());
        }
        let destination = self.destination()?;
        let policy = &record.tenant.spec.database.backup;
        let policy = policy.or(&self.spec.spec.defaults.backup);
        let copies = destination.list(name).await.map_err(|e| chain(&e))?;
        let mut candidates: Vec<Candidate> = copies
            .iter()
            .map(|copy| Candidate {
                id: copy.id.clone(),
                created: Some(copy.copied),
                good: true,
            })
            .collect();
        let there: BTreeSet<&BackupId> = copies.iter().map(|copy| &copy.id).collect();
        for backup in &backups {
            if !there.contains(&backup.id) {
                let folder = database.backups.join(backup.id.as_str());
                let pushed = destination.push(name, &backup.id, &folder).await;
                if let Pushed::Copied { bytes } = pushed.map_err(|e| chain(&e))? {
                    let to = destination.name();
                    tracing::info!(tenant = %name, bytes, "{name}: backup {} is copied to {to}", backup.id);
                }
                candidates.push(backup.into());
            }
        }
        let gone = expired(
            candidates.clone(),
            &policy,
            &BTreeSet::new(),
            jiff::Timestamp::now(),
        );
        if gone.is_empty() {
            return Ok(());
        }
        let kept = candidates.into_iter().map(|candidate| candidate.id);
        let kept: BTreeSet<BackupId> = kept.filter(|id| !gone.contains(id)).collect();
        let expired = destination.expire(name, &kept).await;
        expired.map(drop).map_err(|e| chain(&e))
    }

    /// Brings a copy back as a backup of the host, which `cbctl restore` can
    /// use then.
    ///
    /// # Errors
    /// Why not, in words.
    pub async fn fetch(&self, name: &TenantName, id: &BackupId) -> Result<u64, String> {
        let record = self.state.record(name).ok_or("there is no such tenant")?;
        let database = self.database(&record)?;
        cb_host::files::ensure_dir(&database.backups, cb_host::files::FileSpec::own(0o700))
            .map_err(|e| chain(&e))?;
        let into = database.backups.join(id.as_str());
        let fetched = self.destination()?.fetch(name, id, &into).await;
        fetched.map(|fetched| fetched.bytes).map_err(|e| chain(&e))
    }

    fn database(&self, record: &Record) -> Result<Database, String> {
        let spec = record.deployed.as_deref().unwrap_or(&record.tenant.spec);
        let known = self.state.application(&spec.application);
        let known = known.ok_or_else(|| format!("there is no Application {}", spec.application))?;
        let name = record.name();
        Ok(Database::of(
            name,
            &known.application,
            &spec.version,
            &self.spec,
        ))
    }

    /// Made anew each time: credentials are changed on the host without a
    /// restart.
    fn destination(&self) -> Result<Destination, String> {
        let config = match (&self.wanted.folder, &self.wanted.s3) {
            (Some(folder), _) => Config::Folder {
                path: PathBuf::from(folder.as_str()),
            },
            (None, Some(s3)) => {
                let file = s3.credentials_file.as_str();
                let content = FileCache::content(file.as_ref()).map_err(|e| chain(&e))?;
                let content = String::from_utf8_lossy(&content);
                let credentials = Credentials::parse(&content);
                let credentials = credentials.map_err(|e| format!("{file}: {}", chain(&e)))?;
                let name = &self.spec.metadata.name;
                Config::S3(S3 {
                    bucket: s3.bucket.clone(),
                    prefix: Some(s3.prefix.clone().unwrap_or_else(|| name.clone())),
                    region: s3.region.clone(),
                    endpoint: s3.endpoint.clone(),
                    credentials,
                    ca_file: s3.ca_file.as_ref().map(|file| file.as_str().into()),
                })
            }
            (None, None) => return Err("backups.offsite names no destination".into()),
        };
        Destination::new(&config).map_err(|e| chain(&e))
    }
}
