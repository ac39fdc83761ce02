//! Time, disk and memory that run out.

use std::fs;
use std::time::{Duration, Instant};

use crate::world::World;

const ENDLESS: &str = "CREATE TABLE big AS \
    SELECT count(*) AS n FROM range(10000000) a(i), range(10000000) b(j) WHERE (i * j) % 7 = 3";

#[test]
fn a_migration_that_takes_too_long_is_interrupted_and_undone() {
    let world = World::new();
    world.sql("t.duckdb", "CREATE TABLE t AS FROM range(10)");
    let digest = world.digest("t.duckdb");
    let folder = world.migrations(
        "m",
        &[
            ("0001_a.sql", "INSERT INTO t VALUES (11)"),
            ("0002_b.sql", ENDLESS),
        ],
    );
    let started = Instant::now();
    let error = world.fails(
        &format!(
            "migrate t.duckdb --migrations {} --timeout 0.5",
            folder.display()
        ),
        9,
    );
    assert_eq!(error["kind"], "TimedOut");
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "interrupted, not killed"
    );
    assert_eq!(world.digest("t.duckdb"), digest);
}

#[test]
fn a_migration_cannot_take_more_memory_than_given() {
    let world = World::new();
    world.ok("create t.duckdb");
    let digest = world.digest("t.duckdb");
    let sql = "CREATE TABLE a AS SELECT list(i) AS l FROM range(50000000) r(i)";
    let folder = world.migrations("m", &[("0001_a.sql", sql)]);
    let error = world.fails(
        &format!(
            "migrate t.duckdb --migrations {} --memory-limit 64MB",
            folder.display()
        ),
        11,
    );
    assert_eq!(error["kind"], "OutOfMemory");
    assert_eq!(
        error["message"],
        "the migration 0001_a.sql failed: it needs more memory than --memory-limit gives; \
         nothing was changed"
    );
    assert_eq!(world.digest("t.duckdb"), digest);
}

/// Migrations that stay are named whatever stopped the next.
#[test]
fn what_was_committed_before_memory_ran_out_is_said() {
    let world = World::new();
    world.ok("create t.duckdb");
    let sql = "CREATE TABLE b AS SELECT list(i) AS l FROM range(50000000) r(i)";
    let files = [
        ("0001_a.sql", "CREATE TABLE a (x INT)"),
        ("0002_b.sql", sql),
    ];
    let folder = world.migrations("m", &files);
    let error = world.fails(
        &format!(
            "migrate t.duckdb --migrations {} --one-by-one --memory-limit 64MB",
            folder.display()
        ),
        11,
    );
    assert_eq!(error["applied"], serde_json::json!(["0001_a.sql"]));
    assert_eq!(
        world.ok("schema-version t.duckdb")["schemaVersion"],
        1,
        "{error}"
    );
}

/// Law 9: a log is not called broken because there is too little memory for it.
#[test]
fn a_log_that_needs_more_memory_than_given_is_a_good_one() {
    let world = World::new();
    world.ok("create t.duckdb");
    world.sql(
        "t.duckdb",
        // An index is not written to temporary files as rows are.
        "CREATE TABLE t (m VARCHAR PRIMARY KEY);
         INSERT INTO t SELECT md5(i::VARCHAR) FROM range(100000) r(i)",
    );
    let before = world.bytes();
    for command in ["checkpoint", "verify", "digest", "schema-version"] {
        let error = world.fails(&format!("{command} t.duckdb --memory-limit 2MB"), 11);
        assert_eq!(error["kind"], "OutOfMemory");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("--memory-limit"), "{message}");
        assert!(world.bytes() == before, "{command} changed a file");
    }
    world.ok("checkpoint t.duckdb");
}

#[test]
fn a_migration_has_no_way_out_of_its_database() {
    let world = World::new();
    world.ok("create t.duckdb");
    let digest = world.digest("t.duckdb");
    for sql in [
        "CREATE TABLE a AS FROM read_csv('/etc/passwd')",
        "COPY (SELECT 1) TO 'out.csv'",
        "INSTALL httpfs",
        "LOAD '/tmp/x.duckdb_extension'",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
    ] {
        let folder = world.migrations("m", &[("0001_a.sql", sql)]);
        world.fails(
            &format!("migrate t.duckdb --migrations {}", folder.display()),
            7,
        );
        assert_eq!(world.digest("t.duckdb"), digest, "{sql}");
    }
}

/// Law 5. A small file system of its own is mounted where only the test sees it.
#[test]
fn a_full_disk_changes_nothing() {
    let world = World::new();
    let folder = world.migrations(
        "m",
        &[
            ("0001_a.sql", "INSERT INTO t SELECT -1"),
            (
                "0002_b.sql",
                "CREATE TABLE big AS SELECT i, md5(i::VARCHAR) AS m FROM range(1000000) r(i)",
            ),
        ],
    );
    let sql =
        "SELECT sum(i) FROM (SELECT i, lag(i) OVER (ORDER BY hash(i)) FROM range(3000000) r(i))";
    let sort = world.migrations("sort", &[("0001_sort.sql", sql)]);
    fs::create_dir(world.path("small")).unwrap();
    world.give("small");
    let script = format!(
        "set -e
        mount -t tmpfs -o size=8m,mode=1777 tmpfs small
        tenant() {{ setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"; }}
        tenant ../writer small/t.duckdb 'CREATE TABLE t AS FROM range(100000)' </dev/null >/dev/null
        tenant ../cb-duckdb checkpoint small/t.duckdb >/dev/null
        tenant ../cb-duckdb digest small/t.duckdb
        code=0; tenant ../cb-duckdb migrate small/t.duckdb --migrations '{}' || code=$?
        echo $code
        tenant ../cb-duckdb digest small/t.duckdb
        head -c 7m /dev/zero | tenant tee small/fill >/dev/null || true
        code=0; tenant ../cb-duckdb backup small/t.duckdb small/copy.duckdb || code=$?
        echo $code
        code=0; tenant ../cb-duckdb migrate small/t.duckdb --migrations '{}' --memory-limit 8MB || code=$?
        echo $code
        ls small",
        folder.display(),
        sort.display()
    );
    let mut command = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command = std::process::Command::new("sudo");
        command.arg("unshare");
    }
    let output = command
        .args(["--mount", "sh", "-c", &script])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let [
        before,
        error,
        code,
        after,
        backup_error,
        backup_code,
        sort_error,
        sort_code,
        files @ ..,
    ] = lines.as_slice()
    else {
        panic!("{output:?}");
    };
    assert_eq!(*code, "8", "{error}");
    assert!(error.contains("no space left"), "{error}");
    assert_eq!(before, after);
    assert_eq!(*backup_code, "8", "{backup_error}");
    // With too little memory for it, and no room for what does not fit.
    assert_eq!(*sort_code, "8", "{sort_error}");
    assert!(
        !files.iter().any(|name| name.starts_with("copy")),
        "{files:?}"
    );
}
