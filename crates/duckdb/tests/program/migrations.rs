//! migrate, and its agreement with the example application.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::world::World;

const FIRST: (&str, &str) = (
    "0001_init.sql",
    "CREATE TABLE contacts (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL);
     INSERT INTO contacts SELECT i, 'name ' || i FROM range(1000) r(i)",
);
const SECOND: (&str, &str) = (
    "0002_email.sql",
    "ALTER TABLE contacts ADD COLUMN email VARCHAR",
);
const THIRD: (&str, &str) = ("0003_notes.sql", "CREATE TABLE notes (body VARCHAR)");

fn migrate(folder: &Path) -> String {
    format!("migrate t.duckdb --migrations {}", folder.display())
}

fn version(world: &World) -> i64 {
    world.ok("schema-version t.duckdb")["schemaVersion"]
        .as_i64()
        .unwrap()
}

#[test]
fn migrations_are_applied_once_with_progress_and_leave_no_log() {
    let world = World::new();
    world.ok("create t.duckdb");
    let folder = world.migrations("m", &[FIRST, SECOND, THIRD]);
    let dry = world.ok(&format!("{} --dry-run", migrate(&folder)));
    assert_eq!((&dry["to"], &dry["dryRun"]), (&json!(3), &json!(true)));
    assert_eq!(version(&world), 0);

    let some = world.ok(&format!("{} --target 2", migrate(&folder)));
    assert_eq!((&some["from"], &some["to"]), (&json!(0), &json!(2)));
    assert_eq!(some["checkpointed"], true, "{some}");

    let run = world.run(&format!("{} --progress", migrate(&folder)));
    assert_eq!(run.code, Some(0), "{run:?}");
    let events: Vec<Value> = run
        .progress
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        events,
        [
            json!({"event": "planned", "from": 2, "to": 3, "pending": 1}),
            json!({"event": "started", "migration": "0003_notes.sql"}),
            json!({"event": "applied", "migration": "0003_notes.sql"}),
        ]
    );
    assert_eq!(version(&world), 3);

    // Law 1: a second time does nothing.
    let before = world.bytes();
    let again = world.ok(&migrate(&folder));
    assert_eq!(again["migrations"], json!([]));
    assert_eq!(world.bytes(), before);
    assert!(!world.path("t.duckdb.wal").exists());
}

/// Law 6: all or nothing.
#[test]
fn a_migration_that_fails_half_way_changes_nothing() {
    let world = World::new();
    world.ok("create t.duckdb");
    world.ok(&migrate(&world.migrations("m", &[FIRST])));
    world.sql(
        "t.duckdb",
        "CREATE SEQUENCE s; INSERT INTO contacts VALUES (-1, 'in the log')",
    );
    let before = world.bytes();
    let digest = world.digest("t.duckdb");
    for broken in [
        "INSERT INTO contacts SELECT i, 'x' FROM range(5000, 6000) r(i); SELECT nextval('s');
         UPDATE contacts SET name = 'changed'; DROP TABLE notes",
        "DELETE FROM contacts; INSERT INTO contacts VALUES (1, 'a'), (1, 'b')",
        "THIS IS NO SQL",
        "SELECT error('no')",
    ] {
        let folder = world.migrations("m", &[FIRST, SECOND, ("0003_broken.sql", broken)]);
        let error = world.fails(&migrate(&folder), 7);
        let message = error["message"].as_str().unwrap();
        assert_eq!(
            message,
            "the migration 0003_broken.sql failed; nothing was changed"
        );
        assert!(error["detail"].is_string(), "{error}");
        assert_eq!(world.digest("t.duckdb"), digest, "{broken}");
        assert!(world.bytes() == before, "{broken}: not a byte");
    }
    assert_eq!(version(&world), 1);
}

