//! Fleet upgrades (laws 1, 4, 5 and 6): waves, a version that fails, undo, and
//! an operator that is killed in the middle.

use anyhow::{Context as _, Result};
use cb_testhost::Output;
use serde_json::Value;

use crate::upgrade::Upgrades;
use crate::world::World;

const TENANTS: [&str; 5] = ["a1", "a2", "a3", "a4", "a5"];

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  resync: {periodSeconds: 5}
  operations: {parallelism: 4, settleSeconds: 1}
";

/// v3 does not start for long.
const APPLICATION: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Application
metadata: {name: tiny}
spec:
  versions:
  - {name: v1, folder: {path: /srv/tiny/v1}}
  - {name: v2, folder: {path: /srv/tiny/v2}}
  - {name: v3, folder: {path: /srv/tiny/v3}}
  services:
  - {name: api, command: bin/tinyapp, args: [$(PORT)], portOffset: 1, healthCheck: {path: /health, startTimeoutSeconds: 10}}
  - {name: frontend, command: bin/tinyapp, args: [$(PORT)], portOffset: 0, healthCheck: {path: /health, startTimeoutSeconds: 10}}
  routes:
  - {path: /, service: frontend}
";

fn manifest(name: &str, ring: &str, suspend: bool) -> String {
    format!(
        "# {name}, by hand\napiVersion: campaignbrain.io/v1alpha1\nkind: Tenant\n\
         metadata: {{name: {name}, labels: {{ring: {ring}}}}}\nspec:\n  application: tiny\n  \
         version: v1 # pinned\n  suspend: {suspend}\n"
    )
}

struct Fleet {
    world: World,
}

impl Fleet {
    /// Five tenants of the ring `a` and one of the ring `b`, all at v1.
    fn running(hint: &str) -> Result<Self> {
        let world = World::installed(hint)?;
        world.host.sh(
            "mkdir -p /srv/tiny/v3/bin && echo v3 >/srv/tiny/v3/VERSION\n\
             printf '#!/bin/sh\\necho no good >&2\\nexit 3\\n' >/srv/tiny/v3/bin/tinyapp && chmod 755 /srv/tiny/v3/bin/tinyapp\n\
             mkdir -p /etc/systemd/system/cb-operator.service.d\n\
             printf '[Unit]\\nStartLimitIntervalSec=0\\n[Service]\\nRestartSec=100ms\\n' >/etc/systemd/system/cb-operator.service.d/test.conf\n\
             systemctl daemon-reload",
        )?;
        world
            .host
            .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        world.put("tiny.yaml", APPLICATION)?;
        for name in TENANTS {
            world.put(&format!("{name}.yaml"), &manifest(name, "a", false))?;
        }
        world.put("b1.yaml", &manifest("b1", "b", false))?;
        world.start()?;
        let fleet = Self { world };
        for name in TENANTS.iter().chain(&["b1"]) {
            fleet.world.wait_ready(name)?;
        }
        Ok(fleet)
    }

    fn cbctl(&self, arguments: &str) -> Result<Output> {
        let words: Vec<&str> = ["cbctl"].into_iter().chain(arguments.split(' ')).collect();
        Ok(self.world.host.exec(&words)?)
    }

    /// Runs a command that must end with this code; gives all that it wrote.
    fn ends(&self, arguments: &str, code: i32) -> Result<String> {
        let output = self.cbctl(arguments)?;
        let journal = || self.world.host.journal("cb-operator");
        anyhow::ensure!(output.code == Some(code), "{output:?}\n{}", journal());
        Ok(format!("{}{}", output.stdout, output.stderr))
    }

    fn rollout(&self, id: &str) -> Result<Value> {
        self.world.api(&format!("/operator/v1/rollouts/{id}"))
    }

    /// The phases of the tenants, in order.
    fn phases(&self, id: &str) -> Result<Vec<String>> {
        let rollout = self.rollout(id)?;
        let tenants = rollout["tenants"].as_array().context("tenants")?.clone();
        let phase = |tenant: &Value| tenant["phase"].as_str().unwrap_or_default().to_owned();
        Ok(tenants.iter().map(phase).collect())
    }

    /// That a tenant runs a version and its manifest asks for one, with all
    /// else there as a person wrote it.
    fn is_at(&self, name: &str, runs: &str, asks: &str) -> Result<()> {
        let status = self.world.tenant(name)?["status"].clone();
        assert_eq!(status["version"], runs, "{name}: {status:#}");
        let text = self
            .world
            .host
            .sh(&format!("cat /etc/cb/manifests/{name}.yaml"))?;
        let wanted = manifest(name, if name == "b1" { "b" } else { "a" }, false);
        assert_eq!(
            text,
            wanted.replace("version: v1", &format!("version: {asks}"))
        );
        Ok(())
    }
}

