//! A tenant's life: created, served, changed, stopped by hand, removed.

use anyhow::Result;

use crate::world::World;

/// Law 1: a second pass over a converged host writes nothing.
#[test]
fn tenants_are_created_served_and_then_left_alone() -> Result<()> {
    let world = World::running("create")?;
    for name in ["ky04", "oh09", "tx28"] {
        world.put_tiny(name, "")?;
    }
    for name in ["ky04", "oh09", "tx28"] {
        world.wait_ready(name)?;
        assert_eq!(world.page(name)?, format!("{name} v1 on /\n"));
    }
    let tenant = world.tenant("ky04")?;
    assert_eq!(tenant["status"]["version"], "v1");
    assert_eq!(tenant["status"]["services"][0]["activeState"], "active");
    assert_eq!(world.show("ky04-api.service", "User")?, "cb-ky04");
    assert_eq!(world.show("ky04-api.service", "UnitFileState")?, "enabled");
    assert_eq!(world.status_file("ky04")?["status"], tenant["status"]);

    let before = world.fingerprint()?;
    for name in ["ky04", "oh09", "tx28"] {
        world.reconcile(name)?;
    }
    assert_eq!(world.fingerprint()?, before);
    Ok(())
}

/// Law 1: what is changed by hand is put right; what is changed in the
/// manifest is brought about.
#[test]
fn changes_by_hand_are_undone_and_changes_of_the_manifest_are_done() -> Result<()> {
    let world = World::running("change")?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    let ports = world.tenant("ky04")?["status"]["ports"].clone();

    world.host.sh("systemctl stop ky04-api.service")?;
    world
        .host
        .wait_until("the service runs again", crate::world::SOON, || match world
            .show("ky04-api.service", "ActiveState")
        {
            Ok(state) if state == "active" => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    world
        .host
        .sh("sed -i s/RestartSec=2/RestartSec=9/ /etc/systemd/system/ky04-api.service")?;
    world
        .host
        .wait_until("the unit is as it was", crate::world::SOON, || match world
            .show("ky04-api.service", "RestartUSec")
        {
            Ok(time) if time == "2s" => Ok(()),
            other => Err(format!("{other:?}")),
        })?;
    world.host.sh("rm /etc/nginx/conf.d/cb-ky04.conf")?;
    world
        .host
        .wait_until("the site is there again", crate::world::SOON, || {
            world.page("ky04")
        })?;

    world.host.sh("rm /etc/cb/manifests/ky04.status.yaml")?;
    world.reconcile("ky04")?;
    assert!(world.status_file("ky04").is_ok());

    let second = crate::world::tiny("ky04", "").replace("version: v1", "version: v2");
    world.put("ky04.yaml", &second)?;
    world.host.wait_until(
        "the new version serves",
        crate::world::SOON,
        || match world.page("ky04") {
            Ok(page) if page == "ky04 v2 on /\n" => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )?;
    world.wait_ready("ky04")?;
    assert_eq!(world.tenant("ky04")?["status"]["ports"], ports);
    assert_eq!(world.tenant("ky04")?["metadata"]["generation"], 2);
    Ok(())
}

/// Law 6: a release is prepared while the old one serves, and one that cannot
/// be had stops nothing.
#[test]
fn a_version_that_cannot_be_had_leaves_the_old_one_serving() -> Result<()> {
    let world = World::running("prepare")?;
    world.put_tiny("ky04", "")?;
    world.wait_ready("ky04")?;
    let invocation = world.show("ky04-api.service", "InvocationID")?;
    world.host.sh("mv /srv/tiny/v2 /srv/tiny/elsewhere")?;
    let second = crate::world::tiny("ky04", "").replace("version: v1", "version: v2");
    world.put("ky04.yaml", &second)?;
    let why = world.wait_condition("ky04", "Stalled", "True UpgradeFailed")?;
    assert!(why.contains("/srv/tiny/v2"), "{why}");
    assert_eq!(world.page("ky04")?, "ky04 v1 on /\n");
    assert_eq!(world.show("ky04-api.service", "InvocationID")?, invocation);
    assert_eq!(world.tenant("ky04")?["status"]["version"], "v1");
    world.host.sh("mv /srv/tiny/elsewhere /srv/tiny/v2")?;
    world.host.sh("cbctl upgrade retry ky04")?;
    world.wait_ready("ky04")?;
    assert_eq!(world.page("ky04")?, "ky04 v2 on /\n");
    Ok(())
}

/// Law 5: a tenant is not started on an empty folder in place of its data.
#[test]
fn a_tenant_whose_data_is_not_there_waits_for_it() -> Result<()> {
    let world = World::running("data")?;
    for name in ["ky04", "oh09"] {
        world.put_tiny(name, "")?;
    }
    world.wait_ready("ky04")?;
    world.host.sh(
        "mv /var/lib/cb/tenants/ky04/db /var/lib/cb/tenants/ky04/gone\n\
         systemctl stop ky04-api.service",
    )?;
    let why = world.wait_condition("ky04", "Prepared", "False DataMissing")?;
    assert!(why.contains("/var/lib/cb/tenants/ky04/db"), "{why}");
    world.wait_ready("oh09")?;
    assert_eq!(world.show("ky04-api.service", "ActiveState")?, "inactive");
    assert_eq!(
        world.host.sh("ls /var/lib/cb/tenants/ky04")?,
        "gone\nuploads\n"
    );
    world
        .host
        .sh("mv /var/lib/cb/tenants/ky04/gone /var/lib/cb/tenants/ky04/db")?;
    world.reconcile("ky04")?;
    world.wait_ready("ky04")
}
