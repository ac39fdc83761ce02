//! People are told of tenants that need them: by a real Alertmanager, and by a
//! webhook whose receiver fails in every way. What happened can be read.

mod https;
mod sinks;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::world::{TINY, World};

const RECEIVER: &str = include_str!("receiver.pl");

/// What keeps a tenant from being ready at once, until a person changes it.
const STALLED: &str = "database: {i360: true}";

const ALERTMANAGER: &str = "\
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 2s
  group_interval: 2s
receivers:
- name: hook
  webhook_configs: [{url: 'http://127.0.0.1:9999/', send_resolved: true}]
";

/// A host whose operator has these sinks, with a receiver on port 9999.
fn world(hint: &str, sinks: &str) -> Result<World> {
    let world = World::installed(hint)?;
    let host = format!(
        "apiVersion: campaignbrain.io/v1alpha1\nkind: Host\nmetadata: {{name: test}}\nspec:\n  \
         alerts: {{groupSeconds: 1, sinks: {sinks}}}\n"
    );
    world
        .host
        .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.prepare_receiver()?;
    world.put("tiny.yaml", TINY)?;
    Ok(world)
}

impl World {
    pub(crate) fn prepare_receiver(&self) -> Result<()> {
        self.host
            .push(RECEIVER.as_bytes(), "/opt/receiver.pl", 0o755)?;
        self.host.sh("mkdir -p /var/received")?;
        Ok(())
    }

    /// Starts the receiver.
    pub(crate) fn receive(&self) -> Result<()> {
        self.host
            .sh("systemd-run --quiet --unit=receiver perl /opt/receiver.pl 9999 /var/received")?;
        self.waits("the receiver listens", || {
            let listening = self.host.sh("ss -Hltn 'sport = 9999'")?;
            Ok(!listening.is_empty())
        })
    }

    /// What the receiver does from now on: `ok`, `500` or `hang`.
    fn mode(&self, mode: &str) -> Result<()> {
        Ok(self
            .host
            .push(mode.as_bytes(), "/var/received/mode", 0o644)?)
    }

    /// The messages in one of the receiver's files, with their ids.
    pub(crate) fn received(&self, file: &str) -> Result<Vec<(String, Value)>> {
        let text = self
            .host
            .sh(&format!("cat /var/received/{file} 2>/dev/null || :"))?;
        let parse = |line: &str| {
            let (id, body) = line.split_once(' ').context("a line without an id")?;
            Ok((id.to_owned(), serde_json::from_str(body)?))
        };
        text.lines().map(parse).collect()
    }

    /// Alertmanager's answer.
    fn alertmanager(&self, path: &str) -> Result<Value> {
        let url = format!("http://127.0.0.1:9093/api/v2/{path}");
        Ok(self.host.curl(&[&url])?.json())
    }

    fn cbctl(&self, arguments: &str) -> Result<String> {
        Ok(self.host.sh(&format!("cbctl {arguments} 2>&1"))?)
    }
}

