//! When an operation is due.

use jiff::Timestamp;

use super::{Kind, Operation, Phase, PhaseRecord, Wish};
use crate::api::{BackupPolicy, TenantSpec};
use crate::backup::{Backup, next_due};
use crate::record::{Phase as Life, Record};
use crate::types::BackupId;

/// The operation that is to begin now, if any. Another version comes before
/// what somebody asked for, and that before a scheduled backup. None is due
/// while one is under way, or while the tenant is suspended or being removed;
/// in the place of one that is halted, only what mends it.
#[must_use]
pub fn due(record: &Record, policy: &BackupPolicy, now: Timestamp) -> Option<Operation> {
    let spec = &record.tenant.spec;
    let wish = record.request.as_ref().map(|request| &request.wish);
    let may_begin = match &record.operation {
        None => true,
        Some(operation) => operation.phase == Phase::Halted && wish.is_some_and(Wish::mends),
    };
    if record.life_is_over() || spec.suspend || !may_begin {
        return None;
    }
    let mends_here = record.operation.is_some() && matches!(wish, Some(Wish::Restore { .. }));
    if record.is_upgrade_due() && !mends_here {
        let upgrade = upgrade(record, now);
        return Some(upgrade).filter(|upgrade| !upgrade.after_halt || upgrade.restore.is_some());
    }
    let deployed = record.deployed.as_deref()?;
    match wish {
        Some(Wish::Backup { scheduled }) => {
            let mut operation = Operation::new(Kind::Backup, record, deployed, now);
            operation.scheduled = *scheduled;
            Some(operation)
        }
        Some(Wish::Restore { backup }) => {
            let mut operation = Operation::new(Kind::Restore, record, deployed, now);
            operation.restore = Some(backup.clone());
            Some(operation)
        }
        Some(Wish::Upgrade { .. }) if record.operation.is_some() => None,
        Some(Wish::Upgrade { .. }) | None => {
            let when = next_backup(record, policy)?;
            (when <= now).then(|| {
                let mut operation = Operation::new(Kind::Backup, record, deployed, now);
                operation.scheduled = true;
                operation
            })
        }
    }
}

/// When the next scheduled backup of a tenant is due.
#[must_use]
pub fn next_backup(record: &Record, policy: &BackupPolicy) -> Option<Timestamp> {
    let time = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
    let since = time(&record.created).unwrap_or(Timestamp::UNIX_EPOCH);
    next_due(policy, time(&record.backed_up), since)
}

fn upgrade(record: &Record, now: Timestamp) -> Operation {
    let to = &record.tenant.spec;
    let mut operation = Operation::new(Kind::Upgrade, record, to, now);
    let wish = record.request.as_ref().map(|request| &request.wish);
    if let Some(Wish::Upgrade {
        version,
        backup,
        migrate,
        restore,
    }) = wish
        && *version == to.version
    {
        // What a restore replaces is always kept.
        operation.backup = *backup || restore.is_some();
        operation.migrate = *migrate;
        operation.restore.clone_from(restore);
    }
    operation
}

impl Operation {
    fn new(kind: Kind, record: &Record, to: &TenantSpec, now: Timestamp) -> Self {
        let number = record.operations + 1;
        let word = match kind {
            Kind::Upgrade => "upgrade",
            Kind::Backup => "backup",
            Kind::Restore => "restore",
        };
        let started = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        Self {
            id: format!("{word}-{number}"),
            kind,
            from: record.deployed.clone(),
            to: Box::new(to.clone()),
            scheduled: false,
            backup: true,
            migrate: kind == Kind::Upgrade,
            restore: None,
            phase: Phase::Preparing,
            phases: vec![PhaseRecord {
                phase: Phase::Preparing,
                started: started.clone(),
                ended: None,
                failed: false,
            }],
            started,
            database: None,
            backup_id: Some(Backup::new_id(now, number)),
            backed_up: false,
            was_healthy: true,
            after_halt: record.operation.is_some(),
            ports: record.ports.clone(),
            failure: None,
            halted: None,
            ended: None,
        }
    }

    /// The name that files which it moves or copies away are kept under.
    #[must_use]
    pub fn keep_as(&self) -> String {
        let time = self.backup_id.as_ref().map_or("", BackupId::as_str);
        format!("{}-{}", time, self.id)
    }
}

impl Record {
    /// Whether the tenant is being removed, or was.
    #[must_use]
    pub fn life_is_over(&self) -> bool {
        self.phase != Life::Active
    }

    /// Whether another version is wanted than the one that was deployed, and
    /// it did not fail already.
    #[must_use]
    pub fn is_upgrade_due(&self) -> bool {
        let wanted = &self.tenant.spec;
        self.deployed
            .as_deref()
            .is_some_and(|deployed| !deployed.is_same_release(wanted))
            && !self.has_failed()
    }

    /// Whether what the spec asks for was tried and failed.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|failed| *failed.spec == self.tenant.spec)
    }
}