/// What DuckDB cannot do in one transaction is told apart from what is wrong,
/// and possible for whoever has a backup.
#[test]
fn migrations_can_have_transactions_of_their_own() {
    let world = World::new();
    world.ok("create t.duckdb");
    world.ok(&migrate(&world.migrations("m", &[FIRST])));
    let (before, digest) = (world.bytes(), world.digest("t.duckdb"));
    let update = ("0002_update.sql", "UPDATE contacts SET name = name || '!'");
    let alter = (
        "0003_alter.sql",
        "ALTER TABLE contacts ALTER name SET DATA TYPE BLOB",
    );
    let good = world.migrations("m", &[FIRST, update, alter]);
    let error = world.fails(&migrate(&good), 7);
    assert_eq!(error["transactionLimit"], true, "{error}");
    assert!(error["hint"].as_str().unwrap().contains("--one-by-one"));
    assert_eq!(world.digest("t.duckdb"), digest);

    let broken = ("0004_broken.sql", "DROP TABLE nothing");
    let bad = world.migrations("bad", &[FIRST, update, alter, broken]);
    let error = world.fails(&format!("{} --one-by-one", migrate(&bad)), 7);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.ends_with("0002_update.sql, 0003_alter.sql stay applied"),
        "{message}"
    );
    assert_eq!(error["applied"], json!([update.0, alter.0]));
    assert_eq!(error["transactionLimit"], false);
    assert_eq!(version(&world), 3);

    for (path, content) in before {
        world.write(path.file_name().unwrap().to_str().unwrap(), content);
    }
    let _ = fs::remove_file(world.path("t.duckdb.wal"));
    let done = world.ok(&format!("{} --one-by-one", migrate(&good)));
    assert_eq!(
        (&done["to"], &done["checkpointed"]),
        (&json!(3), &json!(true))
    );
    assert_eq!(version(&world), 3);
}

/// Law 12: what is wrong is named by file.
#[test]
fn contradictions_are_refused() {
    let world = World::new();
    world.ok("create t.duckdb");
    world.ok(&migrate(&world.migrations("m", &[FIRST, THIRD])));
    let before = world.bytes();
    let edited = (FIRST.0, "CREATE TABLE contacts (id BIGINT)");
    for (files, words) in [
        (vec![edited, THIRD], "0001_init.sql was edited"),
        (
            vec![THIRD],
            "0001_init.sql was applied to the database and is missing",
        ),
        (
            vec![FIRST],
            "0003_notes.sql was applied to the database and is missing",
        ),
        (vec![FIRST, SECOND, THIRD], "0002_email.sql comes too late"),
        (
            vec![FIRST, THIRD, ("0003_x.sql", "")],
            "have the same number",
        ),
        (
            vec![FIRST, THIRD, ("4_x.sql", "")],
            "4_x.sql is no migration",
        ),
        (
            vec![FIRST, THIRD, ("0004_x.sql", "DROP TABLE notes;\nCOMMIT")],
            "0004_x.sql, line 2: a migration cannot have the statement COMMIT",
        ),
    ] {
        let error = world.fails(&migrate(&world.migrations("m", &files)), 6);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
        assert_eq!(world.bytes(), before);
    }
    world.fails("schema-version t.duckdb --table x;y", 6);
    world.fails("schema-version t.duckdb --table contacts", 6);
}

/// Before an upgrade: what is wrong with a release is known while the old one
/// serves, without its database.
#[test]
fn a_release_is_checked_without_a_database() {
    let world = World::new();
    world.migrations("m", &[THIRD, FIRST, SECOND]);
    let all = world.ok("check-migrations m");
    assert_eq!(all["top"], 3);
    assert!(all.get("pending").is_none(), "{all}");
    let files: Vec<&Value> = all["migrations"].as_array().unwrap().iter().collect();
    assert_eq!(files[0]["file"], FIRST.0);
    assert_eq!(files[2]["version"], 3);

    // It agrees with what is done then.
    world.ok("create t.duckdb");
    let done = world.ok("migrate t.duckdb --migrations m --target 1");
    assert_eq!(done["migrations"][0], *files[0]);
    let some = world.ok("check-migrations m --at 1");
    assert_eq!(some["pending"], json!([SECOND.0, THIRD.0]));
    let dry = world.ok("migrate t.duckdb --migrations m --dry-run");
    assert_eq!(
        dry["migrations"].as_array().unwrap()[..],
        all["migrations"].as_array().unwrap()[1..]
    );
    assert_eq!(world.ok("check-migrations m --at 3")["pending"], json!([]));

    let error = world.fails("check-migrations m --at 12", 6);
    assert_eq!(error["kind"], "MigrationRefused");
    let message = error["message"].as_str().unwrap();
    assert!(
        message.contains("at version 12") && message.contains("up to 3"),
        "{message}"
    );
    for (files, words) in [
        (vec![], "has no migrations"),
        (vec![FIRST, ("0001_x.sql", "")], "have the same number"),
        (vec![FIRST, ("2_x.sql", "")], "2_x.sql is no migration"),
        (vec![FIRST, ("0002_x.sql", "SELECT 1;\nBEGIN")], "line 2"),
    ] {
        world.migrations("bad", &files);
        let error = world.fails("check-migrations bad", 6);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(words), "{message}");
    }
    world.fails("check-migrations nowhere", 1);
    world.migrations("pipe", &[FIRST]);
    let pipe = world.path("pipe/0002_pipe.sql");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    world.fails("check-migrations pipe", 1);
}

