//! Files that are not what they should be. Nothing is ever changed by reading
//! them, and each gets the exit code that tells what it is.

use std::fs;

use crate::world::World;

/// Every command that opens an existing database.
fn commands(world: &World) -> [String; 6] {
    let folder = world.migrations("m", &[("0001_a.sql", "CREATE TABLE a (x INT)")]);
    [
        "info t.duckdb".to_owned(),
        "schema-version t.duckdb".to_owned(),
        format!("migrate t.duckdb --migrations {}", folder.display()),
        "checkpoint t.duckdb".to_owned(),
        "verify t.duckdb".to_owned(),
        "digest t.duckdb".to_owned(),
    ]
}

fn all_fail(world: &World, code: i32) {
    let commands = commands(world);
    let before = world.bytes();
    for command in commands {
        let error = world.fails(&command, code);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("t.duckdb"), "{command}: {error}");
        assert!(world.bytes() == before, "{command} changed a file");
    }
}

/// A database with rows in its file and none in a log.
fn database(world: &World) -> Vec<u8> {
    world.sql(
        "t.duckdb",
        "CREATE TABLE t AS SELECT i, md5(i::VARCHAR) AS m FROM range(200000) r(i)",
    );
    world.ok("checkpoint t.duckdb");
    fs::read(world.path("t.duckdb")).unwrap()
}

