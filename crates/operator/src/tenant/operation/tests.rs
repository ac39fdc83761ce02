//! Operations that something comes in the way of: what a person does or asks
//! for in the middle, and faults that come together.

use cb_core::api::{DeletionPolicy, DriftPolicy};
use cb_core::database::{Job, JobFailure};
use cb_core::observed::Health;
use cb_core::operation::{FailedUpgrade, Failure, Phase, Request, Wish};
use cb_core::record::{Phase as Life, Record};
use cb_core::secret::{FingerprintKey, Opened, SecretSource, SecretValue};
use cb_core::status::ProblemReason;
use cb_host::memory::{Content, Fault, JobFault};

use super::simulation::{Dice, FILE, bench, live, rows};
use super::verify::without_secrets;
use crate::tenant::tests::{Bench, name};

const UNITS: [&str; 2] = ["ky04-api.service", "ky04-frontend.service"];

fn record(bench: &Bench) -> Record {
    bench.engine.state.record(&name()).unwrap()
}

fn content(bench: &Bench) -> Content {
    bench.engine.host.read_database(FILE.as_ref()).unwrap()
}

fn unhealthy() -> Option<Health> {
    Some(Health {
        ok: false,
        error: Some("503".into()),
        ..Health::default()
    })
}

async fn ask(bench: &Bench, wish: Wish) {
    let at = crate::now();
    bench
        .change(|record| record.request = Some(Request { at, wish }))
        .await;
}

async fn spec(bench: &Bench, change: impl FnOnce(&mut cb_core::api::TenantSpec)) {
    bench
        .change(|record| {
            let mut tenant = record.tenant.clone();
            change(&mut tenant.spec);
            record.accept(&tenant, "ky04.yaml");
        })
        .await;
}

async fn to_v2(bench: &Bench) {
    spec(bench, |spec| spec.version = "v2".parse().unwrap()).await;
}

/// Does something when the first job of this kind is done, before its phase is
/// noted as done: the operator is cut off there and starts anew.
async fn cut_in(bench: Bench, meets: fn(&Job) -> bool) -> Bench {
    bench
        .engine
        .host
        .fault_job_when(move |_, job| meets(job), JobFault::HangAfter);
    let pass = bench.pass();
    let limit = std::time::Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, pass).await.is_err());
    bench.engine.host.clear_job_faults();
    bench.restarted()
}

fn is_stopped(bench: &Bench) -> bool {
    UNITS
        .iter()
        .all(|unit| bench.engine.host.running(unit).is_none())
}

/// An upgrade that has migrated, failed and could not put the database back.
async fn halted() -> Bench {
    let bench = bench(&mut Dice(1)).await;
    let host = &bench.engine.host;
    ask(&bench, Wish::Backup { scheduled: false }).await;
    live(&bench).await;
    host.set_health(UNITS[0], unhealthy());
    let restores = |job: &Job| matches!(job, Job::Restore { .. });
    host.fault_job_when(
        move |_, job| restores(job),
        JobFault::Fail(JobFailure::NoSpace),
    );
    to_v2(&bench).await;
    live(&bench).await;
    let operation = record(&bench).operation.unwrap();
    assert_eq!(operation.phase, Phase::Halted);
    assert_eq!(content(&bench).schema_version, 3);
    assert!(is_stopped(&bench));
    host.clear_job_faults();
    host.set_health(UNITS[0], None);
    bench
}

/// As the API asks for a restore in place of what is halted.
async fn restore(bench: &Bench) {
    let record = record(bench);
    let backup = record.history[0].backup.clone().unwrap();
    let failure = Failure {
        phase: Phase::Verifying,
        reason: "Unhealthy".into(),
        message: String::new(),
        log: Vec::new(),
    };
    let spec = Box::new(record.tenant.spec.clone());
    bench
        .change(|record| record.failed = Some(FailedUpgrade { spec, failure }))
        .await;
    let backup = backup.parse().unwrap();
    ask(bench, Wish::Restore { backup }).await;
}

