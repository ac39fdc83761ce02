//! The jobs of a host in memory, whole, cut off and done again.

use std::sync::Arc;
use std::time::Duration;

use cb_core::api;
use cb_core::backup::BackupCause;
use cb_core::database::MigrateWith;

use super::*;
use crate::host::Host as _;

const FILE: &str = "/var/lib/cb/tenants/ky04/db/t.duckdb";
const BACKUPS: &str = "/var/lib/cb/backups/ky04";

fn database() -> Database {
    Database {
        tenant: "ky04".parse().unwrap(),
        user: "cb-ky04".to_owned(),
        file: FILE.into(),
        backups: BACKUPS.into(),
        env_file: "/etc/cb/tenants/ky04/.env".into(),
        credentials: "/etc/cb/tenants/ky04/credentials".into(),
        timeout: Duration::from_secs(1),
        memory: 1 << 20,
        table: Some("schema_migrations".parse().unwrap()),
        version_command: None,
    }
}

fn content(schema_version: i64, rows: &[&str]) -> Content {
    Content {
        schema_version,
        rows: rows.iter().map(|row| (*row).to_owned()).collect(),
    }
}

/// A host with a database of two rows, one of them in its log, and a
/// release that leads to schema 4.
fn host() -> MemoryHost {
    let text = "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {name: h}\nspec: {}";
    let spec: api::Host = serde_yaml::from_str(text).unwrap();
    let host = MemoryHost::new(&spec);
    host.put_database(FILE.as_ref(), &content(2, &["one"]));
    host.log_rows(FILE.as_ref(), &["two"]);
    host.put("/etc/cb/tenants/ky04/.env", Node::file("A=1", 0o600));
    host.set_schema(&"cbapp".parse().unwrap(), &"v4".parse().unwrap(), 4);
    host
}

fn migrate() -> Job {
    Job::Migrate(Migrate {
        application: "cbapp".parse().unwrap(),
        version: "v4".parse().unwrap(),
        release: "/r".into(),
        with: MigrateWith::Files {
            folder: "/r/m".into(),
            table: "schema_migrations".parse().unwrap(),
        },
    })
}

fn backup(id: &str) -> Job {
    Job::Backup(BackupOrder {
        id: id.parse().unwrap(),
        cause: BackupCause::Upgrade,
        spec: serde_yaml::from_str("{application: cbapp, version: v1}").unwrap(),
        schema_version: Some(2),
        even_damaged: false,
    })
}

fn restore(id: Option<&str>) -> Job {
    Job::Restore {
        backup: id.map(|id| id.parse().unwrap()),
        keep_as: "r".to_owned(),
    }
}

async fn run(host: &MemoryHost, job: &Job) -> Result<Report> {
    let nobody: Progress = Arc::new(|_| {});
    host.database(&database(), job, &nobody).await
}

#[tokio::test]
async fn jobs_do_what_they_say() {
    let host = host();
    let id = "20261124t213000z-1";
    let report = run(&host, &Job::Checkpoint).await.unwrap();
    assert_eq!(report.schema_version, Some(2));
    let before = content(2, &["one", "two"]);
    assert_eq!(host.read_database(FILE.as_ref()), Some(before.clone()));
    let made = run(&host, &backup(id)).await.unwrap().backup.unwrap();
    assert_eq!(made.created, "2026-11-24T21:30:00Z");
    assert_eq!(host.backups(&database()).await.unwrap(), [made]);
    let report = run(&host, &migrate()).await.unwrap();
    assert_eq!(report.schema_version, Some(4));
    host.log_rows(FILE.as_ref(), &["three"]);
    run(&host, &restore(Some(id))).await.unwrap();
    assert_eq!(host.read_database(FILE.as_ref()), Some(before));
    let replaced = format!("{BACKUPS}/replaced/r/t.duckdb");
    let replaced = host.read_database(replaced.as_ref());
    assert_eq!(replaced, Some(content(4, &["one", "two", "three"])));
    assert!(
        host.delete_backup(&database(), &id.parse().unwrap())
            .await
            .unwrap()
    );
    let error = run(&host, &restore(Some(id))).await.unwrap_err();
    assert_eq!(error.failure, JobFailure::NoBackup);
    run(&host, &restore(None)).await.unwrap();
    assert_eq!(host.read_database(FILE.as_ref()), None);
    assert_eq!(run(&host, &migrate()).await, Ok(Report::default()));
}

/// Law 5: after a cut anywhere, the same job ends the same.
#[tokio::test]
async fn a_job_that_was_cut_off_is_done_again() {
    for job in [
        Job::Checkpoint,
        backup("b1"),
        migrate(),
        restore(Some("b0")),
        restore(None),
    ] {
        let start = host();
        run(&start, &backup("b0")).await.unwrap();
        start.log_rows(FILE.as_ref(), &["three"]);
        let whole = start.fork();
        let expected = run(&whole, &job).await.unwrap();
        for effects in 1.. {
            let cut = start.fork();
            cut.cut_after(effects);
            let first = run(&cut, &job).await;
            let was_cut = cut.is_cut_off();
            assert_eq!(first.is_err(), was_cut, "{job:?}");
            cut.restart();
            assert_eq!(
                run(&cut, &job).await.unwrap(),
                expected,
                "{job:?} {effects}"
            );
            assert_eq!(
                cut.read_database(FILE.as_ref()),
                whole.read_database(FILE.as_ref()),
                "{job:?} {effects}"
            );
            if !was_cut {
                break;
            }
        }
    }
}

#[tokio::test]
async fn damage_and_faults_are_told() {
    let host = host();
    host.edit(format!("{FILE}.wal"), |text| *text = "?".to_owned());
    let error = run(&host, &Job::Checkpoint).await.unwrap_err();
    assert_eq!(error.failure, JobFailure::WalDoesNotReplay);
    let keep_as = "q".to_owned();
    run(&host, &Job::Quarantine { keep_as }).await.unwrap();
    let kept = host.content(format!("{BACKUPS}/quarantine/q/t.duckdb.wal"));
    assert_eq!(kept.as_deref(), Some("?"));
    host.fault_job_when(
        |_, job| matches!(job, Job::Migrate(_)),
        JobFault::Fail(JobFailure::NoSpace),
    );
    let error = run(&host, &migrate()).await.unwrap_err();
    assert_eq!(error.failure, JobFailure::NoSpace);
    host.clear_job_faults();
    host.put_database(FILE.as_ref(), &content(9, &[]));
    let error = run(&host, &migrate()).await.unwrap_err();
    assert_eq!(error.failure, JobFailure::MigrationsRefused);
}
