//! What runs beside the passes: each is a task that ends when the operator
//! stops.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use cb_core::api::GitRepository;
use cb_core::types::TenantName;
use cb_host::SystemHost;
use cb_host::source::Repository;
use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::alerts::{Alerts, Patience};
use crate::api;
use crate::cli::notify;
use crate::controller::Reason;
use crate::daemon::Daemon;
use crate::disk::Disks;
use crate::release_gc::ReleaseGc;
use crate::source::{Follower, Start};
use crate::upkeep;

/// Where the API is over TCP, and with which certificate.
pub(crate) type Remote = (SocketAddr, Arc<ServerConfig>);

/// Names of tenants that something happened to.
type Tenants = mpsc::UnboundedReceiver<TenantName>;

/// Starts them.
pub(crate) struct Workers<'a> {
    /// What they work for.
    pub(crate) daemon: &'a Arc<Daemon<SystemHost>>,
    /// Where they run.
    pub(crate) tasks: &'a TaskTracker,
    /// Ends them.
    pub(crate) stop: &'a CancellationToken,
}

impl Workers<'_> {
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let until = self.stop.clone();
        self.tasks
            .spawn(async move { until.run_until_cancelled(work).await });
    }

    fn backend(&self) -> Arc<dyn api::Backend> {
        Arc::clone(self.daemon) as _
    }

    /// Wakes a tenant's pass before those that wait.
    fn urgent(&self) -> impl Fn(TenantName) + Send + Sync + 'static {
        let controller = self.daemon.controller.clone();
        move |tenant| controller.urgent(tenant, Reason::Event)
    }

    /// Follows the repository of manifests, and listens to its webhook.
    pub(crate) fn follow(&self, repository: Repository, git: GitRepository) {
        let state = PathBuf::from(self.daemon.engine.spec.spec.paths.state.as_str());
        let webhook = git.webhook.clone();
        let revision = cb_host::source::published(&state);
        self.daemon.catalog.set_revision(revision.map(String::from));
        let start = Start {
            repository,
            git,
            state,
        };
        let (follower, source) = Follower::new(start, Arc::clone(self.daemon));
        if let Some(webhook) = webhook {
            let (address, secret) = (
                webhook.address.socket(),
                webhook.secret_file.as_str().into(),
            );
            let (source, stop) = (source.clone(), self.stop.clone());
            self.tasks
                .spawn(api::serve_webhook(address, secret, source, stop));
        }
        // Nothing else sets it.
        let _ = self.daemon.source.set(source);
        self.spawn(follower.run());
    }

    /// Orders and renews certificates, if the Host has them ordered.
    pub(crate) fn certificates(&self) {
        if let Some(acme) = self.daemon.engine.acme.clone() {
            let changed = self.urgent();
            self.spawn(async move { acme.run(changed).await });
        }
    }

    /// Looks at what tenants have on disk.
    pub(crate) fn disks(&self, disks: Arc<Disks<SystemHost>>, asked: Tenants) {
        let changed = self.urgent();
        self.spawn(async move { disks.run(asked, changed).await });
    }

    /// Copies backups off the host, if the Host says where to.
    pub(crate) fn copies(&self, backed_up: Option<Tenants>) {
        if let Some((offsite, backed_up)) = self.daemon.engine.offsite.clone().zip(backed_up) {
            let controller = self.daemon.controller.clone();
            let changed = move |tenant| controller.add(tenant, Reason::Event);
            self.spawn(async move { offsite.run(backed_up, changed).await });
        }
    }

    /// Tells people.
    ///
    /// # Errors
    /// See [`Alerts::start`].
    pub(crate) fn alerts(&self, folder: PathBuf) -> anyhow::Result<()> {
        let engine = &self.daemon.engine;
        let alerts = Alerts::start(
            &engine.spec,
            folder,
            Arc::clone(&engine.state),
            &engine.recorder,
            &Patience::default(),
            (self.tasks, self.stop),
        );
        // Nothing else sets it.
        let _ = self
            .daemon
            .alerts
            .set(alerts.context("cannot start the alerts")?);
        Ok(())
    }

    /// Drives fleet upgrades.
    pub(crate) fn rollouts(&self, resync: Duration) {
        let rollouts = Arc::clone(&self.daemon.rollouts);
        self.spawn(rollouts.run(self.backend(), resync));
    }

    /// Removes releases that nobody needs.
    pub(crate) fn releases(&self) {
        let engine = &self.daemon.engine;
        let releases = ReleaseGc {
            host: Arc::clone(&engine.host),
            spec: Arc::clone(&engine.spec),
            state: Arc::clone(&engine.state),
        };
        let ended = self.daemon.ended.subscribe();
        self.spawn(async move { releases.run(ended).await });
    }

    /// Looks after what is the host's own.
    pub(crate) fn upkeep(&self, resync: Duration) {
        let engine = Arc::clone(&self.daemon.engine);
        self.tasks
            .spawn(upkeep::run(engine, resync, self.stop.clone()));
    }

    /// Serves the API on its socket, over TCP if the Host has it, and the
    /// metrics. The task ends with the API.
    pub(crate) fn api(&self, socket: api::Socket, remote: Option<Remote>) -> JoinHandle<()> {
        if let Some(address) = &self.daemon.engine.spec.spec.api.metrics_address {
            let metrics = api::serve_metrics(address.socket(), self.backend(), self.stop.clone());
            self.tasks.spawn(metrics);
        }
        let serve = api::serve(socket, remote, self.backend(), self.stop.clone());
        self.tasks.spawn(serve)
    }

    /// Tells systemd that the operator lives, as long as its state can be
    /// reached.
    pub(crate) fn watchdog(&self) {
        let Some(period) = sd_notify::watchdog_enabled() else {
            return;
        };
        let daemon = Arc::clone(self.daemon);
        self.spawn(async move {
            let mut timer = tokio::time::interval(period / 2);
            loop {
                timer.tick().await;
                let _ = daemon.engine.state.names();
                let _ = daemon.controller.stats();
                notify(&[sd_notify::NotifyState::Watchdog]);
            }
        });
    }
}
