//! Jobs that take too long, too much memory or too much space.

use std::time::Duration;

use cb_core::database::{Job, JobFailure};

use crate::world::{
    BACKUPS, FILE, TWO, World, assert_nothing_left, on_host, on_host_with, order, sh,
};

/// Numbers that do not compress, so many that they fill the disk of the test.
const LARGE: &str = "CREATE TABLE big AS SELECT hash(i) AS h FROM range(20000000) r(i);";

#[test]
fn a_full_disk_leaves_everything_as_it_was() {
    let name = "limits::a_full_disk_leaves_everything_as_it_was";
    let small = |options: cb_testhost::Options| options.tmpfs("/var/lib/cb", 96 << 20);
    on_host_with(name, small, || async {
        let world = World::migrated().await;
        let before = world.content();
        let files = [TWO[0], TWO[1], ("0003_large.sql", LARGE)];
        let migrate = world.files("v2", &files);
        let error = world.run(Job::Migrate(migrate)).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::NoSpace, "{error}");
        let report = world.run(Job::SchemaVersion).await.unwrap();
        assert_eq!(report.schema_version, Some(2));
        assert_eq!(world.content(), before);
        // What DuckDB has taken of the disk it keeps for later; a copy has no
        // room, which is said before anything is written.
        let check = |backup| Job::Check {
            migrate: None,
            schema_version: None,
            backup,
        };
        for job in [check(true), Job::Backup(order("b1"))] {
            let error = world.run(job).await.unwrap_err();
            assert_eq!(error.failure, JobFailure::NoSpace, "{error}");
            assert!(error.message.contains("bytes free"), "{error}");
        }
        world.run(check(false)).await.unwrap();
        assert_eq!(world.content(), before);
        assert_eq!(sh(&format!("ls -A {BACKUPS} 2>/dev/null || true")), "");
        assert_nothing_left();
    });
}

#[test]
fn a_migration_that_hangs_is_ended() {
    on_host("limits::a_migration_that_hangs_is_ended", || async {
        let mut world = World::migrated().await;
        let before = world.content();
        world.database.timeout = Duration::from_secs(2);
        let endless =
            "CREATE TABLE x AS SELECT count(*) FROM range(1000000000) a, range(1000000000) b;";
        let files = [TWO[0], TWO[1], ("0003_endless.sql", endless)];
        let by_files = world.files("v2", &files);
        let polite = world.command("v3", "echo begun >&2; sleep 1000");
        let stubborn = world.command(
            "v4",
            "trap '' TERM; echo begun >&2; while :; do sleep 1000; done",
        );
        for migrate in [by_files, polite, stubborn] {
            let version = migrate.version.clone();
            let error = world.run(Job::Migrate(migrate)).await.unwrap_err();
            assert_eq!(error.failure, JobFailure::TimedOut, "{version}: {error}");
            assert!(error.message.contains("2 s"), "{version}: {error}");
            assert!(!error.log.is_empty(), "{version}");
            assert_eq!(sh("pgrep -c -u cb-ky04 || true"), "0", "{version}");
        }
        assert_eq!(world.content(), before);
        assert_nothing_left();
    });
}

#[test]
fn a_job_has_the_limits_and_the_sandbox_that_it_should_have() {
    let name = "limits::a_job_has_the_limits_and_the_sandbox_that_it_should_have";
    on_host(name, || async {
        let mut world = World::new().await;
        world.sql("CREATE TABLE seed (a INTEGER)");
        world.run(Job::Checkpoint).await.unwrap();
        world.run(Job::Backup(order("b1"))).await.unwrap();
        let properties = "MemoryMax TasksMax NoNewPrivileges ProtectSystem \
             PrivateNetwork PrivateTmp PrivateDevices CapabilityBoundingSet CollectMode";
        let script = format!(
            "for p in {properties}; do echo $p=$(systemctl show -P $p cb_job_ky04.service) >&2; done
             echo caps=$(grep CapEff /proc/self/status) >&2
             echo net=$(ls /sys/class/net) >&2
             for d in / /etc /var/lib/cb /var/lib/cb/releases /root /home {BACKUPS} {BACKUPS}/b1; do
               test ! -w $d || echo \"$d can be written\" >&2; done
             test ! -e {BACKUPS} || echo 'backups are there' >&2
             ls -A /root /home /run/user >&2
             touch $(dirname {FILE})/x && echo db can be written >&2"
        );
        let migrate = world.command("v2", &script);
        world.told();
        world.run(Job::Migrate(migrate)).await.unwrap();
        let told = world.told();
        let expected = format!(
            "MemoryMax={}\nTasksMax=64\nNoNewPrivileges=yes\nProtectSystem=strict\n\
             PrivateNetwork=yes\nPrivateTmp=yes\nPrivateDevices=yes\n\
             CapabilityBoundingSet=\nCollectMode=inactive-or-failed\n\
             caps=CapEff: 0000000000000000\nnet=lo\n/home:\n/root:\n/run/user:\ndb can be written",
            512 << 20
        );
        assert_eq!(told, expected);
        // DuckDB itself is given less than the unit.
        world.database.memory = 64 << 20;
        let greedy = "CREATE TABLE l AS SELECT list(i) AS l FROM range(100000000) r(i);";
        let migrate = world.files("v3", &[("0001_greedy.sql", greedy)]);
        let error = world.run(Job::Migrate(migrate)).await.unwrap_err();
        assert_eq!(error.failure, JobFailure::OutOfMemory, "{error}");
        assert_nothing_left();
    });
}
