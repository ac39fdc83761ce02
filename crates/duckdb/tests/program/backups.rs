//! backup and verify.

use std::fs;

use crate::world::World;

fn database(world: &World) {
    world.sql("t.duckdb", "CREATE TABLE t AS FROM range(5000)");
    world.ok("checkpoint t.duckdb");
    drop(world.hold(
        "t.duckdb",
        "INSERT INTO t SELECT -1; CREATE TABLE u (x INT)",
    ));
}

/// Laws 2 and 5: a backup is whole, verified, and never replaces anything.
#[test]
fn a_backup_has_the_log_and_is_equal() {
    let world = World::new();
    database(&world);
    let before = world.bytes();
    let done = world.ok("backup t.duckdb copy.duckdb --progress");
    assert_eq!(done["sidecars"][0]["bytes"], before[1].1.len(), "{done}");
    assert_eq!(done["backup"]["bytes"], before[0].1.len());
    for name in ["t.duckdb", "t.duckdb.wal"] {
        let copy = fs::read(world.path(&name.replace("t.", "copy."))).unwrap();
        assert!(copy == fs::read(world.path(name)).unwrap(), "{name}");
    }
    assert_eq!(world.bytes().len(), 4, "no part is left");
    for (report, file) in [
        (&done["backup"], "copy.duckdb"),
        (&done["sidecars"][0], "copy.duckdb.wal"),
    ] {
        assert_eq!(report["file"], world.path(file).to_str().unwrap());
        let output = std::process::Command::new("sha256sum")
            .arg(world.path(file))
            .output()
            .unwrap();
        let expected = String::from_utf8(output.stdout).unwrap();
        assert!(expected.starts_with(report["sha256"].as_str().unwrap()));
    }

    let sha256 = done["backup"]["sha256"].as_str().unwrap();
    let digest = world.digest("t.duckdb");
    let verified = world.ok(&format!(
        "verify copy.duckdb --against t.duckdb --sha256 {sha256} --digest {digest}"
    ));
    assert_eq!(verified["content"]["rows"], 5001);
    assert_eq!(verified["content"]["digest"], digest.as_str());

    let files = world.bytes();
    world.fails("backup t.duckdb copy.duckdb", 1);
    fs::remove_file(world.path("copy.duckdb")).unwrap();
    world.fails("backup t.duckdb copy.duckdb", 1);
    assert_eq!(world.bytes().len(), files.len() - 1);
}

/// Law 5: what is found in the copy is what is in the source, with its log,
/// whatever DuckDB needs to read that.
#[test]
fn a_backup_is_verified_in_the_same_run() {
    let world = World::new();
    database(&world);
    world.sql(
        "t.duckdb",
        "CREATE INDEX i ON t (range); CREATE VIEW v AS FROM t.main.t; CREATE SEQUENCE s;
         CREATE TABLE d (x INT DEFAULT nextval('s')); INSERT INTO d DEFAULT VALUES;
         CREATE TABLE schema_migrations (version BIGINT, name VARCHAR, applied_at TIMESTAMP);
         INSERT INTO schema_migrations VALUES (3, 'x', NULL)",
    );
    let before = world.bytes();
    let digest = world.digest("t.duckdb");
    let done = world.ok("backup t.duckdb copy.duckdb --verify --table schema_migrations");
    assert_eq!(done["content"]["digest"], digest.as_str());
    assert_eq!(done["content"]["rows"], 5003);
    assert_eq!(done["schemaVersion"], 3);
    assert_eq!(done["header"]["duckdbVersion"], "v1.5.6");
    assert_eq!(done["walBytes"], before[1].1.len());
    for name in ["t.duckdb", "t.duckdb.wal"] {
        let copy = fs::read(world.path(&name.replace("t.", "copy."))).unwrap();
        assert!(copy == fs::read(world.path(name)).unwrap(), "{name}");
    }
    let names: Vec<_> = fs::read_dir(world.path("")).unwrap().collect();
    assert_eq!(names.len(), 4, "no scratch folder is left: {names:?}");

    let done = world.ok("backup t.duckdb other.duckdb --verify --table none");
    assert!(done["schemaVersion"].is_null(), "{done}");
    world.ok("verify other.duckdb --against t.duckdb");
    let run = world
        .command("cb-duckdb")
        .args(["backup", "a", "b", "--table", "x"])
        .output();
    assert_eq!(
        run.unwrap().status.code(),
        Some(2),
        "nothing says a version unread"
    );
}

