//! restore and quarantine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

use serde_json::json;

use crate::world::World;

const RESTORE: &str = "restore b.duckdb t.duckdb --aside aside";
const LOG: &str = "t.duckdb.wal";

/// What a folder holds, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(world: &World, folder: &str) -> Files {
    let Ok(entries) = fs::read_dir(world.path(folder)) else {
        return Files::new();
    };
    entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A database `t.duckdb` with a log, and a backup `b.duckdb` of another state;
/// with a log too if `logged`.
fn world(logged: bool) -> World {
    let world = World::new();
    world.sql("t.duckdb", "CREATE TABLE t AS FROM range(40000)");
    world.ok("checkpoint t.duckdb");
    if logged {
        world.sql("t.duckdb", "INSERT INTO t SELECT -1");
    }
    world.ok("backup t.duckdb b.duckdb --verify");
    world.sql("t.duckdb", "INSERT INTO t FROM range(30000)");
    world.ok("checkpoint t.duckdb");
    world.sql("t.duckdb", "CREATE TABLE new (x INT)");
    world
}

/// The files of the database called `name`, under the name of `t.duckdb`.
fn database(world: &World, name: &str) -> Files {
    files(world, "")
        .into_iter()
        .filter(|(file, _)| file.starts_with(name))
        .map(|(file, content)| (file.replace(name, "t.duckdb"), content))
        .collect()
}

fn put(world: &World, folder: &str, files: &Files) {
    fs::create_dir_all(world.path(folder)).unwrap();
    world.give(folder);
    for (name, content) in files {
        let path = Path::new(folder).join(name);
        world.write(path.to_str().unwrap(), content);
    }
}

/// A migration that was undone leaves the content, perhaps in a larger file.
#[test]
fn a_database_with_the_content_of_the_backup_can_be_left() {
    let world = world(false);
    world.ok("checkpoint t.duckdb");
    world.ok("backup t.duckdb same.duckdb");
    world.sql("t.duckdb", "CREATE TABLE big AS SELECT range AS x FROM range(200000); CHECKPOINT; DROP TABLE big; CHECKPOINT;");
    let before = database(&world, "t.duckdb");
    let digest = world.digest("same.duckdb");
    assert!(before != database(&world, "same.duckdb"));
    let restore = "restore same.duckdb t.duckdb --aside aside";
    world.ok(&format!("{restore} --digest {digest}"));
    assert!(database(&world, "t.duckdb") == before && !world.path("aside").exists());
    world.sql("t.duckdb", "CREATE TABLE more (x INT)");
    world.ok(&format!("{restore} --digest {digest}"));
    assert!(database(&world, "t.duckdb") == database(&world, "same.duckdb"));
}

#[test]
fn a_database_becomes_the_backup_and_what_it_was_is_kept() {
    for logged in [false, true] {
        let world = world(logged);
        let (old, new) = (database(&world, "t.duckdb"), database(&world, "b.duckdb"));
        assert_eq!((old.len(), new.len()), (2, 1 + usize::from(logged)));
        let sha256 = world.ok("verify b.duckdb")["backup"]["sha256"].clone();
        let sha256 = sha256.as_str().unwrap();
        let digest = world.digest("b.duckdb");

        let error = world.fails(&format!("{RESTORE} --sha256 00"), 10);
        assert!(error["message"].as_str().unwrap().contains("SHA-256"));
        assert!(database(&world, "t.duckdb") == old);
        assert!(!world.path("aside").exists());

        let done = world.ok(&format!("{RESTORE} --sha256 {sha256}"));
        assert!(database(&world, "t.duckdb") == new, "{done}");
        assert!(files(&world, "aside") == old, "{done}");
        assert_eq!(world.digest("t.duckdb"), digest);
        assert_eq!(done["restored"]["sha256"], sha256);
        assert_eq!(
            done["aside"],
            json!([
                world.path("aside/t.duckdb.wal"),
                world.path("aside/t.duckdb")
            ])
        );

        // Law 1: a second time nothing is done, if that is asked for.
        let done = world.ok(&format!("{RESTORE} --discard-equal --sha256 {sha256}"));
        assert_eq!(done["aside"], json!([]));
        assert_eq!(done["restored"]["sha256"], sha256);
        assert!(files(&world, "aside") == old);
        world.fails(&format!("{RESTORE} --discard-equal --sha256 00"), 10);

        // If not, what is there is kept under another name, with its log.
        world.ok(RESTORE);
        let mut both = old.clone();
        for (name, content) in &new {
            both.insert(name.replace("t.duckdb", "t.duckdb.1"), content.clone());
        }
        assert!(files(&world, "aside") == both);
        assert!(database(&world, "t.duckdb") == new);

        world.remove("t.duckdb");
        let done = world.ok("restore b.duckdb t.duckdb --aside nothing");
        assert_eq!(done["aside"], json!([]));
        assert!(
            database(&world, "t.duckdb") == new,
            "what is missing is made"
        );
        assert!(!world.path("nothing").exists());
    }
}

