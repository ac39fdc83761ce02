//! A host in memory, for properties, simulation and faults.
//!
//! [`MemoryHost`] keeps to what matters of a machine: what a service runs with
//! is what systemd and the files said when it was started, an nginx that was
//! not reloaded serves what it served before, and the operator can be cut off
//! between any two effects. What a person does to the host is in `person`,
//! what there truly is in `view`, both as methods of [`MemoryHost`].
//!
//! What must not live here: anything that decides. It does what it is told,
//! also what it should not be told.

mod databases;
mod disk;
mod execute;
mod fault;
mod nginx;
mod person;
mod systemd;
#[cfg(test)]
mod tests;
mod view;
mod world;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cb_core::api;
use cb_core::backup::Backup;
use cb_core::database::{Database, Job, JobError, Progress, Report};
use cb_core::disk::DiskUse;
use cb_core::observed::{Health, Observed, Scope};
use cb_core::plan::Action;
use cb_core::types::{BackupId, TenantName};
use tokio::sync::mpsc;

use crate::host::{ActionError, DiskQuery, Done, Host, HostError, HostEvent, PortsInUse, Probe};
use databases::JobFaults;
use fault::Faults;
use world::{World, died};

pub use databases::{Content, JobFault};
pub use disk::Node;
pub use fault::Fault;
pub use systemd::{Run, START_LIMIT};
pub use view::Snapshot;

/// An action that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logged {
    /// For whom.
    pub tenant: TenantName,
    /// What.
    pub action: Action,
    /// What came of it; `None` if it has not returned.
    pub result: Option<Result<Done, ActionError>>,
}

/// A host in memory.
pub struct MemoryHost {
    inner: Mutex<Inner>,
}

struct Inner {
    world: World,
    faults: Faults,
    job_faults: JobFaults,
    log: Vec<Logged>,
    listeners: Vec<mpsc::UnboundedSender<HostEvent>>,
    slow: Option<Duration>,
}

impl MemoryHost {
    /// A host without tenants: systemd and an nginx without sites run.
    #[must_use]
    pub fn new(host: &api::Host) -> Self {
        Self::with_world(World::new(host.spec.clone()))
    }

    fn with_world(world: World) -> Self {
        let inner = Inner {
            world,
            faults: Faults::default(),
            job_faults: JobFaults::default(),
            log: Vec::new(),
            listeners: Vec::new(),
            slow: None,
        };
        Self {
            inner: Mutex::new(inner),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something to the world and tells the listeners.
    fn with<R>(&self, act: impl FnOnce(&mut World) -> R) -> R {
        let mut inner = self.lock();
        let result = act(&mut inner.world);
        for event in std::mem::take(&mut inner.world.events) {
            inner
                .listeners
                .retain(|listener| listener.send(event.clone()).is_ok());
        }
        result
    }

    /// A second host in the same state, without the faults, log and listeners
    /// of this one.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self::with_world(self.with(|world| world.clone()))
    }

    /// What changes from now on.
    #[must_use]
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<HostEvent> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.lock().listeners.push(sender);
        receiver
    }

    /// Lets every action take this long, by tokio's clock.
    pub fn set_slow(&self, each: Duration) {
        self.lock().slow = Some(each);
    }

    /// Has all matching actions meet a fault, until [`MemoryHost::clear_faults`].
    pub fn fault_when(
        &self,
        mut matches: impl FnMut(&TenantName, &Action) -> bool + Send + 'static,
        fault: Fault,
    ) {
        let matches = move |tenant: &TenantName, action: &Action| matches(tenant, action);
        self.lock().faults.add(Box::new(matches), fault);
    }

    /// Has the `nth` action from now, counted from 1, meet a fault.
    pub fn fault_nth(&self, nth: u64, fault: Fault) {
        let mut seen = 0;
        let matches = move |_: &TenantName, _: &Action| {
            seen += 1;
            seen == nth
        };
        self.fault_when(matches, fault);
    }

    /// Takes all faults away that [`MemoryHost::fault_when`] and
    /// [`MemoryHost::fault_nth`] have put there.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Cuts the operator off after this many more effects: from then on
    /// everything is an error, until [`MemoryHost::restart`] or
    /// [`MemoryHost::reboot`].
    pub fn cut_after(&self, effects: u64) {
        self.with(|world| world.budget = Some(effects));
    }

