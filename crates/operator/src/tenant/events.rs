//! What a pass tells of a tenant as events: what it did, and how its status
//! changed.

use cb_core::api::{Condition, ConditionStatus, TenantStatus};
use cb_core::certificate;
use cb_core::disk::NEARLY_FULL;
use cb_core::event::{Event, Reason};
use cb_core::operation::{Kind, Next, Operation, Phase as Step, PhaseRecord};
use cb_core::plan::Cause;
use cb_core::record::{Phase, Record};
use cb_core::status::Facet;
use cb_core::types::TenantName;

/// How many steps a note names; the others are counted.
const NAMED: usize = 3;

/// One event for the steps that were executed because of a change. Drift has
/// events of its own.
pub(super) fn of_steps(name: &TenantName, done: &[(Cause, String)]) -> Option<Event> {
    let steps = done.iter().filter(|(of, _)| *of == Cause::Change);
    let steps: Vec<&str> = steps.map(|(_, step)| step.as_str()).collect();
    let first = steps.get(..NAMED).unwrap_or(&steps).join("; ");
    let note = match steps.len() {
        0 => return None,
        n if n > NAMED => format!("{first}; and {} more", n - NAMED),
        _ => first,
    };
    Some(Event::tenant(name, Reason::Applied, note))
}

/// The event of a tenant that was taken down.
pub(super) fn of_removal(record: &Record) -> Event {
    let note = match record.phase {
        Phase::Deleting => "its manifest is gone; its data was moved into the backups",
        _ => "its manifest is gone; its data, .env and user stay",
    };
    Event::tenant(record.name(), Reason::Removed, note)
}

/// The event of an operation that begins. A backup that begins is no news.
pub(super) fn of_begin(name: &TenantName, operation: &Operation) -> Option<Event> {
    let upgrade = operation.kind == Kind::Upgrade;
    upgrade.then(|| Event::tenant(name, Reason::UpgradeStarted, operation.to_string()))
}

/// The events of an operation that has ended, or needs a person.
pub(super) fn of_end(name: &TenantName, next: Next, operation: &Operation) -> Vec<Event> {
    let failed = || format!("{operation}: {}", operation.message());
    let event = |reason, note| vec![Event::tenant(name, reason, note)];
    match (next, operation.kind) {
        (Next::Work, _) => Vec::new(),
        (Next::Succeeded, Kind::Upgrade) => event(Reason::UpgradeSucceeded, operation.to_string()),
        (Next::Succeeded, Kind::Backup) => {
            let id = operation.backup_id.as_ref();
            let note = id.map_or_else(|| operation.to_string(), |id| format!("backup {id}"));
            event(Reason::BackupCreated, note)
        }
        (Next::Succeeded, Kind::Restore) => {
            let id = operation.restore.as_ref();
            let note = id.map_or_else(|| operation.to_string(), |id| format!("from backup {id}"));
            event(Reason::Restored, note)
        }
        (Next::Failed, Kind::Upgrade) => {
            let mut events = event(Reason::UpgradeFailed, failed());
            // One that failed before it touched anything has nothing to undo.
            let touched = |phase: &PhaseRecord| phase.phase == Step::RollingBack;
            if operation.phases.iter().any(touched) {
                let version = operation.from.as_ref().map(|from| from.version.as_str());
                let note = match version {
                    Some(version) => format!("version {version} runs again, as before"),
                    None => "nothing runs, as before".to_owned(),
                };
                events.push(Event::tenant(name, Reason::RolledBack, note));
            }
            events
        }
        (Next::Failed, Kind::Backup) => event(Reason::BackupFailed, failed()),
        (Next::Failed, Kind::Restore) => event(Reason::RestoreFailed, failed()),
        (Next::Halted, _) => event(Reason::RollbackFailed, failed()),
    }
}

/// The events of a change of the status; none if it means the same.
pub(super) fn of_status(
    name: &TenantName,
    previous: Option<&TenantStatus>,
    status: &TenantStatus,
) -> Vec<Event> {
    let before = |kind: &str| previous.and_then(|previous| previous.condition(kind));
    let is_new = |condition: &&Condition| {
        before(&condition.kind).is_none_or(|before| {
            (before.status, &before.reason, &before.message)
                != (condition.status, &condition.reason, &condition.message)
        })
    };
    let changed = |kind: &str| status.condition(kind).filter(is_new);
    let mut events = Vec::new();
    if let Some(ready) = changed("Ready") {
        let reason = match (ready.status, ready.reason.as_str()) {
            (ConditionStatus::True, _) => Some(Reason::Ready),
            // The catalog tells of it, for tenants that are not known yet too.
            (_, "Refused") => None,
            (_, "DiskLimitReached") => Some(Reason::DiskLimitReached),
            (_, "Fought") => Some(Reason::DriftFought),
            (_, "CrashLoop" | "Failed" | "Restarting") => Some(Reason::ServiceCrashed),
            // What is expected to pass is no news.
            _ => status.condition("Stalled").map(|_| Reason::NotReady),
        };
        events.extend(reason.map(|reason| Event::tenant(name, reason, ready.message.clone())));
    }
    let near = changed(Facet::Disk.condition()).filter(|c| c.reason == NEARLY_FULL);
    let near = near.map(|c| Event::tenant(name, Reason::DiskNearlyFull, &*c.message));
    events.extend(near);
    let copied = changed("BackupsCopied").filter(|c| c.status == ConditionStatus::False);
    let not_copied = |c: &Condition| Event::tenant(name, Reason::BackupNotCopied, &*c.message);
    events.extend(copied.map(not_copied));
    events.extend(changed(certificate::CONDITION).and_then(|c| of_certificate(name, c)));
    events.extend(super::drift::events(name, previous, status));
    events
}