#[test]
fn what_is_no_database_is_told_apart() {
    let world = World::new();
    let mut state: u32 = 7;
    let random: Vec<u8> = (0..100_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    for content in [Vec::new(), random, b"SQLite format 3\0".repeat(1000)] {
        world.write("t.duckdb", content);
        all_fail(&world, 4);
    }
}

#[test]
fn another_storage_version_is_named() {
    let world = World::new();
    let good = database(&world);
    for version in [1_u64, 63, 69, 9999] {
        let mut content = good.clone();
        content[12..20].copy_from_slice(&version.to_le_bytes());
        world.write("t.duckdb", content);
        all_fail(&world, 4);
        let error = world.fails("info t.duckdb", 4);
        let words = format!("storage version {version}");
        assert!(
            error["message"].as_str().unwrap().contains(&words),
            "{error}"
        );
    }
    // A header that was changed without its checksum.
    let mut content = good;
    content[12] = 65;
    world.write("t.duckdb", content);
    all_fail(&world, 4);
}

#[test]
fn a_truncated_database_is_found_by_reading_it() {
    let world = World::new();
    let good = database(&world);
    for length in [1, 4096, 12 * 1024, good.len() / 2, good.len() - 300_000] {
        world.write("t.duckdb", &good[..length]);
        let before = world.bytes();
        for command in ["verify t.duckdb", "digest t.duckdb"] {
            world.fails(command, 4);
        }
        assert!(world.bytes() == before, "{length}");
    }
}

#[test]
fn a_flipped_bit_in_a_row_is_found_by_reading_it() {
    let world = World::new();
    let mut content = database(&world);
    let middle = content.len() / 2;
    content[middle] ^= 1;
    world.write("t.duckdb", content);
    let error = world.fails("verify t.duckdb", 4);
    assert_eq!(error["kind"], "NotADatabase");
}

/// Law 9: a log that will not replay is reported and stays, byte by byte.
#[test]
fn a_log_that_does_not_replay_is_reported_and_stays() {
    let world = World::new();
    world.ok("create t.duckdb");
    drop(world.hold("t.duckdb", "CREATE TABLE t AS FROM range(1000)"));
    let good = fs::read(world.path("t.duckdb.wal")).unwrap();

    world.write("t.duckdb.wal", "this is no log".repeat(100));
    all_fail(&world, 5);

    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    world.write("t.duckdb.wal", flipped);
    all_fail(&world, 5);

    // A log of another database: whole, but it does not fit.
    fs::remove_file(world.path("t.duckdb")).unwrap();
    fs::remove_file(world.path("t.duckdb.wal")).unwrap();
    world.ok("create t.duckdb");
    drop(world.hold("t.duckdb", "CREATE TABLE u (x INT); DROP TABLE u"));
    world.ok("checkpoint t.duckdb");
    world.sql("t.duckdb", "CREATE TABLE t (x INT)");
    world.ok("checkpoint t.duckdb");
    world.write("t.duckdb.wal", good);
    all_fail(&world, 5);
}

/// Law 9: a log that DuckDB 1.5 cannot replay by itself is no broken one.
#[test]
fn a_log_with_a_default_that_is_a_function_replays() {
    let world = World::new();
    world.sql(
        "t.duckdb",
        "CREATE TABLE t AS FROM range(100); CHECKPOINT; CREATE INDEX i ON t (range);
         CREATE VIEW v AS FROM t.main.t",
    );
    world.sql(
        "t.duckdb",
        "ALTER TABLE t ADD COLUMN seen TIMESTAMP DEFAULT now()::TIMESTAMP;
         INSERT INTO t (range) VALUES (-1);
         CREATE TABLE schema_migrations AS
             SELECT 2 AS version, 'x' AS name, NULL::TIMESTAMP AS applied_at",
    );
    // The defect itself: if this ends, so can the second attempt.
    let mut command = world.command("writer");
    let output = command.args(["t.duckdb", "FROM t"]).output().unwrap();
    assert!(
        !output.status.success(),
        "DuckDB has learned it: {output:?}"
    );

    let before = world.bytes();
    assert_eq!(world.ok("info t.duckdb")["tables"][1]["rows"], 101);
    assert_eq!(world.ok("verify t.duckdb")["content"]["rows"], 102);
    assert_eq!(world.ok("schema-version t.duckdb")["schemaVersion"], 2);
    let done = world.ok("backup t.duckdb copy.duckdb --verify");
    assert_eq!(done["content"]["rows"], 102);
    world.remove("copy.duckdb");
    assert!(world.bytes() == before, "reading changes nothing");
    // A run that has no time loses nothing either.
    world.fails("checkpoint t.duckdb --timeout 0.000001", 9);
    assert!(world.bytes() == before);

    let done = world.ok("checkpoint t.duckdb --table schema_migrations");
    assert_eq!(done["schemaVersion"], 2);
    assert_eq!(world.bytes().len(), 1, "only the database is left");
    world.sql(
        "t.duckdb",
        "SELECT CASE WHEN (SELECT count(seen) FROM t) <> 101 THEN error('rows') END",
    );
    let folder = world.migrations("m", &[("0002_x.sql", ""), ("0003_y.sql", "DROP VIEW v")]);
    world.sql(
        "t.duckdb",
        "ALTER TABLE t ADD COLUMN id UUID DEFAULT uuid()",
    );
    world.ok(&format!(
        "migrate t.duckdb --migrations {}",
        folder.display()
    ));
    assert_eq!(world.ok("schema-version t.duckdb")["schemaVersion"], 3);
    assert_eq!(world.bytes().len(), 1, "only the database is left");
}

/// A crash cuts the last transaction off, and nobody was told it is done.
#[test]
fn a_log_that_ends_within_a_transaction_replays_up_to_it() {
    let world = World::new();
    world.ok("create t.duckdb");
    drop(world.hold(
        "t.duckdb",
        "CREATE TABLE t AS FROM range(10); INSERT INTO t FROM range(500)",
    ));
    let log = fs::read(world.path("t.duckdb.wal")).unwrap();
    world.write("t.duckdb.wal", &log[..log.len() - 10]);
    assert_eq!(world.ok("info t.duckdb")["tables"][0]["rows"], 10);
    world.ok("checkpoint t.duckdb");
    assert_eq!(world.ok("info t.duckdb")["tables"][0]["rows"], 10);
}

#[test]
fn links_and_devices_are_not_followed() {
    let world = World::new();
    world.ok("create real.duckdb");
    std::os::unix::fs::symlink("real.duckdb", world.path("t.duckdb")).unwrap();
    all_fail(&world, 1);
    world.fails("backup t.duckdb copy.duckdb", 1);
    world.fails("info /dev/zero", 1);
}
