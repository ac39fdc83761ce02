//! The running operator: who tells whom.
//!
//! Five tasks feed the controller: readings of the manifests, events of the
//! host, rounds over the services that are well, a timer for what no event
//! told, and the API. All of them only wake passes; what a pass does is decided
//! from what it sees.

use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use cb_core::api::ConditionStatus;
use cb_core::types::TenantName;
use cb_host::HostEvent;
use cb_runtime::controller::{self, Handle};
use cb_runtime::{BackoffConfig, ControllerConfig, FolderHandle, Scan};
use tokio::sync::{SetOnce, broadcast, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::Access;
use crate::alerts::Alerts;
use crate::catalog::{Catalog, Taken};
use crate::controller::{Ended, Reason, Tenants};
use crate::events;
use crate::metrics::collect;
use crate::rollouts::Rollouts;
use crate::source::Source;
use crate::state::PublishedTenant;
use crate::tenant::Engine;

/// How many passes run at once. A pass mostly waits, for steps that are shared
/// by all that ask at the same time: a low number would make them many.
const PARALLELISM: usize = 512;
/// How long a tenant that failed waits at most: what was in the way may be
/// gone without an event.
const MAX_BACKOFF: Duration = Duration::from_secs(60);
/// How far apart parts of the periodic look at everything are, if its period is
/// long enough to have some: those who are looked at together share much of it.
const RESYNC_PART: Duration = Duration::from_secs(60);
/// How long passes may go on at shutdown.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// What the parts of the operator share.
pub struct Daemon<H> {
    /// Makes passes.
    pub engine: Arc<Engine<H>>,
    /// Takes readings of the manifests.
    pub catalog: Arc<Catalog>,
    /// Runs passes.
    pub controller: Handle<TenantName, Reason>,
    /// Tells of passes that ended.
    pub ended: broadcast::Sender<Ended>,
    /// Reads the folder of manifests.
    pub folder: FolderHandle,
    /// The folder of manifests, with links resolved.
    pub manifests: PathBuf,
    /// Tells people of tenants that need them; set once the manifests were
    /// read, so that nothing counts as gone before.
    pub alerts: OnceLock<Alerts>,
    /// Tokens and the log of changes; set before the API is served.
    pub access: OnceLock<Access>,
    /// The repository of manifests, if the Host follows one; set before
    /// anything is written.
    pub source: OnceLock<Source>,
    /// The fleet upgrades.
    pub rollouts: Arc<Rollouts>,
    /// One write of a manifest at a time.
    pub writing: tokio::sync::Mutex<()>,
    ready: AtomicBool,
    /// Set once reading the manifests was tried: until then no pass begins, as
    /// it would bring tenants to what was wanted before.
    looked: SetOnce<()>,
    started: Instant,
}

/// What the daemon listens to.
pub struct Sources {
    /// Readings of the manifests.
    pub scans: watch::Receiver<Arc<Scan>>,
    /// Events of the host.
    pub events: mpsc::UnboundedReceiver<HostEvent>,
    /// Tenants whose turn for an operation it is.
    pub turns: mpsc::UnboundedReceiver<TenantName>,
    /// How often to look at everything.
    pub resync: Duration,
}

impl<H: cb_host::Host + 'static> Daemon<H> {
    /// Starts the controller and the tasks that feed it. They end when `stop`
    /// is cancelled.
    pub fn start(
        engine: Arc<Engine<H>>,
        catalog: Arc<Catalog>,
        folder: FolderHandle,
        manifests: PathBuf,
        sources: Sources,
        rollouts: Arc<Rollouts>,
        (tasks, stop): (&TaskTracker, &CancellationToken),
    ) -> Arc<Self> {
        let (ended, _) = broadcast::channel(1024);
        let (gone, mut went) = mpsc::unbounded_channel();
        let tenants = Tenants {
            engine: Arc::clone(&engine),
            ended: ended.clone(),
            gone,
        };
        let config = ControllerConfig {
            parallelism: PARALLELISM,
            backoff: BackoffConfig {
                cap: MAX_BACKOFF,
                ..BackoffConfig::default()
            },
            ..ControllerConfig::default()
        };
        let daemon = Arc::new(Self {
            engine,
            catalog,
            controller: controller::spawn(tenants, config),
            ended,
            folder,
            manifests,
            alerts: OnceLock::new(),
            access: OnceLock::new(),
            source: OnceLock::new(),
            rollouts,
            writing: tokio::sync::Mutex::new(()),
            ready: AtomicBool::new(false),
            looked: SetOnce::new(),
            started: Instant::now(),
        });
        let Sources {
            mut scans,
            mut events,
            mut turns,
            resync,
        } = sources;
        daemon.show_metrics();
        let run = |task: TaskFuture| {
            let stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = task => {}
                }
            });
        };
        let of = Arc::clone(&daemon);
        run(Box::pin(async move {
            loop {
                let scan = Arc::clone(&scans.borrow_and_update());
                let recheck = if scan.sequence == 0 {
                    None
                } else {
                    of.take(&scan).await.recheck_at
                };
                of.next_reading(&mut scans, recheck).await;
            }
        }));
        let of = Arc::clone(&daemon);
        run(Box::pin(async move {
            of.looked.wait().await;
            while let Some(event) = events.recv().await {
                of.wake(&event);
            }
        }));
        let of = Arc::clone(&daemon);
        run(Box::pin(async move {
            while let Some(name) = turns.recv().await {
                of.controller.urgent(name, Reason::Turn);
            }
        }));
        let of = Arc::clone(&daemon);
        run(Box::pin(async move {
            while went.recv().await.is_some() {
                // What it had, a domain for example, may be another's now.
                let taken = of.catalog.again(of.now_ms()).await;
                of.enqueue(&taken);
            }
        }));
        let of = Arc::clone(&daemon);
        run(Box::pin(async move {
            of.looked.wait().await;
            let parts = parts_of(resync);
            let mut timer = tokio::time::interval(resync / parts);
            timer.tick().await;
            for turn in (0..parts).cycle() {
                timer.tick().await;
                let names = of.engine.state.names().into_iter();
                let due = names.filter(|name| part(name, parts) == turn);
                of.controller.add_all(due, Reason::Resync);
            }
        }));
        daemon
    }

    /// Starts the rounds over the services that are well. They have a thread of
    /// their own, which takes each answer where it arrives: handed from thread
    /// to thread, the answers of a quiet host would cost more than the
    /// questions.
    ///
    /// # Errors
    /// There can be no more threads or files.
    pub fn start_rounds(self: &Arc<Self>, stop: &CancellationToken) -> std::io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (of, stop) = (Arc::clone(self), stop.clone());
        let rounds = async move {
            let host = &of.engine.host;
            let ask = |probe| async move { host.probe(&probe).await };
            let wake = |tenant| of.controller.add(tenant, Reason::Health);
            let rounds = of.engine.rounds.run(ask, wake);
            stop.run_until_cancelled(rounds).await;
        };
        let thread = std::thread::Builder::new().name("rounds".into());
        thread.spawn(move || runtime.block_on(rounds)).map(drop)
    }

    /// Has the metrics look at what there is. They are part of what they look
    /// at, so they must not keep it.
    fn show_metrics(self: &Arc<Self>) {
        let daemon = Arc::downgrade(self);
        self.engine.metrics.at_scrape(move |sheet| {
            let Some(daemon) = daemon.upgrade() else {
                return Ok(());
            };
            let engine = &daemon.engine;
            collect::ready(sheet, daemon.is_ready())?;
            collect::tenants(sheet, &engine.state, &engine.spec.spec)?;
            if let Some(offsite) = &engine.offsite {
                collect::copies(sheet, &offsite.seen())?;
            }
            collect::disks(sheet, &engine.disks.uses())?;
            collect::restarts(sheet, engine.readiness.restarts())?;
            collect::host_drift(sheet, &engine.drifts.of_host())?;
            if let Some(alerts) = daemon.alerts.get() {
                collect::sinks(sheet, &alerts.counts())?;
            }
            let rollouts = daemon.rollouts.published().list().items;
            collect::rollouts(sheet, rollouts.values().map(|kept| &*kept.value))?;
            collect::queue(sheet, daemon.controller.stats())
        });
    }

    /// Waits for the next reading, or for the time when the last one has to be
    /// judged again.
    async fn next_reading(&self, scans: &mut watch::Receiver<Arc<Scan>>, mut recheck: Option<u64>) {
        loop {
            let wait = recheck.map(|at| Duration::from_millis(at.saturating_sub(self.now_ms())));
            tokio::select! {
                changed = scans.changed() => {
                    if changed.is_err() {
                        // The watcher is gone only when the operator stops.
                        std::future::pending::<()>().await;
                    }
                    return;
                }
                () = tokio::time::sleep(wait.unwrap_or(Duration::MAX)), if wait.is_some() => {
                    let taken = self.catalog.again(self.now_ms()).await;
                    self.enqueue(&taken);
                    recheck = taken.recheck_at;
                }
            }
        }
    }

    /// Reads the manifests now and takes them into the state.
    pub async fn look_at_manifests(&self) {
        match self.folder.rescan().await {
            Ok(scan) => drop(self.take(&scan).await),
            Err(error) => tracing::error!("{error}"),
        }
        // Set already, if this is not the first time.
        let _ = self.looked.set(());
    }

    async fn take(&self, scan: &Scan) -> Taken {
        tracing::debug!(sequence = scan.sequence, "the manifests were read");
        let taken = self.catalog.take(scan, self.now_ms()).await;
        self.enqueue(&taken);
        self.ready.store(true, Ordering::Release);
        taken
    }

    fn enqueue(&self, taken: &Taken) {
        for name in &taken.changed {
            self.controller.changed(name.clone(), Reason::Manifest);
        }
        for name in taken.touched.difference(&taken.changed) {
            self.controller.urgent(name.clone(), Reason::Manifest);
        }
    }

    fn wake(&self, event: &HostEvent) {
        self.engine.metrics.host_event(event);
        let host = &self.engine.spec.spec;
        if matches!(event, HostEvent::Unit(unit) if unit == host.nginx.unit.as_str()) {
            self.controller
                .add_all(self.engine.state.names(), Reason::Event);
            return;
        }
        if events::is_foreign_proxy(event, host) {
            let waits = |tenant: &PublishedTenant| {
                let status = tenant.tenant.status.as_ref();
                let proxy = status.and_then(|status| status.condition("ProxyReady"));
                proxy.is_some_and(|proxy| proxy.status == ConditionStatus::False)
            };
            for (name, tenant) in self.engine.state.tenants().list().items {
                if waits(&tenant.value) {
                    self.controller.urgent(name, Reason::Event);
                }
            }
            return;
        }
        match events::tenants(event, host, &self.engine.state) {
            Some(tenants) => self.controller.add_all(tenants, Reason::Event),
            // A connection that came back: back-offs of the outage are over.
            None => {
                for name in self.engine.state.names() {
                    self.controller.urgent(name, Reason::Event);
                }
            }
        }
    }

    /// Whether the manifests were read.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Milliseconds since the start, for what counts time.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends the passes: those that run may go on for a while.
    pub async fn shut_down(&self) {
        let report = self.controller.shutdown(SHUTDOWN).await;
        if report.aborted > 0 {
            tracing::warn!(
                "{} passes were dropped; they go on at the next start",
                report.aborted
            );
        }
        self.folder.stop();
    }
}

/// The periodic look at everything is spread over its period, so that it takes
/// no burst of work: in how many parts.
fn parts_of(resync: Duration) -> u32 {
    u32::try_from(resync.as_secs() / RESYNC_PART.as_secs())
        .unwrap_or(u32::MAX)
        .max(1)
}

/// In which part a tenant is looked at, whatever others there are.
fn part(name: &TenantName, parts: u32) -> u32 {
    let mut hasher = std::hash::DefaultHasher::new();
    name.hash(&mut hasher);
    let part = hasher.finish() % u64::from(parts);
    u32::try_from(part).unwrap_or_default()
}

type TaskFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;
