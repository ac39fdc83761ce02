use jiff::Timestamp;
use proptest::prelude::*;

use super::{Done, Failure, Found, Kind, Next, Operation, Phase, Request, Wish, Work, due};
use crate::api::{BackupPolicy, Tenant};
use crate::record::Record;

const NOW: &str = "2026-11-24T21:30:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn tenant(version: &str, more: &str) -> Tenant {
    let text = format!(
        "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: ky04}}, \
         spec: {{application: cbapp, version: {version}{more}}}}}"
    );
    serde_yaml::from_str(&text).unwrap()
}

/// A tenant that runs v1 and is to run `version`.
fn record(version: &str) -> Record {
    let mut record = Record::new(tenant(version, ""), "ky04.yaml".into());
    record.deployed = Some(Box::new(tenant("v1", "").spec));
    record.created = Some("2026-11-01T00:00:00Z".into());
    record
}

fn due_of(record: &Record) -> Option<Operation> {
    due(record, &BackupPolicy::default(), now())
}

fn upgrade() -> Operation {
    due_of(&record("v2")).unwrap()
}

fn failure(phase: Phase, reason: &str) -> Failure {
    Failure {
        phase,
        reason: reason.into(),
        message: "it did not work".into(),
        log: Vec::new(),
    }
}

fn found(exists: bool) -> Done {
    let database = Some(Found {
        exists,
        schema_version: exists.then_some(3),
    });
    Done { database }
}

/// Goes on with every phase until the end; `fails` says which phases fail.
fn run(mut operation: Operation, exists: bool, fails: &[Phase]) -> (Vec<Phase>, Next, Operation) {
    let mut phases = vec![operation.phase];
    loop {
        let phase = operation.phase;
        let next = if fails.contains(&phase) {
            operation.fail(failure(phase, "Failed"), NOW)
        } else if operation.work() == Work::Checkpoint {
            operation.succeed(found(exists), NOW)
        } else {
            operation.succeed(Done::default(), NOW)
        };
        if next != Next::Work {
            return (phases, next, operation);
        }
        phases.push(operation.phase);
    }
}

#[test]
fn an_upgrade_goes_through_its_phases() {
    use Phase::*;
    let (phases, next, operation) = run(upgrade(), true, &[]);
    let all = [
        Preparing,
        Stopping,
        Checkpointing,
        BackingUp,
        Migrating,
        Switching,
        Verifying,
    ];
    assert_eq!(phases, all);
    assert_eq!(next, Next::Succeeded);
    assert_eq!(operation.status().state, "Succeeded");
    // Without a database there is nothing to copy and nothing to migrate.
    let (phases, _, _) = run(upgrade(), false, &[]);
    assert_eq!(
        phases,
        [Preparing, Stopping, Checkpointing, Switching, Verifying]
    );
}

/// Law 6: whatever fails, what was changed until then is undone.
#[test]
fn a_failure_goes_back_over_what_was_changed() {
    use Phase::*;
    let after = |phase: Phase| {
        let (phases, next, operation) = run(upgrade(), true, &[phase]);
        assert_eq!(next, Next::Failed, "{phase}");
        assert_eq!(operation.status().reason.as_deref(), Some("Failed"));
        let at = phases.iter().position(|p| *p == phase).unwrap();
        phases[at + 1..].to_vec()
    };
    assert_eq!(after(Preparing), []);
    assert_eq!(after(Stopping), [Reverting, Confirming]);
    assert_eq!(after(Checkpointing), [Reverting, Confirming]);
    assert_eq!(after(BackingUp), [Reverting, Confirming]);
    assert_eq!(after(Migrating), [Restoring, Reverting, Confirming]);
    let whole = [RollingBack, Restoring, Reverting, Confirming];
    assert_eq!(after(Switching), whole);
    assert_eq!(after(Verifying), whole);
}

#[test]
fn a_database_that_the_new_version_made_is_moved_away() {
    use Phase::*;
    let (phases, next, operation) = run(upgrade(), false, &[Verifying]);
    assert_eq!(
        phases[4..],
        [Verifying, RollingBack, Restoring, Reverting, Confirming]
    );
    assert_eq!(next, Next::Failed);
    assert!(!operation.backed_up && !operation.found().exists);
}

