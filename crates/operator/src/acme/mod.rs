//! Certificates that are issued and renewed by an authority (ACME).
//!
//! A task of its own: an authority that is slow or away keeps no pass waiting.
//! A pass says which domains it has a live site for ([`Acme::want`]); the task
//! orders what is due ([`cb_core::acme`]), has nginx answer the authority's
//! challenge, and leaves the certificate in a file. The next pass finds it
//! there, as one that the manifest names. What must not live here: which
//! certificate is served, and how.

mod client;
mod order;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use cb_core::acme::Journal;
use cb_core::api::{Acme as Wanted, Host};
use cb_core::certificate::{Facts, Issuing};
use cb_core::event::{Event, Reason};
use cb_core::layout::Layout;
use cb_core::types::{DomainName, TenantName};
use cb_host::certificates::check;
use cb_host::files::{self, FileCache, FileSpec};
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::recorder::Recorder;
use crate::yaml_folder;
use client::Client;
pub use order::OrderError;

/// How many orders are under way at once: a domain that does not answer makes
/// its order slow.
const PARALLELISM: usize = 4;
/// The clock is looked at again after this time: it may have been set.
const LOOK_AGAIN: Duration = Duration::from_secs(600);

/// The certificates that are issued.
pub struct Acme {
    client: Client,
    per_hour: u16,
    folder: PathBuf,
    challenges: PathBuf,
    recorder: Recorder,
    known: Mutex<Known>,
    /// One write of the journal at a time, the newest last.
    saving: tokio::sync::Mutex<()>,
    wake: Notify,
}

#[derive(Default)]
struct Known {
    journal: Journal,
    /// The tenants that are to have a certificate, and whose sites are live.
    wanted: BTreeMap<TenantName, Vec<DomainName>>,
    /// What was issued to them.
    issued: BTreeMap<TenantName, Facts>,
    /// The tenants that went while this process runs: an order for one may
    /// still come to its end.
    gone: BTreeSet<TenantName>,
}

impl Acme {
    /// The certificates of this Host; `None` if it names no authority.
    ///
    /// # Errors
    /// The folders cannot be made.
    pub fn new(host: &Host, recorder: Recorder) -> anyhow::Result<Option<Arc<Self>>> {
        let Some(wanted) = host.spec.certificates.acme.clone() else {
            return Ok(None);
        };
        let layout = Layout::new(&host.spec);
        let folder = layout.acme();
        files::ensure_dir(&folder, FileSpec::own(0o700))?;
        files::ensure_dir(&folder.join("issued"), FileSpec::own(0o700))?;
        let journal = journal(&folder.join("orders.yaml"));
        let acme = Self {
            per_hour: wanted.orders_per_hour,
            client: Client::new(wanted, folder.join("account.json")),
            challenges: layout.challenges(),
            folder,
            recorder,
            known: Mutex::new(Known {
                journal,
                ..Known::default()
            }),
            saving: tokio::sync::Mutex::default(),
            wake: Notify::new(),
        };
        acme.tidy()
            .context("cannot tidy the folder of challenges")?;
        Ok(Some(Arc::new(acme)))
    }

    /// Says for which domains a tenant is to have a certificate; with none, it
    /// is to have none, or its site is not live, so that no challenge could be
    /// answered.
    pub fn want(&self, tenant: &TenantName, domains: Option<&[DomainName]>) {
        let mut known = self.lock();
        let changed = match domains {
            None => known.wanted.remove(tenant).is_some(),
            Some(domains) => {
                known.gone.remove(tenant);
                if !known.issued.contains_key(tenant)
                    && let Some(facts) = read(&self.issued(tenant))
                {
                    known.issued.insert(tenant.clone(), facts);
                }
                let before = known.wanted.insert(tenant.clone(), domains.to_vec());
                before.as_deref() != Some(domains)
            }
        };
        if changed {
            self.wake.notify_one();
        }
    }

    /// Removes what was issued to a tenant that is gone.
    pub async fn forget(&self, tenant: &TenantName) {
        self.want(tenant, None);
        let was_known = {
            let mut known = self.lock();
            known.gone.insert(tenant.clone());
            known.issued.remove(tenant);
            known.journal.forget(tenant)
        };
        self.discard(tenant);
        if was_known && let Err(error) = self.save().await {
            tracing::warn!("{error}");
        }
    }

    /// What the status says of a tenant's orders.
    pub fn issuing(&self, tenant: &TenantName) -> Issuing {
        self.lock().journal.issuing(tenant)
    }

