//! What is refused, with which reason, and what is recorded.

use cb_core::api::Tenant;
use cb_core::operation::{Failure, due};

use super::*;

const NOW: &str = "2026-11-24T21:30:00Z";

fn tenant(version: &str, more: &str) -> Tenant {
    let text = format!(
        "{{apiVersion: campaignbrain.io/v1alpha1, kind: Tenant, metadata: {{name: ky04}}, \
         spec: {{application: cbapp, version: {version}{more}}}}}"
    );
    serde_yaml::from_str(&text).unwrap()
}

/// A tenant that runs v1 and whose manifest asks for `version`.
fn record(version: &str) -> Record {
    let mut record = Record::new(tenant(version, ""), "ky04.yaml".into());
    record.deployed = Some(Box::new(tenant("v1", "").spec));
    record
}

fn application(database: &str) -> Application {
    let versions = ["v1", "v2", "v3"].map(|v| format!("{{name: {v}, folder: {{path: /srv/{v}}}}}"));
    let text = format!(
        "{{apiVersion: campaignbrain.io/v1alpha1, kind: Application, metadata: {{name: cbapp}}, \
         spec: {{versions: [{}], services: [{{name: api, command: bin/api, portOffset: 0}}]{database}}}}}",
        versions.join(", ")
    );
    serde_yaml::from_str(&text).unwrap()
}

fn backup(id: &str, version: &str, verified: bool) -> Backup {
    let text = format!(
        "{{id: {id}, tenant: ky04, cause: Request, created: \"{NOW}\", application: cbapp, \
         version: {version}, spec: {{application: cbapp, version: {version}}}, files: [], \
         verified: {verified}}}"
    );
    serde_yaml::from_str(&text).unwrap()
}

fn to(version: &str) -> Upgrade {
    Upgrade {
        target: version.parse().unwrap(),
        backup: true,
        migrate: true,
        restore: None,
    }
}

fn judge(record: &Record, wish: &Upgrade, backup: Option<&Backup>) -> Result<Way, ProblemKind> {
    let application = application(", database: {migrations: {folder: migrations}}");
    upgrade(record, &application, None, (wish, backup)).map_err(|problem| problem.kind)
}

fn operation_due(record: &Record) -> Option<Operation> {
    due(record, &Default::default(), NOW.parse().unwrap())
}

fn asked(mut record: Record, wish: Wish) -> Record {
    ask(&mut record, wish, NOW);
    record
}

fn failure() -> Failure {
    Failure {
        phase: Phase::Verifying,
        reason: "Unhealthy".into(),
        message: "it did not work".into(),
        log: Vec::new(),
    }
}

fn to_v2() -> Wish {
    Wish::Upgrade {
        version: "v2".parse().unwrap(),
        backup: true,
        migrate: true,
        restore: None,
    }
}

/// An upgrade to v2 that could go neither forward nor back.
fn halted_record() -> Record {
    let mut record = record("v2");
    let mut operation = operation_due(&record).unwrap();
    operation.phase = Phase::Verifying;
    operation.fail(failure(), NOW);
    operation.fail(failure(), NOW);
    assert_eq!(operation.phase, Phase::Halted);
    record.begin(operation);
    record
}

#[test]
fn the_way_to_a_version_depends_on_what_runs_and_what_the_manifest_asks_for() {
    assert_eq!(judge(&record("v1"), &to("v2"), None), Ok(Way::Changed));
    // It failed, and a person wants it again.
    assert_eq!(judge(&record("v2"), &to("v2"), None), Ok(Way::AsItIs));
    assert_eq!(judge(&record("v2"), &to("v3"), None), Ok(Way::Changed));
    assert_eq!(judge(&record("v2"), &to("v1"), None), Ok(Way::BackInName));
    let already = Err(ProblemKind::AlreadyAtVersion);
    assert_eq!(judge(&record("v1"), &to("v1"), None), already);
    let unknown = Err(ProblemKind::UnknownVersion);
    assert_eq!(judge(&record("v1"), &to("v22"), None), unknown);
}

