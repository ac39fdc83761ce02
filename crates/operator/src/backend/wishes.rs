//! What may be asked for, and what then is recorded.
//!
//! Pure: it judges a record and what is known of Applications and backups.
//! When an operation begins is `cb_core::operation`'s to say.

use cb_core::api::{Application, Condition, ConditionStatus};
use cb_core::backup::Backup;
use cb_core::manifest::nearest;
use cb_core::operation::{FailedUpgrade, Operation, Phase, Request, Wish};
use cb_core::record::{Phase as Life, Record};
use cb_core::types::{BackupId, Version};

use crate::api::{Problem, ProblemKind, Restore, Upgrade};

/// How the tenant comes to the version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By a changed manifest, and an operation.
    Changed,
    /// By an operation: the manifest asks for the version already.
    AsItIs,
    /// It runs the version already; only the manifest asks for another.
    BackInName,
}

/// Whether an operation can begin. One that `mends` may also take the place of
/// a halted one.
pub(super) fn can_begin(record: &Record, mends: bool) -> Result<(), Problem> {
    let name = record.name();
    let no = |kind, detail: String| Err(Problem::new(kind, detail));
    if record.phase != Life::Active {
        let detail = format!("tenant `{name}` is being removed");
        return no(ProblemKind::NotOperable, detail);
    }
    if record.tenant.spec.suspend {
        let detail = format!("tenant `{name}` is suspended; set its spec.suspend to false first");
        return no(ProblemKind::NotOperable, detail);
    }
    if record.deployed.is_none() {
        let detail = format!(
            "tenant `{name}` was not brought up yet; until it was, its version is changed in its manifest alone"
        );
        return no(ProblemKind::NotOperable, detail);
    }
    match &record.operation {
        Some(operation) if !halted(operation) => {
            return no(
                ProblemKind::OperationUnderWay,
                format!("the {operation} ({}) is under way", operation.id),
            );
        }
        Some(operation) if !mends => {
            return no(
                ProblemKind::OperationHalted,
                format!(
                    "the {operation} ({}) is halted: have it go on with a retry, or restore a backup",
                    operation.id
                ),
            );
        }
        Some(_) | None => {}
    }
    match &record.request {
        Some(request) if waits(record, &request.wish) => no(
            ProblemKind::OperationUnderWay,
            format!(
                "{} was asked for at {} and is about to begin",
                what(&request.wish),
                request.at
            ),
        ),
        _ => Ok(()),
    }
}

/// As [`can_begin`], for what another version would come before.
pub(super) fn can_begin_here(record: &Record, mends: bool) -> Result<(), Problem> {
    can_begin(record, mends)?;
    if record.operation.is_none() && record.is_upgrade_due() {
        let version = &record.tenant.spec.version;
        let detail = format!("the manifest asks for {version}: that upgrade is about to begin");
        return Err(Problem::new(ProblemKind::OperationUnderWay, detail));
    }
    Ok(())
}

fn halted(operation: &Operation) -> bool {
    operation.phase == Phase::Halted
}

/// Whether what was asked for will begin by itself. A wish for a version that
/// the manifest does not ask for is one that was given up.
fn waits(record: &Record, wish: &Wish) -> bool {
    match wish {
        Wish::Backup { .. } | Wish::Restore { .. } => true,
        Wish::Upgrade { version, .. } => {
            *version == record.tenant.spec.version && record.is_upgrade_due()
        }
    }
}

/// Whether a wish was recorded for a manifest that then was not written: the
/// operator ended between. It must not be taken for a later change's.
pub(super) fn is_lost(record: &Record) -> bool {
    let wish = record.request.as_ref().map(|request| &request.wish);
    matches!(wish, Some(Wish::Upgrade { version, .. }) if *version != record.tenant.spec.version)
}

fn what(wish: &Wish) -> String {
    match wish {
        Wish::Backup { .. } => "a backup".into(),
        Wish::Restore { backup } => format!("a restore of backup {backup}"),
        Wish::Upgrade { version, .. } => format!("an upgrade to {version}"),
    }
}

/// Whether an upgrade can be asked for, and how it comes about. `ready` is the
/// tenant's condition, `backup` the one that the wish names.
pub(super) fn upgrade(
    record: &Record,
    application: &Application,
    ready: Option<&Condition>,
    (wish, backup): (&Upgrade, Option<&Backup>),
) -> Result<Way, Problem> {
    can_begin(record, backup.is_some())?;
    is_listed(application, &wish.target)?;
    if let Some(backup) = backup {
        goes_with(backup, record, &wish.target)?;
    }
    if !wish.backup {
        may_go_without_backup(application, wish)?;
    }
    let spec = &record.tenant.spec;
    let deployed = record.deployed.as_deref();
    let runs = deployed.is_some_and(|deployed| {
        deployed.application == spec.application && deployed.version == wish.target
    });
    match (runs, spec.version == wish.target) {
        (false, true) => Ok(Way::AsItIs),
        (false, false) => Ok(Way::Changed),
        (true, false) if backup.is_none() => Ok(Way::BackInName),
        (true, _) => Err(already(record, ready, wish)),
    }
}

