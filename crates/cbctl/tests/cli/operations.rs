//! Upgrades, backups and restores, followed by the tenant's status.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::world::World;

type Scripted = (u16, String);

/// A phase that took some seconds; without an end it goes on.
fn phase(name: &str, from: u32, to: Option<u32>, result: &str) -> Value {
    let at = |second: u32| format!("2026-03-04T12:{:02}:{:02}Z", second / 60, second % 60);
    let mut phase = json!({"name": name, "started": at(from)});
    if let Some(to) = to {
        phase["ended"] = at(to).into();
        phase["result"] = result.into();
    }
    phase
}

fn operation(id: &str, kind: &str, state: &str, phases: &[Value]) -> Value {
    json!({
        "id": id, "kind": kind, "state": state, "fromVersion": "v0.2.0", "toVersion": "v0.3.0",
        "phases": phases, "started": "2026-03-04T12:00:00Z",
    })
}

fn tenant(operation: &Value) -> Value {
    json!({
        "metadata": {"name": "ky04", "generation": 2},
        "status": {"observedGeneration": 2, "operation": operation},
    })
}

/// The lines of a watch.
fn watch<const N: usize>(operations: [&Value; N]) -> Scripted {
    let line = |operation| json!({"type": "MODIFIED", "object": tenant(operation)}).to_string();
    let lines: Vec<String> = operations.into_iter().map(line).collect();
    (200, lines.join("\n") + "\n")
}

fn answer(value: &Value) -> Scripted {
    (200, value.to_string())
}

/// What `GET …/operation` says.
fn newest(operation: &Value) -> Scripted {
    answer(&json!({"operation": operation, "requested": null}))
}

fn accepted(operation: &str) -> Scripted {
    let follow = "/api/tenants/ky04/operation";
    let body = json!({
        "operation": operation, "message": null, "links": {"operation": follow},
    });
    (202, body.to_string())
}

fn problem(code: u16, reason: &str, detail: &str) -> Scripted {
    let body = json!({
        "type": format!("tag:campaignbrain.io,2026:problem:{reason}"),
        "title": "t", "status": code, "detail": detail, "reason": reason,
    });
    (code, body.to_string())
}

fn world(scripted: impl IntoIterator<Item = Scripted>) -> World {
    let world = World::new();
    world.server.set(|state| state.scripted.extend(scripted));
    world
}

fn done() -> Vec<Value> {
    [
        ("Preparing", 0, 4),
        ("Stopping", 4, 5),
        ("Checkpointing", 5, 5),
        ("BackingUp", 5, 8),
        ("Migrating", 8, 150),
        ("Switching", 150, 152),
        ("Verifying", 152, 162),
    ]
    .map(|(name, from, to)| phase(name, from, Some(to), "Done"))
    .to_vec()
}

/// The operator is restarted half-way: the watch ends, and is begun again.
#[test]
fn an_upgrade_is_followed_phase_by_phase() {
    let old = operation("backup-3", "Backup", "Succeeded", &[]);
    let (all, mut half) = (done(), done()[..2].to_vec());
    half.push(phase("Checkpointing", 5, None, ""));
    let running = operation("upgrade-4", "Upgrade", "Running", &half);
    let mut over = operation("upgrade-4", "Upgrade", "Succeeded", &all);
    over["backup"] = "20260304t120005z-4".into();
    let world = world([
        newest(&old),
        accepted("pending"),
        answer(&tenant(&old)),
        watch([&old, &running]),
        answer(&tenant(&running)),
        watch([&running, &over]),
    ]);
    let said = world.run("upgrade ky04 --to v0.3.0");
    let asked = world.server.asked().join("\n");
    let body = world.server.body("POST /api/tenants/ky04/upgrade");
    assert_snapshot!([said, asked, body].join("\n"));
}

#[test]
fn a_failed_upgrade_says_why_and_what_was_kept() {
    let mut phases = done()[..4].to_vec();
    phases.push(phase("Migrating", 8, Some(9), "Failed"));
    phases.push(phase("Restoring", 9, Some(10), "Done"));
    let mut failed = operation("upgrade-4", "Upgrade", "Failed", &phases);
    failed["reason"] = "MigrationFailed".into();
    failed["message"] = "Migrating failed: 0009_notes.sql: line 3".into();
    failed["log"] = json!(["ALTER TABLE notes", "no such \u{1b}[2Jtable"]);
    let mut halted = failed.clone();
    halted["state"] = "Halted".into();
    for (name, operation, line) in [
        (
            "failed",
            &failed,
            "upgrade ky04 --to v0.3.0 --no-migrations --no-backup",
        ),
        ("halted", &halted, "upgrade tn/ky04 --to v0.3.0 -o name"),
    ] {
        let world = world([
            newest(&Value::Null),
            accepted("upgrade-4"),
            answer(&tenant(operation)),
            watch([operation]),
        ]);
        assert_snapshot!(name, world.run(line));
        let body = world.server.body("POST /api/tenants/ky04/upgrade");
        let without = line.contains("--no-backup");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(body["backup_db"], !without);
        assert_eq!(body["run_migrations"], !without);
    }
}