/// What `cbapp-api` does to a new database, word by word.
#[test]
fn a_database_that_the_application_set_up_is_continued() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/cbapp");
    let source = fs::read_to_string(example.join("src/bin/cbapp-api/migrations.rs")).unwrap();
    let table = source
        .split_once("CREATE TABLE schema_migrations")
        .and_then(|(_, rest)| rest.split_once("\","))
        .unwrap()
        .0;
    let read = |name: &str| fs::read_to_string(example.join("migrations").join(name)).unwrap();
    let names = ["0001_init.sql", "0002_contact_email.sql", "0003_notes.sql"];
    let files: Vec<(&str, String)> = names.iter().map(|name| (*name, read(name))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(n, sql)| (*n, sql.as_str())).collect();

    let world = World::new();
    world.sql(
        "t.duckdb",
        &format!(
            "BEGIN; CREATE TABLE schema_migrations{table}; {};
             INSERT INTO schema_migrations VALUES (1, 'init', CAST(now() AS TIMESTAMP)); COMMIT;
             INSERT INTO contacts (name, created_at) VALUES ('Ada', now()::TIMESTAMP)",
            files[0].1
        ),
    );
    assert_eq!(version(&world), 1);
    let done = world.ok(&migrate(&world.migrations("m", &files)));
    assert_eq!((&done["from"], &done["to"]), (&json!(1), &json!(3)));
    assert_eq!(done["adoptedChecksums"], json!(["0001_init.sql"]));

    // The application's own question, and its own table untouched in shape.
    world.sql(
        "t.duckdb",
        "SELECT CASE WHEN (SELECT coalesce(max(version), 0) FROM schema_migrations) <> 3
             THEN error('version') END;
         INSERT INTO schema_migrations VALUES (4, 'next', CAST(now() AS TIMESTAMP));
         INSERT INTO notes (contact_id, body, created_at) VALUES (1, 'x', now()::TIMESTAMP)",
    );
    assert_eq!(version(&world), 4);

    let edited = [
        (names[0], "SELECT 1"),
        files[1],
        files[2],
        ("0004_next.sql", ""),
    ];
    let error = world.fails(&migrate(&world.migrations("m", &edited)), 6);
    assert!(
        error["message"].as_str().unwrap().contains("edited"),
        "{error}"
    );
}

/// Law 5: killed at any moment, a database is old or new.
#[test]
fn a_kill_at_any_moment_leaves_the_old_or_the_new() {
    let world = World::new();
    world.ok("create t.duckdb");
    world.ok(&migrate(&world.migrations("m", &[FIRST])));
    world.sql("t.duckdb", "INSERT INTO contacts VALUES (-1, 'in the log')");
    let start = world.bytes();
    let old = world.digest("t.duckdb");
    let later = [
        FIRST,
        SECOND,
        (
            "0003_big.sql",
            "CREATE TABLE big AS SELECT i, md5(i::VARCHAR) AS m FROM range(150000) r(i)",
        ),
        (
            "0004_fill.sql",
            "UPDATE big SET m = m || 'x' WHERE i % 3 = 0; DROP TABLE contacts",
        ),
    ];
    let folder = world.migrations("m", &later);
    let whole = world.time(&migrate(&folder));
    // `applied_at` is part of the content, so the new one is told by its tables.
    let tables = |world: &World| world.ok("info t.duckdb")["tables"].clone();
    let new = tables(&world);

    let rounds: u32 = 40;
    let mut ends = [0, 0];
    // The moments are the point here: spread over the whole run. How long one
    // takes differs from time to time, so they go on until both ends were seen.
    for round in 0..4 * rounds {
        if round >= rounds && ends.iter().all(|seen| *seen > 0) {
            break;
        }
        world.remove("t.duckdb");
        for (path, content) in &start {
            world.write(path.file_name().unwrap().to_str().unwrap(), content);
        }
        let moment = whole.mul_f64(1.1) * round / rounds + Duration::from_millis(1);
        world.kill_at(&migrate(&folder), moment);

        let at = version(&world);
        if at == 1 {
            assert_eq!(world.digest("t.duckdb"), old, "round {round}");
            ends[0] += 1;
        } else {
            assert_eq!((at, tables(&world)), (4, new.clone()), "round {round}");
            ends[1] += 1;
        }
        // And whatever is left can be worked with.
        world.ok("checkpoint t.duckdb");
        world.ok(&migrate(&folder));
        assert_eq!((version(&world), tables(&world)), (4, new.clone()));
    }
    assert!(
        ends[0] > 0 && ends[1] > 0,
        "kills before and after: {ends:?}"
    );
}