    /// Whether the operator was cut off.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.with(|world| world.is_dead())
    }

    /// Counts an effect of the operator that is not the host's, such as saving
    /// a record: it can be cut off there too. The effect is to be done if this
    /// is `Ok`.
    ///
    /// # Errors
    /// The operator was cut off.
    pub fn effect(&self, what: &str) -> Result<(), HostError> {
        self.with(|world| world.effect(what))
            .map_err(|error| HostError(error.message))
    }

    /// A new operator process: it finishes the shared steps that are pending,
    /// as the real one does at its start.
    pub fn restart(&self) {
        self.with(World::finish_pending);
    }

    /// The machine goes down, at once, and comes up again with all services
    /// that are enabled; then a new operator process starts.
    pub fn reboot(&self) {
        self.with(|world| {
            world.reboot();
            world.finish_pending();
        });
    }

    fn record_result(&self, index: usize, result: &Result<Done, ActionError>) {
        self.lock().log[index].result = Some(result.clone());
    }
}

#[async_trait]
impl Host for MemoryHost {
    async fn observe(&self, scope: &Scope) -> Result<Observed, HostError> {
        self.with(|world| match world.is_dead() {
            true => Err(HostError(died().message)),
            false => Ok(world.observe(scope)),
        })
    }

    async fn ports_in_use(&self) -> Result<PortsInUse, HostError> {
        self.with(|world| match world.is_dead() {
            true => Err(HostError(died().message)),
            false => Ok(PortsInUse {
                bound: world.bound(),
                nginx: nginx::foreign_ports(&world.sites()),
            }),
        })
    }

    async fn execute(&self, tenant: &TenantName, action: &Action) -> Result<Done, ActionError> {
        let (index, fault, slow) = {
            let mut inner = self.lock();
            let fault = inner.faults.meet(tenant, action);
            let logged = Logged {
                tenant: tenant.clone(),
                action: action.clone(),
                result: None,
            };
            inner.log.push(logged);
            (inner.log.len() - 1, fault, inner.slow)
        };
        if let Some(each) = slow {
            tokio::time::sleep(each).await;
        }
        if let Some(Fault::Hang) = fault {
            return std::future::pending().await;
        }
        let result = match &fault {
            Some(Fault::Fail(error)) => Err(error.clone()),
            _ => self.with(|world| {
                if world.is_dead() {
                    return Err(died());
                }
                let result = world.execute(tenant, action);
                // Who was cut off does not hear of it.
                if world.is_dead() { Err(died()) } else { result }
            }),
        };
        if let Some(Fault::HangAfter) = fault {
            return std::future::pending().await;
        }
        self.record_result(index, &result);
        result
    }

    /// Who connects to what is not simulated.
    async fn isolate(&self, _: &TenantName, _: &BTreeSet<u16>) -> Result<bool, ActionError> {
        Ok(false)
    }

    async fn probe(&self, probe: &Probe) -> Health {
        self.with(|world| world.probe(probe))
    }

    async fn log_tail(&self, unit: &str, run: Option<&str>) -> Vec<String> {
        let run = run.unwrap_or("its last run");
        vec![format!("the last words of {unit} in {run}")]
    }

    async fn database(
        &self,
        database: &Database,
        job: &Job,
        progress: &Progress,
    ) -> Result<Report, JobError> {
        self.run_job(database, job, progress).await
    }

    async fn backups(&self, database: &Database) -> Result<Vec<Backup>, HostError> {
        self.with(|world| world.backups(&database.backups))
    }

    async fn disk_use(&self, query: &DiskQuery) -> Result<DiskUse, HostError> {
        self.with(|world| match world.is_dead() {
            true => Err(HostError(died().message)),
            false => Ok(world.disk_use(&query.tenant)),
        })
    }

    async fn disk_free(&self) -> Result<u64, HostError> {
        Ok(self.with(|world| world.disk_free))
    }

    async fn delete_backup(&self, database: &Database, id: &BackupId) -> Result<bool, ActionError> {
        self.with(|world| world.delete_backup(&database.backups, id))
    }
}
