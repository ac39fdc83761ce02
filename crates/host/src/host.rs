//! The interface between the operator and a host: look, and do.
//!
//! Implemented by `SystemHost` (systemd, nginx, files) and `MemoryHost` (for
//! properties, simulation and faults). An implementation decides nothing: what
//! to do comes from `cb_core::plan`, what it means from `cb_core::status`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cb_core::backup::Backup;
use cb_core::database::{Database, Job, JobError, Progress, Report};
use cb_core::disk::DiskUse;
use cb_core::drift::Drift;
use cb_core::observed::{Health, Observed, Scope};
use cb_core::plan::Action;
use cb_core::status::ProblemReason;
use cb_core::types::{BackupId, TenantName};

/// A host that tenants run on.
#[async_trait]
pub trait Host: Send + Sync {
    /// Looks at one tenant. Answers from caches that events keep fresh: no
    /// D-Bus call, and no file content read that did not change.
    ///
    /// # Errors
    /// The host cannot be seen at all (for example no D-Bus); a single file
    /// that cannot be read is part of [`Observed`].
    async fn observe(&self, scope: &Scope) -> Result<Observed, HostError>;

    /// Looks at the ports, for giving some out: never from a cache that is
    /// older than the call.
    ///
    /// # Errors
    /// The sockets or nginx's configuration cannot be read.
    async fn ports_in_use(&self) -> Result<PortsInUse, HostError>;

    /// Does one thing for a tenant. Done twice it is done once; cut off at any
    /// instruction it can be done again. Actions that only change records
    /// ([`Action::is_record`]) are not the host's.
    ///
    /// # Errors
    /// [`ActionError`]: what was tried is not done, and nothing is half done.
    async fn execute(&self, tenant: &TenantName, action: &Action) -> Result<Done, ActionError>;

    /// Has nobody but the tenant, root and the reverse proxy connect to these
    /// ports, and the tenant to no others but shared ones. With no ports, the
    /// tenant is gone. Returns whether the host enforces that at all. Done
    /// twice it is done once, and costs nothing.
    ///
    /// # Errors
    /// [`ActionError`]: it is not enforced, or not as asked.
    async fn isolate(
        &self,
        tenant: &TenantName,
        ports: &BTreeSet<u16>,
    ) -> Result<bool, ActionError>;

    /// Asks a service whether it works.
    async fn probe(&self, probe: &Probe) -> Health;

    /// The last lines that one run of a unit wrote to its log, made fit for a
    /// message; none if they cannot be read. The run is named by its
    /// InvocationID; without one it is the last run. They may hold anything
    /// that the service prints.
    async fn log_tail(&self, unit: &str, run: Option<&str>) -> Vec<String>;

    /// Does one piece of work on a tenant's database, as the tenant's user.
    /// Done twice it is done once; cut off at any instruction it can be done
    /// again. Never two at once for one tenant: the second waits.
    ///
    /// # Errors
    /// [`JobError`]: the database is as it was before, unless its kind says
    /// otherwise.
    async fn database(
        &self,
        database: &Database,
        job: &Job,
        progress: &Progress,
    ) -> Result<Report, JobError>;

    /// The tenant's whole backups, oldest first. One that is not whole, or
    /// whose description cannot be read, is left out.
    ///
    /// # Errors
    /// The folder of backups cannot be read; that there is none is no error.
    async fn backups(&self, database: &Database) -> Result<Vec<Backup>, HostError>;

    /// Looks at what a tenant has on disk and, where the file system can, has it
    /// hold the tenant to its limit. Where it cannot, this takes the longer the
    /// more the tenant has; never twice at once for one tenant.
    ///
    /// # Errors
    /// It cannot be looked at.
    async fn disk_use(&self, query: &DiskQuery) -> Result<DiskUse, HostError>;

    /// How many bytes are free on the file system of the tenants' folders; if a
    /// smaller share of its inodes is free, that share of its bytes.
    ///
    /// # Errors
    /// It cannot be looked at.
    async fn disk_free(&self) -> Result<u64, HostError>;

    /// Deletes a backup. Returns whether it was there. Cut off, what is left
    /// is no backup, and the next call removes it.
    ///
    /// # Errors
    /// It is not removed, or not all of it.
    async fn delete_backup(&self, database: &Database, id: &BackupId) -> Result<bool, ActionError>;
}

/// The ports that something holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortsInUse {
    /// Ports that TCP sockets are bound to, with the user ids of the sockets.
    pub bound: BTreeMap<u16, BTreeSet<u32>>,
    /// Ports that nginx's configuration refers to outside our own sites.
    pub nginx: BTreeSet<u16>,
}

/// Whose use of the disk is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskQuery {
    /// The tenant.
    pub tenant: TenantName,
    /// What it may have, in bytes.
    pub limit: Option<u64>,
}

/// What came of an action.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// The InvocationID of the unit that was started.
    pub invocation_id: Option<String>,
    /// The tenant's user id, if the action made the user.
    pub uid: Option<u32>,
}

/// A health check to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The service's unit.
    pub unit: String,
    /// The unit's InvocationID: an answer of another run does not count.
    pub invocation_id: String,
    /// The port on 127.0.0.1.
    pub port: u16,
    /// The path to ask.
    pub path: String,
    /// How long the request may take.
    pub timeout: Duration,
    /// A success that is not older than this is good enough.
    pub max_age: Duration,
}

/// Why the host cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct HostError(pub String);

/// Why an action failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ActionError {
    /// The reason of the condition.
    pub reason: ProblemReason,
    /// What failed, with the path or unit, why, and what would help. Never a
    /// secret or the content of a file.
    pub message: String,
    /// Whether it is expected to pass by itself soon (D-Bus is reconnecting).
    pub transient: bool,
}

/// Something of the host itself that somebody changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDrift {
    /// The difference.
    pub drift: Drift,
    /// Whether it was put back; otherwise it is there still.
    pub corrected: bool,
}

/// Something on the host changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostEvent {
    /// This unit's state.
    Unit(String),
    /// This file.
    Path(PathBuf),
    /// Perhaps anything: events were lost, or a connection came back.
    Everything,
}
