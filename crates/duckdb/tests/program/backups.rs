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