/// Killed whenever another tenant has come to rest, the operator goes on with
/// the rollout: each tenant is upgraded, once, and no other one is touched.
#[test]
fn a_fleet_is_upgraded_while_the_operator_is_killed() -> Result<()> {
    let fleet = Fleet::running("rollout")?;
    let world = &fleet.world;
    let pid = world.show("b1-api.service", "MainPID")?;
    world.put("a5.yaml", &manifest("a5", "a", true))?;
    world.wait_condition("a5", "Ready", "Unknown Suspended")?;
    // The command goes on over the restarts too.
    world.host.sh(
        "systemd-run --quiet --unit=follow -p StandardOutput=file:/root/told -p StandardError=file:/root/told \
         cbctl rollout start --selector ring=a --to v2 --wave 2 --pause 1s --wait",
    )?;
    for settled in 0..3 {
        // The journal is looked at, and not the operator, which is killed.
        world.host.sh(&format!(
            "end=$(($(date +%s) + 60))\n\
             until f=/var/lib/cb/rollouts/rollout-1.yaml; [ -e $f ] && [ $(grep -c 'phase: Succeeded' $f) -ge {settled} ] && grep -Eq 'phase: Ask(ed|ing)' $f\n\
             do grep -q 'state: Succeeded' $f 2>/dev/null && exit 1; [ $(date +%s) -lt $end ] || exit 1; done\n\
             until pid=$(systemctl show -P MainPID cb-operator); [ $pid -gt 1 ] && kill -KILL $pid; do :; done"
        ))
        .with_context(|| format!("{:?}", fleet.cbctl("rollout status rollout-1")))?;
    }
    world.waits("the command has ended", || {
        Ok(world.show("follow.service", "ActiveState")? != "active")
    })?;
    let told = world.host.sh("cat /root/told")?;
    assert_eq!(world.show("follow.service", "Result")?, "success", "{told}");
    assert!(
        told.contains("rollout-1 succeeded; of 5 tenants: 4 upgraded, 1 skipped"),
        "{told}"
    );
    assert!(told.contains("wave 3: a5"), "{told}");
    assert!(told.contains("skipped (Suspended"), "{told}");
    assert_eq!(fleet.rollout("rollout-1")?["state"], "Succeeded");
    for name in &TENANTS[..4] {
        fleet.is_at(name, "v2", "v2")?;
        let record = world
            .host
            .sh(&format!("cat /var/lib/cb/records/{name}.yaml"))?;
        assert!(record.contains("operations: 1\n"), "{name}: {record}");
    }
    fleet.is_at("b1", "v1", "v1")?;
    assert_eq!(world.show("b1-api.service", "MainPID")?, pid);
    let events = world.host.sh("cbctl events")?;
    assert!(events.contains("RolloutSucceeded"), "{events}");
    // Nothing is left to do: nothing is written.
    let before = world.host.sh("stat -c %i:%Y /var/lib/cb/rollouts/*")?;
    world.reconcile("a1")?;
    assert_eq!(
        world.host.sh("stat -c %i:%Y /var/lib/cb/rollouts/*")?,
        before
    );
    Ok(())
}

/// The first failure stops the rest; what was mended is tried again; undo
/// brings all back.
#[test]
fn a_bad_version_stops_at_the_first_tenant() -> Result<()> {
    let fleet = Fleet::running("badrollout")?;
    let world = &fleet.world;
    let told = fleet.ends("rollout start --selector ring=a --to v3 --wave 1 --wait", 1)?;
    assert!(told.contains("wave 1: a1\n"), "{told}");
    assert!(told.contains("a1                   failed ("), "{told}");
    assert!(
        told.contains("of 5 tenants: 1 failed, 4 not asked"),
        "{told}"
    );
    let rest = ["Failed", "Pending", "Pending", "Pending", "Pending"];
    assert_eq!(fleet.phases("rollout-1")?, rest);
    world.wait_condition("a1", "Stalled", "True UpgradeFailed")?;
    fleet.is_at("a1", "v1", "v3")?;
    for name in &TENANTS[1..] {
        fleet.is_at(name, "v1", "v1")?;
    }
    // What cannot be is refused before anything is done.
    let refused = fleet.ends("rollout start --all --to v9", 1)?;
    assert!(
        refused.contains("does not list the version `v9`"),
        "{refused}"
    );
    let refused = fleet.ends("rollout undo 1", 1)?;
    assert!(refused.contains("nothing to undo"), "{refused}");

    world.host.sh(
        "cp /srv/tiny/v2/bin/tinyapp /srv/tiny/v3/bin/tinyapp && rm -rf /var/lib/cb/releases/tiny/v3",
    )?;
    let told = fleet.ends("rollout resume rollout-1 --retry-failed --wait", 0)?;
    assert!(told.contains("of 5 tenants: 5 upgraded"), "{told}");
    for name in TENANTS {
        fleet.is_at(name, "v3", "v3")?;
    }
    let told = fleet.ends("rollout undo 1 --wait", 0)?;
    assert!(told.contains("rollout-1 undone"), "{told}");
    for name in TENANTS {
        world.wait_ready(name)?;
        fleet.is_at(name, "v1", "v1")?;
    }
    let list = fleet.ends("rollout list", 0)?;
    assert!(
        list.contains("rollout-1") && list.contains("Undone"),
        "{list}"
    );
    let sheet = fleet.ends("rollout status", 0)?;
    assert_eq!(sheet.matches("Undone").count(), 6, "{sheet}");
    Ok(())
}

