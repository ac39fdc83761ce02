//! Upgrades, backups and restores: transactions on a tenant, with a journal.
//!
//! An [`Operation`] is part of the tenant's [`crate::record::Record`]. It says
//! which [`Phase`] is under way; [`Operation::work`] says what that phase has
//! to do, and after it [`Operation::succeed`] or [`Operation::fail`] goes on to
//! the next. The record is saved before the work of a phase begins, and the
//! work of every phase can be done twice: so a process that is killed at any
//! instruction goes on from the journal, and the end is always the new version
//! with all rows or the old version with all rows (laws 5 and 6).
//!
//! ```text
//! Preparing ─▶ Stopping ─▶ Checkpointing ─▶ BackingUp ─▶ Migrating ─▶ Switching ─▶ Verifying ─▶ done
//!     │            │             │              │      or Restoring        │            │
//!     ▼            └─────────────┴──────┬───────┘          │              ▼            ▼
//!  failed                               │                  │         RollingBack ◀──────┘
//!                                       ▼                  ▼              ▼
//!                  failed ◀─ Confirming ◀─ Reverting ◀─ Restoring ◀───────┘
//! ```
//!
//! What cannot go forward or back is [`Phase::Halted`]: everything is kept, and
//! a person decides. `begin` says when an operation is due.

mod begin;
mod machine;
mod words;

use serde::{Deserialize, Serialize};

use crate::api::TenantSpec;
use crate::database::{JobError, JobFailure};
use crate::record::Ports;
use crate::types::{BackupId, Version};

pub use begin::{due, next_backup};
pub use machine::{Next, Work};

/// An upgrade, backup or restore.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// Its identifier, unique for the tenant.
    pub id: String,
    /// What it is for.
    pub kind: Kind,
    /// What the tenant ran with before; absent if it never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Box<TenantSpec>>,
    /// What the tenant is to run with.
    pub to: Box<TenantSpec>,
    /// Whether the policy asked for it, and no person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheduled: bool,
    /// Whether a backup is made.
    pub backup: bool,
    /// Whether migrations are applied.
    pub migrate: bool,
    /// The backup that the database is restored from, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<BackupId>,
    /// What is under way.
    pub phase: Phase,
    /// The phases so far, with the one that is under way.
    pub phases: Vec<PhaseRecord>,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// What was found of the database after the services were stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Found>,
    /// The identifier of the backup that it makes, before it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<BackupId>,
    /// Whether that backup was made and verified.
    #[serde(default)]
    pub backed_up: bool,
    /// Whether the tenant's services worked before. If they did not, going
    /// back cannot be held to it.
    pub was_healthy: bool,
    /// Whether it takes the place of one that was halted. Nobody knows what
    /// state the database is in then: if it fails, the services stay down.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_halt: bool,
    /// The ports that the tenant had before; they stay its own until the end.
    #[serde(default, skip_serializing_if = "Ports::is_empty")]
    pub ports: Ports,
    /// Why it goes back, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Where it cannot go on, if it is halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halt>,
    /// When it ended (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Another version.
    Upgrade,
    /// A copy of the database.
    Backup,
    /// A database as it was.
    Restore,
}

/// What of an operation is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// The release is installed and the preflight made, while the tenant
    /// serves.
    Preparing,
    /// The services are stopped.
    Stopping,
    /// The database's log is written into it.
    Checkpointing,
    /// The database is copied and the copy verified.
    BackingUp,
    /// The schema is brought to the new release's.
    Migrating,
    /// A backup is put in the database's place.
    Restoring,
    /// Environment, units and site become the new ones and the services start.
    Switching,
    /// The services must answer with the new version for a settling time.
    Verifying,
    /// What was started is stopped again.
    RollingBack,
    /// Environment, units and site become the old ones again and the services
    /// start.
    Reverting,
    /// The services must answer with the old version.
    Confirming,
    /// It can go neither forward nor back.
    Halted,
}

/// A phase that was begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PhaseRecord {
    /// The phase.
    pub phase: Phase,
    /// When it began (RFC 3339, UTC).
    pub started: String,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// Whether it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// What was found of the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// Whether there is one.
    pub exists: bool,
    /// Its schema version, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<i64>,
}

/// Why a phase failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The phase.
    pub phase: Phase,
    /// A CamelCase word for conditions and events.
    pub reason: String,
    /// What failed, why, and what would help.
    pub message: String,
    /// The last lines that what failed wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<String>,
}

impl Wish {
    /// Whether it puts a database in the place of one that may be broken, so
    /// that it can take the place of an operation that is halted.
    #[must_use]
    pub fn mends(&self) -> bool {
        match self {
            Wish::Restore { .. } => true,
            Wish::Upgrade { restore, .. } => restore.is_some(),
            Wish::Backup { .. } => false,
        }
    }
}

impl Failure {
    /// The reason of work that was kept off by something that has the database
    /// open.
    pub const LOCKED: &'static str = JobFailure::Locked.as_str();

    /// A failed piece of work on the database.
    #[must_use]
    pub fn of_job(phase: Phase, error: JobError) -> Self {
        Self {
            phase,
            reason: error.failure.as_str().to_owned(),
            message: error.message,
            log: error.log,
        }
    }
}

/// Where an operation cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Halt {
    /// The phase that a retry begins with.
    pub resume: Phase,
    /// Why it cannot go on.
    pub failure: Failure,
}

/// What a phase that succeeded has found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// What was found of the database, if it was looked at.
    pub database: Option<Found>,
}

/// A version, with its spec, that was tried and failed: it is not tried again
/// until the spec changes or a person says so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailedUpgrade {
    /// The spec.
    pub spec: Box<TenantSpec>,
    /// Why.
    pub failure: Failure,
}

/// What somebody asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// When (RFC 3339, UTC).
    pub at: String,
    /// What.
    pub wish: Wish,
}

/// What can be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Wish {
    /// A backup.
    Backup {
        /// Whether the policy asks, and no person.
        scheduled: bool,
    },
    /// The database as in this backup, with the version that the tenant has.
    Restore {
        /// The backup.
        backup: BackupId,
    },
    /// How the upgrade to this version is to be done, once the spec asks for
    /// the version.
    Upgrade {
        /// The version.
        version: Version,
        /// Whether a backup is made. Without, nothing may have to be migrated.
        backup: bool,
        /// Whether migrations are applied.
        migrate: bool,
        /// The backup that the database is restored from: a downgrade.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restore: Option<BackupId>,
    },
}

#[cfg(test)]
mod tests;