#[test]
fn it_need_not_be_followed_and_a_script_reads_json() {
    let over = operation("upgrade-4", "Upgrade", "Succeeded", &done());
    let short = json!({"id": "upgrade-4", "state": "Succeeded"});
    let ask = || [newest(&Value::Null), accepted("pending")];
    let follow = || [answer(&tenant(&over)), watch([&over])];
    let said = [
        (ask().to_vec(), "upgrade ky04 --to v0.3.0 --no-wait"),
        (
            ask().to_vec(),
            "upgrade ky04 --to v0.3.0 --wait=false -o json",
        ),
        (
            [ask().to_vec(), follow().to_vec(), vec![newest(&short)]].concat(),
            "upgrade ky04 --to v0.3.0 -o yaml",
        ),
        (
            vec![
                newest(&Value::Null),
                answer(&json!({"operation": null, "message": "it runs already"})),
            ],
            "upgrade ky04 --to v0.2.0",
        ),
        (
            vec![
                newest(&Value::Null),
                problem(
                    409,
                    "OperationUnderWay",
                    "the backup (backup-3) is under way",
                ),
            ],
            "upgrade ky04 --to v0.3.0",
        ),
        (
            vec![problem(404, "NotFound", "tenants \"ky05\" not found")],
            "upgrade ky05 --to v0.3.0",
        ),
        (vec![], "upgrade ky04"),
        (vec![], "upgrade --to v0.3.0"),
    ]
    .map(|(scripted, line)| world(scripted).run(line));
    assert_snapshot!(said.join("\n"));
}

/// Time is over while the operation goes on.
#[test]
fn a_timeout_is_a_failure_that_ends_nothing() {
    let phase = phase("Preparing", 0, None, "");
    let running = operation("upgrade-4", "Upgrade", "Running", &[phase]);
    let world = world([
        newest(&Value::Null),
        accepted("upgrade-4"),
        answer(&tenant(&running)),
        watch([&running]),
    ]);
    let said = world.run("upgrade ky04 --to v0.3.0 --timeout=0");
    assert_snapshot!(said);
}

#[test]
fn the_status_of_an_upgrade() {
    let version = json!({
        "running": "v0.2.0", "desired": "v0.3.0", "schema": 3,
        "available": ["v0.2.0", "v0.3.0"],
        "last_upgrade": {
            "id": "upgrade-4", "state": "Failed", "from": "v0.2.0", "to": "v0.3.0",
            "started": "2026-03-04T12:00:00Z", "ended": "2026-03-04T12:00:09Z",
            "reason": "MigrationFailed", "message": "0009_notes.sql: line 3", "backup": "b1",
            "phases": [phase("Preparing", 0, Some(4), "Done"), phase("Migrating", 4, None, "")],
        },
    });
    let new = json!({
        "running": null, "desired": "v0.3.0", "schema": null, "available": [],
        "last_upgrade": null,
    });
    let said = [
        (&version, "upgrade status ky04"),
        (&version, "upgrade status ky04 -o json"),
        (&new, "upgrade status ky04"),
    ]
    .map(|(version, line)| world([answer(version)]).run(line));
    assert_snapshot!(said.join("\n"));
}

/// What was halted goes on: only the phases since are told.
#[test]
fn a_retry_goes_on_where_it_was_halted() {
    let mut phases = done()[..2].to_vec();
    let halted = operation("upgrade-4", "Upgrade", "Halted", &phases);
    phases.push(phase("Reverting", 200, Some(203), "Done"));
    let mut over = operation("upgrade-4", "Upgrade", "Failed", &phases);
    over["message"] = "Verifying failed: 503".into();
    over["reason"] = "Unhealthy".into();
    let world = world([
        newest(&halted),
        accepted("upgrade-4"),
        answer(&tenant(&halted)),
        watch([&halted, &over]),
    ]);
    assert_snapshot!(world.run("upgrade retry ky04"));
}

