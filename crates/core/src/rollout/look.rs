//! What came of a tenant that was asked, told from its record and its status.
//!
//! Level, not edge: the same is seen however often and however late it is
//! looked at, so no event has to be heard for a rollout to go on.

use crate::api::{ConditionStatus, OperationStatus, TenantStatus};
use crate::operation::{Operation, Phase, Wish};
use crate::record::Record;
use crate::types::{BackupId, Version};

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Aim<'a> {
    /// The version that the tenant was asked for.
    pub version: &'a Version,
    /// The number of its last operation before that, see [`last_operation`].
    pub since: u64,
    /// Whether it is known that it was asked.
    pub asked: bool,
}

/// What is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nothing shows that it was asked.
    Untouched,
    /// It is on its way.
    UnderWay,
    /// It is ready at the version.
    Done {
        /// The backup that was made on the way.
        backup: Option<BackupId>,
    },
    /// It has come to rest and is not.
    Failed {
        /// Why: a CamelCase word.
        reason: String,
        /// The same in words.
        message: String,
        /// The backup that was made on the way to the version, if the tenant
        /// has the version: it is just not ready.
        reached: Option<Option<BackupId>>,
    },
    /// It is not to be waited for.
    Out {
        /// Why: a CamelCase word.
        reason: &'static str,
        /// The same in words.
        message: String,
    },
}

/// The number of a tenant's last operation that has ended; 0 if none has.
#[must_use]
pub fn last_operation(record: &Record) -> u64 {
    record.history.last().map_or(0, number)
}

/// `upgrade-7` is the tenant's seventh operation.
fn number(operation: &OperationStatus) -> u64 {
    let (_, number) = operation.id.rsplit_once('-').unwrap_or_default();
    number.parse().unwrap_or(0)
}

/// Looks at a tenant.
#[must_use]
pub fn look(aim: Aim<'_>, record: Option<&Record>, status: Option<&TenantStatus>) -> Sight {
    let Some(record) = record.filter(|record| !record.life_is_over()) else {
        return out("Deleted", "its manifest was removed");
    };
    let spec = &record.tenant.spec;
    let is_there = record.deployed.as_deref().is_some_and(|deployed| {
        deployed.application == spec.application && deployed.version == *aim.version
    });
    if let Some(operation) = &record.operation {
        return under_way(aim, operation);
    }
    let ours = |operation: &&OperationStatus| {
        operation.kind == "Upgrade"
            && operation.to_version == aim.version.as_str()
            && number(operation) > aim.since
    };
    let ended = record.history.iter().rfind(ours);
    match ended {
        Some(ended) if ended.state != "Succeeded" && !is_there => return failed(ended),
        _ if is_there && (aim.asked || ended.is_some()) => {
            let backup = ended.and_then(|ended| ended.backup.as_deref());
            return readiness(record, status, backup.and_then(|id| id.parse().ok()));
        }
        _ => {}
    }
    if spec.suspend {
        return out("Suspended", "its spec.suspend is set");
    }
    let waits = spec.version == *aim.version && record.is_upgrade_due();
    match (waits, aim.asked) {
        (true, true) => Sight::UnderWay,
        // A manifest that asks for it does not say that this was asked.
        (true, false) if wishes(record, aim.version) => Sight::UnderWay,
        (_, false) => Sight::Untouched,
        (false, true) if spec.version != *aim.version => {
            let message = format!("its manifest asks for {} now", spec.version);
            out("Superseded", message)
        }
        (false, true) => match record.failed.as_ref().filter(|_| record.has_failed()) {
            Some(failed) => Sight::Failed {
                reason: failed.failure.reason.clone(),
                message: failed.failure.message.clone(),
                reached: None,
            },
            None => Sight::UnderWay,
        },
    }
}

fn out(reason: &'static str, message: impl Into<String>) -> Sight {
    Sight::Out {
        reason,
        message: message.into(),
    }
}

fn failed(operation: &OperationStatus) -> Sight {
    let reason = operation.reason.clone();
    Sight::Failed {
        reason: reason.unwrap_or_else(|| "Unknown".into()),
        message: operation.message.clone().unwrap_or_default(),
        reached: None,
    }
}

fn wishes(record: &Record, version: &Version) -> bool {
    let wish = record.request.as_ref().map(|request| &request.wish);
    matches!(wish, Some(Wish::Upgrade { version: wished, .. }) if wished == version)
}

fn under_way(aim: Aim<'_>, operation: &Operation) -> Sight {
    let status = operation.status();
    let is_it = status.kind == "Upgrade" && status.to_version == aim.version.as_str();
    match (operation.phase, is_it) {
        // One that was halted before is to go on first.
        (Phase::Halted, _) if !aim.asked => Sight::Untouched,
        (Phase::Halted, _) => failed(&status),
        (_, true) => Sight::UnderWay,
        (_, false) if aim.asked => Sight::UnderWay,
        (_, false) => Sight::Untouched,
    }
}

/// A tenant that has the version has to be ready with it. The status counts
/// only if it was made after the operation.
fn readiness(record: &Record, status: Option<&TenantStatus>, backup: Option<BackupId>) -> Sight {
    if record.tenant.spec.suspend {
        return Sight::Done { backup };
    }
    let last = record.history.last().map(|operation| &operation.id);
    let fresh = |status: &&TenantStatus| {
        let shown = status.operation.as_ref();
        let ended = shown.is_none_or(|operation| operation.ended.is_some());
        ended
            && shown.map(|operation| &operation.id) == last
            && status.observed_generation == record.generation
    };
    let Some(status) = status.filter(fresh) else {
        return Sight::UnderWay;
    };
    let is = |kind: &str| {
        let condition = status.condition(kind);
        condition.filter(|condition| condition.status == ConditionStatus::True)
    };
    match (is("Ready"), is("Stalled")) {
        (Some(_), _) => Sight::Done { backup },
        (None, Some(stalled)) => Sight::Failed {
            reason: stalled.reason.clone(),
            message: stalled.message.clone(),
            reached: Some(backup),
        },
        (None, None) => Sight::UnderWay,
    }
}
