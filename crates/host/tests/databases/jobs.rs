//! Every job does what it says, and done twice it is done once.

use cb_core::backup::Backup;
use cb_core::database::{Job, JobFailure, Report};
use cb_host::Host;

use crate::world::{
    BACKUPS, FILE, TWO, World, as_tenant, assert_nothing_left, on_host, order, restore, sh,
};

#[test]
fn no_database_is_no_failure() {
    on_host("jobs::no_database_is_no_failure", || async {
        let world = World::new().await;
        let migrate = world.files("v1", &TWO);
        for job in [
            Job::Checkpoint,
            Job::SchemaVersion,
            Job::Backup(order("b1")),
            Job::Migrate(migrate.clone()),
            Job::Quarantine {
                keep_as: "q".to_owned(),
            },
            restore(None, "r"),
            Job::Check {
                migrate: Some(migrate),
                schema_version: Some(0),
                backup: true,
            },
        ] {
            let report = world.run(job.clone()).await.unwrap();
            assert_eq!(report, Report::default(), "{job:?}");
        }
        for job in [Job::Verify("b1".parse().unwrap()), restore(Some("b1"), "r")] {
            let error = world.run(job).await.unwrap_err();
            assert_eq!(error.failure, JobFailure::NoBackup, "{error}");
        }
        assert!(
            world
                .host
                .backups(&world.database)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(sh("ls -A /var/lib/cb/tenants/ky04/db"), "");
        assert_nothing_left();
    });
}

#[test]
fn a_database_is_migrated_and_its_version_known() {
    on_host(
        "jobs::a_database_is_migrated_and_its_version_known",
        || async {
            let world = World::new().await;
            world.sql("CREATE TABLE old (a INTEGER); INSERT INTO old VALUES (7)");
            assert!(
                sh(&format!("stat -c %s {FILE}.wal"))
                    .parse::<u64>()
                    .unwrap()
                    > 0
            );
            let report = world.run(Job::Checkpoint).await.unwrap();
            assert_eq!((report.exists, report.schema_version), (true, None));
            sh(&format!("test ! -s {FILE}.wal"));
            let report = world.run(Job::SchemaVersion).await.unwrap();
            assert_eq!(report.schema_version, None);
            let migrate = world.files("v1", &TWO);
            let check = |schema_version, migrate| Job::Check {
                migrate: Some(migrate),
                schema_version,
                backup: true,
            };
            let report = world.run(check(Some(0), migrate.clone())).await.unwrap();
            assert_eq!((report.exists, report.pending), (true, Some(2)));
            let unknown = world.run(check(None, migrate.clone())).await.unwrap();
            assert_eq!(unknown.pending, None);
            world.told();
            for _ in 0..2 {
                let report = world.run(Job::Migrate(migrate.clone())).await.unwrap();
                assert_eq!(report.schema_version, Some(2));
            }
            let told = world.told();
            assert!(
                told.contains("0001_init.sql") && told.contains("0002_fill.sql"),
                "{told}"
            );
            let report = world.run(Job::SchemaVersion).await.unwrap();
            assert_eq!(report.schema_version, Some(2));
            let report = world.run(Job::Checkpoint).await.unwrap();
            assert_eq!(report.schema_version, Some(2));
            let (before, rows) = world.content();
            assert_eq!((rows["old"], rows["t"]), (1, 1000));
            // One that fails leaves everything as it was, and quotes no row.
            let bad = [
                TWO[0],
                TWO[1],
                ("0003_bad.sql", "DELETE FROM t; SELECT 'hush'::INTEGER;"),
            ];
            let bad = world.files("v2", &bad);
            let error = world.run(Job::Migrate(bad)).await.unwrap_err();
            assert_eq!(error.failure, JobFailure::MigrationFailed);
            let all = format!("{error:?}");
            assert!(
                all.contains("0003_bad.sql") && !all.contains("hush"),
                "{all}"
            );
            // An older release, and one with an edited file.
            let older = world.files("v0", &TWO[..1]);
            let edited = world.files("v3", &[TWO[0], ("0002_fill.sql", "SELECT 1;")]);
            for job in [
                check(Some(2), older.clone()),
                Job::Migrate(older),
                Job::Migrate(edited),
            ] {
                let error = world.run(job).await.unwrap_err();
                assert_eq!(error.failure, JobFailure::MigrationsRefused, "{error}");
            }
            assert_eq!(world.content().0, before);
            assert_nothing_left();
        },
    );
}

#[test]
fn a_release_migrates_and_tells_the_version_with_its_own_program() {
    let name = "jobs::a_release_migrates_and_tells_the_version_with_its_own_program";
    on_host(name, || async {
        let mut world = World::new().await;
        world.sql("CREATE TABLE t (a INTEGER)");
        let script = "test \"$SECRET\" = hush; test \"$1\" = up; test ! -w .
             test \"$(pwd)\" = /var/lib/cb/releases/cbapp/v1
             echo \"$(id -un) works\" >&2; echo 5 >\"$DATABASE_PATH.version\"";
        let migrate = world.command("v1", &format!("set -e\n{script}"));
        let version = world.command("v2", "echo; cat \"$DATABASE_PATH.version\"");
        world.database.table = None;
        let report = world.run(Job::SchemaVersion).await.unwrap();
        assert_eq!(report.schema_version, None);
        let command = serde_yaml::from_str("{program: migrate}").unwrap();
        world.database.version_command = Some((version.release, command));
        let error = world.run(Job::SchemaVersion).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::Failed);
        let report = world.run(Job::Migrate(migrate.clone())).await.unwrap();
        assert_eq!(report.schema_version, Some(5));
        assert_eq!(world.told(), "cb-ky04 works");
        let report = world.run(Job::Checkpoint).await.unwrap();
        assert_eq!(report.schema_version, Some(5));
        let fails = world.command("v3", "echo ONE >&2; echo why >&2; exit 3");
        let error = world.run(Job::Migrate(fails)).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::MigrationFailed);
        assert!(error.message.contains("exit code 3"), "{error}");
        assert_eq!(error.log, ["ONE", "why"]);
        let check = |migrate| Job::Check {
            migrate: Some(migrate),
            schema_version: Some(5),
            backup: false,
        };
        world.run(check(migrate.clone())).await.unwrap();
        sh("rm /var/lib/cb/releases/cbapp/v1/migrate");
        let error = world.run(check(migrate)).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::MigrationsRefused);
    });
}

