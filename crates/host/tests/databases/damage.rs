//! Logs of killed services, and files that cannot be opened or have changed.

use cb_core::database::{Job, JobFailure};
use cb_host::Host as _;

use crate::world::{
    BACKUPS, FILE, World, as_tenant, assert_nothing_left, on_host, order, restore, sh,
};

/// Law 9: a log is never lost.
#[test]
fn the_log_of_a_killed_service_is_replayed() {
    on_host(
        "damage::the_log_of_a_killed_service_is_replayed",
        || async {
            let world = World::new().await;
            as_tenant(&format!(
            "mkfifo /tmp/in /tmp/out; writer {FILE} \"CREATE TABLE t AS FROM range(5000)\" </tmp/in >/tmp/out & 
             exec 3>/tmp/in; read ready </tmp/out; kill -9 $!"
        ));
            sh(&format!("test -s {FILE}.wal"));
            let before = world.content();
            assert_eq!(before.1["t"], 5000);
            let report = world.run(Job::Backup(order("with-log"))).await.unwrap();
            assert!(report.backup.unwrap().verified);
            world.run(Job::Checkpoint).await.unwrap();
            sh(&format!("test ! -s {FILE}.wal"));
            assert_eq!(world.content(), before);
            // A backup with a log is restored with it.
            world.sql("DROP TABLE t");
            world.run(restore(Some("with-log"), "r")).await.unwrap();
            assert_eq!(world.content(), before);
            assert_nothing_left();
        },
    );
}

#[test]
fn a_log_that_does_not_replay_is_kept_with_its_database() {
    let name = "damage::a_log_that_does_not_replay_is_kept_with_its_database";
    on_host(name, || async {
        let world = World::new().await;
        world.sql("CREATE TABLE t AS FROM range(100000); CHECKPOINT");
        let whole = world.content();
        world.run(Job::Backup(order("good"))).await.unwrap();
        world.sql("INSERT INTO t SELECT * FROM range(5000)");
        // In the middle of the log.
        sh(&format!(
            "size=$(stat -c %s {FILE}.wal); printf XXXXXXXX |
             dd of={FILE}.wal bs=1 seek=$((size / 2)) conv=notrunc status=none"
        ));
        let sums = || sh(&format!("cat {FILE} {FILE}.wal | sha256sum"));
        let before = sums();
        for job in [
            Job::Checkpoint,
            Job::SchemaVersion,
            Job::Backup(order("bad")),
        ] {
            let error = world.run(job.clone()).await.unwrap_err();
            assert_eq!(
                error.failure,
                JobFailure::WalDoesNotReplay,
                "{job:?}: {error}"
            );
            assert_eq!(sums(), before, "{job:?}");
        }
        for _ in 0..2 {
            let keep_as = "q1".to_owned();
            let report = world.run(Job::Quarantine { keep_as }).await.unwrap();
            assert!(report.exists);
            assert_eq!(sums(), before);
            let kept = sh(&format!(
                "cd {BACKUPS}/quarantine/q1; ls; cat tenant.duckdb tenant.duckdb.wal | sha256sum"
            ));
            assert_eq!(kept, format!("tenant.duckdb\ntenant.duckdb.wal\n{before}"));
        }
        let mut even_damaged = order("as-it-is");
        even_damaged.even_damaged = true;
        let report = world.run(Job::Backup(even_damaged)).await.unwrap();
        let backup = report.backup.unwrap();
        assert!(!backup.verified && backup.digest.is_none());
        assert_eq!(backup.files.len(), 3);
        let copied =
            format!("cd {BACKUPS}/as-it-is; cat database.duckdb database.duckdb.wal | sha256sum");
        assert_eq!(sh(&copied), before);
        world.run(Job::Verify(backup.id)).await.unwrap();
        world.run(restore(Some("good"), "r")).await.unwrap();
        assert_eq!(world.content(), whole);
        assert_nothing_left();
    });
}

#[test]
fn a_backup_that_changed_is_refused_and_replaces_nothing() {
    let name = "damage::a_backup_that_changed_is_refused_and_replaces_nothing";
    on_host(name, || async {
        let world = World::new().await;
        world.sql("CREATE TABLE t AS FROM range(100000); CHECKPOINT");
        world.run(Job::Backup(order("b1"))).await.unwrap();
        world.sql("INSERT INTO t VALUES (1)");
        let before = world.content();
        sh(&format!(
            "cp {BACKUPS}/b1/database.duckdb /tmp/good
             printf X | dd of={BACKUPS}/b1/database.duckdb bs=1 seek=50000 conv=notrunc status=none"
        ));
        let marked = async || world.host.backups(&world.database).await.unwrap()[0].verified;
        assert!(marked().await);
        for job in [restore(Some("b1"), "r"), Job::Verify("b1".parse().unwrap())] {
            let error = world.run(job).await.unwrap_err();
            assert_eq!(error.failure, JobFailure::Differs, "{error}");
        }
        assert_eq!(world.content(), before);
        // Nobody counts on it any more, until it is good again.
        assert!(!marked().await);
        let error = world
            .run(Job::Verify("b1".parse().unwrap()))
            .await
            .unwrap_err();
        assert_eq!(error.failure, JobFailure::Differs, "{error}");
        sh(&format!("cp /tmp/good {BACKUPS}/b1/database.duckdb"));
        world.run(Job::Verify("b1".parse().unwrap())).await.unwrap();
        assert!(marked().await);
        sh(&format!("rm {BACKUPS}/b1/database.duckdb"));
        let error = world
            .run(Job::Verify("b1".parse().unwrap()))
            .await
            .unwrap_err();
        assert_eq!(error.failure, JobFailure::Differs, "{error}");
        assert!(!marked().await);
        sh(&format!("rm {BACKUPS}/b1/backup.yaml"));
        let error = world.run(restore(Some("b1"), "r")).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::NoBackup);
        // What is left of a backup is made anew.
        world.run(Job::Backup(order("b1"))).await.unwrap();
        world.run(Job::Verify("b1".parse().unwrap())).await.unwrap();
        // No database at all.
        sh(&format!("printf 'no database' >{FILE}; rm -f {FILE}.wal"));
        let error = world.run(Job::Checkpoint).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::NotADatabase);
        assert_nothing_left();
    });
}
