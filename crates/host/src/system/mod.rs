//! [`SystemHost`]: a real machine.
//!
//! Puts the drivers together: [`observe`] looks through their caches,
//! [`execute`] does one action with them. What is shared by all tenants
//! (daemon-reload, users, nginx) runs once for all who ask together.

pub(crate) mod credentials;
mod execute;
mod network;
mod network_memo;
mod observe;
mod release_looks;
mod release_watch;
mod reload;
mod source;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cb_core::api::HostSpec;
use cb_core::backup::Backup;
use cb_core::database::{Database, Job, JobError, JobFailure, Progress, Report};
use cb_core::disk::DiskUse;
use cb_core::drift::{Drift, DriftKind};
use cb_core::layout::{Layout, user_name};
use cb_core::observed::{Health, Observed, Scope};
use cb_core::plan::Action;
use cb_core::types::{BackupId, TenantName};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;

use crate::actors::Actors;
use crate::certificates::CertificateLooks;
use crate::databases::{self, Databases};
use crate::disk::{self, Disks};
use crate::files::{self, FileCache, FileSpec, chain};
use crate::health::HealthChecks;
use crate::nginx::{Nginx, NginxPaths, ReferencedPorts};
use crate::releases::{self, Releases, Workers};
use crate::secrets::Secrets;
use crate::sockets::Sockets;
use crate::systemd::{Systemd, UnitEvent};
use crate::users::Users;
use crate::{
    ActionError, Counts, DiskQuery, Done, Host, HostDrift, HostError, HostEvent, PortsInUse, Probe,
    sysctl,
};
use network::Network;
use release_looks::ReleaseLooks;
use reload::UnitReload;

/// How long the first listing of units may take at the start.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A machine with systemd.
#[derive(Debug)]
pub struct SystemHost {
    spec: HostSpec,
    files: Arc<FileCache>,
    certificates: CertificateLooks,
    actors: Arc<Actors>,
    systemd: Systemd,
    units: UnitReload,
    users: Arc<Users>,
    sockets: Sockets,
    nginx: Nginx,
    nginx_ports: ReferencedPorts,
    releases: Releases,
    release_looks: Arc<ReleaseLooks>,
    health: HealthChecks,
    databases: Databases,
    disks: Arc<Disks>,
    secrets: Secrets,
    network: Network,
    /// Whether the port range was reserved.
    reserved: AtomicBool,
}

impl SystemHost {
    /// Connects to the machine and cleans up after a process that was killed:
    /// temporary files and half-made releases go, and a reload that was owed
    /// is done.
    ///
    /// # Errors
    /// There is no systemd to talk to, or the operator's own folders cannot be
    /// made.
    pub async fn start(spec: &HostSpec) -> Result<Self, HostError> {
        tidy(spec).map_err(|error| HostError(chain(&error)))?;
        let state = Path::new(spec.paths.state.as_str());
        let systemd = Systemd::spawn();
        let files = Arc::new(FileCache::default());
        let config = PathBuf::from(spec.nginx.config.as_str());
        let nginx_paths = NginxPaths {
            config: config.clone(),
            sites: spec.nginx.sites.as_str().into(),
            unit: spec.nginx.unit.to_string(),
            state: state.to_owned(),
        };
        let users = Arc::new(Users::spawn());
        let actors = Arc::new(Actors::start());
        let host = Self {
            network: Network::spawn(spec, Arc::clone(&users)),
            units: UnitReload::spawn(systemd.clone(), &state.join("pending")),
            users: Arc::clone(&users),
            sockets: Sockets::default(),
            nginx: Nginx::spawn(nginx_paths, systemd.clone()),
            nginx_ports: ReferencedPorts::new(config, Arc::clone(&files)),
            releases: Releases::new(Workers::new(
                state,
                Path::new(spec.paths.sysusers.as_str()),
                systemd.clone(),
                users,
            )),
            health: HealthChecks::default(),
            databases: Databases::new(systemd.clone()),
            disks: Arc::default(),
            secrets: Secrets::start(spec, systemd.clone())?,
            spec: spec.clone(),
            files,
            certificates: CertificateLooks::default(),
            actors: Arc::clone(&actors),
            reserved: AtomicBool::new(false),
            release_looks: Arc::new(ReleaseLooks::new(actors)),
            systemd,
        };
        let ready = host.systemd.ready(READY_WITHIN).await;
        ready.map_err(|error| HostError(chain(&error)))?;
        if let Err(error) = host.units.recover().await {
            tracing::warn!(error = %error.message, "a daemon-reload is still owed");
        }
        if let Err(error) = host.nginx.recover().await {
            tracing::warn!(%error, "a reload of nginx was owed");
        }
        Ok(host)
    }