fn backups() -> Value {
    json!({"backups": [
        {"id": "20260304t115500z-7", "cause": "Request", "created": "2026-03-04T11:55:00Z",
         "application": "cbapp", "version": "v0.2.0", "schema": 3, "bytes": 1_610_612_736_u64,
         "verified": true, "files": [], "onHost": true, "offsite": true},
        {"id": "20260301t120000z-2", "cause": "Restore", "created": "2026-03-01T12:00:00Z",
         "application": "cbapp", "version": "v0.1.0", "schema": null, "bytes": 12,
         "verified": false, "files": [], "onHost": true, "offsite": false},
        {"id": "20260228t120000z-1", "cause": null, "created": "2026-02-28T12:00:00Z",
         "application": null, "version": null, "schema": null, "bytes": 2048,
         "verified": null, "files": [], "onHost": false, "offsite": true},
    ], "offsiteError": null})
}

#[test]
fn backups_are_made_listed_verified_and_deleted() {
    let mut made = operation("backup-5", "Backup", "Succeeded", &done()[..4]);
    made["backup"] = "20260304t120005z-5".into();
    let make = || {
        vec![
            newest(&Value::Null),
            accepted("pending"),
            answer(&tenant(&made)),
            watch([&made]),
        ]
    };
    let good = json!({"backup": "b1", "good": true, "reason": null, "message": null});
    let bad = json!({"backup": "b1", "good": false, "reason": "BackupDiffers",
                     "message": "database.duckdb: its SHA-256 is another"});
    let mut unknown = backups();
    unknown["offsiteError"] = "the folder /mnt/copies does not exist".into();
    unknown["backups"].as_array_mut().unwrap().truncate(1);
    unknown["backups"][0]["offsite"] = Value::Null;
    let fetched = |fetched: bool| json!({"backup": "b1", "fetched": fetched});
    let none = "the Host names no destination of copies";
    let said = [
        (make(), "backup create ky04"),
        (make(), "backup create ky04 -o name"),
        (vec![answer(&backups())], "backup list ky04"),
        (vec![answer(&backups())], "backup list ky04 -o name"),
        (vec![answer(&unknown)], "backup list ky04"),
        (vec![answer(&json!({"backups": []}))], "backup list ky04"),
        (vec![answer(&fetched(true))], "backup fetch ky04 b1"),
        (vec![answer(&fetched(false))], "backup fetch ky04 b1"),
        (vec![answer(&fetched(true))], "backup fetch ky04 b1 -o name"),
        (
            vec![problem(409, "NoDestination", none)],
            "backup fetch ky04 b1",
        ),
        (vec![answer(&good)], "backup verify ky04 b1"),
        (vec![answer(&bad)], "backup verify ky04 b1"),
        (vec![answer(&bad)], "backup verify ky04 b1 -o yaml"),
        (vec![(204, String::new())], "backup delete ky04 b1 --force"),
        (
            vec![problem(409, "OnlyBackup", "backup b1 is the only good one")],
            "backup delete ky04 b1",
        ),
    ]
    .map(|(scripted, line)| {
        let world = world(scripted);
        let said = world.run(line);
        format!("{said}asked: {}\n", world.server.asked().join(", "))
    });
    assert_snapshot!(said.join("\n"));
}

#[test]
fn a_restore_takes_the_word_for_another_version() {
    let restored = operation("restore-6", "Restore", "Succeeded", &done()[..1]);
    let mut back = operation("upgrade-6", "Upgrade", "Succeeded", &done()[..1]);
    back["toVersion"] = "v0.1.0".into();
    let follow = |over: &Value| {
        vec![
            newest(&Value::Null),
            accepted("pending"),
            answer(&tenant(over)),
            watch([over]),
        ]
    };
    let mismatch = "backup b1 is of v0.1.0, and tenant `ky04` runs v0.2.0; say the version v0.1.0 too if it is to go back with the database";
    let said = [
        (follow(&restored), "restore ky04 b1"),
        (
            vec![
                newest(&Value::Null),
                problem(422, "BackupMismatch", mismatch),
            ],
            "restore ky04 b1",
        ),
        (follow(&back), "restore ky04 b1 --to-version v0.1.0"),
    ]
    .map(|(scripted, line)| {
        let world = world(scripted);
        let said = world.run(line);
        format!(
            "{said}body: {}\n",
            world.server.body("POST /api/tenants/ky04/restore")
        )
    });
    assert_snapshot!(said.join("\n"));
}
