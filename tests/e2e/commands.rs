//! The commands of `cbctl` that look, wait and read, with the real operator and
//! the real journal.

use anyhow::Result;
use cb_testhost::Output;

use crate::world::{World, tiny};

fn cbctl(world: &World, line: &str) -> Result<Output> {
    let words: Vec<&str> = std::iter::once("cbctl")
        .chain(line.split_whitespace())
        .collect();
    Ok(world.host.exec(&words)?)
}

/// The output of a command that must succeed.
fn good(world: &World, line: &str) -> Result<String> {
    let output = cbctl(world, line)?;
    assert_eq!(output.code, Some(0), "cbctl {line}: {}", output.stderr);
    Ok(output.stdout)
}

/// Law 8: what is shown and waited for is what the operator and the host say.
#[test]
fn commands_wait_read_and_watch() -> Result<()> {
    let world = World::running("commands")?;
    for name in ["ky04", "oh09"] {
        let path = format!("/root/{name}.yaml");
        world.host.push(tiny(name, "").as_bytes(), &path, 0o644)?;
        good(&world, &format!("apply -f {path}"))?;
    }
    let said = good(&world, "wait tn --all --for=condition=Ready --timeout 60s")?;
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(world.condition("ky04", "Ready")?.starts_with("True"));

    // Each port is of the slot that the operator gave.
    let ports = good(&world, "ports --no-headers")?;
    let rows: Vec<Vec<&str>> = ports
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(rows.len(), 4, "{ports}");
    for row in rows {
        let [port, tenant, service, slot] = row[..] else {
            panic!("{ports}");
        };
        let status = &world.tenant(tenant)?["status"];
        assert_eq!(status["ports"][service].to_string(), port);
        let given = world.condition(tenant, "PortsAllocated")?;
        assert!(given.contains(&format!("slot {slot}")), "{given}: {ports}");
    }

    let kinds = good(&world, "api-resources")?;
    for kind in ["tenants", "applications", "hosts", "events"] {
        assert!(kinds.lines().any(|line| line.starts_with(kind)), "{kinds}");
    }
    let sorted = good(&world, "get tn --sort-by .status.ports.api -o name")?;
    assert!(sorted.lines().count() == 2, "{sorted}");

    // The journal of exactly the services that are meant.
    let logs = good(&world, "logs ky04")?;
    for (unit, is_in) in [("ky04-api", true), ("ky04-frontend", true), ("oh09", false)] {
        assert_eq!(logs.contains(unit), is_in, "{unit}: {logs}");
    }
    let logs = good(&world, "logs tenant/ky04 -s api --since 1h")?;
    assert!(
        logs.contains("ky04-api") && !logs.contains("ky04-frontend"),
        "{logs}"
    );
    let last = good(&world, "logs ky04 -s api --tail 1")?;
    assert_eq!(last.lines().count(), 1, "{last}");

    // A watch shows what happens after the first table.
    world.host.sh(
        "systemd-run -q --unit=watch --property=StandardOutput=file:/root/watch \
         cbctl get tenants -w -o wide",
    )?;
    let watched = |text: &str| Ok(world.host.sh("cat /root/watch")?.contains(text));
    world.waits("the first table is shown", || watched("oh09"))?;
    let moved = tiny("ky04", "").replace("version: v1", "version: v2");
    world
        .host
        .push(moved.as_bytes(), "/root/ky04.yaml", 0o644)?;
    good(&world, "apply -f /root/ky04.yaml")?;
    world.waits("the new release is shown", || watched("/v2"))?;
    world.host.sh("systemctl stop watch")?;

    good(
        &world,
        "wait tenant/ky04 --for=condition=Ready --timeout 60s",
    )?;
    good(&world, "delete tenant oh09")?;
    good(&world, "wait tenant/oh09 --for=delete --timeout 60s")?;
    let gone = cbctl(&world, "get tenant oh09")?;
    assert!(
        gone.stderr.starts_with("Error from server (NotFound)"),
        "{}",
        gone.stderr
    );
    let gone = cbctl(&world, "wait tenant/oh09 --for=condition=Ready")?;
    assert_eq!(gone.code, Some(1), "{}", gone.stderr);
    Ok(())
}