/// Law 5: every state in which a run can be killed, after which a second one
/// ends as the first would have.
#[test]
fn a_restore_goes_on_from_wherever_it_was_killed() {
    for logged in [false, true] {
        let start = world(logged);
        let (old, new) = (database(&start, "t.duckdb"), database(&start, "b.duckdb"));
        let only = |files: &Files, name: &str| -> Files {
            let content = files
                .get(name)
                .map(|content| (name.to_owned(), content.clone()));
            content.into_iter().collect()
        };
        let none = Files::new();
        let old_log = only(&old, LOG);
        let old_database = only(&old, "t.duckdb");
        // What is in the database's place and what is aside.
        let mut states = vec![
            (&old, &old_log),
            (&old, &old),
            (&old_database, &old),
            (&new, &old),
        ];
        let new_log = only(&new, LOG);
        if logged {
            states.extend([(&none, &old), (&new_log, &old)]);
        }
        for (number, (place, aside)) in states.into_iter().enumerate() {
            let world = world(logged);
            // The same backup, as no two databases are equal.
            world.remove("b.duckdb");
            for (name, content) in &new {
                world.write(&name.replace("t.", "b."), content);
            }
            world.remove("t.duckdb");
            put(&world, "", place);
            put(&world, "aside", aside);
            // Second names of the same file, as the run would have left them.
            for (name, content) in place {
                if aside.get(name) == Some(content) {
                    let kept = world.path(&format!("aside/{name}"));
                    fs::remove_file(&kept).unwrap();
                    fs::hard_link(world.path(name), &kept).unwrap();
                }
            }
            world.ok(&format!("{RESTORE} --discard-equal"));
            assert!(database(&world, "t.duckdb") == new, "{logged} {number}");
            assert!(files(&world, "aside") == old, "{logged} {number}");
        }
    }
}

#[test]
fn a_restore_killed_at_any_moment_loses_nothing() {
    for logged in [false, true] {
        let world = world(logged);
        let (old, new) = (database(&world, "t.duckdb"), database(&world, "b.duckdb"));
        let command = format!("{RESTORE} --discard-equal");
        let whole = world.time(&command);
        let rounds = 30;
        for round in 0..rounds {
            world.remove("t.duckdb");
            // It is there after the run before.
            fs::remove_dir_all(world.path("aside")).unwrap();
            put(&world, "", &old);
            world.kill_at(&command, whole.mul_f64(1.1) * round / rounds);

            let (place, aside) = (database(&world, "t.duckdb"), files(&world, "aside"));
            for (name, content) in &old {
                let there = [&place, &aside].map(|files| files.get(name) == Some(content));
                assert!(there.contains(&true), "round {round}: {name} is lost");
            }
            if place.get("t.duckdb") == new.get("t.duckdb") {
                assert!(place == new, "round {round}: beside another log");
            }
            world.ok(&command);
            assert!(database(&world, "t.duckdb") == new, "round {round}");
            assert!(files(&world, "aside") == old, "round {round}");
        }
        let folders = fs::read_dir(world.path("")).unwrap();
        let folders = folders.filter(|entry| entry.as_ref().unwrap().path().is_dir());
        assert_eq!(folders.count(), 1, "no scratch folder is left");
    }
}

/// A log is never put beside a database that it is not of.
#[test]
fn what_is_kept_already_is_not_mixed_with_what_comes() {
    let world = world(false);
    let old = database(&world, "t.duckdb");
    // A log of who knows what, and links.
    let log: Files = [(LOG.to_owned(), b"another".to_vec())].into();
    put(&world, "aside", &log);
    symlink("nowhere", world.path("aside/t.duckdb.1.wal")).unwrap();
    symlink("/dev/zero", world.path("aside/t.duckdb.2")).unwrap();
    world.ok(RESTORE);
    let kept = files(&world, "aside");
    assert!(kept[LOG] == log[LOG]);
    assert!(kept["t.duckdb.3"] == old["t.duckdb"]);
    assert!(kept["t.duckdb.3.wal"] == old[LOG]);
    assert_eq!(kept.len(), 3, "{:?}", kept.keys());
}

#[test]
fn a_restore_from_or_to_what_is_not_right_changes_nothing() {
    let world = world(false);
    world.write("garbage.duckdb", "garbage".repeat(9999));
    symlink("b.duckdb", world.path("link.duckdb")).unwrap();
    symlink(world.path(""), world.path("folder")).unwrap();
    world.write("odd.duckdb", fs::read(world.path("b.duckdb")).unwrap());
    symlink("t.duckdb.wal", world.path("odd.duckdb.wal")).unwrap();
    let before = world.bytes();
    for (arguments, code) in [
        ("garbage.duckdb t.duckdb --aside aside", 4),
        ("/dev/zero t.duckdb --aside aside", 1),
        ("link.duckdb t.duckdb --aside aside", 1),
        ("odd.duckdb t.duckdb --aside aside", 1),
        ("b.duckdb link.duckdb --aside aside", 1),
        ("b.duckdb odd.duckdb --aside aside", 1),
        ("b.duckdb t.duckdb --aside folder", 1),
        ("b.duckdb t.duckdb --aside garbage.duckdb", 1),
        ("b.duckdb t.duckdb --aside .", 2),
        ("b.duckdb t.duckdb --aside none/aside", 1),
        ("none.duckdb t.duckdb --aside aside", 1),
    ] {
        world.fails(&format!("restore {arguments}"), code);
        assert!(world.bytes() == before, "{arguments}");
    }
    let holder = world.hold("t.duckdb", "CREATE TABLE held (x INT)");
    let before = world.bytes();
    assert_eq!(world.fails(RESTORE, 3)["kind"], "Locked");
    assert_eq!(
        world.fails("quarantine t.duckdb aside", 3)["kind"],
        "Locked"
    );
    assert!(world.bytes() == before);
    drop(holder);
    world.ok(RESTORE);
}