/// What a person has to know of a certificate. That none was issued is told
/// when it is tried.
fn of_certificate(name: &TenantName, condition: &Condition) -> Option<Event> {
    let reasons = [
        Reason::CertificateInvalid,
        Reason::CertificateExpired,
        Reason::CertificateExpiring,
    ];
    let known = reasons.into_iter().find(|r| r.as_str() == condition.reason);
    known.map(|reason| Event::tenant(name, reason, &*condition.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> TenantName {
        "ky04".parse().unwrap()
    }

    fn status(conditions: &[(&str, bool, &str, &str)]) -> TenantStatus {
        let condition = |(kind, status, reason, message): &(&str, bool, &str, &str)| Condition {
            kind: (*kind).into(),
            status: ConditionStatus::from(*status),
            observed_generation: 1,
            last_transition_time: "2026-01-01T00:00:00Z".into(),
            reason: (*reason).into(),
            message: (*message).into(),
        };
        TenantStatus {
            conditions: conditions.iter().map(condition).collect(),
            ..TenantStatus::default()
        }
    }

    fn seen(previous: Option<&TenantStatus>, status: &TenantStatus) -> Vec<(Reason, String)> {
        let events = of_status(&name(), previous, status);
        events
            .into_iter()
            .map(|event| (event.reason, event.note))
            .collect()
    }

    #[test]
    fn many_steps_are_one_event() {
        let step = |cause, n: usize| (cause, format!("step {n}"));
        let mut steps: Vec<_> = (0..5).map(|n| step(Cause::Change, n)).collect();
        steps.push(step(Cause::Drift, 9));
        let event = of_steps(&name(), &steps).unwrap();
        assert_eq!(
            (event.reason, event.note.as_str()),
            (Reason::Applied, "step 0; step 1; step 2; and 2 more")
        );
        assert_eq!(of_steps(&name(), &steps[5..]), None);
    }

    fn operation(kind: &str, phases: &[&str]) -> Operation {
        let phases: Vec<String> = phases
            .iter()
            .map(|phase| format!("{{phase: {phase}, started: '2026-01-01T00:00:00Z'}}"))
            .collect();
        let spec = |version: &str| format!("{{application: cbapp, version: {version}}}");
        let text = format!(
            "{{id: o1, kind: {kind}, from: {}, to: {}, backup: true, migrate: true, \
             phase: Verifying, phases: [{}], started: '2026-01-01T00:00:00Z', \
             restore: b1, backupId: b2, backedUp: false, wasHealthy: true}}",
            spec("v1"),
            spec("v2"),
            phases.join(", ")
        );
        serde_yaml::from_str(&text).unwrap()
    }

    #[test]
    fn the_end_of_an_operation_is_told_by_its_kind() {
        let ended = |next, kind, phases: &[&str]| {
            let events = of_end(&name(), next, &operation(kind, phases));
            let reasons = events.iter().map(|event| event.reason);
            reasons.collect::<Vec<_>>()
        };
        assert_eq!(ended(Next::Work, "Upgrade", &[]), []);
        assert_eq!(
            ended(Next::Succeeded, "Upgrade", &["RollingBack"]),
            [Reason::UpgradeSucceeded]
        );
        assert_eq!(
            ended(Next::Failed, "Upgrade", &["Preparing"]),
            [Reason::UpgradeFailed]
        );
        assert_eq!(
            ended(Next::Failed, "Upgrade", &["Preparing", "RollingBack"]),
            [Reason::UpgradeFailed, Reason::RolledBack]
        );
        assert_eq!(
            ended(Next::Succeeded, "Backup", &[]),
            [Reason::BackupCreated]
        );
        assert_eq!(ended(Next::Failed, "Backup", &[]), [Reason::BackupFailed]);
        assert_eq!(ended(Next::Succeeded, "Restore", &[]), [Reason::Restored]);
        assert_eq!(ended(Next::Failed, "Restore", &[]), [Reason::RestoreFailed]);
        assert_eq!(
            ended(Next::Halted, "Restore", &[]),
            [Reason::RollbackFailed]
        );
        let begun = |kind| of_begin(&name(), &operation(kind, &[])).map(|event| event.note);
        assert_eq!(begun("Upgrade").as_deref(), Some("upgrade from v1 to v2"));
        assert_eq!(begun("Backup"), None);
    }

    /// Law 8: the same status again is no event, and starting is no trouble.
    #[test]
    fn only_what_changed_is_told() {
        let starting = status(&[
            ("Ready", false, "Starting", "it starts"),
            ("Reconciling", true, "Starting", "it starts"),
        ]);
        let ready = status(&[
            ("Ready", true, "Ready", "2 of 2"),
            ("Drifted", false, "InSync", ""),
        ]);
        let loops = status(&[
            ("Ready", false, "CrashLoop", "x"),
            ("Stalled", true, "CrashLoop", "x"),
        ]);
        assert_eq!(seen(None, &starting), []);
        assert_eq!(
            seen(Some(&starting), &ready),
            [(Reason::Ready, "2 of 2".into())]
        );
        assert_eq!(seen(Some(&ready), &ready), []);
        let away = status(&[
            ("Ready", true, "Ready", "2 of 2"),
            ("BackupsCopied", false, "NotCopied", "away"),
        ]);
        assert_eq!(
            seen(Some(&ready), &away),
            [(Reason::BackupNotCopied, "away".into())]
        );
        assert_eq!(seen(Some(&away), &away), []);
        assert_eq!(
            seen(Some(&ready), &loops),
            [(Reason::ServiceCrashed, "x".into())]
        );
    }
}