/// Law 5: the old version is not started on a database that was migrated,
/// whatever keeps the restore from being done.
#[tokio::test(start_paused = true)]
async fn a_restore_of_what_is_halted_starts_nothing_before_it_has_restored() {
    for (at, fails) in [
        ("Preparing", 0),
        ("Checkpointing", 1),
        ("BackingUp", 2),
        ("Restoring", 3),
    ] {
        let bench = halted().await;
        let host = &bench.engine.host;
        let meets = move |job: &Job| match job {
            Job::Check { .. } => fails == 0,
            Job::Checkpoint => fails == 1,
            Job::Backup(_) => fails == 2,
            Job::Restore { .. } => fails == 3,
            _ => false,
        };
        let failure = match fails {
            1 => JobFailure::Locked,
            _ => JobFailure::NoSpace,
        };
        host.fault_job_when(move |_, job| meets(job), JobFault::Fail(failure));
        restore(&bench).await;
        live(&bench).await;
        assert!(is_stopped(&bench), "{at}");
        let halted = record(&bench).operation.unwrap();
        assert_eq!(halted.phase, Phase::Halted, "{at}");
        assert!(halted.message().contains(at), "{at}: {}", halted.message());
        // A retry begins it anew.
        host.clear_job_faults();
        bench
            .change(|record| assert!(record.retry(&crate::now())))
            .await;
        live(&bench).await;
        assert!(record(&bench).operation.is_none(), "{at}");
        assert!(bench.runs("v1"), "{at}");
        let restored = content(&bench);
        assert_eq!(
            (restored.schema_version, restored.rows),
            (1, rows()),
            "{at}"
        );
    }
}

/// Neither while it waits for its turn, nor when the spec changes, is
/// suspended or goes.
#[tokio::test(start_paused = true)]
async fn a_restore_of_what_is_halted_waits_without_starting_anything() {
    let bench = halted().await;
    let others = ["a", "b"].map(|name| name.parse().unwrap());
    for other in &others {
        assert!(bench.engine.slots.take(other));
    }
    restore(&bench).await;
    live(&bench).await;
    spec(&bench, |spec| spec.suspend = true).await;
    live(&bench).await;
    spec(&bench, |spec| spec.suspend = false).await;
    live(&bench).await;
    assert!(is_stopped(&bench));
    for other in &others {
        bench.engine.slots.release(other);
    }
    // The manifest now asks for what is there; the restore comes first.
    live(&bench).await;
    assert!(record(&bench).operation.is_none());
    let restored = record(&bench).history;
    assert!(
        restored
            .iter()
            .any(|o| o.kind == "Restore" && o.state == "Succeeded")
    );
}

/// What is suspended, or is not to be put right, in the middle is brought to
/// its end all the same: half an upgrade is no state to be left in.
#[tokio::test(start_paused = true)]
async fn suspended_in_the_middle_it_is_carried_to_its_end() {
    for healthy in [true, false] {
        let bench = bench(&mut Dice(1)).await;
        to_v2(&bench).await;
        let bench = cut_in(bench, |job| matches!(job, Job::Migrate(_))).await;
        spec(&bench, |spec| {
            spec.suspend = true;
            spec.drift_policy = Some(DriftPolicy::Detect);
        })
        .await;
        if !healthy {
            // Only the new version.
            bench
                .engine
                .host
                .crash_when(|run| run.unit_text.contains("/v2\n"));
        }
        live(&bench).await;
        let record = record(&bench);
        assert!(record.operation.is_none(), "{:#?}", record.operation);
        assert!(bench.runs(if healthy { "v2" } else { "v1" }));
        assert_eq!(content(&bench).rows, rows());
    }
}

/// A backup changes nothing, so nothing is gone back on: rows that were written
/// since stay, and no person is needed.
#[tokio::test(start_paused = true)]
async fn a_backup_of_a_tenant_that_does_not_get_healthy_takes_nothing_back() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Detect] {
        let bench = bench(&mut Dice(1)).await;
        spec(&bench, |spec| spec.drift_policy = Some(policy)).await;
        live(&bench).await;
        ask(&bench, Wish::Backup { scheduled: false }).await;
        let bench = cut_in(bench, |job| matches!(job, Job::Backup(_))).await;
        let host = &bench.engine.host;
        host.set_health(UNITS[1], unhealthy());
        // The api takes a row as soon as it is up.
        let pass = bench.pass();
        tokio::pin!(pass);
        let limit = std::time::Duration::from_secs(1);
        assert!(tokio::time::timeout(limit, &mut pass).await.is_err());
        assert!(host.running(UNITS[0]).is_some());
        host.log_rows(FILE.as_ref(), &["written after the backup"]);
        pass.await;
        live(&bench).await;
        let record = record(&bench);
        assert!(record.operation.is_none(), "{:#?}", record.operation);
        let last = record.history.last().unwrap();
        assert!(
            last.backup.is_some() && record.newest_backup.is_some(),
            "{last:?}"
        );
        assert_eq!(last.state, "Failed");
        assert!(host.running(UNITS[0]).is_some());
        let rows = content(&bench).rows;
        assert!(
            rows.iter().any(|row| row == "written after the backup"),
            "{rows:?}"
        );
    }
}

