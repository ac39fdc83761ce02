//! create, info, schema-version, checkpoint, and who may run what.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::world::{World, finish};

#[test]
fn every_type_has_a_digest_that_is_the_same_everywhere() {
    let world = World::new();
    world.sql(
        "t.duckdb",
        "CREATE TABLE t AS FROM test_all_types(); CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE VIEW v AS FROM t; CREATE TABLE none (x INT); CREATE INDEX i ON t (int);
         CREATE MACRO twice(a) AS 2 * a; CREATE TABLE g (a INT, b AS (a + 1))",
    );
    let before = world.bytes();
    let digest = world.digest("t.duckdb");
    assert!(
        world.bytes() == before,
        "an index in the log is replayed elsewhere"
    );
    for zone in ["America/New_York", "Asia/Kolkata"] {
        let mut command = world.command("cb-duckdb");
        let run = finish(command.env("TZ", zone).args(["digest", "t.duckdb"]));
        assert_eq!(run.document["content"]["digest"], digest.as_str(), "{zone}");
    }
    // What a killed run left is taken away, its database is not.
    fs::create_dir(world.path("t.duckdb.scratch-left")).unwrap();
    world.give("t.duckdb.scratch-left");
    world.digest("t.duckdb");
    let names: Vec<_> = fs::read_dir(world.path("")).unwrap().collect();
    assert_eq!(names.len(), before.len(), "{names:?}");
    world.ok("checkpoint t.duckdb");
    assert_eq!(world.digest("t.duckdb"), digest);
    world.sql("t.duckdb", "CREATE OR REPLACE MACRO twice(a) AS 3 * a");
    assert_ne!(world.digest("t.duckdb"), digest);
}

#[test]
fn a_database_is_created_once_and_for_its_owner_only() {
    let world = World::new();
    let created = world.ok("create t.duckdb");
    assert_eq!(created["header"]["storageVersion"], 64, "{created}");
    let mode = fs::metadata(world.path("t.duckdb")).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(world.bytes().len(), 1);

    let before = world.bytes();
    let error = world.fails("create t.duckdb", 1);
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("exists already"), "{message}");
    assert_eq!(world.bytes(), before);

    // A log without its database belongs to somebody.
    world.write("lost.duckdb.wal", "x");
    world.fails("create lost.duckdb", 1);
}

/// Law 9.
#[test]
fn root_is_refused() {
    // Where the test does not run as root, a user namespace makes it look so.
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new(env!("CARGO_BIN_EXE_cb-duckdb"))
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", env!("CARGO_BIN_EXE_cb-duckdb")]);
        command
    };
    let run = finish(command.args(["info", "/nowhere.duckdb"]));
    assert_eq!(run.code, Some(2), "{run:?}");
    let message = run.document["error"]["message"].as_str().unwrap();
    assert!(message.contains("does not run as root"), "{message}");
}

#[test]
fn info_names_versions_sizes_and_rows() {
    let world = World::new();
    world.sql(
        "t.duckdb",
        "CREATE TABLE b AS FROM range(7); CREATE SCHEMA s; CREATE TABLE s.\"a \"\"b\" (x INT)",
    );
    let info = world.ok("info t.duckdb");
    assert_eq!(info["locked"], false);
    assert!(info["walBytes"].as_u64().unwrap() > 0, "{info}");
    assert_eq!(
        info["tables"],
        serde_json::json!([
            {"schema": "main", "name": "b", "rows": 7},
            {"schema": "s", "name": "a \"b", "rows": 0},
        ])
    );
}

/// Law 9: the lock is never broken.
#[test]
fn a_database_that_a_process_holds_is_left_alone() {
    let world = World::new();
    world.ok("create t.duckdb");
    let folder = world.migrations("m", &[("0001_a.sql", "CREATE TABLE a (x INT)")]);
    let holder = world.hold("t.duckdb", "CREATE TABLE held AS FROM range(3)");
    let before = world.bytes();
    for command in [
        "schema-version t.duckdb".to_owned(),
        format!("migrate t.duckdb --migrations {}", folder.display()),
        "checkpoint t.duckdb".to_owned(),
        "backup t.duckdb copy.duckdb".to_owned(),
        "verify t.duckdb".to_owned(),
        "digest t.duckdb".to_owned(),
    ] {
        let error = world.fails(&command, 3);
        assert_eq!(error["kind"], "Locked");
    }
    let info = world.ok("info t.duckdb");
    assert_eq!(info["locked"], true);
    assert!(info["tables"].is_null());
    assert_eq!(world.bytes(), before);

    drop(holder);
    assert_eq!(world.ok("info t.duckdb")["tables"][0]["rows"], 3);
}

