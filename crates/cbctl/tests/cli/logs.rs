//! `logs`: what is asked of `journalctl`.

#![allow(clippy::disallowed_methods, reason = "files of a test")]

use std::os::unix::fs::PermissionsExt as _;

use insta::assert_snapshot;
use serde_json::json;

use crate::world::World;

/// A tenant with two services and one that has none yet.
fn world() -> World {
    let world = World::new();
    let service = |name: &str| {
        json!({"name": name, "unit": format!("ky04-{name}.service"),
               "activeState": "active", "subState": "running"})
    };
    world.server.has(
        "tenants",
        json!({
            "kind": "Tenant", "metadata": {"name": "ky04", "generation": 1},
            "status": {"observedGeneration": 1, "services": [service("api"), service("frontend")]},
        }),
    );
    world.server.has(
        "tenants",
        json!({"kind": "Tenant", "metadata": {"name": "oh09", "generation": 1}}),
    );
    world
}

/// Runs `cbctl` with this script as the host's `journalctl`; none without.
fn run(line: &str, journalctl: Option<&str>) -> String {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    if let Some(script) = journalctl {
        let path = folder.path().join("journalctl");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let output = world
        .command(line)
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    let code = output.status.code().unwrap();
    format!("$ cbctl {line}\n{out}--- stderr\n{err}--- exit {code}\n")
}

/// Law 10: everything is an argument of its own; no shell reads any of it.
#[test]
fn the_journal_of_the_tenants_units_is_read() {
    let said = [
        "logs ky04",
        "logs tenant/ky04 -s api -f --tail 20 --since 10m",
        "logs ky04 --service frontend --service api",
        "logs ky04 -s fronted",
        "logs ky04 -s $(id)",
        "logs oh09",
        "logs nobody",
        "logs app/cbapp",
    ]
    .map(|line| run(line, Some(r#"printf '<%s>\n' "$@""#)));
    assert_snapshot!(said.join("\n"));
}

#[test]
fn a_journal_that_cannot_be_read_is_said_with_what_to_do() {
    let denied = "echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1";
    let said = [
        run("logs ky04", Some(denied)),
        run("logs ky04", None),
        run("logs ky04 -f", None),
    ];
    assert_snapshot!(said.join("\n"));
    // A reader that left early is no failure.
    let left = run("logs ky04", Some("kill -PIPE $$"));
    assert!(left.ends_with("--- exit 0\n"), "{left}");
}
