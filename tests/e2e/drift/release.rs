//! What is shared or inside of a tenant: its release, what it listens on, and
//! its database's schema.

use anyhow::{Result, bail};

use super::HOST;
use crate::upgrade::Upgrades;
use crate::world::World;

impl World {
    fn wait_told(&self, tenant: &str, reason: &str, kind: &str) -> Result<()> {
        self.waits(&format!("{kind} of {tenant} is told as {reason}"), || {
            let notes = self.told(tenant, reason)?;
            match notes.iter().any(|note| note.starts_with(kind)) {
                true => Ok(true),
                false => bail!("{notes:?}"),
            }
        })
    }
}

/// An edited release is installed anew, and a service that was restarted from
/// it is restarted; with `Detect` both are left. A service that does not
/// listen is reported.
#[test]
fn an_edited_release_and_a_service_that_does_not_listen_are_named() -> Result<()> {
    let world = World::installed("release")?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", crate::world::TINY)?;
    world.start()?;
    // It must not put right what is ky04's too.
    let deaf = "driftPolicy: Detect\nenv: {TINYAPP_FAULT: deaf}";
    world.put_tiny("deaf", deaf)?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    let version = "/var/lib/cb/releases/tiny/v1/VERSION";
    let edit = format!(
        "systemctl stop cb-operator; echo edited >{version}; systemctl restart ky04-api\n\
         systemctl start cb-operator"
    );
    let pid = world.show("ky04-frontend", "MainPID")?;
    world.host.sh(&edit)?;
    world.wait_told("ky04", "DriftCorrected", "ReleaseChanged")?;
    world.wait_told("ky04", "DriftCorrected", "ServiceRestarted of ky04-api")?;
    let api = |says: &str| {
        world.waits(&format!("the api says {says}"), || {
            let port = world.tenant("ky04")?["status"]["ports"]["api"].clone();
            let url = format!("http://127.0.0.1:{port}/");
            Ok(world.host.curl(&[&url])?.body.contains(says))
        })
    };
    api(" v1 ")?;
    assert_eq!(world.host.sh(&format!("cat {version}"))?, "v1\n");
    assert_eq!(world.show("ky04-frontend", "MainPID")?, pid);

    // Its services run, and nobody answers.
    world.wait_told("deaf", "DriftDetected", "ServiceNotListening")?;
    world.wait_condition("deaf", "Drifted", "True Detected")?;
    let drift = world.drift("deaf")?;
    assert!(drift.iter().all(|d| d["kind"] == "ServiceNotListening"));

    world.put_tiny("ky04", "driftPolicy: Detect")?;
    world.waits("the policy is taken", || {
        Ok(world.tenant("ky04")?["status"]["observedGeneration"] == 2)
    })?;
    world.host.sh(&edit)?;
    world.wait_told("ky04", "DriftDetected", "ReleaseChanged")?;
    world.wait_condition("ky04", "Drifted", "True Detected")?;
    world.reconcile("ky04")?;
    api(" edited ")?;
    assert_eq!(world.host.sh(&format!("cat {version}"))?, "edited\n");
    Ok(())
}

/// A database that somebody migrated is named by what its application tells,
/// and left to a person.
#[test]
fn a_schema_that_somebody_changed_is_named() -> Result<()> {
    let upgrades = Upgrades::running("schema", &[], &["ky04"])?;
    let world = &upgrades.world;
    upgrades.put("ky04", "v0.2.0")?;
    upgrades.wait_operation("ky04", "v0.2.0", "Succeeded")?;
    world.wait_ready("ky04")?;
    world.host.sh(
        "systemctl stop cb-operator ky04-api\n\
         setpriv --reuid=cb-ky04 --regid=cb-ky04 --clear-groups cb-duckdb migrate \
           /var/lib/cb/tenants/ky04/db/*.duckdb --migrations /srv/cbapp/v0.3.0/migrations >/dev/null\n\
         systemctl start ky04-api cb-operator",
    )?;
    world.wait_told("ky04", "DriftDetected", "SchemaChanged")?;
    let drift = world.drift("ky04")?;
    let schema = drift.iter().find(|drift| drift["kind"] == "SchemaChanged");
    let detail = schema.map(|drift| drift["detail"].clone());
    assert_eq!(
        detail.unwrap_or_default(),
        "its schema version is 3 instead of 2"
    );
    let shown = world.host.exec(&["cbctl", "drift"])?;
    assert!(shown.stdout.contains("SchemaChanged"), "{}", shown.stdout);
    Ok(())
}