/// Law 9: a log that does not replay is kept with its database.
#[test]
fn a_quarantine_has_every_byte_and_the_database_stays() {
    let world = world(false);
    world.write(LOG, "this is no log".repeat(100));
    world.fails("checkpoint t.duckdb", 5);
    let before = database(&world, "t.duckdb");
    let done = world.ok("quarantine t.duckdb aside");
    assert!(database(&world, "t.duckdb") == before);
    assert!(files(&world, "aside") == before);
    assert_eq!(done["added"], true);
    assert_eq!(
        done["kept"][1]["file"],
        world.path("aside/t.duckdb").to_str().unwrap()
    );
    let output = std::process::Command::new("sha256sum")
        .arg(world.path(LOG))
        .output()
        .unwrap();
    let sum = String::from_utf8(output.stdout).unwrap();
    assert!(sum.starts_with(done["kept"][0]["sha256"].as_str().unwrap()));

    // Law 1.
    let again = world.ok("quarantine t.duckdb aside");
    assert_eq!(
        (&again["added"], &again["kept"]),
        (&json!(false), &done["kept"])
    );
    assert!(files(&world, "aside") == before);

    // Another state goes beside it.
    world.write(LOG, "another");
    world.ok("quarantine t.duckdb aside");
    let kept = files(&world, "aside");
    assert!(kept["t.duckdb.1.wal"] == b"another" && kept[LOG] == before[LOG]);

    // Second names of the database itself are no copies.
    world.ok("restore b.duckdb t.duckdb --aside links");
    fs::hard_link(world.path("links/t.duckdb"), world.path("u.duckdb")).unwrap();
    fs::hard_link(world.path("links/t.duckdb"), world.path("links/u.duckdb")).unwrap();
    world.ok("quarantine u.duckdb links");
    let inode = |name: &str| fs::metadata(world.path(name)).unwrap().ino();
    assert_ne!(inode("links/u.duckdb.1"), inode("u.duckdb"));

    // Only the log, and nothing.
    world.remove("t.duckdb");
    world.write(LOG, "lost");
    world.ok("quarantine t.duckdb lost");
    assert_eq!(files(&world, "lost").len(), 1);
    world.fails("quarantine none.duckdb lost", 1);
    world.fails("quarantine t.duckdb .", 2);
}

/// Laws 5 and 9, on small file systems of their own.
#[test]
fn a_full_disk_and_another_file_system_lose_nothing() {
    let world = world(false);
    let old = database(&world, "t.duckdb");
    let new = database(&world, "b.duckdb");
    for name in ["small", "large"] {
        fs::create_dir(world.path(name)).unwrap();
        world.give(name);
    }
    let script = "set -e
        mount -t tmpfs -o size=256k,mode=1777 tmpfs small
        mount -t tmpfs -o size=64m,mode=1777 tmpfs large
        run() { code=0; setpriv --reuid 65534 --regid 65534 --clear-groups ../cb-duckdb \"$@\" >&2 || code=$?; echo $code; }
        run restore b.duckdb t.duckdb --aside small/aside
        run quarantine t.duckdb small/aside
        ls -A small/aside | wc -l
        cp t.duckdb* large/
        run restore b.duckdb small/t.duckdb --aside large/aside
        ls -A small | wc -l
        cmp t.duckdb large/t.duckdb
        run quarantine t.duckdb large/aside
        run restore b.duckdb t.duckdb --aside large/aside
        cmp large/aside/t.duckdb large/t.duckdb
        cmp large/aside/t.duckdb.wal large/t.duckdb.wal
        ls -A large/aside | wc -l";
    let mut command = std::process::Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command = std::process::Command::new("sudo");
        command.arg("unshare");
    }
    let output = command
        .args(["--mount", "sh", "-c", script])
        .current_dir(world.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let said = text.split_whitespace().collect::<Vec<_>>();
    // The folder for what is kept is all that is left on the full one.
    assert_eq!(said, ["8", "8", "0", "8", "1", "0", "0", "2"], "{output:?}");
    assert!(output.status.success(), "{output:?}");
    assert!(database(&world, "t.duckdb") == new);
    assert_eq!(old.len(), 2);
}