fn is_listed(application: &Application, target: &Version) -> Result<(), Problem> {
    let names = || application.spec.versions.iter().map(|v| v.name.as_str());
    if names().any(|name| name == target.as_str()) {
        return Ok(());
    }
    let near = nearest(target.as_str(), names());
    let hint = near.map_or_else(
        || format!("it lists {}", names().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    let name = &application.metadata.name;
    let detail = format!("application `{name}` does not list the version `{target}`; {hint}");
    Err(Problem::new(ProblemKind::UnknownVersion, detail))
}

/// A database is only good for the version that it was written by.
fn goes_with(backup: &Backup, record: &Record, target: &Version) -> Result<(), Problem> {
    let application = &record.tenant.spec.application;
    if backup.application == *application && backup.version == *target {
        return Ok(());
    }
    let detail = format!(
        "backup {} is of {} {} and has its schema; it does not go with {application} {target}",
        backup.id, backup.application, backup.version
    );
    Err(Problem::new(ProblemKind::BackupMismatch, detail))
}

fn may_go_without_backup(application: &Application, wish: &Upgrade) -> Result<(), Problem> {
    let detail = if wish.restore.is_some() {
        "what a restore replaces is always backed up first: leave `backup_db` at true"
    } else if wish.migrate && application.spec.database.migrations.is_some() {
        "migrations are applied only after a backup: leave `backup_db` at true, or set `run_migrations` to false as well"
    } else {
        return Ok(());
    };
    Err(Problem::new(ProblemKind::BackupRequired, detail))
}

fn already(record: &Record, ready: Option<&Condition>, wish: &Upgrade) -> Problem {
    let (name, target) = (record.name(), &wish.target);
    let detail = match ready {
        _ if wish.restore.is_some() => {
            format!("tenant `{name}` runs {target}: restore the backup without another version")
        }
        Some(ready) if ready.status == ConditionStatus::True => {
            format!("tenant `{name}` runs {target} and is ready")
        }
        Some(ready) => format!(
            "tenant `{name}` has {target} already, but is not ready ({}: {}); no upgrade changes that",
            ready.reason, ready.message
        ),
        None => format!("tenant `{name}` has {target} already"),
    };
    Problem::new(ProblemKind::AlreadyAtVersion, detail)
}

/// Whether a backup can be restored with the version that the tenant runs. With
/// another one, which has to be said, that is an upgrade to it.
pub(super) fn restore(
    record: &Record,
    wish: &Restore,
    backup: &Backup,
) -> Result<Option<Upgrade>, Problem> {
    let runs = record.deployed.as_deref().map(|deployed| &deployed.version);
    let of = &backup.version;
    if let Some(version) = &wish.version {
        goes_with(backup, record, version)?;
    }
    match &wish.version {
        _ if runs == Some(of) => {
            can_begin_here(record, true)?;
            goes_with(backup, record, of)?;
            Ok(None)
        }
        Some(version) => Ok(Some(Upgrade {
            target: version.clone(),
            backup: true,
            migrate: true,
            restore: Some(backup.id.clone()),
        })),
        None => {
            can_begin(record, true)?;
            let runs = runs.map_or("another version", Version::as_str);
            let detail = format!(
                "backup {} is of {of}, and tenant `{}` runs {runs}; say the version {of} too if it is to go back with the database",
                backup.id,
                record.name()
            );
            Err(Problem::new(ProblemKind::BackupMismatch, detail))
        }
    }
}

/// Records what was asked for. It takes the place of what is halted when it
/// begins, and the version that the manifest asks for is not tried before it.
pub(super) fn ask(record: &mut Record, wish: Wish, now: &str) {
    let halted = record.operation.as_ref().filter(|o| halted(o));
    if let Some(failure) = halted.and_then(Operation::told_failure)
        && record.is_upgrade_due()
    {
        record.failed = Some(FailedUpgrade {
            spec: Box::new(record.tenant.spec.clone()),
            failure: failure.clone(),
        });
    }
    if matches!(&wish, Wish::Upgrade { version, .. } if *version == record.tenant.spec.version) {
        // A person says so.
        record.failed = None;
    }
    let at = now.to_owned();
    record.request = Some(Request { at, wish });
}

/// Whether a backup can be deleted.
pub(super) fn delete(
    record: &Record,
    backups: &[Backup],
    id: &BackupId,
    force: bool,
) -> Result<(), Problem> {
    let operation = record.operation.iter();
    let used = operation.flat_map(|operation| [&operation.backup_id, &operation.restore]);
    let wish = record.request.as_ref().map(|request| &request.wish);
    let wished = match wish {
        Some(Wish::Restore { backup }) => Some(backup),
        Some(Wish::Upgrade { restore, .. }) => restore.as_ref(),
        Some(Wish::Backup { .. }) | None => None,
    };
    if used.flatten().chain(wished).any(|used| used == id) {
        let detail = format!("backup {id} is needed by an operation; wait until it has ended");
        return Err(Problem::new(ProblemKind::BackupInUse, detail));
    }
    let good: Vec<&BackupId> = backups
        .iter()
        .filter(|backup| backup.verified)
        .map(|backup| &backup.id)
        .collect();
    if good == [id] && !force {
        let detail = format!(
            "backup {id} is the only good one of tenant `{}`; make another first, or force it",
            record.name()
        );
        return Err(Problem::new(ProblemKind::OnlyBackup, detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