/// Law 6: a rollout is paused, followed and resumed as it is told, and stops
/// after as many failures as it may have.
#[test]
fn a_rollout_is_paused_and_stops_as_it_is_told() -> Result<()> {
    let fleet = Fleet::running("pauserollout")?;
    fleet.ends(
        "rollout start --all --to v2 --wave 1 --pause 3s --no-backup --no-migrations",
        0,
    )?;
    fleet.ends("rollout pause", 0)?;
    fleet
        .world
        .waits("those that were asked have come to their end", || {
            let phases = fleet.phases("rollout-1")?;
            Ok(phases
                .iter()
                .all(|phase| ["Succeeded", "Pending"].contains(&phase.as_str())))
        })?;
    assert!(fleet.phases("rollout-1")?.contains(&"Pending".to_owned()));
    let list = fleet.ends("rollout list --no-headers", 0)?;
    assert!(
        list.starts_with("rollout-1") && list.contains("Paused"),
        "{list}"
    );
    let told = fleet.ends("rollout resume --wait", 0)?;
    assert!(told.contains("of 6 tenants: 6 upgraded"), "{told}");
    let told = fleet.ends("rollout status --watch", 0)?;
    assert!(
        told.contains("Succeeded") || told.contains("succeeded"),
        "{told}"
    );
    for name in TENANTS {
        fleet.is_at(name, "v2", "v2")?;
        let backups = format!("ls /var/lib/cb/backups/{name} 2>/dev/null || :");
        assert_eq!(fleet.world.host.sh(&backups)?, "");
    }
    let told = fleet.ends(
        "rollout start --all --to v3 --wave 1 --max-failures 1 --wait",
        1,
    )?;
    assert!(
        told.contains("of 6 tenants: 2 failed, 4 not asked"),
        "{told}"
    );
    Ok(())
}

/// Undo puts each database back as it was before its upgrade, and keeps what it
/// replaces.
#[test]
fn undo_restores_databases_row_by_row() -> Result<()> {
    let names = ["ky04", "oh09"];
    let upgrades = Upgrades::running("undorollout", &[], &names)?;
    let host = &upgrades.world.host;
    let rows: Vec<String> = names
        .iter()
        .map(|name| upgrades.rows(name))
        .collect::<Result<_>>()?;
    let run = |script: &str| host.sh(&format!("cbctl rollout {script}"));
    run("start ky04 oh09 --to v0.3.0 --wave 100% --wait")?;
    for (name, rows) in names.iter().zip(&rows) {
        upgrades.is_at(name, "v0.3.0", 3, rows)?;
        // Written since, so not there after the undo.
        let port = upgrades.world.tenant(name)?["status"]["ports"]["api"].clone();
        host.sh(&format!(
            "curl -sSf -H 'Content-Type: application/json' -d '{{\"name\": \"later\"}}' http://127.0.0.1:{port}/api/contacts"
        ))?;
    }
    run("undo rollout-1 --wait")?;
    for (name, rows) in names.iter().zip(&rows) {
        upgrades.world.wait_ready(name)?;
        upgrades.is_at(name, "v0.1.0", 1, rows)?;
        let asks = host.sh(&format!("grep version: /etc/cb/manifests/{name}.yaml"))?;
        assert_eq!(asks, "  version: v0.1.0 # pinned\n");
        let backups = upgrades.backups(name)?;
        assert_eq!(backups.matches("backup.yaml").count(), 2, "{backups}");
    }
    Ok(())
}