    /// Reserves the port range from the kernel's choice, now and at boot. What
    /// somebody changed of that is put back if it is to be corrected. Tenants
    /// work without it, so a failure is to be reported and no more.
    ///
    /// # Errors
    /// A condition of the host, in words.
    pub async fn reserve_ports(&self, correct: bool) -> Result<Option<HostDrift>, HostError> {
        let range = &self.spec.ports;
        let first = range.base.0;
        let count = range.slots.saturating_mul(range.stride);
        let last = first.saturating_add(count.saturating_sub(1));
        let file = PathBuf::from(self.spec.paths.sysctl.as_str());
        let what = file.display().to_string();
        let made = self.reserved.load(Ordering::Acquire);
        let work = move || sysctl::reserve(&file, (first, last), made, correct);
        let changed = match tokio::task::spawn_blocking(work).await {
            Ok(changed) => changed.map_err(|error| HostError(chain(&error)))?,
            Err(error) => return Err(HostError(error.to_string())),
        };
        self.reserved.store(true, Ordering::Release);
        Ok(changed.map(|changed| HostDrift {
            drift: Drift {
                kind: DriftKind::PortsNotReserved,
                what,
                detail: changed.detail,
                by: None,
            },
            corrected: changed.put_back,
        }))
    }

    /// Sends what systemd tells about units, and which releases are edited,
    /// until the receiver is dropped.
    pub fn forward_events(&self, events: mpsc::UnboundedSender<HostEvent>) {
        let of_releases = events.clone();
        self.release_looks.tell(move |release| {
            of_releases
                .send(HostEvent::Path(release.to_owned()))
                .is_ok()
        });
        let mut units = self.systemd.subscribe();
        tokio::spawn(async move {
            loop {
                let event = match units.recv().await {
                    Ok(UnitEvent::Changed(unit)) => HostEvent::Unit(unit),
                    Ok(UnitEvent::Relisted) | Err(RecvError::Lagged(_)) => HostEvent::Everything,
                    Err(RecvError::Closed) => return,
                };
                if events.send(event).is_err() {
                    return;
                }
            }
        });
    }

    /// How often systemd and nginx were asked for what all tenants share.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (nginx_reloads, nginx_tests) = self.nginx.counts();
        Counts {
            daemon_reloads: self.units.counts(),
            nginx_reloads,
            nginx_tests,
        }
    }

    /// The backups of all tenants, also of those that are gone. Blocks.
    ///
    /// # Errors
    /// A folder of them cannot be read.
    pub fn all_backups(&self) -> Result<Vec<Backup>, files::FileError> {
        let folder = self.layout().backups();
        let failed = |error| files::FileError::io("read the folder", &folder, error);
        let mut all = Vec::new();
        for tenant in std::fs::read_dir(&folder).map_err(failed)? {
            let tenant = tenant.map_err(failed)?.path();
            if tenant.is_dir() {
                all.extend(databases::list(&tenant)?);
            }
        }
        Ok(all)
    }

    /// The shared release folders.
    #[must_use]
    pub fn releases(&self) -> &Releases {
        &self.releases
    }

    fn layout(&self) -> Layout<'_> {
        Layout::new(&self.spec)
    }
}