#[test]
fn a_way_back_that_fails_halts_with_everything_kept_and_a_retry_goes_on_there() {
    let fails = [Phase::Verifying, Phase::Restoring];
    let (_, next, mut operation) = run(upgrade(), true, &fails);
    assert_eq!(next, Next::Halted);
    assert_eq!(operation.work(), Work::Wait);
    assert_eq!(operation.status().state, "Halted");
    let message = operation.message();
    for part in [
        "Verifying failed",
        "then Restoring failed",
        "backup 2026",
        "upgrade-1",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(operation.resume(NOW) && !operation.resume(NOW));
    let (phases, next, _) = run(operation, true, &[]);
    assert_eq!(
        phases,
        [Phase::Restoring, Phase::Reverting, Phase::Confirming]
    );
    assert_eq!(next, Next::Failed);
}

/// Law 9: the application is not started on a log that does not replay.
#[test]
fn a_log_that_does_not_replay_halts() {
    let mut operation = upgrade();
    operation.succeed(Done::default(), NOW);
    operation.succeed(Done::default(), NOW);
    let next = operation.fail(failure(Phase::Checkpointing, "WalDoesNotReplay"), NOW);
    assert_eq!((next, operation.phase), (Next::Halted, Phase::Halted));
    operation.resume(NOW);
    assert_eq!(operation.phase, Phase::Reverting);
}

#[test]
fn a_restore_copies_what_it_replaces_even_if_that_is_damaged() {
    use Phase::*;
    let mut record = record("v1");
    record.request = Some(Request {
        at: NOW.into(),
        wish: Wish::Restore {
            backup: "b1".parse().unwrap(),
        },
    });
    let mut operation = due_of(&record).unwrap();
    assert_eq!(operation.kind, Kind::Restore);
    let (phases, next, _) = run(operation.clone(), true, &[]);
    assert_eq!(next, Next::Succeeded);
    let all = [
        Preparing,
        Stopping,
        Checkpointing,
        BackingUp,
        Restoring,
        Switching,
        Verifying,
    ];
    assert_eq!(phases, all);
    operation.succeed(Done::default(), NOW);
    operation.succeed(Done::default(), NOW);
    let next = operation.fail(failure(Checkpointing, "NotADatabase"), NOW);
    assert_eq!((next, operation.phase), (Next::Work, BackingUp));
}

#[test]
fn a_failed_upgrade_is_remembered_until_the_spec_changes_or_a_person_says_so() {
    let mut record = record("v2");
    record.begin(due_of(&record).unwrap());
    assert_eq!(record.effective().unwrap().spec.version.as_str(), "v1");
    let operation = record.operation.as_mut().unwrap();
    let next = operation.fail(failure(Phase::Preparing, "NoSpace"), NOW);
    record.end(next);
    assert!(record.has_failed() && due_of(&record).is_none());
    assert_eq!(record.newest_backup, None);
    // What was deployed is kept, by the newest policies.
    assert_eq!(record.effective().unwrap().spec.version.as_str(), "v1");
    let mut other = record.clone();
    other.accept(&tenant("v2", ", displayName: Ky"), "ky04.yaml");
    assert!(due_of(&other).is_some());
    let mut suspended = record.clone();
    suspended.accept(&tenant("v2", ", suspend: true"), "ky04.yaml");
    assert!(due_of(&suspended).is_none());
    let effective = suspended.effective().unwrap().spec;
    assert!(effective.suspend && effective.version.as_str() == "v1");
    assert!(record.retry(NOW) && !record.retry(NOW));
    assert!(due_of(&record).is_some());
}

#[test]
fn a_backup_is_due_by_policy_and_by_wish_and_not_before_an_upgrade() {
    let policy: BackupPolicy = serde_yaml::from_str("{everyHours: 24}").unwrap();
    let mut record = record("v1");
    assert!(due(&record, &BackupPolicy::default(), now()).is_none());
    let operation = due(&record, &policy, now()).unwrap();
    assert!(operation.kind == Kind::Backup && operation.scheduled);
    record.begin(operation);
    record.end(Next::Succeeded);
    assert!(
        due(&record, &policy, now()).is_none(),
        "it was made just now"
    );
    record.accept(&tenant("v2", ""), "ky04.yaml");
    record.request = Some(Request {
        at: NOW.into(),
        wish: Wish::Backup { scheduled: false },
    });
    assert_eq!(due_of(&record).unwrap().kind, Kind::Upgrade);
}

/// What somebody asked for is not forgotten because it could not begin at once.
#[test]
fn a_wish_outlives_an_operation_that_was_dropped() {
    let wishes = [
        Wish::Backup { scheduled: false },
        Wish::Restore {
            backup: "b1".parse().unwrap(),
        },
        Wish::Upgrade {
            version: "v2".parse().unwrap(),
            backup: false,
            migrate: false,
            restore: None,
        },
    ];
    for wish in wishes {
        let version = match wish {
            Wish::Upgrade { .. } => "v2",
            _ => "v1",
        };
        let mut record = record(version);
        let asked = Request {
            at: NOW.into(),
            wish,
        };
        record.request = Some(asked.clone());
        record.begin(due_of(&record).unwrap());
        assert_eq!(record.request, None);
        record.accept(&tenant(version, ", suspend: true"), "ky04.yaml");
        assert!(record.drop_preparing() && due_of(&record).is_none());
        assert_eq!(record.request.as_ref(), Some(&asked));
        record.accept(&tenant(version, ""), "ky04.yaml");
        assert!(due_of(&record).is_some());
        // Another version is no longer what was asked for.
        record.begin(due_of(&record).unwrap());
        record.accept(&tenant("v3", ""), "ky04.yaml");
        record.drop_preparing();
        let next = due_of(&record).unwrap();
        assert!(next.kind == Kind::Upgrade && next.backup && next.restore.is_none());
        // But a backup is still made, after it.
        record.begin(next);
        record.end(Next::Succeeded);
        let last = due_of(&record).map(|operation| operation.kind);
        let is_backup = matches!(asked.wish, Wish::Backup { .. });
        assert_eq!(last, is_backup.then_some(Kind::Backup));
    }
}

proptest! {
    /// Law 6: whatever phases fail, an operation comes to an end, its failure
    /// is told, and what was migrated is only kept by an upgrade that
    /// succeeded.
    #[test]
    fn every_operation_ends(
        exists: bool,
        backup: bool,
        fails in proptest::collection::vec(0usize..40, 0..4),
    ) {
        let mut operation = upgrade();
        operation.backup = backup;
        // Without a backup nothing may be migrated.
        operation.migrate = backup;
        let (mut migrated, mut running_new) = (false, false);
        let mut end = None;
        for step in 0..40 {
            let phase = operation.phase;
            let next = if fails.contains(&step) {
                operation.fail(failure(phase, "Failed"), NOW)
            } else {
                match operation.work() {
                    Work::Migrate => migrated = true,
                    Work::PutBack => migrated = false,
                    Work::Stop => running_new = false,
                    Work::Converge(spec) => running_new = spec.version.as_str() == "v2",
                    _ => {}
                }
                let done = if operation.work() == Work::Checkpoint { found(exists) } else { Done::default() };
                operation.succeed(done, NOW)
            };
            if next != Next::Work {
                end = Some(next);
                break;
            }
        }
        match end {
            Some(Next::Succeeded) => prop_assert!(migrated == (backup && exists) && running_new),
            Some(Next::Failed) => prop_assert!(!migrated && !running_new),
            Some(Next::Halted) => prop_assert!(operation.told_failure().is_some()),
            other => prop_assert!(false, "{other:?}"),
        }
        // A journal that is read back is the same.
        let text = serde_yaml::to_string(&operation).unwrap();
        prop_assert_eq!(serde_yaml::from_str::<Operation>(&text).unwrap(), operation);
    }
}