/// Law 5: what was committed is there after a kill.
#[test]
fn the_log_of_a_killed_process_replays_and_is_checkpointed() {
    let world = World::new();
    world.ok("create t.duckdb");
    drop(world.hold("t.duckdb", "CREATE TABLE t AS FROM range(1000)"));
    let digest = world.digest("t.duckdb");
    let done = world.ok("checkpoint t.duckdb");
    assert!(done["walBytesBefore"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(world.bytes().len(), 1, "only the database is left");
    assert_eq!(world.digest("t.duckdb"), digest);
    assert_eq!(world.ok("info t.duckdb")["tables"][0]["rows"], 1000);
}

#[test]
fn a_checkpoint_says_the_schema_version_that_it_writes() {
    let world = World::new();
    world.ok("create t.duckdb");
    let checkpoint = "checkpoint t.duckdb --table schema_migrations";
    let done = world.ok(checkpoint);
    assert!(done["schemaVersion"].is_null(), "{done}");
    assert!(done.as_object().unwrap().contains_key("schemaVersion"));
    let table = "CREATE TABLE schema_migrations (version BIGINT PRIMARY KEY, name VARCHAR, \
                 applied_at TIMESTAMP)";
    world.sql("t.duckdb", table);
    assert_eq!(world.ok(checkpoint)["schemaVersion"], 0);
    world.sql(
        "t.duckdb",
        "INSERT INTO schema_migrations VALUES (7, 'x', NULL)",
    );
    let done = world.ok(checkpoint);
    assert_eq!(done["schemaVersion"], 7, "also what is in the log");
    assert!(done["walBytesBefore"].as_u64().unwrap() > 0, "{done}");
    assert_eq!(world.bytes().len(), 1, "only the database is left");
    let done = world.ok("checkpoint t.duckdb");
    assert!(!done.as_object().unwrap().contains_key("schemaVersion"));

    // A table of that name that is something else: nothing is written.
    world.sql("t.duckdb", "CREATE TABLE other (x INT)");
    let before = world.bytes();
    world.fails("checkpoint t.duckdb --table other", 6);
    world.fails("checkpoint t.duckdb --table x;y", 6);
    assert!(world.bytes() == before);
}

#[test]
fn reading_changes_nothing_and_the_order_of_rows_does_not_count() {
    let world = World::new();
    let table = "CREATE TABLE t (a INT, b VARCHAR, c DOUBLE, d BLOB, e TIMESTAMPTZ, f INT[])";
    let rows = [
        "(1, 'x', 0.1, 'a\\x00'::BLOB, '2026-01-01 00:00:00+00', [1, NULL])",
        "(2, NULL, -0.0, NULL, NULL, [])",
        "(2, NULL, -0.0, NULL, NULL, [])",
        "(NULL, '', 'nan', ''::BLOB, 'infinity', NULL)",
    ];
    let with = |rows: &[&str]| format!("{table}; INSERT INTO t VALUES {}", rows.join(", "));
    world.sql("one.duckdb", &with(&rows));
    world.sql("two.duckdb", &with(&[rows[3], rows[1], rows[0], rows[1]]));
    world.sql("three.duckdb", &with(&rows[..3]));
    world.sql(
        "four.duckdb",
        &with(&rows).replace("(2, NULL, -0.0", "(2, '', -0.0"),
    );
    let before = world.bytes();
    let digest = world.digest("one.duckdb");
    assert_eq!(world.digest("two.duckdb"), digest);
    assert_ne!(world.digest("three.duckdb"), digest);
    assert_ne!(world.digest("four.duckdb"), digest);
    world.ok("verify one.duckdb");
    world.ok("info one.duckdb");
    world.ok("schema-version one.duckdb");
    assert_eq!(world.bytes(), before);
}
