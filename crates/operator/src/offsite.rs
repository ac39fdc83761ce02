//! Copies of backups off the host.
//!
//! A task of its own: a destination that is slow or away keeps no pass and no
//! upgrade waiting. It is level-triggered: for each tenant it compares the
//! backups there are with the copies there are, so that a copy that was missed
//! is made later. Copies expire by the tenant's policy, by their own count and
//! age, not because a backup on the host is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cb_core::api::{Host, Offsite as Wanted};
use cb_core::backup::{Backup, Candidate, expired, to_copy};
use cb_core::database::Database;
use cb_core::event::{Event, Reason};
use cb_core::record::Record;
use cb_core::status::Copying;
use cb_core::types::{BackupId, TenantName};
use cb_host::files::chain;
use cb_host::secrets::read_secret;
use cb_offsite::{Config, Credentials, Destination, Entry, Pushed, S3};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::recorder::Recorder;
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
    recorder: Recorder,
    metrics: Arc<Metrics>,
    seen: Mutex<BTreeMap<TenantName, Seen>>,
    backed_up: mpsc::UnboundedSender<TenantName>,
    /// One copy is brought back at a time.
    fetching: tokio::sync::Mutex<()>,
}

/// What was seen when a tenant's backups were last compared with their copies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Why not every backup has a copy.
    pub failed: Option<String>,
    /// The copies there were when they could be listed last.
    pub copies: BTreeSet<BackupId>,
    /// How many backups had none of these.
    pub missing: u64,
}

/// Why something could not be done with copies. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The tenant, its backups or the settings cannot be read.
    #[error("{0}")]
    Here(String),
    /// The destination.
    #[error(transparent)]
    There(#[from] cb_offsite::Error),
}

impl CopyError {
    /// All of it in one line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            CopyError::Here(words) => words.clone(),
            CopyError::There(error) => chain(error),
        }
    }
}

impl<H: cb_host::Host> Offsite<H> {
    /// The copies and what [`Offsite::run`] listens to; `None` if the Host
    /// names no destination.
    pub fn new(
        host: Arc<H>,
        spec: Arc<Host>,
        state: Arc<State>,
        (recorder, metrics): (Recorder, Arc<Metrics>),
    ) -> Option<(Arc<Self>, mpsc::UnboundedReceiver<TenantName>)> {
        let wanted = spec.spec.backups.offsite.clone()?;
        let (backed_up, heard) = mpsc::unbounded_channel();
        let offsite = Self {
            host,
            spec,
            state,
            wanted,
            recorder,
            metrics,
            seen: Mutex::default(),
            backed_up,
            fetching: tokio::sync::Mutex::default(),
        };
        Some((Arc::new(offsite), heard))
    }

    /// Has a tenant's backups compared soon.
    pub fn wake(&self, tenant: &TenantName) {
        // The receiver is gone only when the operator stops.
        let _ = self.backed_up.send(tenant.clone());
    }

    /// What is known of the copies of each tenant that was compared.
    pub fn seen(&self) -> BTreeMap<TenantName, Seen> {
        self.lock().clone()
    }

    /// What the status of a tenant says of its copies.
    pub fn copying(&self, tenant: &TenantName) -> Copying {
        match self.lock().get(tenant) {
            None => Copying::Unknown,
            Some(Seen { failed: None, .. }) => Copying::Done,
            Some(Seen {
                failed: Some(words),
                ..
            }) => Copying::Failed(words.clone()),
        }
    }

