//! What the API needs from the daemon for upgrades, backups and restores, and
//! what of an operation it shows. What must not live here: HTTP.

use async_trait::async_trait;
use cb_core::api::{OperationStatus, PhaseStatus};
use cb_core::backup::{Backup, BackupFile};
use cb_core::operation::{Request, Wish};
use cb_core::record::Record;
use cb_core::types::{BackupId, TenantName, Version};
use cb_offsite::Entry;
use serde_json::{Value, json};

use super::problem::Problem;

/// The daemon, as far as operations go. What is asked for is recorded before
/// it is answered; the tenant's next pass begins it.
#[async_trait]
pub trait Operations: Send + Sync + 'static {
    /// Asks for another version, in the tenant's manifest.
    ///
    /// # Errors
    /// Nothing was changed, and why.
    async fn upgrade(&self, tenant: &TenantName, wish: Upgrade) -> Result<Asked, Problem>;
    /// Has what failed tried again, or what is halted go on.
    ///
    /// # Errors
    /// There is nothing to try again.
    async fn retry(&self, tenant: &TenantName) -> Result<Asked, Problem>;
    /// Asks for a backup.
    ///
    /// # Errors
    /// None can be made now, and why.
    async fn back_up(&self, tenant: &TenantName) -> Result<Asked, Problem>;
    /// Asks for the database as in a backup.
    ///
    /// # Errors
    /// Nothing was changed, and why.
    async fn restore(&self, tenant: &TenantName, wish: Restore) -> Result<Asked, Problem>;
    /// The backups, newest first.
    ///
    /// # Errors
    /// They cannot be listed.
    async fn backups(&self, tenant: &TenantName) -> Result<Vec<Backup>, Problem>;
    /// Deletes a backup; with `force`, also the only good one.
    ///
    /// # Errors
    /// It is still there, and why.
    async fn delete_backup(
        &self,
        tenant: &TenantName,
        backup: &BackupId,
        force: bool,
    ) -> Result<(), Problem>;
    /// Reads a backup whole and compares it with what was recorded of it.
    ///
    /// # Errors
    /// It could not be judged, and why.
    async fn verify_backup(
        &self,
        tenant: &TenantName,
        backup: &BackupId,
    ) -> Result<Verdict, Problem>;
    /// The copies of a tenant's backups off the host; `None` if the Host names
    /// no destination.
    ///
    /// # Errors
    /// They cannot be listed now, and why.
    async fn copies(&self, tenant: &TenantName) -> Result<Option<Vec<Entry>>, Problem>;
    /// Makes a copy a backup of the host again. Returns whether it was brought:
    /// one that is on the host is left as it is.
    ///
    /// # Errors
    /// It is not on the host, and why.
    async fn fetch_backup(&self, tenant: &TenantName, backup: &BackupId) -> Result<bool, Problem>;
}

/// An upgrade to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// The version.
    pub target: Version,
    /// Whether a backup is made.
    pub backup: bool,
    /// Whether migrations are applied.
    pub migrate: bool,
    /// The backup that the database is restored from: a downgrade.
    pub restore: Option<BackupId>,
}

/// A restore to ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// The backup.
    pub backup: BackupId,
    /// The word that the version goes back with it.
    pub version: Option<Version>,
}

/// What becomes of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The operation of this identifier is under way.
    Begun(String),
    /// The tenant's next pass begins it.
    Pending,
    /// It is so without an operation, for this reason.
    NotNeeded(String),
}

/// What was found out of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was recorded of it.
    Good,
    /// It is not.
    Bad {
        /// A CamelCase word.
        reason: String,
        /// What differs.
        message: String,
    },
}

/// The operation that is under way, or else the last one.
pub(super) fn newest(record: &Record) -> Option<OperationStatus> {
    let current = record
        .operation
        .as_ref()
        .map(|operation| operation.status());
    current.or_else(|| record.history.last().cloned())
}

/// The upgrade that is under way, or else the last one.
pub(super) fn newest_upgrade(record: &Record) -> Option<OperationStatus> {
    let current = record
        .operation
        .as_ref()
        .map(|operation| operation.status());
    let past = record.history.iter().rev().cloned();
    current
        .into_iter()
        .chain(past)
        .find(|operation| operation.kind == "Upgrade")
}

/// An upgrade as `last_upgrade` shows it.
pub(super) fn upgrade_json(operation: &OperationStatus) -> Value {
    json!({
        "id": operation.id,
        "state": operation.state,
        "from": operation.from_version,
        "to": operation.to_version,
        "started": operation.started,
        "ended": operation.ended,
        "reason": operation.reason,
        "message": operation.message,
        "backup": operation.backup,
        "phases": operation.phases.iter().map(phase_json).collect::<Vec<_>>(),
    })
}

/// An operation in full.
pub(super) fn operation_json(operation: &OperationStatus) -> Value {
    let mut out = upgrade_json(operation);
    out["kind"] = operation.kind.as_str().into();
    out["log"] = operation.log.clone().into();
    out
}

fn phase_json(phase: &PhaseStatus) -> Value {
    json!({
        "name": phase.name,
        "started": phase.started,
        "ended": phase.ended,
        "result": phase.result,
    })
}

/// What was asked for and did not begin yet.
pub(super) fn request_json(request: &Request) -> Value {
    let (kind, version, backup) = match &request.wish {
        Wish::Backup { .. } => ("Backup", None, None),
        Wish::Restore { backup } => ("Restore", None, Some(backup)),
        Wish::Upgrade {
            version, restore, ..
        } => ("Upgrade", Some(version), restore.as_ref()),
    };
    json!({"kind": kind, "at": request.at, "version": version, "backup": backup})
}

/// A backup of the host as it is shown. `offsite`: whether it has a copy, if
/// that is known.
pub(super) fn backup_json(backup: &Backup, offsite: Option<bool>) -> Value {
    json!({
        "id": backup.id,
        "cause": backup.cause,
        "created": backup.created,
        "application": backup.application,
        "version": backup.version,
        "schema": backup.schema_version,
        "bytes": backup.bytes(),
        "verified": backup.verified,
        "files": backup.files.iter().map(file_json).collect::<Vec<_>>(),
        "onHost": true,
        "offsite": offsite,
    })
}

/// Law 11: of the `.env` no checksum is shown: a short secret that is all that
/// is not known of it could be guessed by it. Who may read the file finds the
/// checksum beside it.
fn file_json(file: &BackupFile) -> Value {
    let sha256 = (file.name != Backup::ENV).then_some(&file.sha256);
    json!({"name": file.name, "bytes": file.bytes, "sha256": sha256})
}

/// A copy of a backup that is not on the host. What its description says is
/// known when it is brought back.
pub(super) fn copy_json(copy: &Entry) -> Value {
    let created = Backup::made(&copy.id);
    json!({
        "id": copy.id,
        "cause": null,
        "created": created,
        "application": null,
        "version": null,
        "schema": null,
        "bytes": copy.bytes,
        "verified": null,
        "files": [],
        "onHost": false,
        "offsite": true,
    })
}