fn tenants(alerts: &Value, pointer: &str) -> Vec<String> {
    let all = alerts.as_array().into_iter().flatten();
    let name = |alert: &Value| {
        alert
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    let mut names: Vec<String> = all.filter_map(name).collect();
    names.sort();
    names
}

/// A real Alertmanager gets every alert, groups those with one reason into one
/// notification, keeps them over a restart of the operator, and is told when
/// they are over.
#[test]
fn alertmanager_receives_groups_and_resolves() -> Result<()> {
    let world = world(
        "alertmanager",
        "[{name: am, alertmanager: {url: 'http://127.0.0.1:9093'}}]",
    )?;
    world.receive()?;
    world
        .host
        .push(ALERTMANAGER.as_bytes(), "/opt/alertmanager.yml", 0o644)?;
    world.host.sh(
        "systemd-run --quiet --unit=am --property=StateDirectory=am prometheus-alertmanager \
         --config.file=/opt/alertmanager.yml --storage.path=/var/lib/am \
         --cluster.listen-address= --web.listen-address=127.0.0.1:9093",
    )?;
    world.start()?;
    let names = ["ky04", "oh09", "tx01"];
    for name in names {
        world.put_tiny(name, STALLED)?;
    }
    world.waits("Alertmanager has one group of three", || {
        let groups = world.alertmanager("alerts/groups")?;
        let of = |group: &Value| {
            group["labels"]["alertname"] == "NotConfigured"
                && tenants(&group["alerts"], "/labels/tenant") == names
        };
        Ok(groups
            .as_array()
            .is_some_and(|groups| groups.len() == 1 && of(&groups[0])))
    })?;
    let is_whole = |(_, message): &(String, Value), status: &str| {
        message["status"] == status && tenants(&message["alerts"], "/labels/tenant") == names
    };
    world.waits("all are in one notification", || {
        Ok(world
            .received("accepted")?
            .iter()
            .any(|m| is_whole(m, "firing")))
    })?;
    let listed = world.cbctl("alerts")?;
    for name in names {
        assert!(
            listed
                .lines()
                .any(|l| l.starts_with(name) && l.contains("NotConfigured")),
            "{listed}"
        );
    }
    world.host.sh("systemctl restart cb-operator")?;
    assert_eq!(
        world
            .cbctl("alerts --no-headers")?
            .matches("NotConfigured")
            .count(),
        3
    );

    for name in names {
        world.put_tiny(name, "")?;
        world.wait_ready(name)?;
    }
    world.waits("all are resolved", || {
        let alerts = world.alertmanager("alerts?active=true")?;
        Ok(alerts.as_array().is_some_and(Vec::is_empty))
    })?;
    world.waits("the end is notified too", || {
        let all = world.received("accepted")?;
        Ok(all
            .last()
            .is_some_and(|(_, message)| message["status"] == "resolved"))
    })?;

    // Drift that is put right at once is told too, by its kind.
    world
        .host
        .sh("chmod 666 /etc/systemd/system/ky04-api.service")?;
    world.waits("the drift is told", || {
        let alerts = world.alertmanager("alerts?active=true")?;
        let words = alerts[0]["annotations"]["description"].clone();
        let put_right = words
            .as_str()
            .is_some_and(|w| w.starts_with("it was put right; "));
        Ok(put_right && alerts[0]["labels"]["alertname"] == "UnitMode")
    })?;
    let events = world.cbctl("events --for tenant/ky04")?;
    for reason in [
        "Created",
        "NotReady",
        "ManifestAccepted",
        "Applied",
        "Ready",
    ] {
        assert!(events.contains(&format!("   {reason} ")), "{events}");
    }
    Ok(())
}

/// Law 4: a receiver that is down, answers 500 or hangs delays no tenant; and
/// with a kill of the operator each time, nothing is lost and nothing is taken
/// twice.
#[test]
fn a_webhook_that_fails_in_every_way_loses_and_doubles_nothing() -> Result<()> {
    let world = world(
        "webhook",
        "[{name: hook, webhook: {url: 'http://127.0.0.1:9999/x'}}]",
    )?;
    world.start()?;
    let kill = || -> Result<()> {
        let pid = world.show("cb-operator", "MainPID")?;
        world.host.sh(&format!("kill -9 {pid}"))?;
        world.waits("the operator is back", || {
            let now = world.show("cb-operator", "MainPID")?;
            Ok(now != pid && world.host.sh("cbctl version >/dev/null").is_ok())
        })
    };
    let sink = |key: &str| -> Result<Value> {
        Ok(world.api("/operator/v1/alerts")?["sinks"][0][key].clone())
    };
    // Down.
    world.put_tiny("a", STALLED)?;
    world.waits("the sink is seen to be down", || {
        Ok(sink("error")?.is_string())
    })?;
    let test = world.host.exec(&["cbctl", "alerts", "test", "hook"])?;
    assert_eq!(test.code, Some(1), "{test:?}");
    assert!(test.stderr.contains("cannot be connected to"), "{test:?}");
    world.put_tiny("b", "")?;
    world.wait_ready("b")?;
    kill()?;
    // Failing, then silent; a further tenant needs a person meanwhile.
    for (mode, name) in [("500", "c"), ("hang", "d")] {
        world.mode(mode)?;
        if mode == "500" {
            world.receive()?;
        }
        let before = world.received("refused")?.len();
        world.put_tiny(name, STALLED)?;
        world.waits("it was tried", || {
            Ok(world.received("refused")?.len() > before)
        })?;
        world.put_tiny(&format!("ok-{name}"), "")?;
        world.wait_ready(&format!("ok-{name}"))?;
        kill()?;
    }
    world.mode("ok")?;
    world.waits("all of it arrived", || {
        let all = world.received("accepted")?;
        Ok(all
            .last()
            .is_some_and(|(_, m)| tenants(&m["firing"], "/tenant") == ["a", "c", "d"]))
    })?;
    for name in ["a", "c", "d"] {
        world.put_tiny(name, "")?;
    }
    world.waits("the end arrived", || {
        let all = world.received("accepted")?;
        Ok(all
            .last()
            .is_some_and(|(_, message)| message["status"] == "resolved"))
    })?;

    let accepted = world.received("accepted")?;
    let mut known: BTreeMap<String, Value> = BTreeMap::new();
    for (id, message) in &accepted {
        assert_eq!(
            accepted.iter().filter(|(other, _)| other == id).count(),
            1,
            "{id}"
        );
        let of = |list: &str| message[list].as_array().cloned().unwrap_or_default();
        for alert in of("resolved") {
            let tenant = alert["tenant"].as_str().unwrap_or_default();
            assert!(known.remove(tenant).is_some(), "{accepted:#?}");
        }
        for alert in of("firing") {
            known.insert(
                alert["tenant"].as_str().unwrap_or_default().to_owned(),
                alert,
            );
        }
    }
    assert!(known.is_empty(), "{accepted:#?}");
    // What was refused and what was accepted under one id is the same message.
    for (id, message) in world.received("refused")? {
        let taken = accepted.iter().find(|(other, _)| *other == id);
        assert!(
            taken.is_some_and(|(_, taken)| *taken == message),
            "{id} was lost"
        );
    }
    world.waits("nothing waits", || Ok(sink("waiting")? == 0))
}
