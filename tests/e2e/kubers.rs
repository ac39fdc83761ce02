//! A client written with kube-rs (`tests/kubewatch`) with the real operator, over
//! TLS and with a kubeconfig of `cbctl`.

use anyhow::Result;
use cb_testhost::Running;

use crate::world::{World, tiny};

const HOST: &str = "\
apiVersion: campaignbrain.io/v1alpha1
kind: Host
metadata: {name: test}
spec:
  api: {listen: 127.0.0.1:9644}
  prune: {delaySeconds: 1, maxPercent: 34}
  resync: {periodSeconds: 5}
";

/// What a watch is told that comes from before the operator's start.
const TOO_LATE: &str = "Expired";

/// An operator with the tenants `ky04`, `oh09` and `tx01`, all ready, and a
/// kubeconfig.
fn start(hint: &str) -> Result<World> {
    let world = World::installed(hint)?;
    world
        .host
        .push(HOST.as_bytes(), "/etc/cb/host.yaml", 0o644)?;
    world.put("tiny.yaml", crate::world::TINY)?;
    for name in ["ky04", "oh09", "tx01"] {
        world.put_tiny(name, "")?;
    }
    world.start()?;
    for name in ["ky04", "oh09", "tx01"] {
        world.wait_ready(name)?;
    }
    world
        .host
        .sh("umask 077; cbctl kubeconfig robot --role edit >/root/robot")?;
    Ok(world)
}

/// The client at one of its works.
fn kubewatch(world: &World, arguments: &[&str]) -> Result<Running> {
    let program = ["env", "KUBECONFIG=/root/robot", "/opt/cb/bin/kubewatch"];
    Ok(world.host.spawn(&[&program, arguments].concat())?)
}

/// Waits until the client has printed what `is_it` looks for; fails with all that
/// it has printed.
fn waits(world: &World, client: &Running, what: &str, is_it: impl Fn(&str) -> bool) -> Result<()> {
    let waited = world.waits(what, || Ok(is_it(&client.log())));
    waited.map_err(|error| error.context(format!("the client said:\n{}", client.log())))
}

/// Law 1 and 8: what a client of kube-rs knows is what there is, whichever way it
/// lists, also after a restart of the operator.
#[test]
fn kube_rs_reflects_tenants() -> Result<()> {
    let world = start("kubers-reflect")?;
    let clients = [
        kubewatch(&world, &["reflect"])?,
        kubewatch(&world, &["reflect", "--streaming"])?,
    ];
    let all_know = |event: &str, tenants: &str| -> Result<()> {
        for client in &clients {
            let what = format!("{event} with {tenants}");
            waits(&world, client, &what, |log| {
                let mut lines = log.lines();
                lines.any(|line| line.starts_with(event) && line.ends_with(tenants))
            })?;
        }
        Ok(())
    };
    all_know("InitDone", ": ky04=v1 oh09=v1 tx01=v1")?;
    world.put_tiny("ca12", "")?;
    all_know("Apply(ca12)", ": ca12=v1 ky04=v1 oh09=v1 tx01=v1")?;
    let newer = tiny("ca12", "").replace("version: v1", "version: v2");
    world.put("ca12.yaml", &newer)?;
    all_know("Apply(ca12)", ": ca12=v2 ky04=v1 oh09=v1 tx01=v1")?;
    world.host.sh("rm /etc/cb/manifests/ca12.yaml")?;
    all_know("Delete(ca12)", ": ky04=v1 oh09=v1 tx01=v1")?;

    world.host.sh("systemctl stop cb-operator")?;
    world.put_tiny("wa07", "")?;
    world.start()?;
    all_know("error: ", TOO_LATE)?;
    all_know("InitDone", ": ky04=v1 oh09=v1 tx01=v1 wa07=v1")?;
    world.put_tiny("nv01", "")?;
    all_know("Apply(nv01)", ": ky04=v1 nv01=v1 oh09=v1 tx01=v1 wa07=v1")?;
    Ok(())
}

#[test]
fn kube_rs_controls_tenants_that_it_lists() -> Result<()> {
    controls("kubers-list", &[])
}

#[test]
fn kube_rs_controls_tenants_that_it_streams() -> Result<()> {
    controls("kubers-stream", &["--streaming"])
}

/// Law 1: a controller of kube-rs does its work on every tenant, and goes on when
/// the operator does after a stop, although its watch is too old then.
fn controls(hint: &str, how: &[&str]) -> Result<()> {
    let world = start(hint)?;
    let client = kubewatch(&world, &[&["control"], how].concat())?;
    let annotated = |tenant: &str, version: &str| -> Result<()> {
        let what = format!("{tenant} is annotated with {version}");
        let waited = world.waits(&what, || {
            let seen = &world.tenant(tenant)?["metadata"]["annotations"];
            Ok(seen["kubewatch.example.org/seen"] == version)
        });
        waited.map_err(|error| error.context(format!("the client said:\n{}", client.log())))?;
        let manifest = world
            .host
            .read(&format!("/etc/cb/manifests/{tenant}.yaml"))?;
        let manifest = String::from_utf8(manifest)?;
        assert!(
            manifest.contains("kubewatch.example.org/seen"),
            "{manifest}"
        );
        Ok(())
    };
    for tenant in ["ky04", "oh09", "tx01"] {
        annotated(tenant, "v1")?;
    }
    world.put_tiny("ca12", "")?;
    annotated("ca12", "v1")?;
    world.wait_ready("ca12")?;

    // What changes while no operator is there is not missed either.
    world.host.sh("systemctl stop cb-operator")?;
    world.put_tiny("nv01", "")?;
    world
        .host
        .sh("sed -i 's/version: v1/version: v2/' /etc/cb/manifests/oh09.yaml")?;
    world.start()?;
    annotated("nv01", "v1")?;
    annotated("oh09", "v2")?;
    waits(&world, &client, "it was too late", |log| {
        log.contains(TOO_LATE)
    })
}