    /// Makes copies until the senders are gone. `changed` is told of tenants
    /// whose [`Offsite::copying`] is another than before.
    pub async fn run(
        &self,
        mut backed_up: mpsc::UnboundedReceiver<TenantName>,
        changed: impl Fn(TenantName) + Send + Sync,
    ) {
        let mut open: BTreeSet<TenantName> = self.state.names().into_iter().collect();
        let mut wait = RETRY.0;
        let mut resync = Instant::now() + RESYNC;
        loop {
            let failed = self.copy_all(std::mem::take(&mut open), &changed).await;
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
    async fn copy_all(
        &self,
        names: BTreeSet<TenantName>,
        changed: &(impl Fn(TenantName) + Send + Sync),
    ) -> BTreeSet<TenantName> {
        let mut failed = BTreeSet::new();
        for name in names {
            let Some(record) = self.state.record(&name) else {
                self.lock().remove(&name);
                continue;
            };
            let before = self.copying(&name);
            let mut seen = self.lock().get(&name).cloned().unwrap_or_default();
            seen.failed = self.copy(&record, &mut seen).await.err();
            if let Some(error) = &seen.failed {
                failed.insert(name.clone());
                if before != Copying::Failed(error.clone()) {
                    tracing::warn!(tenant = %name, "{name}: its backups are not copied off the host: {error}");
                }
            }
            self.lock().insert(name.clone(), seen);
            if self.copying(&name) != before {
                changed(name);
            }
        }
        failed
    }

    async fn copy(&self, record: &Record, seen: &mut Seen) -> Result<(), String> {
        let name = record.name();
        let database = self.database(record)?;
        let backups = self
            .host
            .backups(&database)
            .await
            .map_err(|e| e.to_string())?;
        let lacking = backups
            .iter()
            .filter(|backup| !seen.copies.contains(&backup.id));
        seen.missing = lacking.count() as u64;
        let destination = self.destination().map_err(|e| e.words())?;
        let policy = &record.tenant.spec.database.backup;
        let policy = policy.or(&self.spec.spec.defaults.backup);
        let copies = destination.list(name).await.map_err(|e| chain(&e))?;
        seen.copies = copies.iter().map(|copy| copy.id.clone()).collect();
        let mut candidates: Vec<Candidate> = copies
            .into_iter()
            .map(|copy| Candidate {
                id: copy.id,
                created: Some(copy.copied),
                good: true,
            })
            .collect();
        // A copy that is expired as soon as it is made would be made again with
        // each comparison.
        let wanted = to_copy(&candidates, &backups, &policy, Timestamp::now());
        seen.missing = wanted.len() as u64;
        for backup in backups.iter().filter(|backup| wanted.contains(&backup.id)) {
            let folder = database.backups.join(backup.id.as_str());
            let pushed = destination.push(name, &backup.id, &folder).await;
            self.metrics.backup_copied(pushed.is_ok());
            if let Pushed::Copied { bytes } = pushed.map_err(|e| chain(&e))? {
                let note = format!("backup {} is copied to {}", backup.id, destination.name());
                tracing::info!(tenant = %name, bytes, "{name}: {note}");
                let event = Event::tenant(name, Reason::BackupCopied, note);
                self.recorder.record(event);
            }
            candidates.push(backup.into());
            seen.copies.insert(backup.id.clone());
            seen.missing = seen.missing.saturating_sub(1);
        }
        let none = BTreeSet::new();
        let gone = expired(candidates, &policy, &none, Timestamp::now());
        if !gone.is_empty() {
            seen.copies.retain(|id| !gone.contains(id));
            let expired = destination.expire(name, &seen.copies).await;
            expired.map_err(|e| chain(&e))?;
        }
        Ok(())
    }

    /// The whole copies of a tenant's backups, in the order of their
    /// identifiers.
    ///
    /// # Errors
    /// They cannot be listed now.
    pub async fn list(&self, name: &TenantName) -> Result<Vec<Entry>, CopyError> {
        Ok(self.destination()?.list(name).await?)
    }

    /// Brings a copy back as a backup of the host, which `cbctl restore` can
    /// use then. Returns the size of its files.
    ///
    /// # Errors
    /// There is no whole copy, it cannot be read, or something is in its place.
    pub async fn fetch(&self, name: &TenantName, id: &BackupId) -> Result<u64, CopyError> {
        let _turn = self.fetching.lock().await;
        let here = |words: String| CopyError::Here(words);
        let record = self.state.record(name);
        let record = record.ok_or_else(|| here("there is no such tenant".into()))?;
        let database = self.database(&record).map_err(here)?;
        let closed = cb_host::files::FileSpec::own(0o700);
        cb_host::files::ensure_dir(&database.backups, closed).map_err(|e| here(chain(&e)))?;
        let into = database.backups.join(id.as_str());
        let fetched = self.destination()?.fetch(name, id, &into).await?;
        Ok(fetched.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<TenantName, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn database(&self, record: &Record) -> Result<Database, String> {
        match self.state.database(record, &self.spec) {
            Ok((database, _)) => Ok(database),
            Err(application) => Err(format!("there is no Application {application}")),
        }
    }

    /// Made anew each time: credentials are changed on the host without a
    /// restart.
    fn destination(&self) -> Result<Destination, CopyError> {
        let here = |words: String| CopyError::Here(words);
        let config = match (&self.wanted.folder, &self.wanted.s3) {
            (Some(folder), _) => Config::Folder {
                path: PathBuf::from(folder.as_str()),
            },
            (None, Some(s3)) => {
                let file = s3.credentials_file.as_str();
                let content = read_secret(file.as_ref()).map_err(|e| here(chain(&e)))?;
                let content = String::from_utf8_lossy(&content);
                let credentials = Credentials::parse(&content);
                let credentials =
                    credentials.map_err(|e| here(format!("{file}: {}", chain(&e))))?;
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
            (None, None) => return Err(here("backups.offsite names no destination".into())),
        };
        Ok(Destination::new(&config)?)
    }
}

impl Seen {
    /// When the newest backup that had a copy was made, if its identifier says
    /// so.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.copies.iter().filter_map(Backup::made).max()
    }
}