    /// Orders what is due, for ever. `changed` is told of tenants that have
    /// another certificate, or another reason why not, than before.
    pub async fn run(&self, changed: impl Fn(TenantName) + Send + Sync) {
        let mut running = FuturesUnordered::new();
        let mut busy: BTreeSet<TenantName> = BTreeSet::new();
        loop {
            let now = Timestamp::now();
            let next = self.next(&busy, now);
            let wait = match next {
                Some((at, tenant, domains)) if at <= now && busy.len() < PARALLELISM => {
                    busy.insert(tenant.clone());
                    running.push(async move {
                        self.try_order(&tenant, &domains).await;
                        tenant
                    });
                    continue;
                }
                Some((at, ..)) => Duration::try_from(at.duration_since(now)).unwrap_or_default(),
                None => LOOK_AGAIN,
            };
            let wait = if busy.len() < PARALLELISM {
                wait.min(LOOK_AGAIN)
            } else {
                LOOK_AGAIN
            };
            tokio::select! {
                Some(tenant) = running.next(), if !running.is_empty() => {
                    busy.remove(&tenant);
                    changed(tenant);
                }
                () = self.wake.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The order that is due first, and when.
    fn next(
        &self,
        busy: &BTreeSet<TenantName>,
        now: Timestamp,
    ) -> Option<(Timestamp, TenantName, Vec<DomainName>)> {
        let known = self.lock();
        let waiting = known
            .wanted
            .iter()
            .filter(|(name, _)| !busy.contains(*name));
        let due = |(name, domains): (&TenantName, &Vec<DomainName>)| {
            let at = known.journal.due(name, domains, known.issued.get(name));
            (at, name.clone(), domains.clone())
        };
        let (at, name, domains) = waiting.map(due).min()?;
        let free = known.journal.free(self.per_hour, now);
        Some((at.max(free), name, domains))
    }

    async fn try_order(&self, tenant: &TenantName, domains: &[DomainName]) {
        match self.order(tenant, domains).await {
            Ok(facts) => {
                let note = format!("a certificate {facts}");
                tracing::info!(tenant = %tenant, "{tenant}: {note} was issued");
                let mut known = self.lock();
                known.issued.insert(tenant.clone(), facts);
                known.journal.forget(tenant);
                if known.gone.contains(tenant) {
                    known.issued.remove(tenant);
                    self.discard(tenant);
                }
                drop(known);
                let event = Event::tenant(tenant, Reason::CertificateIssued, note);
                self.recorder.record(event);
            }
            Err(error) => {
                let words = error.to_string();
                tracing::warn!(tenant = %tenant, "{tenant}: no certificate was issued: {words}");
                let event = Event::tenant(tenant, Reason::CertificateNotIssued, words.clone());
                self.recorder.record(event);
                let now = Timestamp::now();
                let failed = (error.kind(), words);
                self.lock().journal.fail(tenant, domains, failed, now);
            }
        }
        if let Err(error) = self.save().await {
            // It is tried again sooner, or counted less, after a restart.
            tracing::warn!("{error}");
        }
    }

    async fn order(
        &self,
        tenant: &TenantName,
        domains: &[DomainName],
    ) -> Result<Facts, OrderError> {
        let account = self.client.account().await?;
        self.lock().journal.begin(tenant, domains, Timestamp::now());
        // An order that is not counted is not made.
        self.save().await.map_err(OrderError::here)?;
        let issued = order::issue(&account, domains, &self.challenges).await;
        if issued.as_ref().is_err_and(OrderError::is_unknown_account) {
            self.client.forget();
        }
        let (chain, key) = issued?;
        let pair = check(chain.as_bytes(), key.as_bytes())
            .map_err(|error| OrderError::here(format!("what the authority sent {error}")))?;
        let content = pair.pem.reveal().as_bytes();
        files::write(&self.issued(tenant), content, FileSpec::own(0o600))
            .map_err(OrderError::here)?;
        Ok(pair.facts)
    }

    async fn save(&self) -> Result<(), crate::state::SaveError> {
        let _turn = self.saving.lock().await;
        let journal = self.lock().journal.clone();
        yaml_folder::save(self.folder.join("orders.yaml"), &journal).await
    }

    /// Answers to challenges of a process that was killed.
    fn tidy(&self) -> anyhow::Result<()> {
        files::ensure_dir(&self.challenges, FileSpec::own(0o755))?;
        for entry in std::fs::read_dir(&self.challenges)? {
            files::remove(&entry?.path())?;
        }
        Ok(())
    }

    fn discard(&self, tenant: &TenantName) {
        if let Err(error) = files::remove(&self.issued(tenant)) {
            tracing::warn!(tenant = %tenant, "{tenant}: {error}");
        }
    }

    fn issued(&self, tenant: &TenantName) -> PathBuf {
        self.folder.join("issued").join(format!("{tenant}.pem"))
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(path: &Path) -> Option<Facts> {
    let content = FileCache::content(path).ok()?;
    Some(check(&content, &content).ok()?.facts)
}

/// What is known of earlier orders. One that cannot be read is begun anew: the
/// authority's own limits hold.
fn journal(path: &Path) -> Journal {
    if !path.exists() {
        return Journal::default();
    }
    let content = FileCache::content(path).map_err(anyhow::Error::from);
    let journal = content.and_then(|content| Ok(serde_yaml::from_slice(&content)?));
    journal.unwrap_or_else(|error: anyhow::Error| {
        tracing::warn!(
            "earlier orders cannot be read from {}: {error:#}",
            path.display()
        );
        Journal::default()
    })
}