#[test]
fn migrations_without_a_backup_are_refused() {
    let mut wish = to("v2");
    wish.backup = false;
    let refused = Err(ProblemKind::BackupRequired);
    assert_eq!(judge(&record("v1"), &wish, None), refused);
    let none = application("");
    assert!(upgrade(&record("v1"), &none, None, (&wish, None)).is_ok());
    wish.migrate = false;
    assert_eq!(judge(&record("v1"), &wish, None), Ok(Way::Changed));
}

#[test]
fn a_downgrade_takes_a_backup_of_that_version() {
    let mut record = record("v2");
    record.deployed = Some(Box::new(tenant("v2", "").spec));
    let mut wish = to("v1");
    wish.restore = Some("b1".parse().unwrap());
    let good = backup("b1", "v1", true);
    assert_eq!(judge(&record, &wish, Some(&good)), Ok(Way::Changed));
    let other = backup("b1", "v2", true);
    let refused = Err(ProblemKind::BackupMismatch);
    assert_eq!(judge(&record, &wish, Some(&other)), refused);
    wish.backup = false;
    let refused = Err(ProblemKind::BackupRequired);
    assert_eq!(judge(&record, &wish, Some(&good)), refused);
}

#[test]
fn one_operation_at_a_time() {
    let kind = |record: &Record| can_begin(record, false).unwrap_err().kind;
    let mut running = record("v2");
    running.begin(operation_due(&running).unwrap());
    assert_eq!(kind(&running), ProblemKind::OperationUnderWay);
    let waiting = asked(record("v2"), to_v2());
    assert_eq!(kind(&waiting), ProblemKind::OperationUnderWay);
    let wish = Wish::Backup { scheduled: false };
    let waiting = asked(record("v1"), wish);
    assert_eq!(kind(&waiting), ProblemKind::OperationUnderWay);
    // The manifest was never changed: nothing waits for it.
    let lost = asked(record("v1"), to_v2());
    assert!(can_begin(&lost, false).is_ok() && is_lost(&lost));
    assert!(!is_lost(&asked(record("v2"), to_v2())));
    // An upgrade would come first and swallow the wish.
    let first = can_begin_here(&record("v2"), false).unwrap_err();
    assert_eq!(first.kind, ProblemKind::OperationUnderWay);
    let mut new = record("v1");
    new.deployed = None;
    assert_eq!(kind(&new), ProblemKind::NotOperable);
    let mut leaving = record("v1");
    leaving.phase = Life::Retaining;
    assert_eq!(kind(&leaving), ProblemKind::NotOperable);
    let mut suspended = record("v1");
    suspended.accept(&tenant("v1", ", suspend: true"), "ky04.yaml");
    assert_eq!(kind(&suspended), ProblemKind::NotOperable);
}

/// The wish and the manifest's version take effect together.
#[test]
fn an_upgrade_is_done_as_it_was_asked_for() {
    let wish = Wish::Upgrade {
        version: "v2".parse().unwrap(),
        backup: false,
        migrate: false,
        restore: None,
    };
    let mut record = asked(record("v1"), wish);
    assert!(operation_due(&record).is_none());
    record.accept(&tenant("v2", ""), "ky04.yaml");
    let operation = operation_due(&record).unwrap();
    assert!(!operation.backup && !operation.migrate);
}

#[test]
fn what_failed_is_tried_again_when_it_is_asked_for() {
    let mut record = record("v2");
    let mut operation = operation_due(&record).unwrap();
    let next = operation.fail(failure_in(Phase::Preparing), NOW);
    record.begin(operation);
    record.end(next);
    assert!(operation_due(&record).is_none());
    assert!(operation_due(&asked(record, to_v2())).is_some());
}

fn failure_in(phase: Phase) -> Failure {
    Failure { phase, ..failure() }
}