/// A source that is damaged is not called a bad copy, and gives no backup.
#[test]
fn a_backup_of_what_is_damaged_is_refused_when_it_is_verified() {
    let world = World::new();
    world.sql(
        "t.duckdb",
        "CREATE TABLE t AS SELECT i, md5(i::VARCHAR) AS m FROM range(200000) r(i)",
    );
    world.ok("checkpoint t.duckdb");
    let good = fs::read(world.path("t.duckdb")).unwrap();
    drop(world.hold("t.duckdb", "CREATE TABLE u AS FROM range(500)"));
    let log = fs::read(world.path("t.duckdb.wal")).unwrap();

    let flipped = |content: &[u8]| {
        let mut content = content.to_owned();
        let middle = content.len() / 2;
        content[middle] ^= 1;
        content
    };
    for (database, log, code, name) in [
        (flipped(&good), log.clone(), 4, "t.duckdb is damaged"),
        (
            good.clone(),
            flipped(&log),
            5,
            "t.duckdb.wal does not replay",
        ),
    ] {
        world.write("t.duckdb", database);
        world.write("t.duckdb.wal", log);
        let before = world.bytes();
        let error = world.fails("backup t.duckdb copy.duckdb --verify", code);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(name), "{message}");
        assert!(!message.contains("scratch"), "{message}");
        assert!(world.bytes() == before, "nothing was made");
        // For a copy of what is there, whatever it is.
        world.ok("backup t.duckdb copy.duckdb");
        world.remove("copy.duckdb");
    }
}

/// Law 5: killed at any moment, a backup is whole or has no name.
#[test]
fn a_backup_killed_at_any_moment_is_whole_or_not_there() {
    let world = World::new();
    world.sql(
        "t.duckdb",
        "CREATE TABLE t AS SELECT i, md5(i::VARCHAR) AS m FROM range(150000) r(i)",
    );
    world.ok("checkpoint t.duckdb");
    let before = world.bytes();
    let command = "backup t.duckdb copy.duckdb --verify";
    let whole = world.time(command);
    world.remove("copy.duckdb");
    let rounds = 20;
    for round in 0..rounds {
        world.kill_at(command, whole.mul_f64(1.1) * round / rounds);
        if !world.path("copy.duckdb").exists() {
            assert!(world.bytes() == before, "round {round}");
            world.ok(command);
        }
        let copy = fs::read(world.path("copy.duckdb")).unwrap();
        assert!(copy == before[0].1, "round {round}");
        world.remove("copy.duckdb");
    }
    world.ok(command);
    let names: Vec<_> = fs::read_dir(world.path("")).unwrap().collect();
    assert_eq!(names.len(), 2, "what was left is taken away: {names:?}");
}

#[test]
fn verify_finds_what_differs() {
    let world = World::new();
    database(&world);
    world.ok("backup t.duckdb copy.duckdb");
    let expect = |arguments: &str, words: &str| {
        let error = world.fails(arguments, 10);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    };
    expect("verify copy.duckdb --sha256 00", "SHA-256");
    expect("verify copy.duckdb --digest 00", "digest");
    expect("verify copy.duckdb --digest v1.5.6:00", "digest");
    let error = world.fails("verify copy.duckdb --digest v9.0.0:00", 1);
    assert_eq!(
        error["message"],
        "a digest that DuckDB v9.0.0 made cannot be compared by DuckDB v1.5.6"
    );

    // The log is part of the backup.
    fs::remove_file(world.path("copy.duckdb.wal")).unwrap();
    let against = "verify copy.duckdb --against t.duckdb";
    expect(against, "main.t has 5000 rows instead of 5001");

    for (change, words) in [
        (
            "UPDATE t SET range = 7 WHERE range = -1",
            "rows of main.t are others",
        ),
        ("CREATE TABLE v (x INT)", "has no table main.v"),
        ("DROP TABLE v; DROP TABLE u", "has more tables"),
    ] {
        let world = World::new();
        database(&world);
        if change.starts_with("DROP") {
            world.sql("t.duckdb", "CREATE TABLE v (x INT)");
        }
        world.ok("backup t.duckdb copy.duckdb");
        world.sql("t.duckdb", change);
        let error = world.fails(against, 10);
        assert!(
            error["message"].as_str().unwrap().contains(words),
            "{error}"
        );
    }

    let world = World::new();
    database(&world);
    world.sql("t.duckdb", "CREATE SEQUENCE s");
    world.ok("backup t.duckdb copy.duckdb");
    world.ok(against);
    world.sql("t.duckdb", "SELECT nextval('s')");
    let error = world.fails(against, 10);
    assert!(
        error["message"].as_str().unwrap().contains("sequences"),
        "{error}"
    );
}
