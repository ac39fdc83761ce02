//! What somebody changes of the host itself, and of no tenant: the reservation
//! of the port range, and the rules that keep tenants from each other's ports.

use anyhow::Result;
use serde_json::Value;

use super::HOST;
use crate::world::World;

const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
const TABLE: &str = "nft list table inet cb_operator >/dev/null";

impl World {
    /// The notes of the Host's events of this reason.
    fn told_of_host(&self, reason: &str) -> Result<Vec<String>> {
        let events = self.api("/apis/events.k8s.io/v1/events")?;
        let events = events["items"].as_array().cloned().unwrap_or_default();
        let of = |e: &&Value| e["reason"] == reason && e["regarding"]["kind"] == "Host";
        let note = |e: &Value| e["note"].as_str().unwrap_or_default().to_owned();
        Ok(events.iter().filter(of).map(note).collect())
    }

    fn wait_told_of_host(&self, reason: &str, kind: &str) -> Result<()> {
        self.waits(&format!("{kind} is told as {reason}"), || {
            let notes = self.told_of_host(reason)?;
            Ok(notes.iter().any(|note| note.starts_with(kind)))
        })
    }

    fn wait_metric(&self, line: &str) -> Result<()> {
        self.waits(line, || {
            let text = self.ask("/metrics", &[])?.body;
            Ok(text.lines().any(|found| found == line))
        })
    }
}

/// What is changed of the host is named and put back, or left, as the Host's
/// default policy says; rules that are to be enforced are put back anyway.
#[test]
fn what_is_changed_of_the_host_is_named_and_put_back_or_left() -> Result<()> {
    let world = World::installed("hostdrift")?;
    world.tell_a_receiver(HOST)?;
    world.put("tiny.yaml", crate::world::TINY)?;
    world.start()?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    world.waits("both are made", || {
        let made = format!("if {TABLE} && test $(cat {RESERVED}) = 32300-42299; then echo y; fi");
        Ok(world.host.sh(&made)? == "y\n")
    })?;
    let shown = world.host.exec(&["cbctl", "drift"])?;
    assert_eq!((shown.code, shown.stdout.as_str()), (Some(0), ""));
    assert_eq!(world.told_of_host("DriftCorrected")?, [""; 0]);

    // What others reserved stays.
    world.host.sh(&format!("echo 8080 >{RESERVED}"))?;
    world.wait_told_of_host("DriftCorrected", "PortsNotReserved")?;
    assert_eq!(
        world.host.sh(&format!("cat {RESERVED}"))?,
        "8080,32300-42299\n"
    );
    world.host.sh("nft delete table inet cb_operator")?;
    world.wait_told_of_host("DriftCorrected", "NetworkRulesChanged")?;
    world.host.sh(TABLE)?;
    for kind in ["PortsNotReserved", "NetworkRulesChanged"] {
        world.wait_metric(&format!("cb_drift_corrected_total{{kind=\"{kind}\"}} 1"))?;
        world.wait_received(None, kind)?;
    }
    assert_eq!(world.told_of_host("DriftDetected")?, [""; 0]);

    // A restart that finds the rules as they were tells nothing, nor one with
    // a Host that has them be others.
    let more = format!("{HOST}  network: {{allowPorts: [587]}}\n");
    for host in [HOST, &more, HOST] {
        world.host.sh("systemctl stop cb-operator")?;
        world
            .host
            .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
        world.start()?;
        let port = "nft list table inet cb_operator | grep -c '\\b587\\b' || :";
        let there = if host == HOST { "0\n" } else { "1\n" };
        world.waits("the rules are those of the Host", || {
            Ok(world.host.sh(port)? == there)
        })?;
        assert_eq!(world.told_of_host("DriftCorrected")?.len(), 2);
    }
    // What somebody changed meanwhile is told.
    for (does, detail) in [
        ("nft delete table inet cb_operator", "the table is gone"),
        (
            "nft add rule inet cb_operator output accept",
            "the table has other rules",
        ),
        (
            "echo '# x' >>/var/lib/cb/network.nft",
            "/var/lib/cb/network.nft has other rules",
        ),
    ] {
        world.host.sh("systemctl stop cb-operator")?;
        world.host.sh(does)?;
        world.start()?;
        // What is counted begins anew with each run of the operator.
        world.wait_metric("cb_drift_corrected_total{kind=\"NetworkRulesChanged\"} 1")?;
        world.waits(detail, || {
            let notes = world.told_of_host("DriftCorrected")?;
            let of =
                |note: &String| note.starts_with("NetworkRulesChanged") && note.contains(detail);
            Ok(notes.iter().any(of))
        })?;
        world.host.sh(TABLE)?;
        let alerts = world.host.sh("cbctl alerts")?;
        assert!(alerts.contains("NetworkRulesChanged"), "{alerts}");
    }

    // Found when it comes back, and left.
    world.host.sh("systemctl stop cb-operator")?;
    let detect = format!("{HOST}  defaults: {{driftPolicy: Detect}}\n");
    world
        .host
        .push(detect.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.host.sh(&format!("echo 8080 >{RESERVED}"))?;
    world.start()?;
    world.wait_told_of_host("DriftDetected", "PortsNotReserved")?;
    world.wait_metric("cb_host_drift{kind=\"PortsNotReserved\"} 1.0")?;
    world
        .host
        .sh("nft flush chain inet cb_operator output || nft delete table inet cb_operator")?;
    world.waits("the rules are put back", || {
        let text = world.ask("/metrics", &[])?.body;
        let line = "cb_drift_corrected_total{kind=\"NetworkRulesChanged\"} 1";
        Ok(text.lines().any(|found| found == line))
    })?;
    assert_eq!(world.host.sh(&format!("cat {RESERVED}"))?, "8080\n");
    let shown = world.host.exec(&["cbctl", "drift"])?;
    assert_eq!(shown.code, Some(1), "{}", shown.stderr);
    assert!(
        shown.stdout.contains("the host has drifted") && shown.stdout.contains("PortsNotReserved"),
        "{}",
        shown.stdout
    );
    world.host.sh(&format!("echo 32300-42299 >{RESERVED}"))?;
    world.wait_metric("cb_host_drift{kind=\"PortsNotReserved\"} 0.0")
}