/// Makes the operator's own folders and removes what a killed process left.
fn tidy(spec: &HostSpec) -> Result<(), files::FileError> {
    let layout = Layout::new(spec);
    let state = Path::new(spec.paths.state.as_str());
    for (folder, mode) in [
        (state.to_owned(), 0o755),
        (layout.releases(), 0o755),
        (layout.tenants(), 0o711),
        (layout.records(), 0o700),
        (layout.backups(), 0o700),
        (layout.certificates(), 0o700),
        (layout.acme(), 0o700),
        // nginx's workers answer from it.
        (layout.challenges(), 0o755),
        (state.join("pending"), 0o700),
        (state.join("staging"), 0o700),
        (PathBuf::from(spec.paths.env.as_str()), 0o755),
        (PathBuf::from(spec.paths.sysusers.as_str()), 0o755),
    ] {
        // A folder that is there may have been closed by the administrator.
        if !folder.is_dir() {
            files::ensure_dir(&folder, FileSpec::own(mode))?;
        }
    }
    for folder in [
        spec.paths.units.as_str(),
        spec.paths.sysusers.as_str(),
        spec.nginx.sites.as_str(),
    ] {
        files::remove_abandoned(Path::new(folder))?;
    }
    for folder in [
        layout.records(),
        layout.certificates(),
        layout.acme(),
        layout.challenges(),
        state.join("pending"),
        PathBuf::from(spec.paths.env.as_str()),
    ] {
        files::remove_abandoned_below(&folder)?;
    }
    // A person's folder: that it cannot be read is for the watcher to tell.
    if let Ok(manifests) = std::fs::canonicalize(spec.paths.manifests.as_str())
        && let Err(error) = files::remove_abandoned_below(&manifests)
    {
        tracing::warn!("{}", chain(&error));
    }
    releases::remove_abandoned(&layout.releases())
}

#[async_trait]
impl Host for SystemHost {
    async fn observe(&self, scope: &Scope) -> Result<Observed, HostError> {
        self.look(scope).await
    }

    async fn ports_in_use(&self) -> Result<PortsInUse, HostError> {
        let bound = self.sockets.dump(Duration::ZERO).await;
        let bound = bound.map_err(|error| HostError(chain(&error)))?;
        let nginx = self.nginx_ports.get();
        let nginx = nginx.map_err(|error| HostError(chain(&error)))?;
        let bound = (*bound).clone();
        Ok(PortsInUse { bound, nginx })
    }

    async fn execute(&self, tenant: &TenantName, action: &Action) -> Result<Done, ActionError> {
        self.act(tenant, action).await
    }

    async fn isolate(
        &self,
        tenant: &TenantName,
        ports: &BTreeSet<u16>,
    ) -> Result<bool, ActionError> {
        self.network.isolate(tenant, ports).await
    }

    async fn probe(&self, probe: &Probe) -> Health {
        self.health.probe(probe).await
    }

    async fn log_tail(&self, unit: &str, run: Option<&str>) -> Vec<String> {
        crate::systemd::journal::tail(unit, run).await
    }

    async fn database(
        &self,
        database: &Database,
        job: &Job,
        progress: &Progress,
    ) -> Result<Report, JobError> {
        let user = self.users.get(&database.user).map_err(|error| JobError {
            failure: JobFailure::Failed,
            message: chain(&error),
            log: Vec::new(),
        })?;
        let folder = self.layout().database(&database.tenant);
        self.databases
            .run(database, folder, user, job, progress)
            .await
    }

    async fn backups(&self, database: &Database) -> Result<Vec<Backup>, HostError> {
        let folder = database.backups.clone();
        match tokio::task::spawn_blocking(move || databases::list(&folder)).await {
            Ok(listed) => listed.map_err(|error| HostError(chain(&error))),
            Err(error) => Err(HostError(error.to_string())),
        }
    }

    async fn disk_use(&self, query: &DiskQuery) -> Result<DiskUse, HostError> {
        let user = self.users.get(&user_name(&query.tenant));
        let user = user.map_err(|error| HostError(chain(&error)))?;
        let (folder, limit) = (self.layout().data(&query.tenant), query.limit);
        let disks = Arc::clone(&self.disks);
        let uid = user.map(|user| user.uid);
        let look = move || disks.look(&folder, uid, limit);
        match tokio::task::spawn_blocking(look).await {
            Ok(found) => found.map_err(|error| HostError(chain(&error))),
            Err(error) => Err(HostError(error.to_string())),
        }
    }

    async fn disk_free(&self) -> Result<u64, HostError> {
        let folder = self.layout().tenants();
        disk::free(&folder).map_err(|error| HostError(chain(&error)))
    }

    async fn delete_backup(&self, database: &Database, id: &BackupId) -> Result<bool, ActionError> {
        let (folder, id) = (database.backups.clone(), id.clone());
        execute::blocking(move || Ok(databases::delete(&folder, &id)?)).await
    }
}
