//! Which backups stay.

use std::collections::BTreeSet;

use cb_core::backup::expired;
use cb_core::operation::Wish;
use cb_core::record::Record;
use cb_core::types::{BackupId, TenantName};
use cb_host::Host;

use crate::tenant::Engine;

impl<H: Host> Engine<H> {
    /// Removes the backups that the tenant's policy does not keep. What fails
    /// is said in the log and tried again after the next backup: a backup too
    /// many harms nobody.
    pub(super) async fn expire_backups(&self, name: &TenantName) {
        let Some(record) = self.state.record(name) else {
            return;
        };
        let Ok((database, _)) = self.state.database(&record, &self.spec) else {
            return;
        };
        let backups = match self.host.backups(&database).await {
            Ok(backups) => backups,
            Err(error) => {
                tracing::warn!(tenant = %name, "{name}: its backups cannot be listed: {error}");
                return;
            }
        };
        let policy = &record.tenant.spec.database.backup;
        let policy = policy.or(&self.spec.spec.defaults.backup);
        let candidates = backups.iter().map(Into::into).collect();
        let now = jiff::Timestamp::now();
        let mut kept = in_use(&record);
        if let Some(runs) = record.deployed.as_ref().map(|spec| &spec.version) {
            kept.extend(self.rollouts.needed_backups(name, runs));
        }
        for id in expired(candidates, &policy, &kept, now) {
            match self.host.delete_backup(&database, &id).await {
                Ok(_) => tracing::info!(tenant = %name, "{name}: backup {id} is over its time"),
                Err(error) => {
                    tracing::warn!(tenant = %name, "{name}: backup {id} stays: {}", error.message);
                }
            }
        }
    }
}

/// The backups that an operation or a wish refers to.
pub fn in_use(record: &Record) -> BTreeSet<BackupId> {
    let mut out = BTreeSet::new();
    if let Some(operation) = &record.operation {
        out.extend(operation.restore.clone());
        out.extend(operation.backup_id.clone());
    }
    match record.request.as_ref().map(|request| &request.wish) {
        Some(Wish::Restore { backup }) => drop(out.insert(backup.clone())),
        Some(Wish::Upgrade { restore, .. }) => out.extend(restore.clone()),
        _ => {}
    }
    out
}
