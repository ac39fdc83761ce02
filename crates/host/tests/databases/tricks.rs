//! What a hostile tenant puts in the way (laws 9 and 10).

use cb_core::database::{Job, JobFailure};
use cb_host::Host;

use crate::world::{BACKUPS, FILE, World, as_tenant, on_host, order, restore, sh};

#[test]
fn a_link_or_a_fifo_is_no_database() {
    on_host("tricks::a_link_or_a_fifo_is_no_database", || async {
        let world = World::new().await;
        sh("mkdir -m 755 /srv/other; echo secret >/srv/other/file; chmod 600 /srv/other/file");
        let state = || sh("stat -c '%U %G %a %h %Y' /srv/other/file /etc/shadow");
        let before = state();
        let migrate = world.files("v1", &crate::world::TWO);
        for trick in [
            "ln -s /srv/other/file F",
            "ln -s /etc/shadow F",
            "ln -s F F",
            "mkfifo F",
            "mkdir F",
        ] {
            for suffix in ["", ".wal"] {
                sh(&format!("rm -rf {FILE}*"));
                if !suffix.is_empty() {
                    world.sql("CREATE TABLE t AS FROM range(10)");
                    sh(&format!("rm -f {FILE}.wal"));
                }
                as_tenant(&trick.replace('F', &format!("{FILE}{suffix}")));
                let mut even_damaged = order("b1");
                even_damaged.even_damaged = true;
                for job in [
                    Job::Checkpoint,
                    Job::SchemaVersion,
                    Job::Backup(order("b1")),
                    Job::Backup(even_damaged),
                    Job::Migrate(migrate.clone()),
                    Job::Quarantine {
                        keep_as: "q".to_owned(),
                    },
                    restore(None, "r"),
                ] {
                    let error = world.run(job.clone()).await.unwrap_err();
                    let what = format!("{trick} {suffix} {job:?}: {error}");
                    assert_ne!(error.failure, JobFailure::Transient, "{what}");
                    assert!(!error.message.contains("secret"), "{what}");
                }
                assert_eq!(state(), before, "{trick} {suffix}");
            }
        }
        assert!(
            world
                .host
                .backups(&world.database)
                .await
                .unwrap()
                .is_empty()
        );
        let found = sh(&format!("grep -rl secret {BACKUPS} || true"));
        assert_eq!(found, "");
    });
}

/// Says that this process does the one job that its parent has asked for.
const CHILD: &str = "CB_CHILD";

/// The helper runs as the tenant's user, so a tenant may talk it into anything.
#[test]
fn what_a_job_leaves_in_the_staging_is_not_believed() {
    let name = "tricks::what_a_job_leaves_in_the_staging_is_not_believed";
    on_host(name, || async {
        if std::env::var_os(CHILD).is_some() {
            let world = World::new().await;
            let error = world.run(Job::Backup(order("b1"))).await.unwrap_err();
            println!("refused: {:?}: {error}", error.failure);
            return;
        }
        let world = World::new().await;
        world.sql("CREATE TABLE t (a INTEGER)");
        // A helper that does the tenant's bidding in the place of the copy.
        let document =
            r#"{"backup":{"file":"/x/database.duckdb","bytes":SIZE,"sha256":"00"},"sidecars":[]}"#;
        sh(
            "mkdir -m 755 /srv/evil; echo secret >/srv/secret; chmod 600 /srv/secret
            echo mine >/srv/mine; chmod 666 /srv/mine",
        );
        let state = || sh("stat -c '%U %G %a %h' /srv/secret /srv/mine /etc/shadow");
        let before = state();
        for (trick, size) in [
            ("ln -s /etc/shadow $3", 1),
            ("ln -s /srv/secret $3", 7),
            ("mkfifo $3", 0),
            ("mkdir $3", 0),
            ("echo four >$3; ln $3 $3.again", 5),
            ("echo four >$3", 9),
            ("echo four >$3; echo more >$3.wal", 5),
            (":", 1),
        ] {
            let document = document.replace("SIZE", &size.to_string());
            let script = format!(
                "#!/bin/sh\nwhile [ $# -gt 0 ]; do case $1 in */database.duckdb) set -- x x $1; break;; esac; shift; done\n{trick}\necho '{document}'\n"
            );
            std::fs::write("/srv/evil/cb-duckdb", script).unwrap();
            sh("chmod 755 /srv/evil/cb-duckdb");
            let program = std::env::current_exe().unwrap();
            let output = std::process::Command::new(program)
                .args(["--exact", "--nocapture", name])
                .env("CB_DUCKDB", "/srv/evil/cb-duckdb")
                .env(CHILD, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(text.contains("refused: "), "{trick}: {text}");
            assert_eq!(state(), before, "{trick}");
            let left = sh(&format!("ls {BACKUPS}; ! grep -rl secret {BACKUPS}"));
            assert_eq!(left, "", "{trick}");
        }
    });
}