#[test]
fn a_backup_is_made_verified_restored_and_deleted() {
    on_host(
        "jobs::a_backup_is_made_verified_restored_and_deleted",
        || async {
            let world = World::migrated().await;
            let original = world.content();
            let report = world.run(Job::Backup(order("b1"))).await.unwrap();
            let backup = report.backup.unwrap();
            assert!(backup.verified && backup.digest.is_some() && backup.storage_version.is_some());
            assert_eq!(backup.schema_version, Some(2));
            let names: Vec<&str> = backup.files.iter().map(|file| file.name.as_str()).collect();
            assert_eq!(names, [Backup::DATABASE, Backup::ENV]);
            for file in &backup.files {
                let sums = sh(&format!("sha256sum {BACKUPS}/b1/{}", file.name));
                assert!(sums.starts_with(&file.sha256), "{sums}");
            }
            // Law 11, and no tenant gets at any backup.
            let seen = sh(&format!(
                "stat -c '%U %a %n' {BACKUPS} {BACKUPS}/b1 {BACKUPS}/b1/*"
            ));
            let expected = format!(
                "root 700 {BACKUPS}\nroot 750 {BACKUPS}/b1\nroot 600 {BACKUPS}/b1/backup.yaml\n\
             root 640 {BACKUPS}/b1/database.duckdb\nroot 600 {BACKUPS}/b1/env"
            );
            assert_eq!(seen, expected);
            as_tenant(&format!("! ls {BACKUPS}/b1 2>/dev/null"));
            let text = sh(&format!("cat {BACKUPS}/b1/backup.yaml"));
            assert!(!text.contains("hush"), "{text}");
            // Made once.
            let inode = || sh(&format!("stat -c %i {BACKUPS}/b1/database.duckdb"));
            let before = inode();
            let again = world.run(Job::Backup(order("b1"))).await.unwrap();
            assert_eq!((again.backup.as_ref(), inode()), (Some(&backup), before));
            let listed = world.host.backups(&world.database).await.unwrap();
            assert_eq!(listed.as_slice(), std::slice::from_ref(&backup));
            world.run(Job::Verify(backup.id.clone())).await.unwrap();

            // A log is part of what is replaced, and no database gets another's.
            world.sql("INSERT INTO t VALUES (-1, 'new')");
            let newer = world.content();
            assert_ne!(newer, original);
            for _ in 0..2 {
                let report = world.run(restore(Some("b1"), "r1")).await.unwrap();
                assert_eq!((report.exists, report.schema_version), (true, Some(2)));
                assert_eq!(world.content(), original);
                let kept = sh(&format!("ls {BACKUPS}/replaced/r1"));
                assert_eq!(kept, "tenant.duckdb\ntenant.duckdb.wal");
            }
            let owner = sh(&format!(
                "stat -c '%U %a' {BACKUPS}/replaced/r1/tenant.duckdb"
            ));
            assert_eq!(owner, "root 640");
            assert_eq!(sh(&format!("stat -c %U {FILE}")), "cb-ky04");
            // What was replaced has all rows.
            sh(&format!(
                "cp {BACKUPS}/replaced/r1/* /var/lib/cb/tenants/ky04/db/; chown cb-ky04: {FILE}*"
            ));
            assert_eq!(world.content(), newer);

            // Without a backup there was none.
            for _ in 0..2 {
                let report = world.run(restore(None, "r2")).await.unwrap();
                assert!(!report.exists);
                assert_eq!(sh("ls -A /var/lib/cb/tenants/ky04/db"), "");
                let kept = sh(&format!("ls {BACKUPS}/replaced/r2"));
                assert_eq!(kept, "tenant.duckdb\ntenant.duckdb.wal");
            }
            world.run(restore(Some("b1"), "r3")).await.unwrap();
            assert_eq!(world.content(), original);
            assert_eq!(sh(&format!("ls {BACKUPS}/replaced")), "r1\nr2");
            assert!(
                world
                    .host
                    .delete_backup(&world.database, &backup.id)
                    .await
                    .unwrap()
            );
            assert!(
                !world
                    .host
                    .delete_backup(&world.database, &backup.id)
                    .await
                    .unwrap()
            );
            assert_eq!(sh(&format!("ls {BACKUPS}")), "replaced");
            assert_nothing_left();
        },
    );
}
