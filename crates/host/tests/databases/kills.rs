//! The process that does a job is killed at any moment, and the job done again
//! by the next one (law 5).

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cb_core::database::{Job, MigrateWith};

use crate::world::{BACKUPS, TWO, World, assert_nothing_left, on_host, order, restore, sh};

/// Names the job that this process does as the child of a test.
const JOB: &str = "CB_CHILD_JOB";

/// Milliseconds from the beginning of a job until its process is killed.
const MOMENTS: [u64; 10] = [0, 20, 40, 60, 90, 120, 160, 220, 300, 450];

/// A process that does this job and is killed, `after` it has begun.
async fn killed(test: &str, job: &str, after: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", test])
        .env(JOB, job)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(&mut child, "begun");
    // A moment of the job is what is to be hit, not an event.
    tokio::time::sleep(after).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

fn wait_for(child: &mut Child, word: &str) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let found = lines.map_while(Result::ok).any(|line| line == word);
    assert!(found, "the child never said `{word}`");
}

fn migrate(world: &World) -> Job {
    // Some hundred milliseconds of work.
    let slow = "CREATE TABLE big AS SELECT i, hash(i) AS h FROM range(2000000) r(i);";
    let more = "INSERT INTO t SELECT i, 'more ' || i FROM range(1000) r(i);";
    let files = [
        TWO[0],
        TWO[1],
        ("0003_slow.sql", slow),
        ("0004_more.sql", more),
    ];
    Job::Migrate(world.files("v2", &files))
}

fn job(world: &World, name: &str) -> Job {
    match name {
        "migrate" => migrate(world),
        "restore" => restore(Some("b1"), "r1"),
        backup => Job::Backup(order(backup)),
    }
}

/// If this process is the child of a test: does its job and is true.
async fn is_child() -> bool {
    let Ok(name) = std::env::var(JOB) else {
        return false;
    };
    let world = World::new().await;
    let job = job(&world, &name);
    println!("begun");
    // Whether it ends in time is not known.
    let _ = world.run(job).await;
    true
}

#[test]
fn a_migration_is_whole_or_not_there() {
    let name = "kills::a_migration_is_whole_or_not_there";
    on_host(name, || async {
        if is_child().await {
            return;
        }
        let world = World::migrated().await;
        world.run(Job::Backup(order("b1"))).await.unwrap();
        let Job::Migrate(wanted) = migrate(&world) else {
            unreachable!()
        };
        assert!(matches!(wanted.with, MigrateWith::Files { .. }));
        let mut seen = BTreeSet::new();
        for after in MOMENTS {
            world.run(restore(Some("b1"), "r")).await.unwrap();
            killed(name, "migrate", Duration::from_millis(after)).await;
            // Also ends what the killed process has left running.
            let report = world.run(Job::SchemaVersion).await.unwrap();
            let version = report.schema_version.unwrap();
            seen.insert(version);
            let tables = world.content().1;
            let (t, big) = (tables["t"], tables.get("big").copied());
            match version {
                2 => assert_eq!((t, big), (1000, None), "{after} ms"),
                4 => assert_eq!((t, big), (2000, Some(2_000_000)), "{after} ms"),
                other => panic!("{after} ms: version {other}"),
            }
            let report = world.run(migrate(&world)).await.unwrap();
            assert_eq!(report.schema_version, Some(4));
            let tables = world.content().1;
            assert_eq!(
                (tables["t"], tables["big"]),
                (2000, 2_000_000),
                "{after} ms"
            );
        }
        println!("versions after the kills: {seen:?}");
        assert!(seen.contains(&2), "no kill came in time");
        assert_nothing_left();
    });
}

#[test]
fn a_backup_is_whole_or_not_there() {
    let name = "kills::a_backup_is_whole_or_not_there";
    on_host(name, || async {
        if is_child().await {
            return;
        }
        let world = World::new().await;
        world.sql("CREATE TABLE t AS SELECT i, hash(i) AS h FROM range(2000000) r(i)");
        world.run(Job::Checkpoint).await.unwrap();
        let before = world.content();
        let mut made = 0;
        for after in MOMENTS {
            let id = format!("b{after}");
            killed(name, &id, Duration::from_millis(after)).await;
            let listed = cb_host::Host::backups(&world.host, &world.database)
                .await
                .unwrap();
            made += usize::from(listed.iter().any(|backup| backup.id.as_str() == id));
            world.run(Job::Backup(order(&id))).await.unwrap();
            world.run(Job::Verify(id.parse().unwrap())).await.unwrap();
            assert_eq!(world.content(), before, "{after} ms");
        }
        println!("made before the kills: {made} of {}", MOMENTS.len());
        assert!(made < MOMENTS.len(), "no kill came in time");
        let there = sh(&format!("ls {BACKUPS} | wc -l"));
        assert_eq!(there, MOMENTS.len().to_string());
        assert_nothing_left();
    });
}

#[test]
fn a_restore_ends_the_same_and_loses_nothing() {
    let name = "kills::a_restore_ends_the_same_and_loses_nothing";
    on_host(name, || async {
        if is_child().await {
            return;
        }
        let world = World::new().await;
        world.sql("CREATE TABLE t AS SELECT i, hash(i) AS h FROM range(2000000) r(i)");
        world.run(Job::Checkpoint).await.unwrap();
        world.run(Job::Backup(order("b1"))).await.unwrap();
        let wanted = world.content();
        for after in MOMENTS {
            sh(&format!("rm -rf {BACKUPS}/replaced"));
            world.sql(&format!(
                "CREATE TABLE at_{after} AS FROM range({after}, {after} + 9)"
            ));
            let replaced = sh(
                "cd /var/lib/cb/tenants/ky04/db; cat tenant.duckdb tenant.duckdb.wal | sha256sum",
            );
            killed(name, "restore", Duration::from_millis(after)).await;
            let report = world.run(restore(Some("b1"), "r1")).await.unwrap();
            assert!(report.exists);
            assert_eq!(world.content(), wanted, "{after} ms");
            let kept = sh(&format!(
                "cd {BACKUPS}/replaced/r1; cat tenant.duckdb tenant.duckdb.wal | sha256sum"
            ));
            assert_eq!(kept, replaced, "{after} ms");
        }
        assert_nothing_left();
    });
}
