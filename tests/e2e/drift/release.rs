//! What is shared or inside of a tenant: its release, what it listens on, and
//! its database's schema.

use anyhow::{Result, bail};

use super::HOST;
use crate::upgrade::{self, Upgrades};
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
    world.tell_a_receiver(HOST)?;
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
    world.wait_received(Some("deaf"), "ServiceNotListening")?;
    world.wait_received(Some("ky04"), "ReleaseChanged")?;
    world.wait_received(Some("ky04"), "ServiceRestarted")?;

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

/// A release that is edited while nothing else happens is noticed by that and
/// put right, for all tenants that run it: whoever is looked at first, what was
/// restarted from the edited one is restarted.
#[test]
fn an_edited_release_is_noticed_and_put_right_for_all() -> Result<()> {
    let world = World::installed("editing")?;
    // No look at everything comes to help.
    let host = HOST.replace("periodSeconds: 1", "periodSeconds: 3600");
    world
        .host
        .push(host.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", crate::world::TINY)?;
    world.start()?;
    let names = ["ky04", "oh09", "tx01"];
    for name in names {
        world.put_tiny(name, "")?;
    }
    for name in names {
        world.wait_ready(name)?;
    }
    let version = "/var/lib/cb/releases/tiny/v1/VERSION";
    let deep = "/var/lib/cb/releases/tiny/v1/bin";
    for (edit, undone) in [
        (format!("echo edited >{version}"), format!("cat {version}")),
        (
            format!("echo x >{deep}/extra"),
            format!("test -e {deep}/extra || cat {version}"),
        ),
        (
            format!("chmod 666 {version}"),
            format!("test $(stat -c %a {version}) = 444 && cat {version}"),
        ),
    ] {
        world.host.sh(&edit)?;
        world.waits(&format!("`{edit}` is undone"), || {
            Ok(world.host.sh(&format!("{undone} || :"))? == "v1\n")
        })?;
    }
    world.waits("it is told", || {
        let told = names.iter().map(|name| world.told(name, "DriftCorrected"));
        let told: Vec<String> = told.collect::<Result<Vec<_>>>()?.concat();
        Ok(told.iter().any(|note| note.starts_with("ReleaseChanged")))
    })?;
    for name in names {
        world.wait_ready(name)?;
    }

    // Restarted from the edited one; one of them is looked at only when the
    // others have put the release right.
    world.put_tiny("tx01", "suspend: true")?;
    world.waits("tx01 is left alone", || {
        Ok(world.tenant("tx01")?["status"]["observedGeneration"] == 2)
    })?;
    let pid = world.show("oh09-frontend", "MainPID")?;
    world.host.sh(&format!(
        "systemctl stop cb-operator; echo edited >{version}\n\
         systemctl restart ky04-api oh09-api tx01-api; systemctl start cb-operator"
    ))?;
    let api = |name: &str| -> Result<String> {
        let port = world.tenant(name)?["status"]["ports"]["api"].clone();
        let url = format!("http://127.0.0.1:{port}/");
        Ok(world.host.curl(&[&url])?.body)
    };
    for name in ["ky04", "oh09"] {
        world.waits(&format!("{name} runs the release again"), || {
            Ok(api(name)?.contains(" v1 "))
        })?;
    }
    assert!(api("tx01")?.contains(" edited "));
    world.put_tiny("tx01", "")?;
    world.waits("tx01 runs the release again", || {
        Ok(api("tx01")?.contains(" v1 "))
    })?;
    assert_eq!(world.show("oh09-frontend", "MainPID")?, pid);
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
    world.tell_a_receiver(upgrade::HOST)?;
    world.host.sh(
        "systemctl stop cb-operator ky04-api\n\
         setpriv --reuid=cb-ky04 --regid=cb-ky04 --clear-groups cb-duckdb migrate \
           /var/lib/cb/tenants/ky04/db/*.duckdb --migrations /srv/cbapp/v0.3.0/migrations >/dev/null\n\
         systemctl start ky04-api cb-operator",
    )?;
    world.wait_told("ky04", "DriftDetected", "SchemaChanged")?;
    // For as long as the application answers: after its start it may be slow.
    world.waits("the difference is in the status", || {
        let drift = world.drift("ky04")?;
        let schema = drift.iter().find(|drift| drift["kind"] == "SchemaChanged");
        Ok(schema.is_some_and(|drift| drift["detail"] == "its schema version is 3 instead of 2"))
    })?;
    world.wait_received(Some("ky04"), "SchemaChanged")?;
    let shown = world.host.exec(&["cbctl", "drift"])?;
    assert!(shown.stdout.contains("SchemaChanged"), "{}", shown.stdout);
    Ok(())
}