/// The version in the answer is required of an upgrade. What ran before and
/// told none, or another, is no worse for that.
#[tokio::test(start_paused = true)]
async fn an_application_that_tells_no_version_is_backed_up_and_gone_back_to() {
    for told in [None, Some("1.0")] {
        let bench = bench(&mut Dice(1)).await;
        let host = &bench.engine.host;
        for unit in UNITS {
            let health = Health {
                ok: true,
                version: told.map(str::to_owned),
                ..Health::default()
            };
            host.set_health(unit, Some(health));
        }
        ask(&bench, Wish::Backup { scheduled: false }).await;
        live(&bench).await;
        let ended = |bench: &Bench| record(bench).history.last().cloned().unwrap();
        assert_eq!(ended(&bench).state, "Succeeded", "{:?}", ended(&bench));
        to_v2(&bench).await;
        live(&bench).await;
        let reason = match told {
            None => "NoVersionInAnswer",
            Some(_) => "WrongVersion",
        };
        assert_eq!(ended(&bench).state, "Failed", "{:?}", ended(&bench));
        assert_eq!(ended(&bench).reason.as_deref(), Some(reason));
        assert!(bench.runs("v1"));
    }
}

/// Law 6: exactly as before, the ports too, and not even a restart if nothing
/// was begun.
#[tokio::test(start_paused = true)]
async fn ports_that_change_with_the_version_go_back_with_it() {
    for preflight in [true, false] {
        let bench = bench(&mut Dice(1)).await;
        let host = &bench.engine.host;
        let before = record(&bench).ports;
        let run = host.running(UNITS[0]).unwrap();
        if preflight {
            let fails = JobFault::Fail(JobFailure::NoSpace);
            host.fault_job_when(|_, job| matches!(job, Job::Check { .. }), fails);
        } else {
            host.crash_when(|run| run.unit_text.contains("/v2\n"));
        }
        spec(&bench, |spec| {
            spec.version = "v2".parse().unwrap();
            spec.ports = serde_yaml::from_str("{api: 40001, frontend: 40000}").unwrap();
        })
        .await;
        live(&bench).await;
        assert!(record(&bench).has_failed());
        assert!(bench.runs("v1"));
        assert_eq!(record(&bench).ports, before);
        let now = host.running(UNITS[0]).unwrap();
        assert_eq!(now.port, run.port);
        assert_eq!(now.invocation_id == run.invocation_id, preflight);
    }
}

/// A commit that is reverted in the middle: as long as the new version was not
/// started, the old one is there again with all rows, and a person needs to do
/// nothing.
#[tokio::test(start_paused = true)]
async fn a_version_that_is_taken_back_in_the_middle_is_gone_back_from() {
    let steps: [fn(&Job) -> bool; 3] = [
        |job| matches!(job, Job::Checkpoint),
        |job| matches!(job, Job::Backup(_)),
        |job| matches!(job, Job::Migrate(_)),
    ];
    for step in steps {
        let bench = bench(&mut Dice(1)).await;
        to_v2(&bench).await;
        let bench = cut_in(bench, step).await;
        spec(&bench, |spec| spec.version = "v1".parse().unwrap()).await;
        live(&bench).await;
        let record = record(&bench);
        assert!(record.operation.is_none() && !record.has_failed());
        let last = record.history.last().unwrap();
        assert_eq!(last.reason.as_deref(), Some("GivenUp"), "{last:?}");
        assert_eq!(bench.condition("Ready"), "True Ready");
        assert!(bench.runs("v1"));
        let content = content(&bench);
        assert_eq!((content.schema_version, content.rows), (1, rows()));
    }
}

/// Somebody starts a service while the database is worked on.
#[tokio::test(start_paused = true)]
async fn a_service_that_is_started_in_the_middle_is_stopped_again() {
    for policy in [DriftPolicy::Correct, DriftPolicy::Detect] {
        let bench = bench(&mut Dice(1)).await;
        spec(&bench, |spec| spec.drift_policy = Some(policy)).await;
        live(&bench).await;
        to_v2(&bench).await;
        let bench = cut_in(bench, |job| matches!(job, Job::Backup(_))).await;
        bench.engine.host.start_unit(UNITS[0]).unwrap();
        live(&bench).await;
        let record = record(&bench);
        assert!(record.operation.is_none(), "{:#?}", record.operation);
        assert_eq!(content(&bench).rows, rows());
        let version = if record.has_failed() { "v1" } else { "v2" };
        assert!(bench.runs(version));
    }
}