/// A restore takes the place of what is halted, and the version that did not
/// come up is not begun before it.
#[test]
fn a_restore_mends_what_is_halted() {
    let record = halted_record();
    let kind = |mends| can_begin_here(&record, mends).map_err(|problem| problem.kind);
    assert_eq!(kind(false), Err(ProblemKind::OperationHalted));
    assert_eq!(kind(true), Ok(()));
    let wish = Wish::Restore {
        backup: "b1".parse().unwrap(),
    };
    let mut record = asked(record, wish);
    let operation = operation_due(&record).unwrap();
    assert_eq!(operation.kind, cb_core::operation::Kind::Restore);
    assert_eq!(operation.to.version.as_str(), "v1");
    // Until it begins, nothing is touched, and nothing else can be asked for.
    assert!(record.operation.as_ref().is_some_and(halted));
    let second = can_begin_here(&record, true).map_err(|problem| problem.kind);
    assert_eq!(second, Err(ProblemKind::OperationUnderWay));
    record.begin(operation);
    assert_eq!(record.history.last().unwrap().state, "Halted");
}

/// What was halted need not be an upgrade: then no version has failed.
#[test]
fn a_restore_in_place_of_a_halted_backup_fails_no_version() {
    let mut record = asked(record("v1"), Wish::Backup { scheduled: false });
    let mut operation = operation_due(&record).unwrap();
    operation.phase = Phase::Checkpointing;
    let broken = Failure {
        reason: "WalDoesNotReplay".into(),
        ..failure_in(Phase::Checkpointing)
    };
    operation.fail(broken, NOW);
    assert!(halted(&operation));
    record.begin(operation);
    let backup = "b1".parse().unwrap();
    let mut record = asked(record, Wish::Restore { backup });
    record.begin(operation_due(&record).unwrap());
    record.end(cb_core::operation::Next::Succeeded);
    assert!(!record.has_failed() && record.operation.is_none());
}

#[test]
fn a_backup_of_another_version_is_restored_only_with_the_word_for_it() {
    let mut record = record("v2");
    record.deployed = Some(Box::new(tenant("v2", "").spec));
    let wish = |version: Option<&str>| Restore {
        backup: "b1".parse().unwrap(),
        version: version.map(|version| version.parse().unwrap()),
    };
    let old = backup("b1", "v1", true);
    let refused = restore(&record, &wish(None), &old).unwrap_err();
    assert_eq!(refused.kind, ProblemKind::BackupMismatch);
    assert!(
        refused.detail.contains("say the version v1 too"),
        "{refused}"
    );
    let wrong = restore(&record, &wish(Some("v2")), &old).unwrap_err();
    assert_eq!(wrong.kind, ProblemKind::BackupMismatch);
    let with = restore(&record, &wish(Some("v1")), &old).unwrap().unwrap();
    assert_eq!(with.restore, Some("b1".parse().unwrap()));
    let same = backup("b1", "v2", true);
    for word in [None, Some("v2")] {
        assert_eq!(restore(&record, &wish(word), &same), Ok(None));
    }
}

#[test]
fn the_only_good_backup_and_one_in_use_stay() {
    let (good, other) = (backup("good", "v1", true), backup("other", "v1", false));
    let delete = |record: &Record, backups: &[&Backup], id: &str, force| {
        let backups: Vec<Backup> = backups.iter().copied().cloned().collect();
        super::delete(record, &backups, &id.parse().unwrap(), force).map_err(|p| p.kind)
    };
    let free = record("v1");
    let only = Err(ProblemKind::OnlyBackup);
    assert_eq!(delete(&free, &[&good, &other], "good", false), only);
    assert_eq!(delete(&free, &[&good, &other], "good", true), Ok(()));
    assert_eq!(delete(&free, &[&good, &other], "other", false), Ok(()));
    let second = backup("second", "v1", true);
    assert_eq!(delete(&free, &[&good, &second], "good", false), Ok(()));
    let wish = Wish::Restore {
        backup: "good".parse().unwrap(),
    };
    let used = Err(ProblemKind::BackupInUse);
    let mut waiting = asked(free, wish);
    assert_eq!(delete(&waiting, &[&good, &second], "good", true), used);
    waiting.begin(operation_due(&waiting).unwrap());
    assert_eq!(delete(&waiting, &[&good, &second], "good", true), used);
}