/// A disk without room for records holds an operation up and fails nothing.
#[tokio::test(start_paused = true)]
async fn no_room_for_records_only_holds_it_up() {
    let bench = bench(&mut Dice(1)).await;
    to_v2(&bench).await;
    let bench = cut_in(bench, |job| matches!(job, Job::Migrate(_))).await;
    bench.set_full(true);
    for _ in 0..5 {
        bench.pass().await;
    }
    bench.set_full(false);
    live(&bench).await;
    assert!(bench.runs("v2") && !record(&bench).has_failed());
    // Full just when the services are started.
    let bench = super::simulation::bench(&mut Dice(1)).await;
    to_v2(&bench).await;
    let bench = cut_in(bench, |job| matches!(job, Job::Migrate(_))).await;
    bench.engine.host.fault_when(
        |_, action| action.kind() == "Start",
        Fault::fail(ProblemReason::RecordNotSaved),
    );
    for _ in 0..3 {
        bench.pass().await;
    }
    bench.engine.host.clear_faults();
    live(&bench).await;
    assert!(bench.runs("v2") && !record(&bench).has_failed());
}

/// A tenant that never worked is not held to it: its next version is tried.
#[tokio::test(start_paused = true)]
async fn a_way_back_to_what_never_worked_needs_no_person() {
    let bench = bench(&mut Dice(1)).await;
    let host = &bench.engine.host;
    host.crash_when(|_| true);
    for unit in UNITS {
        host.fail_unit(unit);
    }
    live(&bench).await;
    assert!(bench.condition("ServicesReady").starts_with("False"));
    to_v2(&bench).await;
    live(&bench).await;
    let failed = record(&bench);
    assert!(
        failed.operation.is_none() && failed.has_failed(),
        "{failed:#?}"
    );
    assert_eq!(content(&bench).schema_version, 1);
    host.crash_when(|_| false);
    spec(&bench, |spec| spec.env.clear()).await;
    bench
        .change(|record| assert!(record.retry(&crate::now())))
        .await;
    live(&bench).await;
    assert!(bench.runs("v2"));
    assert_eq!(content(&bench).rows, rows());
}

/// Law 2: a tenant that goes in the middle goes when it is whole; one that is
/// halted goes as it is, with all that was kept.
#[tokio::test(start_paused = true)]
async fn a_tenant_that_goes_in_the_middle_keeps_every_row() {
    for policy in [DeletionPolicy::Retain, DeletionPolicy::Delete] {
        let bench = bench(&mut Dice(1)).await;
        to_v2(&bench).await;
        let bench = cut_in(bench, |job| matches!(job, Job::Migrate(_))).await;
        bench.change(|record| record.phase = policy.into()).await;
        live(&bench).await;
        let host = &bench.engine.host;
        assert!(host.violations().is_empty() && is_stopped(&bench));
        let whole = |text: &str| {
            Content::of_text(text).is_some_and(|c| c.rows == rows() && c.schema_version == 3)
        };
        match policy {
            DeletionPolicy::Retain => {
                assert_eq!(record(&bench).phase, Life::Retained);
                assert!(record(&bench).operation.is_none());
                assert_eq!(content(&bench).rows, rows());
            }
            DeletionPolicy::Delete => {
                let archived = host.archived(&name());
                let found = archived
                    .iter()
                    .any(|(path, text)| path.ends_with("data/db/tenant.duckdb") && whole(text));
                assert!(found, "{archived:#?}");
            }
        }
        let bench = halted().await;
        bench.change(|record| record.phase = policy.into()).await;
        live(&bench).await;
        let archived = bench.engine.host.archived(&name());
        let saved = archived.iter().any(|(path, text)| {
            path.ends_with("database.duckdb")
                && Content::of_text(text).is_some_and(|c| c.rows == rows())
        });
        assert!(saved, "{archived:#?}");
    }
}

/// A tenant that was retained comes back at another version by an upgrade.
#[tokio::test(start_paused = true)]
async fn a_retained_tenant_comes_back_at_another_version() {
    let bench = bench(&mut Dice(1)).await;
    bench.change(|record| record.phase = Life::Retaining).await;
    live(&bench).await;
    assert_eq!(record(&bench).phase, Life::Retained);
    to_v2(&bench).await;
    live(&bench).await;
    assert!(bench.runs("v2"));
    let (record, content) = (record(&bench), content(&bench));
    assert_eq!(record.history.last().unwrap().state, "Succeeded");
    assert_eq!((content.schema_version, content.rows), (3, rows()));
}

/// Law 11: also what is printed line by line.
#[test]
fn no_line_of_a_secret_is_told() {
    let value = SecretValue::new("first line\nsecond line\n", &FingerprintKey::new([1; 32]));
    let source = SecretSource::File("/s".into());
    let secrets = [(source, Ok(Opened::Content(value)))].into();
    let told = without_secrets("key: second line!".into(), &secrets);
    assert_eq!(told, "key: (secret)!");
}
